package test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/test/program"
)

func decodeList(text string) []map[string]any {
	var list []map[string]any
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil
	}
	return list
}

// TestAdministrationBesideTheServer: what an administrator does holds for the very
// next request, whatever the server remembers (rule 8).
func TestAdministrationBesideTheServer(t *testing.T) {
	t.Parallel()
	const password = "right horse staple"
	p := program.New(t)
	p.Start()
	c := p.CreateClient("--id", "connector")
	p.CreateUser("user", password)
	session := func() program.Tokens {
		t.Helper()
		answer, err := p.Login(c, "user", password)
		if err != nil || answer.Status != 200 {
			t.Fatalf("login: %+v, %v", answer, err)
		}
		if answer, err = p.Refresh(c, answer.RefreshToken); err != nil || answer.Status != 200 {
			t.Fatalf("refresh: %+v, %v", answer, err)
		}
		return answer
	}
	expect := func(what string, held *program.Tokens, status int, hint string) {
		t.Helper()
		answer, err := p.Refresh(c, held.RefreshToken)
		if err != nil || answer.Status != status || !strings.Contains(answer.Hint, hint) {
			t.Errorf("%s: got %d %s (%s), %v; want %d (%s)", what, answer.Status, answer.Error, answer.Hint, err, status, hint)
		}
		if api := p.Userinfo(held.AccessToken); status != 200 && api != 401 {
			t.Errorf("%s: the access token gets %d", what, api)
		}
		if status == 200 {
			*held = answer
		}
	}

	held := session()
	p.Run("", "user", "disable", "user")
	expect("disabled user", &held, 400, "Account is disabled.")
	p.Run("", "user", "enable", "user")
	expect("enabled user", &held, 200, "")
	p.Run("", "user", "set-state", "user", "locked")
	expect("locked user", &held, 400, "Account is locked.")
	p.Run("", "user", "set-state", "user", "active")
	expect("active user", &held, 200, "")
	p.Run("", "client", "deactivate", c.ID)
	expect("deactivated client", &held, 401, "")
	p.Run("", "client", "activate", c.ID)
	expect("activated client", &held, 200, "")

	list := decodeList(p.Run("", "grant", "list", "--user", "user", "-o", "json"))
	if len(list) != 1 {
		t.Fatalf("grant list: %d grants", len(list))
	}
	p.Run("", "grant", "revoke", list[0]["grant_id"].(string))
	expect("revoked grant", &held, 401, "Token has been revoked")

	held = session()
	p.Run(password+"\n", "user", "set-password", "user", "--password-file", "-")
	expect("changed password", &held, 401, "Token has been revoked")
	held = session()
	p.Run("", "grant", "revoke", "--client", c.ID)
	expect("revoked by client", &held, 401, "Token has been revoked")
	held = session()
	old := c
	out := p.Run("", "client", "rotate-secret", c.ID, "-o", "json")
	if err := json.Unmarshal([]byte(out), &c); err != nil || c.Secret == old.Secret {
		t.Fatalf("rotate-secret printed %q", out)
	}
	if answer, err := p.Refresh(old, held.RefreshToken); err != nil || answer.Status != 401 {
		t.Errorf("the old secret: %+v, %v", answer, err)
	}
	expect("the new secret", &held, 200, "")
	p.Run("", "client", "delete", c.ID)
	expect("deleted client", &held, 401, "")
	createClientAgain(p, c)
	expect("a client of the same id", &held, 401, "Token has been revoked")
	p.Stop()
	p.SearchSecrets()
}

// createClientAgain makes a client with the id and the secret of a deleted one.
func createClientAgain(p *program.Program, c program.Client) {
	p.Run(c.Secret+"\n", "client", "create", "--name", "heir", "--grant-type", "password", "--id", c.ID, "--secret-file", "-")
}
