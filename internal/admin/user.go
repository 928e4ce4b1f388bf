package admin

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// maxEmailLength is the longest e-mail address in bytes (RFC 5321 section 4.5.3.1).
const maxEmailLength = 254

// subjectStates are the states that an operator may set.
var subjectStates = []oauth.SubjectState{oauth.SubjectActive, oauth.SubjectLocked, oauth.SubjectReset}

// CreateUser adds an enabled, active user to the local directory. The e-mail
// address may be empty.
func (o *Operator) CreateUser(ctx context.Context, username, email string, password oauth.Secret) (oauth.User, error) {
	u := oauth.User{Subject: oauth.Subject{Username: username, Enabled: true, State: oauth.SubjectActive}, Email: email}
	err := o.checkNewUser(ctx, &u)
	if err == nil {
		u.PasswordHash, err = o.hash(ctx, "password", password)
	}
	if err == nil {
		err = o.insertUser(ctx, u, "")
	}
	if err != nil {
		return oauth.User{}, err
	}
	return o.User(ctx, username)
}

// checkNewUser checks what an operator may say about a new user, and that its names are free.
func (o *Operator) checkNewUser(ctx context.Context, u *oauth.User) error {
	switch {
	case !isName(u.Username):
		return usage("a username has 1 to %d bytes of UTF-8 and no control characters", maxNameLength)
	case strings.HasPrefix(u.Username, "visitor:"):
		return usage("a username does not begin with visitor:, as the names of storefronts' visitors do")
	case u.Email != "" && !isEmail(u.Email):
		return usage("%q is not an e-mail address", u.Email)
	case !slices.Contains(subjectStates, u.State):
		return usage("there is no state %q; there are active, locked and reset", string(u.State))
	case u.ID != "" && !isSubject(u.ID):
		return usage("a subject is a UUID in lower case")
	}
	return o.mustBeFree(ctx, u.Username, u.Email)
}

// isSubject reports whether an identifier is of the form that new users get.
func isSubject(s string) bool {
	id, err := uuid.Parse(s)
	return err == nil && id.String() == s && id != uuid.Nil
}

// insertUser gives a user an ID, if it has none, and adds it.
func (o *Operator) insertUser(ctx context.Context, u oauth.User, detail string) error {
	if u.ID == "" {
		id, err := uuid.NewV7FromReader(o.Rand)
		if err != nil {
			return fmt.Errorf("make user id: %w", err)
		}
		u.ID = id.String()
	}
	e := o.event("user_created")
	e.Subject, e.Detail = u.ID, detail
	err := o.Store.CreateUser(ctx, u, e)
	if errors.Is(err, oauth.ErrExists) { // somebody was quicker, or the ID is: say which
		if taken := o.mustBeFree(ctx, u.Username, u.Email); taken != nil {
			return taken
		}
		return errSubjectTaken(u.ID)
	}
	return outcome(err, "create user", "user "+u.Username)
}

// mustBeFree refuses a username or an e-mail address that is taken, and one that is
// the other of another user: one of the two could no longer log in.
func (o *Operator) mustBeFree(ctx context.Context, username, email string) error {
	for _, login := range []string{username, email} {
		if login == "" {
			continue
		}
		u, err := o.Store.UserByLogin(ctx, login)
		switch {
		case errors.Is(err, oauth.ErrNotFound):
		case err != nil:
			return outcome(err, "look for user", "user "+login)
		case u.Username == username:
			return outcome(oauth.ErrExists, "create user", "user "+username)
		case email != "" && u.Email == email:
			return outcome(oauth.ErrExists, "create user", "user with the e-mail address "+email)
		default:
			return &problem{text: "the user " + u.Username + " logs in as " + login + " already", kind: oauth.ErrExists}
		}
	}
	return nil
}

// isEmail reports whether an address is plausible: one bare address (RFC 5322).
func isEmail(s string) bool {
	address, err := mail.ParseAddress(s)
	return err == nil && address.Address == s && len(s) <= maxEmailLength && isName(s)
}

// User returns a user, by username.
func (o *Operator) User(ctx context.Context, username string) (oauth.User, error) {
	u, err := o.Store.User(ctx, username)
	return u, outcome(err, "read user", "user "+username)
}

// Users returns all users, by username.
func (o *Operator) Users(ctx context.Context) ([]oauth.User, error) {
	users, err := o.Store.Users(ctx)
	return users, outcome(err, "list users", "user")
}

// EnableUser lets a user log in, and the user's clients and grants go on.
func (o *Operator) EnableUser(ctx context.Context, username string) (oauth.User, error) {
	return o.setUser(ctx, username, "user_enabled", new(true), "")
}

// DisableUser stops a user, and the user's clients and grants, until it is enabled again.
func (o *Operator) DisableUser(ctx context.Context, username string) (oauth.User, error) {
	return o.setUser(ctx, username, "user_disabled", new(false), "")
}

// SetUserState sets the state of a user's account. Any but active stops the user
// as disabling does.
func (o *Operator) SetUserState(ctx context.Context, username string, state oauth.SubjectState) (oauth.User, error) {
	if !slices.Contains(subjectStates, state) {
		return oauth.User{}, usage("there is no state %q; there are active, locked and reset", string(state))
	}
	return o.setUser(ctx, username, "user_state_set", nil, state)
}

func (o *Operator) setUser(ctx context.Context, username, act string, enabled *bool, state oauth.SubjectState) (oauth.User, error) {
	u, err := o.User(ctx, username)
	if err != nil {
		return oauth.User{}, err
	}
	e := o.event(act)
	if e.Subject = u.ID; state != "" {
		e.Detail = "state " + string(state)
	}
	if err := o.Store.SetUserState(ctx, u.ID, enabled, state, e); err != nil {
		return oauth.User{}, outcome(err, "set user state", "user "+username)
	}
	return o.User(ctx, username)
}

// SetPassword sets a user's password and ends the user's grants, unless KeepGrants says otherwise.
func (o *Operator) SetPassword(ctx context.Context, username string, password oauth.Secret) (oauth.User, error) {
	u, err := o.User(ctx, username)
	if err != nil {
		return oauth.User{}, err
	}
	hash, err := o.hash(ctx, "password", password)
	if err != nil {
		return oauth.User{}, err
	}
	e := o.event("password_set")
	e.Subject = u.ID
	if err := o.Store.SetPassword(ctx, u.ID, hash, !o.KeepGrants, e); err != nil {
		return oauth.User{}, outcome(err, "set password", "user "+username)
	}
	return o.User(ctx, username)
}

// DeleteUser removes a user, ends the user's grants, and returns how many were active.
func (o *Operator) DeleteUser(ctx context.Context, username string) (int, error) {
	u, err := o.User(ctx, username)
	if err != nil {
		return 0, err
	}
	ended, err := o.activeGrants(ctx, GrantFilter{Subject: u.ID})
	if err != nil {
		return 0, err
	}
	e := o.event("user_deleted")
	e.Subject, e.Detail = u.ID, username
	return ended, outcome(o.Store.DeleteUser(ctx, u.ID, e), "delete user", "user "+username)
}
