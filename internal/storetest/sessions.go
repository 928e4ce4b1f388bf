package storetest

import (
	"crypto/sha256"
	"time"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

var sessionCases = []testCase{
	{"every field comes back", sessionFields},
	{"creation depends on the subject", createSessionConditions},
	{"a session ends with what it depends on", sessionLife},
	{"a session is ended", endSession},
	{"signing out everywhere", signOut},
	{"the list is of one subject", listSessions},
	{"clean-up", cleanSessions},
}

const sessionLifetime = 12 * time.Hour

func newSession(name string, u oauth.User) oauth.Session {
	return oauth.Session{Key: sha256.Sum256([]byte(name)), Subject: u.ID, SubjectEpoch: u.Epoch, Browser: "Browser " + name + " ü"}
}

// signIn makes a session.
func (f *fixture) signIn(name string, u oauth.User) oauth.Session {
	f.Helper()
	f.clock.advance(time.Millisecond)
	n := newSession(name, u)
	f.must(f.CreateSession(f.Context(), n, sessionLifetime, act("sign in "+name)), "create session")
	v, err := f.Session(f.Context(), n.Key)
	f.must(err, "read session")
	return v.Session
}

func (f *fixture) wantSession(n oauth.Session, lives bool, when string) {
	f.Helper()
	_, err := f.Session(f.Context(), n.Key)
	if lives {
		f.must(err, "read session "+when)
		return
	}
	f.wantError(err, oauth.ErrNotFound, "read session "+when)
}

func sessionFields(f *fixture) {
	before := f.look()
	got := f.signIn("one", f.alice)
	want := newSession("one", f.alice)
	want.CreatedAt, want.ExpiresAt = f.clock.stored(), f.clock.stored().Add(sessionLifetime)
	f.same(got, want, "session")
	v, err := f.Session(f.Context(), want.Key)
	f.must(err, "read session")
	f.same(v.Subject, f.alice.Subject, "subject of the session")
	f.onlyChanged(before, "create session")
	f.oneEvent("sign in one", "create session")
	f.wantSession(newSession("another", f.alice), false, "that nobody made")
}

func createSessionConditions(f *fixture) {
	for name, change := range map[string]func(*fixture, *oauth.Session){
		"another epoch": func(_ *fixture, n *oauth.Session) { n.SubjectEpoch++ },
		"nobody":        func(_ *fixture, n *oauth.Session) { n.Subject = "nobody" },
		"locked": func(f *fixture, _ *oauth.Session) {
			f.must(f.SetUserState(f.Context(), f.alice.ID, nil, oauth.SubjectLocked, act("")), "lock")
		},
		"disabled": func(f *fixture, _ *oauth.Session) {
			f.must(f.SetUserState(f.Context(), f.alice.ID, new(false), "", act("")), "disable")
		},
	} {
		f.again(name, func(f *fixture) {
			n := newSession("one", f.alice)
			change(f, &n)
			f.wantError(f.CreateSession(f.Context(), n, sessionLifetime, act("sign in")), oauth.ErrConflict, "create session")
			f.noEvents("sign in", "create session")
		})
	}
}

func sessionLife(f *fixture) {
	n := f.signIn("one", f.alice)
	f.clock.advance(sessionLifetime - time.Microsecond)
	f.wantSession(n, true, "at its last moment")
	f.clock.advance(time.Microsecond)
	f.wantSession(n, false, "after its last moment")
	for name, end := range map[string]func(*fixture) error{
		"new password": func(f *fixture) error { return f.SetPassword(f.Context(), f.alice.ID, "hash", true, act("")) },
		"disabled": func(f *fixture) error {
			return f.SetUserState(f.Context(), f.alice.ID, new(false), "", act(""))
		},
		"reset": func(f *fixture) error {
			return f.SetUserState(f.Context(), f.alice.ID, nil, oauth.SubjectReset, act(""))
		},
		"deleted": func(f *fixture) error { return f.DeleteUser(f.Context(), f.alice.ID, act("")) },
		"all grants revoked": func(f *fixture) error {
			_, err := f.RevokeGrants(f.Context(), admin.GrantFilter{Subject: f.alice.ID}, "test", act(""))
			return err
		},
	} {
		f.again(name, func(f *fixture) {
			n, other := f.signIn("one", f.alice), f.signIn("two", f.bob)
			f.must(end(f), name)
			f.wantSession(n, false, "after "+name)
			f.wantSession(other, true, "of somebody else")
		})
	}
	f.again("a password that keeps the grants", func(f *fixture) {
		n, other := f.signIn("one", f.alice), f.signIn("two", f.bob)
		f.must(f.SetPassword(f.Context(), f.alice.ID, "hash", false, act("")), "set password")
		f.wantSession(n, false, "after a new password")
		f.wantSession(other, true, "of somebody else")
	})
}

func endSession(f *fixture) {
	n, other := f.signIn("one", f.alice), f.signIn("two", f.alice)
	f.must(f.EndSession(f.Context(), n.Key, f.bob.ID, act("not his")), "end somebody else's session")
	f.wantSession(n, true, "that somebody else ended")
	f.noEvents("not his", "end somebody else's session")
	f.must(f.EndSession(f.Context(), n.Key, f.alice.ID, act("end")), "end session")
	f.wantSession(n, false, "that was ended")
	f.wantSession(other, true, "that was not ended")
	f.must(f.EndSession(f.Context(), n.Key, f.alice.ID, act("end")), "end session again")
	f.oneEvent("end", "end session")
}

func signOut(f *fixture) {
	n, other := f.signIn("one", f.alice), f.signIn("two", f.bob)
	before := f.look()
	f.must(f.SignOut(f.Context(), f.alice.ID, act("sign out")), "sign out")
	f.wantSession(n, false, "after signing out")
	f.wantSession(other, true, "of somebody else")
	var ended []any
	for _, g := range before.Grants {
		if g.Subject != f.alice.ID {
			continue
		}
		ended = append(ended, g)
		f.same(f.read(g).Grant.RevokedReason, "signed_out", "why a grant was revoked")
	}
	f.onlyChanged(before, "sign out", append(ended, f.alice)...)
	f.same(f.user("alice").Epoch, f.alice.Epoch+1, "epoch after signing out")
	f.oneEvent("sign out", "sign out")
	f.wantError(f.SignOut(f.Context(), "nobody", act("")), oauth.ErrNotFound, "sign nobody out")
}

func listSessions(f *fixture) {
	first, _, second := f.signIn("one", f.alice), f.signIn("two", f.bob), f.signIn("three", f.alice)
	list, err := f.SessionsOf(f.Context(), f.alice.ID)
	f.must(err, "list sessions")
	f.same(list, []oauth.Session{second, first}, "sessions in the list")
	f.clock.advance(sessionLifetime)
	list, err = f.SessionsOf(f.Context(), f.alice.ID)
	f.must(err, "list sessions")
	f.same(len(list), 0, "sessions in the list when all are over")
}

func cleanSessions(f *fixture) {
	over := f.signIn("one", f.alice)
	f.clock.advance(sessionLifetime - time.Hour)
	living := f.signIn("two", f.alice)
	f.clock.advance(time.Hour)
	for _, dry := range []bool{true, false} {
		removed, err := f.Cleanup(f.Context(), admin.Cleanup{DryRun: dry})
		f.must(err, "clean up")
		f.same(removed.Sessions, 1, "sessions that were removed")
	}
	removed, err := f.Cleanup(f.Context(), admin.Cleanup{})
	f.must(err, "clean up")
	f.same(removed.Sessions, 0, "sessions that were removed again")
	f.wantSession(over, false, "that is over")
	f.wantSession(living, true, "that lives")
}
