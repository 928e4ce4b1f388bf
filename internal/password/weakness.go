package password

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/trustelem/zxcvbn"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

const (
	minCharacters = 8  // NIST SP 800-63B section 5.1.1.1
	minScore      = 3  // of zxcvbn's 0 to 4: safe against guessing at a slow hash
	maxEstimated  = 32 // bytes that zxcvbn sees, 0.1 s at worst: its time grows faster than the length
	maxInputs     = 16
)

// The ways in which a password is weak. ErrPasswordWeak is about one of them.
const (
	WeakShort     = "short"     // fewer than 8 characters
	WeakGuessable = "guessable" // easy to guess
	WeakLong      = "long"      // longer than is looked at
)

// sentences word them, about "it".
var sentences = map[string]string{WeakShort: "It is shorter than 8 characters.", WeakGuessable: "It is easy to guess."}

// Weakness returns why a password is weak, as a sentence about "it", or "". It is
// weak with fewer than 8 characters, or when zxcvbn finds it easy to guess, also
// from what is known of its owner: userInputs, such as username and e-mail
// address. A warning may quote the sentence; it shows nothing of the password.
func Weakness(s oauth.Secret, userInputs ...string) string {
	return sentences[weakness(s, userInputs...)]
}

// weakness returns in which way a password is weak, or "".
func weakness(s oauth.Secret, userInputs ...string) string {
	if utf8.RuneCountInString(string(s)) < minCharacters {
		return WeakShort
	}
	seen := string(s[:min(len(s), maxEstimated)])
	if zxcvbn.PasswordStrength(seen, words(userInputs)).Score < minScore {
		return WeakGuessable
	}
	return ""
}

// words returns the inputs, and the words in them.
func words(inputs []string) []string {
	var list []string
	for _, input := range inputs {
		input = input[:min(len(input), maxEstimated)]
		list = append(list, input)
		list = append(list, strings.FieldsFunc(input, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })...)
	}
	return list[:min(len(list), maxInputs)]
}
