package feed

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"math"
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
	silence      = 10 * time.Second        // who falls silent for so long without saying so has died
	sweep        = 30 * time.Second        // how often what expired is forgotten

	mostInAnnouncement = 2000
)

// steps is what one step leaves for the next.
type steps struct {
	mu        sync.Mutex
	looked    time.Time               // when it was last looked whether anybody follows
	told      time.Time               // when the nodes were last told that somebody follows here
	begin     time.Time               // when the others announce
	talking   bool                    // something was announced since it was last said that there is no more
	heard     int64                   // number of the last announcement
	nodes     map[string]Announcement // the last one of each other node that may have more to say
	now       time.Time               // of the store, at the last step
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
	f.mu.Lock()
	here = !f.asked.IsZero() && now.Sub(f.asked) < unfollowed
	f.mu.Unlock()
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
	f.mu.Lock()
	f.announcing = here || elsewhere
	f.mu.Unlock()
	return here, nil
}

// announce tells the other nodes what this one rotated, and when there is no more.
func (f *Feed) announce(ctx context.Context) error {
	f.mu.Lock()
	unsaid := f.unsaid
	f.unsaid = nil
	f.mu.Unlock()
	for len(unsaid) > 0 || f.steps.talking {
		batch := unsaid[:min(len(unsaid), mostInAnnouncement)]
		err := f.Store.Announce(ctx, Announcement{Node: f.node, Rotations: batch, Quiet: len(batch) == 0})
		if err != nil {
			f.mu.Lock()
			f.unsaid = append(unsaid, f.unsaid...)
			f.mu.Unlock()
			return fmt.Errorf("announce rotations: %w", err)
		}
		unsaid, f.steps.talking = unsaid[len(batch):], len(batch) > 0
		if len(unsaid) == 0 && len(batch) > 0 {
			return nil // quiet comes with the next step, unless there is more
		}
	}
	return nil
}

// end forgets the record, when nobody follows here any more.
func (f *Feed) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.record == nil && f.unrecorded == nil {
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
	_, heard, err := f.Store.Announced(ctx, math.MaxInt64)
	if err != nil {
		return fmt.Errorf("read announcements: %w", err)
	}
	horizon, err := f.horizon(ctx)
	if err != nil {
		return err
	}
	r := &record{name: hex.EncodeToString(name[:]), latest: map[string]int64{}, since: horizon}
	changes, err := f.Store.Changes(ctx, horizon)
	if err != nil {
		return fmt.Errorf("read changes: %w", err)
	}
	to := &intake{Feed: f, policies: map[string]policy{}}
	if err := to.changes(ctx, &changes); err != nil {
		return err
	}
	if err := to.all(ctx, horizon); err != nil {
		return err
	}
	for _, c := range to.cutoffs {
		r.put(c)
	}
	r.asOf = changes.Now
	s.heard, s.now, s.lookedFar, s.swept = heard, changes.Now, f.Now(), f.Now()
	clear(s.nodes)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.record, f.stepped = r, f.Now()
	close(f.began)
	return nil
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
	return now.Add(-max(longest+time.Minute, lifetime)), nil
}

// keepUp brings the record up to date.
func (f *Feed) keepUp(ctx context.Context) error {
	s, now := &f.steps, f.Now()
	to := &intake{Feed: f, policies: map[string]policy{}}
	f.mu.Lock()
	mine := f.unrecorded
	f.unrecorded = nil
	f.mu.Unlock()
	err := to.rotations(ctx, mine)
	if err == nil {
		err = f.hear(ctx, to)
	}
	far := now.Sub(s.lookedFar) >= lookBack
	since := s.now.Add(-recent)
	if far {
		since = s.now.Add(-overlap)
	}
	var changes Changes
	if err == nil {
		changes, err = f.Store.Changes(ctx, since)
	}
	if err == nil {
		err = to.changes(ctx, &changes)
	}
	if err != nil {
		f.mu.Lock()
		f.unrecorded = append(mine, f.unrecorded...)
		f.mu.Unlock()
		return fmt.Errorf("keep up with what was cut off: %w", err)
	}
	s.now = changes.Now
	if far {
		s.lookedFar = now
	}
	f.take(to.cutoffs, changes.Now)
	return nil
}

// take puts cut-offs into the record and wakes those who wait for them.
func (f *Feed) take(cutoffs []Cutoff, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	added := false
	for _, c := range cutoffs {
		added = f.record.put(c) || added
	}
	f.record.asOf, f.stepped = now, f.Now()
	if f.stepped.Sub(f.steps.swept) >= sweep {
		f.record.forget(now)
		f.steps.swept = f.stepped
	}
	if added {
		close(f.news)
		f.news = make(chan struct{})
	}
}

// hear takes in what other nodes announced. Where an announcement was missed, or a node
// died that may not have announced everything, all grants are looked at.
func (f *Feed) hear(ctx context.Context, to *intake) error {
	s := &f.steps
	list, last, err := f.Store.Announced(ctx, s.heard)
	if err != nil {
		return fmt.Errorf("read announcements: %w", err)
	}
	missed := last-s.heard != int64(len(list))
	for _, a := range list {
		if a.Node == f.node {
			continue
		}
		if err := to.rotations(ctx, a.Rotations); err != nil {
			return err
		}
		if s.nodes[a.Node] = a; a.Quiet {
			delete(s.nodes, a.Node)
		}
	}
	s.heard = last
	for name, a := range s.nodes {
		if s.now.Sub(a.At) > silence {
			delete(s.nodes, name)
			missed = true
		}
	}
	if !missed {
		return nil
	}
	horizon, err := f.horizon(ctx)
	if err != nil {
		return err
	}
	return to.all(ctx, horizon)
}

// intake turns what happened into cut-offs.
type intake struct {
	*Feed
	policies map[string]policy
	cutoffs  []Cutoff
}

// policy is what a client's access tokens are like.
type policy struct {
	previous oauth.PreviousAccessToken
	lifetime time.Duration
}

func (t *intake) policyOf(ctx context.Context, clientID string) (policy, error) {
	if p, known := t.policies[clientID]; known {
		return p, nil
	}
	previous, lifetime, err := t.Policy(ctx, clientID)
	if err != nil {
		return policy{}, fmt.Errorf("read policy: %w", err)
	}
	t.policies[clientID] = policy{previous, lifetime}
	return t.policies[clientID], nil
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
		p, err := t.policyOf(ctx, r.ClientID)
		if err != nil {
			return err
		}
		if p.previous.Keep {
			continue
		}
		c := Cutoff{GrantID: r.GrantID, Generation: r.Generation, ExpiresAt: r.At.Add(p.lifetime), at: r.At}
		if p.previous.For > 0 {
			c.PreviousUntil = r.At.Add(p.previous.For)
		}
		t.cutoffs = append(t.cutoffs, c)
	}
	return nil
}

// changes takes in what was changed.
func (t *intake) changes(ctx context.Context, c *Changes) error {
	for _, g := range c.Grants {
		if err := t.ended(ctx, g); err != nil {
			return err
		}
	}
	for _, u := range c.Subjects {
		if err := t.subject(ctx, &u); err != nil {
			return err
		}
	}
	for _, client := range c.Clients {
		p, err := t.policyOf(ctx, client.ID)
		if err != nil {
			return err
		}
		cut := Cutoff{ClientID: client.ID, Blocked: client.Blocked, ExpiresAt: client.At.Add(p.lifetime), at: client.At}
		if !client.NotBefore.IsZero() {
			cut.NotBefore = client.NotBefore.UnixMicro()
		}
		t.cutoffs = append(t.cutoffs, cut)
	}
	return nil
}

func (t *intake) ended(ctx context.Context, g RevokedGrant) error {
	p, err := t.policyOf(ctx, g.ClientID)
	if err == nil {
		t.cutoffs = append(t.cutoffs, Cutoff{GrantID: g.PublicID, Ended: true, ExpiresAt: g.At.Add(p.lifetime), at: g.At})
	}
	return err
}

// subject takes in a user: grants whose epoch is over ended; the others rest as long as
// the user is blocked.
func (t *intake) subject(ctx context.Context, u *ChangedSubject) error {
	for _, g := range u.Ended {
		g.At = u.At
		if err := t.ended(ctx, g); err != nil {
			return err
		}
	}
	_, longest, err := t.Policy(ctx, "")
	if err != nil {
		return fmt.Errorf("read policy: %w", err)
	}
	c := Cutoff{Subject: u.ID, Blocked: u.Blocked, at: u.At}
	for _, g := range u.Grants {
		p, err := t.policyOf(ctx, g.ClientID)
		if err != nil {
			return err
		}
		longest = max(longest, p.lifetime)
		if u.Blocked {
			c.GrantIDs = append(c.GrantIDs, g.PublicID)
		}
	}
	c.ExpiresAt = u.At.Add(longest)
	t.cutoffs = append(t.cutoffs, c)
	return nil
}
