package oauth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// The code challenge methods (RFC 7636 section 4.3).
const (
	methodS256  = "S256"
	methodPlain = "plain"
)

// isVerifier reports whether a text has the form of a code_verifier, and so of a
// code_challenge (RFC 7636 sections 4.1 and 4.2): 43 to 128 unreserved characters.
func isVerifier(s string) bool {
	return len(s) >= 43 && len(s) <= 128 && !strings.ContainsFunc(s, func(r rune) bool {
		letter := r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9'
		return !letter && !strings.ContainsRune("-._~", r)
	})
}

// challengeOf is the code_challenge that a code_verifier answers (RFC 7636 section 4.6).
func challengeOf(verifier, method string) string {
	if method == methodPlain {
		return verifier
	}
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// checkVerifier checks the code_verifier of a token request against the challenge that
// its code was asked for with (RFC 7636 section 4.6). A verifier where there was no
// challenge is a sign of a downgrade (RFC 9700 section 2.1.1).
func (c *code) checkVerifier(given *string) error {
	switch {
	case c.Challenge == "" && given != nil && *given != "":
		return ErrVerifierUnexpected
	case c.Challenge == "":
		return nil
	case given == nil || *given == "":
		return ErrVerifierMissing
	case !isVerifier(*given):
		return ErrVerifierMalformed
	case !hmac.Equal([]byte(challengeOf(*given, c.Method)), []byte(c.Challenge)):
		return ErrVerifierWrong
	}
	return nil
}
