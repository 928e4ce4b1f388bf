package spec

// Model is one configuration: who takes part, which faults there are, and how far the
// search goes.
type Model struct {
	Name string

	Requests    int   // in servers at once, stragglers included
	Generations uint8 // rotations at most
	Stragglers  int   // at once
	LateWrites  int   // writes of unknown outcome that may still happen, at once
	Budget      uint8 // of retries

	Administrator bool // revokes, changes the password, blocks, unblocks, deactivates, activates: each once
	Thief         bool // steals the client's token at some moment
	TooMuch       bool // requests may ask for a scope outside the grant
	Login         bool // begins without a grant
	Reusable      bool // the client's tokens do not rotate
	NoRetryWindow bool // retry window 0: strict one-time use

	Broken Broken
}

// Begin is the first state: a grant of generation 0, and a client that holds its token;
// or nothing, before a login.
func (m *Model) Begin() State {
	s := State{Client: Client{Version: 1, Active: true}, Grant: Grant{Version: 1}}
	if !m.Login {
		s.Grant.Exists, s.Grant.Active, s.Grant.Current = true, true, 1
		s.Held = Token{0, 1}
		s.Delivered[0] = 1
	}
	return s
}

// Honest are the configurations in which nothing may be found, with bounds that a
// search exhausts in a moment.
func Honest() []Model {
	return []Model{
		{Name: "honest client", Requests: 2, Generations: 2, Stragglers: 1},
		{Name: "retries", Requests: 2, Generations: 1, Stragglers: 1, Budget: 1},
		{Name: "three requests at once", Requests: 3, Generations: 1, Stragglers: 2},
		{Name: "late writes", Requests: 1, Generations: 1, LateWrites: 2, Budget: 1},
		{Name: "retry window 0", Requests: 2, Generations: 1, Stragglers: 1, NoRetryWindow: true},
		{Name: "administrator", Requests: 1, Generations: 1, Budget: 1, Administrator: true},
		{Name: "login, administrator", Requests: 1, LateWrites: 1, Administrator: true, Login: true},
		{Name: "reusable tokens, administrator", Requests: 1, LateWrites: 1, Administrator: true, Reusable: true},
		{Name: "thief", Requests: 2, Generations: 1, Thief: true, TooMuch: true},
		{Name: "thief, administrator", Requests: 1, Generations: 1, Thief: true, Administrator: true},
	}
}

// Larger raises the bounds: first all faults, then more rotations, then more requests
// at once. It returns false when there is nothing more to it.
func (m *Model) Larger() bool {
	switch {
	case m.Budget < 1 && !m.Reusable:
		m.Budget = 1
	case m.LateWrites < 1:
		m.LateWrites = 1
	case m.Requests < 2 || m.Stragglers < 1:
		m.Requests, m.Stragglers = max(2, m.Requests), 1
	case m.Generations < 4 && !m.Reusable:
		m.Generations++
	case m.Requests < mostRequests:
		m.Requests, m.Stragglers = mostRequests, 2
	case m.Generations < mostGenerations-1 && !m.Reusable:
		m.Generations++
	default:
		return false
	}
	return true
}

// Broken are the rules that a model can break, one at a time. Each was somebody's bug.
type Broken struct {
	NoCompareAndSwap       bool // SwapGrant does not compare the version
	Siblings               bool // a retry gets a new token
	ReplayOnSecondLook     bool // a look after an unknown outcome finds replays
	NoLateWindow           bool // late window 0
	RevocationConflicts    bool // revocation by compare-and-swap, its conflict ignored
	SwapIgnoresClient      bool
	SwapIgnoresEpoch       bool
	SwapIgnoresState       bool
	RetryWithoutWrite      bool
	ScopeBeforeReplay      bool
	RetryIgnoresVersion    bool // RetryGrant does not compare the version
	RetryComparesRowOnly   bool // RetryGrant compares neither subject nor client
	CreateIgnoresState     bool
	NewTimeAtEachLook      bool // a look after the first uses its own time
	AuthenticatedOnce      bool // a client that changed since is not authenticated again
	OthersSuccessorRefused bool // after an unknown outcome only our own successor counts
	DelayedPastThree       bool // no rule, but the assumption of I7: a duplicate comes after three rotations
}
