package resource_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/accesstoken"
	"github.com/counterfoil/counterfoil/test/program"
)

// Two more ways: a feed that goes on for 3 s without its issuer, and what then comes.
const (
	failClosed way = "feed, failing closed"
	failOpen   way = "feed, failing open"
)

const staleAfter = 3 * time.Second

// followBriefly adds the two ways to an API, whose feeds are at an address.
func (a *api) followBriefly(s *site, at string) {
	a.t.Helper()
	c := accesstoken.FeedConfig{
		URL: at + "/oauth2/revocations", ClientID: s.api.ID, ClientSecret: accesstoken.Secret(s.api.Secret), StaleAfter: staleAfter,
	}
	closed := follow(a.t, c)
	c.FailOpen = true
	a.protect(s, accesstoken.Standard, s.api.ID, map[way]accesstoken.Liveness{failClosed: closed, failOpen: follow(a.t, c)})
}

// TestIssuerAway: while the issuer is away, an API goes on, or answers 503, as it was
// told; and when the issuer is back, what died meanwhile is dead here too.
func TestIssuerAway(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := newAPI(t, s, accesstoken.Standard, s.api)
	a.followBriefly(s, s.issuer())
	lives, dead, dies := s.logIn(t, accesstoken.Standard), s.logIn(t, accesstoken.Standard), s.logIn(t, accesstoken.Standard)
	s.node.Run("", "grant", "revoke", dead.claims().GrantID)
	for _, by := range []way{offline, generations, introspection, feed, failClosed, failOpen} {
		a.await("a token that lives", by, lives.held.AccessToken, http.StatusOK, patience)
	}
	a.await("a token that is dead", failOpen, dead.held.AccessToken, http.StatusUnauthorized, bounds[feed])
	a.want("another that lives", failOpen, dies.held.AccessToken, http.StatusOK)

	began := time.Now()
	s.node.Stop()
	a.await("the issuer is away", introspection, lives.held.AccessToken, http.StatusServiceUnavailable, bounds[introspection])
	a.await("the issuer is away", failClosed, lives.held.AccessToken, http.StatusServiceUnavailable, staleAfter+bounds[feed])
	if went := time.Since(began); went < staleAfter/3 {
		t.Errorf("the API answers 503 after %s, want it to go on for about %s", went, staleAfter)
	}
	s.node.Run("", "grant", "revoke", dies.claims().GrantID)
	for _, by := range []way{offline, generations, failOpen, feed} { // the last one goes on for 30 s
		a.want("the issuer is away", by, lives.held.AccessToken, http.StatusOK)
	}
	a.want("nobody knows that it died", failOpen, dies.held.AccessToken, http.StatusOK)
	a.want("known to be dead", failOpen, dead.held.AccessToken, http.StatusUnauthorized)
	a.want("known to be dead", failClosed, dead.held.AccessToken, http.StatusUnauthorized)

	s.node.Start()
	for _, by := range []way{introspection, failClosed} {
		a.await("the issuer is back", by, lives.held.AccessToken, http.StatusOK, patience)
		a.want("died while the issuer was away", by, dies.held.AccessToken, http.StatusUnauthorized)
	}
	for _, by := range []way{failOpen, feed} {
		a.await("died while the issuer was away", by, dies.held.AccessToken, http.StatusUnauthorized, patience)
		a.want("the issuer is back", by, lives.held.AccessToken, http.StatusOK)
	}
	old := lives.held.AccessToken
	lives.refresh()
	a.await("everything goes on", failClosed, old, http.StatusUnauthorized, bounds[feed])
	succeed(a, lives.held.AccessToken, introspection, failClosed, failOpen, feed)
}

// front sends requests to one of several nodes, as a load balancer does.
type front struct {
	*httputil.ReverseProxy
	to atomic.Pointer[url.URL]
}

func newFront(t *testing.T, node *program.Program) (f *front, address string) {
	t.Helper()
	f = &front{}
	f.ReverseProxy = &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(f.to.Load()) }, ErrorHandler: away}
	f.send(node)
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return f, server.URL
}

// send sends what comes from now on to a node.
func (f *front) send(node *program.Program) { f.to.Store(&url.URL{Scheme: "http", Host: node.Address}) }

func away(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }

// TestNodeAway: when the node that an API follows dies, the API finds another one, and
// goes on there without a gap: nobody is refused who lives, and what died is refused,
// also what died while the API was between the two.
func TestNodeAway(t *testing.T) {
	t.Parallel()
	s := newSiteOfTwo(t)
	f, address := newFront(t, s.asked)
	a := newBareAPI(t)
	a.followBriefly(s, address)
	lives, refreshed, disabled := s.logIn(t, accesstoken.Standard), s.logIn(t, accesstoken.Standard), s.logIn(t, accesstoken.Standard)
	for _, held := range []*session{lives, refreshed, disabled} {
		a.await("a token that lives", failClosed, held.held.AccessToken, http.StatusOK, patience)
	}
	w := a.watch(lives.held.AccessToken, failClosed) // it must not see a 503

	s.asked.Kill()
	old := refreshed.held.AccessToken
	refreshed.refresh()
	f.send(s.node)
	s.node.Run("", "user", "disable", disabled.user)
	a.await("refreshed between two nodes", failClosed, old, http.StatusUnauthorized, staleAfter)
	a.await("disabled between two nodes", failClosed, disabled.held.AccessToken, http.StatusUnauthorized, staleAfter)
	succeed(a, refreshed.held.AccessToken, failClosed)

	s.asked.Start()
	f.send(s.asked)
	s.node.Kill()
	s.asked.Run("", "grant", "revoke", lives.claims().GrantID)
	revoked := time.Now()
	for by, survived := range w.survival("at two nodes in turn", revoked) {
		if survived > staleAfter {
			t.Errorf("%s: a token is accepted %s after its death, at two nodes in turn", by, survived)
		}
	}
	succeed(a, refreshed.held.AccessToken, failClosed)
}

// missedWithin is how long it takes, at most, until a node that was killed is missed, and
// what it did last is looked for.
const missedWithin = 20 * time.Second

// TestNodeKilled: a node that is killed right after a refresh tells no other node of it;
// they find out.
func TestNodeKilled(t *testing.T) {
	t.Parallel()
	s := newSiteOfTwo(t)
	a := newBareAPI(t)
	a.followBriefly(s, "http://"+s.asked.Address)
	held := s.logIn(t, accesstoken.Standard)
	w := a.watch(held.held.AccessToken, failClosed)
	held.refresh()
	s.node.Kill()
	killed := time.Now()
	succeed(a, held.held.AccessToken, failClosed)
	if survived := w.survival("a node is killed", killed)[failClosed]; survived > missedWithin {
		t.Errorf("the older token is accepted for %s, want %s at most", survived, missedWithin)
	}
	succeed(a, held.held.AccessToken, failClosed)
}
