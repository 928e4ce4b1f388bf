package feed

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// Interval is how often Step is to be called.
const Interval = 200 * time.Millisecond

// LongestWait is how long a follower may wait for news.
const LongestWait = 50 * time.Second

const (
	firstWait  = 8 * time.Second // who follows first waits so long for the record
	staleAfter = 3 * time.Second // after so long without a step nobody is told that all is well
	unfollowed = time.Hour       // after so long without a follower nobody follows
)

// ErrStale: what was cut off lately is not known here.
var ErrStale = errors.New("the feed is behind: the database could not be read")

// ErrCursor: a cursor that no feed gave out.
var ErrCursor = errors.New("not a cursor of this feed")

// Policy says what a rotation at a client does to the access tokens before it, and how
// long an access token of the client lives at most; for an empty client_id, what the
// server's settings say. See oauth.Server.AccessTokenPolicy.
type Policy func(ctx context.Context, clientID string) (oauth.PreviousAccessToken, time.Duration, error)

// Options are what a Feed needs. All fields are required.
type Options struct {
	Store  Store
	Policy Policy
	Now    func() time.Time // the node's clock
	Rand   io.Reader
}

// Feed is the revocation feed of a node: any number of followers wait at it, and one
// goroutine calls Step again and again.
type Feed struct {
	Options
	node   string // its name, of this life
	closed chan struct{}
	steps  steps

	queue      sync.Mutex       // of these four: refreshes take it, so nobody holds it for long
	asked      time.Time        // when somebody last wanted to follow here
	announcing bool             // somebody follows at some node
	unrecorded []oauth.Rotation // of this node, not in the record yet
	unsaid     []oauth.Rotation // of this node, not announced yet

	mu      sync.Mutex
	record  *record       // nil: nobody follows here
	began   chan struct{} // closed when there is a record
	news    chan struct{} // closed when something is added to it
	stepped time.Time     // when it was last brought up to date
}

// New returns a feed that nobody follows yet, or an error if the options are incomplete
// or there is no randomness.
func New(o Options) (*Feed, error) {
	if o.Store == nil || o.Policy == nil || o.Now == nil || o.Rand == nil {
		return nil, errors.New("feed: Store, Policy, Now and Rand are required")
	}
	var name [12]byte
	if _, err := io.ReadFull(o.Rand, name[:]); err != nil {
		return nil, fmt.Errorf("feed: read randomness: %w", err)
	}
	return &Feed{
		Options: o, node: hex.EncodeToString(name[:]), closed: make(chan struct{}), steps: steps{nodes: map[string]time.Time{}},
		began: make(chan struct{}), news: make(chan struct{}),
	}, nil
}

// Rotated takes note of a rotation of this node. See oauth.Server.
func (f *Feed) Rotated(r oauth.Rotation) {
	f.queue.Lock()
	defer f.queue.Unlock()
	if !f.asked.IsZero() {
		f.unrecorded = append(f.unrecorded, r)
	}
	if f.announcing {
		f.unsaid = append(f.unsaid, r)
	}
}

// Follow returns what was cut off after a cursor; without one, all that matters still.
// When there is nothing it waits for news, for so long. It returns ErrCursor or ErrStale.
func (f *Feed) Follow(ctx context.Context, since string, wait time.Duration) (Page, error) {
	var after *cursor
	if since != "" {
		c, ok := parseCursor(since)
		if !ok {
			return Page{}, ErrCursor
		}
		after = &c
	}
	if !f.hasBegun(ctx) {
		return Page{}, ErrStale
	}
	over := time.NewTimer(min(wait, LongestWait))
	defer over.Stop()
	for last := wait <= 0; ; {
		page, news, err := f.look(after)
		if err != nil || last || page.Complete || len(page.Cutoffs) > 0 {
			return page, err
		}
		select {
		case <-news:
		case <-over.C:
			last = true
		case <-f.closed:
			last = true
		case <-ctx.Done():
			return page, ctx.Err()
		}
	}
}

// hasBegun waits until there is a record.
func (f *Feed) hasBegun(ctx context.Context) bool {
	f.queue.Lock()
	f.asked = f.Now()
	f.queue.Unlock()
	f.mu.Lock()
	began := f.began
	f.mu.Unlock()
	patience := time.NewTimer(firstWait)
	defer patience.Stop()
	select {
	case <-began:
		return true
	case <-patience.C:
	case <-f.closed:
	case <-ctx.Done():
	}
	return false
}

// look returns what comes after a cursor, and what will be closed when there is more.
func (f *Feed) look(after *cursor) (Page, <-chan struct{}, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.record == nil || f.Now().Sub(f.stepped) > staleAfter {
		return Page{}, f.news, ErrStale
	}
	return f.record.page(after), f.news, nil
}

// Close lets all followers go: they find another node.
func (f *Feed) Close() { close(f.closed) }

// Stop announces what is left to say, and that the node ends, when the last request was
// answered.
func (f *Feed) Stop(ctx context.Context) error {
	f.steps.mu.Lock()
	defer f.steps.mu.Unlock()
	if f.steps.spoke.IsZero() {
		return nil
	}
	if err := f.announce(ctx); err != nil {
		return err
	}
	if err := f.Store.Announce(ctx, Announcement{Node: f.node, Final: true}); err != nil {
		return fmt.Errorf("announce the end: %w", err)
	}
	return nil
}
