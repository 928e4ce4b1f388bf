package memory

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/feed"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// mostAnnounced is how many announcements are kept.
const mostAnnounced = 256

// Changes implements feed.Store.
func (s *Store) Changes(_ context.Context, since time.Time) (feed.Changes, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := feed.Changes{Now: s.now()}
	for _, g := range s.chooseGrants(func(g *oauth.Grant) bool { return g.Status == oauth.GrantRevoked && !g.RevokedAt.Before(since) }) {
		c.Grants = append(c.Grants, feed.RevokedGrant{PublicID: g.PublicID, ClientID: g.ClientID, At: g.RevokedAt})
	}
	for _, u := range s.users {
		if !u.UpdatedAt.Before(since) && (!u.UpdatedAt.Equal(u.CreatedAt) || u.Blocked() != nil) {
			c.Subjects = append(c.Subjects, s.changedSubject(u))
		}
	}
	for id, at := range s.deleted {
		if !at.Before(since) {
			c.Subjects = append(c.Subjects, feed.ChangedSubject{ID: id, At: at, Blocked: true})
		}
	}
	for _, client := range s.clients {
		shown := s.showClient(client)
		changed := !shown.UpdatedAt.Equal(shown.CreatedAt) || !shown.Active || shown.Owner != "" || !shown.NotBefore.IsZero()
		if changed && !shown.UpdatedAt.Before(since) {
			c.Clients = append(c.Clients, feed.ChangedClient{ID: shown.ID, At: shown.UpdatedAt, Blocked: !shown.Active || shown.OwnerBlocked, NotBefore: shown.NotBefore})
		}
	}
	for id, at := range s.ended {
		if s.clients[id] == nil && !at.Before(since) {
			c.Clients = append(c.Clients, feed.ChangedClient{ID: id, At: at, Blocked: true})
		}
	}
	return c, nil
}

// changedSubject shows a user with the active grants, those of its epoch and the others.
func (s *Store) changedSubject(u *oauth.User) feed.ChangedSubject {
	shown := feed.ChangedSubject{ID: u.ID, At: u.UpdatedAt, Blocked: u.Blocked() != nil}
	active := s.chooseGrants(func(g *oauth.Grant) bool { return g.Subject == u.ID && g.Status == oauth.GrantActive })
	slices.SortFunc(active, func(a, b *oauth.Grant) int { return strings.Compare(a.PublicID, b.PublicID) })
	for _, g := range active {
		named := feed.RevokedGrant{PublicID: g.PublicID, ClientID: g.ClientID}
		if g.SubjectEpoch < u.Epoch {
			shown.Ended = append(shown.Ended, named)
		} else if shown.Blocked {
			shown.Grants = append(shown.Grants, named)
		}
	}
	return shown
}

// Rotations implements feed.Store.
func (s *Store) Rotations(_ context.Context, since time.Time, each func(oauth.Rotation)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.grants {
		if g.Status == oauth.GrantActive && g.Generation > 0 && !g.RotatedAt.Before(since) {
			each(oauth.Rotation{GrantID: g.PublicID, ClientID: g.ClientID, Generation: g.Generation, At: g.RotatedAt})
		}
	}
	return nil
}

// LongestLifetime implements feed.Store.
func (s *Store) LongestLifetime(context.Context) (now time.Time, longest time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.clients {
		longest = max(longest, c.AccessTokenLifetime)
	}
	return s.now(), longest, nil
}

// Announce implements feed.Store.
func (s *Store) Announce(_ context.Context, a feed.Announcement) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.number++
	a.Number, a.At, a.Rotations = s.number, s.now(), slices.Clone(a.Rotations)
	s.announced = append(s.announced, a)
	s.announced = s.announced[max(0, len(s.announced)-mostAnnounced):]
	return nil
}

// Announced implements feed.Store.
func (s *Store) Announced(_ context.Context, after int64) ([]feed.Announcement, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []feed.Announcement
	for _, a := range s.announced {
		if a.Number > after {
			a.Rotations = slices.Clone(a.Rotations)
			list = append(list, a)
		}
	}
	return list, s.number, nil
}

// Followed implements feed.Store.
func (s *Store) Followed(context.Context) (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.followed, nil
}

// Follow implements feed.Store.
func (s *Store) Follow(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.followed = later(s.followed, s.now())
	return nil
}
