package oauth

import "time"

// EventType says what an event is about.
type EventType string

// The types of events. A refresh or a retry is none.
const (
	EventLogin          EventType = "login"          // a grant was made
	EventRefusal        EventType = "refusal"        // a request was refused
	EventRevocation     EventType = "revocation"     // a grant was ended
	EventAdministration EventType = "administration" // an administrator changed something
)

// Event is one line of the audit. It holds no secret and nothing that a stranger
// typed.
type Event struct {
	At        time.Time // set by the store
	Type      EventType
	Reason    string // of a refusal or revocation: stable, see the catalogue; of an administrator's act: its name
	RequestID string // X-Request-Id of the answer; empty: not a request
	ClientID  string // of a client that exists
	Subject   string // Subject.ID of a subject that exists
	GrantID   string // Grant.PublicID
	Source    string // network address of the caller; for an administrator's act, who
	Detail    string // for people
	Count     int    // how often: repeated refusals of one grant share an event
	LastAt    time.Time
}
