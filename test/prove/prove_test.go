package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestVariantsFit: what each broken variant changes is in the source, exactly once.
func TestVariantsFit(t *testing.T) {
	t.Parallel()
	root, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range variants {
		if _, err := v.overlay(root, t.TempDir()); err != nil {
			t.Errorf("%s: %v", v.what, err)
		}
		if len(v.checks) == 0 {
			t.Errorf("%s: there is no check that should catch it", v.what)
		}
	}
}

// TestBrokenVariants tries one of them, and that the unbroken server passes; `make
// prove` tries all.
func TestBrokenVariants(t *testing.T) {
	root, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	unbroken := variant{what: "nothing is broken", checks: []check{decision}}
	if o := unbroken.try(t.Context(), root, 0); o.problem != nil || len(o.by) != 0 {
		t.Errorf("the unbroken server: %s", o.verdict())
	}
	i := slices.IndexFunc(variants, func(v variant) bool { return v.what == "scope checked before replay" })
	if o := variants[i].try(t.Context(), root, 0); o.problem != nil || len(o.by) != 1 {
		t.Errorf("%s: %s", o.what, o.verdict())
	}
}

// TestNothingPassesSilently: what does not exist, does not run or is skipped is found.
func TestNothingPassesSilently(t *testing.T) {
	t.Parallel()
	root, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		check
		want string
	}{
		{check{pkg: "nowhere", test: "TestX"}, "no such test"},
		{check{pkg: "test/proof", test: "TestX"}, "no such test"},
		{check{pkg: ".", test: "TestX"}, "no such test"},
	} {
		if r := tt.run(t.Context(), root, time.Second); r.problem != tt.want {
			t.Errorf("%s of %s: found %q, want %q\n%s", tt.test, tt.pkg, r.problem, tt.want, strings.Join(r.output, "\n"))
		}
	}
}

// TestEvents: what a test says of itself is understood.
func TestEvents(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		test, output    string
		failed          bool
		problem, counts string
		repeat          string
	}{
		"passed": {
			test:   "TestA",
			output: `{"Action":"start"}` + "\n" + `{"Action":"run","Test":"TestA"}` + "\n" + `{"Action":"attr","Test":"TestA","Key":"checked","Value":"7 histories"}` + "\n" + `{"Action":"pass","Test":"TestA"}` + "\n",
			counts: "7 histories", repeat: "go test -count=1 -run '^TestA$' ./p",
		},
		"skipped": {
			test: "TestA", output: `{"Action":"start"}` + "\n" + `{"Action":"skip","Test":"TestA"}` + "\n", problem: "skipped",
			repeat: "go test -count=1 -run '^TestA$' ./p",
		},
		"two parts failed": {
			test: "TestA", failed: true,
			output: `{"Action":"start"}` + "\n" + `{"Action":"fail","Test":"TestA/x"}` + "\n" + `{"Action":"fail","Test":"TestA/y"}` + "\n" +
				`{"Action":"output","Output":"repeat this round: PROVE_SEED=12 go test\n"}` + "\n" + `{"Action":"fail","Test":"TestA"}` + "\n",
			problem: "2 failed", repeat: "PROVE_SEED=12 go test -count=1 -run '^TestA$' ./p",
		},
		"fuzzed": {
			test:   "FuzzA",
			output: `{"Action":"start"}` + "\n" + `{"Action":"output","Output":"fuzz: elapsed: 3s, execs: 12345 (9/sec), new interesting: 1 (total: 2)\n"}` + "\n" + `{"Action":"pass","Test":"FuzzA"}` + "\n",
			counts: "12345 inputs", repeat: "go test -run '^FuzzA$' ./p",
		},
		"a failing input": {
			test: "FuzzA", failed: true,
			output:  `{"Action":"start"}` + "\n" + `{"Action":"output","Output":"    go test -run=FuzzA/0a1b\n"}` + "\n" + `{"Action":"fail","Test":"FuzzA"}` + "\n",
			problem: "1 failed", repeat: "go test -run '^FuzzA$/^0a1b$' ./p",
		},
		"nothing found when the time was over": {
			test: "FuzzA", failed: true,
			output: `{"Action":"start"}` + "\n" + `{"Action":"output","Output":"fuzz: elapsed: 3s, execs: 5 (0/sec)\n"}` + "\n" + `{"Action":"output","Output":"    context deadline exceeded\n"}` + "\n" + `{"Action":"fail","Test":"FuzzA"}` + "\n",
			counts: "5 inputs", repeat: "go test -run '^FuzzA$' ./p",
		},
		"does not build": {test: "TestA", failed: true, output: "# p\nsyntax error\n", problem: "does not build", repeat: "go test -count=1 -run '^TestA$' ./p"},
		"ended early":    {test: "TestA", failed: true, output: `{"Action":"start"}` + "\n", problem: "ended early", repeat: "go test -count=1 -run '^TestA$' ./p"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &watcher{r: &result{check: check{pkg: "p", test: tt.test}}, begun: time.Now().Add(-time.Second), ran: map[string]string{}}
			w.read(strings.NewReader(tt.output))
			var err error
			if tt.failed {
				err = errors.New("exit status 1")
			}
			w.r.problem = w.verdict(err)
			if counts := strings.Join(w.r.counts, " "); w.r.problem != tt.problem || counts != tt.counts || w.r.repeat() != tt.repeat {
				t.Errorf("got %q, %q, %q", w.r.problem, counts, w.r.repeat())
			}
		})
	}
}
