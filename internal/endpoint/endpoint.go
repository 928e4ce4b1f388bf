package endpoint

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/console"
	"github.com/counterfoil/counterfoil/internal/feed"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// Options are what New needs. All but CORS, TrustedProxies and Observe are required.
type Options struct {
	Server         *oauth.Server               // decides; its issuer is the base of every absolute URL
	Pages          *console.Pages              // what users see
	Feed           *feed.Feed                  // what was cut off
	JWKS           func() []byte               // the JWK set of the moment (RFC 7517 section 5)
	Ready          func(context.Context) error // nil: the server can answer requests
	Logger         *slog.Logger
	Rand           io.Reader // for request ids
	CORS           CORS
	TrustedProxies []netip.Prefix    // whose X-Forwarded-For counts
	Observe        func(Observation) // called once for every request, after its answer
}

// Observation is what the metrics want to know of a request.
type Observation struct {
	Endpoint  string // "token", "authorize", "sign_in", "account", "assets", "jwks", "userinfo", "introspect", "revoke", "revocations", "forward_auth", "metadata", "health", or "unknown"
	GrantType string // of the token endpoint, where we know it; else empty
	Outcome   string // oauth.TokenResponse.Outcome, oauth.Refusal.Reason, "ok", "canceled" or "fault"
	Status    int
	Duration  time.Duration
}

// maxURL is the longest request target in bytes.
const maxURL = 8 << 10

// handler is an endpoint: it parses, calls and writes, or returns why it did not.
type handler func(w *response, r *http.Request) error

// refuser writes the answer to a refused request.
type refuser func(w *response, r *http.Request, refusal *oauth.Refusal)

// route says what is at a path for a method.
type route struct {
	endpoint string // see Observation
	method   string // GET includes HEAD
	path     string // as in the patterns of http.ServeMux
	handle   handler
	refuse   refuser
}

// endpoint is the one http.Handler of the package.
type endpoint struct {
	Options
	mux         *http.ServeMux
	origins     origins
	base        string // the path of the issuer, which ours are below
	secure      bool   // browsers speak https with us
	crossOrigin *http.CrossOriginProtection
}

// New returns the handler of all public endpoints, or what is wrong with the options.
func New(o Options) (http.Handler, error) {
	if o.Server == nil || o.Pages == nil || o.Feed == nil || o.JWKS == nil || o.Ready == nil || o.Logger == nil || o.Rand == nil {
		return nil, errors.New("endpoint: Server, Pages, Feed, JWKS, Ready, Logger and Rand are required")
	}
	issuer, err := url.Parse(o.Server.Settings.Issuer)
	if err != nil || issuer.Scheme == "" || issuer.Host == "" || issuer.RawQuery != "" || issuer.Fragment != "" {
		return nil, errors.New("endpoint: the issuer must be an absolute URL without query and fragment (RFC 8414 section 2)")
	}
	e := &endpoint{
		Options: o, mux: http.NewServeMux(), origins: newOrigins(o.CORS, issuer),
		base: strings.TrimSuffix(issuer.Path, "/"), secure: issuer.Scheme == "https", crossOrigin: http.NewCrossOriginProtection(),
	}
	if err := e.crossOrigin.AddTrustedOrigin(issuer.Scheme + "://" + issuer.Host); err != nil { // a proxy may name us otherwise
		return nil, fmt.Errorf("endpoint: issuer: %w", err)
	}
	documents, err := newMetadata(o.Server.Settings.Issuer)
	if err != nil {
		return nil, err
	}
	e.register([]route{
		{"token", "POST", "/oauth2-token", e.token(&oroCommerce), oroCommerce.refuse},
		{"token", "OPTIONS", "/oauth2-token", e.oroOptions, refuse},
		{"token", "POST", "/oauth2/token", e.token(&standard), standard.refuse},
		{"token", "OPTIONS", "/oauth2/token", e.options("POST, OPTIONS"), refuse},
		{"authorize", "GET", oroAuthorizePath, e.authorize(&oroCommerce), oroCommerce.refuse},
		{"authorize", "POST", oroAuthorizePath, e.authorize(&oroCommerce), oroCommerce.refuse},
		{"authorize", "GET", "/oauth2-token/authorize-visitor", e.authorizeVisitor, oroCommerce.refuse},
		{"authorize", "GET", authorizePath, e.authorize(&standard), e.refuseOnPage},
		{"authorize", "POST", authorizePath, e.authorize(&standard), e.refuseOnPage},
		{"sign_in", "GET", signInPath, e.signIn, e.refuseOnPage},
		{"sign_in", "POST", signInPath, e.takeSignIn, e.refuseOnPage},
		{"sign_in", "POST", signOutPath, e.signOut, e.refuseOnPage},
		{"account", "GET", devicesPath, e.signedIn(e.devices), e.refuseOnPage},
		{"account", "POST", devicesPath, e.signedIn(e.endDevice), e.refuseOnPage},
		{"account", "GET", passwordPath, e.signedIn(e.password), e.refuseOnPage},
		{"account", "POST", passwordPath, e.signedIn(e.takePassword), e.refuseOnPage},
		{"assets", "GET", AssetsPath + "{name}", e.asset, refuse},
		{"jwks", "GET", "/oauth2/jwks", e.jwks, refuse},
		{"userinfo", "GET", "/oauth2/userinfo", e.userinfo, refuseAccess},
		{"userinfo", "OPTIONS", "/oauth2/userinfo", e.options("GET, HEAD, OPTIONS"), refuse},
		{"introspect", "POST", "/oauth2/introspect", e.introspect, refuseCaller},
		{"revoke", "POST", "/oauth2/revoke", e.revoke, refuseCaller},
		{"revoke", "OPTIONS", "/oauth2/revoke", e.options("POST, OPTIONS"), refuse},
		{"revocations", "GET", "/oauth2/revocations", e.revocations, refuseCaller},
		{"metadata", "GET", "/.well-known/oauth-authorization-server", documents.standard, refuse},
		{"metadata", "GET", "/.well-known/oauth-authorization-server/{path...}", documents.oroCommerce, refuseInPlainText("The OAuth server not found.")},
		{"metadata", "GET", "/.well-known/oauth-protected-resource", documents.resource, refuse},
		{"metadata", "GET", "/.well-known/oauth-protected-resource/{path...}", notFound, refuseInPlainText("The resource not found.")},
		{"health", "GET", "/healthz/live", e.live, refuse},
		{"health", "GET", "/healthz/ready", e.ready, refuse},
	})
	return e, nil
}

// register fills the mux. Every path also gets an answer to all other methods, and
// every other path an answer of its own, so that the mux never makes one up.
func (e *endpoint) register(routes []route) {
	allowed := map[string]string{}
	for _, rt := range routes {
		e.handle(rt.method+" "+rt.path, rt)
		methods := rt.method
		if methods == "GET" {
			methods = "GET, HEAD"
		}
		if before := allowed[rt.path]; before != "" {
			methods = before + ", " + methods
		}
		allowed[rt.path] = methods
	}
	named := map[string]bool{}
	for _, rt := range routes {
		if named[rt.path] {
			continue
		}
		named[rt.path] = true
		rt.handle, rt.refuse = notAllowed(allowed[rt.path]), refuse
		e.handle(rt.path, rt)
	}
	e.handle("/", route{endpoint: "unknown", path: "unknown", handle: notFound, refuse: refuse})
}

func (e *endpoint) handle(pattern string, rt route) {
	e.mux.HandleFunc(pattern, func(rw http.ResponseWriter, r *http.Request) { rt.serve(rw.(*response), r) })
}

func (rt route) serve(w *response, r *http.Request) {
	w.route = rt
	if err := rt.handle(w, r); err != nil {
		w.fail(r, err)
	}
}

func notFound(*response, *http.Request) error { return oauth.ErrPathUnknown }

func notAllowed(methods string) handler {
	return func(w *response, _ *http.Request) error {
		w.Header().Set("Allow", methods) // RFC 9110 section 15.5.6
		return oauth.ErrMethodNotAllowed
	}
}

// ServeHTTP implements http.Handler.
func (e *endpoint) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w := &response{ResponseWriter: rw, began: time.Now(), route: route{endpoint: "unknown", path: "unknown", refuse: refuse}}
	err := e.identify(w)
	w.source = source(r, e.TrustedProxies)
	defer e.finish(w, r)
	switch {
	case err != nil:
		w.fail(r, err)
	case len(r.RequestURI) > maxURL:
		w.fail(r, oauth.ErrURITooLong)
	case asksForwardAuth(r.URL.Path):
		route{endpoint: "forward_auth", path: forwardAuthPath, handle: e.forwardAuth, refuse: refuseAccess}.serve(w, r)
	case !plain(r.URL):
		w.fail(r, oauth.ErrPathUnknown)
	default:
		e.mux.ServeHTTP(w, r)
	}
}

// identify gives the request its id, 32 lower-case hexadecimal digits, and the
// answer the headers that all have.
func (e *endpoint) identify(w *response) error {
	var id [16]byte
	_, err := io.ReadFull(e.Rand, id[:])
	w.requestID = hex.EncodeToString(id[:])
	h := w.Header()
	h["X-Request-Id"] = []string{w.requestID}
	h["X-Content-Type-Options"] = noSniff
	h["Referrer-Policy"] = noReferrer
	if err != nil {
		return fmt.Errorf("read randomness: %w", err)
	}
	return nil
}

// plain reports whether a path has the one spelling we answer to. The mux would
// redirect others, and a redirect of a POST with a password is not wanted.
func plain(u *url.URL) bool {
	return strings.HasPrefix(u.Path, "/") && u.RawPath == "" && u.Path == path.Clean(u.Path)
}
