package oauth_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/memory"
	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/password"
	"github.com/counterfoil/counterfoil/internal/signing"
)

const (
	home      = "192.0.2.0/24"
	webURI    = "https://app.example.com/cb"
	elsewhere = "198.51.100.0/24"
)

// clock is a clock that stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// rig is a server on the memory store, with real passwords and real signatures.
type rig struct {
	*oauth.Server
	t      *testing.T
	clock  *clock
	memory *memory.Store
	faulty *faultyStore
	keys   *oauth.Keys
	secret oauth.Secret // of the client "confidential"
}

// cheapHasher makes real hashes, as cheap as they may be.
func cheapHasher() (*password.Hasher, error) {
	return password.NewHasher(password.Params{MemoryKiB: 7 << 10, Time: 1, Threads: 1}, 2, 1000, rand.Reader)
}

// rightHorse is the hash of everybody's password.
var rightHorse = sync.OnceValues(func() (string, error) {
	hasher, err := cheapHasher()
	if err != nil {
		return "", err
	}
	return hasher.Hash(context.Background(), "right horse")
})

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, clock: &clock{now: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)}}
	var err error
	if r.keys, err = oauth.ParseKeys("1 " + strings.Repeat("A", 43)); err != nil {
		t.Fatal(err)
	}
	r.memory = memory.New(r.clock.Now)
	r.faulty = &faultyStore{Store: r.memory}
	keys := func() *oauth.Keys { return r.keys }
	hasher, err := cheapHasher()
	if err != nil {
		t.Fatal(err)
	}
	directory, err := password.NewDirectory(r.memory, hasher)
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := password.NewClientSecrets(hasher, r.clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := signing.Open(t.Context(), signing.Options{Store: r.memory, Keys: keys, Now: r.clock.Now, Rand: rand.Reader, Alg: signing.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	r.Server = &oauth.Server{
		Store: r.faulty, Directory: directory, Passwords: directory, Signer: ring, Secrets: secrets, Keys: keys, Now: r.clock.Now, Rand: rand.Reader,
		Settings: oauth.Settings{
			Issuer: "https://issuer.example.com", AccessTokenLifetime: time.Hour, RefreshTokenLifetime: 30 * 24 * time.Hour,
			AbsoluteLifetime: 365 * 24 * time.Hour, LateWindow: 10 * time.Second, RetryBudget: 100, SigningAlg: signing.EdDSA, MaxGrants: 1000, SessionLifetime: 12 * time.Hour,
		},
	}
	r.secret, err = oauth.GenerateClientSecret(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	hash, err := rightHorse()
	if err != nil {
		t.Fatal(err)
	}
	passwordOnly := []string{oauth.GrantTypePassword}
	generated := []oauth.ClientSecret{{Hash: r.keys.HashClientSecret(r.secret)}}
	for _, c := range []oauth.Client{
		{ID: "public", Public: true, Active: true, GrantTypes: passwordOnly},
		{ID: "confidential", Active: true, GrantTypes: passwordOnly, Secrets: generated, Scope: oauth.Scope{"read", "write"}},
		{ID: "reusable", Active: true, GrantTypes: passwordOnly, Secrets: generated, ReusableRefreshTokens: true},
		{ID: "code", Active: true, GrantTypes: []string{oauth.GrantTypeAuthorizationCode}, Secrets: generated},
		{ID: "web", Public: true, Active: true, GrantTypes: []string{oauth.GrantTypeAuthorizationCode}, Scope: oauth.Scope{"read", "write"}, RedirectURIs: []string{webURI}},
		{ID: "site", Active: true, GrantTypes: []string{oauth.GrantTypeAuthorizationCode}, Secrets: generated, RedirectURIs: []string{webURI, webURI + "?a=b"}},
		{ID: "shop", Public: true, Active: true, Storefront: true, RedirectURIs: []string{webURI}},
		{ID: "limited", Public: true, Active: true, GrantTypes: passwordOnly, APIs: []string{"rest_json_api", "rest_plain"}},
		{ID: "machine", Active: true, GrantTypes: []string{oauth.GrantTypeClientCredentials}, Secrets: generated},
		{ID: "chosen", Active: true, GrantTypes: passwordOnly, Secrets: []oauth.ClientSecret{{Hash: hash}}},
	} {
		if err := r.memory.CreateClient(t.Context(), c, oauth.Event{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"user", "other"} {
		u := oauth.User{PasswordHash: hash, Email: name + "@example.com"}
		u.Subject = oauth.Subject{ID: "id-of-" + name, Username: name, Enabled: true, State: oauth.SubjectActive}
		if err := r.memory.CreateUser(t.Context(), u, oauth.Event{}); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// parameters makes parameters of NAME, VALUE pairs.
func parameters(pairs ...string) oauth.Parameters {
	p := oauth.Parameters{}
	for i := 0; i < len(pairs); i += 2 {
		p[pairs[i]] = oauth.Parameter{Value: pairs[i+1]}
	}
	return p
}

func (r *rig) ask(profile oauth.Profile, source string, pairs ...string) (oauth.TokenResponse, error) {
	return r.Token(r.t.Context(), oauth.TokenRequest{Profile: profile, Parameters: parameters(pairs...), Source: source, RequestID: "request"})
}

// login logs the user in as the public client.
func (r *rig) login(more ...string) oauth.TokenResponse {
	r.t.Helper()
	response, err := r.ask(oauth.OroCommerce, home, append([]string{
		"grant_type", "password", "client_id", "public", "username", "user", "password", "right horse",
	}, more...)...)
	if err != nil {
		r.t.Fatalf("login: %v", err)
	}
	return response
}

func (r *rig) refresh(token oauth.Secret, more ...string) (oauth.TokenResponse, error) {
	return r.ask(oauth.OroCommerce, home, append([]string{
		"grant_type", "refresh_token", "client_id", "public", "refresh_token", string(token),
	}, more...)...)
}

func (r *rig) mustRefresh(token oauth.Secret) oauth.TokenResponse {
	r.t.Helper()
	response, err := r.refresh(token)
	if err != nil {
		r.t.Fatalf("refresh: %v", err)
	}
	return response
}

// claimsOf decodes header and claims of an access token.
func claimsOf(t *testing.T, token oauth.Secret) (header, claims map[string]any) {
	t.Helper()
	parts := strings.Split(string(token), ".")
	for i, into := range []*map[string]any{&header, &claims} {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, into); err != nil {
			t.Fatal(err)
		}
	}
	return header, claims
}

// faultyStore fails as it is told at its n-th step, or passes on.
type faultyStore struct {
	oauth.Store
	mu     sync.Mutex
	steps  int
	failAt int    // 0: never
	after  bool   // fail after the step was done
	with   error  // the error
	first  func() // what happens just before the step; nil: nothing
}

// step counts a step and reports whether, and when, it fails.
func (f *faultyStore) step() (before, after error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.steps++
	if f.steps != f.failAt {
		return nil, nil
	}
	if f.first != nil {
		f.first()
	}
	if f.after {
		return nil, f.with
	}
	return f.with, nil
}

func (f *faultyStore) failNext(n int, after bool, with error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.steps, f.failAt, f.after, f.with, f.first = 0, n, after, with, nil
}

// beforeStep lets something happen just before the n-th step.
func (f *faultyStore) beforeStep(n int, first func()) {
	f.failNext(n, false, nil)
	f.first = first
}

func run[T any](f *faultyStore, do func() (T, error)) (T, error) {
	var none T
	before, after := f.step()
	if before != nil {
		return none, before
	}
	v, err := do()
	if after != nil && err == nil {
		return none, after
	}
	return v, err
}

func (f *faultyStore) write(do func() error) error {
	_, err := run(f, func() (struct{}, error) { return struct{}{}, do() })
	return err
}

func (f *faultyStore) Client(ctx context.Context, id string) (oauth.Client, error) {
	return run(f, func() (oauth.Client, error) { return f.Store.Client(ctx, id) })
}

func (f *faultyStore) Grant(ctx context.Context, id oauth.GrantID) (oauth.GrantView, error) {
	return run(f, func() (oauth.GrantView, error) { return f.Store.Grant(ctx, id) })
}

func (f *faultyStore) RedeemGrant(ctx context.Context, n oauth.NewGrant, pendingHash [32]byte) error {
	return f.write(func() error { return f.Store.RedeemGrant(ctx, n, pendingHash) })
}

func (f *faultyStore) CreateGrant(ctx context.Context, n oauth.NewGrant) error {
	return f.write(func() error { return f.Store.CreateGrant(ctx, n) })
}

func (f *faultyStore) SwapGrant(ctx context.Context, old, next *oauth.Grant, version int64) error {
	return f.write(func() error { return f.Store.SwapGrant(ctx, old, next, version) })
}

func (f *faultyStore) RetryGrant(ctx context.Context, g *oauth.Grant, version int64, budget int) error {
	return f.write(func() error { return f.Store.RetryGrant(ctx, g, version, budget) })
}

func (f *faultyStore) RevokeGrant(ctx context.Context, id oauth.GrantID, reason string, e oauth.Event) error {
	return f.write(func() error { return f.Store.RevokeGrant(ctx, id, reason, e) })
}

func (f *faultyStore) RecordRefusal(ctx context.Context, e oauth.Event) error {
	return f.write(func() error { return f.Store.RecordRefusal(ctx, e) })
}

func (f *faultyStore) LoginFailures(ctx context.Context, k oauth.LoginKeys) (oauth.LoginFailures, error) {
	return run(f, func() (oauth.LoginFailures, error) { return f.Store.LoginFailures(ctx, k) })
}

func (f *faultyStore) RecordLoginFailure(ctx context.Context, k oauth.LoginKeys, id string, lockAfter int) error {
	return f.write(func() error { return f.Store.RecordLoginFailure(ctx, k, id, lockAfter) })
}

// isFault reports whether an error is neither nil nor a refusal.
func isFault(err error) bool {
	var refusal *oauth.Refusal
	return err != nil && !errors.As(err, &refusal)
}

// TestChain: a session over many refreshes, each with a retry; old tokens end it.
func TestChain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := r.login()
	token, seen := first.RefreshToken, []oauth.Secret{first.RefreshToken}
	for range 20 {
		next := r.mustRefresh(token)
		again := r.mustRefresh(token)
		if again.RefreshToken != next.RefreshToken || again.Outcome != "retried" || next.Outcome != "rotated" {
			t.Fatalf("a retry got another successor, or outcomes %s and %s", next.Outcome, again.Outcome)
		}
		if slices.Contains(seen, next.RefreshToken) {
			t.Fatal("a refresh token came twice")
		}
		if again.AccessToken == next.AccessToken {
			t.Error("a retry got the same access token")
		}
		seen, token = append(seen, next.RefreshToken), next.RefreshToken
		r.clock.add(time.Hour)
	}
	if _, err := r.refresh(seen[0]); !errors.Is(err, oauth.ErrReplay) {
		t.Errorf("reuse of the first of all: %v, want a replay", err)
	}
	if _, err := r.refresh(token); !errors.Is(err, oauth.ErrGrantRevoked) {
		t.Errorf("after reuse the newest: %v, want that it is revoked", err)
	}
}

// TestRetryAfterKeyChange: a retry gives the same string after a change of master
// keys, as long as the old one is there (I3).
func TestRetryAfterKeyChange(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := r.login()
	second := r.mustRefresh(first.RefreshToken)
	var err error
	if r.keys, err = oauth.ParseKeys("2 " + strings.Repeat("B", 42) + "A\n1 " + strings.Repeat("A", 43)); err != nil {
		t.Fatal(err)
	}
	if again := r.mustRefresh(first.RefreshToken); again.RefreshToken != second.RefreshToken {
		t.Error("the retry got another successor")
	}
	third := r.mustRefresh(second.RefreshToken)
	if r.keys, err = oauth.ParseKeys("2 " + strings.Repeat("B", 42) + "A"); err != nil {
		t.Fatal(err)
	}
	r.mustRefresh(third.RefreshToken)
}

// TestReusable: R3. The refresh token stays, the access token is new, and all of
// them live.
func TestReusable(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	as := []string{"client_id", "reusable", "client_secret", string(r.secret)}
	first, err := r.ask(oauth.Standard, home, append(as, "grant_type", "password", "username", "user", "password", "right horse")...)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		next, err := r.ask(oauth.Standard, home, append(as, "grant_type", "refresh_token", "refresh_token", string(first.RefreshToken))...)
		if err != nil || next.RefreshToken != first.RefreshToken || next.AccessToken == first.AccessToken {
			t.Fatalf("got another refresh token or the same access token, %v", err)
		}
		if _, err := r.AccessToken(t.Context(), next.AccessToken); err != nil {
			t.Errorf("the new access token: %v", err)
		}
		r.clock.add(20 * 24 * time.Hour) // the idle lifetime slides
	}
}

// TestClaims: the access tokens of both endpoints (RFC 9068 section 2.2, and
// OroCommerce's claims).
func TestClaims(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	header, claims := claimsOf(t, r.login("scope", "a b a").AccessToken)
	if header["typ"] != "JWT" || claims["sub"] != "user" || claims["aud"] != "public" || fmt.Sprint(claims["scopes"]) != "[a b]" ||
		claims["client_id"] != "public" || claims["gen"] != 0.0 || len(claims["jti"].(string)) != 80 || claims["exp"].(float64)-claims["iat"].(float64) != 3600 {
		t.Errorf("OroCommerce: header %v, claims %v", header, claims)
	}
	response, err := r.ask(oauth.Standard, home, "grant_type", "password", "client_id", "confidential", "client_secret", string(r.secret),
		"username", "user@example.com", "password", "right horse")
	if err != nil {
		t.Fatal(err)
	}
	header, claims = claimsOf(t, response.AccessToken)
	if header["typ"] != "at+jwt" || claims["sub"] != "id-of-user" || claims["aud"] != "https://issuer.example.com" || claims["scope"] != "read write" ||
		claims["iss"] != "https://issuer.example.com" || claims["client_id"] != "confidential" || claims["grant_id"] != response.GrantID {
		t.Errorf("standard: header %v, claims %v", header, claims)
	}
}

// TestEitherEndpoint: a refresh token works at either endpoint, within the client's
// scope list at the standard one.
func TestEitherEndpoint(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := r.login("scope", "anything")
	second, err := r.ask(oauth.Standard, home, "grant_type", "refresh_token", "client_id", "public", "refresh_token", string(first.RefreshToken))
	if err != nil || len(second.Scope) != 0 {
		t.Fatalf("got scope %q, %v; want none, for the client has no list", second.Scope, err)
	}
	if third := r.mustRefresh(second.RefreshToken); third.Scope.String() != "anything" {
		t.Errorf("back at OroCommerce's endpoint: scope %q, want that of the grant (I10)", third.Scope)
	}
}

// TestClientAuthentication: RFC 6749 section 2.3 and OroCommerce's reading of it.
func TestClientAuthentication(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	secret := string(r.secret)
	basic := func(id, secret string) []oauth.BasicCredentials {
		return []oauth.BasicCredentials{{ID: id, Secret: oauth.Secret(secret)}}
	}
	both := []oauth.Profile{oauth.Standard, oauth.OroCommerce}
	for _, c := range []struct {
		name     string
		profiles []oauth.Profile
		basic    []oauth.BasicCredentials
		pairs    []string
		want     error
	}{
		{"body", both, nil, []string{"client_id", "confidential", "client_secret", secret}, nil},
		{"basic", both, basic("confidential", secret), nil, nil},
		{"basic, second reading", both, append(basic("confidential", "no"), basic("confidential", secret)...), nil, nil},
		{"public", both, nil, []string{"client_id", "public"}, nil},
		{"chosen secret", both, nil, []string{"client_id", "chosen", "client_secret", "right horse"}, nil},
		{"wrong chosen secret", both, nil, []string{"client_id", "chosen", "client_secret", "wrong horse"}, oauth.ErrClientUnauthenticated},
		{"wrong secret", both, nil, []string{"client_id", "confidential", "client_secret", secret + "x"}, oauth.ErrClientUnauthenticated},
		{"no secret", both, nil, []string{"client_id", "confidential"}, oauth.ErrClientUnauthenticated},
		{"empty secret", both, nil, []string{"client_id", "confidential", "client_secret", ""}, oauth.ErrClientUnauthenticated},
		{"secret without end", both, nil, []string{"client_id", "chosen", "client_secret", strings.Repeat("x", 5000)}, oauth.ErrClientUnauthenticated},
		{"unknown client", both, nil, []string{"client_id", "nobody", "client_secret", secret}, oauth.ErrClientUnauthenticated},
		{"id in another case", both, nil, []string{"client_id", "Public"}, oauth.ErrClientUnauthenticated},
		{"nothing", both, nil, nil, oauth.ErrParameterInvalid},
		{"not for this grant type", both[:1], nil, []string{"client_id", "machine", "client_secret", secret}, oauth.ErrClientUnauthorized},
		{"not for this grant type, wrong secret", both[:1], nil, []string{"client_id", "machine", "client_secret", "no"}, oauth.ErrClientUnauthenticated},
		{"not for this grant type", both[1:], nil, []string{"client_id", "machine", "client_secret", secret}, oauth.ErrClientUnauthenticated},
		{"public with a secret", both[:1], nil, []string{"client_id", "public", "client_secret", "x"}, oauth.ErrClientUnauthenticated},
		{"public with a secret", both[1:], nil, []string{"client_id", "public", "client_secret", "x"}, nil},
		{"two methods", both[:1], basic("confidential", secret), []string{"client_id", "confidential", "client_secret", secret}, oauth.ErrClientMethodsMixed},
		{"two ids", both[:1], basic("confidential", secret), []string{"client_id", "public"}, oauth.ErrClientMethodsMixed},
		{"the same id twice", both[:1], basic("confidential", secret), []string{"client_id", "confidential"}, nil},
		{"half from the body, half from Basic", both[1:], basic("x", secret), []string{"client_id", "confidential"}, nil},
		{"the body wins", both[1:], basic("confidential", secret), []string{"client_secret", "no"}, oauth.ErrClientUnauthenticated},
		{"unregistered redirect_uri", both[1:], nil, []string{"client_id", "public", "redirect_uri", "https://evil.example"}, oauth.ErrRedirectURIUnknown},
		{"redirect_uri means nothing here", both[:1], nil, []string{"client_id", "public", "redirect_uri", "https://evil.example"}, nil},
	} {
		for _, profile := range c.profiles {
			t.Run(fmt.Sprintf("%s/%d", c.name, profile), func(t *testing.T) {
				t.Parallel()
				p := parameters(append([]string{"grant_type", "password", "username", "user", "password", "right horse"}, c.pairs...)...)
				_, err := r.Token(t.Context(), oauth.TokenRequest{Profile: profile, Parameters: p, Basic: c.basic, Source: home})
				if !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
					t.Errorf("got %v, want %v", err, c.want)
				}
			})
		}
	}
}

// TestRefreshNeedsGrantType: a refresh works only for clients that have the password
// or the authorization_code grant type.
func TestRefreshNeedsGrantType(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := string(r.login().RefreshToken)
	for id, want := range map[string]error{"machine": oauth.ErrClientUnauthorized, "code": oauth.ErrGrantOfAnotherClient} {
		_, err := r.ask(oauth.Standard, home, "grant_type", "refresh_token", "client_id", id, "client_secret", string(r.secret), "refresh_token", token)
		if !errors.Is(err, want) {
			t.Errorf("client %s: got %v, want %v", id, err, want)
		}
	}
}

// TestScopeOfLogin: RFC 6749 section 3.3 at both endpoints.
func TestScopeOfLogin(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, c := range []struct {
		name    string
		profile oauth.Profile
		client  string
		scope   *string
		want    string
		refused error
	}{
		{"OroCommerce, nothing asked", oauth.OroCommerce, "confidential", nil, "", nil},
		{"OroCommerce, within the list", oauth.OroCommerce, "confidential", new("write"), "write", nil},
		{"OroCommerce, outside the list", oauth.OroCommerce, "confidential", new("write admin"), "", oauth.ErrScopeInvalid},
		{"OroCommerce, no list", oauth.OroCommerce, "public", new("any thing"), "any thing", nil},
		{"standard, nothing asked", oauth.Standard, "confidential", nil, "read write", nil},
		{"standard, empty", oauth.Standard, "confidential", new(""), "read write", nil},
		{"standard, outside the list", oauth.Standard, "confidential", new("admin"), "", oauth.ErrScopeInvalid},
		{"standard, no list", oauth.Standard, "public", new("read"), "", oauth.ErrScopeInvalid},
		{"standard, malformed", oauth.Standard, "confidential", new(`read "write`), "", oauth.ErrScopeInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			pairs := []string{"grant_type", "password", "username", "user", "password", "right horse", "client_id", c.client}
			if c.client == "confidential" {
				pairs = append(pairs, "client_secret", string(r.secret))
			}
			if c.scope != nil {
				pairs = append(pairs, "scope", *c.scope)
			}
			response, err := r.ask(c.profile, home, pairs...)
			if !errors.Is(err, c.refused) || (c.refused == nil) != (err == nil) || response.Scope.String() != c.want {
				t.Errorf("got %q, %v; want %q, %v", response.Scope, err, c.want, c.refused)
			}
		})
	}
}

// TestPreviousAccessToken: what a refresh does to the access token before it (I9).
func TestPreviousAccessToken(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		policy      oauth.PreviousAccessToken
		after       time.Duration
		alive, dead int // generations behind that live, and the first that does not
	}{
		{"revoke", oauth.PreviousAccessToken{}, 0, 0, 1},
		{"for a minute, at once", oauth.PreviousAccessToken{For: time.Minute}, 0, 1, 2},
		{"for a minute, almost over", oauth.PreviousAccessToken{For: time.Minute}, time.Minute - time.Microsecond, 1, 2},
		{"for a minute, over", oauth.PreviousAccessToken{For: time.Minute}, time.Minute, 0, 1},
		{"keep", oauth.PreviousAccessToken{Keep: true}, time.Minute, 3, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.Settings.PreviousAccessToken = c.policy
			response := r.login()
			access := []oauth.Secret{response.AccessToken}
			for range 3 {
				response = r.mustRefresh(response.RefreshToken)
				access = append([]oauth.Secret{response.AccessToken}, access...)
			}
			r.clock.add(c.after)
			for behind, token := range access {
				_, err := r.AccessToken(t.Context(), token)
				if alive := err == nil; alive != (behind <= c.alive) {
					t.Errorf("%d generations behind: %v", behind, err)
				}
			}
		})
	}
}

// TestAccessTokenLiveness: whatever ends a grant ends its access tokens.
func TestAccessTokenLiveness(t *testing.T) {
	t.Parallel()
	client := func(r *rig) oauth.Client {
		c, err := r.memory.Client(context.Background(), "public")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for name, end := range map[string]func(r *rig) error{
		"expired": func(r *rig) error { r.clock.add(time.Hour); return nil },
		"user disabled": func(r *rig) error {
			return r.memory.SetUserState(context.Background(), "id-of-user", new(false), oauth.SubjectActive, oauth.Event{})
		},
		"user deleted": func(r *rig) error { return r.memory.DeleteUser(context.Background(), "id-of-user", oauth.Event{}) },
		"new password": func(r *rig) error {
			return r.memory.SetPassword(context.Background(), "id-of-user", "x", true, oauth.Event{})
		},
		"client inactive": func(r *rig) error {
			c := client(r)
			c.Active = false
			return r.memory.UpdateClient(context.Background(), c, oauth.Event{})
		},
		"client deleted": func(r *rig) error { return r.memory.DeleteClient(context.Background(), "public", oauth.Event{}) },
		"another issuer": func(r *rig) error { r.Settings.Issuer = "https://other.example.com"; return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			token := r.login().AccessToken
			if info, err := r.AccessToken(t.Context(), token); err != nil || info.Subject != "user" || info.ClientID != "public" {
				t.Fatalf("before: %+v, %v", info, err)
			}
			if err := end(r); err != nil {
				t.Fatal(err)
			}
			if _, err := r.AccessToken(t.Context(), token); !errors.Is(err, oauth.ErrAccessTokenInvalid) {
				t.Errorf("after: %v, want that it is invalid", err)
			}
		})
	}
}
