package memory

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// Cleanup implements admin.Store. Maps need no batches.
func (s *Store) Cleanup(_ context.Context, c admin.Cleanup) (admin.Removed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	dead := func(end time.Time) bool { return now.Sub(end) > c.DeadFor }
	r := admin.Removed{
		Grants: sweep(s.grants, c.DryRun, func(g *oauth.Grant) bool {
			if g.Status == oauth.GrantRevoked && now.Sub(s.followed) <= 24*time.Hour && now.Sub(g.RevokedAt) <= c.Told {
				return dead(g.IdleExpiresAt)
			}
			return dead(overSince(g)) || g.Status == oauth.GrantPending && g.IdleExpiresAt.Before(now)
		}),
		Failures: sweep(s.pairs, c.DryRun, func(n oauth.FailureCount) bool { return dead(n.Last.Add(oauth.PairMemory)) }) +
			sweep(s.accounts, c.DryRun, func(n oauth.FailureCount) bool { return dead(n.Last.Add(oauth.PairMemory)) }) +
			sweep(s.secrets, c.DryRun, func(n oauth.FailureCount) bool { return dead(n.Last.Add(oauth.PairMemory)) }) +
			sweep(s.sources, c.DryRun, func(n sourceFailures) bool { return dead(n.last.Add(oauth.SourceMemory)) }),
		Secrets:  s.sweepSecrets(c.DryRun, dead),
		Sessions: sweep(s.sessions, c.DryRun, func(session oauth.Session) bool { return !now.Before(session.ExpiresAt) }),
	}
	if c.Events > 0 {
		r.Events = s.sweepEvents(c.DryRun, func(e *recorded) bool { return now.Sub(e.LastAt) > c.Events })
	}
	return r, nil
}

// overSince is when a grant ended or will end: revoked, or idle for too long. The
// idle lifetime never passes the absolute one, but a row is believed less than a rule.
func overSince(g *oauth.Grant) time.Time {
	end := g.IdleExpiresAt
	for _, t := range []time.Time{g.AbsoluteExpiresAt, g.RevokedAt} {
		if !t.IsZero() {
			end = earlier(end, t)
		}
	}
	return end
}

// sweep deletes what is over, unless it is a dry run, and counts it.
func sweep[K comparable, V any](m map[K]V, dryRun bool, over func(V) bool) int {
	n := 0
	maps.DeleteFunc(m, func(_ K, v V) bool {
		if !over(v) {
			return false
		}
		n++
		return !dryRun
	})
	return n
}

// sweepSecrets does the same for client secrets. What nobody could use any more is
// no change of the client.
func (s *Store) sweepSecrets(dryRun bool, dead func(time.Time) bool) int {
	n := 0
	for _, c := range s.clients {
		kept := slices.DeleteFunc(slices.Clone(c.Secrets), func(secret oauth.ClientSecret) bool {
			return !secret.ExpiresAt.IsZero() && dead(secret.ExpiresAt)
		})
		n += len(c.Secrets) - len(kept)
		if !dryRun {
			c.Secrets = kept
		}
	}
	return n
}

// sweepEvents does the same for events.
func (s *Store) sweepEvents(dryRun bool, old func(*recorded) bool) int {
	n := 0
	kept := slices.DeleteFunc(slices.Clone(s.events), func(e *recorded) bool {
		if old(e) {
			n++
			return true
		}
		return false
	})
	if dryRun {
		return n
	}
	s.events = kept
	sweep(s.refused, false, old)
	return n
}
