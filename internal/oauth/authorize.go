package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// AuthorizationRequest is a request to the authorization endpoint (RFC 6749 section
// 4.1.1).
type AuthorizationRequest struct {
	Profile    Profile
	Parameters Parameters
	Visitor    bool // nobody is asked: it is for a visitor of a storefront
	Source     string
	RequestID  string
}

// Authorization is a request to the authorization endpoint that is in order, or as
// much of one as its refusal needs.
type Authorization struct {
	Client   Client
	Scope    Scope    // asked for
	Resource []string // likewise (RFC 8707); nil: none named
	// RedirectURI is where the user is sent back to, registered for the client; empty:
	// the refusal must be shown to the user (RFC 6749 section 4.1.2.1).
	RedirectURI string

	request     AuthorizationRequest
	state       *string
	redirectURI *string // as the request had it
	challenge   string
	method      string
	policy      Policy
}

// SkipsConsent reports whether the user need not be asked. Where any program could be
// the client, as with an address on the user's own machine, the standard endpoint asks
// all the same (RFC 8252 section 8.6); OroCommerce's does not.
func (a *Authorization) SkipsConsent() bool {
	sure := !a.Client.Public || strings.HasPrefix(a.RedirectURI, "https://")
	return a.Client.SkipConsent && (sure || a.request.Profile == OroCommerce)
}

// CheckAuthorization checks a request to the authorization endpoint. It returns a
// Refusal, which the client is told at Authorization.RedirectURI where that is not
// empty; or a fault.
func (s *Server) CheckAuthorization(ctx context.Context, request AuthorizationRequest) (Authorization, error) {
	a := Authorization{request: request}
	if request.Profile == OroCommerce { // it looks at this first
		if err := a.responseType(); err != nil {
			return a, ErrGrantTypeUnsupported.Because(err)
		}
	}
	if err := s.authorizationClient(ctx, &a); err != nil {
		return a, err
	}
	redirectURI, err := a.registeredRedirectURI()
	if err != nil {
		return a, err
	}
	if request.Profile == Standard { // from here on the client is told itself
		a.RedirectURI = redirectURI
	}
	for _, check := range []func() error{a.takeState, a.mayAuthorize, a.checkResponseType, a.takeChallenge, a.takeScope} {
		if err := check(); err != nil {
			return a, err
		}
	}
	if a.Resource, err = s.knownResources(ctx, request.Parameters, request.Profile); err != nil {
		return a, err
	}
	a.RedirectURI = redirectURI
	return a, nil
}

func (a *Authorization) responseType() error {
	t, err := a.request.Parameters.optional("response_type")
	switch {
	case err != nil:
		return err
	case t == nil:
		return ErrParameterInvalid.About("response_type")
	case *t != "code":
		return ErrResponseTypeUnsupported
	}
	return nil
}

// checkResponseType is for the standard endpoint; the other one has looked already.
func (a *Authorization) checkResponseType() error {
	if a.request.Profile == OroCommerce {
		return nil
	}
	return a.responseType()
}

// authorizationClient finds the client. There is no secret to prove who it is: that
// the user is sent to an address of it is the proof.
func (s *Server) authorizationClient(ctx context.Context, a *Authorization) error {
	id, err := a.request.Parameters.optional("client_id")
	switch {
	case err != nil:
		return err
	case id == nil && a.request.Profile == OroCommerce:
		return ErrGrantTypeUnsupported
	case id == nil:
		return ErrParameterInvalid.About("client_id")
	}
	a.Client, err = s.Store.Client(ctx, *id)
	switch {
	case errors.Is(err, ErrNotFound):
		return ErrClientUnknown
	case err != nil:
		return err
	case a.Client.outOfOrder() != nil:
		return ErrClientUnknown.Because(a.Client.outOfOrder())
	case a.request.Visitor && (!a.Client.Storefront || !s.Settings.Visitors):
		return ErrPathUnknown
	}
	a.policy = s.policy(&a.Client, a.request.Profile)
	return nil
}

// registeredRedirectURI returns where the user is sent back to: what the request names,
// if it is registered, or the only registered one (RFC 6749 section 3.1.2.3).
func (a *Authorization) registeredRedirectURI() (string, error) {
	given, err := a.request.Parameters.optional("redirect_uri")
	switch {
	case err != nil:
		return "", err
	case given != nil && *given == "" && a.request.Profile == Standard: // RFC 6749 section 3.1: without a value is omitted
		given = nil
	}
	a.redirectURI = given
	switch {
	case given != nil && a.Client.HasRedirectURI(*given):
		return *given, nil
	case given == nil && len(a.Client.RedirectURIs) == 1:
		return a.Client.RedirectURIs[0], nil
	}
	return "", ErrRedirectURIUnknown
}

func (a *Authorization) takeState() (err error) {
	a.state, err = a.request.Parameters.optional("state")
	return err
}

func (a *Authorization) mayAuthorize() error {
	if !a.Client.MayUse(GrantTypeAuthorizationCode) {
		return ErrClientUnauthorized
	}
	return nil
}

// takeChallenge takes the code challenge (RFC 7636 section 4.3). The standard endpoint
// asks everybody for one, and for S256 (RFC 9700 section 2.1.1). OroCommerce's asks
// public clients, and takes `plain` where nothing is said, and where the client may.
func (a *Authorization) takeChallenge() error {
	challenge, err := a.request.Parameters.optional("code_challenge")
	if err != nil {
		return err
	}
	method, err := a.request.Parameters.optional("code_challenge_method")
	if err != nil {
		return err
	}
	if challenge == nil || *challenge == "" {
		if a.Client.Public || a.request.Profile == Standard {
			return ErrChallengeMissing
		}
		return nil
	}
	a.challenge, a.method = *challenge, methodPlain
	if method != nil {
		a.method = *method
	}
	switch {
	case a.method != methodS256 && (a.method != methodPlain || a.request.Profile == Standard):
		return ErrChallengeMethod
	case !isVerifier(a.challenge):
		return ErrChallengeMalformed
	case a.method == methodPlain && !a.Client.PlainPKCE:
		return ErrChallengePlain
	}
	return nil
}

func (a *Authorization) takeScope() error {
	asked, err := a.request.Parameters.scope(a.request.Profile)
	if err != nil {
		return err
	}
	a.Scope, err = loginScope(asked, a.policy, a.request.Profile)
	return err
}

// Approve makes the authorization code for a user who agreed, and returns where to send
// the user with it. Subject is who agreed, signed in since authTime; of a visitor it is
// the zero value.
func (s *Server) Approve(ctx context.Context, a *Authorization, subject Subject, authTime time.Time) (string, error) {
	if a.request.Visitor {
		var err error
		if subject, err = s.Store.Subject(ctx, VisitorID); err != nil {
			return "", err
		}
	}
	random, err := s.randomGrant()
	if err != nil {
		return "", err
	}
	keys := s.Keys()
	hash, _ := keys.codeHash(keys.Active(), random.id, random.secret)
	g := Grant{
		ID: random.id, PublicID: random.publicID, Version: 1,
		ClientID: a.Client.ID, Subject: subject.ID, SubjectEpoch: subject.Epoch, Scope: a.Scope, Resource: a.Resource,
		AuthTime: authTime, AMR: []string{"pwd"}, Status: GrantPending, CurrentHash: hash, KeyID: keys.Active(),
	}
	if a.request.Visitor {
		g.AMR = nil
	}
	code, err := keys.formatCode(code{GrantID: g.ID, Secret: random.secret, RedirectURI: a.redirectURI, Challenge: a.challenge, Method: a.method})
	if err != nil {
		return "", err
	}
	err = s.Store.CreateGrant(context.WithoutCancel(ctx), NewGrant{Grant: g, ClientVersion: a.Client.Version, IdleLifetime: s.codeLifetime(a.request.Profile), MaxGrants: maxPending(&g)})
	if errors.Is(err, ErrOutcomeUnknown) {
		err = s.wasCreated(ctx, &g, err)
	}
	if err != nil {
		return "", fmt.Errorf("create pending grant: %w", err)
	}
	return a.answer(s.Settings.Issuer, "code", string(code)), nil
}

// maxPending is how many codes of a subject may wait at a client.
func maxPending(g *Grant) int {
	if g.Subject == VisitorID {
		return 0 // all visitors are one subject
	}
	return 100
}

// codeLifetime is how long a code made at an endpoint lives.
func (s *Server) codeLifetime(p Profile) time.Duration {
	switch {
	case s.Settings.CodeLifetime != nil:
		return *s.Settings.CodeLifetime
	case p == OroCommerce:
		return 600 * time.Second
	}
	return 60 * time.Second
}

// Deny returns where to send a user who did not agree.
func (s *Server) Deny(a *Authorization) string {
	if a.request.Profile == Standard {
		return a.Refuse(s.Settings.Issuer, ErrAccessDenied)
	}
	const denied = "The resource owner or authorization server denied the request."
	return a.answer("", "error", ErrAccessDenied.Code, "error_description", denied, "hint", "The user denied the request", "message", denied)
}

// Refuse returns where to send a user with a refusal that the client is told (RFC 6749
// section 4.1.2.1).
func (a *Authorization) Refuse(issuer string, refusal *Refusal) string {
	return a.answer(issuer, "error", refusal.Code, "error_description", refusal.Description)
}

// answer is the redirection URI with NAME, VALUE pairs in its query, the state and, at
// the standard endpoint, the issuer (RFC 9207 section 2). OroCommerce has the state
// before an error and after a code.
func (a *Authorization) answer(issuer string, pairs ...string) string {
	if a.state != nil && (*a.state != "" || a.request.Profile == Standard) {
		state := []string{"state", *a.state}
		if a.request.Profile == OroCommerce && pairs[0] == "error" {
			pairs = slices.Concat(state, pairs)
		} else {
			pairs = slices.Concat(pairs, state)
		}
	}
	if a.request.Profile == Standard {
		pairs = append(pairs, "iss", issuer)
	}
	to := []byte(a.RedirectURI)
	separator := byte('?')
	if u, err := url.Parse(a.RedirectURI); err == nil && (u.RawQuery != "" || u.ForceQuery) {
		separator = '&'
	}
	for i := 0; i < len(pairs); i += 2 {
		to = append(to, separator)
		to = append(to, url.QueryEscape(pairs[i])...)
		to = append(to, '=')
		to = append(to, url.QueryEscape(pairs[i+1])...)
		separator = '&'
	}
	return string(to)
}
