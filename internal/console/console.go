// Package console renders the pages that people see: sign-in, consent, a new password,
// the devices somebody is signed in on, and what went wrong. It owns texts, languages
// and looks. It leaves to package endpoint who sees which page when, and knows no HTTP,
// no session and no store.
package console

import "time"

// Brand is how an installation looks. The zero value looks like Counterfoil.
type Brand struct {
	Name  string // empty: Counterfoil
	Logo  []byte // a PNG, JPEG, WebP or SVG file; nil: the name alone
	Color string // #rrggbb of buttons and links; empty: ours
}

// Form is where a form leads, and what it carries along unseen.
type Form struct {
	Action string // path and query
	Hidden []Field
}

// Field is a hidden field of a form.
type Field struct{ Name, Value string }

// Problem is why a form is shown again.
type Problem string

// The problems that a user can do something about.
const (
	ProblemCredentials Problem = "credentials" // wrong name or password
	ProblemThrottled   Problem = "throttled"   // too many failures
	ProblemDisabled    Problem = "disabled"
	ProblemLocked      Problem = "locked"
	ProblemReset       Problem = "reset"    // the password was reset by an administrator
	ProblemWeak        Problem = "weak"     // the new password
	ProblemMismatch    Problem = "mismatch" // the new passwords differ
	ProblemCurrent     Problem = "current"  // the current password is wrong
	ProblemBusy        Problem = "busy"
)

// SignIn is the page that asks for name and password, in the fields `username` and
// `password`.
type SignIn struct {
	Form
	Client     string // that the user signs in for; empty: none
	Username   string // typed before
	Problem    Problem
	RetryAfter time.Duration
}

// Consent is the page that asks whether a client may act for the user. Its buttons send
// `grantAccess` as `true` or `false`.
type Consent struct {
	Form
	Client        string
	Username      string
	Scopes        []string
	APIs          []string // that the client is limited to; none: all
	RedirectTo    string   // the host, or the scheme, that the user is sent back to
	SwitchAccount Form
}

// Account is the navigation of a signed-in user.
type Account struct {
	DevicesURL        string
	PasswordURL       string // empty: there is no such page
	SignOut           Form
	SignOutEverywhere Form
}

// Password is the page for a new password, in the fields `current_password`,
// `new_password` and `new_password_repeat`.
type Password struct {
	Form
	Account
	Username string
	Problem  Problem
	Weakness string // of the new password: "short", "guessable", "long"; empty: none
	Done     bool

	RetryAfter time.Duration
}

// Devices is the page that shows where a user is signed in.
type Devices struct {
	Account
	Username string
	Grants   []Device // clients that hold tokens
	Sessions []Device // browsers
	Ended    bool     // one was just ended
}

// Device is a client or a browser, with the form that ends it.
type Device struct {
	Form
	Name     string // empty: unknown
	Scope    []string
	Since    time.Time
	LastUsed time.Time // zero: unknown
	Current  bool      // the browser that the page is shown in
}

// MessageKind is what a page without a form says.
type MessageKind string

// The kinds of messages.
const (
	MessageBadRequest    MessageKind = "bad_request"    // the client sent something wrong
	MessageUnknownClient MessageKind = "unknown_client" // or an address that is not registered
	MessageForbidden     MessageKind = "forbidden"      // a form from elsewhere, or too old
	MessageNotFound      MessageKind = "not_found"
	MessageUnavailable   MessageKind = "unavailable"
	MessageSignedOut     MessageKind = "signed_out"
)

// Message is a page that says what happened.
type Message struct {
	Kind      MessageKind
	Detail    string // more, in English; empty: none
	RequestID string // empty: none
}
