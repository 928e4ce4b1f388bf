package storetest

import (
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

var failureCases = []testCase{
	{"nothing failed", noFailures},
	{"failures of an account from a source", failuresOfPair},
	{"accounts that a source fails at", failuresOfSource},
	{"how long failures are remembered", failureMemory},
	{"a success clears its own", clearFailures},
	{"lockout", lockout},
	{"lockout of whoever is not active", lockoutOfBlocked},
	{"lockout counts all sources", lockoutFromManySources},
	{"lockout forgets", lockoutForgets},
	{"failures of clients", clientFailures},
	{"failures of clients are forgotten", clientFailuresMemory},
}

// keysOf are the keys of a login from a source at an account.
func keysOf(source, account string) oauth.LoginKeys {
	return oauth.LoginKeys{
		Pair: key("pair " + source + " " + account), Source: key("source " + source), Account: key("account " + account),
	}
}

func key(name string) [16]byte { h := hashOf("key", name); return [16]byte(h[:16]) }

// fail records a failure without a lockout.
func (f *fixture) fail(k oauth.LoginKeys) {
	f.Helper()
	f.must(f.RecordLoginFailure(f.Context(), k, f.alice.ID, 0), "record login failure")
}

// wantFailures compares both counters of a login, and the time of those that count.
func (f *fixture) wantFailures(k oauth.LoginKeys, pair, source int, when string) oauth.LoginFailures {
	f.Helper()
	got, err := f.LoginFailures(f.Context(), k)
	f.must(err, "read login failures")
	if got.Pair.Count != pair || got.Source.Count != source {
		f.Errorf("%s: failures of the pair %d, of the source %d; want %d, %d", when, got.Pair.Count, got.Source.Count, pair, source)
	}
	f.same(got.Now, f.clock.stored(), when+": the store's clock")
	f.asStored(when, got.Now, got.Pair.Last, got.Source.Last)
	return got
}

func noFailures(f *fixture) { f.wantFailures(keysOf("s", "a"), 0, 0, "at first") }

func failuresOfPair(f *fixture) {
	before := f.look()
	for n := 1; n <= 7; n++ {
		now := f.clock.advance(time.Second)
		f.fail(keysOf("s", "a"))
		got := f.wantFailures(keysOf("s", "a"), n, 1, "the same account again")
		f.same(got.Pair.Last, now, "time of the last failure")
	}
	f.wantFailures(keysOf("t", "a"), 0, 0, "another source")
	f.wantFailures(keysOf("s", "b"), 0, 1, "another account")
	f.onlyChanged(before, "record login failures")
}

func failuresOfSource(f *fixture) {
	for n, account := range []string{"a", "b", "c"} {
		now := f.clock.advance(time.Second)
		f.fail(keysOf("s", account))
		got := f.wantFailures(keysOf("s", account), 1, n+1, "an account new to the source")
		f.same(got.Source.Last, now, "time of the last failure of the source")
		f.fail(keysOf("s", account))
		f.wantFailures(keysOf("s", account), 2, n+1, "an account known to the source")
	}
	f.fail(keysOf("t", "a"))
	f.wantFailures(keysOf("t", "a"), 1, 1, "another source")
	f.wantFailures(keysOf("s", "a"), 2, 3, "the first source after another")
}

func failureMemory(f *fixture) {
	f.fail(keysOf("s", "a"))
	f.fail(keysOf("s", "a"))
	f.clock.advance(oauth.SourceMemory - time.Microsecond)
	f.wantFailures(keysOf("s", "a"), 2, 1, "a microsecond before the source is forgotten")
	f.clock.advance(2 * time.Microsecond)
	f.wantFailures(keysOf("s", "a"), 2, 0, "a microsecond after the source is forgotten")
	f.fail(keysOf("s", "b"))
	f.wantFailures(keysOf("s", "b"), 1, 1, "the source begins again")
	f.clock.advance(oauth.PairMemory - oauth.SourceMemory - 2*time.Microsecond)
	f.wantFailures(keysOf("s", "a"), 2, 0, "a microsecond before the pair is forgotten")
	f.clock.advance(2 * time.Microsecond)
	f.wantFailures(keysOf("s", "a"), 0, 0, "a microsecond after the pair is forgotten")
	f.fail(keysOf("s", "a"))
	f.wantFailures(keysOf("s", "a"), 1, 1, "all begin again")

	for range 3 { // each failure renews the memory
		f.clock.advance(oauth.PairMemory - time.Minute)
		f.fail(keysOf("s", "a"))
	}
	f.clock.advance(oauth.PairMemory - time.Minute)
	f.wantFailures(keysOf("s", "a"), 4, 0, "a minute before the renewed memory ends")
}

func clearFailures(f *fixture) {
	clear := func(k oauth.LoginKeys) {
		f.Helper()
		f.must(f.ClearLoginFailures(f.Context(), k), "clear login failures")
	}
	clear(keysOf("s", "a"))
	f.wantFailures(keysOf("s", "a"), 0, 0, "nothing to clear")
	for _, account := range []string{"a", "a", "b", "c"} {
		f.fail(keysOf("s", account))
	}
	f.fail(keysOf("t", "a"))
	before := f.look()
	clear(keysOf("s", "a"))
	f.wantFailures(keysOf("s", "a"), 0, 2, "cleared")
	f.wantFailures(keysOf("s", "b"), 1, 2, "another account of the source")
	f.wantFailures(keysOf("t", "a"), 1, 1, "another source of the account")
	clear(keysOf("s", "a"))
	f.wantFailures(keysOf("s", "a"), 0, 2, "cleared again: the account is on the source's counter no more")
	f.fail(keysOf("s", "a"))
	f.wantFailures(keysOf("s", "a"), 1, 3, "failed again")
	for _, account := range []string{"a", "b", "c", "d"} {
		clear(keysOf("s", account))
	}
	f.wantFailures(keysOf("s", "a"), 0, 0, "all cleared")
	f.onlyChanged(before, "clear login failures")
}

// failToLock records a failure with a lockout and returns the user's state after it.
func (f *fixture) failToLock(k oauth.LoginKeys, userID string, after int) oauth.SubjectState {
	f.Helper()
	f.must(f.RecordLoginFailure(f.Context(), k, userID, after), "record login failure with a lockout")
	return f.user("alice").State
}

// wantState compares a state.
func (f *fixture) wantState(got, want oauth.SubjectState, when string) {
	f.Helper()
	if got != want {
		f.Errorf("%s: the user is %s, want %s", when, got, want)
	}
}

func lockout(f *fixture) {
	before := f.look()
	for range 2 {
		f.wantState(f.failToLock(keysOf("s", "a"), f.alice.ID, 3), oauth.SubjectActive, "before the third failure")
	}
	f.wantState(f.failToLock(keysOf("s", "nobody"), "", 1), oauth.SubjectActive, "a failure of an unknown account")
	f.onlyChanged(before, "failures before the lockout")
	f.wantState(f.failToLock(keysOf("s", "a"), f.alice.ID, 3), oauth.SubjectLocked, "after the third failure")
	f.onlyChanged(before, "lockout", f.alice)
	want, got := f.alice, f.user("alice")
	want.State, want.UpdatedAt = oauth.SubjectLocked, got.UpdatedAt
	f.same(got, want, "the locked user")

	f.setState(f.alice, true, oauth.SubjectActive)
	f.wantState(f.failToLock(keysOf("s", "a"), f.alice.ID, 3), oauth.SubjectLocked, "unlocked without a success, after one more failure")
	f.setState(f.alice, true, oauth.SubjectActive)
	f.must(f.ClearLoginFailures(f.Context(), keysOf("s", "a")), "clear login failures")
	for range 2 {
		f.wantState(f.failToLock(keysOf("s", "a"), f.alice.ID, 3), oauth.SubjectActive, "after a success, before the third failure")
	}
	f.wantState(f.failToLock(keysOf("s", "a"), f.alice.ID, 0), oauth.SubjectActive, "the third failure without a lockout")
	f.wantState(f.failToLock(keysOf("s", "a"), f.alice.ID, 3), oauth.SubjectLocked, "the fourth failure")
}

func lockoutOfBlocked(f *fixture) {
	f.setState(f.alice, true, oauth.SubjectReset)
	f.wantState(f.failToLock(keysOf("s", "a"), f.alice.ID, 1), oauth.SubjectReset, "a failure at a reset account")
	f.setState(f.alice, false, oauth.SubjectActive)
	f.wantState(f.failToLock(keysOf("s", "a"), f.alice.ID, 1), oauth.SubjectLocked, "a failure at a disabled account that is active")
	if f.user("alice").Enabled {
		f.Errorf("the lockout enabled the user")
	}
	f.must(f.DeleteUser(f.Context(), f.alice.ID, act("")), "delete user")
	before := f.look()
	f.must(f.RecordLoginFailure(f.Context(), keysOf("s", "a"), f.alice.ID, 1), "record a failure of a deleted user")
	f.onlyChanged(before, "record a failure of a deleted user")
}

func lockoutFromManySources(f *fixture) {
	for _, source := range []string{"s", "t"} {
		f.wantState(f.failToLock(keysOf(source, "a"), f.alice.ID, 3), oauth.SubjectActive, "before the third failure")
	}
	f.wantState(f.failToLock(keysOf("u", "a"), f.alice.ID, 3), oauth.SubjectLocked, "after the third failure")
	f.setState(f.alice, true, oauth.SubjectActive)
	f.must(f.ClearLoginFailures(f.Context(), keysOf("v", "a")), "clear login failures of yet another source")
	f.wantState(f.failToLock(keysOf("s", "a"), f.alice.ID, 3), oauth.SubjectActive, "after a success from anywhere, the first failure")
	f.wantFailures(keysOf("s", "a"), 2, 1, "the success from elsewhere left this source its failures")
}

func lockoutForgets(f *fixture) {
	f.failToLock(keysOf("s", "a"), f.alice.ID, 3)
	f.failToLock(keysOf("s", "a"), f.alice.ID, 3)
	f.clock.advance(oauth.PairMemory + time.Microsecond)
	for range 2 {
		f.wantState(f.failToLock(keysOf("s", "a"), f.alice.ID, 3), oauth.SubjectActive, "before the third failure since it was forgotten")
	}
	f.clock.advance(oauth.PairMemory - time.Microsecond)
	f.wantState(f.failToLock(keysOf("s", "a"), f.alice.ID, 3), oauth.SubjectLocked, "after the third failure, just remembered")
}

// save saves counters of wrong client secrets.
func (f *fixture) save(counts map[[16]byte]oauth.FailureCount) {
	f.Helper()
	f.must(f.SaveClientFailures(f.Context(), counts), "save client failures")
}

// wantClientFailures compares the counters of wrong client secrets.
func (f *fixture) wantClientFailures(want map[[16]byte]oauth.FailureCount, when string) {
	f.Helper()
	got, err := f.ClientFailures(f.Context())
	f.must(err, "read client failures")
	f.same(got, want, "client failures "+when)
	for _, n := range got {
		f.asStored("client failures "+when, n.Last)
	}
}

func clientFailures(f *fixture) {
	f.wantClientFailures(map[[16]byte]oauth.FailureCount{}, "at first")
	before := f.look()
	now := f.clock.Now()
	f.save(nil)
	f.save(map[[16]byte]oauth.FailureCount{key("a"): {Count: 3, Last: now}, key("b"): {Count: 1000, Last: now}})
	want := map[[16]byte]oauth.FailureCount{key("a"): {Count: 3, Last: stored(now)}, key("b"): {Count: 1000, Last: stored(now)}}
	f.wantClientFailures(want, "saved")
	f.fail(keysOf("s", "a")) // counters of logins are none of them
	f.wantClientFailures(want, "after a wrong password")

	next := f.clock.advance(time.Second)
	f.save(map[[16]byte]oauth.FailureCount{key("a"): {Count: 4, Last: next}, key("c"): {Count: 1, Last: next}})
	want[key("a")] = oauth.FailureCount{Count: 4, Last: next}
	want[key("c")] = oauth.FailureCount{Count: 1, Last: next}
	f.wantClientFailures(want, "after more")

	f.save(map[[16]byte]oauth.FailureCount{key("a"): {Count: 2, Last: stored(now)}, key("b"): {Count: 999, Last: stored(now)}})
	f.wantClientFailures(want, "after another node saved less")
	f.onlyChanged(before, "save client failures")
}

func clientFailuresMemory(f *fixture) {
	now := f.clock.stored()
	f.save(map[[16]byte]oauth.FailureCount{key("a"): {Count: 3, Last: now}, key("b"): {Count: 3, Last: now.Add(-time.Hour)}})
	f.clock.advance(oauth.PairMemory - time.Microsecond)
	f.wantClientFailures(map[[16]byte]oauth.FailureCount{key("a"): {Count: 3, Last: now}}, "a microsecond before the memory ends")
	now = f.clock.advance(2 * time.Microsecond)
	f.wantClientFailures(map[[16]byte]oauth.FailureCount{}, "a microsecond after the memory ended")
	f.save(map[[16]byte]oauth.FailureCount{key("a"): {Count: 1, Last: now}})
	f.wantClientFailures(map[[16]byte]oauth.FailureCount{key("a"): {Count: 1, Last: now}}, "begun again")
}
