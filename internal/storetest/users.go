package storetest

import (
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

var userCases = []testCase{
	{"every field comes back", userFields},
	{"users without an e-mail address", usersWithoutEmail},
	{"what is taken", userTaken},
	{"an ID is never used again", userIDForEver},
	{"the list is by username", listUsers},
	{"a login is a username, or else an e-mail address", userByLogin},
	{"the state changes and nothing else", setUserState},
	{"a new password", setPassword},
	{"a new password that ends the grants", setPasswordEnding},
	{"a password that a user chooses", choosePassword},
	{"a password hash is replaced where it is the old one", replacePasswordHash},
	{"deletion", deleteUser},
	{"what does not exist", userUnknown},
	{"an e-mail address in another case", userByEmail},
	{"a subject by its ID", subjectByID},
	{"the visitor is no user", visitorIsHidden},
	{"a user's state is one of the owned clients", userOwnsClients},
}

func userFields(f *fixture) {
	for _, state := range []oauth.SubjectState{oauth.SubjectActive, oauth.SubjectLocked, oauth.SubjectReset} {
		want := oauth.User{
			Subject: oauth.Subject{ID: "id " + string(state), Username: "Zoë \"z\" " + string(state), Enabled: state == oauth.SubjectActive, State: state},
			Email:   "Zoë+" + string(state) + "@Example.com", PasswordHash: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA",
		}
		given := want
		given.CreatedAt, given.UpdatedAt = f.clock.Now().Add(-time.Hour), f.clock.Now().Add(-time.Hour)
		before := f.look()
		f.must(f.CreateUser(f.Context(), given, act("create "+want.ID)), "create user")
		f.onlyChanged(before, "create user", want)
		f.oneEvent("create "+want.ID, "create user")

		got := f.user(want.Username)
		want.Epoch, want.CreatedAt, want.UpdatedAt = got.Epoch, f.clock.stored(), f.clock.stored()
		f.same(got, want, "user")
		f.asStored("user", got.CreatedAt, got.UpdatedAt)
		f.same(f.look().Users[want.Username], want, "user in the list")
		byLogin, err := f.UserByLogin(f.Context(), want.Username)
		f.must(err, "find user by login")
		f.same(byLogin, want, "user by login")
		if got.Epoch <= 0 {
			f.Errorf("the epoch is %d, want more than 0", got.Epoch)
		}
	}
}

func usersWithoutEmail(f *fixture) {
	for _, name := range []string{"one", "two"} {
		u := oauth.User{Subject: oauth.Subject{ID: name, Username: name, Enabled: true, State: oauth.SubjectActive}}
		f.must(f.CreateUser(f.Context(), u, act("")), "create a user without an e-mail address")
		if got := f.user(name).Email; got != "" {
			f.Errorf("the e-mail address is %q, want none", got)
		}
	}
	_, err := f.UserByLogin(f.Context(), "")
	f.wantError(err, oauth.ErrNotFound, "find a user by an empty login")
}

func userTaken(f *fixture) {
	for _, c := range []struct {
		what string
		take func(*oauth.User)
	}{
		{"ID", func(u *oauth.User) { u.ID = f.alice.ID }},
		{"username", func(u *oauth.User) { u.Username = "alice" }},
		{"e-mail address", func(u *oauth.User) { u.Email = f.alice.Email }},
	} {
		u := oauth.User{Subject: oauth.Subject{ID: "new", Username: "new", Enabled: true, State: oauth.SubjectActive}, Email: "new@example.com"}
		c.take(&u)
		before := f.look()
		f.wantError(f.CreateUser(f.Context(), u, act("create")), oauth.ErrExists, "create a user whose "+c.what+" is taken")
		f.onlyChanged(before, "create a user whose "+c.what+" is taken")
		f.noEvents("create", "create a user whose "+c.what+" is taken")
	}
}

func userIDForEver(f *fixture) {
	f.must(f.DeleteUser(f.Context(), f.alice.ID, act("")), "delete user")
	another := f.alice
	another.Username, another.Email = "another", "another@example.com"
	before := f.look()
	f.wantError(f.CreateUser(f.Context(), another, act("create")), oauth.ErrExists, "create a user with the ID of a deleted one")
	f.onlyChanged(before, "create a user with the ID of a deleted one")

	heir := f.alice
	heir.ID = "another id"
	f.must(f.CreateUser(f.Context(), heir, act("")), "create a user with name and e-mail address of a deleted one")
	f.same(f.user("alice").ID, "another id", "ID of the user of that name")
}

func listUsers(f *fixture) {
	for _, name := range []string{"Bob", "ä", "a b", "10", "9"} {
		u := oauth.User{Subject: oauth.Subject{ID: "0 " + name, Username: name, Enabled: true, State: oauth.SubjectActive}}
		f.must(f.CreateUser(f.Context(), u, act("")), "create user")
	}
	users, err := f.Users(f.Context())
	f.must(err, "list users")
	var got []string
	for _, u := range users {
		got = append(got, u.Username)
	}
	f.same(got, []string{"10", "9", "Bob", "a b", "alice", "bob", "ä"}, "users in the list")
}

func userByLogin(f *fixture) {
	// Somebody took the e-mail address of alice for a username.
	tricky := oauth.User{Subject: oauth.Subject{ID: "tricky", Username: f.alice.Email, Enabled: true, State: oauth.SubjectActive}}
	find := func(login, want string) {
		f.Helper()
		u, err := f.UserByLogin(f.Context(), login)
		f.must(err, "find "+login)
		f.same(u.ID, want, "ID of the user found by "+login)
	}
	find("alice", f.alice.ID)
	find("alice@example.com", f.alice.ID)
	f.must(f.CreateUser(f.Context(), tricky, act("")), "create user")
	find("alice@example.com", "tricky")
	f.setState(f.bob, false, oauth.SubjectLocked)
	find("bob@example.com", f.bob.ID)
	f.must(f.DeleteUser(f.Context(), f.bob.ID, act("")), "delete user")
	for _, login := range []string{"bob", "bob@example.com", "nobody", f.alice.ID, "Alice", "ALICE@example.com", "alice ", " alice", "alic%", "%"} {
		_, err := f.UserByLogin(f.Context(), login)
		f.wantError(err, oauth.ErrNotFound, "find "+login)
	}
	_, err := f.User(f.Context(), "bob")
	f.wantError(err, oauth.ErrNotFound, "read a deleted user")
	_, err = f.User(f.Context(), "alice@example.org")
	f.wantError(err, oauth.ErrNotFound, "read a user by somebody's e-mail address")
}

func setUserState(f *fixture) {
	for _, enabled := range []bool{false, true} {
		for _, state := range []oauth.SubjectState{oauth.SubjectLocked, oauth.SubjectReset, oauth.SubjectActive} {
			want := f.user("alice")
			f.clock.advance(time.Second)
			before := f.look()
			requestID := "state " + string(state)
			if enabled {
				requestID += " enabled"
			}
			f.must(f.SetUserState(f.Context(), f.alice.ID, &enabled, state, act(requestID)), "set state")
			f.onlyChanged(before, "set state", want)
			// The epoch stays: enabled again, the user goes on.
			want.Enabled, want.State, want.UpdatedAt = enabled, state, f.clock.stored()
			f.same(f.user("alice"), want, "user after a change of state")
			f.oneEvent(requestID, "set state")
		}
	}
	setHalfOfState(f)
}

// setHalfOfState: what is not said stays, so that two acts do not undo each other.
func setHalfOfState(f *fixture) {
	for _, half := range []struct {
		enabled     *bool
		state       oauth.SubjectState
		wantEnabled bool
		wantState   oauth.SubjectState
	}{
		{new(false), "", false, oauth.SubjectActive},
		{nil, oauth.SubjectLocked, false, oauth.SubjectLocked},
		{new(true), "", true, oauth.SubjectLocked},
		{nil, oauth.SubjectActive, true, oauth.SubjectActive},
	} {
		f.must(f.SetUserState(f.Context(), f.alice.ID, half.enabled, half.state, act("half")), "set half of the state")
		if u := f.user("alice"); u.Enabled != half.wantEnabled || u.State != half.wantState {
			f.Errorf("half of the state: got enabled %v and %s, want %v and %s", u.Enabled, u.State, half.wantEnabled, half.wantState)
		}
	}
}

func setPassword(f *fixture) {
	f.clock.advance(time.Second)
	before := f.look()
	f.must(f.SetPassword(f.Context(), f.alice.ID, "new", false, act("password")), "set password")
	f.onlyChanged(before, "set password", f.alice)
	want := f.alice
	want.PasswordHash, want.UpdatedAt = "new", f.clock.stored()
	f.same(f.user("alice"), want, "user with a new password")
	f.oneEvent("password", "set password")
}

func setPasswordEnding(f *fixture) {
	before := f.look()
	f.must(f.SetPassword(f.Context(), f.alice.ID, "new", true, act("password")), "set password")
	f.onlyChanged(before, "set password", f.alice, f.grant, f.sibling, before.Grants["public alice at app"])
	want, got := f.alice, f.user("alice")
	if got.Epoch <= want.Epoch {
		f.Errorf("the epoch was %d and is %d, want it raised", want.Epoch, got.Epoch)
	}
	want.PasswordHash, want.Epoch, want.UpdatedAt = "new", got.Epoch, f.clock.stored()
	f.same(got, want, "user with a new password")
	f.oneEvent("password", "set password")
	f.wantError(f.CreateGrant(f.Context(), newGrant("late", f.alice, f.web)), oauth.ErrConflict, "create a grant by the old password")
	f.must(f.CreateGrant(f.Context(), newGrant("new", got, f.web)), "create a grant by the new password")
}

func replacePasswordHash(f *fixture) {
	f.clock.advance(time.Second)
	before := f.look()
	f.must(f.ReplacePasswordHash(f.Context(), f.alice.ID, "not the hash", "new"), "replace another hash")
	f.must(f.ReplacePasswordHash(f.Context(), f.alice.ID, "", "new"), "replace no hash")
	f.must(f.ReplacePasswordHash(f.Context(), "nobody", f.alice.PasswordHash, "new"), "replace the hash of nobody")
	f.onlyChanged(before, "replace another hash")
	f.must(f.ReplacePasswordHash(f.Context(), f.alice.ID, f.alice.PasswordHash, "new"), "replace password hash")
	f.onlyChanged(before, "replace password hash", f.alice)
	want, got := f.alice, f.user("alice")
	want.PasswordHash, want.UpdatedAt = "new", got.UpdatedAt
	f.same(got, want, "user with a new hash")
}

func deleteUser(f *fixture) {
	f.must(f.DeleteUser(f.Context(), f.alice.ID, act("delete")), "delete user")
	_, err := f.User(f.Context(), "alice")
	f.wantError(err, oauth.ErrNotFound, "read a deleted user")
	if _, listed := f.look().Users["alice"]; listed {
		f.Errorf("the deleted user is in the list")
	}
	f.oneEvent("delete", "delete user")
}

func userUnknown(f *fixture) {
	f.must(f.DeleteUser(f.Context(), f.bob.ID, act("")), "delete user")
	for _, id := range []string{"nobody", "", "alice", f.bob.ID} {
		before := f.look()
		f.wantError(f.SetUserState(f.Context(), id, new(false), oauth.SubjectLocked, act("change")), oauth.ErrNotFound, "set state of the ID "+id)
		f.wantError(f.SetPassword(f.Context(), id, "new", true, act("change")), oauth.ErrNotFound, "set password of the ID "+id)
		f.wantError(f.DeleteUser(f.Context(), id, act("change")), oauth.ErrNotFound, "delete the user of the ID "+id)
		f.onlyChanged(before, "change a user that does not exist")
		f.noEvents("change", "change a user that does not exist")
	}
}

// userOwnsClients: a node that remembers a client of a blocked owner must notice.
func userOwnsClients(f *fixture) {
	owned := f.web
	owned.Owner = f.bob.ID
	f.must(f.UpdateClient(f.Context(), owned, act("")), "update client")
	owned = f.client("web")
	lock := oauth.LoginKeys{Pair: [16]byte{1}, Source: [16]byte{2}, Account: [16]byte{3}}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"disable", func() error { return f.SetUserState(f.Context(), f.bob.ID, new(false), oauth.SubjectActive, act("")) }},
		{"enable", func() error { return f.SetUserState(f.Context(), f.bob.ID, new(true), oauth.SubjectActive, act("")) }},
		{"lock by failures", func() error { return f.RecordLoginFailure(f.Context(), lock, f.bob.ID, 1) }},
		{"delete", func() error { return f.DeleteUser(f.Context(), f.bob.ID, act("")) }},
	} {
		before := f.look()
		f.must(step.do(), step.name)
		f.onlyChanged(before, step.name+" the owner of a client", owned, f.bob, before.Grants["public bob at web"], before.Grants["public bob at app"])
		now := f.client("web")
		if now.Version <= owned.Version {
			f.Errorf("%s: the version of the owned client was %d and is %d, want it raised", step.name, owned.Version, now.Version)
		}
		if now.OwnerBlocked == (step.name == "enable") {
			f.Errorf("%s: OwnerBlocked is %t", step.name, now.OwnerBlocked)
		}
		want := now
		now.Version, now.OwnerBlocked, now.UpdatedAt = owned.Version, owned.OwnerBlocked, owned.UpdatedAt
		f.sameClient(now, owned, step.name+": the rest of the owned client")
		owned = want
	}
}

func userByEmail(f *fixture) {
	for _, email := range []string{"alice@example.com", "ALICE@Example.COM"} {
		u, err := f.UserByEmail(f.Context(), email)
		f.must(err, "find user by e-mail address")
		f.same(u, f.alice, "user by e-mail address "+email)
	}
	for _, nobody := range []string{"alice", "", "carol@example.com", "%"} {
		_, err := f.UserByEmail(f.Context(), nobody)
		f.wantError(err, oauth.ErrNotFound, "find user by e-mail address "+nobody)
	}
	twin := f.alice
	twin.ID, twin.Username, twin.Email = "twin", "twin", "Alice@example.com"
	f.must(f.CreateUser(f.Context(), twin, act("")), "create user with the address in another case")
	_, err := f.UserByEmail(f.Context(), "ALICE@example.com")
	f.wantError(err, oauth.ErrNotFound, "find one of two users")
	f.must(f.DeleteUser(f.Context(), "twin", act("")), "delete user")
	_, err = f.UserByEmail(f.Context(), "ALICE@example.com")
	f.must(err, "find the user who is left")
}

func subjectByID(f *fixture) {
	got, err := f.Subject(f.Context(), f.alice.ID)
	f.must(err, "read subject")
	f.same(got, f.alice.Subject, "subject")
	f.must(f.DeleteUser(f.Context(), f.alice.ID, act("")), "delete user")
	for _, gone := range []string{f.alice.ID, "nobody", ""} {
		_, err := f.Subject(f.Context(), gone)
		f.wantError(err, oauth.ErrNotFound, "read subject "+gone)
	}
}

func visitorIsHidden(f *fixture) {
	visitor, err := f.Subject(f.Context(), oauth.VisitorID)
	f.must(err, "read the visitor")
	f.same(visitor, oauth.Subject{ID: oauth.VisitorID, Epoch: 1, Enabled: true, State: oauth.SubjectActive}, "visitor")
	for _, login := range []string{"", oauth.VisitorID} {
		_, err := f.User(f.Context(), login)
		f.wantError(err, oauth.ErrNotFound, "read user")
		_, err = f.UserByLogin(f.Context(), login)
		f.wantError(err, oauth.ErrNotFound, "find user")
		_, err = f.UserByEmail(f.Context(), login)
		f.wantError(err, oauth.ErrNotFound, "find user by e-mail address")
	}
	users, err := f.Users(f.Context())
	f.must(err, "list users")
	f.same(len(users), 2, "users in the list")
	err = f.CreateUser(f.Context(), oauth.User{Subject: oauth.Subject{ID: oauth.VisitorID, Username: "carol"}}, act(""))
	f.wantError(err, oauth.ErrExists, "create a user with the visitor's ID")

	n := newGrant("visit", oauth.User{Subject: visitor}, f.web)
	f.must(f.CreateGrant(f.Context(), n), "create a visitor's grant")
	v := f.read(n.Grant)
	f.same(v.Subject, visitor, "subject of a visitor's grant")
	f.same(v.SubjectExists, true, "the subject of a visitor's grant exists")
	f.rotate(n.Grant)
}

func choosePassword(f *fixture) {
	f.clock.advance(time.Second)
	f.must(f.ReplacePasswordHash(f.Context(), f.alice.ID, f.alice.PasswordHash, "rehashed"), "replace hash") // is no change
	f.clock.advance(time.Second)
	before := f.look()
	f.must(f.ChoosePassword(f.Context(), f.alice, "chosen", true, act("choose")), "choose password")
	f.onlyChanged(before, "choose password", f.alice)
	got := f.user("alice")
	f.same([]any{got.PasswordHash, got.Epoch, got.UpdatedAt}, []any{"chosen", f.alice.Epoch + 1, f.clock.stored()}, "hash, epoch and change of the user")
	f.oneEvent("choose", "choose password")
	f.wantError(f.ChoosePassword(f.Context(), f.alice, "again", true, act("again")), oauth.ErrConflict, "choose again, knowing what was before")
	f.noEvents("again", "choose again")
	f.clock.advance(time.Second)
	f.must(f.ChoosePassword(f.Context(), got, "kept", false, act("")), "choose a password that keeps the grants")
	f.same(f.user("alice").Epoch, got.Epoch, "epoch after a password that keeps the grants")
	for name, change := range map[string]func(f *fixture) error{
		"another password": func(f *fixture) error { return f.SetPassword(f.Context(), f.alice.ID, "x", false, act("")) },
		"locked": func(f *fixture) error {
			return f.SetUserState(f.Context(), f.alice.ID, nil, oauth.SubjectLocked, act(""))
		},
		"disabled":   func(f *fixture) error { return f.SetUserState(f.Context(), f.alice.ID, new(false), "", act("")) },
		"signed out": func(f *fixture) error { return f.SignOut(f.Context(), f.alice.ID, act("")) },
		"deleted":    func(f *fixture) error { return f.DeleteUser(f.Context(), f.alice.ID, act("")) },
	} {
		f.again(name, func(f *fixture) {
			known := f.alice
			f.clock.advance(time.Second)
			f.must(change(f), name)
			before := f.look()
			f.wantError(f.ChoosePassword(f.Context(), known, "chosen", true, act("choose")), oauth.ErrConflict, "choose password after: "+name)
			f.onlyChanged(before, "choose password")
		})
	}
}
