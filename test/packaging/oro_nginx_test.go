package packaging

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/test/program"
)

// shop is an OroCommerce behind nginx, whose tokens Counterfoil issues.
type shop struct {
	*caller
	node *program.Program
}

// oroName is what the program in Oro's place calls itself.
const oroName = "Oro"

// newShop starts a node, something in Oro's place, and nginx in front of both, as
// docs/orocommerce.md has it. Further pairs change the shipped locations.
func newShop(t *testing.T, changes ...string) *shop {
	t.Helper()
	node := program.New(t, "ISSUER=https://shop.example.com", "TRUSTED_PROXIES=127.0.0.1")
	client := node.CreateClient("--grant-type", "authorization_code", "--redirect-uri", "https://app.example.com/cb")
	node.CreateUser("alice", password)
	node.Start()
	oro := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Server-Name", oroName)
		_, _ = fmt.Fprintf(w, `{"method":%q,"token_type":%q}`, r.Method, body)
	}))
	t.Cleanup(oro.Close)
	c := newCaller(t, startShopNginx(t, node.Address, oro.Listener.Addr().String(), changes), client)
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &shop{caller: c, node: node}
}

// startShopNginx starts nginx with the shop's server block: Oro's own locations, those
// that are shipped, and those that the documentation prints.
func startShopNginx(t *testing.T, node, oro string, changes []string) string {
	t.Helper()
	dir, front := t.TempDir(), freeAddress(t)
	certificate, key := makeCertificate(t, dir)
	shipped := replace(t, read(t, filepath.Join(source, "nginx/orocommerce.conf")), "/etc/nginx/counterfoil/", dir+"/")
	write(t, filepath.Join(dir, "orocommerce.conf"), replace(t, shipped, changes...))
	write(t, filepath.Join(dir, "orocommerce-proxy.conf"), replace(t, read(t, filepath.Join(source, "nginx/orocommerce-proxy.conf")), "127.0.0.1:8080", node))
	whole := "daemon off; pid DIR/pid; error_log DIR/error.log;\nevents {}\nhttp {\naccess_log DIR/access.log;\n"
	if os.Geteuid() == 0 {
		whole = "user root; " + whole
	}
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		whole += kind + "_temp_path DIR/" + kind + ";\n"
	}
	whole += "server {\nserver_name shop.example.com;\n" + `
		location / { try_files $uri /index.php$is_args$args; }
		location = /index.php { internal; proxy_pass http://` + oro + `; }
		location ~* \.(css|js|png|svg)$ { proxy_pass http://` + oro + `; }
		include DIR/orocommerce.conf;
	` + replace(t, printed(t, "An API behind nginx"), "127.0.0.1:8080", node) + printed(t, "location = /admin/")
	whole += fmt.Sprintf("listen %s ssl; ssl_certificate %s; ssl_certificate_key %s;\n}\n}\n", front, certificate, key)
	path := filepath.Join(dir, "nginx.conf")
	write(t, path, strings.ReplaceAll(whole, "DIR", dir))
	if out := output(t, "/usr/sbin/nginx", "-t", "-c", path); strings.Contains(out, "[warn]") {
		t.Errorf("nginx -t warns: %s", out)
	}
	run(t, front, "/usr/sbin/nginx", "-c", path)
	return front
}

// printed is the block of nginx's configuration in docs/orocommerce.md that has a text.
func printed(t *testing.T, text string) string {
	t.Helper()
	for _, m := range regexp.MustCompile("(?s)```nginx\n(.*?)```").FindAllStringSubmatch(read(t, "../../docs/orocommerce.md"), -1) {
		if strings.Contains(m[1], text) {
			return m[1]
		}
	}
	t.Fatalf("docs/orocommerce.md prints no nginx configuration with %q", text)
	return ""
}

// get asks for a path, with an access token where there is one.
func (s *shop) get(path, accessToken string) *http.Response {
	s.t.Helper()
	request, err := http.NewRequest(http.MethodGet, s.base+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if accessToken != "" {
		request.Header.Set("Authorization", "Bearer "+accessToken)
	}
	answer, err := s.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	_ = answer.Body.Close()
	return answer
}

// who says who answered.
func who(answer http.Header) string {
	switch {
	case answer.Get("Server-Name") == oroName:
		return oroName
	case answer.Get("X-Request-Id") != "":
		return "Counterfoil"
	}
	return "nginx"
}

// TestShopPaths: Counterfoil answers what is its own, and Oro all else.
func TestShopPaths(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	for _, path := range []string{
		"/oauth2-token", "/oauth2-token/authorize", "/oauth2-token/authorize-visitor", "/admin/oauth2-token/authorize",
		"/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server/oauth2-server",
		"/oauth2/token", "/oauth2/authorize", "/oauth2/sign-in", "/oauth2/devices", "/oauth2/password", "/oauth2/jwks", "/oauth2/userinfo",
		"/oauth2/assets/style.css", "/oauth2/anything-new",
	} {
		if got := who(s.get(path, "").Header); got != "Counterfoil" {
			t.Errorf("%s is answered by %s, want Counterfoil", path, got)
		}
	}
	for _, path := range []string{
		"/", "/admin/user/login", "/build/style.css", "/oauth2-tokens", "/oauth2", "/oauth2/session-transfer/consume?token=x",
		"/.well-known/oauth-protected-resource/api", "/.well-known/oauth-authorization-server/admin/oauth2-server",
		"/healthz/ready", "/metrics", "/api/v1/grants", "//oauth2-token/x",
	} {
		if got := who(s.get(path, "").Header); got == "Counterfoil" {
			t.Errorf("%s is answered by Counterfoil", path)
		}
	}
}

// TestShopTokens: login, refresh, and an API that nginx lets living tokens through to.
func TestShopTokens(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	checkSource(t, s.caller, [2]*program.Program{s.node, s.node})
	first, _ := s.ask(map[string]string{"grant_type": "password", "username": "alice", "password": password})
	s.token = first.RefreshToken
	s.wantAPI("after the login", first.AccessToken, http.StatusOK)
	second, _ := s.refresh()
	s.token = second.RefreshToken
	s.wantAPI("after a refresh, the new one", second.AccessToken, http.StatusOK)
	s.wantAPI("after a refresh, the old one", first.AccessToken, http.StatusUnauthorized)
	s.wantAPI("without a token", "", http.StatusUnauthorized)

	s.node.Kill()
	tokens, header := s.refresh()
	if tokens.Status != http.StatusServiceUnavailable || tokens.Error != "temporarily_unavailable" || header.Get("Retry-After") == "" {
		t.Errorf("with Counterfoil dead: status %d, error %q, Retry-After %q; want 503 temporarily_unavailable", tokens.Status, tokens.Error, header.Get("Retry-After"))
	}
	s.wantAPI("with Counterfoil dead", second.AccessToken, http.StatusServiceUnavailable)
	s.node.Start()
	s.refreshAll(3, "with Counterfoil back")
}

func (s *shop) wantAPI(when, accessToken string, want int) {
	s.t.Helper()
	answer := s.get("/api/users", accessToken)
	if answer.StatusCode != want {
		s.t.Errorf("%s: the API answers %d, want %d", when, answer.StatusCode, want)
	}
	if asked := who(answer.Header) == oroName; asked != (want == http.StatusOK) {
		s.t.Errorf("%s: Oro was asked: %t", when, asked)
	}
}

// TestShopSignIn: the authorization endpoint leads to the sign-in page, whose form works
// at the shop's address, and on to the consent page.
func TestShopSignIn(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	query := url.Values{"response_type": {"code"}, "client_id": {s.client.ID}, "redirect_uri": {"https://app.example.com/cb"}}.Encode()
	for _, path := range []string{"/oauth2-token/authorize", "/admin/oauth2-token/authorize"} {
		to := s.get(path+"?"+query, "").Header.Get("Location")
		if want := "/oauth2/sign-in?continue="; !strings.HasPrefix(to, want) {
			t.Fatalf("%s leads to %q, want %s…", path, to, want)
		}
		onward, err := url.Parse(to)
		if err != nil {
			t.Fatal(err)
		}
		form := url.Values{"username": {"alice"}, "password": {password}, "continue": {onward.Query().Get("continue")}}
		request, err := http.NewRequest(http.MethodPost, s.base+"/oauth2/sign-in", strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set("Origin", "https://shop.example.com")
		request.Header.Set("Sec-Fetch-Site", "same-origin")
		answer, err := s.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if got, want := answer.Header.Get("Location"), "/oauth2-token/authorize?"+query; answer.StatusCode != http.StatusSeeOther || got != want {
			t.Errorf("signing in: status %d to %q, want 303 to %q", answer.StatusCode, got, want)
		}
		if cookie := answer.Header.Get("Set-Cookie"); !strings.HasPrefix(cookie, "__Host-") {
			t.Errorf("signing in sets the cookie %q, want __Host-…", cookie)
		}
	}
}

// TestShopChangeOver: with the fallback that is shipped as a comment, Oro is asked what
// Counterfoil refuses with 401, with the same body, and nothing else.
func TestShopChangeOver(t *testing.T) {
	t.Parallel()
	s := newShop(t,
		"    #proxy_intercept_errors", "    proxy_intercept_errors", "    #error_page", "    error_page",
		"#location @oro {\n#    try_files /nonexistent /index.php$is_args$args;\n#}\n", "location @oro {\ntry_files /nonexistent /index.php$is_args$args;\n}\n")
	passed, header := s.ask(map[string]string{"grant_type": "refresh_token", "refresh_token": "def50200abcdef"})
	if who(header) != oroName || !strings.Contains(passed.TokenType, `"refresh_token":"def50200abcdef"`) {
		t.Errorf("a refresh token of Oro: %s answered, and the body was %q", who(header), passed.TokenType)
	}
	for _, ours := range []struct {
		what   string
		body   map[string]string
		status int
	}{
		{"a login", map[string]string{"grant_type": "password", "username": "alice", "password": password}, http.StatusOK},
		{"a wrong password", map[string]string{"grant_type": "password", "username": "alice", "password": "wrong"}, http.StatusBadRequest},
		{"an unknown grant type", map[string]string{"grant_type": "session_transfer"}, http.StatusBadRequest},
	} {
		tokens, header := s.ask(ours.body)
		if who(header) != "Counterfoil" || tokens.Status != ours.status {
			t.Errorf("%s: %s answered %d, want Counterfoil and %d", ours.what, who(header), tokens.Status, ours.status)
		}
	}
	s.node.Kill()
	tokens, header := s.ask(map[string]string{"grant_type": "refresh_token", "refresh_token": "def50200abcdef"})
	if who(header) != "nginx" || tokens.Status != http.StatusServiceUnavailable {
		t.Errorf("with Counterfoil dead: %s answered %d, want nginx and 503", who(header), tokens.Status)
	}
}
