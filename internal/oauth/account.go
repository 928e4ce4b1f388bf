package oauth

import (
	"context"
	"errors"
)

// Devices are what a user is signed in on.
type Devices struct {
	Grants   []GrantView       // alive, newest first
	Clients  map[string]string // names of the grants' clients, by client id
	Sessions []Session         // newest first
}

// mostDevices is how many grants a user is shown.
const mostDevices = 1000

// Devices returns the living grants and sessions of the user of a session.
func (s *Server) Devices(ctx context.Context, v *SessionView) (Devices, error) {
	d := Devices{Clients: map[string]string{}}
	views, err := s.Store.GrantsOf(ctx, v.Subject.ID, mostDevices)
	if err != nil {
		return d, err
	}
	clients := map[string]Client{}
	for _, view := range views {
		client, known := clients[view.Grant.ClientID]
		if !known {
			if client, err = s.Store.Client(ctx, view.Grant.ClientID); err != nil && !errors.Is(err, ErrNotFound) {
				return d, err
			}
			clients[view.Grant.ClientID] = client
		}
		if client.ID == "" || !view.Now.Before(view.Grant.ExpiresAt(s.policy(&client, Standard))) {
			continue
		}
		d.Grants = append(d.Grants, view)
		d.Clients[client.ID] = client.Name
	}
	d.Sessions, err = s.Store.SessionsOf(ctx, v.Subject.ID)
	return d, err
}

// EndGrant ends a grant of the user of a session, by Grant.PublicID. One that is
// somebody else's, or gone, stays as it is.
func (s *Server) EndGrant(ctx context.Context, v *SessionView, publicID string, e Event) error {
	grant, err := s.Store.GrantByPublicID(ctx, publicID)
	switch {
	case errors.Is(err, ErrNotFound) || err == nil && grant.Grant.Subject != v.Subject.ID:
		return nil
	case err != nil:
		return err
	}
	e.Type, e.Reason, e.Subject, e.GrantID, e.ClientID = EventRevocation, "ended_by_user", v.Subject.ID, publicID, grant.Grant.ClientID
	return s.Store.RevokeGrant(context.WithoutCancel(ctx), grant.Grant.ID, e.Reason, e)
}

// EndSession ends a session of the user of a session, by SessionKey.ID.
func (s *Server) EndSession(ctx context.Context, v *SessionView, id string, e Event) error {
	sessions, err := s.Store.SessionsOf(ctx, v.Subject.ID)
	if err != nil {
		return err
	}
	e.Type, e.Reason, e.Subject = EventRevocation, "signed_out", v.Subject.ID
	for _, session := range sessions {
		if session.Key.ID() == id {
			return s.Store.EndSession(context.WithoutCancel(ctx), session.Key, v.Subject.ID, e)
		}
	}
	return nil
}

// SignOutEverywhere ends all sessions and grants of the user of a session.
func (s *Server) SignOutEverywhere(ctx context.Context, v *SessionView, e Event) error {
	e.Type, e.Reason, e.Subject = EventRevocation, "signed_out_everywhere", v.Subject.ID
	return s.Store.SignOut(context.WithoutCancel(ctx), v.Subject.ID, e)
}

// PasswordChange is what a signed-in user types into the password page.
type PasswordChange struct {
	Current, New Secret
	Source       string
	RequestID    string
}

// ChangePassword gives the user of a session a new password, ends all sessions, and
// gives the browser a new one. It
// returns ErrPasswordIncorrect, ErrThrottled, ErrPasswordWeak, ErrBusy or a fault.
func (s *Server) ChangePassword(ctx context.Context, v *SessionView, c PasswordChange) (Secret, error) {
	account, err := s.login(ctx, c.Source, Secret(v.Subject.Username), c.Current)
	if err != nil {
		return "", err
	}
	if account.ID != v.Subject.ID {
		return "", ErrPasswordIncorrect
	}
	e := Event{Type: EventAdministration, Reason: "password_set", RequestID: c.RequestID, Subject: account.ID, Source: c.Source, Detail: "by the user"}
	err = s.Passwords.ChoosePassword(context.WithoutCancel(ctx), account, c.New, !s.Settings.KeepGrants, e)
	if errors.Is(err, ErrConflict) { // somebody else changed the account: the password that was checked counts no more
		return "", ErrPasswordIncorrect.Because(err)
	}
	if err != nil {
		return "", err
	}
	subject := account.Subject
	if !s.Settings.KeepGrants {
		subject.Epoch++ // what this change made of it: if it is another by now, there is no session
	}
	return s.createSession(ctx, &subject, v.Session.Browser, Event{
		Type: EventLogin, Reason: "sign_in", RequestID: c.RequestID, Subject: subject.ID, Source: c.Source,
	})
}
