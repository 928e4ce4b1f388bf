package sqlstore

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// The kinds of counters, and how long each remembers.
const (
	kindPair    = "pair"
	kindSource  = "source"
	kindAccount = "account"
	kindClient  = "client"
)

func memory(kind string) time.Duration {
	if kind == kindSource {
		return oauth.SourceMemory
	}
	return oauth.PairMemory
}

// LoginFailures implements oauth.Store.
func (s *Store) LoginFailures(ctx context.Context, k oauth.LoginKeys) (oauth.LoginFailures, error) {
	now, err := s.clock(ctx)
	if err != nil {
		return oauth.LoginFailures{}, wrap("read failures", err)
	}
	f := oauth.LoginFailures{Now: now}
	for _, counter := range []struct {
		kind string
		key  [16]byte
		into *oauth.FailureCount
	}{{kindPair, k.Pair, &f.Pair}, {kindSource, k.Source, &f.Source}} {
		err := s.row(ctx, "SELECT count, last_at FROM event_failures WHERE key = $1 AND last_at >= $2", func(row scanner) error {
			return row.Scan(&counter.into.Count, micro{&counter.into.Last})
		}, counter.key[:], toMicro(f.Now.Add(-memory(counter.kind))))
		if err != nil && !errors.Is(err, oauth.ErrNotFound) {
			return f, wrap("read failures", err)
		}
	}
	return f, nil
}

// RecordLoginFailure implements oauth.Store. Like all steps that write several counters
// it takes them in one order, here pair, source, account: two nodes must not deadlock.
func (s *Store) RecordLoginFailure(_ context.Context, k oauth.LoginKeys, userID string, lockAfter int) error {
	return s.write("record failure", func(tx *transaction) error {
		pair, err := tx.countFailure(kindPair, k.Pair)
		if err != nil {
			return err
		}
		if pair == 1 { // an account that is new to this source
			if _, err := tx.countFailure(kindSource, k.Source); err != nil {
				return err
			}
		}
		account, err := tx.countFailure(kindAccount, k.Account)
		if err != nil || lockAfter <= 0 || account < lockAfter {
			return err
		}
		locked, err := tx.exec("UPDATE users SET state = 'locked', updated_at = $1 WHERE id = $2 AND state = 'active' AND deleted_at = 0", toMicro(tx.now), userID)
		if err != nil || locked == 0 {
			return err
		}
		return tx.touchOwned(userID)
	})
}

// countFailure counts one more, beginning again where the memory is over.
func (t *transaction) countFailure(kind string, key [16]byte) (count int, err error) {
	_, err = t.exec(`
INSERT INTO event_failures (key, kind, count, last_at) VALUES ($1, $2, 1, $3)
ON CONFLICT (key) DO UPDATE SET count = CASE WHEN event_failures.last_at >= $4 THEN event_failures.count + 1 ELSE 1 END, last_at = $3`,
		key[:], kind, toMicro(t.now), toMicro(t.now.Add(-memory(kind))))
	if err != nil {
		return 0, err
	}
	err = t.row("SELECT count FROM event_failures WHERE key = $1", func(row scanner) error { return row.Scan(&count) }, key[:])
	return count, err
}

// ClearLoginFailures implements oauth.Store.
func (s *Store) ClearLoginFailures(_ context.Context, k oauth.LoginKeys) error {
	return s.write("clear failures", func(tx *transaction) error {
		known, err := tx.exec("DELETE FROM event_failures WHERE key = $1", k.Pair[:])
		if err != nil {
			return err
		}
		if _, err := tx.exec("UPDATE event_failures SET count = count - $1 WHERE key = $2 AND count > 0", known, k.Source[:]); err != nil {
			return err
		}
		_, err = tx.exec("DELETE FROM event_failures WHERE key = $1", k.Account[:])
		return err
	})
}

// ClientFailures implements oauth.Store.
func (s *Store) ClientFailures(ctx context.Context) (map[[16]byte]oauth.FailureCount, error) {
	now, err := s.clock(ctx)
	if err != nil {
		return nil, wrap("read failures", err)
	}
	counts := map[[16]byte]oauth.FailureCount{}
	err = s.each(ctx, "SELECT key, count, last_at FROM event_failures WHERE kind = $1 AND last_at > $2", func(row scanner) error {
		var key []byte
		var n oauth.FailureCount
		err := row.Scan(&key, &n.Count, micro{&n.Last})
		counts[[16]byte(append(key, make([]byte, 16)...))] = n
		return err
	}, kindClient, toMicro(now.Add(-memory(kindClient))))
	if err != nil {
		return nil, wrap("read failures", err)
	}
	return counts, nil
}

// SaveClientFailures implements oauth.Store.
func (s *Store) SaveClientFailures(_ context.Context, counts map[[16]byte]oauth.FailureCount) error {
	return s.write("save failures", func(tx *transaction) error {
		forgotten := toMicro(tx.now.Add(-memory(kindClient)))
		for _, key := range slices.SortedFunc(maps.Keys(counts), func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) }) {
			n := counts[key]
			_, err := tx.exec(`
INSERT INTO event_failures (key, kind, count, last_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (key) DO UPDATE SET count = $3, last_at = $4
 WHERE event_failures.count < $3 OR event_failures.last_at < $5`,
				key[:], kindClient, n.Count, toMicro(n.Last), forgotten)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Store) cleanFailures(ctx context.Context, c admin.Cleanup) (int, error) {
	now, err := s.clock(ctx)
	if err != nil {
		return 0, err
	}
	now = now.Add(-c.DeadFor)
	return s.deleteInSteps(ctx, c, "event_failures", "key", "last_at < CASE WHEN kind = 'source' THEN CAST($1 AS BIGINT) ELSE CAST($2 AS BIGINT) END",
		toMicro(now.Add(-memory(kindSource))), toMicro(now.Add(-memory(kindPair))))
}
