package browser

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// site is another site: a client's, or one that means harm.
type site struct {
	server   *httptest.Server
	neighbor *httptest.Server // the same over TLS
	pages    sync.Map         // by path
	arrivals chan arrival
}

// arrival is what came to the client's redirection URI.
type arrival struct{ url.Values }

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{arrivals: make(chan arrival, 16)}
	s.server, s.neighbor = httptest.NewServer(s), httptest.NewTLSServer(s)
	t.Cleanup(s.server.Close)
	t.Cleanup(s.neighbor.Close)
	return s
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	if r.URL.Path == callbackPath {
		s.arrivals <- arrival{r.URL.Query()}
		_, _ = fmt.Fprint(w, "<!DOCTYPE html><title>Shop</title><p>Back at the shop.")
		return
	}
	page, known := s.pages.Load(r.URL.Path)
	if !known {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	_, _ = fmt.Fprint(w, page)
}

const callbackPath = "/callback"

// elsewhere is the site by a name that makes it another site than the server's. To
// browsers another port is the same site, and another scheme is not.
func (s *site) elsewhere() string { return strings.Replace(s.server.URL, "127.0.0.1", "localhost", 1) }

// back is what just came to the redirection URI.
func (s *site) back(t *testing.T) arrival {
	t.Helper()
	select {
	case a := <-s.arrivals:
		return a
	default:
		t.Fatal("nobody came back to the client")
		return arrival{}
	}
}

// What a client sends to the authorization endpoint, and keeps for the code.
const (
	verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	state    = "af0ifjsldkj &="
)

// authorization is an address of the authorization endpoint, for the client.
func (i *installation) authorization() string {
	challenge := sha256.Sum256([]byte(verifier))
	return i.issuer + "/oauth2/authorize?" + url.Values{
		"response_type": {"code"}, "client_id": {i.client.ID}, "redirect_uri": {i.backTo}, "state": {state}, "scope": {"orders:read"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
	}.Encode()
}

// forgery is a page with a form to another site, and a button that says Win.
func forgery(action string, fields url.Values) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<!DOCTYPE html><title>Win</title><form method="post" action="%s">`, html.EscapeString(action))
	for name, values := range fields {
		fmt.Fprintf(&b, `<input type="hidden" name="%s" value="%s">`, html.EscapeString(name), html.EscapeString(values[0]))
	}
	b.WriteString("<button>Win</button></form>")
	return b.String()
}
