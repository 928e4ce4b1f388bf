package admin

import (
	"context"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// maxNameLength is the longest identifier or username in bytes, and the longest name
// of a client or an organization in characters.
const maxNameLength = 255

// grantTypes are what a client may be registered for. A refresh token follows from
// the password or the authorization_code grant, so refresh_token adds nothing.
var grantTypes = []string{
	oauth.GrantTypePassword, oauth.GrantTypeAuthorizationCode, oauth.GrantTypeClientCredentials, oauth.GrantTypeRefreshToken,
}

// signingAlgs are the JWS algorithms of access tokens (RFC 7518 section 3.1, RFC 8037).
var signingAlgs = []string{"RS256", "ES256", "EdDSA", "PS256"}

// checkClient checks what an operator may set of a client.
func checkClient(c *oauth.Client) error {
	for _, check := range []func(*oauth.Client) error{
		checkClientID, checkClientName, checkOrganization, checkGrantTypes, checkRedirectURIs, checkScope, checkAPIs,
		checkLifetimes, checkSigningAlg, checkPublic,
	} {
		if err := check(c); err != nil {
			return err
		}
	}
	return nil
}

// checkClientID allows the characters of RFC 6749 appendix A.1 but the space.
func checkClientID(c *oauth.Client) error {
	invisible := strings.ContainsFunc(c.ID, func(r rune) bool { return r < 0x21 || r > 0x7E })
	if c.ID == "" || len(c.ID) > maxNameLength || invisible {
		return usage("a client id has 1 to %d visible ASCII characters and no space", maxNameLength)
	}
	return nil
}

func checkClientName(c *oauth.Client) error {
	if c.Name == "" || !isLabel(c.Name) {
		return usage("a client's name has 1 to %d characters of UTF-8 and no control characters", maxNameLength)
	}
	return nil
}

func checkOrganization(c *oauth.Client) error {
	if !isLabel(c.Organization) {
		return usage("the name of an organization has at most %d characters of UTF-8 and no control characters", maxNameLength)
	}
	return nil
}

// isName reports whether a name that people log in with can be kept and shown.
func isName(s string) bool { return s != "" && len(s) <= maxNameLength && isLabel(s) }

// isLabel reports whether a text for people can be shown in a line.
func isLabel(s string) bool {
	return utf8.ValidString(s) && utf8.RuneCountInString(s) <= maxNameLength && !strings.ContainsFunc(s, unicode.IsControl)
}

func checkGrantTypes(c *oauth.Client) error {
	for _, t := range c.GrantTypes {
		if !slices.Contains(grantTypes, t) {
			return usage("there is no grant type %q; there are %s", t, strings.Join(grantTypes, ", "))
		}
	}
	if slices.Equal(c.GrantTypes, []string{oauth.GrantTypeRefreshToken}) {
		return usage("a refresh token comes from the password or the authorization_code grant: name one of them")
	}
	return nil
}

// checkRedirectURIs asks for absolute URIs without fragment (RFC 6749 section
// 3.1.2) that no browser takes for a script, and for one where codes are sent.
func checkRedirectURIs(c *oauth.Client) error {
	if len(c.RedirectURIs) == 0 && slices.Contains(c.GrantTypes, oauth.GrantTypeAuthorizationCode) {
		return usage("At least one redirect URL should be specified.") // OroCommerce's words
	}
	for _, text := range c.RedirectURIs {
		u, err := url.Parse(text)
		switch {
		case err != nil || !u.IsAbs() || u.Host == "" && u.Opaque == "" && u.Path == "" || !isPlainText(text):
			return usage("the redirect URI %q is not an absolute URI", text)
		case strings.Contains(text, "#"):
			return usage("the redirect URI %q has a fragment", text)
		case slices.Contains([]string{"javascript", "data", "vbscript"}, u.Scheme):
			return usage("the redirect URI %q is a script", text)
		case (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() == "":
			return usage("the redirect URI %q has no host", text)
		}
	}
	return nil
}

// isPlainText reports whether a URI has only characters that URIs have (RFC 3986).
func isPlainText(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 0x21 || r > 0x7E })
}

func checkScope(c *oauth.Client) error {
	if !c.Scope.Valid() {
		return usage("the scope %q has characters that a scope cannot have (RFC 6749 section 3.3)", c.Scope.String())
	}
	return nil
}

// checkAPIs: the names of APIs become scope tokens.
func checkAPIs(c *oauth.Client) error {
	if !oauth.Scope(c.APIs).Valid() {
		return usage("the name of an API has visible ASCII characters, and no space, double quote or backslash")
	}
	return nil
}

func checkLifetimes(c *oauth.Client) error {
	for _, d := range []time.Duration{c.AccessTokenLifetime, c.RefreshTokenLifetime} {
		if d < 0 || d%time.Second != 0 {
			return usage("a lifetime is a positive number of whole seconds, and 0 the server's")
		}
	}
	if c.RetryWindow != nil && *c.RetryWindow < 0 {
		return usage("the retry window must not be negative")
	}
	return nil
}

func checkSigningAlg(c *oauth.Client) error {
	if c.SigningAlg != "" && !slices.Contains(signingAlgs, c.SigningAlg) {
		return usage("there is no signing algorithm %q; there are %s", c.SigningAlg, strings.Join(signingAlgs, ", "))
	}
	return nil
}

// errPublicSecret: a client that cannot keep a secret was given one.
var errPublicSecret = usage("a public client has no secret")

// checkPublic forbids a client without secret what only a secret makes safe.
func checkPublic(c *oauth.Client) error {
	switch {
	case !c.Public:
		return nil
	case len(c.Secrets) > 0:
		return errPublicSecret
	case c.ReusableRefreshTokens:
		return usage("the refresh tokens of a public client must rotate (RFC 9700 section 2.2.2)")
	case slices.Contains(c.GrantTypes, oauth.GrantTypeClientCredentials):
		return usage("a public client cannot use client_credentials (RFC 6749 section 4.4)")
	}
	return nil
}

// ownerID returns the Subject.ID of a client's owner, given as username.
func (o *Operator) ownerID(ctx context.Context, username string) (string, error) {
	if username == "" {
		return "", nil
	}
	u, err := o.User(ctx, username)
	return u.ID, err
}

// difference names what an update changed, for the audit.
func difference(before, after *oauth.Client) string {
	var changed []string
	for _, f := range []struct {
		name string
		of   func(*oauth.Client) any
	}{
		{"name", func(c *oauth.Client) any { return c.Name }},
		{"grant_types", func(c *oauth.Client) any { return strings.Join(c.GrantTypes, " ") }},
		{"redirect_uris", func(c *oauth.Client) any { return strings.Join(c.RedirectURIs, " ") }},
		{"scope", func(c *oauth.Client) any { return c.Scope }},
		{"owner", func(c *oauth.Client) any { return c.Owner }},
		{"storefront", func(c *oauth.Client) any { return c.Storefront }},
		{"organization", func(c *oauth.Client) any { return c.Organization }},
		{"apis", func(c *oauth.Client) any { return strings.Join(c.APIs, " ") }},
		{"plain_pkce_allowed", func(c *oauth.Client) any { return c.PlainPKCE }},
		{"skip_consent", func(c *oauth.Client) any { return c.SkipConsent }},
		{"access_token_lifetime", func(c *oauth.Client) any { return c.AccessTokenLifetime }},
		{"refresh_token_lifetime", func(c *oauth.Client) any { return c.RefreshTokenLifetime }},
		{"retry_window", func(c *oauth.Client) any { return c.RetryWindow }},
		{"active", func(c *oauth.Client) any { return c.Active }},
		{"secrets", func(c *oauth.Client) any { return c.Secrets }},
		{"signing_alg", func(c *oauth.Client) any { return c.SigningAlg }},
		{"reusable_refresh_tokens", func(c *oauth.Client) any { return c.ReusableRefreshTokens }},
	} {
		if !reflect.DeepEqual(f.of(before), f.of(after)) {
			changed = append(changed, f.name)
		}
	}
	return strings.Join(changed, ", ")
}

// distinct drops repetitions; the order stays.
func distinct(list []string) []string {
	var kept []string
	for _, t := range list {
		if !slices.Contains(kept, t) {
			kept = append(kept, t)
		}
	}
	return kept
}
