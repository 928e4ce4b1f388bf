package history

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var file = flag.String("history", "testdata/good.jsonl", "the history that TestHistoryFile checks")

// goodHistories were recorded from the real servers, one in each mode.
var goodHistories = []string{"testdata/good.jsonl", "testdata/good-strict.jsonl"}

// TestHistoryFile checks a recorded history again.
func TestHistoryFile(t *testing.T) {
	h := read(t, *file)
	report(t, h, Check(h), *file)
	t.Logf("%d calls of %d grants", len(h.Calls), len(grantsOf(h)))
}

func read(t *testing.T, name string) *History {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	h, err := Read(f)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return h
}

// TestGoodHistories: what the real servers did is right, in both modes.
func TestGoodHistories(t *testing.T) {
	t.Parallel()
	for _, name := range goodHistories {
		h := read(t, name)
		for _, v := range Check(h) {
			t.Errorf("%s: %v", name, v)
		}
	}
}

// broken says which checks must find what is wrong with the histories in
// testdata/broken, each of which shows one broken promise.
var broken = map[string]string{
	"fork":        "I1 linearizable", // one token gets two successors
	"sibling":     "I1 linearizable", // a retry gets another successor than the answer that was lost
	"stranger":    "I1",              // two grants have a token in common
	"lost":        "I2 I7 linearizable",
	"vanished":    "I2 linearizable",
	"reopened":    "linearizable", // a token is retried after its successor was used (I4)
	"strict":      "linearizable", // a token is retried though the window is 0
	"replayed":    "I5 linearizable",
	"revoked":     "I6 linearizable", // success after revocation
	"password":    "I6 linearizable", // success after a new password
	"oldpassword": "linearizable",    // login with the password before the newest
	"disabled":    "I6 linearizable", // success while the user is disabled
	"enabled":     "I7 linearizable", // blocked after the user was enabled again
	"killed":      "I7 linearizable", // an honest client is refused
	"straggler":   "I7 linearizable", // a straggling duplicate ends the grant
	"unexpected":  "I7 linearizable",
}

// TestBrokenHistories: the checker finds what is wrong, by each check that can.
func TestBrokenHistories(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/broken/*.jsonl")
	if err != nil || len(files) != len(broken) {
		t.Fatalf("%d histories in testdata/broken, %d expected; %v", len(files), len(broken), err)
	}
	for name, want := range broken {
		var found []string
		for _, v := range Check(read(t, filepath.Join("testdata/broken", name+".jsonl"))) {
			if !slices.Contains(found, v.Promise) {
				found = append(found, v.Promise)
			}
		}
		slices.Sort(found)
		if got := strings.Join(found, " "); got != want {
			t.Errorf("%s: found by %q, want %q", name, got, want)
		}
	}
}

// TestFalsifiedHistories changes one answer at a time, of every fourth call, of what
// the real servers did. What is left may be a history that is right too, but rarely.
func TestFalsifiedHistories(t *testing.T) {
	t.Parallel()
	lies := []struct {
		instead Answer
		tell    func(c *Call)
	}{
		{OK, func(c *Call) { c.Answer, c.Delivered = Refused, Token{} }},
		{OK, func(c *Call) { c.Answer, c.Delivered = Blocked, Token{} }},
		{OK, func(c *Call) { c.Delivered.Name = "another" }},
		{Refused, func(c *Call) {
			c.Answer, c.Delivered = OK, Token{Generation: c.Presented.Generation + 1, Name: "another"}
		}},
	}
	for _, name := range goodHistories {
		h, told, found := read(t, name), 0, 0
		for i := 0; i < len(h.Calls); i += 4 {
			for _, lie := range lies {
				if c := h.Calls[i]; c.Operation == Refresh && c.Answer == lie.instead {
					lie.tell(&h.Calls[i])
					told++
					if len(Check(h)) > 0 {
						found++
					}
					h.Calls[i] = c
				}
			}
		}
		t.Logf("%s: %d of %d lies were found", name, found, told)
		if told < 20 || found*10 < told*9 {
			t.Errorf("%s: only %d of %d lies were found", name, found, told)
		}
	}
}
