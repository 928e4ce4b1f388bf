package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// contraryServer is a real server that loses the answers a test wants lost.
type contraryServer struct {
	*httptest.Server
	client, secret, password string

	luck             atomic.Value // one of luckOf, for the next requests
	answered, losses sharedText   // the last answer, whether or not it was lost; and what is told
}

// sharedText is a text that a server writes and a test reads.
type sharedText struct {
	mu   sync.Mutex
	text []byte
}

func (s *sharedText) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = append(s.text, p...)
	return len(p), nil
}

func (s *sharedText) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.text)
}

func (s *sharedText) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = nil
}

var contraryPaths = []string{"/oauth2-token", "/oauth2/token"}

// luckOf are what becomes of the next answers, where half of all are lost.
var luckOf = map[string]float64{"nothing": 0, "half": 0.25, "almost sent": 0.4999, "sent": 0.5}

func newContraryServer(t *testing.T, proto string) *contraryServer {
	t.Helper()
	s := &contraryServer{password: "right horse staple"}
	public := &contrary{
		public: s.watch(s.install(t)), share: 0.5, losses: &s.losses,
		random: func() float64 { return s.luck.Load().(float64) },
	}
	s.Server = httptest.NewUnstartedServer(public)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	if s.EnableHTTP2 = proto == "HTTP/2.0"; s.EnableHTTP2 {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

// install makes an installation with a client and a user, and returns its public
// endpoints.
func (s *contraryServer) install(t *testing.T) http.Handler {
	t.Helper()
	c, err := demoConfig(func(string) (string, bool) { return "", false }, []string{"COUNTERFOIL_LISTEN=127.0.0.1:0"}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	i, err := openStore(t.Context(), c, slog.New(slog.DiscardHandler), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := errors.Join(i.prepare(t.Context()), i.open(t.Context())); err != nil {
		t.Fatal(err)
	}
	made, secret, err := i.Operator.CreateClient(t.Context(), oauth.Client{
		Name: "Contrary", Active: true, GrantTypes: []string{oauth.GrantTypePassword, oauth.GrantTypeClientCredentials},
	}, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.Operator.CreateUser(t.Context(), "alice", "", oauth.Secret(s.password)); err != nil {
		t.Fatal(err)
	}
	s.client, s.secret = made.ID, string(secret)
	_, public, err := newServer(t.Context(), i)
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// watch keeps the last answer of a handler.
func (s *contraryServer) watch(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.answered.Reset()
		h.ServeHTTP(&watchedAnswer{w, &s.answered}, r)
	})
}

type watchedAnswer struct {
	http.ResponseWriter
	seen io.Writer
}

func (w *watchedAnswer) Write(p []byte) (int, error) {
	_, _ = w.seen.Write(p)
	return w.ResponseWriter.Write(p)
}

// contraryAnswer is what a client got: all of it, or what there was before err.
type contraryAnswer struct {
	status  int
	proto   string
	body    string
	err     error
	refresh string
}

// ask posts a form. What becomes of the answer is one of luckOf.
func (s *contraryServer) ask(path, luck string, parameters map[string]string) (got contraryAnswer) {
	s.luck.Store(luckOf[luck])
	form := url.Values{"client_id": {s.client}, "client_secret": {s.secret}}
	for name, value := range parameters {
		form.Set(name, value)
	}
	response, err := s.Client().PostForm(s.URL+path, form)
	if err != nil {
		return contraryAnswer{err: err}
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return contraryAnswer{response.StatusCode, response.Proto, string(body), err, refreshTokenIn(string(body))}
}

func refreshTokenIn(answer string) string {
	var members struct {
		RefreshToken string `json:"refresh_token"`
	}
	_ = json.Unmarshal([]byte(answer), &members) // half an answer has none
	return members.RefreshToken
}

func (s *contraryServer) login() map[string]string {
	return map[string]string{"grant_type": "password", "username": "alice", "password": s.password}
}

// TestContrary: an answer is lost with nothing of it sent, or in the middle, after what
// it says was committed: the same request again gets the refresh token that was lost.
func TestContrary(t *testing.T) {
	t.Parallel()
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()
			s := newContraryServer(t, proto)
			for _, path := range contraryPaths {
				newest := s.ask(path, "sent", s.login()).refresh
				for _, luck := range []string{"nothing", "half", "almost sent"} {
					request := map[string]string{"grant_type": "refresh_token", "refresh_token": newest}
					s.checkLost(t, path, luck, request)
					lost := refreshTokenIn(s.answered.String())
					if s.checkLost(t, path, luck, request); refreshTokenIn(s.answered.String()) != lost {
						t.Errorf("%s, %s: the first retry makes another refresh token", path, luck)
					}
					again := s.ask(path, "sent", request)
					if again.err != nil || again.status != http.StatusOK || again.proto != proto {
						t.Fatalf("%s, %s: the same request again gets %s %d, %v; want an answer over %s", path, luck, again.proto, again.status, again.err, proto)
					}
					if lost == "" || lost == newest || again.refresh != lost {
						t.Errorf("%s, %s: the same request again gets another refresh token than the one that was lost", path, luck)
					}
					newest = again.refresh
				}
			}
		})
	}
}

// checkLost sends a request whose answer must get lost, and checks what the client sees
// and what is told.
func (s *contraryServer) checkLost(t *testing.T, path, luck string, parameters map[string]string) {
	t.Helper()
	s.losses.Reset()
	got := s.ask(path, luck, parameters)
	what, whole := fmt.Sprintf("%s, %s, %s", path, parameters["grant_type"], luck), len(s.answered.String())
	switch {
	case got.err == nil:
		t.Errorf("%s: the client sees %d and no error", what, got.status)
	case luck == "nothing" && got.status != 0:
		t.Errorf("%s: the client sees %d, want nothing", what, got.status)
	case luck != "nothing" && (got.status != http.StatusOK || len(got.body) != whole/2):
		t.Errorf("%s: the client sees %d and %d bytes, want 200 and half of %d bytes", what, got.status, len(got.body), whole)
	}
	told := map[bool]string{true: "nothing", false: "half"}[luck == "nothing"] + " of it was sent"
	for _, want := range []string{"a " + parameters["grant_type"] + " request at " + path + ", X-Request-Id ", told, "the same request again"} {
		if !strings.Contains(s.losses.String(), want) {
			t.Errorf("%s: told is\n%swithout %q", what, &s.losses, want)
		}
	}
	for name, secret := range parameters {
		if name != "grant_type" && name != "username" && strings.Contains(s.losses.String(), secret) {
			t.Errorf("%s: %s is told", what, name)
		}
	}
	if lost := refreshTokenIn(s.answered.String()); lost != "" && strings.Contains(s.losses.String(), lost) || strings.Contains(s.losses.String(), s.secret) {
		t.Errorf("%s: a secret is told", what)
	}
}

// TestContraryGrantTypes: the answers to whatever is granted get lost, at both endpoints.
func TestContraryGrantTypes(t *testing.T) {
	t.Parallel()
	s := newContraryServer(t, "HTTP/1.1")
	for _, path := range contraryPaths {
		for _, luck := range []string{"nothing", "half"} {
			s.checkLost(t, path, luck, s.login())
			s.checkLost(t, path, luck, map[string]string{"grant_type": "client_credentials"})
		}
	}
}

// TestContraryLeavesAlone: nothing but granted tokens is lost.
func TestContraryLeavesAlone(t *testing.T) {
	t.Parallel()
	s := newContraryServer(t, "HTTP/1.1")
	wrong := maps.Clone(s.login())
	wrong["password"] = "wrong"
	for _, test := range []struct {
		path       string
		parameters map[string]string
		want       int
	}{
		{"/oauth2-token", wrong, 400},
		{"/oauth2/token", wrong, 400},
		{"/oauth2-token", map[string]string{"grant_type": "refresh_token", "refresh_token": "cfr_"}, 401},
		{"/oauth2/token", map[string]string{"grant_type": "implicit"}, 400},
		{"/oauth2-token", map[string]string{"scope": strings.Repeat("a", 20<<10)}, 413},
		{"/oauth2/userinfo", nil, 405},
		{"/oauth2/nowhere", s.login(), 404},
	} {
		got := s.ask(test.path, "nothing", test.parameters)
		if got.err != nil || got.status != test.want || got.body != s.answered.String() {
			t.Errorf("POST %s %v gets %d, %v, %q; want %d and %q", test.path, test.parameters["grant_type"], got.status, got.err, got.body, test.want, &s.answered)
		}
	}
	for path, want := range map[string]int{"/healthz/ready": 200, "/oauth2/jwks": 200, "/oauth2-token": 405, "/oauth2/userinfo": 401} {
		response, err := s.Client().Get(s.URL + path)
		if err != nil {
			t.Errorf("GET %s: %v", path, err)
			continue
		}
		if _, err := io.ReadAll(response.Body); err != nil || response.StatusCode != want {
			t.Errorf("GET %s: %d, %v; want %d", path, response.StatusCode, err, want)
		}
		_ = response.Body.Close()
	}
	if s.losses.String() != "" {
		t.Errorf("told is\n%swant nothing", &s.losses)
	}
}

// TestKeptBody: the grant type is found in every media type, and nothing else is told.
func TestKeptBody(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		"username=a&grant_type=password":                                                          "password",
		`{"refresh_token":"cfr_1", "grant_type" : "refresh_token"}`:                               "refresh_token",
		"--b\r\nContent-Disposition: form-data; name=\"grant_type\"\r\n\r\npassword\r\n--b--\r\n": "password",
		"password=grant_type=secret&grant_type=password":                                          "token",
		"grant%5Ftype=password":                                                                   "token",
		"":                                                                                        "token",
	} {
		b := &keptBody{ReadCloser: io.NopCloser(strings.NewReader(body))}
		read, err := io.ReadAll(b)
		if err != nil || string(read) != body {
			t.Errorf("of %q was read %q, %v", body, read, err)
		}
		if got := b.grantType(); got != want {
			t.Errorf("the grant type of %q is told as %q, want %q", body, got, want)
		}
	}
}

// TestShareFlag: a share is percent, or a fraction.
func TestShareFlag(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]float64{"0": 0, "0%": 0, "20%": 0.2, "0.2": 0.2, ".5%": 0.005, "12.5%": 0.125, "7%": 0.07} {
		var got shareFlag
		if err := got.Set(text); err != nil || float64(got) != want {
			t.Errorf("%q is %v, %v; want %v", text, float64(got), err, want)
		}
	}
	for _, text := range []string{"", "%", "100%", "1", "20", "-1%", "-0.1", "NaN", "NaN%", "Inf", "twenty", "20 %", "20%%"} {
		if got := shareFlag(0.25); got.Set(text) == nil || got != 0.25 {
			t.Errorf("%q is taken for a share, %v", text, float64(got))
		}
	}
	if seven := shareFlag(0.07); seven.String() != "7%" {
		t.Errorf("0.07 is printed as %s, want 7%%", &seven)
	}
}
