package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// TestEveryReasonIsExplained reads the catalogue of refusals as it is written.
func TestEveryReasonIsExplained(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("../../internal/oauth/error.go")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{"fault": true, "canceled": true} // what is no refusal
	for _, m := range regexp.MustCompile(`&Refusal\{Reason: "([a-z_]+)"`).FindAllSubmatch(source, -1) {
		reason := string(m[1])
		known[reason] = true
		if explanations[reason] == "" {
			t.Errorf("the reason %s is not explained", reason)
		}
	}
	for reason := range explanations {
		if !known[reason] {
			t.Errorf("the reason %s is explained and does not exist", reason)
		}
	}
}

func TestTablesCannotCommandATerminal(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := &printer{out: &out}
	if err := p.one(userRecord{Username: "a\x1b[2Jb\u009bc\nd", State: "active"}); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(out.String(), "\x1b\u009b") || !strings.Contains(out.String(), "a�[2Jb�c�d") {
		t.Errorf("got %q", out.String())
	}
}

func TestRecordsInJSON(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := &printer{out: &out, json: true}
	if err := p.list(userRecord{}, nil); err != nil || out.String() != "[]\n" {
		t.Errorf("no records: got %q and error %v", out.String(), err)
	}
	out.Reset()
	at := time.Date(2030, 1, 2, 3, 4, 5, 600_000_000, time.FixedZone("", 3600))
	if err := p.one(userRecord{Username: "<ü>", CreatedAt: timestamp(at)}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"username": "<ü>"`, `"email": null`, `"created_at": "2030-01-02T02:04:05.6Z"`, `"updated_at": null`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("got %s without %s", out.String(), want)
		}
	}
}

func TestFirstLine(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 4096)
	for _, test := range []struct{ text, want, refusal string }{
		{"secret", "secret", ""},
		{"secret\nmore\n", "secret", ""},
		{"secret\r\n", "secret", ""},
		{"secret\r", "secret\r", ""},
		{" a\tb\x00\xff'\"$ \n", " a\tb\x00\xff'\"$ ", ""},
		{long + "\n", long, ""},
		{long + "\r\n", long, ""},
		{long + "x\n", "", "longer than 4096 bytes"},
		{long + long, "", "longer than 4096 bytes"},
		{"\nsecret", "", "is empty"},
		{"", "", "is empty"},
	} {
		got, err := firstLine(strings.NewReader(test.text), "secret")
		if string(got) != test.want || (err == nil) != (test.refusal == "") || err != nil && !strings.Contains(err.Error(), test.refusal) {
			t.Errorf("%.20q: got %.20q and error %v, want %.20q and %q", test.text, string(got), err, test.want, test.refusal)
		}
		if err != nil && exitCode(err) != exitUsage {
			t.Errorf("%.20q: exit code %d, want %d", test.text, exitCode(err), exitUsage)
		}
	}
}

func TestDurationFlag(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"0": 0, "90": 90 * time.Second, "1h30m": 90 * time.Minute, "3153600000": 100 * 365 * 24 * time.Hour,
		"-1": -1, "-1s": -1, "3153600001": -1, "99999999999999999999": -1, "soon": -1, "": -1, "1.5": -1,
	} {
		var d durationFlag
		if err := d.Set(text); (err != nil) != (want < 0) || err == nil && time.Duration(d) != want {
			t.Errorf("%q: got %v and error %v, want %v", text, time.Duration(d), err, want)
		}
	}
}

func TestClientFlagNames(t *testing.T) {
	t.Parallel()
	cmd := newClientUpdateCommand()
	for _, name := range clientFlagNames {
		if cmd.Flags().Lookup(name) == nil {
			t.Errorf("there is no flag --%s", name)
		}
	}
	r := newClientRecord(oauth.Client{Owner: "gone"}, nil)
	if r.Owner == nil || *r.Owner != "(deleted)" {
		t.Errorf("got owner %v, want it said that the owner is gone", r.Owner)
	}
}
