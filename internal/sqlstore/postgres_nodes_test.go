package sqlstore_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/sqlstore"
	"github.com/counterfoil/counterfoil/test/postgres"
)

// TestAnnouncements: a node hears at once that keys were changed at another, also after
// its connection was lost.
func TestAnnouncements(t *testing.T) {
	t.Parallel()
	url := postgres.Migrated(t)
	here, there := openPostgres(t, url, nil), openPostgres(t, url, nil)
	ctx, cancel := context.WithCancel(t.Context())
	heard := make(chan struct{}, 100)
	var watching sync.WaitGroup
	watching.Go(func() { here.Watch(ctx, func() { heard <- struct{}{} }) })
	defer watching.Wait()
	defer cancel()
	<-heard // it listens
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	for revision := range 2 {
		if err := there.ReplaceSigningKeys(t.Context(), int64(revision), nil, oauth.Event{}); err != nil {
			t.Fatal(err)
		}
		<-heard
		if _, err := conn.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"); err != nil {
			t.Fatal(err)
		}
		<-heard // it listens again
	}
}

// TestAlone: of two nodes one does the work, and the other when it has gone.
func TestAlone(t *testing.T) {
	t.Parallel()
	url := postgres.Migrated(t)
	a, b := openPostgres(t, url, nil), openPostgres(t, url, nil)
	try := func(s *sqlstore.Store, work func(context.Context) error) bool {
		t.Helper()
		done, err := s.Alone(t.Context(), "test", work)
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
	nothing := func(context.Context) error { return nil }
	if !try(a, func(context.Context) error {
		if try(b, nothing) {
			t.Error("two nodes at once")
		}
		return nil
	}) {
		t.Error("nobody does it")
	}
	if !try(b, nothing) {
		t.Error("the lock outlived its work")
	}
}

// TestAnnouncementsThroughPooler: a node behind a pooler hears nothing, and is heard by
// those that are not.
func TestAnnouncementsThroughPooler(t *testing.T) {
	t.Parallel()
	url := postgres.Migrated(t)
	name, _, _ := strings.Cut(url[strings.LastIndexByte(url, '/')+1:], "?")
	pooled := openPostgres(t, postgres.PgBouncer(t, postgres.Shared(t), postgres.PgBouncerOptions{Database: name, Settings: map[string]string{"default_pool_size": "2"}}), nil)
	direct := openPostgres(t, url, nil)
	ctx, cancel := context.WithCancel(t.Context())
	heard, pooledHeard := make(chan struct{}, 10), make(chan struct{}, 10)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watching.Go(func() { direct.Watch(ctx, func() { heard <- struct{}{} }) })
	watching.Go(func() { pooled.Watch(ctx, func() { pooledHeard <- struct{}{} }) })
	hear := func() {
		t.Helper()
		select {
		case <-heard:
		case <-time.After(10 * time.Second):
			t.Fatal("nothing was heard")
		}
	}
	hear() // it listens
	for revision, from := range []*sqlstore.Store{pooled, direct} {
		must(t, from.ReplaceSigningKeys(t.Context(), int64(revision), nil, oauth.Event{}))
		hear()
	}
	cancel()
	watching.Wait()
	if len(pooledHeard) != 0 {
		t.Errorf("the pooled node was called %d times", len(pooledHeard))
	}
}

// TestAloneEndsWithItsConnection: the node that works alone loses that right with its
// connection, so that no node that is gone keeps the others from work.
func TestAloneEndsWithItsConnection(t *testing.T) {
	t.Parallel()
	url := postgres.Migrated(t)
	a, b := openPostgres(t, url, nil), openPostgres(t, url, nil)
	conn := connectTo(t, url)
	try := func(name string) bool {
		done, err := b.Alone(t.Context(), name, func(context.Context) error { return nil })
		must(t, err)
		return done
	}
	_, err := a.Alone(t.Context(), "test", func(context.Context) error {
		if try("test") {
			t.Error("two nodes at once")
		}
		if !try("another") {
			t.Error("one kind of work keeps another waiting")
		}
		run(t, conn, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())")
		wait(t, func() bool { return try("test") })
		return nil
	})
	must(t, err)
	if done, err := a.Alone(t.Context(), "test", func(context.Context) error { return nil }); !done || err != nil {
		t.Errorf("the node that lost its connection: %v, %v", done, err)
	}
}

// TestAloneHoldsNothingBack: work that takes long keeps no old rows alive in its
// transaction, else every refresh meanwhile would leave its old row behind.
func TestAloneHoldsNothingBack(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"read committed", "serializable"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			url := postgres.Migrated(t)
			store := openPostgres(t, url+"&default_transaction_isolation="+strings.ReplaceAll(level, " ", "%20"), nil)
			conn := connectTo(t, url)
			done, err := store.Alone(t.Context(), "test", func(context.Context) error {
				const idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'"
				if n := number(t, conn, idle); n != 1 {
					t.Errorf("%d transactions, want that of the lock", n)
				}
				if n := number(t, conn, idle+" AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)"); n != 0 {
					t.Error("it holds back what vacuum and HOT updates may remove")
				}
				return nil
			})
			if !done || err != nil {
				t.Errorf("alone: %v, %v", done, err)
			}
		})
	}
}

// TestMigrationIsRunOnce: of programs that run one migration at once, all but one fail,
// whatever it does: it is in the list of migrations only once.
func TestMigrationIsRunOnce(t *testing.T) {
	t.Parallel()
	for _, engine := range targets {
		d := engine.empty(t)
		must(t, d.store.Migrate(t.Context()))
		if _, err := d.ExecContext(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) SELECT version_id, is_applied FROM goose_db_version"); err == nil {
			t.Errorf("%s: the newest migration is in the list twice", engine.name)
		}
	}
}
