package endpoint_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/counterfoil/counterfoil/internal/admin"
)

// TestGoClient: golang.org/x/oauth2 logs in and refreshes by itself.
func TestGoClient(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(newFixture(t, setup{}))
	t.Cleanup(server.Close)
	ctx := context.WithValue(t.Context(), oauth2.HTTPClient, server.Client())
	for _, path := range []string{oroPath, standardPath} {
		for name, config := range map[string]oauth2.Config{
			"public":                   {ClientID: "OroAppPublic00000000000000000001"},
			"confidential":             {ClientID: "OroAppConfidential00000000000001", ClientSecret: "conf-secret-1"},
			"secret to percent-encode": {ClientID: "OroAppSecretUnicode0000000000001", ClientSecret: "sécret:ü%🔑"},
		} {
			t.Run(path+" "+name, func(t *testing.T) {
				config.Endpoint.TokenURL = server.URL + path
				token, err := config.PasswordCredentialsToken(ctx, "john", "john-pass")
				check(t, err)
				if token.TokenType != "Bearer" || time.Until(token.Expiry) < 59*time.Minute {
					t.Errorf("a %s token until %v", token.TokenType, token.Expiry)
				}
				old := *token
				token.Expiry = time.Now().Add(-time.Minute)
				refreshed, err := config.TokenSource(ctx, token).Token()
				check(t, err)
				if refreshed.RefreshToken == old.RefreshToken || refreshed.AccessToken == old.AccessToken {
					t.Error("it did not refresh")
				}
				response, err := config.Client(ctx, refreshed).Get(server.URL + "/oauth2/userinfo")
				check(t, err)
				defer response.Body.Close()
				if response.StatusCode != http.StatusOK {
					t.Errorf("userinfo: %s", response.Status)
				}
			})
		}
	}
}

// TestSimultaneousRefreshes: all get the same successor (docs/rotation.md, I1 and I3).
func TestSimultaneousRefreshes(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	const requests = 64
	for _, path := range []string{oroPath, standardPath} {
		form := url.Values{
			"grant_type": {"refresh_token"}, "client_id": {"listed"}, "refresh_token": {member(t, post(f, path, login), "refresh_token")},
		}
		bodies := make([]string, requests)
		var group sync.WaitGroup
		for i := range bodies {
			group.Go(func() {
				response, err := server.Client().PostForm(server.URL+path, form)
				if err != nil {
					t.Error(err)
					return
				}
				defer response.Body.Close()
				body, err := io.ReadAll(response.Body)
				if err != nil || response.StatusCode != http.StatusOK {
					t.Errorf("%s: %v %s", response.Status, err, body)
				}
				bodies[i] = string(body)
			})
		}
		group.Wait()
		successors := map[string]bool{}
		for _, body := range bodies {
			successors[refreshText.FindString(body)] = true
		}
		if len(successors) != 1 {
			t.Errorf("%s: %d successors, want 1", path, len(successors))
		}
	}
	grants, err := f.store.Grants(t.Context(), admin.GrantFilter{ClientID: "listed"})
	check(t, err)
	for _, g := range grants {
		if g.Grant.Generation != 1 || g.Grant.Retries != requests-1 {
			t.Errorf("generation %d after %d retries, want 1 and %d", g.Grant.Generation, g.Grant.Retries, requests-1)
		}
	}
	if len(grants) != 2 {
		t.Errorf("%d grants, want 2", len(grants))
	}
}

// writer is a http.ResponseWriter that costs next to nothing.
type writer struct {
	header http.Header
	status int
	body   []byte
}

func (w *writer) Header() http.Header { return w.header }

func (w *writer) WriteHeader(status int) { w.status = status }

func (w *writer) Write(b []byte) (int, error) {
	w.body = append(w.body, b...)
	return len(b), nil
}

func BenchmarkRefresh(b *testing.B) {
	f := newFixture(b, setup{})
	w := post(f, oroPath, login)
	answer := &writer{header: http.Header{}, body: w.Body.Bytes()}
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	b.ReportAllocs()
	for b.Loop() {
		body := "grant_type=refresh_token&client_id=listed&refresh_token=" + refreshText.FindString(string(answer.body))
		r := &http.Request{
			Method: http.MethodPost, URL: &url.URL{Path: oroPath}, RequestURI: oroPath, Header: header, RemoteAddr: "192.0.2.1:1",
			Host: "auth.example.com", ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body)),
		}
		clear(answer.header)
		answer.body = answer.body[:0]
		f.ServeHTTP(answer, r)
		if answer.status != http.StatusOK {
			b.Fatalf("%d %s", answer.status, answer.body)
		}
	}
}
