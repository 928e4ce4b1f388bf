package resource_test

import (
	"net/http"
	"testing"

	"github.com/counterfoil/counterfoil/accesstoken"
)

// TestAliveAgain: who is let in again is accepted again, by old tokens and by new ones, as
// soon as he was refused.
func TestAliveAgain(t *testing.T) {
	t.Parallel()
	for name, start := range sites {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			for _, profile := range []accesstoken.Profile{accesstoken.Standard, accesstoken.OroCommerce} {
				for _, e := range events {
					if !e.mayBeUndone() {
						continue
					}
					t.Run(profile.String()+"/"+e.name, func(t *testing.T) {
						t.Parallel()
						comeBack(t, s, profile, e)
					})
				}
			}
		})
	}
}

func comeBack(t *testing.T, s *site, profile accesstoken.Profile, e event) {
	held := s.logIn(t, profile)
	a := newAPI(t, s, profile, held.audience())
	old := held.held.AccessToken
	a.await("the first request", feed, old, http.StatusOK, patience)
	e.do(held)
	a.await(e.name, feed, old, http.StatusUnauthorized, bounds[feed])
	e.undo(held)
	held.refresh()
	a.await(e.name+", and undone: refreshed", feed, held.held.AccessToken, http.StatusOK, bounds[feed])
	held.logIn()
	a.want(e.name+", and undone: a new login", feed, held.held.AccessToken, http.StatusOK)
	a.await(e.name+", and undone: what was refreshed", feed, old, http.StatusUnauthorized, bounds[feed])
}
