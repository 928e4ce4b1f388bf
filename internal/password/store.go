package password

import (
	"context"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// Users is what the directory needs of the store of local users.
type Users interface {
	// UserByLogin finds a user by username, or else by e-mail address, byte for
	// byte; or oauth.ErrNotFound.
	UserByLogin(ctx context.Context, login string) (oauth.User, error)

	// UserByEmail finds the only user with an e-mail address, without regard to case;
	// or oauth.ErrNotFound.
	UserByEmail(ctx context.Context, email string) (oauth.User, error)

	// ChoosePassword sets the password hash of a user who is in order and was not changed
	// since it was read (UpdatedAt and Epoch), else oauth.ErrConflict; it deletes the
	// user's sessions, and endGrants raises the epoch. It records the event.
	ChoosePassword(ctx context.Context, known oauth.User, hash string, endGrants bool, e oauth.Event) error

	// ReplacePasswordHash sets the password hash of a user if it is still old, and
	// does nothing otherwise. The password stays the same, so no grant ends.
	ReplacePasswordHash(ctx context.Context, userID, old, hash string) error
}
