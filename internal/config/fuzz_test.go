package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// FuzzValue: a value that a setting takes can be shown, and what is shown is the same
// value; durations and numbers are within their limits.
func FuzzValue(f *testing.F) {
	for _, seed := range []string{
		"", "0", "-1", "90s", "1h30m", "9223372036854775807", "-9223372036854775808", "876000h", "876001h", "1e3s", "2147483648", "true", "keep", "revoke",
		"argon2id,m=19456,t=2,p=1", "argon2id,p=300,m=1048576,t=4", "argon2id,m=4294967295,t=4294967295", "10.0.0.0/8, ::1", "::ffff:10.0.0.1/104", "fe80::1%eth0", "a,,b", ".5s",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for i := range settings {
			checkValue(t, &settings[i], text)
		}
	})
}

func checkValue(t *testing.T, s *setting, text string) {
	var c, again Config
	if err := s.value(&c).set(text); err != nil {
		if s.secret && len(text) > 20 && strings.Contains(err.Error(), text) {
			t.Errorf("%s: the error shows the secret", s.name)
		}
		return
	}
	checkLimits(t, s, &c, text)
	shown := s.value(&c).String()
	if s.secret || shown == "" {
		return // it is not shown, or not set
	}
	if err := s.value(&again).set(shown); err != nil || s.value(&again).String() != shown {
		t.Errorf("%s: %q is shown as %q, and that as %q, %v", s.name, text, shown, s.value(&again).String(), err)
	}
}

func checkLimits(t *testing.T, s *setting, c *Config, text string) {
	switch v := s.value(c).(type) {
	case *duration:
		if *v.to < 0 || *v.to > 100*365*24*time.Hour {
			t.Errorf("%s: %q is %s", s.name, text, *v.to)
		}
	case *number:
		if *v.to < 0 {
			t.Errorf("%s: %q is %d", s.name, text, *v.to)
		}
	case *passwordHash:
		if err := v.to.Validate(); err != nil {
			t.Errorf("%s: %q is %v", s.name, text, err)
		}
	}
}

// FuzzFile: whatever stands in a configuration file, it is refused without showing a
// secret, or means the same when it is given in the environment.
func FuzzFile(f *testing.F) {
	for _, seed := range []string{
		"", "data: /x\nlisten: 127.0.0.1:0\n", "access_token_lifetime: 90\nlockout: 3\ninsecure_http: true\n", "trusted_proxies: [10.0.0.0/8, '::1']\n",
		"issuer: &a https://x.example\ntls_cert: *a\ntls_key: *a\n", "a: &a [x]\nb: [*a, *a]\n", "cors_allow_headers: [X-A, X-B]\n", "data: {x: y}\n", "data: null\n", "data: 1e400\n", "- x", "data: x\ndata: y\n", "\t",
		"private_key: hunter2hunter2hunter2\n", "private_key_file: /x\nprivate_key: ./y\n", "? x\n: y", "data: !!binary aGk=\n", "password_change: no\n", "1: x\n",
	} {
		f.Add(seed)
	}
	path := filepath.Join(f.TempDir(), "counterfoil.yaml")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(Sources{Environ: []string{"HOME=/home/x"}, File: path})
		if err != nil {
			if strings.Contains(text, "private_key: hunter2hunter2hunter2\n") && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows a secret: %v", err)
			}
			return
		}
		environ := []string{"HOME=/home/x"}
		for i := range settings {
			s := &settings[i]
			if v := s.value(c).String(); v != "" && (!s.secret || c.Origin(s.name) == originDefault) {
				environ = append(environ, EnvironmentName(s.name)+"="+v)
			}
		}
		again, err := Load(Sources{Environ: environ})
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		for i := range settings {
			s := &settings[i]
			if s.secret {
				continue
			}
			if a, b := s.value(c).String(), s.value(again).String(); a != b {
				t.Errorf("%q: %s is %q, from the environment %q", text, s.name, a, b)
			}
		}
	})
}

// FuzzMasterKeySetting: a master key is taken as one, or its error does not show it.
func FuzzMasterKeySetting(f *testing.F) {
	key := strings.Repeat("Ab3_", 10) + "AAA"
	for _, seed := range []string{key, "1 " + key, "1  " + key + "\n", "./" + key, "/" + key, "../x", "0 " + key, key + " 1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var inline oauth.Secret
		var file string
		err := (&secret{&inline, &file, isMasterKey}).set(text)
		_, parse := oauth.ParseKeys(text)
		path := strings.HasPrefix(text, "/") || strings.HasPrefix(text, "./") || strings.HasPrefix(text, "../")
		switch {
		case err != nil && strings.Contains(text, key) && strings.Contains(err.Error(), key):
			t.Errorf("the error shows the key: %v", err)
		case err == nil && path && file != text, err == nil && !path && (string(inline) != text || parse != nil):
			t.Errorf("%q is taken as %q or the file %q", text, string(inline), file)
		case err != nil && (path || parse == nil):
			t.Errorf("%q is refused: %v", text, err)
		}
	})
}
