package nodes

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/counterfoil/counterfoil/test/postgres"
	"github.com/counterfoil/counterfoil/test/program"
)

// masterKey is the setting of a key that all nodes share.
var masterKey = "MASTER_KEY=1 " + strings.Repeat("A", 43)

// newNode prepares a node on a database.
func newNode(t *testing.T, database string, settings ...string) *program.Program {
	return program.New(t, append([]string{"DATABASE=" + database, "SIGNING_ALG=EdDSA", "ISSUER=http://127.0.0.1:8080"}, settings...)...)
}

// startNodes starts nodes that share a database and the master key.
func startNodes(t *testing.T, number int, database string) []*program.Program {
	t.Helper()
	var nodes []*program.Program
	for range number {
		p := newNode(t, database, masterKey)
		p.Start()
		nodes = append(nodes, p)
	}
	return nodes
}

const password = "right horse staple"

// session is what a client holds.
type session struct {
	client program.Client
	user   string
	held   program.Tokens
}

// logIn makes a client and a user, and logs in at a node.
func logIn(t *testing.T, node *program.Program, user string, arguments ...string) *session {
	t.Helper()
	s := &session{client: node.CreateClient(arguments...), user: user}
	node.CreateUser(user, password)
	var err error
	if s.held, err = node.Login(s.client, user, password); err != nil || s.held.Status != http.StatusOK {
		t.Fatalf("login: %+v, %v", s.held, err)
	}
	return s
}

// refresh refreshes at a node, which must answer with a status.
func (s *session) refresh(t *testing.T, node *program.Program, want int) {
	t.Helper()
	answer, err := node.Refresh(s.client, s.held.RefreshToken)
	if err != nil || answer.Status != want {
		t.Fatalf("refresh at %s: %+v, %v; want status %d", node.Address, answer, err, want)
	}
	if want == http.StatusOK {
		s.held = answer
	}
}

// generation is that of the only grant of a user.
func (s *session) generation(t *testing.T, node *program.Program) int {
	t.Helper()
	var grants []struct {
		Generation int `json:"generation"`
	}
	out := node.Run("", "grant", "list", "--user", s.user, "-o", "json")
	if err := json.Unmarshal([]byte(out), &grants); err != nil || len(grants) != 1 {
		t.Fatalf("grant list: %v\n%s", err, out)
	}
	return grants[0].Generation
}

// chain refreshes a session at all nodes in turn, until it is ended. Every answer must be
// a success, or tell it to come again, which is only right while something is broken.
type chain struct {
	ended   chan struct{}
	done    sync.WaitGroup
	mu      sync.Mutex
	count   int
	refused int // answers with 503, or none
}

func startChain(t *testing.T, s *session, nodes ...*program.Program) *chain {
	c := &chain{ended: make(chan struct{})}
	c.done.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-c.ended:
				return
			default:
			}
			answer, err := nodes[i%len(nodes)].Refresh(s.client, s.held.RefreshToken)
			switch {
			case err != nil || answer.Status == http.StatusServiceUnavailable:
				c.add(0, 1)
			case answer.Status != http.StatusOK:
				t.Errorf("a chain got %+v after %d refreshes", answer, i)
				return
			default:
				s.held = answer
				c.add(1, 0)
			}
		}
	})
	return c
}

func (c *chain) add(count, refused int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count, c.refused = c.count+count, c.refused+refused
}

// goesOn waits until a chain has been refreshed some more times.
func (c *chain) goesOn(t *testing.T) {
	t.Helper()
	read := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.count
	}
	before := read()
	eventually(t, 20*time.Second, "a chain goes on", func() bool { return read() >= before+4 })
}

// end ends a chain and returns how many answers told it to come again.
func (c *chain) end() int {
	close(c.ended)
	c.done.Wait()
	return c.refused
}

// eventually waits until something holds.
func eventually(t *testing.T, within time.Duration, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(within); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, within)
		}
	}
}

// get returns the status of a page of a node, 0 if there is none.
func get(node *program.Program, path string) int {
	response, err := http.Get("http://" + node.Address + path)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// exit runs a command that must fail, and returns its exit code and complaint.
func exit(t *testing.T, node *program.Program, arguments ...string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := node.Try(ctx, "", arguments...)
	var ended *exec.ExitError
	if !errors.As(err, &ended) || ctx.Err() != nil {
		t.Fatalf("counterfoil %v did not end by itself with a complaint: %v", arguments, err)
	}
	return ended.ExitCode(), err.Error()
}

// through puts a PgBouncer in front of a database.
func through(t *testing.T, database string) string {
	t.Helper()
	name, _, _ := strings.Cut(database[strings.LastIndexByte(database, '/')+1:], "?")
	return postgres.PgBouncer(t, postgres.Shared(t), postgres.PgBouncerOptions{Database: name, Settings: map[string]string{"default_pool_size": "5"}})
}

// execute runs a statement in a database.
func execute(t *testing.T, database, statement string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// fronts are the ways from a node to the database.
var fronts = map[string]func(*testing.T, string) string{
	"directly":          func(_ *testing.T, database string) string { return database },
	"through_PgBouncer": through,
}

// keyOf is the id of the key that signed an access token.
func keyOf(t *testing.T, accessToken string) string {
	t.Helper()
	head, _, _ := strings.Cut(accessToken, ".")
	content, err := base64.RawURLEncoding.DecodeString(head)
	var header struct {
		KeyID string `json:"kid"`
	}
	if err := errors.Join(err, json.Unmarshal(content, &header)); err != nil || header.KeyID == "" {
		t.Fatalf("header of an access token: %s, %v", content, err)
	}
	return header.KeyID
}
