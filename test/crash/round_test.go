package crash

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/failpoint"
	"github.com/counterfoil/counterfoil/test/program"
)

const (
	residents = 8 // sessions that nobody ever ends
	password  = "right horse staple"
	scope     = "read write"     // of every session
	patience  = 30 * time.Second // with a process that shall die, or start
)

// round is an installation, its clients, and what they know: the ledger. Only the
// sessions' own workers touch a session while there is load.
type round struct {
	*program.Program
	t      *testing.T
	random *rand.Rand

	resident, visitor program.Client
	residents         []*session
	visitors          []*session // alive, and at hand to be ended
	ended             []*session // their end was acknowledged
	lostLogins        int        // logins without an answer: each may have made a grant

	acknowledged atomic.Int64   // refreshes
	reached      map[string]int // how often each point, in all rounds
	kills        int
}

// begin prepares an installation that was never started.
func begin(t *testing.T, seed uint64, reached map[string]int) *round {
	t.Helper()
	p := program.New(t, "SIGNING_ALG=ES256", "PASSWORD_HASH=argon2id,m=7168,t=1,p=1", "PASSWORD_QUEUE=100")
	return &round{Program: p, t: t, random: rand.New(rand.NewPCG(seed, uint64(len(crashes)))), reached: reached}
}

// settle makes the clients and users, and the sessions of the residents.
func (r *round) settle() {
	r.t.Helper()
	r.Start()
	r.resident = r.CreateClient("--scope", scope)
	r.visitor = r.CreateClient("--scope", scope)
	r.CreateUser("resident", password)
	r.CreateUser("visitor", password)
	for range residents {
		s := r.login(r.resident, "resident")
		if s == nil {
			r.t.Fatal("a login had no answer from a server that was not killed")
		}
		r.residents = append(r.residents, s)
	}
}

// end looks for secrets in what is left: in files of a server that was killed, and of
// one that was stopped.
func (r *round) end() {
	r.t.Helper()
	r.kill()
	r.SearchSecrets()
	r.Start()
	r.Stop()
	r.integrity()
	r.SearchSecrets()
}

// kill kills the server, which may have been killed already.
func (r *round) kill() {
	if r.Server != nil {
		r.Kill()
		r.kills++
	}
}

// restart kills the server and starts it again.
func (r *round) restart() {
	r.t.Helper()
	r.kill()
	begun := time.Now()
	r.Start()
	if took := time.Since(begun); took > patience {
		r.t.Errorf("the start after a crash took %v", took)
	}
}

// arm lets the next processes die at a point, when it is reached for the n-th time.
func (r *round) arm(point string, n int) {
	r.Env = append(r.Env, failpoint.Variable+"="+point+":"+strconv.Itoa(n), failpoint.ReachedVariable+"="+r.reachedFile())
}

func (r *round) reachedFile() string { return filepath.Join(r.Dir, "reached") }

// disarm undoes arm, and checks that a process died at the point.
func (r *round) disarm(point string) {
	r.t.Helper()
	r.Env = r.Env[:len(r.Env)-2]
	name, err := os.ReadFile(r.reachedFile())
	if err != nil || string(name) != point {
		r.t.Fatalf("nothing died at the point %s, but at %q: %v\n%s", point, name, err, r.Log())
	}
	if err := os.Remove(r.reachedFile()); err != nil {
		r.t.Fatal(err)
	}
	r.reached[point]++
	r.kills++
}

// command runs a command that must die at a point.
func (r *round) command(point string, arguments ...string) {
	r.t.Helper()
	r.arm(point, 1)
	out, err := r.try(arguments...)
	if err != nil && !strings.Contains(err.Error(), "signal: killed") {
		r.t.Errorf("it should have died at the point %s: %v", point, err)
	}
	if err == nil || out != "" {
		r.t.Errorf("%q told of success before the point %s: %s", arguments, point, out)
	}
	r.disarm(point)
}

// administer runs a command that must succeed.
func (r *round) administer(arguments ...string) {
	r.t.Helper()
	if _, err := r.try(arguments...); err != nil {
		r.t.Errorf("a command beside the server: %v", err)
	}
}

// try runs a command.
func (r *round) try(arguments ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return r.Try(ctx, "", arguments...)
}

// load lets all sessions work, and visitors come if they may, while something else
// happens.
func (r *round) load(visits bool, meanwhile func()) {
	var stop atomic.Bool
	var working sync.WaitGroup
	defer func() { // whatever happens meanwhile, even t.Fatal
		stop.Store(true)
		working.Wait()
	}()
	for _, s := range slices.Concat(r.residents, r.visitors) {
		random := r.newRandom()
		working.Go(func() {
			for !stop.Load() && !s.refused {
				r.work(s, random)
			}
		})
	}
	if visits {
		working.Go(func() { r.receive(&stop) })
	}
	meanwhile()
}

// newRandom gives a worker randomness of its own.
func (r *round) newRandom() *rand.Rand { return rand.New(rand.NewPCG(r.random.Uint64(), 0)) }

// work is one thing that a client does: it refreshes, at times twice at once, and at
// times once more because it believes that the answer got lost.
func (r *round) work(s *session, random *rand.Rand) {
	switch n := random.IntN(16); {
	case n == 0:
		r.refreshTwice(s)
	case r.refresh(s) && n < 4:
		r.retry(s)
	}
}

// receive logs two visitors in and lets them refresh until they have a past.
func (r *round) receive(stop *atomic.Bool) {
	for visits := 0; visits < 2 && !stop.Load(); visits++ {
		s := r.login(r.visitor, "visitor")
		if s == nil {
			continue
		}
		r.visitors = append(r.visitors, s)
		for len(s.chain) < aPast && !stop.Load() {
			r.refresh(s)
		}
	}
}

// aPast is how many refresh tokens a session must have had, so that its first one is
// a replay rather than a straggler.
const aPast = 5

// aVisitor returns a visitor with a past, who is no longer among the others. The
// server is running.
func (r *round) aVisitor() *session {
	r.t.Helper()
	if len(r.visitors) == 0 {
		s := r.login(r.visitor, "visitor")
		if s == nil {
			r.t.Fatal("a login had no answer from a server that was not killed")
		}
		r.visitors = append(r.visitors, s)
	}
	i := r.random.IntN(len(r.visitors))
	s := r.visitors[i]
	r.visitors = slices.Delete(r.visitors, i, i+1)
	for len(s.chain) < aPast && r.refresh(s) {
	}
	return s
}

// atRandom waits until a random number of further refreshes were acknowledged.
func (r *round) atRandom() {
	r.t.Helper()
	enough := r.acknowledged.Load() + r.random.Int64N(100)
	deadline := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for r.acknowledged.Load() < enough {
		select {
		case <-tick.C:
		case <-deadline:
			r.t.Fatalf("the server does not answer\n%s", r.Log())
		}
	}
}
