// Package program runs the real binary for whole-program tests: an installation in a
// temporary directory, its commands, and its server, started, killed and restarted.
package program

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binary is the program under test, built once.
var binary string

// Main builds the program, runs a package's tests and exits. A package of
// whole-program tests calls it from its TestMain, with flags for the build if it
// needs any; others can be given in GOFLAGS.
func Main(m *testing.M, flags ...string) {
	dir, err := os.MkdirTemp("", "counterfoil-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "counterfoil")
	if err := build(binary, flags...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func build(binary string, flags ...string) error {
	command := exec.Command("go", slices.Concat(buildFlags, flags, []string{"-o", binary, "github.com/counterfoil/counterfoil/cmd/counterfoil"})...)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	return nil
}

// Build builds another version of the program, with flags for the build, and returns
// its path.
func Build(t testing.TB, flags ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "counterfoil")
	if err := build(path, flags...); err != nil {
		t.Fatal(err)
	}
	return path
}

// Program is an installation: a data directory, an address, and a server while it runs.
type Program struct {
	Dir     string // holds data and logs
	Address string // of the public listener
	Admin   string // of the admin listener
	Env     []string
	Binary  string    // another than the program under test
	Server  *exec.Cmd // nil: not running

	t       testing.TB
	exited  chan error
	mu      sync.Mutex
	secrets []string // everything that must not be found in a file
}

// New prepares an installation; settings are further NAME=VALUE pairs.
func New(t testing.TB, settings ...string) *Program {
	t.Helper()
	p := &Program{t: t, Dir: t.TempDir(), Address: freeAddress(t), Admin: freeAddress(t)}
	for p.Admin == p.Address {
		p.Admin = freeAddress(t)
	}
	p.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + p.Dir, "GORACE=atexit_sleep_ms=0", "COUNTERFOIL_DATA=" + filepath.Join(p.Dir, "data"),
		"COUNTERFOIL_LISTEN=" + p.Address, "COUNTERFOIL_ADMIN_LISTEN=" + p.Admin,
	}
	for _, s := range settings {
		p.Env = append(p.Env, "COUNTERFOIL_"+s)
	}
	t.Cleanup(p.Kill)
	return p
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// Run runs a command to its end and returns its standard output.
func (p *Program) Run(stdin string, arguments ...string) string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := p.Try(ctx, stdin, arguments...)
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

// Try is Run for a command that may fail: the error has what it complained of. When
// the context ends, the command is killed with SIGKILL.
func (p *Program) Try(ctx context.Context, stdin string, arguments ...string) (string, error) {
	cmd := exec.CommandContext(ctx, cmp.Or(p.Binary, binary), arguments...)
	cmd.Env, cmd.Stdin = p.Env, strings.NewReader(stdin)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("counterfoil %s: %w\n%s", strings.Join(arguments, " "), err, complaint.String())
	}
	return out.String(), nil
}

// Start starts the server and waits until it is ready.
func (p *Program) Start() {
	p.t.Helper()
	log, err := os.OpenFile(filepath.Join(p.Dir, "server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	p.Server = exec.Command(cmp.Or(p.Binary, binary), "serve")
	p.Server.Env, p.Server.Stdout, p.Server.Stderr = p.Env, log, log
	if err := p.Server.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.exited = make(chan error, 1)
	go func(cmd *exec.Cmd, exited chan error) { exited <- cmd.Wait() }(p.Server, p.exited)
	deadline := time.Now().Add(time.Minute)
	for {
		response, err := http.Get("http://" + p.Address + "/healthz/ready")
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case err := <-p.exited:
			p.Server = nil
			p.t.Fatalf("the server ended at its start: %v\n%s", err, p.Log())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("the server is not ready\n%s", p.Log())
		}
	}
}

func (p *Program) Log() string {
	b, _ := os.ReadFile(filepath.Join(p.Dir, "server.log"))
	return string(b)
}

// Kill ends the server with SIGKILL.
func (p *Program) Kill() {
	if p.Server != nil {
		_ = p.Server.Process.Kill()
		<-p.exited
		p.Server = nil
	}
}

// Await waits until the server has ended by itself, and reports whether it did in time.
func (p *Program) Await(within time.Duration) bool {
	select {
	case <-p.exited:
		p.Server = nil
		return true
	case <-time.After(within):
		return false
	}
}

// Stop ends the server with SIGTERM and expects exit code 0.
func (p *Program) Stop() {
	p.t.Helper()
	if err := p.Server.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	if err := <-p.exited; err != nil {
		p.t.Errorf("the server did not stop in order: %v\n%s", err, p.Log())
	}
	p.Server = nil
}

// Client is what `client create` prints.
type Client struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret"`
}

func (p *Program) CreateClient(arguments ...string) Client {
	p.t.Helper()
	var c Client
	out := p.Run("", append([]string{"client", "create", "--name", "test", "--grant-type", "password", "-o", "json"}, arguments...)...)
	if err := json.Unmarshal([]byte(out), &c); err != nil {
		p.t.Fatalf("client create printed %q: %v", out, err)
	}
	p.Keep(c.Secret)
	return c
}

func (p *Program) CreateUser(name, password string) {
	p.t.Helper()
	p.Run(password+"\n", "user", "create", name, "--password-file", "-")
	p.Keep(password)
}

// Keep remembers a secret that must not be found in any file.
func (p *Program) Keep(secret string) {
	if secret != "" {
		p.mu.Lock()
		p.secrets = append(p.secrets, secret)
		p.mu.Unlock()
	}
}

// Tokens is the answer of the token endpoint.
type Tokens struct {
	Status       int
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int    `json:"expires_in"`
	Error        string `json:"error"`
	Hint         string `json:"hint"`
}

// Ask posts a JSON request to OroCommerce's endpoint. An error means that no whole
// answer came.
func (p *Program) Ask(parameters map[string]string) (Tokens, error) {
	body, err := json.Marshal(parameters)
	if err != nil {
		return Tokens{}, err
	}
	response, err := http.Post("http://"+p.Address+"/oauth2-token", "application/json", bytes.NewReader(body))
	if err != nil {
		return Tokens{}, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return Tokens{}, err
	}
	t := Tokens{Status: response.StatusCode}
	if err := json.Unmarshal(answer, &t); err != nil {
		return Tokens{}, errors.Join(err, fmt.Errorf("status %d", response.StatusCode))
	}
	p.Keep(t.AccessToken)
	p.Keep(t.RefreshToken)
	return t, nil
}

func (p *Program) Login(c Client, username, password string) (Tokens, error) {
	return p.Ask(map[string]string{
		"grant_type": "password", "client_id": c.ID, "client_secret": c.Secret, "username": username, "password": password,
	})
}

func (p *Program) Refresh(c Client, token string) (Tokens, error) {
	return p.Ask(map[string]string{"grant_type": "refresh_token", "client_id": c.ID, "client_secret": c.Secret, "refresh_token": token})
}

// Userinfo returns the status that a resource answers to an access token.
func (p *Program) Userinfo(accessToken string) int {
	p.t.Helper()
	request, err := http.NewRequest(http.MethodGet, "http://"+p.Address+"/oauth2/userinfo", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+accessToken)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		p.t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// tail is how much of the end of a secret gives it away: of an access token that
// is the end of its signature.
const tail = 16

// SearchSecrets fails if the end of an issued token or of a secret is in any file of
// the installation: the database, its journal, the logs.
func (p *Program) SearchSecrets() {
	p.t.Helper()
	tails := map[string]bool{}
	for _, secret := range p.secrets {
		if len(secret) < tail {
			p.t.Fatal("a secret is too short to be searched for")
		}
		tails[secret[len(secret)-tail:]] = true
	}
	if len(tails) == 0 {
		p.t.Fatal("there was nothing to search for")
	}
	err := filepath.WalkDir(p.Dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		for i := 0; i+tail <= len(content); i++ {
			if tails[string(content[i:i+tail])] {
				p.t.Errorf("%s contains a secret that ends with …%s", path, content[i+tail-4:i+tail])
			}
		}
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
}
