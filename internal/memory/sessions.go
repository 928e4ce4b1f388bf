package memory

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// CreateSession implements oauth.Store.
func (s *Store) CreateSession(_ context.Context, n oauth.Session, lifetime time.Duration, e oauth.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[n.Subject]
	if u == nil || u.Epoch != n.SubjectEpoch || u.Blocked() != nil {
		return oauth.ErrConflict
	}
	n.CreatedAt = s.now()
	n.ExpiresAt = precise(n.CreatedAt.Add(lifetime))
	s.sessions[n.Key] = n
	s.record(e)
	return nil
}

// Session implements oauth.Store.
func (s *Store) Session(_ context.Context, key oauth.SessionKey) (oauth.SessionView, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	session, known := s.sessions[key]
	if !known || !s.lives(&session) {
		return oauth.SessionView{}, oauth.ErrNotFound
	}
	return oauth.SessionView{Session: session, Subject: s.users[session.Subject].Subject}, nil
}

// lives reports whether a session still counts.
func (s *Store) lives(session *oauth.Session) bool {
	u := s.users[session.Subject]
	return s.now().Before(session.ExpiresAt) && u != nil && u.Epoch == session.SubjectEpoch && u.Blocked() == nil
}

// SessionsOf implements oauth.Store.
func (s *Store) SessionsOf(_ context.Context, subject string) ([]oauth.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var living []oauth.Session
	for _, session := range s.sessions {
		if session.Subject == subject && s.lives(&session) {
			living = append(living, session)
		}
	}
	slices.SortFunc(living, func(a, b oauth.Session) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), slices.Compare(a.Key[:], b.Key[:]))
	})
	return living, nil
}

// EndSession implements oauth.Store.
func (s *Store) EndSession(_ context.Context, key oauth.SessionKey, subject string, e oauth.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if session, known := s.sessions[key]; known && session.Subject == subject {
		delete(s.sessions, key)
		s.record(e)
	}
	return nil
}

// SignOut implements oauth.Store.
func (s *Store) SignOut(_ context.Context, subject string, e oauth.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[subject]
	if u == nil {
		return oauth.ErrNotFound
	}
	u.Epoch++
	s.endSessions(subject)
	s.revokeAll(reasonSignedOut, func(g *oauth.Grant) bool { return g.Subject == subject })
	s.record(e)
	return nil
}

// endSessions deletes the sessions of a subject.
func (s *Store) endSessions(subject string) {
	sweep(s.sessions, false, func(session oauth.Session) bool { return session.Subject == subject })
}
