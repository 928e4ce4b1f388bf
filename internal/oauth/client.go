package oauth

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The grant types (RFC 6749 section 4) that a client may be registered for.
const (
	GrantTypePassword          = "password"
	GrantTypeRefreshToken      = "refresh_token"
	GrantTypeAuthorizationCode = "authorization_code"
	GrantTypeClientCredentials = "client_credentials"
)

// Client is a registered client (RFC 6749 section 2).
type Client struct {
	ID           string   // client_id, compared byte for byte
	Name         string   // for people
	Version      int64    // raised by every change; never 0, never used again for the same ID
	Public       bool     // has no secret (RFC 6749 section 2.1)
	Active       bool     // an inactive client authenticates nobody
	GrantTypes   []string // empty: every grant type, as in OroCommerce
	RedirectURIs []string
	Scope        Scope  // what it may ask for; nil: no list (see Server)
	Owner        string // Subject.ID
	OwnerBlocked bool   // the owner is gone or may not log in; set by Store.Client
	Secrets      []ClientSecret
	SigningAlg   string // JWS algorithm of its access tokens; empty: the server's

	// Storefront tells the two kinds of OroCommerce's clients apart: those of its shop
	// and those of its back office. Only the former have visitors.
	Storefront   bool
	Organization string   // of OroCommerce; empty: none. Nothing depends on it
	APIs         []string // names of the APIs it is limited to, in every access token's scope; empty: all
	PlainPKCE    bool     // may use the code_challenge_method `plain`, at OroCommerce's endpoint
	SkipConsent  bool     // its users are not asked whether they agree

	AccessTokenLifetime  time.Duration  // 0: the server's
	RefreshTokenLifetime time.Duration  // 0: the server's
	RetryWindow          *time.Duration // nil: the server's
	// ReusableRefreshTokens turns rotation off (docs/rotation.md, R3): for confidential
	// clients only, whose refresh tokens are bound to their authentication.
	ReusableRefreshTokens bool

	// NotBefore ends the access tokens that were issued to the client itself before
	// (client_credentials), which remember it; the store sets it when the client is
	// deactivated or its grants are revoked, and when one of the same ID was deleted.
	// Zero: never.
	NotBefore  time.Time
	LastUsedAt time.Time // when it last got an access token, to the minute; zero: never
	CreatedAt  time.Time
	UpdatedAt  time.Time
}

// ClientSecret is one stored secret of a confidential client. Several are alive
// while a rotated one overlaps with its successor.
type ClientSecret struct {
	Hash      string    // of a generated secret: see Keys.HashClientSecret; else a password hash
	ExpiresAt time.Time // zero: never
}

// Alive reports whether the secret counts at a time.
func (s ClientSecret) Alive(at time.Time) bool { return s.ExpiresAt.IsZero() || at.Before(s.ExpiresAt) }

// outOfOrder says why the client may get and use no tokens at present, or returns nil.
func (c *Client) outOfOrder() error {
	switch {
	case !c.Active:
		return errors.New("the client is inactive")
	case c.Owner != "" && c.OwnerBlocked:
		return errors.New("the client's owner is blocked")
	}
	return nil
}

// MayUse reports whether the client is registered for the grant type. A refresh
// token can only come from the password or the authorization_code grant, so a
// client registered for one of them may refresh.
func (c *Client) MayUse(grantType string) bool {
	if len(c.GrantTypes) == 0 {
		return true
	}
	if grantType == GrantTypeRefreshToken {
		return slices.Contains(c.GrantTypes, GrantTypePassword) || slices.Contains(c.GrantTypes, GrantTypeAuthorizationCode)
	}
	return slices.Contains(c.GrantTypes, grantType)
}

// HasRedirectURI reports whether a redirection URI is registered: equal as text,
// but for the port of http://127.0.0.1 and http://[::1] (RFC 8252 section 7.3).
func (c *Client) HasRedirectURI(uri string) bool {
	return slices.ContainsFunc(c.RedirectURIs, func(registered string) bool {
		return uri == registered || isLoopback(registered) && withoutPort(uri) == withoutPort(registered)
	})
}

func isLoopback(uri string) bool {
	u, err := url.Parse(uri)
	return err == nil && u.Scheme == "http" && (u.Hostname() == "127.0.0.1" || u.Hostname() == "::1")
}

// withoutPort takes the port out of an absolute URI.
func withoutPort(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Port() == "" {
		return uri
	}
	return strings.Replace(uri, u.Host, strings.TrimSuffix(u.Host, ":"+u.Port()), 1)
}
