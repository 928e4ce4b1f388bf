package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/counterfoil/counterfoil/internal/config"
)

// adminHandler answers at the admin listener. Health and metrics, which name
// nobody, are open; all else needs an administrator's token.
func adminHandler(listen string, metrics http.Handler, ready func(context.Context) error) http.Handler {
	open := map[string]http.Handler{
		"/metrics":       metrics,
		"/healthz/live":  healthHandler(func(context.Context) error { return nil }),
		"/healthz/ready": healthHandler(ready),
	}
	guarded := http.NewCrossOriginProtection().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, found := open[r.URL.Path]
		if found && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			answer.ServeHTTP(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="counterfoil admin"`) // RFC 6750 section 3
		http.Error(w, "An administrator's token is required.", http.StatusUnauthorized)
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var id [16]byte
		_, _ = rand.Read(id[:]) // never fails
		w.Header().Set("X-Request-Id", hex.EncodeToString(id[:]))
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		if !knownHost(r, listen) {
			http.Error(w, "This is not the host that was asked for.", http.StatusMisdirectedRequest)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}

// knownHost reports whether a request was meant for this listener: a page of
// somebody else's, whose name was made to point here, was not. A request without
// Host comes from no browser.
func knownHost(r *http.Request, listen string) bool {
	host := hostname(r.Host)
	if host == "" || config.IsLoopback(host) || strings.EqualFold(host, hostname(listen)) {
		return true
	}
	ip, err := netip.ParseAddr(host)
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return err == nil && ok && local.AddrPort().Addr().Unmap() == ip.Unmap()
}

// hostname is a Host without its port.
func hostname(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}

func healthHandler(check func(context.Context) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if err := check(r.Context()); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(`{"status":"unavailable"}`))
			return
		}
		_, _ = w.Write([]byte(`{"status":"ok"}`))
	})
}
