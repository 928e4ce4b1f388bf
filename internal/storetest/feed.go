package storetest

import (
	"slices"
	"strconv"
	"time"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/feed"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

var feedCases = []testCase{
	{"who is new", feedNew},
	{"a grant that was revoked", feedGrant},
	{"a user who was disabled, and enabled again", feedUser},
	{"a user whose grants ended with the password", feedPassword},
	{"a user who was deleted", feedDeletedUser},
	{"a client that was deactivated, and one that was deleted", feedClient},
	{"a client whose owner was disabled", feedOwner},
	{"rotations", feedRotations},
	{"announcements", feedAnnouncements},
	{"who follows", feedFollowed},
	{"the longest lifetime", feedLifetime},
	{"what is still to be told is not cleaned up", feedCleanup},
	{"tokens that a client got for itself are revoked", feedClientTokens},
}

// changes reads what changed since a time.
func (f *fixture) changes(since time.Time) feed.Changes {
	f.Helper()
	c, err := f.Changes(f.Context(), since)
	f.must(err, "read changes")
	f.same(c.Now, f.clock.stored(), "time of the changes")
	return c
}

// subject finds a user among the changes.
func (f *fixture) subject(c feed.Changes, id string) feed.ChangedSubject {
	f.Helper()
	i := slices.IndexFunc(c.Subjects, func(u feed.ChangedSubject) bool { return u.ID == id })
	if i < 0 {
		f.Fatalf("user %s is not among the changes %+v", id, c.Subjects)
	}
	return c.Subjects[i]
}

// named are the grants of a user as changes name them.
func named(grants ...oauth.Grant) []feed.RevokedGrant {
	list := []feed.RevokedGrant{}
	for _, g := range grants {
		list = append(list, feed.RevokedGrant{PublicID: g.PublicID, ClientID: g.ClientID})
	}
	slices.SortFunc(list, func(a, b feed.RevokedGrant) int {
		if a.PublicID < b.PublicID {
			return -1
		}
		return 1
	})
	return list
}

func feedGrant(f *fixture) {
	at := f.clock.advance(time.Minute)
	f.same(f.changes(at), feed.Changes{Now: at}, "changes before there are any")
	f.revoke(f.grant)
	want := []feed.RevokedGrant{{PublicID: f.grant.PublicID, ClientID: "web", At: at}}
	f.clock.advance(time.Hour)
	f.same(f.changes(at).Grants, want, "grants revoked since then")
	if got := f.changes(at.Add(time.Microsecond)).Grants; len(got) != 0 {
		f.Errorf("grants revoked after that: got %+v, want none", got)
	}
}

func feedUser(f *fixture) {
	at := f.clock.advance(time.Minute)
	other := f.look().Grants["public alice at app"]
	f.revoke(f.sibling)
	yes, no := true, false
	f.must(f.SetUserState(f.Context(), f.alice.ID, &no, "", act("disable")), "disable user")
	want := feed.ChangedSubject{ID: f.alice.ID, At: at, Blocked: true, Grants: named(f.grant, other)}
	c := f.changes(at)
	f.same(f.subject(c, f.alice.ID), want, "the disabled user")
	if len(c.Subjects) != 1 {
		f.Errorf("changed users: got %+v, want alice alone", c.Subjects)
	}
	want.At, want.Blocked = f.clock.advance(time.Minute), false
	f.must(f.SetUserState(f.Context(), f.alice.ID, &yes, "", act("enable")), "enable user")
	want.Grants = nil
	f.same(f.subject(f.changes(at), f.alice.ID), want, "the enabled user")
	want.At, want.Blocked, want.Grants = f.clock.advance(time.Minute), true, named(f.grant, other)
	f.must(f.SetUserState(f.Context(), f.alice.ID, nil, oauth.SubjectReset, act("reset")), "reset user")
	f.same(f.subject(f.changes(want.At), f.alice.ID), want, "the user whose password was reset")
}

func feedPassword(f *fixture) {
	at := f.clock.advance(time.Minute)
	f.must(f.SetPassword(f.Context(), f.bob.ID, "hash", false, act("")), "set password")
	f.same(f.subject(f.changes(at), f.bob.ID), feed.ChangedSubject{ID: f.bob.ID, At: at}, "a user with a password that ends nothing")
	at = f.clock.advance(time.Minute)
	f.must(f.SetPassword(f.Context(), f.bob.ID, "hash", true, act("")), "set password")
	f.must(f.CreateGrant(f.Context(), newGrant("new", f.user("bob"), f.web)), "create grant")
	after := f.subject(f.changes(at), f.bob.ID)
	want := []feed.RevokedGrant{{PublicID: "public bob at app", ClientID: "app"}, {PublicID: "public bob at web", ClientID: "web"}}
	f.same(after, feed.ChangedSubject{ID: f.bob.ID, At: at, Ended: want}, "a user whose grants ended with the password")
}

func feedNew(f *fixture) {
	c := f.changes(time.Time{})
	if len(c.Subjects) != 0 || len(c.Clients) != 0 {
		f.Errorf("users and clients that were never changed: got %+v, want none", c)
	}
	f.must(f.DeleteClient(f.Context(), "app", act("")), "delete client")
	at := f.clock.advance(time.Minute)
	f.createClient("app")
	if got := f.changes(at).Clients; len(got) != 1 || got[0].Blocked {
		f.Errorf("a client with the ID of a deleted one: got %+v, want it let in", got)
	}
}

func feedDeletedUser(f *fixture) {
	at := f.clock.advance(time.Minute)
	f.must(f.DeleteUser(f.Context(), f.alice.ID, act("delete")), "delete user")
	c := f.changes(at)
	if u := f.subject(c, f.alice.ID); !u.Blocked || !u.At.Equal(at) {
		f.Errorf("the deleted user: got %+v, want it blocked since %v", u, at)
	}
	if len(c.Grants) != 3 {
		f.Errorf("grants revoked with the user: got %+v, want 3", c.Grants)
	}
}

func feedClient(f *fixture) {
	at := f.clock.advance(time.Minute)
	off := f.web
	off.Active = false
	f.must(f.UpdateClient(f.Context(), off, act("")), "deactivate client")
	f.same(f.changes(at).Clients, []feed.ChangedClient{{ID: "web", At: at, Blocked: true, NotBefore: at}}, "the deactivated client")
	at = f.clock.advance(time.Minute)
	f.must(f.DeleteClient(f.Context(), "app", act("")), "delete client")
	c := f.changes(at)
	if len(c.Clients) != 1 || c.Clients[0].ID != "app" || !c.Clients[0].Blocked || !c.Clients[0].At.Equal(at) {
		f.Errorf("the deleted client: got %+v, want app, blocked since %v", c.Clients, at)
	}
	if len(c.Grants) != 2 {
		f.Errorf("grants revoked with the client: got %+v, want 2", c.Grants)
	}
}

func feedOwner(f *fixture) {
	owned := f.web
	owned.Owner = f.bob.ID
	f.must(f.UpdateClient(f.Context(), owned, act("")), "give the client an owner")
	at := f.clock.advance(time.Minute)
	no := false
	f.must(f.SetUserState(f.Context(), f.bob.ID, &no, "", act("disable")), "disable owner")
	f.same(f.changes(at).Clients, []feed.ChangedClient{{ID: "web", At: at, Blocked: true}}, "the client of a disabled owner")
}

// rotations lists what was rotated since a time.
func (f *fixture) rotations(since time.Time) (list []oauth.Rotation) {
	f.Helper()
	f.must(f.Rotations(f.Context(), since, func(r oauth.Rotation) { list = append(list, r) }), "read rotations")
	return list
}

func feedRotations(f *fixture) {
	if got := f.rotations(time.Time{}); len(got) != 0 {
		f.Errorf("rotations before there are any: got %+v", got)
	}
	f.clock.advance(time.Minute)
	f.rotate(f.sibling)
	at := f.clock.advance(time.Minute)
	g := f.rotate(f.rotate(f.grant))
	f.same(f.rotations(at), []oauth.Rotation{{GrantID: g.PublicID, ClientID: "web", Generation: 2, At: at}}, "rotations since then")
	if got := f.rotations(at.Add(-time.Minute)); len(got) != 2 {
		f.Errorf("rotations since before: got %+v, want 2", got)
	}
	f.revoke(g)
	if got := f.rotations(at); len(got) != 0 {
		f.Errorf("rotations of a grant that was revoked: got %+v, want none", got)
	}
}

func feedAnnouncements(f *fixture) {
	none, last, err := f.Announced(f.Context(), 0)
	f.must(err, "read announcements")
	if len(none) != 0 || last != 0 {
		f.Errorf("announcements before there are any: got %+v, the last %d", none, last)
	}
	at := f.clock.stored()
	rotation := oauth.Rotation{GrantID: "a \"grant\"", ClientID: "wéb", Generation: 1<<32 - 1, At: at}
	f.must(f.Announce(f.Context(), feed.Announcement{Node: "a", Rotations: []oauth.Rotation{rotation}}), "announce")
	f.must(f.Announce(f.Context(), feed.Announcement{Node: "b", Final: true}), "announce")
	list, last, err := f.Announced(f.Context(), 0)
	f.must(err, "read announcements")
	f.same(list, []feed.Announcement{{Number: 1, At: at, Node: "a", Rotations: []oauth.Rotation{rotation}}, {Number: 2, At: at, Node: "b", Final: true}}, "announcements")
	f.same(last, int64(2), "number of the last announcement")
	for i := range 300 {
		f.must(f.Announce(f.Context(), feed.Announcement{Node: strconv.Itoa(i)}), "announce")
	}
	list, last, err = f.Announced(f.Context(), 2)
	f.must(err, "read announcements")
	f.same(last, int64(302), "number of the last announcement")
	if len(list) < 100 || len(list) > 299 || list[len(list)-1].Number != last {
		f.Fatalf("announcements kept: got %d, want the last hundreds", len(list))
	}
	for i, a := range list {
		if want := last - int64(len(list)-1-i); a.Number != want || a.Node != strconv.FormatInt(want-3, 10) {
			f.Fatalf("announcement %d: got number %d of %s, want %d", i, a.Number, a.Node, want)
		}
	}
}

func feedFollowed(f *fixture) {
	at, err := f.Followed(f.Context())
	f.must(err, "read who follows")
	f.same(at, time.Time{}, "when nobody ever followed")
	f.must(f.Follow(f.Context()), "follow")
	want := f.clock.stored()
	f.clock.advance(time.Minute)
	at, err = f.Followed(f.Context())
	f.must(err, "read who follows")
	f.same(at, want, "when somebody followed")
}

func feedLifetime(f *fixture) {
	now, longest, err := f.LongestLifetime(f.Context())
	f.must(err, "read lifetimes")
	f.same(now, f.clock.stored(), "the store's time")
	want := max(f.web.AccessTokenLifetime, f.app.AccessTokenLifetime)
	f.same(longest, want, "the longest lifetime")
	changed := f.web
	changed.AccessTokenLifetime = want + 48*time.Hour
	f.must(f.UpdateClient(f.Context(), changed, act("")), "update client")
	_, longest, err = f.LongestLifetime(f.Context())
	f.must(err, "read lifetimes")
	f.same(longest, changed.AccessTokenLifetime, "the longest lifetime, of a client that was changed")
}

func feedCleanup(f *fixture) {
	f.revoke(f.grant)
	c := admin.Cleanup{DeadFor: time.Minute, Told: time.Hour}
	f.clock.advance(30 * time.Minute)
	f.must(f.Follow(f.Context()), "follow")
	f.wantRemoved(f.clean(c), admin.Removed{}, "somebody follows")
	f.clock.advance(30*time.Minute + time.Microsecond)
	f.wantRemoved(f.clean(c), admin.Removed{Grants: 1}, "it was told for long enough")
	f.revoke(f.sibling)
	f.clock.advance(23 * time.Hour)
	c.Told = 48 * time.Hour
	f.wantRemoved(f.clean(c), admin.Removed{}, "somebody followed within a day")
	f.clock.advance(time.Hour)
	f.wantRemoved(f.clean(c), admin.Removed{Grants: 1}, "nobody follows any more")
}

func feedClientTokens(f *fixture) {
	at := f.clock.advance(time.Minute)
	before := f.look()
	f.must(f.RevokeClientTokens(f.Context(), "web", at, act("")), "revoke by another time")
	f.onlyChanged(before, "revoke client tokens by another time")
	f.must(f.RevokeClientTokens(f.Context(), "web", f.web.NotBefore, act("revoke")), "revoke client tokens")
	f.onlyChanged(before, "revoke client tokens", f.web)
	now := f.client("web")
	f.same(now.NotBefore, at, "not before")
	if now.Version <= f.web.Version {
		f.Errorf("the client's version was %d and is %d, want it raised", f.web.Version, now.Version)
	}
	f.oneEvent("revoke", "revoke client tokens")
	f.must(f.RevokeClientTokens(f.Context(), "web", at, act("")), "revoke again")
	if again := f.client("web").NotBefore; !again.After(at) {
		f.Errorf("not before was %v and is %v, want it later", at, again)
	}
	f.must(f.RevokeClientTokens(f.Context(), "nobody", time.Time{}, act("")), "revoke tokens of nobody")
}
