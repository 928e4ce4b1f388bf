package rotation_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/test/proof"
)

// TestNthStoreOperationFails lets the n-th operation of the store fail, in every way
// in which it can, for every n that a request has: the answer is the right one or a
// fault, and the identical request sent again gets the right one, with the one
// successor (I5, I6, I7, I12). Rounds then let two operations fail.
func TestNthStoreOperationFails(t *testing.T) {
	t.Parallel()
	var stages []*stage
	cases := 0
	for _, e := range engines {
		s := newStage(t, e)
		stages = append(stages, s)
		for i := range scenarios {
			if e.slow && proof.Budget(t) == 0 {
				break // the short version only draws from these
			}
			cases += s.failEach(t, &scenarios[i])
		}
	}
	for seed := range proof.Rounds(t, 5) {
		random := rand.New(rand.NewPCG(seed, 0))
		for range 10 {
			two := plan{anyFailure(random), anyFailure(random)}
			stages[random.IntN(len(stages))].run(t, &scenarios[random.IntN(len(scenarios))], two)
			cases++
		}
	}
	proof.Count(t, cases, "requests with failing operations")
}

// plan is which operations of a request fail.
type plan []failing

type failing struct {
	n   int
	how failure
}

// anyFailure fails one of the operations that a request may have if others fail.
func anyFailure(random *rand.Rand) failing {
	return failing{n: 1 + random.IntN(8), how: fails + failure(random.IntN(int(afterRepeating)))}
}

// of is the plan for a faultyStore.
func (p plan) of(n int, _ bool) failure {
	for _, f := range p {
		if f.n == n {
			return f.how
		}
	}
	return works
}

// mayHaveHappened: a write of the plan may have happened although nobody was told.
func (p plan) mayHaveHappened() bool {
	return slices.ContainsFunc(p, func(f failing) bool { return f.how != works && f.how != fails && f.how != unknown })
}

// stage is a world on which scenarios are played, each with a user and client of its own.
type stage struct {
	*world
	played int
}

func newStage(t *testing.T, e engine) *stage {
	c := &clock{now: time.Date(2026, 3, 29, 1, 30, 0, 123_456_789, time.UTC)}
	settings := defaultSettings()
	settings.RetryBudget = 100 // nothing here is about the budget
	return &stage{world: newWorld(t, e, c.Now, settings)}
}

// failEach plays a scenario with each failure of each of its operations, and returns
// how many times that was.
func (s *stage) failEach(t *testing.T, sc *scenario) int {
	t.Helper()
	s.run(t, sc, nil)
	for n, cases := 1, 0; ; n++ {
		writes := s.run(t, sc, plan{{n, fails}})
		if len(writes) < n {
			return cases
		}
		cases++
		for how := fails + 1; how <= afterRepeating && writes[n-1]; how++ { // a look can only fail or not
			s.run(t, sc, plan{{n, how}})
			cases++
		}
	}
}

// scenario is a request and what it must get, whatever fails.
type scenario struct {
	name   string
	client oauth.Client
	before func(a *act)                    // brings the grant to the moment before the request
	ask    func(a *act) oauth.TokenRequest // the request; nil: refresh with the presented token
	race   bool                            // the same request comes in between look and write
	want   []string                        // reasons of the refusal; nil: a success
	again  []string                        // more reasons for the request sent again
	ends   bool                            // the grant is over, at the latest after the second answer
	same   bool                            // the grant's row is as before
	mend   func(a *act)                    // lets an honest client go on, afterwards
}

// act is one playing of a scenario.
type act struct {
	*stage
	t         *testing.T
	what      string
	client    oauth.Client
	user      string
	presented oauth.Secret // what the request presents
	newest    oauth.Secret // what an honest client has
	access    oauth.Secret // the first access token
	scope     string
}

const (
	actSecret   = "client secret"
	actPassword = "password"
)

var (
	public   = oauth.Client{Public: true}
	noWindow = time.Duration(0)
	strict   = oauth.Client{RetryWindow: &noWindow}
)

var scenarios = []scenario{
	{name: "login", client: public, ask: (*act).login},
	{name: "first login at a client", client: oauth.Client{}, ask: (*act).login},
	{name: "newest", client: public, before: (*act).rotated},
	{name: "newest, confidential", client: oauth.Client{}, before: (*act).rotated},
	{name: "newest, no window", client: strict, before: (*act).rotated},
	{name: "retry", client: public, before: (*act).predecessor},
	{name: "retry, confidential", client: oauth.Client{}, before: (*act).predecessor},
	{name: "reuse", client: oauth.Client{ReusableRefreshTokens: true}},
	{name: "narrowed", client: public, before: func(a *act) { a.rotated(); a.scope = "read" }},
	{name: "two at once", client: public, before: (*act).rotated, race: true},
	{name: "two retries at once", client: public, before: (*act).predecessor, race: true},
	{name: "two at once, reusable", client: oauth.Client{ReusableRefreshTokens: true}, race: true},
	{name: "outside of the scope", client: public, before: func(a *act) { a.rotated(); a.scope = "other" }, want: []string{"scope_invalid"}, same: true},
	{name: "straggler", client: public, before: func(a *act) { a.older(2) }, want: []string{"straggler"}, same: true},
	{name: "replay of the predecessor", client: strict, before: (*act).predecessor, want: []string{"replay"}, again: []string{"grant_revoked"}, ends: true},
	{name: "replay", client: public, before: func(a *act) { a.older(3) }, want: []string{"replay"}, again: []string{"grant_revoked"}, ends: true},
	{name: "replay, outside of the scope", client: public, before: func(a *act) { a.older(3); a.scope = "other" }, want: []string{"replay"}, again: []string{"grant_revoked"}, ends: true},
	{name: "two replays at once", client: public, before: func(a *act) { a.older(3) }, race: true, want: []string{"replay", "grant_revoked"}, ends: true},
	{name: "forked history", client: public, before: (*act).forked, want: []string{"history_forked"}, again: []string{"grant_revoked"}, ends: true},
	{name: "revoked grant", client: public, before: (*act).revoked, want: []string{"grant_revoked"}, ends: true, same: true},
	{name: "disabled user", client: public, before: (*act).disabled, want: []string{"subject_disabled"}, same: true, mend: (*act).enable},
	{name: "new password", client: public, before: (*act).passwordChanged, want: []string{"grant_revoked"}, same: true, ends: true},
	{name: "deactivated client", client: public, before: (*act).deactivated, want: []string{"client_unauthenticated"}, same: true, mend: (*act).activate},
	{name: "changed client", client: public, before: (*act).clientChanged},
}

// run plays a scenario once, and returns of each operation of the first request
// whether it was a write.
func (s *stage) run(t *testing.T, sc *scenario, p plan) (writes []bool) {
	t.Helper()
	a := s.begin(t, sc, p)
	request := a.refresh(a.presented)
	if sc.ask != nil {
		request = sc.ask(a)
	}
	before := a.row()
	var rival *answered
	s.faulty.arm(p.of, func(n int) {
		if sc.race && n == 2 { // 1 is the look
			rival = a.send(request)
		}
	})
	first := a.send(request)
	writes = s.faulty.writes
	s.faulty.arm(nil, nil)
	a.checkFirst(sc, first)
	if rival != nil {
		a.checkFirst(sc, rival)
	}
	s.faulty.settle(never)
	if a.oneUse(sc) && first.err == nil {
		a.newest = first.RefreshToken
	} else {
		again := a.send(request)
		s.faulty.settle(never + 1)
		if a.lostForGood(sc, p, first, again) {
			return writes
		}
		a.checkAgain(sc, again, first, rival)
	}
	s.faulty.settle(never + 1)
	a.checkAfter(sc, before)
	return writes
}

// begin makes a user and a client, logs in, and brings the grant to the moment.
func (s *stage) begin(t *testing.T, sc *scenario, p plan) *act {
	t.Helper()
	s.played++
	a := &act{stage: s, t: t, client: sc.client, user: fmt.Sprintf("user %d", s.played)}
	a.what = fmt.Sprintf("%s/%s/%v", s.name, sc.name, p)
	a.client.ID = fmt.Sprintf("client-%d", s.played)
	s.addUser(t, "id of "+a.user, a.user, actPassword)
	if a.client.Public {
		s.addClient(t, a.client, "")
	} else {
		s.addClient(t, a.client, actSecret)
	}
	if sc.ask == nil {
		first := a.send(a.login())
		must(t, first.err, "log in")
		a.newest, a.presented, a.access = first.RefreshToken, first.RefreshToken, first.AccessToken
	}
	if sc.before != nil {
		sc.before(a)
	}
	return a
}

// answered is an answer to a request.
type answered struct {
	oauth.TokenResponse
	err error
}

func (a *act) send(r oauth.TokenRequest) *answered {
	response, err := a.server.Token(a.t.Context(), r)
	return &answered{response, err}
}

// must sends a request that has to succeed, and returns its refresh token.
func (a *act) must(r oauth.TokenRequest) oauth.Secret {
	a.t.Helper()
	got := a.send(r)
	if got.err != nil {
		a.t.Fatalf("%s: %v", a.what, got.err)
	}
	return got.RefreshToken
}

func (a *act) request(pairs ...string) oauth.TokenRequest {
	p := oauth.Parameters{"client_id": {Value: a.client.ID}}
	if !a.client.Public {
		p["client_secret"] = oauth.Parameter{Value: actSecret}
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			p[pairs[i]] = oauth.Parameter{Value: pairs[i+1]}
		}
	}
	return oauth.TokenRequest{Parameters: p, Source: home}
}

func (a *act) login() oauth.TokenRequest {
	return a.request("grant_type", "password", "username", a.user, "password", actPassword, "scope", "read write")
}

func (a *act) refresh(token oauth.Secret) oauth.TokenRequest {
	return a.request("grant_type", "refresh_token", "refresh_token", string(token), "scope", a.scope)
}

// older lets the honest client refresh so many times; the request presents its first token.
func (a *act) older(times int) {
	for range times {
		a.newest = a.must(a.refresh(a.newest))
	}
}

func (a *act) predecessor() { a.older(1) }

func (a *act) rotated() {
	a.older(1)
	a.presented = a.newest
}

func (a *act) forked() {
	a.rotated()
	other := readToken(a.t, a.newest)
	other.secret[0] ^= 1
	a.presented = other.text()
}

func (a *act) revoked() {
	a.rotated()
	must(a.t, a.store.RevokeGrant(a.t.Context(), readToken(a.t, a.newest).grant, "test", oauth.Event{}), "revoke")
}

func (a *act) disabled() {
	a.rotated()
	_, err := a.operator.DisableUser(a.t.Context(), a.user)
	must(a.t, err, "disable")
}

func (a *act) enable() {
	_, err := a.operator.EnableUser(a.t.Context(), a.user)
	must(a.t, err, "enable")
}

func (a *act) passwordChanged() {
	a.rotated()
	_, err := a.operator.SetPassword(a.t.Context(), a.user, "another")
	must(a.t, err, "set password")
}

func (a *act) deactivated() {
	a.rotated()
	_, err := a.operator.DeactivateClient(a.t.Context(), a.client.ID)
	must(a.t, err, "deactivate")
}

func (a *act) activate() {
	_, err := a.operator.ActivateClient(a.t.Context(), a.client.ID)
	must(a.t, err, "activate")
}

func (a *act) clientChanged() {
	a.rotated()
	a.activate() // it is active, but another version now
}

// row is the row of the presented token's grant.
func (a *act) row() oauth.Grant {
	if a.presented == "" {
		return oauth.Grant{}
	}
	v, err := a.store.Grant(a.t.Context(), readToken(a.t, a.presented).grant)
	must(a.t, err, "read grant")
	return v.Grant
}

// oneUse: with no window the same token again is a replay, so an answered request
// is not sent again.
func (a *act) oneUse(sc *scenario) bool { return a.client.RetryWindow != nil && sc.want == nil }

// lostForGood: with no window, a rotation that happened and was not answered costs
// the session; docs/rotation.md says so.
func (a *act) lostForGood(sc *scenario, p plan, first, again *answered) bool {
	return a.oneUse(sc) && first.err != nil && p.mayHaveHappened() && errors.Is(again.err, oauth.ErrReplay)
}

// checkFirst: the right answer, or a fault. A refusal that ends the grant is told
// when that is durable (I5).
func (a *act) checkFirst(sc *scenario, got *answered) {
	a.t.Helper()
	reason := reasonOf(got.err)
	switch {
	case got.err != nil && reason == "":
	case sc.want == nil && got.err != nil:
		a.t.Errorf("%s: an honest client was refused: %v", a.what, got.err)
	case sc.want != nil && !slices.Contains(sc.want, reason):
		a.t.Errorf("%s: got %q, %v; want a refusal %v or a fault", a.what, got.Outcome, got.err, sc.want)
	case sc.ends && a.row().Status == oauth.GrantActive && a.epoch() == a.row().SubjectEpoch:
		a.t.Errorf("%s: it was told that the grant is over, and it is not", a.what)
	}
}

// epoch is the user's.
func (a *act) epoch() int64 {
	u, err := a.store.User(a.t.Context(), a.user)
	must(a.t, err, "read user")
	return u.Epoch
}

// checkAgain: the same request again gets the right answer, and the one successor.
func (a *act) checkAgain(sc *scenario, got *answered, before ...*answered) {
	a.t.Helper()
	if sc.want != nil {
		if reason := reasonOf(got.err); !slices.Contains(slices.Concat(sc.want, sc.again), reason) {
			a.t.Errorf("%s: sent again: got %q, %v; want a refusal %v", a.what, got.Outcome, got.err, sc.want)
		}
		return
	}
	if got.err != nil {
		a.t.Fatalf("%s: sent again: %v", a.what, got.err)
	}
	a.newest = got.RefreshToken
	for _, b := range before {
		if b != nil && b.err == nil && sc.ask == nil && b.RefreshToken != got.RefreshToken {
			a.t.Errorf("%s: two successors", a.what)
		}
	}
}

// checkAfter: an honest client goes on, or nobody does.
func (a *act) checkAfter(sc *scenario, before oauth.Grant) {
	a.t.Helper()
	if sc.same && !reflect.DeepEqual(a.row(), before) {
		a.t.Errorf("%s: a refusal changed the grant", a.what)
	}
	if sc.mend != nil {
		sc.mend(a)
	}
	a.scope = ""
	if sc.ends {
		if got := a.send(a.refresh(a.newest)); reasonOf(got.err) != "grant_revoked" {
			a.t.Errorf("%s: the newest token after the grant's end: %q, %v", a.what, got.Outcome, got.err)
		}
		return
	}
	generation := readToken(a.t, a.newest).generation
	next := a.must(a.refresh(a.newest))
	if a.client.ReusableRefreshTokens {
		if next != a.newest {
			a.t.Errorf("%s: a reusable token was replaced", a.what)
		}
		return
	}
	if got := readToken(a.t, next).generation; got != generation+1 {
		a.t.Errorf("%s: the successor of generation %d is %d", a.what, generation, got)
	}
	if granted := a.send(a.refresh(next)); granted.err != nil || granted.Scope.String() != "read write" {
		a.t.Errorf("%s: afterwards: scope %q, %v", a.what, granted.Scope, granted.err)
	}
}
