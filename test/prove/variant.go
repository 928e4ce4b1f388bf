package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/test/proof"
)

// variant is the server with one promise broken on purpose. The tree is not touched:
// the go command reads the changed files in place of the real ones (-overlay).
type variant struct {
	what    string
	changes []change
	checks  []check // that should catch it, the quickest first; pkg and test count
}

// change replaces a text that occurs exactly once in a file.
type change struct{ file, old, new string }

// outcome is what became of a variant.
type outcome struct {
	what    string
	by      []string // the checks that caught it
	problem error    // it is stale, or cannot be built or checked
}

func (o *outcome) verdict() string {
	switch {
	case o.problem != nil:
		text, _, _ := strings.Cut(o.problem.Error(), "\n")
		return "ERROR: " + text
	case len(o.by) == 0:
		return "NOBODY"
	}
	return strings.Join(o.by, ", ")
}

// breakIt checks that the unbroken server passes what is to catch the broken ones,
// and then tries those.
func (p *plan) breakIt(ctx context.Context) {
	control := p.control(ctx)
	if ctx.Err() != nil {
		return
	}
	p.results = append(p.results, control)
	p.spent += control.took
	for i := range p.variants {
		v := &p.variants[i]
		limit := p.part(1 / float64(len(p.variants)-i))
		p.show.begin("broken: "+v.what, limit)
		begun := time.Now()
		o := v.try(ctx, p.root, limit)
		if ctx.Err() != nil {
			return
		}
		p.spent += time.Since(begun)
		p.caught = append(p.caught, o)
		p.show.line("broken: "+v.what, "caught by", o.verdict())
	}
}

// control runs every check of the variants on the unbroken server: a check that
// fails anyway catches nothing.
func (p *plan) control(ctx context.Context) *result {
	v := variant{what: "nothing is broken"}
	for _, broken := range p.variants {
		for _, c := range broken.checks {
			if !slices.Contains(v.checks, c) {
				v.checks = append(v.checks, c)
			}
		}
	}
	r := &result{
		check:  check{what: "the unbroken server passes what catches broken ones", test: "TestBrokenVariants", pkg: "test/prove"},
		counts: []string{strconv.Itoa(len(v.checks)) + " tests"},
	}
	p.show.begin(r.what, time.Minute)
	begun := time.Now()
	o := v.try(ctx, p.root, time.Hour)
	r.took = time.Since(begun)
	if o.problem != nil || len(o.by) > 0 {
		r.problem, r.output = "failed", []string{o.verdict()}
	}
	p.show.done(r)
	return r
}

// try runs the short versions of the checks until one catches the variant, and the
// others too while there is time.
func (v *variant) try(ctx context.Context, root string, limit time.Duration) *outcome {
	o := &outcome{what: v.what}
	dir, err := os.MkdirTemp("", "counterfoil-prove-")
	if err != nil {
		o.problem = err
		return o
	}
	defer func() { _ = os.RemoveAll(dir) }()
	b := &bench{root: root, dir: dir, binaries: map[string]string{}}
	if b.flags, o.problem = v.overlay(root, dir); o.problem != nil {
		return o
	}
	deadline := time.Now().Add(limit)
	for _, c := range v.checks {
		if len(o.by) > 0 && !time.Now().Before(deadline) {
			return o
		}
		caught, err := b.catches(ctx, c)
		if err != nil {
			o.problem = err
			return o
		}
		if caught {
			o.by = append(o.by, c.test)
		}
	}
	return o
}

// overlay writes the changed files, and returns the flag that has them used.
func (v *variant) overlay(root, dir string) (flag string, err error) {
	replaced := map[string]string{}
	for _, c := range v.changes {
		original := filepath.Join(root, c.file)
		from, again := replaced[original]
		if !again {
			from = original
		}
		text, err := os.ReadFile(from)
		if err != nil {
			return "", err
		}
		if n := strings.Count(string(text), c.old); n != 1 {
			return "", fmt.Errorf("the variant is stale: %q occurs %d times in %s", c.old, n, c.file)
		}
		to := filepath.Join(dir, strconv.Itoa(len(replaced))+".go")
		if again {
			to = from
		}
		if err := os.WriteFile(to, []byte(strings.Replace(string(text), c.old, c.new, 1)), 0o600); err != nil {
			return "", err
		}
		replaced[original] = to
	}
	text, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	return "-overlay=" + file, os.WriteFile(file, text, 0o600)
}

// bench builds the test binaries of a variant, each once, and runs them.
type bench struct {
	root, dir string
	flags     string            // for GOFLAGS: so that a test that builds the server builds the variant
	binaries  map[string]string // by package
}

func (b *bench) environment() []string {
	return append(os.Environ(), "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" "+b.flags), proof.BudgetVariable+"=", proof.SeedVariable+"=")
}

// catches reports whether a check fails.
func (b *bench) catches(ctx context.Context, c check) (bool, error) {
	binary, err := b.binary(ctx, c.pkg)
	if err != nil {
		return false, err
	}
	cmd := command(ctx, filepath.Join(b.root, c.pkg), binary, "-test.run=^"+c.test+"$", "-test.failfast", "-test.timeout=2m")
	cmd.Env = b.environment()
	out, err := cmd.CombinedOutput()
	switch text := string(out); {
	case strings.Contains(text, "testing: warning: no tests to run"):
		return false, fmt.Errorf("no such test: %s of %s", c.test, c.pkg)
	case err == nil:
		return false, nil
	case strings.Contains(text, "--- FAIL: "+c.test):
		return true, nil
	default:
		return false, fmt.Errorf("%s of %s ended early: %w\n%s", c.test, c.pkg, err, text)
	}
}

func (b *bench) binary(ctx context.Context, pkg string) (string, error) {
	if binary, built := b.binaries[pkg]; built {
		return binary, nil
	}
	binary := filepath.Join(b.dir, strings.ReplaceAll(pkg, "/", "-")+".test")
	cmd := command(ctx, b.root, "go", "test", "-c", "-o", binary, "./"+pkg)
	cmd.Env = b.environment()
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("the tests of %s do not build: %w", pkg, err), errors.New(string(out)))
	}
	b.binaries[pkg] = binary
	return binary, nil
}
