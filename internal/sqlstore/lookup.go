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
	id       oauth.GrantID
	publicID string // empty: it is looked for by id
	done     chan found
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
func (s *Store) lookUp(l *lookup) (oauth.GrantView, error) {
	l.done = make(chan found, 1)
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

// readTogether answers a batch of lookups with one query for each kind of identifier.
func (s *Store) readTogether(batch []*lookup) {
	byID := make(map[oauth.GrantID]oauth.GrantView, len(batch))
	byPublicID := make(map[string]oauth.GrantView, len(batch))
	var ids, publicIDs []any
	for _, l := range batch {
		if l.publicID != "" {
			publicIDs = append(publicIDs, l.publicID)
		} else {
			ids = append(ids, l.id[:])
		}
	}
	failedID := s.read("id", ids, func(v oauth.GrantView) { byID[v.Grant.ID] = v })
	failedPublicID := s.read("public_id", publicIDs, func(v oauth.GrantView) { byPublicID[v.Grant.PublicID] = v })
	for _, l := range batch {
		v, ok := byID[l.id]
		err := failedID
		if l.publicID != "" {
			v, ok = byPublicID[l.publicID]
			err = failedPublicID
		}
		if err == nil && !ok {
			err = oauth.ErrNotFound
		}
		l.done <- found{view: v, err: err}
	}
}

// read reads the grants that have one of the keys, if there are any.
func (s *Store) read(column string, keys []any, scan func(oauth.GrantView)) error {
	if len(keys) == 0 {
		return nil
	}
	return s.grants(context.Background(), column, keys, scan)
}
