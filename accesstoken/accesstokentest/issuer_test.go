package accesstokentest_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/counterfoil/counterfoil/accesstoken/accesstokentest"
)

// quick has tokens be signed quickly.
var quick = accesstokentest.Algorithm("ES256")

// start starts an issuer. The API asks as the client that tokens are issued to by default,
// so that it may ask about them.
func start(t *testing.T, options ...accesstokentest.Option) *accesstokentest.Issuer {
	t.Helper()
	return accesstokentest.NewIssuer(t, append([]accesstokentest.Option{accesstokentest.Client("shop", "s3cret")}, options...)...)
}

// object is a JSON object.
type object = map[string]any

// ask sends a request and returns the answer with its body, which is read.
func ask(t *testing.T, i *accesstokentest.Issuer, r *http.Request) (*http.Response, string) {
	t.Helper()
	response, err := i.HTTPClient().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

// get asks for a path, as the API.
func get(t *testing.T, i *accesstokentest.Issuer, path string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, i.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(url.QueryEscape(i.ClientID), url.QueryEscape(i.ClientSecret))
	return ask(t, i, r)
}

// introspection asks about a token, as the API.
func introspection(t *testing.T, i *accesstokentest.Issuer, raw string) *http.Request {
	t.Helper()
	form := url.Values{"token": {raw}, "token_type_hint": {"access_token"}}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, i.URL+accesstokentest.PathIntrospect, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(url.QueryEscape(i.ClientID), url.QueryEscape(i.ClientSecret))
	return r
}

// read parses a JSON object.
func read(t *testing.T, text string) object {
	t.Helper()
	var o object
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return o
}

// open checks a token by the published keys, and returns its `typ` and its claims.
func open(t *testing.T, i *accesstokentest.Issuer, raw string) (typ string, claims object) {
	t.Helper()
	var set jose.JSONWebKeySet
	_, body := get(t, i, accesstokentest.PathKeys)
	if err := json.Unmarshal([]byte(body), &set); err != nil {
		t.Fatal(err)
	}
	signed, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	header := signed.Signatures[0].Header
	keys := set.Key(header.KeyID)
	if len(keys) != 1 || keys[0].Algorithm != header.Algorithm || keys[0].Use != "sig" || !keys[0].IsPublic() {
		t.Fatalf("the keys named %q for %s are %v, want a single public one", header.KeyID, header.Algorithm, keys)
	}
	payload, err := signed.Verify(keys[0])
	if err != nil {
		t.Fatal(err)
	}
	typ, _ = header.ExtraHeaders["typ"].(string)
	return typ, read(t, string(payload))
}

func isActive(t *testing.T, i *accesstokentest.Issuer, raw string) bool {
	t.Helper()
	response, body := ask(t, i, introspection(t, i, raw))
	if response.StatusCode != http.StatusOK {
		t.Fatalf("introspection: %s: %s", response.Status, body)
	}
	active, _ := read(t, body)["active"].(bool)
	if !active && body != `{"active":false}` {
		t.Errorf("a dead token: %s, want nothing but active", body)
	}
	return active
}

// TestTokens holds the claims of both profiles, with every algorithm.
func TestTokens(t *testing.T) {
	t.Parallel()
	at := time.Unix(1700000000, 987654321)
	i := start(t, accesstokentest.Clock(func() time.Time { return at }))
	oro := accesstokentest.OroCommerce()
	usual := []accesstokentest.TokenOption{
		accesstokentest.Username("alice"), accesstokentest.Scope("a", "b"), accesstokentest.Grant("g"), accesstokentest.TokenID("7d1f"),
	}
	user := func(more ...accesstokentest.TokenOption) string {
		return i.AccessToken("u1", append(usual, more...)...)
	}
	iat, exp := 1700000000.0, 1700003600.0
	standard := object{"iss": i.URL, "sub": "u1", "aud": i.URL, "client_id": "shop", "scope": "a b", "iat": iat, "exp": exp, "jti": "7d1f", "grant_id": "g", "gen": 0.0}
	oroCommerce := object{
		"aud": "shop", "jti": "7d1f", "iat": iat, "nbf": iat, "exp": exp, "sub": "alice", "scopes": []any{"a", "b"},
		"iss": i.URL, "client_id": "shop", "grant_id": "g", "gen": 0.0,
	}
	for _, test := range []struct {
		name, raw, typ string
		claims         object
	}{
		{"standard", user(), "at+jwt", standard},
		{"PS256", user(accesstokentest.Algorithm("PS256")), "at+jwt", standard},
		{"ES256", user(quick), "at+jwt", standard},
		{"EdDSA", user(accesstokentest.Algorithm("EdDSA")), "at+jwt", standard},
		{"OroCommerce", user(oro), "JWT", oroCommerce},
		{"OroCommerce, PS256", user(oro, accesstokentest.Algorithm("PS256")), "JWT", oroCommerce},
		{
			"everything else",
			i.AccessToken(
				"u1", quick, accesstokentest.Grant("h"), accesstokentest.Generation(7), accesstokentest.ClientID("kiosk"), accesstokentest.Audience("x", "y"),
				accesstokentest.IssuedAt(at.Add(time.Minute)), accesstokentest.NotBefore(at.Add(2*time.Minute)), accesstokentest.ExpiresAt(at.Add(3*time.Minute)),
				accesstokentest.Claim("cnf", object{"jkt": "k"}), accesstokentest.Claim("jti", nil), accesstokentest.Type("JWT"),
			),
			"JWT",
			object{
				"iss": i.URL, "sub": "u1", "aud": []any{"x", "y"}, "client_id": "kiosk", "scope": "", "iat": iat + 60, "nbf": iat + 120, "exp": iat + 180,
				"grant_id": "h", "gen": 7.0, "cnf": object{"jkt": "k"},
			},
		},
		{
			"a client's own", i.ClientToken(quick, accesstokentest.TokenID("7d1f"), accesstokentest.Audience("x")),
			"at+jwt",
			object{"iss": i.URL, "sub": "shop", "aud": "x", "client_id": "shop", "scope": "", "iat": iat, "exp": exp, "jti": "7d1f"},
		},
		{
			"a client's own, OroCommerce", i.ClientToken(quick, oro, accesstokentest.TokenID("7d1f")),
			"JWT",
			object{"iss": i.URL, "sub": "", "aud": "shop", "client_id": "shop", "scopes": []any{}, "iat": iat, "nbf": iat, "exp": exp, "jti": "7d1f"},
		},
	} {
		typ, claims := open(t, i, test.raw)
		if typ != test.typ || !reflect.DeepEqual(claims, test.claims) {
			t.Errorf("%s: typ %q, claims %v\nwant typ %q, claims %v", test.name, typ, claims, test.typ, test.claims)
		}
	}
	if _, claims := open(t, i, i.AccessToken("u1", quick)); claims["grant_id"] == "" || claims["grant_id"] == "g" {
		t.Errorf("a token without Grant has grant_id %v, want one of its own", claims["grant_id"])
	}
	i.Refresh("g")
	i.RevokeClientTokens("shop")
	if _, claims := open(t, i, user(quick)); claims["gen"] != 1.0 {
		t.Errorf("after a refresh gen is %v, want 1", claims["gen"])
	}
	if _, claims := open(t, i, i.ClientToken(quick)); claims["client_not_before"] != 1700000000987654.0 {
		t.Errorf("after a revocation client_not_before is %v, want 1700000000987654", claims["client_not_before"])
	}
}

// TestIntrospection holds the answers of RFC 7662.
func TestIntrospection(t *testing.T) {
	t.Parallel()
	at := time.Unix(1700000000, 0)
	var mu sync.Mutex
	i := start(t, accesstokentest.Clock(func() time.Time { mu.Lock(); defer mu.Unlock(); return at }))
	usual := []accesstokentest.TokenOption{
		quick, accesstokentest.Username("alice"), accesstokentest.Scope("a", "b"), accesstokentest.Grant("g"), accesstokentest.TokenID("7d1f"),
	}
	const rest = `"client_id":"shop","exp":1700003600,"gen":0,"grant_id":"g","iat":1700000000,"iss":"URL","jti":"7d1f",`
	raw := i.AccessToken("u1", usual...)
	for _, test := range []struct{ name, raw, want string }{
		{"standard", raw, `{"active":true,"aud":"URL",` + rest + `"scope":"a b","sub":"u1","token_type":"Bearer","username":"alice"}`},
		{
			"OroCommerce", i.AccessToken("u1", append(usual, accesstokentest.OroCommerce())...),
			`{"active":true,"aud":"shop",` + rest + `"nbf":1700000000,"scope":"a b","sub":"alice","token_type":"Bearer","username":"alice"}`,
		},
		{
			"a client's own", i.ClientToken(quick, accesstokentest.TokenID("7d1f")),
			`{"active":true,"aud":"URL","client_id":"shop","exp":1700003600,"iat":1700000000,"iss":"URL","jti":"7d1f","scope":"","sub":"shop","token_type":"Bearer"}`,
		},
		{"of another client", i.AccessToken("u1", quick, accesstokentest.ClientID("kiosk")), `{"active":false}`},
		{
			"of another client, for the caller",
			i.AccessToken("u1", quick, accesstokentest.ClientID("kiosk"), accesstokentest.Grant("k"), accesstokentest.TokenID("7d1f"), accesstokentest.Audience("x", "shop")),
			`{"active":true,"aud":["x","shop"],"client_id":"kiosk","exp":1700003600,"gen":0,"grant_id":"k","iat":1700000000,"iss":"URL","jti":"7d1f",` +
				`"scope":"","sub":"u1","token_type":"Bearer","username":"u1"}`,
		},
		{"of another issuer", start(t).AccessToken("u1", quick), `{"active":false}`},
		{"in another's name", i.AccessToken("u1", quick, accesstokentest.Claim("iss", "https://other.example")), `{"active":false}`},
		{"tampered with", raw[:len(raw)-8] + "AAAAAAAA", `{"active":false}`},
		{"no token", "x", `{"active":false}`},
		{"expired", i.AccessToken("u1", quick, accesstokentest.ExpiresAt(at)), `{"active":false}`},
		{"of a generation to come", i.AccessToken("u1", quick, accesstokentest.Generation(1)), `{"active":false}`},
	} {
		response, body := ask(t, i, introspection(t, i, test.raw))
		if wanted := strings.ReplaceAll(test.want, "URL", i.URL); body != wanted || response.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %s\nwant %s, no-store", test.name, body, wanted)
		}
	}
	mu.Lock()
	at = at.Add(time.Hour)
	mu.Unlock()
	if isActive(t, i, raw) {
		t.Error("an hour later the token is active")
	}
}

// TestIntrospectionJWT: the answer is signed where that is asked for (RFC 9701 section 5).
func TestIntrospectionJWT(t *testing.T) {
	t.Parallel()
	i := start(t)
	r := introspection(t, i, i.AccessToken("u1", quick, accesstokentest.TokenID("7d1f")))
	r.Header.Set("Accept", "application/token-introspection+jwt")
	response, body := ask(t, i, r)
	typ, claims := open(t, i, body)
	answer, _ := claims["token_introspection"].(object)
	if response.Header.Get("Content-Type") != "application/token-introspection+jwt" || typ != "token-introspection+jwt" ||
		claims["iss"] != i.URL || claims["aud"] != i.ClientID || answer["active"] != true || answer["jti"] != "7d1f" {
		t.Errorf("media type %q, typ %q, claims %v, want an answer that is signed", response.Header.Get("Content-Type"), typ, claims)
	}
}

// TestClientAuthentication: an API authenticates in one way, encoded or not (RFC 6749
// section 2.3.1).
func TestClientAuthentication(t *testing.T) {
	t.Parallel()
	const secret = "100%+ä: &"
	i := start(t, accesstokentest.Client("orders", secret))
	for _, test := range []struct {
		name, id, secret string // by Basic, if there is an id
		form             url.Values
		want             int
	}{
		{name: "encoded", id: "orders", secret: url.QueryEscape(secret), want: 200},
		{name: "as it is", id: "orders", secret: secret, want: 200},
		{name: "in the body", form: url.Values{"client_id": {"orders"}, "client_secret": {secret}}, want: 200},
		{name: "in both", id: "orders", secret: secret, form: url.Values{"client_id": {"orders"}, "client_secret": {secret}}, want: 401},
		{name: "nothing", want: 401},
		{name: "a wrong secret", id: "orders", secret: "x", want: 401},
		{name: "a wrong client", id: "invoices", secret: secret, want: 401},
		{name: "no secret", id: "orders", want: 401},
		{name: "a wrong secret in the body", form: url.Values{"client_id": {"orders"}, "client_secret": {"x"}}, want: 401},
	} {
		form := url.Values{"token": {"x"}}
		for name, values := range test.form {
			form[name] = values
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, i.URL+accesstokentest.PathIntrospect, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if test.id != "" {
			r.SetBasicAuth(test.id, test.secret)
		}
		response, body := ask(t, i, r)
		if response.StatusCode != test.want || test.want == 401 && body != `{"error":"invalid_client"}` {
			t.Errorf("%s: %s, %s, want %d", test.name, response.Status, body, test.want)
		}
	}
	response, err := i.HTTPClient().Get(i.URL + accesstokentest.PathRevocations)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusUnauthorized {
		t.Errorf("the feed without a client: %s, want 401", response.Status)
	}
}

// TestActs: what each act does to tokens, and what the feed says about it, word for word.
func TestActs(t *testing.T) {
	t.Parallel()
	at := time.Unix(1700000000, 500_000_000)
	for _, test := range []struct {
		name    string
		options []accesstokentest.Option
		acts    func(*accesstokentest.Issuer)
		entries string
		dead    string // of alice, bob and shop
	}{
		{"nothing", nil, func(*accesstokentest.Issuer) {}, ``, ""},
		{"refresh", nil, func(i *accesstokentest.Issuer) { i.Refresh("g1") }, `{"grant_id":"g1","generation":1,"exp":1700003600}`, "alice"},
		{
			"refresh that keeps",
			[]accesstokentest.Option{accesstokentest.KeepPrevious(time.Minute)},
			func(i *accesstokentest.Issuer) { i.Refresh("g1") },
			`{"grant_id":"g1","generation":1,"previous_until":1700000060.5,"exp":1700003600}`, "",
		},
		{
			"two refreshes that keep",
			[]accesstokentest.Option{accesstokentest.KeepPrevious(time.Minute)},
			func(i *accesstokentest.Issuer) { i.Refresh("g1"); i.Refresh("g1") },
			`{"grant_id":"g1","generation":2,"previous_until":1700000060.5,"exp":1700003600}`, "alice",
		},
		{"revoke", nil, func(i *accesstokentest.Issuer) { i.Revoke("g1") }, `{"grant_id":"g1","ended":true,"exp":1700003600}`, "alice"},
		{"block user", nil, func(i *accesstokentest.Issuer) { i.BlockUser("u1") }, `{"sub":"u1","blocked":true,"grant_ids":["g1"],"exp":1700003600}`, "alice"},
		{"unblock user", nil, func(i *accesstokentest.Issuer) { i.BlockUser("u1"); i.UnblockUser("u1") }, `{"sub":"u1","exp":1700003600}`, ""},
		{
			"block client", nil, func(i *accesstokentest.Issuer) { i.BlockClient("shop") },
			`{"client_id":"shop","blocked":true,"not_before":1700000000500000,"exp":1700003600}`, "alice bob shop",
		},
		{
			"unblock client", nil, func(i *accesstokentest.Issuer) { i.BlockClient("shop"); i.UnblockClient("shop") },
			`{"client_id":"shop","not_before":1700000000500000,"exp":1700003600}`, "shop",
		},
		{
			"revoke a client's own, twice in a microsecond", nil, func(i *accesstokentest.Issuer) { i.RevokeClientTokens("shop"); i.RevokeClientTokens("shop") },
			`{"client_id":"shop","not_before":1700000000500001,"exp":1700003600}`, "shop",
		},
		{
			"in the order of the last act", nil, func(i *accesstokentest.Issuer) { i.Refresh("g1"); i.Refresh("g2"); i.Refresh("g1") },
			`{"grant_id":"g2","generation":1,"exp":1700003600},{"grant_id":"g1","generation":2,"exp":1700003600}`, "alice bob",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			i := start(t, append(test.options, accesstokentest.Clock(func() time.Time { return at }))...)
			tokens := map[string]string{
				"alice": i.AccessToken("u1", quick, accesstokentest.Grant("g1")),
				"bob":   i.AccessToken("u2", quick, accesstokentest.Grant("g2")),
				"shop":  i.ClientToken(quick),
			}
			test.acts(i)
			_, body := get(t, i, accesstokentest.PathRevocations)
			if !strings.Contains(body, `"complete":true,"revocations":[`+test.entries+`]}`) {
				t.Errorf("the feed: %s\nwant a whole list of %s", body, test.entries)
			}
			for name, raw := range tokens {
				if dead := strings.Contains(test.dead, name); isActive(t, i, raw) == dead {
					t.Errorf("the token of %s is active: %t, want %t", name, dead, !dead)
				}
			}
			again := i.AccessToken("u2", quick, accesstokentest.Grant("g2"))
			if !strings.Contains(test.name, "block client") && !isActive(t, i, again) {
				t.Error("a token of bob's that is made after it is not active")
			}
		})
	}
}

// page is an answer of the feed.
type page struct {
	Next        string
	Complete    bool
	More        bool
	Revocations []object
}

func feed(t *testing.T, i *accesstokentest.Issuer, since string, wait int) page {
	t.Helper()
	query := url.Values{"wait": {fmt.Sprint(wait)}}
	if since != "" {
		query.Set("since", since)
	}
	response, body := get(t, i, accesstokentest.PathRevocations+"?"+query.Encode())
	var p page
	if err := json.Unmarshal([]byte(body), &p); err != nil || response.StatusCode != http.StatusOK || response.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("the feed: %s, %q: %s", response.Status, response.Header.Get("Cache-Control"), body)
	}
	return p
}

// TestFeedPages: a list comes in pages, the first of which is complete and the last of
// which has no more; then what is new; and a whole list where a cursor is worth nothing.
func TestFeedPages(t *testing.T) {
	t.Parallel()
	i := start(t, accesstokentest.PageSize(2))
	for n := range 5 {
		i.AccessToken("alice", quick, accesstokentest.Grant(fmt.Sprint("g", n)))
		i.Refresh(fmt.Sprint("g", n))
	}
	whole := func(since string) string {
		t.Helper()
		var seen []string
		for n := 0; ; n++ {
			p := feed(t, i, since, 50) // there is something: it does not wait
			if p.Complete != (n == 0) || p.More != (n < 2) {
				t.Fatalf("page %d: complete %t, more %t", n, p.Complete, p.More)
			}
			for _, e := range p.Revocations {
				seen = append(seen, fmt.Sprint(e["grant_id"]))
			}
			if since = p.Next; !p.More {
				break
			}
		}
		if got := strings.Join(seen, " "); got != "g0 g1 g2 g3 g4" {
			t.Fatalf("the pages have %q, want each grant once", got)
		}
		return since
	}
	cursor := whole("")
	if p := feed(t, i, cursor, 0); p.Complete || p.More || len(p.Revocations) != 0 {
		t.Errorf("with nothing new: %+v, want an empty list", p)
	}
	i.Revoke("g1")
	if p := feed(t, i, cursor, 50); p.Complete || len(p.Revocations) != 1 || p.Revocations[0]["ended"] != true {
		t.Errorf("with something new: %+v, want the end of g1", p)
	}
	i.Refresh("g2")
	i.Refresh("g3")
	i.Refresh("g4")
	i.Refresh("g0")
	i.Refresh("g1") // again in this order
	for _, since := range []string{"nonsense", "." + cursor, cursor + "9", ""} {
		if p := feed(t, i, since, 50); !p.Complete {
			t.Errorf("with the cursor %q: %+v, want a whole list", since, p)
		}
	}
	i.Restart()
	if p := feed(t, i, cursor, 50); !p.Complete || !p.More {
		t.Errorf("after a restart: %+v, want the beginning of a whole list", p)
	}
}

// TestFeedWait: a request for news is held until there is some, but only so long.
func TestFeedWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i := start(t, accesstokentest.InMemory())
		i.AccessToken("alice", quick, accesstokentest.Grant("g"))
		cursor := feed(t, i, "", 50).Next
		for _, test := range []struct {
			query string
			want  time.Duration
		}{{"wait=0", 0}, {"wait=7", 7 * time.Second}, {"", 25 * time.Second}, {"wait=50", 50 * time.Second}} {
			began := time.Now()
			_, body := get(t, i, accesstokentest.PathRevocations+"?since="+cursor+"&"+test.query)
			if took := time.Since(began); took != test.want || body != `{"next":"`+cursor+`","revocations":[]}` {
				t.Errorf("%q: %s after %s, want an empty list after %s", test.query, body, took, test.want)
			}
		}
		time.AfterFunc(3*time.Second, func() { i.Refresh("g") })
		began := time.Now()
		if p := feed(t, i, cursor, 50); len(p.Revocations) != 1 || time.Since(began) != 3*time.Second {
			t.Errorf("%+v after %s, want one entry after 3s", p, time.Since(began))
		}
		time.Sleep(time.Hour)
		if p := feed(t, i, "", 0); len(p.Revocations) != 0 {
			t.Errorf("when all tokens have expired: %+v, want an empty list", p)
		}
		for _, wait := range []string{"soon", "51", "-1", "1.5"} {
			if response, body := get(t, i, accesstokentest.PathRevocations+"?wait="+wait); response.StatusCode != http.StatusBadRequest {
				t.Errorf("wait=%s: %s, %s, want 400", wait, response.Status, body)
			}
		}
	})
}

// TestHealth: down, silent, up and restarted, also for a request that is held.
func TestHealth(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i := start(t, accesstokentest.InMemory())
		path := accesstokentest.PathRevocations + "?since=" + feed(t, i, "", 0).Next
		status := func(path string) string {
			response, err := i.HTTPClient().Do(must(http.NewRequestWithContext(t.Context(), http.MethodGet, i.URL+path, nil)))
			if err != nil {
				return "none"
			}
			_ = response.Body.Close()
			return fmt.Sprint(response.StatusCode, response.Header.Get("Retry-After"))
		}
		held := make(chan string)
		hold := func() {
			go func() {
				response, err := i.HTTPClient().Do(authenticated(t, i, path))
				if err != nil {
					held <- "none"
					return
				}
				_ = response.Body.Close()
				held <- fmt.Sprint(response.StatusCode)
			}()
			synctest.Wait()
		}
		hold()
		i.Down()
		if got := <-held; got != "503" {
			t.Errorf("down, the request that was held: %s, want 503", got)
		}
		for _, path := range []string{accesstokentest.PathKeys, accesstokentest.PathMetadata, accesstokentest.PathRevocations, "/elsewhere"} {
			if got := status(path); got != "5031" {
				t.Errorf("down, %s: status and Retry-After %s, want 503 and 1", path, got)
			}
		}
		i.Silence()
		began := time.Now()
		time.AfterFunc(time.Minute, i.Up)
		if got, took := status(accesstokentest.PathMetadata), time.Since(began); got != "200" || took != time.Minute {
			t.Errorf("silent for a minute: %s after %s, want 200 after a minute", got, took)
		}
		hold()
		i.Restart()
		if got := <-held; got != "none" {
			t.Errorf("restarted, the request that was held: %s, want none", got)
		}
		if n := i.Requests(accesstokentest.PathMetadata); n != 2 {
			t.Errorf("Requests counts %d, want 2", n)
		}
	})
}

func authenticated(t *testing.T, i *accesstokentest.Issuer, path string) *http.Request {
	t.Helper()
	r := must(http.NewRequestWithContext(t.Context(), http.MethodGet, i.URL+path, nil))
	r.SetBasicAuth(i.ClientID, i.ClientSecret)
	return r
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestKeys: new keys sign, old ones are published until they are withdrawn.
func TestKeys(t *testing.T) {
	t.Parallel()
	i := start(t)
	old := i.AccessToken("alice", quick)
	i.RotateKeys()
	for _, raw := range []string{old, i.AccessToken("alice", quick)} {
		open(t, i, raw)
		if !isActive(t, i, raw) {
			t.Error("a token whose key is published is not active")
		}
	}
	response, body := get(t, i, accesstokentest.PathKeys)
	keys, _ := read(t, body)["keys"].([]any)
	if len(keys) != 8 || response.Header.Get("Cache-Control") != "public, max-age=300" || strings.Contains(body, `"d":`) {
		t.Errorf("after a rotation there are %d keys, %q, want 8, public only, for 5 minutes", len(keys), response.Header.Get("Cache-Control"))
	}
	i.WithdrawKeys()
	if isActive(t, i, old) {
		t.Error("a token whose key was withdrawn is active")
	}
	_, body = get(t, i, accesstokentest.PathKeys)
	if keys, _ := read(t, body)["keys"].([]any); len(keys) != 4 {
		t.Errorf("after the withdrawal there are %d keys, want 4", len(keys))
	}
}

// TestMetadata: the addresses can be found (RFC 8414).
func TestMetadata(t *testing.T) {
	t.Parallel()
	i := start(t)
	_, body := get(t, i, accesstokentest.PathMetadata)
	metadata := read(t, body)
	for name, wanted := range map[string]string{
		"issuer": i.URL, "jwks_uri": i.URL + accesstokentest.PathKeys, "introspection_endpoint": i.URL + accesstokentest.PathIntrospect,
	} {
		if metadata[name] != wanted {
			t.Errorf("%s is %v, want %s", name, metadata[name], wanted)
		}
	}
}

// TestLateToken: a token that is dead from the beginning is dead for those who follow too.
func TestLateToken(t *testing.T) {
	t.Parallel()
	i := start(t)
	i.BlockUser("alice")
	cursor := feed(t, i, "", 0).Next
	i.AccessToken("alice", quick, accesstokentest.Grant("g"))
	p := feed(t, i, cursor, 0)
	if len(p.Revocations) != 1 || fmt.Sprint(p.Revocations[0]["grant_ids"]) != "[g]" {
		t.Errorf("after a token of a blocked user: %+v, want the user again, with its grant", p)
	}
}

// record notes what a test was told, in place of a test.
type record struct {
	testing.TB
	errors []string
}

// Helper implements testing.TB.
func (r *record) Helper() {}

// Errorf implements testing.TB.
func (r *record) Errorf(format string, arguments ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, arguments...))
}

// TestMistakes: what cannot be meant fails the test that does it.
func TestMistakes(t *testing.T) {
	t.Parallel()
	for name, mistake := range map[string]func(*accesstokentest.Issuer){
		"an unknown grant":        func(i *accesstokentest.Issuer) { i.Refresh("g") },
		"an unknown grant's end":  func(i *accesstokentest.Issuer) { i.Revoke("g") },
		"an unknown algorithm":    func(i *accesstokentest.Issuer) { i.AccessToken("alice", accesstokentest.Algorithm("HS256")) },
		"a claim that is no JSON": func(i *accesstokentest.Issuer) { i.AccessToken("alice", quick, accesstokentest.Claim("x", func() {})) },
		"another subject's grant": func(i *accesstokentest.Issuer) { twice(i, "bob") },
		"another client's grant":  func(i *accesstokentest.Issuer) { twice(i, "alice", accesstokentest.ClientID("kiosk")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &record{TB: t}
			mistake(accesstokentest.NewIssuer(r))
			if len(r.errors) != 1 || !strings.HasPrefix(r.errors[0], "accesstokentest: ") {
				t.Errorf("the test heard of %q, want one error", r.errors)
			}
		})
	}
}

// twice makes a token of alice's, and another of the same grant.
func twice(i *accesstokentest.Issuer, subject string, options ...accesstokentest.TokenOption) {
	i.AccessToken("alice", quick, accesstokentest.Grant("g"))
	i.AccessToken(subject, append(options, quick, accesstokentest.Grant("g"))...)
}
