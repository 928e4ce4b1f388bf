package oauth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// reasonRevoked is the reason of a revocation that the client asked for.
const reasonRevoked = "revoked_by_client"

// Revocation says for the log whose tokens were revoked.
type Revocation struct {
	ClientID string
	GrantID  string // Grant.PublicID; empty: nothing was found, or the client's own token
}

// Revoke ends what a token of the client belongs to (RFC 7009 section 2): its grant with
// all access and refresh tokens, whatever generation the token is of; of a token that a
// client got for itself, all such tokens. A token that is unknown, malformed or another
// client's ends nothing, and the client learns no more than that (section 2.2). nil
// means that the revocation is durable; a fault, that this is not known.
func (s *Server) Revoke(ctx context.Context, t TokenRequest) (Revocation, error) {
	r := &request{TokenRequest: t, now: s.Now()}
	token, err := s.askedAbout(ctx, r)
	if err == nil {
		err = s.revoke(context.WithoutCancel(ctx), r, token)
	}
	var refusal *Refusal
	if r.client != nil && errors.As(err, &refusal) && refusal.Code == ErrGrantUnknown.Code { // nothing to end
		err = nil
	}
	return Revocation{ClientID: r.clientID(), GrantID: r.grantID}, err
}

func (s *Server) revoke(ctx context.Context, r *request, presented Secret) error {
	if strings.HasPrefix(string(presented), refreshTokenPrefix) {
		token, err := s.parseRefreshToken(ctx, presented)
		if err != nil {
			return err
		}
		v, err := s.surely(ctx, func() (GrantView, error) { return s.Store.Grant(ctx, token.GrantID) })
		return s.revokeOwn(ctx, r, &v, err)
	}
	c, _, err := s.verifiedClaims(presented)
	if errors.Is(err, ErrKeysUnread) {
		return err
	}
	if err != nil {
		return ErrGrantUnknown.Because(err)
	}
	if c.GrantID == "" {
		return s.revokeClientTokens(ctx, r, c)
	}
	v, err := s.surely(ctx, func() (GrantView, error) { return s.Store.GrantByPublicID(ctx, c.GrantID) })
	return s.revokeOwn(ctx, r, &v, err)
}

// surely reads a grant. That there is none is not believed on the word of a server that
// was cut off: it looks again after a write that shows that it was not.
func (s *Server) surely(ctx context.Context, read func() (GrantView, error)) (GrantView, error) {
	v, err := read()
	if !errors.Is(err, ErrNotFound) {
		return v, err
	}
	if _, err := s.Store.ConfirmGrant(ctx, GrantID{}); err != nil && !errors.Is(err, ErrNotFound) {
		return v, faultOnly("confirm store", err)
	}
	return read()
}

// revokeOwn revokes a grant that was looked for, if it is the client's.
func (s *Server) revokeOwn(ctx context.Context, r *request, v *GrantView, err error) error {
	switch {
	case errors.Is(err, ErrNotFound):
		return ErrGrantUnknown
	case err != nil:
		return err
	case v.Grant.ClientID != r.client.ID:
		return ErrGrantOfAnotherClient
	}
	r.grantID = v.Grant.PublicID
	err = s.revokeSurely(ctx, r, v.Grant.ID, reasonRevoked, Event{
		Type: EventRevocation, Reason: reasonRevoked, RequestID: r.RequestID,
		ClientID: r.client.ID, Subject: v.Grant.Subject, GrantID: v.Grant.PublicID, Source: r.Source,
	})
	if err != nil {
		return faultOnly("revoke grant", err)
	}
	return nil
}

// revokeClientTokens ends the access tokens that the client got for itself so far.
func (s *Server) revokeClientTokens(ctx context.Context, r *request, c *parsedClaims) error {
	if c.ClientID != r.client.ID {
		return ErrGrantOfAnotherClient
	}
	var since time.Time
	if c.ClientNotBefore != 0 {
		since = time.UnixMicro(c.ClientNotBefore).UTC()
	}
	var err error
	for range maxAttempts {
		err = s.Store.RevokeClientTokens(ctx, r.client.ID, since, Event{
			Type: EventRevocation, Reason: reasonRevoked, RequestID: r.RequestID, ClientID: r.client.ID, Source: r.Source,
		})
		if !errors.Is(err, ErrOutcomeUnknown) || s.tooLate(r) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("revoke client tokens: %v", err)
	}
	return nil
}
