package oauth

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"
)

// Server decides the requests of the token endpoint and of resources that the
// server itself protects. All fields are required unless they say otherwise.
type Server struct {
	Store     Store
	Directory Directory
	Passwords PasswordSetter // nil: users cannot change theirs here
	Signer    Signer
	Secrets   SecretVerifier
	Keys      func() *Keys     // the master keys of the moment
	Now       func() time.Time // for the times in tokens; UTC
	Rand      io.Reader
	Settings  Settings
	// ReloadKeys brings Keys up to date: another node may use a master key since a
	// moment that this one has not seen yet. nil: Keys never change.
	ReloadKeys func(ctx context.Context) error
	// Rotated is told of every rotation that is durable, perhaps more than once, before
	// its answer is written. It must not wait. nil: nobody wants to know.
	Rotated func(Rotation)

	clients sync.Map // ID -> *Client, for refreshes: the swap compares the version
	used    sync.Map // ID -> time.Time of clients that got a token, until it is saved
	secrets secretThrottle
}

// Signer signs access tokens and checks the signatures of our own (RFC 7515).
type Signer interface {
	// Sign returns the JWS compact serialization of the payload under the active
	// key of the algorithm, with the given `typ`; or a fault.
	Sign(alg, typ string, payload []byte) (string, error)
	// Verify returns `typ` and payload of a token that one of the published keys
	// signed; or ErrKeysUnread, where another node may have made a key that could not be
	// read; or any other error.
	Verify(token string) (typ string, payload []byte, err error)
}

// SecretVerifier checks client secrets that somebody chose or brought along, which
// are kept as password hashes.
type SecretVerifier interface {
	// VerifySecret reports whether the secret fits the hash. It may return ErrBusy
	// or a fault.
	VerifySecret(ctx context.Context, hash string, secret Secret) (bool, error)
}

// Settings are the server's part of every client's policy.
type Settings struct {
	Issuer               string // RFC 8414 section 2
	AccessTokenLifetime  time.Duration
	RefreshTokenLifetime time.Duration
	AbsoluteLifetime     time.Duration // 0: no end
	RetryWindow          *time.Duration
	LateWindow           time.Duration
	RetryBudget          int
	PreviousAccessToken  PreviousAccessToken
	SigningAlg           string
	MaxGrants            int
	Lockout              int // 0: off
	// CodeLifetime is how long an authorization code may be redeemed; nil: 60 s, and
	// 600 s for one made at OroCommerce's endpoint.
	CodeLifetime    *time.Duration
	SessionLifetime time.Duration // of a browser's session
	KeepGrants      bool          // a user's grants survive a new password, as in OroCommerce
	Visitors        bool          // storefront clients may get tokens for visitors who have no account
}

// The retry windows, unless set: a confidential client authenticates, so that its
// window may be longer.
const (
	DefaultRetryWindowPublic       = 60 * time.Second
	DefaultRetryWindowConfidential = 300 * time.Second
)

// Profile is the endpoint that was asked: which rules beyond wording hold, and
// which claims an access token has.
type Profile int

// The profiles.
const (
	Standard    Profile = iota // the RFCs, strictly
	OroCommerce                // what OroCommerce's /oauth2-token does
)

// TokenRequest is a request to the token endpoint (RFC 6749 section 3.2).
type TokenRequest struct {
	Profile    Profile
	Parameters Parameters
	Basic      []BasicCredentials // how the Authorization header may be read; nil: it has none
	Source     string             // network of the caller: an address block such as 192.0.2.0/24
	RequestID  string
}

// Parameters are the parameters of a request, each at most once.
type Parameters map[string]Parameter

// Parameter is the value of a parameter. A JSON null is an absent parameter.
type Parameter struct {
	Value   string
	List    []string // of a JSON list of strings and numbers; only `scope` may be one, at OroCommerce's endpoint
	Numbers bool     // the list consists of numbers
	Invalid bool     // neither
}

// BasicCredentials is one reading of HTTP Basic credentials.
type BasicCredentials struct {
	ID     string
	Secret Secret
}

// TokenResponse is a successful answer (RFC 6749 section 5.1), with what the log
// and the metrics want to know.
type TokenResponse struct {
	AccessToken  Secret
	RefreshToken Secret // empty: none
	ExpiresIn    time.Duration
	Scope        Scope // of the access token

	Outcome  string // "login", "rotated", "retried", "reused"
	ClientID string
	GrantID  string // Grant.PublicID
}

// request is a token request on its way.
type request struct {
	TokenRequest
	now     time.Time
	client  *Client
	policy  Policy
	tried   string // a client that exists, whose authentication failed
	grantID string // Grant.PublicID, once it is known

	comparesVersion bool // a remembered client will do: its version is compared before the answer
}

// grantTypes is the one list of what the token endpoint can do.
var grantTypes = map[string]func(*Server, context.Context, *request) (TokenResponse, error){
	GrantTypeAuthorizationCode: (*Server).authorizationCode,
	GrantTypeClientCredentials: (*Server).clientCredentials,
	GrantTypePassword:          (*Server).password,
	GrantTypeRefreshToken:      (*Server).refreshToken,
}

// GrantTypes lists the grant types of the token endpoint, for the metadata.
func GrantTypes() []string { return slices.Sorted(maps.Keys(grantTypes)) }

// Token answers a request to the token endpoint: a response, a Refusal or a fault.
// Beside an error the response says what is known of client and grant.
func (s *Server) Token(ctx context.Context, t TokenRequest) (TokenResponse, error) {
	r := &request{TokenRequest: t, now: s.Now()}
	response, err := s.token(ctx, r)
	if err != nil {
		return TokenResponse{ClientID: r.clientID(), GrantID: r.grantID}, err
	}
	response.ClientID = r.client.ID
	s.used.Store(r.client.ID, r.now)
	return response, nil
}

func (s *Server) token(ctx context.Context, r *request) (TokenResponse, error) {
	p, given := r.Parameters["grant_type"]
	if !given {
		return TokenResponse{}, ErrGrantTypeMissing
	}
	grant, supported := grantTypes[p.Value]
	if !supported || p.Invalid || p.List != nil {
		return TokenResponse{}, ErrGrantTypeUnsupported
	}
	if err := s.authenticateClient(ctx, r, p.Value); err != nil {
		return TokenResponse{}, err
	}
	return grant(s, ctx, r)
}

// NoteRefusal remembers for a while why a request got no tokens, or no access, so
// that it can be explained. The refusal of an authentic refresh token was recorded
// for good where it was decided.
func (s *Server) NoteRefusal(e Event) {
	e.Type = EventRefusal
	s.Store.NoteRefusal(e)
}

// clientID is, for logs, the id of the client that asks or claims to: of one that
// exists, never what a stranger made up.
func (r *request) clientID() string {
	if r.client == nil {
		return r.tried
	}
	return r.client.ID
}

// required returns a parameter that must be given, as text.
func (all Parameters) required(name string) (Secret, error) {
	p, given := all[name]
	if !given || p.Invalid || p.List != nil {
		return "", ErrParameterInvalid.About(name)
	}
	return Secret(p.Value), nil
}

// optional returns a parameter's text, or nil where it is not given.
func (all Parameters) optional(name string) (*string, error) {
	p, given := all[name]
	switch {
	case !given:
		return nil, nil
	case p.Invalid || p.List != nil:
		return nil, ErrParameterInvalid.About(name)
	}
	return &p.Value, nil
}

// scope returns the scope asked for, or nil where nothing was said.
func (all Parameters) scope(profile Profile) (Scope, error) {
	p, given := all["scope"]
	switch {
	case !given:
		return nil, nil
	case p.Invalid || p.List != nil && profile != OroCommerce:
		return nil, ErrParameterInvalid.About("scope")
	case p.List != nil:
		return boundedScope(p.List)
	case p.Value == "" && profile == Standard: // RFC 6749 section 3.1: without a value is omitted
		return nil, nil
	}
	scope, err := boundedScope(splitScope(p.Value))
	if err == nil && profile == Standard && !scope.Valid() {
		return nil, ErrScopeInvalid.About(p.Value)
	}
	return scope, err
}

// policy puts the client's settings over the server's.
func (s *Server) policy(c *Client, p Profile) Policy {
	set := &s.Settings
	policy := Policy{
		AccessTokenLifetime:  set.AccessTokenLifetime,
		RefreshTokenLifetime: set.RefreshTokenLifetime,
		AbsoluteLifetime:     set.AbsoluteLifetime,
		RetryWindow:          DefaultRetryWindowConfidential,
		LateWindow:           set.LateWindow,
		RetryBudget:          set.RetryBudget,
		Reusable:             c.ReusableRefreshTokens && !c.Public,
		PreviousAccessToken:  set.PreviousAccessToken,
		SigningAlg:           set.SigningAlg,
		Scope:                c.Scope,
		AnyScope:             c.Scope == nil && p == OroCommerce && len(c.APIs) == 0,
		NoScope:              c.Scope == nil && p == OroCommerce && len(c.APIs) > 0,
		APIs:                 c.APIs,
	}
	if c.Public {
		policy.RetryWindow = DefaultRetryWindowPublic
	}
	for _, window := range []*time.Duration{set.RetryWindow, c.RetryWindow} {
		if window != nil {
			policy.RetryWindow = *window
		}
	}
	if c.AccessTokenLifetime > 0 {
		policy.AccessTokenLifetime = c.AccessTokenLifetime
	}
	if c.RefreshTokenLifetime > 0 {
		policy.RefreshTokenLifetime = c.RefreshTokenLifetime
	}
	if c.SigningAlg != "" {
		policy.SigningAlg = c.SigningAlg
	}
	return policy
}

// SaveClientUse writes when clients last got a token, for those that did since it was
// last called. What cannot be written is tried again with the next call.
func (s *Server) SaveClientUse(ctx context.Context) error {
	used := map[string]time.Time{}
	s.used.Range(func(id, at any) bool {
		used[id.(string)] = at.(time.Time)
		return true
	})
	if len(used) == 0 {
		return nil
	}
	if err := s.Store.SaveClientUse(ctx, used); err != nil {
		return err
	}
	for id, at := range used {
		s.used.CompareAndDelete(id, at)
	}
	return nil
}

// randomHex returns n random bytes in lower-case hex.
func (s *Server) randomHex(n int) (string, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(s.Rand, b); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	return hex.EncodeToString(b), nil
}
