package sqlstore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"github.com/counterfoil/counterfoil/internal/failpoint"
)

//go:embed migrations
var migrations embed.FS

// Migration is one step of the schema.
type Migration struct {
	Version   int64
	Name      string
	AppliedAt time.Time // zero: not yet
}

// schema is a database that is open for migrations.
type schema struct {
	*goose.Provider
	db *sql.DB
}

// record is the list of the migrations that were run, in which each has one place: so of
// programs that run the same one at once, whatever it does, one succeeds.
type record struct{ database.Store }

// CreateVersionTable implements database.Store.
func (r record) CreateVersionTable(ctx context.Context, db database.DBTxConn) error {
	if err := r.Store.CreateVersionTable(ctx, db); err != nil {
		return err
	}
	_, err := db.ExecContext(ctx, "CREATE UNIQUE INDEX goose_db_version_once ON goose_db_version (version_id)")
	return err
}

// newSchema takes the migrations of a directory to a database.
func newSchema(db *sql.DB, dialect goose.Dialect, directory string) (*schema, error) {
	files, err := fs.Sub(migrations, directory)
	if err != nil {
		return nil, err
	}
	list, err := database.NewStore(dialect, goose.DefaultTablename)
	if err != nil {
		return nil, err
	}
	p, err := goose.NewProvider(goose.DialectCustom, db, files, goose.WithStore(record{list}), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, err
	}
	return &schema{Provider: p, db: db}, nil
}

func (s *schema) close() { _ = s.db.Close() }

// errNewer: the database has migrations this version cannot work with.
var errNewer = errors.New("the database was made by a newer version")

// Migrate brings the schema to this version. Several processes may do so at once: they
// wait for the one that does it, and find nothing to do. A newer database stays as it is;
// if this version cannot work with it, that is an error.
func (s *Store) Migrate(ctx context.Context) error {
	const tries = 10
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for failures := 0; ; {
		mine, err := s.Alone(ctx, "migrate", s.migrateOnce)
		if err == nil && mine {
			return nil
		}
		if err != nil {
			failures++
		}
		if failures == tries || errors.Is(err, errNewer) {
			return wrap("migrate database", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return wrap("migrate database", errors.Join(ctx.Err(), err))
		}
	}
}

func (s *Store) migrateOnce(ctx context.Context) error {
	have, err := s.schemaVersion(ctx)
	if err != nil {
		return err
	}
	if have >= newestSchema() {
		return s.compatible(ctx)
	}
	schema, err := s.schema(ctx)
	if err != nil {
		return err
	}
	defer schema.close()
	failpoint.Reach(failpoint.BeforeMigration)
	_, err = schema.Up(ctx)
	failpoint.Reach(failpoint.AfterMigration)
	return err
}

// Migrations lists all steps of the schema, and when each was applied.
func (s *Store) Migrations(ctx context.Context) ([]Migration, error) {
	schema, err := s.schema(ctx)
	if err != nil {
		return nil, wrap("read migrations", err)
	}
	defer schema.close()
	status, err := schema.Status(ctx)
	if err != nil {
		return nil, wrap("read migrations", err)
	}
	list := make([]Migration, 0, len(status))
	for _, m := range status {
		list = append(list, Migration{Version: m.Source.Version, Name: path.Base(m.Source.Path), AppliedAt: m.AppliedAt.UTC()})
	}
	return list, nil
}

// Ready reports whether the database can be read and has a schema that this version
// can work with: its own, or a newer one that only added to it.
func (s *Store) Ready(ctx context.Context) error {
	have, err := s.schemaVersion(ctx)
	if err != nil {
		return wrap("check database", err)
	}
	if have < newestSchema() {
		return fmt.Errorf("the database needs migrations: its schema is %d, this program's is %d", have, newestSchema())
	}
	return s.compatible(ctx)
}

// compatible returns errNewer if the schema took away what this version uses.
func (s *Store) compatible(ctx context.Context) error {
	var oldest int64
	err := s.row(ctx, "SELECT oldest FROM schema_compatibility WHERE id = 1", func(row scanner) error { return row.Scan(&oldest) })
	switch {
	case err != nil:
		return wrap("check schema", err)
	case oldest == unfinished:
		return errors.New("the database holds an unfinished copy: run 'counterfoil copy' again, or use an empty one")
	case oldest > newestSchema():
		return fmt.Errorf("%w: it needs a program of schema %d, this one's is %d", errNewer, oldest, newestSchema())
	}
	return nil
}

// schemaVersion is the version of the newest migration that was applied; 0: none.
func (s *Store) schemaVersion(ctx context.Context) (version int64, err error) {
	exists, err := s.migrated(ctx)
	if err != nil || !exists {
		return 0, err
	}
	err = s.row(ctx, "SELECT COALESCE(max(version_id), 0) FROM goose_db_version", func(row scanner) error { return row.Scan(&version) })
	return version, err
}

// newestSchema is the version of this program's last migration, the same for every
// engine.
func newestSchema() (newest int64) {
	files, _ := fs.Glob(migrations, "migrations/sqlite/*.sql") // the pattern is good
	for _, file := range files {
		number, _, _ := strings.Cut(path.Base(file), "_")
		version, _ := strconv.ParseInt(number, 10, 64)
		newest = max(newest, version)
	}
	return newest
}
