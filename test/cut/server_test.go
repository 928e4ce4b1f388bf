package cut_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/sqlstore"
	"github.com/counterfoil/counterfoil/test/postgres"
	"github.com/counterfoil/counterfoil/test/proof"
)

// database is a server of a test's own, with an administrator.
type database struct {
	*postgres.Server
	t   *testing.T
	url string
}

func newDatabase(t *testing.T) *database {
	t.Helper()
	server, err := postgres.Start(postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	d := &database{Server: server, t: t, url: postgres.Database(t, server, "")}
	store, err := sqlstore.OpenPostgres(t.Context(), d.url, sqlstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	return d
}

// administer runs statements as an administrator, and returns the first column of the last.
func (d *database) administer(statements ...string) (result string) {
	d.t.Helper()
	conn, err := d.Admin(context.Background())
	if err != nil {
		d.t.Error(err)
		return ""
	}
	defer func() { _ = conn.Close(context.Background()) }()
	for _, statement := range statements {
		rows, _ := conn.Query(context.Background(), statement)
		results, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			d.t.Errorf("%s: %v", statement, err)
		}
		if len(results) > 0 {
			result = results[0]
		}
	}
	return result
}

// owner is an honest client of one session, which refreshes, and when it meets a fault
// comes again with the same token.
type owner struct {
	node       *node
	token      oauth.Secret
	grant      string
	generation uint32 // acknowledged
	faults     int
}

// refresh asks once.
func (o *owner) refresh() {
	switch a := o.node.refresh(o.token); {
	case a.err == nil:
		o.token = a.RefreshToken
		o.generation++
	case a.reason() != "":
		o.node.Errorf("after %d rotations an honest client was refused: %v", o.generation, a.err)
	default:
		o.faults++
	}
}

// owners refresh until they are told to stop.
type owners struct {
	all     []*owner
	stop    chan struct{}
	working sync.WaitGroup
}

func newOwners(n *node, number int) *owners {
	n.Helper()
	os := &owners{stop: make(chan struct{})}
	for range number {
		tokens, grant := n.session(0)
		o := &owner{node: n, token: tokens[0], grant: grant}
		os.all = append(os.all, o)
		os.working.Go(func() {
			tick := time.NewTicker(2 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-os.stop:
					return
				case <-tick.C:
					o.refresh()
				}
			}
		})
	}
	return os
}

// rest stops them. Nothing that was acknowledged is lost, and all of them go on.
func (os *owners) rest(observer *node) (rotations int) {
	observer.Helper()
	close(os.stop)
	os.working.Wait()
	for _, o := range os.all {
		if g := observer.grant(o.grant); g.Generation < o.generation || g.Generation > o.generation+1 || g.Status != oauth.GrantActive {
			observer.Errorf("%d rotations were acknowledged; the grant has generation %d and is %s", o.generation, g.Generation, g.Status)
		}
		before := o.generation
		eventually(observer.T, "an owner goes on", func() bool { o.refresh(); return o.generation > before })
		rotations += int(o.generation)
	}
	return rotations
}

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !holds(); <-tick.C {
		if t.Failed() || time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

// TestDatabaseDies kills PostgreSQL, and ends its sessions, while owners refresh.
func TestDatabaseDies(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	n := newNode(t, d.url, sqlstore.Options{})
	n.addParties()
	observer := newNode(t, d.url, sqlstore.Options{})
	endSessions := func() error {
		d.administer("SELECT CAST(pg_terminate_backend(pid) AS TEXT) FROM pg_stat_activity WHERE datname <> 'postgres'")
		return nil
	}
	kill := func() error {
		if err := d.Kill(); err != nil {
			return err
		}
		return d.Restart()
	}
	rotations := 0
	for range proof.Rounds(t, 2) {
		for _, blow := range []func() error{endSessions, kill} {
			os := newOwners(n, 6)
			some := func() bool { return n.store.count("swap") >= 20 }
			n.store.forget()
			eventually(t, "owners refresh", some)
			if err := blow(); err != nil {
				t.Fatal(err)
			}
			n.store.forget()
			eventually(t, "owners refresh again", some)
			eventually(t, "the observer is back", func() bool { _, err := observer.store.Clock(t.Context()); return err == nil })
			rotations += os.rest(observer)
		}
	}
	proof.Count(t, rotations, "rotations around the end of a database")
}

// TestStandbyIsMissing lets COMMIT wait for a standby that never comes, until the node
// loses patience or somebody ends the wait: nothing is acknowledged, nobody is refused.
func TestStandbyIsMissing(t *testing.T) {
	t.Parallel()
	for _, end := range []struct{ name, statement string }{
		{"impatience", ""},
		{"cancelled", "SELECT CAST(count(pg_cancel_backend(pid)) AS TEXT) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"},
		{"terminated", "SELECT CAST(count(pg_terminate_backend(pid)) AS TEXT) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"},
	} {
		t.Run(end.name, func(t *testing.T) {
			t.Parallel()
			d := newDatabase(t)
			o := sqlstore.Options{}
			if end.statement == "" {
				o.Patience = patience
			}
			n := newNode(t, d.url, o)
			n.addParties()
			missing(t, n, d, end.statement)
		})
	}
}

// missing sends every kind of request while the standby is missing, and again when it is
// wanted no more.
func missing(t *testing.T, n *node, d *database, end string) {
	t.Helper()
	fresh, _ := n.session(0)
	used, _ := n.session(1)
	old, oldGrant := n.session(3)
	gone, goneGrant := n.session(0)
	if a := n.revoke(goneGrant); a.err != nil {
		t.Fatal(a.err)
	}
	_, doomed := n.session(0)
	_, condemned := n.session(0)
	id := n.grant(condemned).ID
	requests := []struct {
		name  string
		send  func() answer
		want  func(answer) bool // afterwards
		twice bool              // what the first left behind is no more durable
	}{
		{"rotation", func() answer { return n.refresh(fresh[0]) }, func(a answer) bool { return a.err == nil }, false},
		{"retry", func() answer { return n.refresh(used[0]) }, func(a answer) bool { return a.err == nil && a.RefreshToken == used[1] }, false},
		{"replay", func() answer { return n.refresh(old[0]) }, func(a answer) bool { return a.reason() != "" && n.grant(oldGrant).Status == oauth.GrantRevoked }, true},
		{"refusal", func() answer { return n.refresh(gone[0]) }, func(a answer) bool { return a.reason() != "" && n.recorded(a) }, false},
		{"login", n.login, func(a answer) bool { return a.err == nil && n.refresh(a.RefreshToken).err == nil }, false},
		{"revocation", func() answer { return n.revoke(doomed) }, func(a answer) bool { return a.err == nil && n.grant(doomed).Status == oauth.GrantRevoked }, true},
		{"revocation in the store", func() answer {
			return answer{err: n.store.RevokeGrant(t.Context(), id, "replay", oauth.Event{Type: oauth.EventRevocation})}
		}, func(a answer) bool { return a.err == nil && n.grant(condemned).Status == oauth.GrantRevoked }, true},
	}
	stop := make(chan struct{})
	var ending sync.WaitGroup
	d.administer("ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT CAST(pg_reload_conf() AS TEXT)")
	eventually(t, "the setting holds", func() bool { return d.administer("SHOW synchronous_standby_names") == "nobody" })
	if end != "" {
		ending.Go(func() { d.keep(end, stop) })
	}
	for _, r := range requests {
		a := r.send()
		if a.err != nil && a.reason() == "" && r.twice {
			a = r.send()
		}
		if a.err == nil || a.reason() != "" {
			t.Errorf("%s: without its standby the database was believed: %v", r.name, a.err)
		}
	}
	close(stop)
	ending.Wait()
	d.administer("ALTER SYSTEM RESET synchronous_standby_names", "SELECT CAST(pg_reload_conf() AS TEXT)")
	eventually(t, "nobody waits for the standby", func() bool { return n.login().err == nil })
	for _, r := range requests {
		if a := r.send(); !r.want(a) {
			t.Errorf("%s, without a standby to wait for: %v", r.name, a.err)
		}
	}
}

// keep runs a statement until it shall stop.
func (d *database) keep(statement string, stop <-chan struct{}) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			d.administer(statement)
		}
	}
}

// TestWarningsAreHeard: a session that is not told of warnings would take a COMMIT that
// was not replicated for one that was.
func TestWarningsAreHeard(t *testing.T) {
	t.Parallel()
	_, err := sqlstore.OpenPostgres(t.Context(), postgres.Migrated(t)+"&client_min_messages=error", sqlstore.Options{})
	if !errors.Is(err, sqlstore.ErrUnsuitable) {
		t.Errorf("without warnings: %v, want that the database is not suitable", err)
	}
}
