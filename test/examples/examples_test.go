// Package examples starts each program of examples/ by its one command, pastes the calls
// that it prints into a shell, and ends it as Ctrl-C does.
package examples

import (
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// example is a program of examples/ that runs.
type example struct {
	t      *testing.T
	cmd    *exec.Cmd
	tmp    string // where it makes its files
	said   []byte // up to the calls and what follows them
	ended  chan error
	output chan []byte
}

// start starts an example by its command line, from the root of the checkout, and waits
// until it has printed its calls. The last line that it prints begins with `Each shows`.
func start(t *testing.T, environment []string, command ...string) *example {
	t.Helper()
	e := &example{t: t, cmd: exec.Command(command[0], command[1:]...), tmp: t.TempDir(), ended: make(chan error, 1), output: make(chan []byte)}
	e.cmd.Dir = "../.."
	// Settings of an installation are none of an example's: with this one nothing works.
	e.cmd.Env = append(os.Environ(), "TMPDIR="+e.tmp, "COUNTERFOIL_DATABASE=nonsense")
	e.cmd.Env = append(e.cmd.Env, environment...)
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C goes to all of the group
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	e.cmd.Stdout, e.cmd.Stderr = w, w
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	t.Cleanup(func() {
		_ = syscall.Kill(-e.cmd.Process.Pid, syscall.SIGKILL) // where it did not end in order
		_ = r.Close()
	})
	go e.read(r)
	go func() { e.ended <- e.cmd.Wait() }()
	e.awaitCalls()
	return e
}

func (e *example) read(r io.Reader) {
	defer close(e.output)
	buffer := make([]byte, 4096)
	for {
		n, err := r.Read(buffer)
		if n > 0 {
			e.output <- bytes.Clone(buffer[:n])
		}
		if err != nil {
			return
		}
	}
}

func (e *example) awaitCalls() {
	e.t.Helper()
	deadline := time.After(3 * time.Minute) // it builds Counterfoil
	for !regexp.MustCompile(`(?m)^Each shows .*\n`).Match(e.said) {
		select {
		case more, open := <-e.output:
			if !open {
				e.t.Fatalf("it ended at its start:\n%s", e.said)
			}
			e.said = append(e.said, more...)
		case <-deadline:
			e.t.Fatalf("no calls within 3 minutes:\n%s", e.said)
		}
	}
}

// paste runs the printed calls in a shell, and returns what they show.
func (e *example) paste() string {
	e.t.Helper()
	calls := regexp.MustCompile(`(?m)^(curl |[A-Z_]+=\$\().*\n`).FindAll(e.said, -1)
	if len(calls) < 4 {
		e.t.Fatalf("there are no calls in:\n%s", e.said)
	}
	shell := exec.Command("sh", "-eu")
	shell.Stdin = bytes.NewReader(bytes.Join(calls, nil))
	out, err := shell.CombinedOutput()
	if err != nil {
		e.t.Fatalf("the calls: %v\n%s", err, out)
	}
	return string(out)
}

// interrupt ends an example by SIGINT to a process, or to a group as Ctrl-C does, and
// expects that nothing is left.
func (e *example) interrupt(pid int) {
	e.t.Helper()
	if err := syscall.Kill(pid, syscall.SIGINT); err != nil {
		e.t.Fatal(err)
	}
	deadline := time.After(20 * time.Second)
	var more, last []byte
	for open := true; open; { // what it started has its end of the pipe too
		select {
		case more, open = <-e.output:
			last = append(last, more...)
		case <-deadline:
			e.t.Fatal("not everything has ended within 20 s of SIGINT")
		}
	}
	// The go command ends with 1 when it is interrupted, and says so if the program failed.
	inOrder := e.cmd.Args[0] == "go" && len(last) == 0
	if err := <-e.ended; err != nil && !inOrder {
		e.t.Errorf("it ended with %v\n%s", err, last)
	}
	for _, address := range e.addresses() {
		if c, err := net.Dial("tcp", address); err == nil {
			_ = c.Close()
			e.t.Errorf("something still listens at %s", address)
		}
	}
	if left, err := filepath.Glob(filepath.Join(e.tmp, "*")); err != nil || len(left) > 0 {
		e.t.Errorf("it leaves %v", left)
	}
}

// wantInOrder expects texts in what calls show, one after the other.
func wantInOrder(t *testing.T, shown string, texts ...string) {
	t.Helper()
	rest := shown
	for _, text := range texts {
		_, after, found := strings.Cut(rest, text)
		if !found {
			t.Fatalf("the calls do not show %q, where it is its turn:\n%s", text, shown)
		}
		rest = after
	}
}

// addresses are where an example says that something listens.
func (e *example) addresses() (all []string) {
	for _, m := range regexp.MustCompile(`http://(127\.0\.0\.1:\d+)`).FindAllSubmatch(e.said, -1) {
		all = append(all, string(m[1]))
	}
	return all
}

func TestGoAPI(t *testing.T) {
	t.Parallel()
	e := start(t, nil, "go", "run", "./examples/go-api")
	wantInOrder(t, e.paste(),
		`"access_token"`, `{"id":1,"item":"bolt","by":"`, `"access_token"`, `[{"id":1,"item":"bolt","by":"`,
		"HTTP/1.1 401 Unauthorized", `error="invalid_token"`)
	e.interrupt(-e.cmd.Process.Pid)
}

// TestNginxStatic: it is the example that ends its servers: they get no signal here.
func TestNginxStatic(t *testing.T) {
	t.Parallel()
	ports := []string{"API_PORT=" + freePort(t), "COUNTERFOIL_PORT=" + freePort(t)}
	e := start(t, ports, "examples/nginx-static/run")
	wantInOrder(t, e.paste(),
		`"access_token"`, "HTTP/1.1 200 OK", `"item": "bolt"`,
		"HTTP/1.1 403 Forbidden", `error="insufficient_scope"`,
		"HTTP/1.1 401 Unauthorized", `error="invalid_token"`)
	e.interrupt(e.cmd.Process.Pid)
}

// TestNginxIsMissing: the example says so.
func TestNginxIsMissing(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	for _, there := range []string{"sh", "dirname", "go"} {
		path, err := exec.LookPath(there)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(bin, there)); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile("../../examples/nginx-static/run")
	if err != nil {
		t.Fatal(err)
	}
	script := strings.Replace(string(text), "PATH=$PATH:/usr/sbin\n", "", 1) // where nginx is, here
	cmd := exec.Command("sh", "-s")
	cmd.Dir, cmd.Stdin, cmd.Env = "../../examples/nginx-static", strings.NewReader(script), []string{"PATH=" + bin}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "This example needs nginx.") {
		t.Errorf("without nginx: %v, %q", err, out)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
