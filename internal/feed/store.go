package feed

import (
	"context"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// Store is what a feed is made from. Its clock is that of oauth.Store, and so are its
// errors.
type Store interface {
	// Changes reads what was cut off, or let in again, at a time of the store not before
	// since. A change that is being written may come with an earlier time later on.
	Changes(ctx context.Context, since time.Time) (Changes, error)

	// Rotations calls each for every active grant that was rotated since a time of the
	// store. It looks at all grants.
	Rotations(ctx context.Context, since time.Time, each func(oauth.Rotation)) error

	// Announce tells the other nodes what a node rotated. The announcements of all
	// nodes are numbered one after the other, without a gap, in the order in which they
	// can be read. Only the latest few hundred are kept.
	Announce(ctx context.Context, a Announcement) error

	// Announced reads the announcements after a number that are still there, in their
	// order, and the number of the last one there was.
	Announced(ctx context.Context, after int64) ([]Announcement, int64, error)

	// LongestLifetime returns the store's time, and the longest lifetime of access tokens
	// that any client has of its own; 0: none has.
	LongestLifetime(ctx context.Context) (now time.Time, longest time.Duration, err error)

	// Followed returns when Follow was last called at any node; zero: never.
	Followed(ctx context.Context) (time.Time, error)

	// Follow lets all nodes know that somebody follows.
	Follow(ctx context.Context) error
}

// Changes are the changes since a time, each thing as it is now.
type Changes struct {
	Now      time.Time // of the store
	Grants   []RevokedGrant
	Subjects []ChangedSubject
	Clients  []ChangedClient
}

// RevokedGrant is a grant that was revoked.
type RevokedGrant struct {
	PublicID string
	ClientID string
	At       time.Time
}

// ChangedSubject is a user who was changed, in whatever way, since the account was made.
type ChangedSubject struct {
	ID      string
	At      time.Time
	Blocked bool           // or gone
	Grants  []RevokedGrant // of a blocked one the active grants; At is not set
	Ended   []RevokedGrant // those whose epoch is over; likewise
}

// ChangedClient is a client that was changed, in whatever way, since it was made.
type ChangedClient struct {
	ID        string
	At        time.Time
	Blocked   bool // or gone
	NotBefore time.Time
}

// Announcement is what a node rotated since its last one; perhaps nothing.
type Announcement struct {
	Number    int64 // set by the store, like At
	At        time.Time
	Node      string
	Rotations []oauth.Rotation
	Final     bool // the node ends: it has nothing more to tell
}
