package postgres

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	bin, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	if v := version(bin); v < oldest {
		t.Errorf("%s has version %d", bin, v)
	}
	nothing := t.TempDir()
	t.Setenv("PATH", bin)
	if got, err := find(filepath.Join(nothing, "*")); err != nil || got != bin {
		t.Errorf("on PATH only: %q, %v, want %s", got, err, bin)
	}
	t.Setenv("PATH", nothing)
	_, err = find(filepath.Join(nothing, "*"))
	if !errors.Is(err, ErrNotInstalled) || !strings.Contains(err.Error(), "apt-get install postgresql") {
		t.Errorf("without PostgreSQL the error is %v, want one that says what to install", err)
	}
}
