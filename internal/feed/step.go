package feed

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

const (
	recent       = 5 * time.Second         // how long a change takes to be written, as a rule
	lookBack     = 10 * time.Second        // how often changes are looked for that took longer, up to overlap
	lookInterval = time.Second             // how often a node looks whether anybody follows
	tellInterval = time.Minute             // how often a node with followers tells the others
	headStart    = 1500 * time.Millisecond // what the others need to see it
	sign         = 4 * time.Second         // how often a node says at least that it lives, where anybody follows
	silence      = 12 * time.Second        // who falls silent for so long without saying so has died
	sweep        = 30 * time.Second        // how often what expired is forgotten

	mostInAnnouncement = 2000
)

// steps is what one step leaves for the next.
type steps struct {
	mu        sync.Mutex
	looked    time.Time            // when it was last looked whether anybody follows
	told      time.Time            // when the nodes were last told that somebody follows here
	begin     time.Time            // when the others announce
	spoke     time.Time            // when something was last announced
	heard     int64                // number of the last announcement
	nodes     map[string]time.Time // when each other node was last heard, by this node's clock
	missed    bool                 // rotations may have been missed: all grants are to be looked at
	longest   time.Duration        // how long access tokens live, of whatever client
	now       time.Time            // of the store, at the last step
	lookedFar time.Time
	swept     time.Time
}

// Step does what the node has to do for the feed: it announces its rotations where
// anybody follows, and keeps the record up to date where somebody follows here. After
// an error the next step does what is left.
func (f *Feed) Step(ctx context.Context) error {
	f.steps.mu.Lock()
	defer f.steps.mu.Unlock()
	here, err := f.lookForFollowers(ctx)
	if err != nil {
		return err
	}
	if err := f.announce(ctx); err != nil {
		return err
	}
	switch {
	case !here:
		f.end()
		return nil
	case f.record != nil: // only steps change it
		return f.keepUp(ctx)
	case f.Now().Before(f.steps.begin):
		return nil
	}
	return f.start(ctx)
}

// lookForFollowers finds out whether anybody follows, here or elsewhere.
func (f *Feed) lookForFollowers(ctx context.Context) (here bool, err error) {
	now, s := f.Now(), &f.steps
	f.queue.Lock()
	here = !f.asked.IsZero() && now.Sub(f.asked) < unfollowed
	f.queue.Unlock()
	if now.Sub(s.looked) < lookInterval && (!here || now.Sub(s.told) < tellInterval) {
		return here, nil
	}
	followed, err := f.Store.Followed(ctx)
	if err != nil {
		return here, fmt.Errorf("look for followers: %w", err)
	}
	s.looked = now
	elsewhere := now.Sub(followed) < unfollowed
	if here && now.Sub(s.told) >= tellInterval {
		if err := f.Store.Follow(ctx); err != nil {
			return here, fmt.Errorf("tell of followers: %w", err)
		}
		s.told, s.begin = now, now
		if !elsewhere {
			s.begin = now.Add(headStart)
		}
	}
	f.queue.Lock()
	f.announcing = here || elsewhere
	f.queue.Unlock()
	return here, nil
}

// announce tells the other nodes what this one rotated, or at least that it lives.
func (f *Feed) announce(ctx context.Context) error {
	f.queue.Lock()
	unsaid, announcing := f.unsaid, f.announcing
	f.unsaid = nil
	f.queue.Unlock()
	for announcing && (len(unsaid) > 0 || f.Now().Sub(f.steps.spoke) >= sign) {
		batch := unsaid[:min(len(unsaid), mostInAnnouncement)]
		if err := f.Store.Announce(ctx, Announcement{Node: f.node, Rotations: batch}); err != nil {
			f.queue.Lock()
			f.unsaid = append(unsaid, f.unsaid...)
			f.queue.Unlock()
			return fmt.Errorf("announce rotations: %w", err)
		}
		unsaid, f.steps.spoke = unsaid[len(batch):], f.Now()
	}
	return nil
}

// end forgets the record, when nobody follows here any more.
func (f *Feed) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queue.Lock()
	defer f.queue.Unlock()
	if f.record == nil && f.unrecorded == nil || f.Now().Sub(f.asked) < unfollowed {
		return
	}
	f.record, f.unrecorded, f.asked = nil, nil, time.Time{}
	f.began = make(chan struct{})
}

// start makes the record from the store.
func (f *Feed) start(ctx context.Context) error {
	var name [8]byte
	if _, err := io.ReadFull(f.Rand, name[:]); err != nil {
		return fmt.Errorf("read randomness: %w", err)
	}
	s := &f.steps
	earlier, heard, err := f.Store.Announced(ctx, 0)
	if err != nil {
		return fmt.Errorf("read announcements: %w", err)
	}
	horizon, err := f.horizon(ctx)
	if err != nil {
		return err
	}
	changes, err := f.Store.Changes(ctx, horizon)
	if err != nil {
		return fmt.Errorf("read changes: %w", err)
	}
	to := newIntake(f)
	to.changes(&changes)
	if err := to.all(ctx, horizon); err != nil {
		return err
	}
	r := &record{name: hex.EncodeToString(name[:]), latest: map[string]int64{}, since: horizon, asOf: changes.Now}
	for _, c := range to.cutoffs {
		r.put(c)
	}
	f.expect(earlier, changes.Now)
	s.heard, s.now, s.lookedFar, s.swept = heard, changes.Now, f.Now(), f.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.record, f.stepped = r, f.Now()
	close(f.began)
	return nil
}

// expect takes note of the nodes that announced lately, before all grants were looked at:
// what they have to say from then on is heard, or missed.
func (f *Feed) expect(list []Announcement, now time.Time) {
	clear(f.steps.nodes)
	for _, a := range list {
		if now.Sub(a.At) <= silence {
			f.note(a)
		}
	}
}

// horizon is how far back something may have happened that still matters.
func (f *Feed) horizon(ctx context.Context) (time.Time, error) {
	now, longest, err := f.Store.LongestLifetime(ctx)
	if err != nil {
		return now, fmt.Errorf("read lifetimes: %w", err)
	}
	_, lifetime, err := f.Policy(ctx, "")
	if err != nil {
		return now, fmt.Errorf("read policy: %w", err)
	}
	f.steps.longest = max(f.steps.longest, longest+time.Minute, lifetime)
	return now.Add(-f.steps.longest), nil
}

// keepUp brings the record up to date. What could be read of it before an error is taken
// in all the same; the record is not up to date then.
func (f *Feed) keepUp(ctx context.Context) error {
	horizon, err := f.horizon(ctx)
	if err != nil {
		return err
	}
	f.queue.Lock()
	mine := f.unrecorded
	f.unrecorded = nil
	f.queue.Unlock()
	to := newIntake(f)
	if err := to.rotations(ctx, mine); err != nil {
		f.queue.Lock()
		f.unrecorded = append(mine, f.unrecorded...)
		f.queue.Unlock()
		return err
	}
	err = f.hear(ctx, to, horizon)
	if err == nil {
		err = f.lookForChanges(ctx, to)
	}
	f.take(to.cutoffs, err == nil)
	return err
}

// lookForChanges takes in what was changed lately, and now and then what took longer to
// be written.
func (f *Feed) lookForChanges(ctx context.Context, to *intake) error {
	s, now := &f.steps, f.Now()
	since := s.now.Add(-recent)
	far := now.Sub(s.lookedFar) >= lookBack
	if far {
		since = s.now.Add(-overlap)
	}
	changes, err := f.Store.Changes(ctx, since)
	if err != nil {
		return fmt.Errorf("read changes: %w", err)
	}
	to.changes(&changes)
	if s.now = changes.Now; far {
		s.lookedFar = now
	}
	return nil
}

// take puts cut-offs into the record and wakes those who wait for them.
func (f *Feed) take(cutoffs []Cutoff, upToDate bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.Now()
	if upToDate {
		f.record.asOf, f.stepped = later(f.record.asOf, f.steps.now), now
	}
	added := false
	for _, c := range cutoffs {
		c.at = later(c.at, f.record.asOf) // other nodes may have learned of it as late
		added = f.record.put(c) || added
	}
	if now.Sub(f.steps.swept) >= sweep {
		f.record.forget(f.steps.now)
		f.steps.swept = now
	}
	if added {
		close(f.news)
		f.news = make(chan struct{})
	}
}

// hear takes in what other nodes announced. Where an announcement was missed, or a node
// died, which may not have announced everything, or was not heard before, which may have
// rotated before it knew that anybody follows, all grants are looked at.
func (f *Feed) hear(ctx context.Context, to *intake, horizon time.Time) error {
	s := &f.steps
	list, last, err := f.Store.Announced(ctx, s.heard)
	if err != nil {
		return fmt.Errorf("read announcements: %w", err)
	}
	s.missed = s.missed || last-s.heard != int64(len(list))
	for _, a := range list {
		if a.Node == f.node {
			continue
		}
		if err := to.rotations(ctx, a.Rotations); err != nil {
			return err
		}
		if _, known := s.nodes[a.Node]; !known {
			s.missed = true
		}
		f.note(a)
	}
	s.heard = last
	for name, heard := range s.nodes {
		if f.Now().Sub(heard) > silence {
			delete(s.nodes, name)
			s.missed = true
		}
	}
	if !s.missed {
		return nil
	}
	err = to.all(ctx, horizon)
	s.missed = err != nil
	return err
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// note takes note of a node that lives, or has ended.
func (f *Feed) note(a Announcement) {
	if a.Final {
		delete(f.steps.nodes, a.Node)
	} else if a.Node != f.node {
		f.steps.nodes[a.Node] = f.Now()
	}
}

// intake turns what happened into cut-offs. Each holds as long as any access token can
// live: one may have been issued by an earlier policy of its client, which may be gone.
type intake struct {
	*Feed
	previous map[string]oauth.PreviousAccessToken // by client_id
	cutoffs  []Cutoff
}

func newIntake(f *Feed) *intake {
	return &intake{Feed: f, previous: map[string]oauth.PreviousAccessToken{}}
}

// previousOf is what a rotation at a client does to the access tokens before it.
func (t *intake) previousOf(ctx context.Context, clientID string) (oauth.PreviousAccessToken, error) {
	previous, known := t.previous[clientID]
	if known {
		return previous, nil
	}
	previous, _, err := t.Policy(ctx, clientID)
	if err != nil {
		return previous, fmt.Errorf("read policy: %w", err)
	}
	t.previous[clientID] = previous
	return previous, nil
}

// cut takes in a cut-off that happened at a time.
func (t *intake) cut(c Cutoff, at time.Time) {
	c.at, c.ExpiresAt = at, at.Add(t.steps.longest)
	t.cutoffs = append(t.cutoffs, c)
}

// all takes in every rotation since a time.
func (t *intake) all(ctx context.Context, since time.Time) error {
	var list []oauth.Rotation
	if err := t.Store.Rotations(ctx, since, func(r oauth.Rotation) { list = append(list, r) }); err != nil {
		return fmt.Errorf("read rotations: %w", err)
	}
	return t.rotations(ctx, list)
}

// rotations takes in rotations, as far as they end access tokens.
func (t *intake) rotations(ctx context.Context, list []oauth.Rotation) error {
	for _, r := range list {
		previous, err := t.previousOf(ctx, r.ClientID)
		if err != nil {
			return err
		}
		if previous.Keep {
			continue
		}
		c := Cutoff{GrantID: r.GrantID, Generation: r.Generation}
		if previous.For > 0 {
			c.PreviousUntil = r.At.Add(previous.For)
		}
		t.cut(c, r.At)
	}
	return nil
}

// changes takes in what was changed. Grants whose epoch is over ended; the others of a
// user rest as long as the user is blocked.
func (t *intake) changes(changed *Changes) {
	for _, g := range changed.Grants {
		t.cut(Cutoff{GrantID: g.PublicID, Ended: true}, g.At)
	}
	for _, u := range changed.Subjects {
		for _, g := range u.Ended {
			t.cut(Cutoff{GrantID: g.PublicID, Ended: true}, u.At)
		}
		c := Cutoff{Subject: u.ID, Blocked: u.Blocked}
		for _, g := range u.Grants { // there are none unless the user is blocked
			c.GrantIDs = append(c.GrantIDs, g.PublicID)
		}
		t.cut(c, u.At)
	}
	for _, client := range changed.Clients {
		c := Cutoff{ClientID: client.ID, Blocked: client.Blocked}
		if !client.NotBefore.IsZero() {
			c.NotBefore = client.NotBefore.UnixMicro()
		}
		t.cut(c, client.At)
	}
}
