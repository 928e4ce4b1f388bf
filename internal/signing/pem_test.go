package signing

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func readKey(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".pem"))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestParsePEM(t *testing.T) {
	t.Parallel()
	tests := []struct{ file, alg string }{
		{"rsa_pkcs8", RS256},
		{"rsa_pkcs1", RS256},
		{"p256_sec1", ES256},
		{"p256_pkcs8", ES256},
		{"ed25519", EdDSA},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			t.Parallel()
			key, err := parsePEM(readKey(t, tt.file))
			if err != nil {
				t.Fatal(err)
			}
			if got := naturalAlg(key); got != tt.alg {
				t.Errorf("a key for %q, want %q", got, tt.alg)
			}
		})
	}
}

func TestParsePEMRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ file, want string }{
		{"rsa_2047", "the RSA key has 2047 bits: at least 2048 are needed"},
		{"rsa_1024", "the RSA key has 1024 bits: at least 2048 are needed"},
		{"rsa_512", "2048"},
		{"p384", "the EC key is on the curve P-384: only P-256 is supported"},
		{"secp256k1", "not supported"},
		{"x25519", "not supported"},
		{"encrypted_pkcs8", "encrypted with a passphrase"},
		{"encrypted_pkcs1", "encrypted with a passphrase"},
		{"openssh", "OpenSSH"},
		{"public", "no private key"},
		{"two_keys", "more than one private key"},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			t.Parallel()
			if _, err := parsePEM(readKey(t, tt.file)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
	damaged := strings.Replace(string(readKey(t, "rsa_pkcs8")), "MII", "MIJ", 1)
	if _, err := parsePEM([]byte(damaged)); !errors.Is(err, errUnreadableKey) {
		t.Errorf("a damaged key: %v", err)
	}
	if _, err := parsePEM(nil); !errors.Is(err, errNoPrivateKey) {
		t.Errorf("an empty file: %v", err)
	}
}

func FuzzParsePEM(f *testing.F) {
	for _, name := range []string{"rsa_pkcs8", "rsa_pkcs1", "p256_sec1", "ed25519", "encrypted_pkcs1", "openssh"} {
		f.Add(readKey(f, name))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := parsePEM(text)
		if err == nil && naturalAlg(key) == "" {
			t.Errorf("took a key that fits no algorithm: %T", key)
		}
	})
}
