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
	r := &request{TokenRequest: t, now: s.Now()}
	token, err := s.askedAbout(ctx, r)
	if err == nil && r.client.Public {
		err = ErrClientUnauthenticated.Because(errors.New("a public client may not introspect"))
	}
	answer := Introspection{Caller: r.clientID(), now: r.now.Unix()}
	if err != nil {
		return answer, err
	}
	answer.alg = r.policy.SigningAlg
	if strings.HasPrefix(string(token), refreshTokenPrefix) {
		answer.RefreshToken = true
		answer.Token, err = s.ownRefreshToken(ctx, r, token)
	} else {
		answer.Token, err = s.visibleAccessToken(ctx, r, token)
	}
	var refusal *Refusal
	if err != nil && !errors.As(err, &refusal) {
		return answer, err
	}
	answer.Active = err == nil
	return answer, nil
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

// visibleAccessToken checks an access token that the caller may know about.
func (s *Server) visibleAccessToken(ctx context.Context, r *request, token Secret) (AccessTokenInfo, error) {
	info, err := s.AccessToken(ctx, token)
	if err == nil && info.ClientID != r.client.ID && !slices.Contains(info.Audience, r.client.ID) {
		err = ErrAccessTokenInvalid.Because(errors.New("not for the caller"))
	}
	return info, err
}

// ownRefreshToken checks a refresh token of the caller: only one that a refresh would
// rotate, or leave as it is, is active. To ask is no use of it: nothing is recorded, and
// nothing ends.
func (s *Server) ownRefreshToken(ctx context.Context, r *request, presented Secret) (AccessTokenInfo, error) {
	token, err := s.parseRefreshToken(ctx, presented)
	if err != nil {
		return AccessTokenInfo{}, err
	}
	v, err := s.Store.Grant(ctx, token.GrantID)
	if errors.Is(err, ErrNotFound) {
		return AccessTokenInfo{}, ErrGrantUnknown
	}
	if err != nil {
		return AccessTokenInfo{}, err
	}
	d := Present(&v, Presentation{Token: token, ClientID: r.client.ID}, r.policy, s.Keys())
	switch {
	case d.Refusal != nil:
		return AccessTokenInfo{}, d.Refusal
	case d.Action == ActionRetry:
		return AccessTokenInfo{}, ErrReplay.Because(errors.New("it was rotated"))
	}
	g := &v.Grant
	return AccessTokenInfo{
		Subject: g.subject(), Username: v.Subject.Username, ClientID: g.ClientID, Scope: g.Scope, Audience: g.Resource,
		IssuedAt: g.RotatedAt.Unix(), ExpiresAt: g.ExpiresAt(r.policy).Unix(), GrantID: g.PublicID, Generation: g.Generation,
	}, nil
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
