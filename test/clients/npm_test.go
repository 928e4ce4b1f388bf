package clients_test

import (
	"crypto/sha256"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/test/program"
)

// scripts run the libraries from npm, of which locked says the versions.
var (
	//go:embed *.mjs
	scripts embed.FS
	//go:embed package.json package-lock.json
	locked embed.FS
)

// npm makes a directory with the scripts and the modules they import.
func npm(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, scripts); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(modules(t), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// modules returns the directory of the locked modules, in the user's cache, and installs
// them where it is missing. It is complete or not there, whoever else installs.
func modules(t *testing.T) string {
	t.Helper()
	lock, err := locked.ReadFile("package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	cache = filepath.Join(cache, "counterfoil-test")
	installed := filepath.Join(cache, fmt.Sprintf("clients-%.8x", sha256.Sum256(lock)), "node_modules")
	if _, err := os.Stat(installed); err == nil {
		return installed
	}
	if err := os.MkdirAll(cache, 0o700); err != nil {
		t.Fatal(err)
	}
	fresh, err := os.MkdirTemp(cache, "npm-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(fresh) }()
	if err := install(fresh, filepath.Dir(installed)); err != nil {
		t.Fatal(err)
	}
	return installed
}

// install installs the locked modules in an empty directory and gives it its name.
func install(fresh, name string) error {
	if err := os.CopyFS(fresh, locked); err != nil {
		return err
	}
	cmd := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = fresh
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	if err := os.Rename(fresh, name); err != nil {
		if _, other := os.Stat(name); other != nil { // nobody else was faster
			return err
		}
	}
	return nil
}

// codeFlow is what a script got by the code flow.
type codeFlow struct {
	Denied        string   `json:"denied"`         // the error of an authorization that the user denied
	WrongVerifier string   `json:"wrong_verifier"` // the error of a redemption with another verifier
	Session       []tokens `json:"session"`
	Lost          tokens   `json:"lost"` // the answer to the first refresh, which got lost
	User          claims   `json:"user"`
	AccessToken   claims   `json:"access_token"` // oauth4webapi only: as a resource server sees it
	Client        *tokens  `json:"client"`       // by client_credentials
	ClientInfo    claims   `json:"client_info"`
}

// TestCodeFlow: openid-client and oauth4webapi find the server by its metadata and run
// the code flow with PKCE, as public and as confidential clients.
func TestCodeFlow(t *testing.T) {
	t.Parallel()
	p, dir := newServer(t), npm(t)
	for _, library := range []string{"openid-client", "oauth4webapi"} {
		for _, authMethod := range []string{none, clientSecretBasic, clientSecretPost} {
			t.Run(library+"/"+authMethod, func(t *testing.T) {
				t.Parallel()
				c := newClient(t, p, authMethod)
				var got codeFlow
				run(t, []string{"node", library + ".mjs"}, dir, newSettings(p, c, authMethod, ""), &got)
				checkCodeFlow(t, p, c, &got)
				if library == "oauth4webapi" && (got.AccessToken.ClientID != c.ID || got.AccessToken.Subject != got.User.Subject || got.AccessToken.Scope != "read") {
					t.Errorf("the access token says %+v, userinfo %+v", got.AccessToken, got.User)
				}
				if (got.Client != nil) != (authMethod != none) {
					t.Fatalf("by client credentials: %+v", got.Client)
				}
				if got.Client != nil {
					checkClient(t, p, c, *got.Client, got.ClientInfo)
				}
			})
		}
	}
}

// checkCodeFlow checks what the user's tokens say and can, and what was refused.
func checkCodeFlow(t *testing.T, p *program.Program, c program.Client, got *codeFlow) {
	t.Helper()
	if got.Denied != "access_denied" {
		t.Errorf("a denied authorization is %q, want access_denied", got.Denied)
	}
	if got.WrongVerifier != "invalid_grant" {
		t.Errorf("another verifier gets %q, want invalid_grant", got.WrongVerifier)
	}
	checkSession(t, p, 2, got.Session)
	for i, answer := range got.Session {
		if !strings.EqualFold(answer.TokenType, "bearer") || answer.ExpiresIn < 3599 || answer.Scope != "read" {
			t.Errorf("answer %d: type %q, expires in %d, scope %q", i, answer.TokenType, answer.ExpiresIn, answer.Scope)
		}
	}
	if got.Lost.RefreshToken == "" || got.Lost.RefreshToken != got.Session[1].RefreshToken {
		t.Error("asked again, the lost answer has another refresh token")
	}
	if got.User.ClientID != c.ID || got.User.Subject == "" || got.User.GrantID == "" || got.User.Scope != "read" {
		t.Errorf("userinfo is %+v", got.User)
	}
}

// checkClient checks what a client got for itself.
func checkClient(t *testing.T, p *program.Program, c program.Client, got tokens, info claims) {
	t.Helper()
	if got.AccessToken == "" || got.RefreshToken != "" || got.Scope != "write" {
		t.Errorf("by client credentials: access token %t, refresh token %t, scope %q", got.AccessToken != "", got.RefreshToken != "", got.Scope)
	}
	if info.ClientID != c.ID || info.GrantID != "" || info.Scope != "write" {
		t.Errorf("by client credentials userinfo is %+v", info)
	}
	if status := p.Userinfo(got.AccessToken); status != 200 {
		t.Errorf("the client's access token gets %d", status)
	}
}

// TestSimpleOAuth2: the password flow of simple-oauth2, in forms and in JSON, at both
// token endpoints.
func TestSimpleOAuth2(t *testing.T) {
	t.Parallel()
	p, dir := newServer(t), npm(t)
	for _, path := range []string{"/oauth2-token", "/oauth2/token"} {
		t.Run(path[1:], func(t *testing.T) {
			t.Parallel()
			var got struct {
				Form, JSON []tokens
			}
			run(t, []string{"node", "simple-oauth2.mjs"}, dir, newSettings(p, newClient(t, p, clientSecretBasic), "", path), &got)
			checkSession(t, p, 2, got.Form)
			checkSession(t, p, 2, got.JSON)
		})
	}
}
