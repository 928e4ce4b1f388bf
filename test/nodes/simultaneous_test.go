package nodes

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"math/rand/v2"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/test/postgres"
	"github.com/counterfoil/counterfoil/test/program"
)

var (
	rounds = flag.Int("rounds", 2, "rounds of simultaneous uses")
	seed   = flag.Uint64("seed", 1, "when a node ends in each round")
)

const uses = 64

// TestSimultaneousUse: 64 uses of one refresh token at two nodes, one of which is killed,
// or stopped, at some moment: one new generation, and one successor for all, those
// included that got no answer and ask the other node again.
func TestSimultaneousUse(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*program.Program){
		"killed":  (*program.Program).Kill,
		"stopped": func(p *program.Program) { _ = p.Server.Process.Signal(syscall.SIGSTOP) },
	} {
		for way, front := range fronts {
			t.Run(name+"/"+way, func(t *testing.T) {
				t.Parallel()
				database := front(t, postgres.Migrated(t))
				nodes := startNodes(t, 2, database)
				s := logIn(t, nodes[0], "user")
				random := rand.New(rand.NewPCG(*seed, 0))
				for round := range *rounds {
					s.useAtOnce(t, nodes, random.IntN(uses), end)
					if n := s.generation(t, nodes[1]); n != round+1 {
						t.Errorf("seed %d, round %d: generation %d, want %d", *seed, round, n, round+1)
					}
					nodes[0].Kill()
					nodes[0].Start()
				}
			})
		}
	}
}

// useAtOnce uses the refresh token at two nodes, of which the first ends when so many
// were answered. Everybody must hold the same successor in the end.
func (s *session) useAtOnce(t *testing.T, nodes []*program.Program, after int, end func(*program.Program)) {
	t.Helper()
	var answers [uses]program.Tokens
	answered := make(chan struct{}, uses)
	var working sync.WaitGroup
	for i := range answers {
		working.Go(func() {
			answer, err := refreshWithin(t.Context(), 3*time.Second, nodes[i%2], s)
			answered <- struct{}{}
			for deadline := time.Now().Add(30 * time.Second); (err != nil || answer.Status == http.StatusServiceUnavailable) && time.Now().Before(deadline); {
				answer, err = refreshWithin(t.Context(), 10*time.Second, nodes[1], s)
			}
			answers[i] = answer
		})
	}
	for range after {
		<-answered
	}
	end(nodes[0])
	working.Wait()
	for i, a := range answers {
		if a.Status != http.StatusOK || a.RefreshToken != answers[0].RefreshToken || a.RefreshToken == s.held.RefreshToken {
			t.Fatalf("use %d, node ended after %d answers: %d %s; the same successor as others: %v", i, after, a.Status, a.Error, a.RefreshToken == answers[0].RefreshToken)
		}
	}
	s.held = answers[0]
}

// refreshWithin is Program.Refresh for a node that may never answer.
func refreshWithin(ctx context.Context, patience time.Duration, node *program.Program, s *session) (program.Tokens, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	body, err := json.Marshal(map[string]string{
		"grant_type": "refresh_token", "client_id": s.client.ID, "client_secret": s.client.Secret, "refresh_token": s.held.RefreshToken,
	})
	if err != nil {
		return program.Tokens{}, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+node.Address+"/oauth2-token", bytes.NewReader(body))
	if err != nil {
		return program.Tokens{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return program.Tokens{}, err
	}
	defer func() { _ = response.Body.Close() }()
	t := program.Tokens{Status: response.StatusCode}
	return t, json.NewDecoder(response.Body).Decode(&t)
}
