package clients_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

const (
	username = "alice"
	password = "right horse staple"
)

// user is the resource owner at a browser that shows nothing: it keeps cookies, follows
// the server's redirects and fills in its forms.
type user struct{ browser *http.Client }

func newUser(t *testing.T) *user {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &user{&http.Client{Jar: jar, CheckRedirect: stayAtServer}}
}

// stayAtServer follows redirects to where the user already is, and no others.
func stayAtServer(next *http.Request, before []*http.Request) error {
	if len(before) > 5 {
		return errors.New("redirected in circles")
	}
	if next.URL.Host != before[0].URL.Host {
		return http.ErrUseLastResponse
	}
	return nil
}

// authorize opens an authorization URL, signs in where that is asked for, answers the
// question for consent, and returns the URL at which the client gets the user back.
func (u *user) authorize(authorizationURL string, consent bool) (string, error) {
	answers := url.Values{"username": {username}, "password": {password}, "grantAccess": {fmt.Sprint(consent)}}
	response, err := u.browser.Get(authorizationURL)
	for range 3 { // two pages, and the answer of the second
		if err != nil {
			return "", err
		}
		to := response.Header.Get("Location")
		form, read := readForm(response)
		switch {
		case to != "":
			return to, nil
		case read != nil:
			return "", read
		}
		response, err = u.browser.PostForm(form.action, form.fill(answers))
	}
	return "", fmt.Errorf("the pages do not end: %s", response.Status)
}

// agree authorizes what a client asks for and returns the parameters that the user
// brings back to it.
func (u *user) agree(t *testing.T, authorizationURL string) url.Values {
	t.Helper()
	back, err := u.authorize(authorizationURL, true)
	if err != nil {
		t.Fatal(err)
	}
	to, err := url.Parse(back)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(back, callback+"?") {
		t.Fatalf("the user comes back to %s, not to %s", to.Redacted(), callback)
	}
	return to.Query()
}

// form is a form of a page: where it leads, its hidden fields, and what it asks for.
type form struct {
	action string
	hidden url.Values
	asked  []string
}

// fill returns what is sent: the hidden fields, and the answers that are asked for.
func (f form) fill(answers url.Values) url.Values {
	for _, name := range f.asked {
		f.hidden[name] = answers[name]
	}
	return f.hidden
}

// readForm reads the first form of a page.
func readForm(response *http.Response) (form, error) {
	defer func() { _ = response.Body.Close() }()
	page, err := html.Parse(response.Body)
	if err != nil {
		return form{}, err
	}
	f := form{hidden: url.Values{}}
	for node := range page.Descendants() {
		if node.DataAtom != atom.Form {
			continue
		}
		action, err := response.Request.URL.Parse(attribute(node, "action"))
		if err != nil {
			return form{}, err
		}
		f.action = action.String()
		for field := range node.Descendants() {
			f.take(field)
		}
		return f, nil
	}
	return form{}, fmt.Errorf("%s answered %s and no form", response.Request.URL, response.Status)
}

func (f *form) take(field *html.Node) {
	name := attribute(field, "name")
	switch {
	case name == "":
	case attribute(field, "type") == "hidden":
		f.hidden.Set(name, attribute(field, "value"))
	default:
		f.asked = append(f.asked, name)
	}
}

func attribute(node *html.Node, name string) string {
	for _, a := range node.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}
