package counterfoil_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/counterfoil/counterfoil"

// mayImport says which packages of ours each package may import. Stores and
// endpoint never meet; only cmd knows them all.
var mayImport = map[string][]string{
	"internal/oauth":              {},
	"internal/failpoint":          {},
	"internal/endpoint":           {"internal/oauth", "internal/feed", "internal/console", "internal/failpoint"},
	"internal/feed":               {"internal/oauth"},
	"accesstoken":                 {},
	"accesstoken/accesstokentest": {},
	"internal/console":            {},
	"internal/signing":            {"internal/oauth", "internal/failpoint"},
	"internal/password":           {"internal/oauth"},
	"internal/admin":              {"internal/oauth", "internal/failpoint"},
	"internal/memory":             {"internal/oauth", "internal/admin", "internal/signing", "internal/feed"},
	"internal/sqlstore":           {"internal/oauth", "internal/admin", "internal/signing", "internal/feed", "internal/failpoint"},
	"internal/storetest":          {"internal/oauth", "internal/admin", "internal/signing", "internal/password", "internal/feed"},
	"internal/config":             {"internal/oauth", "internal/password"},
	"internal/bench":              {},
}

// mustNotImport lists what the domain must not know: it has no I/O, no clock and no
// randomness of its own.
var mustNotImport = []string{"net/http", "database/sql", "crypto/rand", "math/rand", "math/rand/v2", "log", "os"}

type listed struct {
	ImportPath string
	Imports    []string
	Standard   bool
}

// list returns the packages that a pattern names, with their own imports.
func list(t *testing.T, arguments ...string) []listed {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Standard"}, arguments...)...).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []listed
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p listed
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		packages = append(packages, p)
	}
}

// TestLayering holds the rules of import in ARCHITECTURE.md.
func TestLayering(t *testing.T) {
	t.Parallel()
	for _, p := range list(t, "./...") {
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		if name == "" || strings.HasPrefix(name, "cmd/") || strings.HasPrefix(name, "test/") || strings.HasPrefix(name, "docs/") || strings.HasPrefix(name, "examples/") || name == "test" {
			continue
		}
		allowed, known := mayImport[name]
		if !known {
			t.Errorf("%s: ARCHITECTURE.md and this test do not say what it may import", name)
			continue
		}
		for _, imported := range p.Imports {
			if ours, ok := strings.CutPrefix(imported, module+"/"); ok && !slices.Contains(allowed, ours) {
				t.Errorf("%s must not import %s", name, ours)
			}
		}
	}
}

// TestDomainImports: the domain imports the standard library only, and of that
// nothing that does I/O.
func TestDomainImports(t *testing.T) {
	t.Parallel()
	for _, p := range list(t, "-deps", "./internal/oauth") {
		if !p.Standard && p.ImportPath != module+"/internal/oauth" {
			t.Errorf("internal/oauth depends on %s, which is not in the standard library", p.ImportPath)
		}
	}
	for _, p := range list(t, "./internal/oauth") {
		for _, imported := range p.Imports {
			if slices.Contains(mustNotImport, imported) {
				t.Errorf("internal/oauth imports %s", imported)
			}
		}
	}
}
