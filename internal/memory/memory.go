package memory

import (
	"slices"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil/internal/feed"
	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/signing"
)

// Store implements admin.Store, signing.Store, password.Users and feed.Store. No method waits
// for anything, so contexts are not looked at. The only errors are those that the
// ports name, and faults for calls that no caller should make.
type Store struct {
	clock func() time.Time

	mu       sync.Mutex
	clients  map[string]*oauth.Client
	versions map[string]int64     // the last version of every client ID there ever was
	ended    map[string]time.Time // when clients were deleted, by ID
	users    map[string]*oauth.User
	deleted  map[string]time.Time // when users were deleted, by ID
	grants   map[oauth.GrantID]*oauth.Grant
	sessions map[oauth.SessionKey]oauth.Session

	events  []*recorded
	refused map[refusalKey]*recorded // those of events that refusals share
	noted   ring

	pairs    map[[16]byte]oauth.FailureCount
	sources  map[[16]byte]sourceFailures
	accounts map[[16]byte]oauth.FailureCount
	secrets  map[[16]byte]oauth.FailureCount

	announced []feed.Announcement // the latest
	number    int64               // of the last one
	followed  time.Time

	signingKeys []signing.Key
	revision    int64
	masterKeys  map[uint16][]byte
}

// New returns an empty store that takes the time from now.
func New(now func() time.Time) *Store {
	return &Store{
		clock:      now,
		clients:    map[string]*oauth.Client{},
		versions:   map[string]int64{},
		ended:      map[string]time.Time{},
		users:      map[string]*oauth.User{oauth.VisitorID: theVisitor()},
		sessions:   map[oauth.SessionKey]oauth.Session{},
		deleted:    map[string]time.Time{},
		grants:     map[oauth.GrantID]*oauth.Grant{},
		refused:    map[refusalKey]*recorded{},
		pairs:      map[[16]byte]oauth.FailureCount{},
		sources:    map[[16]byte]sourceFailures{},
		accounts:   map[[16]byte]oauth.FailureCount{},
		secrets:    map[[16]byte]oauth.FailureCount{},
		masterKeys: map[uint16][]byte{},
	}
}

// now is the store's clock.
func (s *Store) now() time.Time { return precise(s.clock()) }

// precise is a time as the store keeps it: UTC, in whole microseconds. The zero
// time stays zero.
func precise(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// copyGrant returns a grant that shares nothing with g, with the times as stored.
func copyGrant(g *oauth.Grant) oauth.Grant {
	c := *g
	c.Scope = slices.Clone(g.Scope)
	c.Resource = slices.Clone(g.Resource)
	c.AMR = slices.Clone(g.AMR)
	for _, t := range []*time.Time{
		&c.AuthTime, &c.RevokedAt, &c.RotatedAt, &c.IdleExpiresAt, &c.AbsoluteExpiresAt, &c.CreatedAt, &c.LastUsedAt,
	} {
		*t = precise(*t)
	}
	return c
}

// copyClient returns a client that shares nothing with c, with the times as stored.
func copyClient(c *oauth.Client) oauth.Client {
	d := *c
	d.GrantTypes = slices.Clone(c.GrantTypes)
	d.RedirectURIs = slices.Clone(c.RedirectURIs)
	d.Scope = slices.Clone(c.Scope) // an empty list stays a list, nil stays none
	d.APIs = slices.Clone(c.APIs)
	d.NotBefore, d.LastUsedAt = precise(c.NotBefore), precise(c.LastUsedAt)
	d.Secrets = slices.Clone(c.Secrets)
	for i := range d.Secrets {
		d.Secrets[i].ExpiresAt = precise(d.Secrets[i].ExpiresAt)
	}
	if c.RetryWindow != nil {
		window := *c.RetryWindow
		d.RetryWindow = &window
	}
	return d
}

// copyKeys returns keys that share nothing with the given ones, with the times as
// stored, oldest first.
func copyKeys(keys []signing.Key) []signing.Key {
	copied := slices.Clone(keys)
	for i := range copied {
		k := &copied[i]
		k.Sealed = slices.Clone(k.Sealed)
		for _, t := range []*time.Time{&k.PublishedAt, &k.ActiveAt, &k.RetiredAt, &k.ExpiresAt} {
			*t = precise(*t)
		}
	}
	slices.SortStableFunc(copied, func(a, b signing.Key) int { return a.PublishedAt.Compare(b.PublishedAt) })
	return copied
}
