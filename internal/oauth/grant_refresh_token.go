package oauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// maxAttempts is how often one request decides again after a conflict.
const maxAttempts = 8

// attemptTime is how long a request tries again: the client must still get the answer.
const attemptTime = 3 * time.Second

// refresh is one refresh request on its way: what must stay the same over all its
// attempts, so that each of them would hand out the same successor.
type refresh struct {
	*request
	presentation Presentation
	presented    Secret
	salt         *[32]byte
	access       accessTokenOf
}

// accessTokenOf remembers what was signed, and for which generation.
type accessTokenOf struct {
	token      Secret
	generation uint32
	scope      string
}

// refreshToken is the refresh token grant (RFC 6749 section 6) with rotation
// (RFC 9700 section 4.14.2), as docs/rotation.md specifies it.
func (s *Server) refreshToken(ctx context.Context, r *request) (TokenResponse, error) {
	presented, err := r.Parameters.required("refresh_token")
	if err != nil {
		return TokenResponse{}, err
	}
	token, err := s.parseRefreshToken(ctx, presented)
	if err != nil {
		return TokenResponse{}, err
	}
	scope, err := r.Parameters.scope(r.Profile)
	if err != nil {
		return TokenResponse{}, err
	}
	resource, err := r.Parameters.resources(r.Profile)
	if err != nil {
		return TokenResponse{}, err
	}
	f := &refresh{request: r, presented: presented, presentation: Presentation{Token: token, ClientID: r.client.ID, Scope: scope, Resource: resource}}
	for range maxAttempts {
		var response TokenResponse
		response, err = s.attempt(context.WithoutCancel(ctx), f)
		if !errors.Is(err, ErrOutcomeUnknown) && !errors.Is(err, ErrConflict) {
			return response, err
		}
		f.presentation.Looks.Unknown = f.presentation.Looks.Unknown || errors.Is(err, ErrOutcomeUnknown)
		if s.tooLate(r) {
			break
		}
	}
	return TokenResponse{}, fmt.Errorf("gave up after repeated attempts: %w", err)
}

// parseRefreshToken parses with the master keys of the moment.
func (s *Server) parseRefreshToken(ctx context.Context, presented Secret) (token RefreshToken, err error) {
	err = s.withKeys(ctx, func(k *Keys) (err error) {
		token, err = k.ParseRefreshToken(presented)
		return err
	})
	return token, err
}

// withKeys parses what a client presents. Before something under an unknown master key
// is refused, and the client logs its user out, the keys are read again.
func (s *Server) withKeys(ctx context.Context, parse func(*Keys) error) error {
	err := parse(s.Keys())
	if !errors.Is(err, errKeyUnknown) || s.ReloadKeys == nil {
		return err
	}
	if err := s.ReloadKeys(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("reload master keys: %w", err)
	}
	return parse(s.Keys())
}

// attempt looks, decides and writes once. Nothing that it has begun is cancelled
// by a client that hangs up.
func (s *Server) attempt(ctx context.Context, f *refresh) (TokenResponse, error) {
	v, err := s.look(ctx, f, s.Store.Grant)
	if err != nil {
		return TokenResponse{}, err
	}
	keys := s.Keys()
	d := Present(v, f.presentation, f.policy, keys)
	if d.recorded() {
		v, err = s.look(ctx, f, s.confirm)
		if err != nil {
			return TokenResponse{}, err
		}
		d = Present(v, f.presentation, f.policy, keys)
	}
	if d.Row == "Y1" && keys.keys[v.Grant.KeyID] == nil { // not forked: we cannot tell
		return TokenResponse{}, fmt.Errorf("check refresh token: %w", errKeyMissing)
	}
	switch d.Action {
	case ActionRotate:
		return s.rotate(ctx, f, v, d)
	case ActionRetry:
		return s.retry(ctx, f, v, d)
	case ActionReuse:
		return s.reuse(ctx, f, v, d)
	}
	return TokenResponse{}, s.refuseRefresh(ctx, f, v, d)
}

// look reads the grant. If its client is not the version that was authenticated,
// the client is authenticated again. A nil view is a grant that does not exist.
func (s *Server) look(ctx context.Context, f *refresh, read func(context.Context, GrantID) (GrantView, error)) (*GrantView, error) {
	v, err := read(ctx, f.presentation.Token.GrantID)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	looks := &f.presentation.Looks
	if !looks.Seen {
		*looks = Looks{Seen: true, At: v.Now, Generation: v.Grant.Generation, Unknown: looks.Unknown}
	}
	if v.Grant.ClientID == f.client.ID && v.ClientVersion != f.client.Version {
		return &v, s.authenticateAgain(ctx, f.request, GrantTypeRefreshToken, v.ClientVersion)
	}
	return &v, nil
}

// confirm reads what an authentic token is refused by: nobody is logged out on the
// word of a server that was cut off (docs/rotation.md, rule 4).
func (s *Server) confirm(ctx context.Context, id GrantID) (GrantView, error) {
	v, err := s.Store.ConfirmGrant(ctx, id)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return v, faultOnly("confirm grant", err)
	}
	return v, err
}

// authenticateAgain returns ErrConflict if the client changed once more.
func (s *Server) authenticateAgain(ctx context.Context, r *request, grantType string, version int64) error {
	s.clients.Delete(r.client.ID)
	if err := s.authenticateClient(ctx, r, grantType); err != nil {
		return err
	}
	if r.client.Version != version {
		return ErrConflict
	}
	return nil
}

// rotate makes the next generation (R1).
func (s *Server) rotate(ctx context.Context, f *refresh, v *GrantView, d Decision) (TokenResponse, error) {
	old, keys := &v.Grant, s.Keys()
	if f.salt == nil {
		f.salt = new([32]byte)
		if _, err := io.ReadFull(s.Rand, f.salt[:]); err != nil {
			return TokenResponse{}, fmt.Errorf("read randomness: %w", err)
		}
	}
	next := *old
	next.Generation++
	next.KeyID = keys.Active()
	next.SuccessorSalt = *f.salt
	next.Retries = 0
	s.slide(f, v, &next)
	secret := f.presentation.Token.Secret
	successor, _ := keys.next(next.KeyID, next.ID, next.Generation, next.SuccessorSalt, secret)
	next.PreviousHash, _ = keys.hash(next.KeyID, next.ID, old.Generation, secret)
	next.CurrentHash, _ = keys.hash(next.KeyID, next.ID, next.Generation, successor)

	access, err := s.signOnce(f, v, d, next.Generation)
	if err != nil {
		return TokenResponse{}, err
	}
	if err := s.Store.SwapGrant(ctx, old, &next, f.client.Version); err != nil {
		return TokenResponse{}, err
	}
	s.rotated(&next, v.Now)
	return f.respond("rotated", &next, access, keys.FormatRefreshToken(RefreshToken{
		KeyID: next.KeyID, GrantID: next.ID, Generation: next.Generation, Secret: successor,
	}), d.Scope), nil
}

// retry hands out the same successor once more (R2).
func (s *Server) retry(ctx context.Context, f *refresh, v *GrantView, d Decision) (TokenResponse, error) {
	g, keys := &v.Grant, s.Keys()
	successor, ok := keys.next(g.KeyID, g.ID, g.Generation, g.SuccessorSalt, f.presentation.Token.Secret)
	if hash, _ := keys.hash(g.KeyID, g.ID, g.Generation, successor); !ok || hash != g.CurrentHash {
		return TokenResponse{}, errors.New("the successor cannot be rebuilt: the grant's row is damaged")
	}
	access, err := s.signOnce(f, v, d, g.Generation)
	if err != nil {
		return TokenResponse{}, err
	}
	if err := s.Store.RetryGrant(ctx, g, f.client.Version, f.policy.RetryBudget); err != nil {
		return TokenResponse{}, err
	}
	s.rotated(g, g.RotatedAt) // perhaps nobody was told yet
	return f.respond("retried", g, access, keys.FormatRefreshToken(RefreshToken{
		KeyID: g.KeyID, GrantID: g.ID, Generation: g.Generation, Secret: successor,
	}), d.Scope), nil
}

// reuse makes an access token and leaves the refresh token as it is (R3).
func (s *Server) reuse(ctx context.Context, f *refresh, v *GrantView, d Decision) (TokenResponse, error) {
	next := v.Grant
	s.slide(f, v, &next)
	access, err := s.signOnce(f, v, d, next.Generation)
	if err != nil {
		return TokenResponse{}, err
	}
	if err := s.Store.SwapGrant(ctx, &v.Grant, &next, f.client.Version); err != nil {
		return TokenResponse{}, err
	}
	return f.respond("reused", &next, access, f.presented, d.Scope), nil
}

// slide moves the idle lifetime on, never past the absolute one.
func (s *Server) slide(f *refresh, v *GrantView, next *Grant) {
	now := f.presentation.Looks.at(v)
	next.LastUsedAt = now
	next.IdleExpiresAt = now.Add(f.policy.RefreshTokenLifetime)
	if end := next.AbsoluteExpiresAt; !end.IsZero() && end.Before(next.IdleExpiresAt) {
		next.IdleExpiresAt = end
	}
}

// signOnce signs the access token of a generation, or takes what an earlier
// attempt of the same request signed for it.
func (s *Server) signOnce(f *refresh, v *GrantView, d Decision, generation uint32) (Secret, error) {
	a := &f.access
	if a.token != "" && a.generation == generation && a.scope == d.Scope.String() {
		return a.token, nil
	}
	token, err := s.accessToken(f.request, &v.Grant, &v.Subject, d.Scope, d.Resource, generation)
	if err == nil {
		*a = accessTokenOf{token: token, generation: generation, scope: d.Scope.String()}
	}
	return token, err
}

// refuseRefresh makes a refusal durable before it is told (docs/rotation.md, rules 2
// and 4): one of an authentic token is recorded, one that ends the grant ends it.
func (s *Server) refuseRefresh(ctx context.Context, f *refresh, v *GrantView, d Decision) error {
	var refusal *Refusal
	errors.As(d.Refusal, &refusal)
	e := Event{
		Type: EventRefusal, Reason: refusal.Reason, RequestID: f.RequestID,
		ClientID: f.client.ID, Source: f.Source, Detail: "docs/rotation.md " + d.Row,
	}
	if v != nil {
		e.GrantID, e.Subject = v.Grant.PublicID, v.Grant.Subject
		f.grantID = v.Grant.PublicID
	}
	switch {
	case d.Action == ActionRevoke:
		e.Type = EventRevocation
		if err := s.revokeSurely(ctx, f.request, f.presentation.Token.GrantID, refusal.Reason, e); err != nil {
			return faultOnly("revoke grant", err)
		}
	case d.recorded():
		if err := s.Store.RecordRefusal(ctx, e); err != nil {
			return faultOnly("record refusal", err)
		}
	}
	return d.Refusal
}

// revokeSurely revokes until it is known to have happened.
func (s *Server) revokeSurely(ctx context.Context, r *request, id GrantID, reason string, e Event) (err error) {
	for range maxAttempts {
		err = s.Store.RevokeGrant(ctx, id, reason, e)
		if !errors.Is(err, ErrOutcomeUnknown) || s.tooLate(r) {
			return err
		}
	}
	return err
}

// faultOnly hides what kind of failure it was. Only a write of a token is looked at
// again: a replay that was found stays one, and is told when its revocation is known.
func faultOnly(what string, err error) error { return fmt.Errorf("%s: %v", what, err) }

// tooLate reports whether a request has tried long enough.
func (s *Server) tooLate(r *request) bool { return s.Now().Sub(r.now) > attemptTime }

// respond puts the answer together.
func (r *request) respond(outcome string, g *Grant, access, refresh Secret, scope Scope) TokenResponse {
	return TokenResponse{
		AccessToken: access, RefreshToken: refresh, ExpiresIn: r.policy.AccessTokenLifetime, Scope: r.policy.withAPIs(scope),
		Outcome: outcome, GrantID: g.PublicID,
	}
}
