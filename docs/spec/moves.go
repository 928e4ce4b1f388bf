package spec

// MoveKind is something that can happen.
type MoveKind string

// What clients and thieves do.
const (
	ClientSends        MoveKind = "sends its token"
	ClientLogsIn       MoveKind = "sends the password"
	ThiefSends         MoveKind = "sends the stolen token"
	ThiefSteals        MoveKind = "steals the client's token"
	ClientStopsWaiting MoveKind = "stops waiting; the request goes on as a straggler"
)

// What happens to a request in a server.
const (
	Decides          MoveKind = "looks and decides"
	LookFails        MoveKind = "cannot look"
	RecordFails      MoveKind = "looks and decides, but cannot record the refusal"
	Commits          MoveKind = "writes: committed"
	Conflicts        MoveKind = "writes: conflict"
	ConflictsGivesUp MoveKind = "writes: conflict, and gives up"
	Fails            MoveKind = "writes: failed, nothing written"
	UnknownCommitted MoveKind = "writes: outcome unknown, committed"
	UnknownNever     MoveKind = "writes: outcome unknown, never happens"
	UnknownLater     MoveKind = "writes: outcome unknown, may happen later"
	AnswerArrives    MoveKind = "gets the answer"
	AnswerUnused     MoveKind = "gets the answer and keeps its old token"
	Crashes          MoveKind = "crash, or the answer is lost"
)

// What happens besides.
const (
	LateWriteArrives    MoveKind = "the late write arrives"
	LateWriteNeverComes MoveKind = "the late write never arrives"
	RetryWindowCloses   MoveKind = "the retry window closes"
	LateWindowCloses    MoveKind = "the late window closes"
	ReadsGrant          MoveKind = "administrator reads the grant, to revoke it by compare-and-swap"
	Revokes             MoveKind = "administrator revokes the grant"
	ChangesPassword     MoveKind = "the password is changed"
	Blocks              MoveKind = "administrator blocks the user"
	Unblocks            MoveKind = "administrator unblocks the user"
	Deactivates         MoveKind = "administrator deactivates the client"
	Activates           MoveKind = "administrator activates the client"
)

// Move is something that happens: to the request, or the late write, in slot Slot.
type Move struct {
	Kind MoveKind
	Slot int
	Row  Row // that decided
}

// Moves yields everything that can happen next, and the state it leads to.
func (m *Model) Moves(s *State, yield func(Move, State)) {
	m.senders(s, yield)
	m.passageOfTime(s, yield)
	m.lateWrites(s, yield)
	if m.Administrator {
		m.administrator(s, yield)
	}
	for i := range m.Requests {
		if s.Requests[i].From != Nobody {
			m.request(s, i, yield)
		}
	}
}

// senders sends new requests: the client one at a time, with its newest token; the
// thief one at a time, with the stolen one.
func (m *Model) senders(s *State, yield func(Move, State)) {
	if m.Thief && s.Stolen.Value == 0 && s.Held.Value != 0 {
		after := *s
		after.Stolen = s.Held
		yield(Move{Kind: ThiefSteals}, after)
	}
	free := -1
	var waits, steals bool
	for i := range m.Requests {
		switch s.Requests[i].From {
		case Nobody:
			free = i
		case FromClient, Login:
			waits = true
		case FromThief:
			steals = true
		}
	}
	if free < 0 {
		return
	}
	if m.Login && !s.LoginSent {
		m.send(s, free, Move{Kind: ClientLogsIn, Slot: free}, Request{From: Login}, yield)
	}
	if !waits && !s.LoggedOut && s.Held.Value != 0 && m.room(s) {
		m.send(s, free, Move{Kind: ClientSends, Slot: free}, Request{From: FromClient, Token: s.Held}, yield)
	}
	if !steals && s.Stolen.Value != 0 && s.Stolen.Generation < m.Generations {
		m.send(s, free, Move{Kind: ThiefSends, Slot: free}, Request{From: FromThief, Token: s.Stolen}, yield)
	}
}

// room bounds the search: no more than so many rotations. A client that lost an answer
// may always retry.
func (m *Model) room(s *State) bool {
	return m.Reusable || s.Held.Generation < s.Grant.Generation || s.Held.Generation < m.Generations
}

// send puts a request into a free slot; where the model has that, also one for too much.
func (m *Model) send(s *State, slot int, move Move, r Request, yield func(Move, State)) {
	r.Witness.Excused = s.Subject.Blocked || !s.Client.Active
	after := *s
	switch r.From {
	case FromClient:
		after.Sent = min(after.Sent+1, 2)
		assumeRetryInTime(&after)
	case FromThief:
		after.Excuses |= ThiefUsedToken
	case Login:
		after.LoginSent = true
	}
	after.Requests[slot] = r
	yield(move, after)
	if m.TooMuch && r.From != Login {
		after.Requests[slot].TooMuch = true
		yield(move, after)
	}
}

func (m *Model) passageOfTime(s *State, yield func(Move, State)) {
	if s.Grant.RetryWindow {
		after := *s
		after.Grant.RetryWindow = false
		m.assumeWithinRetryWindow(&after)
		yield(Move{Kind: RetryWindowCloses}, after)
	}
	if s.Grant.LateWindow {
		after := *s
		after.Grant.LateWindow = false
		m.assumeWithinLateWindow(&after)
		yield(Move{Kind: LateWindowCloses}, after)
	}
}

func (m *Model) lateWrites(s *State, yield func(Move, State)) {
	for i, w := range s.Late {
		if w.Kind == 0 {
			continue
		}
		after := *s
		after.Late[i] = Write{}
		yield(Move{Kind: LateWriteNeverComes, Slot: i}, after)
		m.apply(&after, &w)
		yield(Move{Kind: LateWriteArrives, Slot: i}, after)
	}
}

// administrator does each of its acts once.
func (m *Model) administrator(s *State, yield func(Move, State)) {
	act := func(n int, possible bool, kind MoveKind, do func(*State)) {
		if !possible || s.Acts>>n&1 != 0 {
			return
		}
		after := *s
		after.Acts |= 1 << n
		do(&after)
		for i := range after.Requests {
			if r := &after.Requests[i]; r.From != Nobody {
				r.Witness.Excused = true
			}
		}
		yield(Move{Kind: kind}, after)
	}
	slow := m.Broken.RevocationConflicts
	act(0, slow && s.Grant.Exists, ReadsGrant, func(s *State) { s.ReadFirst = 1 + s.Grant.Version })
	act(1, s.Grant.Exists && (!slow || s.ReadFirst > 0), Revokes, func(s *State) {
		m.apply(s, &Write{Kind: Revoke, Version: s.ReadFirst - 1})
		s.Revoked = true
		s.Excuses |= EndedByAdministrator
	})
	act(2, true, ChangesPassword, func(s *State) {
		s.Subject.Epoch++
		s.Excuses |= EndedByAdministrator
	})
	act(3, true, Blocks, func(s *State) { s.Subject.Blocked = true })
	act(4, s.Subject.Blocked, Unblocks, func(s *State) { s.Subject.Blocked = false })
	act(5, true, Deactivates, func(s *State) { s.Client.Active, s.Client.Version = false, s.Client.Version+1 })
	act(6, !s.Client.Active, Activates, func(s *State) { s.Client.Active, s.Client.Version = true, s.Client.Version+1 })
}

// request is everything that can happen to one request.
func (m *Model) request(s *State, slot int, yield func(Move, State)) {
	r := &s.Requests[slot]
	after := *s
	after.Requests[slot] = Request{}
	yield(Move{Kind: Crashes, Slot: slot}, after)
	if r.From == FromClient && s.stragglers() < m.Stragglers {
		after := *s
		after.Requests[slot].From = Straggler
		yield(Move{Kind: ClientStopsWaiting, Slot: slot}, after)
	}
	switch r.Phase {
	case Looking:
		m.lookMoves(s, slot, yield)
	case Writing:
		m.writeMoves(s, slot, yield)
	case Answered:
		m.answerMoves(s, slot, yield)
	}
}

func (s *State) stragglers() (n int) {
	for i := range s.Requests {
		if s.Requests[i].From == Straggler {
			n++
		}
	}
	return n
}

func (m *Model) lookMoves(s *State, slot int, yield func(Move, State)) {
	after := *s
	r := &after.Requests[slot]
	row := m.look(&after, r)
	yield(Move{Decides, slot, row}, after)
	if row != "" && r.Phase == Answered && r.Answer == InvalidGrant { // rule 4
		r.answer(Unavailable)
		yield(Move{RecordFails, slot, row}, after)
	}
	after = *s
	r.answer(Unavailable)
	yield(Move{Kind: LookFails, Slot: slot}, after)
}

// writeMoves are the ends that a write can have.
func (m *Model) writeMoves(s *State, slot int, yield func(Move, State)) {
	write := s.Requests[slot].Write
	end := func(kind MoveKind, after State, how func(*Request)) {
		how(&after.Requests[slot])
		yield(Move{Kind: kind, Slot: slot}, after)
	}
	told := func(r *Request) { r.answer(OK) }
	if write.Kind == Revoke {
		told = func(r *Request) { r.answer(InvalidGrant) }
	}
	unavailable := func(r *Request) { r.answer(Unavailable) }

	after := *s
	switch committed := m.apply(&after, &write); {
	case committed:
		end(Commits, after, told)
		end(UnknownCommitted, after, (*Request).outcomeUnknown)
	case write.Kind == Revoke: // a broken model's: the conflict is taken for success
		end(Conflicts, after, told)
	default:
		end(Conflicts, after, (*Request).lookAgain)
		end(ConflictsGivesUp, after, unavailable)
	}
	end(Fails, *s, unavailable)
	end(UnknownNever, *s, (*Request).outcomeUnknown)
	for i := range m.LateWrites {
		if s.Late[i].Kind == 0 {
			after := *s
			after.Late[i] = write
			end(UnknownLater, after, (*Request).outcomeUnknown)
			break
		}
	}
}

// answerMoves lets the answer arrive.
func (m *Model) answerMoves(s *State, slot int, yield func(Move, State)) {
	r := &s.Requests[slot]
	after := *s
	after.Requests[slot] = Request{}
	switch {
	case r.Answer == OK:
		token := m.HandsOut(r)
		after.Delivered[token.Generation] = token.Value
		switch r.From {
		case FromClient, Login:
			after.Held, after.Sent = token, 0
		case FromThief:
			yield(Move{Kind: AnswerUnused, Slot: slot}, after)
			after.Stolen = token
		}
	case r.Answer == InvalidGrant && r.From == FromClient: // one whose user is only blocked goes on later
		after.LoggedOut = s.Excuses != 0
	}
	yield(Move{Kind: AnswerArrives, Slot: slot}, after)
}
