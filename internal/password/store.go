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

	// SetPassword sets the password hash and records the event; endGrants ends the
	// user's grants and sessions. oauth.ErrNotFound if there is no such user.
	SetPassword(ctx context.Context, userID, hash string, endGrants bool, e oauth.Event) error

	// ReplacePasswordHash sets the password hash of a user if it is still old, and
	// does nothing otherwise. The password stays the same, so no grant ends.
	ReplacePasswordHash(ctx context.Context, userID, old, hash string) error
}
