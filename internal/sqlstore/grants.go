package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/failpoint"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// selectGrant reads a grant with all that a decision about it depends on.
const selectGrant = `
SELECT g.id, g.public_id, g.version, g.client_id, g.subject, g.subject_epoch, g.scope, g.resource, g.auth_time, g.amr, g.acr, g.cnf,
       g.status, g.revoked_at, g.revoked_reason, g.generation, g.current_hash, g.previous_hash, g.successor_salt, g.key_id,
       g.rotated_at, g.retries, g.idle_expires_at, g.absolute_expires_at, g.created_at, g.last_used_at,
       u.username, COALESCE(u.epoch, 0), COALESCE(u.enabled, 0), u.state, COALESCE(c.version, 0), COALESCE(c.active, 0)
  FROM grants g
  LEFT JOIN users u ON u.id = g.subject AND u.deleted_at = 0
  LEFT JOIN clients c ON c.id = g.client_id AND c.deleted_at = 0`

// liveParties is the condition on subject and client that every write of a grant
// repeats: the epoch the grant was made with, an account in order, and the version
// of the client that was authenticated.
const liveParties = `
   AND EXISTS (SELECT 1 FROM users u WHERE u.id = $1 AND u.epoch = $2 AND u.enabled = 1 AND u.state = 'active' AND u.deleted_at = 0)
   AND EXISTS (SELECT 1 FROM clients c WHERE c.id = $3 AND c.version = $4 AND c.deleted_at = 0)`

const insertGrant = `
INSERT INTO grants (id, public_id, version, client_id, subject, subject_epoch, scope, resource, auth_time, amr, acr, cnf,
       status, revoked_at, revoked_reason, generation, current_hash, previous_hash, successor_salt, key_id,
       rotated_at, retries, idle_expires_at, absolute_expires_at, created_at, last_used_at)
SELECT $5, $6, $7, $3, $1, $2, $8, $9, $10, $11, $12, $13, $22, 0, '', $14, $15, $16, $17, $18, $19, 0, $20, $21, $19, $19
 WHERE 1 = 1` + liveParties

// redeemGrant makes a pending grant an active one, of which nothing stays but who it is.
const redeemGrant = `
UPDATE grants SET status = 'active', version = version + 1, scope = $8, current_hash = $9, key_id = $10,
       rotated_at = $11, idle_expires_at = $12, absolute_expires_at = $13, created_at = $11, last_used_at = $11
 WHERE id = $5 AND version = $6 AND current_hash = $7 AND status = 'pending' AND subject = $1 AND subject_epoch = $2 AND client_id = $3` + liveParties

const retryGrant = `
UPDATE grants SET retries = retries + 1
 WHERE id = $5 AND version = $6 AND current_hash = $8 AND retries < $7 AND status = 'active' AND subject = $1 AND subject_epoch = $2 AND client_id = $3` + liveParties

const revokeGrant = `
UPDATE grants SET status = 'revoked', version = version + 1, revoked_at = $1, revoked_reason = $2
 WHERE id = $3 AND status <> 'revoked'`

// touchGrant changes nothing. Its commit waits for a standby like any other: then what
// was found in the row, such as a revocation that another server made and never saw
// acknowledged, is there as well.
const touchGrant = `
UPDATE grants SET revoked_reason = revoked_reason WHERE id = $1`

// supersede revokes the grants idle longest beyond the most a subject may have at a client.
const supersede = `
UPDATE grants SET status = 'revoked', version = version + 1, revoked_at = $1, revoked_reason = 'superseded'
 WHERE id IN (SELECT id FROM grants WHERE subject = $2 AND client_id = $3 AND status = 'active' AND id <> $4
               ORDER BY last_used_at, id LIMIT $5)`

// forget deletes the oldest pending grants beyond the most a subject may have at a client.
const forget = `
DELETE FROM grants
 WHERE id IN (SELECT id FROM grants WHERE subject = $1 AND client_id = $2 AND status = 'pending' AND id <> $3
               ORDER BY created_at, id LIMIT $4)`

// Grant implements oauth.Store.
func (s *Store) Grant(_ context.Context, id oauth.GrantID) (oauth.GrantView, error) {
	v, err := s.lookUp(&lookup{id: id})
	if err != nil {
		return oauth.GrantView{}, wrap("read grant", err)
	}
	return v, nil
}

// ConfirmGrant implements oauth.Store.
func (s *Store) ConfirmGrant(ctx context.Context, id oauth.GrantID) (oauth.GrantView, error) {
	v, err := s.confirm(ctx, id)
	if err != nil {
		return oauth.GrantView{}, wrap("confirm grant", err)
	}
	return v, nil
}

// GrantByPublicID implements oauth.Store.
func (s *Store) GrantByPublicID(_ context.Context, publicID string) (oauth.GrantView, error) {
	if publicID == "" {
		return oauth.GrantView{}, wrap("read grant", oauth.ErrNotFound)
	}
	v, err := s.lookUp(&lookup{publicID: publicID})
	if err != nil {
		return oauth.GrantView{}, wrap("read grant", err)
	}
	return v, nil
}

// grantRow is where rows of selectGrant are scanned, one after the other, into the
// driver's own types: the conversions of database/sql cost more than the query.
type grantRow struct {
	view                                  oauth.GrantView
	scope, resource, amr, status          string
	username, state                       sql.NullString
	generation, keyID, retries            int64
	subjectEnabled, clientActive          int64
	authTime, revokedAt, rotatedAt        int64
	idle, absolute, createdAt, lastUsedAt int64
	into                                  []any
}

func newGrantRow() *grantRow {
	r := &grantRow{}
	g := &r.view.Grant
	r.into = []any{
		(*octets16)(&g.ID), &g.PublicID, &g.Version, &g.ClientID, &g.Subject, &g.SubjectEpoch, &r.scope, &r.resource, &r.authTime, &r.amr, &g.ACR, &g.Confirmation,
		&r.status, &r.revokedAt, &g.RevokedReason, &r.generation, (*octets32)(&g.CurrentHash), (*octets32)(&g.PreviousHash), (*octets32)(&g.SuccessorSalt), &r.keyID,
		&r.rotatedAt, &r.retries, &r.idle, &r.absolute, &r.createdAt, &r.lastUsedAt,
		&r.username, &r.view.Subject.Epoch, &r.subjectEnabled, &r.state, &r.view.ClientVersion, &r.clientActive,
	}
	return r
}

// scan reads the next row.
func (r *grantRow) scan(row scanner) (oauth.GrantView, error) {
	if err := row.Scan(r.into...); err != nil {
		return oauth.GrantView{}, err
	}
	v := r.view
	g := &v.Grant
	if v.SubjectExists = r.state.Valid; v.SubjectExists {
		v.Subject.ID, v.Subject.Username = g.Subject, r.username.String
		v.Subject.Enabled, v.Subject.State = r.subjectEnabled != 0, oauth.SubjectState(r.state.String)
	}
	v.ClientActive = r.clientActive != 0
	g.Status, g.Generation, g.KeyID, g.Retries = oauth.GrantStatus(r.status), uint32(r.generation), uint16(r.keyID), int(r.retries)
	g.AuthTime, g.RevokedAt, g.RotatedAt, g.IdleExpiresAt = fromMicro(r.authTime), fromMicro(r.revokedAt), fromMicro(r.rotatedAt), fromMicro(r.idle)
	g.AbsoluteExpiresAt, g.CreatedAt, g.LastUsedAt = fromMicro(r.absolute), fromMicro(r.createdAt), fromMicro(r.lastUsedAt)
	var scopeErr, resourceErr, amrErr error
	g.Scope, scopeErr = fromList(r.scope)
	g.Resource, resourceErr = fromList(r.resource)
	g.AMR, amrErr = fromList(r.amr)
	return v, errors.Join(scopeErr, resourceErr, amrErr)
}

// CreateGrant implements oauth.Store.
func (s *Store) CreateGrant(_ context.Context, n oauth.NewGrant) error {
	return s.write("create grant", func(tx *transaction) error {
		g := &n.Grant
		if err := tx.lockParties(g.Subject, g.ClientID); err != nil {
			return err
		}
		idle, absolute := ends(&n, tx.now)
		err := tx.execOne(oauth.ErrConflict, insertGrant, g.Subject, g.SubjectEpoch, g.ClientID, n.ClientVersion,
			g.ID[:], g.PublicID, g.Version, toList(g.Scope), toList(g.Resource), toMicro(g.AuthTime), toList(g.AMR), g.ACR, g.Confirmation,
			g.Generation, g.CurrentHash[:], orNull(g.PreviousHash), orNull(g.SuccessorSalt), g.KeyID,
			toMicro(tx.now), toMicro(idle), toMicro(absolute), string(g.Status))
		if err != nil {
			return err
		}
		return tx.begun(&n)
	})
}

// ends returns when a grant ends whose life begins now.
func ends(n *oauth.NewGrant, now time.Time) (idle, absolute time.Time) {
	idle = now.Add(n.IdleLifetime)
	if n.AbsoluteLifetime <= 0 {
		return idle, absolute
	}
	absolute = now.Add(n.AbsoluteLifetime)
	if absolute.Before(idle) {
		idle = absolute
	}
	return idle, absolute
}

// begun does what comes after a grant's life has begun.
func (t *transaction) begun(n *oauth.NewGrant) error {
	if err := t.supersede(&n.Grant, n.MaxGrants); err != nil || n.Event.Type == "" {
		return err
	}
	return t.insertEvent(n.Event)
}

// RedeemGrant implements oauth.Store.
func (s *Store) RedeemGrant(_ context.Context, n oauth.NewGrant, pendingHash [32]byte) error {
	n.Grant.Status = oauth.GrantActive
	return s.write("redeem grant", func(tx *transaction) error {
		g := &n.Grant
		if err := tx.lockParties(g.Subject, g.ClientID); err != nil {
			return err
		}
		idle, absolute := ends(&n, tx.now)
		err := tx.execOne(oauth.ErrConflict, redeemGrant, g.Subject, g.SubjectEpoch, g.ClientID, n.ClientVersion,
			g.ID[:], g.Version, pendingHash[:], toList(g.Scope), g.CurrentHash[:], g.KeyID, toMicro(tx.now), toMicro(idle), toMicro(absolute))
		if err != nil {
			return err
		}
		return tx.begun(&n)
	})
}

// supersede keeps the number of a subject's grants at a client, of one status, within
// most. Pending ones that are too many are forgotten: they were nobody's yet.
func (t *transaction) supersede(g *oauth.Grant, most int) error {
	if most <= 0 {
		return nil
	}
	var active int
	err := t.row("SELECT count(*) FROM grants WHERE subject = $1 AND client_id = $2 AND status = $3", func(row scanner) error {
		return row.Scan(&active)
	}, g.Subject, g.ClientID, string(g.Status))
	if err != nil || active <= most {
		return err
	}
	if g.Status == oauth.GrantPending {
		_, err = t.exec(forget, g.Subject, g.ClientID, g.ID[:], active-most)
		return err
	}
	if err := t.lockGrants("subject = $1 AND client_id = $2 AND status = 'active'", g.Subject, g.ClientID); err != nil {
		return err
	}
	_, err = t.exec(supersede, toMicro(t.now), g.Subject, g.ClientID, g.ID[:], active-most)
	return err
}

// orNull stores the zero hash or salt of generation 0 as NULL.
func orNull(b [32]byte) any {
	if b == ([32]byte{}) {
		return nil
	}
	return b[:]
}

// SwapGrant implements oauth.Store.
func (s *Store) SwapGrant(_ context.Context, old, next *oauth.Grant, clientVersion int64) error {
	if err := s.swap(old, next, clientVersion); err != nil {
		return wrap("swap grant", err)
	}
	return nil
}

// RetryGrant implements oauth.Store.
func (s *Store) RetryGrant(_ context.Context, g *oauth.Grant, clientVersion int64, budget int) error {
	if err := s.writeOne(retryGrant, g.Subject, g.SubjectEpoch, g.ClientID, clientVersion, g.ID[:], g.Version, budget, g.CurrentHash[:]); err != nil {
		return wrap("retry grant", err)
	}
	return nil
}

// RevokeGrant implements oauth.Store.
func (s *Store) RevokeGrant(_ context.Context, id oauth.GrantID, reason string, e oauth.Event) error {
	return s.write("revoke grant", func(tx *transaction) error {
		n, err := tx.exec(revokeGrant, toMicro(tx.now), reason, id[:])
		if err == nil && n == 0 {
			_, err = tx.exec(touchGrant, id[:])
			return err
		}
		if err != nil {
			return err
		}
		failpoint.Reach(failpoint.RevokeGrant)
		return tx.insertEvent(e)
	})
}

// Grants implements admin.Store.
func (s *Store) Grants(ctx context.Context, f admin.GrantFilter) ([]oauth.GrantView, error) {
	limit := f.Limit
	if limit <= 0 {
		limit = math.MaxInt
	}
	condition, args := fitting(f)
	return s.listGrants(ctx, condition, limit, args...)
}

// listGrants reads the grants that fit a condition, newest first.
func (s *Store) listGrants(ctx context.Context, condition string, limit int, args ...any) ([]oauth.GrantView, error) {
	now, err := s.clock(ctx)
	if err != nil {
		return nil, wrap("list grants", err)
	}
	list, into := []oauth.GrantView{}, newGrantRow()
	query := fmt.Sprintf("%s WHERE %s ORDER BY g.created_at DESC, g.id DESC LIMIT $%d", selectGrant, condition, len(args)+1)
	err = s.each(ctx, query, func(row scanner) error {
		v, err := into.scan(row)
		v.Now = now
		list = append(list, v)
		return err
	}, append(args, limit)...)
	if err != nil {
		return nil, wrap("list grants", err)
	}
	return list, nil
}

// GrantsOf implements oauth.Store.
func (s *Store) GrantsOf(ctx context.Context, subject string, most int) ([]oauth.GrantView, error) {
	return s.listGrants(ctx, "g.subject = $1 AND g.status = 'active' AND g.subject_epoch = u.epoch", most, subject)
}

// RevokeGrants implements admin.Store.
func (s *Store) RevokeGrants(_ context.Context, f admin.GrantFilter, reason string, e oauth.Event) (int, error) {
	if f.PublicID == "" && f.Subject == "" && f.ClientID == "" {
		return 0, errors.New("revoke grants: nothing says which")
	}
	var revoked int64
	err := s.write("revoke grants", func(tx *transaction) error {
		if err := tx.mustExist(f); err != nil {
			return err
		}
		if err := tx.shutOut(f); err != nil {
			return err
		}
		failpoint.Reach(failpoint.ShutOut)
		var err error
		if revoked, err = tx.revokeAll(f, reason); err != nil {
			return err
		}
		failpoint.Reach(failpoint.RevokeGrants)
		return tx.insertEvent(e)
	})
	return int(revoked), err
}

// What can be asked for by exists.
const (
	grantExists  = "SELECT 1 FROM grants WHERE public_id = $1"
	userExists   = "SELECT 1 FROM users WHERE id = $1 AND deleted_at = 0"
	clientExists = "SELECT 1 FROM clients WHERE id = $1 AND deleted_at = 0"
)

// exists returns oauth.ErrNotFound unless a query finds the key.
func (t *transaction) exists(query, key string) error {
	var one int
	return t.row(query, func(row scanner) error { return row.Scan(&one) }, key)
}

// mustExist checks that what a filter names is there.
func (t *transaction) mustExist(f admin.GrantFilter) error {
	for _, named := range []struct{ key, query string }{{f.PublicID, grantExists}, {f.Subject, userExists}, {f.ClientID, clientExists}} {
		if named.key == "" {
			continue
		}
		if err := t.exists(named.query, named.key); err != nil {
			return err
		}
	}
	return nil
}

// fitting is the condition for a grant that fits a filter, and its arguments. It names
// only the columns that matter, so that their indexes are used.
func fitting(f admin.GrantFilter) (condition string, args []any) {
	condition = "1 = 1"
	for _, wanted := range []struct{ column, key string }{{"public_id", f.PublicID}, {"subject", f.Subject}, {"client_id", f.ClientID}} {
		if wanted.key != "" {
			args = append(args, wanted.key)
			condition += fmt.Sprintf(" AND %s = $%d", wanted.column, len(args))
		}
	}
	return condition, args
}

// revokeAll revokes the grants that fit the filter.
func (t *transaction) revokeAll(f admin.GrantFilter, reason string) (int64, error) {
	condition, args := fitting(f)
	condition += " AND status <> 'revoked'"
	if err := t.lockGrants(condition, args...); err != nil {
		return 0, err
	}
	n := len(args)
	return t.exec(fmt.Sprintf("UPDATE grants SET status = 'revoked', version = version + 1, revoked_at = $%d, revoked_reason = $%d WHERE %s", n+1, n+2, condition),
		append(args, toMicro(t.now), reason)...)
}

// shutOut makes sure that no grant being made escapes a revocation by subject or by
// client. It comes before the grants are looked for: those who are making one are
// waited for, or find themselves shut out.
func (t *transaction) shutOut(f admin.GrantFilter) error {
	switch {
	case f.PublicID != "" || f.Subject != "" && f.ClientID != "":
		return nil
	case f.Subject != "":
		return t.execOne(oauth.ErrNotFound, "UPDATE users SET epoch = epoch + 1, updated_at = $1 WHERE id = $2", toMicro(t.now), f.Subject)
	}
	return t.execOne(oauth.ErrNotFound, "UPDATE clients SET version = version + 1, updated_at = $1, not_before = CASE WHEN not_before < $1 THEN $1 ELSE not_before + 1 END WHERE id = $2", toMicro(t.now), f.ClientID)
}

// Cleanup implements admin.Store.
func (s *Store) Cleanup(ctx context.Context, c admin.Cleanup) (admin.Removed, error) {
	if c.Batch <= 0 {
		c.Batch = 1000
	}
	var removed admin.Removed
	for _, part := range []struct {
		into *int
		run  func(context.Context, admin.Cleanup) (int, error)
	}{
		{&removed.Grants, s.cleanGrants},
		{&removed.Events, s.cleanEvents},
		{&removed.Failures, s.cleanFailures},
		{&removed.Secrets, s.cleanSecrets},
		{&removed.Sessions, s.cleanSessions},
	} {
		n, err := part.run(ctx, c)
		*part.into = n
		if err != nil {
			return removed, wrap("clean up", err)
		}
		failpoint.Reach(failpoint.CleanupPart)
	}
	return removed, nil
}

// deadGrant is the condition for a grant that is over since $1, or revoked since $2. An
// end that the client's policy alone brings is not among them: a policy may change.
const deadGrant = `(status = 'revoked' AND revoked_at < $2 OR idle_expires_at < $1 OR absolute_expires_at > 0 AND absolute_expires_at < $1)`

// revokedCutoff is since when a grant must have been revoked.
func (s *Store) revokedCutoff(ctx context.Context, c admin.Cleanup, now, cutoff time.Time) (time.Time, error) {
	followed, err := s.Followed(ctx)
	if err != nil || now.Sub(followed) > 24*time.Hour {
		return cutoff, err
	}
	if told := now.Add(-c.Told); told.Before(cutoff) {
		return told, nil
	}
	return cutoff, nil
}

func (s *Store) cleanGrants(ctx context.Context, c admin.Cleanup) (int, error) {
	now, err := s.clock(ctx)
	if err != nil {
		return 0, err
	}
	// A code that nobody redeemed needs no explanation afterwards.
	total, err := s.deleteInSteps(ctx, c, "grants", "id", "status = 'pending' AND idle_expires_at < $1", toMicro(now))
	if err != nil {
		return total, err
	}
	cutoff := now.Add(-c.DeadFor)
	revoked, err := s.revokedCutoff(ctx, c, now, cutoff)
	if err != nil {
		return total, err
	}
	last := []byte{}
	for {
		var ids [][]byte
		err := s.each(ctx, "SELECT id FROM grants WHERE id > $3 AND "+deadGrant+" ORDER BY id LIMIT $4", func(row scanner) error {
			var id []byte
			err := row.Scan(&id)
			ids = append(ids, id)
			return err
		}, toMicro(cutoff), toMicro(revoked), last, c.Batch)
		if err != nil || len(ids) == 0 {
			return total, err
		}
		last = ids[len(ids)-1]
		if c.DryRun {
			total += len(ids)
			continue
		}
		n, err := s.deleteGrants(ids, toMicro(cutoff), toMicro(revoked))
		total += n
		if err != nil {
			return total, err
		}
	}
}

// deleteGrants deletes those of the grants that are still over.
func (s *Store) deleteGrants(ids [][]byte, cutoff, revoked int64) (int, error) {
	var deleted int64
	err := s.write("delete grants", func(tx *transaction) error {
		deleted = 0
		for _, id := range ids {
			n, err := tx.exec("DELETE FROM grants WHERE id = $3 AND "+deadGrant, cutoff, revoked, id)
			if err != nil {
				return err
			}
			deleted += n
			failpoint.Reach(failpoint.DeleteGrant)
		}
		return nil
	})
	return int(deleted), err
}

// deleteInSteps deletes the rows of a table that a condition on $1 names, at most
// batch at a time, or counts them.
func (s *Store) deleteInSteps(ctx context.Context, c admin.Cleanup, table, key, condition string, args ...any) (int, error) {
	if c.DryRun {
		var n int
		err := s.row(ctx, "SELECT count(*) FROM "+table+" WHERE "+condition, func(row scanner) error { return row.Scan(&n) }, args...)
		return n, err
	}
	query := fmt.Sprintf("DELETE FROM %s WHERE %s IN (SELECT %s FROM %s WHERE %s LIMIT %d)", table, key, key, table, condition, c.Batch)
	total := 0
	for ctx.Err() == nil {
		var n int64
		err := s.write("delete from "+table, func(tx *transaction) (err error) {
			n, err = tx.exec(query, args...)
			return err
		})
		total += int(n)
		if err != nil || n < int64(c.Batch) {
			return total, err
		}
	}
	return total, ctx.Err()
}
