package spec

// Row names a row of the table in docs/rotation.md.
type Row string

// The rows that the model has.
const (
	P5 Row = "P5" // subject blocked
	P6 Row = "P6" // grant revoked, or the subject's epoch changed
	Y2 Row = "Y2" // generation > n
	Y1 Row = "Y1" // generation n or n-1, but another hash
	X2 Row = "X2" // older than the predecessor: replay
	X3 Row = "X3" // generation n-2 within the late window
	X1 Row = "X1" // predecessor, retry window closed: replay
	S  Row = "S"  // scope outside the grant
	R2 Row = "R2" // predecessor, retry window open: retry
	R1 Row = "R1" // newest: rotate
	R3 Row = "R3" // newest, reusable
)

// Action is the column "then" of the table.
type Action uint8

// The actions.
const (
	Refuse          Action = iota + 1 // invalid_grant; nothing changes
	RevokeAndRefuse                   // the grant ends, then invalid_grant
	RefuseScope                       // invalid_scope; nothing changes
	RefuseBudget                      // 429; nothing changes
	DoRetry
	DoRotate
	DoReuse
)

// Decide is the table: the rows from the top, the first that fits decides.
func (m *Model) Decide(s *State, r *Request) (Row, Action) {
	row, action := m.history(s, r)
	if m.Broken.ScopeBeforeReplay && r.TooMuch && row != P5 && row != P6 {
		return S, RefuseScope
	}
	return row, action
}

func (m *Model) history(s *State, r *Request) (Row, Action) {
	grant := &s.Grant
	behind := int(grant.Generation) - int(r.Token.Generation) // 0: generation n, 1: n-1, 2: n-2
	retryOpen, lateOpen := m.windows(s, r)
	afterUnknown := r.Looks.Unknown && !m.Broken.ReplayOnSecondLook
	switch {
	case s.Subject.Blocked:
		return P5, Refuse
	case !grant.Active || grant.Epoch != s.Subject.Epoch:
		return P6, Refuse
	case behind < 0:
		return Y2, Refuse
	case behind == 0 && r.Token.Value != grant.Current, behind == 1 && r.Token.Value != grant.Previous:
		return Y1, RevokeAndRefuse
	case behind > 2:
		return X2, replay(afterUnknown)
	case behind == 2 && lateOpen:
		return X3, Refuse
	case behind == 2:
		return X2, replay(afterUnknown)
	case behind == 1 && !retryOpen && !afterUnknown:
		return X1, RevokeAndRefuse
	case behind == 1 && m.Broken.OthersSuccessorRefused && afterUnknown && r.Successor != grant.Current:
		return X1, Refuse
	case r.TooMuch:
		return S, RefuseScope
	case behind == 1 && grant.Retries >= m.Budget:
		return R2, RefuseBudget
	case behind == 1:
		return R2, DoRetry
	case m.Reusable:
		return R3, DoReuse
	}
	return R1, DoRotate
}

// replay is the action on a token whose time is over. A look after a write of unknown
// outcome never finds a replay: later than R2 is a refusal without revocation (rule 2).
func replay(afterUnknown bool) Action {
	if afterUnknown {
		return Refuse
	}
	return RevokeAndRefuse
}

// windows returns which windows are open for a request: as they were at its first look;
// a rotation seen after that has elapsed 0 (rule 2).
func (m *Model) windows(s *State, r *Request) (retryOpen, lateOpen bool) {
	switch {
	case m.Broken.NewTimeAtEachLook:
		return s.Grant.RetryWindow, s.Grant.LateWindow
	case r.Looks.Generation != s.Grant.Generation:
		return m.newWindows()
	}
	return r.Looks.Retry, r.Looks.Late
}

// newWindows returns which windows are open right after a rotation: 0 is always closed.
func (m *Model) newWindows() (retryOpen, lateOpen bool) {
	return !m.NoRetryWindow, !m.Broken.NoLateWindow
}

// look is one look of a request: it reads, decides, and signs what it will hand out.
// It returns the row that decided; none where the client was not authenticated, and
// none at a login.
func (m *Model) look(s *State, r *Request) Row {
	if r.From == Login {
		m.lookOfLogin(s, r)
		return ""
	}
	first := !r.Looks.Seen
	if first {
		grant := &s.Grant
		r.Looks = Looks{Seen: true, Generation: grant.Generation, Retry: grant.RetryWindow, Late: grant.LateWindow, Unknown: r.Looks.Unknown}
	}
	// If the client is not the version that was authenticated, it is authenticated again.
	if !s.Client.Active && !m.Broken.AuthenticatedOnce {
		r.answer(InvalidClient)
		return ""
	}
	r.Witness.Replay = r.Witness.Replay || first && m.isReplay(s, r)
	row, action := m.Decide(s, r)
	m.act(s, r, action)
	return row
}

// act turns a decision into the next write, or into the answer.
func (m *Model) act(s *State, r *Request, action Action) {
	next := r.Token.Generation + 1
	switch action {
	case Refuse:
		r.answer(InvalidGrant)
	case RefuseScope:
		r.answer(InvalidScope)
	case RefuseBudget:
		r.answer(TooManyRetries)
	case RevokeAndRefuse:
		r.write(s, Write{Kind: Revoke, Generation: s.Grant.Generation})
	case DoRetry:
		m.retry(s, r)
	case DoReuse:
		r.write(s, Write{Kind: Reuse, Generation: r.Token.Generation, Current: r.Token.Value})
	case DoRotate:
		if r.Successor == 0 { // every attempt of a request uses the same salt
			r.Successor = s.fresh(next)
		}
		r.write(s, Write{Kind: Rotate, Generation: next, Current: r.Successor, Previous: r.Token.Value})
	}
}

// retry hands out the same successor again.
func (m *Model) retry(s *State, r *Request) {
	next := r.Token.Generation + 1
	if m.Broken.Siblings {
		r.Successor = s.fresh(next)
		r.write(s, Write{Kind: Sibling, Generation: next, Current: r.Successor, Previous: r.Token.Value})
		return
	}
	r.Successor = s.Grant.Current
	if m.Broken.RetryWithoutWrite {
		r.Witness.Unwritten = true
		r.answer(OK)
		return
	}
	r.write(s, Write{Kind: Retry, Generation: next, Current: r.Successor, Previous: r.Token.Value})
}

// lookOfLogin reads client and subject, checks the password and makes a grant. After a
// conflict it does so again, but a password that was changed meanwhile is wrong. After an
// unknown outcome it only looks whether its grant is there.
func (m *Model) lookOfLogin(s *State, r *Request) {
	switch {
	case r.Looks.Unknown && s.Grant.Exists && s.Grant.Active:
		r.answer(OK)
		return
	case r.Looks.Unknown:
		r.answer(Unavailable)
		return
	case !s.Client.Active:
		r.answer(InvalidClient)
		return
	case s.Subject.Blocked, r.Looks.Seen && r.Looks.Epoch != s.Subject.Epoch:
		r.answer(InvalidGrant)
		return
	}
	r.Looks = Looks{Seen: true, Epoch: s.Subject.Epoch}
	r.Successor = 1
	r.write(s, Write{Kind: Create, Current: r.Successor})
}

// write is the decision to write; the write compares what was decided upon.
func (r *Request) write(s *State, w Write) {
	w.Version, w.Epoch, w.ClientVersion = s.Grant.Version, s.Subject.Epoch, s.Client.Version
	r.Phase, r.Write = Writing, w
}

// answer ends the work on a request and forgets what no longer matters.
func (r *Request) answer(a Answer) {
	r.Phase, r.Answer, r.Write = Answered, a, Write{}
	r.Looks = Looks{Seen: r.Looks.Seen}
	if a != OK {
		r.Successor = 0
	}
}

// lookAgain leads back to the next look.
func (r *Request) lookAgain() { r.Phase, r.Write = Looking, Write{} }

// outcomeUnknown is rule 3: look again. A revocation is written again instead, until it
// is known (rule 2).
func (r *Request) outcomeUnknown() {
	if r.Write.Kind != Revoke {
		r.Looks.Unknown = true
		r.lookAgain()
	}
}
