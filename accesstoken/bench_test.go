package accesstoken_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	golangjwt "github.com/golang-jwt/jwt/v5"

	"github.com/counterfoil/counterfoil/accesstoken"
)

// BenchmarkVerify compares the verification of one access token with its bare signature
// check, and with what other libraries do for the same checks. Keys are at hand
// everywhere.
func BenchmarkVerify(b *testing.B) {
	for _, key := range []signingKey{rs256(), es256(), edDSA()} {
		i := newIssuer(b, key)
		token := key.token(i.claims())
		contestants := []struct {
			name   string
			verify func() error
		}{
			{"bare", bare(b, key, token)},
			{"accesstoken", ours(b, i, token)},
			{"go-jose", goJose(key, i, token)},
			{"golang-jwt", golangJWT(key, i, token)},
			{"go-oidc", goOIDC(key, i, token)},
		}
		for _, c := range contestants {
			b.Run(key.alg+"/"+c.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := c.verify(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// bare is the check of the signature and nothing else, all parts decoded beforehand.
func bare(b *testing.B, key signingKey, token string) func() error {
	dot := strings.LastIndexByte(token, '.')
	input, signature := []byte(token[:dot]), must(base64.RawURLEncoding.DecodeString(token[dot+1:]))
	wrong := accesstoken.ErrSignature
	switch public := key.signer.Public().(type) {
	case *rsa.PublicKey:
		return func() error {
			digest := sha256.Sum256(input)
			return rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature)
		}
	case *ecdsa.PublicKey:
		digest := sha256.Sum256(input)
		asn1 := must(key.signer.Sign(nil, digest[:], crypto.SHA256))
		return func() error {
			digest := sha256.Sum256(input)
			if !ecdsa.VerifyASN1(public, digest[:], asn1) {
				return wrong
			}
			return nil
		}
	case ed25519.PublicKey:
		return func() error {
			if !ed25519.Verify(public, input, signature) {
				return wrong
			}
			return nil
		}
	}
	b.Fatal("no such key")
	return nil
}

func ours(b *testing.B, i *issuer, token string) func() error {
	v := newVerifier(b, i.config())
	return func() error {
		_, err := v.Verify(context.Background(), token)
		return err
	}
}

// otherClaims are the claims that others decode.
type otherClaims struct {
	jwt.Claims
	ClientID   string `json:"client_id"`
	Scope      string `json:"scope"`
	GrantID    string `json:"grant_id"`
	Generation int64  `json:"gen"`
}

func goJose(key signingKey, i *issuer, token string) func() error {
	algorithms := []jose.SignatureAlgorithm{jose.SignatureAlgorithm(key.alg)}
	expected := jwt.Expected{Issuer: i.URL, AnyAudience: jwt.Audience{audience}, Time: instant}
	return func() error {
		parsed, err := jwt.ParseSigned(token, algorithms)
		if err != nil {
			return err
		}
		var c otherClaims
		if err := parsed.Claims(key.signer.Public(), &c); err != nil {
			return err
		}
		return c.Validate(expected)
	}
}

type golangJWTClaims struct {
	golangjwt.RegisteredClaims
	ClientID   string `json:"client_id"`
	Scope      string `json:"scope"`
	GrantID    string `json:"grant_id"`
	Generation int64  `json:"gen"`
}

func golangJWT(key signingKey, i *issuer, token string) func() error {
	parser := golangjwt.NewParser(golangjwt.WithValidMethods([]string{key.alg}), golangjwt.WithIssuer(i.URL), golangjwt.WithAudience(audience),
		golangjwt.WithExpirationRequired(), golangjwt.WithIssuedAt(), golangjwt.WithTimeFunc(func() time.Time { return instant }))
	public := func(*golangjwt.Token) (any, error) { return key.signer.Public(), nil }
	return func() error {
		var c golangJWTClaims
		_, err := parser.ParseWithClaims(token, &c, public)
		return err
	}
}

func goOIDC(key signingKey, i *issuer, token string) func() error {
	keys := &oidc.StaticKeySet{PublicKeys: []crypto.PublicKey{key.signer.Public()}}
	v := oidc.NewVerifier(i.URL, keys, &oidc.Config{ClientID: audience, SupportedSigningAlgs: []string{key.alg}, Now: func() time.Time { return instant }})
	return func() error {
		t, err := v.Verify(context.Background(), token)
		if err != nil {
			return err
		}
		var c json.RawMessage
		return t.Claims(&c)
	}
}
