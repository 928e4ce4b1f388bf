package memory

import (
	"context"
	"maps"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// sourceFailures are the accounts (by pair) that a source failed at, and when it
// last failed. Its count is their number.
type sourceFailures struct {
	pairs map[[16]byte]bool
	last  time.Time
}

// LoginFailures implements oauth.Store.
func (s *Store) LoginFailures(_ context.Context, k oauth.LoginKeys) (oauth.LoginFailures, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	source := s.source(k.Source, now)
	return oauth.LoginFailures{
		Pair:   remembered(s.pairs[k.Pair], oauth.PairMemory, now),
		Source: oauth.FailureCount{Count: len(source.pairs), Last: source.last},
		Now:    now,
	}, nil
}

// remembered returns a counter, or none if it is older than its memory.
func remembered(n oauth.FailureCount, memory time.Duration, now time.Time) oauth.FailureCount {
	if now.Sub(n.Last) > memory {
		return oauth.FailureCount{}
	}
	return n
}

// source returns a source's counter, or none if it is older than its memory.
func (s *Store) source(key [16]byte, now time.Time) sourceFailures {
	n := s.sources[key]
	if now.Sub(n.last) > oauth.SourceMemory {
		return sourceFailures{}
	}
	return n
}

// RecordLoginFailure implements oauth.Store.
func (s *Store) RecordLoginFailure(_ context.Context, k oauth.LoginKeys, userID string, lockAfter int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	pair := remembered(s.pairs[k.Pair], oauth.PairMemory, now)
	s.pairs[k.Pair] = oauth.FailureCount{Count: pair.Count + 1, Last: now}

	source := s.source(k.Source, now)
	if source.pairs == nil {
		source.pairs = map[[16]byte]bool{}
	}
	source.pairs[k.Pair] = true
	s.sources[k.Source] = sourceFailures{pairs: source.pairs, last: now}

	account := remembered(s.accounts[k.Account], oauth.PairMemory, now).Count + 1
	s.accounts[k.Account] = oauth.FailureCount{Count: account, Last: now}
	if u := s.users[userID]; u != nil && lockAfter > 0 && account >= lockAfter && u.State == oauth.SubjectActive {
		s.setState(u, u.Enabled, oauth.SubjectLocked)
	}
	return nil
}

// ClearLoginFailures implements oauth.Store.
func (s *Store) ClearLoginFailures(_ context.Context, k oauth.LoginKeys) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pairs, k.Pair)
	delete(s.accounts, k.Account)
	delete(s.sources[k.Source].pairs, k.Pair)
	return nil
}

// ClientFailures implements oauth.Store.
func (s *Store) ClientFailures(context.Context) (map[[16]byte]oauth.FailureCount, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	young := maps.Clone(s.secrets)
	maps.DeleteFunc(young, func(_ [16]byte, n oauth.FailureCount) bool { return now.Sub(n.Last) >= oauth.PairMemory })
	return young, nil
}

// SaveClientFailures implements oauth.Store. A counter that is older than its
// memory has no count to stay.
func (s *Store) SaveClientFailures(_ context.Context, counts map[[16]byte]oauth.FailureCount) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for key, n := range counts {
		kept := remembered(s.secrets[key], oauth.PairMemory, now)
		s.secrets[key] = oauth.FailureCount{Count: max(n.Count, kept.Count), Last: later(precise(n.Last), kept.Last)}
	}
	return nil
}
