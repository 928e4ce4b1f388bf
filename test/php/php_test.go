package php

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/test/program"
)

const password = "correct horse battery staple"

// api is an API in PHP, and the server whose tokens it takes.
type api struct {
	*program.Program
	t      *testing.T
	client program.Client
	given  map[string]any // the arguments of testdata/api.php
}

// newAPI starts a server, and prepares an API that has its public key in a file.
func newAPI(t *testing.T, settings ...string) *api {
	t.Helper()
	p := program.New(t, settings...)
	a := &api{Program: p, t: t, client: p.CreateClient("--grant-type", "client_credentials"), given: map[string]any{}}
	p.CreateUser("alice", password)
	p.Start()
	key := filepath.Join(p.Dir, "oauth_public.key")
	write(t, key, p.Run("", "key", "public", "--alg", "RS256"), 0o640)
	a.given["key"] = key
	return a
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// answer is what the API makes of a token.
type answer struct {
	Attributes map[string]any `json:"attributes"`
	Status     int            `json:"status"`
	Hint       string         `json:"hint"`
}

// get sends a token to the API.
func (a *api) get(token string) (answer answer) {
	a.t.Helper()
	given, err := json.Marshal(a.given)
	if err != nil {
		a.t.Fatal(err)
	}
	php := exec.Command("php", "-n", "testdata/api.php", string(given)) // -n: with PHP's own defaults
	php.Stdin = strings.NewReader(token)
	var complaint bytes.Buffer
	php.Stderr = &complaint
	out, err := php.Output()
	if err != nil {
		a.t.Fatalf("php: %v\n%s%s", err, out, complaint.String())
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		a.t.Fatalf("php printed %q: %v", out, err)
	}
	return answer
}

func (a *api) wantTaken(what, token string) map[string]any {
	a.t.Helper()
	answer := a.get(token)
	if answer.Attributes == nil {
		a.t.Errorf("%s: refused with %d (%s), want it taken", what, answer.Status, answer.Hint)
	}
	return answer.Attributes
}

func (a *api) wantRefused(what, token string, status int, hint string) {
	a.t.Helper()
	answer := a.get(token)
	if answer.Attributes != nil || answer.Status != status || !strings.Contains(answer.Hint, hint) {
		a.t.Errorf("%s: status %d, hint %q, attributes %v; want status %d, hint %q", what, answer.Status, answer.Hint, answer.Attributes, status, hint)
	}
}

func (a *api) ask(parameters map[string]string) program.Tokens {
	a.t.Helper()
	parameters["client_id"], parameters["client_secret"] = a.client.ID, a.client.Secret
	tokens, err := a.Ask(parameters)
	if err != nil || tokens.Status != http.StatusOK {
		a.t.Fatalf("token request: status %d, error %q, %v", tokens.Status, tokens.Error, err)
	}
	return tokens
}

func (a *api) login() program.Tokens {
	a.t.Helper()
	return a.ask(map[string]string{"grant_type": "password", "username": "alice", "password": password, "scope": "read write"})
}

func (a *api) refresh(token string) program.Tokens {
	a.t.Helper()
	return a.ask(map[string]string{"grant_type": "refresh_token", "refresh_token": token})
}

// jws is a token in its three parts.
type jws struct{ header, claims, signature string }

func split(t *testing.T, token string) jws {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("a token with %d parts", len(parts))
	}
	return jws{parts[0], parts[1], parts[2]}
}

func (j jws) String() string { return j.header + "." + j.claims + "." + j.signature }

// decode returns the members of a part.
func decode(t *testing.T, part string) (members map[string]any) {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err == nil {
		err = json.Unmarshal(text, &members)
	}
	if err != nil {
		t.Fatalf("part %q of a token: %v", part, err)
	}
	return members
}

// with returns a part with one member changed.
func with(t *testing.T, part, name string, value any) string {
	t.Helper()
	members := decode(t, part)
	members[name] = value
	return encode(t, members)
}

func encode(t *testing.T, members map[string]any) string {
	t.Helper()
	text, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// TestAttributes: league's validator reads a real token with a real key file.
func TestAttributes(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	token := a.login().AccessToken
	got := a.wantTaken("a user's token", token)
	id, _ := got["oauth_access_token_id"].(string)
	if !regexp.MustCompile(`^[0-9a-f]{80}$`).MatchString(id) {
		t.Errorf("oauth_access_token_id is %q, want 80 hexadecimal digits", id)
	}
	want := map[string]any{
		"oauth_access_token_id": id, "oauth_client_id": a.client.ID, "oauth_user_id": "alice", "oauth_scopes": []any{"read", "write"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the request's attributes are %v, want %v", got, want)
	}
	own := a.ask(map[string]string{"grant_type": "client_credentials"}).AccessToken
	if got := a.wantTaken("a client's own token", own); got["oauth_user_id"] != "" || got["oauth_client_id"] != a.client.ID {
		t.Errorf("a client's own token: %v, want the client %s and an empty user", got, a.client.ID)
	}
}

// TestForgeries: what was not signed with the key is refused.
func TestForgeries(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	token := split(t, a.login().AccessToken)
	a.wantTaken("the token itself", token.String())
	for what, changed := range map[string]jws{
		"another user":               {token.header, with(t, token.claims, "sub", "bob"), token.signature},
		"more scopes":                {token.header, with(t, token.claims, "scopes", []string{"admin"}), token.signature},
		"another header":             {with(t, token.header, "kid", "x"), token.claims, token.signature},
		"a changed signature":        {token.header, token.claims, strings.Repeat("A", len(token.signature))},
		"no signature":               {token.header, token.claims, ""},
		"the key of another server":  split(t, sign(t, newKey(t), decode(t, token.header), decode(t, token.claims))),
		"alg none (RFC 8725 2.1)":    {with(t, token.header, "alg", "none"), token.claims, ""},
		"HS256 with the public key":  hs256(t, a, token),
		"claims that are not base64": {token.header, token.claims + "!", token.signature},
	} {
		a.wantRefused(what, changed.String(), http.StatusUnauthorized, "")
	}
}

// hs256 signs with the public key file as if it were a secret (RFC 8725 section 2.1).
func hs256(t *testing.T, a *api, token jws) jws {
	t.Helper()
	secret, err := os.ReadFile(a.given["key"].(string))
	if err != nil {
		t.Fatal(err)
	}
	token.header = with(t, token.header, "alg", "HS256")
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(token.header + "." + token.claims))
	token.signature = base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	return token
}

// TestTimes: a token lives from iat and nbf on, and until exp.
func TestTimes(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	token := a.login().AccessToken
	claims := decode(t, split(t, token).claims)
	iat, exp := int64(claims["iat"].(float64)), int64(claims["exp"].(float64))
	if exp-iat != int64(time.Hour/time.Second) {
		t.Errorf("the token lives %d s, want an hour", exp-iat)
	}
	a.given["now"] = iat
	a.wantTaken("in the second in which it was made", token)
	a.given["now"] = exp - 1
	a.wantTaken("a second before its end", token)
	a.given["now"] = iat - 1
	a.wantRefused("a second before it was made", token, http.StatusUnauthorized, "iat is in the future")
	a.given["now"] = exp
	a.wantRefused("at its end", token, http.StatusUnauthorized, "it has expired")
}

func newKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign makes a token as another server would that has the same key.
func sign(t *testing.T, key *rsa.PrivateKey, header, claims map[string]any) string {
	t.Helper()
	input := encode(t, header) + "." + encode(t, claims)
	digest := sha256.Sum256([]byte(input))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// TestSharedKey: an API that has taken an OroCommerce's tokens goes on when Counterfoil
// has its key: with the same file it reads those with fractional times, and ours.
func TestSharedKey(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "private.pem")
	write(t, file, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), 0o600)
	a := newAPI(t, "PRIVATE_KEY_FILE="+file)
	a.wantTaken("a token of Counterfoil", a.login().AccessToken)

	header := map[string]any{"typ": "JWT", "alg": "RS256"}
	claims := map[string]any{
		"aud": "shop", "jti": "1", "iat": 1700000000.25, "nbf": 1700000000.25, "exp": 1700003600.75, "sub": "alice", "scopes": []string{"all"},
	}
	a.given["now"] = 1700000001
	a.wantTaken("fractional times", sign(t, key, header, claims))
	claims["aud"] = []string{"shop"}
	if got := a.wantTaken("aud is a list", sign(t, key, header, claims)); got["oauth_client_id"] != "shop" {
		t.Errorf("aud is a list: the client is %v, want shop", got["oauth_client_id"])
	}
	a.given["now"] = 1700000000
	a.wantRefused("a quarter of a second early", sign(t, key, header, claims), http.StatusUnauthorized, "in the future")
	a.given["now"] = 1700003601
	a.wantRefused("a quarter of a second late", sign(t, key, header, claims), http.StatusUnauthorized, "it has expired")
	claims["exp"] = "soon"
	a.wantRefused("a time that is no number", sign(t, key, header, claims), http.StatusUnauthorized, "no number")
	header["alg"] = "RS512"
	a.wantRefused("signed with RS256, and the header says RS512", sign(t, key, header, claims), http.StatusUnauthorized, "another algorithm")
}

// printed is the block of docs/php.md that has a text.
func printed(t *testing.T, language, text string) string {
	t.Helper()
	document, err := os.ReadFile("../../docs/php.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(document), -1) {
		if strings.Contains(m[1], text) {
			return m[1]
		}
	}
	t.Fatalf("docs/php.md prints no %s with %q", language, text)
	return ""
}

// withValidator is an API with the validator that docs/php.md prints, and with the
// directory of keys that its script keeps.
func withValidator(t *testing.T) *api {
	t.Helper()
	a := newAPI(t)
	validator, keys := filepath.Join(a.Dir, "validator.php"), filepath.Join(a.Dir, "keys")
	write(t, validator, printed(t, "php", "class CounterfoilTokenValidator"), 0o600)
	if err := os.Mkdir(keys, 0o700); err != nil {
		t.Fatal(err)
	}
	a.given = map[string]any{
		"validator": validator, "keys": keys, "issuer": "http://" + a.Address, "clients": []string{a.client.ID},
		"userinfo": "http://" + a.Address + "/oauth2/userinfo",
	}
	a.fetchKeys()
	return a
}

// fetchKeys runs the script that docs/php.md prints, once.
func (a *api) fetchKeys() {
	a.t.Helper()
	if out, err := a.tryFetchKeys(); err != nil {
		a.t.Fatalf("counterfoil-keys: %v\n%s", err, out)
	}
}

func (a *api) tryFetchKeys() ([]byte, error) {
	bin := filepath.Join(a.Dir, "bin")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		a.t.Fatal(err)
	}
	write(a.t, filepath.Join(bin, "counterfoil-keys"), printed(a.t, "sh", "counterfoil-keys DIRECTORY"), 0o700)
	link := filepath.Join(bin, "counterfoil")
	if err := os.Symlink(a.Server.Path, link); err != nil && !os.IsExist(err) {
		a.t.Fatal(err)
	}
	script := exec.Command(filepath.Join(bin, "counterfoil-keys"), a.given["keys"].(string))
	script.Env = append(slices.Clone(a.Env), "PATH="+bin+":"+os.Getenv("PATH"))
	return script.CombinedOutput()
}

// TestValidator: the validator that docs/php.md prints takes the tokens it is for, and no
// others, although the signature of each is good.
func TestValidator(t *testing.T) {
	t.Parallel()
	a := withValidator(t)
	tokens := a.login()
	if got := a.wantTaken("a user's token", tokens.AccessToken); got["oauth_user_id"] != "alice" {
		t.Errorf("the user is %v, want alice", got["oauth_user_id"])
	}
	token := split(t, tokens.AccessToken)
	a.wantRefused("another user", jws{token.header, with(t, token.claims, "sub", "bob"), token.signature}.String(), http.StatusUnauthorized, "signature")
	for what, changed := range map[string]jws{
		"no kid":                 {with(t, token.header, "kid", nil), token.claims, token.signature},
		"an unknown kid":         {with(t, token.header, "kid", strings.Repeat("A", 43)), token.claims, token.signature},
		"a kid that is a path":   {with(t, token.header, "kid", "../keys/"+decode(t, token.header)["kid"].(string)), token.claims, token.signature},
		"a kid that is a number": {with(t, token.header, "kid", 1), token.claims, token.signature},
	} {
		a.wantRefused(what, changed.String(), http.StatusUnauthorized, "unknown key")
	}
	a.wantRefused("no token", "", http.StatusUnauthorized, "no access token")
	a.wantRefused("two tokens", tokens.AccessToken+", Bearer "+tokens.AccessToken, http.StatusUnauthorized, "no access token")
	a.wantRefused("a token of the standard endpoint", a.standardToken(), http.StatusUnauthorized, "another profile")
	a.given["clients"] = []string{"another"}
	a.wantRefused("a client that is not listed", tokens.AccessToken, http.StatusUnauthorized, "not for this API")
	a.given["clients"], a.given["issuer"] = []string{a.client.ID}, "https://auth.example.com"
	a.wantRefused("another issuer", tokens.AccessToken, http.StatusUnauthorized, "not for this API")
}

// standardToken is a token of the other profile, signed with the same key.
func (a *api) standardToken() string {
	a.t.Helper()
	form := fmt.Sprintf("grant_type=password&username=alice&password=%s&client_id=%s&client_secret=%s", strings.ReplaceAll(password, " ", "+"), a.client.ID, a.client.Secret)
	response, err := http.Post("http://"+a.Address+"/oauth2/token", "application/x-www-form-urlencoded", strings.NewReader(form))
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var tokens program.Tokens
	if err := json.NewDecoder(response.Body).Decode(&tokens); err != nil || tokens.AccessToken == "" {
		a.t.Fatalf("the standard endpoint: status %d, error %q, %v", response.StatusCode, tokens.Error, err)
	}
	return tokens.AccessToken
}

// TestLiveness: with userinfo a token dies with its session, without it at its end; and
// where Counterfoil cannot tell, nobody is told that a token is bad.
func TestLiveness(t *testing.T) {
	t.Parallel()
	a := withValidator(t)
	first := a.login()
	second := a.refresh(first.RefreshToken)
	a.wantRefused("after a refresh, the old one", first.AccessToken, http.StatusUnauthorized, "revoked")
	a.wantTaken("after a refresh, the new one", second.AccessToken)
	a.Run("", "grant", "revoke", "--user", "alice")
	a.wantRefused("after the end of the session", second.AccessToken, http.StatusUnauthorized, "revoked")
	userinfo := a.given["userinfo"]
	a.given["userinfo"] = nil
	a.wantTaken("where it is not asked for", second.AccessToken)

	a.given["userinfo"] = userinfo
	third := a.login().AccessToken
	a.Kill()
	a.wantRefused("with Counterfoil dead", third, http.StatusServiceUnavailable, "")
	a.Start()
	a.wantTaken("with Counterfoil back", third)
}

// TestKeyRotation: with the keys in a directory nobody notices a rotation, and a key that
// leaked is gone at once.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	a := withValidator(t)
	old := a.login()
	a.rotate()
	fresh := a.refresh(old.RefreshToken)
	if a.signer() == decode(t, split(t, old.AccessToken).header)["kid"] {
		t.Fatal("the old key signs after the rotation")
	}
	a.given["userinfo"] = nil
	a.wantTaken("a token of the old key, the files as before", old.AccessToken)
	a.wantTaken("a token of the new key, the files as before", fresh.AccessToken)
	a.fetchKeys()
	a.wantTaken("a token of the old key, the files fetched again", old.AccessToken)
	a.wantTaken("a token of the new key, the files fetched again", fresh.AccessToken)

	a.rotate("--withdraw")
	a.fetchKeys()
	a.wantRefused("a token of a withdrawn key", fresh.AccessToken, http.StatusUnauthorized, "unknown key")
	a.wantTaken("a token of the key after it", a.login().AccessToken)

	a.Env = append(a.Env, "COUNTERFOIL_DATABASE=nonsense")
	if out, err := a.tryFetchKeys(); err == nil {
		t.Errorf("counterfoil-keys succeeds without a database:\n%s", out)
	}
	if files, err := filepath.Glob(filepath.Join(a.given["keys"].(string), "*.pem")); err != nil || len(files) != 2 {
		t.Errorf("after a failed fetch there are the keys %v, want the one that signs and the next", files)
	}
}

// signer is the key that signs.
func (a *api) signer() any {
	a.t.Helper()
	return decode(a.t, split(a.t, a.ask(map[string]string{"grant_type": "client_credentials"}).AccessToken).header)["kid"]
}

// rotate lets the next key take over, and waits until the running server signs with it.
func (a *api) rotate(flags ...string) {
	a.t.Helper()
	before := a.signer()
	a.Run("", append([]string{"key", "rotate", "--now"}, flags...)...)
	tick, deadline := time.NewTicker(50*time.Millisecond), time.After(10*time.Second)
	defer tick.Stop()
	for a.signer() == before {
		select {
		case <-tick.C:
		case <-deadline:
			a.t.Fatal("the server does not sign with the next key within 10 s")
		}
	}
}
