package packaging

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/counterfoil/counterfoil/test/program"
)

// gateways start a gateway with the configuration that is shipped, in front of an API,
// and return its address.
var gateways = map[string]func(t *testing.T, node, api string) string{"nginx": startGatewayNginx, "caddy": startGatewayCaddy}

func startGatewayNginx(t *testing.T, node, api string) string {
	dir, front := t.TempDir(), freeAddress(t)
	certificate, key := makeCertificate(t, dir)
	write(t, filepath.Join(dir, "api.conf"), replace(t, read(t, filepath.Join(source, "nginx/forward-auth.conf")),
		"server 127.0.0.1:8080", "server "+node, "server 127.0.0.1:9000", "server "+api,
		"listen 443 ssl", "listen "+front+" ssl", "    listen [::]:443 ssl http2;\n", "",
		"/etc/ssl/api/fullchain.pem", certificate, "/etc/ssl/api/privkey.pem", key, "/var/log/nginx/api.log", filepath.Join(dir, "access.log")))
	whole := "daemon off; pid DIR/pid; error_log DIR/error.log;\nevents {}\nhttp {\n"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		whole += kind + "_temp_path DIR/" + kind + ";\n"
	}
	whole += "include DIR/api.conf;\n}\n"
	if os.Geteuid() == 0 {
		whole = "user root; " + whole
	}
	path := filepath.Join(dir, "nginx.conf")
	write(t, path, strings.ReplaceAll(whole, "DIR", dir))
	if out := output(t, "/usr/sbin/nginx", "-t", "-c", path); strings.Contains(out, "[warn]") {
		t.Errorf("nginx -t warns: %s", out)
	}
	run(t, front, "/usr/sbin/nginx", "-c", path)
	return "https://" + front
}

func startGatewayCaddy(t *testing.T, node, api string) string {
	dir, front := t.TempDir(), freeAddress(t)
	path := filepath.Join(dir, "Caddyfile")
	shipped := filepath.Join(source, "caddy/forward-auth.Caddyfile")
	write(t, path, "{\n\tadmin off\n}\n"+replace(t, read(t, shipped),
		"forward_auth 127.0.0.1:8080", "forward_auth "+node, "reverse_proxy 127.0.0.1:9000", "reverse_proxy "+api, "api.example.com {", "http://"+front+" {"))
	if formatted := output(t, "caddy", "fmt", shipped); formatted != read(t, shipped) {
		t.Errorf("caddy fmt would change %s", shipped)
	}
	run(t, front, "env", "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir, "caddy", "run", "--config", path, "--adapter", "caddyfile")
	return "http://" + front
}

// echo is a request as the API got it.
type echo struct {
	Method, URI, Body string
	Header            http.Header
}

// site is an API behind a gateway.
type site struct {
	*http.Client
	t      *testing.T
	node   *program.Program
	client program.Client
	base   string
	asked  atomic.Int32 // how often the API was
}

// newSite starts a server, an API that echoes what it gets, and a gateway in front of it.
func newSite(t *testing.T, start func(t *testing.T, node, api string) string) *site {
	t.Helper()
	s := &site{t: t, node: program.New(t, "TRUSTED_PROXIES=127.0.0.1")}
	s.client = s.node.CreateClient("--grant-type", "client_credentials", "--scope", "orders:read orders:write")
	s.node.CreateUser("alice", password)
	s.node.Start()
	api := httptest.NewServer(http.HandlerFunc(s.answer))
	t.Cleanup(api.Close)
	s.base = start(t, s.node.Address, api.Listener.Addr().String())
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(transport.CloseIdleConnections)
	s.Client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return s
}

// answer is the API: it echoes, with the status that the path asks for.
func (s *site) answer(w http.ResponseWriter, r *http.Request) {
	s.asked.Add(1)
	body, _ := io.ReadAll(r.Body)
	if status, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/status/")); err == nil {
		w.Header().Set("Www-Authenticate", "the API's")
		w.WriteHeader(status)
	}
	_ = json.NewEncoder(w).Encode(echo{r.Method, r.RequestURI, string(body), r.Header})
}

// tokens asks the standard endpoint for tokens.
func (s *site) tokens(form url.Values) program.Tokens {
	s.t.Helper()
	return s.tokensAt("/oauth2/token", form)
}

func (s *site) tokensAt(path string, form url.Values) program.Tokens {
	s.t.Helper()
	form.Set("client_id", s.client.ID)
	form.Set("client_secret", s.client.Secret)
	answer, err := http.PostForm("http://"+s.node.Address+path, form)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	tokens := program.Tokens{Status: answer.StatusCode}
	if err := json.NewDecoder(answer.Body).Decode(&tokens); err != nil || tokens.AccessToken == "" {
		s.t.Fatalf("token request: status %d, error %q, %v", tokens.Status, tokens.Error, err)
	}
	return tokens
}

// login logs in with a scope.
func (s *site) login(scope string) program.Tokens {
	s.t.Helper()
	return s.tokens(url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {password}, "scope": {scope}})
}

// answered is what comes back from the gateway; got is nil where the API was not asked.
type answered struct {
	status int
	header http.Header
	got    *echo
}

// send sends a request, with headers exactly as they are spelled.
func (s *site) send(method, uri, body string, headers ...string) answered {
	s.t.Helper()
	request, err := http.NewRequest(method, s.base+uri, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header[headers[i]] = append(request.Header[headers[i]], headers[i+1])
	}
	before := s.asked.Load()
	answer, err := s.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	a := answered{status: answer.StatusCode, header: answer.Header}
	if s.asked.Load() != before {
		a.got = &echo{}
		if err := json.Unmarshal(text, a.got); err != nil {
			s.t.Fatalf("the API was asked, and its answer got lost: %v\n%s", err, text)
		}
	}
	return a
}

// get gets an order with a token.
func (s *site) get(token string, headers ...string) answered {
	s.t.Helper()
	return s.send(http.MethodGet, "/orders/7?full=1", "", append(headers, "Authorization", "Bearer "+token)...)
}

// wantRefused expects an answer that is not the API's.
func (s *site) wantRefused(what string, a answered, status int, challenge string) {
	s.t.Helper()
	if a.got != nil {
		s.t.Errorf("%s: the API was asked", what)
	}
	if got := a.header.Get("Www-Authenticate"); a.status != status || !strings.Contains(got, challenge) || (challenge == "") != (got == "") {
		s.t.Errorf("%s: status %d, WWW-Authenticate %q; want %d, and %q in it", what, a.status, got, status, challenge)
	}
	if got := a.header.Values("Www-Authenticate"); len(got) > 1 {
		s.t.Errorf("%s: WWW-Authenticate comes %d times: %q", what, len(got), got)
	}
	if got := a.header.Get("Retry-After"); (got != "") != (status == http.StatusServiceUnavailable) {
		s.t.Errorf("%s: Retry-After is %q", what, got)
	}
}

// identity is what the API is told about the caller: headers by their name as an API
// reads it that cannot tell `_` from `-`, and only those with a value.
func identity(t *testing.T, what string, got *echo) map[string]string {
	t.Helper()
	if got == nil {
		t.Fatalf("%s: the API was not asked", what)
	}
	told := map[string]string{}
	for name, values := range got.Header {
		read := strings.ReplaceAll(strings.ToLower(name), "_", "-")
		if !strings.HasPrefix(read, "x-auth-") {
			continue
		}
		if text := strings.Join(values, ", "); told[read] != "" || len(values) > 1 {
			t.Errorf("%s: the API gets %s twice: %q besides %q", what, read, text, told[read])
		} else if text != "" {
			told[read] = text
		}
	}
	return told
}

// want is the identity that an access token stands for.
func want(t *testing.T, token, username string) map[string]string {
	t.Helper()
	parts := strings.Split(token, ".")
	var claims struct {
		Subject  string `json:"sub"`
		ClientID string `json:"client_id"`
		Scope    string `json:"scope"`
		GrantID  string `json:"grant_id"`
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(payload, &claims)
	}
	if err != nil {
		t.Fatalf("the claims of a token: %v", err)
	}
	told := map[string]string{
		"x-auth-subject": claims.Subject, "x-auth-username": username, "x-auth-client": claims.ClientID,
		"x-auth-scope": claims.Scope, "x-auth-grant": claims.GrantID,
	}
	maps.DeleteFunc(told, func(_, value string) bool { return value == "" })
	return told
}

func (s *site) wantIdentity(what string, a answered, token, username string) {
	s.t.Helper()
	if a.status != http.StatusOK {
		s.t.Fatalf("%s: status %d, want 200", what, a.status)
	}
	if got, want := identity(s.t, what, a.got), want(s.t, token, username); !reflect.DeepEqual(got, want) {
		s.t.Errorf("%s: the API is told %v, want %v", what, got, want)
	}
	if got := a.got.Header.Get("Authorization"); got != "" {
		s.t.Errorf("%s: the API gets the token", what)
	}
}

// atEachGateway runs a test at each gateway.
func atEachGateway(t *testing.T, test func(t *testing.T, s *site)) {
	t.Parallel()
	for name, start := range gateways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newSite(t, start))
		})
	}
}

// TestForwardAuth: a gateway lets living tokens through that may do what is asked, tells
// the API whose they are, and answers the others as RFC 6750 section 3 has it.
func TestForwardAuth(t *testing.T) {
	atEachGateway(t, func(t *testing.T, s *site) {
		both := s.login("orders:read orders:write").AccessToken
		a := s.get(both)
		s.wantIdentity("GET", a, both, "alice")
		if a.got.Method != http.MethodGet || a.got.URI != "/orders/7?full=1" {
			t.Errorf("the API gets %s %s, want GET /orders/7?full=1", a.got.Method, a.got.URI)
		}
		a = s.send(http.MethodPost, "/orders?dry=1", `{"item":"bolt"}`, "Authorization", "Bearer "+both)
		s.wantIdentity("POST", a, both, "alice")
		if a.got.Method != http.MethodPost || a.got.URI != "/orders?dry=1" || a.got.Body != `{"item":"bolt"}` {
			t.Errorf("the API gets %s %s with %q, want what was sent", a.got.Method, a.got.URI, a.got.Body)
		}

		s.wantRefused("no token", s.send(http.MethodGet, "/orders", ""), http.StatusUnauthorized, "Bearer")
		s.wantRefused("another scheme", s.send(http.MethodGet, "/orders", "", "Authorization", "Basic YTpi"), http.StatusUnauthorized, "Bearer")
		s.wantRefused("garbage", s.get("garbage"), http.StatusUnauthorized, `error="invalid_token"`)
		s.wantRefused("a changed token", s.get(both[:len(both)-8]+"AAAAAAAA"), http.StatusUnauthorized, `error="invalid_token"`)
		read := s.login("orders:read").AccessToken
		s.wantIdentity("a token that may read", s.get(read), read, "alice")
		a = s.send(http.MethodPost, "/orders", "{}", "Authorization", "Bearer "+read)
		s.wantRefused("a token that may not write", a, http.StatusForbidden, `error="insufficient_scope"`)
		other := s.tokensAt("/oauth2-token", url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {password}, "scope": {"orders:read"}})
		s.wantRefused("a token of the other profile", s.get(other.AccessToken), http.StatusUnauthorized, `error="invalid_token"`)

		for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusInternalServerError, http.StatusServiceUnavailable} {
			a := s.send(http.MethodGet, fmt.Sprintf("/status/%d", status), "", "Authorization", "Bearer "+both)
			if a.status != status || a.got == nil || a.header.Get("Www-Authenticate") != "the API's" {
				t.Errorf("the API's own %d arrives as %d, with WWW-Authenticate %q", status, a.status, a.header.Get("Www-Authenticate"))
			}
		}
	})
}

// TestForwardAuthLiveness: a token is dead at the gateway as soon as it is at Counterfoil.
func TestForwardAuthLiveness(t *testing.T) {
	atEachGateway(t, func(t *testing.T, s *site) {
		first := s.login("orders:read")
		s.wantIdentity("after the login", s.get(first.AccessToken), first.AccessToken, "alice")
		second := s.tokens(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {first.RefreshToken}})
		s.wantRefused("after a refresh, the old one", s.get(first.AccessToken), http.StatusUnauthorized, `error="invalid_token"`)
		s.wantIdentity("after a refresh, the new one", s.get(second.AccessToken), second.AccessToken, "alice")
		s.node.Run("", "grant", "revoke", want(t, second.AccessToken, "")["x-auth-grant"])
		s.wantRefused("after a revocation", s.get(second.AccessToken), http.StatusUnauthorized, `error="invalid_token"`)

		third := s.login("orders:read").AccessToken
		s.node.Run("", "user", "disable", "alice")
		s.wantRefused("of a disabled user", s.get(third), http.StatusUnauthorized, `error="invalid_token"`)
		s.node.Run("", "user", "enable", "alice")

		fourth := s.login("orders:read").AccessToken
		s.node.Kill()
		s.wantRefused("with Counterfoil dead", s.get(fourth), http.StatusServiceUnavailable, "")
		s.wantRefused("with Counterfoil dead, and no token", s.send(http.MethodGet, "/orders", ""), http.StatusServiceUnavailable, "")
		s.node.Start()
		within(t, 10e9, "the gateway asks again", func() bool { return s.get(fourth).status == http.StatusOK })
	})
}

// forgeries are spellings of a header that some API reads as X-Auth-Subject.
var forgeries = []string{
	"X-Auth-Subject", "x-auth-subject", "X-AUTH-SUBJECT", "X_Auth_Subject", "x_auth_subject", "X-Auth_Subject", "X_Auth-Subject",
}

// TestForgedIdentity: who calls is Counterfoil's word alone, whatever the caller sends.
func TestForgedIdentity(t *testing.T) {
	atEachGateway(t, func(t *testing.T, s *site) {
		users := s.login("orders:read").AccessToken
		own := s.tokens(url.Values{"grant_type": {"client_credentials"}, "scope": {"orders:read"}}).AccessToken
		s.wantIdentity("a client's own token", s.get(own), own, "")
		for _, spelling := range forgeries {
			for _, header := range []string{"Subject", "Username", "Client", "Scope", "Grant"} {
				forged := strings.NewReplacer("Subject", header, "subject", strings.ToLower(header), "SUBJECT", strings.ToUpper(header)).Replace(spelling)
				s.wantIdentity("a user with "+forged, s.get(users, forged, "root", forged, "admin"), users, "alice")
				s.wantIdentity("a client with "+forged, s.get(own, forged, "root"), own, "")
				s.wantRefused("nobody with "+forged, s.send(http.MethodGet, "/orders", "", forged, "root"), http.StatusUnauthorized, "Bearer")
			}
		}
		// Headers that Connection lists are for the next hop only (RFC 9110 section 7.6.1).
		hidden := s.get(users, "Connection", "X-Auth-Subject, X-Auth-Scope")
		s.wantIdentity("identity that the caller hides", hidden, users, "alice")
	})
}

// TestAmbiguousTokens: a token in the address, or two of them, and nobody is asked.
func TestAmbiguousTokens(t *testing.T) {
	atEachGateway(t, func(_ *testing.T, s *site) {
		token := s.login("orders:read").AccessToken
		for what, a := range map[string]answered{
			"a token in the query":                      s.send(http.MethodGet, "/orders?access_token="+token, ""),
			"a token in the query, spelled differently": s.send(http.MethodGet, "/orders?x=1&access%5Ftoken="+token, ""),
			"a token in the query and in the header":    s.send(http.MethodGet, "/orders?access_token=x", "", "Authorization", "Bearer "+token),
			"two tokens":                                s.send(http.MethodGet, "/orders", "", "Authorization", "Bearer "+token, "Authorization", "Bearer "+token),
			"a lie about the address":                   s.send(http.MethodGet, "/orders?access_token="+token, "", "X-Original-URI", "/", "X-Forwarded-Uri", "/"),
		} {
			a.header.Del("Www-Authenticate")
			s.wantRefused(what, a, http.StatusBadRequest, "")
		}
		a := s.send(http.MethodGet, "/orders?scope=admin&profile=orocommerce&audience=x", "", "Authorization", "Bearer "+token)
		s.wantIdentity("a query of the API that is also one of Counterfoil's", a, token, "alice")
	})
}
