package accesstoken

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4/json" // takes member names exactly, and each once
)

// What Introspection does if nothing is said.
const (
	defaultCacheFor  = time.Second
	defaultMaxCached = 10_000
	defaultTimeout   = 5 * time.Second
)

const maxIntrospectionBytes = 64 << 10

var (
	errInactive      = fmt.Errorf("%w: its issuer says that it is not active", ErrRevoked)
	errAnswerForm    = errors.New("the answer is malformed")
	errAnswerSubject = errors.New("the answer is about another token")
)

// IntrospectionConfig has the settings of Introspection. Issuer or URL, ClientID and
// ClientSecret are required.
type IntrospectionConfig struct {
	// Issuer is the issuer identifier; its introspection endpoint is /oauth2/introspect.
	Issuer string
	// URL is the introspection endpoint itself, if it is another.
	URL string

	// ClientID and ClientSecret authenticate the API as a confidential client of the issuer.
	// The issuer tells a client only about tokens that were issued to it, or that name it in
	// `aud`: all others are not active.
	ClientID     string
	ClientSecret Secret

	// CacheFor is how long an answer, good or bad, is used again, counted from the moment
	// its question was sent; so it is how long a token may be accepted after its death at
	// most. 0 is a second. With a negative one no answer is used again: each Alive asks for
	// itself, and no token is accepted that was dead before.
	CacheFor time.Duration
	// MaxCached is how many answers are kept at most; 10,000 if it is 0.
	MaxCached int
	// Timeout bounds a question and its answer; 5 seconds if it is 0.
	Timeout time.Duration

	// HTTPClient makes the requests; one with http.DefaultTransport if it is nil. Its Timeout is not
	// used, and it follows no redirects.
	HTTPClient *http.Client
	// Now is the clock; time.Now if it is nil.
	Now func() time.Time
}

// Introspection is the way of liveness that asks the issuer about the token itself (RFC
// 7662). It is exact but for CacheFor, needs no more of the issuer than RFC 7662 says, and
// costs a request to it for each token in each CacheFor. An API is then as available as
// its issuer: whatever goes wrong with a question is an ErrUnavailable, never a dead
// token, and never a living one.
type Introspection struct {
	caller   *caller
	cacheFor time.Duration
	timeout  time.Duration
	now      func() time.Time

	mu       sync.Mutex
	verdicts recent[[sha256.Size]byte, verdict]
}

// verdict is what the issuer said about a token, or will say.
type verdict struct {
	until time.Time     // it may be used for whoever comes before
	known chan struct{} // closed when err is set
	err   error
}

// NewIntrospection returns an Introspection, or an error if a setting is missing or wrong.
func NewIntrospection(c IntrospectionConfig) (*Introspection, error) {
	caller, err := newCaller(c.HTTPClient, c.Issuer, c.URL, "/oauth2/introspect", c.ClientID, c.ClientSecret)
	if err != nil {
		return nil, fmt.Errorf("introspection: %w", err)
	}
	caller.maxBytes = maxIntrospectionBytes
	i := &Introspection{caller: caller, cacheFor: c.CacheFor, timeout: c.Timeout, now: c.Now}
	i.verdicts.limit = c.MaxCached
	if i.cacheFor == 0 {
		i.cacheFor = defaultCacheFor
	}
	if i.verdicts.limit <= 0 {
		i.verdicts.limit = defaultMaxCached
	}
	if i.timeout <= 0 {
		i.timeout = defaultTimeout
	}
	if i.now == nil {
		i.now = time.Now
	}
	return i, nil
}

// Alive implements Liveness.
func (i *Introspection) Alive(ctx context.Context, t *Token) error {
	v := i.verdict(t)
	select {
	case <-v.known:
		return v.err
	case <-ctx.Done():
		return fmt.Errorf("%w: introspection: %w", ErrUnavailable, ctx.Err())
	}
}

// verdict returns the one that is there or on its way, if it is not too old, and else
// asks for it.
func (i *Introspection) verdict(t *Token) *verdict {
	key := sha256.Sum256([]byte(t.Raw()))
	now := i.now()
	i.mu.Lock()
	defer i.mu.Unlock()
	if v := i.verdicts.get(key); v != nil && now.Before(v.until) {
		return v
	}
	until := now.Add(i.cacheFor)
	if t.ExpiresAt.Before(until) {
		until = t.ExpiresAt
	}
	v := i.verdicts.put(key, verdict{until: until, known: make(chan struct{})})
	go i.resolve(key, v, t)
	return v
}

// resolve asks. What goes wrong is told to those who wait, and not kept.
func (i *Introspection) resolve(key [sha256.Size]byte, v *verdict, t *Token) {
	v.err = i.ask(t)
	if errors.Is(v.err, ErrUnavailable) {
		i.mu.Lock()
		i.verdicts.forget(key, v)
		i.mu.Unlock()
	}
	close(v.known)
}

// ask puts the question (RFC 7662 section 2.1), in nobody's name: who was first may leave
// while others wait.
func (i *Introspection) ask(t *Token) error {
	ctx, cancel := context.WithTimeout(context.Background(), i.timeout)
	defer cancel()
	form := url.Values{"token": {t.Raw()}, "token_type_hint": {"access_token"}}.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, i.caller.url, strings.NewReader(form))
	if err != nil {
		return fmt.Errorf("%w: introspection: %w", ErrUnavailable, err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	body, err := i.caller.call(r)
	if err != nil {
		return fmt.Errorf("%w: introspection: %w", ErrUnavailable, err)
	}
	active, err := readIntrospection(body, t)
	switch {
	case err != nil:
		return fmt.Errorf("%w: introspection: %w", ErrUnavailable, err)
	case !active:
		return errInactive
	}
	return nil
}

// introspection is an answer (RFC 7662 section 2.2), as far as it says which token it is
// about.
type introspection struct {
	Active    *bool    `json:"active"`
	Issuer    *string  `json:"iss"`
	Subject   *string  `json:"sub"`
	ClientID  *string  `json:"client_id"`
	ID        *string  `json:"jti"`
	ExpiresAt *float64 `json:"exp"`
}

// readIntrospection takes an answer about t. One about another token, which a cache on the
// way may have mixed up, is none.
func readIntrospection(body []byte, t *Token) (active bool, err error) {
	var a introspection
	if err := json.Unmarshal(body, &a); err != nil || a.Active == nil {
		return false, errAnswerForm
	}
	if !*a.Active {
		return false, nil
	}
	differs := func(given *string, ours string) bool { return given != nil && *given != ours }
	if differs(a.Issuer, t.Issuer) || differs(a.Subject, t.Subject) || differs(a.ClientID, t.ClientID) || differs(a.ID, t.ID) ||
		a.ExpiresAt != nil && math.Floor(*a.ExpiresAt) != float64(t.ExpiresAt.Unix()) {
		return false, errAnswerSubject
	}
	return true, nil
}

// Secret is a client secret. Every way of printing it yields "[redacted]"; string(s) is
// the text.
type Secret string

// Format implements fmt.Formatter for all verbs.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[redacted]") }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// MarshalText implements encoding.TextMarshaler, so that JSON shows nothing either.
func (Secret) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

// caller makes requests to one address of the issuer, as a confidential client.
type caller struct {
	url      string
	http     http.Client
	maxBytes int64
	// authenticate is a function, since what is in it does not print.
	authenticate func(*http.Request)
}

// newCaller checks what a client needs. address is used instead of the path at the issuer
// where it is given.
func newCaller(c *http.Client, issuer, address, path, clientID string, secret Secret) (*caller, error) {
	setting, at := "URL", address
	if address == "" {
		setting, at, address = "Issuer", issuer, strings.TrimSuffix(issuer, "/")+path
	}
	if err := checkURL(setting, at); err != nil {
		return nil, err
	}
	if clientID == "" || secret == "" {
		return nil, errors.New("ClientID or ClientSecret is missing")
	}
	if c == nil {
		c = &http.Client{}
	}
	own := *c
	own.Timeout = 0 // each request has a deadline, and a long poll a late one
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	user, password := url.QueryEscape(clientID), url.QueryEscape(string(secret)) // RFC 6749 section 2.3.1
	return &caller{url: address, http: own, authenticate: func(r *http.Request) { r.SetBasicAuth(user, password) }}, nil
}

// checkAddress refuses what is no absolute URL, and plain http that leaves the machine: who
// sits on that wire learns secrets, and chooses keys and answers.
func checkAddress(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("not an absolute URL without user, query and fragment") // and not repeated: there may be a secret in it
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return nil
	}
	return errors.New("must be https, or http on the loopback interface")
}

func isLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// call sends a request and returns the body of a good answer, which is JSON.
func (c *caller) call(r *http.Request) ([]byte, error) {
	r.Header.Set("Accept", "application/json")
	c.authenticate(r)
	response, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, &statusError{url: c.url, status: response.StatusCode, retryAfter: retryAfterOf(response)}
	}
	if t, _, err := mime.ParseMediaType(response.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return nil, fmt.Errorf("%s: the answer is not JSON", c.url)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, c.maxBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: read the answer: %w", c.url, err)
	case int64(len(body)) > c.maxBytes:
		return nil, fmt.Errorf("%s: the answer is larger than %d bytes", c.url, c.maxBytes)
	}
	return body, nil
}

// statusError is an answer that is none. What its body says is not repeated.
type statusError struct {
	url        string
	status     int
	retryAfter time.Duration
}

func (e *statusError) Error() string {
	if e.status == http.StatusUnauthorized {
		return e.url + ": 401: the issuer does not take ClientID and ClientSecret"
	}
	return fmt.Sprintf("%s: %d %s", e.url, e.status, http.StatusText(e.status))
}

// retryAfterOf reads Retry-After where it is in seconds (RFC 9110 section 10.2.3).
func retryAfterOf(r *http.Response) time.Duration {
	seconds, err := strconv.ParseUint(r.Header.Get("Retry-After"), 10, 16)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}
