package disk

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/test/proof"
)

// What docs/rotation.md promises a public client at default settings.
const (
	retryWindow  = time.Minute
	lateWindow   = 10 * time.Second
	idleLifetime = 30 * 24 * time.Hour
)

// jumps are how far a clock jumps, in either direction: around the windows, by hours as
// a wrong time zone does, beyond the lifetime of a grant.
var jumps = []time.Duration{
	0, time.Microsecond, time.Second, lateWindow - time.Second, lateWindow, retryWindow - time.Second, retryWindow, retryWindow + time.Second,
	time.Hour, 5 * time.Hour, 24 * time.Hour, 11 * 24 * time.Hour, idleLifetime, 31 * 24 * time.Hour,
}

func randomJump(random *rand.Rand) time.Duration {
	d := jumps[random.IntN(len(jumps))]
	if random.IntN(2) == 0 {
		return -d
	}
	return d
}

// chain is what the rules say about a grant, whatever the clock does: the test's own
// reading of docs/rotation.md.
type chain struct {
	window    time.Duration
	tokens    []oauth.Secret // by generation
	rotatedAt time.Time
	expiresAt time.Time
}

// outcome is what the token so many generations behind gets at a time: nil is success.
func (c *chain) outcome(behind int, now time.Time) error {
	elapsed := max(0, now.Sub(c.rotatedAt))
	switch {
	case !now.Before(c.expiresAt):
		return oauth.ErrGrantExpired
	case behind == 0, behind == 1 && elapsed < c.window:
		return nil
	case behind == 2 && elapsed < lateWindow:
		return oauth.ErrStraggler
	}
	return oauth.ErrReplay
}

// TestClockJumps lets the clock of the server jump by seconds, hours and weeks, forward
// and back, between requests and in the middle of them. Every request gets what the
// rules say for the time of its first look: no client is logged out inside its window,
// a window that a jump makes longer closes at last, rotated_at never gets earlier, no
// token has two successors, and a grant that a wrong clock called expired goes on when
// the clock is right again.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	const steps = 40
	requests := 0
	for seed := range proof.Rounds(t, 2) {
		random := rand.New(rand.NewPCG(seed, 0))
		d, c := newDisk(t), newClock()
		d.quick = true
		r, err := openRig(t.Context(), d.dir, c.now)
		if err == nil {
			err = r.create(t.Context(), honest)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, window := range []time.Duration{retryWindow, retryWindow, 0} {
			r.Settings.RetryWindow = &window
			n, err := jumpAbout(t.Context(), r, c, random, steps)
			requests += n
			if err != nil {
				t.Fatalf("seed %d, request %d: %v", seed, n, err)
			}
		}
		if err := r.close(); err != nil {
			t.Fatal(err)
		}
		d.discard()
	}
	proof.Count(t, requests, "requests")
}

// jumpAbout leads one grant through jumps until it ends and returns how many requests
// that were.
func jumpAbout(ctx context.Context, r *rig, c *clock, random *rand.Rand, steps int) (int, error) {
	response, err := r.login(ctx, honest)
	if err != nil {
		return 0, fmt.Errorf("login: %w", err)
	}
	grant := &chain{window: *r.Settings.RetryWindow, tokens: []oauth.Secret{response.RefreshToken}}
	if err := grant.adopt(ctx, r, response.GrantID, []time.Time{c.now()}); err != nil {
		return 0, err
	}
	for n := range steps {
		c.add(randomJump(random))
		behind := min([]int{0, 0, 0, 1, 1, 2, 3}[random.IntN(7)], len(grant.tokens)-1)
		over, err := grant.present(ctx, r, c, response.GrantID, behind, random)
		if err != nil || over {
			return n + 1, err
		}
	}
	return steps, nil
}

// present presents the token so many generations behind, while the clock perhaps
// jumps, and reports whether the grant is over.
func (c *chain) present(ctx context.Context, r *rig, clock *clock, grantID string, behind int, random *rand.Rand) (bool, error) {
	times := clock.jumpWithin(random)
	response, err := r.refresh(ctx, honest, c.tokens[len(c.tokens)-1-behind])
	clock.jumpWithin(nil)
	what := fmt.Sprintf("the token %d behind, %v after the rotation", behind, times[0].Sub(c.rotatedAt))
	if !slices.ContainsFunc(times, func(t time.Time) bool {
		want := c.outcome(behind, t)
		return want == nil && err == nil || want != nil && errors.Is(err, want)
	}) {
		return false, fmt.Errorf("%s: got %w, want %v", what, err, c.outcome(behind, times[0]))
	}
	switch {
	case err != nil:
		return errors.Is(err, oauth.ErrReplay), nil
	case behind == 1 && response.RefreshToken != c.tokens[len(c.tokens)-1]:
		return false, fmt.Errorf("%s: a second successor", what)
	case behind == 0:
		c.tokens = append(c.tokens, response.RefreshToken)
		return false, c.adopt(ctx, r, grantID, times)
	}
	return false, nil
}

// adopt reads the times of a grant after a rotation, which must fit the clock.
func (c *chain) adopt(ctx context.Context, r *rig, grantID string, times []time.Time) error {
	v, err := r.store.GrantByPublicID(ctx, grantID)
	if err != nil {
		return err
	}
	g := &v.Grant
	if int(g.Generation) != len(c.tokens)-1 {
		return fmt.Errorf("generation %d, want %d", g.Generation, len(c.tokens)-1)
	}
	if !slices.ContainsFunc(times, func(t time.Time) bool { return g.RotatedAt.Equal(latest(c.rotatedAt, t)) }) {
		return fmt.Errorf("rotated_at was %v and became %v at %v", c.rotatedAt, g.RotatedAt, times)
	}
	end := g.AbsoluteExpiresAt
	if !slices.ContainsFunc(times, func(t time.Time) bool { return g.IdleExpiresAt.Equal(earliest(end, t.Add(idleLifetime))) }) {
		return fmt.Errorf("idle_expires_at became %v at %v", g.IdleExpiresAt, times)
	}
	c.rotatedAt, c.expiresAt = g.RotatedAt, earliest(end, g.IdleExpiresAt)
	return nil
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// jumpWithin lets the clock jump after each of the next looks at it, in one of three
// requests, and returns all times that it may show. nil: no more.
func (c *clock) jumpWithin(random *rand.Rand) []time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.jump = nil
	times := []time.Time{c.time}
	if random == nil || random.IntN(3) > 0 {
		return times
	}
	for range 4 {
		c.jump = append(c.jump, randomJump(random))
		times = append(times, times[len(times)-1].Add(c.jump[len(c.jump)-1]))
	}
	return times
}
