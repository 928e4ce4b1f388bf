package failover

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// guardScript ends every process that works in a directory when its input ends, which
// is when the test ends, however it ends; then it removes the databases. What it needs to
// know is the working directory: PostgreSQL's children leave the process group of who
// started them.
const guardScript = `
read -r nothing
while :; do
	found=
	for process in /proc/[0-9]*; do
		case "$(readlink "$process/cwd")" in
		"$1"/*) kill -9 "${process#/proc/}"; found=1 ;;
		esac
	done
	[ "$found" ] || break
done 2>/dev/null
rm -rf "$1"/*/data
`

// guard makes sure that nothing which was started in a directory outlives the test.
// The directory itself is kept if the test failed, for its logs.
func guard(t testing.TB, dir string) {
	t.Helper()
	cmd := exec.Command("sh", "-c", guardScript, "guard", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	held, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = held.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("end the cluster: %v", err)
		}
		if t.Failed() {
			t.Logf("the logs are kept in %s", dir)
		} else if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
}

// run starts a process that works in a directory, as the owner of the cluster, its
// output going to the file log there.
func (c *cluster) run(dir string, arguments ...string) {
	c.t.Helper()
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(arguments[0], arguments[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.Env = []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin", "HOME=" + dir, "LANG=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: c.owner}
	if err := cmd.Start(); err != nil {
		c.t.Fatalf("%s: %v; `make setup` installs what the cluster needs", arguments[0], err)
	}
	go func() { _ = cmd.Wait() }()
}

// processes are those that work in a directory or below it.
func processes(dir string) []int {
	var found []int
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, link := range links {
		works, err := os.Readlink(link)
		if err != nil || works != dir && !strings.HasPrefix(works, dir+"/") {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link))); err == nil {
			found = append(found, pid)
		}
	}
	return found
}

// signal signals all processes of a directory, and those that they start meanwhile.
// After SIGKILL it waits until there are none.
func (c *cluster) signal(dir string, s syscall.Signal) {
	c.t.Helper()
	signalled := map[int]bool{}
	c.await("processes get "+s.String(), 10*time.Second, func() error {
		left := 0
		for _, pid := range processes(dir) {
			if !signalled[pid] {
				_ = syscall.Kill(pid, s)
			}
			if !signalled[pid] || s == syscall.SIGKILL {
				left++
			}
			signalled[pid] = true
		}
		if left > 0 {
			return fmt.Errorf("%d processes are left", left)
		}
		return nil
	})
	if len(signalled) == 0 {
		c.t.Errorf("there is no process in %s to get %v", dir, s)
	}
}

// await polls until a condition holds: until it returns nil.
func (c *cluster) await(what string, within time.Duration, condition func() error) {
	c.t.Helper()
	await(c.t, what, within, condition)
}

func await(t testing.TB, what string, within time.Duration, condition func() error) {
	t.Helper()
	deadline := time.After(within)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := condition()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited %v until %s: %v", within, what, err)
		}
	}
}
