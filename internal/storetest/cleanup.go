package storetest

import (
	"fmt"
	"strconv"
	"time"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

var cleanupCases = []testCase{
	{"nothing is over", cleanNothing},
	{"a grant is live until its end", cleanExpired},
	{"a grant that is used stays", cleanUsed},
	{"a grant without an absolute end stays", cleanEndless},
	{"a revoked grant stays for a while", cleanRevoked},
	{"an expired grant stays for a while", cleanExpiredLater},
	{"events", cleanEvents},
	{"shared events", cleanSharedEvents},
	{"client secrets", cleanSecrets},
	{"failures of logins", cleanLoginFailures},
	{"failures of clients", cleanClientFailures},
	{"a dry run counts", cleanDryRun},
	{"in steps", cleanInSteps},
	{"what is remembered for ever", cleanForEver},
}

// clean cleans up.
func (f *fixture) clean(c admin.Cleanup) admin.Removed {
	f.Helper()
	r, err := f.Store.Cleanup(f.Context(), c)
	f.must(err, "clean up")
	return r
}

// wantRemoved compares what a clean-up removed.
func (f *fixture) wantRemoved(got, want admin.Removed, when string) {
	f.Helper()
	f.same(got, want, when+": what the clean-up removed")
}

// until moves the clock to a time.
func (f *fixture) until(t time.Time) { f.clock.advance(t.Sub(f.clock.stored())) }

// gone checks that a grant is not there.
func (f *fixture) gone(g oauth.Grant) {
	f.Helper()
	_, err := f.Grant(f.Context(), g.ID)
	f.wantError(err, oauth.ErrNotFound, "read "+g.PublicID+" after the clean-up")
	_, err = f.GrantByPublicID(f.Context(), g.PublicID)
	f.wantError(err, oauth.ErrNotFound, "read "+g.PublicID+" by public ID after the clean-up")
}

func cleanNothing(f *fixture) {
	f.fail(keysOf("s", "a"))
	f.refuse(fullEvent(oauth.EventRefusal, "refusal"))
	before := f.look()
	f.wantRemoved(f.clean(admin.Cleanup{}), admin.Removed{}, "nothing is over")
	f.wantRemoved(f.clean(admin.Cleanup{DeadFor: time.Hour, Events: time.Hour}), admin.Removed{}, "nothing is over")
	f.onlyChanged(before, "clean up")
	f.wantFailures(keysOf("s", "a"), 1, 1, "after a clean-up")
}

func cleanExpired(f *fixture) {
	before := f.look()
	f.until(f.grant.IdleExpiresAt.Add(-time.Microsecond))
	f.wantRemoved(f.clean(admin.Cleanup{}), admin.Removed{Grants: 4}, "a microsecond before the last grant ends")
	f.onlyChanged(before, "clean up", f.sibling, before.Grants["public alice at app"], before.Grants["public bob at web"], before.Grants["public bob at app"])
	f.same(f.read(f.grant).Grant, f.grant, "the live grant after the clean-up")
	f.gone(f.sibling)
	f.clock.advance(2 * time.Microsecond)
	f.wantRemoved(f.clean(admin.Cleanup{}), admin.Removed{Grants: 1}, "a microsecond after the last grant ended")
	f.gone(f.grant)

	next := f.rotated(f.grant)
	f.wantError(f.SwapGrant(f.Context(), &f.grant, &next, f.web.Version), oauth.ErrConflict, "swap a grant that was cleaned up")
	f.wantError(f.RetryGrant(f.Context(), &f.grant, f.web.Version, 100), oauth.ErrConflict, "retry a grant that was cleaned up")
	f.must(f.RevokeGrant(f.Context(), f.grant.ID, "test", act("")), "revoke a grant that was cleaned up")
	f.gone(f.grant)
}

func cleanUsed(f *fixture) {
	f.until(f.grant.IdleExpiresAt.Add(-time.Hour))
	g := f.rotate(f.grant)
	f.until(f.grant.IdleExpiresAt.Add(time.Hour))
	f.wantRemoved(f.clean(admin.Cleanup{}), admin.Removed{Grants: 4}, "one of five grants was used")
	f.same(f.read(g).Grant, g, "the grant that was used")
}

func cleanEndless(f *fixture) {
	n := newGrant("endless", f.alice, f.web)
	n.AbsoluteLifetime, n.IdleLifetime = 0, 100*365*24*time.Hour
	f.must(f.CreateGrant(f.Context(), n), "create grant")
	want := f.read(n.Grant).Grant
	f.until(want.IdleExpiresAt.Add(-time.Microsecond))
	f.wantRemoved(f.clean(admin.Cleanup{}), admin.Removed{Grants: 5}, "after nearly 100 years")
	f.same(f.read(n.Grant).Grant, want, "the grant without an absolute end")
	next := want
	next.IdleExpiresAt = want.IdleExpiresAt.Add(100 * 365 * 24 * time.Hour)
	f.must(f.SwapGrant(f.Context(), &want, &next, f.web.Version), "swap grant")
	f.clock.advance(24 * time.Hour)
	f.wantRemoved(f.clean(admin.Cleanup{}), admin.Removed{}, "after more than 100 years")
	f.read(n.Grant)
}

func cleanRevoked(f *fixture) {
	f.revoke(f.grant)
	f.clock.advance(time.Minute)
	f.must(f.DeleteClient(f.Context(), "app", act("")), "delete client")
	f.clock.advance(time.Minute)
	f.must(f.DeleteUser(f.Context(), f.bob.ID, act("")), "delete user")
	before := f.look()
	c := admin.Cleanup{DeadFor: time.Hour}
	f.clock.advance(58 * time.Minute)
	f.wantRemoved(f.clean(c), admin.Removed{}, "an hour after the revocation, and not longer")
	f.onlyChanged(before, "clean up")
	f.clock.advance(time.Microsecond)
	f.wantRemoved(f.clean(c), admin.Removed{Grants: 1}, "a microsecond after an hour since the revocation")
	f.gone(f.grant)
	f.clock.advance(time.Minute)
	f.wantRemoved(f.clean(c), admin.Removed{Grants: 2}, "an hour since the client was deleted")
	f.clock.advance(time.Minute)
	f.wantRemoved(f.clean(c), admin.Removed{Grants: 1}, "an hour since the user was deleted")
	f.same(f.read(f.sibling).Grant, f.sibling, "the live grant")
}

func cleanExpiredLater(f *fixture) {
	c := admin.Cleanup{DeadFor: time.Hour}
	f.until(f.grant.IdleExpiresAt.Add(time.Hour))
	before := f.look()
	f.revoke(f.sibling) // its end counts from when it expired, not from now
	f.wantRemoved(f.clean(c), admin.Removed{Grants: 4}, "an hour after the last grant ended, and not longer")
	f.gone(f.sibling)
	f.onlyChanged(before, "clean up", f.sibling, before.Grants["public alice at app"], before.Grants["public bob at web"], before.Grants["public bob at app"])
	f.clock.advance(time.Microsecond)
	f.wantRemoved(f.clean(c), admin.Removed{Grants: 1}, "a microsecond after an hour since the last grant ended")
}

func cleanEvents(f *fixture) {
	created := f.clock.advance(0)
	f.must(f.RecordEvent(f.Context(), act("old")), "record event")
	f.clock.advance(time.Hour)
	f.must(f.RecordEvent(f.Context(), act("young")), "record event")
	f.until(created.Add(2*time.Hour - time.Microsecond))
	const fixtureEvents = 2 + 2 + 5 // of users, clients and grants, older than both
	f.wantRemoved(f.clean(admin.Cleanup{}), admin.Removed{}, "events are kept for ever")
	f.wantRemoved(f.clean(admin.Cleanup{Events: 2 * time.Hour}), admin.Removed{Events: fixtureEvents}, "a microsecond before the old event is")
	f.oneEvent("old", "a clean-up")
	f.clock.advance(2 * time.Microsecond)
	f.wantRemoved(f.clean(admin.Cleanup{Events: 2 * time.Hour}), admin.Removed{Events: 1}, "a microsecond after the old event is")
	f.noEvents("old", "a clean-up")
	f.oneEvent("young", "a clean-up")
}

func cleanSharedEvents(f *fixture) {
	f.refuse(fullEvent(oauth.EventRefusal, "first"))
	f.clock.advance(time.Hour)
	f.refuse(fullEvent(oauth.EventRefusal, "again"))
	f.clock.advance(time.Minute)
	f.clean(admin.Cleanup{Events: 30 * time.Minute})
	if got := f.oneEvent("first", "a clean-up before the last refusal is old").Count; got != 2 {
		f.Errorf("the shared event counts %d, want 2", got)
	}
	f.clock.advance(time.Hour)
	f.wantRemoved(f.clean(admin.Cleanup{Events: 30 * time.Minute}), admin.Removed{Events: 1}, "the last refusal is old")
	f.refuse(fullEvent(oauth.EventRefusal, "new"))
	if got := f.oneEvent("new", "a refusal after the clean-up").Count; got != 1 {
		f.Errorf("the new event counts %d, want 1", got)
	}
}

func cleanSecrets(f *fixture) {
	c := f.web
	c.Secrets = []oauth.ClientSecret{
		{Hash: "for ever"}, {Hash: "an hour", ExpiresAt: f.clock.stored().Add(time.Hour)}, {Hash: "a day", ExpiresAt: f.clock.stored().Add(24 * time.Hour)},
	}
	f.must(f.UpdateClient(f.Context(), c, act("")), "update client")
	f.clock.advance(2 * time.Hour)
	want := f.client("web")
	f.wantRemoved(f.clean(admin.Cleanup{DeadFor: time.Hour}), admin.Removed{}, "an hour after a secret ended, and not longer")
	f.clock.advance(time.Microsecond)
	f.wantRemoved(f.clean(admin.Cleanup{DeadFor: time.Hour}), admin.Removed{Secrets: 1}, "a microsecond after an hour since a secret ended")
	f.sameClient(f.client("web"), want, "client after the clean-up of what it did not show")
	f.wantRemoved(f.clean(admin.Cleanup{DeadFor: time.Hour}), admin.Removed{}, "again")
}

func cleanLoginFailures(f *fixture) {
	f.fail(keysOf("s", "a"))
	f.clock.advance(oauth.SourceMemory)
	f.wantRemoved(f.clean(admin.Cleanup{}), admin.Removed{}, "the last moment of the source's memory")
	f.wantFailures(keysOf("s", "a"), 1, 1, "a clean-up before the source is forgotten")
	f.clock.advance(time.Microsecond)
	f.clean(admin.Cleanup{})
	f.wantFailures(keysOf("s", "a"), 1, 0, "a clean-up after the source was forgotten")
	f.clock.advance(oauth.PairMemory - oauth.SourceMemory - time.Microsecond)
	f.wantRemoved(f.clean(admin.Cleanup{}), admin.Removed{}, "the last moment of the pair's memory")
	f.wantFailures(keysOf("s", "a"), 1, 0, "a clean-up before the pair is forgotten")
	f.clock.advance(time.Microsecond)
	f.wantRemoved(f.clean(admin.Cleanup{DeadFor: time.Hour}), admin.Removed{}, "counters that ended a microsecond ago")
	f.clock.advance(time.Hour)
	if r := f.clean(admin.Cleanup{DeadFor: time.Hour}); r.Failures == 0 {
		f.Errorf("no counter was removed an hour after all of them ended")
	}
	f.wantRemoved(f.clean(admin.Cleanup{}), admin.Removed{}, "again")
}

func cleanClientFailures(f *fixture) {
	want := map[[16]byte]oauth.FailureCount{key("a"): {Count: 3, Last: f.clock.stored()}}
	f.save(want)
	f.clock.advance(oauth.PairMemory - time.Microsecond)
	f.wantRemoved(f.clean(admin.Cleanup{}), admin.Removed{}, "a microsecond before the counter ends")
	f.wantClientFailures(want, "after a clean-up")
	f.clock.advance(2 * time.Microsecond)
	f.wantRemoved(f.clean(admin.Cleanup{}), admin.Removed{Failures: 1}, "a microsecond after the counter ended")
}

// overdue makes a store in which something of every kind is over.
func overdue(f *fixture) {
	c := f.web
	c.Secrets = []oauth.ClientSecret{{Hash: "for ever"}, {Hash: "over", ExpiresAt: f.clock.stored().Add(time.Minute)}}
	f.must(f.UpdateClient(f.Context(), c, act("")), "update client")
	web := f.client("web")
	for i := range 25 {
		name := strconv.Itoa(i)
		n := newGrant(name, f.bob, web)
		n.IdleLifetime = time.Minute
		f.must(f.CreateGrant(f.Context(), n), "create grant")
		f.fail(keysOf("s", name))
		f.save(map[[16]byte]oauth.FailureCount{key(name): {Count: 1, Last: f.clock.stored()}})
	}
	f.clock.advance(oauth.PairMemory + time.Hour)
	f.revoke(f.sibling)
	f.clock.advance(time.Hour)
}

func cleanDryRun(f *fixture) {
	overdue(f)
	before, client := f.look(), f.client("web")
	c := admin.Cleanup{DeadFor: time.Minute, Events: 2 * time.Hour, DryRun: true}
	would := f.clean(c)
	f.wantRemoved(f.clean(c), would, "a second dry run")
	f.onlyChanged(before, "a dry run")
	f.oneEvent("login 7", "a dry run")
	c.DryRun = false
	did := f.clean(c)
	f.wantRemoved(did, would, "the same, not dry")
	f.sameClient(f.client("web"), client, "client after the clean-up")
	// Users, clients, grants, the update of a client, the logins; the revocation is younger.
	const events = 2 + 2 + 5 + 1 + 25
	f.wantRemoved(did, admin.Removed{Grants: 25 + 1, Events: events, Failures: did.Failures, Secrets: 1}, "something of every kind")
	if did.Failures < 25 {
		f.Errorf("removed %d counters, want at least one of each of 25 clients", did.Failures)
	}
	f.wantRemoved(f.clean(c), admin.Removed{}, "again")
}

func cleanInSteps(f *fixture) {
	for _, batch := range []int{0, 1, 10, 26, 1000} {
		f.again(fmt.Sprintf("of %d rows", batch), func(f *fixture) {
			overdue(f)
			c := admin.Cleanup{DeadFor: time.Minute, Events: 2 * time.Hour, Batch: batch, DryRun: true}
			want := f.clean(c)
			c.DryRun = false
			f.wantRemoved(f.clean(c), want, "all that a dry run counted")
			f.wantRemoved(f.clean(c), admin.Removed{}, "again")
			if left := len(f.look().Grants); left != 4 {
				f.Errorf("%d grants are left, want 4", left)
			}
		})
	}
}

// cleanForEver: what must never be used again is remembered longer than anything.
func cleanForEver(f *fixture) {
	f.must(f.UpdateClient(f.Context(), f.web, act("")), "update client")
	highest := f.client("web").Version
	f.must(f.DeleteClient(f.Context(), "web", act("")), "delete client")
	f.must(f.DeleteUser(f.Context(), f.alice.ID, act("")), "delete user")
	f.clock.advance(10 * 365 * 24 * time.Hour)
	f.clean(admin.Cleanup{Events: time.Hour})
	f.clean(admin.Cleanup{Events: time.Hour})
	f.wantError(f.CreateUser(f.Context(), f.alice, act("")), oauth.ErrExists, "create a user with the ID of a deleted one, ten years later")
	if got := f.createClient("web").Version; got <= highest {
		f.Errorf("the version of the deleted client was %d, and is %d when made again ten years later; want it higher", highest, got)
	}
}
