package memory

import (
	"context"
	"slices"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// maxNoted is how many refusals of unauthenticated requests are remembered.
const maxNoted = 10_000

// refusalKey is what refusals that share an event have in common. Where the grant
// is gone, the client stands for it, so that one old token does not fill the table.
type refusalKey struct{ grantID, clientID, reason string }

// recorded is an event as it is kept.
type recorded struct {
	oauth.Event
	lastRequestID string // of the latest of the refusals that share it
}

// of reports whether the event is one of the request.
func (r *recorded) of(requestID string) bool {
	return r.RequestID == requestID || r.lastRequestID == requestID
}

// ring remembers the last maxNoted events.
type ring struct {
	events []oauth.Event
	oldest int
}

func (r *ring) add(e oauth.Event) {
	if len(r.events) < maxNoted {
		r.events = append(r.events, e)
		return
	}
	r.events[r.oldest] = e
	r.oldest = (r.oldest + 1) % maxNoted
}

// all returns what is remembered, oldest first.
func (r *ring) all() []oauth.Event {
	return slices.Concat(r.events[r.oldest:], r.events[:r.oldest])
}

// record records an event as part of a step.
func (s *Store) record(e oauth.Event) *recorded {
	r := &recorded{Event: s.happened(e), lastRequestID: e.RequestID}
	s.events = append(s.events, r)
	return r
}

// happened sets the times of an event.
func (s *Store) happened(e oauth.Event) oauth.Event {
	e.At = s.now()
	e.LastAt = e.At
	e.Count = 1
	return e
}

// RecordRefusal implements oauth.Store. A shared event keeps what is known of the
// first refusal.
func (s *Store) RecordRefusal(_ context.Context, e oauth.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := refusalKey{grantID: e.GrantID, reason: e.Reason}
	if e.GrantID == "" {
		key.clientID = e.ClientID
	}
	if shared := s.refused[key]; shared != nil {
		shared.Count++
		shared.LastAt = s.now()
		shared.lastRequestID = e.RequestID
		return nil
	}
	s.refused[key] = s.record(e)
	return nil
}

// NoteRefusal implements oauth.Store.
func (s *Store) NoteRefusal(e oauth.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noted.add(s.happened(e))
}

// RecordEvent implements admin.Store.
func (s *Store) RecordEvent(_ context.Context, e oauth.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record(e)
	return nil
}

// Events implements admin.Store. What has no request ID belongs to no request; a
// refusal that was both recorded and noted is one event.
func (s *Store) Events(_ context.Context, requestID string) ([]oauth.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if requestID == "" {
		return nil, nil
	}
	var found []oauth.Event
	for _, r := range s.events {
		if r.of(requestID) {
			found = append(found, r.Event)
		}
	}
	lasting := found
	for _, e := range s.noted.all() {
		twice := slices.ContainsFunc(lasting, func(l oauth.Event) bool { return l.Reason == e.Reason })
		if e.RequestID == requestID && !twice {
			found = append(found, e)
		}
	}
	slices.SortStableFunc(found, func(a, b oauth.Event) int { return a.At.Compare(b.At) })
	return found, nil
}
