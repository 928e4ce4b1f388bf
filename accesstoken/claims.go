package accesstoken

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// parseToken reads the claims of an access token whose signature is good.
func parseToken(profile Profile, raw, payload string) (*Token, error) {
	if !utf8.ValidString(payload) {
		return nil, ErrMalformed
	}
	t := &Token{Profile: profile, raw: raw, payload: payload}
	c := claims{scanner: scanner{text: payload}, token: t}
	if !c.document(c.member) {
		return nil, c.malformed()
	}
	if missing := c.missing(); missing != "" {
		return nil, fmt.Errorf("%w: no claim %s", ErrMalformed, missing)
	}
	return t, nil
}

// claims reads the claims of a token from its payload.
type claims struct {
	scanner
	token *Token
	last  string // the claim that is being read, if it is one of those below

	hasSubject, hasScope, hasGeneration bool
}

// member reads one claim. Those that are not ours are skipped, but must be JSON.
func (c *claims) member(name string) bool {
	t := c.token
	c.last = name
	switch name {
	case "iss":
		return c.textOf(&t.Issuer)
	case "sub":
		c.hasSubject = true
		return c.textOf(&t.Subject)
	case "aud":
		return c.audience()
	case "client_id":
		return c.textOf(&t.ClientID)
	case "jti":
		return c.textOf(&t.ID)
	case "iat":
		return c.time(&t.IssuedAt)
	case "nbf":
		return c.time(&t.NotBefore)
	case "exp":
		return c.time(&t.ExpiresAt)
	case "grant_id":
		return c.textOf(&t.GrantID)
	case "gen":
		c.hasGeneration = true
		return c.integer(&t.Generation) && t.Generation >= 0
	case "client_not_before":
		return c.integer(&t.ClientNotBefore)
	case "cnf":
		t.constrained = true
		return c.object(c.confirmation)
	case "scope", "scopes":
		return c.scope(name)
	}
	c.last = ""
	return c.skip()
}

func (c *claims) textOf(into *string) bool {
	text, ok := c.string()
	*into = text
	return ok
}

// audience reads a text, or a list of texts (RFC 7519 section 4.1.3).
func (c *claims) audience() bool {
	t := c.token
	if c.peek() == '"' {
		t.Audience = make([]string, 1)
		return c.textOf(&t.Audience[0])
	}
	return c.array(func() bool {
		name, ok := c.string()
		t.Audience = append(t.Audience, name)
		return ok
	})
}

// scope reads the claim that has the scope in the token's profile; the other profile's
// means nothing here.
func (c *claims) scope(name string) bool {
	if (name == "scopes") != (c.token.Profile == OroCommerce) {
		return c.skip()
	}
	c.hasScope = true
	if name == "scopes" {
		return c.array(c.scopeToken)
	}
	text, ok := c.string()
	c.token.Scope = splitScope(text)
	return ok
}

// scopeToken reads an element of `scopes`. OroCommerce gives numbers back as it got
// them; they are scope tokens as they are written.
func (c *claims) scopeToken() bool {
	read := c.string
	if c.peek() != '"' {
		read = c.number
	}
	text, ok := read()
	c.token.Scope = append(c.token.Scope, text)
	return ok
}

// splitScope takes a scope apart (RFC 6749 section 3.3).
func splitScope(scope string) []string {
	if scope == "" {
		return nil
	}
	list := make([]string, 0, strings.Count(scope, " ")+1)
	for token := range strings.SplitSeq(scope, " ") {
		if token != "" {
			list = append(list, token)
		}
	}
	return list
}

// confirmation reads a member of `cnf` (RFC 7800 section 3.1).
func (c *claims) confirmation(name string) bool {
	switch name {
	case "jkt":
		return c.textOf(&c.token.Confirmation.JWKThumbprint)
	case "x5t#S256":
		return c.textOf(&c.token.Confirmation.CertificateThumbprint)
	}
	return c.skip()
}

func (c *claims) malformed() error {
	if c.last == "" {
		return ErrMalformed
	}
	return fmt.Errorf("%w: at claim %s", ErrMalformed, c.last)
}

// missing names a claim that every token of the profile has, and this one has not. By
// `client_id` and the scope an OroCommerce token differs from an ID token, which has the
// same `typ` (RFC 8725 section 3.12).
func (c *claims) missing() string {
	t := c.token
	switch {
	case t.Issuer == "":
		return "iss"
	case !c.hasSubject || t.Subject == "" && t.Profile == Standard:
		return "sub"
	case len(t.Audience) == 0:
		return "aud"
	case t.ClientID == "":
		return "client_id"
	case t.ID == "":
		return "jti"
	case t.IssuedAt.IsZero():
		return "iat"
	case t.ExpiresAt.IsZero():
		return "exp"
	case t.Profile == OroCommerce && !c.hasScope:
		return "scopes"
	case t.GrantID == "" && c.hasGeneration:
		return "grant_id"
	case t.GrantID != "" && !c.hasGeneration:
		return "gen"
	}
	return ""
}

// checkTimes refuses a token that has expired or does not live yet. There is no leeway
// for the end: that a token was revoked is forgotten when it has expired, everywhere, so
// nothing could tell a dead one in the time that a leeway adds.
func (t *Token) checkTimes(now time.Time, leeway time.Duration) error {
	latest := now.Add(leeway)
	switch {
	case !now.Before(t.ExpiresAt):
		return ErrExpired
	case t.NotBefore.After(latest) || t.IssuedAt.After(latest):
		return ErrNotYetValid
	}
	return nil
}
