package oauth_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// everyStep is the store of a rig that can fail at the steps of introspection and
// revocation too.
type everyStep struct{ *faultyStore }

func (f everyStep) GrantByPublicID(ctx context.Context, id string) (oauth.GrantView, error) {
	return run(f.faultyStore, func() (oauth.GrantView, error) { return f.Store.GrantByPublicID(ctx, id) })
}

func (f everyStep) ConfirmGrant(ctx context.Context, id oauth.GrantID) (oauth.GrantView, error) {
	return run(f.faultyStore, func() (oauth.GrantView, error) { return f.Store.ConfirmGrant(ctx, id) })
}

func (f everyStep) ClientVersion(ctx context.Context, id string) (int64, error) {
	return run(f.faultyStore, func() (int64, error) { return f.Store.ClientVersion(ctx, id) })
}

func (f everyStep) RevokeClientTokens(ctx context.Context, id string, notBefore time.Time, e oauth.Event) error {
	return f.write(func() error { return f.Store.RevokeClientTokens(ctx, id, notBefore, e) })
}

// as are a confidential client's credentials, and what else it sends.
func (r *rig) as(client string, more ...string) []string {
	return append([]string{"client_id", client, "client_secret", string(r.secret)}, more...)
}

// tokens are what a confidential client gets; it must.
func (r *rig) tokens(profile oauth.Profile, client string, more ...string) oauth.TokenResponse {
	r.t.Helper()
	response, err := r.ask(profile, home, r.as(client, more...)...)
	if err != nil {
		r.t.Fatalf("tokens for %s: %v", client, err)
	}
	return response
}

// ofUser are what the client "confidential" gets for the user, at the standard endpoint.
func (r *rig) ofUser(more ...string) oauth.TokenResponse {
	r.t.Helper()
	return r.tokens(oauth.Standard, "confidential", append([]string{"grant_type", "password", "username", "user", "password", "right horse"}, more...)...)
}

// refreshed are what the client "confidential" gets for a refresh token.
func (r *rig) refreshed(token oauth.Secret, more ...string) oauth.TokenResponse {
	r.t.Helper()
	return r.tokens(oauth.Standard, "confidential", append([]string{"grant_type", "refresh_token", "refresh_token", string(token)}, more...)...)
}

// lists are parameters, of which one is a list.
func lists(name string, list []string, pairs ...string) oauth.Parameters {
	p := parameters(pairs...)
	p[name] = oauth.Parameter{List: list}
	return p
}

func (r *rig) introspectWith(pairs ...string) (oauth.Introspection, error) {
	return r.Introspect(r.t.Context(), oauth.TokenRequest{Parameters: parameters(pairs...), Source: home, RequestID: "request"})
}

func (r *rig) introspect(caller string, token oauth.Secret) (oauth.Introspection, error) {
	return r.introspectWith(r.as(caller, "token", string(token))...)
}

// tells reports whether a caller is told that a token is active.
func (r *rig) tells(caller string, token oauth.Secret) bool {
	r.t.Helper()
	answer, err := r.introspect(caller, token)
	if err != nil {
		r.t.Fatalf("introspection by %s: %v", caller, err)
	}
	return answer.Active
}

// change changes a client.
func (r *rig) change(id string, change func(*oauth.Client)) error {
	client, err := r.memory.Client(r.t.Context(), id)
	if err != nil {
		return err
	}
	change(&client)
	return r.memory.UpdateClient(r.t.Context(), client, oauth.Event{})
}

// TestIntrospectAccessToken: what a client is told about its own tokens is what is in
// them (RFC 7662 section 2.2), of both profiles.
func TestIntrospectAccessToken(t *testing.T) {
	t.Parallel()
	login := []string{"grant_type", "password", "username", "user", "password", "right horse"}
	own := []string{"grant_type", "client_credentials"}
	for name, c := range map[string]struct {
		profile  oauth.Profile
		client   string
		request  []string
		username string
	}{
		"standard":                         {oauth.Standard, "confidential", login, "user"},
		"OroCommerce":                      {oauth.OroCommerce, "confidential", append(login, "scope", "write read"), "user"},
		"client credentials":               {oauth.Standard, "machine", append(own, "resource", "site"), ""},
		"client credentials, OroCommerce":  {oauth.OroCommerce, "machine", append(own, "scope", "a/b ü"), ""},
		"for a resource":                   {oauth.Standard, "confidential", append(login, "resource", "machine"), "user"},
		"a client without a list of scope": {oauth.Standard, "reusable", login, "user"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			tokens := r.tokens(c.profile, c.client, c.request...)
			answer, err := r.introspect(c.client, tokens.AccessToken)
			if err != nil || !answer.Active || answer.RefreshToken || answer.Caller != c.client {
				t.Fatalf("got %+v, %v; want an active access token, asked about by %s", answer, err, c.client)
			}
			_, claims := claimsOf(t, tokens.AccessToken)
			scope := claims["scope"]
			if c.profile == oauth.OroCommerce {
				scope = strings.Trim(fmt.Sprint(claims["scopes"]), "[]")
			}
			number := func(name string) int64 { n, _ := claims[name].(float64); return int64(n) }
			grantID, _ := claims["grant_id"].(string)
			i := &answer.Token
			got := fmt.Sprintln(i.Profile, i.Subject, i.ClientID, i.Scope, i.Audience, i.ID, i.IssuedAt, i.NotBefore, i.ExpiresAt, i.GrantID, i.Generation)
			want := fmt.Sprintln(c.profile, claims["sub"], claims["client_id"], scope, []any{claims["aud"]}, claims["jti"], number("iat"), number("nbf"), number("exp"), grantID, number("gen"))
			if got != want || i.Username != c.username {
				t.Errorf("told of %q %swant of %q %s", i.Username, got, c.username, want)
			}
		})
	}
}

// TestIntrospectNumbers: OroCommerce's scopes may be numbers, and are told as text.
func TestIntrospectNumbers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := lists("scope", []string{"1", "2"}, "grant_type", "password", "client_id", "reusable", "client_secret", string(r.secret), "username", "user", "password", "right horse")
	p["scope"] = oauth.Parameter{List: p["scope"].List, Numbers: true}
	tokens, err := r.Token(t.Context(), oauth.TokenRequest{Profile: oauth.OroCommerce, Parameters: p, Source: home})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := r.introspect("reusable", tokens.AccessToken)
	if err != nil || !answer.Active || answer.Token.Scope.String() != "1 2" {
		t.Errorf("got %+v, %v; want the scope 1 2", answer, err)
	}
}

// TestIntrospectVisibility: who may know of a token: its client, and of an access token
// whoever it is for (RFC 7662 section 4). Nobody else learns anything.
func TestIntrospectVisibility(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	both := func(pairs ...string) oauth.Parameters {
		return lists("resource", []string{"machine", "site"}, pairs...)
	}
	ask := func(p oauth.Parameters) oauth.TokenResponse {
		t.Helper()
		tokens, err := r.Token(t.Context(), oauth.TokenRequest{Parameters: p, Source: home})
		if err != nil {
			t.Fatal(err)
		}
		return tokens
	}
	forBoth := ask(both(r.as("confidential", "grant_type", "password", "username", "user", "password", "right horse")...))
	narrowed := r.refreshed(ask(both(r.as("confidential", "grant_type", "password", "username", "user", "password", "right horse")...)).RefreshToken, "resource", "site")
	a, err := r.CheckAuthorization(t.Context(), oauth.AuthorizationRequest{Parameters: both(ofWeb()...), Source: home})
	if err != nil {
		t.Fatal(err)
	}
	to, err := r.Approve(t.Context(), &a, r.user(), r.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(to, "code=")
	code, _, _ = strings.Cut(code, "&")
	ofCode, err := r.redeem(code, "resource", "machine")
	if err != nil {
		t.Fatal(err)
	}
	oro := r.tokens(oauth.OroCommerce, "confidential", "grant_type", "password", "username", "user", "password", "right horse", "resource", "machine")
	machines := r.tokens(oauth.Standard, "machine", "grant_type", "client_credentials", "resource", "site")
	ours := r.ofUser("resource", "https://issuer.example.com")
	for name, c := range map[string]struct {
		token oauth.Secret
		told  string // callers that are
	}{
		"no resource":               {r.ofUser().AccessToken, "confidential"},
		"this server as resource":   {ours.AccessToken, "confidential"},
		"one resource":              {r.ofUser("resource", "machine").AccessToken, "confidential machine"},
		"several resources":         {forBoth.AccessToken, "confidential machine site"},
		"narrowed by a refresh":     {narrowed.AccessToken, "confidential site"},
		"narrowed with the code":    {ofCode.AccessToken, "machine"},
		"OroCommerce knows none":    {oro.AccessToken, "confidential"},
		"client credentials":        {machines.AccessToken, "machine site"},
		"a refresh token":           {forBoth.RefreshToken, "confidential"},
		"a public client's":         {r.login().AccessToken, ""},
		"a public client's refresh": {r.login().RefreshToken, ""},
		"garbage":                   {"garbage", ""},
		"a JWT of nobody":           {"eyJhbGciOiJub25lIn0.e30.", ""},
		"a forged refresh token":    {oauth.Secret("cfr_" + strings.Repeat("A", 102)), ""},
		"a code":                    {oauth.Secret(r.code()), ""},
	} {
		var told []string
		for _, caller := range []string{"confidential", "machine", "site"} {
			answer, err := r.introspect(caller, c.token)
			if err != nil {
				t.Errorf("%s, asked by %s: %v", name, caller, err)
			}
			if answer.Active {
				told = append(told, caller)
			}
		}
		if got := strings.Join(told, " "); got != c.told {
			t.Errorf("%s is told to %q, want %q", name, got, c.told)
		}
	}
}

// TestIntrospectCaller: only confidential clients may ask (RFC 7662 section 2.1).
func TestIntrospectCaller(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := string(r.ofUser().AccessToken)
	secret := string(r.secret)
	basic := []oauth.BasicCredentials{{ID: "confidential", Secret: r.secret}}
	for name, c := range map[string]struct {
		basic []oauth.BasicCredentials
		pairs []string
		want  error
	}{
		"secret in the body":    {nil, []string{"client_id", "confidential", "client_secret", secret}, nil},
		"secret in Basic":       {basic, nil, nil},
		"and the same id":       {basic, []string{"client_id", "confidential"}, nil},
		"nobody":                {nil, nil, oauth.ErrClientUnauthenticated},
		"a secret alone":        {nil, []string{"client_secret", secret}, oauth.ErrClientUnauthenticated},
		"no secret":             {nil, []string{"client_id", "confidential"}, oauth.ErrClientUnauthenticated},
		"an empty secret":       {nil, []string{"client_id", "confidential", "client_secret", ""}, oauth.ErrClientUnauthenticated},
		"a wrong secret":        {nil, []string{"client_id", "confidential", "client_secret", "x" + secret}, oauth.ErrClientUnauthenticated},
		"an unknown client":     {nil, []string{"client_id", "nobody", "client_secret", secret}, oauth.ErrClientUnauthenticated},
		"a public client":       {nil, []string{"client_id", "public"}, oauth.ErrClientUnauthenticated},
		"with a secret":         {nil, []string{"client_id", "public", "client_secret", secret}, oauth.ErrClientUnauthenticated},
		"in Basic":              {[]oauth.BasicCredentials{{ID: "public"}}, nil, oauth.ErrClientUnauthenticated},
		"two methods":           {basic, []string{"client_secret", secret}, oauth.ErrClientMethodsMixed},
		"two ids":               {basic, []string{"client_id", "machine"}, oauth.ErrClientMethodsMixed},
		"a second reading":      {[]oauth.BasicCredentials{{ID: "confidential", Secret: "x"}, basic[0]}, nil, nil},
		"whatever it may get":   {nil, []string{"client_id", "machine", "client_secret", secret}, nil},
		"a hint is not binding": {basic, []string{"token_type_hint", "refresh_token"}, nil},
	} {
		_, err := r.Introspect(t.Context(), oauth.TokenRequest{Basic: c.basic, Parameters: parameters(append(c.pairs, "token", token)...), Source: elsewhere})
		if !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	for name, p := range map[string]oauth.Parameters{
		"no token":       parameters(r.as("confidential")...),
		"an empty token": parameters(r.as("confidential", "token", "")...),
		"a list":         lists("token", []string{token}, r.as("confidential")...),
	} {
		if _, err := r.Introspect(t.Context(), oauth.TokenRequest{Parameters: p, Source: elsewhere}); !errors.Is(err, oauth.ErrParameterInvalid) {
			t.Errorf("%s: got %v, want %v", name, err, oauth.ErrParameterInvalid)
		}
	}
}

// TestIntrospectRefreshToken: only one that a refresh would take as the newest is active.
// To ask is no use of it: neither a predecessor nor one that is long over ends the grant
// (docs/rotation.md, R2, X1 and X2).
func TestIntrospectRefreshToken(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := r.ofUser("resource", "machine")
	answer, err := r.introspect("confidential", first.RefreshToken)
	i := &answer.Token
	if err != nil || !answer.Active || !answer.RefreshToken || i.Subject != "id-of-user" || i.Username != "user" || i.ClientID != "confidential" || i.Scope.String() != "read write" ||
		fmt.Sprint(i.Audience) != "[machine]" || i.IssuedAt != r.clock.Now().Unix() || i.ExpiresAt != r.clock.Now().Add(30*24*time.Hour).Unix() || i.GrantID != first.GrantID || i.Generation != 0 {
		t.Errorf("the first: %+v, %v", answer, err)
	}
	tokens := []oauth.Secret{first.RefreshToken}
	for range 4 {
		tokens = append(tokens, r.refreshed(tokens[len(tokens)-1]).RefreshToken)
		for n, token := range tokens {
			if got, want := r.tells("confidential", token), n == len(tokens)-1; got != want {
				t.Errorf("token %d of %d: active is %v, want %v", n, len(tokens), got, want)
			}
		}
	}
	r.clock.add(time.Hour) // all windows are closed
	for n, token := range tokens[:4] {
		if r.tells("confidential", token) {
			t.Errorf("token %d is active an hour later", n)
		}
	}
	if events, err := r.memory.Events(t.Context(), "request"); err != nil || len(events) != 1 {
		t.Errorf("%d events, %v; want the login alone", len(events), err)
	}
	last := r.refreshed(tokens[4])
	r.clock.add(31 * 24 * time.Hour)
	if r.tells("confidential", last.RefreshToken) {
		t.Error("active after it expired")
	}
	reusable := r.tokens(oauth.Standard, "reusable", "grant_type", "password", "username", "user", "password", "right horse").RefreshToken
	r.tokens(oauth.Standard, "reusable", "grant_type", "refresh_token", "refresh_token", string(reusable))
	if !r.tells("reusable", reusable) {
		t.Error("a reusable one is inactive after its use (R3)")
	}
}

// TestIntrospectReadsKeysAgain: a refresh token under a master key that another node began
// to use a moment ago is no forgery; where the keys cannot be read nobody can tell.
func TestIntrospectReadsKeysAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	before := r.keys
	after, err := oauth.ParseKeys("2 " + strings.Repeat("E", 43) + "\n1 " + strings.Repeat("A", 43))
	if err != nil {
		t.Fatal(err)
	}
	r.keys = after
	token := r.ofUser().RefreshToken
	r.keys = before
	r.ReloadKeys = func(context.Context) error { return errDisk }
	if answer, err := r.introspect("confidential", token); !isFault(err) {
		t.Errorf("the keys cannot be read: got active %v, %v; want a fault", answer.Active, err)
	}
	r.ReloadKeys = func(context.Context) error { return nil }
	if r.tells("confidential", token) {
		t.Error("active under a key that nobody has")
	}
	r.keys = before.Missing([]uint16{2})
	if answer, err := r.introspect("confidential", token); !isFault(err) {
		t.Errorf("this node lacks the key: got active %v, %v; want a fault", answer.Active, err)
	}
	r.keys = before
	r.ReloadKeys = func(context.Context) error { r.keys = after; return nil }
	if !r.tells("confidential", token) {
		t.Error("inactive under a key that a reload finds")
	}
}

// ends are what ends the tokens that the client "confidential" got for the user.
var ends = map[string]func(*rig, oauth.TokenResponse) error{
	"refreshed": func(r *rig, tokens oauth.TokenResponse) error { r.refreshed(tokens.RefreshToken); return nil },
	"revoked by the client": func(r *rig, tokens oauth.TokenResponse) error {
		return r.revoke("confidential", tokens.AccessToken)
	},
	"revoked by an administrator": func(r *rig, tokens oauth.TokenResponse) error {
		_, err := r.memory.RevokeGrants(r.t.Context(), admin.GrantFilter{Subject: "id-of-user"}, "test", oauth.Event{})
		return err
	},
	"user disabled": func(r *rig, _ oauth.TokenResponse) error {
		return r.memory.SetUserState(r.t.Context(), "id-of-user", new(false), "", oauth.Event{})
	},
	"user locked": func(r *rig, _ oauth.TokenResponse) error {
		return r.memory.SetUserState(r.t.Context(), "id-of-user", nil, oauth.SubjectLocked, oauth.Event{})
	},
	"user reset": func(r *rig, _ oauth.TokenResponse) error {
		return r.memory.SetUserState(r.t.Context(), "id-of-user", nil, oauth.SubjectReset, oauth.Event{})
	},
	"user deleted": func(r *rig, _ oauth.TokenResponse) error {
		return r.memory.DeleteUser(r.t.Context(), "id-of-user", oauth.Event{})
	},
	"signed out": func(r *rig, _ oauth.TokenResponse) error {
		return r.memory.SignOut(r.t.Context(), "id-of-user", oauth.Event{})
	},
	"new password": func(r *rig, _ oauth.TokenResponse) error {
		return r.memory.SetPassword(r.t.Context(), "id-of-user", "x", true, oauth.Event{})
	},
	"client deactivated": func(r *rig, _ oauth.TokenResponse) error {
		return r.change("confidential", func(c *oauth.Client) { c.Active = false })
	},
	"client deleted": func(r *rig, _ oauth.TokenResponse) error {
		return r.memory.DeleteClient(r.t.Context(), "confidential", oauth.Event{})
	},
	"client deleted and made again": func(r *rig, _ oauth.TokenResponse) error {
		client, err := r.memory.Client(r.t.Context(), "confidential")
		return errors.Join(err, r.memory.DeleteClient(r.t.Context(), client.ID, oauth.Event{}), r.memory.CreateClient(r.t.Context(), client, oauth.Event{}))
	},
	"expired": func(r *rig, _ oauth.TokenResponse) error { r.clock.add(time.Hour); return nil },
	"grant expired by a shorter policy": func(r *rig, _ oauth.TokenResponse) error {
		err := r.change("confidential", func(c *oauth.Client) { c.RefreshTokenLifetime = time.Minute })
		r.clock.add(time.Minute)
		return err
	},
}

// TestIntrospectAtOnce: whatever ends a token holds for the very next question (I6, I9,
// rule 8), though all clients are remembered.
func TestIntrospectAtOnce(t *testing.T) {
	t.Parallel()
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			tokens := r.ofUser("resource", "machine")
			for _, caller := range []string{"confidential", "machine"} {
				if !r.tells(caller, tokens.AccessToken) {
					t.Fatalf("inactive before, says %s", caller)
				}
			}
			if err := end(r, tokens); err != nil {
				t.Fatal(err)
			}
			if r.tells("machine", tokens.AccessToken) {
				t.Error("still active")
			}
			if answer, err := r.introspect("confidential", tokens.AccessToken); answer.Active || isFault(err) {
				t.Errorf("the client itself is told: active %v, %v", answer.Active, err)
			}
			answer, err := r.introspect("confidential", tokens.RefreshToken)
			if outlives := name == "expired"; answer.Active != outlives || isFault(err) {
				t.Errorf("its refresh token: active %v, %v; want %v", answer.Active, err, outlives)
			}
		})
	}
}

// TestIntrospectClientCredentialsAtOnce: a token that a client got for itself lives while
// the client is in order.
func TestIntrospectClientCredentialsAtOnce(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(r *rig, token oauth.Secret) error{
		"revoked": func(r *rig, token oauth.Secret) error { return r.revoke("machine", token) },
		"client deactivated": func(r *rig, _ oauth.Secret) error {
			return r.change("machine", func(c *oauth.Client) { c.Active = false })
		},
		"client deactivated and activated": func(r *rig, _ oauth.Secret) error {
			return errors.Join(r.change("machine", func(c *oauth.Client) { c.Active = false }), r.change("machine", func(c *oauth.Client) { c.Active = true }))
		},
		"client deleted": func(r *rig, _ oauth.Secret) error {
			return r.memory.DeleteClient(r.t.Context(), "machine", oauth.Event{})
		},
		"owner blocked": func(r *rig, _ oauth.Secret) error {
			return r.memory.SetUserState(r.t.Context(), "id-of-other", nil, oauth.SubjectLocked, oauth.Event{})
		},
		"owner deleted": func(r *rig, _ oauth.Secret) error {
			return r.memory.DeleteUser(r.t.Context(), "id-of-other", oauth.Event{})
		},
		"expired": func(r *rig, _ oauth.Secret) error { r.clock.add(time.Hour); return nil },
	} {
		r := newRig(t)
		if err := r.change("machine", func(c *oauth.Client) { c.Owner = "id-of-other" }); err != nil {
			t.Fatal(err)
		}
		token := r.tokens(oauth.Standard, "machine", "grant_type", "client_credentials", "resource", "site").AccessToken
		if !r.tells("site", token) || !r.tells("machine", token) {
			t.Fatalf("%s: inactive before", name)
		}
		if err := end(r, token); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if r.tells("site", token) {
			t.Errorf("%s: still active", name)
		}
	}
}

// TestIntrospectRememberedCaller: a caller that is remembered is let in only as it is now:
// whatever it asks about, at the very next request (rule 8).
func TestIntrospectRememberedCaller(t *testing.T) {
	t.Parallel()
	another, err := oauth.GenerateClientSecret(strings.NewReader(strings.Repeat("x", 32)))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*rig) error
		want   error
	}{
		"deactivated":  {func(r *rig) error { return r.change("site", func(c *oauth.Client) { c.Active = false }) }, oauth.ErrClientUnauthenticated},
		"no secret":    {func(r *rig) error { return r.change("site", func(c *oauth.Client) { c.Secrets = nil }) }, oauth.ErrClientUnauthenticated},
		"made public":  {func(r *rig) error { return r.change("site", func(c *oauth.Client) { c.Public, c.Secrets = true, nil }) }, oauth.ErrClientUnauthenticated},
		"deleted":      {func(r *rig) error { return r.memory.DeleteClient(r.t.Context(), "site", oauth.Event{}) }, oauth.ErrClientUnauthenticated},
		"only renamed": {func(r *rig) error { return r.change("site", func(c *oauth.Client) { c.Name = "another" }) }, nil},
		"secret rotated away": {func(r *rig) error {
			return r.change("site", func(c *oauth.Client) { c.Secrets = []oauth.ClientSecret{{Hash: r.keys.HashClientSecret(another)}} })
		}, oauth.ErrClientUnauthenticated},
		"owner blocked": {func(r *rig) error {
			return r.memory.SetUserState(r.t.Context(), "id-of-other", new(false), "", oauth.Event{})
		}, oauth.ErrClientUnauthenticated},
		"secret expired": {func(r *rig) error { r.clock.add(time.Minute); return nil }, oauth.ErrClientUnauthenticated},
	} {
		for _, about := range []string{"its own", "its refresh token", "for it", "another's", "dead", "garbage", "forged"} {
			t.Run(name+"/"+about, func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				err := r.change("site", func(c *oauth.Client) {
					c.GrantTypes, c.Owner = nil, "id-of-other"
					if name == "secret expired" {
						c.Secrets[0].ExpiresAt = r.clock.Now().Add(time.Minute)
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				own := r.tokens(oauth.Standard, "site", "grant_type", "password", "username", "user", "password", "right horse")
				dead := r.tokens(oauth.Standard, "machine", "grant_type", "client_credentials", "resource", "site").AccessToken
				if err := r.revoke("machine", dead); err != nil {
					t.Fatal(err)
				}
				token := map[string]oauth.Secret{
					"its own": own.AccessToken, "its refresh token": own.RefreshToken, "dead": dead, "garbage": "garbage", "forged": "cfr_forged",
					"for it":    r.tokens(oauth.Standard, "machine", "grant_type", "client_credentials", "resource", "site").AccessToken,
					"another's": r.tokens(oauth.Standard, "machine", "grant_type", "client_credentials").AccessToken,
				}[about]
				before := r.tells("site", token)
				if err := c.change(r); err != nil {
					t.Fatal(err)
				}
				answer, err := r.introspect("site", token)
				if !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
					t.Errorf("got %v, want %v", err, c.want)
				}
				if err == nil && answer.Active != before {
					t.Errorf("active is %v, and was %v before", answer.Active, before)
				}
			})
		}
	}
}

// TestIntrospectPreviousAccessToken: the policy about access tokens of an old generation
// (docs/rotation.md), of a server and to the microsecond.
func TestIntrospectPreviousAccessToken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		policy oauth.PreviousAccessToken
		after  time.Duration
		want   string // whether generations 0, 1 and 2 live
	}{
		"revoke":            {oauth.PreviousAccessToken{}, 0, "[false false true]"},
		"keep":              {oauth.PreviousAccessToken{Keep: true}, 59 * time.Minute, "[true true true]"},
		"keep until expiry": {oauth.PreviousAccessToken{Keep: true}, time.Hour, "[false false false]"},
		"for a time":        {oauth.PreviousAccessToken{For: time.Minute}, time.Minute - time.Microsecond, "[false true true]"},
		"and no longer":     {oauth.PreviousAccessToken{For: time.Minute}, time.Minute, "[false false true]"},
		"clock went back":   {oauth.PreviousAccessToken{For: time.Minute}, -time.Hour, "[false true true]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.Settings.PreviousAccessToken = c.policy
			tokens := []oauth.TokenResponse{r.ofUser("resource", "machine")}
			for n := range 2 {
				tokens = append(tokens, r.refreshed(tokens[n].RefreshToken))
			}
			r.clock.add(c.after)
			for _, caller := range []string{"confidential", "machine"} {
				var lives []bool
				for n := range tokens {
					lives = append(lives, r.tells(caller, tokens[n].AccessToken))
				}
				if got := fmt.Sprint(lives); got != c.want {
					t.Errorf("%s is told %s, want %s", caller, got, c.want)
				}
			}
		})
	}
}

// TestIntrospectFaults: whatever step of the store fails, nobody is told that a living
// token is inactive, nor that a dead one lives.
func TestIntrospectFaults(t *testing.T) {
	t.Parallel()
	for _, remembered := range []bool{false, true} {
		for _, about := range []string{"its own", "its refresh token", "for it", "its client credentials", "dead", "garbage"} {
			t.Run(fmt.Sprintf("%s/remembered %v", about, remembered), func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				if err := r.change("site", func(c *oauth.Client) { c.GrantTypes = nil }); err != nil {
					t.Fatal(err)
				}
				own := r.tokens(oauth.Standard, "site", "grant_type", "password", "username", "user", "password", "right horse")
				dead := r.ofUser("resource", "site")
				r.refreshed(dead.RefreshToken)
				token := map[string]oauth.Secret{
					"its own": own.AccessToken, "its refresh token": own.RefreshToken, "for it": r.ofUser("resource", "site").AccessToken,
					"its client credentials": r.tokens(oauth.Standard, "site", "grant_type", "client_credentials").AccessToken,
					"dead":                   dead.AccessToken, "garbage": "garbage",
				}[about]
				lives := about != "dead" && about != "garbage"
				r.Store = everyStep{r.faulty}
				for n, faults := 1, 0; ; n++ {
					if remembered {
						r.faulty.failNext(0, false, nil)
						r.tells("site", token)
					} else if err := r.change("site", func(*oauth.Client) {}); err != nil { // another version
						t.Fatal(err)
					}
					r.faulty.failNext(n, false, errDisk)
					answer, err := r.introspect("site", token)
					if err == nil && answer.Active != lives {
						t.Fatalf("step %d failed: active is %v, want %v or a fault", n, answer.Active, lives)
					}
					if err != nil {
						faults++
						if !isFault(err) {
							t.Errorf("step %d failed: %v, want a fault", n, err)
						}
						continue
					}
					if faults == 0 {
						t.Error("no step failed")
					}
					return
				}
			})
		}
	}
}

// TestIntrospectCostsOneLook: a resource server asks with every request that it gets. Who
// is remembered, and asks about its own, costs one read.
func TestIntrospectCostsOneLook(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	tokens := r.ofUser()
	r.Store = everyStep{r.faulty}
	for _, token := range []oauth.Secret{tokens.AccessToken, tokens.RefreshToken} {
		r.tells("confidential", token)
		r.faulty.failNext(0, false, nil)
		r.tells("confidential", token)
		if r.faulty.steps != 1 {
			t.Errorf("a question about %.4s… took %d steps of the store, want 1", string(token), r.faulty.steps)
		}
	}
}

// TestIntrospectThrottlesGuesses: a secret is guessed at no better here than at the token
// endpoint: the guesses are counted together, and the right one has to wait too.
func TestIntrospectThrottlesGuesses(t *testing.T) {
	t.Parallel()
	for _, remembered := range []bool{false, true} {
		t.Run(fmt.Sprint(remembered), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			token := r.ofUser().AccessToken
			if remembered {
				r.tells("confidential", token)
			}
			asks := []func(secret string) error{
				func(secret string) error {
					_, err := r.introspectWith("client_id", "confidential", "client_secret", secret, "token", "x")
					return err
				},
				func(secret string) error {
					_, err := r.Revoke(t.Context(), oauth.TokenRequest{Parameters: parameters("client_id", "confidential", "client_secret", secret, "token", "x"), Source: home})
					return err
				},
				func(secret string) error {
					_, err := r.AuthenticateFollower(t.Context(), oauth.TokenRequest{Basic: []oauth.BasicCredentials{{ID: "confidential", Secret: oauth.Secret(secret)}}, Source: home})
					return err
				},
				func(secret string) error {
					_, err := r.ask(oauth.Standard, home, "grant_type", "refresh_token", "client_id", "confidential", "client_secret", secret, "refresh_token", "x")
					return err
				},
			}
			for n := range 1000 {
				if err := asks[n%len(asks)](fmt.Sprint("guess ", n)); !errors.Is(err, oauth.ErrClientUnauthenticated) {
					t.Fatalf("guess %d: %v", n, err)
				}
			}
			for n, ask := range asks {
				if err := ask(string(r.secret)); !errors.Is(err, oauth.ErrThrottled) {
					t.Errorf("after 1,000 guesses the right secret at %d: %v, want %v", n, err, oauth.ErrThrottled)
				}
			}
			_, err := r.Introspect(t.Context(), oauth.TokenRequest{Parameters: parameters(r.as("confidential", "token", string(token))...), Source: elsewhere})
			if err != nil {
				t.Errorf("from elsewhere: %v", err)
			}
		})
	}
}

// TestSignedIntrospection: RFC 9701 section 5. What is signed is for who asked, and never
// an access token (section 8.1).
func TestSignedIntrospection(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if err := r.change("machine", func(c *oauth.Client) { c.SigningAlg = "ES256" }); err != nil {
		t.Fatal(err)
	}
	token := r.ofUser("resource", "machine").AccessToken
	for name, about := range map[string]oauth.Secret{"active": token, "inactive": "garbage"} {
		answer, err := r.introspect("machine", about)
		if err != nil {
			t.Fatal(err)
		}
		signed, err := r.SignIntrospection(answer, []byte(`{"active":true,"scope":"read"}`))
		if err != nil {
			t.Fatal(err)
		}
		header, claims := claimsOf(t, oauth.Secret(signed))
		if header["typ"] != "token-introspection+jwt" || header["alg"] != "ES256" || header["kid"] == nil {
			t.Errorf("%s: header %v", name, header)
		}
		want := fmt.Sprint(map[string]any{
			"iss": "https://issuer.example.com", "aud": "machine", "iat": float64(r.clock.Now().Unix()), "token_introspection": map[string]any{"active": true, "scope": "read"},
		})
		if got := fmt.Sprint(claims); got != want {
			t.Errorf("%s: claims %s, want %s", name, got, want)
		}
		if _, err := r.AccessToken(t.Context(), oauth.Secret(signed)); !errors.Is(err, oauth.ErrAccessTokenInvalid) {
			t.Errorf("%s: taken for an access token: %v", name, err)
		}
		if r.tells("machine", oauth.Secret(signed)) {
			t.Errorf("%s: an answer is told to be an active token", name)
		}
	}
}

// TestOtherTypes: of all that our keys sign only access tokens are taken as such (RFC 8725
// section 3.11), whatever the claims.
func TestOtherTypes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := r.ofUser().AccessToken
	_, payload, err := r.Signer.Verify(string(token))
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range []string{"at+jwt", "token-introspection+jwt", "", "jwt", "AT+JWT", "application/at+jwt", "logout+jwt"} {
		signed, err := r.Signer.Sign("EdDSA", typ, payload)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := r.tells("confidential", oauth.Secret(signed)), typ == "at+jwt"; got != want {
			t.Errorf("typ %q: active is %v, want %v", typ, got, want)
		}
		if got, want := r.lives(oauth.Secret(signed)), typ == "at+jwt"; got != want {
			t.Errorf("typ %q: taken as an access token: %v, want %v", typ, got, want)
		}
	}
}

// TestAuthenticateFollower: who follows revocations is a confidential client, as it is now.
func TestAuthenticateFollower(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.tells("machine", "garbage") // now it is remembered
	basic := func(id string, secret oauth.Secret) []oauth.BasicCredentials {
		return []oauth.BasicCredentials{{ID: id, Secret: secret}}
	}
	follow := func(basic []oauth.BasicCredentials) (string, error) {
		return r.AuthenticateFollower(t.Context(), oauth.TokenRequest{Basic: basic, Source: home})
	}
	if id, err := follow(basic("machine", r.secret)); err != nil || id != "machine" {
		t.Errorf("got %q, %v", id, err)
	}
	for name, given := range map[string][]oauth.BasicCredentials{
		"nobody": nil, "a public client": basic("public", ""), "a wrong secret": basic("machine", "x"), "an unknown client": basic("nobody", r.secret),
	} {
		if _, err := follow(given); !errors.Is(err, oauth.ErrClientUnauthenticated) {
			t.Errorf("%s: got %v, want %v", name, err, oauth.ErrClientUnauthenticated)
		}
	}
	if err := r.change("machine", func(c *oauth.Client) { c.Active = false }); err != nil {
		t.Fatal(err)
	}
	if _, err := follow(basic("machine", r.secret)); !errors.Is(err, oauth.ErrClientUnauthenticated) {
		t.Errorf("deactivated: got %v, want %v", err, oauth.ErrClientUnauthenticated)
	}
	r.faulty.failNext(1, false, errDisk)
	if _, err := follow(basic("machine", r.secret)); !isFault(err) {
		t.Errorf("the store fails: got %v, want a fault", err)
	}
}
