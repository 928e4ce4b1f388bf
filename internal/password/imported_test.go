package password

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

// TestImportHash: a hash that is taken over fits its password, and no other.
func TestImportHash(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ hash, salt, password string }{
		{"jTUDD3wJAPayMk2hYkOGhTJDG/jhKS/AyKOJvqo7LA901kSw2LVLcykzj3FY6ZTikywAFFLeBJ2pYoBcxNc4WQ==", "0123456789abcdefghijklmnopqrstuvwxyzABCDE", "s3cret"},
		{"$2y$04$AbCdEfGhIjKlMnOpQrStUu2rhWvYTqbrQ8aNNAbNCAxARwNJXG/aO", "not its salt", ""},
		{"$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$" + base64.RawStdEncoding.EncodeToString(make([]byte, 32)), "not its salt", ""},
		{"$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$" + base64.RawStdEncoding.EncodeToString(make([]byte, 32)), "", ""},
	} {
		got, err := ImportHash(test.hash, test.salt)
		if err != nil {
			t.Errorf("%s: %v", test.hash, err)
			continue
		}
		s, err := parse(got)
		if err != nil {
			t.Fatalf("%s became %s, which is malformed: %v", test.hash, got, err)
		}
		if strings.HasPrefix(test.hash, "$") && got != test.hash {
			t.Errorf("%s became %s", test.hash, got)
		}
		if test.password == "" {
			continue
		}
		if fits, err := s.match(test.password); !fits || err != nil {
			t.Errorf("%s with salt %q: the password does not fit: %v", test.hash, test.salt, err)
		}
		if fits, _ := s.match(test.password + "x"); fits {
			t.Errorf("%s with salt %q: another password fits", test.hash, test.salt)
		}
	}
}

// TestImportHashRefuses: what nobody could verify is not taken over, and not repeated.
func TestImportHashRefuses(t *testing.T) {
	t.Parallel()
	for _, hash := range []string{
		"", "a password", "jTUDD3wJAPayMk2hYkOGhTJDG", strings.Repeat("=", 88), "$" + strings.Repeat("A", 85) + "==",
		"$2x$04$AbCdEfGhIjKlMnOpQrStUu2rhWvYTqbrQ8aNNAbNCAxARwNJXG/aO", "$1$salt$hash", "$5$rounds=5000$salt$hash",
		"$argon2d$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAA", "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$",
		" $2y$04$AbCdEfGhIjKlMnOpQrStUu2rhWvYTqbrQ8aNNAbNCAxARwNJXG/aO", "$counterfoil$1$AAAA",
	} {
		if got, err := ImportHash(hash, "salt"); !errors.Is(err, ErrUnknownHash) || got != "" {
			t.Errorf("%q: got %q and error %v", hash, got, err)
		}
	}
	dear := "$argon2id$v=19$m=4194304,t=4,p=1$c29tZXNhbHRzb21lc2FsdA$" + base64.RawStdEncoding.EncodeToString(make([]byte, 32))
	if got, err := ImportHash(dear, ""); err == nil || errors.Is(err, ErrUnknownHash) || !strings.Contains(err.Error(), "4194304 KiB") || got != "" {
		t.Errorf("a hash of 4 GiB: got %q and error %v", got, err)
	}
}

// FuzzImportHash: what is taken over can be verified, and says nothing when it is not.
func FuzzImportHash(f *testing.F) {
	f.Add("jTUDD3wJAPayMk2hYkOGhTJDG/jhKS/AyKOJvqo7LA901kSw2LVLcykzj3FY6ZTikywAFFLeBJ2pYoBcxNc4WQ==", "salt")
	f.Add("$2y$04$AbCdEfGhIjKlMnOpQrStUu2rhWvYTqbrQ8aNNAbNCAxARwNJXG/aO", "")
	f.Add("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAA", "x")
	f.Add(strings.Repeat("A", 86)+"==", strings.Repeat("s", 500))
	f.Fuzz(func(t *testing.T, hash, salt string) {
		got, err := ImportHash(hash, salt)
		if err != nil {
			if len(hash) > 20 && strings.Contains(err.Error(), hash) {
				t.Errorf("%q is in the error %v", hash, err)
			}
			return
		}
		if _, err := parse(got); err != nil {
			t.Errorf("%q with salt %q became %q: %v", hash, salt, got, err)
		}
	})
}
