package sqlstore_test

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/sqlstore"
	"github.com/counterfoil/counterfoil/internal/storetest"
)

// open opens a fresh, migrated store.
func open(t *testing.T, now func() time.Time) storetest.Store {
	t.Helper()
	return openFile(t, filepath.Join(t.TempDir(), "counterfoil.db"), now)
}

func openFile(t *testing.T, path string, now func() time.Time) *sqlstore.Store {
	t.Helper()
	s, err := sqlstore.OpenSQLite(t.Context(), path, sqlstore.Options{Now: now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSQLite holds the embedded store to the promises of the ports.
func TestSQLite(t *testing.T) {
	t.Parallel()
	storetest.Run(t, open)
}
