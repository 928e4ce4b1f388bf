package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/counterfoil/counterfoil/internal/sqlstore"
)

// migratedTemplate is the name of a database with the schema and nothing else.
const migratedTemplate = "migrated"

// migrated makes that database, at the first call.
var migrated = sync.OnceValue(func() error {
	s, err := shared()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.CreateDatabase(ctx, migratedTemplate, ""); err != nil {
		return err
	}
	store, err := sqlstore.OpenPostgres(ctx, s.URL(migratedTemplate), sqlstore.Options{})
	if err != nil {
		return err
	}
	return errors.Join(store.Migrate(ctx), store.Close())
})

// emptyDatabase makes a database what it was after its migrations.
const emptyDatabase = `
DELETE FROM users WHERE id <> 'visitor';
UPDATE users SET epoch = 1;
TRUNCATE clients, grants, sessions, events, event_refusals, event_failures, master_keys, signing_keys RESTART IDENTITY;
UPDATE signing_revision SET revision = 0;
UPDATE feed_state SET number = 0, followed_at = 0;
UPDATE feed_announcements SET number = 0`

// Migrated returns the URL of a database at the shared server with the schema of this
// version and nothing in it, for one test, which leaves the schema as it is.
func Migrated(t T) (url string) {
	t.Helper()
	if err := migrated(); err != nil {
		t.Fatal(err)
	}
	s := Shared(t)
	name, err := s.takeMigrated()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.giveBack(name) })
	return s.URL(name)
}

// takeMigrated empties a database that a test has done with, which is quicker than to
// make one, or makes one.
func (s *Server) takeMigrated() (name string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s.mu.Lock()
	n := len(s.free)
	if n > 0 {
		name, s.free = s.free[n-1], s.free[:n-1]
	}
	s.mu.Unlock()
	if n > 0 {
		return name, s.execute(ctx, name, emptyDatabase)
	}
	name = fmt.Sprintf("%s_%d", migratedTemplate, s.databases.Add(1))
	return name, s.CreateDatabase(ctx, name, migratedTemplate)
}

func (s *Server) giveBack(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, name)
}
