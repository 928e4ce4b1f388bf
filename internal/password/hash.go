package password

import (
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-crypt/crypt/algorithm/argon2"
	"github.com/go-crypt/crypt/algorithm/bcrypt"
)

// errMalformed says nothing about the content: a stored hash is never shown.
var errMalformed = errors.New("the stored password hash is malformed or of an unknown format")

// maxHashLength is longer than any stored hash we know, in bytes.
const maxHashLength = 512

// stored is a parsed stored hash.
type stored struct {
	// match computes the hash of a password and compares, in constant time.
	match  func(password string) (bool, error)
	params Params // of a full-size argon2id; zero for all others
	work   uint64 // what match costs, in KiB of argon2id
}

// decoy is the same work and never a match.
func (s stored) decoy() stored {
	match := s.match
	s.match = func(password string) (bool, error) {
		_, err := match(password)
		return false, err
	}
	return s
}

// parse reads a stored hash:
//
//	$argon2id$v=19$m=19456,t=2,p=1$salt$hash   any parameters within the limits; argon2i too
//	$2y$13$…                                   bcrypt, cost 4 to 16; $2a$ and $2b$ too
//	$symfony-sha512$i=5000$salt$hash           see FormatSymfonySHA512
//
// Each hash has one spelling; what is padded or out of its limits is an error, so
// that no damage makes a hash easier to match. A cut argon2 hash may be well-formed,
// but fits nothing: its length is part of what is hashed (RFC 9106 section 3.2).
func parse(hash string) (stored, error) {
	if len(hash) > maxHashLength {
		return stored{}, errMalformed
	}
	algorithm, _, _ := strings.Cut(strings.TrimPrefix(hash, "$"), "$")
	switch algorithm {
	case "argon2id", "argon2i":
		return parseArgon2(hash, algorithm == "argon2id")
	case "2y", "2a", "2b":
		return parseBcrypt(hash)
	case "symfony-sha512":
		return parseSymfonySHA512(hash)
	}
	return stored{}, errMalformed
}

// The sizes of an argon2 hash in bytes: ours and the least and greatest accepted.
const (
	saltSize, minSaltSize, maxSaltSize = 16, 8, 64
	keySize, minKeySize, maxKeySize    = 32, 16, 64
)

func parseArgon2(hash string, id bool) (stored, error) {
	digest, err := argon2.Decode(hash)
	if err != nil || digest.Encode() != hash {
		return stored{}, errMalformed
	}
	salt, key := len(digest.Salt()), len(digest.Key())
	if salt < minSaltSize || salt > maxSaltSize || key < minKeySize || key > maxKeySize {
		return stored{}, errMalformed
	}
	var p Params
	if _, err := fmt.Sscanf(strings.Split(hash, "$")[3], "m=%d,t=%d,p=%d", &p.MemoryKiB, &p.Time, &p.Threads); err != nil {
		return stored{}, errMalformed
	}
	if err := p.bounded(); err != nil {
		return stored{}, err
	}
	s := stored{match: digest.MatchAdvanced, work: p.work()}
	if id && salt >= saltSize && key >= keySize {
		s.params = p
	}
	return s, nil
}

// The limits of bcrypt. At cost 16 a hash takes some four seconds.
const (
	bcryptLength   = 60
	minBcryptCost  = 4
	maxBcryptCost  = 16
	bcryptAlphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	bcryptWork     = 40 // KiB of argon2id filled in the time of one round, measured
)

func parseBcrypt(hash string) (stored, error) {
	if len(hash) != bcryptLength || hash[6] != '$' || strings.Trim(hash[7:], bcryptAlphabet) != "" {
		return stored{}, errMalformed
	}
	cost, err := strconv.Atoi(hash[4:6])
	if err != nil || cost < minBcryptCost || cost > maxBcryptCost || fmt.Sprintf("%02d", cost) != hash[4:6] {
		return stored{}, errMalformed
	}
	digest, err := bcrypt.Decode(hash)
	if err != nil {
		return stored{}, errMalformed
	}
	match := func(password string) (bool, error) { return digest.MatchAdvanced(bcryptInput(password)) }
	return stored{match: match, work: bcryptWork << cost}, nil
}

// bcryptInput is what Symfony gives to bcrypt, which looks at 72 bytes only, and
// in PHP ends at a NUL: a longer password is hashed before. Without that, the
// first 72 bytes would do for the whole (CVE-2025-22228).
func bcryptInput(password string) string {
	if len(password) <= 72 && !strings.Contains(password, "\x00") {
		return password
	}
	sum := sha512.Sum512([]byte(password))
	return base64.StdEncoding.EncodeToString(sum[:])
}
