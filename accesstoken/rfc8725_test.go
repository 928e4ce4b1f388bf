package accesstoken_test

import (
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/accesstoken"
)

// refusals is a table of tokens that must be refused, and why.
type refusals []struct {
	name, token string
	want        error
}

// run holds a verifier to the table. It is first shown a good token, so that the
// refusals are not for a reason that the table does not mean.
func (r refusals) run(t *testing.T, v *accesstoken.Verifier, good string) {
	t.Helper()
	if _, err := v.Verify(t.Context(), good); err != nil {
		t.Fatalf("the good token: %v", err)
	}
	for _, tt := range r {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := v.Verify(context.Background(), tt.token)
			if !errors.Is(err, tt.want) || !errors.Is(err, accesstoken.ErrInvalid) || got != nil {
				t.Errorf("Verify = %v, %v; want %v", got, err, tt.want)
			}
		})
	}
}

// RFC 8725 sections 2.1 and 3.1: the key decides the algorithm.
func TestRFC8725Section3_1Algorithm(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, allKeys()...)
	payload := i.claims().json()
	rs, ed, es := rs256(), edDSA(), es256()
	ofRS := rs.token(i.claims())
	unsigned := func(header string) string { return b64(header) + "." + b64(payload) + "." }
	withHMAC := func(header string, secret []byte) string {
		input := b64(header) + "." + b64(payload)
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(input))
		return input + "." + b64(string(mac.Sum(nil)))
	}
	hs256 := `{"typ":"at+jwt","alg":"HS256","kid":"rs"}`
	refusals{
		{"none", unsigned(`{"typ":"at+jwt","alg":"none","kid":"rs"}`), accesstoken.ErrAlgorithm},
		{"none, without a key", unsigned(`{"typ":"at+jwt","alg":"none"}`), accesstoken.ErrAlgorithm},
		{"None", unsigned(`{"typ":"at+jwt","alg":"None","kid":"rs"}`), accesstoken.ErrAlgorithm},
		{"none above a good signature", b64(`{"typ":"at+jwt","alg":"none","kid":"rs"}`) + ofRS[strings.IndexByte(ofRS, '.'):], accesstoken.ErrAlgorithm},
		{"a good header without a signature", unsigned(rs.header()), accesstoken.ErrSignature},
		{"HS256 with the JWK as the secret", withHMAC(hs256, rs.jwk()), accesstoken.ErrAlgorithm},
		{"HS256 with the JWK as the secret, which says RS256", withHMAC(rs.header(), rs.jwk()), accesstoken.ErrSignature},
		{"PS256 by the key of RS256", rs.forge(accesstoken.PS256, `{"typ":"at+jwt","alg":"PS256","kid":"rs"}`, payload), accesstoken.ErrAlgorithm},
		{"PS256 by the key of RS256, which says RS256", rs.forge(accesstoken.PS256, rs.header(), payload), accesstoken.ErrSignature},
		{"RS256 by the key of PS256", rs.forge(accesstoken.RS256, ps256().header(), payload), accesstoken.ErrSignature},
		{"EdDSA in lower case", ed.forge(accesstoken.EdDSA, `{"typ":"at+jwt","alg":"eddsa","kid":"ed"}`, payload), accesstoken.ErrAlgorithm},
		{"no algorithm", ed.forge(accesstoken.EdDSA, `{"typ":"at+jwt","kid":"ed"}`, payload), accesstoken.ErrAlgorithm},
		{"a number as the algorithm", ed.forge(accesstoken.EdDSA, `{"typ":"at+jwt","alg":1,"kid":"ed"}`, payload), accesstoken.ErrMalformed},
		{"the algorithm twice", ed.forge(accesstoken.EdDSA, `{"typ":"at+jwt","alg":"none","alg":"EdDSA","kid":"ed"}`, payload), accesstoken.ErrMalformed},
		{"the name in capitals", ed.forge(accesstoken.EdDSA, `{"typ":"at+jwt","ALG":"EdDSA","kid":"ed"}`, payload), accesstoken.ErrAlgorithm},
		{"the key of another algorithm", es.forge(accesstoken.ES256, `{"typ":"at+jwt","alg":"ES256","kid":"ed"}`, payload), accesstoken.ErrAlgorithm},
		{"a key that is not in the set", ed.forge(accesstoken.EdDSA, `{"typ":"at+jwt","alg":"EdDSA","kid":"other"}`, payload), accesstoken.ErrKeyUnknown},
		{"a path to a key", ed.forge(accesstoken.EdDSA, `{"typ":"at+jwt","alg":"EdDSA","kid":"../ed"}`, payload), accesstoken.ErrKeyUnknown},
		{"a key with a long name", ed.forge(accesstoken.EdDSA, `{"typ":"at+jwt","alg":"EdDSA","kid":"`+strings.Repeat("k", 65)+`"}`, payload), accesstoken.ErrKeyUnknown},
		{"no key", ed.forge(accesstoken.EdDSA, `{"typ":"at+jwt","alg":"EdDSA"}`, payload), accesstoken.ErrKeyUnknown},
		{"null as the key", ed.forge(accesstoken.EdDSA, `{"typ":"at+jwt","alg":"EdDSA","kid":null}`, payload), accesstoken.ErrMalformed},
	}.run(t, newVerifier(t, i.config()), ofRS)
}

// An algorithm that the set has and the verifier does not allow is refused, without
// looking for its key.
func TestRFC8725Section3_2AllowedAlgorithms(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, allKeys()...)
	c := i.config()
	c.Algorithms = []string{accesstoken.ES256}
	refusals{
		{"RS256", rs256().token(i.claims()), accesstoken.ErrAlgorithm},
		{"PS256", ps256().token(i.claims()), accesstoken.ErrAlgorithm},
		{"EdDSA", edDSA().token(i.claims()), accesstoken.ErrAlgorithm},
	}.run(t, newVerifier(t, c), es256().token(i.claims()))
	if n := i.fetches.Load(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

// RFC 8725 section 3.3: what is not in the one form of a JWS, or is not signed as it
// stands, is refused.
func TestRFC8725Section3_3Form(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, allKeys()...)
	ed, es := edDSA(), es256()
	good, ofES := ed.token(i.claims()), es.token(i.claims())
	part, esPart := strings.Split(good, "."), strings.Split(ofES, ".")
	esInput := esPart[0] + "." + esPart[1]
	digest := sha256.Sum256([]byte(esInput))
	der := must(es.signer.Sign(rand.Reader, digest[:], crypto.SHA256))
	raw := es.sign(es.alg, esInput)
	refusals{
		{"empty", "", accesstoken.ErrMalformed},
		{"one part", part[0], accesstoken.ErrMalformed},
		{"two parts", part[0] + "." + part[1], accesstoken.ErrMalformed},
		{"four parts", good + ".", accesstoken.ErrMalformed},
		{"five parts, a JWE", good + ".e30.e30", accesstoken.ErrMalformed},
		{"only dots", "..", accesstoken.ErrMalformed},
		{"JSON serialization", `{"payload":"e30","signature":""}`, accesstoken.ErrMalformed},
		{"longer than 8 KiB", ed.token(i.claims().with("x", strings.Repeat("x", 8<<10))), accesstoken.ErrMalformed},
		{"white space around it", " " + good, accesstoken.ErrMalformed},
		{"padding of the header", part[0] + "=." + part[1] + "." + part[2], accesstoken.ErrMalformed},
		{"padding of the claims", ed.resign(part[0] + "." + part[1] + "="), accesstoken.ErrMalformed},
		{"padding of the signature", good + "==", accesstoken.ErrMalformed},
		{"line break in the header", part[0][:4] + "\n" + part[0][4:] + "." + part[1] + "." + part[2], accesstoken.ErrMalformed},
		{"line break in the claims", ed.resign(part[0] + "." + part[1][:4] + "\r\n" + part[1][4:]), accesstoken.ErrMalformed},
		{"line feed in the signature", good[:len(good)-4] + "\n" + good[len(good)-4:], accesstoken.ErrMalformed},
		{"carriage return in the signature", good[:len(good)-4] + "\r" + good[len(good)-4:], accesstoken.ErrMalformed},
		{"line break at the end", good + "\n", accesstoken.ErrMalformed},
		{"stray bits", good[:len(good)-1] + "B", accesstoken.ErrMalformed},
		{"standard alphabet", part[0] + "." + part[1] + ".+/" + part[2][2:], accesstoken.ErrMalformed},
		{"truncated signature", part[0] + "." + part[1] + "." + b64(string(ed.sign(ed.alg, part[0]+"."+part[1])[:63])), accesstoken.ErrSignature},
		{"longer signature", good[:len(good)-2] + b64("longer"), accesstoken.ErrSignature},
		{"other claims", part[0] + "." + b64(i.claims().with("sub", "root").json()) + "." + part[2], accesstoken.ErrSignature},
		{"another header", b64(`{"typ":"at+jwt","alg":"EdDSA","kid":"ed","x":1}`) + "." + part[1] + "." + part[2], accesstoken.ErrSignature},
		// The signature of ECDSA (RFC 7518 section 3.4; zeros: CVE-2022-21449)
		{"r and s zero", esInput + "." + b64(strings.Repeat("\x00", 64)), accesstoken.ErrSignature},
		{"r zero", esInput + "." + b64(strings.Repeat("\x00", 32)+string(raw[32:])), accesstoken.ErrSignature},
		{"s zero", esInput + "." + b64(string(raw[:32])+strings.Repeat("\x00", 32)), accesstoken.ErrSignature},
		{"r and s all ones", esInput + "." + b64(strings.Repeat("\xff", 64)), accesstoken.ErrSignature},
		{"DER", esInput + "." + b64(string(der)), accesstoken.ErrSignature},
		{"s with a zero before it", esInput + "." + b64(string(raw[:32])+"\x00"+string(raw[32:])), accesstoken.ErrSignature},
		{"63 bytes", esInput + "." + b64(string(raw[:63])), accesstoken.ErrSignature},
		{"no bytes", esInput + ".", accesstoken.ErrSignature},
		// What is signed
		{"a nested JWT", ed.forge(ed.alg, ed.header(), good), accesstoken.ErrMalformed},
		{"a nested JWT that says so", ed.forge(ed.alg, `{"typ":"at+jwt","cty":"JWT","alg":"EdDSA","kid":"ed"}`, good), accesstoken.ErrMalformed},
		{"no claims", ed.forge(ed.alg, ed.header(), ""), accesstoken.ErrMalformed},
		{"a list of claims", ed.forge(ed.alg, ed.header(), "["+i.claims().json()+"]"), accesstoken.ErrMalformed},
		{"something after the claims", ed.forge(ed.alg, ed.header(), i.claims().json()+"{}"), accesstoken.ErrMalformed},
		{"a header not in UTF-8 (section 3.7)", ed.forge(ed.alg, "{\"typ\":\"at+jwt\",\"alg\":\"EdDSA\",\"kid\":\"ed\",\"x\":\"\xff\"}", i.claims().json()), accesstoken.ErrMalformed},
		{"not UTF-8 (section 3.7)", ed.forge(ed.alg, ed.header(), strings.Replace(i.claims().json(), "storefront", "store\xfffront", 1)), accesstoken.ErrMalformed},
	}.run(t, newVerifier(t, i.config()), good)
}

// resign signs an input that is encoded as the test wants it.
func (k signingKey) resign(input string) string {
	return input + "." + b64(string(k.sign(k.alg, input)))
}

// r and s keep their size when they begin with zeros, and may begin with a bit that
// ASN.1 would take for a sign.
func TestES256(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, es256())
	v := newVerifier(t, i.config())
	input := b64(es256().header()) + "." + b64(i.claims().json())
	zeros := func(half []byte) bool { return half[0] == 0 && half[1] < 0x80 }
	var short, long bool
	for n := 0; n < 20_000 && !(short && long); n++ {
		raw := es256().sign(accesstoken.ES256, input)
		isShort, isLong := zeros(raw[:32]) || zeros(raw[32:]), raw[0] >= 0x80
		if short && isShort || !isShort && (long || !isLong) {
			continue
		}
		short, long = short || isShort, long || isLong
		if _, err := v.Verify(t.Context(), input+"."+b64(string(raw))); err != nil {
			t.Fatalf("signature %x: %v", raw, err)
		}
	}
	if !short || !long {
		t.Error("no signature with zeros, or none with a high bit")
	}
}

// RFC 8725 section 3.8: the issuer, byte for byte.
func TestRFC8725Section3_8Issuer(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, edDSA())
	token := func(iss any) string { return edDSA().token(i.claims().with("iss", iss)) }
	refusals{
		{"another", token("https://other.example"), accesstoken.ErrIssuer},
		{"with a slash", token(i.URL + "/"), accesstoken.ErrIssuer},
		{"in capitals", token(strings.ToUpper(i.URL)), accesstoken.ErrIssuer},
		{"missing", token(nil), accesstoken.ErrMalformed},
		{"empty", token(""), accesstoken.ErrMalformed},
		{"a list", token([]string{i.URL}), accesstoken.ErrMalformed},
	}.run(t, newVerifier(t, i.config()), token(i.URL))
}

// RFC 8725 section 3.9: the audience.
func TestRFC8725Section3_9Audience(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, edDSA())
	token := func(aud any) string { return edDSA().token(i.claims().with("aud", aud)) }
	v := newVerifier(t, i.config())
	for _, aud := range []any{audience, []string{audience}, []string{"https://other.example", audience}} {
		if _, err := v.Verify(t.Context(), token(aud)); err != nil {
			t.Errorf("aud %v: %v", aud, err)
		}
	}
	refusals{
		{"another", token("https://other.example"), accesstoken.ErrAudience},
		{"the issuer", token(i.URL), accesstoken.ErrAudience},
		{"others", token([]string{"a", "b"}), accesstoken.ErrAudience},
		{"a part", token(audience[:len(audience)-1]), accesstoken.ErrAudience},
		{"with a slash", token(audience + "/"), accesstoken.ErrAudience},
		{"AnyClient's name", token(accesstoken.AnyClient), accesstoken.ErrAudience},
		{"missing", token(nil), accesstoken.ErrMalformed},
		{"an empty list", token([]string{}), accesstoken.ErrMalformed},
		{"a number", token(1), accesstoken.ErrMalformed},
		{"a list with a number", token([]any{audience, 1}), accesstoken.ErrMalformed},
		{"an object", token(map[string]string{"aud": audience}), accesstoken.ErrMalformed},
	}.run(t, v, token(audience))
}

// RFC 8725 section 3.10: what a token says about where its key is, is not followed.
func TestRFC8725Section3_10ForeignKeys(t *testing.T) {
	t.Parallel()
	var asked http.HandlerFunc = func(w http.ResponseWriter, r *http.Request) { t.Errorf("%s was fetched", r.URL) }
	evil := httptest.NewServer(asked)
	t.Cleanup(evil.Close)
	i := newIssuer(t, edDSA())
	attacker := es256() // not in the set
	header := func(kid, more string) string {
		return fmt.Sprintf(`{"typ":"at+jwt","alg":"ES256","kid":%q,%s}`, kid, more)
	}
	payload := i.claims().json()
	embedded := `"jwk":` + string(attacker.jwk())
	refusals{
		{"jwk", attacker.forge(attacker.alg, header("es", embedded), payload), accesstoken.ErrKeyUnknown},
		{"jwk beside a known key", attacker.forge(attacker.alg, header("ed", embedded), payload), accesstoken.ErrAlgorithm},
		{"jku", attacker.forge(attacker.alg, header("es", `"jku":"`+evil.URL+`/jwks"`), payload), accesstoken.ErrKeyUnknown},
		{"x5u", attacker.forge(attacker.alg, header("es", `"x5u":"`+evil.URL+`/chain"`), payload), accesstoken.ErrKeyUnknown},
		{"x5c", attacker.forge(attacker.alg, header("es", `"x5c":["MIIB"]`), payload), accesstoken.ErrKeyUnknown},
	}.run(t, newVerifier(t, i.config()), edDSA().forge(accesstoken.EdDSA, `{"typ":"at+jwt","alg":"EdDSA","kid":"ed","jku":"`+evil.URL+`","x5c":[],`+embedded+`}`, payload))
}

// Extensions that must be understood are not (RFC 7515 section 4.1.11, RFC 7797).
func TestCriticalHeaders(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, edDSA())
	forge := func(more string) string {
		return edDSA().forge(accesstoken.EdDSA, `{"typ":"at+jwt","alg":"EdDSA","kid":"ed"`+more+`}`, i.claims().json())
	}
	refusals{
		{"crit", forge(`,"crit":["exp"],"exp":1`), accesstoken.ErrMalformed},
		{"crit empty", forge(`,"crit":[]`), accesstoken.ErrMalformed},
		{"crit null", forge(`,"crit":null`), accesstoken.ErrMalformed},
		{"crit, escaped", forge(`,"\u0063rit":["exp"]`), accesstoken.ErrMalformed},
		{"b64", forge(`,"b64":false`), accesstoken.ErrMalformed},
		{"zip", forge(`,"zip":"DEF"`), accesstoken.ErrMalformed},
	}.run(t, newVerifier(t, i.config()), forge(`,"x":{"crit":[]}`))
}

// RFC 8725 sections 3.11 and 3.12: one kind of JWT is not taken for another.
func TestRFC8725Section3_11Types(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, edDSA())
	ed := edDSA()
	typed := func(typ string) string { return ed.forge(ed.alg, ed.headerOf(typ), i.claims().json()) }
	refusals{
		{"OroCommerce's profile", ed.forge(ed.alg, ed.headerOf("JWT"), i.oroClaims().with("aud", audience).json()), accesstoken.ErrProfile},
		{"JWT", typed("JWT"), accesstoken.ErrProfile},
		{"logout token", typed("logout+jwt"), accesstoken.ErrProfile},
		{"answer of introspection", typed("token-introspection+jwt"), accesstoken.ErrProfile},
		{"DPoP proof", typed("dpop+jwt"), accesstoken.ErrProfile},
		{"in capitals", typed("AT+JWT"), accesstoken.ErrProfile},
		{"empty", typed(""), accesstoken.ErrProfile},
		{"missing", ed.forge(ed.alg, `{"alg":"EdDSA","kid":"ed"}`, i.claims().json()), accesstoken.ErrProfile},
		{"null", ed.forge(ed.alg, `{"typ":null,"alg":"EdDSA","kid":"ed"}`, i.claims().json()), accesstoken.ErrMalformed},
	}.run(t, newVerifier(t, i.config()), typed("application/at+jwt"))
}

func TestRFC8725Section3_12OroCommerce(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, edDSA())
	c := i.config()
	c.Profile, c.Audience = accesstoken.OroCommerce, []string{accesstoken.AnyClient}
	ed := edDSA()
	forge := func(typ string, c claims) string { return ed.forge(ed.alg, ed.headerOf(typ), c.json()) }
	idToken := claims{"iss": i.URL, "sub": "0199a5c4", "aud": "storefront", "iat": 1700000000, "exp": 1700003600, "nonce": "n", "jti": "j"}
	refusals{
		{"Standard profile", ed.token(i.claims()), accesstoken.ErrProfile},
		{"Standard claims", forge("JWT", i.claims()), accesstoken.ErrMalformed},
		{"ID token", forge("JWT", idToken), accesstoken.ErrMalformed},
		{"ID token that names the client", forge("JWT", idToken.with("client_id", "storefront")), accesstoken.ErrMalformed},
		{"logout token", forge("logout+jwt", i.oroClaims()), accesstoken.ErrProfile},
		{"scopes as a text", forge("JWT", i.oroClaims().with("scopes", "orders:read")), accesstoken.ErrMalformed},
		{"scopes with a list", forge("JWT", i.oroClaims().with("scopes", []any{[]any{}})), accesstoken.ErrMalformed},
		{"no sub", forge("JWT", i.oroClaims().with("sub", nil)), accesstoken.ErrMalformed},
	}.run(t, newVerifier(t, c), forge("JWT", i.oroClaims()))
}

// The claims that every token has, and their types (RFC 9068 section 2.2).
func TestClaims(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, edDSA())
	ed := edDSA()
	token := func(name string, value any) string { return ed.token(i.claims().with(name, value)) }
	repeated := func(more string) string {
		return ed.forge(ed.alg, ed.header(), strings.TrimSuffix(i.claims().json(), "}")+","+more+"}")
	}
	refusals{
		{"sub missing", token("sub", nil), accesstoken.ErrMalformed},
		{"sub empty", token("sub", ""), accesstoken.ErrMalformed},
		{"sub a number", token("sub", 1), accesstoken.ErrMalformed},
		{"client_id missing", token("client_id", nil), accesstoken.ErrMalformed},
		{"jti missing", token("jti", nil), accesstoken.ErrMalformed},
		{"scope a list", token("scope", []string{"a"}), accesstoken.ErrMalformed},
		{"gen without grant_id", token("grant_id", nil), accesstoken.ErrMalformed},
		{"grant_id without gen", token("gen", nil), accesstoken.ErrMalformed},
		{"gen negative", token("gen", -1), accesstoken.ErrMalformed},
		{"gen with a fraction", token("gen", 1.5), accesstoken.ErrMalformed},
		{"gen a text", token("gen", "3"), accesstoken.ErrMalformed},
		{"client_not_before a text", token("client_not_before", "3"), accesstoken.ErrMalformed},
		{"cnf null", ed.forge(ed.alg, ed.header(), strings.Replace(i.claims().json(), "{", `{"cnf":null,`, 1)), accesstoken.ErrMalformed},
		{"cnf a text", token("cnf", "jkt"), accesstoken.ErrMalformed},
		{"names in capitals", ed.forge(ed.alg, ed.header(), strings.Replace(i.claims().json(), `"sub"`, `"SUB"`, 1)), accesstoken.ErrMalformed},
		{"exp twice", repeated(`"exp":1700003600`), accesstoken.ErrMalformed},
		{"sub twice, once escaped", repeated(`"s\u0075b":"root"`), accesstoken.ErrMalformed},
		{"a claim of others twice", repeated(`"x":1,"x":1`), accesstoken.ErrMalformed},
		{"a claim too deep", repeated(`"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100)), accesstoken.ErrMalformed},
	}.run(t, newVerifier(t, i.config()), repeated(`"x":{"y":[1,{"z":null}]}`))
}

// RFC 7519 sections 4.1.4 to 4.1.6. The clock stands at 1700000000.5.
func TestTimes(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, edDSA())
	v := newVerifier(t, i.config())
	tests := []struct {
		name, value string
		want        error
	}{
		{"exp", "1700000001", nil},
		{"exp", "1700000000.500001", nil},
		{"exp", "1700000000.5", accesstoken.ErrExpired},
		{"exp", "1700000000", accesstoken.ErrExpired},
		{"exp", "1", accesstoken.ErrExpired},
		{"exp", "0", accesstoken.ErrExpired},
		{"exp", "253402300799", nil},
		{"exp", "253402300800", accesstoken.ErrMalformed},
		{"exp", "1e300", accesstoken.ErrMalformed},
		{"exp", "1.8e9", accesstoken.ErrMalformed},
		{"exp", "18446744075409555216", accesstoken.ErrMalformed},
		{"exp", "-1", accesstoken.ErrMalformed},
		{"exp", `"1700003600"`, accesstoken.ErrMalformed},
		{"exp", "null", accesstoken.ErrMalformed},
		{"exp", "true", accesstoken.ErrMalformed},
		{"exp", "", accesstoken.ErrMalformed},
		{"nbf", "", nil},
		{"nbf", "1700000010.5", nil},
		{"nbf", "1700000010.500001", accesstoken.ErrNotYetValid},
		{"nbf", `"0"`, accesstoken.ErrMalformed},
		{"iat", "1700000010", nil},
		{"iat", "1700000011", accesstoken.ErrNotYetValid},
		{"iat", "[]", accesstoken.ErrMalformed},
		{"iat", "", accesstoken.ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name+" "+tt.value, func(t *testing.T) {
			t.Parallel()
			c := i.claims().with(tt.name, nil)
			if tt.value != "" {
				c = c.with(tt.name, json.RawMessage(tt.value))
			}
			if _, err := v.Verify(t.Context(), edDSA().token(c)); !errors.Is(err, tt.want) {
				t.Errorf("%s %s: %v, want %v", tt.name, tt.value, err, tt.want)
			}
		})
	}
}

func TestLeeway(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, edDSA())
	c := i.config()
	c.Leeway = time.Nanosecond
	v := newVerifier(t, c)
	if _, err := v.Verify(t.Context(), edDSA().token(i.claims().with("iat", 1700000001))); !errors.Is(err, accesstoken.ErrNotYetValid) {
		t.Errorf("half a second ahead, with a leeway of a nanosecond: %v", err)
	}
}
