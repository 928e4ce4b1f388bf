package failover

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/test/program"
)

const (
	// patience is how long a client waits for an answer: the nodes live, so there is one.
	patience = 30 * time.Second
	// pause is the longest that a client waits between two uses of its grant.
	pause    = 150 * time.Millisecond
	password = "right horse staple"
)

// answer is what a client hears.
type answer struct {
	status       int
	retryAfter   string
	requestID    string
	refreshToken string
	hint         string
	begun, heard time.Time
}

// chain is a client with one grant, which it refreshes at all nodes alike.
type chain struct {
	client program.Client
	nodes  []*program.Program
	ledger
	presented int // the newest generation that was presented

	mu        sync.Mutex
	answers   int
	refreshed time.Time // when the newest request that was acknowledged began
	broken    error
}

// ask presents the token of a generation to a node.
func (c *chain) ask(node *program.Program, generation int) (a answer, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	body, err := json.Marshal(map[string]string{
		"grant_type": "refresh_token", "client_id": c.client.ID, "client_secret": c.client.Secret, "refresh_token": c.tokens[generation],
	})
	if err != nil {
		return a, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+node.Address+"/oauth2-token", bytes.NewReader(body))
	if err != nil {
		return a, err
	}
	request.Header.Set("Content-Type", "application/json")
	a.begun = time.Now()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return a, err
	}
	defer func() { _ = response.Body.Close() }()
	var told program.Tokens
	err = json.NewDecoder(response.Body).Decode(&told)
	a.status, a.retryAfter, a.requestID = response.StatusCode, response.Header.Get("Retry-After"), response.Header.Get("X-Request-Id")
	a.refreshToken, a.hint, a.heard = told.RefreshToken, told.Hint, time.Now()
	return a, err
}

// use presents the token of a generation to so many nodes at once, and enters what
// they answer into the ledger and the tally. It reports whether one acknowledged.
func (c *chain) use(generation int, nodes []*program.Program, tally *tally) (acknowledged bool, err error) {
	answers, errs := make([]answer, len(nodes)), make([]error, len(nodes))
	var asking sync.WaitGroup
	for i, node := range nodes {
		asking.Go(func() { answers[i], errs[i] = c.ask(node, generation) })
	}
	asking.Wait()
	for i, a := range answers {
		if errs[i] != nil {
			return false, fmt.Errorf("generation %d got no answer: %w", generation, errs[i])
		}
		if err := c.enter(generation, a); err != nil {
			return false, err
		}
		tally.count(a, generation == c.presented)
		c.presented = generation
		c.note(a)
		acknowledged = acknowledged || a.status == http.StatusOK
	}
	return acknowledged, nil
}

func (c *chain) note(a answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers++
	if a.status == http.StatusOK {
		c.refreshed = a.begun
	}
}

// step refreshes at some node, now and then at two at once. An answer is sometimes
// treated as if it had been lost: the client sends the same request again, which is
// what it also does, by the next step, when it was told to come again.
func (c *chain) step(random *rand.Rand, tally *tally) error {
	nodes := slices.Clone(c.nodes)
	random.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	some, lost := nodes[:1], random.IntN(8) == 0
	if random.IntN(8) == 0 {
		some = nodes
	}
	generation := c.newest()
	acknowledged, err := c.use(generation, some, tally)
	if err == nil && acknowledged && lost {
		_, err = c.use(generation, nodes[1:], tally)
	}
	return err
}

// clients are chains that run at the same time.
type clients struct {
	t      testing.TB
	chains []*chain
	tally  tally
}

// newClients logs so many clients in.
func newClients(t testing.TB, nodes []*program.Program, n int) *clients {
	t.Helper()
	nodes[0].CreateUser("user", password)
	account := nodes[0].CreateClient()
	c := &clients{t: t}
	for i := range n {
		told, err := nodes[i%len(nodes)].Login(account, "user", password)
		if err != nil || told.Status != http.StatusOK {
			t.Fatalf("login: status %d, %v", told.Status, err)
		}
		c.chains = append(c.chains, &chain{client: account, nodes: nodes, ledger: ledger{[]string{told.RefreshToken}}, presented: -1})
	}
	return c
}

// run lets all chains run until stop is called.
func (c *clients) run(seed uint64) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for i, chain := range c.chains {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		running.Go(func() {
			if err := chain.run(ctx, random, &c.tally); err != nil {
				c.t.Errorf("chain %d: %v", i, err)
			}
		})
	}
	return func() {
		cancel()
		running.Wait()
	}
}

// run takes steps until the context ends, or a promise is broken.
func (c *chain) run(ctx context.Context, random *rand.Rand, tally *tally) error {
	pausing := time.NewTicker(pause)
	defer pausing.Stop()
	for {
		pausing.Reset(1 + time.Duration(random.Int64N(int64(pause))))
		select {
		case <-pausing.C:
		case <-ctx.Done():
			return nil
		}
		if err := c.step(random, tally); err != nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.broken = err
			return err
		}
	}
}

// each waits until something holds for each chain.
func (c *clients) each(what string, within time.Duration, holds func(*chain) bool) {
	c.t.Helper()
	await(c.t, "each chain "+what, within, func() error {
		for i, chain := range c.chains {
			chain.mu.Lock()
			ok, broken := holds(chain), chain.broken
			chain.mu.Unlock()
			if broken != nil {
				c.t.Fatalf("chain %d: %v", i, broken)
			}
			if !ok {
				return fmt.Errorf("chain %d did not", i)
			}
		}
		return nil
	})
}

// refreshed waits until each chain has refreshed by a request that began after a moment.
func (c *clients) refreshed(after time.Time, within time.Duration) {
	c.t.Helper()
	c.each("refreshes", within, func(chain *chain) bool { return chain.refreshed.After(after) })
}

// answered waits until each chain was answered so many times more.
func (c *clients) answered(times int, within time.Duration) {
	c.t.Helper()
	want := map[*chain]int{}
	for _, chain := range c.chains {
		chain.mu.Lock()
		want[chain] = chain.answers + times
		chain.mu.Unlock()
	}
	c.each("is answered", within, func(chain *chain) bool { return chain.answers >= want[chain] })
}

// tally counts what the clients of a round hear.
type tally struct {
	mu                              sync.Mutex
	refreshes, unavailable, retries int
	latest                          time.Time     // an acknowledgement was heard
	gap                             time.Duration // the longest time in which none was heard
	disturbed                       time.Time     // zero: not yet
	first                           time.Duration // from then to the first acknowledgement of a request that began later
}

// begin begins to count anew.
func (t *tally) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refreshes, t.unavailable, t.retries, t.gap, t.first = 0, 0, 0, 0, 0
	t.latest, t.disturbed = time.Now(), time.Time{}
}

// disturb notes that the disturbance is complete.
func (t *tally) disturb() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.disturbed = time.Now()
}

func (t *tally) count(a answer, retry bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if retry {
		t.retries++
	}
	if a.status != http.StatusOK {
		t.unavailable++
		return
	}
	t.refreshes++
	if a.heard.After(t.latest) {
		t.gap = max(t.gap, a.heard.Sub(t.latest))
		t.latest = a.heard
	}
	if t.first == 0 && !t.disturbed.IsZero() && a.begun.After(t.disturbed) {
		t.first = a.heard.Sub(t.disturbed)
	}
}
