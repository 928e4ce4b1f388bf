package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

const selectUser = `
SELECT id, username, COALESCE(email, ''), epoch, enabled, state, password_hash, created_at, updated_at
  FROM users WHERE deleted_at = 0 AND username IS NOT NULL`

func scanUser(row scanner) (oauth.User, error) {
	var u oauth.User
	err := row.Scan(&u.ID, &u.Username, &u.Email, &u.Epoch, truth{&u.Enabled}, &u.State, &u.PasswordHash, micro{&u.CreatedAt}, micro{&u.UpdatedAt})
	return u, err
}

func (s *Store) userBy(ctx context.Context, condition, key string) (oauth.User, error) {
	var u oauth.User
	err := s.row(ctx, selectUser+condition, func(row scanner) (err error) {
		u, err = scanUser(row)
		return err
	}, key)
	if err != nil {
		return oauth.User{}, wrap("read user", err)
	}
	return u, nil
}

// User implements admin.Store.
func (s *Store) User(ctx context.Context, username string) (oauth.User, error) {
	return s.userBy(ctx, " AND username = $1", username)
}

// UserByLogin implements password.Users.
func (s *Store) UserByLogin(ctx context.Context, login string) (oauth.User, error) {
	u, err := s.userBy(ctx, " AND username = $1", login)
	if errors.Is(err, oauth.ErrNotFound) {
		return s.userBy(ctx, " AND email = $1", login)
	}
	return u, err
}

// UserByEmail implements password.Users.
func (s *Store) UserByEmail(ctx context.Context, email string) (oauth.User, error) {
	var found []oauth.User
	err := s.each(ctx, selectUser+" AND email_lower = $1 LIMIT 2", func(row scanner) error {
		u, err := scanUser(row)
		found = append(found, u)
		return err
	}, strings.ToLower(email))
	if err == nil && len(found) != 1 {
		err = oauth.ErrNotFound
	}
	if err != nil {
		return oauth.User{}, wrap("read user", err)
	}
	return found[0], nil
}

// Subject implements oauth.Store.
func (s *Store) Subject(ctx context.Context, id string) (oauth.Subject, error) {
	var u oauth.Subject
	err := s.row(ctx, "SELECT id, COALESCE(username, ''), epoch, enabled, state FROM users WHERE id = $1 AND deleted_at = 0", func(row scanner) error {
		return row.Scan(&u.ID, &u.Username, &u.Epoch, truth{&u.Enabled}, &u.State)
	}, id)
	if err != nil {
		return oauth.Subject{}, wrap("read subject", err)
	}
	return u, nil
}

// Users implements admin.Store.
func (s *Store) Users(ctx context.Context) ([]oauth.User, error) {
	list := []oauth.User{}
	err := s.each(ctx, selectUser+" ORDER BY username", func(row scanner) error {
		u, err := scanUser(row)
		list = append(list, u)
		return err
	})
	if err != nil {
		return nil, wrap("list users", err)
	}
	return list, nil
}

// CreateUser implements admin.Store.
func (s *Store) CreateUser(_ context.Context, u oauth.User, e oauth.Event) error {
	return s.write("create user", func(tx *transaction) error {
		err := tx.execOne(oauth.ErrExists, `
INSERT INTO users (id, username, email, epoch, enabled, state, password_hash, created_at, updated_at, deleted_at, email_lower)
VALUES ($1, $2, $3, 1, $4, $5, $6, $7, $7, 0, $8)
ON CONFLICT DO NOTHING`,
			u.ID, u.Username, sql.NullString{String: u.Email, Valid: u.Email != ""}, flag(u.Enabled), string(u.State), u.PasswordHash, toMicro(tx.now),
			sql.NullString{String: strings.ToLower(u.Email), Valid: u.Email != ""})
		if err != nil {
			return err
		}
		return tx.insertEvent(e)
	})
}

// changeUser runs an update of one user, who must exist, and records the event.
func (s *Store) changeUser(what, id string, e oauth.Event, change func(tx *transaction) error) error {
	return s.write(what, func(tx *transaction) error {
		if err := change(tx); err != nil {
			return err
		}
		return tx.insertEvent(e)
	})
}

// SetUserState implements admin.Store.
func (s *Store) SetUserState(_ context.Context, id string, enabled *bool, state oauth.SubjectState, e oauth.Event) error {
	return s.changeUser("set user state", id, e, func(tx *transaction) error {
		var wanted any
		if enabled != nil {
			wanted = flag(*enabled)
		}
		err := tx.execOne(oauth.ErrNotFound, `
UPDATE users SET enabled = COALESCE($1, enabled), state = CASE WHEN $2 = '' THEN state ELSE $2 END, updated_at = $3
 WHERE id = $4 AND deleted_at = 0`, wanted, string(state), toMicro(tx.now), id)
		if err != nil {
			return err
		}
		return tx.touchOwned(id)
	})
}

// touchOwned raises the version of the clients that a user owns.
func (t *transaction) touchOwned(id string) error {
	_, err := t.exec("UPDATE clients SET version = version + 1, updated_at = $1 WHERE owner = $2 AND deleted_at = 0", toMicro(t.now), id)
	return err
}

// SetPassword implements admin.Store.
func (s *Store) SetPassword(_ context.Context, id, hash string, endGrants bool, e oauth.Event) error {
	return s.changeUser("set password", id, e, func(tx *transaction) error {
		err := tx.execOne(oauth.ErrNotFound, "UPDATE users SET password_hash = $1, epoch = epoch + $2, updated_at = $3 WHERE id = $4 AND deleted_at = 0",
			hash, flag(endGrants), toMicro(tx.now), id)
		if err != nil {
			return err
		}
		return tx.endSessions(id)
	})
}

// ChoosePassword implements password.Users.
func (s *Store) ChoosePassword(_ context.Context, known oauth.User, hash string, endGrants bool, e oauth.Event) error {
	return s.changeUser("choose password", known.ID, e, func(tx *transaction) error {
		err := tx.execOne(oauth.ErrConflict, `
UPDATE users SET password_hash = $1, epoch = epoch + $2, updated_at = $3
 WHERE id = $4 AND epoch = $5 AND updated_at = $6 AND enabled = 1 AND state = 'active' AND deleted_at = 0`,
			hash, flag(endGrants), toMicro(tx.now), known.ID, known.Epoch, toMicro(known.UpdatedAt))
		if err != nil {
			return err
		}
		return tx.endSessions(known.ID)
	})
}

// ReplacePasswordHash implements password.Users.
func (s *Store) ReplacePasswordHash(_ context.Context, userID, old, hash string) error {
	return s.write("replace password hash", func(tx *transaction) error {
		_, err := tx.exec("UPDATE users SET password_hash = $1 WHERE id = $2 AND password_hash = $3", hash, userID, old)
		return err
	})
}

// DeleteUser implements admin.Store.
func (s *Store) DeleteUser(_ context.Context, id string, e oauth.Event) error {
	return s.changeUser("delete user", id, e, func(tx *transaction) error {
		err := tx.execOne(oauth.ErrNotFound, `
UPDATE users SET username = NULL, email = NULL, email_lower = NULL, password_hash = '', epoch = epoch + 1, enabled = 0, deleted_at = $1, updated_at = $1
 WHERE id = $2 AND deleted_at = 0`, toMicro(tx.now), id)
		if err != nil {
			return err
		}
		if err := tx.touchOwned(id); err != nil {
			return err
		}
		_, err = tx.revokeAll(admin.GrantFilter{Subject: id}, "user_deleted")
		return err
	})
}
