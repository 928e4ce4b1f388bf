package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

func openTest(t *testing.T) *Store {
	t.Helper()
	s, err := OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "counterfoil.db"), Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// embeddedIn returns the engine of an embedded store.
func embeddedIn(s *Store) *embedded { return s.engine.(*embedded) }

// insertKey is a step that writes one row, and then returns an error.
func insertKey(id int, then error) func(*transaction) error {
	return func(tx *transaction) error {
		if errors.Is(then, oauth.ErrConflict) {
			return then // a named error says that nothing was written
		}
		if _, err := tx.exec("INSERT INTO master_keys (id, check_value) VALUES ($1, x'00')", id); err != nil {
			return err
		}
		return then
	}
}

// waitFor waits until a condition holds.
func waitFor(t *testing.T, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("waited in vain")
		}
	}
}

// TestBatchMembers: in one batch, a conflict concerns its member only, and a fault
// neither undoes the others nor leaves a trace of its own.
func TestBatchMembers(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	fault := errors.New("fault")
	wants := []error{nil, oauth.ErrConflict, fault, nil, nil}
	// A step that waits keeps the committer busy, so that the others become one batch.
	entered, release := make(chan struct{}), make(chan struct{})
	var working sync.WaitGroup
	working.Go(func() {
		_ = embeddedIn(s).committer.do(func(*transaction) error { close(entered); <-release; return nil })
	})
	<-entered
	results := make([]error, len(wants))
	before := s.Stats().Commits
	for i, then := range wants {
		queued := s.Stats().Waiting
		working.Go(func() { results[i] = embeddedIn(s).committer.do(insertKey(i+1, then)) })
		waitFor(t, func() bool { return s.Stats().Waiting > queued })
	}
	close(release)
	working.Wait()
	for i, want := range wants {
		if !errors.Is(results[i], want) || (want == nil) != (results[i] == nil) {
			t.Errorf("member %d: got %v, want %v", i, results[i], want)
		}
	}
	checks, err := s.MasterKeyChecks(t.Context())
	if err != nil || fmt.Sprint(len(checks), checks[1], checks[4], checks[5]) != "3 [0] [0] [0]" {
		t.Errorf("the database has %v, %v; want rows 1, 4 and 5", checks, err)
	}
	if commits := s.Stats().Commits - before; commits != 5 {
		t.Errorf("%d commits, want that of the first, none for the batch, and four apart", commits)
	}
}

// TestGroupCommit: writes that wait share a COMMIT.
func TestGroupCommit(t *testing.T) {
	t.Parallel()
	const writes = 100
	s := openTest(t)
	entered, release := make(chan struct{}), make(chan struct{})
	var working sync.WaitGroup
	working.Go(func() {
		_ = embeddedIn(s).committer.do(func(*transaction) error { close(entered); <-release; return nil })
	})
	<-entered
	before := s.Stats()
	for i := range writes {
		working.Go(func() {
			if err := embeddedIn(s).committer.do(insertKey(i+1, nil)); err != nil {
				t.Errorf("write %d: %v", i, err)
			}
		})
	}
	waitFor(t, func() bool { return s.Stats().Waiting == writes })
	close(release)
	working.Wait()
	if commits := s.Stats().Commits - before.Commits; commits != 2 {
		t.Errorf("%d commits, want that of the first and one for all others", commits)
	}
}

// TestDiskFull: a write that finds no space is a fault, known not to have happened,
// and the next one succeeds when there is space again.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	limit := func(pages int) {
		t.Helper()
		err := embeddedIn(s).committer.do(func(tx *transaction) error {
			return tx.row(fmt.Sprintf("PRAGMA max_page_count = %d", pages), func(row scanner) error {
				var n int
				return row.Scan(&n)
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	big := oauth.Event{Type: oauth.EventLogin, Detail: string(make([]byte, 1<<20))}
	limit(1)
	err := s.RecordEvent(t.Context(), big)
	if err == nil || errors.Is(err, oauth.ErrOutcomeUnknown) {
		t.Fatalf("with a full disk: got %v, want a fault that is known not to have happened", err)
	}
	limit(1 << 20)
	if err := s.RecordEvent(t.Context(), big); err != nil {
		t.Errorf("with space again: %v", err)
	}
}

// TestFailedCommit: when COMMIT fails, nobody knows what happened, and the next write
// succeeds. A deferred constraint is what makes it fail here.
func TestFailedCommit(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	exec := func(query string) error {
		return embeddedIn(s).committer.do(func(tx *transaction) error {
			_, err := tx.exec(query)
			return err
		})
	}
	if err := exec("CREATE TABLE orphans (parent INTEGER REFERENCES master_keys (id) DEFERRABLE INITIALLY DEFERRED)"); err != nil {
		t.Fatal(err)
	}
	if err := exec("INSERT INTO orphans VALUES (1)"); !errors.Is(err, oauth.ErrOutcomeUnknown) {
		t.Errorf("a failed COMMIT: got %v, want an unknown outcome", err)
	}
	if err := s.RecordEvent(t.Context(), oauth.Event{Type: oauth.EventLogin}); err != nil {
		t.Errorf("the next write: %v", err)
	}
}

// TestClosed: a closed store refuses instead of waiting.
func TestClosed(t *testing.T) {
	t.Parallel()
	s, err := OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "counterfoil.db"), Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Migrate(t.Context()), s.Close()); err != nil {
		t.Fatal(err)
	}
	if err := s.RecordEvent(t.Context(), oauth.Event{}); err == nil {
		t.Error("a write to a closed store succeeded")
	}
	if _, err := s.Grant(t.Context(), oauth.GrantID{}); err == nil || errors.Is(err, oauth.ErrNotFound) {
		t.Errorf("a read from a closed store: %v", err)
	}
}

// TestNotedBeforeClose: what was noted before the store was closed is in it.
func TestNotedBeforeClose(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "counterfoil.db")
	s, err := OpenSQLite(t.Context(), path, Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		s.NoteRefusal(oauth.Event{Type: oauth.EventRefusal, Reason: "test", RequestID: "request"})
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = OpenSQLite(t.Context(), path, Options{Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if events, err := s.Events(t.Context(), "request"); err != nil || len(events) != 20 {
		t.Errorf("%d events, %v; want 20", len(events), err)
	}
}

// TestMigrateTogether: processes that start at once all find the schema in order.
func TestMigrateTogether(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "counterfoil.db")
	var working sync.WaitGroup
	for range 8 {
		working.Go(func() {
			s, err := OpenSQLite(context.Background(), path, Options{Now: time.Now})
			if err != nil {
				t.Errorf("open: %v", err)
				return
			}
			defer func() { _ = s.Close() }()
			if err := errors.Join(s.Migrate(context.Background()), s.Ready(context.Background())); err != nil {
				t.Errorf("migrate: %v", err)
			}
		})
	}
	working.Wait()
}

// TestNewerDatabase: a database of a newer version is refused, not changed.
func TestNewerDatabase(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	err := embeddedIn(s).committer.do(func(tx *transaction) error {
		_, err := tx.exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, 1)")
		if err == nil {
			_, err = tx.exec("UPDATE schema_compatibility SET oldest = 99999")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Migrate(t.Context()); !errors.Is(err, errNewer) {
		t.Errorf("migrate: got %v, want that the database is newer", err)
	}
	if err := s.Ready(t.Context()); err == nil {
		t.Error("a newer database is said to be ready")
	}
}

// TestBackup: the copy is whole, private, and never written over something.
func TestBackup(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	if err := s.AddMasterKeyCheck(t.Context(), 7, []byte("check")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "backup.db")
	if err := s.Backup(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(file)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("the copy has mode %v, %v; want 0600", info.Mode(), err)
	}
	if left, _ := os.ReadDir(filepath.Dir(file)); len(left) != 1 {
		t.Errorf("the backup left %d files", len(left))
	}
	if err := s.Backup(t.Context(), file); err == nil {
		t.Error("a second backup wrote over the first")
	}
	copied, err := OpenSQLite(t.Context(), file, Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = copied.Close() }()
	checks, err := copied.MasterKeyChecks(t.Context())
	if err != nil || string(checks[7]) != "check" {
		t.Errorf("the copy has %v, %v", checks, err)
	}
	if err := errors.Join(copied.Check(t.Context()), copied.Ready(t.Context())); err != nil {
		t.Errorf("the copy is not in order: %v", err)
	}
}
