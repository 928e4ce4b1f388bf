package accesstoken_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/accesstoken"
)

// A missing or doubtful setting is an error, never a lenient default.
func TestNewVerifierRefuses(t *testing.T) {
	t.Parallel()
	good := func() accesstoken.Config {
		return accesstoken.Config{Issuer: "https://as.example", Audience: []string{audience}}
	}
	if _, err := accesstoken.NewVerifier(good()); err != nil {
		t.Fatalf("a good configuration: %v", err)
	}
	tests := []struct {
		name   string
		change func(*accesstoken.Config)
		want   string // in the error
	}{
		{"no issuer", func(c *accesstoken.Config) { c.Issuer = "" }, "Issuer"},
		{"issuer http", func(c *accesstoken.Config) { c.Issuer = "http://as.example" }, "Issuer"},
		{"issuer http at what begins like loopback", func(c *accesstoken.Config) { c.Issuer = "http://localhost.example" }, "Issuer"},
		{"issuer without a scheme", func(c *accesstoken.Config) { c.Issuer = "as.example" }, "Issuer"},
		{"issuer with a user", func(c *accesstoken.Config) { c.Issuer = "https://u:p@as.example" }, "Issuer"},
		{"set by http", func(c *accesstoken.Config) { c.JWKSURL = "http://as.example/oauth2/jwks" }, "JWKSURL"},
		{"set in a file", func(c *accesstoken.Config) { c.JWKSURL = "file:///etc/jwks.json" }, "JWKSURL"},
		{"no audience", func(c *accesstoken.Config) { c.Audience = nil }, "audience"},
		{"empty audience", func(c *accesstoken.Config) { c.Audience = []string{audience, ""} }, "audience"},
		{"any client, Standard", func(c *accesstoken.Config) { c.Audience = []string{accesstoken.AnyClient} }, "AnyClient"},
		{"any client and one", func(c *accesstoken.Config) {
			c.Profile, c.Audience = accesstoken.OroCommerce, []string{"storefront", accesstoken.AnyClient}
		}, "AnyClient"},
		{"no such profile", func(c *accesstoken.Config) { c.Profile = 2 }, "profile"},
		{"no algorithm", func(c *accesstoken.Config) { c.Algorithms = []string{} }, "no algorithm"},
		{"HS256", func(c *accesstoken.Config) { c.Algorithms = []string{accesstoken.RS256, "HS256"} }, "HS256"},
		{"none", func(c *accesstoken.Config) { c.Algorithms = []string{"none"} }, "none"},
		{"negative leeway", func(c *accesstoken.Config) { c.Leeway = -1 }, "leeway"},
		{"long leeway", func(c *accesstoken.Config) { c.Leeway = time.Minute + 1 }, "leeway"},
		{"negative MaxStale", func(c *accesstoken.Config) { c.MaxStale = -1 }, "MaxStale"},
		{"no such style", func(c *accesstoken.Config) { c.HTTP.Style = 2 }, "Style"},
		{"realm with a quotation mark", func(c *accesstoken.Config) { c.HTTP.Realm = `a"b` }, "Realm"},
		{"realm with a line break", func(c *accesstoken.Config) { c.HTTP.Realm = "a\nb" }, "Realm"},
		{"metadata without a host", func(c *accesstoken.Config) { c.HTTP.ResourceMetadata = "/.well-known/oauth-protected-resource" }, "ResourceMetadata"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := good()
			tt.change(&c)
			if v, err := accesstoken.NewVerifier(c); err == nil || v != nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("NewVerifier: %v, want an error about %s", err, tt.want)
			}
		})
	}
}

func TestVerifyStandard(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, allKeys()...)
	v := newVerifier(t, i.config())
	for _, key := range allKeys() {
		raw := key.token(i.claims().with("nbf", json.RawMessage("1700000000.25")).with("email", "a@example.org"))
		for range 2 { // the second time the header is known
			got, err := v.Verify(t.Context(), raw)
			if err != nil {
				t.Fatalf("%s: %v", key.alg, err)
			}
			want := &accesstoken.Token{
				Profile: accesstoken.Standard, Issuer: i.URL, Subject: "0199a5c4", ClientID: "storefront", ID: "7d1f",
				Audience: []string{audience}, Scope: []string{"orders:read", "orders:write"},
				IssuedAt: time.Unix(1700000000, 0).UTC(), NotBefore: time.Unix(1700000000, 250_000_000).UTC(), ExpiresAt: time.Unix(1700003600, 0).UTC(),
				GrantID: "f00d", Generation: 3,
			}
			compareTokens(t, got, want)
			if got.Raw() != raw {
				t.Errorf("Raw() = %q, want %q", got.Raw(), raw)
			}
			var more struct {
				Email   string `json:"email"`
				Subject string `json:"SUB"`
			}
			if err := got.Claims(&more); err != nil || more.Email != "a@example.org" || more.Subject != "" {
				t.Errorf("Claims = %+v, %v", more, err)
			}
		}
	}
}

// compareTokens compares what is exported.
func compareTokens(t *testing.T, got, want *accesstoken.Token) {
	t.Helper()
	g, w := reflect.ValueOf(got).Elem(), reflect.ValueOf(want).Elem()
	for n := range g.NumField() {
		field := g.Type().Field(n)
		if field.IsExported() && !reflect.DeepEqual(g.Field(n).Interface(), w.Field(n).Interface()) {
			t.Errorf("%s is %v, want %v", field.Name, g.Field(n), w.Field(n))
		}
	}
}

// What a client got for itself has no grant, and in OroCommerce's profile no subject.
func TestVerifyOroCommerce(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, rs256())
	c := i.config()
	c.Profile, c.Audience = accesstoken.OroCommerce, []string{"backoffice", "storefront"}
	v := newVerifier(t, c)
	token := func(c claims) string { return rs256().forge(accesstoken.RS256, rs256().headerOf("JWT"), c.json()) }
	got, err := v.Verify(t.Context(), token(i.oroClaims()))
	if err != nil {
		t.Fatal(err)
	}
	issued := time.Unix(1700000000, 123456000).UTC()
	compareTokens(t, got, &accesstoken.Token{
		Profile: accesstoken.OroCommerce, Issuer: i.URL, Subject: "alice", ClientID: "storefront", ID: "7d1f", Audience: []string{"storefront"},
		Scope: []string{"orders:read", "7"}, IssuedAt: issued, NotBefore: issued, ExpiresAt: issued.Add(time.Hour), GrantID: "f00d", Generation: 3,
	})
	own := i.oroClaims().with("sub", "").with("scopes", []string{}).with("grant_id", nil).with("gen", nil).with("client_not_before", 1600000000123456)
	got, err = v.Verify(t.Context(), token(own))
	if err != nil {
		t.Fatal(err)
	}
	if got.Subject != "" || got.Scope != nil || got.GrantID != "" || got.Generation != 0 || got.ClientNotBefore != 1600000000123456 {
		t.Errorf("a client's own token: %+v", *got)
	}
	if _, err := v.Verify(t.Context(), token(i.oroClaims().with("aud", "other").with("client_id", "other"))); !errors.Is(err, accesstoken.ErrAudience) {
		t.Errorf("of a client that may not come: %v", err)
	}
	c.Audience = []string{accesstoken.AnyClient}
	if _, err := newVerifier(t, c).Verify(t.Context(), token(i.oroClaims().with("aud", "other"))); err != nil {
		t.Errorf("of any client: %v", err)
	}
}

func TestScopes(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, edDSA())
	c := i.config()
	c.Scopes = []string{"orders:read", "orders:write"}
	v := newVerifier(t, c)
	tests := []struct {
		scope any
		want  error
	}{
		{"orders:write x  orders:read", nil},
		{"orders:read", accesstoken.ErrScope},
		{"orders:read ORDERS:WRITE", accesstoken.ErrScope},
		{"orders:read\torders:write", accesstoken.ErrScope},
		{"", accesstoken.ErrScope},
		{nil, accesstoken.ErrScope},
	}
	for _, tt := range tests {
		_, err := v.Verify(t.Context(), edDSA().token(i.claims().with("scope", tt.scope)))
		if !errors.Is(err, tt.want) || errors.Is(err, accesstoken.ErrInvalid) {
			t.Errorf("scope %q: %v, want %v", tt.scope, err, tt.want)
		}
	}
}

// RFC 9449 section 7.1, RFC 8705 section 3: without a proof, a bound token is worth
// nothing, whatever it is bound by.
func TestSenderConstrained(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, edDSA())
	v := newVerifier(t, i.config())
	for _, cnf := range []map[string]any{
		{"jkt": "thumbprint"}, {"x5t#S256": "thumbprint"}, {"jwk": map[string]string{"kty": "OKP"}}, {},
	} {
		if _, err := v.Verify(t.Context(), edDSA().token(i.claims().with("cnf", cnf))); !errors.Is(err, accesstoken.ErrSenderConstrained) {
			t.Errorf("cnf %v: %v", cnf, err)
		}
	}
}

// livenessFunc is a way of telling.
type livenessFunc func(context.Context, *accesstoken.Token) error

func (f livenessFunc) Alive(ctx context.Context, t *accesstoken.Token) error { return f(ctx, t) }

func TestLiveness(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, edDSA())
	broken := errors.New("broken")
	tests := []struct {
		name         string
		answer, want error
		kinds        []error
	}{
		{"alive", nil, nil, nil},
		{"revoked", accesstoken.ErrRevoked, accesstoken.ErrRevoked, []error{accesstoken.ErrInvalid}},
		{"revoked, and why", fmt.Errorf("%w: refreshed", accesstoken.ErrRevoked), accesstoken.ErrRevoked, []error{accesstoken.ErrInvalid}},
		{"unavailable", accesstoken.ErrUnavailable, accesstoken.ErrUnavailable, nil},
		{"any other error", broken, accesstoken.ErrUnavailable, []error{broken}},
		{"an error that calls the token invalid", accesstoken.ErrExpired, accesstoken.ErrUnavailable, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := i.config()
			raw := edDSA().token(i.claims())
			c.Liveness = livenessFunc(func(_ context.Context, asked *accesstoken.Token) error {
				if asked.Raw() != raw || asked.GrantID != "f00d" {
					t.Errorf("asked about %v", asked)
				}
				return tt.answer
			})
			got, err := newVerifier(t, c).Verify(t.Context(), raw)
			if !errors.Is(err, tt.want) || (got == nil) != (tt.want != nil) {
				t.Errorf("Verify = %v, %v; want %v", got, err, tt.want)
			}
			for _, kind := range tt.kinds {
				if !errors.Is(err, kind) {
					t.Errorf("%v is not %v", err, kind)
				}
			}
		})
	}
}

// Nobody is asked about a token that is no good anyway.
func TestLivenessIsAskedLast(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, edDSA())
	c := i.config()
	c.Liveness = livenessFunc(func(context.Context, *accesstoken.Token) error {
		t.Error("liveness was asked")
		return nil
	})
	v := newVerifier(t, c)
	good := edDSA().token(i.claims())
	for _, token := range []string{
		good[:len(good)-8] + "AAAAAAAA", edDSA().token(i.claims().with("exp", 1)), edDSA().token(i.claims().with("aud", "x")),
		edDSA().token(i.claims().with("cnf", claims{"jkt": "x"})),
	} {
		if _, err := v.Verify(t.Context(), token); !errors.Is(err, accesstoken.ErrInvalid) {
			t.Errorf("Verify: %v", err)
		}
	}
}

// A token is not printed, by whatever means, and no error has any of it.
func TestTokenDoesNotPrint(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, edDSA())
	v := newVerifier(t, i.config())
	raw := edDSA().token(i.claims())
	token, err := v.Verify(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	var printed bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&printed, verb+" "+verb+" "+verb+"\n", token, *token, struct{ T *accesstoken.Token }{token})
	}
	logger := slog.New(slog.NewJSONHandler(&printed, nil))
	logger.Info("text", "token", token, "value", *token)
	slog.New(slog.NewTextHandler(&printed, nil)).Info("text", "token", token)
	printed.Write(must(json.Marshal(token)))
	for _, part := range strings.Split(raw, ".") {
		if strings.Contains(printed.String(), part) {
			t.Errorf("%s is in %s", part, printed.String())
		}
	}
	for _, want := range []string{`access token "7d1f" of client "storefront"`, `"token":{"jti":"7d1f","client_id":"storefront","grant_id":"f00d","gen":3}`} {
		if !strings.Contains(printed.String(), want) {
			t.Errorf("%s is not in %s", want, printed.String())
		}
	}
}

func TestErrorsSayNothingOfTheToken(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, edDSA())
	v := newVerifier(t, i.config())
	const secret = "5ecre7"
	for _, token := range []string{
		secret, secret + "." + secret + "." + secret, b64(secret) + ".e30.", edDSA().forge(accesstoken.EdDSA, edDSA().header(), secret),
		edDSA().forge(accesstoken.EdDSA, edDSA().headerOf(secret), "{}"), edDSA().token(i.claims().with("aud", secret)),
		edDSA().token(i.claims().with(secret, secret).with("exp", secret)), edDSA().token(i.claims().with("scope", secret).with("iss", secret)),
		edDSA().forge(accesstoken.EdDSA, `{"typ":"at+jwt","alg":"EdDSA","kid":"`+secret+`"}`, "{}"),
	} {
		if _, err := v.Verify(t.Context(), token); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("Verify: %v", err)
		}
	}
}

// The settings are the caller's again when NewVerifier has returned.
func TestNewVerifierCopies(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, edDSA())
	c := i.config()
	c.Audience, c.Scopes = slices.Clone(c.Audience), []string{"orders:read"}
	v := newVerifier(t, c)
	c.Audience[0], c.Scopes[0] = "other", "other"
	if _, err := v.Verify(t.Context(), edDSA().token(i.claims())); err != nil {
		t.Errorf("Verify: %v", err)
	}
}
