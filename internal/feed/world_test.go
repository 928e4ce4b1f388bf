package feed_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/counterfoil/counterfoil/internal/feed"
	"github.com/counterfoil/counterfoil/internal/memory"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// soon is when news are everywhere.
const soon = time.Second

// world is a store, and the access tokens that were issued from it.
type world struct {
	*testing.T
	*memory.Store
	previous oauth.PreviousAccessToken // the policy of all clients
	lifetime time.Duration             // of access tokens, unless the client has its own
	set      atomic.Int64              // by how much the store's clock was set: a time.Duration
	grants   int
	tokens   []token
}

// token is an access token.
type token struct {
	grantID    string // empty: a client's own
	generation uint32
	subject    string
	clientID   string
	notBefore  int64
	expiresAt  time.Time
}

// live runs a test in a world whose time is the test's.
func live(t *testing.T, previous oauth.PreviousAccessToken, run func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, previous: previous, lifetime: time.Hour}
		w.Store = memory.New(func() time.Time { return time.Now().Add(time.Duration(w.set.Load())) })
		w.client("shop", nil)
		w.user("alice")
		pass(time.Millisecond) // what is changed as it is made is not changed
		run(w)
	})
}

// pass lets time pass, and everybody do what there is to do.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) client(id string, change func(*oauth.Client)) {
	w.Helper()
	c := oauth.Client{ID: id, Active: true}
	if change != nil {
		change(&c)
	}
	w.must(w.CreateClient(w.Context(), c, oauth.Event{}))
}

// changeClient changes a client.
func (w *world) changeClient(id string, change func(*oauth.Client)) {
	w.Helper()
	c, err := w.Client(w.Context(), id)
	w.must(err)
	change(&c)
	w.must(w.UpdateClient(w.Context(), c, oauth.Event{}))
}

func (w *world) activate(id string, active bool) {
	w.Helper()
	w.changeClient(id, func(c *oauth.Client) { c.Active = active })
}

func (w *world) user(name string) {
	w.Helper()
	w.must(w.CreateUser(w.Context(), oauth.User{Subject: oauth.Subject{ID: name, Username: name, Enabled: true, State: oauth.SubjectActive}}, oauth.Event{}))
}

func (w *world) enable(name string, enabled bool) {
	w.Helper()
	w.must(w.SetUserState(w.Context(), name, &enabled, "", oauth.Event{}))
}

// setPassword gives a user another password, which ends the grants there are.
func (w *world) setPassword(name string) {
	w.Helper()
	w.must(w.SetPassword(w.Context(), name, "hash", true, oauth.Event{}))
}

// grant makes a grant with an access token.
func (w *world) grant(user, client string) oauth.GrantID {
	w.Helper()
	w.grants++
	g := oauth.Grant{
		ID: oauth.GrantID{byte(w.grants >> 8), byte(w.grants)}, PublicID: fmt.Sprint("grant ", w.grants),
		ClientID: client, Subject: user, Status: oauth.GrantActive,
	}
	subject, err := w.Subject(w.Context(), user)
	w.must(err)
	g.SubjectEpoch = subject.Epoch
	version, err := w.ClientVersion(w.Context(), client)
	w.must(err)
	w.must(w.CreateGrant(w.Context(), oauth.NewGrant{Grant: g, ClientVersion: version, IdleLifetime: 1000 * time.Hour}))
	w.issue(&g)
	return g.ID
}

// issue takes note of a new access token of a grant.
func (w *world) issue(g *oauth.Grant) {
	w.tokens = append(w.tokens, token{
		grantID: g.PublicID, generation: g.Generation, subject: g.Subject, clientID: g.ClientID, expiresAt: w.expiry(g.ClientID),
	})
}

// policy is that of a client. It has a minute for clocks that differ.
func (w *world) policy(ctx context.Context, clientID string) (oauth.PreviousAccessToken, time.Duration, error) {
	previous := w.previous
	c, err := w.Client(ctx, clientID)
	if errors.Is(err, oauth.ErrNotFound) {
		return previous, w.lifetime + time.Minute, nil
	}
	previous.Keep = previous.Keep || c.ReusableRefreshTokens
	return previous, max(w.lifetime, c.AccessTokenLifetime) + time.Minute, err
}

// expiry is when an access token expires that a client gets now.
func (w *world) expiry(clientID string) time.Time {
	w.Helper()
	_, lifetime, err := w.policy(w.Context(), clientID)
	w.must(err)
	return time.Now().Add(lifetime - time.Minute)
}

// ownToken takes note of a new access token that a client got for itself.
func (w *world) ownToken(clientID string) {
	w.Helper()
	w.tokens = append(w.tokens, token{subject: clientID, clientID: clientID, notBefore: w.notBefore(clientID), expiresAt: w.expiry(clientID)})
}

// notBefore is that of a client as its tokens remember it; 0: none, or there is no client.
func (w *world) notBefore(clientID string) int64 {
	c, err := w.Client(w.Context(), clientID)
	if err != nil || c.NotBefore.IsZero() {
		return 0
	}
	return c.NotBefore.UnixMicro()
}

// swap rotates a grant, of which no node knows yet.
func (w *world) swap(id oauth.GrantID) oauth.Rotation {
	w.Helper()
	v, err := w.Grant(w.Context(), id)
	w.must(err)
	next := v.Grant
	next.Generation++
	w.must(w.SwapGrant(w.Context(), &v.Grant, &next, v.ClientVersion))
	w.issue(&next)
	return oauth.Rotation{GrantID: next.PublicID, ClientID: next.ClientID, Generation: next.Generation, At: v.Now}
}

func (w *world) revoke(id oauth.GrantID) {
	w.Helper()
	w.must(w.RevokeGrant(w.Context(), id, "test", oauth.Event{}))
}

// alive reports whether an access token is (docs/rotation.md).
func (w *world) alive(t *token) bool {
	client, err := w.Client(w.Context(), t.clientID)
	if err != nil || !client.Active || client.OwnerBlocked {
		return false
	}
	if t.grantID == "" {
		return t.notBefore == w.notBefore(t.clientID)
	}
	v, err := w.GrantByPublicID(w.Context(), t.grantID)
	if err != nil || v.Grant.Status != oauth.GrantActive || !v.SubjectExists || v.Subject.Epoch != v.Grant.SubjectEpoch || v.Subject.Blocked() != nil {
		return false
	}
	policy, _, err := w.policy(w.Context(), t.clientID)
	w.must(err)
	switch v.Grant.Generation - t.generation {
	case 0:
		return true
	case 1:
		return policy.Keep || v.Now.Sub(v.Grant.RotatedAt) < policy.For
	}
	return policy.Keep
}

// node is a feed that steps until it is killed.
type node struct {
	*feed.Feed
	*world
	kill context.CancelFunc
	held chan struct{} // a step waits as long as something is in it
}

// start starts a node on a store.
func (w *world) start(s feed.Store) *node {
	w.Helper()
	policy := w.policy
	if watched, ok := s.(*watched); ok {
		policy = func(ctx context.Context, clientID string) (oauth.PreviousAccessToken, time.Duration, error) {
			if err := watched.call("Policy"); err != nil {
				return oauth.PreviousAccessToken{}, 0, err
			}
			return w.policy(ctx, clientID)
		}
	}
	f, err := feed.New(feed.Options{Store: s, Policy: policy, Now: time.Now, Rand: rand.Reader})
	w.must(err)
	ctx, kill := context.WithCancel(w.Context())
	n := &node{Feed: f, world: w, kill: kill, held: make(chan struct{}, 1)}
	_ = f.Step(ctx)
	go n.work(ctx)
	return n
}

func (n *node) work(ctx context.Context) {
	tick := time.NewTicker(feed.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		n.held <- struct{}{}
		_ = n.Step(ctx) // the next one does what is left
		<-n.held
	}
}

// rotate rotates a grant at the node.
func (n *node) rotate(id oauth.GrantID) {
	n.Helper()
	n.Rotated(n.swap(id))
}

// follower is a resource server that follows at one node or another.
type follower struct {
	*world
	at      *node
	cursor  string
	known   map[subject]feed.Cutoff
	last    feed.Page
	entries int // that were told
	anew    int // lists that began anew
}

// subject is what a cut-off is about.
type subject struct{ grantID, user, client string }

func about(c *feed.Cutoff) subject {
	switch {
	case c.GrantID != "":
		return subject{grantID: c.GrantID}
	case c.Subject != "":
		return subject{user: c.Subject}
	}
	return subject{client: c.ClientID}
}

// follow follows at a node, and knows what there is to know.
func (n *node) follow() *follower {
	n.Helper()
	f := &follower{world: n.world, at: n}
	f.mustCatchUp()
	return f
}

// ask asks once.
func (f *follower) ask(wait time.Duration) error {
	page, err := f.at.Follow(f.Context(), f.cursor, wait)
	if err != nil {
		return err
	}
	if page.Complete {
		f.known, f.anew = map[subject]feed.Cutoff{}, f.anew+1
	}
	for _, c := range page.Cutoffs {
		f.known[about(&c)] = c
	}
	f.cursor, f.last, f.entries = page.Next, page, f.entries+len(page.Cutoffs)
	return nil
}

// catchUp asks until there is no more.
func (f *follower) catchUp() error {
	err := f.ask(0)
	for err == nil && f.last.More {
		err = f.ask(0)
	}
	return err
}

func (f *follower) mustCatchUp() {
	f.Helper()
	if err := f.catchUp(); err != nil {
		f.Fatalf("follow: %v", err)
	}
}

// waits asks in the background. The function returned says how long it took.
func (f *follower) waits(wait time.Duration) func() time.Duration {
	var asking sync.WaitGroup
	var took time.Duration
	var err error
	begun := time.Now()
	asking.Go(func() {
		err = f.ask(wait)
		took = time.Since(begun)
	})
	return func() time.Duration {
		f.Helper()
		asking.Wait()
		if err != nil {
			f.Errorf("a follower who waited: %v", err)
		}
		return took
	}
}

// refuses reports whether an access token is dead as far as the follower knows: one of the
// standard profile, and one of OroCommerce's, whose `sub` is no Cutoff.Subject.
func (f *follower) refuses(t *token) (standard, oroCommerce bool) {
	now := time.Now()
	knows := func(s subject) feed.Cutoff {
		if c := f.known[s]; !now.After(c.ExpiresAt) {
			return c
		}
		return feed.Cutoff{}
	}
	client := knows(subject{client: t.clientID})
	if t.grantID == "" {
		dead := client.Blocked || client.ClientID != "" && client.NotBefore != t.notBefore
		return dead, dead
	}
	grant := knows(subject{grantID: t.grantID})
	old := t.generation < grant.Generation && (t.generation+1 < grant.Generation || !now.Before(grant.PreviousUntil))
	oroCommerce = client.Blocked || grant.Ended || old || f.rests(t.grantID)
	return oroCommerce || knows(subject{user: t.subject}).Blocked, oroCommerce
}

// rests reports whether a grant is one of a blocked user.
func (f *follower) rests(grantID string) bool {
	for _, c := range f.known {
		for _, id := range c.GrantIDs {
			if id == grantID && c.Blocked && !time.Now().After(c.ExpiresAt) {
				return true
			}
		}
	}
	return false
}

// check checks that a follower, who has caught up, refuses the tokens that are dead, and
// no others.
func (f *follower) check(when string) {
	f.Helper()
	f.mustCatchUp()
	for i := range f.tokens {
		t := &f.tokens[i]
		if time.Now().After(t.expiresAt) {
			continue
		}
		alive := f.alive(t)
		if standard, oroCommerce := f.refuses(t); alive == standard || alive == oroCommerce {
			f.Errorf("%s: token %+v is alive: %v, and refused: %v, at OroCommerce: %v; the follower knows of its grant %+v",
				when, *t, alive, standard, oroCommerce, f.known[subject{grantID: t.grantID}])
		}
	}
}

var errBroken = errors.New("the database is broken")

// watched is a store that counts what is asked of it, and may fail.
type watched struct {
	feed.Store
	mu    sync.Mutex
	calls map[string]int
	last  map[string]time.Time
	fails func(method string) bool
}

func (w *world) watch() *watched {
	return &watched{Store: w.Store, calls: map[string]int{}, last: map[string]time.Time{}}
}

// call counts a call, and fails it perhaps.
func (s *watched) call(method string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[method]++
	s.last[method] = time.Now()
	if s.fails != nil && s.fails(method) {
		return fmt.Errorf("%s: %w", method, errBroken)
	}
	return nil
}

// fail lets calls fail from now on; nil: none.
func (s *watched) fail(fails func(method string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = fails
}

// count is how often a method was called since count was last called for it.
func (s *watched) count(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.calls[method]
	s.calls[method] = 0
	return n
}

// lastCall is when a method was last called.
func (s *watched) lastCall(method string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last[method]
}

func (s *watched) Changes(ctx context.Context, since time.Time) (feed.Changes, error) {
	if err := s.call("Changes"); err != nil {
		return feed.Changes{}, err
	}
	return s.Store.Changes(ctx, since)
}

func (s *watched) Rotations(ctx context.Context, since time.Time, each func(oauth.Rotation)) error {
	if err := s.call("Rotations"); err != nil {
		return err
	}
	return s.Store.Rotations(ctx, since, each)
}

func (s *watched) Announce(ctx context.Context, a feed.Announcement) error {
	if err := s.call("Announce"); err != nil {
		return err
	}
	return s.Store.Announce(ctx, a)
}

func (s *watched) Announced(ctx context.Context, after int64) ([]feed.Announcement, int64, error) {
	if err := s.call("Announced"); err != nil {
		return nil, 0, err
	}
	return s.Store.Announced(ctx, after)
}

func (s *watched) LongestLifetime(ctx context.Context) (time.Time, time.Duration, error) {
	if err := s.call("LongestLifetime"); err != nil {
		return time.Time{}, 0, err
	}
	return s.Store.LongestLifetime(ctx)
}

func (s *watched) Followed(ctx context.Context) (time.Time, error) {
	if err := s.call("Followed"); err != nil {
		return time.Time{}, err
	}
	return s.Store.Followed(ctx)
}

func (s *watched) Follow(ctx context.Context) error {
	if err := s.call("Follow"); err != nil {
		return err
	}
	return s.Store.Follow(ctx)
}
