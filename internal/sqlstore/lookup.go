package sqlstore

import (
	"context"
	"database/sql"
	"runtime"
	"strconv"
	"strings"

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

// readTogether answers a batch of lookups with one query, and so one snapshot.
func (s *Store) readTogether(batch []*lookup) {
	now := s.clock()
	views, into := make(map[oauth.GrantID]oauth.GrantView, len(batch)), newGrantRow()
	err := s.queryGrants(batch, func(row scanner) error {
		v, err := into.scan(row)
		v.Now = now
		views[v.Grant.ID] = v
		return err
	})
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

func (s *Store) queryGrants(batch []*lookup, scan func(scanner) error) error {
	size := 1
	for size < len(batch) {
		size *= 2
	}
	stmt, err := s.statement(selectGrant + " WHERE g.id IN (" + placeholders(size) + ")")
	if err != nil {
		return err
	}
	args := make([]any, size)
	for i := range args { // what is left over repeats the last
		args[i] = batch[min(i, len(batch)-1)].id[:]
	}
	rows, err := stmt.QueryContext(context.Background(), args...)
	if err != nil {
		return err
	}
	return eachRow(rows, scan)
}

// eachRow scans all rows and closes them.
func eachRow(rows *sql.Rows, scan func(scanner) error) error {
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// placeholders returns "$1, $2, …, $n".
func placeholders(n int) string {
	var b strings.Builder
	for i := 1; i <= n; i++ {
		if i > 1 {
			b.WriteString(", ")
		}
		b.WriteString("$" + strconv.Itoa(i))
	}
	return b.String()
}
