package test

import (
	"bytes"
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
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binary is the program under test, built once.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "counterfoil-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "counterfoil")
	build := exec.Command("go", append(buildFlags, "-o", binary, "../cmd/counterfoil")...)
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// program is an installation: a data directory, an address, and a server while it runs.
type program struct {
	t       testing.TB
	dir     string // holds data and logs
	address string
	admin   string
	env     []string
	server  *exec.Cmd
	exited  chan error
	secrets []string // everything that must not be found in a file
	mu      sync.Mutex
}

// newProgram prepares an installation; settings are further NAME=VALUE pairs.
func newProgram(t testing.TB, settings ...string) *program {
	t.Helper()
	p := &program{t: t, dir: t.TempDir(), address: freeAddress(t), admin: freeAddress(t)}
	p.env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir, "GORACE=atexit_sleep_ms=0", "COUNTERFOIL_DATA=" + filepath.Join(p.dir, "data"),
		"COUNTERFOIL_LISTEN=" + p.address, "COUNTERFOIL_ADMIN_LISTEN=" + p.admin,
	}
	for _, s := range settings {
		p.env = append(p.env, "COUNTERFOIL_"+s)
	}
	t.Cleanup(p.kill)
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

// run runs a command to its end and returns its standard output.
func (p *program) run(stdin string, arguments ...string) string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, arguments...)
	cmd.Env, cmd.Stdin = p.env, strings.NewReader(stdin)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		p.t.Fatalf("counterfoil %s: %v\n%s", strings.Join(arguments, " "), err, complaint.String())
	}
	return out.String()
}

// start starts the server and waits until it is ready.
func (p *program) start() {
	p.t.Helper()
	log, err := os.OpenFile(filepath.Join(p.dir, "server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	p.server = exec.Command(binary, "serve")
	p.server.Env, p.server.Stdout, p.server.Stderr = p.env, log, log
	if err := p.server.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.exited = make(chan error, 1)
	go func(cmd *exec.Cmd, exited chan error) { exited <- cmd.Wait() }(p.server, p.exited)
	deadline := time.Now().Add(time.Minute)
	for {
		response, err := http.Get("http://" + p.address + "/healthz/ready")
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case err := <-p.exited:
			p.server = nil
			p.t.Fatalf("the server ended at its start: %v\n%s", err, p.log())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("the server is not ready\n%s", p.log())
		}
	}
}

func (p *program) log() string {
	b, _ := os.ReadFile(filepath.Join(p.dir, "server.log"))
	return string(b)
}

// kill ends the server with SIGKILL.
func (p *program) kill() {
	if p.server != nil {
		_ = p.server.Process.Kill()
		<-p.exited
		p.server = nil
	}
}

// stop ends the server with SIGTERM and expects exit code 0.
func (p *program) stop() {
	p.t.Helper()
	if err := p.server.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	if err := <-p.exited; err != nil {
		p.t.Errorf("the server did not stop in order: %v\n%s", err, p.log())
	}
	p.server = nil
}

// client is what `client create` prints.
type client struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret"`
}

func (p *program) createClient(arguments ...string) client {
	p.t.Helper()
	var c client
	out := p.run("", append([]string{"client", "create", "--name", "test", "--grant-type", "password", "-o", "json"}, arguments...)...)
	if err := json.Unmarshal([]byte(out), &c); err != nil {
		p.t.Fatalf("client create printed %q: %v", out, err)
	}
	p.keep(c.Secret)
	return c
}

func (p *program) createUser(name, password string) {
	p.t.Helper()
	p.run(password+"\n", "user", "create", name, "--password-file", "-")
	p.keep(password)
}

// keep remembers a secret that must not be found in any file.
func (p *program) keep(secret string) {
	if secret != "" {
		p.mu.Lock()
		p.secrets = append(p.secrets, secret)
		p.mu.Unlock()
	}
}

// tokens is the answer of the token endpoint.
type tokens struct {
	Status       int
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int    `json:"expires_in"`
	Error        string `json:"error"`
	Hint         string `json:"hint"`
}

// ask posts a JSON request to OroCommerce's endpoint. An error means that no whole
// answer came.
func (p *program) ask(parameters map[string]string) (tokens, error) {
	body, err := json.Marshal(parameters)
	if err != nil {
		return tokens{}, err
	}
	response, err := http.Post("http://"+p.address+"/oauth2-token", "application/json", bytes.NewReader(body))
	if err != nil {
		return tokens{}, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return tokens{}, err
	}
	t := tokens{Status: response.StatusCode}
	if err := json.Unmarshal(answer, &t); err != nil {
		return tokens{}, errors.Join(err, fmt.Errorf("status %d", response.StatusCode))
	}
	p.keep(t.AccessToken)
	p.keep(t.RefreshToken)
	return t, nil
}

func (p *program) login(c client, username, password string) (tokens, error) {
	return p.ask(map[string]string{
		"grant_type": "password", "client_id": c.ID, "client_secret": c.Secret, "username": username, "password": password,
	})
}

func (p *program) refresh(c client, token string) (tokens, error) {
	return p.ask(map[string]string{"grant_type": "refresh_token", "client_id": c.ID, "client_secret": c.Secret, "refresh_token": token})
}

// userinfo returns the status that a resource answers to an access token.
func (p *program) userinfo(accessToken string) int {
	p.t.Helper()
	request, err := http.NewRequest(http.MethodGet, "http://"+p.address+"/oauth2/userinfo", nil)
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

// searchSecrets fails if an issued token or a secret is in any file of the
// installation: the database, its journal, the logs.
func (p *program) searchSecrets() {
	p.t.Helper()
	err := filepath.WalkDir(p.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, secret := range p.secrets {
			if bytes.Contains(content, []byte(secret)) {
				p.t.Errorf("%s contains %.12s…", path, secret)
			}
			if parts := strings.Split(secret, "."); len(parts) == 3 && bytes.Contains(content, []byte(parts[2])) {
				p.t.Errorf("%s contains the signature of an access token", path)
			}
		}
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
	if len(p.secrets) == 0 {
		p.t.Fatal("there was nothing to search for")
	}
}
