package accesstoken

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Style is how refusals look on the wire.
type Style uint8

// The styles.
const (
	// RFC6750 tells the client what was wrong, in WWW-Authenticate (RFC 6750 section 3).
	RFC6750 Style = iota
	// OroCommerceStyle answers as OroCommerce's API does: 401 with an empty body, and
	// WWW-Authenticate only where no token was presented; 403 for a scope.
	OroCommerceStyle
)

// HTTP is how Middleware reads requests and words refusals. Its zero value will do.
type HTTP struct {
	// Style is how refusals look.
	Style Style
	// Realm is the realm of challenges (RFC 9110 section 11.5). Default: api.
	Realm string
	// ResourceMetadata is the URL of the API's metadata, from which clients learn where to
	// get a token (RFC 9728 section 5.1). Empty: challenges do not name it.
	ResourceMetadata string
	// Proof checks that the sender of a token has the key it is bound to: DPoP (RFC 9449
	// section 4.3) or mutual TLS (RFC 8705 section 3). It is called for every
	// sender-constrained token and for every token that comes by the scheme DPoP, which is
	// not read without Proof. A token bound for DPoP that comes by the scheme Bearer is
	// refused before (RFC 9449 section 7.2). An error that is not ErrUnavailable refuses the
	// token. nil: sender-constrained tokens are refused.
	Proof func(*http.Request, *Token) error
	// Refused is told of every refusal, for the API's own log: nothing is logged here. The
	// error has nothing of the token in it. nil: nobody is told.
	Refused func(*http.Request, error)
}

// check refuses what would break a header.
func (h *HTTP) check() error {
	switch {
	case h.Style != RFC6750 && h.Style != OroCommerceStyle:
		return errors.New("HTTP.Style is neither RFC6750 nor OroCommerceStyle")
	case !isQuotable(h.Realm):
		return errors.New("HTTP.Realm has characters that a header cannot have")
	case h.ResourceMetadata == "":
		return nil
	}
	u, err := url.Parse(h.ResourceMetadata)
	if err != nil || u.Host == "" || !isQuotable(h.ResourceMetadata) {
		return errors.New("HTTP.ResourceMetadata is not an absolute URL")
	}
	return nil
}

// isQuotable says whether a text may stand between quotation marks as it is.
func isQuotable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' })
}

// Middleware protects a handler: it is called for requests with a good access token,
// which FromContext returns. All others are refused, as Refuse says.
func (v *Verifier) Middleware(next http.Handler) http.Handler { return v.Require()(next) }

// Require is Middleware for a handler that needs more scope tokens than Config.Scopes.
// It may stand inside of Middleware, where it only looks at the scope, or alone.
func (v *Verifier) Require(scopes ...string) func(http.Handler) http.Handler {
	scopes = slices.Clone(scopes)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r, err := v.admit(r, scopes)
			if err != nil {
				v.refuse(w, r, err, scopes)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// admitted is what a context knows: the token, and who verified it.
type admitted struct {
	by    *Verifier
	token *Token
}

type contextKey struct{}

// FromContext returns the access token of a request that Middleware let through.
func FromContext(ctx context.Context) (*Token, bool) {
	a, ok := ctx.Value(contextKey{}).(admitted)
	return a.token, ok
}

// admit returns the request with its token in the context, and the same request beside
// an error.
func (v *Verifier) admit(r *http.Request, scopes []string) (*http.Request, error) {
	if a, ok := r.Context().Value(contextKey{}).(admitted); ok && a.by == v {
		return r, a.token.CheckScope(scopes...)
	}
	p, err := v.presented(r)
	if err != nil {
		return r, err
	}
	t, err := v.verify(r.Context(), p.token, v.proof(r, p))
	if err != nil {
		return r, err
	}
	if err := t.CheckScope(scopes...); err != nil {
		return r, err
	}
	with := r.WithContext(context.WithValue(r.Context(), contextKey{}, admitted{by: v, token: t}))
	if err := refuseInForm(with); err != nil {
		return r, err
	}
	return with, nil
}

// presentation is a token as it came in the Authorization header.
type presentation struct {
	token string
	dpop  bool // by the scheme DPoP (RFC 9449 section 7.1), else by Bearer
}

// presented takes the token out of a request. There is one way to present it, the
// Authorization header (RFC 6750 section 2.1): URLs end up in logs.
func (v *Verifier) presented(r *http.Request) (presentation, error) {
	if inQuery(r.URL.RawQuery) {
		return presentation{}, fmt.Errorf("%w: in the query", ErrRequest)
	}
	fields := r.Header["Authorization"]
	if len(fields) == 0 {
		return presentation{}, ErrMissing
	}
	if len(fields) > 1 {
		return presentation{}, fmt.Errorf("%w: more than one Authorization header", ErrRequest)
	}
	scheme, rest, _ := strings.Cut(fields[0], " ")
	dpop := v.config.HTTP.Proof != nil && strings.EqualFold(scheme, "DPoP")
	if !dpop && !strings.EqualFold(scheme, "Bearer") {
		return presentation{}, ErrMissing
	}
	token := strings.Trim(rest, " ")
	if token == "" {
		return presentation{}, fmt.Errorf("%w: the Authorization header is empty", ErrRequest)
	}
	return presentation{token: token, dpop: dpop}, nil
}

const tokenParameter = "access_token"

// inQuery says whether a query has a token in it (RFC 6750 section 2.3).
func inQuery(query string) bool {
	if !strings.Contains(query, tokenParameter) && !strings.ContainsRune(query, '%') {
		return false
	}
	values, _ := url.ParseQuery(query) // what it cannot read, the handler cannot read either
	return values.Has(tokenParameter)
}

// maxFormBytes is how much of a form is searched for a token.
const maxFormBytes = 64 << 10

// refuseInForm refuses a form that has a token in it besides (RFC 6750 section 2.2). It
// is for requests whose header has a good one, and leaves the body as it was.
func refuseInForm(r *http.Request) error {
	contentType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if contentType != "application/x-www-form-urlencoded" || r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	begin, _ := io.ReadAll(io.LimitReader(r.Body, maxFormBytes)) // what goes wrong, the handler meets again
	if inQuery(string(begin)) {
		return fmt.Errorf("%w: in the form, too", ErrRequest)
	}
	r.Body = body{Reader: io.MultiReader(bytes.NewReader(begin), r.Body), Closer: r.Body}
	return nil
}

// body is a body of which the beginning was read already.
type body struct {
	io.Reader
	io.Closer
}

// proof returns what checks that the sender has the key of a token, or nil where nothing
// can.
func (v *Verifier) proof(r *http.Request, p presentation) func(*Token) error {
	check := v.config.HTTP.Proof
	if check == nil {
		return nil
	}
	return func(t *Token) error {
		if !p.dpop && !t.SenderConstrained() {
			return nil
		}
		if !p.dpop && t.Confirmation.JWKThumbprint != "" {
			return ErrSenderConstrained
		}
		err := check(r, t)
		if err == nil || errors.Is(err, ErrInvalid) || errors.Is(err, ErrUnavailable) {
			return err
		}
		return fmt.Errorf("%w: %w", ErrSenderConstrained, err)
	}
}

// refuse answers a request that was not let through to a handler that needs scopes.
func (v *Verifier) refuse(w http.ResponseWriter, r *http.Request, err error, scopes []string) {
	if v.config.HTTP.Refused != nil {
		v.config.HTTP.Refused(r, err)
	}
	v.respond(w, err, scopes)
}

// Refuse writes the answer to a request that is refused because of an error of this
// package: what Middleware does, for handlers that learn only later what is needed
// (Token.CheckScope). The body is empty. An error that is none of this package's is
// answered like ErrUnavailable.
func (v *Verifier) Refuse(w http.ResponseWriter, err error) { v.respond(w, err, nil) }

// retrySeconds is when to try again after an ErrUnavailable, in seconds.
const retrySeconds = "5"

func (v *Verifier) respond(w http.ResponseWriter, err error, scopes []string) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	refused := refusalOf(err)
	switch {
	case refused.status == http.StatusServiceUnavailable:
		h.Set("Retry-After", retrySeconds)
	case v.config.HTTP.Style == RFC6750:
		h.Set("WWW-Authenticate", v.challenge(refused, v.scopeNeeded(err, scopes)))
	case refused.code == "":
		h.Set("WWW-Authenticate", "Bearer")
	}
	if v.config.HTTP.Style == OroCommerceStyle && refused.status == http.StatusBadRequest {
		refused.status = http.StatusUnauthorized
	}
	w.WriteHeader(refused.status)
}

// refusal is a status with the error code that goes with it (RFC 6750 section 3.1).
type refusal struct {
	status            int
	code, description string
}

// refusalOf says how an error is answered. What exactly is wrong with a token is not for
// who presents it, but that it is of the past.
func refusalOf(err error) refusal {
	switch {
	case errors.Is(err, ErrMissing):
		return refusal{status: http.StatusUnauthorized}
	case errors.Is(err, ErrRequest):
		return refusal{http.StatusBadRequest, "invalid_request", "Present one access token, in the Authorization header"}
	case errors.Is(err, ErrScope):
		return refusal{http.StatusForbidden, "insufficient_scope", "The access token has not the scope that is needed"}
	case errors.Is(err, ErrUnavailable) || !errors.Is(err, ErrInvalid):
		return refusal{status: http.StatusServiceUnavailable}
	case errors.Is(err, ErrExpired):
		return refusal{http.StatusUnauthorized, "invalid_token", "The access token expired"}
	}
	return refusal{http.StatusUnauthorized, "invalid_token", "The access token is invalid or was revoked"}
}

// challenge is the text of WWW-Authenticate (RFC 6750 section 3, RFC 9728 section 5.1).
func (v *Verifier) challenge(r refusal, scope string) string {
	text := `Bearer realm="` + v.config.HTTP.Realm + `"`
	if r.code != "" {
		text += `, error="` + r.code + `", error_description="` + r.description + `"`
	}
	if scope != "" && isQuotable(scope) {
		text += `, scope="` + scope + `"`
	}
	if v.config.HTTP.ResourceMetadata != "" {
		text += `, resource_metadata="` + v.config.HTTP.ResourceMetadata + `"`
	}
	return text
}

// scopeNeeded is all that a token must have for what was asked: every token, those for
// the handler, and what an ErrScope knows.
func (v *Verifier) scopeNeeded(err error, scopes []string) string {
	needed := slices.Concat(v.config.Scopes, scopes)
	var more *scopeError
	if errors.As(err, &more) {
		needed = append(needed, more.needed...)
	}
	var once []string
	for _, s := range needed {
		if !slices.Contains(once, s) {
			once = append(once, s)
		}
	}
	return strings.Join(once, " ")
}
