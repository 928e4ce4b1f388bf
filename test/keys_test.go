package test

import (
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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

// ledger remembers, outside of the server, what it acknowledged.
type ledger struct {
	mu           sync.Mutex
	successor    map[string]string
	acknowledged atomic.Int64
}

// refresh refreshes once. Without a whole answer, or with 503, the client keeps its
// token: the next time is the retry.
func (l *ledger) refresh(t *testing.T, p *program.Program, c program.Client, token string) string {
	answer, err := p.Refresh(c, token)
	if err != nil || answer.Status == 503 {
		return token
	}
	if answer.Status != 200 {
		t.Errorf("an honest client was refused: %d %s (%s)", answer.Status, answer.Error, answer.Hint)
		return token
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if known, ok := l.successor[token]; ok && known != answer.RefreshToken {
		t.Error("a refresh token has two successors")
	}
	l.successor[token] = answer.RefreshToken
	l.acknowledged.Add(1)
	return answer.RefreshToken
}

// waitFor waits until so many refreshes were acknowledged.
func (l *ledger) waitFor(t *testing.T, n int64) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for l.acknowledged.Load() < n {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("only %d of %d refreshes came through", l.acknowledged.Load(), n)
		}
	}
}
