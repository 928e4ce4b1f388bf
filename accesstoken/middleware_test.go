package accesstoken_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/counterfoil/counterfoil/accesstoken"
)

// api serves a handler that answers with the token's subject and its own body.
func api(t *testing.T, protect func(http.Handler) http.Handler) string {
	t.Helper()
	server := httptest.NewServer(protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := accesstoken.FromContext(r.Context())
		if !ok {
			t.Error("no token in the context")
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(w, "%s %s", token.Subject, body)
	})))
	t.Cleanup(server.Close)
	return server.URL
}

// request is a request to an API, and what must come of it.
type request struct {
	name          string
	authorization []string
	path          string // with the query
	form          string // POSTed, where it is not empty
	status        int
	challenge     string // WWW-Authenticate
}

func (q *request) run(t *testing.T, base string) {
	t.Helper()
	method, body := http.MethodGet, io.Reader(http.NoBody)
	if q.form != "" {
		method, body = http.MethodPost, strings.NewReader(q.form)
	}
	r := must(http.NewRequestWithContext(t.Context(), method, base+q.path, body))
	r.Header["Authorization"] = q.authorization
	if q.form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	}
	answer := must(http.DefaultClient.Do(r))
	defer answer.Body.Close()
	text := string(must(io.ReadAll(answer.Body)))
	if answer.StatusCode != q.status {
		t.Errorf("status %d, want %d", answer.StatusCode, q.status)
	}
	if got := strings.Join(answer.Header.Values("WWW-Authenticate"), " & "); got != q.challenge {
		t.Errorf("WWW-Authenticate: %s\nwant %s", got, q.challenge)
	}
	if want := "0199a5c4 " + q.form; q.status == http.StatusOK && text != want {
		t.Errorf("body %q, want %q", text, want)
	}
	if q.status != http.StatusOK && (text != "" || answer.Header.Get("Cache-Control") != "no-store") {
		t.Errorf("body %q, Cache-Control %q", text, answer.Header.Get("Cache-Control"))
	}
	if retry := answer.Header.Get("Retry-After"); (retry != "") != (q.status == http.StatusServiceUnavailable) {
		t.Errorf("status %d with Retry-After %q", q.status, retry)
	}
}

const (
	invalidRequest = `error="invalid_request", error_description="Present one access token, in the Authorization header"`
	invalidToken   = `error="invalid_token", error_description="The access token is invalid or was revoked"`
	expiredToken   = `error="invalid_token", error_description="The access token expired"`
	tooLittleScope = `error="insufficient_scope", error_description="The access token has not the scope that is needed"`
)

// RFC 6750 sections 2 and 3.
func TestMiddleware(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, edDSA())
	good := edDSA().token(i.claims())
	expired := edDSA().token(i.claims().with("exp", 1))
	bound := edDSA().token(i.claims().with("cnf", map[string]string{"jkt": "x"}))
	one := func(text string) []string { return []string{text} }
	const challenge = `Bearer realm="api"`
	tests := []request{
		{"good", one("Bearer " + good), "", "", 200, ""},
		{"scheme in lower case", one("bearer " + good), "", "", 200, ""},
		{"scheme in capitals, more spaces", one("BEARER   " + good), "", "", 200, ""},
		{"nothing", nil, "", "", 401, challenge},
		{"another scheme", one("Basic " + b64("a:b")), "", "", 401, challenge},
		{"DPoP, without Proof", one("DPoP " + good), "", "", 401, challenge},
		{"a scheme that begins alike", one("Bearers " + good), "", "", 401, challenge},
		{"no space", one("Bearer" + good), "", "", 401, challenge},
		{"a tab", one("Bearer\t" + good), "", "", 401, challenge},
		{"scheme alone", one("Bearer"), "", "", 400, challenge + ", " + invalidRequest},
		{"empty header", one(""), "", "", 401, challenge},
		{"the token alone", one(good), "", "", 401, challenge},
		{"two headers", []string{"Bearer " + good, "Bearer " + good}, "", "", 400, challenge + ", " + invalidRequest},
		{"two schemes", []string{"Basic " + b64("a:b"), "Bearer " + good}, "", "", 400, challenge + ", " + invalidRequest},
		{"two in one header", one("Bearer " + good + ", Bearer " + good), "", "", 401, challenge + ", " + invalidToken},
		{"a parameter behind it", one("Bearer " + good + " x=y"), "", "", 401, challenge + ", " + invalidToken},
		{"not a token", one("Bearer x"), "", "", 401, challenge + ", " + invalidToken},
		{"expired", one("Bearer " + expired), "", "", 401, challenge + ", " + expiredToken},
		{"sender-constrained", one("Bearer " + bound), "", "", 401, challenge + ", " + invalidToken},
		// RFC 6750 section 2.3, RFC 9700 section 4.3.2
		{"in the query", nil, "/?access_token=" + good, "", 400, challenge + ", " + invalidRequest},
		{"in the query, besides", one("Bearer " + good), "/?a=b&access_token=" + good, "", 400, challenge + ", " + invalidRequest},
		{"in the query, escaped", one("Bearer " + good), "/?%61ccess_token=" + good, "", 400, challenge + ", " + invalidRequest},
		{"empty in the query", one("Bearer " + good), "/?access_token", "", 400, challenge + ", " + invalidRequest},
		{"another parameter", one("Bearer " + good), "/?q=access_token&x=%41&access_tokens=1", "", 200, ""},
		// RFC 6750 section 2.2
		{"in the form", nil, "", "access_token=" + good, 401, challenge},
		{"in the form, besides", one("Bearer " + good), "", "a=b&access_token=" + good, 400, challenge + ", " + invalidRequest},
		{"in the form, escaped", one("Bearer " + good), "", "access%5Ftoken=x", 400, challenge + ", " + invalidRequest},
		{"a form without one", one("Bearer " + good), "", "a=b&c=" + url.QueryEscape("access_token=x"), 200, ""},
		{"a long form", one("Bearer " + good), "", "a=" + strings.Repeat("b", 200<<10), 200, ""},
	}
	base := api(t, newVerifier(t, i.config()).Middleware)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.run(t, base)
		})
	}
}

// A body that is not a form is the handler's alone: nothing is read of it.
func TestMiddlewareLeavesBodies(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, edDSA())
	handler := newVerifier(t, i.config()).Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, ok := r.Body.(unreadable); !ok {
			t.Errorf("the body is a %T", r.Body)
		}
	}))
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", unreadable{t})
	r.Header.Set("Authorization", "Bearer "+edDSA().token(i.claims()))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Errorf("status %d, want 200", w.Code)
	}
}

// A form of a stranger is not read, and one that breaks off breaks off for the handler.
func TestMiddlewareForms(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, edDSA())
	errBreak := errors.New("broken off")
	handler := newVerifier(t, i.config()).Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if string(body) != "a=b" || !errors.Is(err, errBreak) {
			t.Errorf("the handler reads %q, %v", body, err)
		}
	}))
	send := func(token string, body io.Reader) int {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", body)
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Code
	}
	if code := send("x", unreadable{t}); code != http.StatusUnauthorized {
		t.Errorf("a stranger: %d, want 401", code)
	}
	broken := io.MultiReader(strings.NewReader("a=b"), readerFunc(func([]byte) (int, error) { return 0, errBreak }))
	if code := send(edDSA().token(i.claims()), broken); code != http.StatusOK {
		t.Errorf("a form that breaks off: %d", code)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// unreadable is a body that nobody must read.
type unreadable struct{ t *testing.T }

func (u unreadable) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

func (u unreadable) Close() error { return nil }

func TestMiddlewareScopeAndMetadata(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, edDSA())
	c := i.config()
	c.Scopes = []string{"orders:read"}
	c.HTTP.Realm, c.HTTP.ResourceMetadata = "orders", "https://api.example/.well-known/oauth-protected-resource"
	v := newVerifier(t, c)
	const (
		begin = `Bearer realm="orders"`
		end   = `, resource_metadata="https://api.example/.well-known/oauth-protected-resource"`
	)
	bearer := func(scope string) []string {
		return []string{"Bearer " + edDSA().token(i.claims().with("scope", scope))}
	}
	tests := []struct {
		request
		protect func(http.Handler) http.Handler
	}{
		{request{"enough", bearer("orders:read orders:write"), "", "", 200, ""}, v.Require("orders:write")},
		{request{"enough, twice protected", bearer("orders:read orders:write"), "", "", 200, ""}, twice(v, v.Require("orders:write"))},
		{request{"nothing", nil, "", "", 401, begin + `, scope="orders:read"` + end}, v.Middleware},
		{request{"nothing, for more", nil, "", "", 401, begin + `, scope="orders:read orders:write"` + end}, v.Require("orders:write")},
		{request{"too little for all", bearer("x"), "", "", 403, begin + ", " + tooLittleScope + `, scope="orders:read"` + end}, v.Middleware},
		{request{"too little for more", bearer("orders:read"), "", "", 403, begin + ", " + tooLittleScope + `, scope="orders:read orders:write"` + end}, v.Require("orders:write")},
		{request{"too little for more, twice protected", bearer("orders:read"), "", "", 403, begin + ", " + tooLittleScope + `, scope="orders:read orders:write"` + end}, twice(v, v.Require("orders:write"))},
		{request{"what no token can have", bearer("orders:read"), "", "", 403, begin + ", " + tooLittleScope + end}, v.Require(`a"b`)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.run(t, api(t, tt.protect))
		})
	}
}

// twice puts a protection inside of Middleware.
func twice(v *accesstoken.Verifier, inner func(http.Handler) http.Handler) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler { return v.Middleware(inner(next)) }
}

// What one verifier let through is nothing to another one.
func TestRequireOfAnotherVerifier(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, edDSA())
	c := i.config()
	c.Audience = []string{"https://other.example"}
	other := newVerifier(t, c)
	base := api(t, twice(newVerifier(t, i.config()), other.Require("orders:read")))
	q := request{"", []string{"Bearer " + edDSA().token(i.claims())}, "", "", 401, `Bearer realm="api", ` + invalidToken + `, scope="orders:read"`}
	q.run(t, base)
}

// A handler that learns late what is needed answers as Middleware does.
func TestRefuse(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, edDSA())
	v := newVerifier(t, i.config())
	base := api(t, func(http.Handler) http.Handler {
		return v.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			token, _ := accesstoken.FromContext(r.Context())
			if err := token.CheckScope("orders:read", "orders:"+r.PathValue("x")); err != nil {
				v.Refuse(w, err)
			}
		}))
	})
	q := request{"", []string{"Bearer " + edDSA().token(i.claims())}, "", "", 403, `Bearer realm="api", ` + tooLittleScope + `, scope="orders:read orders:"`}
	q.run(t, base)
}

// An error from elsewhere says nothing about the token.
func TestRefuseForAnotherError(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, newIssuer(t).config())
	w := httptest.NewRecorder()
	v.Refuse(w, errors.New("disk full"))
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("WWW-Authenticate") != "" || w.Body.Len() != 0 {
		t.Errorf("answer %d %v %q, want 503 and nothing else", w.Code, w.Header(), w.Body)
	}
}

func TestMiddlewareUnavailable(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	i.down()
	base := api(t, newVerifier(t, i.config()).Middleware)
	q := request{"", []string{"Bearer " + edDSA().token(i.claims())}, "", "", 503, ""}
	q.run(t, base)
}

// The answers of OroCommerce's API.
func TestMiddlewareOroCommerce(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, edDSA())
	c := i.config()
	c.HTTP.Style = accesstoken.OroCommerceStyle
	v := newVerifier(t, c)
	good := edDSA().token(i.claims())
	tests := []request{
		{"good", []string{"Bearer " + good}, "", "", 200, ""},
		{"nothing", nil, "", "", 401, "Bearer"},
		{"invalid", []string{"Bearer x"}, "", "", 401, ""},
		{"in the query", nil, "/?access_token=" + good, "", 401, ""},
		{"two headers", []string{"Bearer " + good, "Bearer " + good}, "", "", 401, ""},
	}
	base := api(t, v.Middleware)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.run(t, base)
		})
	}
	q := request{"scope", []string{"Bearer " + good}, "", "", 403, ""}
	q.run(t, api(t, v.Require("x")))
}

// RFC 9449 section 7: the seam for a proof.
func TestProof(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, edDSA())
	bearer := edDSA().token(i.claims())
	byCertificate := edDSA().token(i.claims().with("cnf", map[string]string{"x5t#S256": "certificate"}))
	byKey := edDSA().token(i.claims().with("cnf", map[string]string{"jkt": "key"}))
	broken := errors.New("no such proof")
	tests := []struct {
		name, authorization string
		proof               error
		calls               int32
		status              int
	}{
		{"not bound", "Bearer " + bearer, broken, 0, 200},
		{"not bound, by DPoP", "DPoP " + bearer, broken, 1, 401},
		{"by a certificate", "Bearer " + byCertificate, nil, 1, 200},
		{"by a certificate, wrong", "Bearer " + byCertificate, broken, 1, 401},
		{"by a certificate, unavailable", "Bearer " + byCertificate, accesstoken.ErrUnavailable, 1, 503},
		{"by a key", "dpop " + byKey, nil, 1, 200},
		{"by a key, wrong", "DPoP " + byKey, broken, 1, 401},
		{"by a key, as a bearer (section 7.2)", "Bearer " + byKey, nil, 0, 401},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			c := i.config()
			c.HTTP.Proof = func(r *http.Request, token *accesstoken.Token) error {
				if !strings.HasSuffix(r.Header.Get("Authorization"), token.Raw()) {
					t.Error("Proof got another token")
				}
				calls.Add(1)
				return tt.proof
			}
			var told atomic.Value
			c.HTTP.Refused = func(_ *http.Request, err error) { told.Store(err) }
			q := request{authorization: []string{tt.authorization}, status: tt.status}
			if tt.status == http.StatusUnauthorized {
				q.challenge = `Bearer realm="api", ` + invalidToken
			}
			q.run(t, api(t, newVerifier(t, c).Middleware))
			if err, _ := told.Load().(error); (tt.status == http.StatusUnauthorized) != errors.Is(err, accesstoken.ErrInvalid) {
				t.Errorf("status %d for %v", tt.status, err)
			}
			if n := calls.Load(); n != tt.calls {
				t.Errorf("Proof was called %d times, want %d", n, tt.calls)
			}
		})
	}
}

func TestRefusedIsTold(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, edDSA())
	c := i.config()
	var told atomic.Value
	c.HTTP.Refused = func(_ *http.Request, err error) { told.Store(err) }
	q := request{"", []string{"Bearer " + edDSA().token(i.claims().with("exp", 1))}, "", "", 401, `Bearer realm="api", ` + expiredToken}
	q.run(t, api(t, newVerifier(t, c).Middleware))
	if err, _ := told.Load().(error); !errors.Is(err, accesstoken.ErrExpired) {
		t.Errorf("told of %v, want %v", err, accesstoken.ErrExpired)
	}
}

func TestFromContextWithout(t *testing.T) {
	t.Parallel()
	if token, ok := accesstoken.FromContext(context.Background()); ok || token != nil {
		t.Errorf("FromContext = %v, %v", token, ok)
	}
}

func TestExampleTesting(t *testing.T) {
	t.Parallel()
	testOrders(t)
}
