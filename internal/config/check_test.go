package config

import (
	"strings"
	"testing"
)

func TestWrongSettings(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		flags         flags
		file, environ string
		want          string
	}{
		{flags: flags{"access-token-lifetime": "soon"}, want: `access_token_lifetime (flag --access-token-lifetime) is wrong: want a duration such as 90s or 1h30m, or whole seconds, not "soon"`},
		{flags: flags{"access-token-lifetime": "0"}, want: "access_token_lifetime is 0s: want at least a second"},
		{flags: flags{"late-window": "-1s"}, want: "a duration cannot be negative"},
		{flags: flags{"late-window": "-1"}, want: "a duration cannot be negative"},
		{flags: flags{"late-window": "9223372036854775807"}, want: "a duration cannot exceed 100 years"},
		{flags: flags{"late-window": "1.5"}, want: "want a duration"},
		{flags: flags{"late-window": ""}, want: "want a duration"},
		{flags: flags{"previous-access-token": "kept"}, want: "want revoke, keep, or a duration"},
		{flags: flags{"retry-budget": "-1"}, want: "want a whole number, 0 or more"},
		{flags: flags{"retry-budget": "4294967296"}, want: "want a whole number"},
		{flags: flags{"insecure-http": "yes"}, want: "want true or false"},
		{flags: flags{"signing-alg": "none"}, want: "want RS256, PS256, ES256, EdDSA"},
		{flags: flags{"signing-alg": "HS256"}, want: "signing_alg (flag --signing-alg) is wrong"},
		{flags: flags{"log-level": "loud"}, want: "want debug, info, warn, error"},
		{flags: flags{"trusted-proxies": "10.0.0.0/33"}, want: "want addresses or networks"},
		{flags: flags{"password-hash": "bcrypt"}, want: "want argon2id with memory"},
		{flags: flags{"password-hash": "argon2id,m=1"}, want: "password_hash (flag --password-hash) is wrong: the memory of the password hash is 1 KiB"},
		{flags: flags{"password-hash": "argon2id,x=1"}, want: "want argon2id with memory"},
		{flags: flags{"password-hash": "argon2id,p=257"}, want: "threads"},
		{flags: flags{"password-concurrency": "0"}, want: "password_concurrency is 0"},
		{flags: flags{"database": "mysql://root@db"}, want: "it is neither sqlite, the embedded database, nor a URL that begins with postgres://"},
		{flags: flags{"database": "postgresql://"}, want: "it is neither sqlite"},
		{flags: flags{"database-connections": "3"}, want: "database_connections is 3: want at least 4"},
		{flags: flags{"data": ""}, want: "data is empty"},
		{flags: flags{"listen": "8080"}, want: `listen is "8080": want host:port`},
		{flags: flags{"listen": "127.0.0.1:http"}, want: "want host:port"},
		{flags: flags{"admin-listen": "127.0.0.1:65536"}, want: "admin_listen"},
		{flags: flags{"admin-listen": "127.0.0.1:8080"}, want: "listen and admin_listen are both 127.0.0.1:8080"},
		{flags: flags{"listen": "192.0.2.1:8080"}, want: `issuer is "http://192.0.2.1:8080" (default): off loopback it must begin with https://`},
		{flags: flags{"issuer": "http://localhost.example"}, want: "off loopback it must begin with https://"},
		{flags: flags{"issuer": "https://shop.example/"}, want: "it must not end with a slash"},
		{flags: flags{"issuer": "https://shop.example?a"}, want: "no query and no fragment"},
		{flags: flags{"issuer": "https://shop.example#"}, want: "no query and no fragment"},
		{flags: flags{"issuer": "shop.example"}, want: "want an absolute https URL"},
		{flags: flags{"issuer": "ftp://shop.example"}, want: "want an absolute https URL"},
		{flags: flags{"issuer": "https://:443"}, want: "want an absolute https URL"},
		{flags: flags{"issuer": "https://u:hunter2@shop.example"}, want: "issuer: it must not hold a user name or password"},
		{flags: flags{"tls-cert": "c"}, want: "tls_cert is set without tls_key"},
		{flags: flags{"tls-key": "k"}, want: "tls_key is set without tls_cert"},
		{flags: flags{"tls-cert": "c", "tls-key": "k", "issuer": "http://localhost:1"}, want: "with tls_cert the listener speaks https only"},
		{flags: flags{"cors-allow-origins": "https://a.example/"}, want: `cors_allow_origins has "https://a.example/"`},
		{flags: flags{"cors-allow-headers": "X One"}, want: `cors_allow_headers has "X One"`},
		{flags: flags{"config": "/does/not/exist"}, want: "config: the file cannot be read"},
		{environ: "COUNTERFOIL_MASTER_KEY=1 hunter2", want: "master_key (environment COUNTERFOIL_MASTER_KEY) is wrong: want the secret itself (line 1: the key is not 32 bytes"},
		{environ: "COUNTERFOIL_PRIVATE_KEY=hunter2", want: "private_key (environment COUNTERFOIL_PRIVATE_KEY) is wrong: want the secret itself (it is not in PEM format)"},
		{environ: "COUNTERFOIL_PRIVATE_KEY_FILE=", want: "want the path of a file"},
		{environ: "COUNTERFOIL_ISUER=x", want: "there is no setting for the environment variable COUNTERFOIL_ISUER; did you mean COUNTERFOIL_ISSUER?"},
		{environ: "COUNTERFOIL_listen=:1", want: "there is no setting for the environment variable COUNTERFOIL_listen"},
		{environ: "COUNTERFOIL_QQQQ=x", want: "COUNTERFOIL_QQQQ; 'counterfoil config show' lists all"},
		{file: "master_keyfile: x", want: "did you mean master_key_file?"},
		{file: "Listen: ':1'", want: "there is no setting Listen"},
		{file: "config: other.yaml", want: "there is no setting config"},
		{file: "listen: {host: a}", want: "listen (file"},
		{file: "late_window: 1.5", want: "want a text, a number"},
		{file: "listen:", want: "it has no value"},
		{file: "cors_allow_origins: [1]", want: "want a sequence of texts"},
		{file: "late_window: 1\nlate_window: 2", want: "already defined"},
		{file: "- listen", want: "cannot be read"},
		{file: "master_key_file: a\nmaster_key: /b", want: "master_key is set twice"},
	} {
		name := test.file + test.environ
		for flag, text := range test.flags {
			name += "--" + flag + "=" + text + " "
		}
		_, err := load(t, test.flags, test.file, test.environ)
		switch {
		case err == nil:
			t.Errorf("%s: accepted", name)
		case !strings.Contains(err.Error(), test.want):
			t.Errorf("%s: %v\nwant: %s", name, err, test.want)
		case strings.Contains(err.Error(), "hunter2"):
			t.Errorf("%s: the error tells the secret: %v", name, err)
		}
	}
}

// TestAllAtOnce: everything that is wrong is said, not only the first.
func TestAllAtOnce(t *testing.T) {
	t.Parallel()
	_, err := load(t, flags{"listen": "1", "admin-listen": "2", "tls-key": "k", "password-concurrency": "0", "access-token-lifetime": "0"}, "")
	if err == nil || strings.Count(err.Error(), "\n") != 4 {
		t.Errorf("five settings are wrong, and the error is:\n%v", err)
	}
}

// TestNotOurs: variables that others make for programs of our name do no harm.
func TestNotOurs(t *testing.T) {
	t.Parallel()
	for _, variable := range []string{
		"COUNTERFOIL_SERVICE_HOST=10.0.0.1", "COUNTERFOIL_SERVICE_PORT_HTTP=80", "COUNTERFOIL_PORT=tcp://10.0.0.1:80", "COUNTERFOIL_ADMIN_PORT_8081_TCP_ADDR=10.0.0.1",
		"COUNTERFOIL_ACTIVE_HELP=0", "COUNTERFOILS=1",
	} {
		if _, err := load(t, nil, "", variable); err != nil {
			t.Errorf("%s: %v", variable, err)
		}
	}
}
