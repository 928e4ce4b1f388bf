package cut_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/sqlstore"
	"github.com/counterfoil/counterfoil/test/postgres"
	"github.com/counterfoil/counterfoil/test/proof"
)

// TestEveryMessage lets each fault befall each round trip of each kind of request, and
// those that cut or hold a connection each message of it: a round tries some of them.
func TestEveryMessage(t *testing.T) {
	t.Parallel()
	stages := make([]*stage, 0, 3)
	for _, parameters := range []string{"", "&default_transaction_isolation=serializable", "&default_query_exec_mode=exec"} {
		stages = append(stages, newStage(t, parameters))
	}
	suffered := 0
	for seed := range proof.Rounds(t, 1) {
		random := rand.New(rand.NewPCG(seed, 0))
		for _, s := range stages {
			suffered += s.round(t, random)
		}
	}
	proof.Count(t, suffered, "requests that met a fault")
}

// TestConnectionsBeingMade holds a connection at each round trip of its start: no request
// waits longer for that, and it is given up.
func TestConnectionsBeingMade(t *testing.T) {
	t.Parallel()
	hold := &fault{name: "held", how: holdRequest}
	for n := range 3 { // the start, whether the server can write, how it shall plan
		t.Run(fmt.Sprint(n+1), func(t *testing.T) {
			t.Parallel()
			s := newStage(t, "")
			tokens, _ := s.observer.session(0)
			s.proxy.cutAll()
			s.proxy.arm(hold, position{n, 0})
			a := s.node.refresh(tokens[0])
			if _, fired := s.proxy.disarm(); !fired || a.took > 2*patience+slack {
				t.Errorf("held: %t; the request took %s", fired, a.took)
			}
			s.mustNotBeRefused(a)
			s.proxy.settle(t)
			s.mustSucceed(s.node.refresh(tokens[0]))
		})
	}
}

// stage is a node behind a proxy and an observer who is not.
type stage struct {
	proxy    *proxy
	node     *node
	observer *node
}

func newStage(t *testing.T, parameters string) *stage {
	t.Helper()
	database := postgres.Migrated(t) + parameters
	p := newProxy(t, database)
	s := &stage{proxy: p, observer: newNode(t, database, sqlstore.Options{})}
	s.observer.addParties()
	s.node = newNode(t, p.url, sqlstore.Options{Patience: patience, Connections: 4})
	return s
}

// sufferance is one fault at one position of one kind of request.
type sufferance struct {
	scenario *scenario
	fault    *fault
	at       position
}

// round tries some of them, in any order: each leaves connections open or closed for the
// next. Few of those that take their time.
func (s *stage) round(t *testing.T, random *rand.Rand) (suffered int) {
	const some, someWaits = 40, 1
	all := s.sufferances(t)
	waits := 0
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, what := range all {
		if suffered == some || what.fault.waits() && waits == someWaits {
			continue
		}
		if s.play(t, what.scenario, what.fault, what.at) == nil {
			continue
		}
		suffered++
		if what.fault.waits() {
			waits++
		}
		if t.Failed() {
			t.Logf("%s: %s, at round trip %d, message %d", what.scenario.name, what.fault.name, what.at.trip+1, what.at.message)
			break
		}
	}
	return suffered
}

// sufferances counts the round trips of each kind of request, and the messages of each,
// and lists what can befall it. A connection that has to be made adds round trips.
func (s *stage) sufferances(t *testing.T) (all []sufferance) {
	const more = 6
	for i := range scenarios {
		sc := &scenarios[i]
		trips := s.play(t, sc, nil, position{})
		for range more {
			trips = append(trips, trip{request: 5, answer: 7})
		}
		for n, trip := range trips {
			for j := range faults {
				f := &faults[j]
				last := 0
				if f.partial() {
					last = trip.answer - 1
				}
				if f.how == cutRequest {
					last = trip.request - 1
				}
				for m := range last + 1 {
					all = append(all, sufferance{sc, f, position{n, m}})
				}
			}
		}
	}
	return all
}

// play plays a scenario and returns the round trips of its request; nil: the fault did
// not befall it.
func (s *stage) play(t *testing.T, sc *scenario, f *fault, at position) []trip {
	t.Helper()
	var trips []trip
	sc.play(s, func(request func() answer) answer {
		t.Helper()
		s.node.store.forget()
		s.proxy.arm(f, at)
		a := request()
		var fired bool
		if trips, fired = s.proxy.disarm(); f != nil && !fired {
			trips = nil
		}
		if a.took > 2*patience+slack {
			t.Errorf("the request took %s", a.took)
		}
		s.proxy.settle(t)
		return a
	})
	return trips
}

// scenario is a kind of request, with what comes before it and what must be true after
// it met a fault. attack sends the request.
type scenario struct {
	name string
	play func(s *stage, attack func(request func() answer) answer)
}

var scenarios = []scenario{
	{"rotation", (*stage).rotation},
	{"retry", (*stage).retry},
	{"replay", (*stage).replay},
	{"refusal", (*stage).refusal},
	{"login", (*stage).login},
	{"revocation", (*stage).revocation},
}

// rotation: the identical request gets the successor that was handed out, if one was.
func (s *stage) rotation(attack func(func() answer) answer) {
	tokens, grant := s.observer.session(0)
	first := attack(func() answer { return s.node.refresh(tokens[0]) })
	s.mustNotBeRefused(first)
	s.mustAgree("swap", s.observer.grant(grant).Generation == 1)
	again := s.mustSucceed(s.node.refresh(tokens[0]))
	if first.err == nil && first.RefreshToken != again.RefreshToken {
		s.node.Error("two successors of one token")
	}
	s.mustSucceed(s.node.refresh(again.RefreshToken))
	s.mustBe(grant, 2, oauth.GrantActive)
}

// retry: likewise, for a request that is one already.
func (s *stage) retry(attack func(func() answer) answer) {
	tokens, grant := s.observer.session(1)
	first := attack(func() answer { return s.node.refresh(tokens[0]) })
	s.mustNotBeRefused(first)
	s.mustAgree("retry", s.observer.grant(grant).Retries > 0)
	again := s.mustSucceed(s.node.refresh(tokens[0]))
	if first.err == nil && first.RefreshToken != tokens[1] || again.RefreshToken != tokens[1] {
		s.node.Error("a retry got another successor")
	}
	s.mustSucceed(s.node.refresh(tokens[1]))
	s.mustBe(grant, 2, oauth.GrantActive)
}

// replay: when it is refused the grant is over.
func (s *stage) replay(attack func(func() answer) answer) {
	tokens, grant := s.observer.session(3)
	first := attack(func() answer { return s.node.refresh(tokens[0]) })
	revoked := s.observer.grant(grant).Status == oauth.GrantRevoked
	s.mustAgree("revoke", revoked)
	if first.err == nil || first.reason() != "" && !revoked {
		s.node.Errorf("a replay was answered with %v, and the grant is revoked: %t", first.err, revoked)
	}
	for _, token := range tokens {
		if a := s.node.refresh(token); a.reason() == "" {
			s.node.Errorf("after a replay: %v", a.err)
		}
	}
	s.mustBe(grant, 3, oauth.GrantRevoked)
}

// refusal: when it is told it is recorded.
func (s *stage) refusal(attack func(func() answer) answer) {
	tokens, grant := s.observer.session(0)
	if a := s.observer.revoke(grant); a.err != nil {
		s.node.Fatal(a.err)
	}
	first := attack(func() answer { return s.node.refresh(tokens[0]) })
	recorded := s.observer.recorded(first)
	s.mustAgree("record", recorded)
	if first.err == nil || first.reason() != "" && !recorded {
		s.node.Errorf("the token of a revoked grant was answered with %v, and recorded: %t", first.err, recorded)
	}
	if a := s.node.refresh(tokens[0]); a.reason() == "" {
		s.node.Errorf("the token of a revoked grant: %v", a.err)
	}
}

// login: a grant that was handed out is there, and one that was not made is not.
func (s *stage) login(attack func(func() answer) answer) {
	before := s.observer.grants()
	first := attack(s.node.login)
	s.mustNotBeRefused(first)
	made := s.observer.grants() - before
	s.mustAgree("create", made == 1)
	if made > 1 {
		s.node.Errorf("one login made %d grants", made)
	}
	if first.err == nil {
		s.mustSucceed(s.node.refresh(first.RefreshToken))
	}
	s.mustSucceed(s.node.login())
}

// revocation: what the administrator was told is done, is.
func (s *stage) revocation(attack func(func() answer) answer) {
	tokens, grant := s.observer.session(0)
	first := attack(func() answer { return s.node.revoke(grant) })
	revoked := s.observer.grant(grant).Status == oauth.GrantRevoked
	s.mustAgree("revoke", revoked)
	if first.err == nil && !revoked {
		s.node.Error("a revocation was acknowledged, and the grant lives")
	}
	if a := s.node.revoke(grant); a.err != nil {
		s.node.Errorf("revoked again: %v", a.err)
	}
	if a := s.node.refresh(tokens[0]); a.reason() == "" {
		s.node.Errorf("after a revocation: %v", a.err)
	}
}

// mustNotBeRefused: an honest client gets what it asked for or a fault.
func (s *stage) mustNotBeRefused(a answer) {
	s.node.Helper()
	if a.reason() != "" {
		s.node.Errorf("an honest client was refused: %v", a.err)
	}
}

func (s *stage) mustSucceed(a answer) answer {
	s.node.Helper()
	if a.err != nil {
		s.node.Errorf("the fault has gone, and still: %v", a.err)
	}
	return a
}

// mustAgree holds what the node's store said of a write against what is there.
func (s *stage) mustAgree(what string, happened bool) {
	s.node.Helper()
	switch said := s.node.store.word(what); {
	case said == done && !happened:
		s.node.Errorf("the store said that it has done it (%s), and it has not", what)
	case said == never && happened:
		s.node.Errorf("the store said that it has not done it (%s), and it has: %v", what, s.node.store.said[what])
	}
}

func (s *stage) mustBe(grant string, generation uint32, status oauth.GrantStatus) {
	s.node.Helper()
	if g := s.observer.grant(grant); g.Generation != generation || g.Status != status {
		s.node.Errorf("the grant has generation %d and is %s; want %d, %s", g.Generation, g.Status, generation, status)
	}
}
