package sqlstore_test

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/sqlstore"
	"github.com/counterfoil/counterfoil/test/postgres"
)

// connectTo connects to a database beside the stores.
func connectTo(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// run executes a statement.
func run(t *testing.T, conn *pgx.Conn, statement string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// number reads one number.
func number(t *testing.T, conn *pgx.Conn, query string) (n int64) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// own starts a server for one test, with a migrated database.
func own(t *testing.T, settings map[string]string) (s *postgres.Server, url string) {
	t.Helper()
	s, err := postgres.Start(postgres.Options{Settings: settings})
	must(t, err)
	t.Cleanup(func() { must(t, s.Stop()) })
	must(t, s.CreateDatabase(t.Context(), "own", ""))
	must(t, openPostgres(t, s.URL("own"), nil).Migrate(t.Context()))
	return s, s.URL("own")
}

// altered is a migrated database whose schema may be changed.
func altered(t *testing.T) (url string) {
	t.Helper()
	url = postgres.Database(t, postgres.Shared(t), "")
	must(t, openPostgres(t, url, nil).Migrate(t.Context()))
	return url
}

// TestSwapsLockInOrder: the statement of a group takes the grants in the order in which
// it was given them, by their ids, whatever PostgreSQL knows of the tables when it plans:
// nodes whose plans are of another age must not wait for one another in a circle. Behind
// a pooler each statement is planned anew, for what it is given.
func TestSwapsLockInOrder(t *testing.T) {
	t.Parallel()
	for name, way := range map[string]func(*testing.T, *postgres.Server) (url string){
		"directly": func(_ *testing.T, s *postgres.Server) string { return s.URL("own") },
		"through_PgBouncer": func(t *testing.T, s *postgres.Server) string {
			return postgres.PgBouncer(t, s, postgres.PgBouncerOptions{Database: "own"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, url := own(t, map[string]string{
				"autovacuum": "off", "session_preload_libraries": "auto_explain", "auto_explain.log_min_duration": "0",
			})
			rotateInAllStates(t, url, way(t, server))
			plans := swapPlans(server.Log())
			if len(plans) == 0 {
				t.Fatal("PostgreSQL logged no plan of a swap")
			}
			for plan, times := range plans {
				if !strings.HasPrefix(plan, "\tFunction Scan on s\n") {
					t.Errorf("planned %d times, does not begin with what was given:\n%s", times, plan)
				}
			}
		})
	}
}

// rotateInAllStates rotates grants, by a way of its own, with tables about which more and
// more is known to PostgreSQL.
func rotateInAllStates(t *testing.T, url, way string) {
	t.Helper()
	conn := connectTo(t, url)
	first := newLoad(t, url, 64)
	for _, known := range []string{
		"SELECT", // nothing, and there is next to nothing
		"ANALYZE",
		"INSERT INTO clients SELECT 'client' || n, name, version, public, active, grant_types, redirect_uris, scope, owner, secrets, signing_alg, access_token_lifetime, refresh_token_lifetime, retry_window, reusable, created_at, updated_at, deleted_at FROM clients, generate_series(1, 60) AS n",
		"ANALYZE",
		"DELETE FROM clients WHERE id <> 'shop'; VACUUM FULL grants",
	} {
		for statement := range strings.SplitSeq(known, "; ") {
			run(t, conn, statement)
		}
		l := &load{Store: openPostgres(t, way, nil), t: t, grants: first.grants}
		l.rotateAll(2)
	}
}

var (
	explained = regexp.MustCompile(`(?s)Query Text: \n\tUPDATE grants AS g.*?\tUpdate on grants.*?\n\S`)
	scanned   = regexp.MustCompile(`-> +((?:Seq|Index|Index Only|Bitmap Heap|Function|CTE|Subquery) Scan .*?)  \(cost`)
)

// swapPlans finds the plans of swaps in a log, each as the list of its scans in their
// order, outermost first, and counts them.
func swapPlans(log string) map[string]int {
	plans := map[string]int{}
	for _, text := range explained.FindAllString(log, -1) {
		plan := ""
		for _, scan := range scanned.FindAllStringSubmatch(text, -1) {
			plan += "\t" + scan[1] + "\n"
		}
		plans[plan]++
	}
	return plans
}

// lockedTooSoon begins a step while somebody else holds the first row of a table, in the
// order of its key, and returns how many others the step holds when it comes to wait for
// that one: none, if it locks in the order that everybody keeps to. What it holds too
// soon, another node may hold that waits for the step: a deadlock, which PostgreSQL looks
// for only after a second, and all refreshes of a node stand still meanwhile.
func lockedTooSoon(t *testing.T, url, table, key string, step func() error) int64 {
	t.Helper()
	holder, other := connectTo(t, url), connectTo(t, url)
	run(t, holder, "BEGIN")
	run(t, holder, "SELECT 1 FROM "+table+" ORDER BY "+key+" LIMIT 1 FOR UPDATE")
	done := make(chan error, 1)
	go func() { done <- step() }()
	wait(t, func() bool {
		return number(t, other, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") == 1
	})
	all := number(t, other, "SELECT count(*) FROM "+table)
	free := number(t, other, "SELECT count(*) FROM (SELECT 1 FROM "+table+" FOR UPDATE SKIP LOCKED) AS free")
	run(t, holder, "ROLLBACK")
	if err := <-done; err != nil {
		t.Error(err)
	}
	return all - 1 - free
}

// TestGrantsAreLockedInOrder: steps that write many grants lock them in the order of
// their ids, like groups of swaps, and not as they lie in the table or were used.
func TestGrantsAreLockedInOrder(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]func(context.Context, *sqlstore.Store) error{
		"revoke_by_client": func(ctx context.Context, s *sqlstore.Store) error {
			_, err := s.RevokeGrants(ctx, admin.GrantFilter{ClientID: "shop"}, "test", oauth.Event{})
			return err
		},
		"revoke_by_subject": func(ctx context.Context, s *sqlstore.Store) error {
			_, err := s.RevokeGrants(ctx, admin.GrantFilter{Subject: theSubject}, "test", oauth.Event{})
			return err
		},
		"delete_client": func(ctx context.Context, s *sqlstore.Store) error { return s.DeleteClient(ctx, "shop", oauth.Event{}) },
		"delete_user": func(ctx context.Context, s *sqlstore.Store) error {
			return s.DeleteUser(ctx, theSubject, oauth.Event{})
		},
		"sign_out":  func(ctx context.Context, s *sqlstore.Store) error { return s.SignOut(ctx, theSubject, oauth.Event{}) },
		"supersede": func(ctx context.Context, s *sqlstore.Store) error { return logIn(ctx, s, 0xff, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := postgres.Migrated(t)
			s := newLoad(t, url, 0).Store
			for first := byte(20); first > 0; first-- { // the last by id lie and are used first
				must(t, logIn(t.Context(), s, first, 0))
			}
			if n := lockedTooSoon(t, url, "grants", "id", func() error { return step(t.Context(), s) }); n != 0 {
				t.Errorf("%d grants are locked before the first", n)
			}
		})
	}
}

// logIn makes a grant whose id begins with an octet; most is how many the user may have.
func logIn(ctx context.Context, s *sqlstore.Store, first byte, most int) error {
	g := newGrant(oauth.GrantID{first})
	return s.CreateGrant(ctx, oauth.NewGrant{Grant: g, ClientVersion: 1, IdleLifetime: time.Hour, MaxGrants: most, Event: oauth.Event{Type: oauth.EventLogin}})
}

// TestFailuresAreLockedInOrder: so do steps that count failures of the same clients, or
// of the same login, in the same second.
func TestFailuresAreLockedInOrder(t *testing.T) {
	t.Parallel()
	known := oauth.LoginKeys{Pair: [16]byte{9}, Source: [16]byte{2}, Account: [16]byte{3}}
	fresh := oauth.LoginKeys{Pair: [16]byte{1}, Source: known.Source, Account: known.Account}
	for name, step := range map[string]func(context.Context, *sqlstore.Store) error{
		"clients": func(ctx context.Context, s *sqlstore.Store) error {
			now, err := s.Clock(ctx)
			if err != nil {
				return err
			}
			counts := map[[16]byte]oauth.FailureCount{}
			for key := range byte(100) {
				counts[[16]byte{2, key}] = oauth.FailureCount{Count: 2, Last: now}
			}
			return s.SaveClientFailures(ctx, counts)
		},
		"failed_login": func(ctx context.Context, s *sqlstore.Store) error {
			return s.RecordLoginFailure(ctx, fresh, theSubject, 0)
		},
		"login": func(ctx context.Context, s *sqlstore.Store) error { return s.ClearLoginFailures(ctx, fresh) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := postgres.Migrated(t)
			s := openPostgres(t, url, nil)
			must(t, s.RecordLoginFailure(t.Context(), known, theSubject, 0))
			run(t, connectTo(t, url), `
INSERT INTO event_failures (key, kind, count, last_at)
SELECT '\x02'::bytea || decode(lpad(to_hex(n), 2, '0'), 'hex') || '\x0000000000000000000000000000'::bytea, 'client', 1, 1 FROM generate_series(1, 99) AS n`)
			if n := lockedTooSoon(t, url, "event_failures", "key", func() error { return step(t.Context(), s) }); n != 0 {
				t.Errorf("%d counters are locked before the first", n)
			}
		})
	}
}
