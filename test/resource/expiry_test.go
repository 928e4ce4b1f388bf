package resource_test

import (
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/accesstoken"
)

// TestExpiry: who does not ask the issuer accepts a dead token until it expires, whatever
// happened, and no longer.
func TestExpiry(t *testing.T) {
	t.Parallel()
	const lifetime = "15s" // all must have died within it, on a slow machine too
	s := newSite(t)
	a := newAPI(t, s, accesstoken.Standard, s.api)
	sessions := make([]*session, len(events))
	for i := range events {
		sessions[i] = s.newSession(t, accesstoken.Standard, "--access-token-lifetime", lifetime)
	}
	watches := make([]*watch, len(events))
	expires := make([]time.Time, len(events))
	for i, held := range sessions {
		held.logIn()
		if prepare := events[i].prepare; prepare != nil {
			prepare(held)
		}
		watches[i], expires[i] = a.watch(held.held.AccessToken, offline, generations), held.expires()
	}
	deaths := make([]time.Time, len(events))
	for i, e := range events {
		e.do(sessions[i])
		deaths[i] = time.Now()
	}
	for i, e := range events {
		if !deaths[i].Before(expires[i]) {
			t.Fatalf("%s: the token expired before", e.name)
		}
		for by, survived := range watches[i].survival(e.name, deaths[i]) {
			l := watches[i].lives[by]
			if l.refused.Before(expires[i]) {
				t.Errorf("%s, by %s: the token is refused %s before it expires", e.name, by, expires[i].Sub(l.refused))
			}
			if late := deaths[i].Add(survived).Sub(expires[i]); late > 0 {
				t.Errorf("%s, by %s: the token is accepted %s after it expired", e.name, by, late)
			}
		}
	}
}
