package test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/test/program"
)

// TestKillUnderLoad kills the server with SIGKILL while clients refresh, several
// times. After each restart every client goes on with the token it holds, or with a
// retry; none is ever logged out, and nobody sees two successors of one token.
func TestKillUnderLoad(t *testing.T) {
	t.Parallel()
	const clients, kills = 16, 4
	p := program.New(t, "SIGNING_ALG=ES256")
	c := p.CreateClient()
	p.CreateUser("user", "right horse staple")
	p.Start()

	l := &ledger{successor: map[string]string{}}
	held := make([]string, clients)
	for i := range held {
		answer, err := p.Login(c, "user", "right horse staple")
		if err != nil || answer.Status != 200 {
			t.Fatalf("login: %+v, %v", answer, err)
		}
		held[i] = answer.RefreshToken
	}
	for range kills {
		var stop atomic.Bool
		var working sync.WaitGroup
		before := l.acknowledged.Load()
		for i := range held {
			working.Go(func() {
				for !stop.Load() {
					held[i] = l.refresh(t, p, c, held[i])
				}
			})
		}
		l.waitFor(t, before+200+rand.Int64N(400))
		p.Kill()
		stop.Store(true)
		working.Wait()
		p.Start()
		for i := range held {
			next := l.refresh(t, p, c, held[i])
			if next == held[i] {
				t.Errorf("client %d could not go on after the restart", i)
			}
			held[i] = next
		}
	}
	t.Logf("%d refreshes acknowledged, %d kills", l.acknowledged.Load(), kills)
	p.Stop()
	p.SearchSecrets()
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

// TestSimultaneousUse: 64 uses of one refresh token at once give one new generation
// and 64 answers with the same successor, at default settings.
func TestSimultaneousUse(t *testing.T) {
	t.Parallel()
	const uses = 64
	p := program.New(t)
	c := p.CreateClient()
	p.CreateUser("user", "right horse staple")
	p.Start()
	first, err := p.Login(c, "user", "right horse staple")
	if err != nil || first.Status != 200 {
		t.Fatalf("login: %+v, %v", first, err)
	}
	answers := make([]program.Tokens, uses)
	var working sync.WaitGroup
	for i := range answers {
		working.Go(func() {
			var err error
			if answers[i], err = p.Refresh(c, first.RefreshToken); err != nil {
				t.Errorf("use %d: %v", i, err)
			}
		})
	}
	working.Wait()
	for i, a := range answers {
		if a.Status != 200 || a.RefreshToken != answers[0].RefreshToken {
			t.Errorf("use %d: status %d, another successor: %v", i, a.Status, a.RefreshToken != answers[0].RefreshToken)
		}
	}
	if status := p.Userinfo(answers[0].AccessToken); status != 200 {
		t.Errorf("the new access token: %d", status)
	}
	if status := p.Userinfo(first.AccessToken); status != 401 {
		t.Errorf("the old access token: %d", status)
	}
	if out := p.Run("", "grant", "list", "-o", "json"); !containsMember(out, "generation", 1) {
		t.Errorf("there is more than one new generation: %s", out)
	}
	p.Stop()
	p.SearchSecrets()
}

func containsMember(list, name string, value any) bool {
	members := decodeList(list)
	return len(members) == 1 && fmt.Sprint(members[0][name]) == fmt.Sprint(value)
}
