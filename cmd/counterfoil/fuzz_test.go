package main

import (
	"strings"
	"testing"
	"time"
)

// FuzzDurationFlag: a duration on the command line is within its limits, and what is
// shown of it is the same duration.
func FuzzDurationFlag(f *testing.F) {
	for _, seed := range []string{"", "0", "-0", "-1", "90", "90s", "1h30m", "9223372036854775807", "-9223372036854775808", "3153600000", "3153600001", "876000h1ns", "+5", "1_0", ".5s"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var d, again durationFlag
		if d.Set(text) != nil {
			if d != 0 {
				t.Errorf("%q is refused, and set", text)
			}
			return
		}
		if d < 0 || time.Duration(d) > 100*365*24*time.Hour {
			t.Errorf("%q is %s", text, time.Duration(d))
		}
		if d == 0 {
			return // which reads as nothing
		}
		if err := again.Set(d.String()); err != nil || again != d {
			t.Errorf("%q is %s, and that %s, %v", text, d.String(), again.String(), err)
		}
	})
}

// FuzzFirstLine: a secret is the first line, all of it, and no end of a line.
func FuzzFirstLine(f *testing.F) {
	for _, seed := range []string{"", "\n", "secret", "secret\n", "secret\r\nmore", "\r\n", "a\rb\n", " a \t\n", strings.Repeat("x", 4096) + "\n", strings.Repeat("x", 4097), "\x00\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := firstLine(strings.NewReader(text), "secret")
		want, _, ended := strings.Cut(text, "\n")
		if ended {
			want = strings.TrimSuffix(want, "\r")
		}
		fits := want != "" && len(want) <= maxSecretLine
		if fits != (err == nil) || fits && string(got) != want {
			t.Errorf("%q: got %d bytes, want %d; %v", text, len(got), len(want), err)
		}
	})
}
