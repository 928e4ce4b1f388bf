package endpoint_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/counterfoil/counterfoil/internal/feed"
	"github.com/counterfoil/counterfoil/internal/memory"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// The confidential client that asks about tokens, and one that gets them for itself.
const (
	asker     = "OroAppConfidential00000000000001"
	askerForm = "client_id=" + asker + "&client_secret=conf-secret-1"
	own       = "OroAppClientCreds000000000000001"
	ownForm   = "client_id=" + own + "&client_secret=cc-secret-1"
)

// connection is what is written to a connection, and the deadlines that it got.
type connection struct {
	*httptest.ResponseRecorder
	read, write time.Time
}

func (c *connection) SetReadDeadline(t time.Time) error { c.read = t; return nil }

func (c *connection) SetWriteDeadline(t time.Time) error { c.write = t; return nil }

// follow asks the feed.
func (f *fixture) follow(ctx context.Context, query string) *connection {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/oauth2/revocations"+query, nil)
	r.SetBasicAuth(asker, "conf-secret-1")
	w := &connection{ResponseRecorder: httptest.NewRecorder()}
	f.ServeHTTP(w, r)
	return w
}

// page is an answer of the feed.
type page struct {
	Next        string           `json:"next"`
	Complete    bool             `json:"complete"`
	More        bool             `json:"more"`
	Revocations []map[string]any `json:"revocations"`
}

// pageOf reads an answer, which must be one.
func pageOf(t *testing.T, w *connection) page {
	t.Helper()
	var p page
	if w.Code != http.StatusOK || w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("got %d, %v: %s", w.Code, w.Header(), w.Body)
	}
	check(t, json.Unmarshal(w.Body.Bytes(), &p))
	if p.Next == "" || p.Revocations == nil {
		t.Fatalf("got %s, want next and a list", w.Body)
	}
	return p
}

// step steps the feed as the server does, until it is stopped.
func (f *fixture) step(ctx context.Context) (stop func()) {
	ctx, stop = context.WithCancel(ctx)
	go func() {
		ticker := time.NewTicker(feed.Interval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				_ = f.feed.Step(ctx) // what is stale shows
			case <-ctx.Done():
				return
			}
		}
	}()
	return stop
}

// inBubble runs a test by a clock of its own (testing/synctest), with a server whose feed
// is stepped.
func inBubble(t *testing.T, s setup, test func(t *testing.T, f *fixture, stop func())) {
	t.Helper()
	t.Parallel()
	_, err := seedHashes() // outside, for all tests
	check(t, err)
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, s)
		test(t, f, f.step(t.Context()))
	})
}

// entry finds what a page says about something, without `exp`, which it checks: no token
// lives longer, and it comes at most two seconds later.
func entry(t *testing.T, p page, member, value string, happened time.Time) string {
	t.Helper()
	for _, e := range p.Revocations {
		if e[member] != value {
			continue
		}
		exp, _ := e["exp"].(float64)
		if later := time.Unix(int64(exp), 0).Sub(happened.Add(oauth.LongestForgotten + time.Minute)); later <= 0 || later > 2*time.Second {
			t.Errorf("%v is to be forgotten %v after the last token may live", e, later)
		}
		delete(e, "exp")
		b, err := json.Marshal(e) // members in order
		check(t, err)
		return string(b)
	}
	return ""
}

// granted is a login's grant, with the tokens.
func (f *fixture) granted(t *testing.T, form string) (grantID string, w *httptest.ResponseRecorder) {
	t.Helper()
	w = post(f, standardPath, form)
	line := f.line(t, w.Header().Get("X-Request-Id"))
	grantID, _ = line["grant_id"].(string)
	if w.Code != http.StatusOK {
		t.Fatalf("%s: %d %s", form, w.Code, w.Body)
	}
	return grantID, w
}

// changed changes a client.
func (f *fixture) changed(t *testing.T, id string, change func(*oauth.Client)) {
	t.Helper()
	client, err := f.store.Client(t.Context(), id)
	check(t, err)
	change(&client)
	check(t, f.store.UpdateClient(t.Context(), client, oauth.Event{}))
}

// TestFeedTellsAll: who follows for the first time learns at once of all that matters
// still, each kind in its form.
func TestFeedTellsAll(t *testing.T) {
	inBubble(t, setup{}, func(t *testing.T, f *fixture, _ func()) {
		happened := time.Now()
		rotated, w := f.granted(t, login)
		f.granted(t, "grant_type=refresh_token&client_id=listed&refresh_token="+member(t, w, "refresh_token"))
		ended, w := f.granted(t, login)
		post(f, "/oauth2/revoke", "client_id=listed&token="+member(t, w, "access_token"))
		living, _ := f.granted(t, login)
		blocked, _ := f.granted(t, strings.NewReplacer("=john-pass", "=legacy-pass", "=john", "=legacy").Replace(login))
		check(t, f.store.SetUserState(t.Context(), "user-7", new(false), "", oauth.Event{}))
		f.changed(t, "OroAppPublic00000000000000000001", func(c *oauth.Client) { c.Active = false })
		w = post(f, standardPath, "grant_type=client_credentials&"+ownForm)
		post(f, "/oauth2/revoke", ownForm+"&token="+member(t, w, "access_token"))
		deactivated, err := f.store.Client(t.Context(), "OroAppPublic00000000000000000001")
		check(t, err)
		revoked, err := f.store.Client(t.Context(), own)
		check(t, err)

		begun := time.Now()
		p := pageOf(t, f.follow(t.Context(), "?wait=50"))
		if !p.Complete || p.More || time.Since(begun) > 5*time.Second {
			t.Errorf("complete %v, more %v, after %v; want a whole list at once", p.Complete, p.More, time.Since(begun))
		}
		for _, c := range []struct{ member, value, want string }{
			{"grant_id", rotated, `{"generation":1,"grant_id":"` + rotated + `"}`},
			{"grant_id", ended, `{"ended":true,"grant_id":"` + ended + `"}`},
			{"sub", "user-7", `{"blocked":true,"grant_ids":["` + blocked + `"],"sub":"user-7"}`},
			{"client_id", deactivated.ID, fmt.Sprintf(`{"blocked":true,"client_id":"%s","not_before":%d}`, deactivated.ID, deactivated.NotBefore.UnixMicro())},
			{"client_id", own, fmt.Sprintf(`{"client_id":"%s","not_before":%d}`, own, revoked.NotBefore.UnixMicro())},
			{"grant_id", living, ""},
			{"grant_id", blocked, ""},
		} {
			if got := entry(t, p, c.member, c.value, happened); got != c.want {
				t.Errorf("of %s %s it tells %s, want %q", c.member, c.value, got, c.want)
			}
		}
	})
}

// TestFeedTellsPrevious: where the access token before a refresh lives on for a while, it
// says until when, never later than it does.
func TestFeedTellsPrevious(t *testing.T) {
	inBubble(t, setup{settings: func(s *oauth.Settings) { s.PreviousAccessToken.For = 90*time.Second + 250*time.Millisecond }}, func(t *testing.T, f *fixture, _ func()) {
		rotated, w := f.granted(t, login)
		f.granted(t, "grant_type=refresh_token&client_id=listed&refresh_token="+member(t, w, "refresh_token"))
		want := fmt.Sprintf(`"grant_id":"%s","generation":1,"previous_until":%d.25,"exp":`, rotated, time.Now().Unix()+90)
		if got := f.follow(t.Context(), "").Body.String(); !strings.Contains(got, want) {
			t.Errorf("got %s, want it to contain %s", got, want)
		}
	})
}

// TestFeedWakes: who waits learns of what is cut off, or let in again, within a second.
func TestFeedWakes(t *testing.T) {
	enable := func(enabled bool) func(*fixture) error {
		return func(f *fixture) error {
			return f.store.SetUserState(context.Background(), "user-2", &enabled, "", oauth.Event{})
		}
	}
	inBubble(t, setup{}, func(t *testing.T, f *fixture, _ func()) {
		next := pageOf(t, f.follow(t.Context(), "")).Next
		id, w := f.granted(t, login)
		token, refresh := member(t, w, "access_token"), member(t, w, "refresh_token")
		for _, c := range []struct {
			act  func(*fixture) error
			want string
		}{
			{func(f *fixture) error {
				post(f, oroPath, "grant_type=refresh_token&client_id=listed&refresh_token="+refresh)
				return nil
			}, `{"generation":1,"grant_id":"` + id + `"}`},
			{enable(false), `{"blocked":true,"grant_ids":["` + id + `"],"sub":"user-2"}`},
			{enable(true), `{"sub":"user-2"}`},
			{func(f *fixture) error { post(f, "/oauth2/revoke", "client_id=listed&token="+token); return nil }, `{"ended":true,"grant_id":"` + id + `"}`},
		} {
			begun := time.Now()
			time.AfterFunc(5*time.Second, func() {
				if err := c.act(f); err != nil {
					t.Error(err)
				}
			})
			p := pageOf(t, f.follow(t.Context(), "?since="+next))
			next = p.Next
			took := time.Since(begun)
			if took < 5*time.Second || took > 6*time.Second || p.Complete || p.More || len(p.Revocations) != 1 {
				t.Fatalf("after %v: %+v; want one entry after 5 s", took, p)
			}
			delete(p.Revocations[0], "exp")
			if b, err := json.Marshal(p.Revocations[0]); err != nil || string(b) != c.want {
				t.Errorf("got %s, %v; want %s", b, err, c.want)
			}
		}
	})
}

// TestFeedWaits: without news the answer is an empty list, after the time that was asked
// for; the connection is given longer than that.
func TestFeedWaits(t *testing.T) {
	inBubble(t, setup{}, func(t *testing.T, f *fixture, _ func()) {
		next := pageOf(t, f.follow(t.Context(), "")).Next
		for query, wait := range map[string]time.Duration{"": 15 * time.Second, "&wait=": 15 * time.Second, "&wait=0": 0, "&wait=1": time.Second, "&wait=50": 50 * time.Second} {
			begun := time.Now()
			w := f.follow(t.Context(), "?since="+next+query)
			p := pageOf(t, w)
			if took := time.Since(begun); took != wait || p.Complete || p.More || len(p.Revocations) != 0 {
				t.Errorf("%q: after %v %s; want an empty list after %v", query, took, w.Body, wait)
			}
			for name, deadline := range map[string]time.Time{"read": w.read, "write": w.write} {
				if spare := deadline.Sub(begun) - wait; spare < 5*time.Second || spare > time.Minute {
					t.Errorf("%q: the %s deadline leaves %v for the answer", query, name, spare)
				}
			}
			next = p.Next
		}
	})
}

// TestFeedBeginsAnew: with a cursor that the server cannot continue the list is whole.
func TestFeedBeginsAnew(t *testing.T) {
	inBubble(t, setup{}, func(t *testing.T, f *fixture, _ func()) {
		whole := pageOf(t, f.follow(t.Context(), ""))
		name, _, _ := strings.Cut(whole.Next, ".")
		for _, since := range []string{"", "another.7.0", name + ".999999.0"} {
			begun := time.Now()
			p := pageOf(t, f.follow(t.Context(), "?since="+since))
			if !p.Complete || len(p.Revocations) != len(whole.Revocations) || time.Since(begun) != 0 {
				t.Errorf("%q: complete %v, %d entries after %v; want %d at once", since, p.Complete, len(p.Revocations), time.Since(begun), len(whole.Revocations))
			}
		}
	})
}

// TestFeedInParts: a long list comes in parts, of which only the first is `complete` and
// the last has no `more`; together they have everything once.
func TestFeedInParts(t *testing.T) {
	const clients = 10_001
	inBubble(t, setup{}, func(t *testing.T, f *fixture, _ func()) {
		for n := range clients {
			check(t, f.store.CreateClient(t.Context(), oauth.Client{ID: fmt.Sprint("many ", n)}, oauth.Event{}))
		}
		seen, query := map[string]int{}, ""
		for part := 0; ; part++ {
			begun := time.Now()
			p := pageOf(t, f.follow(t.Context(), query))
			if p.Complete != (part == 0) || part > 0 && time.Since(begun) != 0 || len(p.Revocations) > 5000 {
				t.Errorf("part %d: complete %v, %d entries, after %v", part, p.Complete, len(p.Revocations), time.Since(begun))
			}
			for _, e := range p.Revocations {
				if id := fmt.Sprint(e["client_id"]); strings.HasPrefix(id, "many ") {
					seen[id]++
				}
			}
			if !p.More {
				if part < 2 {
					t.Errorf("%d parts, want 3 at least", part+1)
				}
				break
			}
			query = "?since=" + p.Next
		}
		for id, times := range seen {
			if times != 1 {
				t.Errorf("%s came %d times", id, times)
			}
		}
		if len(seen) != clients {
			t.Errorf("%d entries, want %d", len(seen), clients)
		}
	})
}

// TestFeedStale: who cannot know what was cut off says so, and goes on when it can.
func TestFeedStale(t *testing.T) {
	unavailable := func(t *testing.T, when string, w *connection) {
		t.Helper()
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" || w.Header().Get("Cache-Control") != "no-store" ||
			!strings.Contains(w.Body.String(), `"temporarily_unavailable"`) || strings.Contains(w.Body.String(), "database") {
			t.Errorf("%s: got %d, %v: %s", when, w.Code, w.Header(), w.Body)
		}
	}
	inBubble(t, setup{}, func(t *testing.T, f *fixture, stop func()) {
		stop()
		synctest.Wait()
		unavailable(t, "never stepped", f.follow(t.Context(), ""))
		stop = f.step(t.Context())
		next := pageOf(t, f.follow(t.Context(), "")).Next
		stop()
		unavailable(t, "no step while it waits", f.follow(t.Context(), "?since="+next))
		unavailable(t, "no step lately", f.follow(t.Context(), ""))
		f.step(t.Context())
		time.Sleep(time.Second) // by the bubble's clock: some steps
		if p := pageOf(t, f.follow(t.Context(), "?wait=0&since="+next)); p.Complete {
			t.Error("stepped again: it begins anew, want that the cursor still counts")
		}
	})
}

// TestFeedLetsGo: a server that stops keeps nobody waiting, and a follower that hangs up
// is no fault.
func TestFeedLetsGo(t *testing.T) {
	inBubble(t, setup{}, func(t *testing.T, f *fixture, _ func()) {
		next := pageOf(t, f.follow(t.Context(), "")).Next
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		hungUp, hangUp := context.WithCancel(ctx)
		time.AfterFunc(time.Second, hangUp)
		w := f.follow(hungUp, "?since="+next)
		if line := f.line(t, w.Header().Get("X-Request-Id")); line["outcome"] != "canceled" || line["level"] != "INFO" {
			t.Errorf("one that hangs up is logged as %v", line)
		}
		begun := time.Now()
		time.AfterFunc(3*time.Second, f.feed.Close)
		p := pageOf(t, f.follow(t.Context(), "?wait=50&since="+next))
		if took := time.Since(begun); took != 3*time.Second || p.Complete || len(p.Revocations) != 0 {
			t.Errorf("after %v %+v; want an empty list after 3 s", took, p)
		}
	})
}

// TestFeedKnowsFollowers: a follower is let in as it is now.
func TestFeedKnowsFollowers(t *testing.T) {
	inBubble(t, setup{}, func(t *testing.T, f *fixture, _ func()) {
		next := pageOf(t, f.follow(t.Context(), "")).Next
		f.changed(t, asker, func(c *oauth.Client) { c.Active = false })
		w := f.follow(t.Context(), "?wait=0&since="+next)
		if w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") != `Basic realm="counterfoil"` || strings.Contains(w.Body.String(), "next") {
			t.Errorf("a client that was deactivated: got %d, %v: %s", w.Code, w.Header(), w.Body)
		}
	})
}

// clientless is a store that cannot read clients, or grants.
type clientless struct{ *memory.Store }

func (clientless) Client(context.Context, string) (oauth.Client, error) {
	return oauth.Client{}, errors.New("disk on fire")
}

// TestNobodyCanTell: where the store fails, a token is neither inactive nor revoked: the
// answer is 503, with Retry-After (RFC 7009 section 2.2.1).
func TestNobodyCanTell(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	w := post(f, standardPath, "grant_type=password&"+askerForm+"&username=john&password=john-pass")
	access, refresh := member(t, w, "access_token"), member(t, w, "refresh_token")
	own := member(t, post(f, standardPath, "grant_type=client_credentials&"+ownForm), "access_token")
	grants := failing{f.store, func() error { return errors.New("disk on fire") }}
	get := func(path, token string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		return w
	}
	for name, c := range map[string]struct {
		store oauth.Store
		ask   func() *httptest.ResponseRecorder
	}{
		"introspection":                          {grants, func() *httptest.ResponseRecorder { return post(f, "/oauth2/introspect", askerForm+"&token="+access) }},
		"introspection of a refresh token":       {grants, func() *httptest.ResponseRecorder { return post(f, "/oauth2/introspect", askerForm+"&token="+refresh) }},
		"revocation":                             {grants, func() *httptest.ResponseRecorder { return post(f, "/oauth2/revoke", askerForm+"&token="+access) }},
		"revocation of a refresh token":          {grants, func() *httptest.ResponseRecorder { return post(f, "/oauth2/revoke", askerForm+"&token="+refresh) }},
		"forward-auth":                           {grants, func() *httptest.ResponseRecorder { return get("/oauth2/forward-auth", access) }},
		"introspection of a client's own":        {clientless{f.store}, func() *httptest.ResponseRecorder { return post(f, "/oauth2/introspect", ownForm+"&token="+own) }},
		"revocation, the client cannot be read":  {clientless{f.store}, func() *httptest.ResponseRecorder { return post(f, "/oauth2/revoke", askerForm+"&token="+access) }},
		"forward-auth of a client's own":         {clientless{f.store}, func() *httptest.ResponseRecorder { return get("/oauth2/forward-auth", own) }},
		"the feed, the client cannot be read":    {clientless{f.store}, func() *httptest.ResponseRecorder { return f.follow(t.Context(), "").ResponseRecorder }},
		"userinfo of a client's own":             {clientless{f.store}, func() *httptest.ResponseRecorder { return get("/oauth2/userinfo", own) }},
		"forward-auth of a path below, no grant": {grants, func() *httptest.ResponseRecorder { return get("/oauth2/forward-auth//shop", access) }},
	} {
		f.server.Store = c.store
		w := c.ask()
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" || member(t, w, "error") != "temporarily_unavailable" || strings.Contains(w.Body.String(), "fire") {
			t.Errorf("%s: got %d, Retry-After %q: %s", name, w.Code, w.Header().Get("Retry-After"), w.Body)
		}
	}
	f.server.Store = f.store
	if w := post(f, "/oauth2/introspect", askerForm+"&token="+access); member(t, w, "active") != "true" {
		t.Errorf("afterwards: %s", w.Body)
	}
}

// TestForwardAuthTellsUsersApart: each name has one spelling in a header, and it is no
// other name's: HTTP drops blanks at the ends of a header (RFC 9110 section 5.5).
func TestForwardAuthTellsUsersApart(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	hashes, err := seedHashes()
	check(t, err)
	seen := map[string]string{}
	for n, name := range []string{"admin", " admin", "admin ", "%20admin", "a  b", "a b", " "} {
		u := oauth.User{Subject: oauth.Subject{ID: fmt.Sprint("apart-", n), Username: name, Enabled: true, State: oauth.SubjectActive}, PasswordHash: hashes["admin"]}
		if err := f.store.CreateUser(t.Context(), u, oauth.Event{}); err != nil && !errors.Is(err, oauth.ErrExists) {
			t.Fatal(err)
		}
		w := post(f, oroPath, "grant_type=password&client_id=listed&username="+url.QueryEscape(name)+"&password=admin")
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/oauth2/forward-auth", nil)
		check(t, err)
		r.Header.Set("Authorization", "Bearer "+member(t, w, "access_token"))
		answer, err := server.Client().Do(r)
		check(t, err)
		check(t, answer.Body.Close())
		got := answer.Header.Get("X-Auth-Username")
		if before, taken := seen[got]; taken || answer.StatusCode != http.StatusOK || got == "" {
			t.Errorf("user %q is told as %q, like user %q", name, got, before)
		}
		seen[got] = name
	}
}
