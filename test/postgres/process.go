package postgres

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Running reports whether there is a postmaster.
func (s *Server) Running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runs()
}

func (s *Server) runs() bool {
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

// PIDs returns the processes of the server: the postmaster, if it runs, then its
// children, or those it left when it was killed.
func (s *Server) PIDs() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	children := slices.DeleteFunc(s.processes(), func(pid int) bool { return pid == s.postmaster })
	if !s.runs() {
		return children
	}
	return append([]int{s.postmaster}, children...)
}

// Signal sends a signal to the postmaster.
func (s *Server) Signal(signal syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.runs() {
		return errors.New("PostgreSQL does not run")
	}
	if err := syscall.Kill(s.postmaster, signal); err != nil {
		return fmt.Errorf("send %v to the postmaster: %w", signal, err)
	}
	return nil
}

// SignalAll sends a signal to the postmaster, then to its children: with SIGSTOP the
// server freezes until SIGCONT, with SIGKILL it is gone as if the machine were.
func (s *Server) SignalAll(signal syscall.Signal) error {
	if err := s.Signal(signal); err != nil {
		return err
	}
	return s.signalEach(signal)
}

// signalEach sends a signal to all but the postmaster. The list is made here, after that
// one had its signal: a postmaster that is stopped makes no more children.
func (s *Server) signalEach(signal syscall.Signal) error {
	s.mu.Lock()
	postmaster := s.postmaster
	s.mu.Unlock()
	for _, pid := range s.processes() {
		if pid == postmaster {
			continue
		}
		if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("send %v to process %d: %w", signal, pid, err)
		}
	}
	return nil
}

// CPU returns the CPU time that the server has used since Start, its ended processes and
// earlier postmasters included, as exactly as the kernel's ticks (10 ms) allow. What
// children used after the death of their postmaster is not counted.
func (s *Server) CPU() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.runs() {
		return s.spent
	}
	for {
		before := readProcess(s.postmaster)
		children := s.childrenCPU()
		after := readProcess(s.postmaster)
		// A child that ended in between would be missed, or counted twice.
		if before.reaped == after.reaped {
			return s.spent + after.own + after.reaped + children
		}
	}
}

// orphansCPU returns what would be lost for CPU if the postmaster died now.
func (s *Server) orphansCPU() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.childrenCPU()
}

func (s *Server) childrenCPU() time.Duration {
	var sum time.Duration
	for _, p := range processes() {
		if p.parent == s.postmaster {
			sum += p.own // also of a child that has ended and is not yet waited for
		}
	}
	return sum
}

// programs are the names of the processes that this package starts.
var programs = []string{"postgres", "initdb", "pgbouncer"}

// process is what proc_pid_stat(5) says of a process.
type process struct {
	id, parent  int
	program     string
	state       string
	own, reaped time.Duration // CPU time: its own, and of children it has waited for
}

// tick is the unit of CPU time in /proc: Linux shows hundredths of a second to everyone.
const tick = 10 * time.Millisecond

// readProcess reads what is known of a process; of one that has gone, nothing.
func readProcess(id int) process {
	content, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", id))
	// The program's name, in parentheses, may hold spaces and parentheses.
	_, rest, _ := strings.Cut(string(content), "(")
	end := max(strings.LastIndexByte(rest, ')'), 0)
	fields := strings.Fields(strings.TrimPrefix(rest[end:], ")"))
	if len(fields) < 15 {
		return process{}
	}
	number := func(i int) int {
		n, _ := strconv.Atoi(fields[i])
		return n
	}
	ticks := func(i int) time.Duration { return time.Duration(number(i)) * tick }
	return process{
		id: id, parent: number(1), program: rest[:end], state: fields[0],
		own: ticks(11) + ticks(12), reaped: ticks(13) + ticks(14),
	}
}

// ended reports whether nothing is left of a process but its entry: no files, no sockets.
func (p process) ended() bool { return p.state == "Z" || p.state == "X" }

// commandLine returns the arguments or the title of a process, "" once it is ending.
func (p process) commandLine() string {
	content, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.id))
	return string(content)
}

// processes returns the processes of our programs, of all servers on the machine.
func processes() []process {
	var found []process
	directories, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range directories {
		id, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if p := readProcess(id); slices.Contains(programs, p.program) {
			found = append(found, p)
		}
	}
	return found
}

// processes returns the living processes whose command line has the name of the server's
// directory: as an argument, or as the cluster_name in a title. It goes by what every
// user may read: in a container root may not see the working directory of others.
func (s *Server) processes() []int {
	var found []int
	for _, p := range processes() {
		if !p.ended() && strings.Contains(p.commandLine(), filepath.Base(s.Dir)) {
			found = append(found, p.id)
		}
	}
	return found
}

// gone reports whether no process of the server is left. One that is ending has lost its
// command line but still holds its sockets: whosever it is, it is waited for.
func (s *Server) gone() bool {
	return !slices.ContainsFunc(processes(), func(p process) bool {
		if p.ended() {
			return false
		}
		line := p.commandLine()
		return line == "" || strings.Contains(line, filepath.Base(s.Dir))
	})
}
