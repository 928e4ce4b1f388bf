package admin_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

func TestCreateUser(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, username := range []string{"alice", "a:b%c d", "юзер", strings.Repeat("x", 255)} {
		u, err := b.CreateUser(t.Context(), username, "", oauth.Secret("пароль🔑"))
		if err != nil {
			t.Errorf("%q: %v", username, err)
			continue
		}
		if id, err := uuid.Parse(u.ID); err != nil || id.Version() != 7 {
			t.Errorf("%q: got id %q, want a UUID of version 7", username, u.ID)
		}
		if u.Username != username || !u.Enabled || u.State != oauth.SubjectActive || !strings.HasPrefix(u.PasswordHash, "$test$") {
			t.Errorf("%q: got %+v", username, u.Subject)
		}
	}
	_, err := b.CreateUser(t.Context(), "alice", "", "x")
	wantError(t, err, oauth.ErrExists, "a user alice exists already")
}

func TestCreateUserRefuses(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, test := range []struct{ username, email, password, says string }{
		{"", "", "x", "a username has"},
		{strings.Repeat("x", 256), "", "x", "a username has"},
		{"a\nb", "", "x", "a username has"},
		{"a\u0085b", "", "x", "a username has"},
		{"\xff", "", "x", "a username has"},
		{"a", "alice", "x", "is not an e-mail address"},
		{"a", "Alice <a@example.com>", "x", "is not an e-mail address"},
		{"a", "a@b c", "x", "is not an e-mail address"},
		{"a", "a@" + strings.Repeat("b", 254), "x", "is not an e-mail address"},
		{"a", "", "", "the password is empty"},
		{"a", "", strings.Repeat("x", 4097), "the password is longer than 4096 bytes"},
	} {
		_, err := b.CreateUser(t.Context(), test.username, test.email, oauth.Secret(test.password))
		wantError(t, err, admin.ErrUsage, test.says)
	}
}

func TestEmailIsTaken(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if _, err := b.CreateUser(t.Context(), "john", "John.Doe@example.com", "x"); err != nil {
		t.Fatal(err)
	}
	_, err := b.CreateUser(t.Context(), "jane", "John.Doe@example.com", "x")
	wantError(t, err, oauth.ErrExists, "a user with the e-mail address John.Doe@example.com exists already")
	_, err = b.CreateUser(t.Context(), "john", "other@example.com", "x")
	wantError(t, err, oauth.ErrExists, "a user john exists already")
}

// One may log in by username or by e-mail address, so that neither may be the other's.
func TestLoginIsTaken(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, u := range [][2]string{{"john", "john@example.com"}, {"jane@example.com", ""}, {"own@example.com", "own@example.com"}} {
		if _, err := b.CreateUser(t.Context(), u[0], u[1], "x"); err != nil {
			t.Fatal(err)
		}
	}
	_, err := b.CreateUser(t.Context(), "john@example.com", "", "x")
	wantError(t, err, oauth.ErrExists, "the user john logs in as john@example.com already")
	_, err = b.CreateUser(t.Context(), "jane", "jane@example.com", "x")
	wantError(t, err, oauth.ErrExists, "the user jane@example.com logs in as jane@example.com already")
}

func TestUserStates(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.user(t, "alice")
	if u, err := b.SetUserState(t.Context(), "alice", oauth.SubjectLocked); err != nil || u.State != oauth.SubjectLocked || !u.Enabled {
		t.Errorf("got %+v and error %v, want locked and enabled", u.Subject, err)
	}
	if u, err := b.DisableUser(t.Context(), "alice"); err != nil || u.State != oauth.SubjectLocked || u.Enabled {
		t.Errorf("got %+v and error %v, want locked and disabled", u.Subject, err)
	}
	if u, err := b.EnableUser(t.Context(), "alice"); err != nil || u.State != oauth.SubjectLocked || !u.Enabled {
		t.Errorf("got %+v and error %v, want locked and enabled", u.Subject, err)
	}
	_, err := b.SetUserState(t.Context(), "alice", "asleep")
	wantError(t, err, admin.ErrUsage, "there are active, locked and reset")
	_, err = b.EnableUser(t.Context(), "bob")
	wantError(t, err, oauth.ErrNotFound, "there is no user bob")
}

func TestSetPassword(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{false, true} {
		b := newBench(t)
		b.KeepGrants = keep
		was := b.user(t, "alice")
		b.grant(t, "g1", was, b.client(t, oauth.Client{ID: "shop", Name: "Shop"}))
		u, err := b.SetPassword(t.Context(), "alice", "another")
		if err != nil || u.PasswordHash == was.PasswordHash {
			t.Fatalf("got error %v and the same hash: %t", err, u.PasswordHash == was.PasswordHash)
		}
		want := admin.StateRevoked
		if keep {
			want = admin.StateActive
		}
		if got := b.state(t, "g1"); got != want {
			t.Errorf("KeepGrants %t: the grant is %s, want %s", keep, got, want)
		}
	}
	b := newBench(t)
	_, err := b.SetPassword(t.Context(), "bob", "x")
	wantError(t, err, oauth.ErrNotFound, "there is no user bob")
}

func TestDeleteUserEndsGrants(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	u := b.user(t, "alice")
	b.grant(t, "g1", u, b.client(t, oauth.Client{ID: "shop", Name: "Shop"}))
	if n, err := b.DeleteUser(t.Context(), "alice"); err != nil || n != 1 {
		t.Errorf("got %d grants and error %v, want 1", n, err)
	}
	_, err := b.DeleteUser(t.Context(), "alice")
	wantError(t, err, oauth.ErrNotFound, "there is no user alice")
}
