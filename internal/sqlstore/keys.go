package sqlstore

import (
	"bytes"
	"context"
	"errors"

	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/signing"
)

// SigningKeys implements signing.Store. The revision and the keys stem from one
// snapshot.
func (s *Store) SigningKeys(ctx context.Context) ([]signing.Key, int64, error) {
	var keys []signing.Key
	var revision int64
	err := s.each(ctx, `
SELECT r.revision, COALESCE(k.id, ''), COALESCE(k.alg, ''), COALESCE(k.master_key_id, 0), k.sealed,
       COALESCE(k.published_at, 0), COALESCE(k.active_at, 0), COALESCE(k.retired_at, 0), COALESCE(k.expires_at, 0)
  FROM signing_revision r LEFT JOIN signing_keys k ON 1 = 1
 ORDER BY k.published_at, k.position`, func(row scanner) error {
		var k signing.Key
		err := row.Scan(&revision, &k.ID, &k.Alg, &k.MasterKeyID, &k.Sealed,
			micro{&k.PublishedAt}, micro{&k.ActiveAt}, micro{&k.RetiredAt}, micro{&k.ExpiresAt})
		if k.ID != "" {
			keys = append(keys, k)
		}
		return err
	})
	if err != nil {
		return nil, 0, wrap("read signing keys", err)
	}
	return keys, revision, nil
}

// ReplaceSigningKeys implements signing.Store.
func (s *Store) ReplaceSigningKeys(_ context.Context, revision int64, keys []signing.Key, e oauth.Event) error {
	return s.write("replace signing keys", func(tx *transaction) error {
		err := tx.execOne(oauth.ErrConflict, "UPDATE signing_revision SET revision = revision + 1 WHERE id = 1 AND revision = $1", revision)
		if err != nil {
			return err
		}
		if _, err := tx.exec("DELETE FROM signing_keys"); err != nil {
			return err
		}
		for i, k := range keys {
			_, err := tx.exec(`
INSERT INTO signing_keys (id, position, alg, master_key_id, sealed, published_at, active_at, retired_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
				k.ID, i, k.Alg, k.MasterKeyID, append([]byte{}, k.Sealed...), toMicro(k.PublishedAt), toMicro(k.ActiveAt), toMicro(k.RetiredAt), toMicro(k.ExpiresAt))
			if err != nil {
				return err
			}
		}
		return errors.Join(tx.insertEvent(e), tx.announce())
	})
}

// MasterKeyChecks implements admin.Store.
func (s *Store) MasterKeyChecks(ctx context.Context) (map[uint16][]byte, error) {
	checks := map[uint16][]byte{}
	err := s.each(ctx, "SELECT id, check_value FROM master_keys", func(row scanner) error {
		var id uint16
		var check []byte
		err := row.Scan(&id, &check)
		checks[id] = check
		return err
	})
	if err != nil {
		return nil, wrap("read master key checks", err)
	}
	return checks, nil
}

// AddMasterKeyCheck implements admin.Store.
func (s *Store) AddMasterKeyCheck(_ context.Context, id uint16, check []byte) error {
	return s.write("add master key check", func(tx *transaction) error {
		var known []byte
		err := tx.row("SELECT check_value FROM master_keys WHERE id = $1", func(row scanner) error { return row.Scan(&known) }, id)
		switch {
		case errors.Is(err, oauth.ErrNotFound):
			_, err = tx.exec("INSERT INTO master_keys (id, check_value) VALUES ($1, $2)", id, check)
			return err
		case err == nil && !bytes.Equal(known, check):
			return oauth.ErrExists
		}
		return err
	})
}

// RemoveMasterKeyCheck implements admin.Store.
func (s *Store) RemoveMasterKeyCheck(_ context.Context, id uint16) error {
	return s.write("remove master key check", func(tx *transaction) error {
		_, err := tx.exec("DELETE FROM master_keys WHERE id = $1", id)
		return err
	})
}

// MasterKeyUse implements admin.Store.
func (s *Store) MasterKeyUse(ctx context.Context) (map[uint16]int, error) {
	now, err := s.clock(ctx)
	if err != nil {
		return nil, wrap("count uses of master keys", err)
	}
	use := map[uint16]int{}
	err = s.each(ctx, `
SELECT key_id, count(*) FROM grants
 WHERE status <> 'revoked' AND idle_expires_at > $1 AND (absolute_expires_at = 0 OR absolute_expires_at > $1)
 GROUP BY key_id
UNION ALL
SELECT master_key_id, count(*) FROM signing_keys GROUP BY master_key_id`, func(row scanner) error {
		var id uint16
		var n int
		err := row.Scan(&id, &n)
		use[id] += n
		return err
	}, toMicro(now))
	if err != nil {
		return nil, wrap("count uses of master keys", err)
	}
	clients, err := s.Clients(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range clients {
		for _, secret := range c.Secrets {
			if id, ok := oauth.SecretKeyID(secret.Hash); ok && secret.Alive(now) {
				use[id]++
			}
		}
	}
	return use, nil
}
