package oauth

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// password is the resource owner password credentials grant (RFC 6749 section 4.3):
// a name and a password once, then the refresh token.
func (s *Server) password(ctx context.Context, r *request) (TokenResponse, error) {
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
	username, err := r.Parameters.required("username")
	if err != nil {
		return TokenResponse{}, err
	}
	password, err := r.Parameters.required("password")
	if err != nil {
		return TokenResponse{}, err
	}
	subject, err := s.resourceOwner(ctx, r, username, password)
	if err != nil {
		return TokenResponse{}, err
	}
	for range maxAttempts {
		response, err := s.createGrant(ctx, r, subject, scope, resource)
		if !errors.Is(err, ErrConflict) {
			return response, err
		}
		if subject, err = s.afterConflict(ctx, r, subject); err != nil {
			return TokenResponse{}, err
		}
	}
	return TokenResponse{}, fmt.Errorf("gave up after repeated attempts: %w", ErrConflict)
}

// loginScope is the scope of a new grant. Where nothing is asked for, OroCommerce
// gives nothing, and the standard endpoint what the client is registered for
// (the default value of RFC 6749 section 3.3).
func loginScope(asked Scope, p Policy, profile Profile) (Scope, error) {
	if asked != nil {
		return requestedScope(asked, p)
	}
	if profile == OroCommerce {
		return Scope{}, nil
	}
	return append(Scope{}, p.Scope...), nil
}

// resourceOwner finds who asks for a grant: a user or, for some clients, a visitor.
func (s *Server) resourceOwner(ctx context.Context, r *request, username, password Secret) (Subject, error) {
	if s.forVisitor(r, username, password) {
		return s.Store.Subject(ctx, VisitorID)
	}
	account, err := s.login(ctx, r.Source, username, password)
	return account.Subject, err
}

// login finds the account of a name and a password, typed at a source.
func (s *Server) login(ctx context.Context, source string, username, password Secret) (Account, error) {
	account, err := s.Directory.Lookup(ctx, string(username))
	if err != nil {
		return Account{}, err
	}
	keys := s.loginKeys(source, account)
	failures, err := s.throttleLogin(ctx, keys)
	if err != nil {
		return Account{}, err
	}
	err = s.Directory.Verify(ctx, account, password)
	if err == nil { // others of this source may have guessed while this one waited for its turn
		failures, err = s.throttleLogin(ctx, keys)
	}
	if errors.Is(err, ErrPasswordIncorrect) {
		return Account{}, s.wrongPassword(ctx, keys, account, err)
	}
	if err != nil {
		return Account{}, err
	}
	if failures.Pair.Count > 0 || s.Settings.Lockout > 0 {
		if err := s.Store.ClearLoginFailures(context.WithoutCancel(ctx), keys); err != nil {
			return Account{}, err
		}
	}
	// The state is told only after the right password, so that nobody can ask who exists.
	return account, account.Blocked()
}

func (s *Server) wrongPassword(ctx context.Context, keys LoginKeys, account Account, refusal error) error {
	if err := s.Store.RecordLoginFailure(context.WithoutCancel(ctx), keys, account.ID, s.Settings.Lockout); err != nil {
		return err
	}
	return refusal
}

// createGrant makes a grant of generation 0. All that can fail comes before the store.
func (s *Server) createGrant(ctx context.Context, r *request, subject Subject, scope Scope, resource []string) (TokenResponse, error) {
	g, secret, err := s.newGrant(r, subject, scope)
	if err != nil {
		return TokenResponse{}, err
	}
	g.Resource = resource
	access, err := s.accessToken(r, &g, &subject, scope, resource, 0)
	if err != nil {
		return TokenResponse{}, err
	}
	err = s.Store.CreateGrant(context.WithoutCancel(ctx), NewGrant{
		Grant: g, ClientVersion: r.client.Version,
		IdleLifetime: r.policy.RefreshTokenLifetime, AbsoluteLifetime: r.policy.AbsoluteLifetime, MaxGrants: s.maxGrants(&g),
		Event: r.loginEvent(&g, "password"),
	})
	if errors.Is(err, ErrOutcomeUnknown) {
		err = s.wasCreated(ctx, &g, err)
	}
	if err != nil {
		return TokenResponse{}, err
	}
	refresh := s.Keys().FormatRefreshToken(RefreshToken{KeyID: g.KeyID, GrantID: g.ID, Secret: secret})
	return r.respond("login", &g, access, refresh, scope), nil
}

// loginEvent is what is recorded of a new grant; of a visitor's, nothing.
func (r *request) loginEvent(g *Grant, how string) Event {
	if g.Subject == VisitorID {
		return Event{}
	}
	return Event{
		Type: EventLogin, Reason: how, RequestID: r.RequestID, ClientID: g.ClientID, Subject: g.Subject, GrantID: g.PublicID, Source: r.Source,
	}
}

// newGrant makes the row of a grant; the store adds the times.
func (s *Server) newGrant(r *request, subject Subject, scope Scope) (Grant, RefreshSecret, error) {
	random, err := s.randomGrant()
	if err != nil {
		return Grant{}, RefreshSecret{}, err
	}
	keys := s.Keys()
	hash, _ := keys.hash(keys.Active(), random.id, 0, random.secret)
	g := Grant{
		ID: random.id, PublicID: random.publicID, Version: 1,
		ClientID: r.client.ID, Subject: subject.ID, SubjectEpoch: subject.Epoch, Scope: scope,
		AuthTime: r.now, AMR: []string{"pwd"}, Status: GrantActive,
		CurrentHash: hash, KeyID: keys.Active(),
	}
	if subject.ID == VisitorID {
		g.AMR = nil // nobody was authenticated
	}
	return g, random.secret, nil
}

// randomGrant is what is random of a grant.
type randomGrant struct {
	id       GrantID
	secret   RefreshSecret
	publicID string // unique, as the store makes sure, and no secret
}

func (s *Server) randomGrant() (r randomGrant, err error) {
	for _, b := range [][]byte{r.id[:], r.secret[:]} {
		if _, err := io.ReadFull(s.Rand, b); err != nil {
			return r, fmt.Errorf("read randomness: %w", err)
		}
	}
	r.publicID, err = s.randomHex(10)
	return r, err
}

// maxGrants is how many grants the subject of a grant may have at its client. All
// visitors are one subject, so for them there is no limit.
func (s *Server) maxGrants(g *Grant) int {
	if g.Subject == VisitorID {
		return 0
	}
	return s.Settings.MaxGrants
}

// wasCreated looks whether a grant is there whose creation has an unknown outcome. What
// can be read need not be durable yet: so the look is a confirmed one.
func (s *Server) wasCreated(ctx context.Context, g *Grant, unknown error) error {
	v, err := s.Store.ConfirmGrant(context.WithoutCancel(ctx), g.ID)
	if err != nil || v.Grant.CurrentHash != g.CurrentHash || v.Grant.Status != g.Status {
		return errors.Join(unknown, err)
	}
	return nil
}

// afterConflict authenticates the client again, and looks at the subject again: a
// change in between must count, but does not make a right password wrong.
func (s *Server) afterConflict(ctx context.Context, r *request, was Subject) (Subject, error) {
	if err := s.authenticateClient(ctx, r, GrantTypePassword); err != nil {
		return Subject{}, err
	}
	subject, err := s.Store.Subject(ctx, was.ID)
	switch {
	case errors.Is(err, ErrNotFound) || err == nil && subject.Epoch != was.Epoch:
		return Subject{}, ErrPasswordIncorrect.Because(errors.New("the account changed meanwhile"))
	case err != nil:
		return Subject{}, err
	}
	return subject, subject.Blocked()
}
