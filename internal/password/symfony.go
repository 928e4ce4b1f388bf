package password

import (
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"strings"
)

const (
	symfonyPrefix = "$symfony-sha512$i=5000$"
	symfonyRounds = 5000
)

// FormatSymfonySHA512 returns the stored form of a salted SHA-512 hash of Symfony's
// MessageDigestPasswordHasher, with 5000 rounds and base64, as OroCommerce kept
// passwords and client secrets before 6.0:
//
//	$symfony-sha512$i=5000$<salt in base64 without padding>$<hash>
//
// The salt may be empty. The hash is taken as Symfony stores it, 88 characters of
// base64; any other is malformed and will never match.
func FormatSymfonySHA512(salt, hash string) string {
	return symfonyPrefix + base64.RawStdEncoding.EncodeToString([]byte(salt)) + "$" + hash
}

func parseSymfonySHA512(hash string) (stored, error) {
	text, key, _ := strings.Cut(strings.TrimPrefix(hash, symfonyPrefix), "$")
	salt, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return stored{}, errMalformed
	}
	want, err := base64.StdEncoding.DecodeString(key)
	if err != nil || len(want) != sha512.Size {
		return stored{}, errMalformed
	}
	if FormatSymfonySHA512(string(salt), base64.StdEncoding.EncodeToString(want)) != hash {
		return stored{}, errMalformed
	}
	match := func(password string) (bool, error) {
		got := symfonySHA512(password, string(salt))
		return subtle.ConstantTimeCompare(got[:], want) == 1, nil
	}
	return stored{match: match}, nil
}

// symfonySHA512 hashes password{salt}, and then 4999 times the hash so far and that.
func symfonySHA512(password, salt string) [sha512.Size]byte {
	merged := password
	if salt != "" {
		merged += "{" + salt + "}"
	}
	sum := sha512.Sum512([]byte(merged))
	input := append(make([]byte, sha512.Size, sha512.Size+len(merged)), merged...)
	for range symfonyRounds - 1 {
		copy(input, sum[:])
		sum = sha512.Sum512(input)
	}
	return sum
}
