package sqlstore_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/sqlstore"
	"github.com/counterfoil/counterfoil/internal/storetest"
)

// migrated is the content of a fresh, migrated database: making one anew for each
// case would take longer than the case.
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

// open opens a fresh, migrated store.
func open(t *testing.T, now func() time.Time) storetest.Store {
	t.Helper()
	content, err := migrated()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "counterfoil.db")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := sqlstore.OpenSQLite(t.Context(), path, sqlstore.Options{Now: now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// TestSQLite holds the embedded store to the promises of the ports.
func TestSQLite(t *testing.T) {
	t.Parallel()
	storetest.Run(t, open)
}
