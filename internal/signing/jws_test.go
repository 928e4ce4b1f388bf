package signing

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// b64 is base64url without padding.
func b64(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// forge signs a header and a payload of our choice with the active key of alg, by
// the algorithm named signAs.
func forge(t testing.TB, r *Ring, alg, signAs, header, payload string) string {
	t.Helper()
	input := b64(header) + "." + b64(payload)
	signature, err := algorithms[signAs].sign(rand.Reader, r.view().active[alg].signer, []byte(input))
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + b64(string(signature))
}

// joseSet is the published JWK set as go-jose reads it.
func joseSet(t testing.TB, r *Ring) jose.JSONWebKeySet {
	t.Helper()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(r.JWKS(), &set); err != nil {
		t.Fatalf("JWK set %s: %v", r.JWKS(), err)
	}
	return set
}

// go-jose, with nothing but the JWK set, agrees with what is signed; the header
// has exactly three members, in OroCommerce's order.
func TestSignAgainstGoJose(t *testing.T) {
	t.Parallel()
	r := openAll(t)
	payloads := []string{`{}`, `{"sub":"alice","exp":1}`, strings.Repeat("x", 3000)}
	for _, alg := range Algorithms() {
		for _, typ := range []string{"JWT", "at+jwt", "logout+jwt"} {
			t.Run(alg+" "+typ, func(t *testing.T) {
				t.Parallel()
				for _, payload := range payloads {
					checkAgainstGoJose(t, r, alg, typ, payload)
				}
			})
		}
	}
}

func checkAgainstGoJose(t *testing.T, r *Ring, alg, typ, payload string) {
	t.Helper()
	token, err := r.Sign(alg, typ, []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	kid := r.view().active[alg].id
	wantHeader := fmt.Sprintf(`{"typ":"%s","alg":"%s","kid":"%s"}`, typ, alg, kid)
	if got, _, _ := strings.Cut(token, "."); got != b64(wantHeader) {
		t.Errorf("header %s, want that of %s", got, wantHeader)
	}
	parsed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
	if err != nil {
		t.Fatalf("go-jose: %v", err)
	}
	set := joseSet(t, r)
	got, err := parsed.Verify(set.Key(parsed.Signatures[0].Header.KeyID)[0])
	if err != nil || string(got) != payload {
		t.Errorf("go-jose: payload %q, %v; want %q", got, err, payload)
	}
	gotTyp, ours, err := r.Verify(token)
	if err != nil || gotTyp != typ || string(ours) != payload {
		t.Errorf("Verify = %q, %q, %v; want %q, %q", gotTyp, ours, err, typ, payload)
	}
}

// What go-jose signs with one of our keys is taken; what its header says about
// where to find a key is not looked at (RFC 8725 section 3.10).
func TestVerifyAgainstGoJose(t *testing.T) {
	t.Parallel()
	r := openAll(t)
	for _, alg := range Algorithms() {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			key := r.view().active[alg]
			options := (&jose.SignerOptions{}).WithType("at+jwt").WithHeader("jku", "https://evil.example/keys").
				WithHeader("x5u", "https://evil.example/chain").WithHeader("jwk", map[string]string{"kty": "nonsense"})
			signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: jose.JSONWebKey{Key: key.private, KeyID: key.id}}, options)
			if err != nil {
				t.Fatal(err)
			}
			signed, err := signer.Sign([]byte("payload"))
			if err != nil {
				t.Fatal(err)
			}
			token, err := signed.CompactSerialize()
			if err != nil {
				t.Fatal(err)
			}
			typ, payload, err := r.Verify(token)
			if err != nil || typ != "at+jwt" || string(payload) != "payload" {
				t.Errorf("Verify = %q, %q, %v", typ, payload, err)
			}
		})
	}
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	r := openAll(t)
	kid := func(alg string) string { return r.view().active[alg].id }
	header := func(alg, kid, more string) string {
		return fmt.Sprintf(`{"typ":"JWT","alg":"%s","kid":"%s"%s}`, alg, kid, more)
	}
	good, err := r.Sign(EdDSA, "JWT", []byte("payload"))
	if err != nil {
		t.Fatal(err)
	}
	ofES256, err := r.Sign(ES256, "JWT", []byte("payload"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Verify(good); err != nil {
		t.Fatal(err)
	}
	part := strings.Split(good, ".")
	es := strings.Split(ofES256, ".")
	hmacInput := b64(header("HS256", kid(RS256), "")) + "." + b64("payload")
	secret := hmac.New(sha256.New, r.view().active[RS256].jwk)
	secret.Write([]byte(hmacInput))
	esSignature, err := decode(es[2])
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte(es[0] + "." + es[1]))
	asn1, err := ecdsa.SignASN1(rand.Reader, r.view().active[ES256].private.(*ecdsa.PrivateKey), digest[:])
	if err != nil {
		t.Fatal(err)
	}

	tests := []struct {
		name, token string
		want        error
	}{
		// RFC 7515 section 7.1: the form
		{"empty", "", errTokenForm},
		{"one part", "a", errTokenForm},
		{"two parts", part[0] + "." + part[1], errTokenForm},
		{"four parts", good + ".", errTokenForm},
		{"four parts, the last not empty", part[0] + "." + good, errTokenForm},
		{"JSON serialization", `{"payload":"x"}`, errTokenForm},
		{"padding", good + "==", errTokenForm},
		{"line break in the signature", good[:len(good)-4] + "\n" + good[len(good)-4:], errTokenForm},
		{"line break in the header", "\r" + good, errTokenForm},
		{"line break at the end", good + "\n", errTokenForm},
		{"stray bits", good[:len(good)-1] + "B", errTokenForm},
		{"standard alphabet", part[0] + "." + part[1] + ".+/" + part[2][2:], errTokenForm},
		{"too long", forge(t, r, EdDSA, EdDSA, header(EdDSA, kid(EdDSA), ""), strings.Repeat("x", 6200)), errTokenTooLong},
		// RFC 8725 sections 3.1 and 3.2: the algorithm
		{"none", b64(header("none", kid(EdDSA), "")) + "." + part[1] + ".", errTokenAlg},
		{"none and no kid", b64(`{"alg":"none"}`) + "." + part[1] + ".", errTokenKey},
		{"HS256 with the public key", hmacInput + "." + b64(string(secret.Sum(nil))), errTokenAlg},
		{"PS256 by the key of RS256", forge(t, r, RS256, PS256, header(PS256, kid(RS256), ""), "payload"), errTokenAlg},
		{"PS256 by the key of RS256, which says RS256", forge(t, r, RS256, PS256, header(RS256, kid(RS256), ""), "payload"), errTokenSigned},
		{"alg in lower case", forge(t, r, EdDSA, EdDSA, header("eddsa", kid(EdDSA), ""), "payload"), errTokenAlg},
		{"no alg", forge(t, r, EdDSA, EdDSA, `{"kid":"`+kid(EdDSA)+`"}`, "payload"), errTokenAlg},
		// The key
		{"no kid", forge(t, r, EdDSA, EdDSA, `{"alg":"EdDSA"}`, "payload"), errTokenKey},
		{"kid null", forge(t, r, EdDSA, EdDSA, `{"alg":"EdDSA","kid":null}`, "payload"), errTokenKey},
		{"unknown kid", forge(t, r, EdDSA, EdDSA, header(EdDSA, "unknown", ""), "payload"), errTokenKey},
		{"kid of another key", forge(t, r, EdDSA, EdDSA, header(ES256, kid(ES256), ""), "payload"), errTokenSigned},
		{"kid with a path", forge(t, r, EdDSA, EdDSA, header(EdDSA, "../"+kid(EdDSA), ""), "payload"), errTokenKey},
		{"kid of 65 bytes", forge(t, r, EdDSA, EdDSA, header(EdDSA, strings.Repeat("k", 65), ""), "payload"), errTokenKey},
		// RFC 7515 section 4: the header
		{"not JSON", forge(t, r, EdDSA, EdDSA, `{`, "payload"), errTokenHeader},
		{"not an object", forge(t, r, EdDSA, EdDSA, `[]`, "payload"), errTokenHeader},
		{"more behind it", forge(t, r, EdDSA, EdDSA, header(EdDSA, kid(EdDSA), "")+"{}", "payload"), errTokenHeader},
		{"kid twice", forge(t, r, EdDSA, EdDSA, header(EdDSA, "x", `,"kid":"`+kid(EdDSA)+`"`), "payload"), errTokenHeader},
		{"names in capitals", forge(t, r, EdDSA, EdDSA, `{"ALG":"EdDSA","KID":"`+kid(EdDSA)+`"}`, "payload"), errTokenKey},
		{"crit", forge(t, r, EdDSA, EdDSA, header(EdDSA, kid(EdDSA), `,"crit":["exp"],"exp":1`), "payload"), errTokenCritical},
		{"crit empty", forge(t, r, EdDSA, EdDSA, header(EdDSA, kid(EdDSA), `,"crit":[]`), "payload"), errTokenCritical},
		{"crit null", forge(t, r, EdDSA, EdDSA, header(EdDSA, kid(EdDSA), `,"crit":null`), "payload"), errTokenCritical},
		// The signature
		{"no signature", part[0] + "." + part[1] + ".", errTokenSigned},
		{"another payload", part[0] + "." + b64("Payload") + "." + part[2], errTokenSigned},
		{"another header", b64(header(EdDSA, kid(EdDSA), `,"x":1`)) + "." + part[1] + "." + part[2], errTokenSigned},
		{"ES256 of zeros", es[0] + "." + es[1] + "." + b64(string(make([]byte, 64))), errTokenSigned},
		{"ES256 in ASN.1", es[0] + "." + es[1] + "." + b64(string(asn1)), errTokenSigned},
		{"ES256 with a zero before s", es[0] + "." + es[1] + "." + b64(string(esSignature[:32])+"\x00"+string(esSignature[32:])), errTokenSigned},
		{"ES256 of 1 byte", es[0] + "." + es[1] + "." + b64("x"), errTokenSigned},
		{"ES256 of 63 bytes", es[0] + "." + es[1] + "." + b64(string(make([]byte, 63))), errTokenSigned},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			typ, payload, err := r.Verify(tt.token)
			if !errors.Is(err, tt.want) || typ != "" || payload != nil {
				t.Errorf("Verify = %q, %q, %v; want %v", typ, payload, err, tt.want)
			}
		})
	}
}

// r and s keep their size when they begin with zeros (RFC 7518 section 3.4).
func TestES256KeepsLeadingZeros(t *testing.T) {
	t.Parallel()
	key, err := generate(ES256, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var shortR, shortS bool
	for i := 0; i < 50_000 && !(shortR && shortS); i++ {
		signature, err := key.sign(rand.Reader, key.signer, []byte("input"))
		if err != nil || len(signature) != 64 {
			t.Fatalf("signature of %d bytes, %v", len(signature), err)
		}
		shortR = shortR || signature[0] == 0
		shortS = shortS || signature[32] == 0
		if (signature[0] == 0 || signature[32] == 0) && !key.verify(key.public, []byte("input"), signature) {
			t.Fatalf("signature %x is wrong", signature)
		}
	}
	if !shortR || !shortS {
		t.Error("no signature with leading zeros in 50000")
	}
}

func TestSignRefusesUnknownAlgorithm(t *testing.T) {
	t.Parallel()
	r := openAll(t)
	for _, alg := range []string{"", "none", "HS256", "rs256", "ES384"} {
		if token, err := r.Sign(alg, "JWT", []byte("{}")); err == nil {
			t.Errorf("Sign(%q) = %q", alg, token)
		}
	}
}

// The set has public members only (RFC 7517 section 9.2), and the kid is the
// thumbprint (RFC 7638 section 3.1).
func TestJWKS(t *testing.T) {
	t.Parallel()
	r := openAll(t)
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(r.JWKS(), &set); err != nil {
		t.Fatal(err)
	}
	members := map[string]string{RS256: "alg e kid kty n use", PS256: "alg e kid kty n use", ES256: "alg crv kid kty use x y", EdDSA: "alg crv kid kty use x"}
	canonical := map[string]string{
		"RSA": `{"e":"%[1]s","kty":"RSA","n":"%[2]s"}`, "EC": `{"crv":"P-256","kty":"EC","x":"%[3]s","y":"%[4]s"}`,
		"OKP": `{"crv":"Ed25519","kty":"OKP","x":"%[3]s"}`,
	}
	count := map[string]int{}
	for _, k := range set.Keys {
		count[k["alg"]]++
		if got := strings.Join(sortedNames(k), " "); got != members[k["alg"]] {
			t.Errorf("%s: members %q, want %q", k["alg"], got, members[k["alg"]])
		}
		if k["use"] != "sig" {
			t.Errorf("use = %q", k["use"])
		}
		text := canonical[k["kty"]]
		for i, name := range []string{"e", "n", "x", "y"} {
			text = strings.ReplaceAll(text, fmt.Sprintf("%%[%d]s", i+1), k[name])
		}
		sum := sha256.Sum256([]byte(text))
		if want := b64(string(sum[:])); k["kid"] != want {
			t.Errorf("kid = %q, want the thumbprint %q of %s", k["kid"], want, text)
		}
	}
	for _, alg := range Algorithms() {
		if count[alg] != 2 {
			t.Errorf("%d keys for %s, want 2", count[alg], alg)
		}
	}
	for _, k := range joseSet(t, r).Keys {
		if !k.Valid() || !k.IsPublic() {
			t.Errorf("go-jose: key %s is not a valid public key", k.KeyID)
		}
		if thumbprint, err := k.Thumbprint(crypto.SHA256); err != nil || b64(string(thumbprint)) != k.KeyID {
			t.Errorf("go-jose: thumbprint %x, %v of %s", thumbprint, err, k.KeyID)
		}
	}
}

func FuzzVerify(f *testing.F) {
	r, err := Open(context.Background(), testOptions(f, &memoryStore{}, EdDSA))
	if err != nil {
		f.Fatal(err)
	}
	good, err := r.Sign(EdDSA, "JWT", []byte("payload"))
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{good, "", "..", good[1:], good + "\n", b64(`{"alg":"none","kid":"x"}`) + "." + b64("p") + ".", forge(f, r, EdDSA, EdDSA, `{"alg":"EdDSA","crit":[]}`, "p")} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		_, payload, err := r.Verify(token)
		if err == nil && (token != good || !bytes.Equal(payload, []byte("payload"))) {
			t.Errorf("took a token that nobody signed: %q", token)
		}
	})
}
