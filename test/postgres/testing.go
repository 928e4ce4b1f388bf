package postgres

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// shared starts the server of a test process, at the first call.
var shared = sync.OnceValues(func() (*Server, error) { return Start(Options{}) })

// T is what Shared and Migrated need of a test.
type T interface {
	Helper()
	Fatal(args ...any)
	Cleanup(do func())
}

// Shared returns the one server of this test process, which ends with it. It is for
// tests that want a database and leave the server alone.
func Shared(t T) *Server {
	t.Helper()
	s, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Database makes a database for one test, as a copy of template if that is not empty,
// and returns its URL. It is dropped at the end of the test, whoever is still connected.
func Database(t testing.TB, s *Server, template string) (url string) {
	t.Helper()
	name := fmt.Sprintf("test_%d", s.databases.Add(1))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.CreateDatabase(ctx, name, template); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !s.Running() {
			return // the test has ended its own server
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.DropDatabase(ctx, name); err != nil {
			t.Error(err)
		}
	})
	return s.URL(name)
}

// PgBouncerOptions say what a PgBouncer is for.
type PgBouncerOptions struct {
	Database string            // of the URL returned; the others are there too
	Settings map[string]string // of the section pgbouncer, such as default_pool_size
}

// PgBouncer runs a PgBouncer in transaction mode in front of a server until the end of
// the test, and returns the URL of a database through it. Whoever comes is the superuser.
func PgBouncer(t testing.TB, s *Server, options PgBouncerOptions) (url string) {
	t.Helper()
	binary, err := findPgBouncer()
	if err != nil {
		t.Fatal(err)
	}
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	dir, owner, err := makeDirectory("")
	if err != nil {
		t.Fatal(err)
	}
	g, err := watch(dir)
	if err != nil {
		_ = os.RemoveAll(dir)
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.end(); err != nil {
			t.Error(err)
		}
	})
	file := filepath.Join(dir, "pgbouncer.ini")
	if err := os.WriteFile(file, pgBouncerFile(s, port, options.Settings), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, file)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: owner, Setpgid: true}
	cmd.Dir = dir
	startPgBouncer(t, cmd, port)
	return databaseURL(port, options.Database)
}

func findPgBouncer() (string, error) {
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("PgBouncer is not installed: apt-get install pgbouncer (make setup does it)")
}

func pgBouncerFile(s *Server, port int, settings map[string]string) []byte {
	all := map[string]string{"pool_mode": "transaction", "max_client_conn": "1000"}
	maps.Copy(all, settings)
	maps.Copy(all, map[string]string{
		"listen_addr": "127.0.0.1", "listen_port": strconv.Itoa(port), "unix_socket_dir": "",
		"auth_type": "any",
	})
	var b strings.Builder
	fmt.Fprintf(&b, "[databases]\n* = host=127.0.0.1 port=%d user=postgres\n[pgbouncer]\n", s.Port)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "%s = %s\n", name, all[name])
	}
	return []byte(b.String())
}

// startPgBouncer starts it and waits until it listens.
func startPgBouncer(t testing.TB, cmd *exec.Cmd, port int) {
	t.Helper()
	name := filepath.Join(cmd.Dir, "log")
	log, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
	})
	listens := func() bool {
		conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}
	if !poll(listens, exited) {
		content, _ := os.ReadFile(name)
		t.Fatalf("PgBouncer did not start\n%s", content)
	}
}
