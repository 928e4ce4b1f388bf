package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/password"
)

var update = flag.Bool("update", false, "rewrite the table of docs/configuration.md")

const goodKey = "1 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// flags are the flags of a command line.
type flags map[string]string

func (f flags) get(name string) (string, bool) {
	text, given := f[name]
	return text, given
}

// load loads settings on a machine where the data directory is set.
func load(t *testing.T, f flags, file string, environ ...string) (*Config, error) {
	t.Helper()
	s := Sources{Flag: f.get, Environ: append([]string{"COUNTERFOIL_DATA=/data"}, environ...)}
	if file != "" {
		s.File = filepath.Join(t.TempDir(), "counterfoil.yaml")
		if err := os.WriteFile(s.File, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Load(s)
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	c, err := load(t, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"listen": "127.0.0.1:8080", "admin_listen": "127.0.0.1:8081", "issuer": "http://127.0.0.1:8080", "database": "sqlite",
		"access": time.Hour, "refresh": 720 * time.Hour, "absolute": 8760 * time.Hour, "late": 10 * time.Second, "budget": 100,
		"password_change": "revoke", "previous": oauth.PreviousAccessToken{}, "alg": "RS256", "hash": password.DefaultParams(),
		"grants": 1000, "events": 720 * time.Hour, "lockout": 0, "insecure": false, "preflight": 600 * time.Second, "level": "info",
		"queue": 2 * c.PasswordConcurrency, "master": "/data/master.key",
	}
	got := map[string]any{
		"listen": c.Listen, "admin_listen": c.AdminListen, "issuer": c.Issuer, "database": string(c.Database),
		"access": c.AccessTokenLifetime, "refresh": c.RefreshTokenLifetime, "absolute": c.RefreshTokenAbsoluteLifetime, "late": c.LateWindow, "budget": c.RetryBudget,
		"password_change": c.PasswordChange, "previous": c.PreviousAccessToken, "alg": c.SigningAlg, "hash": c.PasswordHash,
		"grants": c.MaxGrants, "events": c.EventRetention, "lockout": c.Lockout, "insecure": c.InsecureHTTP, "preflight": c.CORSPreflightMaxAge, "level": c.LogLevel,
		"queue": c.PasswordQueue, "master": c.MasterKeyPath(),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("defaults differ from the interface (-want +got):\n%s", diff)
	}
	if c.RetryWindow != nil || c.AuthorizationCodeLifetime != nil {
		t.Error("retry_window or authorization_code_lifetime has one default for all, want none")
	}
}

func TestPrecedence(t *testing.T) {
	t.Parallel()
	const file = "late_window: 1\nretry_budget: 1\nmax_grants: 1\n"
	c, err := load(t, flags{"late-window": "3"}, file, "COUNTERFOIL_LATE_WINDOW=2", "COUNTERFOIL_RETRY_BUDGET=2")
	if err != nil {
		t.Fatal(err)
	}
	if c.LateWindow != 3*time.Second || c.RetryBudget != 2 || c.MaxGrants != 1 {
		t.Errorf("late_window %s, retry_budget %d, max_grants %d; want the flag's 3s, the environment's 2, the file's 1", c.LateWindow, c.RetryBudget, c.MaxGrants)
	}
	for name, want := range map[string]string{
		"late_window": "flag --late-window", "retry_budget": "environment COUNTERFOIL_RETRY_BUDGET", "max_grants": "file " + c.file + ":max_grants", "lockout": "default",
	} {
		if got := c.Origin(name); got != want {
			t.Errorf("origin of %s: %q, want %q", name, got, want)
		}
	}
}

// TestEverySetting sets each setting in each way, and reads it back.
func TestEverySetting(t *testing.T) {
	t.Parallel()
	values := map[string]string{
		"data": "/elsewhere", "database": "postgres://counterfoil@one,two:5433/shop", "database_connections": "40", "listen": "[::1]:443", "admin_listen": "", "issuer": "https://shop.example/tenant",
		"access_token_lifetime": "1m30s", "refresh_token_lifetime": "24h", "refresh_token_absolute_lifetime": "0s", "retry_window": "0s", "late_window": "5s", "retry_budget": "0",
		"password_change": "keep", "previous_access_token": "keep", "signing_alg": "EdDSA", "private_key": "/key.pem", "master_key": "/master.key",
		"authorization_code_lifetime": "1m", "password_hash": "argon2id,m=65536,t=3,p=4", "max_grants": "0", "event_retention": "0s", "lockout": "5",
		"session_lifetime": "1h", "case_insensitive_email": "true", "visitors": "true", "brand_name": "Shop", "brand_logo": "/logo.svg", "brand_color": "#123456",
		"tls_cert": "cert.pem", "tls_key": "key.pem", "insecure_http": "true", "cors_allow_origins": "https://a.example,http://b.example:81", "cors_allow_headers": "X-One,X-Two",
		"cors_preflight_max_age": "0s", "password_concurrency": "3", "password_queue": "0", "trusted_proxies": "10.0.0.0/8,2001:db8::1/128", "log_level": "debug", "log_format": "text",
	}
	all := flags{}
	var environ []string
	var file strings.Builder
	for i := range settings {
		name := settings[i].name
		text, ok := values[name]
		if !ok {
			t.Fatalf("this test does not know the setting %s", name)
		}
		all[FlagName(name)] = text
		environ = append(environ, EnvironmentName(name)+"="+text)
		file.WriteString(name + ": " + `"` + text + "\"\n")
	}
	for way, sources := range map[string]Sources{
		"flag": {Flag: all.get}, "environment": {Environ: environ}, "file": {File: write(t, file.String())},
	} {
		c, err := Load(sources)
		if err != nil {
			t.Errorf("%s: %v", way, err)
			continue
		}
		for _, s := range c.Show()[1:] {
			if s.Value != values[s.Setting] || !strings.HasPrefix(s.Source, way+" ") {
				t.Errorf("%s by %s reads back as %q from %q, want %q", s.Setting, way, s.Value, s.Source, values[s.Setting])
			}
		}
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "counterfoil.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSequences(t *testing.T) {
	t.Parallel()
	c, err := load(t, nil, "cors_allow_origins: [https://a.example, https://b.example]\ntrusted_proxies:\n- 10.1.2.3/8\n- ::1\n")
	if err != nil {
		t.Fatal(err)
	}
	got := []string{strings.Join(c.CORSAllowOrigins, " "), (&prefixes{&c.TrustedProxies}).String()}
	if diff := cmp.Diff([]string{"https://a.example https://b.example", "10.0.0.0/8,::1/128"}, got); diff != "" {
		t.Errorf("lists of the file (-want +got):\n%s", diff)
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		flags         flags
		file, environ string
		text, path    string
	}{
		"text in the environment": {environ: "COUNTERFOIL_MASTER_KEY=" + goodKey, text: goodKey},
		"path in the environment": {environ: "COUNTERFOIL_MASTER_KEY=/run/key", path: "/run/key"},
		"file in the environment": {environ: "COUNTERFOIL_MASTER_KEY_FILE=key", path: "key"},
		"text in the file":        {file: "master_key: " + goodKey, text: goodKey},
		"file in the file":        {file: "master_key_file: key", path: "key"},
		"flag":                    {flags: flags{"master-key": "key"}, path: "key"},
		"flag over text":          {flags: flags{"master-key": "key"}, file: "master_key: " + goodKey, path: "key"},
	} {
		c, err := load(t, test.flags, test.file, test.environ)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if string(c.MasterKey) != test.text || c.MasterKeyFile != test.path {
			t.Errorf("%s: text %t, path %q; want text %t, path %q", name, c.MasterKey != "", c.MasterKeyFile, test.text != "", test.path)
		}
		for _, s := range c.Show() {
			if strings.Contains(s.Value, "AAAA") {
				t.Errorf("%s: %s shows the secret", name, s.Setting)
			}
		}
	}
}

func TestIssuer(t *testing.T) {
	t.Parallel()
	for listen, want := range map[string]string{
		"127.0.0.1:80": "http://127.0.0.1:80", ":8080": "http://localhost:8080", "0.0.0.0:8080": "http://localhost:8080", "[::]:1": "http://localhost:1", "[::1]:1": "http://[::1]:1", "localhost:1": "http://localhost:1",
	} {
		c, err := load(t, flags{"listen": listen}, "")
		if err != nil {
			t.Errorf("listen %s: %v", listen, err)
		} else if c.Issuer != want {
			t.Errorf("listen %s: issuer %s, want %s", listen, c.Issuer, want)
		}
	}
	c, err := load(t, flags{"listen": "127.0.0.1:0"}, "")
	if err != nil {
		t.Fatal(err)
	}
	if c.Bound("127.0.0.1:4711", ""); c.Issuer != "http://127.0.0.1:4711" {
		t.Errorf("issuer of the bound address: %s", c.Issuer)
	}
	c, err = load(t, flags{"listen": ":0", "issuer": "https://shop.example"}, "")
	if err != nil {
		t.Fatal(err)
	}
	if c.Bound(":4711", ""); c.Issuer != "https://shop.example" {
		t.Errorf("issuer that was set: %s", c.Issuer)
	}
}

func TestDataDirectory(t *testing.T) {
	t.Parallel()
	if writable("/var/lib/counterfoil") || writable("/var/lib") {
		got, err := defaultData(map[string]string{"HOME": "/home/alice"})
		if err != nil || got != "/var/lib/counterfoil" {
			t.Errorf("as somebody who may write it: %q, %v; want /var/lib/counterfoil", got, err)
		}
		return
	}
	for want, variables := range map[string]map[string]string{
		"/state/counterfoil":                   {"XDG_STATE_HOME": "/state", "HOME": "/home/alice"},
		"/home/alice/.local/state/counterfoil": {"XDG_STATE_HOME": "relative", "HOME": "/home/alice"},
	} {
		if got, err := defaultData(variables); err != nil || got != want {
			t.Errorf("%v: %q, %v; want %q", variables, got, err, want)
		}
	}
	if got, err := defaultData(nil); err == nil {
		t.Errorf("without a home: %q, want an error", got)
	}
}

// TestDocumentation keeps the table of docs/configuration.md true.
func TestDocumentation(t *testing.T) {
	t.Parallel()
	const path, begin, end = "../../docs/configuration.md", "<!-- settings: generated -->\n", "<!-- end of settings -->\n"
	document, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(document), begin)
	table, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatalf("%s has no table of settings", path)
	}
	if *update {
		if err := os.WriteFile(path, []byte(before+begin+Markdown()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(Markdown(), table); diff != "" {
		t.Errorf("%s differs from the settings; run this test with -update (-want +got):\n%s", path, diff)
	}
}
