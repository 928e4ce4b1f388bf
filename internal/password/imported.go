package password

import (
	"crypto/sha512"
	"errors"
)

// ErrUnknownHash is the error of ImportHash for what could never be verified. It
// says nothing about the content.
var ErrUnknownHash = errors.New("it is no hash that could be verified: argon2id, argon2i, bcrypt, or Symfony's SHA-512 with its salt")

// symfonyHashLength is the length of a SHA-512 hash in base64, with its padding.
const symfonyHashLength = (sha512.Size + 2) / 3 * 4

// ImportHash returns the stored form of the hash of a password or client secret that
// another system made: argon2 in PHC form and bcrypt as they are, 88 characters of
// base64 as Symfony's salted SHA-512 (see FormatSymfonySHA512). The salt belongs to
// the last alone; OroCommerce keeps one beside every hash. It returns ErrUnknownHash
// for anything else, and for parameters out of our limits what is wrong with them.
func ImportHash(hash, salt string) (string, error) {
	if len(hash) == symfonyHashLength && hash[0] != '$' {
		hash = FormatSymfonySHA512(salt, hash)
	}
	switch _, err := parse(hash); {
	case errors.Is(err, errMalformed):
		return "", ErrUnknownHash
	case err != nil:
		return "", err
	}
	return hash, nil
}
