package oauth

import (
	"context"
	"errors"
	"time"
)

// Rotation is a refresh that gave a grant a new generation.
type Rotation struct {
	GrantID    string // Grant.PublicID
	ClientID   string
	Generation uint32    // the new one
	At         time.Time // by the store's clock
}

// rotated tells of a rotation that is durable.
func (s *Server) rotated(g *Grant, at time.Time) {
	if s.Rotated != nil {
		s.Rotated(Rotation{GrantID: g.PublicID, ClientID: g.ClientID, Generation: g.Generation, At: at})
	}
}

// LongestForgotten is how long access tokens are thought to live at least: a client whose
// lifetime was shortened may have got one by the old policy.
const LongestForgotten = 24 * time.Hour

// AccessTokenPolicy returns what a refresh of a client's grants does to the access tokens
// before it, and how long any of its access tokens lives, with a minute for clocks that
// differ. A client that is gone has the server's.
func (s *Server) AccessTokenPolicy(ctx context.Context, clientID string) (PreviousAccessToken, time.Duration, error) {
	client, err := s.Store.Client(ctx, clientID)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return PreviousAccessToken{}, 0, err
	}
	p := s.policy(&client, Standard)
	lifetime := max(p.AccessTokenLifetime, s.Settings.AccessTokenLifetime, LongestForgotten) + time.Minute
	if p.Reusable {
		p.PreviousAccessToken.Keep = true
	}
	return p.PreviousAccessToken, lifetime, nil
}

// AuthenticateFollower authenticates a confidential client that wants to know which
// access tokens died. It returns a Refusal or a fault, and the client_id as far as it is
// known.
func (s *Server) AuthenticateFollower(ctx context.Context, t TokenRequest) (string, error) {
	r := &request{TokenRequest: t, now: s.Now()}
	err := s.authenticateCaller(ctx, r)
	if err == nil && r.client.Public {
		err = ErrClientUnauthenticated.Because(errors.New("a public client may not follow revocations"))
	}
	return r.clientID(), err
}
