package endpoint

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/counterfoil/counterfoil/internal/console"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// The addresses of the pages.
const (
	signInPath   = "/oauth2/sign-in"
	signOutPath  = "/oauth2/sign-out"
	devicesPath  = "/oauth2/devices"
	passwordPath = "/oauth2/password"
)

// AssetsPath is where the assets of pages are served.
const AssetsPath = "/oauth2/assets/"

// formTokenField carries oauth.Server.FormToken.
const formTokenField = "csrf_token"

// page writes a page. Its forms lead to us, and from here to the client's address at
// most: browsers hold a form to that for its redirects too (CSP Level 3 section 6.4.2).
func (e *endpoint) page(w *response, d *dialect, status int, redirectURI string, body []byte) {
	h := w.Header()
	h["Cache-Control"] = d.uncached
	h["Content-Security-Policy"] = []string{
		"default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'" + formTarget(redirectURI),
	}
	h["X-Frame-Options"] = noFrame
	w.send(status, htmlType, body)
}

// formTarget is a redirection URI as a source of a Content-Security-Policy.
func formTarget(redirectURI string) string {
	u, err := url.Parse(redirectURI)
	switch {
	case err != nil || u.Scheme == "":
		return ""
	case (u.Scheme == "http" || u.Scheme == "https") && !strings.ContainsAny(u.Host, ";, '\"["): // a policy has no spelling for IPv6
		return " " + u.Scheme + "://" + u.Host
	}
	return " " + u.Scheme + ":"
}

// refuseOnPage tells a user what is wrong.
func (e *endpoint) refuseOnPage(w *response, r *http.Request, refusal *oauth.Refusal) {
	code, kind := status(refusal), console.MessageBadRequest
	switch refusal.Reason {
	case oauth.ErrClientUnknown.Reason, oauth.ErrRedirectURIUnknown.Reason:
		kind = console.MessageUnknownClient
	case oauth.ErrFormForged.Reason:
		code, kind = http.StatusForbidden, console.MessageForbidden
	case oauth.ErrPathUnknown.Reason:
		kind = console.MessageNotFound
	default:
		if code == http.StatusServiceUnavailable {
			kind = console.MessageUnavailable
		}
	}
	page := console.Message{Kind: kind, RequestID: w.requestID}
	if kind == console.MessageBadRequest {
		page.Detail = refusal.Description
	}
	e.page(w, &standard, code, "", e.Pages.Message(e.language(r), page))
}

func (e *endpoint) language(r *http.Request) string {
	return e.Pages.Language(r.Header.Get("Accept-Language"))
}

// redirect leads on to a page of ours, by its path and query.
func (e *endpoint) redirect(w *response, to string) {
	h := w.Header()
	h["Cache-Control"] = noStore
	h["Location"] = []string{e.base + to}
	w.WriteHeader(http.StatusSeeOther)
}

// toSignIn leads to the sign-in page and back here.
func (e *endpoint) toSignIn(w *response, r *http.Request) {
	w.outcome = "sign_in"
	e.redirect(w, signInPath+"?"+url.Values{"continue": {r.URL.RequestURI()}}.Encode())
}

// continues are the paths that a sign-in may lead on to.
var continues = []string{authorizePath, oroAuthorizePath, devicesPath, passwordPath}

// onward is where a sign-in leads on to: one of our own pages, whatever is asked for.
func onward(asked string) string {
	u, err := url.ParseRequestURI(asked)
	if err != nil || u.Scheme != "" || u.Host != "" || u.RawPath != "" {
		return devicesPath
	}
	for _, path := range continues {
		if u.Path == path {
			return u.RequestURI()
		}
	}
	return devicesPath
}

// cookieName is the name of the session's cookie. Browsers take the prefix over https
// only, and then from this very host (RFC 6265bis section 4.1.3).
func (e *endpoint) cookieName() string {
	if e.secure {
		return "__Host-counterfoil"
	}
	return "counterfoil"
}

// remember puts a session into the browser; none ends it there.
func (e *endpoint) remember(w *response, token oauth.Secret) {
	c := http.Cookie{
		Name: e.cookieName(), Value: string(token), Path: "/", Secure: e.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	if token == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, &c)
}

// session returns the session of the browser, or oauth.ErrSessionMissing.
func (e *endpoint) session(r *http.Request) (oauth.SessionView, error) {
	cookie, err := r.Cookie(e.cookieName())
	if err != nil {
		return oauth.SessionView{}, oauth.ErrSessionMissing
	}
	return e.Server.Session(r.Context(), oauth.Secret(cookie.Value))
}

// form is a form of a signed-in user, sent to a path and query of ours.
func (e *endpoint) form(session *oauth.SessionView, to, purpose string, hidden ...console.Field) console.Form {
	token := console.Field{Name: formTokenField, Value: e.Server.FormToken(session.Session.Key, purpose)}
	return console.Form{Action: e.base + to, Hidden: append(hidden, token)}
}

// submitted reads a form that a page of ours sent.
func (e *endpoint) submitted(w *response, r *http.Request, session *oauth.SessionView, purpose string) (oauth.Parameters, error) {
	fields, err := e.sent(w, r)
	if err != nil {
		return nil, err
	}
	return fields, e.Server.CheckFormToken(fields[formTokenField].Value, session.Session.Key, purpose)
}

// sent reads a form that no other site sent.
func (e *endpoint) sent(w *response, r *http.Request) (oauth.Parameters, error) {
	if err := e.crossOrigin.Check(r); err != nil {
		return nil, oauth.ErrFormForged.Because(err)
	}
	contentType, err := single(r.Header, "Content-Type")
	if err != nil {
		return nil, err
	}
	if media, ok := strictMedia(contentType); !ok || media != formMedia {
		return nil, oauth.ErrMediaType
	}
	body, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	return standardForm(body)
}

// asset serves what pages are made of. The name changes with the content.
func (e *endpoint) asset(w *response, r *http.Request) error {
	body, mediaType, ok := e.Pages.Asset(r.PathValue("name"))
	if !ok {
		return oauth.ErrPathUnknown
	}
	h := w.Header()
	h["Cache-Control"] = forEver
	h["Content-Security-Policy"] = []string{"default-src 'none'; style-src 'unsafe-inline'; sandbox"} // a logo that is looked at alone
	w.send(http.StatusOK, []string{mediaType}, body)
	return nil
}
