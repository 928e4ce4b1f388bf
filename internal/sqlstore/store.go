package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// Options are what a store is opened with.
type Options struct {
	Now func() time.Time // the store's clock
	Log *slog.Logger     // for faults of work in the background
	// Patience is how long a write waits while another process writes; 0: 2.5 s, for
	// a server, whose clients wait. Less than longestWait.
	Patience time.Duration
}

// Store keeps everything in a SQL database. Reads go to a pool of connections,
// writes to one, in groups.
type Store struct {
	now       func() time.Time
	log       *slog.Logger
	path      string
	patience  time.Duration
	reader    *sql.DB
	writer    *sql.DB
	committer *committer
	lookups   chan *lookup
	noted     chan oauth.Event
	stop      chan struct{}
	working   sync.WaitGroup
	prepared  sync.Map // SQL text -> *sql.Stmt on the reader
}

// begin starts what works in the background.
func (s *Store) begin() {
	s.lookups = make(chan *lookup, 1024)
	s.noted = make(chan oauth.Event, 1024)
	s.stop = make(chan struct{})
	s.committer = newCommitter(s.writer)
	s.working.Go(s.committer.run)
	s.working.Go(s.writeNoted)
	s.working.Go(s.readGrants)
}

// Close finishes what is in flight and closes the database.
func (s *Store) Close() error {
	close(s.stop) // writeNoted closes the committer when it has written the rest
	s.working.Wait()
	return errors.Join(s.reader.Close(), s.writer.Close())
}

// Stats are figures about the store since it was opened.
type Stats struct {
	Writes  uint64 // writes that were asked for
	Commits uint64 // transactions they shared
	Waiting int    // writes that wait now
}

// Stats returns the figures of now.
func (s *Store) Stats() Stats {
	return Stats{Writes: s.committer.writes.Load(), Commits: s.committer.commits.Load(), Waiting: len(s.committer.queue)}
}

// clock is the store's time: UTC, whole microseconds.
func (s *Store) clock() time.Time { return s.now().UTC().Truncate(time.Microsecond) }

// write runs one step durably, together with others. The step's statements run in
// one transaction; a step that returns one of the named errors must have written
// nothing. Its context ends nothing that has begun.
func (s *Store) write(what string, step func(tx *transaction) error) error {
	if err := s.committer.do(step); err != nil {
		return wrap(what, err)
	}
	return nil
}

// wrap says what was being done, and keeps the named errors recognisable.
func wrap(what string, err error) error { return fmt.Errorf("%s: %w", what, err) }

// statement returns a prepared statement for reading.
func (s *Store) statement(query string) (*sql.Stmt, error) {
	if stmt, ok := s.prepared.Load(query); ok {
		return stmt.(*sql.Stmt), nil
	}
	stmt, err := s.reader.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, err
	}
	if other, raced := s.prepared.LoadOrStore(query, stmt); raced {
		_ = stmt.Close()
		return other.(*sql.Stmt), nil
	}
	return stmt, nil
}

// row reads one row, or oauth.ErrNotFound. Reading is quick and is not cancelled:
// a driver that watches a context costs more than the query.
func (s *Store) row(query string, scan func(row scanner) error, args ...any) error {
	stmt, err := s.statement(query)
	if err != nil {
		return err
	}
	return oneRow(stmt, scan, args)
}

// oneRow reads one row of a prepared query, or oauth.ErrNotFound.
func oneRow(stmt *sql.Stmt, scan func(row scanner) error, args []any) error {
	err := scan(stmt.QueryRowContext(context.Background(), args...))
	if errors.Is(err, sql.ErrNoRows) {
		return oauth.ErrNotFound
	}
	return err
}

// rows reads all rows.
func (s *Store) rows(ctx context.Context, query string, scan func(row scanner) error, args ...any) error {
	rows, err := s.reader.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	return eachRow(rows, scan)
}

// scanner is a row that can be read.
type scanner interface{ Scan(into ...any) error }

// toMicro returns a time as it is stored; 0 is the zero time.
func toMicro(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// fromMicro is the reverse of toMicro.
func fromMicro(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

// toList returns a list as it is stored: a JSON array.
func toList(list []string) string {
	if len(list) == 0 {
		return "[]"
	}
	b, _ := json.Marshal(list) // a list of strings always can
	return string(b)
}

// fromList is the reverse of toList; an empty list is not nil.
func fromList(text string) ([]string, error) {
	switch text { // the usual ones, without a decoder
	case "[]":
		return []string{}, nil
	case `["pwd"]`:
		return []string{"pwd"}, nil
	}
	var list []string
	err := json.Unmarshal([]byte(text), &list)
	return list, err
}

// micro scans a stored time into t.
type micro struct{ t *time.Time }

// Scan implements sql.Scanner.
func (m micro) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("a time is stored as %T", v)
	}
	*m.t = fromMicro(n)
	return nil
}

// octets16 scans an identifier of fixed length.
type octets16 [16]byte

// Scan implements sql.Scanner.
func (o *octets16) Scan(v any) error { return scanOctets(o[:], v) }

// octets32 scans a hash or salt; NULL is zero.
type octets32 [32]byte

// Scan implements sql.Scanner.
func (o *octets32) Scan(v any) error { return scanOctets(o[:], v) }

func scanOctets(into []byte, v any) error {
	b, ok := v.([]byte)
	if v != nil && (!ok || len(b) != len(into)) {
		return fmt.Errorf("%d octets are stored as %T of another length", len(into), v)
	}
	clear(into)
	copy(into, b)
	return nil
}

// flag returns a boolean as it is stored.
func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}
