package disk

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/counterfoil/counterfoil/test/program"
	"github.com/counterfoil/counterfoil/test/proof"
)

// room is a place for an installation that can be full, and have room again.
type room struct {
	data string // where the installation's data are
	fill func(t *testing.T, p *program.Program)
	make func(t *testing.T, p *program.Program)
}

// limited is a room where a file must not grow: what anybody may do to a process.
func limited(t *testing.T) room {
	limit := func(size uint64) func(*testing.T, *program.Program) {
		return func(t *testing.T, p *program.Program) {
			t.Helper()
			var l unix.Rlimit
			if err := unix.Prlimit(p.Server.Process.Pid, unix.RLIMIT_FSIZE, nil, &l); err != nil {
				t.Fatal(err)
			}
			l.Cur = min(size, l.Max)
			if err := unix.Prlimit(p.Server.Process.Pid, unix.RLIMIT_FSIZE, &l, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	return room{data: filepath.Join(t.TempDir(), "data"), fill: limit(4096), make: limit(unix.RLIM_INFINITY)}
}

// mounted is a small file system of its own, filled to the last byte; ok is false
// where we may not mount one.
func mounted(t *testing.T) (r room, ok bool) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8m,mode=0700"); err != nil {
		t.Logf("no file system of its own: %v", err)
		return room{}, false
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	ballast := filepath.Join(dir, "ballast")
	return room{
		data: filepath.Join(dir, "data"),
		fill: func(t *testing.T, _ *program.Program) {
			t.Helper()
			if err := writeUntilFull(ballast); err != nil {
				t.Fatal(err)
			}
		},
		make: func(t *testing.T, _ *program.Program) {
			t.Helper()
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
		},
	}, true
}

// writeUntilFull writes a file until there is no room for a byte.
func writeUntilFull(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	page := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(page)
	}
	if errors.Is(err, unix.ENOSPC) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

// TestFullDisk fills the disk under the real server while clients refresh. They are
// told to come again, reads go on; the server may even be killed; and when there is
// room again, everybody goes on with the token held.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	full := 0
	for seed := range proof.Rounds(t, 1) {
		rooms := []room{limited(t)}
		if r, ok := mounted(t); ok {
			rooms = append(rooms, r)
		}
		for _, r := range rooms {
			fillAndMakeRoom(t, r, seed%2 == 0)
			full++
		}
	}
	proof.Count(t, full, "full disks")
}

func fillAndMakeRoom(t *testing.T, r room, kill bool) {
	t.Helper()
	p := program.New(t, "SIGNING_ALG=ES256", "DATA="+r.data)
	defer p.Kill()
	p.Start()
	clients := newClients(t, p, 4)
	for range 2 { // the second time with a log that was written to
		for _, c := range clients {
			c.goOn(t, p)
		}
		r.fill(t, p)
		for _, c := range clients {
			c.askWhileFull(t, p)
		}
		r.make(t, p)
		if kill {
			p.Kill()
			p.Start()
		}
	}
	for _, c := range clients {
		c.goOn(t, p)
	}
}

// askWhileFull refreshes until the disk is noticed to be full; there may be a bit of
// room in files that are there already.
func (c *client) askWhileFull(t *testing.T, p *program.Program) {
	t.Helper()
	for range 1000 {
		a, err := c.ask(t.Context(), p)
		if err := errors.Join(err, a.check()); err != nil {
			t.Error(err)
			return
		}
		if a.Status == http.StatusServiceUnavailable {
			c.readsGoOn(t, p)
			return
		}
		c.held = a.Tokens
	}
	t.Error("the full disk is not noticed")
}
