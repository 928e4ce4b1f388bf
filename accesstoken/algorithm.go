package accesstoken

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
)

// The JWS algorithms that a verifier can be told to allow (RFC 7518 section 3.1, RFC
// 8037 section 3.1).
const (
	RS256 = "RS256" // RSASSA-PKCS1-v1_5 with SHA-256
	PS256 = "PS256" // RSASSA-PSS with SHA-256
	ES256 = "ES256" // ECDSA on P-256 with SHA-256
	EdDSA = "EdDSA" // Ed25519
)

// key is a public key with the one algorithm that it is for.
type key struct {
	id, alg string
	verify  func(signed, signature []byte) bool
}

// The sizes of an RSA key in bits: the least by RFC 7518 section 3.3, and the most that
// is worth its time.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// verifierOf returns what checks signatures of an algorithm by a public key, or nil if
// it is none, or the two do not fit.
func verifierOf(alg string, public any) func(signed, signature []byte) bool {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return nil
		}
		if alg == RS256 {
			return verifyRS256(k)
		}
		if alg == PS256 {
			return verifyPS256(k)
		}
	case *ecdsa.PublicKey:
		if alg == ES256 && k.Curve == elliptic.P256() {
			return verifyES256(k)
		}
	case ed25519.PublicKey:
		if alg == EdDSA {
			return func(signed, signature []byte) bool { return ed25519.Verify(k, signed, signature) }
		}
	}
	return nil
}

func verifyRS256(k *rsa.PublicKey) func(signed, signature []byte) bool {
	return func(signed, signature []byte) bool {
		digest := sha256.Sum256(signed)
		return rsa.VerifyPKCS1v15(k, crypto.SHA256, digest[:], signature) == nil
	}
}

// pss is the salt of PS256: as long as the hash (RFC 7518 section 3.5).
var pss = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}

func verifyPS256(k *rsa.PublicKey) func(signed, signature []byte) bool {
	return func(signed, signature []byte) bool {
		digest := sha256.Sum256(signed)
		return rsa.VerifyPSS(k, crypto.SHA256, digest[:], signature, pss) == nil
	}
}

func verifyES256(k *ecdsa.PublicKey) func(signed, signature []byte) bool {
	return func(signed, signature []byte) bool {
		der := appendDER(signature[len(signature):], signature) // there is room behind it
		if der == nil {
			return false
		}
		digest := sha256.Sum256(signed)
		return ecdsa.VerifyASN1(k, digest[:], der)
	}
}

const es256Half = 32 // the size of r and of s (RFC 7518 section 3.4)

// appendDER turns r and s, as JWS has them, into the ASN.1 that crypto/ecdsa takes
// without a detour over big integers. nil: they are not of their size. Zeros are left to
// crypto/ecdsa, which refuses them (CVE-2022-21449 did not).
func appendDER(b, signature []byte) []byte {
	if len(signature) != 2*es256Half {
		return nil
	}
	const sequence = 0x30
	b = append(b, sequence, 0)
	b = appendInteger(b, signature[:es256Half])
	b = appendInteger(b, signature[es256Half:])
	b[1] = byte(len(b) - 2)
	return b
}

// appendInteger appends a number without a sign: no zeros before it, but for one where
// the first bit would be read as a sign.
func appendInteger(b, number []byte) []byte {
	for len(number) > 1 && number[0] == 0 {
		number = number[1:]
	}
	const integer = 0x02
	if number[0] < 0x80 {
		b = append(b, integer, byte(len(number)))
	} else {
		b = append(b, integer, byte(len(number)+1), 0)
	}
	return append(b, number...)
}
