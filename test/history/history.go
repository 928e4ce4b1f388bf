// Package history records what clients and an administrator saw of a group of
// servers, call by call, and checks it against docs/rotation.md: whether each grant
// behaved as if every call had happened at one moment (linearizability), and, in a
// second way that shares nothing with the first, whether its promises were kept.
// A history is a file of JSON lines without any secret, so that it can be read, sent
// and checked again. The tests of this package make histories with the real program.
package history

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Operation says what was called.
type Operation string

// The operations of a history.
const (
	Login    Operation = "login"    // a grant is made
	Refresh  Operation = "refresh"  // a refresh token is presented
	Revoke   Operation = "revoke"   // the administrator ends the grant
	Disable  Operation = "disable"  // the administrator disables the user
	Enable   Operation = "enable"   // the administrator enables the user
	Password Operation = "password" // the administrator sets the user's password, which ends the user's grants
	List     Operation = "list"     // the administrator reads the grant's row
)

// Answer says how a call was answered. Any other text is an answer nobody expected.
type Answer string

// The answers of a history.
const (
	OK          Answer = "ok"
	Refused     Answer = "refused"     // Token has been revoked: clients log their user out
	Blocked     Answer = "blocked"     // Account is disabled
	Unavailable Answer = "unavailable" // 503, or a command that failed: it may have taken effect
	None        Answer = "none"        // it may have taken effect
)

// Token names a refresh token without showing it.
type Token struct {
	Generation uint32
	Name       string // of its text's hash; empty: no token
}

// nameLength is how many octets of the hash make a name.
const nameLength = 6

// ParseToken returns the name of a refresh token in the format of docs/rotation.md.
func ParseToken(text string) (Token, error) {
	const generationAt, length = 1 + 2 + 1 + 16, 76
	encoded, prefixed := strings.CutPrefix(text, "cfr_")
	b, err := base64.RawURLEncoding.DecodeString(encoded)
	if !prefixed || err != nil || len(b) != length {
		return Token{}, errors.New("this is no refresh token")
	}
	sum := sha256.Sum256([]byte(text))
	return Token{Generation: binary.BigEndian.Uint32(b[generationAt:]), Name: hex.EncodeToString(sum[:nameLength])}, nil
}

// String returns GENERATION:NAME, or nothing for no token.
func (t Token) String() string {
	if t.Name == "" {
		return ""
	}
	return fmt.Sprintf("%d:%s", t.Generation, t.Name)
}

// MarshalText implements encoding.TextMarshaler.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *Token) UnmarshalText(text []byte) error {
	generation, name, found := strings.Cut(string(text), ":")
	n, err := strconv.ParseUint(generation, 10, 32)
	if !found || err != nil || name == "" {
		return fmt.Errorf("%q names no token", text)
	}
	*t = Token{Generation: uint32(n), Name: name}
	return nil
}

// Row is what the database says of a grant.
type Row struct {
	Generation uint32 `json:"generation"`
	Status     string `json:"status"` // active or revoked, as `grant list` prints it
}

// Call is a call and its return. Times are nanoseconds of one monotonic clock.
type Call struct {
	Operation Operation `json:"call"`
	User      int       `json:"user"`            // from 1
	Grant     int       `json:"grant,omitempty"` // from 1; 0: it concerns all grants of the user, or none
	Process   int       `json:"process"`         // who called
	Server    int       `json:"server"`          // whom; 0: the command line
	Secret    int       `json:"secret"`          // which of the user's passwords was used or set, from 0
	Presented Token     `json:"presented,omitzero"`
	Begin     int64     `json:"begin"`
	End       int64     `json:"end,omitempty"` // 0: it may still take effect when the history ends
	Answer    Answer    `json:"answer"`
	Lost      bool      `json:"lost,omitempty"` // the answer never reached the client, which knows nothing of it
	Delivered Token     `json:"delivered,omitzero"`
	Row       *Row      `json:"row,omitempty"`
}

// end is when the call surely was over.
func (c *Call) end() int64 {
	if c.End == 0 {
		return math.MaxInt64
	}
	return c.End
}

// unknown reports whether the call may have taken effect or not.
func (c *Call) unknown() bool { return c.Answer == None || c.Answer == Unavailable }

// maySucceed reports whether a refresh may have made a generation.
func (c *Call) maySucceed() bool { return c.Answer == OK || c.unknown() }

// Settings are what a history was made with.
type Settings struct {
	Seed uint64 `json:"seed"`
	// Strict says that the retry window and the late window are 0. Otherwise they
	// are longer than the history, so that its times decide nothing.
	Strict bool `json:"strict"`
}

// History is what happened, in the order of Call.Begin.
type History struct {
	Settings Settings
	Calls    []Call
}

// Write writes a history: a line of settings, then one for each call.
func (h *History) Write(w io.Writer) error {
	buffer := bufio.NewWriter(w)
	lines := json.NewEncoder(buffer)
	if err := lines.Encode(h.Settings); err != nil {
		return fmt.Errorf("write history: %w", err)
	}
	for i := range h.Calls {
		if err := lines.Encode(&h.Calls[i]); err != nil {
			return fmt.Errorf("write history: %w", err)
		}
	}
	if err := buffer.Flush(); err != nil {
		return fmt.Errorf("write history: %w", err)
	}
	return nil
}

// Read reads what Write wrote. A member it does not know is an error.
func Read(r io.Reader) (*History, error) {
	lines := json.NewDecoder(r)
	lines.DisallowUnknownFields()
	h := &History{}
	if err := lines.Decode(&h.Settings); err != nil {
		return nil, fmt.Errorf("read history: settings: %w", err)
	}
	for {
		var c Call
		err := lines.Decode(&c)
		if errors.Is(err, io.EOF) {
			return h, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read history: call %d: %w", len(h.Calls)+1, err)
		}
		h.Calls = append(h.Calls, c)
	}
}

// Recorder makes a history of concurrent calls. Its methods may be called by many
// goroutines at once.
type Recorder struct {
	mu    sync.Mutex
	begun time.Time
	calls []*Call
}

// NewRecorder starts the clock of a history.
func NewRecorder() *Recorder { return &Recorder{begun: time.Now()} }

// Begin records a call that is about to be made, without an answer so far.
func (r *Recorder) Begin(c Call) *Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.Answer, c.Begin = None, int64(time.Since(r.begun))
	r.calls = append(r.calls, &c)
	return &c
}

// Lose records that the client does not wait for the answer any longer.
func (r *Recorder) Lose(c *Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.Lost = true
}

// End records that a call is over, whatever the client learns of it. fill adds the
// answer; without it there was none.
func (r *Recorder) End(c *Call, fill func(c *Call)) {
	end := int64(time.Since(r.begun))
	r.mu.Lock()
	defer r.mu.Unlock()
	c.End = end
	if fill != nil {
		fill(c)
	}
}

// History returns a copy of what was recorded so far.
func (r *Recorder) History(s Settings) *History {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := &History{Settings: s}
	for _, c := range r.calls {
		h.Calls = append(h.Calls, *c)
	}
	return h
}
