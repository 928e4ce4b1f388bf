package sqlstore_test

import (
	"errors"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/sqlstore"
	"github.com/counterfoil/counterfoil/test/postgres"
)

// TestDatabaseHangs: while the database does not answer, nobody waits longer than his
// patience, however many others wait. A swap that is said not to have happened never
// happens, and one that may have is called unknown.
func TestDatabaseHangs(t *testing.T) {
	t.Parallel()
	const callers, patience = 300, time.Second
	server, url := own(t, nil)
	l := newLoad(t, url, callers)
	views, outcomes := make([]oauth.GrantView, callers), []error{}
	t.Run("hang", func(t *testing.T) {
		node := openPatient(t, url+"&application_name=node", patience)
		(&load{Store: node, t: t, grants: l.grants}).rotateAll(2) // so that connections know the statement
		for i, id := range l.grants {
			var err error
			views[i], err = node.Grant(t.Context(), id)
			must(t, err)
		}
		must(t, server.SignalAll(syscall.SIGSTOP))
		outcomes = allAtOnce(t, callers, 2*patience, func(i int) error {
			next := views[i].Grant
			next.Generation++
			return node.SwapGrant(t.Context(), &views[i].Grant, &next, views[i].ClientVersion)
		})
		for i, err := range allAtOnce(t, callers, 2*patience, func(i int) error {
			_, err := node.Grant(t.Context(), l.grants[i])
			return err
		}) {
			if err == nil || errors.Is(err, oauth.ErrNotFound) {
				t.Errorf("read %d of a database that hangs: %v", i, err)
			}
		}
		must(t, server.SignalAll(syscall.SIGCONT))
		wait(t, func() bool { // it goes on
			_, err := node.Grant(t.Context(), l.grants[0])
			return err == nil
		})
	})
	conn := connectTo(t, url)
	wait(t, func() bool { // nothing of the node is left
		return number(t, conn, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'node'") == 0
	})
	expectOutcomes(t, l.Store, views, outcomes)
}

// allAtOnce calls something many times at once, and returns the errors. Each call must
// end in time.
func allAtOnce(t *testing.T, times int, within time.Duration, call func(i int) error) []error {
	t.Helper()
	outcomes := make([]error, times)
	var working sync.WaitGroup
	begun := time.Now()
	for i := range times {
		working.Go(func() { outcomes[i] = call(i) })
	}
	working.Wait()
	if took := time.Since(begun); took > within {
		t.Errorf("%d calls took %s, want %s at most", times, took, within)
	}
	return outcomes
}

// expectOutcomes looks what became of swaps.
func expectOutcomes(t *testing.T, s *sqlstore.Store, views []oauth.GrantView, outcomes []error) {
	t.Helper()
	never := 0
	for i, v := range views {
		now, err := s.Grant(t.Context(), v.Grant.ID)
		must(t, err)
		switch unknown := errors.Is(outcomes[i], oauth.ErrOutcomeUnknown); {
		case outcomes[i] == nil:
			t.Errorf("swap %d is said to have happened while the database hung", i)
		case !unknown && now.Grant.Generation != v.Grant.Generation:
			t.Errorf("swap %d happened, after %v", i, outcomes[i])
		case !unknown:
			never++
		}
	}
	if never == 0 {
		t.Error("all swaps were sent: none was given up")
	}
}

// TestReadIsRepeated: at SERIALIZABLE a read may turn out to be in vain when its rows
// were sent: it is done again.
func TestReadIsRepeated(t *testing.T) {
	t.Parallel()
	url := altered(t)
	l := newLoad(t, url, 1)
	v, err := l.Grant(t.Context(), l.grants[0])
	must(t, err)
	conn := connectTo(t, url)
	for _, statement := range []string{
		"ALTER TABLE grants RENAME TO kept",
		"CREATE SEQUENCE reads",
		`CREATE FUNCTION fails_every_other_time() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  IF nextval('reads') % 2 = 1 THEN
    RAISE EXCEPTION 'could not serialize access' USING ERRCODE = '40001';
  END IF;
  RETURN false;
END $$`,
		"CREATE VIEW grants AS SELECT * FROM kept UNION ALL SELECT * FROM kept WHERE fails_every_other_time()",
	} {
		run(t, conn, statement)
	}
	s := openPostgres(t, url, nil)
	for name, read := range map[string]func() (oauth.GrantView, error){
		"by its id":        func() (oauth.GrantView, error) { return s.Grant(t.Context(), v.Grant.ID) },
		"by its public id": func() (oauth.GrantView, error) { return s.GrantByPublicID(t.Context(), v.Grant.PublicID) },
	} {
		if again, err := read(); err != nil || again.Grant.PublicID != v.Grant.PublicID {
			t.Errorf("%s: got %+v, %v", name, again.Grant, err)
		}
	}
	if n := number(t, conn, "SELECT last_value FROM reads"); n != 4 {
		t.Errorf("%d reads, want 2 of which each was done twice", n)
	}
}

// TestRetryIsOneRoundTrip: so that it holds no lock while a message is under way, as
// with BEGIN: a node that is stopped then would block the session at all others.
func TestRetryIsOneRoundTrip(t *testing.T) {
	t.Parallel()
	trips := newTripCounter(t, postgres.Migrated(t))
	l := newLoad(t, trips.url, 1)
	v, err := l.Grant(t.Context(), l.grants[0])
	must(t, err)
	for retry := range 2 { // first the statement is prepared
		before := trips.count.Load()
		must(t, l.RetryGrant(t.Context(), &v.Grant, v.ClientVersion, 100))
		if n := trips.count.Load() - before; retry > 0 && n != 1 {
			t.Errorf("%d round trips", n)
		}
	}
}

// TestLocksAreNotHeldInTurn: a node is stopped, or cut off, while many of its transactions
// wait for one row. They end together, so that the others soon get at it.
func TestLocksAreNotHeldInTurn(t *testing.T) {
	t.Parallel()
	const waiting = 12
	url := postgres.Migrated(t)
	way := newTripCounter(t, url)
	cutOff, other := openPatient(t, way.url, time.Second), newLoad(t, url, 1)
	id := other.grants[0]
	holder, conn := connectTo(t, url), connectTo(t, url)
	run(t, holder, "BEGIN")
	run(t, holder, "SELECT 1 FROM grants FOR UPDATE")
	var working sync.WaitGroup
	defer working.Wait()
	for range waiting {
		working.Go(func() { _ = cutOff.RevokeGrant(t.Context(), id, "test", oauth.Event{}) })
	}
	wait(t, func() bool {
		return number(t, conn, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") == waiting
	})
	way.frozen.Store(true)
	run(t, holder, "ROLLBACK")
	begun := time.Now()
	must(t, other.RevokeGrant(t.Context(), id, "test", oauth.Event{}))
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("the other node waited for %s", took)
	}
	way.end()
}

// TestAnswerComesAfterCommit: while a COMMIT waits for a standby, a rotation is neither
// answered nor seen by others; then both.
func TestAnswerComesAfterCommit(t *testing.T) {
	t.Parallel()
	_, url := own(t, nil)
	l, other := newLoad(t, url, 1), openPostgres(t, url, nil)
	conn := connectTo(t, url)
	generation := func() uint32 {
		v, err := other.Grant(t.Context(), l.grants[0])
		must(t, err)
		return v.Grant.Generation
	}
	awaitStandby := func(name string) {
		run(t, conn, "ALTER SYSTEM SET synchronous_standby_names = '"+name+"'")
		run(t, conn, "SELECT pg_reload_conf()")
		wait(t, func() bool {
			var names string
			err := connectTo(t, url).QueryRow(t.Context(), "SHOW synchronous_standby_names").Scan(&names)
			return err == nil && names == name
		})
	}
	awaitStandby("nobody")
	answered := make(chan error, 1)
	go func() { answered <- l.rotate(l.grants[0]) }()
	wait(t, func() bool {
		return number(t, conn, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '%UPDATE grants%'") == 1
	})
	select {
	case err := <-answered:
		t.Errorf("answered while the COMMIT waits: %v", err)
	default:
	}
	if n := generation(); n != 0 {
		t.Errorf("generation %d is seen while its COMMIT waits", n)
	}
	awaitStandby("")
	must(t, <-answered)
	if n := generation(); n != 1 {
		t.Errorf("generation %d after the COMMIT, want 1", n)
	}
}
