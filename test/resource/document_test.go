package resource_test

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/accesstoken"
)

// TestDocument: the program that docs/resource-servers.md begins with does what is said
// of it.
func TestDocument(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	held := s.newSession(t, accesstoken.Standard, "--scope", "orders:read orders:write")
	held.logInFor("orders:write")
	a := newBareAPI(t)
	a.addresses[feed] = "http://" + runDocumented(t, s) + "/orders"
	a.await("a token that may not read", feed, held.held.AccessToken, http.StatusForbidden, patience)
	held.logInFor("orders:read")
	old := held.held.AccessToken
	a.want("a token that may read", feed, old, http.StatusOK)
	held.refresh()
	a.await("an older token", feed, old, http.StatusUnauthorized, bounds[feed])
	a.want("the new token", feed, held.held.AccessToken, http.StatusOK)
}

// runDocumented builds the program, for an issuer and with an address of its own, and runs
// it until the test ends.
func runDocumented(t *testing.T, s *site) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	_ = l.Close()
	page, err := os.ReadFile("../../docs/resource-servers.md")
	if err != nil {
		t.Fatal(err)
	}
	program := regexp.MustCompile("(?s)```go\n(package main\n.*?)```").FindSubmatch(page)
	if program == nil {
		t.Fatal("there is no program in the document")
	}
	adapted := strings.NewReplacer(
		`"https://auth.example.com", "orders-api"`, `"`+s.issuer()+`", "`+s.api.ID+`"`, "127.0.0.1:9000", address,
	).Replace(string(program[1]))
	dir := t.TempDir()
	source, binary := filepath.Join(dir, "main.go"), filepath.Join(dir, "api")
	if err := os.WriteFile(source, []byte(adapted), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", binary, source).CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	var said bytes.Buffer
	cmd := exec.Command(binary)
	cmd.Env, cmd.Stderr = []string{"ORDERS_API_SECRET=" + s.api.Secret}, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the program said: %s", &said)
		}
	})
	return address
}
