package oauth

import (
	"context"
	"errors"
)

// clientCredentials is the client credentials grant (RFC 6749 section 4.4): a client on
// its own behalf or, at OroCommerce, on its owner's. There is no refresh token, no grant
// and no row: the token lives while the client is in order (docs/rotation.md).
func (s *Server) clientCredentials(ctx context.Context, r *request) (TokenResponse, error) {
	if r.client.Public {
		return TokenResponse{}, ErrClientUnauthenticated.Because(errors.New("a public client has no credentials"))
	}
	asked, err := r.Parameters.scope(r.Profile)
	if err != nil {
		return TokenResponse{}, err
	}
	scope, err := loginScope(asked, r.policy, r.Profile)
	if err != nil {
		return TokenResponse{}, err
	}
	resource, err := s.knownResources(ctx, r.Parameters, r.Profile)
	if err != nil {
		return TokenResponse{}, err
	}
	access, err := s.clientAccessToken(r, scope, resource)
	if err != nil {
		return TokenResponse{}, err
	}
	return TokenResponse{AccessToken: access, ExpiresIn: r.policy.AccessTokenLifetime, Scope: r.policy.withAPIs(scope), Outcome: "issued"}, nil
}
