package disk

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/test/program"
	"github.com/counterfoil/counterfoil/test/proof"
)

// holderVariable makes this test binary a process that holds SQLite's write lock on
// the database that it names.
const holderVariable = "LOCK_HOLDER"

// holdLock holds the write lock from when it says so until its input ends.
func holdLock(path string) {
	err := func() error {
		ctx := context.Background()
		db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)")
		if err != nil {
			return err
		}
		conn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
			return err
		}
		fmt.Println("held")
		if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
			return err
		}
		_, err = conn.ExecContext(ctx, "COMMIT")
		return errors.Join(err, conn.Close(), db.Close())
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// holder is a process that holds the lock and is stopped.
type holder struct {
	cmd   *exec.Cmd
	input io.Closer
}

func stoppedHolder(t *testing.T, database string) *holder {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holderVariable+"="+database)
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h := &holder{cmd: cmd, input: input}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	if line, err := bufio.NewReader(output).ReadString('\n'); err != nil || line != "held\n" {
		t.Fatalf("the holder of the lock says %q, %v", line, err)
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	return h
}

// end lets the holder go on and commit, or kills it.
func (h *holder) end(t *testing.T, kill bool) {
	t.Helper()
	if kill {
		_ = h.cmd.Process.Kill()
		_ = h.cmd.Wait()
		return
	}
	if err := errors.Join(h.cmd.Process.Signal(syscall.SIGCONT), h.input.Close(), h.cmd.Wait()); err != nil {
		t.Fatalf("the holder of the lock: %v", err)
	}
}

// client is an honest client of the program.
type client struct {
	program.Client
	http *http.Client
	held program.Tokens

	mu         sync.Mutex
	successors map[string]string // of each refresh token, as the client was told
}

const rightPassword = "right horse staple"

// newClients makes an account and logs clients in.
func newClients(t *testing.T, p *program.Program, n int) []*client {
	t.Helper()
	c := p.CreateClient()
	p.CreateUser("user", rightPassword)
	// A connection for each request. One that is kept may be closed by a server that was
	// stopped and finds, when it goes on, that nothing came in time; whoever uses it at
	// that moment gets no answer, which says nothing about tokens.
	each := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	clients := make([]*client, n)
	for i := range clients {
		answer, err := p.Login(c, "user", rightPassword)
		if err != nil || answer.Status != http.StatusOK {
			t.Fatalf("login: %+v, %v", answer, err)
		}
		clients[i] = &client{Client: c, http: each, held: answer, successors: map[string]string{}}
	}
	return clients
}

// answer is what came back of a refresh.
type answer struct {
	program.Tokens
	retryAfter string
	waited     time.Duration
}

// ask refreshes once with the token held, which it keeps. Another successor than was
// told before is an error.
func (c *client) ask(ctx context.Context, p *program.Program) (answer, error) {
	body, err := json.Marshal(map[string]string{
		"grant_type": "refresh_token", "client_id": c.ID, "client_secret": c.Secret, "refresh_token": c.held.RefreshToken,
	})
	if err != nil {
		return answer{}, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.Address+"/oauth2-token", bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	begun := time.Now()
	response, err := c.http.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	a := answer{retryAfter: response.Header.Get("Retry-After")}
	err = json.NewDecoder(response.Body).Decode(&a.Tokens)
	a.Status, a.waited = response.StatusCode, time.Since(begun)
	return a, errors.Join(err, c.note(a))
}

// note remembers the successor of the token held.
func (c *client) note(a answer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	known, told := c.successors[c.held.RefreshToken]
	if a.Status != http.StatusOK || told && known == a.RefreshToken {
		return nil
	}
	c.successors[c.held.RefreshToken] = a.RefreshToken
	if told {
		return errors.New("a refresh token has two successors")
	}
	return nil
}

// longestAnswer is how long a client may wait for an answer while nobody can write:
// what the store waits for an outcome (12 s), and a moment.
const longestAnswer = 15 * time.Second

// check judges an answer that is a success, or asks to come again.
func (a answer) check() error {
	switch {
	case a.waited > longestAnswer:
		return fmt.Errorf("status %d only after %v", a.Status, a.waited)
	case a.Status == http.StatusOK:
		return nil
	case a.Status != http.StatusServiceUnavailable || a.Error != "temporarily_unavailable":
		return fmt.Errorf("status %d %s (%s), want 503", a.Status, a.Error, a.Hint)
	}
	if seconds, err := strconv.Atoi(a.retryAfter); err != nil || seconds < 1 {
		return fmt.Errorf("503 with Retry-After %q", a.retryAfter)
	}
	return nil
}

// goOn asks twice with the token held, which must succeed, takes the successor, and
// does the same with that.
func (c *client) goOn(t *testing.T, p *program.Program) {
	t.Helper()
	for range 2 {
		var a answer
		for range 2 {
			var err error
			if a, err = c.ask(t.Context(), p); err != nil || a.Status != http.StatusOK {
				t.Fatalf("a client cannot go on: %d %s (%s), %v", a.Status, a.Error, a.Hint, err)
			}
		}
		c.held = a.Tokens
	}
}

// readsGoOn checks that what needs no write works.
func (c *client) readsGoOn(t *testing.T, p *program.Program) {
	t.Helper()
	response, err := http.Get("http://" + p.Address + "/healthz/ready")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("/healthz/ready: %d", response.StatusCode)
	}
	if status := p.Userinfo(c.held.AccessToken); status != http.StatusOK {
		t.Errorf("an access token gets %d", status)
	}
}

// database is where the embedded database of an installation is.
func database(p *program.Program) string { return filepath.Join(p.Dir, "data", databaseFile) }

// TestStoppedLockHolder stops a process that holds the write lock of the database, as
// a debugger, a frozen container or a suspended machine does. The server answers 503
// with Retry-After in time, reads go on, and when the process goes on, or is killed,
// everybody goes on with the token held.
func TestStoppedLockHolder(t *testing.T) {
	t.Parallel()
	p := program.New(t, "SIGNING_ALG=ES256")
	p.Start()
	clients := newClients(t, p, 4)
	stops := 0
	for seed := range proof.Rounds(t, 1) {
		h := stoppedHolder(t, database(p))
		var working sync.WaitGroup
		for _, c := range clients {
			working.Go(func() {
				a, err := c.ask(t.Context(), p)
				if err := errors.Join(err, a.check()); err != nil {
					t.Error(err)
				}
				t.Logf("status %d after %v", a.Status, a.waited)
				if a.Status == http.StatusOK {
					t.Error("a refresh was acknowledged while another process held the lock")
				}
			})
		}
		clients[0].readsGoOn(t, p)
		working.Wait()
		h.end(t, seed%2 == 0)
		for _, c := range clients {
			c.goOn(t, p)
		}
		stops++
	}
	p.Stop()
	proof.Count(t, stops, "stopped processes")
}

// TestStoppedServer stops one of two servers on one database, under load and so perhaps
// in the middle of a transaction. The other one answers, be it 503, until the first
// goes on or is killed; then everybody goes on, at either.
func TestStoppedServer(t *testing.T) {
	t.Parallel()
	p := program.New(t, "SIGNING_ALG=ES256")
	other := program.New(t, "SIGNING_ALG=ES256", "DATA="+filepath.Join(p.Dir, "data"))
	p.Start()
	other.Start()
	clients := newClients(t, p, 8)
	stops, refused := 0, 0
	for seed := range proof.Rounds(t, 1) {
		random := rand.New(rand.NewPCG(seed, 0))
		n := stopUnderLoad(t, p, other, clients, random)
		if random.IntN(2) == 0 {
			p.Kill()
			p.Start()
		} else if err := p.Server.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		for i, c := range clients {
			c.goOn(t, []*program.Program{p, other}[i%2])
		}
		stops++
		if n > 0 {
			refused++
		}
	}
	t.Logf("%d of %d times the other server could not write meanwhile", refused, stops)
	proof.Count(t, stops, "stopped servers")
}

// stopUnderLoad stops p while clients use it, lets them hang up and use the other one,
// and returns how many of them were told there to come again.
func stopUnderLoad(t *testing.T, p, other *program.Program, clients []*client, random *rand.Rand) int {
	t.Helper()
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	acknowledged := make(chan struct{})
	var working sync.WaitGroup
	for _, c := range clients {
		working.Go(func() { c.use(ctx, t, p, acknowledged) })
	}
	for range 1 + random.IntN(100) {
		<-acknowledged
	}
	if err := p.Server.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	hangUp()
	working.Wait()
	var refused atomic.Int64
	for _, c := range clients {
		working.Go(func() {
			a, err := c.ask(t.Context(), other)
			if err := errors.Join(err, a.check()); err != nil {
				t.Error(err)
			}
			if a.Status != http.StatusOK {
				refused.Add(1)
			}
		})
	}
	working.Wait()
	return int(refused.Load())
}

// use refreshes one token after the other until it hangs up.
func (c *client) use(ctx context.Context, t *testing.T, p *program.Program, acknowledged chan<- struct{}) {
	for {
		a, err := c.ask(ctx, p)
		if ctx.Err() != nil {
			return
		}
		if err := errors.Join(err, a.check()); err != nil {
			t.Error(err)
			return
		}
		if a.Status == http.StatusOK {
			c.held = a.Tokens
		}
		select {
		case acknowledged <- struct{}{}:
		case <-ctx.Done():
			return
		}
	}
}
