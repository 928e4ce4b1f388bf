package spec

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"time"
)

// Limit ends a search early.
type Limit struct {
	Time   time.Duration
	States int
}

// Result is what a search found.
type Result struct {
	States     int
	Depth      int  // moves from the beginning up to which everything was seen
	Exhaustive bool // every state that can be reached was seen
	Violation  *Violation
}

// Violation is a broken invariant, with the shortest way there.
type Violation struct {
	Invariant string
	What      string
	Trace     []string
}

// String is the trace, a line for each move.
func (v *Violation) String() string {
	return fmt.Sprintf("%s: %s\n    %s", v.Invariant, v.What, strings.Join(v.Trace, "\n    "))
}

// visit is how a state was first reached: by which of its predecessor's moves.
type visit struct{ from, move uint32 }

// search is a breadth-first search. It keeps states as hashes of 64 bits; a state that
// it took for another would be passed over, which at ten million states happens to one
// search in some hundred thousand.
type search struct {
	model      *Model
	invariants []Invariant
	seed       maphash.Seed
	seen       map[uint64]struct{}
	visits     []visit
	violation  *Violation
}

// Explore looks at every state that can be reached, nearest first, until an invariant
// is violated or the limit is reached.
func (m *Model) Explore(limit Limit, invariants []Invariant) Result {
	x := &search{model: m, invariants: invariants, seed: maphash.MakeSeed(), seen: map[uint64]struct{}{}, visits: []visit{{}}}
	begun := time.Now()
	level := []State{m.Begin()}
	for depth := 0; ; depth++ {
		first := len(x.visits) - len(level)
		var next []State
		for i := range level {
			if i%1024 == 0 && (time.Since(begun) > limit.Time || len(x.visits) > limit.States) {
				return Result{States: len(x.visits), Depth: depth}
			}
			next = x.expand(&level[i], uint32(first+i), next)
			if x.violation != nil {
				return Result{States: len(x.visits), Depth: depth, Violation: x.violation}
			}
		}
		if len(next) == 0 {
			return Result{States: len(x.visits), Depth: depth, Exhaustive: true}
		}
		level = next
	}
}

// expand makes every move in a state, checks it, and appends the states that are new.
func (x *search) expand(s *State, number uint32, next []State) []State {
	move := uint32(0)
	x.model.Moves(s, func(did Move, after State) {
		if x.violation == nil {
			x.violation = x.model.check(&Step{did, s, &after}, x.invariants)
			if x.violation != nil {
				x.violation.Trace = append(x.trace(number), describe(did, s, &after))
			}
		}
		x.canonical(&after)
		hash := maphash.Comparable(x.seed, after)
		if _, known := x.seen[hash]; !known {
			x.seen[hash] = struct{}{}
			x.visits = append(x.visits, visit{number, move})
			next = append(next, after)
		}
		move++
	})
	return next
}

// check returns the first invariant that a step violates, or nil.
func (m *Model) check(t *Step, invariants []Invariant) *Violation {
	for _, invariant := range invariants {
		if what := invariant.Violated(m, t); what != "" {
			return &Violation{Invariant: invariant.Name, What: what}
		}
	}
	return nil
}

// canonical makes states equal that differ only in what no longer matters: that way
// there are fewer of them.
func (x *search) canonical(s *State) {
	s.forgetVersions()
	s.forgetExcuses()
	for i := range s.Requests {
		s.Requests[i].forgetLooks(&s.Grant)
	}
	byHash(x.seed, s.Requests[:])
	byHash(x.seed, s.Late[:])
}

// forgetVersions: of a version it matters only whether it is the present one, 1, or an
// older one, 0, for none comes back.
func (s *State) forgetVersions() {
	older := func(version *uint8, present uint8) {
		if *version == present {
			*version = 1
		} else {
			*version = 0
		}
	}
	write := func(w *Write) {
		if w.Kind != 0 {
			older(&w.Version, s.Grant.Version)
			older(&w.ClientVersion, s.Client.Version)
		}
	}
	for i := range s.Requests {
		write(&s.Requests[i].Write)
	}
	for i := range s.Late {
		write(&s.Late[i])
	}
	if s.ReadFirst > 0 {
		older(&s.ReadFirst, 1+s.Grant.Version)
		s.ReadFirst++
	}
	s.Grant.Version, s.Client.Version = 1, 1
}

// forgetExcuses: one excuse is as good as another.
func (s *State) forgetExcuses() {
	if s.Excuses != 0 {
		s.Excuses, s.Sent = 1, 0
	}
	for i := range s.Requests {
		r := &s.Requests[i]
		r.Witness.Excused = r.Witness.Excused && r.From == FromClient && s.Excuses == 0
	}
}

// forgetLooks: the windows at the first look matter while the generation of that look
// lasts, and to a token that is not the newest.
func (r *Request) forgetLooks(grant *Grant) {
	looks := &r.Looks
	if !looks.Seen || r.Phase == Answered || r.From == Login {
		return
	}
	if looks.Generation != grant.Generation {
		looks.Generation = mostGenerations // another
	}
	behind := int(looks.Generation) - int(r.Token.Generation)
	looks.Retry = looks.Retry && looks.Generation == grant.Generation && behind == 1
	looks.Late = looks.Late && looks.Generation == grant.Generation && behind == 2
}

// byHash sorts two or three elements; which order it is does not matter.
func byHash[E comparable](seed maphash.Seed, list []E) {
	var hashes [mostRequests]uint64
	var none E
	for i := range list {
		if list[i] != none {
			hashes[i] = maphash.Comparable(seed, list[i]) | 1
		}
	}
	for range list {
		for i := 1; i < len(list); i++ {
			if hashes[i-1] < hashes[i] {
				hashes[i-1], hashes[i] = hashes[i], hashes[i-1]
				list[i-1], list[i] = list[i], list[i-1]
			}
		}
	}
}

// trace goes the way to a state once more, and tells it.
func (x *search) trace(number uint32) []string {
	var moves []uint32
	for ; number != 0; number = x.visits[number].from {
		moves = append(moves, x.visits[number].move)
	}
	slices.Reverse(moves)
	s := x.model.Begin()
	var lines []string
	for _, wanted := range moves {
		move, before := uint32(0), s
		x.model.Moves(&before, func(did Move, after State) {
			if move == wanted {
				lines = append(lines, describe(did, &before, &after))
				s = after
			}
			move++
		})
		x.canonical(&s)
	}
	return lines
}

// describe tells a move in a line.
func describe(did Move, before, after *State) string {
	text := string(did.Kind)
	switch did.Kind {
	case LateWriteArrives, LateWriteNeverComes:
		text += ": " + writes[before.Late[did.Slot].Kind]
	case ClientLogsIn, ClientSends, ThiefSends:
		text = after.Requests[did.Slot].who() + " " + text
	default:
		if r := &before.Requests[did.Slot]; did.aboutRequest() {
			text = r.who() + " " + text + outcome(did, r, &after.Requests[did.Slot])
		}
	}
	grant := &after.Grant
	row := "no grant"
	if grant.Exists {
		row = fmt.Sprintf("grant: generation %d (token %c, before %c) retries %d, active %t, windows: retry %t late %t",
			grant.Generation, letter(grant.Current), letter(grant.Previous), grant.Retries, grant.Active, grant.RetryWindow, grant.LateWindow)
	}
	return fmt.Sprintf("%-75s %s", text, row)
}

var (
	senders = [...]string{"nobody", "client", "straggler", "thief", "login"}
	writes  = [...]string{"", "CreateGrant", "SwapGrant (rotate)", "SwapGrant (reuse)", "RetryGrant", "RevokeGrant", "a sibling"}
	answers = [...]string{"", "200", "invalid_grant", "invalid_client", "invalid_scope", "429", "503"}
)

// letter writes the value of a token: 1 is a.
func letter(value uint8) byte {
	if value == 0 {
		return '-'
	}
	return 'a' + value - 1
}

// who names a request by its sender and its token.
func (r *Request) who() string {
	if r.From == Login {
		return senders[r.From]
	}
	return fmt.Sprintf("%s(%d%c)", senders[r.From], r.Token.Generation, letter(r.Token.Value))
}

// aboutRequest reports whether a move is about a request in a server.
func (did *Move) aboutRequest() bool {
	switch did.Kind {
	case ThiefSteals, RetryWindowCloses, LateWindowCloses, LateWriteArrives, LateWriteNeverComes:
		return false
	}
	return !did.byAdministrator()
}

// byAdministrator reports whether a move is an administrator's act.
func (did *Move) byAdministrator() bool {
	switch did.Kind {
	case ReadsGrant, Revokes, ChangesPassword, Blocks, Unblocks, Deactivates, Activates:
		return true
	}
	return false
}

// outcome says what a move of a request led to.
func outcome(did Move, before, after *Request) string {
	switch {
	case before.Phase == Answered:
		return ": " + answers[before.Answer]
	case before.Phase == Writing:
		return " (" + writes[before.Write.Kind] + ")"
	case did.Kind != Decides:
		return ""
	case after.Phase == Writing:
		return fmt.Sprintf(": %s %s", did.Row, writes[after.Write.Kind])
	}
	return fmt.Sprintf(": %s %s", did.Row, answers[after.Answer])
}
