package rotation_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"pgregory.net/rapid"

	"github.com/counterfoil/counterfoil/internal/memory"
	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/sqlstore"
	"github.com/counterfoil/counterfoil/internal/storetest"
	"github.com/counterfoil/counterfoil/test/postgres"
)

// tester is what *testing.T and *rapid.T have in common.
type tester interface {
	rapid.TB
	Context() context.Context
	Cleanup(do func())
}

// engine is a kind of store: how to open an empty one, and how to read each grant's
// row as the engine itself keeps it, by public_id.
type engine struct {
	name string
	slow bool
	open func(t tester, now func() time.Time) (storetest.Store, rawRows)
}

type rawRows func() (map[string]string, error)

var (
	inMemory = engine{name: "memory", open: openMemory}
	inSQLite = engine{name: "sqlite", slow: true, open: openSQLite}

	inPostgres     = engine{name: "postgres", slow: true, open: onPostgres("")}
	inSerializable = engine{name: "postgres, serializable", slow: true, open: onPostgres("&default_transaction_isolation=serializable")}

	engines = []engine{inMemory, inSQLite}
)

// openMemory has no rows but those that the port shows.
func openMemory(_ tester, now func() time.Time) (storetest.Store, rawRows) {
	return memory.New(now), func() (map[string]string, error) { return nil, nil }
}

// migrated is the content of a fresh, migrated database.
var migrated = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "counterfoil-test-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "counterfoil.db")
	s, err := sqlstore.OpenSQLite(context.Background(), path, sqlstore.Options{Now: time.Now})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(s.Migrate(context.Background()), s.Close()); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

func openSQLite(t tester, now func() time.Time) (storetest.Store, rawRows) {
	t.Helper()
	content, err := migrated()
	must(t, err, "make a database")
	dir, err := os.MkdirTemp("", "counterfoil-test-")
	must(t, err, "make a directory")
	path := filepath.Join(dir, "counterfoil.db")
	must(t, os.WriteFile(path, content, 0o600), "copy the database")
	s, err := sqlstore.OpenSQLite(t.Context(), path, sqlstore.Options{Now: now, Log: slog.New(slog.DiscardHandler)})
	must(t, err, "open the database")
	beside, err := sql.Open("sqlite", path)
	must(t, err, "open the database once more")
	t.Cleanup(func() {
		if err := errors.Join(beside.Close(), s.Close(), os.RemoveAll(dir)); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s, func() (map[string]string, error) { return selectAll(beside) }
}

// onPostgres opens empty databases at PostgreSQL, with further parameters of the URL.
func onPostgres(parameters string) func(t tester, now func() time.Time) (storetest.Store, rawRows) {
	return func(t tester, now func() time.Time) (storetest.Store, rawRows) {
		t.Helper()
		url := postgres.Migrated(t) + parameters
		s, err := sqlstore.OpenPostgres(t.Context(), url, sqlstore.Options{Now: now, Log: slog.New(slog.DiscardHandler)})
		must(t, err, "open the database")
		beside, err := sql.Open("pgx", url)
		must(t, err, "open the database once more")
		t.Cleanup(func() {
			if err := errors.Join(beside.Close(), s.Close()); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		return s, func() (map[string]string, error) { return selectAll(beside) }
	}
}

// selectAll reads the table of grants, all columns, whatever they are.
func selectAll(db *sql.DB) (map[string]string, error) {
	found, err := db.Query("SELECT public_id, * FROM grants")
	if err != nil {
		return nil, err
	}
	defer func() { _ = found.Close() }()
	names, err := found.Columns()
	if err != nil {
		return nil, err
	}
	rows := map[string]string{}
	for found.Next() {
		values, into := make([]any, len(names)), make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		if err := found.Scan(into...); err != nil {
			return nil, err
		}
		rows[fmt.Sprint(values[0])] = fmt.Sprintf("%x", values[1:])
	}
	return rows, found.Err()
}

// failure is what befalls an operation of the store.
type failure int

const (
	works          failure = iota
	fails                  // a known fault: it has not happened and never will
	dies                   // it happened, but the process ended before it could answer
	unknown                // unknown outcome: it has not happened
	unknownDone            // unknown outcome: it has happened
	lateByOne              // unknown outcome: it happens just before the next operation
	lateByTwo              // … just before the one after that: between a look and its write
	lateByThree            // …
	afterAnswer            // … when the request was answered
	afterRepeating         // … when the same request was sent again and answered
)

var failureNames = []string{
	"works", "fails", "happens, then dies", "unknown, did not happen", "unknown, happened",
	"unknown, happens before the next", "unknown, happens before the second next", "unknown, happens before the third next",
	"unknown, happens after the answer", "unknown, happens after the repeated request",
}

func (f failure) String() string { return failureNames[f] }

// The faults that the failures show. errDied stands for a process that is gone.
var (
	errDisk = errors.New("the disk is on fire")
	errDied = errors.New("the process died")
)

// faultyStore is a store of which some operations go wrong.
type faultyStore struct {
	storetest.Store
	plan   func(n int, write bool) failure // for the n-th operation, from 1; nil: all work
	before func(n int)                     // runs before the n-th operation; nil: nothing does
	writes []bool                          // of each operation begun, whether it writes
	late   []lateWrite
}

// lateWrite is a write that happens before the n-th operation.
type lateWrite struct {
	n  int
	do func() error
}

// never is the number of no operation.
const never = 1 << 30

// arm begins to count operations anew, under another plan.
func (s *faultyStore) arm(plan func(n int, write bool) failure, before func(n int)) {
	s.plan, s.before, s.writes = plan, before, nil
}

// settle lets the late writes happen that were to happen before the n-th operation.
func (s *faultyStore) settle(n int) {
	waiting := s.late
	s.late = nil
	for _, w := range waiting {
		if w.n > n {
			s.late = append(s.late, w)
			continue
		}
		_ = w.do() // nobody hears of its outcome
	}
}

// operation does one operation of the store, or what the plan says instead. An
// operation that writes nothing can only work or fail.
func (s *faultyStore) operation(write bool, do func() error) error {
	s.writes = append(s.writes, write)
	n := len(s.writes)
	s.settle(n)
	if s.before != nil {
		s.before(n)
	}
	planned := works
	if s.plan != nil {
		planned = s.plan(n, write)
	}
	switch {
	case planned == works:
		return do()
	case planned == fails:
		return errDisk
	case !write:
		return do()
	case planned == dies:
		_ = do()
		return errDied
	case planned == unknownDone:
		_ = do()
	case planned != unknown:
		s.late = append(s.late, lateWrite{n: s.happens(n, planned), do: do})
	}
	return fmt.Errorf("write: %w", oauth.ErrOutcomeUnknown)
}

// happens is the number of the operation before which a late write happens.
func (s *faultyStore) happens(n int, f failure) int {
	switch f {
	case afterAnswer:
		return never
	case afterRepeating:
		return never + 1
	}
	return n + 1 + int(f-lateByOne)
}

func (s *faultyStore) Client(ctx context.Context, id string) (c oauth.Client, err error) {
	err = s.operation(false, func() (err error) { c, err = s.Store.Client(ctx, id); return err })
	return c, err
}

func (s *faultyStore) UserByLogin(ctx context.Context, login string) (u oauth.User, err error) {
	err = s.operation(false, func() (err error) { u, err = s.Store.UserByLogin(ctx, login); return err })
	return u, err
}

func (s *faultyStore) Grant(ctx context.Context, id oauth.GrantID) (v oauth.GrantView, err error) {
	err = s.operation(false, func() (err error) { v, err = s.Store.Grant(ctx, id); return err })
	return v, err
}

func (s *faultyStore) ConfirmGrant(ctx context.Context, id oauth.GrantID) (v oauth.GrantView, err error) {
	err = s.operation(false, func() (err error) { v, err = s.Store.ConfirmGrant(ctx, id); return err })
	return v, err
}

func (s *faultyStore) LoginFailures(ctx context.Context, k oauth.LoginKeys) (f oauth.LoginFailures, err error) {
	err = s.operation(false, func() (err error) { f, err = s.Store.LoginFailures(ctx, k); return err })
	return f, err
}

func (s *faultyStore) ClearLoginFailures(ctx context.Context, k oauth.LoginKeys) error {
	return s.operation(true, func() error { return s.Store.ClearLoginFailures(ctx, k) })
}

func (s *faultyStore) RecordLoginFailure(ctx context.Context, k oauth.LoginKeys, userID string, lockAfter int) error {
	return s.operation(true, func() error { return s.Store.RecordLoginFailure(ctx, k, userID, lockAfter) })
}

func (s *faultyStore) CreateGrant(ctx context.Context, n oauth.NewGrant) error {
	return s.operation(true, func() error { return s.Store.CreateGrant(ctx, n) })
}

func (s *faultyStore) SwapGrant(ctx context.Context, old, next *oauth.Grant, clientVersion int64) error {
	was, becomes := *old, *next // it may happen when the caller has gone on
	return s.operation(true, func() error { return s.Store.SwapGrant(ctx, &was, &becomes, clientVersion) })
}

func (s *faultyStore) RetryGrant(ctx context.Context, g *oauth.Grant, clientVersion int64, budget int) error {
	decided := *g
	return s.operation(true, func() error { return s.Store.RetryGrant(ctx, &decided, clientVersion, budget) })
}

func (s *faultyStore) RevokeGrant(ctx context.Context, id oauth.GrantID, reason string, e oauth.Event) error {
	return s.operation(true, func() error { return s.Store.RevokeGrant(ctx, id, reason, e) })
}

func (s *faultyStore) RecordRefusal(ctx context.Context, e oauth.Event) error {
	return s.operation(true, func() error { return s.Store.RecordRefusal(ctx, e) })
}

// must ends the test where what has to succeed does not.
func must(t tester, err error, doing string) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", doing, err)
	}
}
