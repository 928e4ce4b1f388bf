package oauth

import (
	"context"
	"time"
)

// Store keeps clients, grants and the memory against guessing. Each method is one
// atomic step of the protocol; a write is durable when it returns nil. Its clock
// is the only clock of decisions about grants; it is UTC, in whole microseconds.
// Identifiers compare byte for byte.
//
// A method returns one of the named errors or a fault. After ErrOutcomeUnknown
// the write may have happened, or may still happen; after any other error it has
// not happened and never will. A write that has begun is not cancelled with its
// context.
type Store interface {
	// Client reads a client with its live secrets, or ErrNotFound.
	Client(ctx context.Context, id string) (Client, error)

	// ClientVersion reads the version of a client, or ErrNotFound.
	ClientVersion(ctx context.Context, id string) (int64, error)

	// Subject reads a subject by its ID, or ErrNotFound.
	Subject(ctx context.Context, id string) (Subject, error)

	// CreateGrant inserts a grant, active or pending, and records the event with it,
	// unless that has no type, if the subject exists with n.Grant.SubjectEpoch, enabled
	// and active, and the client exists with n.ClientVersion; else ErrConflict. The
	// store sets the grant's times from its clock. Beyond n.MaxGrants active grants of
	// this subject and client it revokes the one idle longest, with reason
	// "superseded", in the same step; of pending ones it deletes the oldest.
	CreateGrant(ctx context.Context, n NewGrant) error

	// RedeemGrant makes the pending grant with n.Grant.ID, n.Grant.Version and the hash
	// given an active one of generation 0: it replaces hash, key and scope, sets all
	// times but AuthTime anew and does the rest of CreateGrant, under the same
	// conditions; else ErrConflict. The new version is n.Grant.Version + 1.
	RedeemGrant(ctx context.Context, n NewGrant, pendingHash [32]byte) error

	// Grant reads a grant with its subject, its client's version and the store's
	// clock, in one step; or ErrNotFound.
	Grant(ctx context.Context, id GrantID) (GrantView, error)

	// GrantByPublicID is Grant by the identifier that access tokens carry.
	GrantByPublicID(ctx context.Context, publicID string) (GrantView, error)

	// ConfirmGrant is Grant, with a durable write behind it: what it returns is what the
	// store is, not a past that a server still shows which was cut off and replaced.
	ConfirmGrant(ctx context.Context, id GrantID) (GrantView, error)

	// SwapGrant replaces the row of old by next (R1, R3) if its version is still
	// old.Version and its hash old.CurrentHash, its status active, its subject of epoch old.SubjectEpoch,
	// enabled and active, and its client of the given version; else ErrConflict.
	// All conditions are part of the write. The new version is old.Version + 1.
	// When the generation changes, RotatedAt becomes the store's clock, never
	// earlier than before. It writes no other row.
	SwapGrant(ctx context.Context, old, next *Grant, clientVersion int64) error

	// RetryGrant counts one more retry (R2) under the conditions of SwapGrant and
	// if fewer than budget were counted; else ErrConflict. The version stays, so
	// that many at once do not conflict.
	RetryGrant(ctx context.Context, g *Grant, clientVersion int64, budget int) error

	// RevokeGrant sets the status to revoked where it is active or pending, whatever the
	// generation or version, and records the event with it. It cannot conflict; a
	// grant that is revoked already, or gone, stays as it is.
	RevokeGrant(ctx context.Context, id GrantID, reason string, e Event) error

	// RevokeClientTokens ends the access tokens that a client got for itself so far: it
	// moves Client.NotBefore on, and raises the client's version, and records the event
	// with it, if NotBefore still is what it is said to be. If it is not, or the client
	// is gone, nothing changes.
	RevokeClientTokens(ctx context.Context, clientID string, notBefore time.Time, e Event) error

	// GrantsOf lists the active grants of a subject's present epoch, newest first and at
	// most so many, as Grant shows them.
	GrantsOf(ctx context.Context, subject string, most int) ([]GrantView, error)

	// CreateSession inserts a session and records the event with it, if the subject
	// exists with SubjectEpoch, enabled and active; else ErrConflict. The store sets
	// CreatedAt and, lifetime later, ExpiresAt from its clock.
	CreateSession(ctx context.Context, n Session, lifetime time.Duration, e Event) error

	// Session reads a session with its subject, as long as it lives: until it expires,
	// its subject's epoch changes or the subject is blocked; else ErrNotFound.
	Session(ctx context.Context, key SessionKey) (SessionView, error)

	// SessionsOf lists the living sessions of a subject, newest first.
	SessionsOf(ctx context.Context, subject string) ([]Session, error)

	// EndSession deletes a session of the subject and records the event with it. A
	// session that is gone already stays so.
	EndSession(ctx context.Context, key SessionKey, subject string, e Event) error

	// SignOut raises the subject's epoch, deletes its sessions and revokes its grants
	// with reason "signed_out", in one step. ErrNotFound if there is no such subject.
	SignOut(ctx context.Context, subject string, e Event) error

	// SaveClientUse notes when clients last got a token; a later time stays. It is no
	// change of a client: its version stays.
	SaveClientUse(ctx context.Context, used map[string]time.Time) error

	// RecordRefusal records the refusal of an authentic token. Refusals of the
	// same grant for the same reason share one event and raise its Count; without a
	// grant those of one client and reason do.
	RecordRefusal(ctx context.Context, e Event) error

	// NoteRefusal remembers any other refusal for a while, in the background and
	// in a table of bounded size. It never waits and may forget.
	NoteRefusal(e Event)

	// LoginFailures reads the counters of wrong passwords.
	LoginFailures(ctx context.Context, k LoginKeys) (LoginFailures, error)

	// RecordLoginFailure counts a wrong password: for the source and account; for
	// the source, when this account is new to it; and for the account. A counter
	// older than its memory (PairMemory, SourceMemory) begins again. When
	// lockAfter > 0 and the account's counter reaches it, the state of the user
	// userID, where active, becomes locked in the same step; that raises the
	// version of the clients the user owns, and not the epoch. The counters of
	// accounts have PairMemory.
	RecordLoginFailure(ctx context.Context, k LoginKeys, userID string, lockAfter int) error

	// ClearLoginFailures forgets the failures of source and account and of the
	// account, and takes the account off the source's counter.
	ClearLoginFailures(ctx context.Context, k LoginKeys) error

	// ClientFailures reads all counters of wrong client secrets that are younger than PairMemory.
	ClientFailures(ctx context.Context) (map[[16]byte]FailureCount, error)

	// SaveClientFailures writes such counters; the larger count stays.
	SaveClientFailures(ctx context.Context, counts map[[16]byte]FailureCount) error
}

// NewGrant is a grant to be made, and under which conditions.
type NewGrant struct {
	Grant            Grant // its times are set by the store
	ClientVersion    int64
	IdleLifetime     time.Duration
	AbsoluteLifetime time.Duration // 0: no end
	MaxGrants        int           // 0: no limit
	Event            Event
}

// How long a counter of failures is remembered after the last of them.
const (
	PairMemory   = 24 * time.Hour
	SourceMemory = time.Hour
)

// LoginKeys are the keys of the counters of a login: keyed hashes, so that the
// database holds no names that were only typed.
type LoginKeys struct {
	Pair    [16]byte // source and account
	Source  [16]byte
	Account [16]byte
}

// FailureCount is a counter of failures and the time of the last one.
type FailureCount struct {
	Count int
	Last  time.Time
}

// LoginFailures are the counters of a login, as of the store's clock. A counter
// past its memory reads 0.
type LoginFailures struct {
	Pair, Source FailureCount
	Now          time.Time
}
