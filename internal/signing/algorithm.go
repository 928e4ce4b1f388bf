package signing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"io"
	"math/big"
)

// The JWS algorithms (RFC 7518 section 3.1, RFC 8037 section 3.1).
const (
	RS256 = "RS256" // RSASSA-PKCS1-v1_5 with SHA-256
	ES256 = "ES256" // ECDSA on P-256 with SHA-256
	EdDSA = "EdDSA" // Ed25519
	PS256 = "PS256" // RSASSA-PSS with SHA-256
)

// Algorithms lists the JWS algorithms that a Ring can sign with, the default first.
func Algorithms() []string { return []string{RS256, ES256, EdDSA, PS256} }

// minRSABits is the least size of an RSA key (RFC 7518 section 3.3).
const minRSABits = 2048

// es256Half is the size of r and of s in an ES256 signature (RFC 7518 section 3.4).
const es256Half = 32

// algorithm is how to make a key, to sign and to check. What signs and checks may
// rely on a key of the right type: see fits.
type algorithm struct {
	generate func(random io.Reader) (crypto.Signer, error)
	fits     func(key crypto.Signer) bool
	sign     func(random io.Reader, key crypto.Signer, input []byte) ([]byte, error)
	verify   func(key crypto.PublicKey, input, signature []byte) bool
}

var algorithms = map[string]algorithm{
	RS256: {generate: generateRSA, fits: isRSA, sign: signRS256, verify: verifyRS256},
	ES256: {generate: generateP256, fits: isP256, sign: signES256, verify: verifyES256},
	EdDSA: {generate: generateEd25519, fits: isEd25519, sign: signEdDSA, verify: verifyEdDSA},
	PS256: {generate: generateRSA, fits: isRSA, sign: signPS256, verify: verifyPS256},
}

func algorithmOf(alg string) (algorithm, error) {
	a, ok := algorithms[alg]
	if !ok {
		return a, fmt.Errorf("the signing algorithm %q is not supported", alg)
	}
	return a, nil
}

// naturalAlg is the algorithm of a key that nobody said more about.
func naturalAlg(key crypto.Signer) string {
	for _, alg := range Algorithms() {
		if algorithms[alg].fits(key) {
			return alg
		}
	}
	return ""
}

func generateRSA(random io.Reader) (crypto.Signer, error) { return rsa.GenerateKey(random, minRSABits) }

func isRSA(key crypto.Signer) bool {
	k, ok := key.(*rsa.PrivateKey)
	return ok && k.N.BitLen() >= minRSABits
}

func signRS256(_ io.Reader, key crypto.Signer, input []byte) ([]byte, error) {
	digest := sha256.Sum256(input)
	return key.Sign(nil, digest[:], crypto.SHA256)
}

func verifyRS256(key crypto.PublicKey, input, signature []byte) bool {
	digest := sha256.Sum256(input)
	return rsa.VerifyPKCS1v15(key.(*rsa.PublicKey), crypto.SHA256, digest[:], signature) == nil
}

// pss is the salt of PS256: as long as the hash, in both directions (RFC 7518 section 3.5).
var pss = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}

func signPS256(random io.Reader, key crypto.Signer, input []byte) ([]byte, error) {
	digest := sha256.Sum256(input)
	return key.Sign(random, digest[:], pss)
}

func verifyPS256(key crypto.PublicKey, input, signature []byte) bool {
	digest := sha256.Sum256(input)
	return rsa.VerifyPSS(key.(*rsa.PublicKey), crypto.SHA256, digest[:], signature, pss) == nil
}

func generateP256(random io.Reader) (crypto.Signer, error) {
	return ecdsa.GenerateKey(elliptic.P256(), random)
}

func isP256(key crypto.Signer) bool {
	k, ok := key.(*ecdsa.PrivateKey)
	return ok && k.Curve == elliptic.P256()
}

func signES256(random io.Reader, key crypto.Signer, input []byte) ([]byte, error) {
	digest := sha256.Sum256(input)
	r, s, err := ecdsa.Sign(random, key.(*ecdsa.PrivateKey), digest[:])
	if err != nil {
		return nil, err
	}
	signature := make([]byte, 2*es256Half)
	r.FillBytes(signature[:es256Half])
	s.FillBytes(signature[es256Half:])
	return signature, nil
}

func verifyES256(key crypto.PublicKey, input, signature []byte) bool {
	if len(signature) != 2*es256Half {
		return false
	}
	digest := sha256.Sum256(input)
	r := new(big.Int).SetBytes(signature[:es256Half])
	s := new(big.Int).SetBytes(signature[es256Half:])
	return ecdsa.Verify(key.(*ecdsa.PublicKey), digest[:], r, s)
}

func generateEd25519(random io.Reader) (crypto.Signer, error) {
	_, key, err := ed25519.GenerateKey(random)
	return key, err
}

func isEd25519(key crypto.Signer) bool {
	_, ok := key.(ed25519.PrivateKey)
	return ok
}

func signEdDSA(_ io.Reader, key crypto.Signer, input []byte) ([]byte, error) {
	return ed25519.Sign(key.(ed25519.PrivateKey), input), nil
}

func verifyEdDSA(key crypto.PublicKey, input, signature []byte) bool {
	return ed25519.Verify(key.(ed25519.PublicKey), input, signature)
}
