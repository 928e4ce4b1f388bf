package rotation_test

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/test/proof"
)

// TestStateMachineMemory holds the server on the store in memory to the model.
func TestStateMachineMemory(t *testing.T) { checkStateMachine(t, 16, inMemory) }

// TestStateMachineSQLite holds the server on the embedded database to the model.
func TestStateMachineSQLite(t *testing.T) { checkStateMachine(t, 2, inSQLite) }

// TestStateMachinePostgres holds the server on PostgreSQL to the model.
func TestStateMachinePostgres(t *testing.T) { checkStateMachine(t, 2, inPostgres) }

// TestStateMachineSerializable does, under the strictest isolation level.
func TestStateMachineSerializable(t *testing.T) { checkStateMachine(t, 2, inSerializable) }

// checksOfRound is how many lives of a world a round tries.
const checksOfRound = 2

// checkStateMachine lets worlds live, each by random steps, and compares everything
// with the model after every step. It is not parallel: rapid takes its seed from flags.
func checkStateMachine(t *testing.T, short int, e engine) {
	steps, lives, decided := 0, 0, map[string]int{}
	for seed := range proof.Rounds(t, short/checksOfRound) {
		setFlags(t, map[string]string{
			"rapid.seed": strconv.FormatUint(max(1, seed), 10), "rapid.checks": strconv.Itoa(checksOfRound), "rapid.nofailfile": "true",
		})
		rapid.Check(t, func(t *rapid.T) {
			m := newMachine(t, e)
			t.Repeat(rapid.StateMachineActions(m))
			steps, lives = steps+m.steps, lives+1
			for row, times := range m.decided {
				decided[row] += times
			}
		})
	}
	for _, row := range slices.Concat(rowsThatHandOut, rowsThatRevoke, rowsThatRecord, rowsThatWriteNothing) {
		if lives >= 200 && decided[row] == 0 {
			t.Errorf("no request in %d lives was decided by row %s: the steps no longer reach it", lives, row)
		}
	}
	proof.Count(t, lives, "lives of a world")
	proof.Count(t, steps, "steps")
}

// FuzzPresentAgainstStores takes the steps from the fuzzer's bytes and takes each on
// every store: the same decisions, answers and rows. Stores work in the background,
// so that the same input may seem to cover something new: fuzz it with
// -fuzzminimizetime=1x, or the fuzzer does little but look for shorter inputs.
func FuzzPresentAgainstStores(f *testing.F) {
	for seed := range uint64(3) {
		f.Add(randomBytes(seed+1, 1<<13))
	}
	f.Fuzz(rapid.MakeFuzz(func(t *rapid.T) {
		m := newMachine(t, engines...)
		actions := rapid.StateMachineActions(m)
		for name, do := range actions {
			actions[name] = func(t *rapid.T) {
				if m.steps < fuzzedSteps {
					do(t)
				}
			}
		}
		t.Repeat(actions)
	}))
}

// fuzzedSteps bounds one input of the fuzzer, whatever its length.
const fuzzedSteps = 40

func setFlags(t *testing.T, values map[string]string) {
	t.Helper()
	for name, value := range values {
		must(t, flag.Set(name, value), "set the flag "+name)
	}
}

// machine is a model, and the worlds that must do as it says.
type machine struct {
	model
	worlds  []*world
	clock   *clock
	steps   int
	decided map[string]int               // requests by row of docs/rotation.md
	named   int                          // names given, so that none is given twice
	checked map[string]oauth.Grant       // the model's rows when they were last compared
	raw     map[string]map[string]string // the raw rows then, by world and public_id
	salts   map[[32]byte]bool            // those of all successors
}

// mostGrants bounds the rows that are compared after each step.
const mostGrants = 10

// newMachine draws the settings and makes the parties.
func newMachine(t *rapid.T, engines ...engine) *machine {
	m := &machine{
		clock: &clock{now: time.Date(2026, 3, 29, 1, 30, 0, 123_456_789, time.FixedZone("", 5400))},
		salts: map[[32]byte]bool{{}: true}, raw: map[string]map[string]string{}, decided: map[string]int{},
	}
	m.settings, m.masterKeys = defaultSettings(), []uint16{1}
	m.settings.PreviousAccessToken = rapid.SampledFrom([]oauth.PreviousAccessToken{{}, {Keep: true}, {For: 30 * time.Second}}).Draw(t, "previous_access_token")
	m.settings.AbsoluteLifetime = rapid.SampledFrom([]time.Duration{absoluteLifetime, refreshTokenLifetime + 24*time.Hour}).Draw(t, "absolute lifetime")
	m.keepGrants = rapid.Bool().Draw(t, "keep grants")
	for _, e := range engines {
		w := newWorld(t, e, m.clock.Now, m.settings)
		w.operator.KeepGrants = m.keepGrants
		m.worlds = append(m.worlds, w)
	}
	none := time.Duration(0)
	for _, c := range []*client{
		{id: "public", public: true},
		{id: "confidential", secrets: []clientSecret{{text: "secret 0"}}},
		{id: "strict", secrets: []clientSecret{{text: "secret 0"}}, retryWindow: &none},
		{id: "reusable", secrets: []clientSecret{{text: "secret 0"}}, reusable: true},
	} {
		m.clients = append(m.clients, c)
		m.register(t, c)
	}
	for range 2 {
		m.addUser(t, m.name("user"))
	}
	m.login(t, m.clients[0], m.users[0], everything, works)
	for range 2 { // siblings: one must not touch the other
		m.login(t, m.clients[1], m.users[0], everything, works)
	}
	return m
}

// now is the time of the stores.
func (m *machine) now() time.Time { return m.clock.Now().UTC().Truncate(time.Microsecond) }

// inAll does the same in every world.
func (m *machine) inAll(t *rapid.T, doing string, do func(w *world) error) {
	t.Helper()
	for _, w := range m.worlds {
		must(t, do(w), w.name+": "+doing)
	}
}

// register registers a client that the model has.
func (m *machine) register(t *rapid.T, c *client) {
	for _, w := range m.worlds {
		w.addClient(t, oauth.Client{ID: c.id, Public: c.public, ReusableRefreshTokens: c.reusable, RetryWindow: c.retryWindow}, c.newestSecret())
	}
}

// newestSecret is the secret that the client's own software has.
func (c *client) newestSecret() string {
	if c.public {
		return ""
	}
	return c.secrets[0].text
}

// name makes a name that is new.
func (m *machine) name(kind string) string {
	m.named++
	return fmt.Sprintf("%s %d", kind, m.named)
}

func (m *machine) addUser(t *rapid.T, name string) {
	u := &user{id: m.name("id"), name: name, password: m.name("password"), epoch: 1, state: oauth.SubjectActive}
	m.users = append(m.users, u)
	for _, w := range m.worlds {
		w.addUser(t, u.id, u.name, u.password)
	}
}

// Check compares everything with the model, after every step.
func (m *machine) Check(t *rapid.T) {
	m.steps++
	for _, w := range m.worlds {
		m.checkRows(t, w)
		m.checkAccessTokens(t, w)
	}
	m.checked = map[string]oauth.Grant{}
	for _, g := range m.grants {
		m.checked[g.row.PublicID] = g.row
	}
}

// checkRows: the store has the model's rows and no other, and a row that the step
// did not concern is the same to the last byte.
func (m *machine) checkRows(t *rapid.T, w *world) {
	rows := w.rows(t)
	raw, err := w.raw()
	must(t, err, "read the table")
	for _, g := range m.grants {
		id := g.row.PublicID
		row, found := rows[id]
		delete(rows, id)
		switch {
		case g.gone && found:
			t.Errorf("%s: a grant's row is still there after the clean-up", w.name)
		case !g.gone && !found:
			t.Errorf("%s: a grant's row is gone", w.name)
		case found && !reflect.DeepEqual(g.row, row):
			t.Errorf("%s: a grant's row (-model +store):\n%s", w.name, cmp.Diff(g.row, row))
		}
		before, old := m.checked[id]
		if old && reflect.DeepEqual(before, g.row) && found && raw[id] != m.raw[w.name][id] {
			t.Errorf("%s: the step did not concern this row, and changed it:\n%s\n%s", w.name, m.raw[w.name][id], raw[id])
		}
	}
	if len(rows) > 0 {
		t.Errorf("%s: %d rows of grants that nobody made", w.name, len(rows))
	}
	m.raw[w.name] = raw
}

// checkAccessTokens: what must be dead is dead, what must be alive is alive.
func (m *machine) checkAccessTokens(t *rapid.T, w *world) {
	for _, g := range m.grants {
		for i := range g.access {
			a := &g.access[i]
			want := m.alive(g, a, m.now())
			if got := w.alive(t, a.texts[slices.Index(m.worlds, w)]); got != want {
				t.Errorf("%s: an access token of generation %d of a grant at %d is alive: %v, want %v", w.name, a.generation, g.row.Generation, got, want)
			}
		}
	}
}

// firstWrite is the plan under which the first write of a request fails.
func firstWrite(f failure) func(int, bool) failure {
	return func(_ int, write bool) failure {
		if !write {
			return works
		}
		now := f
		f = works
		return now
	}
}

// answers sends a request in every world.
func (m *machine) answers(t *rapid.T, f failure, profile oauth.Profile, pairs ...string) ([]oauth.TokenResponse, []error) {
	responses, errs := make([]oauth.TokenResponse, len(m.worlds)), make([]error, len(m.worlds))
	for i, w := range m.worlds {
		w.faulty.arm(firstWrite(f), nil)
		responses[i], errs[i] = w.ask(t, profile, pairs...)
		w.faulty.arm(nil, nil)
	}
	return responses, errs
}

// refresh sends a request to refresh and checks its answer.
func (m *machine) refresh(t *rapid.T, p *presentation) {
	if p.client.authenticates(p.secret, m.now()) {
		m.checkPresent(t, p)
	} else {
		p.failure = works // a remembered client may get as far as a write; see unauthenticated
	}
	responses, errs := m.answers(t, p.failure, p.profile,
		"grant_type", "refresh_token", "client_id", p.client.id, "client_secret", p.secret, "refresh_token", string(p.text), "scope", p.scope)
	rows, generation := m.worlds[0].rows(t), uint32(0)
	var salt [32]byte
	if p.grant != nil {
		salt, generation = rows[p.grant.row.PublicID].SuccessorSalt, p.grant.row.Generation
	}
	want := m.model.refresh(p, m.now(), salt)
	if p.grant != nil && p.grant.row.Generation != generation {
		if m.salts[salt] {
			t.Errorf("a successor's salt is not fresh")
		}
		m.salts[salt] = true
	}
	m.decided[want.row]++
	t.Logf("%s presents generation %d of %s (%s): %s", p.client.id, p.token.generation, publicID(p.grant), p.failure, want)
	for i, w := range m.worlds {
		want.check(t, w, responses[i], errs[i])
	}
	if want.outcome != "" {
		m.remember(want.grant, responses, want.grant.row.Generation)
	}
}

// String says what is wanted.
func (a answer) String() string {
	switch {
	case a.fault:
		return a.row + ", a fault"
	case a.reasons != nil:
		return fmt.Sprintf("%s, refused: %v", a.row, a.reasons)
	}
	return a.row + ", " + a.outcome
}

func publicID(g *grant) string {
	if g == nil {
		return "no grant"
	}
	return g.row.PublicID[:6]
}

// check compares an answer with the one that must be given.
func (a answer) check(t *rapid.T, w *world, got oauth.TokenResponse, err error) {
	t.Helper()
	switch reason := reasonOf(err); {
	case a.fault && (err == nil || reason != ""):
		t.Errorf("%s: want %v, got %q, %v", w.name, a, got.Outcome, err)
	case a.fault:
	case a.reasons != nil && !slices.Contains(a.reasons, reason):
		t.Errorf("%s: want %v, got %q, %v", w.name, a, got.Outcome, err)
	case a.reasons != nil:
	case err != nil || got.Outcome != a.outcome:
		t.Errorf("%s: want %v, got %q, %v", w.name, a, got.Outcome, err)
	case got.RefreshToken != a.token.text():
		t.Errorf("%s: %v: another refresh token than the one there must be", w.name, a)
	case got.Scope.String() != a.scope.String() || got.ExpiresIn != accessTokenLifetime || got.GrantID != a.grant.row.PublicID || got.ClientID != a.grant.row.ClientID:
		t.Errorf("%s: %v: scope %q, expires in %v, grant %s, client %s", w.name, a, got.Scope, got.ExpiresIn, got.GrantID, got.ClientID)
	}
}

// mostAccessTokens of a grant are remembered, the newest.
const mostAccessTokens = 3

// remember keeps what was handed out.
func (m *machine) remember(g *grant, responses []oauth.TokenResponse, generation uint32) {
	a := accessToken{generation: generation, expires: m.clock.Now().Unix() + int64(accessTokenLifetime/time.Second)}
	for _, r := range responses {
		a.texts = append(a.texts, r.AccessToken)
	}
	g.access = append(g.access, a)
	g.access = g.access[max(0, len(g.access)-mostAccessTokens):]
}

// checkPresent: the pure decision on what each store shows is the model's row.
func (m *machine) checkPresent(t *rapid.T, p *presentation) {
	want := m.decide(p, m.now(), false)
	for _, w := range m.worlds {
		parsed, err := w.keys.ParseRefreshToken(p.text)
		if err != nil {
			if want != "P0" {
				t.Errorf("%s: an authentic token does not parse: %v", w.name, err)
			}
			continue
		}
		if want == "P0" {
			t.Errorf("%s: a forged token parses", w.name)
			continue
		}
		v, err := w.store.Grant(t.Context(), parsed.GrantID)
		view := &v
		if errors.Is(err, oauth.ErrNotFound) {
			view, err = nil, nil
		}
		must(t, err, "read grant")
		var asked oauth.Scope
		if p.scope != "" {
			asked = oauth.ParseScope(p.scope)
		}
		got := oauth.Present(view, oauth.Presentation{Token: parsed, ClientID: p.client.id, Scope: asked}, m.policy(p.client), w.keys)
		row := got.Row
		if errors.Is(got.Refusal, oauth.ErrRetryBudgetSpent) {
			row += ", budget spent"
		}
		if row != want {
			t.Errorf("%s: oauth.Present decides by row %s, the model by row %s", w.name, row, want)
		}
	}
}

// policy is what the server must make of its settings and the client's.
func (m *machine) policy(c *client) oauth.Policy {
	return oauth.Policy{
		RefreshTokenLifetime: m.refreshLifetime(c), AbsoluteLifetime: m.settings.AbsoluteLifetime,
		RetryWindow: m.retryWindow(c), LateWindow: m.settings.LateWindow, RetryBudget: m.settings.RetryBudget,
		Reusable: c.reusable, Scope: everything,
	}
}

// login logs a user in and checks the answer and the new grant.
func (m *machine) login(t *rapid.T, c *client, u *user, scope oauth.Scope, f failure) {
	responses, errs := m.answers(t, f, oauth.Standard,
		"grant_type", "password", "client_id", c.id, "client_secret", c.newestSecret(), "username", u.name, "password", u.password, "scope", scope.String())
	want := answer{outcome: "login", scope: scope}
	switch {
	case !c.authenticates(c.newestSecret(), m.now()):
		want.reasons = []string{"client_unauthenticated"}
	case u.blocked() != "":
		want.reasons = []string{u.blocked()}
	default:
		want.fault = f == fails || f == dies || f == unknown
		want.grant = m.findGrant(t, c, u, scope, !want.fault || f == dies)
	}
	if want.grant != nil && !want.fault {
		want.token = readToken(t, responses[0].RefreshToken)
		m.checkFirst(t, want.grant, want.token)
		want.grant.tokens = []token{want.token}
	}
	t.Logf("%s logs in at %s (%s): %s", u.name, c.id, f, want)
	for i, w := range m.worlds {
		want.check(t, w, responses[i], errs[i])
	}
	if want.grant != nil && !want.fault {
		m.remember(want.grant, responses, 0)
	}
}

// findGrant finds the one new row in the store, if there must be one, and adds its grant to the model.
func (m *machine) findGrant(t *rapid.T, c *client, u *user, scope oauth.Scope, made bool) *grant {
	rows := m.worlds[0].rows(t)
	for _, g := range m.grants {
		delete(rows, g.row.PublicID)
	}
	if !made {
		return nil // Check finds a row too many
	}
	if len(rows) != 1 {
		t.Fatalf("a login made %d grants", len(rows))
	}
	row := rows[slices.Collect(maps.Keys(rows))[0]]
	g := m.newGrant(c, u, scope, m.now(), &row)
	m.grants = append(m.grants, g)
	return g
}

// checkFirst: the refresh token of a login is generation 0 of the new row.
func (m *machine) checkFirst(t *rapid.T, g *grant, first token) {
	if first.grant != g.row.ID || first.generation != 0 || first.keyID != m.masterKeys[0] || first.hash(g.row.KeyID) != g.row.CurrentHash {
		t.Errorf("the first refresh token does not belong to the new grant")
	}
}
