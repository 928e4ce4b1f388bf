package admin

import (
	"context"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// Store keeps what an operator looks at and changes. Each method is one atomic,
// durable step that records its event with it, and holds for the very next
// request: a change of a client raises its version, and what ends the grants of
// a user raises the user's epoch. See oauth.Store for its errors and clock.
type Store interface {
	oauth.Store

	// CreateClient inserts a client; the store sets version and times. An ID that
	// belonged to a deleted client may be used again, with a version of its own.
	// ErrExists if there is such a client.
	CreateClient(ctx context.Context, c oauth.Client, e oauth.Event) error
	// UpdateClient replaces all but ID and CreatedAt if the version is still
	// c.Version, else ErrConflict; ErrNotFound if there is none.
	UpdateClient(ctx context.Context, c oauth.Client, e oauth.Event) error
	// DeleteClient ends all grants of the client for good, with reason
	// "client_deleted", and removes it; their rows stay until clean-up.
	// ErrNotFound if there is none.
	DeleteClient(ctx context.Context, id string, e oauth.Event) error
	// Clients lists all clients, by ID.
	Clients(ctx context.Context) ([]oauth.Client, error)

	// CreateUser inserts a user; the store sets epoch and times. ErrExists if the
	// ID, the username or the e-mail address is taken. The ID of a deleted user
	// stays taken for ever.
	CreateUser(ctx context.Context, u oauth.User, e oauth.Event) error
	// User reads a user by username, or ErrNotFound.
	User(ctx context.Context, username string) (oauth.User, error)
	// UserByLogin finds a user by username, or else by e-mail address, byte for
	// byte; or ErrNotFound.
	UserByLogin(ctx context.Context, login string) (oauth.User, error)
	// UserByEmail finds the only user with an e-mail address, without regard to case;
	// or ErrNotFound.
	UserByEmail(ctx context.Context, email string) (oauth.User, error)
	// Users lists all users, by username.
	Users(ctx context.Context) ([]oauth.User, error)
	// SetUserState sets whether the user is enabled, unless enabled is nil, and the
	// state, unless it is empty. It raises the version of the clients the user
	// owns. ErrNotFound if there is none.
	SetUserState(ctx context.Context, id string, enabled *bool, state oauth.SubjectState, e oauth.Event) error
	// SetPassword sets the password hash and deletes the user's sessions; endGrants
	// raises the epoch, and so ends the user's grants. ErrNotFound if there is none.
	SetPassword(ctx context.Context, id, hash string, endGrants bool, e oauth.Event) error
	// DeleteUser ends all grants of the user for good, with reason "user_deleted",
	// and removes it; their rows stay until clean-up. It raises the version of the
	// clients the user owned. ErrNotFound if there is none.
	DeleteUser(ctx context.Context, id string, e oauth.Event) error

	// Grants lists the grants that fit the filter, newest first.
	Grants(ctx context.Context, f GrantFilter) ([]oauth.GrantView, error)
	// RevokeGrants revokes the active grants that fit the filter, which must name
	// a grant, a subject or a client, and returns how many it revoked. With a
	// subject it raises the subject's epoch, with a client the client's version
	// (with both, neither), so that no grant being made escapes. ErrNotFound if
	// what it names does not exist.
	RevokeGrants(ctx context.Context, f GrantFilter, reason string, e oauth.Event) (int, error)

	// Events returns the events of a request, oldest first: recorded and noted ones.
	// A shared event is found by its first and its latest request; a refusal that
	// was both recorded and noted is one event.
	Events(ctx context.Context, requestID string) ([]oauth.Event, error)
	// RecordEvent records an event of administration that changes nothing else.
	RecordEvent(ctx context.Context, e oauth.Event) error

	// MasterKeyChecks returns the check value (oauth.Keys.Check) of every master
	// key this database was used with.
	MasterKeyChecks(ctx context.Context) (map[uint16][]byte, error)
	// AddMasterKeyCheck adds a master key; ErrExists if the id has another check value.
	AddMasterKeyCheck(ctx context.Context, id uint16, check []byte) error
	// RemoveMasterKeyCheck forgets a master key.
	RemoveMasterKeyCheck(ctx context.Context, id uint16) error
	// MasterKeyUse counts, by master key, the live grants, live client secrets and
	// signing keys that need it.
	MasterKeyUse(ctx context.Context) (map[uint16]int, error)

	// Cleanup deletes, in steps of at most batch rows, what is over: grants that
	// are revoked or expired, secrets and counters that ended, for longer than
	// deadFor, sessions that are over, and events older than events. It never deletes a live grant. A dry
	// run only counts.
	Cleanup(ctx context.Context, c Cleanup) (Removed, error)
}

// GrantFilter chooses grants; empty fields choose all.
type GrantFilter struct {
	PublicID string
	Subject  string // oauth.Subject.ID
	ClientID string
	Limit    int // 0: no limit
}

// Cleanup says what to delete.
type Cleanup struct {
	DeadFor time.Duration // how long a grant must have been over
	// Told is how long a revoked grant is spared all the same where somebody followed the
	// revocation feed within a day: the feed finds there what it has to tell.
	Told   time.Duration
	Events time.Duration // how long events are kept after they last happened; 0: for ever
	Batch  int           // rows per step; 0: 1000
	DryRun bool
}

// Removed counts what a clean-up deleted, or would delete.
type Removed struct {
	Grants   int `json:"grants"`
	Events   int `json:"events"`
	Failures int `json:"failures"`
	Secrets  int `json:"secrets"`
	Sessions int `json:"sessions"`
}
