package accesstoken

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/json" // takes member names exactly, and each once
)

// Profile is one of the two kinds of access tokens that Counterfoil issues. They mean
// different things by `sub` and `aud`, so a verifier takes one of them, never both.
type Profile uint8

// The profiles.
const (
	// Standard is RFC 9068, `typ` at+jwt, from /oauth2/token: `sub` is the stable user id (of
	// a client's own token the client id), `aud` the resource, or the issuer if none was
	// asked for.
	Standard Profile = iota
	// OroCommerce is what OroCommerce issues, `typ` JWT, from /oauth2-token: `sub` is the
	// username (of a client's own token empty), `aud` the id of the client.
	OroCommerce
)

// String returns the name of the profile.
func (p Profile) String() string {
	switch p {
	case Standard:
		return "Standard"
	case OroCommerce:
		return "OroCommerce"
	}
	return fmt.Sprintf("Profile(%d)", uint8(p))
}

// Token is an access token that was verified. It prints without what could be used in
// its place; Raw is the token itself.
type Token struct {
	Profile  Profile
	Issuer   string   // `iss`
	Subject  string   // `sub`; what it means depends on the profile
	ClientID string   // `client_id`
	ID       string   // `jti`
	Audience []string // `aud`, at least one
	Scope    []string // `scope`, or `scopes` in OroCommerce's profile

	IssuedAt  time.Time // `iat`
	NotBefore time.Time // `nbf`; zero if the token does not say
	ExpiresAt time.Time // `exp`

	// GrantID names the grant that the token came from (`grant_id`). A token that a client
	// got for itself (RFC 6749 section 4.4) has none.
	GrantID string
	// Generation counts the refreshes of the grant (`gen`), from 0. It is 0 and means
	// nothing where GrantID is empty.
	Generation int64
	// ClientNotBefore is what revokes a client's own tokens (`client_not_before`, microseconds
	// since 1970): one is dead when its client has another. 0 if the token does not say.
	ClientNotBefore int64

	// Confirmation says which key the token is bound to (`cnf`, RFC 7800).
	Confirmation Confirmation

	constrained bool   // there is a `cnf`, whatever it says
	raw         string // the token as it was presented
	payload     string // its claims, in JSON
}

// Confirmation is the key that the sender of a token must prove to have.
type Confirmation struct {
	JWKThumbprint         string // `jkt`, for DPoP (RFC 9449 section 6.1)
	CertificateThumbprint string // `x5t#S256`, for mutual TLS (RFC 8705 section 3.1)
}

// SenderConstrained says that the token is bound to a key, by a method that
// Confirmation knows or by another one: it is worth nothing without a proof.
func (t *Token) SenderConstrained() bool { return t.constrained || t.Confirmation != Confirmation{} }

// HasScope says whether the token's scope has the scope token s, byte for byte (RFC
// 6749 section 3.3).
func (t *Token) HasScope(s string) bool { return slices.Contains(t.Scope, s) }

// CheckScope returns nil if the token has every scope token that is named, and else an
// ErrScope from which Refuse tells the client what is needed.
func (t *Token) CheckScope(needed ...string) error {
	for _, s := range needed {
		if !t.HasScope(s) {
			return &scopeError{needed: needed}
		}
	}
	return nil
}

// scopeError is ErrScope, and knows what was needed.
type scopeError struct{ needed []string }

func (e *scopeError) Error() string { return ErrScope.Error() + ": " + strings.Join(e.needed, " ") }
func (e *scopeError) Unwrap() error { return ErrScope }

// Claims decodes the token's claims, as encoding/json decodes an object; but the names
// of members are compared exactly. It is for claims that Token has no field for.
func (t *Token) Claims(into any) error {
	if err := json.Unmarshal([]byte(t.payload), into); err != nil {
		return fmt.Errorf("decode claims: %w", err)
	}
	return nil
}

// Raw returns the token as it was presented. Whoever has it can use it: it belongs into
// a request for introspection, and into no log.
func (t *Token) Raw() string { return t.raw }

// Format implements fmt.Formatter for all verbs, since the token itself must not be
// printed.
func (t Token) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, fmt.Sprintf("access token %q of client %q, grant %q generation %d", t.ID, t.ClientID, t.GrantID, t.Generation))
}

// LogValue implements slog.LogValuer: what helps to find the token in the issuer's log.
func (t Token) LogValue() slog.Value {
	return slog.GroupValue(slog.String("jti", t.ID), slog.String("client_id", t.ClientID),
		slog.String("grant_id", t.GrantID), slog.Int64("gen", t.Generation))
}

// Liveness says whether a token whose signature and times are good still lives.
type Liveness interface {
	// Alive returns nil for a token that lives, and ErrRevoked, or what wraps it, for one
	// that is dead. Any other error means that this cannot be told now: Verify makes it an
	// ErrUnavailable. It must be safe for concurrent use, must not change the token, and
	// must put nothing of Raw into its errors.
	Alive(ctx context.Context, t *Token) error
}
