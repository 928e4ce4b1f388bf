package password

import (
	"encoding/base64"
	"strings"
	"testing"
)

// FuzzSymfonySHA512: what Symfony stored for a password and a salt fits that
// password and no other, whatever bytes the two consist of.
func FuzzSymfonySHA512(f *testing.F) {
	f.Add("password", "salt", "passwort")
	f.Add("", "", "x")
	f.Add("p{s}", "", "p")
	f.Add("p", "$\x00{}", "p\x00")
	f.Fuzz(func(t *testing.T, password, salt, other string) {
		sum := symfonySHA512(password, salt)
		s, err := parse(FormatSymfonySHA512(salt, base64.StdEncoding.EncodeToString(sum[:])))
		if err != nil {
			if len(FormatSymfonySHA512(salt, base64.StdEncoding.EncodeToString(sum[:]))) <= maxHashLength {
				t.Fatalf("the hash of %q with salt %q: %v", password, salt, err)
			}
			return
		}
		if fits, err := s.match(password); !fits || err != nil {
			t.Errorf("%q with salt %q does not fit: %v", password, salt, err)
		}
		if fits, _ := s.match(other); fits && other != password {
			t.Errorf("%q fits the hash of %q", other, password)
		}
	})
}

// FuzzBcryptInput: bcrypt gets no more than it looks at, and no NUL, at which PHP's ends.
func FuzzBcryptInput(f *testing.F) {
	for _, seed := range []string{"", "password", "a\x00b", string(make([]byte, 73)), strings.Repeat("x", 72), strings.Repeat("x", 73)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, password string) {
		in := bcryptInput(password)
		plain := in == password
		for i := range len(in) {
			if in[i] == 0 {
				t.Errorf("%q: NUL", password)
			}
		}
		if plain && len(in) > 72 || !plain && len(in) != 88 {
			t.Errorf("%q: %d bytes", password, len(in))
		}
	})
}
