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

// Devices returns the living grants and sessions of the user of a session.
func (s *Server) Devices(ctx context.Context, v *SessionView) (Devices, error) {
	d := Devices{Clients: map[string]string{}}
	views, err := s.Store.GrantsOf(ctx, v.Subject.ID)
	if err != nil {
		return d, err
	}
	for _, view := range views {
		client, err := s.Store.Client(ctx, view.Grant.ClientID)
		switch {
		case errors.Is(err, ErrNotFound):
			continue
		case err != nil:
			return d, err
		}
		policy := s.policy(&client, Standard)
		if view.Grant.Status != GrantActive || !view.Now.Before(view.Grant.ExpiresAt(policy)) || view.Grant.SubjectEpoch != view.Subject.Epoch {
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

// ChangePassword gives the user of a session a new password, and the browser a new
// session: where a new password ends the user's grants, it ends the sessions too. It
// returns ErrPasswordIncorrect, ErrThrottled, ErrPasswordWeak, ErrBusy or a fault.
func (s *Server) ChangePassword(ctx context.Context, v *SessionView, c PasswordChange) (Secret, error) {
	subject, err := s.login(ctx, c.Source, Secret(v.Subject.Username), c.Current)
	if err != nil {
		return "", err
	}
	if subject.ID != v.Subject.ID {
		return "", ErrPasswordIncorrect
	}
	account, err := s.Directory.Lookup(ctx, subject.Username)
	if err != nil {
		return "", err
	}
	e := Event{Type: EventAdministration, Reason: "password_set", RequestID: c.RequestID, Subject: subject.ID, Source: c.Source, Detail: "by the user"}
	if err := s.Passwords.ChoosePassword(context.WithoutCancel(ctx), account, c.New, !s.Settings.KeepGrants, e); err != nil {
		return "", err
	}
	if subject, err = s.Store.Subject(ctx, subject.ID); err != nil {
		return "", err
	}
	return s.createSession(ctx, &subject, v.Session.Browser, Event{
		Type: EventLogin, Reason: "sign_in", RequestID: c.RequestID, Subject: subject.ID, Source: c.Source,
	})
}
