package accesstoken_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/accesstoken"
)

// tokenOf is an access token that was verified, as far as the generation rule looks at it.
func tokenOf(grant string, generation int64, expires time.Time) *accesstoken.Token {
	return &accesstoken.Token{GrantID: grant, Generation: generation, ExpiresAt: expires}
}

// TestGenerations: what was seen before decides whether a token is dead.
func TestGenerations(t *testing.T) {
	t.Parallel()
	hour, day := instant.Add(time.Hour), instant.Add(24*time.Hour)
	for _, test := range []struct {
		name  string
		seen  []*accesstoken.Token
		after time.Duration
		now   *accesstoken.Token
		dead  bool
	}{
		{name: "the first", now: tokenOf("g", 0, hour)},
		{name: "the same again", seen: []*accesstoken.Token{tokenOf("g", 1, hour)}, now: tokenOf("g", 1, hour)},
		{name: "a newer one", seen: []*accesstoken.Token{tokenOf("g", 1, hour)}, now: tokenOf("g", 2, hour)},
		{name: "an older one", seen: []*accesstoken.Token{tokenOf("g", 1, hour)}, now: tokenOf("g", 0, hour), dead: true},
		{name: "an older one of another grant", seen: []*accesstoken.Token{tokenOf("g", 1, hour)}, now: tokenOf("h", 0, hour)},
		{name: "one without grant", seen: []*accesstoken.Token{tokenOf("", 1, hour)}, now: tokenOf("", 0, hour)},
		{
			name: "the newest after an older one",
			seen: []*accesstoken.Token{tokenOf("g", 2, hour), tokenOf("g", 1, hour)}, now: tokenOf("g", 2, hour),
		},
		{
			name: "one between after an older one",
			seen: []*accesstoken.Token{tokenOf("g", 2, hour), tokenOf("g", 0, hour)}, now: tokenOf("g", 1, hour), dead: true,
		},
		{
			name: "an older one, until the newer one expires",
			seen: []*accesstoken.Token{tokenOf("g", 1, hour)}, after: time.Hour, now: tokenOf("g", 0, hour), dead: true,
		},
		{
			name: "one of a grant that is forgotten, since all that was seen of it expired",
			seen: []*accesstoken.Token{tokenOf("g", 1, hour)}, after: time.Hour + time.Minute, now: tokenOf("g", 0, day),
		},
		{
			name: "an older one that outlives the newer one, and was refused before",
			seen: []*accesstoken.Token{tokenOf("g", 1, hour), tokenOf("g", 0, day)}, after: 2 * time.Hour, now: tokenOf("g", 0, day), dead: true,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			now := instant
			g := accesstoken.NewGenerations(accesstoken.GenerationsConfig{Now: func() time.Time { return now }})
			for _, seen := range test.seen {
				_ = g.Alive(t.Context(), seen)
			}
			now = now.Add(test.after)
			if err := g.Alive(t.Context(), test.now); errors.Is(err, accesstoken.ErrRevoked) != test.dead || (err != nil) != test.dead {
				t.Errorf("Alive of generation %d: %v, want dead: %t", test.now.Generation, err, test.dead)
			}
		})
	}
}

// TestGenerationsBound: of more grants than MaxGrants the last ones are remembered, and
// one that is used again and again is.
func TestGenerationsBound(t *testing.T) {
	t.Parallel()
	const bound = 100
	g := accesstoken.NewGenerations(accesstoken.GenerationsConfig{MaxGrants: bound, Now: func() time.Time { return instant }})
	expires := instant.Add(time.Hour)
	see := func(grant string, generation int64) error {
		return g.Alive(t.Context(), tokenOf(grant, generation, expires))
	}
	for n := range 10 * bound {
		if err := see(fmt.Sprint(n), 1); err != nil {
			t.Fatal(err)
		}
		if err := see("in use", 0); n > 0 && !errors.Is(err, accesstoken.ErrRevoked) {
			t.Fatalf("after %d grants, an older token of a grant that was in use all the time: %v, want ErrRevoked", n, err)
		}
		if err := see("in use", 1); err != nil {
			t.Fatal(err)
		}
	}
	remembered := 0
	for n := 10*bound - 1; n >= 0; n-- {
		if see(fmt.Sprint(n), 0) != nil {
			remembered++
		}
	}
	if remembered < bound/2-1 || remembered > bound {
		t.Errorf("%d grants of %d are remembered, want from %d to %d", remembered, 10*bound, bound/2-1, bound)
	}
}

// TestGenerationsConcurrent: whoever comes after the newest token was let in finds the
// older ones dead, however many come at once.
func TestGenerationsConcurrent(t *testing.T) {
	t.Parallel()
	g := accesstoken.NewGenerations(accesstoken.GenerationsConfig{MaxGrants: 1000})
	expires := time.Now().Add(time.Hour)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for generation := range int64(500) {
				if g.Alive(t.Context(), tokenOf("g", generation, expires)) != nil {
					continue // another was faster
				}
				if err := g.Alive(t.Context(), tokenOf("g", generation-1, expires)); !errors.Is(err, accesstoken.ErrRevoked) {
					t.Errorf("generation %d after %d: %v, want ErrRevoked", generation-1, generation, err)
				}
			}
		})
	}
	group.Wait()
}

// TestGenerationsAllocate is not parallel: testing.AllocsPerRun counts for the process.
func TestGenerationsAllocate(t *testing.T) {
	g := accesstoken.NewGenerations(accesstoken.GenerationsConfig{})
	newest, older := tokenOf("g", 1, time.Now().Add(time.Hour)), tokenOf("g", 0, time.Now().Add(time.Hour))
	_ = g.Alive(t.Context(), newest)
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() { _ = g.Alive(ctx, newest); _ = g.Alive(ctx, older) }); n != 0 {
		t.Errorf("%v allocations for a grant that is known, want 0", n)
	}
}
