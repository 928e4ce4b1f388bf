package endpoint

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/counterfoil/counterfoil/internal/console"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// The addresses of the authorization endpoint (RFC 6749 section 3.1), by dialect.
const (
	authorizePath    = "/oauth2/authorize"
	oroAuthorizePath = "/oauth2-token/authorize"
)

// authorize is the authorization endpoint in a dialect: it sends a user who is not
// signed in to the sign-in page, asks whether the user agrees, and sends the user back
// to the client. GET shows, POST is the answer of the consent page.
func (e *endpoint) authorize(d *dialect) handler {
	return func(w *response, r *http.Request) error {
		if r.Method == http.MethodHead { // it would make a code
			return notAllowed("GET, POST")(w, r)
		}
		a, err := e.authorization(d, w, r)
		if err != nil {
			return e.toldToClient(d, w, &a, err)
		}
		w.route.refuse = e.refuseOnPage // from here on a user looks at it
		return e.signedIn(func(w *response, r *http.Request, session *oauth.SessionView) error {
			switch {
			case r.Method == http.MethodPost:
				return e.answerConsent(d, w, r, &a, session)
			case a.SkipsConsent():
				return e.approve(d, w, r, &a, session.Subject, session.Session.CreatedAt)
			}
			e.askConsent(d, w, r, &a, session)
			return nil
		})(w, r)
	}
}

// authorizeVisitor gives a storefront's client a code for a visitor, who has no account
// and is asked nothing.
func (e *endpoint) authorizeVisitor(w *response, r *http.Request) error {
	if r.Method == http.MethodHead {
		return notAllowed("GET")(w, r)
	}
	request, err := e.authorizationRequest(&oroCommerce, w, r)
	if err != nil {
		return err
	}
	request.Visitor = true
	a, err := e.Server.CheckAuthorization(r.Context(), request)
	if err != nil {
		return err
	}
	w.clientID = a.Client.ID
	return e.approve(&oroCommerce, w, r, &a, oauth.Subject{}, time.Time{})
}

// authorization reads and checks a request.
func (e *endpoint) authorization(d *dialect, w *response, r *http.Request) (oauth.Authorization, error) {
	request, err := e.authorizationRequest(d, w, r)
	if err != nil {
		return oauth.Authorization{}, err
	}
	a, err := e.Server.CheckAuthorization(r.Context(), request)
	if a.RedirectURI != "" {
		w.clientID = a.Client.ID
	}
	return a, err
}

// authorizationRequest reads the parameters, which are in the address.
func (e *endpoint) authorizationRequest(d *dialect, w *response, r *http.Request) (oauth.AuthorizationRequest, error) {
	parameters, err := d.query(r.URL.RawQuery)
	return oauth.AuthorizationRequest{Profile: d.profile, Parameters: parameters, Source: w.source, RequestID: w.requestID}, err
}

// toldToClient sends the user back with what is wrong, where we know that it is the
// client's address (RFC 6749 section 4.1.2.1); else the user sees it.
func (e *endpoint) toldToClient(d *dialect, w *response, a *oauth.Authorization, err error) error {
	var refusal *oauth.Refusal
	if a.RedirectURI == "" || !errors.As(err, &refusal) {
		return err
	}
	w.outcome = refusal.Reason
	d.sendBack(w, a.Refuse(e.Server.Settings.Issuer, refusal))
	return nil
}

// askConsent shows the consent page.
func (e *endpoint) askConsent(d *dialect, w *response, r *http.Request, a *oauth.Authorization, session *oauth.SessionView) {
	to, _ := url.Parse(a.RedirectURI) // it was registered
	here := r.URL.RequestURI()
	e.page(w, d, http.StatusOK, a.RedirectURI, e.Pages.Consent(e.language(r), console.Consent{
		Form:     e.form(session, here, consentPurpose(r, a)),
		Client:   clientName(&a.Client),
		Username: session.Subject.Username,
		Scopes:   a.Scope, APIs: a.Client.APIs,
		RedirectTo:    destination(to),
		SwitchAccount: e.form(session, signOutPath, "sign out", console.Field{Name: "continue", Value: here}),
	}))
	w.outcome = "asked"
}

// clientName is what people know a client by.
func clientName(c *oauth.Client) string {
	return cmp.Or(c.Name, c.ID)
}

// destination says where a redirection URI leads: a host, or an app by its scheme.
func destination(u *url.URL) string {
	if u.Scheme == "https" || u.Scheme == "http" {
		return u.Host
	}
	return u.Scheme + ":" // what comes after it says nothing
}

// consentPurpose binds the token of a consent form to the request it is about, and to
// what the client was when the user was asked.
func consentPurpose(r *http.Request, a *oauth.Authorization) string {
	return fmt.Sprintf("consent %d %s", a.Client.Version, r.URL.RequestURI())
}

// answerConsent takes the answer of the consent page. Whatever is not a yes is a no.
func (e *endpoint) answerConsent(d *dialect, w *response, r *http.Request, a *oauth.Authorization, session *oauth.SessionView) error {
	fields, err := e.submitted(w, r, session, consentPurpose(r, a))
	if err != nil {
		return err
	}
	if fields["grantAccess"].Value != "true" {
		w.outcome = oauth.ErrAccessDenied.Reason
		d.sendBack(w, e.Server.Deny(a))
		return nil
	}
	return e.approve(d, w, r, a, session.Subject, session.Session.CreatedAt)
}

// approve sends the user back with a code. Where user or client changed meanwhile,
// everything is looked at anew.
func (e *endpoint) approve(d *dialect, w *response, r *http.Request, a *oauth.Authorization, subject oauth.Subject, since time.Time) error {
	to, err := e.Server.Approve(r.Context(), a, subject, since)
	if errors.Is(err, oauth.ErrConflict) && r.Method == http.MethodPost {
		e.redirect(w, r.URL.RequestURI())
		return nil
	}
	if err != nil {
		return err
	}
	w.outcome = "authorized"
	d.sendBack(w, to)
	return nil
}

// sendBackStandard sends the user back to the client. 303 makes a GET of it, so that no
// form is sent along (RFC 9700 section 4.12).
func sendBackStandard(w *response, to string) {
	h := w.Header()
	h["Cache-Control"] = noStore
	h["Location"] = []string{to}
	w.WriteHeader(http.StatusSeeOther)
}

// sendBackOro does so as OroCommerce does.
func sendBackOro(w *response, to string) {
	h := w.Header()
	h["Cache-Control"] = noCachePrivate
	h["Location"] = []string{to}
	w.send(http.StatusFound, htmlType, nil)
}
