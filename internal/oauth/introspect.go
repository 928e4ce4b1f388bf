package oauth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// typeIntrospection is the media type of a signed answer (RFC 9701 section 5).
const typeIntrospection = "token-introspection+jwt"

// Introspection is the answer to a question about a token (RFC 7662 section 2.2).
type Introspection struct {
	Active       bool
	RefreshToken bool // it is one; else an access token
	Token        AccessTokenInfo
	Caller       string // client_id of who asked

	alg string // of a signed answer
	now int64
}

// Introspect tells a resource server about a token: a confidential client about its own
// tokens, and about access tokens that name it in `aud`. All others, and whatever is
// not alive, are inactive, and nobody learns which (RFC 7662 section 4). It returns a
// Refusal of the caller or a fault; beside it the answer says who asked.
func (s *Server) Introspect(ctx context.Context, t TokenRequest) (Introspection, error) {
	r := &request{TokenRequest: t, now: s.Now(), comparesVersion: true}
	answer, err := s.introspect(ctx, r)
	if errors.Is(err, ErrConflict) { // the caller changed since it was last seen
		r.comparesVersion = false
		answer, err = s.introspect(ctx, r)
	}
	answer.Caller = r.clientID()
	return answer, err
}

func (s *Server) introspect(ctx context.Context, r *request) (Introspection, error) {
	answer := Introspection{now: r.now.Unix()}
	token, err := s.askedAbout(ctx, r)
	if err == nil && r.client.Public {
		err = ErrClientUnauthenticated.Because(errors.New("a public client may not introspect"))
	}
	if err != nil {
		return answer, err
	}
	answer.alg = r.policy.SigningAlg
	var version int64
	if strings.HasPrefix(string(token), refreshTokenPrefix) {
		answer.RefreshToken = true
		answer.Token, version, err = s.ownRefreshToken(ctx, r, token)
	} else {
		answer.Token, version, err = s.visibleAccessToken(ctx, r, token)
	}
	var refusal *Refusal
	if err != nil && !errors.As(err, &refusal) {
		return answer, err
	}
	answer.Active = err == nil
	return answer, s.compareVersion(ctx, r, version)
}

// compareVersion returns ErrConflict if a remembered client is not the present one any
// more. The version may be known already; 0: it is not.
func (s *Server) compareVersion(ctx context.Context, r *request, version int64) error {
	if !r.comparesVersion {
		return nil
	}
	if version == 0 {
		var err error
		if version, err = s.Store.ClientVersion(ctx, r.client.ID); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	if version != r.client.Version {
		return ErrConflict
	}
	return nil
}

// askedAbout authenticates a client that sends a token, and returns the token.
func (s *Server) askedAbout(ctx context.Context, r *request) (Secret, error) {
	if err := s.authenticateCaller(ctx, r); err != nil {
		return "", err
	}
	token, err := r.Parameters.required("token")
	if err == nil && token == "" { // RFC 6749 section 3.1: without a value is omitted
		err = ErrParameterInvalid.About("token")
	}
	return token, err
}

// authenticateCaller authenticates a client that asks about tokens, or ends them. One
// that does not even say who it is fails like any other.
func (s *Server) authenticateCaller(ctx context.Context, r *request) error {
	if _, named := r.Parameters["client_id"]; !named && r.Basic == nil {
		return ErrClientUnauthenticated.Because(errors.New("no client authentication"))
	}
	return s.authenticateClient(ctx, r, "")
}

// visibleAccessToken checks an access token that the caller may know about. The version
// is that of the caller, where the look showed it.
func (s *Server) visibleAccessToken(ctx context.Context, r *request, token Secret) (info AccessTokenInfo, version int64, err error) {
	info, err = s.AccessToken(ctx, token)
	switch {
	case err != nil:
		return info, 0, err
	case info.ClientID == r.client.ID:
		return info, info.clientVersion, nil
	case !slices.Contains(info.Audience, r.client.ID):
		return info, 0, ErrAccessTokenInvalid.Because(errors.New("not for the caller"))
	}
	return info, 0, nil
}

// ownRefreshToken checks a refresh token of the caller: only one that a refresh would
// rotate, or leave as it is, is active. To ask is no use of it: nothing is recorded, and
// nothing ends.
func (s *Server) ownRefreshToken(ctx context.Context, r *request, presented Secret) (info AccessTokenInfo, version int64, err error) {
	token, err := s.parseRefreshToken(ctx, presented)
	if err != nil {
		return info, 0, err
	}
	v, err := s.Store.Grant(ctx, token.GrantID)
	if errors.Is(err, ErrNotFound) {
		return info, 0, ErrGrantUnknown
	}
	if err != nil {
		return info, 0, err
	}
	d := Present(&v, Presentation{Token: token, ClientID: r.client.ID}, r.policy, s.Keys())
	switch {
	case d.Refusal != nil:
		return info, 0, d.Refusal
	case d.Action == ActionRetry:
		return info, 0, ErrReplay.Because(errors.New("it was rotated"))
	}
	g := &v.Grant
	return AccessTokenInfo{
		Subject: g.subject(), Username: v.Subject.Username, ClientID: g.ClientID, Scope: g.Scope, Audience: g.Resource,
		IssuedAt: g.RotatedAt.Unix(), ExpiresAt: g.ExpiresAt(r.policy).Unix(), GrantID: g.PublicID, Generation: g.Generation,
	}, v.ClientVersion, nil
}

// SignIntrospection signs an answer, given as its JSON object, for who asked (RFC 9701
// section 5).
func (s *Server) SignIntrospection(a Introspection, object []byte) (string, error) {
	var b claims
	b.text("iss", s.Settings.Issuer).text("aud", a.Caller).number("iat", a.now).json("token_introspection", object)
	token, err := s.Signer.Sign(a.alg, typeIntrospection, b.object())
	if err != nil {
		return "", fmt.Errorf("sign introspection: %w", err)
	}
	return token, nil
}
