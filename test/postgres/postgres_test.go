package postgres_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/test/postgres"
	"github.com/jackc/pgx/v5"
)

// victim makes the test binary a process that starts a server and waits to be killed.
const victim = "COUNTERFOIL_TEST_VICTIM"

func TestMain(m *testing.M) {
	if os.Getenv(victim) != "" {
		s, err := postgres.Start(postgres.Options{})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(s.Dir, s.PIDs())
		select {}
	}
	os.Exit(m.Run())
}

func start(t *testing.T) *postgres.Server {
	t.Helper()
	s, err := postgres.Start(postgres.Options{Settings: map[string]string{"work_mem": "5MB"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(s.Dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after Stop %s is still there: %v", s.Dir, err)
		}
	})
	return s
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func query(t *testing.T, conn *pgx.Conn, sql string) string {
	t.Helper()
	var answer string
	if err := conn.QueryRow(t.Context(), sql).Scan(&answer); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return answer
}

func execute(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(30 * time.Second)
	for !condition() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("it never came true that %s", what)
		}
	}
}

func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestSettings(t *testing.T) {
	t.Parallel()
	conn := connect(t, start(t).URL("postgres"))
	for name, want := range map[string]string{
		"fsync": "on", "synchronous_commit": "on", "max_connections": "300", "work_mem": "5MB", "server_encoding": "UTF8",
	} {
		if got := query(t, conn, "SHOW "+name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if got := query(t, conn, "SELECT string_agg(x, '' ORDER BY x) FROM (VALUES ('B'), ('a'), ('C')) AS v (x)"); got != "aBC" {
		t.Errorf("text sorts as %s, want aBC: the order of a language, not of bytes", got)
	}
}

func TestKillKeepsWhatIsCommitted(t *testing.T) {
	t.Parallel()
	s := start(t)
	conn := connect(t, s.URL("postgres"))
	execute(t, conn, "CREATE TABLE numbers (n INT)")
	execute(t, conn, "INSERT INTO numbers VALUES (7)")
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	for _, end := range []func() error{
		s.Kill,
		func() error { return errors.Join(s.SignalAll(syscall.SIGSTOP), s.Kill()) },
	} {
		conn = connect(t, s.URL("postgres"))
		execute(t, conn, "UPDATE numbers SET n = n + 1")
		before := s.PIDs()
		if len(before) < 5 {
			t.Fatalf("the server has processes %v, want the postmaster and several children", before)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if left := slices.DeleteFunc(before, func(pid int) bool { return !alive(pid) }); len(left) > 0 {
			t.Errorf("processes %v outlived Kill", left)
		}
		if s.Running() || len(s.PIDs()) != 0 {
			t.Errorf("after Kill: Running %t, PIDs %v", s.Running(), s.PIDs())
		}
		if err := s.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	if got := query(t, connect(t, s.URL("postgres")), "SELECT n::text FROM numbers"); got != "9" {
		t.Errorf("after two kills the number is %s, want 9", got)
	}
}

func TestStoppedServerAnswersNobody(t *testing.T) {
	t.Parallel()
	s := start(t)
	conn := connect(t, s.URL("postgres"))
	if err := s.SignalAll(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	answer := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.Background(), "SELECT 1")
		answer <- err
	}()
	select {
	case err := <-answer:
		t.Fatalf("a stopped server answered: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	if err := s.SignalAll(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := <-answer; err != nil {
		t.Errorf("after SIGCONT: %v", err)
	}
}

func TestCPUCountsTheDead(t *testing.T) {
	t.Parallel()
	s := start(t)
	now := s.CPU()
	check := func(what string, more time.Duration) {
		t.Helper()
		last := now
		if now = s.CPU(); now < last+more {
			t.Errorf("%s: CPU time went from %v to %v, want %v more at least", what, last, now, more)
		}
	}
	const work = "DO $$BEGIN FOR i IN 1..5000000 LOOP NULL; END LOOP; END$$" // some 100 ms
	conn := connect(t, s.URL("postgres"))
	var session int
	if err := conn.QueryRow(t.Context(), "SELECT pg_backend_pid()").Scan(&session); err != nil {
		t.Fatal(err)
	}
	execute(t, conn, work)
	check("a session", 20*time.Millisecond)
	// A postmaster that is stopped does not wait for its children.
	if err := s.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close(t.Context())
	eventually(t, "the session's process has ended", func() bool { return !alive(session) })
	check("an ended process", 0)
	if err := s.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the postmaster has waited for the session", func() bool {
		_, err := os.Stat(fmt.Sprintf("/proc/%d", session))
		return errors.Is(err, fs.ErrNotExist)
	})
	check("a process waited for", 0)
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	check("a restart", 0)
	execute(t, connect(t, s.URL("postgres")), work)
	check("another session", 20*time.Millisecond)
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	check("a kill", 0)
}

func TestDatabaseIsDropped(t *testing.T) {
	t.Parallel()
	s := postgres.Shared(t)
	if other := postgres.Shared(t); other != s {
		t.Fatal("there are two shared servers")
	}
	admin := connect(t, s.URL("postgres"))
	count := func() string {
		return query(t, admin, "SELECT count(*)::text FROM pg_database WHERE datname LIKE 'test\\_%'")
	}
	t.Run("use", func(t *testing.T) {
		if err := s.CreateDatabase(t.Context(), "template_of_test", ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.DropDatabase(context.Background(), "template_of_test"); err != nil {
				t.Error(err)
			}
		})
		conn := connect(t, s.URL("template_of_test"))
		execute(t, conn, "CREATE TABLE numbers AS SELECT 42 AS n")
		if err := conn.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got := query(t, connect(t, postgres.Database(t, s, "template_of_test")), "SELECT n::text FROM numbers"); got != "42" {
				t.Errorf("the copy has %s, want 42", got)
			}
		}
		// A connection that is never closed.
		if _, err := pgx.Connect(t.Context(), postgres.Database(t, s, "")); err != nil {
			t.Fatal(err)
		}
		if got := count(); got != "3" {
			t.Errorf("there are %s databases, want 3", got)
		}
	})
	if got := count(); got != "0" {
		t.Errorf("%s databases are left after the test that made them", got)
	}
}

func TestPgBouncerPoolsByTransaction(t *testing.T) {
	t.Parallel()
	s := start(t)
	url := postgres.PgBouncer(t, s, postgres.PgBouncerOptions{Database: "postgres", Settings: map[string]string{"default_pool_size": "1"}})
	first, second := connect(t, url), connect(t, url)
	backend := func(conn *pgx.Conn) string {
		var pid string
		if err := conn.QueryRow(t.Context(), "SELECT pg_backend_pid()::text", pgx.QueryExecModeSimpleProtocol).Scan(&pid); err != nil {
			t.Fatal(err)
		}
		return pid
	}
	if a, b := backend(first), backend(second); a != b {
		t.Errorf("two clients of a pool of one have backends %s and %s", a, b)
	}
}

// A server must not outlive the tests, though they be killed; nor may children that are
// stopped and have no postmaster left to end them.
func TestServerEndsWithItsProcess(t *testing.T) {
	t.Parallel()
	for _, stopped := range []bool{false, true} {
		t.Run(fmt.Sprintf("stopped=%t", stopped), func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), victim+"=1")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(out).ReadString('\n')
			dir, list, found := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			if err != nil || !found {
				t.Fatalf("the victim says %q: %v", line, err)
			}
			var pids []int
			for _, field := range strings.Fields(strings.Trim(list, "[]")) {
				var pid int
				if _, err := fmt.Sscan(field, &pid); err != nil {
					t.Fatal(err)
				}
				pids = append(pids, pid)
			}
			if len(pids) < 5 || slices.ContainsFunc(pids, func(pid int) bool { return !alive(pid) }) {
				t.Fatalf("the victim's server has processes %v, want at least 5, all alive", pids)
			}
			if stopped {
				for _, pid := range pids {
					if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
						t.Fatal(err)
					}
				}
				if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			eventually(t, "all processes are gone", func() bool { return !slices.ContainsFunc(pids, alive) })
			eventually(t, "the directory is gone", func() bool {
				_, err := os.Stat(dir)
				return errors.Is(err, fs.ErrNotExist)
			})
		})
	}
}
