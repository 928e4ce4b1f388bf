package memory

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// Client implements oauth.Store.
func (s *Store) Client(_ context.Context, id string) (oauth.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clients[id]
	if c == nil {
		return oauth.Client{}, oauth.ErrNotFound
	}
	return s.showClient(c), nil
}

// ClientVersion implements oauth.Store.
func (s *Store) ClientVersion(_ context.Context, id string) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients[id] == nil {
		return 0, oauth.ErrNotFound
	}
	return s.clients[id].Version, nil
}

// Clients implements admin.Store.
func (s *Store) Clients(context.Context) ([]oauth.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]oauth.Client, 0, len(s.clients))
	for _, c := range s.clients {
		all = append(all, s.showClient(c))
	}
	slices.SortFunc(all, func(a, b oauth.Client) int { return strings.Compare(a.ID, b.ID) })
	return all, nil
}

// showClient shows a client with its live secrets and whether its owner is blocked.
func (s *Store) showClient(c *oauth.Client) oauth.Client {
	shown, now := copyClient(c), s.now()
	shown.Secrets = slices.DeleteFunc(shown.Secrets, func(secret oauth.ClientSecret) bool {
		return !secret.Alive(now)
	})
	owner := s.users[c.Owner]
	shown.OwnerBlocked = c.Owner != "" && (owner == nil || owner.Blocked() != nil)
	return shown
}

// CreateClient implements admin.Store.
func (s *Store) CreateClient(_ context.Context, c oauth.Client, e oauth.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients[c.ID] != nil {
		return oauth.ErrExists
	}
	created := copyClient(&c)
	created.CreatedAt, created.LastUsedAt, created.NotBefore = s.now(), time.Time{}, s.ended[c.ID]
	s.putClient(&created)
	s.record(e)
	return nil
}

// UpdateClient implements admin.Store.
func (s *Store) UpdateClient(_ context.Context, c oauth.Client, e oauth.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	present := s.clients[c.ID]
	switch {
	case present == nil:
		return oauth.ErrNotFound
	case present.Version != c.Version:
		return oauth.ErrConflict
	}
	changed := copyClient(&c)
	changed.CreatedAt, changed.LastUsedAt, changed.NotBefore = present.CreatedAt, present.LastUsedAt, present.NotBefore
	if present.Active && !changed.Active {
		changed.NotBefore = s.cutOff(present)
	}
	s.putClient(&changed)
	s.record(e)
	return nil
}

// RevokeClientTokens implements oauth.Store.
func (s *Store) RevokeClientTokens(_ context.Context, clientID string, notBefore time.Time, e oauth.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clients[clientID]
	if c == nil || !c.NotBefore.Equal(precise(notBefore)) {
		return nil
	}
	s.raiseVersion(c)
	c.UpdatedAt, c.NotBefore = s.now(), s.cutOff(c)
	s.record(e)
	return nil
}

// SaveClientUse implements oauth.Store.
func (s *Store) SaveClientUse(_ context.Context, used map[string]time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, at := range used {
		if c := s.clients[id]; c != nil {
			c.LastUsedAt = later(c.LastUsedAt, precise(at))
		}
	}
	return nil
}

// cutOff is the moment before which a client's own tokens end: never the same twice.
func (s *Store) cutOff(c *oauth.Client) time.Time {
	return later(s.now(), c.NotBefore.Add(time.Microsecond))
}

// putClient writes a client under a new version.
func (s *Store) putClient(c *oauth.Client) {
	c.UpdatedAt = s.now()
	c.OwnerBlocked = false // computed where it is shown
	s.raiseVersion(c)
	s.clients[c.ID] = c
}

// raiseVersion gives a client a version that its ID never had.
func (s *Store) raiseVersion(c *oauth.Client) {
	s.versions[c.ID]++
	c.Version = s.versions[c.ID]
}

// DeleteClient implements admin.Store. Its last version is kept for ever.
func (s *Store) DeleteClient(_ context.Context, id string, e oauth.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients[id] == nil {
		return oauth.ErrNotFound
	}
	s.revokeAll(reasonClientDeleted, func(g *oauth.Grant) bool { return g.ClientID == id })
	s.ended[id] = s.cutOff(s.clients[id])
	delete(s.clients, id)
	s.record(e)
	return nil
}
