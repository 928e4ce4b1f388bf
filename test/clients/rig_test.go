package clients_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/test/program"
)

const (
	// callback is where clients get their users back; nobody goes there.
	callback = "https://client.example.com/callback"
	// secret has what clients spell in different ways: RFC 6749 section 2.3.1 wants it
	// encoded in a Basic header, and half of them do not.
	secret = "100%25 odd: a+b/c?d=e&f~g-h_i*"
)

// The ways in which clients authenticate (RFC 7591 section 2).
const (
	none              = "none"
	clientSecretBasic = "client_secret_basic"
	clientSecretPost  = "client_secret_post"
)

// newServer starts a server with a user.
func newServer(t *testing.T, settings ...string) *program.Program {
	t.Helper()
	p := program.New(t, settings...)
	p.CreateUser(username, password)
	p.Start()
	return p
}

// newClient registers a client that may use every grant type with the scope "read write".
func newClient(t *testing.T, p *program.Program, authMethod string) program.Client {
	t.Helper()
	arguments := []string{"--grant-type", "authorization_code", "--redirect-uri", callback, "--scope", "read write"}
	if authMethod == none {
		return p.CreateClient(append(arguments, "--public")...)
	}
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	c := p.CreateClient(append(arguments, "--grant-type", "client_credentials", "--secret-file", file)...)
	c.Secret = secret
	return c
}

// settings are what a script is told.
type settings struct {
	Issuer        string `json:"issuer"`
	TokenEndpoint string `json:"token_endpoint"`
	Userinfo      string `json:"userinfo_endpoint"`
	ClientID      string `json:"client_id"`
	ClientSecret  string `json:"client_secret"`
	AuthMethod    string `json:"token_endpoint_auth_method"`
	RedirectURI   string `json:"redirect_uri"`
	Username      string `json:"username"`
	Password      string `json:"password"`
}

func newSettings(p *program.Program, c program.Client, authMethod, tokenPath string) settings {
	issuer := "http://" + p.Address
	return settings{issuer, issuer + tokenPath, issuer + "/oauth2/userinfo", c.ID, c.Secret, authMethod, callback, username, password}
}

// patience is how long a script may take.
const patience = time.Minute

// line is one that a script prints: either something that the user is to authorize, or
// what it got.
type line struct {
	Authorize string          `json:"authorize"`
	Consent   bool            `json:"consent"`
	Result    json.RawMessage `json:"result"`
}

// run runs a script. It reads its settings and then, for every authorization URL that it
// prints, the URL at which the user comes back; its result is the last that it prints.
func run(t *testing.T, command []string, dir string, told settings, result any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var complaints bytes.Buffer
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir, cmd.Stderr = dir, &complaints
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "PYTHONDONTWRITEBYTECODE=1"}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	talk := converse(newUser(t), json.NewEncoder(stdin), stdout, told, result)
	_ = stdin.Close()
	_, _ = io.Copy(io.Discard, stdout)
	if err := cmd.Wait(); err != nil || talk != nil {
		t.Fatalf("%v: %v, %v\n%s", command, err, talk, &complaints)
	}
}

// converse holds the test's side of the conversation with a script, in JSON lines.
func converse(u *user, stdin *json.Encoder, stdout io.Reader, told settings, result any) error {
	if err := stdin.Encode(told); err != nil {
		return err
	}
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		var said line
		if err := json.Unmarshal(lines.Bytes(), &said); err != nil {
			return fmt.Errorf("%w: %s", err, lines.Bytes())
		}
		if said.Result != nil {
			return json.Unmarshal(said.Result, result)
		}
		back, err := u.authorize(said.Authorize, said.Consent)
		if err != nil {
			return err
		}
		if err := stdin.Encode(back); err != nil {
			return err
		}
	}
	return io.ErrUnexpectedEOF
}

// tokens are what a library took from an answer of the token endpoint.
type tokens struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int    `json:"expires_in"`
	Scope        string `json:"scope"`
}

// claims are what a library took from userinfo or an access token.
type claims struct {
	Subject  string `json:"sub"`
	ClientID string `json:"client_id"`
	GrantID  string `json:"grant_id"`
	Scope    string `json:"scope"`
}

// checkSession checks a login and its refreshes: each brought a new pair, and of the
// access tokens the last one is alive.
func checkSession(t *testing.T, p *program.Program, refreshes int, session []tokens) {
	t.Helper()
	if len(session) != 1+refreshes {
		t.Fatalf("there are %d answers, want a login and %d refreshes", len(session), refreshes)
	}
	var seen []string
	for i, answer := range session {
		if answer.AccessToken == "" || answer.RefreshToken == "" || slices.Contains(seen, answer.AccessToken) || slices.Contains(seen, answer.RefreshToken) {
			t.Errorf("answer %d has no new pair", i)
		}
		seen = append(seen, answer.AccessToken, answer.RefreshToken)
		want := 401
		if i == refreshes {
			want = 200
		}
		if got := p.Userinfo(answer.AccessToken); got != want {
			t.Errorf("the access token of answer %d gets %d, want %d", i, got, want)
		}
	}
}
