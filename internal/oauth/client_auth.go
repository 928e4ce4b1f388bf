package oauth

import (
	"context"
	"errors"
	"slices"
)

// maxSecretLength is the longest client secret or password that is looked at, in bytes.
const maxSecretLength = 4096

// authenticateClient finds out which client asks and whether it may use the grant
// type (RFC 6749 sections 2.3 and 3.2.1), and fills in the request's client and policy.
// An empty grant type is none: the client asks about tokens, or ends them.
func (s *Server) authenticateClient(ctx context.Context, r *request, grantType string) error {
	candidates, err := r.clientCredentials()
	if err != nil {
		return err
	}
	r.client = nil
	var guessed []string // clients that exist: what strangers make up is not counted
	for _, given := range slices.Compact(candidates) {
		err = s.tryCredentials(ctx, r, grantType, given)
		if !errors.Is(err, ErrClientUnauthenticated) {
			return err
		}
		if !errors.Is(err, errClientUnknown) {
			guessed = append(guessed, given.ID)
		}
	}
	for _, id := range guessed {
		s.secrets.failed(s.Keys(), r.Source, id, r.now)
	}
	return err
}

var errClientUnknown = errors.New("unknown client")

// tryCredentials tries one reading of the credentials. Only a refresh and an
// introspection may use a remembered client, since they compare the version later; and
// a remembered one never refuses, unless it is still the present one.
func (s *Server) tryCredentials(ctx context.Context, r *request, grantType string, given BasicCredentials) error {
	var remembered *Client
	var refusal error
	if known, ok := s.clients.Load(given.ID); ok && (r.comparesVersion || grantType == GrantTypeRefreshToken) {
		remembered = known.(*Client)
		if refusal = s.authenticate(ctx, r, remembered, grantType, given.Secret); refusal == nil {
			return nil
		}
	}
	client, err := s.Store.Client(ctx, given.ID)
	switch {
	case errors.Is(err, ErrNotFound):
		s.Keys().spendLikeVerifying(given.Secret)
		return ErrClientUnauthenticated.Because(errClientUnknown)
	case err != nil:
		return err
	case remembered != nil && remembered.Version == client.Version:
		r.tried = client.ID
		return refusal
	}
	r.tried = client.ID
	if err := s.authenticate(ctx, r, &client, grantType, given.Secret); err != nil {
		return err
	}
	s.clients.Store(client.ID, &client)
	return nil
}

// authenticate checks one client against one secret.
func (s *Server) authenticate(ctx context.Context, r *request, c *Client, grantType string, secret Secret) error {
	if err := s.secrets.check(s.Keys(), r.Source, c, r.now); err != nil {
		return err
	}
	if err := s.mayAuthenticate(r, c, grantType); err != nil {
		return err
	}
	if err := s.verifyClient(ctx, r, c, secret); err != nil {
		return err
	}
	if r.Profile == Standard && grantType != "" && !c.MayUse(grantType) {
		return ErrClientUnauthorized
	}
	if err := r.registeredRedirectURI(c); err != nil {
		return err
	}
	r.client, r.policy = c, s.policy(c, r.Profile)
	return nil
}

// mayAuthenticate checks what OroCommerce checks before the secret.
func (s *Server) mayAuthenticate(r *request, c *Client, grantType string) error {
	if err := c.outOfOrder(); err != nil {
		return ErrClientUnauthenticated.Because(err)
	}
	if r.Profile == OroCommerce && !c.MayUse(grantType) {
		return ErrClientUnauthenticated.Because(errors.New("the client may not use this grant type"))
	}
	return nil
}

// verifyClient checks the secret. OroCommerce ignores what a public client sends
// as one; by the standard a public client has none to send (RFC 6749 section 2.3).
func (s *Server) verifyClient(ctx context.Context, r *request, c *Client, secret Secret) error {
	if c.Public {
		if r.Profile == Standard && secret != "" {
			return ErrClientUnauthenticated.Because(errors.New("a public client sent a secret"))
		}
		return nil
	}
	ok, err := s.secretFits(ctx, c, secret, r)
	if err != nil {
		return err
	}
	if !ok {
		return ErrClientUnauthenticated.Because(errors.New("wrong client secret"))
	}
	return nil
}

// secretFits tries the client's living secrets, the cheap ones first.
func (s *Server) secretFits(ctx context.Context, c *Client, secret Secret, r *request) (bool, error) {
	if secret == "" || len(secret) > maxSecretLength {
		return false, nil
	}
	var chosen []string
	for _, stored := range c.Secrets {
		if !stored.Alive(r.now) {
			continue
		}
		if !IsGeneratedSecretHash(stored.Hash) {
			chosen = append(chosen, stored.Hash)
			continue
		}
		if ok, err := s.Keys().verifyClientSecret(stored.Hash, secret); ok || err != nil {
			return ok, err
		}
	}
	for _, hash := range chosen {
		if ok, err := s.Secrets.VerifySecret(ctx, hash, secret); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// spendLikeVerifying does the work of verifying a generated secret.
func (k *Keys) spendLikeVerifying(secret Secret) { _ = k.HashClientSecret(secret) }

// clientCredentials returns the readings of the request's client credentials, at
// least one. More than one stems from Basic credentials, which some clients
// percent-encode (RFC 6749 section 2.3.1) and some do not.
func (r *request) clientCredentials() ([]BasicCredentials, error) {
	id, err := r.Parameters.optional("client_id")
	if err != nil {
		return nil, err
	}
	secret, err := r.Parameters.optional("client_secret")
	if err != nil {
		return nil, err
	}
	if r.Profile == Standard {
		return r.standardCredentials(id, secret)
	}
	return r.oroCredentials(id, secret)
}

// standardCredentials allows one method of authentication per request.
func (r *request) standardCredentials(id, secret *string) ([]BasicCredentials, error) {
	switch {
	case r.Basic == nil && id == nil:
		return nil, ErrParameterInvalid.About("client_id")
	case r.Basic == nil && secret == nil:
		return []BasicCredentials{{ID: *id}}, nil
	case r.Basic == nil:
		return []BasicCredentials{{ID: *id, Secret: Secret(*secret)}}, nil
	case secret != nil:
		return nil, ErrClientMethodsMixed
	case id != nil && !slices.ContainsFunc(r.Basic, func(b BasicCredentials) bool { return b.ID == *id }):
		return nil, ErrClientMethodsMixed.Because(errors.New("two client ids"))
	}
	return r.Basic, nil
}

// oroCredentials takes each half from the body, or else from Basic.
func (r *request) oroCredentials(id, secret *string) ([]BasicCredentials, error) {
	basic := r.Basic
	if basic == nil {
		basic = []BasicCredentials{{}}
		if id == nil {
			return nil, ErrParameterInvalid.About("client_id")
		}
	}
	candidates := slices.Clone(basic)
	for i := range candidates {
		if id != nil {
			candidates[i].ID = *id
		}
		if secret != nil {
			candidates[i].Secret = Secret(*secret)
		}
	}
	return candidates, nil
}

// registeredRedirectURI is OroCommerce's check of a redirect_uri on any grant.
func (r *request) registeredRedirectURI(c *Client) error {
	p, given := r.Parameters["redirect_uri"]
	switch {
	case r.Profile != OroCommerce || !given:
		return nil
	case p.Invalid || p.List != nil:
		return ErrParameterInvalid.About("redirect_uri")
	case !c.HasRedirectURI(p.Value):
		return ErrRedirectURIUnknown
	}
	return nil
}
