package resource_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/accesstoken"
	"github.com/counterfoil/counterfoil/test/program"
)

// way is a way to protect an API.
type way string

const (
	offline       way = "offline"
	generations   way = "generations"
	introspection way = "introspection"
	feed          way = "feed"
	both          way = "feed and generations"
	exact         way = "forward-auth" // asked directly, as a gateway does
)

// cacheFor is how long Introspection uses an answer again: its default.
const cacheFor = time.Second

// api is an API that is protected in every way.
type api struct {
	*http.Client
	t         *testing.T
	addresses map[way]string
}

// newAPI starts an API for tokens of a profile that name a client in `aud`. It introspects
// them as that client, since nobody else may.
func newAPI(t *testing.T, s *site, profile accesstoken.Profile, audience program.Client) *api {
	t.Helper()
	a := newBareAPI(t)
	asked := "http://" + s.asked.Address
	a.addresses[exact] = asked + "/oauth2/forward-auth?" + url.Values{"audience": {audience.ID}}.Encode()
	asking, err := accesstoken.NewIntrospection(accesstoken.IntrospectionConfig{
		URL: asked + "/oauth2/introspect", ClientID: audience.ID, ClientSecret: accesstoken.Secret(audience.Secret),
	})
	if err != nil {
		t.Fatal(err)
	}
	following := follow(t, accesstoken.FeedConfig{
		URL: asked + "/oauth2/revocations", ClientID: s.api.ID, ClientSecret: accesstoken.Secret(s.api.Secret),
	})
	a.protect(s, profile, audience.ID, map[way]accesstoken.Liveness{
		offline:       nil,
		generations:   accesstoken.NewGenerations(accesstoken.GenerationsConfig{}),
		introspection: asking,
		feed:          following,
		both:          accesstoken.All(following, accesstoken.NewGenerations(accesstoken.GenerationsConfig{})),
	})
	return a
}

func newBareAPI(t *testing.T) *api {
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return &api{Client: &http.Client{Transport: transport, Timeout: 10 * time.Second}, t: t, addresses: map[way]string{}}
}

// follow runs a feed until the test ends.
func follow(t *testing.T, c accesstoken.FeedConfig) *accesstoken.Feed {
	t.Helper()
	f, err := accesstoken.NewFeed(c)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- f.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-ended; err != nil {
			t.Errorf("following the feed ended with %v", err)
		}
	})
	return f
}

// protect serves, for each way, a resource that is protected by it.
func (a *api) protect(s *site, profile accesstoken.Profile, audience string, ways map[way]accesstoken.Liveness) {
	a.t.Helper()
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := accesstoken.FromContext(r.Context())
		fmt.Fprintln(w, "hello,", token.Subject)
	})
	for way, liveness := range ways {
		verifier, err := accesstoken.NewVerifier(accesstoken.Config{
			Issuer: s.issuer(), JWKSURL: "http://" + s.asked.Address + "/oauth2/jwks",
			Profile: profile, Audience: []string{audience}, Liveness: liveness,
		})
		if err != nil {
			a.t.Fatal(err)
		}
		server := httptest.NewServer(verifier.Middleware(hello))
		a.t.Cleanup(server.Close)
		a.addresses[way] = server.URL
	}
}

// ask calls the API with a token and returns the status.
func (a *api) ask(ctx context.Context, by way, token string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.addresses[by], nil)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := a.Do(request)
	if err != nil {
		return 0, err
	}
	_ = response.Body.Close()
	return response.StatusCode, nil
}

// want calls the API once, which must answer with a status.
func (a *api) want(what string, by way, token string, status int) {
	a.t.Helper()
	if got, err := a.ask(a.t.Context(), by, token); err != nil || got != status {
		a.t.Errorf("%s, by %s: status %d, %v; want %d", what, by, got, err, status)
	}
}

// interval is how often the API is asked: the resolution of what is measured.
const interval = 5 * time.Millisecond

// await asks until the API answers with a status, and returns how long that took.
func (a *api) await(what string, by way, token string, status int, within time.Duration) time.Duration {
	a.t.Helper()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for began := time.Now(); ; <-tick.C {
		sent := time.Since(began)
		got, err := a.ask(a.t.Context(), by, token)
		if err == nil && got == status {
			return sent
		}
		if sent > within {
			a.t.Fatalf("%s, by %s: after %s the status is %d, %v; want %d within %s", what, by, sent, got, err, status, within)
		}
	}
}

// watch asks the API with one token, in several ways, until each of them refused it.
type watch struct {
	*api
	done  sync.WaitGroup
	mu    sync.Mutex
	lives map[way]life
}

// life is how a way judged a token.
type life struct {
	lastAccepted time.Time // when the last request was sent that was accepted
	refused      time.Time // when the refusal came
	err          error     // nothing of the two came
}

// patience is how long a token is watched, and an answer waited for, at most.
const patience = time.Minute

// watch begins to watch a token, which must be alive.
func (a *api) watch(token string, ways ...way) *watch {
	a.t.Helper()
	w := &watch{api: a, lives: map[way]life{}}
	for _, by := range ways {
		a.await("a token that lives", by, token, http.StatusOK, patience)
		w.done.Go(func() {
			l := a.outlive(by, token)
			w.mu.Lock()
			defer w.mu.Unlock()
			w.lives[by] = l
		})
	}
	return w
}

// outlive asks until a token is refused.
func (a *api) outlive(by way, token string) (l life) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for began := time.Now(); ; <-tick.C {
		sent := time.Now()
		status, err := a.ask(a.t.Context(), by, token)
		switch {
		case err == nil && status == http.StatusUnauthorized:
			l.refused = time.Now()
			return l
		case err != nil || status != http.StatusOK:
			l.err = fmt.Errorf("status %d, %v", status, err)
			return l
		case sent.Sub(began) > patience:
			l.err = fmt.Errorf("it is accepted after %s", sent.Sub(began))
			return l
		}
		l.lastAccepted = sent
	}
}

// survival returns, for each way, how long after the token's death the last request was
// sent that was accepted; 0: none was.
func (w *watch) survival(what string, death time.Time) map[way]time.Duration {
	w.t.Helper()
	w.done.Wait()
	survived := map[way]time.Duration{}
	for by, l := range w.lives {
		if l.err != nil {
			w.t.Errorf("%s, by %s: %v", what, by, l.err)
			continue
		}
		survived[by] = max(0, l.lastAccepted.Sub(death))
	}
	return survived
}
