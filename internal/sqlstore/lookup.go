package sqlstore

import (
	"context"
	"runtime"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// mostInLookup is the largest number of grants that one query reads.
const mostInLookup = 32

// lookup is a read of a grant that waits for its answer.
type lookup struct {
	id   oauth.GrantID
	done chan found
}

type found struct {
	view oauth.GrantView
	err  error
}

// readGrants serves the queue of lookups until the store is closed. Like the
// committer it lets those who are ready ask first and takes what waits: at load
// several reads share the cost of a query, and nobody waits for a timer.
func (s *Store) readGrants() {
	for {
		select {
		case l := <-s.lookups:
			runtime.Gosched()
			s.readTogether(takeWaiting(l, s.lookups, mostInLookup))
		case <-s.stop:
			return
		}
	}
}

// lookUp waits for a read, for no longer than patience, though the database may hang.
func (s *Store) lookUp(id oauth.GrantID) (oauth.GrantView, error) {
	l := &lookup{id: id, done: make(chan found, 1)}
	timer := time.NewTimer(s.patience)
	defer timer.Stop()
	select {
	case s.lookups <- l:
	case <-s.stop:
		return oauth.GrantView{}, errClosed
	case <-timer.C:
		return oauth.GrantView{}, errTooLong
	}
	select {
	case f := <-l.done:
		return f.view, f.err
	case <-s.stop:
		return oauth.GrantView{}, errClosed
	case <-timer.C:
		return oauth.GrantView{}, errTooLong
	}
}

// readTogether answers a batch of lookups with one query, and so one snapshot.
func (s *Store) readTogether(batch []*lookup) {
	keys := make([]any, len(batch))
	for i, l := range batch {
		keys[i] = l.id[:]
	}
	views := make(map[oauth.GrantID]oauth.GrantView, len(batch))
	err := s.grants(context.Background(), "id", keys, func(v oauth.GrantView) { views[v.Grant.ID] = v })
	for _, l := range batch {
		v, ok := views[l.id]
		switch {
		case err != nil:
			l.done <- found{err: err}
		case !ok:
			l.done <- found{err: oauth.ErrNotFound}
		default:
			l.done <- found{view: v}
		}
	}
}
