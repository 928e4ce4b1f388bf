package browser

import (
	"context"
	"fmt"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// fonts makes Inter the font of the system: it is about as wide as those that most people
// have.
const fonts = `<?xml version="1.0"?>
<fontconfig>
<include ignore_missing="yes">/etc/fonts/fonts.conf</include>
<alias binding="strong"><family>system-ui</family><prefer><family>Inter</family></prefer></alias>
<alias binding="strong"><family>sans-serif</family><prefer><family>Inter</family></prefer></alias>
</fontconfig>`

// startChromium starts a browser that asks nobody for anything but the pages.
func startChromium(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	check(t, err)
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.IgnoreCertErrors,
		chromedp.Env("FONTCONFIG_FILE=" + writeFile(t, "fonts.conf", fonts)),
	}
	for _, name := range []string{
		"no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking", "disable-component-update", "disable-sync",
		"disable-dev-shm-usage", "disable-extensions", "hide-scrollbars",
	} {
		options = append(options, chromedp.Flag(name, true))
	}
	// Not the test's context: that ends before the clean-up, and would kill the browser.
	allocator, stop := chromedp.NewExecAllocator(context.Background(), append(options, chromedp.Flag("headless", "new"))...)
	t.Cleanup(stop)
	browser, _ := chromedp.NewContext(allocator)
	t.Cleanup(func() { check(t, chromedp.Cancel(browser)) })
	check(t, chromedp.Do(browser))
	return browser
}

// person is somebody with a browser of their own: it shares nothing with another's.
type person struct {
	*installation
	tab    context.Context
	status int64 // of the page that is shown
}

// person opens a browser.
func (i *installation) person() *person {
	i.t.Helper()
	tab, closeTab := chromedp.NewContext(i.chromium, chromedp.WithNewBrowserContext())
	i.t.Cleanup(closeTab)
	p := &person{installation: i, tab: tab}
	check(i.t, chromedp.Do(tab)) // without a limit: it ends the tab
	command(p, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	return p
}

// patience is how long a step may take on a busy machine.
const patience = 30 * time.Second

// run runs an action in a person's tab.
func run[T any](p *person, what string, action chromedp.Action[T]) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.tab, patience)
	defer cancel()
	result, err := chromedp.Run(ctx, action)
	if err != nil {
		p.t.Fatalf("%s: %v, at %s\n%s", what, err, p.seen(chromedp.Location()), p.seen(chromedp.Evaluate[string](bodyText)))
	}
	return result
}

// seen is what can be told of a page that something is wrong with.
func (p *person) seen(action chromedp.Action[string]) string {
	ctx, cancel := context.WithTimeout(p.tab, time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, action)
	if err != nil {
		return err.Error()
	}
	return text
}

// command sends a command of the DevTools protocol.
func command[P, R any](p *person, c cdp.Command[P, R], parameters P) R {
	p.t.Helper()
	return run(p, c.Method, func(ctx context.Context, t *chromedp.Target) (R, error) { return cdp.Call(ctx, t, c, parameters) })
}

// arrive does what makes another page load, and waits for it.
func (p *person) arrive(what string, action chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	response := run(p, what, func(ctx context.Context, _ *chromedp.Target) (*network.Response, error) {
		return chromedp.RunResponse(ctx, action)
	})
	p.status = 0
	if response != nil {
		p.status = response.Status
	}
}

// open goes to an address, or to a path of the server.
func (p *person) open(to string) {
	p.t.Helper()
	if strings.HasPrefix(to, "/") {
		to = p.issuer + to
	}
	response := run(p, "open "+to, chromedp.NavigateResponse(to))
	p.status = response.Status
}

// named finds a button or a link by what it says, also to those who cannot see it.
func named(name string) chromedp.Search {
	return chromedp.Search(fmt.Sprintf("//*[self::button or self::a][normalize-space()=%[1]q or @aria-label=%[1]q]", name))
}

// press presses a button, or follows a link.
func (p *person) press(name string) {
	p.t.Helper()
	p.arrive("press "+name, chromedp.Click(named(name)))
}

// fill puts text into fields, as a password manager does: pairs of id and text.
func (p *person) fill(pairs ...string) {
	p.t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		field := chromedp.CSS("#" + pairs[i])
		run(p, "fill "+pairs[i], chromedp.Steps(chromedp.Clear(field), chromedp.Focus(field)))
		command(p, input.InsertText, input.InsertTextParams{Text: pairs[i+1]})
	}
}

// signIn fills the sign-in page.
func (p *person) signIn(username, password string) {
	p.t.Helper()
	p.fill("username", username, "password", password)
	p.press("Sign in")
}

const bodyText = "document.body.innerText"

// text is what can be read on the page.
func (p *person) text() string {
	p.t.Helper()
	return evaluate[string](p, bodyText)
}

// sees expects texts on a page with a status.
func (p *person) sees(status int64, texts ...string) {
	p.t.Helper()
	shown := p.text()
	for _, text := range texts {
		if !strings.Contains(shown, text) {
			p.t.Errorf("%q is not on the page:\n%s", text, shown)
		}
	}
	if p.status != status {
		p.t.Errorf("status %d, want %d, of the page\n%s", p.status, status, shown)
	}
}

// misses expects texts not to be on the page.
func (p *person) misses(texts ...string) {
	p.t.Helper()
	shown := p.text()
	for _, text := range texts {
		if strings.Contains(shown, text) {
			p.t.Errorf("%q is on the page:\n%s", text, shown)
		}
	}
}

// at is the address of the page.
func (p *person) at() *url.URL {
	p.t.Helper()
	u, err := url.Parse(run(p, "address", chromedp.Location()))
	check(p.t, err)
	return u
}

// expectAt expects the path of a page of the server.
func (p *person) expectAt(path string) {
	p.t.Helper()
	if at := p.at(); "https://"+at.Host != p.issuer && "http://"+at.Host != p.issuer || at.Path != path {
		p.t.Errorf("at %s, want %s%s", at, p.issuer, path)
	}
}

// evaluate returns the value of an expression in the page.
func evaluate[T any](p *person, expression string) T {
	p.t.Helper()
	return run(p, "evaluate", chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// cookie is the session's cookie; nil: there is none.
func (p *person) cookie() *network.Cookie {
	p.t.Helper()
	for _, c := range command(p, network.GetCookies, network.GetCookiesParams{URLs: []string{p.issuer}}).Cookies {
		if strings.HasSuffix(c.Name, "counterfoil") {
			return c
		}
	}
	return nil
}

// speaks sets the languages that the browser asks for.
func (p *person) speaks(languages string) {
	p.t.Helper()
	command(p, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{"Accept-Language": languages}})
}
