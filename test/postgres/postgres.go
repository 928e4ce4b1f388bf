// Package postgres runs PostgreSQL for tests, from the machine's own binaries: a server
// in a temporary directory, its databases, its death and return, and a PgBouncer in
// front of it. What it starts ends with the process that started it, however that ends.
// The tables and what is asked of them are the users' of this package.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// patience is how long a server may take to start, crash recovery included, or to end.
const patience = time.Minute

// defaults are the settings of a server that Options.Settings can change. Shared memory
// in files goes away with the directory when the server is killed.
var defaults = map[string]string{
	"max_connections":            "300",
	"fsync":                      "on",
	"synchronous_commit":         "on",
	"dynamic_shared_memory_type": "mmap",
}

// locales are the arguments of initdb to try, in this order. The first sorts "a" before
// "B": what relies on the order of bytes without saying so is to fail here.
var locales = [][]string{
	{"--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US"},
	{"--locale=en_US.UTF-8"},
	{"--locale=C.UTF-8"},
	{"--locale=C"},
}

// Options say how a server differs from the usual one.
type Options struct {
	// Dir is where the server's own directory is made. Empty: in memory, where fsync
	// costs nothing, if there is room, else os.TempDir. For tests run by root every
	// user must be allowed to enter it, which rules out testing.TB.TempDir.
	Dir string
	// Settings go into postgresql.conf, and before the defaults: max_connections 300,
	// fsync and synchronous_commit on. Addresses, port and cluster_name are not free.
	Settings map[string]string
}

// Server is a PostgreSQL server on 127.0.0.1, and on a Unix socket in Dir. Its superuser
// is postgres, without a password. Its methods may be called at the same time, but for
// those that start or end it.
type Server struct {
	Dir  string // holds data, log and socket
	Port int

	bin       string
	owner     *syscall.Credential
	guard     *guard
	databases atomic.Int64

	mu         sync.Mutex
	postmaster int           // process id, of the last one if none runs
	exited     chan struct{} // closed when that one has ended
	spent      time.Duration // CPU time of those that have ended
	free       []string      // migrated databases that nobody uses
}

// Start makes a database cluster and starts a server for it. Stop ends it, as does the
// end of this process.
func Start(options Options) (*Server, error) {
	bin, err := Find()
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, owner, err := makeDirectory(options.Dir)
	if err != nil {
		return nil, err
	}
	g, err := watch(dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s := &Server{Dir: dir, Port: port, bin: bin, owner: owner, guard: g}
	if err := s.initialize(options.Settings); err != nil {
		return nil, errors.Join(err, g.end())
	}
	if err := s.launch(); err != nil {
		return nil, errors.Join(err, g.end())
	}
	return s, nil
}

// initialize makes the cluster in the first locale that the machine has.
func (s *Server) initialize(settings map[string]string) error {
	var failures []error
	for _, locale := range locales {
		arguments := append([]string{
			"--pgdata=" + s.data(), "--username=postgres", "--auth=trust", "--encoding=UTF8",
			"--lc-messages=C", "--no-sync", "--no-instructions",
		}, locale...)
		out, err := s.command("initdb", arguments...).CombinedOutput()
		if err == nil {
			return s.configure(settings)
		}
		failures = append(failures, fmt.Errorf("initdb %s: %w\n%s", strings.Join(locale, " "), err, out))
		if err := os.RemoveAll(s.data()); err != nil {
			return err
		}
	}
	return errors.Join(failures...)
}

// configure appends to postgresql.conf, where the last line of a name holds.
func (s *Server) configure(settings map[string]string) error {
	all := maps.Clone(defaults)
	maps.Copy(all, settings)
	maps.Copy(all, map[string]string{
		"listen_addresses":        "127.0.0.1",
		"port":                    strconv.Itoa(s.Port),
		"unix_socket_directories": s.Dir,
		"cluster_name":            filepath.Base(s.Dir), // in the title of every process
	})
	f, err := os.OpenFile(filepath.Join(s.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if _, err := fmt.Fprintf(f, "%s = '%s'\n", name, strings.ReplaceAll(all[name], "'", "''")); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return f.Close()
}

// command prepares a program of PostgreSQL's, free of this process's environment, and of
// its process group: an interrupt from the keyboard is the guard's to answer.
func (s *Server) command(name string, arguments ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), arguments...)
	cmd.Dir, cmd.Env = s.Dir, []string{"PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner, Setpgid: true}
	return cmd
}

// launch starts a postmaster and waits until it accepts connections.
func (s *Server) launch() error {
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := s.command("postgres", "-D", s.data())
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	exited := make(chan struct{})
	s.mu.Lock()
	s.postmaster, s.exited = cmd.Process.Pid, exited
	s.mu.Unlock()
	go func() {
		_ = cmd.Wait()
		s.mu.Lock()
		s.spent += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		s.mu.Unlock()
		close(exited)
	}()
	return s.awaitReady(cmd.Process.Pid, exited)
}

// awaitReady waits for the status line that the postmaster writes for pg_ctl. The file
// may still be that of one that was killed.
func (s *Server) awaitReady(postmaster int, exited <-chan struct{}) error {
	ready := func() bool {
		content, _ := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
		lines := strings.Split(string(content), "\n")
		return len(lines) >= 8 && lines[0] == strconv.Itoa(postmaster) && strings.TrimSpace(lines[7]) == "ready"
	}
	if !poll(ready, exited) {
		return fmt.Errorf("PostgreSQL did not start\n%s", s.Log())
	}
	return nil
}

// poll waits until a condition holds, and reports whether it did before the process it
// is about ended or patience did.
func poll(condition func() bool, exited <-chan struct{}) bool {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(patience)
	for !condition() {
		select {
		case <-ticker.C:
		case <-exited:
			return false
		case <-deadline:
			return false
		}
	}
	return true
}

func (s *Server) data() string { return filepath.Join(s.Dir, "data") }

func (s *Server) logFile() string { return filepath.Join(s.Dir, "log") }

// Log returns what the server has logged so far.
func (s *Server) Log() string {
	content, _ := os.ReadFile(s.logFile())
	return string(content)
}

// URL returns the connection string of a database, as the superuser.
func (s *Server) URL(database string) string { return databaseURL(s.Port, database) }

func databaseURL(port int, database string) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s?sslmode=disable", port, database)
}

// Admin connects to the database postgres as the superuser. The caller closes.
func (s *Server) Admin(ctx context.Context) (*pgx.Conn, error) {
	conn, err := pgx.Connect(ctx, s.URL("postgres"))
	if err != nil {
		return nil, fmt.Errorf("connect as administrator: %w", err)
	}
	return conn, nil
}

// CreateDatabase makes a database, as a copy of template if that is not empty. Nobody may
// be connected to the template meanwhile.
func (s *Server) CreateDatabase(ctx context.Context, name, template string) error {
	statement := "CREATE DATABASE " + pgx.Identifier{name}.Sanitize()
	if template != "" {
		statement += " TEMPLATE " + pgx.Identifier{template}.Sanitize()
	}
	return s.execute(ctx, "postgres", statement)
}

// DropDatabase ends the sessions of a database and drops it.
func (s *Server) DropDatabase(ctx context.Context, name string) error {
	return s.execute(ctx, "postgres", "DROP DATABASE "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)")
}

// execute runs statements in a database.
func (s *Server) execute(ctx context.Context, database, statement string) error {
	conn, err := pgx.Connect(ctx, s.URL(database))
	if err != nil {
		return fmt.Errorf("connect to %s: %w", database, err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

// Kill ends the postmaster with SIGKILL and returns when its children, who notice, are
// gone too. Those that have not noticed after a while are killed. Restart starts it again
// with what was durable. For an end without any grace, SignalAll(SIGKILL) comes first.
func (s *Server) Kill() error {
	orphans := s.orphansCPU()
	if err := s.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	s.mu.Lock()
	exited := s.exited
	s.mu.Unlock()
	<-exited
	s.mu.Lock()
	s.spent += orphans
	s.mu.Unlock()
	if err := s.signalEach(syscall.SIGCONT); err != nil {
		return err
	}
	return s.awaitGone()
}

// awaitGone returns when no process of the server is left.
func (s *Server) awaitGone() error {
	grace := time.Now().Add(5 * time.Second)
	gone := func() bool {
		if time.Now().After(grace) {
			_ = s.signalEach(syscall.SIGKILL)
		}
		return s.gone()
	}
	if !poll(gone, nil) {
		return fmt.Errorf("processes are left of PostgreSQL: %v", s.processes())
	}
	return nil
}

// Restart starts the server at its old port and directory, after an orderly end if it
// runs.
func (s *Server) Restart() error {
	if err := s.shutDown(); err != nil {
		return err
	}
	return s.launch()
}

// Stop ends the server, in order if it runs, and removes its directory.
func (s *Server) Stop() error {
	err := s.shutDown()
	err = errors.Join(err, s.guard.end())
	if _, stat := os.Stat(s.Dir); !errors.Is(stat, fs.ErrNotExist) {
		err = errors.Join(err, fmt.Errorf("%s is left of PostgreSQL", s.Dir))
	}
	return err
}

// shutDown is PostgreSQL's fast shutdown: sessions end, transactions roll back, what is
// committed is checkpointed. A server that was stopped by SIGSTOP is woken first.
func (s *Server) shutDown() error {
	if s.Running() {
		if err := errors.Join(s.SignalAll(syscall.SIGCONT), s.Signal(syscall.SIGINT)); err != nil {
			return err
		}
		s.mu.Lock()
		exited := s.exited
		s.mu.Unlock()
		select {
		case <-exited:
		case <-time.After(patience):
			return fmt.Errorf("PostgreSQL does not shut down\n%s", s.Log())
		}
	}
	return s.awaitGone()
}
