package endpoint_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/endpoint"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// line returns the one line that was logged of a request.
func (f *fixture) line(t testing.TB, id string) map[string]any {
	t.Helper()
	var found []map[string]any
	for text := range strings.Lines(f.logged()) {
		var line map[string]any
		check(t, json.Unmarshal([]byte(text), &line))
		if line["request_id"] == id {
			found = append(found, line)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d lines were logged of request %s", len(found), id)
	}
	return found[0]
}

func TestLogAndMetrics(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{settings: func(s *oauth.Settings) { s.RetryWindow, s.LateWindow = new(time.Duration), 0 }})
	granted := post(f, oroPath, login)
	refresh := "grant_type=refresh_token&client_id=listed&refresh_token=" + member(t, granted, "refresh_token")
	for _, c := range []struct {
		form, level, outcome, grantType string
		status                          int
		client, grant                   bool // are known
	}{
		{login, "INFO", "login", "password", 200, true, true},
		{refresh, "INFO", "rotated", "refresh_token", 200, true, true},
		{refresh, "WARN", "replay", "refresh_token", 401, true, true},
		{login + "-wrong", "INFO", "password_incorrect", "password", 400, true, false},
		{"grant_type=secret-grant&client_id=listed", "INFO", "grant_type_unsupported", "", 400, false, false},
		{"grant_type=password&client_id=secret-client", "INFO", "client_unauthenticated", "password", 401, false, false},
		{refresh + "&a=1&a=2", "INFO", "parameter_repeated", "", 400, false, false},
	} {
		w := post(f, oroPath, c.form)
		line := f.line(t, w.Header().Get("X-Request-Id"))
		for name, want := range map[string]any{
			"msg": "request", "level": c.level, "outcome": c.outcome, "status": float64(c.status), "method": "POST", "path": "/oauth2-token", "source": "192.0.2.0/24",
		} {
			if line[name] != want {
				t.Errorf("%s: logged %s is %v, want %v", c.outcome, name, line[name], want)
			}
		}
		if client, grant := line["client_id"] == "listed", line["grant_id"] != nil; client != c.client || grant != c.grant {
			t.Errorf("%s: client logged: %v, grant logged: %v", c.outcome, client, grant)
		}
		o := f.lastObserved()
		if o.Duration <= 0 || line["duration"] == nil {
			t.Errorf("%s: no duration", c.outcome)
		}
		o.Duration = 0
		if want := (endpoint.Observation{Endpoint: "token", GrantType: c.grantType, Outcome: c.outcome, Status: c.status}); o != want {
			t.Errorf("observed %+v, want %+v", o, want)
		}
	}
}

// TestLogTellsNothingTyped sends a marker everywhere.
func TestLogTellsNothingTyped(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	const marker = "MARKER"
	granted := post(f, oroPath, login)
	bodies := []string{
		"grant_type=MARKER", "grant_type=password&client_id=MARKER", "MARKER=1&MARKER=2", login + "&scope=MARKER", login + "&redirect_uri=MARKER",
		"grant_type=password&client_id=listed&username=MARKER&password=MARKER", "grant_type=refresh_token&client_id=listed&refresh_token=MARKER",
		login + "&a=MARKER%zz", `{"MARKER":MARKER}`, `{"MARKER":1,"MARKER":1}`, `{"grant_type":"MARKER"}`,
	}
	for _, path := range []string{oroPath, standardPath, "/MARKER", standardPath + "?client_id=MARKER", "/oauth2/userinfo", "/.well-known/oauth-authorization-server/MARKER"} {
		for _, body := range bodies {
			for _, media := range []string{"application/x-www-form-urlencoded", "application/json", "multipart/form-data; boundary=MARKER", marker} {
				for _, authorization := range []string{"", "Basic TUFSS0VSOk1BUktFUg==", "Basic MARKER!", "Bearer MARKER", "Bearer MARKER.MARKER.MARKER"} {
					r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
					if strings.Contains(path, "userinfo") {
						r.Method = http.MethodGet
					}
					r.Header.Set("Content-Type", media)
					r.Header.Set("Authorization", authorization)
					r.Header.Set("Origin", "https://MARKER.example")
					r.Header.Set("X-Forwarded-For", marker)
					f.ServeHTTP(httptest.NewRecorder(), r)
				}
			}
		}
	}
	r := httptest.NewRequest(marker, oroPath, nil)
	f.ServeHTTP(httptest.NewRecorder(), r)
	for _, secret := range []string{marker, "john-pass", member(t, granted, "refresh_token"), member(t, granted, "access_token")} {
		if i := strings.Index(f.logged(), secret); i >= 0 {
			t.Errorf("logged %q: %s", secret, f.logged()[max(0, i-300):i+30])
		}
	}
}
