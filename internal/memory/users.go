package memory

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// CreateUser implements admin.Store. The ID of a deleted user stays taken.
func (s *Store) CreateUser(_ context.Context, u oauth.User, e oauth.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u.ID == oauth.VisitorID {
		return oauth.ErrExists
	}
	taken := s.findUser(func(o *oauth.User) bool {
		return o.ID == u.ID || o.Username == u.Username || o.Email != "" && o.Email == u.Email
	})
	if taken != nil || !s.deleted[u.ID].IsZero() {
		return oauth.ErrExists
	}
	u.Epoch = 1
	u.CreatedAt = s.now()
	u.UpdatedAt = u.CreatedAt
	s.users[u.ID] = &u
	s.record(e)
	return nil
}

// theVisitor is the subject of all visitors. No method that looks for users finds it.
func theVisitor() *oauth.User {
	return &oauth.User{Subject: oauth.Subject{ID: oauth.VisitorID, Epoch: 1, Enabled: true, State: oauth.SubjectActive}}
}

// findUser returns the user that fits, or nil.
func (s *Store) findUser(fit func(*oauth.User) bool) *oauth.User {
	for _, u := range s.users {
		if u.ID != oauth.VisitorID && fit(u) {
			return u
		}
	}
	return nil
}

// Subject implements oauth.Store.
func (s *Store) Subject(_ context.Context, id string) (oauth.Subject, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[id]
	if u == nil {
		return oauth.Subject{}, oauth.ErrNotFound
	}
	return u.Subject, nil
}

// User implements admin.Store.
func (s *Store) User(_ context.Context, username string) (oauth.User, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.findUser(func(u *oauth.User) bool { return u.Username == username })
	if u == nil {
		return oauth.User{}, oauth.ErrNotFound
	}
	return *u, nil
}

// UserByLogin implements password.Users.
func (s *Store) UserByLogin(_ context.Context, login string) (oauth.User, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.findUser(func(u *oauth.User) bool { return u.Username == login })
	if u == nil && login != "" {
		u = s.findUser(func(u *oauth.User) bool { return u.Email == login })
	}
	if u == nil {
		return oauth.User{}, oauth.ErrNotFound
	}
	return *u, nil
}

// UserByEmail implements password.Users.
func (s *Store) UserByEmail(_ context.Context, email string) (oauth.User, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []oauth.User
	wanted := strings.ToLower(email)
	for _, u := range s.users {
		if u.Email != "" && strings.ToLower(u.Email) == wanted {
			found = append(found, *u)
		}
	}
	if len(found) != 1 {
		return oauth.User{}, oauth.ErrNotFound
	}
	return found[0], nil
}

// Users implements admin.Store.
func (s *Store) Users(context.Context) ([]oauth.User, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]oauth.User, 0, len(s.users))
	for _, u := range s.users {
		if u.ID != oauth.VisitorID {
			all = append(all, *u)
		}
	}
	slices.SortFunc(all, func(a, b oauth.User) int { return strings.Compare(a.Username, b.Username) })
	return all, nil
}

// SetUserState implements admin.Store.
func (s *Store) SetUserState(_ context.Context, id string, enabled *bool, state oauth.SubjectState, e oauth.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[id]
	if u == nil {
		return oauth.ErrNotFound
	}
	s.setState(u, *cmp.Or(enabled, &u.Enabled), cmp.Or(state, u.State))
	s.record(e)
	return nil
}

// setState changes the state of a user, and with it that of the clients the user owns.
func (s *Store) setState(u *oauth.User, enabled bool, state oauth.SubjectState) {
	u.Enabled, u.State = enabled, state
	u.UpdatedAt = s.now()
	s.raiseOwned(u.ID)
}

// raiseOwned raises the versions of the clients that a user owns.
func (s *Store) raiseOwned(userID string) {
	for _, c := range s.clients {
		if c.Owner == userID {
			c.UpdatedAt = s.now()
			s.raiseVersion(c)
		}
	}
}

// SetPassword implements admin.Store.
func (s *Store) SetPassword(_ context.Context, id, hash string, endGrants bool, e oauth.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[id]
	if u == nil {
		return oauth.ErrNotFound
	}
	s.setPassword(u, hash, endGrants, e)
	return nil
}

func (s *Store) setPassword(u *oauth.User, hash string, endGrants bool, e oauth.Event) {
	u.PasswordHash = hash
	u.UpdatedAt = s.now()
	if endGrants {
		u.Epoch++
	}
	s.endSessions(u.ID)
	s.record(e)
}

// ChoosePassword implements password.Users.
func (s *Store) ChoosePassword(_ context.Context, known oauth.User, hash string, endGrants bool, e oauth.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[known.ID]
	if u == nil || u.Epoch != known.Epoch || !u.UpdatedAt.Equal(known.UpdatedAt) || u.Blocked() != nil {
		return oauth.ErrConflict
	}
	s.setPassword(u, hash, endGrants, e)
	return nil
}

// ReplacePasswordHash implements password.Users.
func (s *Store) ReplacePasswordHash(_ context.Context, userID, old, hash string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.users[userID]; u != nil && u.PasswordHash == old {
		u.PasswordHash = hash
	}
	return nil
}

// DeleteUser implements admin.Store. The ID is remembered for ever.
func (s *Store) DeleteUser(_ context.Context, id string, e oauth.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users[id] == nil {
		return oauth.ErrNotFound
	}
	s.revokeAll(reasonUserDeleted, func(g *oauth.Grant) bool { return g.Subject == id })
	s.raiseOwned(id)
	delete(s.users, id)
	s.deleted[id] = s.now()
	s.record(e)
	return nil
}
