package oauth

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"regexp"
	"strings"
	"testing"
)

func testToken() RefreshToken {
	t := RefreshToken{KeyID: 7, GrantID: GrantID{1, 2, 3}, Generation: 0x01020304}
	for i := range t.Secret {
		t.Secret[i] = byte(i)
	}
	return t
}

// TestRefreshTokenFormat: one token has one spelling, and it is that of docs/rotation.md.
func TestRefreshTokenFormat(t *testing.T) {
	t.Parallel()
	keys := testKeys(t)
	text := string(keys.FormatRefreshToken(testToken()))
	if !regexp.MustCompile(`^cfr_[A-Za-z0-9_-]{102}$`).MatchString(text) {
		t.Fatalf("the spelling has %d characters or others than base64url", len(text))
	}
	raw, err := base64.RawURLEncoding.DecodeString(text[4:])
	if err != nil {
		t.Fatal(err)
	}
	want := append([]byte{1, 0, 7, 0, 1, 2, 3}, make([]byte, 13)...)
	want = append(want, 1, 2, 3, 4)
	for i := range 32 {
		want = append(want, byte(i))
	}
	if string(raw[:56]) != string(want) {
		t.Errorf("layout: got %x, want %x", raw[:56], want)
	}
	if got := binary.BigEndian.Uint32(raw[72:]); got != crc32.ChecksumIEEE(raw[:72]) {
		t.Errorf("checksum: got %x", got)
	}
	parsed, err := keys.ParseRefreshToken(Secret(text))
	if err != nil || parsed != testToken() {
		t.Errorf("parsing gives another token, or %v", err)
	}
}

// What an independent implementation of the derivations computes for testToken under a
// master key of zeros, with a salt of 9 and zeros.
const (
	vectorToken = "cfr_AQAHAAECAwAAAAAAAAAAAAAAAAABAgMEAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9XMJExLU45t76pPI4bciX3nGJeCg"
	vectorHash  = "eee53d129a020e564179bf3b7d72b09bd847e39cc8974b1cf2940bbc73057666"
	vectorNext  = "cd5e7e0d1fc298c72faed38c9fd513200119307731b1e1d742c1629c4cb5a5e3"
)

// TestRefreshTokenVectors pins the derivations: a change would log everybody out.
func TestRefreshTokenVectors(t *testing.T) {
	t.Parallel()
	keys := testKeys(t)
	token := testToken()
	hash, _ := keys.hash(7, token.GrantID, token.Generation, token.Secret)
	next, _ := keys.next(7, token.GrantID, token.Generation+1, [32]byte{9}, token.Secret)
	for _, v := range []struct{ what, got, want string }{
		{"token", string(keys.FormatRefreshToken(token)), vectorToken},
		{"hash", fmt.Sprintf("%x", hash[:]), vectorHash},
		{"successor", fmt.Sprintf("%x", next[:]), vectorNext},
	} {
		if v.got != v.want {
			t.Errorf("%s: got %s, want %s", v.what, v.got, v.want)
		}
	}
}

// TestRefreshTokenForgery: every changed bit, and every other spelling, is refused
// without asking anybody (P0, I8).
func TestRefreshTokenForgery(t *testing.T) {
	t.Parallel()
	keys := testKeys(t)
	text := string(keys.FormatRefreshToken(testToken()))
	raw, _ := base64.RawURLEncoding.DecodeString(text[4:])
	refused := func(what, text string) {
		t.Helper()
		if _, err := keys.ParseRefreshToken(Secret(text)); !errors.Is(err, ErrRefreshTokenMalformed) {
			t.Errorf("%s: got %v, want a refusal", what, err)
		}
	}
	for bit := range len(raw) * 8 {
		forged := append([]byte{}, raw...)
		forged[bit/8] ^= 1 << (bit % 8)
		refused(fmt.Sprintf("bit %d", bit), "cfr_"+base64.RawURLEncoding.EncodeToString(forged))
		binary.BigEndian.PutUint32(forged[72:], crc32.ChecksumIEEE(forged[:72]))
		if bit < 72*8 {
			refused(fmt.Sprintf("bit %d with its checksum mended", bit), "cfr_"+base64.RawURLEncoding.EncodeToString(forged))
		}
	}
	last := text[len(text)-1]
	alphabet := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	padded := string(alphabet[strings.IndexByte(alphabet, last)|1])
	for what, other := range map[string]string{
		"empty": "", "prefix only": "cfr_", "no prefix": text[4:], "other prefix": "CFR_" + text[4:], "upper case": strings.ToUpper(text),
		"truncated": text[:105], "appended": text + "A", "padding": text + "==", "leading space": " " + text, "line break inside": text[:50] + "\n" + text[50:],
		"line break instead of a character": text[:50] + "\n" + text[51:], "padding bits": text[:105] + padded,
		"standard alphabet": strings.NewReplacer("-", "+", "_", "/").Replace(text), "NUL": text[:105] + "\x00",
	} {
		if other != text {
			refused(what, other)
		}
	}
}

// TestRefreshTokenMissingKey: a token under a key that the installation has and this
// node lacks is our fault, and no forgery that would log a client out.
func TestRefreshTokenMissingKey(t *testing.T) {
	t.Parallel()
	keys := testKeys(t)
	token := testToken()
	token.KeyID = 3
	text := keys.FormatRefreshToken(token)
	only, err := ParseKeys("7 " + strings.Repeat("A", 43))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := only.ParseRefreshToken(text); !errors.Is(err, ErrRefreshTokenMalformed) {
		t.Errorf("a key nobody knows: got %v, want a refusal", err)
	}
	var refusal *Refusal
	if _, err := only.Missing([]uint16{3}).ParseRefreshToken(text); err == nil || errors.As(err, &refusal) {
		t.Errorf("a key that is missing here: got %v, want a fault", err)
	}
}

// TestSecretsDoNotPrint: no verb shows a token, a secret or a grant's inner id.
func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	token := testToken()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		for _, value := range []any{Secret("hunter2"), token.Secret, token.GrantID, BasicCredentials{ID: "id", Secret: "hunter2"}, struct{ T RefreshToken }{token}} {
			text := fmt.Sprintf(verb, value)
			if strings.Contains(text, "hunter2") || strings.Contains(text, "68756e74657232") || strings.Contains(strings.ToLower(text), "0102") || strings.Contains(text, "1 2 3") {
				t.Errorf("%s of %T prints %s", verb, value, text)
			}
		}
	}
}

// FuzzParseRefreshToken: whatever is accepted is spelled exactly as we spell it.
func FuzzParseRefreshToken(f *testing.F) {
	keys := testKeys(f)
	text := string(keys.FormatRefreshToken(testToken()))
	f.Add(text)
	f.Add(text[:100])
	f.Add("cfr_" + strings.Repeat("A", 102))
	f.Fuzz(func(t *testing.T, text string) {
		token, err := keys.ParseRefreshToken(Secret(text))
		if err == nil && string(keys.FormatRefreshToken(token)) != text {
			t.Errorf("%q is accepted as a second spelling", text)
		}
	})
}
