package signing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"strings"
	"testing"
)

// benchPayload is as long as the claims of an access token.
var benchPayload = []byte(`{"sub":"` + strings.Repeat("x", 400) + `"}`)

func BenchmarkSign(b *testing.B) {
	r := openAll(b)
	for _, alg := range Algorithms() {
		b.Run(alg, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Sign(alg, "JWT", benchPayload); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSignBare is what the signature alone costs.
func BenchmarkSignBare(b *testing.B) {
	r := openAll(b)
	digest := sha256.Sum256(benchPayload)
	bare := map[string]func(crypto.Signer) error{
		RS256: func(k crypto.Signer) error {
			_, err := rsa.SignPKCS1v15(nil, k.(*rsa.PrivateKey), crypto.SHA256, digest[:])
			return err
		},
		ES256: func(k crypto.Signer) error {
			_, err := ecdsa.SignASN1(rand.Reader, k.(*ecdsa.PrivateKey), digest[:])
			return err
		},
		EdDSA: func(k crypto.Signer) error {
			ed25519.Sign(k.(ed25519.PrivateKey), benchPayload)
			return nil
		},
		PS256: func(k crypto.Signer) error {
			_, err := rsa.SignPSS(rand.Reader, k.(*rsa.PrivateKey), crypto.SHA256, digest[:], pss)
			return err
		},
	}
	for _, alg := range Algorithms() {
		b.Run(alg, func(b *testing.B) {
			b.ReportAllocs()
			key := r.view().active[alg].private
			for b.Loop() {
				if err := bare[alg](key); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	r := openAll(b)
	for _, alg := range Algorithms() {
		b.Run(alg, func(b *testing.B) {
			b.ReportAllocs()
			token, err := r.Sign(alg, "JWT", benchPayload)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, _, err := r.Verify(token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
