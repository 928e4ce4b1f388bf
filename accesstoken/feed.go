package accesstoken

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4/json" // takes member names exactly, and each once
)

// What a Feed does if nothing is said.
const (
	defaultStaleAfter = 30 * time.Second
	defaultMaxEntries = 5_000_000
)

// The bounds of waiting.
const (
	minStaleAfter = 3 * time.Second
	maxWait       = 50 * time.Second // the issuer holds no request longer
	firstWithin   = 5 * time.Second  // how long after the start the first list is waited for
	minBackoff    = 100 * time.Millisecond
	maxBackoff    = 5 * time.Second
	minInterval   = 20 * time.Millisecond // between requests, however fast the answers come
	maxInterval   = time.Second           // where they say nothing
)

const maxFeedBytes = 16 << 20

var (
	errGrantEnded    = fmt.Errorf("%w: its grant ended", ErrRevoked)
	errUserBlocked   = fmt.Errorf("%w: its user is blocked", ErrRevoked)
	errClientBlocked = fmt.Errorf("%w: its client is blocked", ErrRevoked)
	errClientTokens  = fmt.Errorf("%w: its client's own tokens were revoked", ErrRevoked)
	errFeedStale     = fmt.Errorf("%w: the revocation feed is stale", ErrUnavailable)
	errFeedIssuer    = fmt.Errorf("%w: the revocation feed is another issuer's", ErrUnavailable)

	errFeedRuns = errors.New("the revocation feed is followed already")
	errNotWhole = errors.New("the answer to a request without cursor is not complete")
	errEndless  = errors.New("the list of revocations is longer than MaxEntries")
)

// FeedConfig has the settings of a Feed. Issuer or URL, ClientID and ClientSecret are
// required.
type FeedConfig struct {
	// Issuer is the issuer identifier; its feed is at /oauth2/revocations. Where it is
	// given, nothing is said about tokens of another issuer.
	Issuer string
	// URL is the feed itself, if it is another.
	URL string

	// ClientID and ClientSecret authenticate the API as a confidential client of the issuer.
	ClientID     string
	ClientSecret Secret

	// StaleAfter is how long a token may be accepted although the issuer is silent; 30
	// seconds if it is 0, and 3 at least. A token that died is refused as soon as the news
	// is here, commonly within a fraction of a second, and at the latest StaleAfter after the issuer
	// gave the last answer that arrived.
	StaleAfter time.Duration
	// FailOpen says what happens then. If false, Alive returns ErrUnavailable, and the API
	// answers 503 until the feed is back. If true, tokens count as alive until they expire,
	// unless they were known to be dead.
	FailOpen bool

	// Wait is how long the issuer is asked to hold a request for which there is no news, in
	// whole seconds; a third of StaleAfter if it is 0, but 25 seconds at most. It must be
	// shorter than StaleAfter, and at most 50 seconds.
	Wait time.Duration
	// MaxEntries bounds the memory, at about 150 bytes for each entry; 5,000,000 if it is 0.
	// A feed with more cannot be followed, and gets stale.
	MaxEntries int

	// OnError hears of each request that went wrong, to log it; it may be nil. It is called
	// by Run, which waits for it.
	OnError func(error)
	// HTTPClient makes the requests; one with http.DefaultTransport if it is nil. Its Timeout is not
	// used, and it follows no redirects.
	HTTPClient *http.Client
	// Now is the clock; time.Now if it is nil.
	Now func() time.Time
}

// Feed is the way of liveness that follows the issuer's feed of revocations: one request
// that waits for news, whatever the API has to do, and a look into a map for each token.
// The API goes on for StaleAfter when the issuer is away. Run must be running.
type Feed struct {
	issuer     string
	caller     *caller
	staleAfter time.Duration
	failOpen   bool
	wait       time.Duration
	maxEntries int
	onError    func(error)
	now        func() time.Time

	made    time.Time
	running atomic.Bool
	known   atomic.Pointer[cutOffs]   // the newest whole list; nil before the first
	heard   atomic.Pointer[time.Time] // when the issuer last said that this is all
	first   chan struct{}             // closed when known is set first

	// What follows is Run's.
	cursor    string
	following *cutOffs // a list that is not whole yet; nil while known is kept up to date
	behind    bool     // there may be more: do not wait for it
	pruned    time.Time
}

// NewFeed returns a Feed that knows nothing until Run, or an error if a setting is missing
// or wrong.
func NewFeed(c FeedConfig) (*Feed, error) {
	caller, err := newCaller(c.HTTPClient, c.Issuer, c.URL, "/oauth2/revocations", c.ClientID, c.ClientSecret)
	if err != nil {
		return nil, fmt.Errorf("revocation feed: %w", err)
	}
	caller.maxBytes = maxFeedBytes
	if c.StaleAfter == 0 {
		c.StaleAfter = defaultStaleAfter
	}
	if c.StaleAfter < minStaleAfter {
		return nil, fmt.Errorf("revocation feed: StaleAfter must be %s at least", minStaleAfter)
	}
	if c.Wait == 0 {
		c.Wait = min(c.StaleAfter/3, 25*time.Second).Truncate(time.Second)
	}
	if c.Wait < time.Second || c.Wait > maxWait || c.Wait >= c.StaleAfter || c.Wait%time.Second != 0 {
		return nil, fmt.Errorf("revocation feed: Wait must be whole seconds, from 1 to %d, and shorter than StaleAfter", maxWait/time.Second)
	}
	if c.MaxEntries <= 0 {
		c.MaxEntries = defaultMaxEntries
	}
	if c.OnError == nil {
		c.OnError = func(error) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Feed{
		issuer: c.Issuer, caller: caller, staleAfter: c.StaleAfter, failOpen: c.FailOpen, wait: c.Wait,
		maxEntries: c.MaxEntries, onError: c.OnError, now: c.Now, made: c.Now(), first: make(chan struct{}), behind: true,
	}, nil
}

// Alive implements Liveness. In the first seconds it waits for the first list, as long as
// ctx allows.
func (f *Feed) Alive(ctx context.Context, t *Token) error {
	if f.issuer != "" && t.Issuer != f.issuer {
		return errFeedIssuer
	}
	f.awaitFirst(ctx)
	now := f.now()
	fresh := f.fresh(now) // before the list is taken, which then is no older
	if known := f.known.Load(); known != nil {
		if err := known.check(t, now); err != nil {
			return err
		}
	}
	if fresh || f.failOpen {
		return nil
	}
	return errFeedStale
}

// fresh goes by the wall clock, since the other one may stand still while the machine
// sleeps. A clock that was put back far makes the feed stale until the next answer.
func (f *Feed) fresh(now time.Time) bool {
	heard := f.heard.Load()
	return heard != nil && now.Sub(*heard).Abs() <= f.staleAfter
}

// awaitFirst waits for the first list while that can be expected. Later, or where the
// issuer was never there, nobody waits.
func (f *Feed) awaitFirst(ctx context.Context) {
	if f.known.Load() != nil {
		return
	}
	timer := time.NewTimer(firstWithin - f.now().Sub(f.made))
	defer timer.Stop()
	select {
	case <-f.first:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Run follows the feed until ctx ends, and then returns nil. It bears whatever happens to
// the issuer: it tries again, with growing pauses, and goes on from where it was. It
// returns an error only if the feed is followed already.
func (f *Feed) Run(ctx context.Context) error {
	if !f.running.CompareAndSwap(false, true) {
		return errFeedRuns
	}
	defer f.running.Store(false)
	f.behind = true
	var failed, dull int // in a row
	for {
		began := time.Now()
		news, err := f.poll(ctx)
		took := time.Since(began)
		var pause time.Duration
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			f.behind = true
			f.onError(fmt.Errorf("revocation feed: %w", err))
			pause, failed = f.backoff(failed, err), failed+1
		case news || took >= time.Second:
			pause, failed, dull = minInterval-took, 0, 0
		default:
			pause, failed, dull = growing(minInterval, dull, maxInterval), 0, dull+1
		}
		if !f.sleep(ctx, pause) {
			return nil
		}
	}
}

// backoff is how long to wait after so many failures and another: with a random part, lest
// all followers of an issuer return at once, and always well below StaleAfter.
func (f *Feed) backoff(failed int, err error) time.Duration {
	limit := min(f.staleAfter/6, maxBackoff)
	pause := growing(minBackoff, failed, limit)
	var status *statusError
	if errors.As(err, &status) {
		pause = max(pause, min(status.retryAfter, limit))
	}
	return pause/2 + rand.N(pause/2+1)
}

// growing is first, doubled n times, but limit at most.
func growing(first time.Duration, n int, limit time.Duration) time.Duration {
	return min(first<<min(n, 16), limit)
}

// sleep returns false if ctx ended.
func (f *Feed) sleep(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// poll asks once, and takes the answer. It says whether that brought something new.
func (f *Feed) poll(ctx context.Context) (news bool, err error) {
	wait := f.wait
	if f.behind {
		wait = 0
	}
	// The answer has a third of StaleAfter for its way: so there is time for another try.
	ctx, cancel := context.WithTimeout(ctx, wait+min(f.staleAfter/3, 10*time.Second))
	defer cancel()
	query := url.Values{"wait": {strconv.Itoa(int(wait / time.Second))}}
	if f.cursor != "" {
		query.Set("since", f.cursor)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, f.caller.url+"?"+query.Encode(), nil)
	if err != nil {
		return false, err
	}
	body, err := f.caller.call(r)
	if err != nil {
		f.doubtCursor(err)
		return false, err
	}
	p, err := readPage(body)
	if err != nil {
		return false, err
	}
	return f.take(p)
}

// doubtCursor has the next request begin anew where the issuer cannot read the cursor, which
// may be from a version before.
func (f *Feed) doubtCursor(err error) {
	var status *statusError
	if errors.As(err, &status) && status.status == http.StatusBadRequest {
		f.cursor, f.following = "", nil
	}
}

// take enters an answer. One that it cannot take changes nothing.
func (f *Feed) take(p *page) (news bool, err error) {
	list := f.following
	switch {
	case p.complete:
		list = newCutOffs()
	case f.cursor == "":
		return false, errNotWhole
	case list == nil:
		list = f.known.Load()
	}
	if list.size()+p.size() > f.maxEntries {
		return false, errEndless
	}
	// A list that begins again is no news, nor is what another node repeats, which has no
	// better way to continue from this one's cursor.
	again := p.complete && f.cursor != ""
	changed := f.enter(list, p)
	return !again && changed > len(p.entries)/2, nil
}

// enter returns how many entries said anything that the list did not.
func (f *Feed) enter(list *cutOffs, p *page) (changed int) {
	for i := range p.entries {
		if list.enter(&p.entries[i]) {
			changed++
		}
	}
	f.entered(list, p)
	return changed
}

// entered makes a list that is whole the one to check by.
func (f *Feed) entered(list *cutOffs, p *page) {
	now := f.now()
	f.cursor, f.behind = p.next, p.more
	if p.more {
		if list != f.known.Load() {
			f.following = list
		}
		return
	}
	f.following = nil
	if f.known.Swap(list) == nil {
		close(f.first)
	}
	heard := now.Round(0)
	f.heard.Store(&heard)
	if now.Sub(f.pruned) >= time.Minute {
		list.prune(now)
		f.pruned = now
	}
}

// page is an answer of the feed.
type page struct {
	next           string
	complete, more bool
	entries        []feedEntry
}

// size is how many entries of a list the page makes at most.
func (p *page) size() int {
	n := len(p.entries)
	for i := range p.entries {
		n += len(p.entries[i].GrantIDs)
	}
	return n
}

// readPage reads an answer. Members and kinds of entries that it does not know are not
// looked at; an entry of a known kind that cannot be understood spoils the answer, since
// nobody can tell which tokens it kills.
func readPage(body []byte) (*page, error) {
	var raw struct {
		Next        string            `json:"next"`
		Complete    bool              `json:"complete"`
		More        bool              `json:"more"`
		Revocations []json.RawMessage `json:"revocations"`
	}
	if err := json.Unmarshal(body, &raw); err != nil || raw.Next == "" || raw.Revocations == nil {
		return nil, errAnswerForm
	}
	p := &page{next: raw.Next, complete: raw.Complete, more: raw.More}
	for _, text := range raw.Revocations {
		e, known, err := readEntry(text)
		if err != nil {
			return nil, err
		}
		if known {
			p.entries = append(p.entries, e)
		}
	}
	return p, nil
}

// feedEntry is an entry of the feed. It is about one of grant, user and client.
type feedEntry struct {
	GrantID  *string `json:"grant_id"`
	Subject  *string `json:"sub"`
	ClientID *string `json:"client_id"`

	Generation    *int64   `json:"generation"`
	PreviousUntil *float64 `json:"previous_until"`
	Ended         bool     `json:"ended"`
	Blocked       bool     `json:"blocked"`
	GrantIDs      []string `json:"grant_ids"`
	NotBefore     *int64   `json:"not_before"`
	ExpiresAt     *float64 `json:"exp"`
}

func readEntry(text []byte) (e feedEntry, known bool, err error) {
	if json.Unmarshal(text, &e) != nil {
		return e, false, unknownKind(text)
	}
	switch {
	case count(e.GrantID != nil, e.Subject != nil, e.ClientID != nil) != 1:
		return e, false, nil
	case e.GrantID != nil && e.Generation == nil && !e.Ended:
		return e, false, nil
	case e.ExpiresAt == nil:
		return e, false, errAnswerForm
	}
	return e, true, nil
}

// unknownKind returns nil for an entry that need not be understood.
func unknownKind(text []byte) error {
	var names struct {
		GrantID  json.RawMessage `json:"grant_id"`
		Subject  json.RawMessage `json:"sub"`
		ClientID json.RawMessage `json:"client_id"`
	}
	if json.Unmarshal(text, &names) != nil || count(names.GrantID != nil, names.Subject != nil, names.ClientID != nil) == 1 {
		return errAnswerForm
	}
	return nil
}

func count(all ...bool) (n int) {
	for _, b := range all {
		if b {
			n++
		}
	}
	return n
}

// cutOffs is a list of what is dead. Many may check while one enters.
type cutOffs struct {
	grants  table[grantCut]
	users   table[userCut]
	blocked table[grantOfUser] // grants of blocked users
	clients table[clientCut]
}

// Until when the parts of a list matter is in seconds since 1970.
type (
	grantCut struct {
		ended         bool
		generation    int64
		previousUntil int64 // microseconds since 1970
		expires       int64
	}
	userCut struct {
		grants  []string
		expires int64
	}
	grantOfUser struct {
		user    string
		expires int64
	}
	clientCut struct {
		blocked   bool
		notBefore int64 // tokens of its own with a lower one are dead
		expires   int64
	}
)

func (c grantCut) until() int64    { return c.expires }
func (c userCut) until() int64     { return c.expires }
func (c grantOfUser) until() int64 { return c.expires }
func (c clientCut) until() int64   { return c.expires }

func newCutOffs() *cutOffs {
	return &cutOffs{
		grants: newTable[grantCut](), users: newTable[userCut](),
		blocked: newTable[grantOfUser](), clients: newTable[clientCut](),
	}
}

func (l *cutOffs) size() int {
	return l.grants.size + l.users.size + l.blocked.size + l.clients.size
}

// prune forgets what concerns no token any more.
func (l *cutOffs) prune(now time.Time) {
	before := now.Add(-keepBeyondExpiry).Unix()
	l.grants.prune(before)
	l.users.prune(before)
	l.blocked.prune(before)
	l.clients.prune(before)
}

// enter lets an entry take the place of what the list said about the same thing, and
// returns whether that was anything else.
func (l *cutOffs) enter(e *feedEntry) (changed bool) {
	expires := int64(bounded(*e.ExpiresAt))
	switch {
	case e.GrantID != nil:
		return l.enterGrant(*e.GrantID, e, expires)
	case e.Subject != nil:
		return l.enterUser(*e.Subject, e, expires)
	}
	return l.enterClient(*e.ClientID, e, expires)
}

func (l *cutOffs) enterClient(id string, e *feedEntry, expires int64) (changed bool) {
	before, known := l.clients.get(id)
	if !e.Blocked && e.NotBefore == nil {
		l.clients.delete(id)
		return known
	}
	c := clientCut{blocked: e.Blocked, expires: expires}
	if e.NotBefore != nil {
		c.notBefore = *e.NotBefore
	}
	l.clients.put(id, c)
	return c != before
}

// enterGrant never takes anything back: an ended grant stays so, and generations only
// grow. Another node of the issuer may tell again, later, what is older.
func (l *cutOffs) enterGrant(id string, e *feedEntry, expires int64) (changed bool) {
	c := grantCut{ended: e.Ended, expires: expires}
	if e.Generation != nil {
		c.generation = *e.Generation
	}
	if e.PreviousUntil != nil {
		c.previousUntil = int64(bounded(*e.PreviousUntil) * 1e6)
	}
	before, _ := l.grants.get(id)
	if before.ended || !c.ended && before.generation > c.generation {
		c = before
	}
	c.expires = max(expires, before.expires)
	l.grants.put(id, c)
	return c != before
}

// bounded is a time that can be counted in microseconds.
func bounded(seconds float64) float64 { return max(0, min(seconds, 1<<42)) }

func (l *cutOffs) enterUser(id string, e *feedEntry, expires int64) (changed bool) {
	before, known := l.users.get(id)
	var grants []string
	if e.Blocked {
		grants = e.GrantIDs
		l.users.put(id, userCut{grants, expires})
	} else {
		l.users.delete(id)
	}
	for _, grant := range grants {
		l.blocked.put(grant, grantOfUser{id, expires})
	}
	for _, grant := range before.grants {
		if g, ok := l.blocked.get(grant); ok && g.user == id && !slices.Contains(grants, grant) {
			l.blocked.delete(grant)
		}
	}
	return e.Blocked != known || known && before.expires != expires || !slices.Equal(grants, before.grants)
}

// check returns why a token is dead, or nil.
func (l *cutOffs) check(t *Token, now time.Time) error {
	if c, cut := l.clients.get(t.ClientID); cut {
		switch {
		case c.blocked:
			return errClientBlocked
		case t.GrantID == "" && t.ClientNotBefore < c.notBefore: // it only grows; the news may be behind
			return errClientTokens
		}
	}
	// In OroCommerce's profile `sub` is a name, which may be another user's id.
	if t.Profile == Standard {
		if _, blocked := l.users.get(t.Subject); blocked {
			return errUserBlocked
		}
	}
	if t.GrantID == "" {
		return nil
	}
	if _, blocked := l.blocked.get(t.GrantID); blocked {
		return errUserBlocked
	}
	c, cut := l.grants.get(t.GrantID)
	switch {
	case !cut:
		return nil
	case c.ended:
		return errGrantEnded
	case t.Generation < c.generation-1, t.Generation < c.generation && now.UnixMicro() >= c.previousUntil:
		return errOlderGeneration
	}
	return nil
}

// table is a map for many readers and one writer. It is in pieces, so that a writer that
// goes through all of it never keeps a reader waiting for long.
type table[V interface{ until() int64 }] struct {
	seed   maphash.Seed
	pieces []piece[V]
	size   int // the writer's
}

type piece[V any] struct {
	sync.RWMutex
	entries map[string]V
}

func newTable[V interface{ until() int64 }]() table[V] {
	return table[V]{seed: maphash.MakeSeed(), pieces: make([]piece[V], 64)}
}

func (t *table[V]) piece(key string) *piece[V] {
	return &t.pieces[maphash.String(t.seed, key)%uint64(len(t.pieces))]
}

func (t *table[V]) get(key string) (V, bool) {
	p := t.piece(key)
	p.RLock()
	defer p.RUnlock()
	v, ok := p.entries[key]
	return v, ok
}

func (t *table[V]) put(key string, v V) {
	p := t.piece(key)
	p.Lock()
	defer p.Unlock()
	if p.entries == nil {
		p.entries = map[string]V{}
	}
	t.size -= len(p.entries)
	p.entries[key] = v
	t.size += len(p.entries)
}

func (t *table[V]) delete(key string) {
	p := t.piece(key)
	p.Lock()
	defer p.Unlock()
	t.size -= len(p.entries)
	delete(p.entries, key)
	t.size += len(p.entries)
}

// prune forgets what mattered until before, or not so long.
func (t *table[V]) prune(before int64) {
	for i := range t.pieces {
		p := &t.pieces[i]
		p.Lock()
		t.size -= len(p.entries)
		maps.DeleteFunc(p.entries, func(_ string, v V) bool { return v.until() <= before })
		t.size += len(p.entries)
		p.Unlock()
	}
}

// All asks each of several ways of liveness: a token is alive if it is for all of them. One
// that knows it dead prevails over one that cannot tell.
//
// A Generations beside a Feed kills an older token in the very moment in which its
// successor is first used here, before the news of the refresh arrives.
func All(ways ...Liveness) Liveness { return all(slices.Clone(ways)) }

type all []Liveness

// Alive implements Liveness.
func (a all) Alive(ctx context.Context, t *Token) error {
	var untold error
	for _, way := range a {
		err := way.Alive(ctx, t)
		if errors.Is(err, ErrRevoked) {
			return err
		}
		if untold == nil {
			untold = err
		}
	}
	return untold
}
