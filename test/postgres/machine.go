package postgres

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// oldest is the first major version of PostgreSQL that is good enough.
const oldest = 15

// ErrNotInstalled is the error of Find.
var ErrNotInstalled = fmt.Errorf("PostgreSQL %d or newer is not installed: apt-get install postgresql (make setup does it)", oldest)

// Find returns the directory with initdb and postgres of the newest PostgreSQL below
// /usr/lib/postgresql, or else of the one on PATH or known to pg_config. It is version
// 15 at least; without one the error, ErrNotInstalled, says what to install.
func Find() (bin string, err error) { return find("/usr/lib/postgresql/*/bin") }

func find(pattern string) (string, error) {
	installed, err := filepath.Glob(pattern)
	if err != nil {
		return "", err
	}
	slices.SortFunc(installed, func(a, b string) int { return version(b) - version(a) })
	if initdb, err := exec.LookPath("initdb"); err == nil {
		installed = append(installed, filepath.Dir(initdb))
	}
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		installed = append(installed, strings.TrimSpace(string(out)))
	}
	for _, bin := range installed {
		if version(bin) >= oldest {
			return bin, nil
		}
	}
	return "", ErrNotInstalled
}

// versionNumber finds 15 in "initdb (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)".
var versionNumber = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// version returns the major version that both programs of a directory have, else 0.
func version(bin string) int {
	found := 0
	for _, program := range []string{"initdb", "postgres"} {
		out, err := exec.Command(filepath.Join(bin, program), "--version").Output()
		match := versionNumber.FindSubmatch(out)
		if err != nil || match == nil {
			return 0
		}
		n, err := strconv.Atoi(string(match[1]))
		if err != nil || found != 0 && n != found {
			return 0
		}
		found = n
	}
	return found
}

// room is what must be free in memory for a server to be put there: the cluster, its
// journal (max_wal_size is 1 GB), and what a test writes.
const room = 2 << 30

// makeDirectory makes a server's own directory in parent, owned by the user that the
// server will run as: PostgreSQL refuses to run as root. No credential: as oneself.
func makeDirectory(parent string) (string, *syscall.Credential, error) {
	if parent == "" {
		parent = os.TempDir()
		var memory unix.Statfs_t
		if err := unix.Statfs("/dev/shm", &memory); err == nil && memory.Type == unix.TMPFS_MAGIC &&
			memory.Bavail*uint64(memory.Bsize) >= room && unix.Access("/dev/shm", unix.W_OK) == nil {
			parent = "/dev/shm"
		}
	}
	owner, err := unprivileged()
	if err != nil {
		return "", nil, err
	}
	dir, err := os.MkdirTemp(parent, "counterfoil-postgres-*-test") // no name is the beginning of another
	if err != nil || owner == nil {
		return dir, nil, err
	}
	if err := os.Chown(dir, int(owner.Uid), int(owner.Gid)); err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return dir, owner, nil
}

// unprivileged returns whom root starts servers as.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		if account, err = user.Lookup("nobody"); err != nil {
			return nil, err
		}
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
}

// freePort returns a port that nobody listens at, below those that Linux gives to
// clients: a client that tries again and again while the server is away would
// otherwise be given the server's own port one day, and keep it from its return.
func freePort() (int, error) {
	const first, last, tries = 15000, 32767, 100
	var failure error
	for range tries {
		port := first + rand.IntN(last-first+1)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return port, l.Close()
		}
		failure = err
	}
	return 0, fmt.Errorf("find a free port: %w", failure)
}
