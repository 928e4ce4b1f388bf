package oauth

import (
	"crypto/hmac"
	"fmt"
	"math"
	"time"
)

// GrantID names a grant inside refresh tokens, and nowhere else: it never occurs
// in logs, claims or pages (those have Grant.PublicID).
type GrantID [16]byte

// Format implements fmt.Formatter for all verbs: a GrantID does not print.
func (GrantID) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// GrantStatus is the status of a grant.
type GrantStatus string

// The states of a grant. Expiry is not one of them: it follows from the times.
const (
	GrantPending GrantStatus = "pending" // agreed to; its authorization code was not redeemed yet
	GrantActive  GrantStatus = "active"
	GrantRevoked GrantStatus = "revoked"
)

// Grant is one authorization of one client by one subject (RFC 9700), and one row.
// Its members are the access and refresh tokens made from it.
type Grant struct {
	ID       GrantID
	PublicID string // `grant_id` in access tokens, logs and the command line
	Version  int64  // raised by every write except a retry's

	ClientID     string
	Subject      string // Subject.ID
	SubjectEpoch int64  // the subject's epoch when the grant was made
	Scope        Scope
	Resource     []string // RFC 8707; empty: none named
	AuthTime     time.Time
	AMR          []string // RFC 8176
	ACR          string
	Confirmation string // thumbprint of the key the grant is bound to; empty: none

	Status        GrantStatus
	RevokedAt     time.Time
	RevokedReason string

	Generation    uint32   // n: the number of the newest refresh token
	CurrentHash   [32]byte // of secret n
	PreviousHash  [32]byte // of secret n-1; zero at generation 0
	SuccessorSalt [32]byte // secret n derives from secret n-1 and this; zero at generation 0
	KeyID         uint16   // the master key of the three
	RotatedAt     time.Time
	Retries       int // how often the present successor was handed out again

	IdleExpiresAt     time.Time
	AbsoluteExpiresAt time.Time // zero: never
	CreatedAt         time.Time
	LastUsedAt        time.Time // the last rotation, or use of a reusable token
}

// ExpiresAt returns when the grant ends under the client's present policy: a
// tightened policy shortens what the row says, a loosened one does not lengthen it.
func (g *Grant) ExpiresAt(p Policy) time.Time {
	end := g.IdleExpiresAt
	for _, t := range []time.Time{after(g.LastUsedAt, p.RefreshTokenLifetime), g.AbsoluteExpiresAt, after(g.CreatedAt, p.AbsoluteLifetime)} {
		if !t.IsZero() && t.Before(end) {
			end = t
		}
	}
	return end
}

// left is how long a grant lives that is used now, in whole seconds: none of its access
// tokens lives longer.
func (g *Grant) left(p Policy, now time.Time) time.Duration {
	left := p.RefreshTokenLifetime
	for _, end := range []time.Time{g.AbsoluteExpiresAt, after(g.CreatedAt, p.AbsoluteLifetime)} {
		if !end.IsZero() && !g.CreatedAt.IsZero() {
			left = min(left, end.Sub(now))
		}
	}
	if g.CreatedAt.IsZero() && p.AbsoluteLifetime > 0 { // it is being made
		left = min(left, p.AbsoluteLifetime)
	}
	return max(0, left).Truncate(time.Second)
}

// after returns t + d, or the zero time for a lifetime that never ends.
func after(t time.Time, d time.Duration) time.Time {
	if d <= 0 {
		return time.Time{}
	}
	return t.Add(d)
}

// GrantView is a grant as the store shows it to a decision: with all that the
// decision depends on, read in one step, and the store's own clock.
type GrantView struct {
	Grant         Grant
	Subject       Subject
	SubjectExists bool
	ClientVersion int64 // 0: the client is gone
	ClientActive  bool
	Now           time.Time
}

// Policy is what the server and the client agreed on about tokens.
type Policy struct {
	AccessTokenLifetime  time.Duration
	RefreshTokenLifetime time.Duration // idle, sliding
	AbsoluteLifetime     time.Duration // 0: no end
	RetryWindow          time.Duration
	LateWindow           time.Duration
	RetryBudget          int
	Reusable             bool // the client's refresh tokens do not rotate
	PreviousAccessToken  PreviousAccessToken
	SigningAlg           string
	Scope                Scope    // the client's list
	AnyScope             bool     // no list, and the endpoint does not ask for one
	APIs                 []string // the client's
	NoScope              bool     // what is asked for is left out: the APIs are all there is
}

// PreviousAccessToken says what a refresh does to the access tokens before it.
// The zero value revokes them at once.
type PreviousAccessToken struct {
	Keep bool          // any generation stays alive until it expires
	For  time.Duration // the previous generation stays alive that long
}

// Presentation is a refresh token that a client presents, with what the request
// says about it and what was seen in earlier looks of the same request.
type Presentation struct {
	Token      RefreshToken
	ClientID   string
	Scope      Scope    // asked for; nil: not said
	Resource   []string // likewise
	Thumbprint string   // of the key the request proves; empty: none
	Looks      Looks
}

// Looks is the memory of one request: every look uses the time of the first, and
// a rotation seen after it has just happened (docs/rotation.md, rule 2).
type Looks struct {
	Seen       bool      // there was a look before
	At         time.Time // the store's time at the first look
	Generation uint32    // the grant's generation at the first look
	Unknown    bool      // a write of this request had an unknown outcome
}

// Action is what a decision wants done.
type Action string

// The actions of docs/rotation.md.
const (
	ActionRefuse Action = "refuse" // answer with Decision.Refusal; nothing changes
	ActionRevoke Action = "revoke" // revoke the grant, then refuse
	ActionRotate Action = "rotate" // a new generation
	ActionRetry  Action = "retry"  // the same successor again
	ActionReuse  Action = "reuse"  // the same refresh token, a new access token
)

// Decision is the outcome of Present.
type Decision struct {
	Row      string // the row of docs/rotation.md that decided: P1 … R3
	Action   Action
	Refusal  error    // for ActionRefuse and ActionRevoke
	Scope    Scope    // of the access token, for the other actions
	Resource []string // likewise
}

// recorded reports whether a decision refuses an authentic token for good, which is
// recorded. Rows P7 and S and a spent budget say nothing about the token and leave no
// trace.
func (d Decision) recorded() bool {
	return d.Refusal != nil && d.Row != "P7" && d.Row != "S" && d.Row != "R2"
}

// Present decides what the presented refresh token does: the table of docs/rotation.md,
// from the top, the first row that fits. It is pure: no I/O, no clock, no
// randomness. The client is authenticated and the token's tag checked before; a
// nil view is a grant that does not exist.
func Present(v *GrantView, p Presentation, policy Policy, keys *Keys) Decision {
	if d, refused := standing(v, p, policy); refused {
		return d
	}
	if d, refused := history(v, p, policy, keys); refused {
		return d
	}
	scope, err := accessScope(p.Scope, v.Grant.Scope, policy)
	resource, target := accessResource(p.Resource, v.Grant.Resource)
	if err == nil {
		err = target
	}
	switch {
	case err != nil:
		return refuse("S", err)
	case p.Token.Generation != v.Grant.Generation:
		if v.Grant.Retries >= policy.RetryBudget {
			return refuse("R2", ErrRetryBudgetSpent.After(retryAfterBudget))
		}
		return Decision{Row: "R2", Action: ActionRetry, Scope: scope, Resource: resource}
	case policy.Reusable:
		return Decision{Row: "R3", Action: ActionReuse, Scope: scope, Resource: resource}
	case v.Grant.Generation == math.MaxUint32:
		return revoke("R1", ErrGrantExpired) // nothing wraps
	}
	return Decision{Row: "R1", Action: ActionRotate, Scope: scope, Resource: resource}
}

// retryAfterBudget is a polite pause for a client that retries without end.
const retryAfterBudget = 30 * time.Second

// standing checks rows P1 to P7: is the grant in order, whatever its history?
func standing(v *GrantView, p Presentation, policy Policy) (Decision, bool) {
	if v == nil {
		return refuse("P1", ErrGrantUnknown), true
	}
	g := &v.Grant
	now := p.Looks.at(v)
	switch {
	case g.ClientID != p.ClientID:
		return refuse("P2", ErrGrantOfAnotherClient), true
	case !now.Before(g.ExpiresAt(policy)):
		return refuse("P3", ErrGrantExpired), true
	case !v.SubjectExists:
		return refuse("P4", ErrSubjectGone), true
	}
	if err := v.Subject.Blocked(); err != nil {
		return refuse("P5", err), true
	}
	switch {
	case g.Status != GrantActive || g.SubjectEpoch != v.Subject.Epoch:
		return refuse("P6", ErrGrantRevoked), true
	case g.Confirmation != "" && g.Confirmation != p.Thumbprint:
		return refuse("P7", ErrKeyBindingMismatch), true
	}
	return Decision{}, false
}

// history checks rows Y and X: is this the newest refresh token, or its
// predecessor while the retry window is open?
func history(v *GrantView, p Presentation, policy Policy, keys *Keys) (Decision, bool) {
	g := &v.Grant
	behind := int64(g.Generation) - int64(p.Token.Generation)
	elapsed := p.Looks.elapsed(v)
	switch {
	case behind < 0:
		return refuse("Y2", ErrGenerationUnknown), true
	case behind <= 1 && !hashFits(g, p.Token, behind, keys):
		return revoke("Y1", ErrHistoryForked), true
	case behind > 2:
		return p.Looks.replay("X2"), true
	case behind == 2 && open(elapsed, policy.LateWindow):
		return refuse("X3", ErrStraggler), true
	case behind == 2:
		return p.Looks.replay("X2"), true
	case behind == 1 && !open(elapsed, policy.RetryWindow) && !p.Looks.Unknown:
		return p.Looks.replay("X1"), true
	}
	return Decision{}, false
}

// hashFits compares the token's secret with the row's hash of its generation.
func hashFits(g *Grant, t RefreshToken, behind int64, keys *Keys) bool {
	want := &g.CurrentHash
	if behind == 1 {
		want = &g.PreviousHash
	}
	got, ok := keys.hash(g.KeyID, g.ID, t.Generation, t.Secret)
	return ok && hmac.Equal(got[:], want[:])
}

// open reports whether a window is open: 0 is always closed.
func open(elapsed, window time.Duration) bool { return elapsed < window }

// at is the time of the whole request: that of its first look.
func (l Looks) at(v *GrantView) time.Time {
	if l.Seen {
		return l.At
	}
	return v.Now
}

// elapsed is the time since the last rotation, at least 0. A rotation seen after
// the first look has just happened.
func (l Looks) elapsed(v *GrantView) time.Duration {
	if l.Seen && v.Grant.Generation != l.Generation {
		return 0
	}
	return max(0, l.at(v).Sub(v.Grant.RotatedAt))
}

// replay is the decision about a token whose time is over. A look after a write
// of unknown outcome never finds one: what it sees may be its own doing.
func (l Looks) replay(row string) Decision {
	if l.Unknown {
		return refuse(row, ErrGrantRevoked)
	}
	return revoke(row, ErrReplay)
}

func refuse(row string, err error) Decision {
	return Decision{Row: row, Action: ActionRefuse, Refusal: err}
}

func revoke(row string, err error) Decision {
	return Decision{Row: row, Action: ActionRevoke, Refusal: err}
}
