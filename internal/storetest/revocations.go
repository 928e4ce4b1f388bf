package storetest

import (
	"time"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

var revocationCases = []testCase{
	{"a revocation of any generation", revokeOne},
	{"a second revocation changes nothing", revokeTwice},
	{"a revocation of nothing", revokeNothing},
	{"by public ID", revokeByPublicID},
	{"by subject", revokeBySubject},
	{"by client", revokeByClient},
	{"by subject and client", revokeByBoth},
	{"the count is of active grants", revokeCounts},
	{"what does not exist", revokeUnknown},
	{"a filter that names nothing", revokeAll},
	{"the client is deleted", revokeByDeletingClient},
	{"the user is deleted", revokeByDeletingUser},
}

func subjectOf(g oauth.Grant) admin.GrantFilter { return admin.GrantFilter{Subject: g.Subject} }

func clientOf(g oauth.Grant) admin.GrantFilter { return admin.GrantFilter{ClientID: g.ClientID} }

// revoke revokes one grant.
func (f *fixture) revoke(g oauth.Grant) {
	f.Helper()
	f.must(f.RevokeGrant(f.Context(), g.ID, "replay", act("revoke")), "revoke grant "+g.PublicID)
}

// revokeBy revokes by a filter and returns how many.
func (f *fixture) revokeBy(filter admin.GrantFilter) int {
	f.Helper()
	n, err := f.RevokeGrants(f.Context(), filter, "administrator", act("revoke"))
	f.must(err, "revoke grants")
	return n
}

func revokeOne(f *fixture) {
	g := f.rotate(f.rotate(f.grant))
	f.clock.advance(time.Minute)
	before := f.look()
	e := oauth.Event{
		Type: oauth.EventRevocation, Reason: "replay", RequestID: "revoke", ClientID: "web", Subject: f.alice.ID,
		GrantID: g.PublicID, Source: "192.0.2.0/24", Detail: "docs/rotation.md X1",
	}
	f.must(f.RevokeGrant(f.Context(), g.ID, "replay", e), "revoke grant")
	f.onlyChanged(before, "revoke grant", g)
	f.wantRevoked(g, "replay")
	got := f.oneEvent("revoke", "revoke grant")
	e.At, e.Count, e.LastAt = f.clock.stored(), got.Count, got.LastAt
	f.same(got, e, "event of the revocation")
}

func revokeTwice(f *fixture) {
	f.revoke(f.grant)
	f.clock.advance(time.Minute)
	before := f.look()
	f.must(f.RevokeGrant(f.Context(), f.grant.ID, "another reason", act("")), "revoke a revoked grant")
	f.onlyChanged(before, "revoke a revoked grant")
}

func revokeNothing(f *fixture) {
	before := f.look()
	f.must(f.RevokeGrant(f.Context(), oauth.GrantID{1}, "replay", act("")), "revoke a grant that is gone")
	f.onlyChanged(before, "revoke a grant that is gone")
}

func revokeByPublicID(f *fixture) {
	before := f.look()
	if n := f.revokeBy(admin.GrantFilter{PublicID: f.grant.PublicID}); n != 1 {
		f.Errorf("revoked %d grants, want 1", n)
	}
	// Neither the user nor the client changes: the sibling goes on.
	f.onlyChanged(before, "revoke by public ID", f.grant)
	f.wantRevoked(f.grant, "administrator")
	f.oneEvent("revoke", "revoke by public ID")
	f.rotate(f.sibling)
	if n := f.revokeBy(admin.GrantFilter{PublicID: f.grant.PublicID}); n != 0 {
		f.Errorf("revoked %d grants the second time, want 0", n)
	}
}

func revokeBySubject(f *fixture) {
	before := f.look()
	other := before.Grants["public alice at app"]
	if n := f.revokeBy(subjectOf(f.grant)); n != 3 {
		f.Errorf("revoked %d grants, want 3", n)
	}
	f.onlyChanged(before, "revoke by subject", f.grant, f.sibling, other, f.alice)
	for _, g := range []oauth.Grant{f.grant, f.sibling, other} {
		f.wantRevoked(g, "administrator")
	}
	f.oneEvent("revoke", "revoke by subject")
	now := f.user("alice")
	if now.Epoch <= f.alice.Epoch {
		f.Errorf("the epoch was %d and is %d, want it raised", f.alice.Epoch, now.Epoch)
	}
	f.wantError(f.CreateGrant(f.Context(), newGrant("late", f.alice, f.web)), oauth.ErrConflict, "create a grant decided upon before the revocation")
	f.must(f.CreateGrant(f.Context(), newGrant("new", now, f.web)), "create a grant after the revocation")
}

func revokeByClient(f *fixture) {
	before := f.look()
	other := before.Grants["public bob at web"]
	if n := f.revokeBy(clientOf(f.grant)); n != 3 {
		f.Errorf("revoked %d grants, want 3", n)
	}
	f.onlyChanged(before, "revoke by client", f.grant, f.sibling, other, f.web)
	for _, g := range []oauth.Grant{f.grant, f.sibling, other} {
		f.wantRevoked(g, "administrator")
	}
	f.oneEvent("revoke", "revoke by client")
	now := f.client("web")
	if now.Version <= f.web.Version {
		f.Errorf("the client's version was %d and is %d, want it raised", f.web.Version, now.Version)
	}
	f.wantError(f.CreateGrant(f.Context(), newGrant("late", f.alice, f.web)), oauth.ErrConflict, "create a grant decided upon before the revocation")
	f.must(f.CreateGrant(f.Context(), newGrant("new", f.alice, now)), "create a grant after the revocation")
}

func revokeByBoth(f *fixture) {
	before := f.look()
	if n := f.revokeBy(admin.GrantFilter{Subject: f.alice.ID, ClientID: "web"}); n != 2 {
		f.Errorf("revoked %d grants, want 2", n)
	}
	// Neither the epoch nor the version is raised: alice goes on at app, bob at web.
	f.onlyChanged(before, "revoke by subject and client", f.grant, f.sibling)
	f.wantRevoked(f.grant, "administrator")
	f.wantRevoked(f.sibling, "administrator")
}

func revokeCounts(f *fixture) {
	f.revoke(f.grant)
	was := f.read(f.grant).Grant
	f.clock.advance(time.Minute)
	if n := f.revokeBy(clientOf(f.grant)); n != 2 {
		f.Errorf("revoked %d grants, want 2: one was revoked before", n)
	}
	f.same(f.read(f.grant).Grant, was, "the grant that was revoked before")
	if n := f.revokeBy(clientOf(f.grant)); n != 0 {
		f.Errorf("revoked %d grants the second time, want 0", n)
	}
}

func revokeUnknown(f *fixture) {
	f.must(f.DeleteUser(f.Context(), f.bob.ID, act("")), "delete user")
	f.must(f.DeleteClient(f.Context(), "app", act("")), "delete client")
	for name, filter := range map[string]admin.GrantFilter{
		"grant":                    {PublicID: "public nothing"},
		"subject":                  {Subject: "nobody"},
		"deleted subject":          {Subject: f.bob.ID},
		"client":                   {ClientID: "none"},
		"deleted client":           {ClientID: "app"},
		"client of a subject":      {Subject: f.alice.ID, ClientID: "none"},
		"subject of a client":      {Subject: "nobody", ClientID: "web"},
		"username in place of the": {Subject: "alice"},
	} {
		before := f.look()
		n, err := f.RevokeGrants(f.Context(), filter, "administrator", act("revoke"))
		f.wantError(err, oauth.ErrNotFound, "revoke by an unknown "+name)
		if n != 0 {
			f.Errorf("revoke by an unknown %s: revoked %d, want 0", name, n)
		}
		f.onlyChanged(before, "revoke by an unknown "+name)
		f.noEvents("revoke", "revoke by an unknown "+name)
	}
}

func revokeAll(f *fixture) {
	for _, filter := range []admin.GrantFilter{{}, {Limit: 1}} {
		before := f.look()
		if n, err := f.RevokeGrants(f.Context(), filter, "administrator", act("revoke")); err == nil || n != 0 {
			f.Errorf("revoke by a filter that names nothing: got %d, %v; want 0 and an error", n, err)
		}
		f.onlyChanged(before, "revoke by a filter that names nothing")
	}
}

func revokeByDeletingClient(f *fixture) {
	f.revoke(f.sibling)
	before := f.look()
	f.clock.advance(time.Minute)
	other := before.Grants["public bob at web"]
	f.must(f.DeleteClient(f.Context(), "web", act("delete")), "delete client")
	f.onlyChanged(before, "delete client", f.grant, other, f.web)
	f.wantRevoked(f.grant, "client_deleted")
	f.wantRevoked(other, "client_deleted")
	f.oneEvent("delete", "delete client")
}

func revokeByDeletingUser(f *fixture) {
	f.revoke(f.sibling)
	before := f.look()
	f.clock.advance(time.Minute)
	other := before.Grants["public alice at app"]
	f.must(f.DeleteUser(f.Context(), f.alice.ID, act("delete")), "delete user")
	f.onlyChanged(before, "delete user", f.grant, other, f.alice)
	f.wantRevoked(f.grant, "user_deleted")
	f.wantRevoked(other, "user_deleted")
	f.oneEvent("delete", "delete user")
}
