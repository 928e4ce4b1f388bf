package browser

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestForeignForms: what another site lets somebody send changes nothing, be it another
// site to the browser, which keeps the cookie back, or a neighbor at another port, where
// it does not.
func TestForeignForms(t *testing.T) {
	t.Parallel()
	i := install(t, "Corner Shop")
	i.CreateUser("mallory", "the password of mallory")
	forms := map[string]string{
		"/consent":    forgery(i.authorization(), url.Values{"grantAccess": {"true"}}),
		"/sign-in":    forgery(i.issuer+"/oauth2/sign-in", url.Values{"username": {"mallory"}, "password": {"the password of mallory"}}),
		"/sign-out":   forgery(i.issuer+"/oauth2/sign-out", url.Values{}),
		"/everywhere": forgery(i.issuer+"/oauth2/sign-out", url.Values{"everywhere": {"true"}}),
		"/password":   forgery(i.issuer+"/oauth2/password", url.Values{"current_password": {alicePassword}, "new_password": {"the choice of mallory"}, "new_password_repeat": {"the choice of mallory"}}),
	}
	for path, form := range forms {
		i.site.pages.Store(path, form)
	}
	p := i.signedIn()
	token := p.grant()
	for _, from := range []string{i.site.neighbor.URL, i.site.elsewhere()} {
		for path := range forms {
			session := p.cookie()
			p.open(from + path)
			p.press("Win")
			if from == i.site.neighbor.URL {
				p.sees(http.StatusForbidden, "This form is too old")
			}
			if c := p.cookie(); c == nil || c.Value != session.Value {
				t.Errorf("%s of %s changed the session of the browser", path, from)
				p = i.signedIn()
			}
		}
	}
	if len(i.site.arrivals) != 0 {
		t.Errorf("the client got %v", <-i.site.arrivals)
	}
	p.expectSignedIn(true)
	p.sees(http.StatusOK, "Signed in as\n"+alice)
	if tokens := i.refresh(token); tokens.Status != http.StatusOK {
		t.Errorf("the refresh token: %+v", tokens)
	}
}

// TestFormToken: a form of this site, but without its token, is refused too.
func TestFormToken(t *testing.T) {
	t.Parallel()
	p := install(t, "Corner Shop").signedIn()
	p.open(p.authorization())
	evaluate[chromedp.Void](p, `document.querySelectorAll("[name=csrf_token]").forEach(field => field.remove())`)
	p.press("Grant")
	p.sees(http.StatusForbidden, "This form is too old")
	if len(p.site.arrivals) != 0 {
		t.Errorf("the client got %v", <-p.site.arrivals)
	}
}

// TestFrames: no page can be put into one of another site.
func TestFrames(t *testing.T) {
	t.Parallel()
	i := install(t, "Corner Shop")
	p := i.signedIn()
	other := i.site.server.URL + "/other"
	i.site.pages.Store("/other", "<p>framed")
	for address, shown := range map[string]bool{
		other: true, i.authorization(): false, i.issuer + "/oauth2/sign-in": false, i.issuer + "/oauth2/devices": false,
		i.issuer + "/oauth2/password": false, i.issuer + "/oauth2/nothing": false,
	} {
		i.site.pages.Store("/frame", fmt.Sprintf(`<!DOCTYPE html><title>Frame</title><iframe src="%s"></iframe>`, html.EscapeString(address)))
		p.open(i.site.elsewhere() + "/frame")
		if at := p.framed(); (at == address) != shown || !shown && at != "chrome-error://chromewebdata/" {
			t.Errorf("%s in a frame: %s is shown", address, at)
		}
	}
}

// framed is the address of what the frame of the page shows.
func (p *person) framed() string {
	p.t.Helper()
	targets, err := chromedp.Targets(p.tab)
	check(p.t, err)
	for _, target := range targets {
		if target.Type != "iframe" {
			continue
		}
		frame, leave := chromedp.NewContext(p.tab, chromedp.WithTargetID(target.TargetID), chromedp.WithDetachOnCancel())
		defer leave()
		at, err := chromedp.Run(frame, chromedp.Location())
		check(p.t, err)
		return at
	}
	p.t.Fatal("there is no frame")
	return ""
}
