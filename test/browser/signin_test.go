package browser

import (
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
)

// TestSignIn: what is wrong is said, what was typed stays, and the cookie is nobody
// else's to read or send.
func TestSignIn(t *testing.T) {
	t.Parallel()
	i := install(t, "Corner Shop")
	i.CreateUser("bob", "the password of bob")
	i.Run("", "user", "disable", "bob")
	p := i.person()

	p.open("/oauth2/devices")
	p.expectAt("/oauth2/sign-in")
	p.signIn(alice, "wrong")
	p.sees(http.StatusBadRequest, "Username or password is wrong.")
	if alerts := evaluate[int](p, `document.querySelectorAll("[role=alert]").length`); alerts != 1 {
		t.Errorf("%d messages, want one", alerts)
	}
	if name, focus := evaluate[string](p, "username.value"), evaluate[string](p, "document.activeElement.id"); name != alice || focus != "password" {
		t.Errorf("the name typed is %q, and the focus on %q", name, focus)
	}
	p.signIn("bob", "wrong")
	p.sees(http.StatusBadRequest, "Username or password is wrong.")
	p.misses("disabled")
	p.signIn("bob", "the password of bob")
	p.sees(http.StatusBadRequest, "Account is disabled.")
	if c := p.cookie(); c != nil {
		t.Errorf("a cookie before anybody signed in: %+v", c)
	}

	p.signIn(alice, alicePassword)
	p.expectAt("/oauth2/devices")
	c := p.cookie()
	if c == nil || c.Name != "__Host-counterfoil" || !c.Secure || !c.HTTPOnly || c.SameSite != network.CookieSameSiteLax || c.Path != "/" || c.Domain != "127.0.0.1" || !c.Session {
		t.Fatalf("the cookie: %+v", c)
	}
	if script := evaluate[string](p, "document.cookie"); script != "" {
		t.Errorf("a script reads %s", script)
	}
	p.open("/oauth2/sign-in")
	p.expectAt("/oauth2/devices")
}

// TestThrottle: who fails too often is told how long to wait, the owner too, and may
// then go on.
func TestThrottle(t *testing.T) {
	t.Parallel()
	p := install(t, "Corner Shop").person()
	p.open("/oauth2/sign-in")
	for n := 0; p.status != http.StatusTooManyRequests; n++ {
		if n > 12 {
			t.Fatalf("not throttled after %d failures", n)
		}
		p.signIn(alice, "wrong")
	}
	throttled := regexp.MustCompile(`Too many failed attempts\. Try again in \d+ (s|min)\.`)
	if !throttled.MatchString(p.text()) {
		t.Errorf("how long is not said:\n%s", p.text())
	}
	for deadline := time.Now().Add(time.Minute); p.at().Path != "/oauth2/devices"; p.signIn(alice, alicePassword) {
		if time.Now().After(deadline) {
			t.Fatalf("still not signed in:\n%s", p.text())
		}
	}
}

// TestWithoutTLS: on a loopback address it works without TLS, where no cookie can have
// the prefix.
func TestWithoutTLS(t *testing.T) {
	t.Parallel()
	p := installPlain(t, "Corner Shop").person()
	p.open(p.authorization())
	p.signIn(alice, alicePassword)
	p.press("Grant")
	if tokens := p.redeem(expectBack(p, "without TLS", "error", "")); tokens.Status != http.StatusOK {
		t.Errorf("the code: %+v", tokens)
	}
	if c := p.cookie(); c == nil || c.Name != "counterfoil" || c.Secure || !c.HTTPOnly || c.SameSite != network.CookieSameSiteLax || c.Path != "/" {
		t.Errorf("the cookie: %+v", c)
	}
}
