package history

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/test/postgres"
	"github.com/counterfoil/counterfoil/test/program"
	"github.com/counterfoil/counterfoil/test/proof"
)

// DirVariable names the directory in which histories are kept, all of them; unset:
// only those that are wrong are, in the directory for temporary files.
const DirVariable = "HISTORY_DIR"

// TestHistories lets clients refresh at three servers on one database, while answers
// get lost, servers are killed and stopped, and an administrator revokes, disables
// and sets passwords; then it checks what everybody saw.
func TestHistories(t *testing.T) { checkHistories(t, func(uint64) string { return "sqlite" }) }

// TestHistoriesOnPostgres does the same with three nodes on one PostgreSQL, every second
// time under the strictest isolation level.
func TestHistoriesOnPostgres(t *testing.T) {
	checkHistories(t, func(seed uint64) string {
		if seed%2 == 0 {
			return postgres.Migrated(t)
		}
		return postgres.Migrated(t) + "&default_transaction_isolation=serializable"
	})
}

func checkHistories(t *testing.T, database func(seed uint64) string) {
	var histories, grants, calls, kills, stops int
	for seed := range proof.Rounds(t, 1) {
		r := newRound(t, seed, database(seed))
		h := r.run()
		r.check(h)
		histories, grants, calls = histories+1, grants+len(r.holdings), calls+len(h.Calls)
		kills, stops = kills+r.kills, stops+r.stops
	}
	proof.Count(t, histories, "histories")
	proof.Count(t, grants, "grants")
	proof.Count(t, calls, "calls")
	proof.Count(t, kills, "kills")
	proof.Count(t, stops, "stops")
}

// round is one installation and what happens to it. Everything follows from the
// seed, as far as the scheduling of processes lets it.
type round struct {
	*testing.T
	settings Settings
	lasts    time.Duration
	pace     time.Duration // between the calls of a worker, at most
	peace    time.Duration // between the acts of the administrator, at most
	losses   int           // of a hundred answers
	bursts   int           // one in so many presentations is several at once

	servers   []*program.Program
	client    program.Client
	users     []*user
	recorder  *Recorder
	listening sync.WaitGroup
	accepted  atomic.Int64 // refreshes that were answered with tokens
	kills     int
	stops     int

	mu       sync.Mutex
	holdings []*holding
}

// newRound sets three servers on one database up, with a few users.
func newRound(t *testing.T, seed uint64, database string) *round {
	rng := rand.New(rand.NewPCG(seed, 0))
	r := &round{
		T: t, settings: Settings{Seed: seed, Strict: rng.IntN(4) == 0}, recorder: NewRecorder(), lasts: 10 * time.Second,
		pace:  time.Duration(2+rng.IntN(20)) * time.Millisecond,
		peace: time.Duration(100+rng.IntN(1500)) * time.Millisecond, losses: 2 + rng.IntN(16), bursts: 2 + rng.IntN(20),
	}
	if proof.Budget(t) == 0 {
		r.lasts = 2 * time.Second
	}
	window := "1h"
	if r.settings.Strict {
		window = "0"
	}
	for range 3 {
		p := program.New(t, "DATABASE="+database, "SIGNING_ALG=EdDSA", "PASSWORD_HASH=argon2id,m=7168,t=1,p=1", "RETRY_BUDGET=1000000", "RETRY_WINDOW="+window, "LATE_WINDOW="+window)
		if len(r.servers) > 0 {
			p.Env = append(p.Env, "COUNTERFOIL_DATA="+filepath.Join(r.servers[0].Dir, "data")) // the last one counts
		}
		r.servers = append(r.servers, p)
	}
	r.client = r.servers[0].CreateClient()
	for n := range 2 + rng.IntN(3) {
		u := &user{number: n + 1, name: userName(n + 1)}
		r.servers[0].CreateUser(u.name, password(0))
		r.users = append(r.users, u)
	}
	for _, server := range r.servers {
		server.Start()
	}
	return r
}

// run makes a history.
func (r *round) run() *History {
	ctx, cancel := context.WithTimeout(context.Background(), r.lasts)
	defer cancel()
	var working sync.WaitGroup
	working.Go(func() { r.administer(ctx, r.source(1)) })
	rng := r.source(2)
	workers := 0
	for range 3 + rng.IntN(5) {
		s := &session{round: r, user: r.users[rng.IntN(len(r.users))], thief: rng.IntN(3) == 0}
		for range 1 + rng.IntN(r.mostWorkers()) {
			workers++
			process := workers
			working.Go(func() { s.work(ctx, process, r.source(uint64(2+process))) })
		}
	}
	r.disturb(ctx, rng)
	working.Wait()
	r.settle()
	for _, server := range r.servers {
		server.Stop()
	}
	return r.recorder.History(r.settings)
}

// source is a source of randomness of its own for each goroutine.
func (r *round) source(n uint64) *rand.Rand { return rand.New(rand.NewPCG(r.settings.Seed, n)) }

// mostWorkers is how many share a session at most. Where every second use of a token
// ends its grant there is little to be seen of many.
func (r *round) mostWorkers() int {
	if r.settings.Strict {
		return 2
	}
	return 4
}

// settle lets the dust settle: every user is enabled, every grant's newest token is
// presented until it is answered, and once more at another server, which must give
// the same successor; then the database is read.
func (r *round) settle() {
	r.listening.Wait()
	for _, u := range r.users {
		if !r.act(drainTime, Call{Operation: Enable, User: u.number}, "", "user", "enable", u.name) {
			r.Fatalf("%s could not be enabled at the end", u.name)
		}
	}
	for _, h := range r.holdings {
		r.presentAtLast(h, 0)
		if !r.settings.Strict {
			r.presentAtLast(h, 1)
		}
	}
	r.list()
}

// presentAtLast presents what was the newest token when the clients ended, or, at
// its second turn, the same token once more.
func (r *round) presentAtLast(h *holding, turn int) {
	if turn > 0 && h.over {
		return
	}
	server, generation := (h.number+turn)%len(r.servers), h.newest-uint32(turn)
	rng := r.source(0)
	for deadline := time.Now().Add(drainTime); time.Now().Before(deadline); {
		conn, err := dial(r.servers[server].Address)
		if err == nil {
			a := r.present(h, generation, 0, server, &wire{conn: conn, after: drainTime})
			if a != None && a != Unavailable {
				return
			}
		}
		r.pause(context.Background(), rng, 20*time.Millisecond)
	}
	r.Errorf("grant %d: no answer at the end\n%s", h.number, r.servers[server].Log())
}

// list records the rows of all grants, and that there are no others.
func (r *round) list() {
	begun := make([]*Call, len(r.holdings))
	for i, h := range r.holdings {
		begun[i] = r.recorder.Begin(Call{Operation: List, User: h.user.number, Grant: h.number})
	}
	var printed []struct {
		GrantID string `json:"grant_id"`
		Row
	}
	if err := json.Unmarshal([]byte(r.servers[0].Run("", "grant", "list", "-o", "json")), &printed); err != nil {
		r.Fatalf("grant list: %v", err)
	}
	rows := map[string]*Row{}
	for i := range printed {
		rows[printed[i].GrantID] = &printed[i].Row
	}
	for i, h := range r.holdings {
		r.recorder.End(begun[i], func(c *Call) { c.Answer, c.Row = OK, rows[h.grantID] })
	}
	if most := len(r.holdings) + r.lostLogins(); len(printed) > most || len(rows) != len(printed) {
		r.Errorf("%d rows of %d grants; at most %d logins can have made one", len(printed), len(rows), most)
	}
}

// lostLogins counts the logins that may have made a grant nobody heard of.
func (r *round) lostLogins() int {
	n := 0
	for _, c := range r.recorder.History(r.settings).Calls {
		if c.Operation == Login && c.unknown() {
			n++
		}
	}
	return n
}

// check checks a history. A wrong one is kept, with a picture of a wrong grant.
func (r *round) check(h *History) {
	if r.accepted.Load() == 0 {
		r.Error("no refresh token was ever accepted: there was nothing to check")
	}
	violations := Check(h)
	dir := os.Getenv(DirVariable)
	switch {
	case dir == "" && len(violations) == 0 && !r.Failed():
		return
	case dir == "":
		dir = os.TempDir()
	}
	file := filepath.Join(dir, fmt.Sprintf("counterfoil-history-%d.jsonl", h.Settings.Seed))
	if err := write(file, h); err != nil {
		r.Error(err)
	}
	report(r.T, h, violations, file)
}

func write(file string, h *History) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(h.Write(f), f.Close())
}

// report fails the test if there are violations, and says where to see more of them.
func report(t *testing.T, h *History, violations []Violation, file string) {
	t.Helper()
	const most = 20
	for _, v := range violations[:min(most, len(violations))] {
		t.Error(v)
	}
	if len(violations) > most {
		t.Errorf("… and %d more", len(violations)-most)
	}
	if !t.Failed() {
		return
	}
	t.Logf("the history is kept: %s", file)
	t.Logf("check it again: go test ./test/history -run '^TestHistoryFile$' -history %s", file)
	if len(violations) > 0 {
		picture := file + ".html"
		if err := Visualize(h, violations[0].Grant, picture); err != nil {
			t.Error(err)
		}
		t.Logf("a picture of grant %d: %s", violations[0].Grant, picture)
	}
}
