package oauth

import (
	"context"
	"maps"
	"sync"
	"time"
)

// The limits of guessing. Failures are counted by source,
// an address block: a stranger's guesses never lock out the owner.
const (
	freeFailures     = 5 // wrong passwords of a source for an account without delay
	firstDelay       = 2 * time.Second
	longestDelay     = 15 * time.Minute
	namesPerSource   = 100  // accounts a source may fail at
	secretsPerClient = 1000 // wrong secrets of a source for a client
	rememberedMost   = 100_000
	savedTogether    = 256 // counts in one write: others wait behind it
)

// loginDelay is the pause after the n-th wrong password.
func loginDelay(n int) time.Duration {
	if n < freeFailures {
		return 0
	}
	return min(longestDelay, firstDelay<<min(n-freeFailures, 16))
}

// loginKeys names the counters of a login. An account is counted by its identity,
// so that its username and its e-mail address are not guessed at separately.
func (s *Server) loginKeys(source string, a Account) LoginKeys {
	account := "name " + a.Username // as the directory compares it
	if a.Known {
		account = "user " + a.ID
	}
	keys := s.Keys()
	return LoginKeys{
		Pair: keys.guessKey("pair", source, account), Source: keys.guessKey("source", source), Account: keys.guessKey("account", account),
	}
}

// throttleLogin refuses a login before the password is looked at, the right one too.
func (s *Server) throttleLogin(ctx context.Context, k LoginKeys) (LoginFailures, error) {
	f, err := s.Store.LoginFailures(ctx, k)
	if err != nil {
		return f, err
	}
	wait := f.Pair.Last.Add(loginDelay(f.Pair.Count)).Sub(f.Now)
	if f.Source.Count >= namesPerSource {
		wait = max(wait, f.Source.Last.Add(longestDelay).Sub(f.Now))
	}
	if wait > 0 {
		return f, ErrThrottled.After(wait)
	}
	return f, nil
}

// secretThrottle counts wrong client secrets in memory, so that guessing at a
// secret costs neither a write nor a read; KeepSecretFailures saves the counts.
type secretThrottle struct {
	mu      sync.Mutex
	counts  map[[16]byte]FailureCount
	changed map[[16]byte]FailureCount
}

// check refuses a client whose secret was guessed at too often from this source.
func (t *secretThrottle) check(k *Keys, source string, c *Client, now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.counts) == 0 || c.Public {
		return nil
	}
	n, known := t.counts[k.guessKey("client", source, c.ID)]
	if wait := n.Last.Add(longestDelay).Sub(now); known && n.Count >= secretsPerClient && wait > 0 {
		return ErrThrottled.After(wait)
	}
	return nil
}

// failed counts a wrong secret of a client that exists.
func (t *secretThrottle) failed(k *Keys, source, clientID string, now time.Time) {
	key := k.guessKey("client", source, clientID)
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.counts[key]
	if now.Sub(n.Last) > PairMemory {
		n.Count = 0
	}
	t.set(key, FailureCount{Count: n.Count + 1, Last: now})
}

// set remembers a count. A full memory forgets an arbitrary one, not the newest.
func (t *secretThrottle) set(key [16]byte, n FailureCount) {
	if t.counts == nil {
		t.counts, t.changed = map[[16]byte]FailureCount{}, map[[16]byte]FailureCount{}
	}
	for old := range t.counts {
		if len(t.counts) < rememberedMost {
			break
		}
		delete(t.counts, old)
	}
	t.counts[key] = n
	if len(t.changed) < rememberedMost {
		t.changed[key] = n
	}
}

// LoadSecretFailures reads the counters of wrong client secrets, once at start.
func (s *Server) LoadSecretFailures(ctx context.Context) error {
	counts, err := s.Store.ClientFailures(ctx)
	if err != nil {
		return err
	}
	s.secrets.mu.Lock()
	defer s.secrets.mu.Unlock()
	for key, n := range counts {
		s.secrets.set(key, n)
	}
	clear(s.secrets.changed)
	return nil
}

// SaveSecretFailures writes the counters that changed since it was last called.
// What cannot be written is tried again with the next call.
func (s *Server) SaveSecretFailures(ctx context.Context) error {
	t := &s.secrets
	t.mu.Lock()
	changed := t.changed
	t.changed = map[[16]byte]FailureCount{}
	t.mu.Unlock()
	for len(changed) > 0 {
		some := take(changed, savedTogether)
		if err := s.Store.SaveClientFailures(ctx, some); err != nil {
			maps.Copy(changed, some)
			t.giveBack(changed)
			return err
		}
	}
	return nil
}

// take moves at most n entries out of a map.
func take(from map[[16]byte]FailureCount, n int) map[[16]byte]FailureCount {
	some := make(map[[16]byte]FailureCount, min(n, len(from)))
	for key, count := range from {
		if len(some) == n {
			break
		}
		some[key] = count
		delete(from, key)
	}
	return some
}

// giveBack marks counts as changed that could not be written, unless they changed again.
func (t *secretThrottle) giveBack(counts map[[16]byte]FailureCount) {
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.Copy(counts, t.changed)
	t.changed = counts
}
