package signing

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// thumbprint is the RFC 7638 thumbprint of a key in PEM, which a `kid` is.
func thumbprint(t *testing.T, text []byte) string {
	t.Helper()
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "PUBLIC KEY" || len(rest) > 0 {
		t.Fatalf("not one public key in PEM:\n%s", text)
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

func publicKey(t *testing.T, r *Ring, alg, kid string) []byte {
	t.Helper()
	text, err := r.PublicKey(alg, kid)
	if err != nil {
		t.Fatalf("PublicKey(%q, %q): %v", alg, kid, err)
	}
	return text
}

// TestPublicKey: it is the key that signs, for every algorithm, and any other of the set
// by its kid.
func TestPublicKey(t *testing.T) {
	t.Parallel()
	r := openAll(t)
	for _, alg := range Algorithms() {
		if got, want := thumbprint(t, publicKey(t, r, alg, "")), signer(t, r, alg); got != want {
			t.Errorf("%s: PublicKey returns %s, and %s signs", alg, got, want)
		}
	}
	for _, s := range r.List() {
		if got := thumbprint(t, publicKey(t, r, "", s.ID)); got != s.ID {
			t.Errorf("PublicKey of %s (%s, %s) returns %s", s.ID, s.Alg, s.State, got)
		}
		if !bytes.Equal(publicKey(t, r, s.Alg, s.ID), publicKey(t, r, "", s.ID)) {
			t.Errorf("PublicKey of %s is another key when %s is given with it", s.ID, s.Alg)
		}
	}
}

// TestPublicKeyFollows: a rotation and a withdrawal are seen.
func TestPublicKeyFollows(t *testing.T) {
	t.Parallel()
	r, _ := openAt(t, &memoryStore{})
	old := signer(t, r, EdDSA)
	rotation, err := r.Rotate(t.Context(), EdDSA, RotateOptions{Now: true, TokenLifetime: hour})
	if err != nil {
		t.Fatal(err)
	}
	if got := thumbprint(t, publicKey(t, r, EdDSA, "")); got != rotation.ActiveID {
		t.Errorf("after a rotation PublicKey returns %s, want %s", got, rotation.ActiveID)
	}
	if got := thumbprint(t, publicKey(t, r, "", old)); got != old {
		t.Errorf("the retired key %s is returned as %s", old, got)
	}
	if _, err := r.Rotate(t.Context(), EdDSA, RotateOptions{Withdraw: true, TokenLifetime: hour}); err != nil {
		t.Fatal(err)
	}
	if text, err := r.PublicKey("", old); err == nil {
		t.Errorf("a withdrawn key is still returned:\n%s", text)
	}
}

func TestPublicKeyRefuses(t *testing.T) {
	t.Parallel()
	r := open(t, testOptions(t, &memoryStore{}, EdDSA))
	kid := signer(t, r, EdDSA)
	for _, tt := range []struct{ alg, kid, want string }{
		{ES256, "", "there is no ES256 key"},
		{"none", "", "there is no none key"},
		{"", "other", "there is no key other in the JWK set"},
		{ES256, kid, "key " + kid + " is for EdDSA, not for ES256"},
	} {
		if text, err := r.PublicKey(tt.alg, tt.kid); err == nil || err.Error() != tt.want {
			t.Errorf("PublicKey(%q, %q) = %q, %v, want the error %q", tt.alg, tt.kid, text, err, tt.want)
		}
	}
	if got := len(r.List()); got != 2 {
		t.Errorf("asking for public keys left %d keys, want the 2 that were there", got)
	}
}
