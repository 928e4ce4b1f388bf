package accesstokentest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"sync"

	"github.com/go-jose/go-jose/v4"
)

// algorithms are the values of `alg` that Counterfoil signs with (RFC 7518 section 3.1,
// RFC 8037).
var algorithms = []string{"RS256", "PS256", "ES256", "EdDSA"}

// key is made when it is first needed, since an RSA key takes a while.
type key struct {
	alg  string
	made func() jose.JSONWebKey // private, with kid, use and alg
}

func (k *key) public() jose.JSONWebKey {
	private := k.made()
	return private.Public()
}

// newKeys makes a key for each algorithm. Both kinds of RSA signatures come from one
// modulus under two names, which is enough for a test and costs half the time.
func newKeys() map[string]*key {
	modulus := sync.OnceValue(func() crypto.Signer { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	generate := map[string]func() crypto.Signer{
		"RS256": modulus,
		"PS256": modulus,
		"ES256": func() crypto.Signer { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) },
		"EdDSA": func() crypto.Signer {
			_, private, err := ed25519.GenerateKey(rand.Reader)
			return must(private, err)
		},
	}
	keys := map[string]*key{}
	for _, alg := range algorithms {
		keys[alg] = &key{alg: alg, made: sync.OnceValue(func() jose.JSONWebKey {
			return newJWK(alg, generate[alg]())
		})}
	}
	return keys
}

// newJWK names a key by its thumbprint (RFC 7638) and its algorithm.
func newJWK(alg string, private crypto.Signer) jose.JSONWebKey {
	jwk := jose.JSONWebKey{Key: private, Algorithm: alg, Use: "sig"}
	thumbprint := must(jwk.Thumbprint(crypto.SHA256))
	jwk.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
	if alg == "PS256" {
		jwk.KeyID += "-ps" // its RS256 twin has the same thumbprint
	}
	return jwk
}

// must is for what fails in a broken program only.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// RotateKeys has new tokens be signed with new keys. The old ones stay published, as they
// must while their tokens live, until WithdrawKeys.
func (i *Issuer) RotateKeys() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, alg := range algorithms {
		i.retired = append(i.retired, i.keys[alg])
	}
	i.keys = newKeys()
}

// WithdrawKeys takes the keys that RotateKeys replaced out of the published set: what they
// signed is worth nothing from now on.
func (i *Issuer) WithdrawKeys() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.retired = nil
}

// signingKey returns the key that signs with an algorithm now.
func (i *Issuer) signingKey(alg string) (jose.JSONWebKey, bool) {
	i.mu.Lock()
	k, known := i.keys[alg]
	i.mu.Unlock()
	if !known {
		return jose.JSONWebKey{}, false
	}
	return k.made(), true
}

// published returns the JWK set, public members only.
func (i *Issuer) published() jose.JSONWebKeySet {
	i.mu.Lock()
	keys := append([]*key(nil), i.retired...)
	for _, alg := range algorithms {
		keys = append(keys, i.keys[alg])
	}
	i.mu.Unlock()
	var set jose.JSONWebKeySet
	for _, k := range keys {
		set.Keys = append(set.Keys, k.public())
	}
	return set
}

// sign makes a JWS in compact serialization (RFC 7515 section 7.1).
func sign(k jose.JSONWebKey, typ string, payload []byte) string {
	options := (&jose.SignerOptions{}).WithType(jose.ContentType(typ))
	signer := must(jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(k.Algorithm), Key: k}, options))
	return must(must(signer.Sign(payload)).CompactSerialize())
}
