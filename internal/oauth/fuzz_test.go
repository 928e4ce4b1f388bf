package oauth

import (
	"encoding/base64"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzScope: a scope is read as the set of its tokens, comes back as it was read,
// and is valid exactly where RFC 6749 section 3.3 says so.
func FuzzScope(f *testing.F) {
	for _, seed := range []string{"", "read", "read write read", "  read  ", "a\tb", "a\"b", "é", "\x00"} {
		f.Add(seed)
	}
	token := regexp.MustCompile(`^[\x21\x23-\x5B\x5D-\x7E]+$`)
	f.Fuzz(func(t *testing.T, text string) {
		s := ParseScope(text)
		if again := ParseScope(s.String()); s == nil || !slices.Equal(again, s) {
			t.Errorf("%q is read as %q, and that as %q", text, s, again)
		}
		valid := true
		for i, one := range s {
			valid = valid && token.MatchString(one)
			if one == "" || slices.Contains(s[:i], one) || !slices.Contains(strings.Split(text, " "), one) {
				t.Errorf("%q has %q in it", text, one)
			}
		}
		if s.Valid() != valid {
			t.Errorf("%q is valid: %v", text, s.Valid())
		}
		bounded, err := boundedScope(splitScope(text))
		if err == nil && (len(bounded) > maxScopeTokens || !slices.Equal(bounded, s)) {
			t.Errorf("%q is asked for as %q", text, bounded)
		}
	})
}

// FuzzParseKeys: a master key file has lines that a strict reader takes too, each key
// once, and an error does not show what it says.
func FuzzParseKeys(f *testing.F) {
	key := strings.Repeat("A", 43)
	for _, seed := range []string{
		"1 " + key, "# comment\n\n7 " + key + "\r\n3 " + key, "0 " + key, "65536 " + key, "1 " + key + "=", "1 " + key[1:] + "B",
		"1 " + key + "\n1 " + key, "+1 " + key, "01 " + key, "1\t" + key, "1 " + key[:20] + "\r" + key[20:], "",
	} {
		f.Add(seed)
	}
	line := regexp.MustCompile(`^\d+\s+[A-Za-z0-9_-]{43}$`)
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := ParseKeys(text)
		if err != nil {
			if long := regexp.MustCompile(`[A-Za-z0-9_-]{20}`).FindString(text); long != "" && strings.Contains(err.Error(), long) {
				t.Errorf("the error shows %q", long)
			}
			return
		}
		lines := slices.DeleteFunc(strings.Split(text, "\n"), func(s string) bool {
			s = strings.TrimSpace(s)
			return s == "" || s[0] == '#'
		})
		ids := keys.IDs()
		if len(ids) != len(lines) || len(keys.keys) != len(ids) || keys.Active() != ids[0] || slices.Contains(ids, 0) {
			t.Errorf("%q has the keys %d", text, ids)
		}
		for _, s := range lines {
			if !line.MatchString(strings.TrimSpace(s)) {
				t.Errorf("took the line %q", s)
			}
		}
	})
}

// FuzzClaims: what strangers named comes back out of the claims unchanged, and adds
// no claim.
func FuzzClaims(f *testing.F) {
	for _, seed := range []string{"", "user", `"}`, `\`, "é🔑", "\u2028<>&", "\x00\x1f\x7f"} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, one, other string) {
		if !utf8.ValidString(one) || !utf8.ValidString(other) {
			one, other = strings.ToValidUTF8(one, "?"), strings.ToValidUTF8(other, "?")
		}
		var b claims
		b.text("sub", one).list("scopes", []string{one, other}, false).audienceOf([]string{other}, "issuer").number("gen", 7)
		text := b.object()
		var got map[string]any
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		scopes, _ := got["scopes"].([]any)
		if len(got) != 4 || got["sub"] != one || got["aud"] != other || got["gen"] != 7.0 || !slices.Equal(scopes, []any{one, other}) {
			t.Errorf("%q and %q became %s", one, other, text)
		}
	})
}

// FuzzVerifyClientSecret: of the stored forms of a generated secret, only its own fits.
func FuzzVerifyClientSecret(f *testing.F) {
	keys := testKeys(f)
	const secret Secret = "a secret"
	stored := keys.HashClientSecret(secret)
	for _, seed := range []string{stored, keys.hashClientSecret(3, secret), "", "$hmac-sha256$", "$hmac-sha256$07$" + stored[len("$hmac-sha256$7$"):], stored + "\n", "$hmac-sha256$65536$"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, hash string) {
		fits, err := keys.verifyClientSecret(hash, secret)
		if fits && (err != nil || hash != stored && hash != keys.hashClientSecret(3, secret)) {
			t.Errorf("the secret fits %q too", hash)
		}
		if id, ok := SecretKeyID(hash); ok && (!IsGeneratedSecretHash(hash) || err == nil && id != 7 && id != 3) {
			t.Errorf("%q is under key %d", hash, id)
		}
	})
}

// FuzzParseCode: an authorization code is one that we made, in the one spelling that we
// made it in.
func FuzzParseCode(f *testing.F) {
	keys, err := ParseKeys("1 " + strings.Repeat("A", 43))
	if err != nil {
		f.Fatal(err)
	}
	uri := "https://app.example.com/cb"
	made, err := keys.formatCode(code{GrantID: GrantID{1}, Secret: RefreshSecret{2}, RedirectURI: &uri, Challenge: "challenge", Method: methodS256})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{string(made), string(made) + "\n", string(made) + "=", strings.ToUpper(string(made)), "cfc_", "cfc_AAE", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := keys.parseCode(Secret(text))
		if err != nil {
			return
		}
		raw, _ := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(text, codePrefix))
		if text != codePrefix+base64.RawURLEncoding.EncodeToString(raw) || c.GrantID != (GrantID{1}) || c.Secret != (RefreshSecret{2}) || *c.RedirectURI != uri {
			t.Errorf("took %q", text)
		}
	})
}
