package admin_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

func TestCreateClientGeneratesIDAndSecret(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	id := regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]{31}$`)
	seen := map[string]bool{}
	for range 200 {
		c, secret, err := b.CreateClient(t.Context(), oauth.Client{Name: "x"}, "")
		if err != nil {
			t.Fatal(err)
		}
		if !id.MatchString(c.ID) || seen[c.ID] || seen[string(secret)] || len(secret) != 43 {
			t.Fatalf("got id %q and a secret of %d characters", c.ID, len(secret))
		}
		seen[c.ID], seen[string(secret)] = true, true
		if want := b.Keys().HashClientSecret(secret); !c.Active || len(c.Secrets) != 1 || c.Secrets[0].Hash != want {
			t.Fatalf("got client %+v, want it active with the secret %s", c, want)
		}
	}
}

func TestGeneratedIDBeginsWithNoDash(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Rand = io.MultiReader(bytes.NewReader(bytes.Repeat([]byte{0xF8}, 24)), rand.Reader) // reads as "-Pj4…"
	if c := b.client(t, oauth.Client{Name: "x"}); strings.HasPrefix(c.ID, "-") {
		t.Errorf("got %q, which a command line takes for a flag", c.ID)
	}
}

func TestCreateClientHashesAChosenSecret(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c, secret, err := b.CreateClient(t.Context(), oauth.Client{ID: "shop", Name: "Shop"}, "sécret:ü%🔑")
	if err != nil || string(secret) != "sécret:ü%🔑" {
		t.Fatalf("got secret %q and error %v", string(secret), err)
	}
	if len(c.Secrets) != 1 || !strings.HasPrefix(c.Secrets[0].Hash, "$test$") {
		t.Errorf("got secrets %+v, want one password hash", c.Secrets)
	}
}

func TestCreatePublicClient(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c, secret, err := b.CreateClient(t.Context(), oauth.Client{ID: "app", Name: "App", Public: true}, "")
	if err != nil || secret != "" || len(c.Secrets) != 0 {
		t.Errorf("got client %+v, a secret of %d bytes and error %v, want no secret", c, len(secret), err)
	}
	_, _, err = b.CreateClient(t.Context(), oauth.Client{ID: "app2", Name: "App", Public: true}, "a secret")
	wantError(t, err, admin.ErrUsage, "a public client has no secret")
}

func TestCreateClientRefuses(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	negative := -time.Second
	for _, test := range []struct {
		says   string
		change func(*oauth.Client)
	}{
		{"a client id has", func(c *oauth.Client) { c.ID = "a b" }},
		{"a client id has", func(c *oauth.Client) { c.ID = "a\x00" }},
		{"a client id has", func(c *oauth.Client) { c.ID = "ä" }},
		{"a client id has", func(c *oauth.Client) { c.ID = strings.Repeat("a", 256) }},
		{"a client's name has", func(c *oauth.Client) { c.Name = "" }},
		{"a client's name has", func(c *oauth.Client) { c.Name = "a\x1b[31m" }},
		{"a client's name has", func(c *oauth.Client) { c.Name = "\xff" }},
		{`there is no grant type "implicit"`, func(c *oauth.Client) { c.GrantTypes = []string{"implicit"} }},
		{"name one of them", func(c *oauth.Client) { c.GrantTypes = []string{"refresh_token"} }},
		{"is not an absolute URI", func(c *oauth.Client) { c.RedirectURIs = []string{"/cb"} }},
		{"is not an absolute URI", func(c *oauth.Client) { c.RedirectURIs = []string{"https://x/\ncb"} }},
		{"is not an absolute URI", func(c *oauth.Client) { c.RedirectURIs = []string{"https://x y/"} }},
		{"has no host", func(c *oauth.Client) { c.RedirectURIs = []string{"https:///cb"} }},
		{"has no host", func(c *oauth.Client) { c.RedirectURIs = []string{"https:cb"} }},
		{"has a fragment", func(c *oauth.Client) { c.RedirectURIs = []string{"https://x/#"} }},
		{"is a script", func(c *oauth.Client) { c.RedirectURIs = []string{"JavaScript:alert(1)"} }},
		{"is a script", func(c *oauth.Client) { c.RedirectURIs = []string{"data:text/html,x"} }},
		{"a client's name has", func(c *oauth.Client) { c.Name = strings.Repeat("ä", 256) }},
		{"the name of an organization has", func(c *oauth.Client) { c.Organization = "a\n" }},
		{"the name of an organization has", func(c *oauth.Client) { c.Organization = strings.Repeat("ä", 256) }},
		{"At least one redirect URL should be specified.", func(c *oauth.Client) { c.GrantTypes = []string{"authorization_code"} }},
		{"the name of an API has", func(c *oauth.Client) { c.APIs = []string{"a b"} }},
		{"the name of an API has", func(c *oauth.Client) { c.APIs = []string{`a"b`} }},
		{"the name of an API has", func(c *oauth.Client) { c.APIs = []string{`a\b`} }},
		{"the name of an API has", func(c *oauth.Client) { c.APIs = []string{"é"} }},
		{"the name of an API has", func(c *oauth.Client) { c.APIs = []string{""} }},
		{"RFC 6749 section 3.3", func(c *oauth.Client) { c.Scope = oauth.Scope{`a"b`} }},
		{"a lifetime is", func(c *oauth.Client) { c.AccessTokenLifetime = -time.Hour }},
		{"a lifetime is", func(c *oauth.Client) { c.AccessTokenLifetime = time.Millisecond }},
		{"a lifetime is", func(c *oauth.Client) { c.RefreshTokenLifetime = -1 }},
		{"the retry window must not be negative", func(c *oauth.Client) { c.RetryWindow = &negative }},
		{`there is no signing algorithm "none"`, func(c *oauth.Client) { c.SigningAlg = "none" }},
		{"RFC 9700 section 2.2.2", func(c *oauth.Client) { c.Public, c.ReusableRefreshTokens = true, true }},
		{"RFC 6749 section 4.4", func(c *oauth.Client) { c.Public, c.GrantTypes = true, []string{"client_credentials"} }},
	} {
		c := oauth.Client{ID: "shop", Name: "Shop"}
		test.change(&c)
		_, _, err := b.CreateClient(t.Context(), c, "")
		wantError(t, err, admin.ErrUsage, test.says)
	}
	if clients, err := b.Clients(t.Context()); err != nil || len(clients) != 0 {
		t.Errorf("got clients %+v and error %v, want none", clients, err)
	}
}

func TestCreateClientAccepts(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	never := time.Duration(0)
	c := b.client(t, oauth.Client{
		ID: "!~:", Name: strings.Repeat("ä", 255), Organization: strings.Repeat("ä", 255), APIs: []string{"/api/v1", "orders:read"}, GrantTypes: []string{"password", "refresh_token", "password"},
		RedirectURIs: []string{"https://x/cb?a=b", "http://127.0.0.1/cb", "com.example.app:/cb"}, Scope: oauth.Scope{},
		AccessTokenLifetime: time.Minute, RetryWindow: &never, SigningAlg: "EdDSA", ReusableRefreshTokens: true,
	})
	if !slices.Equal(c.GrantTypes, []string{"password", "refresh_token"}) || c.Scope == nil || *c.RetryWindow != 0 {
		t.Errorf("got %+v", c)
	}
	_, _, err := b.CreateClient(t.Context(), oauth.Client{ID: "!~:", Name: "x"}, "")
	wantError(t, err, oauth.ErrExists, "a client !~: exists already")
}

func TestClientOwner(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	u := b.user(t, "alice")
	_, _, err := b.CreateClient(t.Context(), oauth.Client{Name: "x", Owner: "bob"}, "")
	wantError(t, err, oauth.ErrNotFound, "there is no user bob")
	c := b.client(t, oauth.Client{ID: "shop", Name: "x", Owner: "alice"})
	if c.Owner != u.ID {
		t.Errorf("got owner %q, want %q", c.Owner, u.ID)
	}
	if c, err = b.UpdateClient(t.Context(), "shop", func(c *oauth.Client) { c.Name = "y" }); err != nil || c.Owner != u.ID {
		t.Errorf("after an update of the name: owner %q and error %v, want %q", c.Owner, err, u.ID)
	}
	if names, err := b.Owners(t.Context(), c); err != nil || names[c.Owner] != "alice" {
		t.Errorf("got owners %v and error %v, want alice", names, err)
	}
	if c, err = b.UpdateClient(t.Context(), "shop", func(c *oauth.Client) { c.Owner = "" }); err != nil || c.Owner != "" {
		t.Errorf("after taking it away: owner %q and error %v", c.Owner, err)
	}
}

func TestUpdateClientMeetsAnotherUpdate(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := b.record()
	b.client(t, oauth.Client{ID: "shop", Name: "Shop"})
	r.conflicts = 2
	c, err := b.UpdateClient(t.Context(), "shop", func(c *oauth.Client) { c.Name = "Store" })
	if err != nil || c.Name != "Store" || len(c.Scope) != 2 {
		t.Errorf("got %+v and error %v, want both the new name and the others' scope", c, err)
	}
	r.conflicts = 100
	_, err = b.UpdateClient(t.Context(), "shop", func(c *oauth.Client) { c.Name = "No" })
	wantError(t, err, oauth.ErrConflict, "again and again")
	_, err = b.UpdateClient(t.Context(), "nobody", func(*oauth.Client) {})
	wantError(t, err, oauth.ErrNotFound, "there is no client nobody")
}

func TestDeactivateAndActivateClient(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	was := b.client(t, oauth.Client{ID: "shop", Name: "Shop"})
	c, err := b.DeactivateClient(t.Context(), "shop")
	if err != nil || c.Active || c.Version <= was.Version {
		t.Errorf("got %+v and error %v, want it inactive and of a higher version", c, err)
	}
	if c, err = b.ActivateClient(t.Context(), "shop"); err != nil || !c.Active {
		t.Errorf("got %+v and error %v, want it active", c, err)
	}
}

func TestRotateClientSecret(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := b.record()
	first := b.client(t, oauth.Client{ID: "shop", Name: "Shop"}).Secrets[0].Hash
	rotate := func(overlap time.Duration) []oauth.ClientSecret {
		t.Helper()
		c, secret, err := b.RotateClientSecret(t.Context(), "shop", "", overlap)
		if err != nil || c.Secrets[0].Hash != b.Keys().HashClientSecret(secret) || !c.Secrets[0].ExpiresAt.IsZero() {
			t.Fatalf("got %+v and error %v, want the new secret first and for ever", c, err)
		}
		return c.Secrets
	}
	second := rotate(time.Hour)
	if len(second) != 2 || second[1].Hash != first || !second[1].ExpiresAt.Equal(b.clock.Add(time.Hour)) {
		t.Errorf("got %+v, want the old secret to end in an hour", second)
	}
	third := rotate(2 * time.Hour)
	if len(third) != 3 || third[1].Hash != second[0].Hash || !third[1].ExpiresAt.Equal(b.clock.Add(2*time.Hour)) || !third[2].ExpiresAt.Equal(b.clock.Add(time.Hour)) {
		t.Errorf("got %+v, want ends in two hours and, as before, in one", third)
	}
	if rotate(0); len(r.written.Secrets) != 1 {
		t.Errorf("got %+v, want the old secrets gone", r.written.Secrets)
	}
}

func TestRotateClientSecretRefuses(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.client(t, oauth.Client{ID: "app", Name: "App", Public: true})
	_, _, err := b.RotateClientSecret(t.Context(), "app", "", 0)
	wantError(t, err, admin.ErrUsage, "is public")
	_, _, err = b.RotateClientSecret(t.Context(), "nobody", "", 0)
	wantError(t, err, oauth.ErrNotFound, "there is no client nobody")
	_, _, err = b.RotateClientSecret(t.Context(), "app", "", -1)
	wantError(t, err, admin.ErrUsage, "negative")
	_, _, err = b.CreateClient(t.Context(), oauth.Client{Name: "x"}, oauth.Secret(strings.Repeat("x", 4097)))
	wantError(t, err, admin.ErrUsage, "longer than 4096 bytes")
}

func TestDeleteClientEndsItsGrants(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	u, c := b.user(t, "alice"), b.client(t, oauth.Client{ID: "shop", Name: "Shop"})
	b.grant(t, "g1", u, c)
	b.grant(t, "g2", u, c)
	if n, err := b.DeleteClient(t.Context(), "shop"); err != nil || n != 2 {
		t.Errorf("got %d grants and error %v, want 2", n, err)
	}
	_, err := b.Client(t.Context(), "shop")
	wantError(t, err, oauth.ErrNotFound, "there is no client shop")
	_, err = b.DeleteClient(t.Context(), "shop")
	wantError(t, err, oauth.ErrNotFound, "there is no client shop")
}

// TestNamesOfOthers: no client and no user can be mistaken for another subject (RFC 9700
// section 4.15).
func TestNamesOfOthers(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	u := b.user(t, "alice")
	for _, id := range []string{u.ID, oauth.VisitorID} {
		if _, _, err := b.CreateClient(t.Context(), oauth.Client{ID: id, Name: "client"}, ""); !errors.Is(err, admin.ErrUsage) {
			t.Errorf("a client with the id %s: got %v", id, err)
		}
	}
	if _, err := b.CreateUser(t.Context(), "visitor:0123456789abcdef0123", "", "password"); !errors.Is(err, admin.ErrUsage) {
		t.Errorf("a user named like a visitor: got %v", err)
	}
}
