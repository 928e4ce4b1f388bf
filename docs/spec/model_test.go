package spec

import (
	"slices"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/test/proof"
)

// mostStates bounds the memory of a search, at some 50 bytes a state.
const mostStates = 20_000_000

// TestModel searches the honest configurations and finds nothing: all of their states
// with small bounds; under a budget then with larger and larger ones, as long as the
// time lasts.
func TestModel(t *testing.T) {
	t.Parallel()
	begun, budget, states, models := time.Now(), proof.Budget(t), 0, Honest()
	for i := range models {
		m := &models[i]
		states += searched(t, m, Limit{Time: time.Hour, States: mostStates}).States
		for share := budget * time.Duration(i+1) / time.Duration(len(models)); time.Since(begun) < share && m.Larger(); {
			states += searched(t, m, Limit{Time: share - time.Since(begun), States: mostStates}).States
		}
	}
	proof.Count(t, states, "states")
}

// searched searches one configuration and says how far it came.
func searched(t *testing.T, m *Model, limit Limit) Result {
	t.Helper()
	result := m.Explore(limit, Invariants)
	if result.Violation != nil {
		t.Fatalf("%s: %s", m.Name, result.Violation)
	}
	how := "exhaustive"
	if !result.Exhaustive {
		how = "time is up"
	}
	t.Logf("%-30s %d requests, %d rotations, %d late writes: %8d states to depth %2d, %s",
		m.Name, m.Requests, m.Generations, m.LateWrites, result.States, result.Depth, how)
	return result
}

// TestBrokenModels breaks one rule after another. Each invariant named beside it must
// find that out, by itself.
func TestBrokenModels(t *testing.T) {
	t.Parallel()
	caught := 0
	for _, b := range brokenModels() {
		b.model.Name, b.model.Broken = b.name, b.broken
		for _, name := range b.invariants {
			i := slices.IndexFunc(Invariants, func(i Invariant) bool { return i.Name[:2] == name })
			result := b.model.Explore(Limit{Time: time.Hour, States: mostStates}, Invariants[i:i+1])
			if result.Violation == nil {
				t.Errorf("%s: %s does not find it in %d states", b.name, Invariants[i].Name, result.States)
				continue
			}
			caught++
			t.Logf("%s: found in %d states and %d moves by %s", b.name, result.States, len(result.Violation.Trace), result.Violation)
		}
	}
	proof.Count(t, caught, "violations in broken models")
}

// brokenModel is a broken rule, a configuration in which that shows, and the invariants
// that find it.
type brokenModel struct {
	name       string
	model      Model
	broken     Broken
	invariants []string
}

func brokenModels() []brokenModel {
	client := Model{Requests: 2, Generations: 2, Stragglers: 1, LateWrites: 1, Budget: 1}
	far := Model{Requests: 2, Generations: 4, Stragglers: 1}
	strict := Model{Requests: 2, Generations: 2, Stragglers: 1, NoRetryWindow: true}
	administrator := Model{Requests: 1, Generations: 1, LateWrites: 1, Budget: 1, Administrator: true}
	thief := Model{Requests: 2, Generations: 2, Budget: 1, Thief: true, TooMuch: true}
	login := Model{Requests: 1, Administrator: true, Login: true}
	return []brokenModel{
		{"no compare-and-swap", client, Broken{NoCompareAndSwap: true}, []string{"I1", "I2", "I7"}},
		{"siblings", client, Broken{Siblings: true}, []string{"I1", "I2", "I3"}},
		{"replay judged on a second look", strict, Broken{ReplayOnSecondLook: true}, []string{"I7"}},
		{"late window 0 with a straggler", client, Broken{NoLateWindow: true}, []string{"I7"}},
		{"revocation that conflicts, the administrator's", administrator, Broken{RevocationConflicts: true}, []string{"I6"}},
		{"revocation that conflicts, a replay's", thief, Broken{RevocationConflicts: true}, []string{"I5"}},
		{"swap ignores the client's version", administrator, Broken{SwapIgnoresClient: true}, []string{"I6"}},
		{"swap ignores the epoch", administrator, Broken{SwapIgnoresEpoch: true}, []string{"I6"}},
		{"swap ignores the state", administrator, Broken{SwapIgnoresState: true}, []string{"I6"}},
		{"retry without a write", administrator, Broken{RetryWithoutWrite: true}, []string{"I6"}},
		{"scope checked before replay", thief, Broken{ScopeBeforeReplay: true}, []string{"I5"}},
		{"retry ignores the version", client, Broken{RetryIgnoresVersion: true}, []string{"I4"}},
		{"retry compares the row only", administrator, Broken{RetryComparesRowOnly: true}, []string{"I6"}},
		{"login ignores the state", login, Broken{CreateIgnoresState: true}, []string{"I6"}},
		{"a new time at each look", client, Broken{NewTimeAtEachLook: true}, []string{"I7"}},
		{"a changed client is not authenticated again", administrator, Broken{AuthenticatedOnce: true}, []string{"I6"}},
		{"another's successor is refused", client, Broken{OthersSuccessorRefused: true}, []string{"I7"}},
		{"without the assumption: a duplicate after three rotations", far, Broken{DelayedPastThree: true}, []string{"I7"}},
	}
}
