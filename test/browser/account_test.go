package browser

import (
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// signedIn is somebody who is signed in as alice.
func (i *installation) signedIn() *person {
	i.t.Helper()
	p := i.person()
	p.runsNoScripts() // nothing here needs them
	p.open("/oauth2/devices")
	p.signIn(alice, alicePassword)
	p.expectAt("/oauth2/devices")
	return p
}

// expectSignedIn expects a person to be signed in, or not to be.
func (p *person) expectSignedIn(want bool) {
	p.t.Helper()
	p.open("/oauth2/devices")
	if at := p.at().Path; (at == "/oauth2/devices") != want {
		p.t.Errorf("signed in: %t, want %t; at %s", !want, want, at)
	}
}

// grant lets the client act for a person, and returns the refresh token.
func (p *person) grant() string {
	p.t.Helper()
	p.open(p.authorization())
	p.press("Grant")
	tokens := p.redeem(expectBack(p, "grant", "error", ""))
	if tokens.Status != http.StatusOK {
		p.t.Fatalf("the code: %+v", tokens)
	}
	return tokens.RefreshToken
}

// TestPassword: a new password is a good one, its owner's choice, and leaves nobody else
// signed in.
func TestPassword(t *testing.T) {
	t.Parallel()
	i := install(t, "Corner Shop")
	here, there := i.signedIn(), i.signedIn()
	token := there.grant()
	const chosen = "seven grey herons at dawn"
	here.press("Password")
	here.expectAt("/oauth2/password")
	for _, wrong := range []struct{ current, chosen, repeated, reason, invalid string }{
		{alicePassword, "password1", "password1", "The new password is too weak. It is easy to guess.", "new_password"},
		{"wrong", chosen, chosen, "The current password is wrong.", "current_password"},
		{alicePassword, chosen, chosen + "!", "The new passwords differ.", "new_password_repeat"},
	} {
		here.change(wrong.current, wrong.chosen, wrong.repeated)
		here.sees(http.StatusBadRequest, wrong.reason)
		if id := evaluate[string](here, `document.querySelector("[aria-invalid=true]").id`); id != wrong.invalid {
			t.Errorf("%q is said of %s, want %s", wrong.reason, id, wrong.invalid)
		}
	}
	there.expectSignedIn(true)

	before := here.cookie().Value
	here.change(alicePassword, chosen, chosen)
	here.sees(http.StatusOK, "Your password was changed.")
	if here.cookie().Value == before {
		t.Error("the session is still the old one")
	}
	here.expectSignedIn(true)
	there.expectSignedIn(false)
	if tokens := i.refresh(token); tokens.Status != http.StatusBadRequest {
		t.Errorf("a refresh token from before: %d", tokens.Status)
	}
	there.signIn(alice, alicePassword)
	there.sees(http.StatusBadRequest, "Username or password is wrong.")
	there.signIn(alice, chosen)
	there.expectAt("/oauth2/devices")
}

// change fills the password page.
func (p *person) change(current, chosen, repeated string) {
	p.t.Helper()
	p.fill("current_password", current, "new_password", chosen, "new_password_repeat", repeated)
	p.arrive("change the password", chromedp.Click(chromedp.CSS("main > form button")))
}

// TestDevices: somebody sees where he is signed in, and ends it there.
func TestDevices(t *testing.T) {
	t.Parallel()
	i := install(t, "Corner Shop")
	here, there := i.signedIn(), i.signedIn()
	here.sees(http.StatusOK, "Signed in as\n"+alice, "No application has access to your account.", "Chrome on Linux this browser")
	token := here.grant()
	if tokens := i.refresh(token); tokens.Status != http.StatusOK {
		t.Fatalf("refresh: %+v", tokens)
	}

	here.expectSignedIn(true)
	here.sees(http.StatusOK, "Corner Shop", "orders:read", "Last used")
	here.press("End Corner Shop")
	here.sees(http.StatusOK, "It was ended.", "No application has access to your account.")
	if tokens := i.refresh(token); tokens.Status != http.StatusBadRequest || tokens.Error != "invalid_grant" {
		t.Errorf("a refresh token of what was ended: %+v", tokens)
	}

	there.expectSignedIn(true)
	here.press("End Chrome on Linux")
	here.sees(http.StatusOK, "It was ended.")
	if n := strings.Count(here.text(), "Chrome on Linux"); n != 1 {
		t.Errorf("%d browsers are left, want this one", n)
	}
	there.expectSignedIn(false)
	here.expectSignedIn(true)
}

// TestSignOut: here, to be somebody else, and everywhere.
func TestSignOut(t *testing.T) {
	t.Parallel()
	i := install(t, "Corner Shop")
	i.CreateUser("bob", "the password of bob")
	here, there := i.signedIn(), i.signedIn()
	kept := here.cookie()
	here.press("Sign out")
	here.sees(http.StatusOK, "You are signed out")
	if c := here.cookie(); c != nil {
		t.Errorf("the cookie is still there: %+v", c)
	}
	here.expectSignedIn(false)
	if status := i.withCookie(kept.Name, kept.Value); status != http.StatusSeeOther {
		t.Errorf("the session lives on: %d", status)
	}
	there.expectSignedIn(true)

	there.open(i.authorization())
	there.press("Not you? Use another account")
	there.expectAt("/oauth2/sign-in")
	there.sees(http.StatusOK, `Sign in to continue to "Corner Shop".`)
	there.signIn("bob", "the password of bob")
	there.expectAt("/oauth2/authorize")
	there.sees(http.StatusOK, "Signed in as bob")
	there.press("Grant")
	tokens := i.redeem(expectBack(there, "another account", "error", ""))

	here.signIn("bob", "the password of bob")
	here.press("Sign out everywhere")
	here.sees(http.StatusOK, "You are signed out")
	there.expectSignedIn(false)
	if answer := i.refresh(tokens.RefreshToken); tokens.Status != http.StatusOK || answer.Status != http.StatusBadRequest {
		t.Errorf("the refresh token: %d, then %d", tokens.Status, answer.Status)
	}
}

// withCookie asks for a page with a cookie, and follows nothing.
func (i *installation) withCookie(name, value string) int {
	i.t.Helper()
	request, err := http.NewRequest(http.MethodGet, i.issuer+"/oauth2/devices", nil)
	check(i.t, err)
	request.AddCookie(&http.Cookie{Name: name, Value: value})
	response, err := i.http.Transport.RoundTrip(request)
	check(i.t, err)
	_ = response.Body.Close()
	return response.StatusCode
}
