package admin

import (
	"net/url"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// FuzzClientID: a client id has the characters of RFC 6749 appendix A.1 but the space.
func FuzzClientID(f *testing.F) {
	for _, seed := range []string{"", "client", "a b", "é", "\x7f", strings.Repeat("x", 255), strings.Repeat("x", 256), "x\n"} {
		f.Add(seed)
	}
	allowed := regexp.MustCompile(`\A[\x21-\x7E]{1,255}\z`)
	f.Fuzz(func(t *testing.T, id string) {
		if err := checkClientID(&oauth.Client{ID: id}); (err == nil) != allowed.MatchString(id) {
			t.Errorf("%q: %v", id, err)
		}
	})
}

// FuzzName: a name can be shown in one line, and an e-mail address is such a name that
// means one address.
func FuzzName(f *testing.F) {
	for _, seed := range []string{"", "user", "user@example.com", "A <a@example.com>", "a@example.com, b@example.com", "é@例え.jp", "a\u0085b", "\xff", "\x1b[2J", `"a b"@example.com`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if isName(s) && (s == "" || len(s) > 255 || !utf8.ValidString(s) || strings.IndexFunc(s, unicode.IsControl) >= 0) {
			t.Errorf("%q is a name", s)
		}
		if isEmail(s) && (!isName(s) || len(s) > 254 || !strings.Contains(strings.Trim(s, "@"), "@") || strings.ContainsAny(s, "<>\r\n") && !strings.Contains(s, `"`)) {
			t.Errorf("%q is an e-mail address", s)
		}
	})
}

// FuzzRedirectURI: a redirection URI is absolute, has no fragment, is no script, and
// goes where it seems to go.
func FuzzRedirectURI(f *testing.F) {
	for _, seed := range []string{
		"https://client.example/cb?x=y", "com.example.app:/cb", "JavaScript:alert(1)", "https:///x", "https://x#", "http://:80/", "//x", "https://a\\@b/", "data:text/html,x", "x:",
		"https://%00/", "https://a b/", "\tjavascript:x", "java\nscript:x", "https:x", "urn:ietf:wg:oauth:2.0:oob",
	} {
		f.Add(seed)
	}
	scheme := regexp.MustCompile(`\A[A-Za-z][A-Za-z0-9+.-]*:`)
	f.Fuzz(func(t *testing.T, text string) {
		if checkRedirectURIs(&oauth.Client{RedirectURIs: []string{text}}) != nil {
			return
		}
		u, err := url.Parse(text)
		if err != nil || !scheme.MatchString(text) || u.Fragment != "" || strings.Contains(text, "#") {
			t.Fatalf("took %q: %v", text, err)
		}
		switch name, _, _ := strings.Cut(text, ":"); strings.ToLower(name) {
		case "javascript", "data", "vbscript":
			t.Errorf("took the script %q", text)
		case "http", "https":
			if u.Hostname() == "" {
				t.Errorf("took %q without a host", text)
			}
		}
		if strings.IndexFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0 {
			t.Errorf("took %q", text)
		}
	})
}
