package endpoint

import (
	"cmp"
	"errors"
	"net/http"

	"github.com/counterfoil/counterfoil/internal/console"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// signedIn is a handler of a page that needs somebody signed in.
func (e *endpoint) signedIn(handle func(w *response, r *http.Request, session *oauth.SessionView) error) handler {
	return func(w *response, r *http.Request) error {
		session, err := e.session(r)
		if errors.Is(err, oauth.ErrSessionMissing) {
			e.toSignIn(w, r)
			return nil
		}
		if err != nil {
			return err
		}
		return handle(w, r, &session)
	}
}

// account is the navigation of somebody signed in.
func (e *endpoint) account(session *oauth.SessionView) console.Account {
	a := console.Account{
		DevicesURL:        e.base + devicesPath,
		SignOut:           e.form(session, signOutPath, "sign out"),
		SignOutEverywhere: e.form(session, signOutPath, "sign out", console.Field{Name: "everywhere", Value: "true"}),
	}
	if e.Server.Passwords != nil {
		a.PasswordURL = e.base + passwordPath
	}
	return a
}

// devices shows where a user is signed in: browsers, and clients that hold tokens.
func (e *endpoint) devices(w *response, r *http.Request, session *oauth.SessionView) error {
	return e.showDevices(w, r, session, false)
}

func (e *endpoint) showDevices(w *response, r *http.Request, session *oauth.SessionView, ended bool) error {
	d, err := e.Server.Devices(r.Context(), session)
	if err != nil {
		return err
	}
	page := console.Devices{Username: session.Subject.Username, Account: e.account(session), Ended: ended}
	for _, v := range d.Grants {
		g := &v.Grant
		page.Grants = append(page.Grants, console.Device{
			Form: e.form(session, devicesPath, "devices", console.Field{Name: "grant_id", Value: g.PublicID}),
			Name: cmp.Or(d.Clients[g.ClientID], g.ClientID), Scope: g.Scope, Since: g.CreatedAt, LastUsed: g.LastUsedAt,
		})
	}
	for _, s := range d.Sessions {
		page.Sessions = append(page.Sessions, console.Device{
			Form: e.form(session, devicesPath, "devices", console.Field{Name: "session_id", Value: s.Key.ID()}),
			Name: s.Browser, Since: s.CreatedAt, Current: s.Key == session.Session.Key,
		})
	}
	e.page(w, &standard, http.StatusOK, "", e.Pages.Devices(e.language(r), page))
	return nil
}

// endDevice ends a grant or a session of the user.
func (e *endpoint) endDevice(w *response, r *http.Request, session *oauth.SessionView) error {
	fields, err := e.submitted(w, r, session, "devices")
	if err != nil {
		return err
	}
	event := oauth.Event{RequestID: w.requestID, Source: w.source}
	if id := fields["grant_id"].Value; id != "" {
		err = e.Server.EndGrant(r.Context(), session, id, event)
	} else {
		err = e.Server.EndSession(r.Context(), session, fields["session_id"].Value, event)
	}
	if err != nil {
		return err
	}
	w.outcome = "ended"
	return e.showDevices(w, r, session, true)
}

// password shows the page for a new password.
func (e *endpoint) password(w *response, r *http.Request, session *oauth.SessionView) error {
	if e.Server.Passwords == nil {
		return oauth.ErrPathUnknown
	}
	e.showPassword(w, r, session, http.StatusOK, console.Password{})
	return nil
}

func (e *endpoint) showPassword(w *response, r *http.Request, session *oauth.SessionView, status int, page console.Password) {
	page.Form = e.form(session, passwordPath, "password")
	page.Username, page.Account = session.Subject.Username, e.account(session)
	e.page(w, &standard, status, "", e.Pages.Password(e.language(r), page))
}

// takePassword gives the user a new password, and the browser a new session with it.
func (e *endpoint) takePassword(w *response, r *http.Request, session *oauth.SessionView) error {
	if e.Server.Passwords == nil {
		return oauth.ErrPathUnknown
	}
	fields, err := e.submitted(w, r, session, "password")
	if err != nil {
		return err
	}
	change := oauth.PasswordChange{
		Current: oauth.Secret(fields["current_password"].Value), New: oauth.Secret(fields["new_password"].Value),
		Source: w.source, RequestID: w.requestID,
	}
	if fields["new_password_repeat"].Value != string(change.New) {
		e.showPassword(w, r, session, http.StatusBadRequest, console.Password{Problem: console.ProblemMismatch})
		return nil
	}
	token, err := e.Server.ChangePassword(r.Context(), session, change)
	if err != nil {
		return e.passwordRefused(w, r, session, err)
	}
	renewed, err := e.Server.Session(r.Context(), token)
	if err != nil {
		return err
	}
	w.outcome = "password_set"
	e.remember(w, token)
	e.showPassword(w, r, &renewed, http.StatusOK, console.Password{Done: true})
	return nil
}

// passwordRefused says on the page why there is no new password.
func (e *endpoint) passwordRefused(w *response, r *http.Request, session *oauth.SessionView, err error) error {
	problem, refusal := w.problem(err)
	if problem == "" {
		return err
	}
	page := console.Password{Problem: problem, RetryAfter: refusal.RetryAfter}
	switch problem {
	case console.ProblemCredentials:
		page.Problem = console.ProblemCurrent
	case console.ProblemWeak:
		page.Weakness = refusal.Parameter
	}
	e.showPassword(w, r, session, status(refusal), page)
	return nil
}
