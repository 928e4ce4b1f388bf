package console

import (
	"fmt"
	"html"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/language"
)

func newPages(t testing.TB, b Brand) *Pages {
	t.Helper()
	p, err := New(b, "/assets/")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const hostile = `"><script>alert(1)</script>{{.}}%s`

// everyPage renders every page in every state of one language.
func everyPage(p *Pages, code string) map[string]string {
	at := time.Date(2026, 11, 26, 2, 3, 4, 0, time.UTC)
	form := Form{Action: "/action?a=b&c=d", Hidden: []Field{{hostile, hostile}}}
	account := Account{DevicesURL: "/devices", PasswordURL: "/password", SignOut: form, SignOutEverywhere: form}
	devices := []Device{{Form: form, Name: hostile, Scope: []string{hostile, "b"}, Since: at, LastUsed: at}, {Form: form, Since: at, Current: true}}
	pages := map[string][]byte{
		"sign in":          p.SignIn(code, SignIn{Form: form}),
		"sign in, client":  p.SignIn(code, SignIn{Form: form, Client: hostile, Username: hostile}),
		"consent":          p.Consent(code, Consent{Form: form, Client: hostile, Username: hostile, RedirectTo: hostile, SwitchAccount: form}),
		"consent, one API": p.Consent(code, Consent{Form: form, Client: "Shop", Username: "alice", APIs: []string{hostile}, Scopes: []string{hostile}, RedirectTo: "x", SwitchAccount: form}),
		"consent, APIs":    p.Consent(code, Consent{Form: form, Client: "Shop", Username: "alice", APIs: []string{"a", hostile}, RedirectTo: "x", SwitchAccount: form}),
		"password":         p.Password(code, Password{Form: form, Account: account, Username: hostile}),
		"password, done":   p.Password(code, Password{Form: form, Account: account, Username: "alice", Done: true}),
		"devices":          p.Devices(code, Devices{Account: account, Username: hostile, Grants: devices[:1], Sessions: devices}),
		"devices, nothing": p.Devices(code, Devices{Account: account, Username: "alice", Ended: true}),
	}
	for _, problem := range []Problem{ProblemCredentials, ProblemThrottled, ProblemDisabled, ProblemLocked, ProblemReset, ProblemWeak, ProblemMismatch, ProblemCurrent, ProblemBusy} {
		pages["sign in, "+string(problem)] = p.SignIn(code, SignIn{Form: form, Problem: problem, RetryAfter: time.Hour})
		pages["password, "+string(problem)] = p.Password(code, Password{Form: form, Account: account, Username: "alice", Problem: problem, RetryAfter: time.Second})
	}
	for _, weakness := range []string{"short", "guessable", "long"} {
		pages["password, "+weakness] = p.Password(code, Password{Form: form, Account: account, Username: "alice", Problem: ProblemWeak, Weakness: weakness})
	}
	for _, kind := range []MessageKind{MessageBadRequest, MessageUnknownClient, MessageForbidden, MessageNotFound, MessageUnavailable, MessageSignedOut} {
		pages["message, "+string(kind)] = p.Message(code, Message{Kind: kind, Detail: hostile, RequestID: hostile})
	}
	texts := map[string]string{}
	for name, page := range pages {
		texts[name] = string(page)
	}
	return texts
}

// TestEveryPage: nothing that others typed is read as HTML, every field has a label, no
// text is missing, and nothing is in the page that its policy forbids.
func TestEveryPage(t *testing.T) {
	t.Parallel()
	p := newPages(t, Brand{})
	field := regexp.MustCompile(`<input id="([^"]*)"`)
	empty := regexp.MustCompile(`<(p|h1|h2|button|label|title|strong|li|a)\b[^>]*>\s*</`)
	for _, code := range p.languages {
		for name, page := range everyPage(p, code) {
			if strings.Contains(page, "<script") || strings.Contains(page, " style=") || strings.Contains(page, " onclick") {
				t.Errorf("%s, %s: scripts, styles, or what others typed:\n%s", code, name, page)
			}
			if !strings.Contains(page, `<html lang="`+code+`">`) || strings.Count(page, "<h1>") != 1 || strings.Count(page, "<main>") != 1 {
				t.Errorf("%s, %s: no language, heading or main part", code, name)
			}
			if found := empty.FindString(page); found != "" || strings.Contains(page, "%!") {
				t.Errorf("%s, %s: a text is missing: %s\n%s", code, name, found, page)
			}
			for _, m := range field.FindAllStringSubmatch(page, -1) {
				if !strings.Contains(page, `<label for="`+m[1]+`">`) {
					t.Errorf("%s, %s: the field %s has no label", code, name, m[1])
				}
			}
			if strings.Contains(page, `aria-describedby="problem"`) && !strings.Contains(page, `id="problem"`) {
				t.Errorf("%s, %s: a field is described by nothing", code, name)
			}
		}
	}
}

// TestTexts: every language has the texts of the default one, with the same places for
// names and numbers, and no others; and each is used.
func TestTexts(t *testing.T) {
	t.Parallel()
	p := newPages(t, Brand{})
	place := regexp.MustCompile(`%(?:\[\d\])?([sd])`)
	places := func(text string) []string { return slices.Sorted(slices.Values(place.FindAllString(text, -1))) }
	for _, code := range p.languages {
		for name, text := range p.texts[defaultLanguage] {
			if other := p.texts[code][name]; other == "" || !slices.Equal(places(text), places(other)) {
				t.Errorf("%s: %s is %q, want one like %q", code, name, other, text)
			}
		}
		if len(p.texts[code]) != len(p.texts[defaultLanguage]) {
			t.Errorf("%s has %d texts, want %d", code, len(p.texts[code]), len(p.texts[defaultLanguage]))
		}
	}
	all := html.UnescapeString(fmt.Sprint(everyPage(p, defaultLanguage)))
	for name, text := range p.texts[defaultLanguage] {
		for _, part := range place.Split(text, -1) {
			if !strings.HasPrefix(name, "month_") && !strings.Contains(all, part) {
				t.Errorf("the text %s is not used: %q", name, part)
			}
		}
	}
}

// TestColors: whatever the brand's color, text on it and links of it can be read.
func TestColors(t *testing.T) {
	t.Parallel()
	const least = 4.5 // WCAG 2.2, 1.4.3
	for r := 0.0; r < 256; r += 17 {
		for g := 0.0; g < 256; g += 17 {
			for b := 0.0; b < 256; b += 17 {
				for _, ground := range []string{lightGround, darkGround} {
					c := color{r, g, b}.readableOn(mustColor(ground))
					if c.contrast(c.text()) < least || c.contrast(mustColor(ground)) < least {
						t.Errorf("%s becomes %s on %s: contrasts %.2f and %.2f", color{r, g, b}, c, ground, c.contrast(c.text()), c.contrast(mustColor(ground)))
					}
				}
			}
		}
	}
	for _, wrong := range []string{"red", "#fff", "#12345g", "#1234567", " #123456", "#123456;}"} {
		if _, err := New(Brand{Color: wrong}, "/"); err == nil {
			t.Errorf("%q is taken for a color", wrong)
		}
	}
	style, _, ok := newPages(t, Brand{Color: "#AA0000"}).Asset(newPages(t, Brand{Color: "#AA0000"}).style)
	if !ok || !strings.Contains(string(style), "--brand:#aa0000;--on-brand:#ffffff") {
		t.Errorf("the stylesheet begins with %.80s", style)
	}
}

// TestLogos: a logo is a picture and nothing else.
func TestLogos(t *testing.T) {
	t.Parallel()
	const begin = `<svg xmlns="http://www.w3.org/2000/svg"`
	for file, good := range map[string]bool{
		begin + `><path d="M0 0"/></svg>`: true, "\ufeff" + begin + "/>": true, "<!-- drawn -->\n" + begin + "/>": true, "<?xml version=\"1.0\"?>\n" + begin + "/>": true,
		begin + `><a href="#x"/></svg>`: true, "\x89PNG\r\n\x1a\nrest": true, "\xff\xd8\xffrest": true, "RIFF\x24\x00\x00\x00WEBPVP8 ": true,
		begin + `><script>1</script></svg>`: false, begin + ` xmlns:s="http://www.w3.org/2000/svg"><s:script/></svg>`: false, begin + ` onload="x()"/>`: false,
		begin + `><image href="https://evil.example/x.png"/></svg>`: false, begin + `><foreignObject/></svg>`: false,
		`<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>`: false,
		begin + `><style>@import "https://evil.example/x.css"</style></svg>`:                          false, begin + `><path fill="url(https://evil.example/#x)"/></svg>`: false, begin + `><path fill="url('#x')"/></svg>`: true,
		"RIFF\x24\x00\x00\x00WAVEfmt ": false, "RIFF": false, "<html><svg/></html>": false, "<svg": false, "text": false, strings.Repeat("x", maxLogo+1): false,
	} {
		p, err := New(Brand{Logo: []byte(file)}, "/assets/")
		if (err == nil) != good {
			t.Errorf("%.60q: got %v, want a logo: %t", file, err, good)
		}
		if err == nil && !strings.Contains(string(p.SignIn("en", SignIn{})), `<img src="/assets/`+p.logo+`" alt="Counterfoil">`) {
			t.Errorf("%.60q is not shown", file)
		}
	}
}

// TestLanguage: RFC 9110 section 12.5.4.
func TestLanguage(t *testing.T) {
	t.Parallel()
	p := newPages(t, Brand{})
	for accept, want := range map[string]string{
		"": "en", "de": "de", "de-CH,fr;q=0.5": "de", "fr-CA": "fr", "pt,de;q=0.1": "de", "en;q=0.1,fr": "fr", "xx": "en", "*": "en", "de,xx_!!": "de", "\x00,fr": "fr",
		"fr," + strings.Repeat("en-US;q=0.5,", 200): "fr",
	} {
		if got := p.Language(accept); got != want {
			t.Errorf("%.40q: got %s, want %s", accept, got, want)
		}
	}
}

// FuzzLanguage: whatever is asked for, the answer is a language that we have.
func FuzzLanguage(f *testing.F) {
	p := newPages(f, Brand{})
	for _, seed := range []string{"", "de", "fr;q=0.1,*", "en-US,en;q=0.5", ",,;", "x-y-z"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, accept string) {
		if got := p.Language(accept); p.texts[got] == nil || language.Make(got) == language.Und {
			t.Errorf("%q: got %q", accept, got)
		}
	})
}
