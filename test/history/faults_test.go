package history

import (
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/counterfoil/counterfoil/test/program"
)

// longStop is longer than the others wait for the database (2.5 s), should the stopped
// server hold its lock.
const longStop = 3 * time.Second

// disturb kills and stops servers, at least one each, until the context ends. When it
// returns, all are running. It belongs to the test's goroutine.
func (r *round) disturb(ctx context.Context, rng *rand.Rand) {
	faults := []func(context.Context, *rand.Rand){r.killOne, r.stopOne, r.stopOneInTransaction, r.killOneWhileAnotherIsStopped, r.killStopped}
	for n := 0; n < 2 || ctx.Err() == nil; n++ {
		r.pause(ctx, rng, 800*time.Millisecond)
		if n < 2 {
			faults[n](ctx, rng)
			continue
		}
		faults[rng.IntN(len(faults))](ctx, rng)
	}
}

// killOne ends a server with SIGKILL and starts it again.
func (r *round) killOne(ctx context.Context, rng *rand.Rand) {
	server := r.servers[rng.IntN(len(r.servers))]
	r.kill(server)
	r.pause(ctx, rng, 300*time.Millisecond)
	server.Start()
}

// stopOne stops a server for a while, wherever it is.
func (r *round) stopOne(ctx context.Context, rng *rand.Rand) {
	server := r.servers[rng.IntN(len(r.servers))]
	r.stop(server)
	r.pauseStopped(ctx, rng)
	r.signal(server, syscall.SIGCONT)
}

// stopOneInTransaction stops a server again and again until nobody gets on: so it
// holds the database's lock, most likely. It stays stopped until the others give up.
func (r *round) stopOneInTransaction(ctx context.Context, rng *rand.Rand) {
	server := r.servers[rng.IntN(len(r.servers))]
	for range 40 {
		before := r.accepted.Load()
		r.stop(server)
		r.wait(ctx, 100*time.Millisecond)
		if r.accepted.Load() == before {
			r.wait(ctx, longStop)
			r.signal(server, syscall.SIGCONT)
			return
		}
		r.signal(server, syscall.SIGCONT)
		r.pause(ctx, rng, 20*time.Millisecond)
	}
}

func (r *round) killOneWhileAnotherIsStopped(ctx context.Context, rng *rand.Rand) {
	order := rng.Perm(len(r.servers))
	stopped, killed := r.servers[order[0]], r.servers[order[1]]
	r.stop(stopped)
	r.pauseStopped(ctx, rng)
	r.kill(killed)
	r.pauseStopped(ctx, rng)
	r.signal(stopped, syscall.SIGCONT)
	killed.Start()
}

func (r *round) killStopped(ctx context.Context, rng *rand.Rand) {
	server := r.servers[rng.IntN(len(r.servers))]
	r.stop(server)
	r.pauseStopped(ctx, rng)
	r.kill(server)
	server.Start()
}

// pauseStopped is short mostly.
func (r *round) pauseStopped(ctx context.Context, rng *rand.Rand) {
	if rng.IntN(4) == 0 {
		r.wait(ctx, longStop)
		return
	}
	r.pause(ctx, rng, 600*time.Millisecond)
}

func (r *round) kill(server *program.Program) {
	server.Kill()
	r.kills++
}

func (r *round) stop(server *program.Program) {
	r.signal(server, syscall.SIGSTOP)
	r.stops++
}

func (r *round) signal(server *program.Program, s syscall.Signal) {
	if err := server.Server.Process.Signal(s); err != nil {
		r.Fatalf("signal %v: %v\n%s", s, err, server.Log())
	}
}

// administer revokes grants, disables and enables users and sets passwords, one
// after the other, until the context ends.
func (r *round) administer(ctx context.Context, rng *rand.Rand) {
	for ctx.Err() == nil {
		r.pause(ctx, rng, r.peace)
		u := r.users[rng.IntN(len(r.users))]
		switch n := rng.IntN(10); {
		case n < 5:
			if h := r.anyHolding(rng); h != nil {
				r.act(patience(rng), Call{Operation: Revoke, User: h.user.number, Grant: h.number}, "", "grant", "revoke", h.grantID)
			}
		case n < 8:
			r.act(patience(rng), Call{Operation: Disable, User: u.number}, "", "user", "disable", u.name)
			r.pause(ctx, rng, 200*time.Millisecond)
			r.act(patience(rng), Call{Operation: Enable, User: u.number}, "", "user", "enable", u.name)
		default:
			r.setPassword(u, rng)
		}
	}
}

// anyHolding is one of the grants that are in use.
func (r *round) anyHolding(rng *rand.Rand) *holding {
	r.mu.Lock()
	defer r.mu.Unlock()
	alive := slices.DeleteFunc(slices.Clone(r.holdings), func(h *holding) bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.over || h.calls >= mostCalls
	})
	if len(alive) == 0 {
		return nil
	}
	return alive[rng.IntN(len(alive))]
}

func (r *round) setPassword(u *user, rng *rand.Rand) {
	next := u.attempted.Load() + 1
	u.attempted.Store(next)
	done := r.act(patience(rng), Call{Operation: Password, User: u.number, Secret: int(next)}, password(next)+"\n", "user", "set-password", u.name, "--password-file", "-")
	if done {
		u.set.Store(next)
	}
}

// patience is how long a command may take: now and then it is killed very soon.
func patience(rng *rand.Rand) time.Duration {
	if rng.IntN(8) == 0 {
		return time.Duration(10+rng.IntN(100)) * time.Millisecond
	}
	return drainTime
}

// act runs a command and records it. One that fails, or is killed, may have done its work.
func (r *round) act(within time.Duration, call Call, stdin string, arguments ...string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	c := r.recorder.Begin(call)
	_, err := r.servers[0].Try(ctx, stdin, arguments...)
	r.recorder.End(c, func(c *Call) {
		c.Answer = OK
		if err != nil {
			c.Answer = Unavailable
		}
	})
	return err == nil
}

// userName names the n-th user.
func userName(n int) string { return "user-" + strconv.Itoa(n) }
