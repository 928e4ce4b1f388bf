package oauth

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"slices"
)

// redemption is a request that redeems an authorization code, on its way.
type redemption struct {
	*request
	code     code
	verifier *string
	redirect *string
	resource []string // asked for; nil: not said
	unknown  bool     // a write of this request had an unknown outcome
	made     *Grant
	secret   RefreshSecret
	tried    [][32]byte // hashes that writes of this request carried
}

// authorizationCode is the authorization code grant (RFC 6749 section 4.1.3). The code
// is consumed by the write that makes its grant active, before anything is issued; a
// code that comes again ends what it produced (RFC 9700 section 2.1.1, RFC 6749 section
// 4.1.2).
func (s *Server) authorizationCode(ctx context.Context, r *request) (TokenResponse, error) {
	text, err := r.Parameters.required("code")
	if err != nil {
		return TokenResponse{}, err
	}
	m := &redemption{request: r}
	if m.code, err = s.presentedCode(ctx, text); err != nil {
		return TokenResponse{}, err
	}
	if m.redirect, err = r.Parameters.optional("redirect_uri"); err != nil {
		return TokenResponse{}, err
	}
	if m.verifier, err = r.Parameters.optional("code_verifier"); err != nil {
		return TokenResponse{}, err
	}
	if m.resource, err = r.Parameters.resources(r.Profile); err != nil {
		return TokenResponse{}, err
	}
	for range maxAttempts {
		var response TokenResponse
		response, err = s.redeem(context.WithoutCancel(ctx), m)
		if !errors.Is(err, ErrOutcomeUnknown) && !errors.Is(err, ErrConflict) {
			return response, err
		}
		m.unknown = m.unknown || errors.Is(err, ErrOutcomeUnknown)
		if s.tooLate(r) {
			break
		}
	}
	return TokenResponse{}, fmt.Errorf("gave up after repeated attempts: %w", err)
}

// redeem looks, decides and writes once.
func (s *Server) redeem(ctx context.Context, m *redemption) (TokenResponse, error) {
	v, err := s.lookAtCode(ctx, m, s.Store.Grant)
	if err != nil {
		return TokenResponse{}, err
	}
	refusal := m.decide(v, s.Keys())
	if m.unknown || errors.Is(refusal, ErrCodeUsed) { // nothing ends on the word of a server that was cut off
		if v, err = s.lookAtCode(ctx, m, s.Store.ConfirmGrant); err != nil {
			return TokenResponse{}, err
		}
		refusal = m.decide(v, s.Keys())
	}
	switch {
	case m.isMade(v):
		m.made = &v.Grant
		return s.respondToCode(m, v)
	case errors.Is(refusal, ErrCodeUsed):
		m.grantID = v.Grant.PublicID
		return TokenResponse{}, s.revokeUsed(ctx, m, v)
	case refusal != nil:
		return TokenResponse{}, refusal
	}
	return s.activate(ctx, m, v)
}

// lookAtCode reads the pending grant. If its client is not the version that was
// authenticated, the client is authenticated again. nil: there is none.
func (s *Server) lookAtCode(ctx context.Context, m *redemption, read func(context.Context, GrantID) (GrantView, error)) (*GrantView, error) {
	v, err := read(ctx, m.code.GrantID)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case v.Grant.ClientID == m.client.ID && v.ClientVersion != m.client.Version:
		return &v, s.authenticateAgain(ctx, m.request, GrantTypeAuthorizationCode, v.ClientVersion)
	}
	return &v, nil
}

// decide is the decision about a code, in OroCommerce's order. It is pure. Whatever it
// refuses but ErrCodeUsed changes nothing: the client may mend its request.
func (m *redemption) decide(v *GrantView, keys *Keys) error {
	if v == nil {
		return ErrCodeUnknown
	}
	g := &v.Grant
	hash, known := keys.codeHash(g.KeyID, g.ID, m.code.Secret)
	pending := g.Status == GrantPending
	switch {
	case pending && !v.Now.Before(g.IdleExpiresAt):
		return ErrCodeExpired
	case pending && !known:
		return fmt.Errorf("check authorization code: %w", errKeyMissing)
	case pending && !hmac.Equal(hash[:], g.CurrentHash[:]):
		return ErrCodeUnknown
	case g.Status == GrantActive && g.ClientID == m.client.ID && m.fits() == nil:
		return ErrCodeUsed
	case !pending:
		return ErrCodeUnknown
	case !v.SubjectExists || v.Subject.Epoch != g.SubjectEpoch:
		return ErrCodeUnknown
	}
	if err := v.Subject.Blocked(); err != nil {
		return err
	}
	if g.ClientID != m.client.ID {
		return ErrCodeOfAnotherClient
	}
	if err := m.fits(); err != nil {
		return err
	}
	_, err := accessResource(m.resource, g.Resource)
	return err
}

// fits checks that whoever presents the code is who asked for it, as far as the request
// can tell. A used code that came without that, out of a log or a history, ends nothing:
// nobody could have got anything for it.
func (m *redemption) fits() error {
	if err := m.sameRedirectURI(); err != nil {
		return err
	}
	if m.Profile == Standard && m.code.Method != methodS256 { // made at the other endpoint, which asks for less
		return ErrVerifierUnexpected
	}
	return m.code.checkVerifier(m.verifier)
}

// sameRedirectURI asks for the redirect_uri of the authorization request (RFC 6749
// section 4.1.3), or none where that had none.
func (m *redemption) sameRedirectURI() error {
	asked, given := m.code.RedirectURI, m.redirect
	switch {
	case asked == nil && given == nil:
		return nil
	case given == nil:
		return ErrRedirectURIMissing
	case asked == nil || *asked != *given:
		return ErrRedirectURIDiffers
	}
	return nil
}

// activate makes the grant active, which consumes the code. All that can fail comes
// before the store.
func (s *Server) activate(ctx context.Context, m *redemption, v *GrantView) (TokenResponse, error) {
	if m.made == nil {
		random, err := s.randomGrant()
		if err != nil {
			return TokenResponse{}, err
		}
		m.made, m.secret = &Grant{}, random.secret
	}
	keys := s.Keys()
	*m.made = v.Grant
	m.made.KeyID = keys.Active()
	m.made.CurrentHash, _ = keys.hash(keys.Active(), m.made.ID, 0, m.secret)
	m.tried = append(m.tried, m.made.CurrentHash)
	response, err := s.respondToCode(m, v)
	if err != nil {
		return TokenResponse{}, err
	}
	err = s.Store.RedeemGrant(ctx, NewGrant{
		Grant: *m.made, ClientVersion: m.client.Version,
		IdleLifetime: m.policy.RefreshTokenLifetime, AbsoluteLifetime: m.policy.AbsoluteLifetime, MaxGrants: s.maxGrants(m.made),
		Event: m.loginEvent(m.made, GrantTypeAuthorizationCode),
	}, v.Grant.CurrentHash)
	if err != nil {
		return TokenResponse{}, err
	}
	return response, nil
}

// isMade reports whether a look shows the grant that a write of unknown outcome made.
func (m *redemption) isMade(v *GrantView) bool {
	return v != nil && v.Grant.Status == GrantActive && slices.Contains(m.tried, v.Grant.CurrentHash)
}

// respondToCode signs the access token and puts the answer together.
func (s *Server) respondToCode(m *redemption, v *GrantView) (TokenResponse, error) {
	scope, err := accessScope(nil, m.made.Scope, m.policy)
	if err != nil {
		return TokenResponse{}, err
	}
	resource, err := accessResource(m.resource, m.made.Resource)
	if err != nil {
		return TokenResponse{}, err
	}
	access, err := s.accessToken(m.request, m.made, &v.Subject, scope, resource, 0)
	if err != nil {
		return TokenResponse{}, err
	}
	refresh := s.Keys().FormatRefreshToken(RefreshToken{KeyID: m.made.KeyID, GrantID: m.made.ID, Secret: m.secret})
	return m.respond("login", m.made, access, refresh, scope), nil
}

// revokeUsed ends what a code produced that came again. The refusal is told when that
// is known to have happened.
func (s *Server) revokeUsed(ctx context.Context, m *redemption, v *GrantView) error {
	err := s.revokeSurely(ctx, m.request, v.Grant.ID, ErrCodeUsed.Reason, Event{
		Type: EventRevocation, Reason: ErrCodeUsed.Reason, RequestID: m.RequestID,
		ClientID: v.Grant.ClientID, Subject: v.Grant.Subject, GrantID: v.Grant.PublicID, Source: m.Source,
	})
	if err != nil {
		return faultOnly("revoke grant", err)
	}
	return ErrCodeUsed
}
