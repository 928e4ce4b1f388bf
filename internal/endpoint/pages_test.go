package endpoint_test

import (
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// visit is a browser without a screen: it keeps cookies and follows nothing.
type visit struct {
	t       *testing.T
	handler http.Handler
	cookie  string
	headers http.Header // of every request
}

// shown is an answer.
type shown struct {
	*http.Response
	body string
}

func newVisit(t *testing.T, h http.Handler) *visit {
	return &visit{t: t, handler: h, headers: http.Header{}}
}

func (v *visit) get(path string) shown { return v.send(http.MethodGet, path, "") }

func (v *visit) post(path string, fields url.Values) shown {
	return v.send(http.MethodPost, path, fields.Encode())
}

func (v *visit) send(method, path, body string) shown {
	v.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for name, values := range v.headers {
		r.Header[name] = values
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if v.cookie != "" {
		r.Header.Set("Cookie", v.cookie)
	}
	w := httptest.NewRecorder()
	v.handler.ServeHTTP(w, r)
	response := w.Result()
	if set := response.Header.Get("Set-Cookie"); set != "" {
		v.cookie, _, _ = strings.Cut(set, ";")
	}
	read, err := io.ReadAll(response.Body)
	check(v.t, err)
	return shown{response, string(read)}
}

func (s shown) location() string { return s.Header.Get("Location") }

var (
	formElement = regexp.MustCompile(`(?s)<form[^>]* method="post" action="([^"]*)">(.*?)</form>`)
	hiddenField = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
)

// forms returns the forms of a page that lead to a path.
func (s shown) forms(path string) (actions []string, fields []url.Values) {
	for _, m := range formElement.FindAllStringSubmatch(s.body, -1) {
		action := html.UnescapeString(m[1])
		if to, _, _ := strings.Cut(action, "?"); to != path {
			continue
		}
		hidden := url.Values{}
		for _, f := range hiddenField.FindAllStringSubmatch(m[2], -1) {
			hidden.Set(f[1], html.UnescapeString(f[2]))
		}
		actions, fields = append(actions, action), append(fields, hidden)
	}
	return actions, fields
}

// submit sends a page's first form to a path, with more fields.
func (v *visit) submit(page shown, path string, more url.Values) shown {
	v.t.Helper()
	actions, fields := page.forms(path)
	if len(actions) == 0 {
		v.t.Fatalf("there is no form to %s in %d\n%s", path, page.StatusCode, page.body)
	}
	for name, values := range more {
		fields[0][name] = values
	}
	return v.post(actions[0], fields[0])
}

// signIn signs a user in, and returns where that leads.
func (v *visit) signIn(to, username, password string) shown {
	v.t.Helper()
	return v.submit(v.get(to), "/oauth2/sign-in", url.Values{"username": {username}, "password": {password}})
}

// ofSite is a request of a confidential client at the standard endpoint.
const ofSite = "/oauth2/authorize?response_type=code&client_id=OroAppAuthCode000000000000000001&redirect_uri=https%3A%2F%2Fapp.example.com%2Fcb&state=a+state" +
	"&code_challenge=ZtNPunH49FD35FWYhT5Tv8I7vRKQJ8uxMaL0_9eHjNA&code_challenge_method=S256"

// TestSignInAndConsent walks from a client's request to its code.
func TestSignInAndConsent(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	v := newVisit(t, f)
	first := v.get(ofSite)
	if first.StatusCode != http.StatusSeeOther || !strings.HasPrefix(first.location(), "/oauth2/sign-in?continue=") {
		t.Fatalf("nobody signed in: %d to %s", first.StatusCode, first.location())
	}
	wrong := v.signIn(first.location(), "john", "wrong")
	if wrong.StatusCode != http.StatusBadRequest || !strings.Contains(wrong.body, `value="john"`) || !strings.Contains(wrong.body, "Username or password is wrong.") || v.cookie != "" {
		t.Errorf("a wrong password: %d, cookie %q\n%s", wrong.StatusCode, v.cookie, wrong.body)
	}
	signedIn := v.submit(wrong, "/oauth2/sign-in", url.Values{"username": {"john"}, "password": {"john-pass"}})
	if signedIn.StatusCode != http.StatusSeeOther || signedIn.location() != ofSite {
		t.Fatalf("signed in: %d to %s", signedIn.StatusCode, signedIn.location())
	}
	if set := signedIn.Header.Get("Set-Cookie"); !regexp.MustCompile(`^__Host-counterfoil=[\w-]{43}; Path=/; HttpOnly; Secure; SameSite=Lax$`).MatchString(set) {
		t.Errorf("the cookie is %s", set)
	}
	page := v.get(ofSite)
	denied := v.submit(page, "/oauth2/authorize", url.Values{"grantAccess": {"false"}})
	if to := query(t, denied); to.Get("error") != "access_denied" || to.Get("state") != "a state" || to.Get("iss") != issuer || to.Has("code") {
		t.Errorf("denied: %s", denied.location())
	}
	granted := v.submit(page, "/oauth2/authorize", url.Values{"grantAccess": {"true"}})
	if to := query(t, granted); granted.StatusCode != http.StatusSeeOther || to.Get("code") == "" || to.Get("state") != "a state" || to.Get("iss") != issuer {
		t.Errorf("granted: %d to %s", granted.StatusCode, granted.location())
	}
	if again := v.get("/oauth2/sign-in?continue=" + url.QueryEscape(ofSite)); again.location() != ofSite {
		t.Errorf("the sign-in page of somebody signed in leads to %q", again.location())
	}
}

func query(t *testing.T, s shown) url.Values {
	t.Helper()
	u, err := url.Parse(s.location())
	check(t, err)
	if !strings.HasPrefix(s.location(), web+"/cb?") {
		t.Errorf("sent to %s, not to the client", s.location())
	}
	return u.Query()
}

// TestPageHeaders: no page is cached, framed, or led elsewhere (security T19 to T21, T39).
func TestPageHeaders(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	v := newVisit(t, f)
	pages := map[string]shown{"sign-in": v.get("/oauth2/sign-in?continue=" + url.QueryEscape(ofSite)), "unknown client": v.get("/oauth2/authorize?client_id=x")}
	v.signIn("/oauth2/sign-in", "john", "john-pass")
	for name, path := range map[string]string{"consent": ofSite, "devices": "/oauth2/devices", "password": "/oauth2/password"} {
		pages[name] = v.get(path)
	}
	for name, page := range pages {
		h := page.Header
		csp := h.Get("Content-Security-Policy")
		if h.Get("Cache-Control") != "no-store" || h.Get("X-Frame-Options") != "DENY" || h.Get("Referrer-Policy") != "no-referrer" ||
			!strings.HasPrefix(csp, "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'") {
			t.Errorf("%s: headers %v", name, h)
		}
		if client := strings.HasSuffix(csp, " "+web); client != slices.Contains([]string{"sign-in", "consent"}, name) {
			t.Errorf("%s: the forms may lead to the client: %t (%s)", name, client, csp)
		}
		if strings.Contains(page.body, "<script") || strings.Contains(page.body, " style=") {
			t.Errorf("%s has scripts or styles in it", name)
		}
	}
	style := regexp.MustCompile(`href="(/oauth2/assets/style\.[^"]*)"`).FindStringSubmatch(pages["consent"].body)
	if style == nil {
		t.Fatal("there is no stylesheet")
	}
	if asset := v.get(style[1]); asset.StatusCode != http.StatusOK || !strings.HasPrefix(asset.Header.Get("Content-Type"), "text/css") || !strings.Contains(asset.Header.Get("Cache-Control"), "immutable") {
		t.Errorf("the stylesheet: %d %v", asset.StatusCode, asset.Header)
	}
	if none := v.get("/oauth2/assets/x"); none.StatusCode != http.StatusNotFound {
		t.Errorf("an unknown asset: %d", none.StatusCode)
	}
}

// TestForgedForms: what another site sends does nothing (security T19).
func TestForgedForms(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	v := newVisit(t, f)
	v.signIn("/oauth2/sign-in", "john", "john-pass")
	consent := v.get(ofSite)
	for name, forged := range map[string]url.Values{
		"no token":                  {"grantAccess": {"true"}, "csrf_token": {""}},
		"another token":             {"grantAccess": {"true"}, "csrf_token": {"AAAAAAAAAAAAAAAAAAAAAA"}},
		"the token of another page": {"grantAccess": {"true"}, "csrf_token": {tokenOf(v.get("/oauth2/password"), "/oauth2/password")}},
	} {
		if answer := v.submit(consent, "/oauth2/authorize", forged); answer.StatusCode != http.StatusForbidden || answer.location() != "" {
			t.Errorf("consent with %s: %d to %s", name, answer.StatusCode, answer.location())
		}
	}
	other := strings.Replace(ofSite, "a+state", "another", 1)
	if answer := v.post(other, url.Values{"grantAccess": {"true"}, "csrf_token": {tokenOf(consent, "/oauth2/authorize")}}); answer.StatusCode != http.StatusForbidden {
		t.Errorf("consent with the token of another request: %d", answer.StatusCode)
	}
	for path, fields := range map[string]url.Values{
		"/oauth2/sign-in":  {"username": {"john"}, "password": {"john-pass"}},
		"/oauth2/sign-out": {}, "/oauth2/devices": {"grant_id": {"x"}}, "/oauth2/password": {"new_password": {"x"}}, ofSite: {"grantAccess": {"true"}},
	} {
		v.headers.Set("Origin", "https://evil.example")
		v.headers.Set("Sec-Fetch-Site", "cross-site")
		if answer := v.post(path, fields); answer.StatusCode != http.StatusForbidden {
			t.Errorf("%s from another site: %d", path, answer.StatusCode)
		}
		v.headers = http.Header{}
		if path == "/oauth2/sign-in" {
			continue
		}
		if answer := v.post(path, fields); answer.StatusCode != http.StatusForbidden {
			t.Errorf("%s without a token: %d", path, answer.StatusCode)
		}
	}
	kept := v.cookie
	v.cookie = "" // a browser keeps it back (SameSite)
	if answer := v.post("/oauth2/sign-out", nil); answer.Header.Get("Set-Cookie") != "" {
		t.Error("another site signs users out")
	}
	v.cookie = kept
	if page := v.get("/oauth2/devices"); page.StatusCode != http.StatusOK {
		t.Errorf("afterwards: %d", page.StatusCode)
	}
	v.headers.Set("Origin", issuer) // a proxy names us otherwise
	v.headers.Set("Sec-Fetch-Site", "same-origin")
	if answer := v.submit(consent, "/oauth2/authorize", url.Values{"grantAccess": {"true"}}); answer.StatusCode != http.StatusSeeOther {
		t.Errorf("our own form: %d", answer.StatusCode)
	}
}

func tokenOf(page shown, path string) string {
	_, fields := page.forms(path)
	return fields[0].Get("csrf_token")
}

// TestOnward: signing in leads to pages of ours and nowhere else (security T22).
func TestOnward(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	for asked, want := range map[string]string{
		ofSite: ofSite, "/oauth2/password": "/oauth2/password", "": "/oauth2/devices",
		"https://evil.example/": "/oauth2/devices", "//evil.example/oauth2/devices": "/oauth2/devices", "/\\evil.example": "/oauth2/devices",
		"https://evil.example/oauth2/devices": "/oauth2/devices", "/oauth2/devices/../../x": "/oauth2/devices", "/oauth2/sign-in": "/oauth2/devices",
		"javascript:alert(1)": "/oauth2/devices", "/oauth2/devices\r\nX: y": "/oauth2/devices", "/oauth2%2Fdevices": "/oauth2/devices",
	} {
		v := newVisit(t, f)
		answer := v.signIn("/oauth2/sign-in?continue="+url.QueryEscape(asked), "john", "john-pass")
		if answer.StatusCode != http.StatusSeeOther || answer.location() != want {
			t.Errorf("continue %q: %d to %q, want %q", asked, answer.StatusCode, answer.location(), want)
		}
	}
}

// TestAuthorizeShows: what cannot be told to the client is shown to the user, and
// nobody is sent to an address that is not registered.
func TestAuthorizeShows(t *testing.T) {
	t.Parallel()
	v := newVisit(t, newFixture(t, setup{}))
	for _, path := range []string{
		"/oauth2/authorize", "/oauth2/authorize?client_id=nobody&redirect_uri=https%3A%2F%2Fevil.example",
		strings.Replace(ofSite, "app.example.com", "evil.example", 1), ofSite + "&client_id=x", strings.Replace(ofSite, "a+state", "%FF", 1),
	} {
		page := v.get(path)
		if page.StatusCode != http.StatusBadRequest || page.location() != "" || !strings.HasPrefix(page.Header.Get("Content-Type"), "text/html") {
			t.Errorf("%s: %d to %q, %s", path, page.StatusCode, page.location(), page.Header.Get("Content-Type"))
		}
	}
	told := v.get(strings.Replace(ofSite, "response_type=code", "response_type=token", 1))
	if to := query(t, told); to.Get("error") != "unsupported_response_type" || to.Get("state") != "a state" || to.Get("iss") != issuer {
		t.Errorf("told to the client: %s", told.location())
	}
	for path, want := range map[string]int{
		"/oauth2-token/authorize-visitor?response_type=code&client_id=OroAppAuthCode000000000000000001": http.StatusNotFound,
		"/oauth2-token/authorize?response_type=code":                                                    http.StatusBadRequest,
	} {
		if page := v.get(path); page.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, page.StatusCode, want)
		}
	}
	for _, path := range []string{ofSite, "/oauth2-token/authorize", "/oauth2-token/authorize-visitor"} {
		if page := v.send(http.MethodHead, path, ""); page.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("HEAD %s: %d, want 405: it would make a code", path, page.StatusCode)
		}
	}
	if page := v.post("/oauth2-token/authorize-visitor", nil); page.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST authorize-visitor: %d, want 405", page.StatusCode)
	}
}

// TestAccountPages: devices, another password, and signing out.
func TestAccountPages(t *testing.T) {
	t.Parallel()
	f := newFixture(t, setup{})
	v, other := newVisit(t, f), newVisit(t, f)
	v.headers.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	if answer := v.get("/oauth2/devices"); answer.location() != "/oauth2/sign-in?continue=%2Foauth2%2Fdevices" {
		t.Errorf("nobody signed in: to %s", answer.location())
	}
	v.signIn("/oauth2/sign-in", "john", "john-pass")
	other.signIn("/oauth2/sign-in", "John.Doe@example.com", "john-pass")
	tokens, err := f.server.Token(t.Context(), oauth.TokenRequest{Parameters: oauth.Parameters{
		"grant_type": {Value: "password"}, "client_id": {Value: "listed"}, "username": {Value: "john"}, "password": {Value: "john-pass"},
	}})
	check(t, err)

	devices := v.get("/oauth2/devices")
	_, forms := devices.forms("/oauth2/devices")
	if len(forms) != 2 || forms[0].Get("grant_id") != tokens.GrantID || !strings.Contains(devices.body, "Firefox on Linux") {
		t.Fatalf("want a client, another browser and this one:\n%s", devices.body)
	}
	for _, fields := range forms {
		if ended := v.post("/oauth2/devices", fields); ended.StatusCode != http.StatusOK || !strings.Contains(ended.body, "It was ended.") {
			t.Errorf("end %v: %d", fields, ended.StatusCode)
		}
	}
	if _, err := f.server.AccessToken(t.Context(), tokens.AccessToken); err == nil {
		t.Error("the access token of a grant that was ended lives")
	}
	if answer := other.get("/oauth2/devices"); answer.StatusCode != http.StatusSeeOther {
		t.Errorf("a session that was ended: %d", answer.StatusCode)
	}

	password := v.get("/oauth2/password")
	fields := func(current, chosen, repeated string) url.Values {
		return url.Values{"current_password": {current}, "new_password": {chosen}, "new_password_repeat": {repeated}}
	}
	const chosen = "a new and long password"
	for want, wrong := range map[string]url.Values{
		"The new passwords differ.": fields("john-pass", chosen, "x"), "The current password is wrong.": fields("wrong", chosen, chosen),
		"It is shorter than 8 characters.": fields("john-pass", "short", "short"), "It is easy to guess.": fields("john-pass", "password1", "password1"),
	} {
		if page := v.submit(password, "/oauth2/password", wrong); page.StatusCode != http.StatusBadRequest || !strings.Contains(page.body, want) {
			t.Errorf("%d, want %q in\n%s", page.StatusCode, want, page.body)
		}
	}
	before := v.cookie
	if page := v.submit(password, "/oauth2/password", fields("john-pass", chosen, chosen)); page.StatusCode != http.StatusOK || !strings.Contains(page.body, "Your password was changed.") || v.cookie == before {
		t.Errorf("a new password: %d\n%s", page.StatusCode, page.body)
	}
	if page := v.get("/oauth2/devices"); page.StatusCode != http.StatusOK {
		t.Errorf("this browser after a new password: %d", page.StatusCode)
	}

	other.signIn("/oauth2/sign-in", "john", chosen)
	page := v.get("/oauth2/devices")
	if out := v.submit(page, "/oauth2/sign-out", nil); out.StatusCode != http.StatusOK || !strings.Contains(out.body, "You are signed out") || v.cookie != "__Host-counterfoil=" {
		t.Errorf("signed out: %d, cookie %s", out.StatusCode, v.cookie)
	}
	if page := other.get("/oauth2/devices"); page.StatusCode != http.StatusOK {
		t.Errorf("another browser: %d", page.StatusCode)
	}
	third := newVisit(t, f)
	third.signIn("/oauth2/sign-in", "john", chosen)
	actions, everywhere := third.get("/oauth2/devices").forms("/oauth2/sign-out")
	third.post(actions[len(actions)-1], everywhere[len(everywhere)-1])
	if answer := other.get("/oauth2/devices"); answer.StatusCode != http.StatusSeeOther {
		t.Errorf("another browser after signing out everywhere: %d", answer.StatusCode)
	}
}

// TestAccountStates: what is the matter with an account is told after the right
// password, and only then.
func TestAccountStates(t *testing.T) {
	t.Parallel()
	v := newVisit(t, newFixture(t, setup{}))
	for username, text := range map[string]string{"disabled": "Account is disabled.", "locked": "Account is locked.", "reset": "Your password was reset by administrator."} {
		if page := v.signIn("/oauth2/sign-in", username, username); page.StatusCode != http.StatusBadRequest || !strings.Contains(page.body, text) || v.cookie != "" {
			t.Errorf("%s: %d\n%s", username, page.StatusCode, page.body)
		}
		if page := v.signIn("/oauth2/sign-in", username, "wrong"); strings.Contains(page.body, text) {
			t.Errorf("%s is told without the right password", username)
		}
	}
	v.headers.Set("Accept-Language", "de-CH, en;q=0.5")
	if page := v.signIn("/oauth2/sign-in", "nobody", "x"); !strings.Contains(page.body, `<html lang="de">`) || !strings.Contains(page.body, "Benutzername oder Passwort ist falsch.") {
		t.Errorf("in German:\n%s", page.body)
	}
	for range 5 {
		v.signIn("/oauth2/sign-in", "john", "wrong")
	}
	if page := v.signIn("/oauth2/sign-in", "john", "john-pass"); page.StatusCode != http.StatusTooManyRequests || page.Header.Get("Retry-After") == "" {
		t.Errorf("after too many failures: %d", page.StatusCode)
	}
}
