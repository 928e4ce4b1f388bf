package failover

import (
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/test/program"
	"github.com/counterfoil/counterfoil/test/proof"
)

// The flags of `make failover`.
var (
	rounds = flag.Int("rounds", 1, "how often the leader is lost")
	only   = flag.String("only", "", "the only disturbance; empty: all take turns")
	table  = flag.String("table", "", "the file that the table of the rounds is written to")
)

const (
	manyChains = 12
	// backWithin is how long the service may be away, from the beginning of a disturbance.
	backWithin = time.Minute
	// wholeWithin is how long a lost member may take to be one again.
	wholeWithin = 2 * time.Minute
)

// TestFailover loses the leader of the database again and again while clients refresh
// at two nodes: one knows all members and looks for the primary by itself, with
// connections that do not last, and one asks HAProxy. Nothing that was acknowledged is lost (I2), no token has two successors
// (I1, I3), no honest client is logged out (I7), the service is back in time, and at
// the end reuse is still noticed (I5).
func TestFailover(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.createDatabase(t.Context())
	nodes := newNodes(t, c.everyMember("&pool_max_conn_lifetime=2s"), databaseURL("", c.entrance))
	t.Cleanup(func() { keepLogs(t, c, nodes) })
	f := &failover{t: t, cluster: c, clients: newClients(t, nodes, manyChains)}
	defer f.report()
	chosen := choose(t)
	for seed := range proof.Rounds(t, *rounds) {
		d := chosen[len(f.rounds)%len(chosen)]
		t.Logf("round %d: %s; -only '%s' -rounds 1 repeats its kind", len(f.rounds)+1, d.name, d.name)
		f.round(d, seed)
	}
	reuse(t, f.clients, nodes)
	proof.Count(t, len(f.rounds), "failovers")
}

// choose returns the disturbances that take turns.
func choose(t *testing.T) []disturbance {
	if *only == "" {
		return disturbances
	}
	for _, d := range disturbances {
		if d.name == *only {
			return []disturbance{d}
		}
	}
	t.Fatalf("-only %s: there is no such disturbance", *only)
	return nil
}

// newNodes starts a node for each URL of the database.
func newNodes(t *testing.T, databases ...string) []*program.Program {
	t.Helper()
	var nodes []*program.Program
	for _, database := range databases {
		p := program.New(t, "DATABASE="+database, "MASTER_KEY=1 "+strings.Repeat("A", 43), "SIGNING_ALG=EdDSA", "ISSUER=http://127.0.0.1:8080")
		if len(nodes) == 0 {
			p.Run("", "migrate", "up")
		}
		p.Start()
		nodes = append(nodes, p)
	}
	return nodes
}

// keepLogs puts the logs of the nodes beside those of the cluster, which are kept if
// the test failed.
func keepLogs(t *testing.T, c *cluster, nodes []*program.Program) {
	for i, p := range nodes {
		if err := os.WriteFile(fmt.Sprintf("%s/counterfoil%d.log", c.dir, i+1), []byte(p.Log()), 0o600); err != nil {
			t.Error(err)
		}
	}
}

// failover is the state of the check.
type failover struct {
	t       *testing.T
	cluster *cluster
	clients *clients
	rounds  []round
}

// round is a line of the table.
type round struct {
	disturbance, old, new string
	gap, first, all       time.Duration
	whole                 time.Duration
	refreshes             int
	unavailable, retries  int
}

// round loses the leader, waits until everybody is served again, brings the old leader
// back while the clients go on, and waits until the cluster is whole.
func (f *failover) round(d disturbance, seed uint64) {
	c, clients := f.cluster, f.clients
	defer clients.run(seed)()
	clients.refreshed(time.Now(), backWithin)
	old := c.awaitLeader(nil, time.Minute)
	clients.tally.begin()
	begun := time.Now()
	d.begin(c, old)
	clients.tally.disturb()
	next := c.awaitLeader(old, time.Until(begun.Add(backWithin)))
	clients.refreshed(time.Now(), time.Until(begun.Add(backWithin)))
	r := round{disturbance: d.name, old: old.Name, new: next.Name, all: time.Since(begun)}
	healing := time.Now()
	d.end(c, old, clients)
	healed := time.Now()
	c.awaitWhole(wholeWithin)
	r.whole = time.Since(healing)
	clients.refreshed(healed, max(0, time.Until(healed.Add(backWithin))))
	clients.tally.mu.Lock()
	defer clients.tally.mu.Unlock()
	r.gap, r.first = clients.tally.gap, clients.tally.first
	r.refreshes, r.unavailable, r.retries = clients.tally.refreshes, clients.tally.unavailable, clients.tally.retries
	f.rounds = append(f.rounds, r)
}

// reuse presents an old token: it is refused, and ends its grant at every node. The
// other clients do not notice.
func reuse(t *testing.T, clients *clients, nodes []*program.Program) {
	t.Helper()
	victim := clients.chains[0]
	for i, generation := range []int{0, victim.newest(), victim.newest()} {
		a := clients.insist(victim, nodes[i%len(nodes)], generation)
		if a.status != http.StatusUnauthorized || a.hint != "Token has been revoked" {
			t.Errorf("I5: after generation 0 of %d was used again, generation %d got %d %s, want that it is refused", victim.newest(), generation, a.status, a.hint)
		}
	}
	for i, chain := range clients.chains[1:] {
		a := clients.insist(chain, nodes[i%len(nodes)], chain.newest())
		if err := chain.enter(chain.newest(), a); err != nil {
			t.Errorf("the newest token of chain %d: %v", i+1, err)
		}
	}
}

// insist presents a token until the answer is another than to come again.
func (c *clients) insist(chain *chain, node *program.Program, generation int) (a answer) {
	c.t.Helper()
	await(c.t, "a node answers", backWithin, func() (err error) {
		if a, err = chain.ask(node, generation); err == nil && a.status == http.StatusServiceUnavailable {
			err = errors.New("503")
		}
		return err
	})
	return a
}

// report writes the table.
func (f *failover) report() {
	var text strings.Builder
	text.WriteString("\n| # | disturbance | leader | then | no refresh for | first refresh after | everybody after | whole, from its end | refreshes | 503 | retries |\n")
	text.WriteString("|--:|---|---|---|--:|--:|--:|--:|--:|--:|--:|\n")
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
	for i, r := range f.rounds {
		_, _ = fmt.Fprintf(&text, "| %d | %s | %s | %s | %s | %s | %s | %s | %d | %d | %d |\n", i+1, r.disturbance, r.old, r.new,
			seconds(r.gap), seconds(r.first), seconds(r.all), seconds(r.whole), r.refreshes, r.unavailable, r.retries)
	}
	f.t.Log(text.String())
	if *table != "" {
		if err := os.WriteFile(*table, []byte(text.String()), 0o644); err != nil {
			f.t.Error(err)
		}
	}
}
