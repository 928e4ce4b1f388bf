package test

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/test/program"
)

// BenchmarkRefresh loads the real server, on SQLite with full durability, with 64
// clients that refresh one after the other, each over a connection of its own. It
// reports the CPU time that the server spends on a refresh, beside the cost of one
// bare signature of the same algorithm, measured in the same run.
func BenchmarkRefresh(b *testing.B) {
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		b.Run(alg, func(b *testing.B) { loadRefresh(b, alg) })
	}
}

func loadRefresh(b *testing.B, alg string) {
	p := newLoadProgram(b, "SIGNING_ALG="+alg, "LOG_LEVEL=info")
	bare := bareSignature(b, alg)
	before := serverCPU(b, p.Server.Process.Pid)
	p.refreshAll(b)
	cpu := (serverCPU(b, p.Server.Process.Pid) - before) / time.Duration(b.N)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "refreshes/s")
	b.ReportMetric(float64(cpu.Nanoseconds())/1000, "server-cpu-µs")
	b.ReportMetric(float64(bare.Nanoseconds())/1000, "bare-signature-µs")
	b.ReportMetric(float64(cpu)/float64(bare), "cpu/signature")
}

// loaded is a running server with a session for each client.
type loaded struct {
	*program.Program
	client program.Client
	held   []string
}

func newLoadProgram(b *testing.B, settings ...string) *loaded { return newLoad(b, 64, settings...) }

func newLoad(b *testing.B, clients int, settings ...string) *loaded {
	b.Helper()
	l := &loaded{Program: program.New(b, settings...)}
	l.Run("", "migrate", "up")
	l.client = l.CreateClient()
	l.CreateUser("user", "right horse staple")
	l.Start()
	for range clients {
		answer, err := l.Login(l.client, "user", "right horse staple")
		if err != nil || answer.Status != http.StatusOK {
			b.Fatalf("login: %+v, %v", answer, err)
		}
		l.held = append(l.held, answer.RefreshToken)
	}
	return l
}

// refreshAll shares the refreshes of a benchmark among all sessions, and is what it
// measures.
func (l *loaded) refreshAll(b *testing.B) {
	share := make([]int, len(l.held))
	for i := range b.N {
		share[i%len(share)]++
	}
	b.ResetTimer()
	var working sync.WaitGroup
	for i, n := range share {
		working.Go(func() { l.refreshRepeatedly(b, l.held[i], n) })
	}
	working.Wait()
	b.StopTimer()
}

// refreshRepeatedly refreshes n times over one connection.
func (l *loaded) refreshRepeatedly(b *testing.B, token string, n int) {
	c, err := l.connect()
	if err != nil {
		b.Error(err)
		return
	}
	defer c.close()
	for range n {
		if token, err = c.refresh(token); err != nil {
			b.Error(err)
			return
		}
	}
}

// connection is a client's connection. It does as little work as possible: the
// server shall have the machine.
type connection struct {
	*loaded
	conn    net.Conn
	answers *bufio.Reader
}

func (l *loaded) connect() (*connection, error) {
	conn, err := net.Dial("tcp", l.Address)
	if err != nil {
		return nil, err
	}
	return &connection{loaded: l, conn: conn, answers: bufio.NewReaderSize(conn, 8192)}, nil
}

func (c *connection) close() { _ = c.conn.Close() }

// refresh refreshes once and returns the successor.
func (c *connection) refresh(token string) (string, error) {
	body := `{"grant_type":"refresh_token","client_id":"` + c.client.ID + `","client_secret":"` + c.client.Secret + `","refresh_token":"` + token + `"}`
	_, err := fmt.Fprintf(c.conn, "POST /oauth2-token HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", c.Address, len(body), body)
	if err != nil {
		return token, err
	}
	return readRefreshToken(c.answers)
}

// readRefreshToken reads an answer and returns the refresh token in it.
func readRefreshToken(r *bufio.Reader) (string, error) {
	status, body, err := readAnswer(r)
	if err != nil {
		return "", err
	}
	_, rest, ok := bytes.Cut(body, []byte(`"refresh_token":"`))
	if !ok || !strings.Contains(status, " 200 ") {
		return "", fmt.Errorf("%s%s", status, body)
	}
	token, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(token), nil
}

// readAnswer reads an answer: its first line and its body.
func readAnswer(r *bufio.Reader) (status string, body []byte, err error) {
	if status, err = r.ReadString('\n'); err != nil {
		return "", nil, err
	}
	length := 0
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", nil, err
		}
		if line == "\r\n" {
			break
		}
		if value, ok := strings.CutPrefix(line, "Content-Length: "); ok {
			length, _ = strconv.Atoi(strings.TrimSpace(value))
		}
	}
	body = make([]byte, length)
	_, err = io.ReadFull(r, body)
	return status, body, err
}

// serverCPU is the CPU time a process has used so far.
func serverCPU(b *testing.B, pid int) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+2:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * (time.Second / 100)
}

// bareSignature is the CPU time of one signature with Go's own crypto, while all cores
// sign.
func bareSignature(b *testing.B, alg string) time.Duration {
	b.Helper()
	digest := make([]byte, 32)
	var sign func() error
	switch alg {
	case "RS256":
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			b.Fatal(err)
		}
		sign = func() error { _, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest); return err }
	case "ES256":
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		sign = func() error { _, _, err := ecdsa.Sign(rand.Reader, key, digest); return err }
	default:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		sign = func() error { ed25519.Sign(key, digest); return nil }
	}
	const rounds = 500 // on each core: all are busy when the server is measured
	before := ownCPU(b)
	var working sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		working.Go(func() {
			for range rounds {
				if err := sign(); err != nil {
					b.Error(err)
				}
			}
		})
	}
	working.Wait()
	return (ownCPU(b) - before) / time.Duration(rounds*runtime.GOMAXPROCS(0))
}

func ownCPU(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
