package main

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/sqlstore"
)

// desk is an installation with two users who are logged in with one client.
type desk struct{ data string }

func newDesk(t *testing.T) desk {
	t.Helper()
	d := desk{filepath.Join(t.TempDir(), "data")}
	d.done(t, "", "client", "create", "--name", "Shop", "--id", "shop", "--grant-type", "password")
	for _, username := range []string{"alice", "bob"} {
		d.done(t, "a long password\n", "user", "create", username, "--password-file", "-")
	}
	store, err := sqlstore.OpenSQLite(t.Context(), filepath.Join(d.data, databaseFile), sqlstore.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	for _, username := range []string{"alice", "bob"} {
		if err := login(t.Context(), store, username); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// login makes a grant whose public id is that of its user.
func login(ctx context.Context, store *sqlstore.Store, username string) error {
	u, err := store.User(ctx, username)
	if err != nil {
		return err
	}
	c, err := store.Client(ctx, "shop")
	if err != nil {
		return err
	}
	return store.CreateGrant(ctx, oauth.NewGrant{
		Grant: oauth.Grant{
			ID: oauth.GrantID([]byte(username + "................")[:16]), PublicID: "grant-of-" + username, Version: 1,
			ClientID: c.ID, Subject: u.ID, SubjectEpoch: u.Epoch, Scope: oauth.Scope{"a", "b"}, Status: oauth.GrantActive, KeyID: 1,
		},
		ClientVersion: c.Version, IdleLifetime: time.Hour, AbsoluteLifetime: 24 * time.Hour,
		Event: oauth.Event{
			Type: oauth.EventLogin, Reason: "password", RequestID: "request-of-" + username, ClientID: c.ID, Subject: u.ID,
			GrantID: "grant-of-" + username, Source: "192.0.2.0/24",
		},
	})
}

// run runs a command line in this process.
func (d desk) run(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, remarks bytes.Buffer
	root := newRootCommand()
	root.SetArgs(append(args, "--data", d.data))
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&remarks)
	cmd, err := root.ExecuteContextC(t.Context())
	if err != nil {
		report(&remarks, cmd, err)
	}
	return out.String(), remarks.String(), exitCode(err)
}

// done runs a command line that must succeed.
func (d desk) done(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	stdout, stderr, code := d.run(t, stdin, args...)
	if code != 0 {
		t.Fatalf("%q: exit code %d, %s", args, code, stderr)
	}
	return stdout
}

// records runs a command line that prints a JSON array of objects, or an object.
func (d desk) records(t *testing.T, args ...string) []map[string]any {
	t.Helper()
	text := d.done(t, "", append(args, "-o", "json")...)
	var many []map[string]any
	if err := json.Unmarshal([]byte(text), &many); err == nil {
		return many
	}
	var one map[string]any
	if err := json.Unmarshal([]byte(text), &one); err != nil {
		t.Fatalf("%q: %v in %s", args, err, text)
	}
	return []map[string]any{one}
}

func TestGrantRecord(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	r := d.records(t, "grant", "show", "grant-of-alice")[0]
	for name, want := range map[string]any{
		"grant_id": "grant-of-alice", "status": "active", "username": "alice", "client_id": "shop", "scope": "a b",
		"generation": 0.0, "retries": 0.0, "revoked_at": nil, "revoked_reason": nil,
	} {
		if got, there := r[name]; !there || got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	for _, name := range []string{"created_at", "last_used_at", "expires_at", "absolute_expires_at"} {
		text, _ := r[name].(string)
		if _, err := time.Parse(time.RFC3339, text); err != nil || !strings.HasSuffix(text, "Z") {
			t.Errorf("%s is %q, want a time of RFC 3339 in UTC", name, text)
		}
	}
	if text := d.done(t, "", "grant", "show", "grant-of-alice"); strings.Contains(text, "[redacted]") || !regexp.MustCompile(`(?m)^status +active$`).MatchString(text) {
		t.Errorf("for people it reads\n%s", text)
	}
}

func TestGrantList(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	if all := d.records(t, "grant", "list"); len(all) != 2 {
		t.Errorf("got %d grants, want 2", len(all))
	}
	if one := d.records(t, "grant", "list", "--user", "bob", "--client", "shop"); len(one) != 1 || one[0]["username"] != "bob" {
		t.Errorf("got %v, want bob's", one)
	}
	if one := d.records(t, "grant", "list", "--limit", "1"); len(one) != 1 {
		t.Errorf("got %d grants, want 1", len(one))
	}
	lines := strings.Split(d.done(t, "", "grant", "list"), "\n")
	if !strings.HasPrefix(lines[0], "GRANT ID") || len(lines) != 4 {
		t.Errorf("for people it reads\n%s", strings.Join(lines, "\n"))
	}
}

func TestGrantRevoke(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args  []string
		alice string
		bob   string
		count float64
	}{
		{[]string{"grant-of-alice"}, "revoked", "active", 1},
		{[]string{"--user", "bob"}, "active", "revoked", 1},
		{[]string{"--client", "shop"}, "revoked", "revoked", 2},
	} {
		d := newDesk(t)
		revoke := append([]string{"grant", "revoke"}, test.args...)
		if r := d.records(t, revoke...)[0]; r["revoked"] != test.count {
			t.Errorf("%q: got %v, want %v revoked", revoke, r, test.count)
		}
		for name, want := range map[string]string{"alice": test.alice, "bob": test.bob} {
			if r := d.records(t, "grant", "show", "grant-of-"+name)[0]; r["status"] != want {
				t.Errorf("%q: the grant of %s is %v, want %s", revoke, name, r["status"], want)
			}
		}
		if r := d.records(t, revoke...)[0]; r["revoked"] != 0.0 {
			t.Errorf("%q once more: got %v, want none revoked", revoke, r)
		}
	}
}

func TestDeletingEndsGrants(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	if r := d.records(t, "user", "delete", "alice")[0]; r["username"] != "alice" || r["grants_ended"] != 1.0 {
		t.Errorf("user delete: got %v, want one grant ended", r)
	}
	if r := d.records(t, "client", "delete", "shop")[0]; r["client_id"] != "shop" || r["grants_ended"] != 1.0 {
		t.Errorf("client delete: got %v, want one grant ended", r)
	}
}

func TestPasswordChange(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.done(t, "another password\n", "user", "set-password", "alice", "--password-file", "-", "--password-change", "keep")
	if r := d.records(t, "grant", "show", "grant-of-alice")[0]; r["status"] != "active" {
		t.Errorf("password_change keep: the grant is %v, want active", r["status"])
	}
	d.done(t, "another password\n", "user", "set-password", "alice", "--password-file", "-")
	if r := d.records(t, "grant", "show", "grant-of-alice")[0]; r["status"] != "revoked" {
		t.Errorf("password_change revoke: the grant is %v, want revoked", r["status"])
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	events := d.records(t, "explain", "request-of-alice")
	if len(events) != 1 || events[0]["grant_id"] != "grant-of-alice" || events[0]["reason"] != "password" || events[0]["source"] != "192.0.2.0/24" {
		t.Errorf("got %v, want the login", events)
	}
	if text := d.done(t, "", "explain", "request-of-alice"); !strings.Contains(text, "grant-of-alice") {
		t.Errorf("for people it reads\n%s", text)
	}
}
