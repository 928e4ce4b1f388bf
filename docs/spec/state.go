package spec

// Bounds of the arrays in a State. A Model may stay below them.
const (
	mostGenerations = 6 // tokens 0 to 5
	mostRequests    = 3
	mostLateWrites  = 2
)

// Token is a refresh token: its generation, and a value that stands for its secret.
// The value 0 is no token.
type Token struct{ Generation, Value uint8 }

// Grant is the row.
type Grant struct {
	Exists, Active    bool
	Version           uint8
	Generation        uint8 // n
	Current, Previous uint8 // the values of tokens n and n-1, of which the row has the hashes
	Retries           uint8
	Epoch             uint8 // the subject's epoch when the grant was made
	RetryWindow       bool  // open: elapsed < retry window
	LateWindow        bool  // open: elapsed < late window
}

// Subject is the resource owner's row.
type Subject struct {
	Epoch   uint8
	Blocked bool
}

// Client is the client's row. Deactivating and activating it raise the version.
type Client struct {
	Version uint8
	Active  bool
}

// Sender is who sent a request, and so who hears the answer.
type Sender uint8

// The senders. A straggler is a request of the client that it no longer waits for: a
// duplicate somewhere in the network or in a server.
const (
	Nobody Sender = iota // the slot is free
	FromClient
	Straggler
	FromThief
	Login // the client's first request, with the password
)

// Phase is where a request stands.
type Phase uint8

// The phases. From Looking a request goes to Writing or Answered; a conflict or an
// unknown outcome leads back to Looking.
const (
	Looking Phase = iota
	Writing
	Answered
)

// Answer is what the sender is told.
type Answer uint8

// The answers.
const (
	OK             Answer = iota + 1 // 200, with Request.HandsOut
	InvalidGrant                     // 400
	InvalidClient                    // 401
	InvalidScope                     // 400
	TooManyRetries                   // 429
	Unavailable                      // 503
)

// Request is a request in a server.
type Request struct {
	From      Sender
	Phase     Phase
	Token     Token // presented; none at a login
	TooMuch   bool  // asks for a scope outside the grant
	Looks     Looks
	Successor uint8 // the value that its salt leads to, or that the row's does; 0: no salt drawn yet
	Write     Write // in phase Writing
	Answer    Answer
	Witness   Witness
}

// Looks is the memory of a request (rule 2): every look uses the time of the first.
type Looks struct {
	Seen       bool  // there was a look before
	Generation uint8 // the grant's, at the first look
	Epoch      uint8 // a login: the subject's, at the first look
	Retry      bool  // the retry window was open at the first look
	Late       bool  // the late window was
	Unknown    bool  // a write of this request had an unknown outcome
}

// WriteKind is an operation of the store that writes.
type WriteKind uint8

// The writes. SwapGrant is two of them, R1 and R3. A sibling exists in a broken model only.
const (
	Create WriteKind = iota + 1
	Rotate
	Reuse
	Retry
	Revoke
	Sibling
)

// Write is a write with everything that it compares.
type Write struct {
	Kind              WriteKind
	Generation        uint8 // of the successor
	Current, Previous uint8
	Version           uint8 // of the grant as decided upon
	Epoch             uint8 // of the subject; a login's
	ClientVersion     uint8 // of the client as authenticated
}

// Witness is what only the invariants look at.
type Witness struct {
	Replay    bool // the first look met a replay
	Unwritten bool // success without a write: a broken model's
	Excused   bool // the administrator acted while this request was under way, or user or client were out of order when it was sent
}

// State is everything at one moment.
type State struct {
	Grant    Grant
	Subject  Subject
	Client   Client
	Requests [mostRequests]Request
	Late     [mostLateWrites]Write // of unknown outcome; they may still happen

	Held      Token // the client's newest token
	Sent      uint8 // how often the client sent it: 0, 1, or 2 for more
	LoggedOut bool  // the client was refused and dropped its token
	LoginSent bool
	Stolen    Token // the thief's token
	Acts      uint8 // the acts that the administrator has used up
	ReadFirst uint8 // broken revocation: 1 + the version that the administrator read

	// What only the invariants look at.
	Delivered [mostGenerations]uint8 // the value of each generation that an answer carried
	Revoked   bool                   // a revocation was acknowledged
	Excuses   Excuse
}

// HandsOut is the token in the answer OK.
func (m *Model) HandsOut(r *Request) Token {
	switch {
	case r.From == Login:
		return Token{0, r.Successor}
	case m.Reusable:
		return r.Token
	}
	return Token{r.Token.Generation + 1, r.Successor}
}

// fresh returns the value of a token of this generation made with a new random salt:
// the smallest that nothing refers to, so that equal states look equal.
func (s *State) fresh(generation uint8) uint8 {
	var used uint64
	refer := func(t Token) {
		if t.Generation == generation {
			used |= 1 << t.Value
		}
	}
	write := func(w *Write) {
		refer(Token{w.Generation, w.Current})
		refer(Token{w.Generation - 1, w.Previous})
	}
	refer(Token{s.Grant.Generation, s.Grant.Current})
	refer(Token{s.Grant.Generation - 1, s.Grant.Previous})
	refer(Token{generation, s.Delivered[generation]})
	refer(s.Held)
	refer(s.Stolen)
	for i := range s.Requests {
		r := &s.Requests[i]
		refer(r.Token)
		refer(Token{r.Token.Generation + 1, r.Successor})
		write(&r.Write)
	}
	for i := range s.Late {
		write(&s.Late[i])
	}
	value := uint8(1)
	for used>>value&1 != 0 {
		value++
	}
	return value
}
