package browser

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// shownPage is a page in a state, and how somebody gets to see it.
type shownPage struct {
	name   string
	status int64
	show   func(v *visitors)
}

// visitors are somebody who is signed in, and somebody who is not.
type visitors struct {
	*installation
	visitor, member *person
	looking         *person // whose page it is
	password        string  // of the member
	changes         int
}

func (i *installation) visitors(username string) *visitors {
	i.t.Helper()
	v := &visitors{installation: i, visitor: i.person(), member: i.person(), password: alicePassword}
	v.member.open("/oauth2/devices")
	v.member.signIn(username, alicePassword)
	v.member.expectAt("/oauth2/devices")
	return v
}

// everyPage is every page in the states that look different.
var everyPage = []shownPage{
	{"sign-in", http.StatusOK, func(v *visitors) { v.asVisitor(v.authorization()) }},
	{"sign-in-error", http.StatusBadRequest, func(v *visitors) {
		v.asVisitor(v.authorization())
		v.changes++
		v.visitor.fill("username", fmt.Sprintf("alice%d@example.com", v.changes), "password", "wrong")
		v.visitor.arrive("sign in", chromedp.Click(chromedp.CSS("button")))
	}},
	{"consent", http.StatusOK, func(v *visitors) { v.asMember(v.authorization()) }},
	{"devices", http.StatusOK, func(v *visitors) { v.asMember("/oauth2/devices") }},
	{"password", http.StatusOK, func(v *visitors) { v.asMember("/oauth2/password") }},
	{"password-error", http.StatusBadRequest, func(v *visitors) {
		v.asMember("/oauth2/password")
		v.member.change(v.password, "password1", "password1")
	}},
	{"password-done", http.StatusOK, func(v *visitors) {
		v.asMember("/oauth2/password")
		v.changes++
		chosen := fmt.Sprintf("seven grey herons at dawn, %d", v.changes)
		v.member.change(v.password, chosen, chosen)
		v.password = chosen
	}},
	{"message", http.StatusBadRequest, func(v *visitors) {
		v.asVisitor(strings.Replace(v.authorization(), "client_id=", "client_id=un", 1))
	}},
}

func (v *visitors) asVisitor(to string) {
	v.looking = v.visitor
	v.looking.open(to)
}

func (v *visitors) asMember(to string) {
	v.looking = v.member
	v.looking.open(to)
}

// see shows a page, and returns who looks at it.
func (v *visitors) see(page shownPage) *person {
	v.t.Helper()
	page.show(v)
	if v.looking.status != page.status {
		v.t.Fatalf("%s: status %d, want %d, at %s\n%s", page.name, v.looking.status, page.status, v.looking.at(), v.looking.text())
	}
	return v.looking
}

// screen is what somebody looks at a page with.
type screen struct {
	name          string
	width, height int64
	phone         bool
}

var screens = []screen{{"phone", 390, 844, true}, {"desktop", 1280, 800, false}}

// schemes are the colors that somebody prefers.
var schemes = []string{"light", "dark"}

// with gives a person a screen and a color scheme.
func (p *person) with(s screen, scheme string) {
	p.t.Helper()
	command(p, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: s.width, Height: s.height, DeviceScaleFactor: 1, Mobile: s.phone})
	command(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
}

// longNames are names as long as they can be, in every direction.
var longNames = []string{
	strings.Repeat("Donaudampfschifffahrtsgesellschaft", 7) + " GmbH & Co. KG",
	strings.Repeat("W", 255), "متجر الزاوية للأدوات المنزلية والكتب", "Ecke 🛒👩‍👩‍👧‍👦 & <b>Söhne</b>",
}

// TestLongNames: no name, however long, makes a page wider than the narrowest screen
// (WCAG 2.2, 1.4.10), in no language.
func TestLongNames(t *testing.T) {
	t.Parallel()
	name := strings.Repeat("longname", 31) + "@x.eu"
	i := install(t, longNames[0], "BRAND_NAME="+strings.Repeat("Overlong", 30))
	i.CreateUser(name, alicePassword)
	v := i.visitors(name)
	for _, clientName := range longNames {
		i.client = i.createClient(clientName)
		v.member.grant()
	}
	for _, language := range []string{"en", "de", "fr"} {
		v.member.speaks(language)
		v.visitor.speaks(language)
		for _, page := range everyPage {
			p := v.see(page)
			p.with(screen{"narrow", 320, 568, true}, "light")
			if got := evaluate[string](p, "document.documentElement.lang"); got != language {
				t.Errorf("%s is in %s, want %s", page.name, got, language)
			}
			if wide := evaluate[string](p, widerThanScreen); wide != "" {
				t.Errorf("%s in %s is wider than the screen: %s", page.name, language, wide)
			}
		}
	}
}

// widerThanScreen finds elements that one would have to scroll to.
const widerThanScreen = `[...document.body.querySelectorAll("*")]
	.filter(e => { const r = e.getBoundingClientRect(); return r.width && (r.right > 320.5 || r.left < -0.5 || e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display != "inline" && !e.matches("input")) })
	.map(e => e.outerHTML.slice(0, 120)).join("\n")`

// TestBrand: name, logo and color are the settings'; the pages speak the browser's language.
func TestBrand(t *testing.T) {
	t.Parallel()
	logo := writeFile(t, "logo.svg", `<svg xmlns="http://www.w3.org/2000/svg" width="200" height="40"><rect width="200" height="40" fill="#7a1fa2"/></svg>`)
	i := install(t, "Corner Shop", "BRAND_NAME=ACME & Söhne", "BRAND_LOGO="+logo, "BRAND_COLOR=#7a1fa2")
	v := i.visitors(alice)
	for _, page := range everyPage {
		p := v.see(page)
		if shown := evaluate[string](p, `(i => i.alt + " " + i.naturalWidth + " " + i.complete)(document.querySelector("header img"))`); shown != "ACME & Söhne 200 true" {
			t.Errorf("%s: the logo: %s", page.name, shown)
		}
		if title := evaluate[string](p, "document.title"); !strings.HasSuffix(title, " – ACME & Söhne") {
			t.Errorf("%s: the title: %s", page.name, title)
		}
	}
	p := v.see(everyPage[0])
	for scheme, want := range map[string]string{"light": "rgb(122, 31, 162) on rgb(255, 255, 255)", "dark": "dark"} {
		p.with(screens[0], scheme)
		got := evaluate[string](p, `(b => b.backgroundColor + " on " + getComputedStyle(document.querySelector("main")).backgroundColor)(getComputedStyle(document.querySelector("button")))`)
		if scheme == "light" && got != want || scheme == "dark" && (strings.HasPrefix(got, "rgb(122, 31, 162)") || strings.HasSuffix(got, "rgb(255, 255, 255)")) {
			t.Errorf("%s: the button is %s", scheme, got)
		}
	}
	for languages, want := range map[string]string{"de-AT,en;q=0.5": "Anmelden", "fr": "Connexion", "pl": "Sign in"} {
		p.speaks(languages)
		p.open("/oauth2/sign-in")
		if title := evaluate[string](p, `document.querySelector("h1").textContent`); title != want {
			t.Errorf("in %s: %s", languages, title)
		}
	}
}
