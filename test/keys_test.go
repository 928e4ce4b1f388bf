package test

import (
	"path/filepath"
	"sync"
	"testing"
)

// TestMasterKeyRotation rotates the master key while two servers on one database
// serve the same clients in turn: a token under a key that the other server began to
// use a moment ago is no forgery, and nobody is logged out.
func TestMasterKeyRotation(t *testing.T) {
	t.Parallel()
	const clients, rotations, refreshes = 4, 3, 60
	p := newProgram(t, "SIGNING_ALG=ES256")
	c := p.createClient()
	p.createUser("user", "right horse staple")
	p.start()
	other := newProgram(t, "SIGNING_ALG=ES256")
	other.env = append(other.env, "COUNTERFOIL_DATA="+filepath.Join(p.dir, "data")) // the last one counts
	other.start()

	l := &ledger{successor: map[string]string{}}
	var working sync.WaitGroup
	for range clients {
		answer, err := p.login(c, "user", "right horse staple")
		if err != nil || answer.Status != 200 {
			t.Fatalf("login: %+v, %v", answer, err)
		}
		working.Go(func() {
			token := answer.RefreshToken
			for range refreshes {
				for _, server := range []*program{p, other} {
					token = l.refresh(t, server, c, token)
				}
			}
		})
	}
	for n := range rotations {
		l.waitFor(t, int64((n+1)*clients*refreshes/4))
		p.run("", "key", "rotate-master")
	}
	working.Wait()
	if l.acknowledged.Load() < clients*refreshes {
		t.Errorf("only %d refreshes were acknowledged", l.acknowledged.Load())
	}
	p.stop()
	other.stop()
}
