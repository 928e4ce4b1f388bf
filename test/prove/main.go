package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	budget := flag.Duration("budget", 10*time.Minute, "how long to check; building comes on top")
	only := flag.String("only", "", "a regular expression: run only the checks and broken variants whose description or test it matches")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	sound, err := prove(ctx, *budget, *only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "prove:", err)
	}
	if err != nil || !sound {
		os.Exit(1)
	}
}

// prove runs all checks and prints the report. A check that fails stops no other.
func prove(ctx context.Context, budget time.Duration, only string) (sound bool, err error) {
	if err := missing(); err != nil {
		return false, err
	}
	root, err := repository()
	if err != nil {
		return false, err
	}
	list, err := parsers(root)
	if err != nil {
		return false, err
	}
	pattern, err := regexp.Compile(only)
	if err != nil {
		return false, err
	}
	p := newPlan(root, budget, slices.Concat(checks, list), pattern)
	p.run(ctx)
	return p.report(os.Stdout), nil
}

// needs is what the checks need besides the repository.
var needs = []struct{ command, what, how string }{
	{"go", "builds everything", "https://go.dev/dl"},
	{"gcc", "for the race detector", "apt-get install gcc libc6-dev, or your system's C compiler"},
}

// missing says what is not there, and how to get it.
func missing() error {
	var all []error
	for _, n := range needs {
		if _, err := exec.LookPath(n.command); err != nil {
			all = append(all, fmt.Errorf("%s is missing (%s): %s", n.command, n.what, n.how))
		}
	}
	return errors.Join(all...)
}

// repository is the root of the repository that the working directory is in.
func repository() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	file := strings.TrimSpace(string(out))
	if err != nil || filepath.Base(file) != "go.mod" {
		return "", fmt.Errorf("run this in the repository: %w", errors.Join(err, errors.New("there is no go.mod")))
	}
	return filepath.Dir(file), nil
}
