package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/counterfoil/counterfoil/test/proof"
)

// result is what became of a check.
type result struct {
	check
	counts   []string // such as "1234 histories"
	building time.Duration
	took     time.Duration // without building
	problem  string        // empty: nothing was found
	output   []string      // the end of it
}

// tail is how many lines of output are kept.
const tail = 40

// event is a line of `go test -json`.
type event struct {
	Action, Test, Output string
	Key, Value           string // of an "attr", see proof.Count
}

// run runs a check for a time.
func (c *check) run(ctx context.Context, root string, budget time.Duration) *result {
	r := &result{check: *c}
	if tests, err := filepath.Glob(filepath.Join(root, c.pkg, "*_test.go")); err != nil || len(tests) == 0 {
		r.problem = "no such test"
		r.output = []string{"there are no tests in " + c.pkg}
		return r
	}
	cmd := command(ctx, root, "go", c.arguments(budget)...)
	cmd.Env = append(cmd.Environ(), proof.BudgetVariable+"="+budget.String())
	begun := time.Now()
	w := &watcher{r: r, begun: begun, ran: map[string]string{}}
	out, write := io.Pipe()
	cmd.Stdout, cmd.Stderr = write, write
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.read(out)
	}()
	err := cmd.Run()
	_ = write.Close()
	<-done
	r.took = time.Since(begun) - r.building
	r.problem = w.verdict(err)
	return r
}

// arguments are those of `go` for the check.
func (c *check) arguments(budget time.Duration) []string {
	limit := 2*budget + 3*time.Minute // a check that hangs ends, with all its goroutines shown
	arguments := []string{"test", "-json", "-count=1", "-timeout=" + limit.String()}
	if c.race {
		arguments = append(arguments, "-race")
	}
	if c.fuzz() {
		return append(arguments, "-run=^$", "-fuzz=^"+c.test+"$", "-fuzztime="+budget.String(), "-fuzzminimizetime=1x", "./"+c.pkg)
	}
	return append(arguments, "-run=^"+c.test+"$", "./"+c.pkg)
}

// command is a command in a process group of its own, which ends with the context:
// whatever a test started ends too.
func command(ctx context.Context, dir, name string, arguments ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, arguments...)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// watcher reads the events of a test.
type watcher struct {
	r     *result
	begun time.Time
	ran   map[string]string // what became of each test: "run", "pass", "fail" or "skip"
	execs string            // of a fuzz target
}

func (w *watcher) read(from io.Reader) {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			e = event{Action: "output", Output: lines.Text()} // of the go command itself
		}
		w.take(e)
	}
	_, _ = io.Copy(io.Discard, from)
}

// execsOf finds how many inputs were tried; at first only known ones are.
var execsOf = regexp.MustCompile(`^fuzz: elapsed: .*(?:execs: |baseline coverage: )(\d+)`)

func (w *watcher) take(e event) {
	switch e.Action {
	case "start": // the package is built
		w.r.building = time.Since(w.begun)
	case "run", "pass", "fail", "skip":
		if e.Test != "" { // else it is of the package
			w.ran[e.Test] = e.Action
		}
	case "attr":
		if e.Key == "checked" && e.Test == w.r.test {
			w.r.counts = append(w.r.counts, e.Value)
		}
	case "output", "build-output":
		line := strings.TrimRight(e.Output, "\n")
		if m := execsOf.FindStringSubmatch(line); m != nil {
			w.execs = m[1]
			return
		}
		if line != "" && !strings.HasPrefix(line, "=== ") {
			w.r.output = append(w.r.output, line)
			w.r.output = w.r.output[max(0, len(w.r.output)-tail):]
		}
	}
}

// verdict says what was found: nothing, if the test ran and passed. `go test` is
// content with a name that no test has; we are not.
func (w *watcher) verdict(err error) string {
	if w.execs != "" {
		w.r.counts = append(w.r.counts, w.execs+" inputs")
	} else if n := w.leaves("pass"); n > 1 && len(w.r.counts) == 0 {
		w.r.counts = append(w.r.counts, fmt.Sprintf("%d cases", n))
	}
	outcome := w.ran[w.r.test]
	switch {
	case err == nil && outcome == "":
		return "no such test"
	case err == nil && outcome == "skip":
		return "skipped"
	case err == nil && w.r.fuzz() && (w.execs == "" || w.execs == "0"):
		return "nothing was fuzzed"
	case err == nil || w.onlyOutOfTime():
		return ""
	case w.r.building == 0:
		return "does not build"
	}
	n := w.leaves("fail")
	if n == 0 {
		return "ended early"
	}
	return fmt.Sprintf("%d failed", n)
}

// onlyOutOfTime reports whether a fuzz target found nothing and failed all the same,
// because its time was over while inputs were under way: go.dev/issue/75804, mended in Go 1.27.
func (w *watcher) onlyOutOfTime() bool {
	text := strings.Join(w.r.output, "\n")
	return w.r.fuzz() && w.execs != "" && slices.Contains(w.r.output, "    context deadline exceeded") && !inputOf.MatchString(text)
}

// leaves counts the tests of an outcome that have no part with the same one.
func (w *watcher) leaves(outcome string) int {
	n := 0
	for name, o := range w.ran {
		if o != outcome {
			continue
		}
		leaf := true
		for other, o := range w.ran {
			leaf = leaf && (o != outcome || !strings.HasPrefix(other, name+"/"))
		}
		if leaf {
			n++
		}
	}
	return n
}

var (
	seedOf  = regexp.MustCompile(proof.SeedVariable + `=(\d+)`)
	inputOf = regexp.MustCompile(`-run=(Fuzz\w+/\w+)`)
)

// repeat is the command that runs what failed again, from what the output says.
func (r *result) repeat() string {
	text := strings.Join(r.output, "\n")
	if m := inputOf.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("go test -run '^%s$' ./%s", strings.Replace(m[1], "/", "$/^", 1), r.pkg)
	}
	if m := seedOf.FindStringSubmatch(text); m != nil {
		return m[0] + " " + r.check.repeat()
	}
	return r.check.repeat()
}
