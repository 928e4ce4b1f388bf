package test

import (
	"path/filepath"
	"sync"
	"testing"

	"github.com/counterfoil/counterfoil/test/program"
)

// TestMasterKeyRotation rotates the master key while two servers on one database
// serve the same clients in turn: a token under a key that the other server began to
// use a moment ago is no forgery, and nobody is logged out.
func TestMasterKeyRotation(t *testing.T) {
	t.Parallel()
	const clients, rotations, refreshes = 4, 3, 60
	p := program.New(t, "SIGNING_ALG=ES256")
	c := p.CreateClient()
	p.CreateUser("user", "right horse staple")
	p.Start()
	other := program.New(t, "SIGNING_ALG=ES256")
	other.Env = append(other.Env, "COUNTERFOIL_DATA="+filepath.Join(p.Dir, "data")) // the last one counts
	other.Start()

	l := &ledger{successor: map[string]string{}}
	var working sync.WaitGroup
	for range clients {
		answer, err := p.Login(c, "user", "right horse staple")
		if err != nil || answer.Status != 200 {
			t.Fatalf("login: %+v, %v", answer, err)
		}
		working.Go(func() {
			token := answer.RefreshToken
			for range refreshes {
				for _, server := range []*program.Program{p, other} {
					token = l.refresh(t, server, c, token)
				}
			}
		})
	}
	for n := range rotations {
		l.waitFor(t, int64((n+1)*clients*refreshes/4))
		p.Run("", "key", "rotate-master")
	}
	working.Wait()
	if l.acknowledged.Load() < clients*refreshes {
		t.Errorf("only %d refreshes were acknowledged", l.acknowledged.Load())
	}
	p.Stop()
	other.Stop()
}
