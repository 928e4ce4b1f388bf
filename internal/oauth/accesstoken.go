package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The media types in the header of access tokens: they tell the two profiles, and
// so the two meanings of `sub`, apart.
const (
	typeOroCommerce = "JWT"
	typeStandard    = "at+jwt" // RFC 9068 section 2.1
)

// accessToken makes the access token of a generation (RFC 9068, or OroCommerce's
// claims in OroCommerce's order and then ours).
func (s *Server) accessToken(r *request, g *Grant, subject *Subject, scope Scope, resource []string, generation uint32) (Secret, error) {
	name := g.subject()
	if r.Profile == OroCommerce {
		name = g.name(subject)
	}
	r.policy.AccessTokenLifetime = min(r.policy.AccessTokenLifetime, g.left(r.policy, r.now))
	numbers := r.Parameters["scope"].Numbers && generation == 0
	b, typ, err := s.claims(r, name, resource, scope, numbers)
	if err != nil {
		return "", err
	}
	b.text("grant_id", g.PublicID).number("gen", int64(generation))
	return s.sign(r, typ, b)
}

// clientAccessToken makes an access token that a client gets for itself. By RFC 9068
// section 2.2 its subject is the client; OroCommerce's has none.
func (s *Server) clientAccessToken(r *request, scope Scope, resource []string) (Secret, error) {
	name := r.client.ID
	if r.Profile == OroCommerce {
		name = ""
	}
	b, typ, err := s.claims(r, name, resource, scope, r.Parameters["scope"].Numbers)
	if err != nil {
		return "", err
	}
	if since := notBefore(r.client); since != 0 {
		b.number("client_not_before", since)
	}
	return s.sign(r, typ, b)
}

// notBefore is Client.NotBefore in microseconds since 1970, as a token remembers it: so
// that no two clocks are compared.
func notBefore(c *Client) int64 {
	if c.NotBefore.IsZero() {
		return 0
	}
	return c.NotBefore.UnixMicro()
}

// claims begins the claims of an access token, with those that all of a profile have.
func (s *Server) claims(r *request, subject string, resource []string, scope Scope, numbers bool) (*claims, string, error) {
	jti, err := s.randomHex(40)
	if err != nil {
		return nil, "", err
	}
	scope = r.policy.withAPIs(scope)
	issued := r.now.Unix()
	expires := issued + int64(r.policy.AccessTokenLifetime/time.Second)
	var b claims
	if r.Profile == OroCommerce {
		b.text("aud", r.client.ID).text("jti", jti).number("iat", issued).number("nbf", issued).number("exp", expires)
		b.text("sub", subject).list("scopes", scope, numbers)
		b.text("iss", s.Settings.Issuer).text("client_id", r.client.ID)
		return &b, typeOroCommerce, nil
	}
	b.text("iss", s.Settings.Issuer).text("sub", subject).audienceOf(resource, s.Settings.Issuer)
	b.text("client_id", r.client.ID).text("scope", scope.String())
	b.number("iat", issued).number("exp", expires).text("jti", jti)
	return &b, typeStandard, nil
}

func (s *Server) sign(r *request, typ string, c *claims) (Secret, error) {
	token, err := s.Signer.Sign(r.policy.SigningAlg, typ, c.object())
	if err != nil {
		return "", fmt.Errorf("sign access token: %w", err)
	}
	return Secret(token), nil
}

// claims writes a JSON object, members in the order of the calls.
type claims struct{ b []byte }

func (c *claims) name(name string) {
	if c.b == nil {
		c.b = append(make([]byte, 0, 512), '{')
	} else {
		c.b = append(c.b, ',')
	}
	c.b = append(c.b, '"')
	c.b = append(c.b, name...)
	c.b = append(c.b, '"', ':')
}

func (c *claims) text(name, value string) *claims {
	c.name(name)
	c.b = appendJSONString(c.b, value)
	return c
}

func (c *claims) number(name string, value int64) *claims {
	c.name(name)
	c.b = strconv.AppendInt(c.b, value, 10)
	return c
}

func (c *claims) json(name string, value []byte) *claims {
	c.name(name)
	c.b = append(c.b, value...)
	return c
}

// list writes a list of texts. OroCommerce gives numbers back as it got them.
func (c *claims) list(name string, values []string, numbers bool) *claims {
	c.name(name)
	c.b = append(c.b, '[')
	for i, v := range values {
		if i > 0 {
			c.b = append(c.b, ',')
		}
		if numbers {
			c.b = append(c.b, v...)
		} else {
			c.b = appendJSONString(c.b, v)
		}
	}
	c.b = append(c.b, ']')
	return c
}

// audienceOf writes `aud`: the resources, or the server itself (RFC 9068 section 3).
func (c *claims) audienceOf(resource []string, issuer string) *claims {
	switch len(resource) {
	case 0:
		return c.text("aud", issuer)
	case 1:
		return c.text("aud", resource[0])
	}
	return c.list("aud", resource, false)
}

func (c *claims) object() []byte { return append(c.b, '}') }

// appendJSONString writes a JSON string; what needs no escape is copied.
func appendJSONString(b []byte, s string) []byte {
	plain := utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == '"' || r == '\\' || r > 0x7E })
	if plain {
		b = append(b, '"')
		b = append(b, s...)
		return append(b, '"')
	}
	quoted, _ := json.Marshal(s) // a string always can
	return append(b, quoted...)
}

// AccessTokenInfo is what a living access token stands for.
type AccessTokenInfo struct {
	Profile    Profile // which of the two meanings Subject has
	Subject    string  // `sub`, as in the token
	Username   string  // of the user; empty: a visitor, or the client's own
	ClientID   string
	Scope      Scope
	Audience   []string
	ID         string // `jti`
	IssuedAt   int64  // seconds since 1970, like the next two
	NotBefore  int64  // 0: none
	ExpiresAt  int64
	GrantID    string // empty: the client's own
	Generation uint32

	clientVersion int64 // of its client, where the look showed it
}

// parsedClaims is what both profiles have.
type parsedClaims struct {
	Issuer          string   `json:"iss"`
	Subject         string   `json:"sub"`
	Audience        audience `json:"aud"`
	ClientID        string   `json:"client_id"`
	Scope           string   `json:"scope"`
	Scopes          []any    `json:"scopes"`
	ID              string   `json:"jti"`
	GrantID         string   `json:"grant_id"`
	Generation      uint32   `json:"gen"`
	IssuedAt        *int64   `json:"iat"`
	NotBefore       int64    `json:"nbf"`
	ExpiresAt       *int64   `json:"exp"`
	ClientNotBefore int64    `json:"client_not_before"` // see notBefore
}

// audience is `aud`: one text, or a list of them (RFC 7519 section 4.1.3).
type audience []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *audience) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '"' {
		return json.Unmarshal(b, (*[]string)(a))
	}
	var one string
	err := json.Unmarshal(b, &one)
	*a = audience{one}
	return err
}

// AccessToken checks an access token exactly, against the grant as it is now: an
// access token of an older generation is dead as soon as the refresh was
// acknowledged, unless the policy says otherwise. It returns ErrAccessTokenInvalid
// or a fault.
func (s *Server) AccessToken(ctx context.Context, token Secret) (AccessTokenInfo, error) {
	c, profile, err := s.verifiedClaims(token)
	if errors.Is(err, ErrKeysUnread) {
		return AccessTokenInfo{}, err
	}
	if err != nil {
		return AccessTokenInfo{}, ErrAccessTokenInvalid.Because(err)
	}
	info := c.info(profile)
	if c.GrantID == "" {
		return info, s.clientAccess(ctx, c)
	}
	v, err := s.Store.GrantByPublicID(ctx, c.GrantID)
	if errors.Is(err, ErrNotFound) {
		return AccessTokenInfo{}, ErrAccessTokenInvalid.Because(err)
	}
	if err != nil {
		return AccessTokenInfo{}, err
	}
	client, err := s.clientOf(ctx, &v)
	if errors.Is(err, ErrNotFound) {
		return AccessTokenInfo{}, ErrAccessTokenInvalid.Because(err)
	}
	if err != nil {
		return AccessTokenInfo{}, err
	}
	if err := alive(&v, client, c, s.policy(client, profile)); err != nil {
		return AccessTokenInfo{}, ErrAccessTokenInvalid.Because(err)
	}
	info.Username, info.clientVersion = v.Subject.Username, v.ClientVersion
	return info, nil
}

// info is what the claims say.
func (c *parsedClaims) info(profile Profile) AccessTokenInfo {
	return AccessTokenInfo{
		Profile: profile, Subject: c.Subject, ClientID: c.ClientID, Scope: c.scope(), Audience: c.Audience, ID: c.ID,
		IssuedAt: *c.IssuedAt, NotBefore: c.NotBefore, ExpiresAt: *c.ExpiresAt, GrantID: c.GrantID, Generation: c.Generation,
	}
}

// clientOf returns the client of a grant, of the version that the store showed with it.
func (s *Server) clientOf(ctx context.Context, v *GrantView) (*Client, error) {
	if known, ok := s.clients.Load(v.Grant.ClientID); ok && known.(*Client).Version == v.ClientVersion {
		return known.(*Client), nil
	}
	client, err := s.Store.Client(ctx, v.Grant.ClientID)
	if err != nil {
		return nil, err
	}
	s.clients.Store(client.ID, &client)
	return &client, nil
}

// clientAccess checks an access token that a client got for itself: it has no grant and
// lives while the client is in order (docs/rotation.md).
func (s *Server) clientAccess(ctx context.Context, c *parsedClaims) error {
	client, err := s.Store.Client(ctx, c.ClientID)
	switch {
	case errors.Is(err, ErrNotFound):
		return ErrAccessTokenInvalid.Because(err)
	case err != nil:
		return err
	case client.outOfOrder() != nil:
		return ErrAccessTokenInvalid.Because(client.outOfOrder())
	case c.ClientNotBefore != notBefore(&client):
		return ErrAccessTokenInvalid.Because(errors.New("revoked"))
	}
	return nil
}

// verifiedClaims checks the signature, the issuer and the times. There is no
// leeway for our own tokens.
func (s *Server) verifiedClaims(token Secret) (*parsedClaims, Profile, error) {
	typ, payload, err := s.Signer.Verify(string(token))
	if err != nil {
		return nil, Standard, err
	}
	profile := Standard
	switch typ {
	case typeOroCommerce:
		profile = OroCommerce
	case typeStandard:
	default:
		return nil, Standard, errors.New("not an access token")
	}
	var c parsedClaims
	if err := json.Unmarshal(payload, &c); err != nil {
		return nil, Standard, errors.New("malformed claims")
	}
	now := s.Now().Unix()
	switch {
	case c.Issuer != s.Settings.Issuer:
		return nil, Standard, errors.New("another issuer")
	case c.ExpiresAt == nil || now >= *c.ExpiresAt:
		return nil, Standard, errors.New("expired")
	case c.IssuedAt == nil || c.ClientID == "":
		return nil, Standard, errors.New("not one of ours")
	}
	return &c, profile, nil
}

// alive checks what docs/rotation.md says about access tokens of an old generation, and
// that grant, subject and client are in order.
func alive(v *GrantView, client *Client, c *parsedClaims, p Policy) error {
	g := &v.Grant
	switch {
	case g.ClientID != c.ClientID:
		return errors.New("of another client")
	case client.outOfOrder() != nil:
		return client.outOfOrder()
	case g.Status != GrantActive:
		return errors.New("the grant is revoked")
	case !v.Now.Before(g.ExpiresAt(p)):
		return errors.New("the grant is expired")
	case !v.SubjectExists || v.Subject.Epoch != g.SubjectEpoch:
		return errors.New("the subject's grants ended")
	case v.Subject.Blocked() != nil:
		return errors.New("the subject is blocked")
	case p.Reusable || p.PreviousAccessToken.Keep || c.Generation == g.Generation:
		return nil
	case int64(g.Generation)-int64(c.Generation) == 1 && max(0, v.Now.Sub(g.RotatedAt)) < p.PreviousAccessToken.For:
		return nil
	}
	return errors.New("of an older generation")
}

// scope is the scope of either profile.
func (c *parsedClaims) scope() Scope {
	if c.Scopes == nil {
		return ParseScope(c.Scope)
	}
	scope := make(Scope, 0, len(c.Scopes))
	for _, t := range c.Scopes {
		scope = append(scope, fmt.Sprint(t))
	}
	return scope
}
