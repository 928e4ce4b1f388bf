package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/test/postgres"
	"github.com/counterfoil/counterfoil/test/program"
)

// newNodes starts nodes on one PostgreSQL, of which each is told its own URL.
func newNodes(t *testing.T, databases ...string) []*program.Program {
	t.Helper()
	var nodes []*program.Program
	for _, database := range databases {
		p := program.New(t, "DATABASE="+database, "MASTER_KEY=1 "+strings.Repeat("A", 43), "SIGNING_ALG=EdDSA", "ISSUER=http://127.0.0.1:8080")
		p.Start()
		nodes = append(nodes, p)
	}
	return nodes
}

// newSession makes a client and a user, and logs in.
func newSession(t *testing.T, node *program.Program) (program.Client, program.Tokens) {
	t.Helper()
	c := node.CreateClient()
	node.CreateUser("user", "right horse staple")
	first, err := node.Login(c, "user", "right horse staple")
	if err != nil || first.Status != http.StatusOK {
		t.Fatalf("login: %+v, %v", first, err)
	}
	return c, first
}

// TestSimultaneousUseOfTwoNodes: 64 uses of one refresh token, spread over two nodes of
// which one is killed in the middle, give one new generation, and everybody the same
// successor: those whose node was killed ask the other one again.
func TestSimultaneousUseOfTwoNodes(t *testing.T) {
	t.Parallel()
	const uses = 64
	database := postgres.Migrated(t)
	nodes := newNodes(t, database, database)
	c, held := newSession(t, nodes[0])
	for round := range 3 {
		answers := make([]program.Tokens, uses)
		answered := make(chan struct{}, uses)
		var working sync.WaitGroup
		for i := range answers {
			working.Go(func() {
				answer, err := nodes[i%2].Refresh(c, held.RefreshToken)
				answered <- struct{}{}
				for deadline := time.Now().Add(time.Minute); (err != nil || answer.Status == http.StatusServiceUnavailable) && time.Now().Before(deadline); {
					answer, err = nodes[1].Refresh(c, held.RefreshToken)
				}
				answers[i] = answer
			})
		}
		for range round * uses / 4 { // the sooner, the fewer have been answered
			<-answered
		}
		nodes[0].Kill()
		working.Wait()
		for i, a := range answers {
			if a.Status != http.StatusOK || a.RefreshToken != answers[0].RefreshToken {
				t.Errorf("round %d, use %d: status %d, another successor: %v", round, i, a.Status, a.RefreshToken != answers[0].RefreshToken)
			}
		}
		if out := nodes[1].Run("", "grant", "list", "-o", "json"); !containsMember(out, "generation", round+1) {
			t.Errorf("round %d: more than one new generation: %s", round, out)
		}
		held = answers[0]
		nodes[0].Start()
	}
}

// TestAdministrationOfNodes: what the administrator does at one node holds for the very
// next request at the other, keys soon after; also where a pooler stands between,
// which passes nothing on but statements.
func TestAdministrationOfNodes(t *testing.T) {
	t.Parallel()
	for name, through := range map[string]func(t *testing.T, database string) string{
		"directly": func(_ *testing.T, database string) string { return database },
		"through PgBouncer": func(t *testing.T, database string) string {
			name := strings.TrimSuffix(filepath.Base(database), "?sslmode=disable")
			return postgres.PgBouncer(t, postgres.Shared(t), postgres.PgBouncerOptions{Database: name, Settings: map[string]string{"default_pool_size": "5"}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database := through(t, postgres.Migrated(t))
			nodes := newNodes(t, database, database)
			c, held := newSession(t, nodes[0])
			refresh := func(node, want int) {
				t.Helper()
				answer, err := nodes[node].Refresh(c, held.RefreshToken)
				if err != nil || answer.Status != want {
					t.Fatalf("refresh at node %d: %+v, %v; want status %d", node, answer, err, want)
				}
				if want == http.StatusOK {
					held = answer
				}
			}
			refresh(0, http.StatusOK)
			refresh(1, http.StatusOK)
			nodes[0].Run("", "user", "disable", "user")
			refresh(1, http.StatusBadRequest)
			nodes[0].Run("", "user", "enable", "user")
			refresh(1, http.StatusOK)
			nodes[1].Run("", "client", "deactivate", c.ID)
			refresh(0, http.StatusUnauthorized)
			nodes[1].Run("", "client", "activate", c.ID)
			refresh(0, http.StatusOK)
			before := keyIDs(t, nodes[1])
			nodes[0].Run("", "key", "rotate", "--now")
			eventually(t, 5*time.Second, "the new key at the other node", func() bool { return keyIDs(t, nodes[1]) != before })
			refresh(1, http.StatusOK)
			nodes[0].Run("", "doctor")
			nodes[0].Run("", "grant", "revoke", "--user", "user")
			refresh(1, http.StatusUnauthorized)
		})
	}
}

// keyIDs is the JWK set of a node.
func keyIDs(t *testing.T, p *program.Program) string {
	t.Helper()
	response, err := http.Get("http://" + p.Address + "/oauth2/jwks")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var set struct {
		Keys []struct {
			KeyID string `json:"kid"`
		} `json:"keys"`
	}
	if err := json.NewDecoder(response.Body).Decode(&set); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(set)
}

// eventually waits until something holds.
func eventually(t *testing.T, within time.Duration, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(within); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, within)
		}
	}
}

// TestDatabaseAway: while PostgreSQL is away, requests are told to come again, and the
// node is not ready; when it is back they get on with what they have.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	s, err := postgres.Start(postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop() })
	if err := s.CreateDatabase(t.Context(), "shop", ""); err != nil {
		t.Fatal(err)
	}
	p := program.New(t, "SIGNING_ALG=EdDSA", "DATABASE="+s.URL("shop"))
	if _, err := p.Try(t.Context(), "", "client", "list"); err == nil || !strings.Contains(err.Error(), "run 'counterfoil migrate up'") {
		t.Errorf("a command without a schema: %v", err)
	}
	p.Run("", "migrate", "up")
	p.Start()
	c, first := newSession(t, p)
	second, err := p.Refresh(c, first.RefreshToken)
	if err != nil || second.Status != http.StatusOK {
		t.Fatalf("refresh: %+v, %v", second, err)
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if answer, err := p.Refresh(c, second.RefreshToken); err != nil || answer.Status != http.StatusServiceUnavailable {
			t.Errorf("without a database: %+v, %v; want 503", answer, err)
		}
	}
	response, err := http.Get("http://" + p.Address + "/healthz/ready")
	if err != nil || response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("ready without a database: %v, %v", response, err)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{first.RefreshToken, second.RefreshToken} { // a retry, then on
		var answer program.Tokens
		eventually(t, 30*time.Second, "an answer with the database back", func() bool {
			answer, err = p.Refresh(c, token)
			return err != nil || answer.Status != http.StatusServiceUnavailable
		})
		if err != nil || answer.Status != http.StatusOK || token == first.RefreshToken && answer.RefreshToken != second.RefreshToken {
			t.Errorf("with the database back: %+v, %v", answer, err)
		}
	}
}

// nextSchema is what the next versions of the program bring along.
var nextSchema = map[string]string{
	"00900_more.sql": `-- +goose Up
ALTER TABLE grants ADD COLUMN label TEXT NOT NULL DEFAULT '';
CREATE TABLE labels (id INTEGER PRIMARY KEY, label TEXT NOT NULL);
`,
	"00901_less.sql": `-- +goose Up
ALTER TABLE clients DROP COLUMN name;
UPDATE schema_compatibility SET oldest = 901;
`,
}

// buildNext builds the program with some of nextSchema.
func buildNext(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	replace := map[string]string{}
	for _, name := range names {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(nextSchema[name]), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, engine := range []string{"sqlite", "postgres"} {
			replace[filepath.Join(root, "internal/sqlstore/migrations", engine, name)] = file
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	return program.Build(t, "-overlay="+file)
}

// TestRollingUpgrade: this version and the next run on one database, before and after
// its migration, as long as that only adds; one that takes away ends this version with
// a word why.
func TestRollingUpgrade(t *testing.T) {
	t.Parallel()
	database := postgres.Database(t, postgres.Shared(t), "")
	program.New(t, "DATABASE="+database).Run("", "migrate", "up")
	nodes := newNodes(t, database, database)
	c, held := newSession(t, nodes[0])
	refreshAll := func() {
		t.Helper()
		for i, p := range nodes {
			answer, err := p.Refresh(c, held.RefreshToken)
			if err != nil || answer.Status != http.StatusOK {
				t.Fatalf("refresh at node %d: %+v, %v\n%s", i, answer, err, p.Log())
			}
			held = answer
		}
	}
	refreshAll()
	nodes[1].Binary = buildNext(t, "00900_more.sql")
	nodes[1].Run("", "migrate", "up")
	refreshAll()
	nodes[1].Stop()
	nodes[1].Start()
	refreshAll()
	nodes[0].Stop()
	nodes[0].Start()
	nodes[0].Run("", "doctor")
	nodes[0].Run("", "migrate", "up")
	refreshAll()

	nodes[1].Binary = buildNext(t, "00900_more.sql", "00901_less.sql")
	nodes[1].Run("", "migrate", "up")
	eventually(t, 10*time.Second, "the old version is not ready", func() bool {
		response, err := http.Get("http://" + nodes[0].Address + "/healthz/ready")
		return err == nil && response.StatusCode == http.StatusServiceUnavailable
	})
	if _, err := nodes[0].Try(t.Context(), "", "serve"); err == nil || !strings.Contains(err.Error(), "made by a newer version") {
		t.Errorf("the old version on the newest schema: %v", err)
	}
}

// TestForeignMasterKey: a node with a master key of its own, or without one, ends at its
// start instead of logging everybody out.
func TestForeignMasterKey(t *testing.T) {
	t.Parallel()
	database := postgres.Migrated(t)
	newNodes(t, database)
	for name, key := range map[string]string{"another": "MASTER_KEY=1 " + strings.Repeat("B", 42) + "A", "none": "LOG_LEVEL=info"} {
		p := program.New(t, "DATABASE="+database, key)
		_, err := p.Try(t.Context(), "", "serve")
		if err == nil || !strings.Contains(err.Error(), "exit status 78") {
			t.Errorf("%s: %v, want exit status 78", name, err)
		}
		if _, err := os.Stat(filepath.Join(p.Dir, "data", "master.key")); err == nil {
			t.Errorf("%s: a master key was made", name)
		}
	}
}
