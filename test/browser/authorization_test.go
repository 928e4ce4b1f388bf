package browser

import (
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// TestAuthorization: somebody comes from a client, signs in, agrees, and is back with a
// code that is worth tokens; somebody else does not agree.
func TestAuthorization(t *testing.T) {
	t.Parallel()
	i := install(t, "Corner Shop")
	for _, name := range []string{"with scripts", "without scripts"} {
		p := i.person()
		if name == "without scripts" {
			p.runsNoScripts()
		}
		p.open(i.authorization())
		p.expectAt("/oauth2/sign-in")
		p.sees(http.StatusOK, "Sign in", `Sign in to continue to "Corner Shop".`)
		p.signIn(alice, alicePassword)
		p.expectAt("/oauth2/authorize")
		p.sees(http.StatusOK, `"Corner Shop" wants to access your account.`, "Signed in as "+alice, "orders:read", "Afterwards you return to 127.0.0.1:")
		p.press("Cancel")
		expectBack(p, name, "error", "access_denied")

		p.open(i.authorization())
		p.press("Grant")
		code := expectBack(p, name, "error", "")
		if tokens := i.redeem(code); tokens.Status != http.StatusOK || tokens.RefreshToken == "" {
			t.Errorf("%s: the code: %+v", name, tokens)
		}
	}
}

// runsNoScripts turns scripts off in a browser, and sees that they are.
func (p *person) runsNoScripts() {
	p.t.Helper()
	command(p, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	p.site.pages.Store("/script", `<p id="p">no script</p><script>document.getElementById("p").textContent="ran"</script>`)
	p.open(p.site.server.URL + "/script")
	p.sees(http.StatusOK, "no script")
}

// expectBack expects to be at the client again, with a parameter.
func expectBack(p *person, name, parameter, value string) arrival {
	p.t.Helper()
	p.sees(http.StatusOK, "Back at the shop.")
	a := p.site.back(p.t)
	if a.Get(parameter) != value || a.Get("state") != state || a.Get("iss") != p.issuer || a.Has("code") == a.Has("error") {
		p.t.Errorf("%s: back with %v", name, a)
	}
	return a
}

// TestOroCommerce: the same at the address that OroCommerce's clients know. Of a client
// that is trusted, nobody is asked: the browser comes to it right from the sign-in form,
// which a policy holds to where it may lead.
func TestOroCommerce(t *testing.T) {
	t.Parallel()
	i := install(t, "Corner Shop")
	p := i.person()
	p.open(i.oroAuthorization())
	p.signIn(alice, alicePassword)
	p.sees(http.StatusOK, `"Corner Shop" wants to access your account.`)
	p.press("Grant")
	expectCode(p)
	p.open("/oauth2/devices")
	p.press("Sign out")

	i.client = i.createClient("Trusted Shop", "--skip-consent", "--public=false")
	p.open(i.oroAuthorization())
	p.signIn(alice, "wrong")
	p.signIn(alice, alicePassword)
	expectCode(p)
}

// oroAuthorization is an address of OroCommerce's authorization endpoint, which asks
// confidential clients for no proof of possession.
func (i *installation) oroAuthorization() string {
	path := strings.Replace(i.authorization(), "/oauth2/authorize", "/oauth2-token/authorize", 1)
	if i.client.Secret == "" {
		return path
	}
	return strings.NewReplacer("code_challenge=", "x=", "code_challenge_method=", "y=").Replace(path)
}

// expectCode expects to be at the client again, with a code.
func expectCode(p *person) {
	p.t.Helper()
	p.sees(http.StatusOK, "Back at the shop.")
	if a := p.site.back(p.t); !a.Has("code") || a.Get("state") != state {
		p.t.Errorf("back with %v", a)
	}
}

// TestKeyboard: nothing needs a mouse, and what has the focus can be seen.
func TestKeyboard(t *testing.T) {
	t.Parallel()
	i := install(t, "Corner Shop")
	p := i.person()
	p.open(i.authorization())
	run(p, "wait for the focus", chromedp.Poll[bool](`document.activeElement.id == "username"`))
	keys(p, alice, "\t", alicePassword)
	p.arrive("Enter", chromedp.KeyEvent("\r"))
	p.expectAt("/oauth2/authorize")
	for _, want := range []string{"Grant", "Cancel", "Not you? Use another account"} {
		keys(p, "\t")
		if has := evaluate[string](p, "document.activeElement.textContent"); has != want {
			t.Errorf("the focus is on %q, want %q", has, want)
		}
		if width := evaluate[string](p, "getComputedStyle(document.activeElement).outlineWidth"); width != "3px" {
			t.Errorf("the focus on %s has an outline of %s", want, width)
		}
	}
	p.open(i.authorization())
	keys(p, "\t")
	p.arrive("Enter", chromedp.KeyEvent("\r"))
	expectBack(p, "by keyboard", "error", "")
}

func keys(p *person, texts ...string) {
	p.t.Helper()
	for _, text := range texts {
		run(p, "type", chromedp.KeyEvent(text))
	}
}
