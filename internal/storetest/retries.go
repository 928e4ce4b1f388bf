package storetest

import (
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

var retryCases = []testCase{
	{"a retry changes the count and nothing else", retryCounts},
	{"the budget", retryBudget},
	{"each condition", retryConditions},
	{"a rotation begins a new count", retryAfterRotation},
}

func retryCounts(f *fixture) {
	g := f.rotate(f.grant)
	for n := 1; n <= 3; n++ {
		f.clock.advance(time.Second)
		before := f.look()
		// The decision is the same each time: what it was read with does not grow old by a retry.
		f.must(f.RetryGrant(f.Context(), &g, f.web.Version, 100), "retry grant")
		f.onlyChanged(before, "retry grant", g)
		want := g
		want.Retries = n
		f.same(f.read(g).Grant, want, "grant after a retry")
	}
}

func retryBudget(f *fixture) {
	g := f.rotate(f.grant)
	for _, budget := range []int{0, -1} {
		f.wantError(f.RetryGrant(f.Context(), &g, f.web.Version, budget), oauth.ErrConflict, "retry without a budget")
	}
	f.must(f.RetryGrant(f.Context(), &g, f.web.Version, 2), "retry once of two")
	f.must(f.RetryGrant(f.Context(), &g, f.web.Version, 2), "retry twice of two")
	before := f.look()
	f.wantError(f.RetryGrant(f.Context(), &g, f.web.Version, 2), oauth.ErrConflict, "retry a third time of two")
	g = f.read(g).Grant
	f.wantError(f.RetryGrant(f.Context(), &g, f.web.Version, 2), oauth.ErrConflict, "retry a third time of two, having read the count")
	f.onlyChanged(before, "retry beyond the budget")
	f.must(f.RetryGrant(f.Context(), &g, f.web.Version, 3), "retry a third time of three")
}

func retryConditions(f *fixture) {
	eachCondition(f, "retry", func(f *fixture, d decision) error {
		return f.RetryGrant(f.Context(), &d.grant, d.clientVersion, 100)
	})
}

func retryAfterRotation(f *fixture) {
	g := f.rotate(f.grant)
	f.must(f.RetryGrant(f.Context(), &g, f.web.Version, 1), "retry grant")
	next := f.rotated(g)
	// A retry between look and write is no conflict.
	f.must(f.SwapGrant(f.Context(), &g, &next, f.web.Version), "swap a grant that was retried meanwhile")
	got := f.read(g).Grant
	if got.Retries != 0 {
		f.Errorf("retries after a rotation: %d, want 0", got.Retries)
	}
	f.must(f.RetryGrant(f.Context(), &got, f.web.Version, 1), "retry the new generation")
}
