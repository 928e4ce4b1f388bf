package signing

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// memoryStore is a Store in memory.
type memoryStore struct {
	mu       sync.Mutex
	keys     []Key
	revision int64
	events   []oauth.Event

	fault  error  // if set, what both methods return
	before func() // if set, called before a replacement, without the lock
}

func (s *memoryStore) SigningKeys(context.Context) ([]Key, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cloneKeys(s.keys), s.revision, s.fault
}

func (s *memoryStore) ReplaceSigningKeys(_ context.Context, revision int64, keys []Key, e oauth.Event) error {
	if s.before != nil {
		s.before()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault != nil {
		return s.fault
	}
	if revision != s.revision {
		return oauth.ErrConflict
	}
	s.keys = cloneKeys(keys)
	slices.SortStableFunc(s.keys, func(a, b Key) int { return a.PublishedAt.Compare(b.PublishedAt) })
	s.revision += 7
	s.events = append(s.events, e)
	return nil
}

// setFault makes both methods fail, or work again.
func (s *memoryStore) setFault(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = err
}

// snapshot returns what the store holds.
func (s *memoryStore) snapshot() ([]Key, int64, []oauth.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cloneKeys(s.keys), s.revision, slices.Clone(s.events)
}

func cloneKeys(keys []Key) []Key {
	c := slices.Clone(keys)
	for i := range c {
		c[i].Sealed = slices.Clone(c[i].Sealed)
	}
	return c
}

// testClock is a clock that the test moves.
type testClock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *testClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *testClock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = t
}

// t0 is when the tests begin.
var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// masterKeys makes master keys with the given ids, the first active; the same id
// and letter are the same key.
func masterKeys(t testing.TB, letter string, ids ...uint16) *oauth.Keys {
	t.Helper()
	var lines []string
	for _, id := range ids {
		raw := []byte(strings.Repeat(letter, oauth.MasterKeySize))
		raw[0] = byte(id)
		lines = append(lines, oauth.FormatKey(id, raw))
	}
	keys, err := oauth.ParseKeys(strings.Join(lines, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func thumbprintForm(kid string) bool {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(kid)
	return err == nil && len(raw) == 32
}
