// Package proof is what the checks of `make prove` share: a budget of time, a seed
// that repeats a failure, and a line of the table. In `make test` the same checks run
// their short version.
package proof

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// The environment of a check.
const (
	// BudgetVariable holds how long a check runs, a Go duration. Unset: its short version.
	BudgetVariable = "PROVE_BUDGET"
	// SeedVariable holds the seed of a failed round: only that round is run again.
	SeedVariable = "PROVE_SEED"
)

// Budget returns how long a check shall run; 0: its short version.
func Budget(t testing.TB) time.Duration {
	t.Helper()
	text := os.Getenv(BudgetVariable)
	if text == "" {
		return 0
	}
	budget, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("%s: %v", BudgetVariable, err)
	}
	return budget
}

// Rounds yields a seed for each round of a check: so many in the short version, as
// many as begin within the budget otherwise, at least one; the one of PROVE_SEED if that is
// set. It ends when the test has failed, and then says how to repeat the round.
func Rounds(t testing.TB, short int) iter.Seq[uint64] {
	t.Helper()
	budget, begun := Budget(t), time.Now()
	return func(yield func(uint64) bool) {
		if text := os.Getenv(SeedVariable); text != "" {
			seed, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				t.Fatalf("%s: %v", SeedVariable, err)
			}
			yield(seed)
			return
		}
		for n := 0; n == 0 || budget == 0 && n < short || time.Since(begun) < budget; n++ {
			seed := rand.Uint64()
			if !repeatable(t, seed, yield) {
				return
			}
		}
	}
}

// repeatable runs one round and says, should it fail, even by t.Fatal, how to run it again.
func repeatable(t testing.TB, seed uint64, round func(uint64) bool) bool {
	defer func() {
		if t.Failed() {
			t.Logf("repeat this round: %s=%d go test -count=1 -run '^%s$' in this package", SeedVariable, seed, t.Name())
		}
	}()
	return round(seed) && !t.Failed()
}

// Count adds "n what" to the check's line of the table, what being a plural such as
// "histories". Call it once for each what.
func Count(t testing.TB, n int, what string) {
	t.Helper()
	t.Attr("checked", fmt.Sprintf("%d %s", n, what))
}
