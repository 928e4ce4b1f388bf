package resource_test

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"testing"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// browser is one of a user who is signed in. It shows nothing.
type browser struct {
	*http.Client
	t       *testing.T
	devices string // the page that has everything
}

// signIn signs a user in.
func (s *site) signIn(t *testing.T, user string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{Client: &http.Client{Jar: jar}, t: t, devices: s.issuer() + "/oauth2/devices"}
	b.submit("password", "", url.Values{"username": {user}, "password": {password}})
	return b
}

// submit opens the page of devices, or the one to sign in at that stands before it, and
// submits the form that has a field with a value.
func (b *browser) submit(field, value string, answers url.Values) {
	b.t.Helper()
	response, err := b.Get(b.devices)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	page, err := html.Parse(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	action, fields := findForm(page, field, value)
	to, err := response.Request.URL.Parse(action)
	if err != nil || fields == nil {
		b.t.Fatalf("%s answers %s without a form that has %s=%q", response.Request.URL, response.Status, field, value)
	}
	for name := range answers {
		fields[name] = answers[name]
	}
	answer, err := b.PostForm(to.String(), fields)
	if err != nil {
		b.t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		b.t.Fatalf("the form with %s=%q is answered with %s", field, value, answer.Status)
	}
}

// findForm returns where a form leads, and its fields.
func findForm(page *html.Node, field, value string) (action string, fields url.Values) {
	for node := range page.Descendants() {
		if node.DataAtom != atom.Form {
			continue
		}
		fields := url.Values{}
		for input := range node.Descendants() {
			if name := attribute(input, "name"); name != "" {
				fields.Set(name, attribute(input, "value"))
			}
		}
		if fields.Has(field) && fields.Get(field) == value {
			return attribute(node, "action"), fields
		}
	}
	return "", nil
}

func attribute(node *html.Node, name string) string {
	for _, a := range node.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}
