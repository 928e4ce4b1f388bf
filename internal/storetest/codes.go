package storetest

import (
	"sync"
	"time"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

var codeCases = []testCase{
	{"a pending grant", pendingGrant},
	{"a code is redeemed", redeemGrant},
	{"a code is redeemed once", redeemTwice},
	{"redemption depends on grant, subject and client", redeemConditions},
	{"one of many redemptions wins", redeemTogether},
	{"a redeemed grant counts", redeemSupersedes},
	{"a pending grant can be revoked", revokePending},
	{"pending grants are limited", pendingLimited},
	{"clean-up of pending grants", cleanPending},
	{"the grants of a subject", grantsOf},
	{"a pending grant takes no refresh", pendingDoesNotRefresh},
}

const codeLifetime = time.Minute

// pend makes a pending grant of alice at the web.
func (f *fixture) pend(name string) oauth.Grant {
	f.Helper()
	n := newGrant(name, f.alice, f.web)
	n.Grant.Status, n.IdleLifetime, n.AbsoluteLifetime, n.Event = oauth.GrantPending, codeLifetime, 0, oauth.Event{}
	f.must(f.CreateGrant(f.Context(), n), "create pending grant")
	return f.read(n.Grant).Grant
}

// redemption is what redeems a pending grant.
func redemption(g oauth.Grant, c oauth.Client) oauth.NewGrant {
	g.CurrentHash, g.KeyID, g.Scope = hashOf("redeemed", g.PublicID), 2, oauth.Scope{"read", "write"}
	return oauth.NewGrant{
		Grant: g, ClientVersion: c.Version, IdleLifetime: idleLifetime, AbsoluteLifetime: absoluteLifetime,
		Event: oauth.Event{Type: oauth.EventLogin, Reason: "authorization_code", RequestID: "redeem " + g.PublicID, GrantID: g.PublicID},
	}
}

func pendingGrant(f *fixture) {
	before, now := f.look(), f.clock.stored()
	g := f.pend("code")
	want := newGrant("code", f.alice, f.web).Grant
	want.Status, want.CreatedAt, want.LastUsedAt, want.RotatedAt = oauth.GrantPending, now, now, now
	want.IdleExpiresAt = now.Add(codeLifetime)
	want.Resource = g.Resource
	f.same(g, want, "pending grant")
	f.onlyChanged(before, "create pending grant", g)
	f.noEvents("login code", "create pending grant")
}

func redeemGrant(f *fixture) {
	g := f.pend("code")
	now := f.clock.advance(time.Second)
	before := f.look()
	f.must(f.RedeemGrant(f.Context(), redemption(g, f.web), g.CurrentHash), "redeem")
	got := f.read(g).Grant
	want := redemption(g, f.web).Grant
	want.Status, want.Version = oauth.GrantActive, g.Version+1
	want.CreatedAt, want.LastUsedAt, want.RotatedAt = now, now, now
	want.IdleExpiresAt, want.AbsoluteExpiresAt = now.Add(idleLifetime), now.Add(absoluteLifetime)
	f.same(got, want, "redeemed grant")
	f.onlyChanged(before, "redeem", g)
	f.oneEvent("redeem "+g.PublicID, "redeem")
	f.rotate(got)
}

func redeemTwice(f *fixture) {
	g := f.pend("code")
	n := redemption(g, f.web)
	f.must(f.RedeemGrant(f.Context(), n, g.CurrentHash), "redeem")
	before := f.look()
	for _, version := range []int64{g.Version, g.Version + 1} {
		n.Grant.Version = version
		for _, hash := range [][32]byte{g.CurrentHash, n.Grant.CurrentHash} {
			f.wantError(f.RedeemGrant(f.Context(), n, hash), oauth.ErrConflict, "redeem again")
		}
	}
	f.onlyChanged(before, "redeem again")
	f.oneEvent("redeem "+g.PublicID, "redeem again")
}

func redeemConditions(f *fixture) {
	for name, change := range map[string]func(*fixture, *oauth.NewGrant, *[32]byte){
		"another grant":          func(_ *fixture, n *oauth.NewGrant, _ *[32]byte) { n.Grant.ID[0]++ },
		"another version":        func(_ *fixture, n *oauth.NewGrant, _ *[32]byte) { n.Grant.Version++ },
		"another code":           func(_ *fixture, _ *oauth.NewGrant, hash *[32]byte) { hash[0]++ },
		"another epoch":          func(_ *fixture, n *oauth.NewGrant, _ *[32]byte) { n.Grant.SubjectEpoch++ },
		"another client version": func(_ *fixture, n *oauth.NewGrant, _ *[32]byte) { n.ClientVersion++ },
		"an active grant":        func(f *fixture, n *oauth.NewGrant, hash *[32]byte) { n.Grant, *hash = f.grant, f.grant.CurrentHash },
		"a revoked one": func(f *fixture, n *oauth.NewGrant, _ *[32]byte) {
			f.must(f.RevokeGrant(f.Context(), n.Grant.ID, "test", act("")), "revoke")
			n.Grant.Version++
		},
		"a blocked subject": func(f *fixture, _ *oauth.NewGrant, _ *[32]byte) {
			f.must(f.SetUserState(f.Context(), f.alice.ID, nil, oauth.SubjectLocked, act("")), "lock")
		},
		"a disabled subject": func(f *fixture, _ *oauth.NewGrant, _ *[32]byte) {
			f.must(f.SetUserState(f.Context(), f.alice.ID, new(false), "", act("")), "disable")
		},
		"a new password": func(f *fixture, _ *oauth.NewGrant, _ *[32]byte) {
			f.must(f.SetPassword(f.Context(), f.alice.ID, "hash", true, act("")), "set password")
		},
		"a subject that is gone": func(f *fixture, _ *oauth.NewGrant, _ *[32]byte) {
			f.must(f.DeleteUser(f.Context(), f.alice.ID, act("")), "delete user")
		},
		"a client that is gone": func(f *fixture, _ *oauth.NewGrant, _ *[32]byte) {
			f.must(f.DeleteClient(f.Context(), f.web.ID, act("")), "delete client")
		},
	} {
		f.again(name, func(f *fixture) {
			g := f.pend("code")
			n, hash := redemption(g, f.web), g.CurrentHash
			change(f, &n, &hash)
			before := f.look()
			f.wantError(f.RedeemGrant(f.Context(), n, hash), oauth.ErrConflict, "redeem")
			f.onlyChanged(before, "redeem")
			f.noEvents("redeem "+g.PublicID, "redeem")
		})
	}
}

func redeemTogether(f *fixture) {
	g := f.pend("code")
	var mu sync.Mutex
	var all sync.WaitGroup
	won := 0
	for range 16 {
		all.Go(func() {
			err := f.RedeemGrant(f.Context(), redemption(g, f.web), g.CurrentHash)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else {
				f.wantError(err, oauth.ErrConflict, "redeem together")
			}
		})
	}
	all.Wait()
	f.same(won, 1, "redemptions that won")
	f.oneEvent("redeem "+g.PublicID, "redeem together")
}

func redeemSupersedes(f *fixture) {
	g := f.pend("code") // does not count: alice has two active grants at the web
	other := newGrant("other", f.alice, f.web)
	other.MaxGrants = 3
	f.must(f.CreateGrant(f.Context(), other), "create grant")
	f.same(f.read(f.sibling).Grant.Status, oauth.GrantActive, "status of the grant idle longest, with three active ones")
	n := redemption(g, f.web)
	n.MaxGrants = 3
	f.must(f.RedeemGrant(f.Context(), n, g.CurrentHash), "redeem")
	f.same(f.read(f.sibling).Grant.RevokedReason, "superseded", "why the grant idle longest was revoked")
	f.same(f.read(g).Grant.Status, oauth.GrantActive, "status of the redeemed grant")
}

func revokePending(f *fixture) {
	g := f.pend("code")
	f.must(f.RevokeGrant(f.Context(), g.ID, "test", act("revoke")), "revoke")
	f.same(f.read(g).Grant.Status, oauth.GrantRevoked, "status of a pending grant that was revoked")
	f.oneEvent("revoke", "revoke")
	byClient := f.pend("by client")
	n, err := f.RevokeGrants(f.Context(), admin.GrantFilter{ClientID: f.web.ID}, "test", act(""))
	f.must(err, "revoke grants of a client")
	f.same(n, 4, "grants of the client that were revoked")
	f.same(f.read(byClient).Grant.Status, oauth.GrantRevoked, "status of a pending grant of a client whose grants were revoked")
}

func pendingDoesNotRefresh(f *fixture) {
	g := f.pend("code")
	next := f.rotated(g)
	f.wantError(f.SwapGrant(f.Context(), &g, &next, f.web.Version), oauth.ErrConflict, "swap a pending grant")
	f.wantError(f.RetryGrant(f.Context(), &g, f.web.Version, 100), oauth.ErrConflict, "retry a pending grant")
	f.same(f.read(g).Grant, g, "pending grant afterwards")
}

func pendingLimited(f *fixture) {
	oldest := f.pend("oldest")
	f.clock.advance(time.Millisecond)
	second := f.pend("second")
	f.clock.advance(time.Millisecond)
	n := newGrant("newest", f.alice, f.web)
	n.Grant.Status, n.MaxGrants, n.Event = oauth.GrantPending, 2, oauth.Event{}
	before := f.look()
	f.must(f.CreateGrant(f.Context(), n), "create pending grant")
	f.onlyChanged(before, "create pending grant", oldest, n.Grant)
	_, err := f.Grant(f.Context(), oldest.ID)
	f.wantError(err, oauth.ErrNotFound, "read the oldest pending grant")
	f.same(f.read(second).Grant, second, "the second pending grant")
}

func cleanPending(f *fixture) {
	over := f.pend("over")
	f.clock.advance(codeLifetime - time.Second)
	waiting := f.pend("waiting")
	f.clock.advance(2 * time.Second)
	before := f.look()
	removed, err := f.Cleanup(f.Context(), admin.Cleanup{DeadFor: 24 * time.Hour})
	f.must(err, "clean up")
	f.same(removed.Grants, 1, "grants that were removed")
	f.onlyChanged(before, "clean up", over)
	f.same(f.read(waiting).Grant, waiting, "a pending grant that waits")
}

func grantsOf(f *fixture) {
	f.pend("code")
	f.must(f.RevokeGrant(f.Context(), f.sibling.ID, "test", act("")), "revoke")
	list := func(most int) (names []string) {
		views, err := f.GrantsOf(f.Context(), f.alice.ID, most)
		f.must(err, "list grants of a subject")
		for _, v := range views {
			names = append(names, v.Grant.PublicID)
			f.same(v.Subject, f.user("alice").Subject, "subject of a listed grant")
		}
		return names
	}
	f.same(list(10), []string{"public grant", "public alice at app"}, "active grants, newest first")
	f.same(list(1), []string{"public grant"}, "the newest grant")
	f.must(f.SetPassword(f.Context(), f.alice.ID, "hash", true, act("")), "set password")
	f.same(len(list(10)), 0, "grants after a new password")
}
