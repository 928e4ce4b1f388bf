package endpoint_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/endpoint"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// recording is a request to OroCommerce and its answer (testdata/orocommerce.json).
type recording struct {
	Name, Group, Profile string
	Request              struct {
		Method, Path, Body string
		Headers            [][2]string
		BodyB64            string `json:"body_b64"`
	}
	Response struct {
		Status  int
		Headers [][2]string
		Body    string
	}
	AccessToken *struct {
		Header     map[string]string
		Claims     map[string]any
		ClaimOrder []string `json:"claim_order"`
		Lifetime   float64
	} `json:"access_token"`
}

// differences are the recordings that are answered differently on purpose, each
// with its reason.
var differences = map[string]func(*recording){
	// A parameter given twice is refused.
	"pw_dup_grant_type": refused(400, "invalid_request", requestText, ""),
	"json_dup_key":      refused(400, "invalid_request", requestText, ""),
	// What was a crash is the documented refusal.
	"pw_scope_nested_array": refused(400, "invalid_request", requestText, "Check the `scope` parameter"),
	"json_client_id_list":   refused(400, "invalid_request", requestText, "Check the `client_id` parameter"),
	// A body is at most 16 KiB. (The recording is abridged too.)
	"pw_huge_extra_field": func(c *recording) {
		c.Request.Body = "pad=" + strings.Repeat("x", 1_000_000)
		refused(413, "invalid_request", requestText, "")(c)
	},
	// The Basic scheme has no case, and credentials may be percent-encoded.
	"basic_lowercase_scheme": granted("OroAppConfidential00000000000001"),
	"basic_secret_urlencoded": func(c *recording) {
		granted("OroAppSecretUnicode0000000000001")(c)
	},
	// A client needs no owner to act for itself.
	"cc_all_grants_client": func(c *recording) {
		granted("OroAppAllGrants00000000000000001")(c)
		c.Response.Body = `{"token_type":"Bearer","expires_in":3600,"access_token":"{{jwt}}"}`
		c.AccessToken.Claims["sub"] = ""
	},
	// Our refresh tokens are not hexadecimal.
	"rt_uppercase_hex": refused(401, "invalid_request", "The refresh token is invalid.", "Cannot decrypt the refresh token"),
	// Narrowing the scope of an access token does not narrow the grant (RFC 6749 section 6).
	"rt_scope_wider":       granted("OroAppPublic00000000000000000001", "a", "b", "c"),
	"rt_scope_after_empty": granted("OroAppPublic00000000000000000001", "a"),
}

const requestText = "The request is missing a required parameter, includes an invalid parameter value, includes a parameter more than once, or is otherwise malformed."

func refused(status int, code, description, hint string) func(*recording) {
	return func(c *recording) {
		if hint != "" {
			hint = `,"hint":"` + hint + `"`
		}
		c.Response.Status = status
		c.Response.Headers = [][2]string{{"Content-Type", "application/json"}, {"Cache-Control", "no-cache, private"}}
		c.Response.Body = fmt.Sprintf(`{"error":%q,"error_description":%q%s,"message":%[2]q}`, code, description, hint)
		c.AccessToken = nil
	}
}

func granted(client string, scopes ...string) func(*recording) {
	return func(c *recording) {
		c.Response.Status = 200
		c.Response.Headers = [][2]string{
			{"Content-Type", "application/json; charset=UTF-8"}, {"Pragma", "no-cache"}, {"Cache-Control", "no-store, private"},
		}
		c.Response.Body = `{"token_type":"Bearer","expires_in":3600,"access_token":"{{jwt}}","refresh_token":"{{refresh}}"}`
		list := make([]any, len(scopes))
		for i, s := range scopes {
			list[i] = s
		}
		text := fmt.Sprintf(`{"header":{"typ":"JWT","alg":"RS256"},"lifetime":3600,"claims":{"aud":%q,"sub":"admin"},"claim_order":["aud","jti","iat","nbf","exp","sub","scopes"]}`, client)
		_ = json.Unmarshal([]byte(text), &c.AccessToken)
		c.AccessToken.Claims["scopes"] = list
	}
}

// TestOroCommerce replays what a real OroCommerce was asked and expects its answers.
func TestOroCommerce(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/orocommerce.json")
	check(t, err)
	var all []recording
	check(t, json.Unmarshal(text, &all))
	strict := time.Duration(0)
	oneTime := func(s *oauth.Settings) { s.RetryWindow, s.LateWindow = &strict, 0 }
	profiles := map[string]setup{
		"default":  {alg: "RS256", settings: oneTime},
		"commerce": {alg: "RS256", settings: oneTime},
		"short": {
			alg: "RS256",
			settings: func(s *oauth.Settings) {
				oneTime(s)
				s.AccessTokenLifetime, s.RefreshTokenLifetime = time.Second, time.Second
			},
			options: func(o *endpoint.Options) { o.CORS = endpoint.CORS{AllowOrigins: []string{"*"}} },
		},
	}
	replayed := 0
	for profile, s := range profiles {
		t.Run(profile, func(t *testing.T) {
			r := newReplay(t, s)
			for _, c := range all {
				if c.Profile == profile {
					replayed++
					t.Run(c.Name, func(t *testing.T) { r.replay(t, c) })
				}
			}
		})
	}
	if replayed != 178 { // there is no profile norefresh
		t.Errorf("%d recordings were replayed, not 178", replayed)
	}
}

// replay is a server and what it answered so far.
type replay struct {
	*httptest.Server
	client  *http.Client
	answers map[string]map[string]any
	session string // the cookie of somebody signed in
}

func newReplay(t *testing.T, s setup) *replay {
	server := httptest.NewServer(newFixture(t, s))
	t.Cleanup(server.Close)
	client := server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r := &replay{server, client, map[string]map[string]any{}, ""}
	r.signIn(t)
	return r
}

// signIn signs the admin in, as whom the recordings were made.
func (r *replay) signIn(t *testing.T) {
	t.Helper()
	response, err := r.client.PostForm(r.URL+"/oauth2/sign-in", url.Values{"username": {"admin"}, "password": {"admin"}})
	check(t, err)
	check(t, response.Body.Close())
	r.session, _, _ = strings.Cut(response.Header.Get("Set-Cookie"), ";")
}

// consent sends a consent page's form, with the button that grants access.
func (r *replay) consent(t *testing.T, page string) (*http.Response, string) {
	t.Helper()
	form := regexp.MustCompile(`(?s)<form method="post" action="(/oauth2-token/authorize[^"]*)">(.*?)</form>`).FindStringSubmatch(page)
	if form == nil {
		t.Fatalf("there is no form in\n%s", page)
	}
	fields := url.Values{"grantAccess": {"true"}}
	for _, m := range regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`).FindAllStringSubmatch(form[2], -1) {
		fields.Set(m[1], html.UnescapeString(m[2]))
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.URL+html.UnescapeString(form[1]), strings.NewReader(fields.Encode()))
	check(t, err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r.do(t, request)
}

func (r *replay) replay(t *testing.T, c recording) {
	if c.Name == "rt_replay" { // the use that makes it one is not among the recordings
		first := c
		first.Name = "rt_ok"
		granted("OroAppConfidential00000000000001")(&first)
		r.replay(t, first)
	}
	if change := differences[c.Name]; change != nil {
		change(&c)
	}
	api := strings.HasPrefix(c.Request.Path, "/api/")
	response, body := r.send(t, &c)
	if response.StatusCode != c.Response.Status {
		t.Fatalf("status %d, want %d; body %s", response.StatusCode, c.Response.Status, body)
	}
	if id := response.Header.Get("X-Request-Id"); !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(id) {
		t.Errorf("X-Request-Id is %q", id)
	}
	if api {
		return
	}
	page := (c.Response.Status >= 400 || c.Name == "ac_authorize_page") && slices.Contains(c.Response.Headers, [2]string{"Content-Type", "text/html; charset=UTF-8"})
	compareHeaders(t, response, &c, page && c.Response.Status == http.StatusBadRequest) // malformed JSON: see docs/standards.md
	if page {
		return // its framework's, and not part of the contract
	}
	if want := bodyPattern(c.Response.Body); !want.MatchString(body) {
		t.Errorf("body\n%s\nwant\n%s", body, c.Response.Body)
	}
	answer := map[string]any{}
	_ = json.Unmarshal([]byte(body), &answer)
	if to, err := response.Location(); err == nil {
		answer["code"] = to.Query().Get("code")
	}
	r.answers[c.Name] = answer
	if c.AccessToken != nil {
		compareClaims(t, answer["access_token"].(string), &c)
	}
}

func (r *replay) send(t *testing.T, c *recording) (*http.Response, string) {
	t.Helper()
	path := strings.Replace(r.fill(t, c.Request.Path), "/api/users/me", "/oauth2/userinfo", 1)
	body := r.fill(t, c.Request.Body)
	if c.Request.BodyB64 != "" {
		raw, err := base64.StdEncoding.DecodeString(c.Request.BodyB64)
		check(t, err)
		body = string(raw)
	}
	request, err := http.NewRequestWithContext(t.Context(), c.Request.Method, r.URL+path, strings.NewReader(body))
	check(t, err)
	for _, h := range c.Request.Headers {
		request.Header.Add(h[0], strings.ReplaceAll(r.fill(t, h[1]), "HOST", request.Host))
	}
	response, page := r.do(t, request)
	if response.StatusCode == http.StatusOK && request.URL.Query().Has("auto") { // whoever recorded it agreed
		return r.consent(t, page)
	}
	return response, page
}

func (r *replay) do(t *testing.T, request *http.Request) (*http.Response, string) {
	t.Helper()
	if strings.HasPrefix(request.URL.Path, "/oauth2-token/") {
		request.Header.Set("Cookie", r.session)
	}
	response, err := r.client.Do(request)
	check(t, err)
	defer response.Body.Close()
	read, err := io.ReadAll(response.Body)
	check(t, err)
	return response, string(read)
}

var placeholder = regexp.MustCompile(`\{\{(\w+)\.(\w+)(?:\|(\w+)(?::(\w+))?)?\}\}`)

// fill puts earlier answers into a request.
func (r *replay) fill(t *testing.T, text string) string {
	return placeholder.ReplaceAllStringFunc(text, func(found string) string {
		m := placeholder.FindStringSubmatch(found)
		value, ok := r.answers[m[1]][m[2]].(string)
		if !ok {
			t.Fatalf("there is no %s of %s", m[2], m[1])
		}
		switch m[3] {
		case "upper":
			return strings.ToUpper(value)
		case "append":
			return value + m[4]
		case "trunc":
			n, _ := strconv.Atoi(m[4])
			return value[:min(n, len(value))]
		case "jwtpayload":
			parts := strings.Split(value, ".")
			payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
			parts[1] = base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(payload), "admin", "root!", 1)))
			return strings.Join(parts, ".")
		case "":
			return value
		}
		t.Fatalf("unknown filter %s", m[3])
		return ""
	})
}

// notCompared are the headers that every server has its own of, and ours.
var notCompared = []string{"Date", "Content-Length", "Connection", "X-Request-Id", "Content-Security-Policy", "X-Frame-Options", "X-Content-Type-Options", "Referrer-Policy"}

func compareHeaders(t *testing.T, response *http.Response, c *recording, page bool) {
	t.Helper()
	want := http.Header{}
	for _, h := range c.Response.Headers {
		want.Add(h[0], h[1])
	}
	if response.Request.Method == http.MethodPost && response.Request.URL.Path == "/oauth2-token" {
		want.Set("Vary", "Origin")
	}
	got := response.Header.Clone()
	for _, name := range notCompared {
		got.Del(name)
	}
	if to := want.Get("Location"); to != "" {
		if pattern := strings.Replace(regexp.QuoteMeta(to), `\{\{code\}\}`, `cfc_[\w-]+`, 1); !regexp.MustCompile(`^` + pattern + `$`).MatchString(got.Get("Location")) {
			t.Errorf("Location\n%s\nwant\n%s", got.Get("Location"), to)
		}
		got.Set("Location", to)
	}
	if page {
		want.Del("Content-Type")
		got.Del("Content-Type")
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("headers\n%v\nwant\n%v", got, want)
	}
}

func bodyPattern(body string) *regexp.Regexp {
	pattern := regexp.QuoteMeta(body)
	pattern = strings.Replace(pattern, `\{\{jwt\}\}`, `[\w-]+\.[\w-]+\.[\w-]+`, 1)
	pattern = strings.Replace(pattern, `\{\{refresh\}\}`, `cfr_[\w-]{102}`, 1)
	return regexp.MustCompile(`\A` + pattern + `\z`)
}

func compareClaims(t *testing.T, token string, c *recording) {
	t.Helper()
	parts := strings.Split(token, ".")
	var header map[string]string
	var claims map[string]any
	decodePart(t, parts[0], &header)
	text := decodePart(t, parts[1], &claims)
	if kid := header["kid"]; kid == "" {
		t.Error("there is no kid")
	}
	delete(header, "kid")
	if !reflect.DeepEqual(header, c.AccessToken.Header) {
		t.Errorf("header %v, want %v", header, c.AccessToken.Header)
	}
	order := append(slices.Clone(c.AccessToken.ClaimOrder), "iss", "client_id")
	if c.Group != "client_credentials" && c.Name != "api_cc_login" { // whose tokens have no grant
		order = append(order, "grant_id", "gen")
	}
	if got := memberOrder(text); !slices.Equal(got, order) {
		t.Errorf("claims %v, want %v", got, order)
	}
	for _, name := range []string{"aud", "sub", "scopes"} {
		if got, want := claims[name], c.AccessToken.Claims[name]; !reflect.DeepEqual(got, want) {
			t.Errorf("claim %s is %v, want %v", name, got, want)
		}
	}
	if jti, _ := claims["jti"].(string); !regexp.MustCompile(`^[0-9a-f]{80}$`).MatchString(jti) {
		t.Errorf("claim jti is %q", jti)
	}
	if lifetime := claims["exp"].(float64) - claims["iat"].(float64); lifetime != c.AccessToken.Lifetime || claims["nbf"] != claims["iat"] {
		t.Errorf("the access token lives for %v s from %v, want %v s", lifetime, claims["nbf"], c.AccessToken.Lifetime)
	}
}

func decodePart(t *testing.T, part string, into any) string {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(part)
	check(t, err)
	check(t, json.Unmarshal(text, into))
	return string(text)
}

// memberOrder lists the members of a JSON object without objects in it.
func memberOrder(text string) (names []string) {
	for _, m := range regexp.MustCompile(`[{,]"(\w+)":`).FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	return names
}
