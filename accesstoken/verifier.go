package accesstoken

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// AnyClient, alone as Config.Audience, says that a verifier of OroCommerce's profile
// takes the tokens of every client of the issuer.
const AnyClient = "*"

// The defaults of Config, and its limits.
const (
	DefaultLeeway   = 10 * time.Second
	DefaultMaxStale = 24 * time.Hour

	maxLeeway    = time.Minute
	maxRedirects = 3
)

// Config says which access tokens a Verifier takes. Issuer and Audience are required.
type Config struct {
	// Issuer is the issuer identifier (RFC 8414 section 2), byte for byte as in `iss`: https,
	// or http on the loopback interface.
	Issuer string
	// Audience is who the API is: one of these must be in `aud` (RFC 9068 section 4). In the
	// Standard profile it is what clients ask for as the resource (RFC 8707), in
	// OroCommerce's the ids of the clients that may come, or AnyClient.
	Audience []string
	// Profile is the one kind of access tokens that is taken.
	Profile Profile
	// Scopes are scope tokens that every token must have.
	Scopes []string
	// Algorithms are the JWS algorithms that are allowed. Default: RS256, PS256, ES256 and
	// EdDSA. Which of them a signature is checked by is the key's own, never what a token
	// says.
	Algorithms []string
	// Leeway is how far the issuer's clock may be ahead, for `iat` and `nbf`. Default:
	// DefaultLeeway; at most a minute. There is none for `exp`, beyond which nobody remembers
	// that a token was revoked.
	Leeway time.Duration
	// Liveness says which tokens died before they expired. nil: offline, all live until they
	// expire.
	Liveness Liveness

	// JWKSURL is where the issuer's JWK set is; https, or http on the loopback interface.
	// Default: Issuer and /oauth2/jwks.
	JWKSURL string
	// HTTPClient fetches the set, with a timeout of its own and without following redirects
	// to another origin. Default: one with http.DefaultTransport.
	HTTPClient *http.Client
	// MaxStale is how long known keys serve while the issuer does not answer, counted from
	// its last answer. Default: DefaultMaxStale.
	MaxStale time.Duration
	// Now is the clock. Default: time.Now.
	Now func() time.Time

	// HTTP is how Middleware answers.
	HTTP HTTP
}

// Verifier verifies the access tokens of one issuer, of one profile and for one API. It
// is safe for concurrent use.
type Verifier struct {
	config Config
	keys   keySource
}

// NewVerifier returns a Verifier, or an error that says what is missing or wrong in the
// settings. Keys are fetched when the first token comes; see FetchKeys.
func NewVerifier(c Config) (*Verifier, error) {
	c.setDefaults()
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("access token verifier: %w", err)
	}
	v := &Verifier{config: c}
	v.config.Audience, v.config.Scopes = slices.Clone(c.Audience), slices.Clone(c.Scopes)
	v.config.Algorithms = slices.Clone(c.Algorithms)
	client := *c.HTTPClient
	client.CheckRedirect = withinOrigin
	v.keys.url, v.keys.client = c.JWKSURL, &client
	v.keys.algorithms, v.keys.maxStale = v.config.Algorithms, c.MaxStale
	return v, nil
}

func (c *Config) setDefaults() {
	if c.Algorithms == nil {
		c.Algorithms = []string{RS256, PS256, ES256, EdDSA}
	}
	if c.Leeway == 0 {
		c.Leeway = DefaultLeeway
	}
	if c.JWKSURL == "" {
		c.JWKSURL = strings.TrimSuffix(c.Issuer, "/") + "/oauth2/jwks"
	}
	if c.HTTPClient == nil {
		c.HTTPClient = &http.Client{}
	}
	if c.MaxStale == 0 {
		c.MaxStale = DefaultMaxStale
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.HTTP.Realm == "" {
		c.HTTP.Realm = "api"
	}
}

func (c *Config) check() error {
	if err := checkURL("Issuer", c.Issuer); err != nil {
		return err
	}
	if err := checkURL("JWKSURL", c.JWKSURL); err != nil {
		return err
	}
	switch {
	case c.Profile != Standard && c.Profile != OroCommerce:
		return errors.New("the profile is neither Standard nor OroCommerce")
	case len(c.Audience) == 0 || slices.Contains(c.Audience, ""):
		return errors.New("the audience is missing: who this API is")
	case slices.Contains(c.Audience, AnyClient) && (c.Profile != OroCommerce || len(c.Audience) > 1):
		return errors.New("AnyClient stands alone, and is for OroCommerce's profile")
	case c.Leeway < 0 || c.Leeway > maxLeeway:
		return errors.New("the leeway is negative or longer than a minute")
	case c.MaxStale < 0:
		return errors.New("the time in MaxStale is negative")
	case len(c.Algorithms) == 0:
		return errors.New("no algorithm is allowed")
	}
	for _, alg := range c.Algorithms {
		if !slices.Contains([]string{RS256, PS256, ES256, EdDSA}, alg) {
			return fmt.Errorf("the algorithm %q is not supported", alg)
		}
	}
	return c.HTTP.check()
}

// checkURL refuses what is no URL of the issuer, and plain http that leaves the machine:
// who sits on that wire chooses the keys.
func checkURL(setting, text string) error {
	if text == "" {
		return fmt.Errorf("%s is missing", setting)
	}
	if err := checkAddress(text); err != nil {
		return fmt.Errorf("%s: %w", setting, err)
	}
	return nil
}

// withinOrigin lets a client follow a few redirects to the origin that was asked.
func withinOrigin(next *http.Request, before []*http.Request) error {
	first := before[0].URL
	if next.URL.Scheme != first.Scheme || next.URL.Host != first.Host || len(before) > maxRedirects {
		return errors.New("the issuer redirects elsewhere")
	}
	return nil
}

// FetchKeys fetches the issuer's keys, unless they are at hand, so that a program can refuse to start where
// the first request would have to be refused. It returns ErrUnavailable.
func (v *Verifier) FetchKeys(ctx context.Context) error {
	set, err := v.keys.current(ctx, v.config.Now())
	if err != nil {
		return err
	}
	if len(set.keys) == 0 {
		return fmt.Errorf("%w: the issuer publishes no key for the algorithms that are allowed", ErrUnavailable)
	}
	return nil
}

// Verify checks an access token: signature, issuer, audience, times, liveness, scope.
// It returns ErrInvalid, in the kinds that say why, ErrScope or ErrUnavailable. A
// sender-constrained token is refused, since no proof comes with it: HTTP.Proof.
func (v *Verifier) Verify(ctx context.Context, raw string) (*Token, error) {
	return v.verify(ctx, raw, nil)
}

// verify checks a token. proof, if there is one, checks that who sent it may; without
// it, a sender-constrained token is refused.
func (v *Verifier) verify(ctx context.Context, raw string, proof func(*Token) error) (*Token, error) {
	now := v.config.Now()
	t, err := v.authentic(ctx, raw, now)
	if err != nil {
		return nil, err
	}
	if err := v.checkClaims(t, now); err != nil {
		return nil, err
	}
	if proof == nil && t.SenderConstrained() {
		return nil, ErrSenderConstrained
	}
	if proof != nil {
		if err := proof(t); err != nil {
			return nil, err
		}
	}
	if err := v.checkAlive(ctx, t); err != nil {
		return nil, err
	}
	if err := t.CheckScope(v.config.Scopes...); err != nil {
		return nil, err
	}
	return t, nil
}

// authentic returns the token if its signature is good and it is of our profile. Nothing
// of its claims is looked at before.
func (v *Verifier) authentic(ctx context.Context, raw string, now time.Time) (*Token, error) {
	c, err := parseCompact(raw)
	if err != nil {
		return nil, err
	}
	set, err := v.keys.current(ctx, now)
	if err != nil {
		return nil, err
	}
	k := set.header(c.header)
	known := k != nil
	if !known {
		if set, k, err = v.keyOf(ctx, c.header, now); err != nil {
			return nil, err
		}
	}
	payload, err := c.open(k)
	if err != nil {
		return nil, err
	}
	if !known {
		set.remember(c.header, k)
	}
	return parseToken(v.config.Profile, raw, payload)
}

// keyOf returns the key that a header names, and the set that it is of.
func (v *Verifier) keyOf(ctx context.Context, encoded string, now time.Time) (*keySet, *key, error) {
	h, err := parseHeader(encoded)
	if err != nil {
		return nil, nil, err
	}
	if err := h.check(v.config.Profile, v.config.Algorithms); err != nil {
		return nil, nil, err
	}
	set, k, err := v.keys.lookUp(ctx, now, h.kid)
	if err != nil {
		return nil, nil, err
	}
	if h.alg != k.alg {
		return nil, nil, ErrAlgorithm
	}
	return set, k, nil
}

func (v *Verifier) checkClaims(t *Token, now time.Time) error {
	if t.Issuer != v.config.Issuer {
		return ErrIssuer
	}
	if !v.isAudience(t) {
		return ErrAudience
	}
	return t.checkTimes(now, v.config.Leeway)
}

func (v *Verifier) isAudience(t *Token) bool {
	if v.config.Audience[0] == AnyClient {
		return true
	}
	return slices.ContainsFunc(t.Audience, func(a string) bool { return slices.Contains(v.config.Audience, a) })
}

// checkAlive asks Liveness. What is not a clear answer is no answer.
func (v *Verifier) checkAlive(ctx context.Context, t *Token) error {
	if v.config.Liveness == nil {
		return nil
	}
	err := v.config.Liveness.Alive(ctx, t)
	if err == nil || errors.Is(err, ErrRevoked) || errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
