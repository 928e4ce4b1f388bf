package nodes

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/counterfoil/counterfoil/test/postgres"
	"github.com/counterfoil/counterfoil/test/program"
)

// later is a migration of a version to come. It changes rows only, so that nothing of the
// database's own keeps it from being done twice, and takes long, as with many rows. A
// sequence counts those that are rolled back too.
const later = `-- +goose Up
SELECT nextval('attempts');
UPDATE master_keys SET id = id + 1;
SELECT pg_sleep(1);
`

// buildLater builds a version of the program that has it.
func buildLater(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	file, list := filepath.Join(dir, "rows.sql"), filepath.Join(dir, "overlay.json")
	replace := map[string]string{}
	for _, engine := range []string{"sqlite", "postgres"} {
		name, err := filepath.Abs(filepath.Join("../../internal/sqlstore/migrations", engine, "00901_rows.sql"))
		if err != nil {
			t.Fatal(err)
		}
		replace[name] = file
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{file: []byte(later), list: overlay} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return program.Build(t, "-overlay="+list)
}

// TestMigrationsAtOnce: of several nodes that migrate at once, an empty database and later
// one of the version before, one does it. The others wait for it, and do not do the work
// too, to find that it was in vain.
func TestMigrationsAtOnce(t *testing.T) {
	t.Parallel()
	binary := buildLater(t)
	for name, front := range fronts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database := postgres.Database(t, postgres.Shared(t), "")
			pooled := front(t, database)
			serveAtOnce(t, pooled)
			execute(t, database, "CREATE SEQUENCE attempts")
			migrateAtOnce(t, pooled, binary)
			expectOnce(t, database)
		})
	}
}

// serveAtOnce starts several servers that migrate, until all are ready.
func serveAtOnce(t *testing.T, database string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var working sync.WaitGroup
	defer working.Wait()
	defer cancel()
	var nodes []*program.Program
	for range 3 {
		node := newNode(t, database, masterKey)
		nodes = append(nodes, node)
		working.Go(func() {
			if _, err := node.Try(ctx, "", "serve", "--migrate"); ctx.Err() == nil {
				t.Errorf("serve --migrate: %v", err)
				cancel()
			}
		})
	}
	for _, node := range nodes {
		eventually(t, 30*time.Second, "ready", func() bool { return ctx.Err() != nil || get(node, "/healthz/ready") == http.StatusOK })
	}
}

// migrateAtOnce migrates several times at once.
func migrateAtOnce(t *testing.T, database, binary string) {
	t.Helper()
	var working sync.WaitGroup
	for range 6 {
		node := newNode(t, database, masterKey)
		node.Binary = binary
		working.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if _, err := node.Try(ctx, "", "migrate", "up"); err != nil {
				t.Error(err)
			}
		})
	}
	working.Wait()
}

// expectOnce looks how often the migration was run. The only master key was 1 before.
func expectOnce(t *testing.T, database string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	var key, attempts int
	err = conn.QueryRow(t.Context(), "SELECT (SELECT sum(id) FROM master_keys), (SELECT last_value FROM attempts)").Scan(&key, &attempts)
	if err != nil || key != 2 || attempts != 1 {
		t.Errorf("the migration was run %d times in %d attempts, %v", key-1, attempts, err)
	}
}
