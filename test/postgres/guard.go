package postgres

import (
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"syscall"
)

// vigil is the guard's script: it waits until the pipe at its standard input is closed,
// ends the processes of a directory, and removes it with the shared memory segment that
// a killed postmaster leaves (line 7 of postmaster.pid: key and identifier). SIGQUIT is
// PostgreSQL's immediate shutdown; SIGCONT is for those that a test has stopped.
const vigil = `
dir=$1 name=$2
while read -r line; do :; done
processes() {
	for file in $(grep -lsF -e "$name" /proc/[0-9]*/cmdline); do
		read -r program <"${file%/cmdline}/comm" || continue
		case $program in postgres | initdb | pgbouncer) echo "${file%/cmdline}" | tr -dc 0-9 && echo ;; esac
	done
}
tries=0
while pids=$(processes) && [ -n "$pids" ]; do
	if [ $tries -lt 50 ]; then kill -QUIT $pids; kill -CONT $pids; else kill -KILL $pids; fi
	tries=$((tries + 1))
	sleep 0.1
done
set -- $(sed -n 7p "$dir/data/postmaster.pid")
[ -z "$2" ] || ipcrm -m "$2"
until rm -rf "$dir" || [ $tries -gt 100 ]; do
	tries=$((tries + 1))
	sleep 0.1
done
[ ! -e "$dir" ]
`

// guard is a shell that outlives this process to clean up after it. It holds the read
// end of a pipe whose only write end is here: however this process ends, by SIGKILL too,
// the kernel closes it. (A parent-death signal would not do: it follows the death of a
// thread, and removes nothing.)
type guard struct {
	shell *exec.Cmd
	pipe  io.Closer
}

// watch posts a guard for a directory and for all processes that bear its name.
func watch(dir string) (*guard, error) {
	shell := exec.Command("sh", "-c", vigil, "sh", dir, filepath.Base(dir))
	// Out of reach of what is sent to the tests' process group.
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	shell.Dir = "/"
	pipe, err := shell.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := shell.Start(); err != nil {
		return nil, fmt.Errorf("start the guard of %s: %w", dir, err)
	}
	return &guard{shell: shell, pipe: pipe}, nil
}

// end has the guard clean up now, and waits for it.
func (g *guard) end() error {
	_ = g.pipe.Close()
	if err := g.shell.Wait(); err != nil {
		return fmt.Errorf("clean up after PostgreSQL: %w", err)
	}
	return nil
}
