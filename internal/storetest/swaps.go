package storetest

import (
	"context"
	"math"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

var swapCases = []testCase{
	{"a rotation writes the whole next generation", swapRotates},
	{"the same generation keeps its time", swapReuses},
	{"the largest generation and key", swapLargest},
	{"the clock never moves a rotation back", swapClockBack},
	{"each condition", swapConditions},
	{"a blocked subject goes on once enabled", swapAfterUnblocking},
	{"a changed client goes on under its version", swapAfterUpdate},
	{"a context that has ended", swapCancelled},
	{"the two rows given stay as they are", swapKeepsArguments},
}

func swapRotates(f *fixture) {
	g := f.grant
	for range 3 {
		now := f.clock.advance(time.Hour)
		old, next := g, f.rotated(g)
		next.KeyID = 2
		next.LastUsedAt, next.IdleExpiresAt = f.clock.Now().Add(-time.Minute), f.clock.Now().Add(idleLifetime)
		next.RotatedAt = now.Add(24 * time.Hour) // the store's to say
		next.Version = 99                        // likewise
		before := f.look()
		f.must(f.SwapGrant(f.Context(), &old, &next, f.web.Version), "swap grant")
		f.onlyChanged(before, "swap grant", g)

		want := next
		want.Version, want.RotatedAt = old.Version+1, now
		want.LastUsedAt, want.IdleExpiresAt = stored(next.LastUsedAt), stored(next.IdleExpiresAt)
		g = f.read(g).Grant
		f.same(g, want, "grant after the rotation")
		f.asStored("grant after the rotation", grantTimes(g)...)

		before = f.look()
		f.wantError(f.SwapGrant(f.Context(), &old, &next, f.web.Version), oauth.ErrConflict, "swap the same again")
		f.onlyChanged(before, "swap the same again")
	}
}

func swapReuses(f *fixture) {
	g := f.rotate(f.grant)
	now := f.clock.advance(time.Hour)
	next := g
	next.LastUsedAt, next.IdleExpiresAt = now, now.Add(idleLifetime)
	next.RotatedAt = now
	before := f.look()
	f.must(f.SwapGrant(f.Context(), &g, &next, f.web.Version), "swap within a generation")
	f.onlyChanged(before, "swap within a generation", g)
	want := next
	want.Version, want.RotatedAt = g.Version+1, g.RotatedAt
	f.same(f.read(g).Grant, want, "grant after a swap within a generation")
}

func swapLargest(f *fixture) {
	next := f.rotated(f.grant)
	next.Generation, next.KeyID, next.Retries = math.MaxUint32, math.MaxUint16, math.MaxInt32
	f.must(f.SwapGrant(f.Context(), &f.grant, &next, f.web.Version), "swap grant")
	got := f.read(f.grant).Grant
	if got.Generation != next.Generation || got.KeyID != next.KeyID || got.Retries != next.Retries {
		f.Errorf("generation %d, key %d, retries %d; want %d, %d, %d",
			got.Generation, got.KeyID, got.Retries, next.Generation, next.KeyID, next.Retries)
	}
}

func swapClockBack(f *fixture) {
	g := f.rotate(f.grant)
	f.clock.advance(-48 * time.Hour)
	back := f.rotate(g)
	f.same(back.RotatedAt, g.RotatedAt, "rotated_at after the clock jumped back")
	now := f.clock.advance(72 * time.Hour)
	f.same(f.rotate(back).RotatedAt, now, "rotated_at after the clock went on")
}

// decision is what a swap or a retry is about to be tried upon: the grant as it was
// read, and the version of the client that was authenticated.
type decision struct {
	grant         oauth.Grant
	clientVersion int64
}

// broken are the conditions of SwapGrant and RetryGrant. Each breaks one of them,
// and leaves the others as good as it can: the grant is read again after it.
var broken = []struct {
	name string
	by   func(f *fixture, d *decision)
}{
	{"an older version", func(_ *fixture, d *decision) { d.grant.Version-- }},
	{"a version of the future", func(_ *fixture, d *decision) { d.grant.Version++ }},
	{"rotated meanwhile", func(f *fixture, _ *decision) { f.rotate(f.grant) }},
	{"used meanwhile within the generation", func(f *fixture, d *decision) {
		f.must(f.SwapGrant(f.Context(), &d.grant, &d.grant, d.clientVersion), "swap grant")
	}},
	{"revoked meanwhile", func(f *fixture, _ *decision) { f.revoke(f.grant) }},
	{"revoked, and read after that", func(f *fixture, d *decision) {
		f.revoke(f.grant)
		d.grant = f.read(f.grant).Grant
	}},
	{"revoked, and a decision that believes it active", func(f *fixture, d *decision) {
		f.revoke(f.grant)
		d.grant.Version = f.read(f.grant).Grant.Version
	}},
	{"an unknown grant", func(_ *fixture, d *decision) { d.grant.ID[15]++ }},
	{"another grant's version", func(f *fixture, d *decision) {
		d.grant.Version = f.rotate(f.rotate(f.sibling)).Version
	}},
	{"the epoch raised", func(f *fixture, d *decision) {
		f.must(f.SetPassword(f.Context(), f.alice.ID, "new", true, act("")), "set password")
		d.grant = f.read(f.grant).Grant
	}},
	{"an older epoch", func(_ *fixture, d *decision) { d.grant.SubjectEpoch-- }},
	{"signed out everywhere", func(f *fixture, d *decision) {
		f.revokeBy(subjectOf(f.grant))
		d.grant = f.read(f.grant).Grant
	}},
	{"disabled", func(f *fixture, d *decision) {
		f.setState(f.alice, false, oauth.SubjectActive)
		d.grant = f.read(f.grant).Grant
	}},
	{"locked", func(f *fixture, d *decision) {
		f.setState(f.alice, true, oauth.SubjectLocked)
		d.grant = f.read(f.grant).Grant
	}},
	{"reset", func(f *fixture, d *decision) {
		f.setState(f.alice, true, oauth.SubjectReset)
		d.grant = f.read(f.grant).Grant
	}},
	{"the subject gone", func(f *fixture, d *decision) {
		f.must(f.DeleteUser(f.Context(), f.alice.ID, act("")), "delete user")
		d.grant = f.read(f.grant).Grant
	}},
	{"another history of the same version", func(_ *fixture, d *decision) { d.grant.CurrentHash[31] ^= 1 }},
	{"an older client version", func(_ *fixture, d *decision) { d.clientVersion-- }},
	{"a client version of the future", func(_ *fixture, d *decision) { d.clientVersion++ }},
	{"client version 0", func(_ *fixture, d *decision) { d.clientVersion = 0 }},
	{"the client changed", func(f *fixture, _ *decision) {
		f.must(f.UpdateClient(f.Context(), f.web, act("")), "update client")
	}},
	{"all grants of the client revoked", func(f *fixture, d *decision) {
		f.revokeBy(clientOf(f.grant))
		*d = decision{f.read(f.grant).Grant, f.client("web").Version}
	}},
	{"the client gone", func(f *fixture, d *decision) {
		f.must(f.DeleteClient(f.Context(), "web", act("")), "delete client")
		d.grant = f.read(f.grant).Grant
	}},
	{"the client gone, version 0", func(f *fixture, d *decision) {
		f.must(f.DeleteClient(f.Context(), "web", act("")), "delete client")
		*d = decision{f.read(f.grant).Grant, 0}
	}},
	{"the client made again", func(f *fixture, d *decision) {
		f.must(f.DeleteClient(f.Context(), "web", act("")), "delete client")
		f.must(f.CreateClient(f.Context(), f.web, act("")), "create client")
		*d = decision{f.read(f.grant).Grant, f.client("web").Version}
	}},
}

// eachCondition tries a step after each condition was broken, on a store of its own.
func eachCondition(f *fixture, name string, step func(f *fixture, d decision) error) {
	for _, b := range broken {
		f.again(name+": "+b.name, func(f *fixture) {
			f.grant = f.rotate(f.grant)
			d := decision{f.grant, f.web.Version}
			b.by(f, &d)
			before := f.look()
			f.wantError(step(f, d), oauth.ErrConflict, b.name)
			f.onlyChanged(before, b.name)
		})
	}
}

func swapConditions(f *fixture) {
	eachCondition(f, "rotate", func(f *fixture, d decision) error {
		next := f.rotated(d.grant)
		return f.SwapGrant(f.Context(), &d.grant, &next, d.clientVersion)
	})
	eachCondition(f, "reuse", func(f *fixture, d decision) error {
		next := d.grant
		next.LastUsedAt = f.clock.stored()
		return f.SwapGrant(f.Context(), &d.grant, &next, d.clientVersion)
	})
}

func swapAfterUnblocking(f *fixture) {
	f.setState(f.alice, false, oauth.SubjectLocked)
	f.setState(f.alice, true, oauth.SubjectActive)
	f.must(f.SetPassword(f.Context(), f.alice.ID, "new", false, act("")), "set password and keep the grants")
	f.must(f.ReplacePasswordHash(f.Context(), f.alice.ID, "new", "rehashed"), "replace password hash")
	f.rotate(f.grant)
}

func swapAfterUpdate(f *fixture) {
	f.must(f.UpdateClient(f.Context(), f.web, act("")), "update client")
	f.rotate(f.grant)
}

// swapCancelled: a write that returns nil has happened, whatever became of its
// context; one that returns anything else but ErrOutcomeUnknown has not.
func swapCancelled(f *fixture) {
	ctx, cancel := context.WithCancel(f.Context())
	cancel()
	next := f.rotated(f.grant)
	err := f.SwapGrant(ctx, &f.grant, &next, f.web.Version)
	f.outcome(err, f.read(f.grant).Grant.Generation == next.Generation, "swap under a context that has ended")

	err = f.RevokeGrant(ctx, f.sibling.ID, "test", act("revoke"))
	f.outcome(err, f.read(f.sibling).Grant.Status == oauth.GrantRevoked, "revoke under a context that has ended")

	n := newGrant("third", f.alice, f.web)
	err = f.CreateGrant(ctx, n)
	_, missing := f.Grant(f.Context(), n.Grant.ID)
	f.outcome(err, missing == nil, "create under a context that has ended")
}

func swapKeepsArguments(f *fixture) {
	old, next := f.grant, f.rotated(f.grant)
	wantOld, wantNext := old, next
	f.must(f.SwapGrant(f.Context(), &old, &next, f.web.Version), "swap grant")
	f.same(old, wantOld, "the old row as the caller has it")
	f.same(next, wantNext, "the next row as the caller has it")
}
