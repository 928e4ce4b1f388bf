package main

import (
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience is how long a server may take to start or to stop, on a busy machine.
const patience = 60 * time.Second

// scriptServer is the server that a script has in the background.
type scriptServer struct {
	process *exec.Cmd
	socket  *net.UnixConn // where it tells the service manager about itself
}

// cmdStart is `start ARGS...`: it runs counterfoil in the background and returns when
// it is ready. It prints to server.out and server.log; $LISTEN and $ADMIN_LISTEN are
// the addresses in its log, $SERVER_PID is its process.
func cmdStart(ts *testscript.TestScript, _ bool, args []string) {
	s := ts.Value("server").(*scriptServer)
	_ = os.Remove(ts.MkAbs("notify"))
	var err error
	s.socket, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: ts.MkAbs("notify"), Net: "unixgram"})
	ts.Check(err)
	s.process = command(ts, args)
	ts.Check(s.process.Start())
	process, socket := s.process, s.socket
	ts.Defer(func() {
		_ = process.Process.Kill() // already over, if the script stopped it
		_ = process.Wait()
		_ = socket.Close()
	})
	s.expect(ts, "READY=1")
	ts.Setenv("SERVER_PID", strconv.Itoa(s.process.Process.Pid))
	for variable, name := range map[string]string{"LISTEN": "listen", "ADMIN_LISTEN": "admin_listen"} {
		pattern := regexp.MustCompile(`"` + name + `":"([^"]*)"`)
		if match := pattern.FindStringSubmatch(ts.ReadFile("server.log")); match != nil {
			ts.Setenv(variable, match[1])
		}
	}
}

// command is counterfoil with the environment of the script.
func command(ts *testscript.TestScript, args []string) *exec.Cmd {
	program, err := exec.LookPath("counterfoil") // testscript.Main put it there
	ts.Check(err)
	cmd := exec.Command(program, args...)
	cmd.Dir = ts.Getenv("WORK")
	cmd.Env = []string{"NOTIFY_SOCKET=" + ts.MkAbs("notify")}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "COUNTERFOIL_CONFIG", "COUNTERFOIL_DATA", "COUNTERFOIL_LISTEN", "COUNTERFOIL_ADMIN_LISTEN"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	out, err := os.Create(ts.MkAbs("server.out"))
	ts.Check(err)
	log, err := os.Create(ts.MkAbs("server.log"))
	ts.Check(err)
	ts.Defer(func() { _, _ = out.Close(), log.Close() })
	cmd.Stdout, cmd.Stderr = out, log
	return cmd
}

// expect waits for what the server tells the service manager next.
func (s *scriptServer) expect(ts *testscript.TestScript, want string) {
	ts.Check(s.socket.SetReadDeadline(time.Now().Add(patience)))
	var b [64]byte
	n, err := s.socket.Read(b[:])
	if err != nil || string(b[:n]) != want {
		ts.Fatalf("the server said %q (%v), want %q\n%s", b[:n], err, want, ts.ReadFile("server.log"))
	}
}

// cmdTerminate is `terminate`: it ends the server with SIGTERM, and wants exit code 0.
func cmdTerminate(ts *testscript.TestScript, _ bool, _ []string) {
	s := ts.Value("server").(*scriptServer)
	ts.Check(s.process.Process.Signal(syscall.SIGTERM))
	s.expect(ts, "STOPPING=1")
	if err := s.process.Wait(); err != nil {
		ts.Fatalf("the server ended with %v, want exit code 0\n%s", err, ts.ReadFile("server.log"))
	}
}
