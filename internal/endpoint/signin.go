package endpoint

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/counterfoil/counterfoil/internal/console"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// signIn shows the sign-in page, or leads on where somebody is signed in already.
func (e *endpoint) signIn(w *response, r *http.Request) error {
	to := onward(r.URL.Query().Get("continue"))
	_, err := e.session(r)
	if err == nil {
		e.redirect(w, to)
		return nil
	}
	if !errors.Is(err, oauth.ErrSessionMissing) {
		return err
	}
	e.showSignIn(w, r, http.StatusOK, to, console.SignIn{})
	return nil
}

// showSignIn shows the page, naming the client that somebody signs in for.
func (e *endpoint) showSignIn(w *response, r *http.Request, status int, to string, page console.SignIn) {
	a := e.waiting(r, to)
	page.Form = console.Form{Action: e.base + signInPath, Hidden: []console.Field{{Name: "continue", Value: to}}}
	if a.RedirectURI != "" {
		page.Client = clientName(&a.Client)
	}
	e.page(w, &standard, status, a.RedirectURI, e.Pages.SignIn(e.language(r), page))
}

// waiting is the request to the authorization endpoint that a sign-in leads on to, if
// it is one, and in order.
func (e *endpoint) waiting(r *http.Request, to string) oauth.Authorization {
	path, query, _ := strings.Cut(to, "?")
	d := &standard
	if path == oroAuthorizePath {
		d = &oroCommerce
	}
	parameters, err := d.query(query)
	if err != nil {
		return oauth.Authorization{}
	}
	a, err := e.Server.CheckAuthorization(r.Context(), oauth.AuthorizationRequest{Profile: d.profile, Parameters: parameters})
	if err != nil {
		return oauth.Authorization{}
	}
	return a
}

// takeSignIn takes name and password. Signing in always makes a new session.
func (e *endpoint) takeSignIn(w *response, r *http.Request) error {
	fields, err := e.sent(w, r)
	if err != nil {
		return err
	}
	to, username := onward(fields["continue"].Value), fields["username"].Value
	token, err := e.Server.SignIn(r.Context(), oauth.SignIn{
		Username: username, Password: oauth.Secret(fields["password"].Value),
		Browser: browser(r.UserAgent()), Source: w.source, RequestID: w.requestID,
	})
	if err == nil {
		e.leave(w, r)
		w.outcome = "signed_in"
		e.remember(w, token)
		e.redirect(w, to)
		return nil
	}
	problem, refusal := w.problem(err)
	if problem == "" {
		return err
	}
	e.showSignIn(w, r, status(refusal), to, console.SignIn{Username: username, Problem: problem, RetryAfter: refusal.RetryAfter})
	return nil
}

// leave ends the session that the browser had before it signed in anew. Where that does
// not succeed, it ends by itself in time.
func (e *endpoint) leave(w *response, r *http.Request) {
	if before, err := e.session(r); err == nil {
		_ = e.Server.EndSession(r.Context(), &before, before.Session.Key.ID(), oauth.Event{RequestID: w.requestID, Source: w.source})
	}
}

// problems are the refusals that a user can do something about, as the pages know them.
var problems = map[string]console.Problem{
	oauth.ErrPasswordIncorrect.Reason: console.ProblemCredentials,
	oauth.ErrThrottled.Reason:         console.ProblemThrottled,
	oauth.ErrSubjectDisabled.Reason:   console.ProblemDisabled,
	oauth.ErrSubjectLocked.Reason:     console.ProblemLocked,
	oauth.ErrSubjectReset.Reason:      console.ProblemReset,
	oauth.ErrPasswordWeak.Reason:      console.ProblemWeak,
	oauth.ErrBusy.Reason:              console.ProblemBusy,
}

// problem returns what is to be said on the page that is shown again, and the refusal
// that it comes from, which the log has; empty: the user can do nothing about it.
func (w *response) problem(err error) (console.Problem, *oauth.Refusal) {
	var refusal *oauth.Refusal
	if !errors.As(err, &refusal) || problems[refusal.Reason] == "" {
		return "", nil
	}
	w.err = err
	w.setRetryAfter(refusal)
	return problems[refusal.Reason], refusal
}

// signOut ends the session of the browser, or all sessions and grants of its user.
func (e *endpoint) signOut(w *response, r *http.Request) error {
	session, err := e.session(r)
	if errors.Is(err, oauth.ErrSessionMissing) { // or the form came from elsewhere: the cookie stays as it is
		e.redirect(w, signInPath)
		return nil
	}
	if err != nil {
		return err
	}
	fields, err := e.submitted(w, r, &session, "sign out")
	if err != nil {
		return err
	}
	event := oauth.Event{RequestID: w.requestID, Source: w.source}
	if fields["everywhere"].Value == "true" {
		err = e.Server.SignOutEverywhere(r.Context(), &session, event)
	} else {
		err = e.Server.EndSession(r.Context(), &session, session.Session.Key.ID(), event)
	}
	if err != nil {
		return err
	}
	w.outcome = "signed_out"
	e.remember(w, "")
	if to := fields["continue"].Value; to != "" {
		e.redirect(w, signInPath+"?"+url.Values{"continue": {onward(to)}}.Encode())
		return nil
	}
	e.page(w, &standard, http.StatusOK, "", e.Pages.Message(e.language(r), console.Message{Kind: console.MessageSignedOut}))
	return nil
}

// browser says in words what a User-Agent header means. It is for a user who looks for
// a device, and nothing depends on it.
func browser(agent string) string {
	name, system := known(agent, browsers), known(agent, systems)
	switch {
	case name != "" && system != "":
		return name + " on " + system
	case name != "":
		return name
	}
	return system
}

// browsers and systems are told apart by the first text that occurs: many claim to be
// others too.
var (
	browsers = []sign{
		{"Edg", "Edge"},
		{"OPR/", "Opera"},
		{"SamsungBrowser", "Samsung Internet"},
		{"Firefox", "Firefox"},
		{"FxiOS", "Firefox"},
		{"CriOS", "Chrome"},
		{"Chrome", "Chrome"},
		{"Safari", "Safari"},
		{"curl", "curl"},
	}
	systems = []sign{
		{"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android", "Android"}, {"Windows", "Windows"}, {"Mac OS X", "macOS"}, {"CrOS", "ChromeOS"}, {"Linux", "Linux"},
	}
)

// sign is a text by which something is recognised.
type sign struct{ text, name string }

func known(agent string, signs []sign) string {
	for _, s := range signs {
		if strings.Contains(agent, s.text) {
			return s.name
		}
	}
	return ""
}
