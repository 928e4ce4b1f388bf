package packaging

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/test/program"
)

// proxies start a proxy with the configuration that is shipped, in front of two nodes,
// and return its address.
var proxies = map[string]func(t *testing.T, nodes [2]string) string{"nginx": startNginx, "haproxy": startHAProxy}

func startNginx(t *testing.T, nodes [2]string) string {
	dir, front := t.TempDir(), freeAddress(t)
	certificate, key := makeCertificate(t, dir)
	site := filepath.Join(dir, "counterfoil.conf")
	write(t, site, replace(t, read(t, filepath.Join(source, "nginx/counterfoil.conf")),
		"10.0.0.11:8080", nodes[0], "10.0.0.12:8080", nodes[1],
		"listen 443 ssl", "listen "+front+" ssl", "    listen [::]:443 ssl http2;\n", "",
		"/etc/ssl/counterfoil/fullchain.pem", certificate, "/etc/ssl/counterfoil/privkey.pem", key,
		"/var/log/nginx/counterfoil.log", filepath.Join(dir, "access.log")))
	whole := "daemon off; pid DIR/pid; error_log DIR/error.log;\nevents {}\nhttp {\n"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		whole += kind + "_temp_path DIR/" + kind + ";\n"
	}
	whole += "include DIR/counterfoil.conf;\n}\n"
	if os.Geteuid() == 0 {
		whole = "user root; " + whole
	}
	path := filepath.Join(dir, "nginx.conf")
	write(t, path, strings.ReplaceAll(whole, "DIR", dir))
	if out := output(t, "/usr/sbin/nginx", "-t", "-c", path); strings.Contains(out, "[warn]") {
		t.Errorf("nginx -t warns: %s", out)
	}
	run(t, front, "/usr/sbin/nginx", "-c", path)
	return front
}

func startHAProxy(t *testing.T, nodes [2]string) string {
	dir, front := t.TempDir(), freeAddress(t)
	certificate, key := makeCertificate(t, dir)
	both := filepath.Join(dir, "both.pem")
	write(t, both, read(t, certificate)+read(t, key))
	path := filepath.Join(dir, "haproxy.cfg")
	shipped := read(t, filepath.Join(source, "haproxy/counterfoil.cfg"))
	if os.Geteuid() != 0 {
		shipped = replace(t, shipped, "    user haproxy\n    group haproxy\n", "")
	}
	write(t, path, replace(t, shipped,
		"10.0.0.11:8080", nodes[0], "10.0.0.12:8080", nodes[1], "bind :::443 v4v6", "bind "+front, "    maxconn 20000\n", "    maxconn 1000\n",
		"/etc/haproxy/counterfoil.pem", both))
	if out := output(t, "/usr/sbin/haproxy", "-c", "-f", path); strings.Contains(out, "WARNING") {
		t.Errorf("haproxy -c warns: %s", out)
	}
	run(t, front, "/usr/sbin/haproxy", "-db", "-f", path)
	return front
}

// run runs a server until the test ends, and returns when it accepts connections.
func run(t *testing.T, address, name string, arguments ...string) {
	t.Helper()
	var said bytes.Buffer
	server := exec.Command(name, arguments...)
	server.Stdout, server.Stderr = &said, &said
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGTERM)
		_ = server.Wait()
		if t.Failed() {
			t.Logf("%s: %s", name, said.String())
		}
	})
	within(t, 10*time.Second, name+" listens", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// within waits until something holds.
func within(t *testing.T, most time.Duration, what string, holds func() bool) {
	t.Helper()
	tick, deadline := time.NewTicker(20*time.Millisecond), time.After(most)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within %s", what, most)
		}
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func makeCertificate(t *testing.T, dir string) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"auth.example.com"}, NotAfter: time.Now().Add(time.Hour)}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(dir, "certificate.pem"), filepath.Join(dir, "key.pem")
	write(t, certificate, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed})))
	write(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})))
	return certificate, key
}

// caller is a client of the installation, at the other end of the proxy.
type caller struct {
	*http.Client
	t      *testing.T
	base   string
	client program.Client
	token  string // the newest refresh token
}

// callerAddress is where callers call from: not the proxy's address.
const callerAddress = "127.0.5.1"

func newCaller(t *testing.T, front string, client program.Client) *caller {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(callerAddress)}}
	transport := &http.Transport{DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(transport.CloseIdleConnections)
	return &caller{Client: &http.Client{Transport: transport, Timeout: time.Minute}, t: t, base: "https://" + front, client: client}
}

// ask posts a token request, with a lie about where it comes from.
func (c *caller) ask(parameters map[string]string) (program.Tokens, http.Header) {
	c.t.Helper()
	parameters["client_id"], parameters["client_secret"] = c.client.ID, c.client.Secret
	body, err := json.Marshal(parameters)
	if err != nil {
		c.t.Fatal(err)
	}
	request, err := http.NewRequest(http.MethodPost, c.base+"/oauth2-token", bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Forwarded-For", "203.0.113.9")
	answer, err := c.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	tokens := program.Tokens{Status: answer.StatusCode}
	if err := json.NewDecoder(answer.Body).Decode(&tokens); err != nil {
		c.t.Fatalf("status %d, and a body that is not JSON: %v", answer.StatusCode, err)
	}
	return tokens, answer.Header
}

func (c *caller) login(password string) int {
	c.t.Helper()
	tokens, _ := c.ask(map[string]string{"grant_type": "password", "username": "alice", "password": password})
	c.token = tokens.RefreshToken
	return tokens.Status
}

func (c *caller) refresh() (program.Tokens, http.Header) {
	c.t.Helper()
	return c.ask(map[string]string{"grant_type": "refresh_token", "refresh_token": c.token})
}

// refreshAll refreshes again and again, and expects that each answer is a success.
func (c *caller) refreshAll(times int, when string) {
	c.t.Helper()
	for i := range times {
		tokens, _ := c.refresh()
		if tokens.Status != http.StatusOK {
			c.t.Fatalf("%s: refresh %d got status %d (%s)", when, i, tokens.Status, tokens.Error)
		}
		c.token = tokens.RefreshToken
	}
}

func (c *caller) status(path string) int {
	c.t.Helper()
	answer, err := c.Get(c.base + path)
	if err != nil {
		c.t.Fatal(err)
	}
	_ = answer.Body.Close()
	return answer.StatusCode
}

const password = "correct horse battery staple"

// startNodes starts two servers on one database, with a client and a user.
func startNodes(t *testing.T) (nodes [2]*program.Program, client program.Client) {
	shared := "DATA=" + filepath.Join(t.TempDir(), "data")
	for i := range nodes {
		nodes[i] = program.New(t, shared, "TRUSTED_PROXIES=127.0.0.1")
		if i == 0 {
			client = nodes[i].CreateClient()
			nodes[i].CreateUser("alice", password)
		}
		nodes[i].Start()
	}
	return nodes, client
}

// TestThroughProxy: clients behind a proxy are told apart, one node may die, and two.
func TestThroughProxy(t *testing.T) {
	t.Parallel()
	for name, start := range proxies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodes, client := startNodes(t)
			c := newCaller(t, start(t, [2]string{nodes[0].Address, nodes[1].Address}), client)
			if status := c.login(password); status != http.StatusOK {
				t.Fatalf("login: status %d", status)
			}
			c.refreshAll(10, "with both nodes")
			checkSource(t, c, nodes)
			for _, path := range []string{"/healthz/ready", "/healthz/live", "/metrics", "/debug/pprof/", "//oauth2-token", "/api/v1/"} {
				if status := c.status(path); status != http.StatusNotFound {
					t.Errorf("GET %s: status %d, want 404", path, status)
				}
			}
			if c.login(password) != http.StatusOK {
				t.Fatal("login after a wrong password")
			}
			surviveDeaths(t, c, nodes)
		})
	}
}

// checkSource: what a server counts wrong passwords by is the caller's address, neither
// the proxy's nor what the caller says.
func checkSource(t *testing.T, c *caller, nodes [2]*program.Program) {
	t.Helper()
	if status := c.login("wrong"); status == http.StatusOK {
		t.Fatal("a wrong password logs in")
	}
	log := nodes[0].Log() + nodes[1].Log()
	if !strings.Contains(log, `"127.0.5.0/24"`) {
		t.Errorf("no log has the source 127.0.5.0/24:\n%s", log)
	}
	for _, wrong := range []string{"203.0.113", `"127.0.0.0/24"`} {
		if strings.Contains(log, wrong) {
			t.Errorf("a log has the source %s", wrong)
		}
	}
}

// surviveDeaths kills one node, then both, and starts one again.
func surviveDeaths(t *testing.T, c *caller, nodes [2]*program.Program) {
	t.Helper()
	nodes[0].Kill()
	c.refreshAll(20, "with one node dead")
	nodes[1].Kill()
	tokens, header := c.refresh()
	if tokens.Status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" || tokens.Error != "temporarily_unavailable" {
		t.Errorf("with no node: status %d, Retry-After %q, error %q; want 503 temporarily_unavailable", tokens.Status, header.Get("Retry-After"), tokens.Error)
	}
	nodes[0].Start()
	within(t, 10*time.Second, "the first node is used again", func() bool {
		tokens, _ := c.refresh()
		return tokens.Status == http.StatusOK
	})
	tokens, _ = c.refresh() // once more the same one: a retry
	c.token = tokens.RefreshToken
	c.refreshAll(5, "after all")
}

// TestRefreshesAreRepeated: a refresh that one node did not answer is sent to the other.
func TestRefreshesAreRepeated(t *testing.T) {
	t.Parallel()
	faults := map[string]http.HandlerFunc{
		"hangs up": func(w http.ResponseWriter, _ *http.Request) {
			if c, _, err := w.(http.Hijacker).Hijack(); err == nil {
				_ = c.Close()
			}
		},
		"503": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
	}
	for name, start := range proxies {
		for fault, answer := range faults {
			t.Run(name+" "+fault, func(t *testing.T) {
				t.Parallel()
				var asked atomic.Int32
				faulty := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path != "/healthz/ready" {
						asked.Add(1)
						answer(w, r)
					}
				}))
				t.Cleanup(faulty.Close)
				node := program.New(t, "TRUSTED_PROXIES=127.0.0.1")
				client := node.CreateClient()
				node.CreateUser("alice", password)
				node.Start()
				c := newCaller(t, start(t, [2]string{faulty.Listener.Addr().String(), node.Address}), client)
				if status := c.login(password); status != http.StatusOK {
					t.Fatalf("login: status %d", status)
				}
				c.refreshAll(20, "beside a node that fails")
				if asked.Load() == 0 {
					t.Error("the node that fails was never asked")
				}
			})
		}
	}
}
