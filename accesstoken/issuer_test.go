package accesstoken_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/counterfoil/counterfoil/accesstoken"
)

// instant is when these tests play.
var instant = time.Unix(1700000000, 500_000_000)

const audience = "https://api.example"

// signingKey is a private key with its place in a JWK set.
type signingKey struct {
	kid, alg string
	signer   crypto.Signer
}

// The keys are made once: RSA takes its time.
var (
	rs256 = sync.OnceValue(func() signingKey {
		return signingKey{"rs", accesstoken.RS256, must(rsa.GenerateKey(rand.Reader, 2048))}
	})
	es256 = sync.OnceValue(func() signingKey {
		return signingKey{"es", accesstoken.ES256, must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))}
	})
	edDSA = sync.OnceValue(func() signingKey {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return signingKey{"ed", accesstoken.EdDSA, must(private, err)}
	})
	ps256 = sync.OnceValue(func() signingKey { return signingKey{"ps", accesstoken.PS256, rs256().signer} })
)

func allKeys() []signingKey { return []signingKey{rs256(), ps256(), es256(), edDSA()} }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// jwk is the public key as a JWK.
func (k signingKey) jwk() []byte {
	return must(jose.JSONWebKey{Key: k.signer.Public(), KeyID: k.kid, Algorithm: k.alg, Use: "sig"}.MarshalJSON())
}

// set is a JWK set.
func set(keys ...signingKey) string {
	list := make([]string, len(keys))
	for i, k := range keys {
		list[i] = string(k.jwk())
	}
	return `{"keys":[` + strings.Join(list, ",") + `]}`
}

// b64 is base64url without padding.
func b64(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// forge signs what it is given with the key, by the algorithm alg.
func (k signingKey) forge(alg, header, payload string) string {
	input := b64(header) + "." + b64(payload)
	return input + "." + b64(string(k.sign(alg, input)))
}

func (k signingKey) sign(alg, input string) []byte {
	digest := sha256.Sum256([]byte(input))
	switch alg {
	case accesstoken.RS256:
		return must(k.signer.Sign(rand.Reader, digest[:], crypto.SHA256))
	case accesstoken.PS256:
		return must(k.signer.Sign(rand.Reader, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}))
	case accesstoken.ES256:
		r, s, err := ecdsa.Sign(rand.Reader, k.signer.(*ecdsa.PrivateKey), digest[:])
		return append(must(r, err).FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	case accesstoken.EdDSA:
		return ed25519.Sign(k.signer.(ed25519.PrivateKey), []byte(input))
	}
	panic("sign by " + alg)
}

// header is the header of an access token of the Standard profile by this key.
func (k signingKey) header() string { return k.headerOf("at+jwt") }

func (k signingKey) headerOf(typ string) string {
	return fmt.Sprintf(`{"typ":%q,"alg":%q,"kid":%q}`, typ, k.alg, k.kid)
}

// token signs claims as an access token of the Standard profile.
func (k signingKey) token(c claims) string { return k.forge(k.alg, k.header(), c.json()) }

// claims are the claims of a token, to be changed by a test.
type claims map[string]any

func (c claims) json() string { return string(must(json.Marshal(c))) }

// with returns the claims with one of them changed, or left out where value is nil.
func (c claims) with(name string, value any) claims {
	changed := claims{}
	for n, v := range c {
		changed[n] = v
	}
	changed[name] = value
	if value == nil {
		delete(changed, name)
	}
	return changed
}

// issuer is an authorization server that has nothing but a JWK set.
type issuer struct {
	URL     string
	fetches atomic.Int32
	handler atomic.Pointer[http.HandlerFunc]
}

func newIssuer(t testing.TB, keys ...signingKey) *issuer {
	t.Helper()
	i := &issuer{}
	i.publish(keys...)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/oauth2/jwks" {
			i.fetches.Add(1)
		}
		(*i.handler.Load())(w, r)
	}))
	t.Cleanup(server.Close)
	i.URL = server.URL
	return i
}

// answer makes the issuer answer by h from now on.
func (i *issuer) answer(h http.HandlerFunc) { i.handler.Store(&h) }

// answerText makes the issuer answer with a text.
func (i *issuer) answerText(text string) {
	i.answer(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=300")
		_, _ = w.Write([]byte(text))
	})
}

func (i *issuer) publish(keys ...signingKey) { i.answerText(set(keys...)) }

// down makes the issuer answer 503.
func (i *issuer) down() {
	i.answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
}

// claims are those of a good access token of the Standard profile.
func (i *issuer) claims() claims {
	return claims{
		"iss": i.URL, "sub": "0199a5c4", "aud": audience, "client_id": "storefront", "scope": "orders:read orders:write",
		"iat": 1700000000, "exp": 1700003600, "jti": "7d1f", "grant_id": "f00d", "gen": 3,
	}
}

// oroClaims are those of a good access token of OroCommerce's profile.
func (i *issuer) oroClaims() claims {
	return claims{
		"aud": "storefront", "jti": "7d1f", "iat": 1700000000.123456, "nbf": 1700000000.123456, "exp": 1700003600.123456, "sub": "alice",
		"scopes": []any{"orders:read", 7}, "iss": i.URL, "client_id": "storefront", "grant_id": "f00d", "gen": 3,
	}
}

// config is what a verifier of the issuer's tokens needs, at the instant.
func (i *issuer) config() accesstoken.Config {
	return accesstoken.Config{Issuer: i.URL, Audience: []string{audience}, Now: func() time.Time { return instant }}
}

func newVerifier(t testing.TB, c accesstoken.Config) *accesstoken.Verifier {
	t.Helper()
	v, err := accesstoken.NewVerifier(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
