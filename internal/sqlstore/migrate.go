package sqlstore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/counterfoil/counterfoil/internal/failpoint"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migration is one step of the schema.
type Migration struct {
	Version   int64
	Name      string
	AppliedAt time.Time // zero: not yet
}

func (s *Store) provider(db *sql.DB) (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithDisableGlobalRegistry(true))
}

// Migrate brings the schema to this version. Several processes may do so at once:
// one that comes too late finds nothing to do. A database of a newer version is an
// error.
func (s *Store) Migrate(ctx context.Context) error {
	const tries = 10
	var err error
	for range tries {
		if err = s.migrateOnce(ctx); err == nil {
			return nil
		}
		if errors.Is(err, errNewer) || ctx.Err() != nil {
			break
		}
	}
	return wrap("migrate database", err)
}

// errNewer: the database has migrations this version does not know.
var errNewer = errors.New("the database was made by a newer version")

func (s *Store) migrateOnce(ctx context.Context) error {
	// A connection of its own: the writer's is the committer's.
	db, err := s.connections(1)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	p, err := s.provider(db)
	if err != nil {
		return err
	}
	if err := notNewer(ctx, p); err != nil {
		return err
	}
	failpoint.Reach(failpoint.BeforeMigration)
	_, err = p.Up(ctx)
	failpoint.Reach(failpoint.AfterMigration)
	return err
}

func notNewer(ctx context.Context, p *goose.Provider) error {
	have, want, err := p.GetVersions(ctx)
	if err != nil {
		return err
	}
	if have > want {
		return fmt.Errorf("%w: its schema is %d, this program's is %d", errNewer, have, want)
	}
	return nil
}

// Migrations lists all steps of the schema, and when each was applied.
func (s *Store) Migrations(ctx context.Context) ([]Migration, error) {
	db, err := s.connections(1)
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }()
	p, err := s.provider(db)
	if err != nil {
		return nil, wrap("read migrations", err)
	}
	status, err := p.Status(ctx)
	if err != nil {
		return nil, wrap("read migrations", err)
	}
	list := make([]Migration, 0, len(status))
	for _, m := range status {
		list = append(list, Migration{Version: m.Source.Version, Name: m.Source.Path, AppliedAt: m.AppliedAt.UTC()})
	}
	return list, nil
}

// pending counts the steps that are missing; less than none means a newer database.
func (s *Store) pending(ctx context.Context) (int, error) {
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return 0, err
	}
	var applied int
	err = s.reader.QueryRowContext(ctx, "SELECT count(DISTINCT version_id) FROM goose_db_version WHERE version_id > 0").Scan(&applied)
	if err != nil && ctx.Err() == nil {
		var tables int
		if e := s.reader.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master").Scan(&tables); e == nil && tables == 0 {
			return len(files), nil // an empty database
		}
	}
	return len(files) - applied, err
}
