package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestRefusedCommands: wrong usage of what an operator does ends with 2, what
// cannot be done with 1; either says so on standard error only and changes nothing.
func TestRefusedCommands(t *testing.T) {
	t.Parallel()
	d := desk{filepath.Join(t.TempDir(), "data")}
	d.done(t, "", "client", "create", "--name", "Shop", "--id", "shop", "--grant-type", "password")
	for _, test := range []struct {
		code int
		line string // arguments, separated by spaces; _ is an empty one
		says string
	}{
		{2, "client create", "a client's name has"},
		{2, "client create --name x --grant-type implicit", `no grant type "implicit"`},
		{2, "client create --name x --id ä", "a client id has"},
		{2, "client create --name x --redirect-uri javascript:alert(1)", "is a script"},
		{2, "client create --name x --redirect-uri https://x/#f", "has a fragment"},
		{2, "client create --name x --scope \"", "RFC 6749 section 3.3"},
		{2, "client create --name x --access-token-lifetime -1", "must not be negative"},
		{2, "client create --name x --access-token-lifetime soon", "such as 90s"},
		{2, "client create --name x --access-token-lifetime 1ms", "whole seconds"},
		{2, "client create --name x --signing-alg none", `no signing algorithm "none"`},
		{2, "client create --name x --secret-file _", "--secret-file needs a file"},
		{2, "client create --name x --public --reusable-refresh-tokens", "must rotate"},
		{2, "client create --name x --public --grant-type client_credentials", "public client cannot"},
		{2, "client create --name x -o xml", "table or json"},
		{2, "client create --name x --nonsense", "unknown flag"},
		{2, "client create x", "unknown command"},
		{2, "client", "needs a subcommand"},
		{2, "client frobnicate", "there is no command"},
		{2, "client show", "accepts 1 arg"},
		{2, "client show a b", "accepts 1 arg"},
		{2, "client update shop", "nothing to change"},
		{2, "client update shop --retry-window 1 --no-retry-window", "exclude each other"},
		{2, "client rotate-secret shop --overlap -1h", "must not be negative"},
		{2, "user create", "accepts 1 arg"},
		{2, "user create x", "there is no terminal"},
		{2, "user create x --password-file _", "--password-file needs a file"},
		{2, "user create x --email nonsense --password-file -", "the password is empty"},
		{2, "user set-state x", "accepts 2 arg"},
		{2, "user set-state x asleep", `no state "asleep"`},
		{2, "grant revoke", "say which grants"},
		{2, "grant revoke a b", "accepts at most 1 arg"},
		{2, "grant revoke a --user x", "one grant, or else"},
		{2, "grant revoke --user _", "--user needs a name"},
		{2, "grant list --client _", "--client needs a name"},
		{2, "explain", "accepts 1 arg"},
		{2, "cleanup now", "unknown command"},
		{1, "client show nobody", "there is no client nobody"},
		{1, "client create --name x --id shop", "a client shop exists already"},
		{1, "client create --name x --owner nobody", "there is no user nobody"},
		{1, "client create --name x --secret-file /nowhere/secret", "no such file"},
		{1, "user show nobody", "there is no user nobody"},
		{1, "grant show nothing", "there is no grant nothing"},
		{1, "grant revoke nothing", "there is no grant nothing"},
		{1, "grant revoke --user nobody", "there is no user nobody"},
		{1, "grant list --client nobody", "there is no client nobody"},
		{1, "explain nothing", "there is no event of the request nothing"},
	} {
		args := strings.Fields(test.line)
		if n := slices.Index(args, "_"); n >= 0 {
			args[n] = ""
		}
		stdout, stderr, code := d.run(t, "", args...)
		if code != test.code || stdout != "" || !strings.Contains(stderr, test.says) {
			t.Errorf("%s: exit code %d, %q and %q, want %d and %q", test.line, code, stdout, stderr, test.code, test.says)
		}
	}
	if clients, users := d.records(t, "client", "list"), d.records(t, "user", "list"); len(clients) != 1 || len(users) != 0 {
		t.Errorf("got clients %v and users %v, want the first client alone", clients, users)
	}
}
