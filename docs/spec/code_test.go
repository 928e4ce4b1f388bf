package spec

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/memory"
	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/signing"
	"github.com/counterfoil/counterfoil/internal/sqlstore"
	"github.com/counterfoil/counterfoil/internal/storetest"
	"github.com/counterfoil/counterfoil/test/proof"
)

// TestCodeFollowsModel walks through the model at random and lets the real server take
// every step with it: two nodes on one store. After each step the row of the grant, where
// each request stands, what it is about to write, and each answer must be the model's.
func TestCodeFollowsModel(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	walks, steps := 0, 0
	for seed := range proof.Rounds(t, 6) {
		source := rand.New(rand.NewPCG(seed, 0))
		for range inMemory {
			steps += b.walk(t, memory.New(b.clock.Now), source)
		}
		steps += b.walk(t, b.sqlite, source)
		walks += inMemory + 1
	}
	proof.Count(t, walks, "walks")
	proof.Count(t, steps, "steps")
}

const (
	inMemory     = 9 // walks with the memory store, for each with SQLite
	stepsInAWalk = 120
)

// clock stands still until it is set.
type clock struct{ micro atomic.Int64 }

func (c *clock) Now() time.Time { return time.UnixMicro(c.micro.Load()).UTC() }

// reach sets the clock, never back.
func (c *clock) reach(at time.Time) { c.micro.Store(max(c.micro.Load(), at.UnixMicro())) }

// bench is what all walks share.
type bench struct {
	clock    *clock // of the stores
	keys     *oauth.Keys
	formulas *formulas
	signer   oauth.Signer
	secret   oauth.Secret // the client's
	sqlite   storetest.Store
	walks    int
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{clock: &clock{}}
	b.clock.reach(time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC))
	masterKey := bytes.Repeat([]byte{7}, oauth.MasterKeySize)
	b.formulas = newFormulas(t, masterKey)
	var err error
	if b.keys, err = oauth.ParseKeys(oauth.FormatKey(1, masterKey)); err != nil {
		t.Fatal(err)
	}
	if b.secret, err = oauth.GenerateClientSecret(crand.Reader); err != nil {
		t.Fatal(err)
	}
	b.signer, err = signing.Open(t.Context(), signing.Options{
		Store: memory.New(time.Now), Keys: func() *oauth.Keys { return b.keys }, Now: time.Now, Rand: crand.Reader, Alg: signing.EdDSA,
	})
	if err != nil {
		t.Fatal(err)
	}
	sqlite, err := sqlstore.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "counterfoil.db"), sqlstore.Options{Now: b.clock.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sqlite.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	if err := sqlite.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.sqlite = sqlite
	return b
}

// directory finds the store's users and takes every password for the right one.
type directory struct{ storetest.Store }

func (d directory) Lookup(ctx context.Context, login string) (oauth.Account, error) {
	user, err := d.UserByLogin(ctx, login)
	return oauth.Account{User: user, Known: true}, err
}

func (directory) Verify(context.Context, oauth.Account, oauth.Secret) error { return nil }

// walk is one way through the model, and the real server on the same way.
type walk struct {
	*bench
	t      *testing.T
	source *rand.Rand
	model  Model
	state  State
	told   []string // what happened, for a failure

	store                   storetest.Store
	nodes                   [2]*oauth.Server
	name                    string // of user and client
	retryWindow, lateWindow time.Duration
	grant                   oauth.GrantID
	publicID                string
	epoch, clientVersion    int64 // in the beginning

	flights [mostRequests]*flight
	late    [mostLateWrites]*call
	moving  *flight // the one request that moves
	hurry   bool    // the server's clock says that it took too long

	hashes  map[Token][]byte // what the row has of the model's tokens
	secrets map[Token][]byte // and what the clients have
}

// walk takes one walk and returns how many steps it had.
func (b *bench) walk(t *testing.T, store storetest.Store, source *rand.Rand) int {
	t.Helper()
	b.walks++
	w := &walk{
		bench: b, t: t, source: source, model: anyModel(source), store: store, name: fmt.Sprintf("%d-of-this-run", b.walks),
		hashes: map[Token][]byte{}, secrets: map[Token][]byte{},
	}
	defer w.end()
	w.begin()
	for step := range stepsInAWalk {
		if !w.step() {
			return step
		}
	}
	return stepsInAWalk
}

// anyModel is a configuration at random, with wide bounds.
func anyModel(source *rand.Rand) Model {
	one := func(in int) bool { return source.IntN(in) == 0 }
	m := Model{
		Requests: 1 + source.IntN(mostRequests), Generations: mostGenerations - 1, Stragglers: source.IntN(3), LateWrites: source.IntN(mostLateWrites + 1),
		Budget: uint8(source.IntN(4)), Administrator: one(2), Thief: one(3), TooMuch: one(4), Login: one(3), NoRetryWindow: one(5),
	}
	m.Reusable = !m.NoRetryWindow && one(5)
	return m
}

// begin makes client and user, the nodes and, unless the walk begins with a login, the grant.
func (w *walk) begin() {
	w.retryWindow, w.lateWindow = 100*time.Second, 10*time.Second
	if w.source.IntN(2) == 0 {
		w.retryWindow, w.lateWindow = w.lateWindow, w.retryWindow
	}
	if w.model.NoRetryWindow {
		w.retryWindow = 0
	}
	w.must(w.store.CreateClient(w.ctx(), oauth.Client{
		ID: w.name, Active: true, Scope: oauth.Scope{"read"}, Secrets: []oauth.ClientSecret{{Hash: w.keys.HashClientSecret(w.secret)}},
		ReusableRefreshTokens: w.model.Reusable,
	}, oauth.Event{}))
	w.must(w.store.CreateUser(w.ctx(), oauth.User{
		Subject: oauth.Subject{ID: w.name, Username: w.name, Enabled: true, State: oauth.SubjectActive}, PasswordHash: "any",
	}, oauth.Event{}))
	client, err := w.store.Client(w.ctx(), w.name)
	w.must(err)
	user, err := w.store.User(w.ctx(), w.name)
	w.must(err)
	w.clientVersion, w.epoch = client.Version, user.Epoch
	for i := range w.nodes {
		w.nodes[i] = w.newNode()
	}
	w.state = w.model.Begin()
	if !w.model.Login {
		w.firstGrant()
	}
	w.compareRow()
}

func (w *walk) newNode() *oauth.Server {
	return &oauth.Server{
		Store: &gate{w.store, w}, Directory: directory{w.store}, Signer: w.signer, Keys: func() *oauth.Keys { return w.keys }, Now: w.now, Rand: crand.Reader,
		Settings: oauth.Settings{
			Issuer: "https://issuer.example.com", AccessTokenLifetime: time.Hour, RefreshTokenLifetime: 30 * 24 * time.Hour,
			RetryWindow: &w.retryWindow, LateWindow: w.lateWindow, RetryBudget: int(w.model.Budget), SigningAlg: signing.EdDSA,
		},
	}
}

// now is the nodes' clock, which no decision about a grant depends on. A request gives
// up when it says that too much time has passed.
func (w *walk) now() time.Time {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	if w.hurry {
		return now.Add(time.Minute)
	}
	return now
}

// firstGrant is a login before the walk begins.
func (w *walk) firstGrant() {
	f := w.start(w.nodes[0], w.request(&Request{From: Login}))
	w.pass(f, nil)
	if f.at.write == nil {
		w.fatalf("the login does not get to its write: %v", f.at.err)
	}
	w.made(f.at.write)
	w.pass(f, f.at.write.do())
	w.must(f.at.err)
	w.received(Token{0, 1}, f.at.response.RefreshToken)
}

// made remembers the grant that a login is about to make.
func (w *walk) made(c *call) {
	w.grant, w.publicID = c.create.Grant.ID, c.create.Grant.PublicID
	w.hashes[Token{0, 1}] = c.create.Grant.CurrentHash[:]
}

// received remembers the token of a login: its secret is random.
func (w *walk) received(token Token, spelled oauth.Secret) {
	w.secrets[token] = secretOf(w.t, spelled)
	if !bytes.Equal(w.formulas.hash(w.grant, token.Generation, w.secrets[token]), w.hashes[token]) {
		w.fatalf("the token of the login does not have the hash in the row")
	}
}

// request is a request of the model as it is sent.
func (w *walk) request(r *Request) oauth.TokenRequest {
	p := oauth.Parameters{"client_id": {Value: w.name}, "client_secret": {Value: string(w.secret)}}
	if r.From == Login {
		p["grant_type"] = oauth.Parameter{Value: oauth.GrantTypePassword}
		p["username"], p["password"] = oauth.Parameter{Value: w.name}, oauth.Parameter{Value: "right horse"}
	} else {
		p["grant_type"] = oauth.Parameter{Value: oauth.GrantTypeRefreshToken}
		p["refresh_token"] = oauth.Parameter{Value: w.spell(r.Token)}
	}
	if r.TooMuch {
		p["scope"] = oauth.Parameter{Value: "read everything"}
	}
	return oauth.TokenRequest{Profile: oauth.Standard, Parameters: p, Source: "192.0.2.0/24", RequestID: "request"}
}

// spell is a token of the model as it is sent.
func (w *walk) spell(token Token) string {
	secret, known := w.secrets[token]
	if !known {
		w.fatalf("nobody can have the token %d%c", token.Generation, letter(token.Value))
	}
	return w.formulas.spell(w.grant, token.Generation, secret)
}

// end lets no request stay behind.
func (w *walk) end() {
	for _, f := range w.flights {
		if f != nil {
			w.abandon(f)
		}
	}
}

func (w *walk) ctx() context.Context { return w.t.Context() }

func (w *walk) must(err error) {
	w.t.Helper()
	if err != nil {
		w.fatalf("%v", err)
	}
}

// fatalf ends the test with what happened before.
func (w *walk) fatalf(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("%s\n%+v, %T, windows %v and %v\n    %s", fmt.Sprintf(format, args...), w.model, w.store, w.retryWindow, w.lateWindow, strings.Join(w.told, "\n    "))
}

// choice is a move that the walk could take.
type choice struct {
	move  Move
	after State
}

// step takes one of the possible moves, in the model and in the server, and compares.
// It returns false at the end: when there is none, or the client has dropped its token.
func (w *walk) step() bool {
	if w.state.LoggedOut {
		return false
	}
	var choices []choice
	total := 0
	w.model.Moves(&w.state, func(did Move, after State) {
		if w.possible(did) {
			choices = append(choices, choice{did, after})
			total += w.weight(did)
		}
	})
	if total == 0 {
		return false
	}
	pick := w.source.IntN(total)
	for _, c := range choices {
		if pick -= w.weight(c.move); pick < 0 {
			w.take(c)
			return true
		}
	}
	return false
}

// weight makes what leads on more frequent than what ends things. A slow request moves
// rarely, so that much happens between its steps; an administrator acts most often
// between a look and its write.
func (w *walk) weight(did Move) int {
	f := w.flights[did.Slot]
	if did.aboutRequest() && f != nil && f.slow && did.Kind != ClientStopsWaiting {
		return weights[did.Kind]
	}
	if did.byAdministrator() && !w.somebodyWrites() {
		return weights[did.Kind]
	}
	return 10 * weights[did.Kind]
}

func (w *walk) somebodyWrites() bool {
	return slices.ContainsFunc(w.state.Requests[:], func(r Request) bool { return r.From != Nobody && r.Phase == Writing })
}

var weights = map[MoveKind]int{
	ClientSends: 12, ClientLogsIn: 12, ThiefSends: 3, ThiefSteals: 2, ClientStopsWaiting: 4,
	Decides: 12, LookFails: 1, RecordFails: 1,
	Commits: 12, Conflicts: 12, ConflictsGivesUp: 1, Fails: 1, UnknownCommitted: 4, UnknownNever: 4, UnknownLater: 4,
	AnswerArrives: 12, AnswerUnused: 2, Crashes: 1, LateWriteArrives: 4, LateWriteNeverComes: 2, RetryWindowCloses: 2, LateWindowCloses: 2,
	Revokes: 3, ChangesPassword: 3, Blocks: 4, Unblocks: 12, Deactivates: 4, Activates: 12,
}

// possible leaves out what the code, unlike the model, cannot do: the windows close in
// the order of their lengths; a request makes at most eight attempts, so that after seven
// it must not fail once more; and a login gives up after those only, not by the clock.
func (w *walk) possible(did Move) bool {
	grant := &w.state.Grant
	switch did.Kind {
	case RetryWindowCloses:
		return w.retryWindow < w.lateWindow || !grant.LateWindow
	case LateWindowCloses:
		return w.lateWindow < w.retryWindow || !grant.RetryWindow
	case Conflicts, UnknownCommitted, UnknownNever, UnknownLater:
		return w.flights[did.Slot].attempts < 7
	case ConflictsGivesUp:
		return w.state.Requests[did.Slot].From != Login
	}
	return true
}

// take takes a move and compares what came of it.
func (w *walk) take(c choice) {
	w.told = append(w.told, describe(c.move, &w.state, &c.after))
	if v := w.model.check(&Step{c.move, &w.state, &c.after}, Invariants); v != nil {
		w.fatalf("the model itself: %s: %s", v.Invariant, v.What)
	}
	before := w.state
	w.state = c.after
	w.do(c.move, &before)
	if c.move.aboutRequest() && w.flights[c.move.Slot] != nil {
		w.compareRequest(c.move, &before.Requests[c.move.Slot])
	}
	w.compareRow()
}

// do makes the real thing happen.
func (w *walk) do(did Move, before *State) {
	switch did.Kind {
	case ClientSends, ThiefSends, ClientLogsIn:
		node := w.nodes[w.source.IntN(len(w.nodes))]
		w.flights[did.Slot] = w.start(node, w.request(&w.state.Requests[did.Slot]))
		w.flights[did.Slot].slow = w.source.IntN(4) == 0
	case LateWriteArrives, LateWriteNeverComes:
		w.doLate(did, before)
	case RetryWindowCloses:
		w.passTime(w.retryWindow)
	case LateWindowCloses:
		w.passTime(w.lateWindow)
	case ThiefSteals, ClientStopsWaiting:
	case Revokes, ChangesPassword, Blocks, Unblocks, Deactivates, Activates:
		w.administer(did.Kind)
	default:
		w.doRequest(did, w.flights[did.Slot])
	}
}

// doRequest lets a request take a step.
func (w *walk) doRequest(did Move, f *flight) {
	c := f.at.write
	f.recorded = ""
	switch did.Kind {
	case Crashes:
		w.abandon(f)
		w.flights[did.Slot] = nil
	case AnswerArrives, AnswerUnused:
		w.flights[did.Slot] = nil
	case Decides:
		w.pass(f, nil)
	case RecordFails:
		f.recording = errDisk
		w.pass(f, nil)
	case LookFails, Fails:
		w.pass(f, errDisk)
	case Commits:
		w.pass(f, w.carryOut(c, nil))
	case Conflicts:
		f.attempts++
		w.pass(f, w.carryOut(c, oauth.ErrConflict))
	case ConflictsGivesUp:
		w.hurry = true
		w.pass(f, w.carryOut(c, oauth.ErrConflict))
		w.hurry = false
	case UnknownCommitted:
		f.attempts++
		_ = w.carryOut(c, nil)
		w.pass(f, oauth.ErrOutcomeUnknown)
	case UnknownNever:
		f.attempts++
		w.pass(f, oauth.ErrOutcomeUnknown)
	case UnknownLater:
		f.attempts++
		w.keepForLater(c)
		w.pass(f, oauth.ErrOutcomeUnknown)
	default:
		w.fatalf("no such move: %s", did.Kind)
	}
}

// carryOut writes, which must end as in the model.
func (w *walk) carryOut(c *call, want error) error {
	w.t.Helper()
	err := c.do()
	if !errors.Is(err, want) || want == nil && err != nil {
		w.fatalf("the write: got %v, want %v", err, want)
	}
	return err
}

func (w *walk) keepForLater(c *call) {
	for i := range w.late {
		if w.late[i] == nil {
			w.late[i] = c
			return
		}
	}
}

func (w *walk) doLate(did Move, before *State) {
	c := w.late[did.Slot]
	w.late[did.Slot] = nil
	if did.Kind == LateWriteNeverComes {
		return
	}
	var want error
	if probe := *before; !w.model.apply(&probe, &before.Late[did.Slot]) {
		want = oauth.ErrConflict
	}
	_ = w.carryOut(c, want)
}

// passTime lets time pass until a window of the last rotation has just closed.
func (w *walk) passTime(window time.Duration) {
	v, err := w.store.Grant(w.ctx(), w.grant)
	w.must(err)
	w.clock.reach(v.Grant.RotatedAt.Add(window))
}

func (w *walk) administer(kind MoveKind) {
	enabled, state := false, oauth.SubjectActive
	switch kind {
	case Revokes:
		_, err := w.store.RevokeGrants(w.ctx(), admin.GrantFilter{PublicID: w.publicID}, "administrator", oauth.Event{})
		w.must(err)
	case ChangesPassword:
		w.must(w.store.SetPassword(w.ctx(), w.name, "another", true, oauth.Event{}))
	case Blocks:
		switch w.source.IntN(3) {
		case 0:
			enabled, state = true, oauth.SubjectLocked
		case 1:
			enabled, state = true, oauth.SubjectReset
		}
		w.must(w.store.SetUserState(w.ctx(), w.name, &enabled, state, oauth.Event{}))
	case Unblocks:
		enabled = true
		w.must(w.store.SetUserState(w.ctx(), w.name, &enabled, state, oauth.Event{}))
	case Deactivates, Activates:
		client, err := w.store.Client(w.ctx(), w.name)
		w.must(err)
		client.Active = kind == Activates
		w.must(w.store.UpdateClient(w.ctx(), client, oauth.Event{}))
	}
}

// compareRow compares the row of the grant, and what the store shows with it.
func (w *walk) compareRow() {
	w.t.Helper()
	v, err := w.store.Grant(w.ctx(), w.grant)
	s := &w.state
	if errors.Is(err, oauth.ErrNotFound) && !s.Grant.Exists {
		return
	}
	w.must(err)
	g := &v.Grant
	got := Grant{
		Exists: true, Active: g.Status == oauth.GrantActive, Version: uint8(g.Version), Generation: uint8(g.Generation),
		Retries: uint8(g.Retries), Epoch: uint8(g.SubjectEpoch - w.epoch), Current: s.Grant.Current, Previous: s.Grant.Previous,
	}
	if elapsed := v.Now.Sub(g.RotatedAt); g.Generation > 0 {
		got.RetryWindow, got.LateWindow = elapsed < w.retryWindow, elapsed < w.lateWindow
	}
	if got != s.Grant {
		w.fatalf("the row is\n%+v, want\n%+v", got, s.Grant)
	}
	subject := Subject{Epoch: uint8(v.Subject.Epoch - w.epoch), Blocked: v.Subject.Blocked() != nil}
	client := Client{Version: uint8(v.ClientVersion - w.clientVersion + 1), Active: v.ClientActive}
	if subject != s.Subject || client != s.Client {
		w.fatalf("subject and client are %+v %+v, want %+v %+v", subject, client, s.Subject, s.Client)
	}
	if !bytes.Equal(g.CurrentHash[:], w.hashes[Token{s.Grant.Generation, s.Grant.Current}]) {
		w.fatalf("the row has the hash of another current token")
	}
	if s.Grant.Generation > 0 && !bytes.Equal(g.PreviousHash[:], w.hashes[Token{s.Grant.Generation - 1, s.Grant.Previous}]) {
		w.fatalf("the row has the hash of another previous token")
	}
}

// compareRequest compares where a request stands after a move.
func (w *walk) compareRequest(did Move, before *Request) {
	w.t.Helper()
	f, r := w.flights[did.Slot], &w.state.Requests[did.Slot]
	at := f.at
	wantsToRead := !at.ended && at.write == nil
	switch {
	case wantsToRead != (r.Phase == Looking), at.ended != (r.Phase == Answered):
		w.fatalf("the request stands elsewhere: %s; the model: %+v", at.describe(), *r)
	case r.Phase == Writing:
		w.compareWrite(at.write, before, r)
	case r.Phase == Answered:
		w.compareAnswer(at, before, r)
	}
	w.compareRecord(did, f, r)
}

func (at stop) describe() string {
	switch {
	case at.ended:
		return fmt.Sprintf("it has ended with %v", at.err)
	case at.write != nil:
		return "it is about to write " + writes[at.write.kind]
	}
	return "it is about to look"
}

// compareRecord: the refusal of an authentic token is recorded before it is told, and
// names the row that decided; other answers leave no trace.
func (w *walk) compareRecord(did Move, f *flight, r *Request) {
	if did.Kind != Decides && did.Kind != RecordFails {
		return
	}
	want := ""
	if did.Row != "" && (did.Kind == RecordFails || r.Answer == InvalidGrant || r.Write.Kind == Revoke) {
		want = "docs/rotation.md " + string(did.Row)
	}
	if f.recorded != want {
		w.fatalf("recorded %q, want %q", f.recorded, want)
	}
}

// compareWrite compares what a request is about to write.
func (w *walk) compareWrite(c *call, before, r *Request) {
	w.t.Helper()
	m := &r.Write
	wantKind := m.Kind
	if wantKind == Reuse {
		wantKind = Rotate
	}
	if c.kind != wantKind {
		w.fatalf("about to write %s, want %s", writes[c.kind], writes[m.Kind])
	}
	if m.Kind == Create {
		w.made(c)
	}
	if c.id != w.grant {
		w.fatalf("about to write another grant")
	}
	if m.Kind == Revoke {
		return
	}
	if got := uint8(c.clientVersion - w.clientVersion + 1); got != m.ClientVersion {
		w.fatalf("about to write under client version %d, want %d", got, m.ClientVersion)
	}
	if m.Kind == Create {
		return
	}
	if got := uint8(c.old.Version); got != m.Version {
		w.fatalf("about to write upon version %d, want %d", got, m.Version)
	}
	switch m.Kind {
	case Rotate:
		w.compareRotation(c, before, r)
	case Reuse:
		if !bytes.Equal(c.next.CurrentHash[:], w.hashes[r.Token]) || c.next.Generation != c.old.Generation {
			w.fatalf("a reuse changes the refresh token")
		}
	case Retry:
		if c.budget != int(w.model.Budget) {
			w.fatalf("about to write with budget %d", c.budget)
		}
	}
}

// compareRotation computes the successor by the text. On a request's first attempt it
// learns the salt; afterwards that must stay.
func (w *walk) compareRotation(c *call, before, r *Request) {
	w.t.Helper()
	successor := Token{r.Write.Generation, r.Write.Current}
	secret := w.formulas.successor(w.grant, successor.Generation, c.next.SuccessorSalt, w.secrets[r.Token])
	if before.Successor == 0 {
		w.secrets[successor] = secret
		w.hashes[successor] = w.formulas.hash(w.grant, successor.Generation, secret)
	}
	switch {
	case !bytes.Equal(secret, w.secrets[successor]):
		w.fatalf("a further attempt with another salt")
	case c.next.Generation != uint32(successor.Generation), !bytes.Equal(c.next.CurrentHash[:], w.hashes[successor]), !bytes.Equal(c.next.PreviousHash[:], w.hashes[r.Token]):
		w.fatalf("about to write another successor")
	}
}

// compareAnswer compares the answer that a request ended with.
func (w *walk) compareAnswer(at stop, before, r *Request) {
	w.t.Helper()
	if got := answerOf(at.err); got != r.Answer {
		w.fatalf("answered %s (%v), want %s", answers[got], at.err, answers[r.Answer])
	}
	if r.Answer != OK {
		return
	}
	token := w.model.HandsOut(r)
	if r.From == Login {
		w.received(token, at.response.RefreshToken)
	}
	if string(at.response.RefreshToken) != w.spell(token) {
		w.fatalf("answered with another refresh token")
	}
	if before.Phase == Writing && at.response.Outcome != outcomes[before.Write.Kind] {
		w.fatalf("the outcome is %q, want %q", at.response.Outcome, outcomes[before.Write.Kind])
	}
	w.compareAccessToken(at.response.AccessToken, token)
}

var outcomes = map[WriteKind]string{Create: "login", Rotate: "rotated", Reuse: "reused", Retry: "retried"}

// answerOf is the answer that stands for an error of Server.Token.
func answerOf(err error) Answer {
	var refusal *oauth.Refusal
	switch {
	case err == nil:
		return OK
	case !errors.As(err, &refusal):
		return Unavailable
	case errors.Is(refusal, oauth.ErrRetryBudgetSpent):
		return TooManyRetries
	}
	return map[string]Answer{"invalid_grant": InvalidGrant, "invalid_client": InvalidClient, "invalid_scope": InvalidScope}[refusal.Code]
}

// compareAccessToken: the access token is of this grant and of the refresh token's generation.
func (w *walk) compareAccessToken(access oauth.Secret, token Token) {
	w.t.Helper()
	_, payload, err := w.signer.Verify(string(access))
	w.must(err)
	var claims struct {
		GrantID    string `json:"grant_id"`
		Generation *uint8 `json:"gen"`
	}
	w.must(json.Unmarshal(payload, &claims))
	if claims.GrantID != w.publicID || claims.Generation == nil || *claims.Generation != token.Generation {
		w.fatalf("the access token has the claims %s", base64.StdEncoding.EncodeToString(payload))
	}
}
