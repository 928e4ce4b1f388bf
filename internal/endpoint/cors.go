package endpoint

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// CORS says whose scripts may use the token endpoints and userinfo from a browser
// (https://fetch.spec.whatwg.org/#http-cors-protocol). The zero value is nobody's.
// Credentials of the browser, such as cookies, are never asked for.
type CORS struct {
	AllowOrigins    []string      // `https://app.example.com`, compared byte for byte; `*`: every origin
	AllowHeaders    []string      // beyond Authorization and Content-Type
	PreflightMaxAge time.Duration // how long a browser may remember; 0: not at all
}

// origins judges the Origin header.
type origins struct {
	CORS
	own    string // the issuer's origin
	maxAge string // in seconds; empty: none
}

func newOrigins(c CORS, issuer *url.URL) origins {
	o := origins{CORS: c, own: issuer.Scheme + "://" + issuer.Host}
	if c.PreflightMaxAge > 0 {
		o.maxAge = strconv.FormatInt(int64(c.PreflightMaxAge/time.Second), 10)
	}
	return o
}

// of returns the origin of a cross-origin request, or nothing, and whether it is
// allowed.
func (o *origins) of(r *http.Request) (origin string, allowed bool) {
	origin = r.Header.Get("Origin")
	if origin == "" || origin == o.own || origin == ownOrigin(r) {
		return "", false
	}
	return origin, slices.Contains(o.AllowOrigins, origin) || slices.Contains(o.AllowOrigins, "*")
}

// ownOrigin is the origin that the request itself names as ours.
func ownOrigin(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// shareLikeOro lets the scripts of an allowed origin read the answer to a POST.
func shareLikeOro(o origins, w *response, r *http.Request) {
	h := w.Header()
	h["Vary"] = varyOrigin
	if origin, allowed := o.of(r); allowed {
		h["Access-Control-Allow-Origin"] = []string{origin}
	}
}

// shareWithAllowed does so at the standard endpoints, with the headers they need.
func shareWithAllowed(o origins, w *response, r *http.Request) {
	shareLikeOro(o, w, r)
	if h := w.Header(); h["Access-Control-Allow-Origin"] != nil {
		h["Access-Control-Expose-Headers"] = exposedHeaders
	}
}

// isPreflight reports whether a browser asks before it sends the real request.
func isPreflight(r *http.Request) bool { return r.Header["Access-Control-Request-Method"] != nil }

// options answers OPTIONS at a standard endpoint: a preflight of an allowed origin
// is told what it may do, all others only what the methods are.
func (e *endpoint) options(methods string) handler {
	return func(w *response, r *http.Request) error {
		h := w.Header()
		h["Vary"] = varyOrigin
		h["Cache-Control"] = noStore
		origin, allowed := e.origins.of(r)
		if allowed {
			h["Access-Control-Allow-Origin"] = []string{origin}
		}
		if allowed && isPreflight(r) {
			h["Access-Control-Allow-Methods"] = []string{methods}
			h["Access-Control-Allow-Headers"] = []string{strings.Join(e.origins.headers(), ", ")}
			e.origins.remember(h)
		} else {
			h["Allow"] = []string{methods}
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

// oroOptions answers OPTIONS as OroCommerce does: a preflight of an origin that is
// not allowed learns all but that.
func (e *endpoint) oroOptions(w *response, r *http.Request) error {
	h := w.Header()
	h["Cache-Control"] = noCachePrivate
	origin, allowed := e.origins.of(r)
	if allowed {
		h["Access-Control-Allow-Origin"] = []string{origin}
	}
	if origin == "" || !isPreflight(r) {
		h["Allow"] = []string{"OPTIONS, POST"}
	} else {
		h["Access-Control-Allow-Methods"] = []string{"OPTIONS, POST"}
		h["Access-Control-Allow-Headers"] = []string{strings.Join(e.origins.headers(), ",")}
		if e.origins.remember(h) {
			h["Cache-Control"] = []string{"max-age=" + e.origins.maxAge + ", public"}
			h["Vary"] = varyOrigin
		}
	}
	w.send(http.StatusOK, htmlType, nil)
	return nil
}

func (o *origins) headers() []string {
	return append([]string{"Authorization", "Content-Type"}, o.AllowHeaders...)
}

// remember tells a browser how long the answer to a preflight holds.
func (o *origins) remember(h http.Header) bool {
	if o.maxAge != "" {
		h["Access-Control-Max-Age"] = []string{o.maxAge}
	}
	return o.maxAge != ""
}
