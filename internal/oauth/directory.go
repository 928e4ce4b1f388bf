package oauth

import (
	"context"
	"time"
)

// SubjectState is the state of a user's account.
type SubjectState string

// The states of an account. Locked and reset block it as disabling does.
const (
	SubjectActive SubjectState = "active"
	SubjectLocked SubjectState = "locked" // too many failures, or by an administrator
	SubjectReset  SubjectState = "reset"  // the password was reset by an administrator
)

// Subject is the resource owner a grant is for, as far as the protocol cares.
type Subject struct {
	ID       string // stable, never used again: `sub` at the standard endpoint
	Username string // `sub` at OroCommerce's endpoint
	Epoch    int64  // raised when all its grants end: new password, signed out everywhere
	Enabled  bool
	State    SubjectState
}

// Blocked returns the refusal for a subject that may not log in now, or nil.
// OroCommerce looks at the reset first.
func (s *Subject) Blocked() error {
	switch {
	case s.State == SubjectReset:
		return ErrSubjectReset
	case !s.Enabled:
		return ErrSubjectDisabled
	case s.State != SubjectActive:
		return ErrSubjectLocked
	}
	return nil
}

// User is an entry of the local directory.
type User struct {
	Subject
	Email        string // empty: none; compared byte for byte
	PasswordHash string // see package password
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// Account is what a login name stands for: a user, or nobody.
type Account struct {
	User
	Known bool
}

// Directory answers: are this name and password right?
type Directory interface {
	// Lookup finds the account of a login name: a username, or else an e-mail
	// address, byte for byte or, if the directory is set so, without regard to case. A name that nobody has, in the one case that counts, is an unknown account and
	// not an error.
	Lookup(ctx context.Context, login string) (Account, error)

	// Verify checks the password. It returns ErrPasswordIncorrect (after the same
	// work for an unknown account), ErrBusy when too many passwords are being
	// checked, or a fault.
	Verify(ctx context.Context, a Account, password Secret) error
}

// PasswordSetter lets users choose new passwords.
type PasswordSetter interface {
	// ChoosePassword gives the account a new password, if it still is as it was looked
	// up, else ErrConflict. It ends all its sessions, and where endGrants is set its
	// grants, by one epoch more. It records the event. It returns ErrPasswordWeak,
	// about "short", "guessable" or "long", ErrBusy, or a fault.
	ChoosePassword(ctx context.Context, a Account, password Secret, endGrants bool, e Event) error
}
