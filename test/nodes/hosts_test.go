package nodes

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/test/postgres"
)

// hosts is a URL with several hosts, of which the last is that of a server.
func hosts(t *testing.T, s *postgres.Server, before ...string) string {
	t.Helper()
	u, err := url.Parse(s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("postgres://postgres@%s/postgres?sslmode=disable", strings.Join(append(before, u.Host), ","))
}

// nobody is an address at which nobody listens.
func nobody(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// own starts a server for one test, which uses its database postgres.
func own(t *testing.T, settings map[string]string) *postgres.Server {
	t.Helper()
	s, err := postgres.Start(postgres.Options{Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestHosts: of several hosts, of which one is down and one cannot be written to, the
// node finds the one that can, at its start and when that one comes back; meanwhile it
// says when to come again.
func TestHosts(t *testing.T) {
	t.Parallel()
	primary, standby := own(t, nil), own(t, map[string]string{"default_transaction_read_only": "on"})
	database := hosts(t, primary, nobody(t), fmt.Sprintf("127.0.0.1:%d", standby.Port))
	node := newNode(t, database, masterKey)
	node.Run("", "migrate", "up")
	node.Start()
	s := logIn(t, node, "user")
	s.refresh(t, node, http.StatusOK)
	for range 2 {
		if err := primary.Kill(); err != nil {
			t.Fatal(err)
		}
		retryAfter := refusedFor(t, s, "http://"+node.Address)
		if retryAfter == "" {
			t.Error("503 without Retry-After")
		}
		if status := get(node, "/healthz/ready"); status != http.StatusServiceUnavailable {
			t.Errorf("ready without a database: status %d", status)
		}
		if err := primary.Restart(); err != nil {
			t.Fatal(err)
		}
		eventually(t, 5*time.Second, "ready again", func() bool { return get(node, "/healthz/ready") == http.StatusOK })
		s.refresh(t, node, http.StatusOK)
	}
}

// refusedFor refreshes, which must be answered with 503, and returns its Retry-After.
func refusedFor(t *testing.T, s *session, address string) string {
	t.Helper()
	response, err := http.PostForm(address+"/oauth2/token", url.Values{
		"grant_type": {"refresh_token"}, "client_id": {s.client.ID}, "client_secret": {s.client.Secret}, "refresh_token": {s.held.RefreshToken},
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("refresh without a database: status %d", response.StatusCode)
	}
	return response.Header.Get("Retry-After")
}

// TestStartWithoutDatabase: a node that cannot use its database ends at its start, and
// says why, with the host's name and without the password. What time may heal is no
// wrong configuration: then the exit code is another.
func TestStartWithoutDatabase(t *testing.T) {
	t.Parallel()
	const secret, configuration = "swordfish", 78
	unsafe := own(t, map[string]string{"fsync": "off"})
	late := own(t, map[string]string{"synchronous_commit": "off"})
	readOnly := own(t, map[string]string{"default_transaction_read_only": "on"})
	down := nobody(t)
	for name, c := range map[string]struct {
		database string
		code     int
		says     string
	}{
		"nobody":             {"postgres://user:" + secret + "@" + down + "/shop?sslmode=disable", 1, down[strings.LastIndexByte(down, ':'):]},
		"unknown_host":       {"postgres://user:" + secret + "@db.invalid:5432/shop?sslmode=disable", 1, "db.invalid"},
		"no_such_database":   {unsafe.URL("elsewhere"), 1, "elsewhere"},
		"not_a_number":       {"postgres://user:" + secret + "@127.0.0.1:port/shop", configuration, "postgres://"},
		"read_only":          {readOnly.URL("postgres"), 1, "read only"},
		"fsync":              {unsafe.URL("postgres"), configuration, "fsync = off"},
		"synchronous_commit": {late.URL("postgres"), configuration, "synchronous_commit = off"},
		"parameter":          {readOnly.URL("postgres") + "&default_transaction_read_only=off&synchronous_commit=off", configuration, "synchronous_commit = off"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, command := range [][]string{{"serve"}, {"migrate", "up"}, {"client", "list"}} {
				code, complaint := exit(t, newNode(t, c.database, masterKey), command...)
				if code != c.code {
					t.Errorf("%v: exit code %d, want %d", command, code, c.code)
				}
				if !strings.Contains(complaint, c.says) || strings.Contains(complaint, secret) {
					t.Errorf("%v: the complaint should have %q and never the password:\n%s", command, c.says, complaint)
				}
			}
		})
	}
}
