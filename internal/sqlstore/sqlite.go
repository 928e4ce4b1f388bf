package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"modernc.org/sqlite" // and the driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// errBadConn makes database/sql close a connection.
var errBadConn = driver.ErrBadConn

// OpenSQLite opens the embedded database in a file, which it makes, with mode 0600,
// where there is none. It does not migrate. The journal is a write-ahead log and
// every COMMIT is synced (synchronous=FULL), so that what was acknowledged survives
// a power cut.
func OpenSQLite(ctx context.Context, path string, o Options) (*Store, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := file.Close(); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	s := &Store{now: o.Now, log: o.Log, path: path, patience: cmp.Or(o.Patience, serverPatience)}
	if s.writer, err = s.connections(1); err != nil {
		return nil, err
	}
	if s.reader, err = s.connections(2 * runtime.GOMAXPROCS(0)); err != nil {
		return nil, errors.Join(err, s.writer.Close())
	}
	if err := errors.Join(connect(ctx, s.writer), connect(ctx, s.reader)); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), s.writer.Close(), s.reader.Close())
	}
	s.begin()
	return s, nil
}

// connect makes the first connection of a pool. Processes that turn a new file into
// one with a write-ahead log at the same time get SQLITE_BUSY at once, whatever the
// timeout says: so they try again.
func connect(ctx context.Context, db *sql.DB) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for tries := 500; ; tries-- {
		err := db.PingContext(ctx)
		var failure *sqlite.Error
		if !errors.As(err, &failure) || failure.Code()&0xFF != sqlite3.SQLITE_BUSY || tries == 0 {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// serverPatience is how long a server waits for its turn: its clients wait with it.
const serverPatience = 2500 * time.Millisecond

// connections opens a pool of connections that stay open.
func (s *Store) connections(most int) (*sql.DB, error) {
	pragmas := url.Values{"_pragma": {
		fmt.Sprintf("busy_timeout(%d)", s.patience.Milliseconds()), "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "temp_store(MEMORY)", "cache_size(-16384)",
	}}
	absolute, err := filepath.Abs(s.path)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: absolute, RawQuery: pragmas.Encode()}).String())
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	db.SetMaxOpenConns(most)
	db.SetMaxIdleConns(most)
	return db, nil
}

// Ready reports whether the database can be read and has the schema of this version.
func (s *Store) Ready(ctx context.Context) error {
	pending, err := s.pending(ctx)
	if err != nil {
		return wrap("check database", err)
	}
	switch {
	case pending > 0:
		return fmt.Errorf("the database needs %d migrations", pending)
	case pending < 0:
		return errNewer
	}
	return nil
}

// Check looks for damage in the database file (PRAGMA quick_check).
func (s *Store) Check(ctx context.Context) error {
	var found []string
	err := s.rows(ctx, "PRAGMA quick_check(10)", func(row scanner) error {
		var line string
		err := row.Scan(&line)
		found = append(found, line)
		return err
	})
	if err != nil {
		return wrap("check database", err)
	}
	if len(found) != 1 || found[0] != "ok" {
		return fmt.Errorf("the database is damaged: %q", found)
	}
	return nil
}

// Backup writes a consistent copy of the database, while it is in use, to a file
// that must not exist. The copy has mode 0600 and is synced.
func (s *Store) Backup(ctx context.Context, file string) error {
	if _, err := os.Lstat(file); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("back up database: %s exists already", file)
	}
	dir, err := os.MkdirTemp(filepath.Dir(file), ".counterfoil-backup-") // mode 0700
	if err != nil {
		return wrap("back up database", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	copied := filepath.Join(dir, "copy")
	if _, err := s.reader.ExecContext(ctx, "VACUUM INTO $1", copied); err != nil {
		return wrap("back up database", err)
	}
	if err := settle(copied, file); err != nil {
		return wrap("back up database", err)
	}
	return nil
}

// settle gives a finished file its mode and its name, both durable.
func settle(from, to string) error {
	if err := os.Chmod(from, 0o600); err != nil {
		return err
	}
	if err := syncFile(from); err != nil {
		return err
	}
	if err := os.Link(from, to); err != nil { // unlike Rename, never over another file
		return err
	}
	return syncFile(filepath.Dir(to))
}

func syncFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
