package storetest

import (
	"strings"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

var identifierCases = []testCase{
	{"clients compare byte for byte", exactClients},
	{"users compare byte for byte", exactUsers},
	{"subjects compare byte for byte", exactSubjects},
	{"grants compare byte for byte", exactGrants},
	{"nothing is found by what nobody has", strangeIdentifiers},
}

// alike are identifiers that are equal to somebody, but not byte for byte: case,
// space, composition, width, sharp s, dotless i.
var alike = []string{
	"caf\u00e9", "cafe\u0301", "Caf\u00e9", "CAF\u00c9", "caf\u00e9 ", " caf\u00e9", "caf\u00e9\t", "caf\u00e9\n", "cafe", "cafè",
	"\uff43afe", "stra\u00dfe", "strasse", "i", "I", "\u0131", "\u0130", "1", "01", "1.0", "1e0", "0x1", "%", "_", "'", "\"", "--", "NULL",
}

func exactClients(f *fixture) {
	for _, id := range alike {
		f.must(f.CreateClient(f.Context(), oauth.Client{ID: id, Name: "name of " + id}, act("create "+id)), "create client "+id)
	}
	for _, id := range alike {
		c := f.client(id)
		f.same([]string{c.ID, c.Name}, []string{id, "name of " + id}, "ID and name of the client "+id)
		before := f.look()
		f.must(f.UpdateClient(f.Context(), c, act("")), "update client "+id)
		f.onlyChanged(before, "update client "+id, c)
		f.oneEvent("create "+id, "create client "+id)
	}
	before := f.look()
	f.must(f.DeleteClient(f.Context(), "I", act("")), "delete client I")
	f.onlyChanged(before, "delete client I", oauth.Client{ID: "I"})
}

func exactUsers(f *fixture) {
	for _, name := range alike {
		u := oauth.User{
			Subject: oauth.Subject{ID: "id of " + name, Username: name, Enabled: true, State: oauth.SubjectActive},
			Email:   name + "@example.com",
		}
		f.must(f.CreateUser(f.Context(), u, act("")), "create user "+name)
	}
	for _, name := range alike {
		for _, login := range []string{name, name + "@example.com"} {
			u, err := f.UserByLogin(f.Context(), login)
			f.must(err, "find user by login "+login)
			f.same(u.ID, "id of "+name, "ID of the user found by "+login)
		}
		before := f.look()
		u := f.user(name)
		f.setState(u, false, oauth.SubjectLocked)
		f.must(f.SetPassword(f.Context(), u.ID, "hash", true, act("")), "set password of "+name)
		f.onlyChanged(before, "change user "+name, u)
	}
	before := f.look()
	u := f.user("I")
	f.must(f.DeleteUser(f.Context(), u.ID, act("")), "delete user I")
	f.onlyChanged(before, "delete user I", u)
}

// exactSubjects gives every subject and every client that are alike a grant.
func exactSubjects(f *fixture) {
	grants := map[string]oauth.Grant{}
	for _, id := range alike {
		u := oauth.User{Subject: oauth.Subject{ID: id, Username: "user " + id, Enabled: true, State: oauth.SubjectActive}}
		f.must(f.CreateUser(f.Context(), u, act("")), "create user "+id)
		f.must(f.CreateClient(f.Context(), oauth.Client{ID: id, Active: true, Owner: id}, act("")), "create client "+id)
		grants[id] = f.createGrant("of "+id, f.user("user "+id), f.client(id))
	}
	for _, id := range alike {
		f.rotate(grants[id])
		for _, filter := range []admin.GrantFilter{{Subject: id}, {ClientID: id}, {PublicID: grants[id].PublicID}} {
			views, err := f.Grants(f.Context(), filter)
			f.must(err, "list grants of "+id)
			if len(views) != 1 || views[0].Grant.PublicID != grants[id].PublicID || views[0].Subject.ID != id {
				f.Errorf("%d grants of %q, want its own", len(views), id)
			}
		}
	}
	for i, id := range alike {
		before := f.look()
		filter := admin.GrantFilter{Subject: id}
		if i%2 == 0 {
			filter = admin.GrantFilter{ClientID: id}
		}
		if n := f.revokeBy(filter); n != 1 {
			f.Errorf("revoked %d grants of %q, want 1", n, id)
		}
		f.onlyChanged(before, "revoke the grants of "+id, grants[id], oauth.Client{ID: id}, f.user("user "+id))
	}
	before := f.look()
	f.setState(f.user("user I"), false, oauth.SubjectActive)
	f.onlyChanged(before, "disable the owner I of a client", oauth.Client{ID: "I"}, f.user("user I"))
}

func exactGrants(f *fixture) {
	for _, id := range alike {
		n := newGrant("of "+id, f.alice, f.web)
		n.Grant.PublicID = id
		f.must(f.CreateGrant(f.Context(), n), "create grant "+id)
	}
	for _, id := range alike {
		v, err := f.GrantByPublicID(f.Context(), id)
		f.must(err, "read grant "+id)
		f.same(v.Grant.PublicID, id, "public ID of the grant read by it")
		before := f.look()
		if n := f.revokeBy(admin.GrantFilter{PublicID: id}); n != 1 {
			f.Errorf("revoked %d grants by the public ID %q, want 1", n, id)
		}
		f.onlyChanged(before, "revoke grant "+id, v.Grant)
	}
}

func strangeIdentifiers(f *fixture) {
	before := f.look()
	for _, id := range []string{
		"", " ", "\x00", "web\x00", "alice\x00", "public grant\x00", "\x00web", "we\x00b", "\xff", "web\xff", "\xc3\x28", "\xed\xa0\x80", "\xf4\x90\x80\x80",
		"WEB", "web ", "Alice", "%", "w_b", "*", "' OR 1=1 --", "\\", "{}", "\u202e", "\ufeffweb", strings.Repeat("x", 100_000),
	} {
		f.strange(id)
		if f.Failed() {
			f.Fatalf("the identifier was %.40q", id)
		}
	}
	f.onlyChanged(before, "look for what nobody has")
	f.noEvents("strange", "look for what nobody has")
}

// strange looks for an identifier in every place where there is none.
func (f *fixture) strange(id string) {
	f.Helper()
	_, err := f.Client(f.Context(), id)
	f.wantError(err, oauth.ErrNotFound, "read client")
	_, err = f.GrantByPublicID(f.Context(), id)
	f.wantError(err, oauth.ErrNotFound, "read grant by public ID")
	_, err = f.User(f.Context(), id)
	f.wantError(err, oauth.ErrNotFound, "read user")
	_, err = f.UserByLogin(f.Context(), id)
	f.wantError(err, oauth.ErrNotFound, "find user by login")
	f.wantError(f.DeleteClient(f.Context(), id, act("strange")), oauth.ErrNotFound, "delete client")
	f.wantError(f.DeleteUser(f.Context(), id, act("strange")), oauth.ErrNotFound, "delete user")
	f.wantError(f.SetUserState(f.Context(), id, new(false), oauth.SubjectLocked, act("strange")), oauth.ErrNotFound, "set state")
	f.wantError(f.SetPassword(f.Context(), id, "new", true, act("strange")), oauth.ErrNotFound, "set password")
	f.wantError(f.UpdateClient(f.Context(), oauth.Client{ID: id, Version: 1}, act("strange")), oauth.ErrNotFound, "update client")
	f.must(f.ReplacePasswordHash(f.Context(), id, "old", "new"), "replace the password hash of nobody")
	if id == "" {
		return // a filter without a condition, and the events of no request
	}
	f.noEvents(id, "events of a strange request ID")
	for _, filter := range []admin.GrantFilter{{PublicID: id}, {Subject: id}, {ClientID: id}} {
		views, err := f.Grants(f.Context(), filter)
		if err != nil || len(views) != 0 {
			f.Errorf("list grants by a strange filter: %d, %v; want none", len(views), err)
		}
		_, err = f.RevokeGrants(f.Context(), filter, "administrator", act("strange"))
		f.wantError(err, oauth.ErrNotFound, "revoke grants by a strange filter")
	}
}
