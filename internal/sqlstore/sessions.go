package sqlstore

import (
	"context"
	"time"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// livingSession joins a session to its subject as long as it lives, at the time $1.
const livingSession = `
  FROM sessions s
  JOIN users u ON u.id = s.subject AND u.epoch = s.subject_epoch AND u.enabled = 1 AND u.state = 'active' AND u.deleted_at = 0
 WHERE s.expires_at > $1`

const selectSession = `
SELECT s.key, s.subject, s.subject_epoch, s.browser, s.created_at, s.expires_at` + livingSession

func scanSession(row scanner, more ...any) (oauth.Session, error) {
	var n oauth.Session
	var key []byte
	into := []any{&key, &n.Subject, &n.SubjectEpoch, &n.Browser, micro{&n.CreatedAt}, micro{&n.ExpiresAt}}
	err := row.Scan(append(into, more...)...)
	copy(n.Key[:], key)
	return n, err
}

// CreateSession implements oauth.Store.
func (s *Store) CreateSession(_ context.Context, n oauth.Session, lifetime time.Duration, e oauth.Event) error {
	return s.write("create session", func(tx *transaction) error {
		err := tx.execOne(oauth.ErrConflict, `
INSERT INTO sessions (key, subject, subject_epoch, browser, created_at, expires_at)
SELECT $1, $2, $3, $4, $5, $6
 WHERE EXISTS (SELECT 1 FROM users u WHERE u.id = $2 AND u.epoch = $3 AND u.enabled = 1 AND u.state = 'active' AND u.deleted_at = 0)`,
			n.Key[:], n.Subject, n.SubjectEpoch, n.Browser, toMicro(tx.now), toMicro(tx.now.Add(lifetime)))
		if err != nil {
			return err
		}
		return tx.insertEvent(e)
	})
}

// Session implements oauth.Store.
func (s *Store) Session(ctx context.Context, key oauth.SessionKey) (oauth.SessionView, error) {
	now, err := s.clock(ctx)
	if err != nil {
		return oauth.SessionView{}, wrap("read session", err)
	}
	var v oauth.SessionView
	err = s.row(ctx, `
SELECT s.key, s.subject, s.subject_epoch, s.browser, s.created_at, s.expires_at, u.username`+livingSession+" AND s.key = $2", func(row scanner) (err error) {
		v.Session, err = scanSession(row, &v.Subject.Username)
		return err
	}, toMicro(now), key[:])
	if err != nil {
		return oauth.SessionView{}, wrap("read session", err)
	}
	v.Subject.ID, v.Subject.Epoch, v.Subject.Enabled, v.Subject.State = v.Session.Subject, v.Session.SubjectEpoch, true, oauth.SubjectActive
	return v, nil
}

// SessionsOf implements oauth.Store.
func (s *Store) SessionsOf(ctx context.Context, subject string) ([]oauth.Session, error) {
	now, err := s.clock(ctx)
	if err != nil {
		return nil, wrap("list sessions", err)
	}
	var list []oauth.Session
	err = s.each(ctx, selectSession+" AND s.subject = $2 ORDER BY s.created_at DESC, s.key", func(row scanner) error {
		n, err := scanSession(row)
		list = append(list, n)
		return err
	}, toMicro(now), subject)
	if err != nil {
		return nil, wrap("list sessions", err)
	}
	return list, nil
}

// EndSession implements oauth.Store.
func (s *Store) EndSession(_ context.Context, key oauth.SessionKey, subject string, e oauth.Event) error {
	return s.write("end session", func(tx *transaction) error {
		n, err := tx.exec("DELETE FROM sessions WHERE key = $1 AND subject = $2", key[:], subject)
		if err != nil || n == 0 {
			return err
		}
		return tx.insertEvent(e)
	})
}

// SignOut implements oauth.Store.
func (s *Store) SignOut(_ context.Context, subject string, e oauth.Event) error {
	return s.write("sign out", func(tx *transaction) error {
		f := admin.GrantFilter{Subject: subject}
		if err := tx.mustExist(f); err != nil {
			return err
		}
		if err := tx.shutOut(f); err != nil {
			return err
		}
		if _, err := tx.revokeAll(f, "signed_out"); err != nil {
			return err
		}
		if err := tx.endSessions(subject); err != nil {
			return err
		}
		return tx.insertEvent(e)
	})
}

// endSessions deletes the sessions of a subject.
func (t *transaction) endSessions(subject string) error {
	_, err := t.exec("DELETE FROM sessions WHERE subject = $1", subject)
	return err
}

// cleanSessions deletes those that expired. What else is over goes with them in time.
func (s *Store) cleanSessions(ctx context.Context, c admin.Cleanup) (int, error) {
	now, err := s.clock(ctx)
	if err != nil {
		return 0, err
	}
	return s.deleteInSteps(ctx, c, "sessions", "key", "expires_at <= $1", toMicro(now))
}
