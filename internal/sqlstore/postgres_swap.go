package sqlstore

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil/internal/failpoint"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// swapper swaps grants in groups: whatever waits goes into one statement, which is
// one round trip and one COMMIT. Each swap is answered after it.
type swapper struct {
	*postgres
	queue   chan *swap
	closed  chan struct{}
	closing sync.Once
}

// swap is a swap that waits for its outcome.
type swap struct {
	old, next     *oauth.Grant
	clientVersion int64
	done          chan error
	state         atomic.Int32
}

// The states of a swap.
const (
	swapWaits   = iota // nothing was sent, or it is known that what was sent did not happen
	swapSent           // what became of it is not known
	swapGivenUp        // nobody waits for it any more: it must not be sent
)

// send claims a swap that is to be sent.
func (w *swap) send() bool { return w.state.CompareAndSwap(swapWaits, swapSent) }

// keep takes a swap back that was sent and did not happen.
func (w *swap) keep() { w.state.CompareAndSwap(swapSent, swapWaits) }

// giveUp ends the wait for a swap, and reports whether it is known that it did not
// happen, and never will.
func (w *swap) giveUp() bool { return w.state.Swap(swapGivenUp) == swapWaits }

func (w *swap) givenUp() bool { return w.state.Load() == swapGivenUp }

func newSwapper(e *postgres) *swapper {
	return &swapper{postgres: e, queue: make(chan *swap, 4*mostInBatch), closed: make(chan struct{})}
}

func (s *swapper) close() { s.closing.Do(func() { close(s.closed) }) }

// swap implements engine.
func (e *postgres) swap(old, next *oauth.Grant, clientVersion int64) error {
	w := &swap{old: old, next: next, clientVersion: clientVersion, done: make(chan error, 1)}
	timer := time.NewTimer(e.patience)
	defer timer.Stop()
	select {
	case <-e.swapper.closed:
		return errClosed
	default:
	}
	select {
	case e.swapper.queue <- w:
	case <-e.swapper.closed:
		return errClosed
	case <-timer.C:
		return errTooLong
	}
	select {
	case err := <-w.done:
		return err
	case <-timer.C:
		if w.giveUp() {
			return errTooLong
		}
		return errors.Join(oauth.ErrOutcomeUnknown, errTooLong)
	}
}

// run serves the queue until it is closed and empty.
func (s *swapper) run() {
	for {
		select {
		case w := <-s.queue:
			runtime.Gosched() // let those who are ready to swap do so: they share the statement
			s.swapAll(takeWaiting(w, s.queue, mostInBatch))
		case <-s.closed:
			select {
			case w := <-s.queue:
				s.swapAll(takeWaiting(w, s.queue, mostInBatch))
			default:
				return
			}
		}
	}
}

// swapAll swaps a batch in groups in which each grant is at most once, and in the
// order of their ids: two nodes must not wait for one another.
func (s *swapper) swapAll(batch []*swap) {
	s.writes.Add(uint64(len(batch)))
	slices.SortStableFunc(batch, func(a, b *swap) int { return bytes.Compare(a.old.ID[:], b.old.ID[:]) })
	for len(batch) > 0 {
		var group, rest []*swap
		for i, w := range batch {
			if i > 0 && w.old.ID == batch[i-1].old.ID {
				rest = append(rest, w)
			} else {
				group = append(group, w)
			}
		}
		s.swapGroup(group)
		batch = rest
	}
}

// swapGroup swaps a group in one statement and answers each member. If it is known
// that nothing happened, each member is tried by itself, so that the fault of one does
// not become that of the others.
func (s *swapper) swapGroup(group []*swap) {
	if group = slices.DeleteFunc(group, (*swap).givenUp); len(group) == 0 {
		return
	}
	var swapped map[oauth.GrantID]bool
	err := s.persist(func(ctx context.Context) (err error) {
		swapped, err = s.swapOnce(ctx, group)
		return err
	})
	if err != nil && didNotHappen(err) && len(group) > 1 {
		for _, w := range group {
			s.swapGroup([]*swap{w})
		}
		return
	}
	for _, w := range group {
		switch {
		case err != nil:
			w.done <- err
		case !swapped[w.old.ID]:
			w.done <- oauth.ErrConflict
		default:
			w.done <- nil
		}
	}
}

// swapMany is swapGrant of the embedded engine for many grants at once. It is worded so
// that PostgreSQL has one way to run it only, whatever it knows of the tables: for each
// element of the arrays, its grant. So grants are locked in the order given. Any "=" with
// a column of s would allow a hash join, and a bare one with 'active' the guess that there
// is one grant, from which to begin.
const swapMany = `
UPDATE grants AS g SET version = g.version + 1, generation = s.generation, current_hash = s.current_hash, previous_hash = s.previous_hash,
       successor_salt = s.successor_salt, key_id = s.key_id,
       rotated_at = CASE WHEN s.generation = g.generation THEN g.rotated_at ELSE GREATEST(g.rotated_at, COALESCE(CAST($15 AS BIGINT), ` + databaseClock + `)) END,
       retries = s.retries, idle_expires_at = s.idle_expires_at, last_used_at = s.last_used_at
  FROM unnest(CAST($1 AS BYTEA[]), CAST($2 AS BIGINT[]), CAST($3 AS TEXT[]), CAST($4 AS BIGINT[]), CAST($5 AS TEXT[]), CAST($6 AS BIGINT[]),
              CAST($7 AS BIGINT[]), CAST($8 AS BYTEA[]), CAST($9 AS BYTEA[]), CAST($10 AS BYTEA[]), CAST($11 AS INTEGER[]), CAST($12 AS INTEGER[]),
              CAST($13 AS BIGINT[]), CAST($14 AS BIGINT[]), CAST($16 AS BYTEA[]))
       AS s (id, version, subject, subject_epoch, client_id, client_version,
             generation, current_hash, previous_hash, successor_salt, key_id, retries, idle_expires_at, last_used_at, old_hash)
 WHERE g.id = ANY (ARRAY[s.id]) AND g.version IS NOT DISTINCT FROM s.version AND g.current_hash IS NOT DISTINCT FROM s.old_hash AND COALESCE(g.status = 'active', FALSE)
   AND g.subject IS NOT DISTINCT FROM s.subject AND g.subject_epoch IS NOT DISTINCT FROM s.subject_epoch AND g.client_id IS NOT DISTINCT FROM s.client_id
   AND (SELECT u.epoch FROM users u WHERE u.id = s.subject AND u.enabled = 1 AND u.state = 'active' AND u.deleted_at = 0) = s.subject_epoch
   AND (SELECT c.version FROM clients c WHERE c.id = s.client_id AND c.deleted_at = 0) = s.client_version
RETURNING g.id`

// swapOnce runs the statement, for those that nobody gave up meanwhile, and returns which
// grants were swapped.
func (s *swapper) swapOnce(ctx context.Context, group []*swap) (map[oauth.GrantID]bool, error) {
	failpoint.Reach(failpoint.BeforeSwap)
	swapped := make(map[oauth.GrantID]bool, len(group))
	err := s.autocommit(ctx, func(on *onPostgres) error {
		sent := slices.DeleteFunc(slices.Clone(group), func(w *swap) bool { return !w.send() })
		return on.each(swapMany, func(row scanner) error {
			var id []byte
			err := row.Scan(&id)
			swapped[oauth.GrantID(id)] = true
			return err
		}, append(columnsOf(sent), s.given(), column(sent, func(w *swap) []byte { return w.old.CurrentHash[:] }))...)
	})
	if err != nil && didNotHappen(err) {
		for _, w := range group {
			w.keep()
		}
	}
	return swapped, err
}

// columnsOf turns a group into the arrays of swapMany.
func columnsOf(group []*swap) []any {
	return []any{
		column(group, func(w *swap) []byte { return w.old.ID[:] }),
		column(group, func(w *swap) int64 { return w.old.Version }),
		column(group, func(w *swap) string { return w.old.Subject }),
		column(group, func(w *swap) int64 { return w.old.SubjectEpoch }),
		column(group, func(w *swap) string { return w.old.ClientID }),
		column(group, func(w *swap) int64 { return w.clientVersion }),
		column(group, func(w *swap) int64 { return int64(w.next.Generation) }),
		column(group, func(w *swap) []byte { return w.next.CurrentHash[:] }),
		column(group, func(w *swap) []byte { return octetsOrNull(w.next.PreviousHash) }),
		column(group, func(w *swap) []byte { return octetsOrNull(w.next.SuccessorSalt) }),
		column(group, func(w *swap) int32 { return int32(w.next.KeyID) }),
		column(group, func(w *swap) int32 { return int32(w.next.Retries) }),
		column(group, func(w *swap) int64 { return toMicro(w.next.IdleExpiresAt) }),
		column(group, func(w *swap) int64 { return toMicro(w.next.LastUsedAt) }),
	}
}

func column[T any](group []*swap, of func(*swap) T) []T {
	values := make([]T, len(group))
	for i, w := range group {
		values[i] = of(w)
	}
	return values
}

// octetsOrNull is orNull for arrays.
func octetsOrNull(b [32]byte) []byte {
	octets, _ := orNull(b).([]byte)
	return octets
}
