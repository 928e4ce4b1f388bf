package sqlstore_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/sqlstore"
	"github.com/counterfoil/counterfoil/internal/storetest"
	"github.com/counterfoil/counterfoil/test/postgres"
)

// openPostgres opens a store at a database.
func openPostgres(t *testing.T, url string, now func() time.Time) *sqlstore.Store {
	t.Helper()
	s, err := sqlstore.OpenPostgres(t.Context(), url, sqlstore.Options{Now: now, Log: slog.New(slog.DiscardHandler)})
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

// TestPostgres holds the store on PostgreSQL to the promises of the ports: with both
// isolation levels that make sense, and through a pooler.
func TestPostgres(t *testing.T) {
	t.Parallel()
	for _, way := range []struct{ name, parameters string }{
		{"read_committed", ""},
		{"serializable", "&default_transaction_isolation=serializable"},
		{"without_prepared_statements", "&default_query_exec_mode=exec"},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t *testing.T, now func() time.Time) storetest.Store {
				return openPostgres(t, postgres.Migrated(t)+way.parameters, now)
			})
		})
	}
}
