package accesstokentest

import (
	"encoding/json"
	"strings"
	"time"
)

// defaultClient is the client that tokens are made for.
const defaultClient = "shop"

// TokenOption is a property of an access token.
type TokenOption func(*token)

// token is what an access token will say.
type token struct {
	oroCommerce bool
	alg, typ    string
	subject     string // the user's stable id; empty: a client's own token
	username    string
	client      string
	audience    []string
	scope       []string
	grant       string
	generation  *int64
	id          string
	issued      time.Time
	notBefore   time.Time
	expires     time.Time
	changes     []change
}

// change sets a claim, or takes it away where value is nil.
type change struct {
	name  string
	value any
}

// OroCommerce makes a token as OroCommerce's token endpoint does: typ JWT, `aud` is the
// client, `sub` the username, `scopes` a list. Without it tokens follow RFC 9068.
func OroCommerce() TokenOption { return func(t *token) { t.oroCommerce = true } }

// Algorithm is the `alg` to sign with: RS256 (if it is not given), PS256, ES256 or EdDSA.
func Algorithm(alg string) TokenOption { return func(t *token) { t.alg = alg } }

// Type sets the header's `typ`, for a token that is not what it seems.
func Type(typ string) TokenOption { return func(t *token) { t.typ = typ } }

// Username is the name of the user; his subject, if it is not given.
func Username(name string) TokenOption { return func(t *token) { t.username = name } }

// ClientID is the client that the token was issued to; "shop", if it is not given.
func ClientID(id string) TokenOption { return func(t *token) { t.client = id } }

// Audience is `aud`: the Issuer's URL, if it is not given, and in OroCommerce's profile
// the client. A single one is written as a text, several as a list (RFC 7519 section 4.1.3).
// The Issuer tells an API nothing about a token, when it is asked for introspection, unless
// the API's ClientID is here, or is the client that the token was issued to.
func Audience(audience ...string) TokenOption { return func(t *token) { t.audience = audience } }

// Scope is what the token allows; nothing, if it is not given.
func Scope(scope ...string) TokenOption { return func(t *token) { t.scope = scope } }

// Grant is the grant that the token belongs to, by any name. The first token of a grant
// makes it; without this option each token has a grant of its own.
func Grant(id string) TokenOption { return func(t *token) { t.grant = id } }

// Generation is the token's `gen`. If it is not given it is the present one of the grant:
// 0, and one more after each Refresh.
func Generation(n int64) TokenOption { return func(t *token) { t.generation = &n } }

// IssuedAt is `iat`, in whole seconds; the Issuer's present time, if it is not given.
func IssuedAt(at time.Time) TokenOption { return func(t *token) { t.issued = at } }

// NotBefore is `nbf`, in whole seconds. If it is not given, a token of OroCommerce's
// profile has its `iat` there, and one of the standard profile has none.
func NotBefore(at time.Time) TokenOption { return func(t *token) { t.notBefore = at } }

// ExpiresAt is `exp`, in whole seconds; the Issuer's Lifetime after IssuedAt, if it is not
// given.
func ExpiresAt(at time.Time) TokenOption { return func(t *token) { t.expires = at } }

// TokenID is `jti`; random, if it is not given.
func TokenID(id string) TokenOption { return func(t *token) { t.id = id } }

// Claim sets a claim of any name to what encoding/json makes of value, in place of what
// the token would have said. A nil value takes the claim away.
func Claim(name string, value any) TokenOption {
	return func(t *token) { t.changes = append(t.changes, change{name, value}) }
}

// AccessToken makes an access token that a user granted to a client. The subject is the
// user's stable id, whatever the profile writes into `sub`.
func (i *Issuer) AccessToken(subject string, options ...TokenOption) string {
	i.t.Helper()
	t := i.newToken(options)
	t.subject = subject
	if t.username == "" {
		t.username = subject
	}
	if t.grant == "" {
		t.grant = randomHex()
	}
	generation := i.enterGrant(t)
	if t.generation == nil {
		t.generation = &generation
	}
	claims := t.claims(i.URL)
	claims["grant_id"], claims["gen"] = t.grant, *t.generation
	return i.issue(t, claims)
}

// ClientToken makes an access token that a client got for itself (RFC 6749 section 4.4).
// It has no user and no grant; `sub` is the client (RFC 9068 section 2.2), or empty in
// OroCommerce's profile.
func (i *Issuer) ClientToken(options ...TokenOption) string {
	i.t.Helper()
	t := i.newToken(options)
	claims := t.claims(i.URL)
	claims["sub"] = t.client
	if t.oroCommerce {
		claims["sub"] = ""
	}
	if since := i.enterClient(t); since != 0 {
		claims["client_not_before"] = since
	}
	return i.issue(t, claims)
}

func (i *Issuer) newToken(options []TokenOption) *token {
	t := &token{alg: "RS256", client: defaultClient, id: randomHex()}
	for _, option := range options {
		option(t)
	}
	if t.issued.IsZero() {
		t.issued = i.now()
	}
	if t.expires.IsZero() {
		t.expires = t.issued.Add(i.lifetime)
	}
	return t
}

// claims are those that users' and clients' tokens have in common.
func (t *token) claims(issuer string) map[string]any {
	c := map[string]any{"iss": issuer, "client_id": t.client, "jti": t.id, "iat": t.issued.Unix(), "exp": t.expires.Unix()}
	if !t.notBefore.IsZero() {
		c["nbf"] = t.notBefore.Unix()
	}
	if !t.oroCommerce {
		c["sub"], c["aud"], c["scope"] = t.subject, oneOrMany(t.audience, issuer), strings.Join(t.scope, " ")
		return c
	}
	c["sub"], c["aud"], c["scopes"] = t.username, oneOrMany(t.audience, t.client), append([]string{}, t.scope...)
	if t.notBefore.IsZero() {
		c["nbf"] = t.issued.Unix()
	}
	return c
}

// oneOrMany writes an audience.
func oneOrMany(audience []string, otherwise string) any {
	switch len(audience) {
	case 0:
		return otherwise
	case 1:
		return audience[0]
	}
	return audience
}

// issue signs.
func (i *Issuer) issue(t *token, claims map[string]any) string {
	i.t.Helper()
	for _, c := range t.changes {
		claims[c.name] = c.value
		if c.value == nil {
			delete(claims, c.name)
		}
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		i.t.Errorf("accesstokentest: a claim cannot be written as JSON: %v", err)
		return ""
	}
	k, known := i.signingKey(t.alg)
	if !known {
		i.t.Errorf("accesstokentest: there is no algorithm %q, only %s", t.alg, strings.Join(algorithms, ", "))
		return ""
	}
	return sign(k, t.mediaType(), payload)
}

// mediaType is the header's `typ`: it tells the profiles apart.
func (t *token) mediaType() string {
	switch {
	case t.typ != "":
		return t.typ
	case t.oroCommerce:
		return "JWT"
	}
	return "at+jwt" // RFC 9068 section 2.1
}
