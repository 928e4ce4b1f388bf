package endpoint_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/endpoint"
	"github.com/counterfoil/counterfoil/internal/memory"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

const (
	oroPath      = "/oauth2-token"
	standardPath = "/oauth2/token"
	login        = "grant_type=password&client_id=listed&username=john&password=john-pass"
)

// post sends a form to a handler.
func post(h http.Handler, path, form string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// member returns a member of a JSON answer.
func member(t testing.TB, w *httptest.ResponseRecorder, name string) string {
	t.Helper()
	var answer map[string]any
	check(t, json.Unmarshal(w.Body.Bytes(), &answer))
	return fmt.Sprint(answer[name])
}

func TestNewRefusesIncompleteOptions(t *testing.T) {
	t.Parallel()
	var complete endpoint.Options
	newFixture(t, setup{options: func(o *endpoint.Options) { complete = *o }})
	for name, change := range map[string]func(*endpoint.Options){
		"no server":     func(o *endpoint.Options) { o.Server = nil },
		"no key set":    func(o *endpoint.Options) { o.JWKS = nil },
		"no readiness":  func(o *endpoint.Options) { o.Ready = nil },
		"no logger":     func(o *endpoint.Options) { o.Logger = nil },
		"no randomness": func(o *endpoint.Options) { o.Rand = nil },
		"relative issuer": func(o *endpoint.Options) {
			o.Server = &oauth.Server{Settings: oauth.Settings{Issuer: "/auth"}}
		},
		"issuer with query (RFC 8414 section 2)": func(o *endpoint.Options) {
			o.Server = &oauth.Server{Settings: oauth.Settings{Issuer: "https://auth.example.com/?a=b"}}
		},
	} {
		o := complete
		change(&o)
		if _, err := endpoint.New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// failing is a store whose reads of grants fail, or panic.
type failing struct {
	*memory.Store
	fail func() error
}

func (s failing) Grant(context.Context, oauth.GrantID) (oauth.GrantView, error) {
	return oauth.GrantView{}, s.fail()
}

func (s failing) ConfirmGrant(context.Context, oauth.GrantID) (oauth.GrantView, error) {
	return oauth.GrantView{}, s.fail()
}

func (s failing) GrantByPublicID(context.Context, string) (oauth.GrantView, error) {
	return oauth.GrantView{}, s.fail()
}

func TestFaultIsUnavailable(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func() error{
		"error": func() error { return errors.New("disk on fire at 10.0.0.7") },
		"panic": func() error { panic("disk on fire at 10.0.0.7") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, setup{store: func(s *memory.Store) oauth.Store { return failing{s, fail} }})
			answer := post(f, standardPath, login)
			refresh := "grant_type=refresh_token&client_id=listed&refresh_token=" + member(t, answer, "refresh_token")
			userinfo := httptest.NewRequest(http.MethodGet, "/oauth2/userinfo", nil)
			userinfo.Header.Set("Authorization", "Bearer "+member(t, answer, "access_token"))
			protected := httptest.NewRecorder()
			f.ServeHTTP(protected, userinfo)
			for path, w := range map[string]*httptest.ResponseRecorder{
				oroPath: post(f, oroPath, refresh), standardPath: post(f, standardPath, refresh), "userinfo": protected,
			} {
				if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" || member(t, w, "error") != "temporarily_unavailable" {
					t.Errorf("%s: got %d, Retry-After %q, %s", path, w.Code, w.Header().Get("Retry-After"), w.Body)
				}
				if strings.Contains(w.Body.String(), "fire") {
					t.Errorf("%s tells the fault: %s", path, w.Body)
				}
				line := f.line(t, w.Header().Get("X-Request-Id"))
				if line["level"] != "ERROR" || line["outcome"] != "fault" || !strings.Contains(fmt.Sprint(line["error"]), "disk on fire") {
					t.Errorf("%s was logged as %v", path, line)
				}
			}
			if got := member(t, post(f, oroPath, refresh), "message"); got != "The server is temporarily unavailable. Try again later." {
				t.Errorf("OroCommerce's message is %q", got)
			}
		})
	}
}

func TestAbortedHandlerStaysAborted(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{store: func(s *memory.Store) oauth.Store {
		return failing{s, func() error { panic(http.ErrAbortHandler) }}
	}})
	token := member(t, post(f, standardPath, login), "refresh_token")
	defer func() {
		if v := recover(); v != http.ErrAbortHandler {
			t.Errorf("recovered %v", v)
		}
	}()
	post(f, standardPath, "grant_type=refresh_token&client_id=listed&refresh_token="+token)
	t.Error("the panic was swallowed")
}

func TestPanicAfterBeginOfAnswerAborts(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	defer func() {
		if v := recover(); v != http.ErrAbortHandler {
			t.Errorf("recovered %v", v)
		}
		if !strings.Contains(f.logged(), "no more space") {
			t.Errorf("the panic was not logged: %s", f.logged())
		}
	}()
	f.ServeHTTP(brokenWriter{httptest.NewRecorder()}, httptest.NewRequest(http.MethodGet, "/oauth2/jwks", nil))
	t.Error("the panic was swallowed")
}

type brokenWriter struct{ *httptest.ResponseRecorder }

func (brokenWriter) Write([]byte) (int, error) { panic("no more space") }

func TestBrokenRandomnessIsFault(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{options: func(o *endpoint.Options) { o.Rand = strings.NewReader("short") }})
	if w := post(f, standardPath, login); w.Code != http.StatusServiceUnavailable || len(w.Header().Get("X-Request-Id")) != 32 {
		t.Errorf("got %d, X-Request-Id %q", w.Code, w.Header().Get("X-Request-Id"))
	}
}

func TestClientThatHangsUpIsNoFault(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{directory: func(d oauth.Directory) oauth.Directory { return hangUp{d} }})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, standardPath, strings.NewReader(login))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	if line := f.line(t, w.Header().Get("X-Request-Id")); line["level"] != "INFO" || line["outcome"] != "canceled" {
		t.Errorf("logged %v", line)
	}
}

// hangUp is a directory that is asked after the client hung up.
type hangUp struct{ oauth.Directory }

func (hangUp) Verify(ctx context.Context, _ oauth.Account, _ oauth.Secret) error {
	<-ctx.Done()
	return fmt.Errorf("verify password: %w", ctx.Err())
}

// refusing is a directory that refuses every password for a reason.
type refusing struct {
	oauth.Directory
	err error
}

func (r refusing) Verify(context.Context, oauth.Account, oauth.Secret) error { return r.err }

func TestComeAgainLater(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err        error
		status     int
		retryAfter string
	}{
		{oauth.ErrThrottled.After(1100 * time.Millisecond), http.StatusTooManyRequests, "2"},
		{oauth.ErrThrottled.After(2 * time.Second), http.StatusTooManyRequests, "2"},
		{oauth.ErrRetryBudgetSpent.After(30 * time.Second), http.StatusTooManyRequests, "30"},
		{oauth.ErrBusy, http.StatusServiceUnavailable, "1"},
		{oauth.ErrBusy.After(5 * time.Second), http.StatusServiceUnavailable, "5"},
	} {
		f := newFixture(t, setup{directory: func(d oauth.Directory) oauth.Directory { return refusing{d, c.err} }})
		for _, path := range []string{oroPath, standardPath} {
			w := post(f, path, login)
			if got := w.Header().Get("Retry-After"); w.Code != c.status || got != c.retryAfter || member(t, w, "error") != "temporarily_unavailable" {
				t.Errorf("%v at %s: %d, Retry-After %q, %s; want %d, %s", c.err, path, w.Code, got, w.Body, c.status, c.retryAfter)
			}
		}
	}
}

// TestGuessingIsThrottled: the right password has to wait too.
func TestGuessingIsThrottled(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	guesses := 0
	for ; guesses < 12; guesses++ {
		if post(f, oroPath, "grant_type=password&client_id=listed&username=john&password=x").Code == http.StatusTooManyRequests {
			break
		}
	}
	if guesses < 5 || guesses == 12 {
		t.Errorf("throttled after %d guesses, want 5 to 11", guesses)
	}
	if w := post(f, standardPath, login); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("the right password got %d", w.Code)
	}
	r := httptest.NewRequest(http.MethodPost, standardPath, strings.NewReader(login))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.RemoteAddr = "198.51.100.1:1"
	w := httptest.NewRecorder()
	if f.ServeHTTP(w, r); w.Code != http.StatusOK {
		t.Errorf("another source got %d", w.Code)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	pad := func(n int) string { return login + "&pad=" + strings.Repeat("x", n-len(login)-len("&pad=")) }
	for _, path := range []string{oroPath, standardPath} {
		if w := post(f, path, pad(16<<10)); w.Code != http.StatusOK {
			t.Errorf("%s: 16 KiB got %d", path, w.Code)
		}
		if w := post(f, path, pad(16<<10+1)); w.Code != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: more than 16 KiB got %d", path, w.Code)
		}
		chunked := httptest.NewRequest(http.MethodPost, path, bufio.NewReader(strings.NewReader(pad(16<<10+1)))) // of unknown length
		chunked.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		if f.ServeHTTP(w, chunked); w.Code != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: a large chunked body got %d", path, w.Code)
		}
		cut := httptest.NewRequest(http.MethodPost, path, strings.NewReader(login))
		cut.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		cut.ContentLength = int64(len(login) + 1)
		w = httptest.NewRecorder()
		if f.ServeHTTP(w, cut); w.Code != http.StatusBadRequest {
			t.Errorf("%s: a body that broke off got %d", path, w.Code)
		}
		if w := post(f, path+"?"+strings.Repeat("a", 8<<10), login); w.Code != http.StatusRequestURITooLong {
			t.Errorf("%s: a long address got %d", path, w.Code)
		}
	}
}

func TestRequestIDIsOurs(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	seen := map[string]bool{}
	for _, path := range []string{"/oauth2/jwks", "/nowhere", "//", "/oauth2/jwks"} {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("X-Request-Id", strings.Repeat("ab", 16))
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		id := w.Header().Get("X-Request-Id")
		if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(id) || id == r.Header.Get("X-Request-Id") || seen[id] {
			t.Errorf("%s: X-Request-Id %q", path, id)
		}
		seen[id] = true
		f.line(t, id)
	}
}

func TestNotReady(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{options: func(o *endpoint.Options) {
		o.Ready = func(context.Context) error { return errors.New("not migrated") }
	}})
	for path, want := range map[string]int{"/healthz/ready": 503, "/healthz/live": 200} {
		w := httptest.NewRecorder()
		f.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
	if !strings.Contains(f.logged(), "not migrated") {
		t.Error("the log does not say why")
	}
}
