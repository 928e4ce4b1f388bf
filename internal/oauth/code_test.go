package oauth_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/password"
)

const verifier = "the-code-verifier-has-at-least-43-characters"

func s256(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// user is who agrees.
func (r *rig) user() oauth.Subject {
	r.t.Helper()
	u, err := r.memory.User(r.t.Context(), "user")
	if err != nil {
		r.t.Fatal(err)
	}
	return u.Subject
}

// authorize checks a request to the authorization endpoint.
func (r *rig) authorize(profile oauth.Profile, pairs ...string) (oauth.Authorization, error) {
	return r.CheckAuthorization(r.t.Context(), oauth.AuthorizationRequest{Profile: profile, Parameters: parameters(pairs...), Source: home})
}

// approve lets the user agree, and returns the answer to the client.
func (r *rig) approve(profile oauth.Profile, pairs ...string) url.Values {
	r.t.Helper()
	a, err := r.authorize(profile, pairs...)
	if err != nil {
		r.t.Fatalf("authorization request: %v", err)
	}
	to, err := r.Approve(r.t.Context(), &a, r.user(), r.clock.Now())
	if err != nil {
		r.t.Fatalf("approve: %v", err)
	}
	u, err := url.Parse(to)
	if err != nil {
		r.t.Fatal(err)
	}
	return u.Query()
}

// ofWeb is a request of the public client, as the standard endpoint wants it.
func ofWeb(more ...string) []string {
	return append([]string{
		"response_type", "code", "client_id", "web", "redirect_uri", webURI, "state", "a state", "scope", "read",
		"code_challenge", s256(verifier), "code_challenge_method", "S256",
	}, more...)
}

// code is a code of the public client.
func (r *rig) code() string { return r.approve(oauth.Standard, ofWeb()...).Get("code") }

func (r *rig) redeem(code string, more ...string) (oauth.TokenResponse, error) {
	return r.ask(oauth.Standard, home, append([]string{
		"grant_type", "authorization_code", "client_id", "web", "code", code, "redirect_uri", webURI, "code_verifier", verifier,
	}, more...)...)
}

// TestAuthorizationCode: RFC 6749 section 4.1, RFC 7636, RFC 9207.
func TestAuthorizationCode(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	answer := r.approve(oauth.Standard, ofWeb()...)
	if answer.Get("state") != "a state" || answer.Get("iss") != "https://issuer.example.com" {
		t.Errorf("the answer is %v, want the state and the issuer", answer)
	}
	r.clock.add(59 * time.Second)
	tokens, err := r.redeem(answer.Get("code"))
	if err != nil {
		t.Fatalf("redeem: %v", err)
	}
	_, claims := claimsOf(t, tokens.AccessToken)
	if claims["sub"] != "id-of-user" || claims["scope"] != "read" || claims["gen"] != 0.0 || claims["client_id"] != "web" {
		t.Errorf("claims %v", claims)
	}
	next, err := r.ask(oauth.Standard, home, "grant_type", "refresh_token", "client_id", "web", "refresh_token", string(tokens.RefreshToken))
	if err != nil || next.Scope.String() != "read" {
		t.Errorf("refresh: %v, scope %q", err, next.Scope)
	}
	if _, err := r.AccessToken(t.Context(), next.AccessToken); err != nil {
		t.Errorf("the access token: %v", err)
	}
}

// TestCodeIsUsedOnce: a code that comes again ends what it produced (RFC 6749 section
// 4.1.2, RFC 9700 section 2.1.1), however late.
func TestCodeIsUsedOnce(t *testing.T) {
	t.Parallel()
	for _, later := range []time.Duration{0, time.Minute, 20 * 24 * time.Hour} {
		t.Run(later.String(), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			code := r.code()
			tokens, err := r.redeem(code)
			if err != nil {
				t.Fatal(err)
			}
			next, err := r.ask(oauth.Standard, home, "grant_type", "refresh_token", "client_id", "web", "refresh_token", string(tokens.RefreshToken))
			if err != nil {
				t.Fatal(err)
			}
			r.clock.add(later)
			for _, with := range [][]string{{"code_verifier", "another-code-verifier-than-before-of-43-characters"}, {"redirect_uri", webURI + "/x"}, {"client_id", "shop"}} {
				if _, err := r.redeem(code, with...); !errors.Is(err, oauth.ErrCodeUnknown) { // out of somebody's history: nothing ends
					t.Errorf("the code alone: got %v", err)
				}
			}
			if _, err := r.redeem(code); !errors.Is(err, oauth.ErrCodeUsed) {
				t.Errorf("the code again: got %v, want %v", err, oauth.ErrCodeUsed)
			}
			if _, err := r.AccessToken(t.Context(), next.AccessToken); !errors.Is(err, oauth.ErrAccessTokenInvalid) {
				t.Errorf("the access token afterwards: got %v", err)
			}
			_, err = r.ask(oauth.Standard, home, "grant_type", "refresh_token", "client_id", "web", "refresh_token", string(next.RefreshToken))
			if !errors.Is(err, oauth.ErrGrantRevoked) {
				t.Errorf("the refresh token afterwards: got %v", err)
			}
		})
	}
}

// TestCodeTogether: one of many redemptions at once wins, and what it got is ended.
func TestCodeTogether(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	code := r.code()
	var all sync.WaitGroup
	var mu sync.Mutex
	var won []oauth.TokenResponse
	for range 64 {
		all.Go(func() {
			tokens, err := r.redeem(code)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won = append(won, tokens)
			} else if !errors.Is(err, oauth.ErrCodeUsed) && !errors.Is(err, oauth.ErrCodeUnknown) {
				t.Errorf("one of many: got %v", err)
			}
		})
	}
	all.Wait()
	if len(won) != 1 {
		t.Fatalf("%d of 64 won, want 1", len(won))
	}
	if _, err := r.AccessToken(t.Context(), won[0].AccessToken); !errors.Is(err, oauth.ErrAccessTokenInvalid) {
		t.Errorf("the winner's access token: got %v", err)
	}
}

// TestCodeRefusals: what is refused changes nothing: the right request still succeeds.
func TestCodeRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		with []string
		want error
	}{
		"no code":                {[]string{"code", ""}, oauth.ErrCodeMalformed},
		"garbage":                {[]string{"code", "cfc_AAAA"}, oauth.ErrCodeMalformed},
		"another client":         {[]string{"client_id", "shop"}, oauth.ErrCodeOfAnotherClient},
		"another redirect URI":   {[]string{"redirect_uri", webURI + "/"}, oauth.ErrRedirectURIDiffers},
		"no verifier":            {[]string{"code_verifier", ""}, oauth.ErrVerifierMissing},
		"a short verifier":       {[]string{"code_verifier", "short"}, oauth.ErrVerifierMalformed},
		"another verifier":       {[]string{"code_verifier", verifier + "x"}, oauth.ErrVerifierWrong},
		"the challenge":          {[]string{"code_verifier", s256(verifier)}, oauth.ErrVerifierWrong},
		"a long verifier":        {[]string{"code_verifier", strings.Repeat("x", 129)}, oauth.ErrVerifierMalformed},
		"a verifier with spaces": {[]string{"code_verifier", strings.Repeat("x", 42) + " "}, oauth.ErrVerifierMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			code := r.code()
			if _, err := r.redeem(code, c.with...); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if _, err := r.redeem(code); err != nil {
				t.Errorf("the right request afterwards: %v", err)
			}
		})
	}
	t.Run("a refresh token", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		if _, err := r.redeem(string(r.login().RefreshToken)); !errors.Is(err, oauth.ErrCodeIsRefreshToken) {
			t.Errorf("got %v, want %v", err, oauth.ErrCodeIsRefreshToken)
		}
	})
	t.Run("a code as refresh token", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		if _, err := r.refresh(oauth.Secret(r.code())); !errors.Is(err, oauth.ErrRefreshTokenMalformed) {
			t.Errorf("got %v, want %v", err, oauth.ErrRefreshTokenMalformed)
		}
	})
	t.Run("too late", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		code := r.code()
		r.clock.add(time.Minute)
		if _, err := r.redeem(code); !errors.Is(err, oauth.ErrCodeExpired) {
			t.Errorf("got %v, want %v", err, oauth.ErrCodeExpired)
		}
	})
	t.Run("no redirect URI", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		code := r.code()
		_, err := r.ask(oauth.Standard, home, "grant_type", "authorization_code", "client_id", "web", "code", code, "code_verifier", verifier)
		if !errors.Is(err, oauth.ErrRedirectURIMissing) {
			t.Errorf("got %v, want %v", err, oauth.ErrRedirectURIMissing)
		}
	})
}

// TestCodeAfterChange: what happens to user, client or grant between the code and its
// redemption counts.
func TestCodeAfterChange(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*rig) error
		want   error
	}{
		"disabled": {func(r *rig) error {
			return r.memory.SetUserState(r.t.Context(), "id-of-user", new(false), "", oauth.Event{})
		}, oauth.ErrSubjectDisabled},
		"locked": {func(r *rig) error {
			return r.memory.SetUserState(r.t.Context(), "id-of-user", nil, oauth.SubjectLocked, oauth.Event{})
		}, oauth.ErrSubjectLocked},
		"new password": {func(r *rig) error {
			return r.memory.SetPassword(r.t.Context(), "id-of-user", "", true, oauth.Event{})
		}, oauth.ErrCodeUnknown},
		"deleted": {func(r *rig) error { return r.memory.DeleteUser(r.t.Context(), "id-of-user", oauth.Event{}) }, oauth.ErrCodeUnknown},
		"signed out everywhere": {func(r *rig) error {
			return r.memory.SignOut(r.t.Context(), "id-of-user", oauth.Event{})
		}, oauth.ErrCodeUnknown},
		"client inactive": {func(r *rig) error {
			client, err := r.memory.Client(r.t.Context(), "web")
			client.Active = false
			return errors.Join(err, r.memory.UpdateClient(r.t.Context(), client, oauth.Event{}))
		}, oauth.ErrClientUnauthenticated},
		"client renamed": {func(r *rig) error {
			client, err := r.memory.Client(r.t.Context(), "web")
			client.Name = "renamed"
			return errors.Join(err, r.memory.UpdateClient(r.t.Context(), client, oauth.Event{}))
		}, nil},
	} {
		for _, when := range []string{"before", "between look and write"} {
			t.Run(name+" "+when, func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				code := r.code()
				if when == "before" {
					if err := c.change(r); err != nil {
						t.Fatal(err)
					}
				} else {
					r.faulty.beforeStep(3, func() { // after the client and the grant were read
						if err := c.change(r); err != nil {
							t.Error(err)
						}
					})
				}
				_, err := r.redeem(code)
				if !errors.Is(err, c.want) {
					t.Errorf("got %v, want %v", err, c.want)
				}
			})
		}
	}
}

// TestCodeOutcomeUnknown: a redemption whose write has an unknown outcome is looked at
// again, and never taken for the use of somebody else.
func TestCodeOutcomeUnknown(t *testing.T) {
	t.Parallel()
	for _, happened := range []bool{false, true} {
		t.Run(fmt.Sprint(happened), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			code := r.code()
			r.faulty.failNext(3, happened, oauth.ErrOutcomeUnknown)
			tokens, err := r.redeem(code)
			if err != nil {
				t.Fatalf("got %v, want tokens", err)
			}
			if _, err := r.AccessToken(t.Context(), tokens.AccessToken); err != nil {
				t.Errorf("the access token: %v", err)
			}
			_, err = r.ask(oauth.Standard, home, "grant_type", "refresh_token", "client_id", "web", "refresh_token", string(tokens.RefreshToken))
			if err != nil {
				t.Errorf("the refresh token: %v", err)
			}
		})
	}
}

// TestAuthorizationRefusals: what is wrong with a request to the authorization endpoint,
// and whether the client is told (RFC 6749 section 4.1.2.1).
func TestAuthorizationRefusals(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	type refusal struct {
		with []string
		want error
		told bool
	}
	for name, c := range map[string]refusal{
		"nothing wrong":                           {nil, nil, true},
		"no client":                               {[]string{"client_id", ""}, oauth.ErrClientUnknown, false},
		"an unknown client":                       {[]string{"client_id", "nobody"}, oauth.ErrClientUnknown, false},
		"an unregistered address":                 {[]string{"redirect_uri", "https://evil.example/cb"}, oauth.ErrRedirectURIUnknown, false},
		"an address in another case":              {[]string{"redirect_uri", "https://APP.example.com/cb"}, oauth.ErrRedirectURIUnknown, false},
		"an address below":                        {[]string{"redirect_uri", webURI + "/x"}, oauth.ErrRedirectURIUnknown, false},
		"an address with a query":                 {[]string{"redirect_uri", webURI + "?x"}, oauth.ErrRedirectURIUnknown, false},
		"another response type":                   {[]string{"response_type", "token"}, oauth.ErrResponseTypeUnsupported, true},
		"a scope outside the list":                {[]string{"scope", "read everything"}, oauth.ErrScopeInvalid, true},
		"no challenge":                            {[]string{"code_challenge", ""}, oauth.ErrChallengeMissing, true},
		"a confidential client without challenge": {[]string{"client_id", "site", "scope", "", "code_challenge", ""}, oauth.ErrChallengeMissing, true},
		"plain":                        {[]string{"code_challenge_method", "plain"}, oauth.ErrChallengeMethod, true},
		"another method":               {[]string{"code_challenge_method", "S512"}, oauth.ErrChallengeMethod, true},
		"a malformed challenge":        {[]string{"code_challenge", "short"}, oauth.ErrChallengeMalformed, true},
		"a client of other grants":     {[]string{"client_id", "public", "redirect_uri", ""}, oauth.ErrRedirectURIUnknown, false},
		"several addresses, none said": {[]string{"client_id", "site", "redirect_uri", ""}, oauth.ErrRedirectURIUnknown, false},
	} {
		a, err := r.authorize(oauth.Standard, ofWeb(c.with...)...)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		if told := a.RedirectURI != ""; told != c.told {
			t.Errorf("%s: the client is told: %t, want %t", name, told, c.told)
		}
	}
	a, err := r.authorize(oauth.Standard, "client_id", "web", "state", "é&=", "redirect_uri", webURI)
	var refused *oauth.Refusal
	if !errors.As(err, &refused) {
		t.Fatalf("no response type: got %v", err)
	}
	const want = webURI + "?error=invalid_request&error_description=The+request+is+missing+a+required+parameter+or+includes+an+invalid+parameter+value.&state=%C3%A9%26%3D&iss=https%3A%2F%2Fissuer.example.com"
	if got := a.Refuse(r.Settings.Issuer, refused); got != want {
		t.Errorf("the client is told\n%s\nwant\n%s", got, want)
	}
}

// TestAnswerToAddressWithQuery: the query of a registered address stays.
func TestAnswerToAddressWithQuery(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	answer := r.approve(oauth.OroCommerce, "response_type", "code", "client_id", "site", "redirect_uri", webURI+"?a=b")
	if answer.Get("a") != "b" || answer.Get("code") == "" || answer.Has("state") || answer.Has("iss") {
		t.Errorf("the answer is %v", answer)
	}
	a, err := r.authorize(oauth.OroCommerce, "response_type", "code", "client_id", "site", "redirect_uri", webURI, "state", "s t")
	if err != nil {
		t.Fatal(err)
	}
	const want = webURI + "?state=s+t&error=access_denied&error_description=The+resource+owner+or+authorization+server+denied+the+request.&hint=The+user+denied+the+request&message=The+resource+owner+or+authorization+server+denied+the+request."
	if got := r.Deny(&a); got != want {
		t.Errorf("denied:\n%s\nwant\n%s", got, want)
	}
}

// TestPKCEDowngrade: a code that was made without challenge at OroCommerce's endpoint
// is worth nothing at the standard one (RFC 9700 section 2.1.1).
func TestPKCEDowngrade(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	code := r.approve(oauth.OroCommerce, "response_type", "code", "client_id", "site", "redirect_uri", webURI).Get("code")
	redeem := func(p oauth.Profile) error {
		_, err := r.ask(p, home, "grant_type", "authorization_code", "client_id", "site", "client_secret", string(r.secret), "code", code, "redirect_uri", webURI)
		return err
	}
	if err := redeem(oauth.Standard); !errors.Is(err, oauth.ErrVerifierUnexpected) {
		t.Errorf("at the standard endpoint: got %v", err)
	}
	if err := redeem(oauth.OroCommerce); err != nil {
		t.Errorf("at OroCommerce's endpoint: %v", err)
	}
}

// TestPlainChallenge: plain is what OroCommerce takes where nothing is said, and only of
// clients that may.
func TestPlainChallenge(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	request := []string{"response_type", "code", "client_id", "web", "redirect_uri", webURI, "code_challenge", verifier}
	if _, err := r.authorize(oauth.OroCommerce, request...); !errors.Is(err, oauth.ErrChallengePlain) {
		t.Errorf("a client that may not: got %v", err)
	}
	client, err := r.memory.Client(t.Context(), "web")
	if err != nil {
		t.Fatal(err)
	}
	client.PlainPKCE = true
	if err := r.memory.UpdateClient(t.Context(), client, oauth.Event{}); err != nil {
		t.Fatal(err)
	}
	code := r.approve(oauth.OroCommerce, request...).Get("code")
	redeem := func(profile oauth.Profile, verifier string) error {
		_, err := r.ask(profile, home, "grant_type", "authorization_code", "client_id", "web", "code", code, "redirect_uri", webURI, "code_verifier", verifier)
		return err
	}
	if err := redeem(oauth.OroCommerce, verifier+"x"); !errors.Is(err, oauth.ErrVerifierWrong) {
		t.Errorf("another verifier: got %v", err)
	}
	if err := redeem(oauth.Standard, verifier); !errors.Is(err, oauth.ErrVerifierUnexpected) {
		t.Errorf("redeemed at the standard endpoint: got %v", err)
	}
	if err := redeem(oauth.OroCommerce, verifier); err != nil {
		t.Errorf("the right verifier: %v", err)
	}
	if _, err := r.authorize(oauth.Standard, request...); !errors.Is(err, oauth.ErrChallengeMethod) {
		t.Errorf("at the standard endpoint: got %v", err)
	}
}

// TestClientCredentials: RFC 6749 section 4.4, and how long its tokens live.
func TestClientCredentials(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ask := func(p oauth.Profile) (oauth.TokenResponse, error) {
		return r.ask(p, home, "grant_type", "client_credentials", "client_id", "machine", "client_secret", string(r.secret))
	}
	for profile, sub := range map[oauth.Profile]string{oauth.Standard: "machine", oauth.OroCommerce: ""} {
		tokens, err := ask(profile)
		if err != nil {
			t.Fatal(err)
		}
		_, claims := claimsOf(t, tokens.AccessToken)
		if claims["sub"] != sub || claims["grant_id"] != nil || tokens.RefreshToken != "" {
			t.Errorf("claims %v, refresh token %q; want the sub %q, no grant and no refresh token", claims, string(tokens.RefreshToken), sub)
		}
		info, err := r.AccessToken(t.Context(), tokens.AccessToken)
		if err != nil || info.Subject != sub || info.ClientID != "machine" {
			t.Errorf("%+v, %v", info, err)
		}
	}
	for _, client := range []string{"public", "confidential"} {
		if _, err := r.ask(oauth.Standard, home, "grant_type", "client_credentials", "client_id", client, "client_secret", string(r.secret)); err == nil {
			t.Errorf("the client %s got a token", client)
		}
	}
	for _, profile := range []oauth.Profile{oauth.Standard, oauth.OroCommerce} { // a public client that may use every grant type
		if _, err := r.ask(profile, home, "grant_type", "client_credentials", "client_id", "shop"); !errors.Is(err, oauth.ErrClientUnauthenticated) {
			t.Errorf("a public client: got %v", err)
		}
	}
	token, err := ask(oauth.Standard)
	if err != nil {
		t.Fatal(err)
	}
	r.clock.add(time.Microsecond)
	client, err := r.memory.Client(t.Context(), "machine")
	if err != nil {
		t.Fatal(err)
	}
	change := func(active bool) error {
		client.Active = active
		err := r.memory.UpdateClient(t.Context(), client, oauth.Event{})
		client.Version++
		return err
	}
	for _, c := range []struct {
		what string
		do   func() error
	}{
		{"deactivated", func() error { return change(false) }},
		{"activated again", func() error { return change(true) }},
		{"its grants revoked", func() error {
			_, err := r.memory.RevokeGrants(t.Context(), admin.GrantFilter{ClientID: "machine"}, "test", oauth.Event{})
			return err
		}},
		{"deleted, and made again", func() error {
			r.clock.add(time.Microsecond)
			return errors.Join(r.memory.DeleteClient(t.Context(), "machine", oauth.Event{}), r.memory.CreateClient(t.Context(), client, oauth.Event{}))
		}},
	} {
		if err := c.do(); err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		if _, alive := r.AccessToken(t.Context(), token.AccessToken); !errors.Is(alive, oauth.ErrAccessTokenInvalid) {
			t.Errorf("a token from before, the client %s: got %v", c.what, alive)
		}
		if c.what == "deactivated" {
			continue
		}
		if token, err = ask(oauth.Standard); err != nil { // in the same second
			t.Fatal(err)
		}
		if _, err := r.AccessToken(t.Context(), token.AccessToken); err != nil {
			t.Errorf("a token from after, the client %s: %v", c.what, err)
		}
	}
}

// TestAPIs: what a client is limited to is in every access token, and nothing else is,
// whatever is asked for.
func TestAPIs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	login := []string{"grant_type", "password", "client_id", "limited", "username", "user", "password", "right horse"}
	for scope, want := range map[string]string{"": "[rest_json_api rest_plain]", "a rest_plain frontend_rest_json_api": "[rest_json_api rest_plain]"} {
		tokens, err := r.ask(oauth.OroCommerce, home, append(login, "scope", scope)...)
		if err != nil {
			t.Fatal(err)
		}
		next, err := r.ask(oauth.OroCommerce, home, "grant_type", "refresh_token", "client_id", "limited", "refresh_token", string(tokens.RefreshToken), "scope", scope)
		if err != nil {
			t.Fatal(err)
		}
		for _, token := range []oauth.Secret{tokens.AccessToken, next.AccessToken} {
			if _, claims := claimsOf(t, token); fmt.Sprint(claims["scopes"]) != want {
				t.Errorf("asked for %q: scopes %v, want %s", scope, claims["scopes"], want)
			}
		}
	}
}

// TestVisitors: who visits a storefront and has no account.
func TestVisitors(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	visit := func(client string) (oauth.TokenResponse, error) {
		return r.ask(oauth.OroCommerce, home, "grant_type", "password", "client_id", client, "username", "guest", "password", "guest")
	}
	if _, err := visit("shop"); !errors.Is(err, oauth.ErrPasswordIncorrect) {
		t.Errorf("visitors are off: got %v", err)
	}
	r.Settings.Visitors = true
	if _, err := visit("public"); !errors.Is(err, oauth.ErrPasswordIncorrect) {
		t.Errorf("a client of the back office: got %v", err)
	}
	tokens, err := visit("shop")
	if err != nil {
		t.Fatal(err)
	}
	_, claims := claimsOf(t, tokens.AccessToken)
	visitor := fmt.Sprint("visitor:", claims["grant_id"])
	if claims["sub"] != visitor || len(visitor) != len("visitor:")+20 {
		t.Errorf("sub is %v, want visitor: and 20 digits", claims["sub"])
	}
	next, err := r.ask(oauth.OroCommerce, home, "grant_type", "refresh_token", "client_id", "shop", "refresh_token", string(tokens.RefreshToken))
	if err != nil {
		t.Fatal(err)
	}
	if _, claims := claimsOf(t, next.AccessToken); claims["sub"] != visitor {
		t.Errorf("sub after a refresh is %v, want %s", claims["sub"], visitor)
	}
	other, err := visit("shop")
	if err != nil {
		t.Fatal(err)
	}
	if _, claims := claimsOf(t, other.AccessToken); claims["sub"] == visitor {
		t.Error("two visitors are one")
	}
	request := oauth.AuthorizationRequest{Profile: oauth.OroCommerce, Visitor: true, Parameters: parameters(
		"response_type", "code", "client_id", "shop", "code_challenge", s256(verifier), "code_challenge_method", "S256",
	)}
	a, err := r.CheckAuthorization(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	to, err := r.Approve(t.Context(), &a, oauth.Subject{}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	byCode, err := r.ask(oauth.OroCommerce, home, "grant_type", "authorization_code", "client_id", "shop", "code", u.Query().Get("code"), "code_verifier", verifier)
	if err != nil {
		t.Fatal(err)
	}
	if _, claims := claimsOf(t, byCode.AccessToken); !strings.HasPrefix(fmt.Sprint(claims["sub"]), "visitor:") {
		t.Errorf("sub of a visitor by code is %v", claims["sub"])
	}
	request.Parameters["client_id"] = oauth.Parameter{Value: "web"}
	if _, err := r.CheckAuthorization(t.Context(), request); !errors.Is(err, oauth.ErrPathUnknown) {
		t.Errorf("a visitor of a client of the back office: got %v", err)
	}
}

// TestSessions: a browser's session, from the password to the end.
func TestSessions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	signIn := func(password oauth.Secret) (oauth.Secret, error) {
		return r.SignIn(t.Context(), oauth.SignIn{Username: "user@example.com", Password: password, Source: home})
	}
	token, err := signIn("right horse")
	if err != nil {
		t.Fatal(err)
	}
	v, err := r.Session(t.Context(), token)
	if err != nil || v.Subject.Username != "user" {
		t.Fatalf("%+v, %v", v, err)
	}
	for _, wrong := range []oauth.Secret{"", "x", token + "A", token[:42]} {
		if _, err := r.Session(t.Context(), wrong); !errors.Is(err, oauth.ErrSessionMissing) {
			t.Errorf("the session of %d characters: got %v", len(wrong), err)
		}
	}
	form := r.FormToken(v.Session.Key, "a")
	if err := r.CheckFormToken(form, v.Session.Key, "a"); err != nil {
		t.Errorf("a form's token: %v", err)
	}
	for _, wrong := range []string{"", form + "A", r.FormToken(v.Session.Key, "b"), r.FormToken(oauth.SessionKey{}, "a")} {
		if err := r.CheckFormToken(wrong, v.Session.Key, "a"); !errors.Is(err, oauth.ErrFormForged) {
			t.Errorf("another form's token: got %v", err)
		}
	}
	r.clock.add(12 * time.Hour)
	if _, err := r.Session(t.Context(), token); !errors.Is(err, oauth.ErrSessionMissing) {
		t.Errorf("after its lifetime: got %v", err)
	}
	for range 5 {
		_, _ = signIn("wrong")
	}
	if _, err := signIn("right horse"); !errors.Is(err, oauth.ErrThrottled) {
		t.Errorf("after five wrong passwords: got %v", err)
	}
	_, err = r.ask(oauth.OroCommerce, home, "grant_type", "password", "client_id", "public", "username", "user", "password", "right horse")
	if !errors.Is(err, oauth.ErrThrottled) {
		t.Errorf("at the token endpoint, after five wrong passwords at the page: got %v", err)
	}
}

// TestChangePassword: a user's new password ends sessions and grants, but for the
// browser it was typed into.
func TestChangePassword(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	signIn := func(password oauth.Secret) oauth.SessionView {
		t.Helper()
		token, err := r.SignIn(t.Context(), oauth.SignIn{Username: "user", Password: password, Source: home})
		if err != nil {
			t.Fatal(err)
		}
		v, err := r.Session(t.Context(), token)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	v, other := signIn("right horse"), signIn("right horse")
	tokens := r.login()
	change := func(current, chosen oauth.Secret) (oauth.Secret, error) {
		return r.ChangePassword(t.Context(), &v, oauth.PasswordChange{Current: current, New: chosen, Source: home})
	}
	if _, err := change("wrong", "a new and long password"); !errors.Is(err, oauth.ErrPasswordIncorrect) {
		t.Errorf("a wrong current password: got %v", err)
	}
	for _, weak := range []oauth.Secret{"", "short", "password1", "user@example.com", oauth.Secret(strings.Repeat("xyz ", 1100))} {
		if _, err := change("right horse", weak); !errors.Is(err, oauth.ErrPasswordWeak) {
			t.Errorf("a weak password of %d characters: got %v", len(weak), err)
		}
	}
	r.mustRefresh(tokens.RefreshToken)
	token, err := change("right horse", "a new and long password")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Session(t.Context(), token); err != nil {
		t.Errorf("the new session: %v", err)
	}
	if _, err := r.memory.Session(t.Context(), other.Session.Key); !errors.Is(err, oauth.ErrNotFound) {
		t.Errorf("another browser's session: got %v", err)
	}
	if _, err := r.refresh(tokens.RefreshToken); !errors.Is(err, oauth.ErrGrantRevoked) {
		t.Errorf("a grant from before: got %v", err)
	}
	signIn("a new and long password")
}

// TestPasswordRaces: what an administrator does while a user's new password is hashed
// stays, and the user's password and session come to nothing (rule 8).
func TestPasswordRaces(t *testing.T) {
	t.Parallel()
	for name, act := range map[string]func(*rig) error{
		"another password": func(r *rig) error { return r.memory.SetPassword(r.t.Context(), "id-of-user", "", true, oauth.Event{}) },
		"another password that keeps the grants": func(r *rig) error {
			return r.memory.SetPassword(r.t.Context(), "id-of-user", "", false, oauth.Event{})
		},
		"disabled": func(r *rig) error {
			return r.memory.SetUserState(r.t.Context(), "id-of-user", new(false), "", oauth.Event{})
		},
		"signed out": func(r *rig) error { return r.memory.SignOut(r.t.Context(), "id-of-user", oauth.Event{}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.clock.add(time.Second)
			token, err := r.SignIn(t.Context(), oauth.SignIn{Username: "user", Password: "right horse", Source: home})
			if err != nil {
				t.Fatal(err)
			}
			v, err := r.Session(t.Context(), token)
			if err != nil {
				t.Fatal(err)
			}
			r.Passwords = meanwhile{r.Passwords, func() { err = act(r) }}
			_, refused := r.ChangePassword(t.Context(), &v, oauth.PasswordChange{Current: "right horse", New: "a new and long password", Source: home})
			if err != nil || !errors.Is(refused, oauth.ErrPasswordIncorrect) {
				t.Errorf("got %v (%v), want a refusal", refused, err)
			}
			if _, err := r.SignIn(t.Context(), oauth.SignIn{Username: "user", Password: "a new and long password", Source: home}); err == nil {
				t.Error("the user's password won")
			}
		})
	}
}

// meanwhile lets something happen while a password is hashed.
type meanwhile struct {
	oauth.PasswordSetter
	act func()
}

func (m meanwhile) ChoosePassword(ctx context.Context, a oauth.Account, password oauth.Secret, endGrants bool, e oauth.Event) error {
	m.act()
	return m.PasswordSetter.ChoosePassword(ctx, a, password, endGrants, e)
}

// TestNameInAnotherCase: a name that nobody has is throttled as the account it would be,
// so that throttling does not tell who exists (security T4).
func TestNameInAnotherCase(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"user@example.com", "nobody@example.com"} {
		r := newRig(t)
		r.Directory.(*password.Directory).FoldEmail = true
		for range 5 {
			_, _ = r.SignIn(t.Context(), oauth.SignIn{Username: name, Password: "wrong", Source: home})
		}
		_, err := r.SignIn(t.Context(), oauth.SignIn{Username: strings.ToUpper(name), Password: "wrong", Source: home})
		if !errors.Is(err, oauth.ErrThrottled) {
			t.Errorf("%s in another case: got %v", name, err)
		}
	}
}

// TestPendingGrantsAreFew: a user cannot fill the store with codes.
func TestPendingGrantsAreFew(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := r.code()
	for range 100 {
		r.clock.add(time.Millisecond)
		r.code()
	}
	views, err := r.memory.Grants(t.Context(), admin.GrantFilter{})
	if err != nil || len(views) != 100 {
		t.Errorf("%d grants, %v; want 100", len(views), err)
	}
	if _, err := r.redeem(first); !errors.Is(err, oauth.ErrCodeUnknown) {
		t.Errorf("the oldest code: got %v", err)
	}
}

// TestDevices: a user sees and ends what is his, and nothing else.
func TestDevices(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token, err := r.SignIn(t.Context(), oauth.SignIn{Username: "user", Password: "right horse", Source: home, Browser: "Firefox"})
	if err != nil {
		t.Fatal(err)
	}
	v, err := r.Session(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	tokens := r.login()
	others, err := r.ask(oauth.OroCommerce, home, "grant_type", "password", "client_id", "public", "username", "other", "password", "right horse")
	if err != nil {
		t.Fatal(err)
	}
	r.code() // pending: nobody is signed in by it yet
	d, err := r.Devices(t.Context(), &v)
	if err != nil || len(d.Grants) != 1 || d.Grants[0].Grant.PublicID != tokens.GrantID || len(d.Sessions) != 1 {
		t.Fatalf("%+v, %v; want one grant and one session", d, err)
	}
	if err := r.EndGrant(t.Context(), &v, others.GrantID, oauth.Event{}); err != nil {
		t.Fatal(err)
	}
	r.mustRefresh(others.RefreshToken)
	if err := r.EndGrant(t.Context(), &v, tokens.GrantID, oauth.Event{}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.refresh(tokens.RefreshToken); !errors.Is(err, oauth.ErrGrantRevoked) {
		t.Errorf("a grant that was ended: got %v", err)
	}
	if err := r.EndSession(t.Context(), &v, v.Session.Key.ID(), oauth.Event{}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Session(t.Context(), token); !errors.Is(err, oauth.ErrSessionMissing) {
		t.Errorf("a session that was ended: got %v", err)
	}
}

// TestCodeNthStepFails lets the n-th step of the store fail: the answer is tokens or a
// fault, never a refusal; and after a fault the same request gets tokens, or the code
// is used and what it had produced is ended.
func TestCodeNthStepFails(t *testing.T) {
	t.Parallel()
	for n := 1; ; n++ {
		steps := 0
		for _, how := range []struct {
			after bool
			with  error
		}{{false, errDisk}, {true, errDisk}, {false, oauth.ErrOutcomeUnknown}, {true, oauth.ErrOutcomeUnknown}, {false, oauth.ErrConflict}} {
			r := newRig(t)
			code := r.code()
			r.faulty.failNext(n, how.after, how.with)
			tokens, err := r.redeem(code)
			steps = max(steps, r.faulty.steps)
			r.faulty.failNext(0, false, nil)
			what := fmt.Sprintf("step %d fails with %v, after it was done: %t", n, how.with, how.after)
			switch {
			case err == nil:
				if _, err := r.AccessToken(t.Context(), tokens.AccessToken); err != nil {
					t.Errorf("%s: the access token: %v", what, err)
				}
			case !isFault(err):
				t.Errorf("%s: got %v, want tokens or a fault", what, err)
			default:
				if _, err := r.redeem(code); err != nil && !errors.Is(err, oauth.ErrCodeUsed) {
					t.Errorf("%s: the same again: %v", what, err)
				}
			}
		}
		if steps < n {
			if n < 4 {
				t.Errorf("a redemption has %d steps, want at least 3", n-1)
			}
			return
		}
	}
}
