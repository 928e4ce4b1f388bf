package accesstoken_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/counterfoil/counterfoil/accesstoken"
	"github.com/counterfoil/counterfoil/accesstoken/accesstokentest"
)

// act is something that ends tokens.
type act struct {
	name string
	do   func(*accesstokentest.Issuer)
	dead []string // the tokens that it kills, by their names in check

	undo     func(*accesstokentest.Issuer) // nil: it is for ever
	deadThen []string                      // those that stay dead
}

var acts = []act{
	{
		name: "refresh", do: func(i *accesstokentest.Issuer) { i.Refresh("g1") },
		dead: []string{"alice", "alice oro"},
	},
	{
		name: "revoke", do: func(i *accesstokentest.Issuer) { i.Revoke("g1") },
		dead: []string{"alice", "alice oro"},
	},
	{
		name: "block user", do: func(i *accesstokentest.Issuer) { i.BlockUser("u1") },
		dead: []string{"alice", "alice oro", "alice elsewhere"},
		undo: func(i *accesstokentest.Issuer) { i.UnblockUser("u1") },
	},
	{
		name: "block client", do: func(i *accesstokentest.Issuer) { i.BlockClient("shop") },
		dead: []string{"alice", "alice oro", "bob", "bob oro", "shop", "shop oro"},
		undo: func(i *accesstokentest.Issuer) { i.UnblockClient("shop") }, deadThen: []string{"shop", "shop oro"},
	},
	{
		name: "revoke the client's own", do: func(i *accesstokentest.Issuer) { i.RevokeClientTokens("shop") },
		dead: []string{"shop", "shop oro"},
	},
}

// check does the act, and looks which of many tokens are dead before and after it. The
// news of an act is here after settle.
func (a *act) check(t *testing.T, i *accesstokentest.Issuer, standard, oro *accesstoken.Verifier, settle func()) {
	t.Helper()
	own := func(more ...accesstokentest.TokenOption) string {
		return i.ClientToken(append(more, fast, accesstokentest.Audience(i.ClientID))...)
	}
	oroCommerce := accesstokentest.OroCommerce()
	tokens := map[string]string{
		"alice":           issue(i, "u1", accesstokentest.Grant("g1")),
		"alice oro":       issue(i, "u1", accesstokentest.Grant("g1"), oroCommerce, accesstokentest.Username("alice")),
		"alice elsewhere": issue(i, "u1", accesstokentest.ClientID("other")),
		"bob":             issue(i, "u2"),
		"bob oro":         issue(i, "u2", oroCommerce, accesstokentest.Username("u1")), // named as another's id
		"shop":            own(),
		"shop oro":        own(oroCommerce),
		"other":           own(accesstokentest.ClientID("other")),
	}
	wantDead := func(when string, dead []string) {
		t.Helper()
		for name, raw := range tokens {
			v, wanted := standard, error(nil)
			if strings.HasSuffix(name, "oro") {
				v = oro
			}
			if slices.Contains(dead, name) {
				wanted = accesstoken.ErrRevoked
			}
			want(t, v, raw, wanted, when+" "+a.name+", the token of "+name)
		}
	}
	wantDead("before", nil)
	a.do(i)
	settle()
	wantDead("after", a.dead)
	if a.undo == nil {
		return
	}
	a.undo(i)
	settle()
	wantDead("after the end of", a.deadThen)
}

// newFeed is a feed that nobody follows yet.
func newFeed(t *testing.T, i *accesstokentest.Issuer, c accesstoken.FeedConfig) *accesstoken.Feed {
	t.Helper()
	c.Issuer, c.ClientID, c.ClientSecret = i.URL, i.ClientID, accesstoken.Secret(i.ClientSecret)
	if c.HTTPClient == nil {
		c.HTTPClient = i.HTTPClient()
	}
	feed, err := accesstoken.NewFeed(c)
	if err != nil {
		t.Fatal(err)
	}
	return feed
}

// run follows a feed until stop, or the end of the test.
func run(t *testing.T, feed *accesstoken.Feed) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- feed.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v, want nil when its context ends", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// follow is a feed that is followed, and as fresh as can be.
func follow(t *testing.T, i *accesstokentest.Issuer, c accesstoken.FeedConfig) *accesstoken.Feed {
	t.Helper()
	feed := newFeed(t, i, c)
	run(t, feed)
	settle()
	return feed
}

// settle lets the news of one act arrive, in a bubble: a follower asks again after 20 ms.
func settle() {
	time.Sleep(20 * time.Millisecond)
	synctest.Wait()
}

// TestFeed: each end of a token arrives at once, in both profiles, and so does the end of
// a block.
func TestFeed(t *testing.T) {
	t.Parallel()
	for _, act := range acts {
		t.Run(act.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				i := startIssuer(t)
				feed := follow(t, i, accesstoken.FeedConfig{})
				act.check(t, i, verifierOf(t, i, feed), oroVerifierOf(t, i, feed), settle)
			})
		})
	}
}

// TestFeedFirstList: who comes later learns what happened before, however many answers
// that takes, over loopback and without waiting for anything but Alive.
func TestFeedFirstList(t *testing.T) {
	t.Parallel()
	i := accesstokentest.NewIssuer(t, accesstokentest.PageSize(3))
	var dead, alive []string
	for n := range 10 {
		grant := accesstokentest.Grant(fmt.Sprint("g", n))
		dead = append(dead, i.AccessToken("alice", fast, grant))
		i.Refresh(fmt.Sprint("g", n))
		alive = append(alive, i.AccessToken("alice", fast, grant))
	}
	feed := newFeed(t, i, accesstoken.FeedConfig{})
	run(t, feed)
	v := verifierOf(t, i, feed)
	for n := range dead {
		want(t, v, dead[n], accesstoken.ErrRevoked, "the token before the refresh")
		want(t, v, alive[n], nil, "the token after the refresh")
	}
}

// TestFeedReaders: many read while news and whole lists arrive, over loopback, and each
// finds its token dead.
func TestFeedReaders(t *testing.T) {
	t.Parallel()
	i := accesstokentest.NewIssuer(t)
	feed := newFeed(t, i, accesstoken.FeedConfig{})
	run(t, feed)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	const readers = 4
	var ended [readers]chan error
	for n := range readers {
		token := read(t, i, i.AccessToken("alice", fast, accesstokentest.Grant(fmt.Sprint("g", n))))
		ended[n] = make(chan error, 1)
		go func() {
			var err error
			for err == nil && ctx.Err() == nil {
				err = feed.Alive(ctx, token)
			}
			ended[n] <- err
		}()
	}
	for n := range readers {
		if n%2 == 1 {
			i.Restart()
		}
		i.Refresh(fmt.Sprint("g", n))
		if err := <-ended[n]; !errors.Is(err, accesstoken.ErrRevoked) {
			t.Errorf("the token of grant g%d in the end: %v, want ErrRevoked", n, err)
		}
	}
}

// TestFeedAwaitsFirstList: a request that comes before the first list waits for it, and
// not long.
func TestFeedAwaitsFirstList(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		silent   time.Duration
		patience time.Duration
		failOpen bool
		want     error
		took     time.Duration
	}{
		{name: "it comes", silent: 2 * time.Second, patience: time.Minute, took: 2 * time.Second},
		{name: "the request has no time", silent: 2 * time.Second, patience: time.Second, want: accesstoken.ErrUnavailable, took: time.Second},
		{name: "it does not come", silent: time.Hour, patience: time.Minute, want: accesstoken.ErrUnavailable, took: 5 * time.Second},
		{name: "it does not come, open", silent: time.Hour, patience: time.Minute, failOpen: true, took: 5 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				i := startIssuer(t)
				token := read(t, i, i.AccessToken("alice", fast))
				i.Silence()
				time.AfterFunc(test.silent, i.Up)
				feed := newFeed(t, i, accesstoken.FeedConfig{FailOpen: test.failOpen})
				run(t, feed)
				ctx, cancel := context.WithTimeout(t.Context(), test.patience)
				defer cancel()
				began := time.Now()
				if err := feed.Alive(ctx, token); !errors.Is(err, test.want) {
					t.Errorf("Alive: %v, want %v", err, test.want)
				}
				if took := time.Since(began); took != test.took {
					t.Errorf("it took %s, want %s", took, test.took)
				}
				time.Sleep(10 * time.Second)
				began = time.Now()
				_ = feed.Alive(t.Context(), token)
				if took := time.Since(began); took != 0 {
					t.Errorf("long after the start it took %s, want 0", took)
				}
			})
		})
	}
}

// TestFeedStale: without an answer for StaleAfter nobody can tell about tokens that were
// not known to be dead; with FailOpen they count as alive. What was known stays so.
func TestFeedStale(t *testing.T) {
	t.Parallel()
	for name, outage := range map[string]func(*accesstokentest.Issuer){"503": (*accesstokentest.Issuer).Down, "silence": (*accesstokentest.Issuer).Silence} {
		for failOpen, untold := range map[bool]error{false: accesstoken.ErrUnavailable, true: nil} {
			t.Run(fmt.Sprintf("%s, open: %t", name, failOpen), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					i := startIssuer(t)
					feed := follow(t, i, accesstoken.FeedConfig{StaleAfter: 12 * time.Second, FailOpen: failOpen})
					v := verifierOf(t, i, feed)
					alive, dead := i.AccessToken("alice", fast), i.AccessToken("bob", fast, accesstokentest.Grant("g"))
					want(t, v, alive, nil, "with the issuer")
					i.Revoke("g")
					settle()
					outage(i)
					time.Sleep(12*time.Second - 21*time.Millisecond)
					want(t, v, alive, nil, "before StaleAfter, a living token")
					time.Sleep(22 * time.Millisecond)
					want(t, v, alive, untold, "after StaleAfter, a living token")
					want(t, v, dead, accesstoken.ErrRevoked, "after StaleAfter, a dead token")
					i.Up()
					time.Sleep(2 * time.Second) // the longest pause, a sixth of StaleAfter
					want(t, v, alive, nil, "with the issuer again, a living token")
					want(t, v, dead, accesstoken.ErrRevoked, "with the issuer again, a dead token")
				})
			})
		}
	}
}

// TestFeedLostRequest: one request that gets lost does not make the feed stale.
func TestFeedLostRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i := startIssuer(t)
		var lost atomic.Int32
		transport := i.HTTPClient().Transport
		client := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if lost.Add(1) == 4 {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return transport.RoundTrip(r)
		})}
		feed := follow(t, i, accesstoken.FeedConfig{HTTPClient: client})
		v := verifierOf(t, i, feed)
		raw := i.AccessToken("alice", fast)
		for range 120 {
			time.Sleep(time.Second)
			want(t, v, raw, nil, "a living token")
		}
		if lost.Load() <= 4 {
			t.Errorf("%d requests in two minutes: the one that gets lost was not sent", lost.Load())
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestFeedGap: what happened while nobody followed, and the issuer became another, is
// known after.
func TestFeedGap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i := startIssuer(t)
		feed := follow(t, i, accesstoken.FeedConfig{})
		v := verifierOf(t, i, feed)
		refreshed := i.AccessToken("alice", fast, accesstokentest.Grant("g"))
		blocked, unblocked := i.AccessToken("bob", fast), i.AccessToken("carol", fast)
		i.BlockUser("carol")
		settle()
		want(t, v, refreshed, nil, "before the gap")
		want(t, v, unblocked, accesstoken.ErrRevoked, "before the gap, of a blocked user")
		i.Down()
		i.Restart()
		i.Refresh("g")
		i.BlockUser("bob")
		i.UnblockUser("carol")
		time.Sleep(10 * time.Second)
		i.Up()
		time.Sleep(5 * time.Second) // the longest pause
		want(t, v, refreshed, accesstoken.ErrRevoked, "refreshed in the gap")
		want(t, v, blocked, accesstoken.ErrRevoked, "blocked in the gap")
		want(t, v, unblocked, nil, "unblocked in the gap")
	})
}

// TestFeedPrevious: where the policy keeps the previous access token alive for a while,
// it dies at the end of that, and the one before it at once.
func TestFeedPrevious(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i := startIssuer(t, accesstokentest.KeepPrevious(1500*time.Millisecond))
		feed := follow(t, i, accesstoken.FeedConfig{})
		v := verifierOf(t, i, feed)
		grant := accesstokentest.Grant("g")
		first := i.AccessToken("alice", fast, grant)
		i.Refresh("g")
		second := i.AccessToken("alice", fast, grant)
		i.Refresh("g")
		third := i.AccessToken("alice", fast, grant)
		settle()
		want(t, v, first, accesstoken.ErrRevoked, "two refreshes ago")
		want(t, v, second, nil, "one refresh ago")
		want(t, v, third, nil, "the newest")
		time.Sleep(1500*time.Millisecond - 20*time.Millisecond - time.Microsecond)
		want(t, v, second, nil, "one refresh ago, a moment before its end")
		time.Sleep(time.Microsecond)
		want(t, v, second, accesstoken.ErrRevoked, "one refresh ago, at its end")
		want(t, v, third, nil, "the newest, after that")
	})
}

// script is an issuer that gives one answer after the other, holds the requests after
// them, and remembers what was asked.
type script struct {
	mu    sync.Mutex
	pages []http.HandlerFunc
	asked []url.Values
	at    []time.Time
}

// RoundTrip implements http.RoundTripper.
func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.asked, s.at = append(s.asked, r.URL.Query()), append(s.at, time.Now())
	var next http.HandlerFunc
	if len(s.pages) > 0 {
		next, s.pages = s.pages[0], s.pages[1:]
	}
	s.mu.Unlock()
	if next == nil {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return answers(next).RoundTrip(r)
}

func (s *script) requests() []url.Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// scripted is a feed of good answers, which is followed.
func scripted(t *testing.T, pages ...string) (*accesstoken.Feed, *script) {
	t.Helper()
	s := &script{}
	for _, p := range pages {
		s.pages = append(s.pages, answerJSON(http.StatusOK, p))
	}
	feed := scriptedFeed(t, s, accesstoken.FeedConfig{})
	run(t, feed)
	time.Sleep(2 * time.Second) // a script is read after that, also if each answer is a fault
	return feed, s
}

func scriptedFeed(t *testing.T, s http.RoundTripper, c accesstoken.FeedConfig) *accesstoken.Feed {
	t.Helper()
	c.URL, c.ClientID, c.ClientSecret = "https://id.example/oauth2/revocations", "api", oddSecret
	c.HTTPClient = &http.Client{Transport: s}
	feed, err := accesstoken.NewFeed(c)
	if err != nil {
		t.Fatal(err)
	}
	return feed
}

// The tokens that the scripts are about.
var (
	ofGrant = accesstoken.Token{Subject: "u1", ClientID: "shop", GrantID: "g", Generation: 2}
	ofOro   = accesstoken.Token{Profile: accesstoken.OroCommerce, Subject: "u1", ClientID: "shop", GrantID: "g", Generation: 2}
	ofShop  = accesstoken.Token{Subject: "shop", ClientID: "shop", ClientNotBefore: 1700000000123456}
)

// TestFeedEntries holds what each entry says, in answers as they are written on the wire.
func TestFeedEntries(t *testing.T) {
	t.Parallel()
	const first = `{"next":"1","complete":true,"revocations":[`
	for _, test := range []struct {
		name  string
		pages []string
		dead  []*accesstoken.Token // of the three
	}{
		{name: "nothing", pages: []string{first + `]}`}},
		{name: "older generations", pages: []string{first + `{"grant_id":"g","generation":3,"exp":4102444800}]}`}, dead: []*accesstoken.Token{&ofGrant, &ofOro}},
		{name: "this generation", pages: []string{first + `{"grant_id":"g","generation":2,"exp":4102444800}]}`}},
		{name: "another grant", pages: []string{first + `{"grant_id":"G","generation":3,"exp":4102444800}]}`}},
		{name: "previous_until to come", pages: []string{first + `{"grant_id":"g","generation":3,"previous_until":4102444799.5,"exp":4102444800}]}`}},
		{name: "previous_until of the past", pages: []string{first + `{"grant_id":"g","generation":3,"previous_until":900000000.5,"exp":4102444800}]}`}, dead: []*accesstoken.Token{&ofGrant, &ofOro}},
		{name: "previous_until is for one generation", pages: []string{first + `{"grant_id":"g","generation":4,"previous_until":4102444799,"exp":4102444800}]}`}, dead: []*accesstoken.Token{&ofGrant, &ofOro}},
		{name: "ended", pages: []string{first + `{"grant_id":"g","ended":true,"exp":4102444800}]}`}, dead: []*accesstoken.Token{&ofGrant, &ofOro}},
		{
			name:  "ended, and an older entry again",
			pages: []string{first + `{"grant_id":"g","ended":true,"exp":4102444800},{"grant_id":"g","generation":2,"exp":4102444800}]}`},
			dead:  []*accesstoken.Token{&ofGrant, &ofOro},
		},
		{
			name:  "a newer generation, and an older entry again",
			pages: []string{first + `{"grant_id":"g","generation":3,"exp":4102444800},{"grant_id":"g","generation":2,"previous_until":4102444799,"exp":4102444800}]}`},
			dead:  []*accesstoken.Token{&ofGrant, &ofOro},
		},
		{
			name:  "a newer generation, later",
			pages: []string{first + `{"grant_id":"g","generation":3,"previous_until":4102444799,"exp":4102444800},{"grant_id":"g","generation":4,"previous_until":4102444799,"exp":4102444800}]}`},
			dead:  []*accesstoken.Token{&ofGrant, &ofOro},
		},
		{
			name:  "a newer generation, and then the end",
			pages: []string{first + `{"grant_id":"g","generation":2,"exp":4102444800},{"grant_id":"g","ended":true,"exp":4102444800}]}`},
			dead:  []*accesstoken.Token{&ofGrant, &ofOro},
		},
		{name: "user", pages: []string{first + `{"sub":"u1","blocked":true,"exp":4102444800}]}`}, dead: []*accesstoken.Token{&ofGrant}},
		{name: "user with grants", pages: []string{first + `{"sub":"u1","blocked":true,"grant_ids":["f","g"],"exp":4102444800}]}`}, dead: []*accesstoken.Token{&ofGrant, &ofOro}},
		{name: "user by grants only", pages: []string{first + `{"sub":"u2","blocked":true,"grant_ids":["g"],"exp":4102444800}]}`}, dead: []*accesstoken.Token{&ofGrant, &ofOro}},
		{
			name:  "user lifted",
			pages: []string{first + `{"sub":"u1","blocked":true,"grant_ids":["g"],"exp":4102444800}]}`, `{"next":"2","revocations":[{"sub":"u1","exp":4102444800}]}`},
		},
		{
			name:  "user lifted whose grant ended",
			pages: []string{first + `{"sub":"u1","blocked":true,"grant_ids":["g"],"exp":4102444800},{"grant_id":"g","ended":true,"exp":4102444800},{"sub":"u1","exp":4102444800}]}`},
			dead:  []*accesstoken.Token{&ofGrant, &ofOro},
		},
		{
			name:  "another user lifted",
			pages: []string{first + `{"sub":"u1","blocked":true,"grant_ids":["g"],"exp":4102444800},{"sub":"u2","exp":4102444800}]}`},
			dead:  []*accesstoken.Token{&ofGrant, &ofOro},
		},
		{
			name:  "user with fewer grants, later",
			pages: []string{first + `{"sub":"u2","blocked":true,"grant_ids":["f","g"],"exp":4102444800},{"sub":"u2","blocked":true,"grant_ids":["f"],"exp":4102444800}]}`},
		},
		{
			name:  "user with more grants, later",
			pages: []string{first + `{"sub":"u2","blocked":true,"grant_ids":["g"],"exp":4102444800},{"sub":"u2","blocked":true,"grant_ids":["f","g"],"exp":4102444800}]}`},
			dead:  []*accesstoken.Token{&ofGrant, &ofOro},
		},
		{name: "client", pages: []string{first + `{"client_id":"shop","blocked":true,"exp":4102444800}]}`}, dead: []*accesstoken.Token{&ofGrant, &ofOro, &ofShop}},
		{name: "client lifted", pages: []string{first + `{"client_id":"shop","blocked":true,"exp":4102444800},{"client_id":"shop","exp":4102444800}]}`}},
		{name: "client's own", pages: []string{first + `{"client_id":"shop","not_before":1700000000123457,"exp":4102444800}]}`}, dead: []*accesstoken.Token{&ofShop}},
		{name: "client's own, the same", pages: []string{first + `{"client_id":"shop","not_before":1700000000123456,"exp":4102444800}]}`}},
		{name: "client's own, an older one", pages: []string{first + `{"client_id":"shop","not_before":0,"exp":4102444800}]}`}},
		{
			name:  "client lifted, and its own",
			pages: []string{first + `{"client_id":"shop","blocked":true,"not_before":1800000000000000,"exp":4102444800},{"client_id":"shop","not_before":1800000000000000,"exp":4102444800}]}`},
			dead:  []*accesstoken.Token{&ofShop},
		},
		{
			name: "unknown members and kinds",
			pages: []string{`{"next":"1","complete":true,"node":{"a":[1]},"revocations":[{"grant_id":"f","generation":1,"why":["x"],"exp":4102444800},
				{"jti":"x","exp":4102444800},{"jti":"y","generation":"all","ended":7},{"sub":"u1","client_id":"shop","blocked":true,"exp":4102444800},
				{"grant_id":"g","paused":true,"exp":4102444800},{"client_id":"shop","blocked":true,"exp":4102444800}]}`},
			dead: []*accesstoken.Token{&ofGrant, &ofOro, &ofShop},
		},
		{
			name: "kinds that look like known ones",
			pages: []string{first + `{"sub":"u1","client_id":"shop","blocked":true,"exp":4102444800},{"grant_id":"g","client_id":"shop","ended":true,"exp":4102444800},
				{"grant_id":"g","paused":true}]}`},
		},
		{
			name: "two users of one grant, and one is lifted",
			pages: []string{first + `{"sub":"u1","blocked":true,"grant_ids":["g"],"exp":4102444800},{"sub":"u2","blocked":true,"grant_ids":["g"],"exp":4102444800},
				{"sub":"u1","exp":4102444800}]}`},
			dead: []*accesstoken.Token{&ofGrant, &ofOro},
		},
		{
			name: "news after two new lists",
			pages: []string{
				`{"next":"1","complete":true,"more":true,"revocations":[{"grant_id":"g","ended":true,"exp":4102444800}]}`,
				`{"next":"2","revocations":[]}`,
				`{"next":"3","complete":true,"revocations":[]}`,
				`{"next":"4","revocations":[{"client_id":"shop","not_before":1800000000000000,"exp":4102444800}]}`,
			},
			dead: []*accesstoken.Token{&ofShop},
		},
		{
			name: "a new whole list",
			pages: []string{
				first + `{"grant_id":"g","ended":true,"exp":4102444800},{"sub":"u1","blocked":true,"grant_ids":["g"],"exp":4102444800}]}`,
				`{"next":"2","complete":true,"revocations":[{"client_id":"shop","not_before":1800000000000000,"exp":4102444800}]}`,
			},
			dead: []*accesstoken.Token{&ofShop},
		},
		{
			name: "a new list that is not whole",
			pages: []string{
				first + `{"grant_id":"g","ended":true,"exp":4102444800}]}`,
				`{"next":"2","complete":true,"more":true,"revocations":[{"client_id":"shop","not_before":1800000000000000,"exp":4102444800}]}`,
			},
			dead: []*accesstoken.Token{&ofGrant, &ofOro},
		},
		{
			name: "a new list that is whole at last",
			pages: []string{
				first + `{"grant_id":"g","ended":true,"exp":4102444800}]}`,
				`{"next":"2","complete":true,"more":true,"revocations":[{"grant_id":"g","ended":true,"exp":4102444800}]}`,
				`{"next":"3","complete":true,"more":true,"revocations":[]}`, // it began again
				`{"next":"4","more":true,"revocations":[{"client_id":"shop","not_before":1800000000000000,"exp":4102444800}]}`,
				`{"next":"5","revocations":[]}`,
			},
			dead: []*accesstoken.Token{&ofShop},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				feed, _ := scripted(t, test.pages...)
				for _, token := range []*accesstoken.Token{&ofGrant, &ofOro, &ofShop} {
					err := feed.Alive(t.Context(), token)
					if dead := slices.Contains(test.dead, token); errors.Is(err, accesstoken.ErrRevoked) != dead || (err != nil) != dead {
						t.Errorf("%v token with sub %q: %v, want dead: %t", token.Profile, token.Subject, err, dead)
					}
				}
			})
		})
	}
}

// TestFeedFaults: an answer that cannot be understood changes nothing, and the same is
// asked again.
func TestFeedFaults(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]http.HandlerFunc{
		"503":               answerJSON(503, `{"error":"temporarily_unavailable"}`),
		"401":               answerJSON(401, `{"error":"invalid_client"}`),
		"500 with a list":   answerJSON(500, `{"next":"x","complete":true,"revocations":[]}`),
		"empty":             answerJSON(200, ``),
		"empty object":      answerJSON(200, `{}`),
		"no cursor":         answerJSON(200, `{"complete":true,"revocations":[]}`),
		"no list":           answerJSON(200, `{"next":"x","complete":true}`),
		"null list":         answerJSON(200, `{"next":"x","complete":true,"revocations":null}`),
		"cut off":           answerJSON(200, `{"next":"x","complete":true,"revocations":[`),
		"complete twice":    answerJSON(200, `{"next":"x","complete":true,"complete":false,"revocations":[]}`),
		"complete is text":  answerJSON(200, `{"next":"x","complete":"true","revocations":[]}`),
		"entry is a text":   answerJSON(200, `{"next":"x","complete":true,"revocations":["g"]}`),
		"generation a text": answerJSON(200, `{"next":"x","complete":true,"revocations":[{"grant_id":"g","generation":"3","exp":4102444800}]}`),
		"grant a number":    answerJSON(200, `{"next":"x","complete":true,"revocations":[{"grant_id":7,"generation":3,"exp":4102444800}]}`),
		"grants a text":     answerJSON(200, `{"next":"x","complete":true,"revocations":[{"sub":"u1","blocked":true,"grant_ids":"g","exp":4102444800}]}`),
		"no end":            answerJSON(200, `{"next":"x","complete":true,"revocations":[{"grant_id":"g","generation":3}]}`),
		"not_before a half": answerJSON(200, `{"next":"x","complete":true,"revocations":[{"client_id":"shop","not_before":1.5,"exp":4102444800}]}`),
		"too large":         answerJSON(200, `{"next":"x","complete":true,"revocations":[]}`+strings.Repeat(" ", 16<<20)),
		"too many in all":   answerJSON(200, `{"next":"x","revocations":[{"sub":"u1","blocked":true,"grant_ids":["1","2"],"exp":4102444800}]}`),
		"too many":          answerJSON(200, `{"next":"x","complete":true,"revocations":[{"sub":"u1","blocked":true,"grant_ids":["1","2","3"],"exp":4102444800}]}`),
		"a page": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"next":"x","complete":true,"revocations":[]}`))
		},
		"a redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &script{pages: []http.HandlerFunc{
					answerJSON(200, `{"next":"a cursor&","complete":true,"revocations":[{"grant_id":"g","ended":true,"exp":4102444800}]}`),
					fault,
					answerJSON(200, `{"next":"b","revocations":[{"client_id":"shop","not_before":1800000000000000,"exp":4102444800}]}`),
				}}
				var faults []string
				feed := scriptedFeed(t, s, accesstoken.FeedConfig{MaxEntries: 3, OnError: func(err error) { faults = append(faults, err.Error()) }})
				stop := run(t, feed)
				time.Sleep(2 * time.Second)
				for _, token := range []*accesstoken.Token{&ofGrant, &ofShop} {
					if err := feed.Alive(t.Context(), token); !errors.Is(err, accesstoken.ErrRevoked) {
						t.Errorf("Alive of a token that is dead by what came before and after: %v, want ErrRevoked", err)
					}
				}
				stop()
				if len(faults) != 1 {
					t.Fatalf("OnError heard of %d faults, want 1: %q", len(faults), faults)
				}
				checkSecrets(t, faults[0], oddSecret)
				var cursors []string
				for _, query := range s.requests() {
					cursors = append(cursors, query.Get("since"))
				}
				if wanted := []string{"", "a cursor&", "a cursor&", "b"}; !slices.Equal(cursors, wanted) {
					t.Errorf("it asked for what came after %q, want %q", cursors, wanted)
				}
			})
		})
	}
}

// TestFeedCursor: where the issuer cannot read the cursor, the follower begins anew.
func TestFeedCursor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &script{pages: []http.HandlerFunc{
			answerJSON(200, `{"next":"a","complete":true,"revocations":[{"grant_id":"g","ended":true,"exp":4102444800}]}`),
			answerJSON(400, `{"error":"invalid_request"}`),
			answerJSON(200, `{"next":"b","complete":true,"revocations":[{"client_id":"shop","not_before":1800000000000000,"exp":4102444800}]}`),
		}}
		feed := scriptedFeed(t, s, accesstoken.FeedConfig{})
		stop := run(t, feed)
		time.Sleep(2 * time.Second)
		for token, wanted := range map[*accesstoken.Token]error{&ofGrant: nil, &ofShop: accesstoken.ErrRevoked} {
			if err := feed.Alive(t.Context(), token); !errors.Is(err, wanted) {
				t.Errorf("%v: %v, want %v by the new list", token, err, wanted)
			}
		}
		stop()
		var cursors []string
		for _, query := range s.requests() {
			cursors = append(cursors, query.Get("since"))
		}
		if wanted := []string{"", "a", "", "b"}; !slices.Equal(cursors, wanted) {
			t.Errorf("it asked for what came after %q, want %q", cursors, wanted)
		}
	})
}

// TestFeedClock: staleness is judged by a clock that goes on while the machine sleeps, and
// a clock that was put back far does not make it fresh for ever.
func TestFeedClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var jump atomic.Int64
		page := answerJSON(200, `{"next":"1","complete":true,"revocations":[]}`)
		feed := scriptedFeed(t, &script{pages: []http.HandlerFunc{page}}, accesstoken.FeedConfig{
			Now: func() time.Time { return time.Now().Add(time.Duration(jump.Load())) },
		})
		run(t, feed)
		synctest.Wait()
		for after, wanted := range map[time.Duration]error{
			0: nil, 29 * time.Second: nil, -29 * time.Second: nil, time.Hour: accesstoken.ErrUnavailable, -time.Hour: accesstoken.ErrUnavailable,
		} {
			jump.Store(int64(after))
			if err := feed.Alive(t.Context(), &ofGrant); !errors.Is(err, wanted) {
				t.Errorf("%s after the last answer: %v, want %v", after, err, wanted)
			}
		}
	})
}

// TestFeedWaits: the issuer is asked to hold a request only where nothing is known to
// be missing: not the first, not while there is more, not after a fault.
func TestFeedWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &script{pages: []http.HandlerFunc{
			answerJSON(200, `{"next":"1","complete":true,"more":true,"revocations":[{"jti":"x"}]}`),
			answerJSON(200, `{"next":"2","revocations":[]}`),
			answerJSON(503, `{}`),
			answerJSON(200, `{"next":"3","revocations":[]}`),
		}}
		stop := run(t, scriptedFeed(t, s, accesstoken.FeedConfig{}))
		time.Sleep(2 * time.Second)
		stop()
		var waits []string
		for _, query := range s.requests() {
			waits = append(waits, query.Get("wait"))
		}
		if wanted := []string{"0", "0", "10", "0", "10"}; !slices.Equal(waits, wanted) {
			t.Errorf("it asked to wait for %q seconds, want %q", waits, wanted)
		}
	})
}

// TestFeedNotWhole: no token is judged by a list that is not whole, or whose beginning is
// missing.
func TestFeedNotWhole(t *testing.T) {
	t.Parallel()
	for name, pages := range map[string][]string{
		"more":           {`{"next":"1","complete":true,"more":true,"revocations":[]}`},
		"no beginning":   {`{"next":"1","revocations":[]}`},
		"the end of one": {`{"next":"1","more":true,"revocations":[]}`, `{"next":"2","revocations":[]}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				feed, _ := scripted(t, pages...)
				if err := feed.Alive(t.Context(), &ofGrant); !errors.Is(err, accesstoken.ErrUnavailable) {
					t.Errorf("Alive: %v, want ErrUnavailable", err)
				}
			})
		})
	}
}

// TestFeedBacksOff: an issuer that is down is asked ever more rarely, but often enough.
func TestFeedBacksOff(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]http.HandlerFunc{
		"503": answerJSON(503, `{}`),
		"503 with Retry-After": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "3600")
			answerJSON(503, `{}`)(w, r)
		},
		"401": answerJSON(401, `{}`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &script{pages: slices.Repeat([]http.HandlerFunc{h}, 10_000)}
				stop := run(t, scriptedFeed(t, s, accesstoken.FeedConfig{}))
				time.Sleep(10 * time.Minute)
				stop()
				for n := 1; n < len(s.at); n++ {
					pause := s.at[n].Sub(s.at[n-1])
					if pause < 50*time.Millisecond || n > 10 && pause < 2500*time.Millisecond || pause > 5*time.Second {
						t.Errorf("the pause after %d failures is %s, want from 50 ms, in the end 2.5 s, to 5 s", n, pause)
					}
				}
				if len(slices.Compact(gaps(s.at[10:]))) < 10 {
					t.Error("the pauses are not random: all followers would come back at the same moment")
				}
			})
		})
	}
}

func gaps(at []time.Time) (gaps []time.Duration) {
	for n := 1; n < len(at); n++ {
		gaps = append(gaps, at[n].Sub(at[n-1]))
	}
	return gaps
}

// TestFeedRestless: an issuer that never holds a request is not asked all the time.
func TestFeedRestless(t *testing.T) {
	t.Parallel()
	for name, page := range map[string]string{
		"nothing":                `{"next":"1","revocations":[]}`,
		"the same list":          `{"next":"1","complete":true,"revocations":[{"grant_id":"g","ended":true,"exp":4102444800}]}`,
		"the same grants":        `{"next":"1","revocations":[{"grant_id":"g","ended":true,"exp":4102444800},{"grant_id":"h","generation":1,"previous_until":1.5,"exp":4102444800}]}`,
		"the same user":          `{"next":"1","revocations":[{"sub":"u1","blocked":true,"grant_ids":["g"],"exp":4102444800}]}`,
		"the same client":        `{"next":"1","revocations":[{"client_id":"shop","blocked":true,"not_before":1800000000000000,"exp":4102444800}]}`,
		"nobody's blocks":        `{"next":"1","revocations":[{"client_id":"shop","exp":4102444800},{"sub":"u1","exp":4102444800}]}`,
		"always more of nothing": `{"next":"1","more":true,"revocations":[]}`,
		"never whole":            `{"next":"1","complete":true,"more":true,"revocations":[{"grant_id":"g","ended":true,"exp":4102444800}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				first := answerJSON(200, `{"next":"0","complete":true,"revocations":[]}`)
				s := &script{pages: append([]http.HandlerFunc{first}, slices.Repeat([]http.HandlerFunc{answerJSON(200, page)}, 10_000)...)}
				stop := run(t, scriptedFeed(t, s, accesstoken.FeedConfig{}))
				time.Sleep(time.Minute)
				stop()
				if n := len(s.requests()); n > 70 {
					t.Errorf("%d requests in a minute, want 70 at most", n)
				}
			})
		})
	}
}

// TestFeedForgets: an entry whose time is over is forgotten, with the grants of a user.
func TestFeedForgets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		exp := time.Now().Add(time.Hour).Unix()
		list := `{"next":"1","complete":true,"revocations":[{"grant_id":"g","ended":true,"exp":%[1]d},{"client_id":"shop","not_before":1800000000000000,"exp":%[1]d},
			{"sub":"u2","blocked":true,"grant_ids":["f"],"exp":%[1]d},{"grant_id":"stays","ended":true,"exp":4102444800},{"grant_id":"stays","generation":1,"exp":%[1]d}]}`
		s := &script{pages: []http.HandlerFunc{answerJSON(200, fmt.Sprintf(list, exp))}}
		for range 10_000 {
			s.pages = append(s.pages, func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(10 * time.Second)
				answerJSON(200, `{"next":"1","revocations":[]}`)(w, r)
			})
		}
		feed := scriptedFeed(t, s, accesstoken.FeedConfig{})
		run(t, feed)
		concerned := []*accesstoken.Token{
			&ofGrant, &ofShop,
			{Subject: "u2", ClientID: "any", GrantID: "any"},
			{Profile: accesstoken.OroCommerce, Subject: "bob", ClientID: "any", GrantID: "f"},
		}
		check := func(when string, dead bool) {
			t.Helper()
			for n, token := range concerned {
				if err := feed.Alive(t.Context(), token); errors.Is(err, accesstoken.ErrRevoked) != dead || (err != nil) != dead {
					t.Errorf("%s, token %d: %v, want dead: %t", when, n, err, dead)
				}
			}
		}
		time.Sleep(time.Hour)
		check("at the end", true)
		time.Sleep(3 * time.Minute)
		check("three minutes later", false)
		if err := feed.Alive(t.Context(), &accesstoken.Token{GrantID: "stays"}); !errors.Is(err, accesstoken.ErrRevoked) {
			t.Errorf("an entry whose time is not over: %v, want ErrRevoked", err)
		}
	})
}

// TestFeedSlowServer: an issuer that sends an answer byte by byte and never ends is left,
// over loopback: the answer's time is bounded, whatever comes.
func TestFeedSlowServer(t *testing.T) {
	t.Parallel()
	i := accesstokentest.NewIssuer(t)
	token := read(t, i, i.AccessToken("alice", fast))
	var slow atomic.Bool
	slow.Store(true)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for slow.Load() && r.Context().Err() == nil {
			if _, err := w.Write([]byte(" ")); err != nil || http.NewResponseController(w).Flush() != nil {
				return
			}
		}
		_, _ = w.Write([]byte(`{"next":"1","complete":true,"revocations":[]}`))
	}))
	t.Cleanup(server.Close)
	faults := make(chan error, 100)
	feed, err := accesstoken.NewFeed(accesstoken.FeedConfig{
		URL: server.URL, ClientID: "api", ClientSecret: oddSecret, StaleAfter: 3 * time.Second, OnError: func(err error) { faults <- err },
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, feed)
	select {
	case <-faults:
	case <-time.After(20 * time.Second):
		t.Error("the follower hangs")
	}
	slow.Store(false)
	if err := feed.Alive(t.Context(), token); err != nil {
		t.Errorf("Alive, when the issuer is in order: %v, want nil", err)
	}
}

// TestFeedAnotherIssuer: nothing is said about tokens of an issuer whose feed it is not.
func TestFeedAnotherIssuer(t *testing.T) {
	t.Parallel()
	i, other := accesstokentest.NewIssuer(t), accesstokentest.NewIssuer(t)
	feed := newFeed(t, i, accesstoken.FeedConfig{FailOpen: true})
	run(t, feed)
	want(t, verifierOf(t, i, feed), i.AccessToken("alice", fast), nil, "a token of the issuer")
	want(t, verifierOf(t, other, feed), other.AccessToken("alice", fast), accesstoken.ErrUnavailable, "a token of another")
}

// TestFeedRun: a feed is followed once at a time, and goes on from where it was.
func TestFeedRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i := startIssuer(t)
		feed := newFeed(t, i, accesstoken.FeedConfig{})
		stop := run(t, feed)
		synctest.Wait()
		v := verifierOf(t, i, feed)
		raw := i.AccessToken("alice", fast, accesstokentest.Grant("g"))
		if err := feed.Run(t.Context()); err == nil {
			t.Error("a second Run beside the first: nil, want an error")
		}
		stop()
		time.Sleep(time.Minute)
		want(t, v, raw, accesstoken.ErrUnavailable, "when nobody has followed for a minute")
		stop = run(t, feed)
		synctest.Wait()
		want(t, v, raw, nil, "when it is followed again, with nothing new")
		stop()
		i.Refresh("g")
		want(t, v, raw, nil, "while nobody follows")
		run(t, feed)
		synctest.Wait()
		want(t, v, raw, accesstoken.ErrRevoked, "when it is followed again, with something new")
	})
}

// TestFeedTimes: settings that cannot work are errors.
func TestFeedTimes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		stale, wait time.Duration
		wrong       bool
	}{
		{},
		{stale: 3 * time.Second},
		{stale: time.Hour},
		{stale: time.Hour, wait: 50 * time.Second},
		{stale: 3 * time.Second, wait: 2 * time.Second},
		{stale: 3*time.Second - 1, wait: 2 * time.Second, wrong: true},
		{stale: -time.Second, wrong: true},
		{stale: 3 * time.Second, wait: 3 * time.Second, wrong: true},
		{wait: 30 * time.Second, wrong: true},
		{stale: time.Hour, wait: 51 * time.Second, wrong: true},
		{wait: 500 * time.Millisecond, wrong: true},
		{wait: 1500 * time.Millisecond, wrong: true},
		{wait: -time.Second, wrong: true},
	} {
		_, err := accesstoken.NewFeed(accesstoken.FeedConfig{
			Issuer: "https://id.example", ClientID: "api", ClientSecret: "s3cret", StaleAfter: test.stale, Wait: test.wait,
		})
		if (err != nil) != test.wrong {
			t.Errorf("StaleAfter %s with Wait %s: %v, want an error: %t", test.stale, test.wait, err, test.wrong)
		}
	}
}

// says is a way of liveness that says always the same.
type says struct{ err error }

// Alive implements accesstoken.Liveness.
func (s says) Alive(context.Context, *accesstoken.Token) error { return s.err }

// TestAll: all must say that a token is alive; one that is dead for one is dead.
func TestAll(t *testing.T) {
	t.Parallel()
	alive, dead, untold := says{}, says{accesstoken.ErrRevoked}, says{accesstoken.ErrUnavailable}
	for _, test := range []struct {
		ways []accesstoken.Liveness
		want error
	}{
		{nil, nil},
		{[]accesstoken.Liveness{alive, alive}, nil},
		{[]accesstoken.Liveness{alive, dead}, accesstoken.ErrRevoked},
		{[]accesstoken.Liveness{untold, alive}, accesstoken.ErrUnavailable},
		{[]accesstoken.Liveness{untold, dead}, accesstoken.ErrRevoked},
		{[]accesstoken.Liveness{dead, untold}, accesstoken.ErrRevoked},
	} {
		if err := accesstoken.All(test.ways...).Alive(t.Context(), &ofGrant); !errors.Is(err, test.want) {
			t.Errorf("All of %v: %v, want %v", test.ways, err, test.want)
		}
	}
}

// TestAllGenerations: a new token that is seen here kills the older one before the news
// arrives.
func TestAllGenerations(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i := startIssuer(t)
		generations := accesstoken.NewGenerations(accesstoken.GenerationsConfig{})
		v := verifierOf(t, i, accesstoken.All(follow(t, i, accesstoken.FeedConfig{}), generations))
		older := i.AccessToken("alice", fast, accesstokentest.Grant("g"))
		want(t, v, older, nil, "before the refresh")
		i.Silence()
		i.Refresh("g")
		newer := i.AccessToken("alice", fast, accesstokentest.Grant("g"))
		want(t, v, older, nil, "after a refresh that nobody here knows of")
		want(t, v, newer, nil, "the new token")
		want(t, v, older, accesstoken.ErrRevoked, "after the new token was here")
	})
}
