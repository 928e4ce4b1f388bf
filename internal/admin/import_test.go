package admin_test

import (
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// TestImportClient: a client is taken over as it was, or not at all.
func TestImportClient(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	alice := b.user(t, "alice")
	shop := oauth.Client{ID: "shop", Name: "Shop", Owner: "alice", APIs: []string{"orders", "orders"}, Secrets: []oauth.ClientSecret{{Hash: "$test$of another"}}}
	for _, dryRun := range []bool{true, false} {
		if err := b.ImportClient(t.Context(), shop, "", dryRun); err != nil {
			t.Fatal(err)
		}
		if clients, err := b.Clients(t.Context()); err != nil || len(clients) != map[bool]int{true: 0, false: 1}[dryRun] {
			t.Fatalf("dry run %t: got %v and error %v", dryRun, clients, err)
		}
	}
	got, err := b.Client(t.Context(), "shop")
	if err != nil || got.Active || got.Owner != alice.ID || len(got.APIs) != 1 || len(got.Secrets) != 1 || got.Secrets[0].Hash != "$test$of another" {
		t.Errorf("got %+v and error %v, want what was imported", got, err)
	}
	for _, dryRun := range []bool{true, false} {
		wantError(t, b.ImportClient(t.Context(), shop, "", dryRun), oauth.ErrExists, "a client shop exists already")
		nobodys := oauth.Client{ID: "x", Name: "X", Owner: "bob"}
		wantError(t, b.ImportClient(t.Context(), nobodys, "", dryRun), oauth.ErrNotFound, "there is no user bob")
		nameless := oauth.Client{ID: "x"}
		wantError(t, b.ImportClient(t.Context(), nameless, "", dryRun), admin.ErrUsage, "a client's name has")
		public := oauth.Client{ID: "x", Name: "X", Public: true}
		wantError(t, b.ImportClient(t.Context(), public, "a secret", dryRun), admin.ErrUsage, "a public client has no secret")
		public.Secrets = shop.Secrets
		wantError(t, b.ImportClient(t.Context(), public, "", dryRun), admin.ErrUsage, "a public client has no secret")
		long := oauth.Client{ID: "x", Name: "X"}
		wantError(t, b.ImportClient(t.Context(), long, oauth.Secret(strings.Repeat("x", 4097)), dryRun), admin.ErrUsage, "longer than 4096 bytes")
	}
	if err := b.ImportClient(t.Context(), oauth.Client{ID: "text", Name: "T", Active: true}, "a secret", false); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Client(t.Context(), "text"); err != nil || !got.Active || len(got.Secrets) != 1 || !strings.HasPrefix(got.Secrets[0].Hash, "$test$") {
		t.Errorf("got %+v and error %v, want the secret hashed", got, err)
	}
}

// TestUpdateImportedClient: what is said changes, and the secret only if it is given.
func TestUpdateImportedClient(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	was := b.client(t, oauth.Client{ID: "shop", Name: "Shop", Organization: "Oro"})
	rename := func(c *oauth.Client) { c.Name = "Store" }
	if err := b.UpdateImportedClient(t.Context(), "shop", rename, "", true); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Client(t.Context(), "shop"); err != nil || got.Version != was.Version {
		t.Errorf("a dry run made %+v of %+v, error %v", got, was, err)
	}
	if err := b.UpdateImportedClient(t.Context(), "shop", rename, "", false); err != nil {
		t.Fatal(err)
	}
	got, err := b.Client(t.Context(), "shop")
	if err != nil || got.Name != "Store" || got.Organization != "Oro" || got.Secrets[0] != was.Secrets[0] {
		t.Errorf("got %+v and error %v, want another name and the same secret", got, err)
	}
	if err := b.UpdateImportedClient(t.Context(), "shop", rename, "a secret", false); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Client(t.Context(), "shop"); err != nil || len(got.Secrets) != 1 || got.Secrets[0] == was.Secrets[0] {
		t.Errorf("got %+v and error %v, want another secret alone", got, err)
	}
	for _, dryRun := range []bool{true, false} {
		err := b.UpdateImportedClient(t.Context(), "shop", func(c *oauth.Client) { c.Public, c.Secrets = true, nil }, "", dryRun)
		wantError(t, err, admin.ErrUsage, "whether a client is public cannot be changed")
		err = b.UpdateImportedClient(t.Context(), "shop", func(c *oauth.Client) { c.Name = "" }, "", dryRun)
		wantError(t, err, admin.ErrUsage, "a client's name has")
		wantError(t, b.UpdateImportedClient(t.Context(), "nobody", rename, "", dryRun), oauth.ErrNotFound, "there is no client nobody")
	}
}

// TestImportUser: a user is taken over as it was, or not at all.
func TestImportUser(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const subject = "0196b2c4-1111-7000-8000-000000000001"
	alice := oauth.User{Subject: oauth.Subject{ID: subject, Username: "alice", State: oauth.SubjectReset}, Email: "alice@example.com", PasswordHash: "$test$of another"}
	for _, dryRun := range []bool{true, false} {
		if err := b.ImportUser(t.Context(), alice, "", dryRun); err != nil {
			t.Fatal(err)
		}
		if users, err := b.Users(t.Context()); err != nil || len(users) != map[bool]int{true: 0, false: 1}[dryRun] {
			t.Fatalf("dry run %t: got %v and error %v", dryRun, users, err)
		}
	}
	got, err := b.User(t.Context(), "alice")
	if err != nil || got.ID != subject || got.Enabled || got.State != oauth.SubjectReset || got.Email != alice.Email || got.PasswordHash != alice.PasswordHash {
		t.Errorf("got %+v and error %v, want what was imported", got, err)
	}
	user := func(change func(u *oauth.User)) oauth.User {
		u := oauth.User{Subject: oauth.Subject{Username: "bob", State: oauth.SubjectActive}}
		change(&u)
		return u
	}
	for _, dryRun := range []bool{true, false} {
		for _, test := range []struct {
			change func(u *oauth.User)
			kind   error
			says   string
		}{
			{func(u *oauth.User) { u.Username = "alice" }, oauth.ErrExists, "a user alice exists already"},
			{func(u *oauth.User) { u.Email = "alice@example.com" }, oauth.ErrExists, "with the e-mail address alice@example.com exists already"},
			{func(u *oauth.User) { u.ID = subject }, oauth.ErrExists, "is, or was, another user's"},
			{func(u *oauth.User) { u.ID = strings.ToUpper(subject) }, admin.ErrUsage, "a subject is a UUID"},
			{func(u *oauth.User) { u.ID = "00000000-0000-0000-0000-000000000000" }, admin.ErrUsage, "a subject is a UUID"},
			{func(u *oauth.User) { u.ID = "{" + subject + "}" }, admin.ErrUsage, "a subject is a UUID"},
			{func(u *oauth.User) { u.State = "asleep" }, admin.ErrUsage, "there is no state"},
			{func(u *oauth.User) { u.Username = "" }, admin.ErrUsage, "a username has"},
			{func(u *oauth.User) { u.Email = "nonsense" }, admin.ErrUsage, "is not an e-mail address"},
		} {
			wantError(t, b.ImportUser(t.Context(), user(test.change), "", dryRun), test.kind, test.says)
		}
		err := b.ImportUser(t.Context(), user(func(*oauth.User) {}), oauth.Secret(strings.Repeat("x", 4097)), dryRun)
		wantError(t, err, admin.ErrUsage, "longer than 4096 bytes")
	}
	if err := b.ImportUser(t.Context(), user(func(*oauth.User) {}), "a password", false); err != nil {
		t.Fatal(err)
	}
	if got, err := b.User(t.Context(), "bob"); err != nil || !strings.HasPrefix(got.PasswordHash, "$test$") || got.ID == "" {
		t.Errorf("got %+v and error %v, want the password hashed", got, err)
	}
	if _, err := b.DeleteUser(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	wantError(t, b.ImportUser(t.Context(), alice, "", false), oauth.ErrExists, "is, or was, another user's")
}

// TestIsNameTaken: OroCommerce wants one name within an organization and owner, or
// without owner within an organization and a kind.
func TestIsNameTaken(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.user(t, "alice")
	b.client(t, oauth.Client{ID: "one", Name: "Shop", Organization: "Oro"})
	owned := b.client(t, oauth.Client{ID: "two", Name: "Shop", Organization: "Oro", Owner: "alice"})
	for _, test := range []struct {
		client oauth.Client
		want   bool
	}{
		{oauth.Client{ID: "x", Name: "Shop", Organization: "Oro"}, true},
		{oauth.Client{ID: "one", Name: "Shop", Organization: "Oro"}, false},
		{oauth.Client{ID: "x", Name: "shop", Organization: "Oro"}, false},
		{oauth.Client{ID: "x", Name: "Shop"}, false},
		{oauth.Client{ID: "x", Name: "Shop", Organization: "Oro", Storefront: true}, false},
		{oauth.Client{ID: "x", Name: "Shop", Organization: "Oro", Owner: owned.Owner}, true},
		{oauth.Client{ID: "x", Name: "Shop", Organization: "Oro", Owner: owned.Owner, Storefront: true}, true},
		{oauth.Client{ID: "x", Name: "Shop", Organization: "Oro", Owner: "another"}, false},
	} {
		if got, err := b.IsNameTaken(t.Context(), test.client); err != nil || got != test.want {
			t.Errorf("%+v: got %t and error %v, want %t", test.client, got, err, test.want)
		}
	}
}
