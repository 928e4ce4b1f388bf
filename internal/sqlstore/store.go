package sqlstore

import (
	"context"
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
	// Now is the store's clock. PostgreSQL needs none: nil is the database's own clock,
	// which all nodes share.
	Now func() time.Time
	Log *slog.Logger // for faults of work in the background
	// Patience is how long a step waits for the database; 0: a few seconds, for a
	// server, whose clients wait. Less than longestWait.
	Patience time.Duration
	// Connections is the most that are open to PostgreSQL at once; 0: defaultConnections.
	Connections int
}

// Store keeps everything in a SQL database.
type Store struct {
	engine
	log      *slog.Logger
	patience time.Duration // of those who wait for a read of a grant
	lookups  chan *lookup
	noted    chan oauth.Event
	stop     chan struct{}
	working  sync.WaitGroup
}

// engine is a database, and how it is asked.
type engine interface {
	// each reads rows. An error of scan ends it.
	each(ctx context.Context, query string, scan func(scanner) error, args ...any) error
	// write runs a step in a transaction, perhaps with other steps, and returns after
	// its COMMIT is durable: nil; an error of the step when it is known that nothing was
	// written, and never will be; or oauth.ErrOutcomeUnknown. It may run a step again. A
	// step that returns one of the named errors must have written nothing.
	write(step func(*transaction) error) error
	// writeOne is write for a step of one statement. oauth.ErrConflict: it wrote no row.
	writeOne(query string, args ...any) error
	// swap is SwapGrant of oauth.Store.
	swap(old, next *oauth.Grant, clientVersion int64) error
	// grants reads the grants whose column, id or public_id, has one of the keys, each
	// with the store's clock. A grant may come again: what came last holds.
	grants(ctx context.Context, column string, keys []any, scan func(view oauth.GrantView)) error
	// confirm is ConfirmGrant of oauth.Store.
	confirm(ctx context.Context, id oauth.GrantID) (oauth.GrantView, error)
	// clock is the store's time: UTC, whole microseconds.
	clock(ctx context.Context) (time.Time, error)
	// migrated reports whether any migration was begun.
	migrated(ctx context.Context) (bool, error)
	// schema opens the database for migrations.
	schema(ctx context.Context) (*schema, error)
	// check looks for what is wrong with the database.
	check(ctx context.Context) error
	// advise says what of its set-up may break the promise of durability.
	advise(ctx context.Context) ([]string, error)
	// backup writes a consistent copy to a file.
	backup(ctx context.Context, file string) error
	// watch calls changed when another node announces a change.
	watch(ctx context.Context, changed func())
	// alone runs something unless another node is about it.
	alone(ctx context.Context, name string, run func(context.Context) error) (bool, error)
	// stats returns the figures of now.
	stats() Stats
	// close finishes the steps in flight and closes the database.
	close() error
}

// errTooLong: who waits for a step has waited long enough.
var errTooLong = errors.New("the database takes too long")

// newStore starts what works in the background.
func newStore(e engine, o Options, patience time.Duration) *Store {
	s := &Store{engine: e, log: o.Log, patience: patience, lookups: make(chan *lookup, 1024), noted: make(chan oauth.Event, 1024), stop: make(chan struct{})}
	s.working.Go(s.writeNoted)
	s.working.Go(s.readGrants)
	return s
}

// Close finishes what is in flight and closes the database.
func (s *Store) Close() error {
	close(s.stop)
	s.working.Wait()
	return s.engine.close()
}

// Stats are figures about the store since it was opened.
type Stats struct {
	Writes  uint64 // writes that were asked for
	Commits uint64 // transactions they shared
	Waiting int    // writes that wait now
}

// Stats returns the figures of now.
func (s *Store) Stats() Stats { return s.stats() }

// Clock is the store's time.
func (s *Store) Clock(ctx context.Context) (time.Time, error) {
	now, err := s.clock(ctx)
	if err != nil {
		return now, wrap("read clock", err)
	}
	return now, nil
}

// Advice says what about the database's set-up an administrator should think about.
func (s *Store) Advice(ctx context.Context) ([]string, error) {
	advice, err := s.advise(ctx)
	if err != nil {
		return nil, wrap("check database", err)
	}
	return advice, nil
}

// Check looks for damage in the database, and for settings of it that break the
// promise of durability.
func (s *Store) Check(ctx context.Context) error {
	if err := s.check(ctx); err != nil {
		return wrap("check database", err)
	}
	return nil
}

// Backup writes a consistent copy of the embedded database, while it is in use, to a
// file that must not exist. The copy has mode 0600 and is synced.
func (s *Store) Backup(ctx context.Context, file string) error {
	if err := s.backup(ctx, file); err != nil {
		return wrap("back up database", err)
	}
	return nil
}

// write runs one step durably.
func (s *Store) write(what string, step func(tx *transaction) error) error {
	if err := s.engine.write(step); err != nil {
		return wrap(what, err)
	}
	return nil
}

// wrap says what was being done, and keeps the named errors recognisable.
func wrap(what string, err error) error { return fmt.Errorf("%s: %w", what, err) }

// isNamed reports whether an error is an outcome of a step rather than a fault.
func isNamed(err error) bool {
	return errors.Is(err, oauth.ErrConflict) || errors.Is(err, oauth.ErrNotFound) || errors.Is(err, oauth.ErrExists)
}

// row reads one row, or oauth.ErrNotFound.
func (s *Store) row(ctx context.Context, query string, scan func(scanner) error, args ...any) error {
	return oneRow(func(one func(scanner) error) error { return s.each(ctx, query, one, args...) }, scan)
}

// oneRow scans the first of some rows, or returns oauth.ErrNotFound.
func oneRow(each func(func(scanner) error) error, scan func(scanner) error) error {
	found := false
	err := each(func(row scanner) error {
		if found {
			return nil
		}
		found = true
		return scan(row)
	})
	if err == nil && !found {
		return oauth.ErrNotFound
	}
	return err
}

// transaction is what a step may use. Its statements see those of the steps before.
type transaction struct {
	connection
	now time.Time // of the store
}

// connection is what an engine gives to a transaction.
type connection interface {
	// exec runs a statement and returns how many rows it wrote.
	exec(query string, args ...any) (int64, error)
	// each reads rows.
	each(query string, scan func(scanner) error, args ...any) error
	// lockParties lets no other step change the subject and the client of a grant that
	// is being made, until this step is committed.
	lockParties(subject, clientID string) error
	// lockGrants locks the grants that a condition names in the order of their ids, in
	// which swaps lock them too. It comes before a statement that writes several: without
	// it two nodes could wait for one another.
	lockGrants(condition string, args ...any) error
	// announce tells the other nodes, when the step is committed, that something they
	// remember was changed.
	announce() error
}

// execOne runs a statement that writes one row, or none: then it returns missing.
func (t *transaction) execOne(missing error, query string, args ...any) error {
	n, err := t.exec(query, args...)
	if err == nil && n == 0 {
		return missing
	}
	return err
}

// row reads one row, or oauth.ErrNotFound.
func (t *transaction) row(query string, scan func(scanner) error, args ...any) error {
	return oneRow(func(one func(scanner) error) error { return t.each(query, one, args...) }, scan)
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

// truth scans a stored boolean, a number, or what a condition yields.
type truth struct{ b *bool }

// Scan implements sql.Scanner.
func (t truth) Scan(v any) error {
	switch v := v.(type) {
	case int64:
		*t.b = v != 0
	case bool:
		*t.b = v
	default:
		return fmt.Errorf("a boolean is stored as %T", v)
	}
	return nil
}

// flag returns a boolean as it is stored.
func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}
