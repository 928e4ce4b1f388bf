package password

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	xargon2 "golang.org/x/crypto/argon2"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// Hashes made by PHP 8.2: password_hash, crypt and sodium_crypto_pwhash_str; the
// Symfony ones by the loop of its MessageDigestPasswordHasher.
const (
	staple       = "correct horse battery staple"
	phpBcrypt    = "$2y$04$546I/G9JemlwqaGOC7z2WOdtQXewJAIzGuev.xJIEuxU8DlQCgiZq"
	phpBcrypt2b  = "$2b$04$abcdefghijklmnopqrstuu7EJV7kdjBBQxyb0HjTh9KS7.Lah/6CG"
	phpBcrypt2a  = "$2a$04$abcdefghijklmnopqrstuu7EJV7kdjBBQxyb0HjTh9KS7.Lah/6CG"
	phpBcryptUTF = "$2y$04$SsLyM2T9wpXH50q1ipKJ1uxOmhemKQjVwGWb/9FCtLwiY4K8BQpju" // pässwörd–€
	phpBcrypt72  = "$2y$04$f1Z8uYnHjAOT494h1AB/LOWq7TWtO8ydXPr3nPxjO2u5Hth4nyalq" // 72 times x
	symfonyLong  = "$2y$04$V8fxZ6uvmZ7CEbjHdq5SP.38P.cdXeZFPTZzOagX.8XoTYE7Xf.p2" // 8 times 0123456789, hashed before
	symfonyNUL   = "$2y$04$BjFZrcRFsO6OHEDP1bIo2uOSEd0y1/94cVvvntvjssrcuR/zvczx2" // secret NUL tail, hashed before
	phpArgon2id  = "$argon2id$v=19$m=8192,t=1,p=1$bmEzd3Q5S3JnVkFWWk8yRA$V2t2MhPYQGEVEimJcWb2zYt0FSo0SfsRT39VFUxsxEM"
	phpArgon2id3 = "$argon2id$v=19$m=8192,t=2,p=3$UWNJUVNlcmV5Z2UuaUluUw$+jSkPo7I7cpiGnAjUaZlz9QZCg9poQw7q9tPtXPfk1Q"
	phpArgon2i   = "$argon2i$v=19$m=8192,t=3,p=1$elo5b0R1QU5mdHFEblY2eg$nMI7my+8RcSTV4fBcgmBnWWaRiY97iFbCAVOnvydy7w"
	sodium       = "$argon2id$v=19$m=65536,t=4,p=1$QKFovoyPJZjwKOFi3OpFwQ$x2rpe2mQxRxm2tyCsQruopjW7Rs3sf/LfQoaVtZ9y+M"

	symfonySalt     = "0123456789abcdefghijklmnopqrstuvwxyzABCDE"
	symfonyHash     = "jTUDD3wJAPayMk2hYkOGhTJDG/jhKS/AyKOJvqo7LA901kSw2LVLcykzj3FY6ZTikywAFFLeBJ2pYoBcxNc4WQ=="
	symfonyUnsalted = "hoD5nCKgkQu84IOSOXkTxcdrvv394ysnLA6LSku4tAUcyeP29iMc00d6TYa4Ln2KpMfJE3SwedOxz77UzBXiLw=="
)

func TestVerify(t *testing.T) {
	t.Parallel()
	h := newHasher(t, 2, 1000, rand.Reader)
	x72 := strings.Repeat("x", 72)
	longest := strings.Repeat("x", 4096)
	salted := FormatSymfonySHA512(symfonySalt, symfonyHash)
	bare := func(password string) string {
		sum := symfonySHA512(password, "")
		return FormatSymfonySHA512("", base64.StdEncoding.EncodeToString(sum[:]))
	}
	for _, c := range []struct {
		name, hash string
		password   oauth.Secret
		want       bool
	}{
		{"2y", phpBcrypt, staple, true},
		{"2y, another password", phpBcrypt, staple + " ", false},
		{"2y, empty", phpBcrypt, "", false},
		{"2b", phpBcrypt2b, staple, true},
		{"2a", phpBcrypt2a, staple, true},
		{"2y, not ASCII", phpBcryptUTF, "pässwörd–€", true},
		{"2y, 72 bytes", phpBcrypt72, oauth.Secret(x72), true},
		{"2y, 73 bytes of which the first 72 fit (CVE-2025-22228)", phpBcrypt72, oauth.Secret(x72 + "y"), false},
		{"2y, long, as Symfony hashes it", symfonyLong, oauth.Secret(strings.Repeat("0123456789", 8)), true},
		{"2y, long, another end", symfonyLong, oauth.Secret(strings.Repeat("0123456789", 7) + "0123456780"), false},
		{"2y, long, cut", symfonyLong, oauth.Secret(strings.Repeat("0123456789", 8)[:72]), false},
		{"2y, with NUL, as Symfony hashes it", symfonyNUL, "secret\x00tail", true},
		{"2y, with NUL, another tail", symfonyNUL, "secret\x00tale", false},
		{"2y, with NUL, cut there", symfonyNUL, "secret", false},
		{"2y, NUL appended", phpBcrypt, staple + "\x00", false},
		{"argon2id", phpArgon2id, staple, true},
		{"argon2id, another password", phpArgon2id, "correct horse battery stapl", false},
		{"argon2id, empty", phpArgon2id, "", false},
		{"argon2id, cut", phpArgon2id[:len(phpArgon2id)-3], staple, false},
		{"argon2id, 3 lanes", phpArgon2id3, staple, true},
		{"argon2i", phpArgon2i, staple, true},
		{"argon2id of libsodium", sodium, staple, true},
		{"Symfony SHA-512", salted, "s3cret", true},
		{"Symfony SHA-512, another password", salted, "s3creT", false},
		{"Symfony SHA-512, another salt", FormatSymfonySHA512("x"+symfonySalt, symfonyHash), "s3cret", false},
		{"Symfony SHA-512, no salt", FormatSymfonySHA512("", symfonyUnsalted), "s3cret", true},
		{"4096 bytes", bare(longest), oauth.Secret(longest), true},
		{"4097 bytes", bare(longest + "x"), oauth.Secret(longest + "x"), false},
		{"4097 bytes of which the first 4096 fit", bare(longest), oauth.Secret(longest + "x"), false},
		{"empty", bare(""), "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ok, outdated, err := h.Verify(t.Context(), c.hash, c.password)
			if err != nil {
				t.Fatal(err)
			}
			if ok != c.want || outdated != c.want {
				t.Errorf("Verify of %s: fits %v, outdated %v; want both %v", c.hash, ok, outdated, c.want)
			}
		})
	}
}

func TestVerifyMalformed(t *testing.T) {
	t.Parallel()
	h := newHasher(t, 1, 1, rand.Reader)
	for _, hash := range []string{
		"", "$", "plain", staple, "$1$abcdefgh$abcdefghijklmnopqrstuv", "$hmac-sha256$1$AAAA", "$argon2d" + strings.TrimPrefix(phpArgon2i, "$argon2i"),
		"x" + phpArgon2id, strings.TrimPrefix(phpArgon2id, "$"), phpArgon2id + "$", phpArgon2id + "\n", phpArgon2id + "=",
		strings.Replace(phpArgon2id, "v=19", "v=16", 1), strings.Replace(phpArgon2id, "$v=19", "", 1),
		strings.Replace(phpArgon2id, "m=8192", "m=08192", 1), strings.Replace(phpArgon2id, "m=8192,", "", 1),
		strings.Replace(phpArgon2id, "t=1", "t=0", 1), strings.Replace(phpArgon2id, "p=1", "p=0", 1), strings.Replace(phpArgon2id, "p=1", "p=257", 1),
		strings.Replace(phpArgon2id, "p=1", "p=65", 1), strings.Replace(phpArgon2id3, "m=8192", "m=23", 1),
		strings.Replace(phpArgon2id, "m=8192", "m=1048577", 1), strings.Replace(phpArgon2id, "m=8192", "m=4294967295", 1), // RAM
		strings.Replace(phpArgon2id, "m=8192,t=1", "m=1048576,t=5", 1), strings.Replace(phpArgon2id, "t=1", "t=4294967295", 1), // time
		"$argon2id$v=19$m=8192,t=1,p=1$bmEzd3Q5S3JnVkFWWk8yRA$V2t2", "$argon2id$v=19$m=8192,t=1,p=1$bmEz$V2t2MhPYQGEVEimJcWb2zYt0FSo0SfsRT39VFUxsxEM",
		"$argon2id$v=19$m=8192,t=1,p=1$bmEzd3Q5S3JnVkFWWk8yRA$",
		phpBcrypt[:59], phpBcrypt + "a", strings.Replace(phpBcrypt, "$2y$", "$2x$", 1), strings.Replace(phpBcrypt, "$2y$", "$2$", 1),
		strings.Replace(phpBcrypt, "$04$", "$03$", 1), strings.Replace(phpBcrypt, "$04$", "$17$", 1), strings.Replace(phpBcrypt, "$04$", "$31$", 1),
		strings.Replace(phpBcrypt, "$04$", "$+4$", 1), strings.Replace(phpBcrypt, "546I", "54\n6", 1), strings.Replace(phpBcrypt, "546I", "54$6", 1),
		phpBcrypt[:58] + "=q", phpBcrypt[:58] + "\nq",
		symfonyHash, FormatSymfonySHA512(symfonySalt, ""), FormatSymfonySHA512(symfonySalt, symfonyHash[:86]),
		FormatSymfonySHA512(symfonySalt, symfonyHash+"="), FormatSymfonySHA512(symfonySalt, symfonyHash[:80]+"\n"+symfonyHash[80:]),
		FormatSymfonySHA512(symfonySalt, "AAAA"), strings.Replace(FormatSymfonySHA512(symfonySalt, symfonyHash), "i=5000", "i=1", 1),
		FormatSymfonySHA512(strings.Repeat("s", 400), symfonyHash),
		strings.Repeat("$argon2id", 1000),
	} {
		ok, outdated, err := h.Verify(t.Context(), hash, staple)
		if ok || outdated || err == nil {
			t.Errorf("Verify of %q: fits %v, outdated %v, error %v; want an error", hash, ok, outdated, err)
			continue
		}
		if refusal := new(oauth.Refusal); errors.As(err, &refusal) {
			t.Errorf("Verify of %q: refusal %v; want a fault", hash, err)
		}
		if len(hash) > 20 && strings.Contains(err.Error(), hash[len(hash)-8:]) {
			t.Errorf("the error shows the hash: %v", err)
		}
	}
	if n := h.Computed(); n != 0 {
		t.Errorf("%d hashes were computed for malformed ones; want 0", n)
	}
}

func TestHash(t *testing.T) {
	t.Parallel()
	h, err := NewHasher(Params{MemoryKiB: 7 << 10, Time: 2, Threads: 3}, 1, 1, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	first, second := hash(t, h, staple), hash(t, h, staple)
	if first == second {
		t.Error("two hashes of one password are equal: the salt is not fresh")
	}
	fields := strings.Split(first, "$") // memory is a multiple of 4 KiB per lane
	if len(fields) != 6 || fields[1] != "argon2id" || fields[2] != "v=19" || fields[3] != "m=7164,t=2,p=3" {
		t.Fatalf("hash is %s; want $argon2id$v=19$m=7164,t=2,p=3$salt$hash", first)
	}
	salt, err := base64.RawStdEncoding.DecodeString(fields[4])
	if err != nil || len(salt) != 16 {
		t.Errorf("salt %s has %d bytes (%v); want 16", fields[4], len(salt), err)
	}
	if want := base64.RawStdEncoding.EncodeToString(xargon2.IDKey([]byte(staple), salt, 2, 7164, 3, 32)); fields[5] != want {
		t.Errorf("hash is %s; golang.org/x/crypto has %s", fields[5], want)
	}
	ok, outdated, err := h.Verify(t.Context(), first, staple)
	if !ok || outdated || err != nil {
		t.Errorf("Verify of a new hash: fits %v, outdated %v, error %v; want true, false, nil", ok, outdated, err)
	}
}

func TestHashLength(t *testing.T) {
	t.Parallel()
	h := newHasher(t, 1, 1, rand.Reader)
	for length, want := range map[int]error{0: ErrLength, 1: nil, 4096: nil, 4097: ErrLength} {
		if _, err := h.Hash(t.Context(), oauth.Secret(strings.Repeat("x", length))); !errors.Is(err, want) {
			t.Errorf("Hash of %d bytes: error %v; want %v", length, err, want)
		}
	}
}

func TestOutdated(t *testing.T) {
	t.Parallel()
	encode := base64.RawStdEncoding.EncodeToString
	for _, made := range []Params{{7168, 1, 1}, {8192, 1, 1}, {7168, 2, 1}, {7168, 1, 2}} {
		maker, err := NewHasher(made, 1, 1, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		ok, outdated, err := newHasher(t, 1, 1, rand.Reader).Verify(t.Context(), hash(t, maker, staple), staple)
		if want := made != cheap; !ok || outdated != want || err != nil {
			t.Errorf("Verify of %+v with %+v: fits %v, outdated %v, error %v; want true, %v, nil", made, cheap, ok, outdated, err, want)
		}
	}
	for name, hash := range map[string]string{
		"a salt of 8 bytes": "$argon2id$v=19$m=7168,t=1,p=1$MTIzNDU2Nzg$" + encode(xargon2.IDKey([]byte(staple), []byte("12345678"), 1, 7168, 1, 32)),
		"a key of 16 bytes": "$argon2id$v=19$m=7168,t=1,p=1$MTIzNDU2NzgxMjM0NTY3OA$" + encode(xargon2.IDKey([]byte(staple), []byte("1234567812345678"), 1, 7168, 1, 16)),
		"argon2i":           "$argon2i$v=19$m=7168,t=1,p=1$MTIzNDU2NzgxMjM0NTY3OA$" + encode(xargon2.Key([]byte(staple), []byte("1234567812345678"), 1, 7168, 1, 32)),
	} {
		ok, outdated, err := newHasher(t, 1, 1, rand.Reader).Verify(t.Context(), hash, staple)
		if !ok || !outdated || err != nil {
			t.Errorf("Verify of %s: fits %v, outdated %v, error %v; want true, true, nil", name, ok, outdated, err)
		}
	}
}

// One that is too long costs no more than the longest.
func TestVerifyReadsNoMoreThanTheLongest(t *testing.T) {
	t.Parallel()
	var read int
	long := stored{match: func(password string) (bool, error) {
		read = len(password)
		return true, nil
	}}
	ok, err := newHasher(t, 1, 1, rand.Reader).verify(t.Context(), long, oauth.Secret(strings.Repeat("x", 1<<20)), false)
	if ok || err != nil || read != maxLength {
		t.Errorf("a password of a megabyte: fits %v, error %v, %d bytes hashed; want false, nil, %d", ok, err, read, maxLength)
	}
}

func TestParamsValidate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		p    Params
		want string // in the error; empty: valid
	}{
		{DefaultParams(), ""},
		{cheap, ""},
		{Params{65536, 4, 1}, ""},
		{Params{1 << 20, 4, 64}, ""},
		{Params{}, "less than 7168 KiB"},
		{Params{19, 2, 1}, "19 KiB, less than 7168 KiB"},
		{Params{1<<20 + 1, 1, 1}, "more than 1048576 KiB"},
		{Params{19 << 20, 2, 1}, "more than 1048576 KiB"},
		{Params{19456, 0, 1}, "0 passes"},
		{Params{1 << 20, 5, 1}, "more than 4 GiB"},
		{Params{19456, 1 << 31, 1}, "more than 4 GiB"},
		{Params{19456, 2, 0}, "0 threads"},
		{Params{19456, 2, 65}, "65 threads"},
	} {
		err := c.p.Validate()
		if c.want == "" && err != nil {
			t.Errorf("%+v: %v; want no error", c.p, err)
		}
		if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: error %v; want one with %q", c.p, err, c.want)
		}
	}
}

func TestNewHasherErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		concurrency, queue int
		want               string
	}{
		{-1, 0, "password concurrency is -1"},
		{257, 0, "password concurrency is 257"},
		{1, -1, "password queue is -1"},
		{1, 1 << 17, "password queue is 131072"},
	} {
		if _, err := NewHasher(cheap, c.concurrency, c.queue, rand.Reader); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("NewHasher with %d and %d: error %v; want one with %q", c.concurrency, c.queue, err, c.want)
		}
	}
	if _, err := NewHasher(Params{}, 1, 1, rand.Reader); err == nil {
		t.Error("NewHasher without parameters: no error")
	}
	random := &hookedRandom{hook: func() error { return errors.New("no entropy") }}
	if _, err := NewHasher(cheap, 1, 1, random); err == nil {
		t.Error("NewHasher without randomness: no error")
	}
}

// FuzzParse looks for a stored hash that panics, costs more than its limits, or
// has a second spelling.
func FuzzParse(f *testing.F) {
	for _, hash := range []string{
		phpBcrypt, phpBcrypt2a, phpBcrypt2b, phpArgon2id, phpArgon2id3, phpArgon2i, sodium,
		FormatSymfonySHA512(symfonySalt, symfonyHash), FormatSymfonySHA512("", symfonyUnsalted), "", "$", "$2y$", "$argon2id$$$$$", symfonyPrefix,
	} {
		f.Add(hash)
	}
	f.Fuzz(func(t *testing.T, hash string) {
		s, err := parse(hash)
		if err != nil {
			return
		}
		if s.match == nil || s.work > maxWork {
			t.Fatalf("parse of %q: work %d", hash, s.work)
		}
		if strings.ContainsAny(hash, "\r\n= ") && !strings.HasPrefix(hash, "$argon2") && !strings.HasPrefix(hash, symfonyPrefix) {
			t.Fatalf("parse took %q", hash)
		}
		for _, other := range []string{hash + "\n", hash + "=", hash + "$", hash[:len(hash)-1], "x" + hash, strings.ToUpper(hash)} {
			if len(other) < len(hash) && strings.HasPrefix(hash, "$argon2") {
				continue // may be a shorter hash of its own
			}
			if _, err := parse(other); err == nil {
				t.Fatalf("parse took %q and %q", hash, other)
			}
		}
		if s.work > 1<<14 {
			return // too slow to compute here
		}
		if _, err := s.match("password"); err != nil {
			t.Fatalf("match of %q: %v", hash, err)
		}
	})
}
