package resource_test

import (
	"math/rand/v2"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/accesstoken"
	"github.com/counterfoil/counterfoil/test/program"
)

// event is what kills an access token. When do returns, it was acknowledged.
type event struct {
	name    string
	prepare func(*session) // before the token is used
	do      func(*session)
	undo    func(*session) // so that the next login succeeds
}

// The events that are not like the others.
const (
	refresh      = "refresh"
	deactivation = "client deactivated"
	deletion     = "client deleted"
)

var events = []event{
	{name: refresh, do: (*session).refresh},
	{name: "revocation by the client", do: (*session).revoke},
	{name: "refresh token used again", prepare: (*session).refreshOften, do: (*session).replay},
	{name: "logout of a device", do: func(s *session) { s.signIn(s.t, s.user).submit("grant_id", s.claims().GrantID, nil) }},
	{name: "logout everywhere", do: func(s *session) { s.signIn(s.t, s.user).submit("everywhere", "true", nil) }},
	{name: "new password", do: func(s *session) {
		s.node.Run(password+"\n", "user", "set-password", s.user, "--password-file", "-")
	}},
	{
		name: "user disabled",
		do:   func(s *session) { s.node.Run("", "user", "disable", s.user) },
		undo: func(s *session) { s.node.Run("", "user", "enable", s.user) },
	},
	{
		name: "user deleted",
		do:   func(s *session) { s.node.Run("", "user", "delete", s.user) },
		undo: func(s *session) { s.node.CreateUser(s.user, password) },
	},
	{name: "grant revoked", do: func(s *session) { s.node.Run("", "grant", "revoke", s.claims().GrantID) }},
	{
		name: deactivation,
		do:   func(s *session) { s.node.Run("", "client", "deactivate", s.client.ID) },
		undo: func(s *session) { s.node.Run("", "client", "activate", s.client.ID) },
	},
	{
		name: deletion,
		do:   func(s *session) { s.node.Run("", "client", "delete", s.client.ID) },
		undo: func(s *session) { s.client = s.node.CreateClient("--id", s.client.ID) },
	},
}

// mayBeUndone says that old tokens live again.
func (e *event) mayBeUndone() bool { return e.name == "user disabled" || e.name == deactivation }

// revoke revokes the refresh token (RFC 7009 section 2.1).
func (s *session) revoke() {
	s.t.Helper()
	s.post("/oauth2/revoke", url.Values{"token": {s.held.RefreshToken}}, &struct{}{})
}

// refreshOften gets so far that the first refresh token is a replay, whenever it comes.
func (s *session) refreshOften() {
	s.t.Helper()
	s.first = s.held.RefreshToken
	for range 3 {
		s.refresh()
	}
}

// replay uses the first refresh token again, which ends the grant (RFC 9700 section 4.14.2).
func (s *session) replay() {
	s.t.Helper()
	response, err := http.PostForm(s.issuer()+"/oauth2/token", url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {s.first}, "client_id": {s.client.ID}, "client_secret": {s.client.Secret},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusBadRequest {
		s.t.Fatalf("a replay is answered with %s", response.Status)
	}
}

// audience is the client that the session's tokens name in `aud`.
func (s *session) audience() program.Client {
	if s.profile == accesstoken.OroCommerce {
		return s.client
	}
	return s.api
}

// bounds are how long a token may be accepted that died, at most. The rest of a second is
// for a machine that has other things to do.
var bounds = map[way]time.Duration{exact: 0, introspection: cacheFor + cacheFor/2, feed: time.Second, both: time.Second}

// TestDeath: a token that died is refused within the bound of each way that can know of
// it, and at once where the issuer is asked directly; what took its place is accepted at
// once.
func TestDeath(t *testing.T) {
	t.Parallel()
	for name, start := range sites {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			for _, profile := range []accesstoken.Profile{accesstoken.Standard, accesstoken.OroCommerce} {
				for _, e := range events {
					t.Run(profile.String()+"/"+e.name, func(t *testing.T) {
						t.Parallel()
						die(t, s, profile, e)
					})
				}
			}
		})
	}
}

func die(t *testing.T, s *site, profile accesstoken.Profile, e event) {
	held := s.logIn(t, profile)
	if e.prepare != nil {
		e.prepare(held)
	}
	a := newAPI(t, s, profile, held.audience())
	old := held.held.AccessToken
	a.await("the first request", both, old, http.StatusOK, patience)
	knowing := []way{exact, introspection, feed}
	if held.client == held.audience() && (e.name == deactivation || e.name == deletion) {
		knowing = []way{exact, feed} // who is gone may not ask either
	}
	w := a.watch(old, knowing...)
	atAnyMoment()
	e.do(held)
	acknowledged := time.Now()
	if e.name == refresh {
		succeed(a, held.held.AccessToken, exact, introspection, feed, both)
		a.want("the token before one that was used", both, old, http.StatusUnauthorized)
	}
	for by, survived := range w.survival(e.name, acknowledged) {
		if survived > bounds[by] {
			t.Errorf("%s, by %s: the token is accepted %s after its death, want at most %s", e.name, by, survived, bounds[by])
		}
	}
	for _, by := range append(knowing, both) {
		a.want(e.name+", later", by, old, http.StatusUnauthorized)
	}
	for _, by := range []way{offline, generations} {
		a.want(e.name+", which cannot be known", by, old, http.StatusOK)
	}
	if e.name == refresh {
		succeed(a, held.held.AccessToken, offline, generations)
		a.want("the token before one that was used", generations, old, http.StatusUnauthorized)
	}
}

// succeed uses a new token: nobody may refuse it, not even once.
func succeed(a *api, token string, ways ...way) {
	a.t.Helper()
	for _, by := range ways {
		a.want("a new token", by, token, http.StatusOK)
	}
}

// atAnyMoment waits for a part of the time for which answers are used again, so that what
// comes next does not always find them as old.
func atAnyMoment() {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for range rand.IntN(int(cacheFor / interval)) {
		<-tick.C
	}
}
