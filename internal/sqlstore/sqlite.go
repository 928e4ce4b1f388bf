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
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite" // and the driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/counterfoil/counterfoil/internal/failpoint"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// errBadConn makes database/sql close a connection.
var errBadConn = driver.ErrBadConn

// embedded is the SQLite database: many readers, and one writer that writes in groups.
type embedded struct {
	path      string
	now       func() time.Time
	patience  time.Duration
	reader    *sql.DB
	writer    *sql.DB
	committer *committer
	writing   sync.WaitGroup
	prepared  sync.Map // SQL text -> *sql.Stmt on the reader
}

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
	e := &embedded{path: path, now: stored(o.Now), patience: cmp.Or(o.Patience, serverPatience)}
	if e.writer, err = e.connections(1); err != nil {
		return nil, err
	}
	if e.reader, err = e.connections(2 * runtime.GOMAXPROCS(0)); err != nil {
		return nil, errors.Join(err, e.writer.Close())
	}
	if err := errors.Join(connect(ctx, e.writer), connect(ctx, e.reader)); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), e.writer.Close(), e.reader.Close())
	}
	e.committer = newCommitter(e.writer, e.now)
	e.writing.Go(e.committer.run)
	return newStore(e, o, longestWait), nil
}

// stored is a clock that shows what can be stored.
func stored(now func() time.Time) func() time.Time {
	return func() time.Time { return now().UTC().Truncate(time.Microsecond) }
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
func (e *embedded) connections(most int) (*sql.DB, error) {
	pragmas := url.Values{"_pragma": {
		fmt.Sprintf("busy_timeout(%d)", e.patience.Milliseconds()), "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "temp_store(MEMORY)", "cache_size(-16384)",
	}}
	absolute, err := filepath.Abs(e.path)
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

// close implements engine.
func (e *embedded) close() error {
	e.committer.close()
	e.writing.Wait()
	return errors.Join(e.reader.Close(), e.writer.Close())
}

// stats implements engine.
func (e *embedded) stats() Stats {
	return Stats{Writes: e.committer.writes.Load(), Commits: e.committer.commits.Load(), Waiting: len(e.committer.queue)}
}

// clock implements engine.
func (e *embedded) clock(context.Context) (time.Time, error) { return e.now(), nil }

// write implements engine.
func (e *embedded) write(step func(*transaction) error) error { return e.committer.do(step) }

// writeOne implements engine.
func (e *embedded) writeOne(query string, args ...any) error {
	return e.write(func(tx *transaction) error { return tx.execOne(oauth.ErrConflict, query, args...) })
}

// each implements engine. Reading is quick and is not cancelled: a driver that
// watches a context costs more than the query.
func (e *embedded) each(_ context.Context, query string, scan func(scanner) error, args ...any) error {
	stmt, err := e.statement(query)
	if err != nil {
		return err
	}
	return eachRow(stmt, scan, args)
}

// eachRow scans the rows of a prepared query.
func eachRow(stmt *sql.Stmt, scan func(scanner) error, args []any) error {
	rows, err := stmt.QueryContext(context.Background(), args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// statement returns a prepared statement for reading.
func (e *embedded) statement(query string) (*sql.Stmt, error) {
	if stmt, ok := e.prepared.Load(query); ok {
		return stmt.(*sql.Stmt), nil
	}
	stmt, err := e.reader.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, err
	}
	if other, raced := e.prepared.LoadOrStore(query, stmt); raced {
		_ = stmt.Close()
		return other.(*sql.Stmt), nil
	}
	return stmt, nil
}

// grants implements engine.
func (e *embedded) grants(ctx context.Context, column string, keys []any, scan func(oauth.GrantView)) error {
	size := 1
	for size < len(keys) { // few sizes, few statements
		size *= 2
	}
	for len(keys) < size { // what is left over repeats the last
		keys = append(keys, keys[len(keys)-1])
	}
	now, into := e.now(), newGrantRow()
	return e.each(ctx, selectGrant+" WHERE g."+column+" IN ("+placeholders(size)+")", func(row scanner) error {
		v, err := into.scan(row)
		v.Now = now
		scan(v)
		return err
	}, keys...)
}

// confirm implements engine: there is one database, and one past.
func (e *embedded) confirm(ctx context.Context, id oauth.GrantID) (v oauth.GrantView, err error) {
	err = oauth.ErrNotFound
	failed := e.grants(ctx, "id", []any{id[:]}, func(view oauth.GrantView) { v, err = view, nil })
	return v, cmp.Or(failed, err)
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

const swapGrant = `
UPDATE grants SET version = version + 1, generation = $5, current_hash = $6, previous_hash = $7, successor_salt = $8, key_id = $9,
       rotated_at = $10, retries = $11, idle_expires_at = $12, last_used_at = $13
 WHERE id = $14 AND version = $15 AND current_hash = $16 AND status = 'active' AND subject = $1 AND subject_epoch = $2 AND client_id = $3` + liveParties

// swap implements engine.
func (e *embedded) swap(old, next *oauth.Grant, clientVersion int64) error {
	return e.write(func(tx *transaction) error {
		rotated := old.RotatedAt
		if next.Generation != old.Generation && tx.now.After(rotated) {
			rotated = tx.now
		}
		failpoint.Reach(failpoint.BeforeSwap)
		return tx.execOne(oauth.ErrConflict, swapGrant, old.Subject, old.SubjectEpoch, old.ClientID, clientVersion,
			next.Generation, next.CurrentHash[:], orNull(next.PreviousHash), orNull(next.SuccessorSalt), next.KeyID,
			toMicro(rotated), next.Retries, toMicro(next.IdleExpiresAt), toMicro(next.LastUsedAt), old.ID[:], old.Version, old.CurrentHash[:])
	})
}

// migrated implements engine.
func (e *embedded) migrated(ctx context.Context) (exists bool, err error) {
	err = e.each(ctx, "SELECT 1 FROM sqlite_master WHERE name = 'goose_db_version'", func(scanner) error {
		exists = true
		return nil
	})
	return exists, err
}

// schema implements engine. Its connection is its own: the writer's is the
// committer's.
func (e *embedded) schema(context.Context) (*schema, error) {
	db, err := e.connections(1)
	if err != nil {
		return nil, err
	}
	return newSchema(db, goose.DialectSQLite3, "migrations/sqlite")
}

// check implements engine: it looks for damage in the file.
func (e *embedded) check(ctx context.Context) error {
	var found []string
	err := e.each(ctx, "PRAGMA quick_check(10)", func(row scanner) error {
		var line string
		err := row.Scan(&line)
		found = append(found, line)
		return err
	})
	if err != nil {
		return err
	}
	if len(found) != 1 || found[0] != "ok" {
		return fmt.Errorf("the database is damaged: %q", found)
	}
	return nil
}

// advise implements engine: there is nothing to choose.
func (e *embedded) advise(context.Context) ([]string, error) { return nil, nil }

// backup implements engine.
func (e *embedded) backup(ctx context.Context, file string) error {
	if _, err := os.Lstat(file); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s exists already", file)
	}
	dir, err := os.MkdirTemp(filepath.Dir(file), ".counterfoil-backup-") // mode 0700
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	copied := filepath.Join(dir, "copy")
	if _, err := e.reader.ExecContext(ctx, "VACUUM INTO $1", copied); err != nil {
		return err
	}
	return settle(copied, file)
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
