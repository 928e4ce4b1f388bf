package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestEvery: work is done at its times, and a fault that stays is logged once.
func TestEvery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := &server{installation: &installation{Log: slog.New(slog.NewTextHandler(&log, nil))}}
		faults := []error{nil, errors.New("disk full"), errors.New("disk full"), errors.New("no disk"), nil, nil}
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		var times []time.Duration
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.every(ctx, nil, time.Minute, time.Hour, "clean up", func(context.Context) error {
				times = append(times, time.Since(began))
				err := faults[0]
				if faults = faults[1:]; len(faults) == 0 {
					cancel()
				}
				return err
			})
		}()
		<-done
		if len(times) != 6 || times[0] != time.Minute || times[1] != time.Hour+time.Minute {
			t.Errorf("done at %v, want after a minute and then hourly", times)
		}
		for text, want := range map[string]int{"disk full": 1, "no disk": 1, "works again": 1} {
			if got := strings.Count(log.String(), text); got != want {
				t.Errorf("%q was logged %d times, want %d:\n%s", text, got, want, log.String())
			}
		}
	})
}

func TestWatchedFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	f := &watchedFile{path: path}
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	replace := func() {
		if err := os.WriteFile(path+".new", []byte("two"), 0o600); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Chtimes(path+".new", info.ModTime(), info.ModTime()), os.Rename(path+".new", path)); err != nil {
			t.Fatal(err)
		}
	}
	remove := func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		what string
		do   func()
		want bool
	}{
		{"nothing there", func() {}, false},
		{"made", func() { write("one") }, true},
		{"as it was", func() {}, false},
		{"longer", func() { write("three") }, true},
		{"shorter", func() { write("two") }, true},
		{"replaced, same size and time", replace, true},
		{"asked to be read again", f.again, true},
		{"as it was", func() {}, false},
		{"removed", remove, true},
		{"still removed", func() {}, false},
		{"removed and asked again", f.again, true},
	} {
		step.do()
		if got := f.changed(); got != step.want {
			t.Errorf("%s: changed is %t, want %t", step.what, got, step.want)
		}
	}
}
