package oauth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"
)

// SessionKey names a session in the store: the hash of what the browser keeps.
type SessionKey [sha256.Size]byte

// ID is the name of a session in pages and logs: no secret, since nothing leads back
// from it to what the browser keeps.
func (k SessionKey) ID() string { return hex.EncodeToString(k[:10]) }

// Session is a browser in which a user is signed in.
type Session struct {
	Key          SessionKey
	Subject      string // Subject.ID
	SubjectEpoch int64
	Browser      string // its name for people, such as "Firefox on Linux"
	CreatedAt    time.Time
	ExpiresAt    time.Time
}

// SessionView is a living session with its subject, read in one step.
type SessionView struct {
	Session Session
	Subject Subject
}

// SignIn is a name and a password typed into the sign-in page.
type SignIn struct {
	Username  string
	Password  Secret
	Browser   string // for people
	Source    string // network of the caller, as in TokenRequest
	RequestID string
}

// SignIn begins a session. It returns what the browser keeps, 43 characters of 256
// random bits, or a Refusal as for the password grant, or a fault.
func (s *Server) SignIn(ctx context.Context, in SignIn) (Secret, error) {
	account, err := s.login(ctx, in.Source, Secret(in.Username), in.Password)
	if err != nil {
		return "", err
	}
	e := Event{Type: EventLogin, Reason: "sign_in", RequestID: in.RequestID, Subject: account.ID, Source: in.Source}
	token, err := s.createSession(ctx, &account.Subject, in.Browser, e)
	if errors.Is(err, ErrConflict) { // changed since the password was checked
		return "", ErrPasswordIncorrect.Because(errors.New("the account changed meanwhile"))
	}
	return token, err
}

func (s *Server) createSession(ctx context.Context, subject *Subject, browser string, e Event) (Secret, error) {
	var random [32]byte
	if _, err := io.ReadFull(s.Rand, random[:]); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	token := Secret(base64.RawURLEncoding.EncodeToString(random[:]))
	n := Session{Key: sessionKey(token), Subject: subject.ID, SubjectEpoch: subject.Epoch, Browser: browser}
	return token, s.Store.CreateSession(context.WithoutCancel(ctx), n, s.Settings.SessionLifetime, e)
}

func sessionKey(token Secret) SessionKey { return sha256.Sum256([]byte(token)) }

// Session returns the session of what a browser keeps, or ErrSessionMissing.
func (s *Server) Session(ctx context.Context, token Secret) (SessionView, error) {
	if token == "" {
		return SessionView{}, ErrSessionMissing
	}
	v, err := s.Store.Session(ctx, sessionKey(token))
	if errors.Is(err, ErrNotFound) {
		return v, ErrSessionMissing
	}
	return v, err
}

// FormToken is what a form of a signed-in user carries along, so that no other site
// can have made it: bound to the session and to what the form is for.
func (s *Server) FormToken(session SessionKey, purpose string) string {
	keys := s.Keys()
	return keys.formToken(keys.Active(), session, purpose)
}

// CheckFormToken returns ErrFormForged unless FormToken made it, under any master key.
func (s *Server) CheckFormToken(token string, session SessionKey, purpose string) error {
	keys := s.Keys()
	for _, id := range keys.IDs() {
		if hmac.Equal([]byte(token), []byte(keys.formToken(id, session, purpose))) {
			return nil
		}
	}
	return ErrFormForged
}

func (k *Keys) formToken(id uint16, session SessionKey, purpose string) string {
	sum := mac(k.keys[id].form, "form/v1", string(session[:]), purpose)
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}
