package spec

// Step is one move, with the state before and after it.
type Step struct {
	Move          Move
	Before, After *State
}

// request is the request that the move is about, before and after it.
func (t *Step) request() (before, after *Request) {
	return &t.Before.Requests[t.Move.Slot], &t.After.Requests[t.Move.Slot]
}

// answered returns the request whose answer arrives with this step, or nil.
func (t *Step) answered() *Request {
	if t.Move.Kind == AnswerArrives || t.Move.Kind == AnswerUnused {
		return &t.Before.Requests[t.Move.Slot]
	}
	return nil
}

// committed returns the write that commits with this step, or nil.
func (t *Step) committed() *Write {
	switch t.Move.Kind {
	case Commits, UnknownCommitted:
		return &t.Before.Requests[t.Move.Slot].Write
	case LateWriteArrives:
		if t.Before.Grant != t.After.Grant {
			return &t.Before.Late[t.Move.Slot]
		}
	}
	return nil
}

// Invariant is a promise of docs/rotation.md. Violated says what is wrong with a step;
// empty: nothing.
type Invariant struct {
	Name     string
	Violated func(*Model, *Step) string
}

// Invariants are those that the model can speak about.
var Invariants = []Invariant{
	{"I1 no fork", noFork},
	{"I2 acknowledged is durable", acknowledgedIsDurable},
	{"I3 retry-safe", retrySafe},
	{"I4 the window closes with the successor's use", windowClosesWithUse},
	{"I5 reuse kills", reuseKills},
	{"I6 nothing succeeds after an acknowledged end", nothingAfterTheEnd},
	{"I7 no false kill", noFalseKill},
}

// noFork (I1): of each generation at most one value is ever delivered.
func noFork(m *Model, t *Step) string {
	r := t.answered()
	if r == nil || r.Answer != OK {
		return ""
	}
	token := m.HandsOut(r)
	if known := t.Before.Delivered[token.Generation]; known != 0 && known != token.Value {
		return "two refresh tokens of one generation were delivered"
	}
	return ""
}

// acknowledgedIsDurable (I2): the row knows every delivered token: none is newer than
// the row, and the row's newest two are those that were delivered.
func acknowledgedIsDurable(_ *Model, t *Step) string {
	grant := &t.After.Grant
	for i, value := range t.After.Delivered {
		behind := int(grant.Generation) - i
		if value != 0 && (behind < 0 || behind == 0 && value != grant.Current || behind == 1 && value != grant.Previous) {
			return "the row does not know a refresh token that was delivered"
		}
	}
	return ""
}

// retrySafe (I3): inside the window the predecessor gets the very successor in the row,
// unless the budget is spent or it asks for too much.
func retrySafe(_ *Model, t *Step) string {
	if t.Move.Kind != Decides {
		return ""
	}
	before, after := t.request()
	s := t.Before
	grant := &s.Grant
	inOrder := grant.Active && grant.Epoch == s.Subject.Epoch && !s.Subject.Blocked && s.Client.Active
	predecessor := before.From != Login && before.Token == Token{grant.Generation - 1, grant.Previous}
	if !inOrder || !predecessor || !grant.RetryWindow {
		return ""
	}
	retries := after.Phase == Writing && after.Write.Kind == Retry || after.Phase == Answered && after.Answer == OK
	switch {
	case retries && after.Successor == grant.Current:
	case after.Phase == Answered && (after.Answer == TooManyRetries || after.Answer == InvalidScope && before.TooMuch):
	default:
		return "a retry within the window does not get the row's successor"
	}
	return ""
}

// windowClosesWithUse (I4): no retry is written once its successor was used to refresh.
func windowClosesWithUse(_ *Model, t *Step) string {
	w, grant := t.committed(), &t.Before.Grant
	if w != nil && w.Kind == Retry && (grant.Generation != w.Generation || grant.Current != w.Current) {
		return "a retry was written after its successor's use"
	}
	return ""
}

// reuseKills (I5): once a replay has been answered, the grant is dead. (503 is no answer
// to it: the request may be sent again.)
func reuseKills(_ *Model, t *Step) string {
	if r := t.answered(); r != nil && r.Witness.Replay && r.Answer != Unavailable && t.Before.Grant.Active {
		return "a replay was answered and the grant lives"
	}
	return ""
}

// isReplay says what a replay is: a token of the grant whose time is over.
func (m *Model) isReplay(s *State, r *Request) bool {
	grant := &s.Grant
	inOrder := grant.Active && grant.Epoch == s.Subject.Epoch && !s.Subject.Blocked
	switch behind := int(grant.Generation) - int(r.Token.Generation); {
	case behind == 1:
		return inOrder && !grant.RetryWindow
	case behind == 2:
		return inOrder && !grant.LateWindow
	default:
		return inOrder && behind > 2
	}
}

// nothingAfterTheEnd (I6): no success is written once a revocation, a new password, a
// block or a deactivation was acknowledged. A success happens when its write commits;
// one without a write, when it is told.
func nothingAfterTheEnd(_ *Model, t *Step) string {
	if w := t.committed(); w != nil && w.Kind != Revoke && t.Before.over() {
		return "a success was written after an acknowledged end"
	}
	if r := t.answered(); r != nil && r.Answer == OK && r.Witness.Unwritten && t.Before.over() {
		return "a success without a write was told after an acknowledged end"
	}
	return ""
}

// over reports whether nothing may succeed now. A login makes a grant under the present
// epoch or not at all.
func (s *State) over() bool {
	return s.Subject.Blocked || !s.Client.Active || s.Grant.Exists && (s.Revoked || !s.Grant.Active || s.Grant.Epoch != s.Subject.Epoch)
}

// noFalseKill (I7): unless there is an excuse, the grant of an honest client is never
// revoked, and the client is never refused.
func noFalseKill(_ *Model, t *Step) string {
	if grant := &t.After.Grant; grant.Exists && !grant.Active && t.After.Excuses == 0 {
		return "the grant of an honest client was revoked"
	}
	r := t.answered()
	if r == nil || r.From != FromClient || t.Before.Excuses != 0 || r.Witness.Excused {
		return ""
	}
	if r.Answer == InvalidGrant || r.Answer == InvalidClient {
		return "an honest client was refused"
	}
	return ""
}

// Excuse is a reason why a logout is no false kill: what I7 assumes did not happen.
type Excuse uint8

// The excuses.
const (
	EndedByAdministrator Excuse = 1 << iota // a revocation or a new password was acknowledged
	ThiefUsedToken                          // that reuse ends the grant is I5
	TooLate                                 // see the assumptions below
)

// exposed: a duplicate that may still be taken for a replay. After an unknown outcome it
// never is (rule 2).
func (r *Request) exposed() bool {
	return r.From == Straggler && r.Phase != Answered && !r.Looks.Unknown
}

// timeIsFixed: the windows of a request are those of its first look, so that it does not
// matter when they close afterwards; unless they never open.
func (m *Model) timeIsFixed(r *Request) bool {
	return r.Looks.Seen && !m.NoRetryWindow
}

// assumeRetryInTime: an honest client retries within the retry window.
func assumeRetryInTime(s *State) {
	if s.Held.Generation+1 == s.Grant.Generation && !s.Grant.RetryWindow {
		s.Excuses |= TooLate
	}
}

// assumeWithinRetryWindow, called when the retry window closes: a client that has not
// got its successor by then has a request at work; and a duplicate of its request has
// been looked at by then. Where there is no window, the client sends one request only.
func (m *Model) assumeWithinRetryWindow(s *State) {
	predecessor := s.Grant.Generation - 1
	served := s.Held.Value == 0 || s.Held.Generation != predecessor || s.Grant.Generation == 0
	for i := range s.Requests {
		r := &s.Requests[i]
		if r.From == FromClient && r.Looks.Seen && (s.Sent == 1 || r.Successor == s.Grant.Current || m.timeIsFixed(r)) {
			served = true
		}
		if r.exposed() && r.Token.Generation == predecessor && !m.timeIsFixed(r) && r.Successor != s.Grant.Current {
			s.Excuses |= TooLate
		}
	}
	if !served {
		s.Excuses |= TooLate
	}
}

// assumeWithinLateWindow, called when the late window closes: a duplicate as old as two
// rotations has been looked at by then.
func (m *Model) assumeWithinLateWindow(s *State) {
	for i := range s.Requests {
		if r := &s.Requests[i]; r.exposed() && r.Token.Generation+2 == s.Grant.Generation && !r.Looks.Seen {
			s.Excuses |= TooLate
		}
	}
}

// assumeFewRotations, called at each rotation: no duplicate is delayed past three.
func (m *Model) assumeFewRotations(s *State) {
	for i := range s.Requests {
		if r := &s.Requests[i]; !m.Broken.DelayedPastThree && r.exposed() && r.Token.Generation+3 <= s.Grant.Generation {
			s.Excuses |= TooLate
		}
	}
}
