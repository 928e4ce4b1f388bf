package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// selectClient reads a client, and whether its owner may log in.
const selectClient = `
SELECT c.id, c.name, c.version, c.public, c.active, c.grant_types, c.redirect_uris, c.scope, c.owner, c.secrets, c.signing_alg,
       c.access_token_lifetime, c.refresh_token_lifetime, c.retry_window, c.reusable, c.created_at, c.updated_at,
       c.storefront, c.organization, c.apis, c.plain_pkce, c.skip_consent, c.not_before, c.last_used_at,
       c.owner <> '' AND NOT EXISTS (SELECT 1 FROM users u WHERE u.id = c.owner AND u.enabled = 1 AND u.state = 'active' AND u.deleted_at = 0)
  FROM clients c
 WHERE c.deleted_at = 0`

// storedSecret is a client secret in the column secrets.
type storedSecret struct {
	Hash      string `json:"hash"`
	ExpiresAt int64  `json:"expires_at,omitempty"`
}

// Client implements oauth.Store.
func (s *Store) Client(ctx context.Context, id string) (oauth.Client, error) {
	var c oauth.Client
	err := s.row(ctx, selectClient+" AND c.id = $1", func(row scanner) (err error) {
		c, err = scanClient(row)
		return err
	}, id)
	if err != nil {
		return oauth.Client{}, wrap("read client", err)
	}
	now, err := s.clock(ctx)
	if err != nil {
		return oauth.Client{}, wrap("read client", err)
	}
	live := c.Secrets[:0]
	for _, secret := range c.Secrets {
		if secret.Alive(now) {
			live = append(live, secret)
		}
	}
	c.Secrets = live
	return c, nil
}

// ClientVersion implements oauth.Store.
func (s *Store) ClientVersion(ctx context.Context, id string) (version int64, err error) {
	err = s.row(ctx, "SELECT version FROM clients WHERE id = $1 AND deleted_at = 0", func(row scanner) error { return row.Scan(&version) }, id)
	if err != nil {
		return 0, wrap("read client version", err)
	}
	return version, nil
}

// Clients implements admin.Store.
func (s *Store) Clients(ctx context.Context) ([]oauth.Client, error) {
	list := []oauth.Client{}
	err := s.each(ctx, selectClient+" ORDER BY c.id", func(row scanner) error {
		c, err := scanClient(row)
		list = append(list, c)
		return err
	})
	if err != nil {
		return nil, wrap("list clients", err)
	}
	return list, nil
}

func scanClient(row scanner) (oauth.Client, error) {
	var (
		c                                oauth.Client
		grantTypes, redirectURIs, hashes string
		apis                             string
		scope                            sql.NullString
		retryWindow                      sql.NullInt64
	)
	err := row.Scan(&c.ID, &c.Name, &c.Version, truth{&c.Public}, truth{&c.Active}, &grantTypes, &redirectURIs, &scope, &c.Owner, &hashes, &c.SigningAlg,
		&c.AccessTokenLifetime, &c.RefreshTokenLifetime, &retryWindow, truth{&c.ReusableRefreshTokens}, micro{&c.CreatedAt}, micro{&c.UpdatedAt},
		truth{&c.Storefront}, &c.Organization, &apis, truth{&c.PlainPKCE}, truth{&c.SkipConsent}, micro{&c.NotBefore}, micro{&c.LastUsedAt}, truth{&c.OwnerBlocked})
	if err != nil {
		return c, err
	}
	if retryWindow.Valid {
		window := time.Duration(retryWindow.Int64)
		c.RetryWindow = &window
	}
	if scope.Valid {
		if c.Scope, err = fromList(scope.String); err != nil {
			return c, err
		}
	}
	if c.GrantTypes, err = fromList(grantTypes); err != nil {
		return c, err
	}
	if c.RedirectURIs, err = fromList(redirectURIs); err != nil {
		return c, err
	}
	if c.APIs, err = fromList(apis); err != nil {
		return c, err
	}
	c.Secrets, err = fromSecrets(hashes)
	return c, err
}

func fromSecrets(text string) ([]oauth.ClientSecret, error) {
	var stored []storedSecret
	if err := json.Unmarshal([]byte(text), &stored); err != nil {
		return nil, err
	}
	secrets := make([]oauth.ClientSecret, 0, len(stored))
	for _, secret := range stored {
		secrets = append(secrets, oauth.ClientSecret{Hash: secret.Hash, ExpiresAt: fromMicro(secret.ExpiresAt)})
	}
	return secrets, nil
}

func toSecrets(secrets []oauth.ClientSecret) string {
	stored := make([]storedSecret, 0, len(secrets))
	for _, secret := range secrets {
		stored = append(stored, storedSecret{Hash: secret.Hash, ExpiresAt: toMicro(secret.ExpiresAt)})
	}
	b, _ := json.Marshal(stored) // strings and numbers always can
	return string(b)
}

// clientColumns are the values of a client after id and version, in the order of
// the statements below.
func clientColumns(c *oauth.Client) []any {
	var scope, retryWindow any
	if c.Scope != nil {
		scope = toList(c.Scope)
	}
	if c.RetryWindow != nil {
		retryWindow = int64(*c.RetryWindow)
	}
	return []any{
		c.Name, flag(c.Public), flag(c.Active), toList(c.GrantTypes), toList(c.RedirectURIs), scope, c.Owner, toSecrets(c.Secrets), c.SigningAlg,
		int64(c.AccessTokenLifetime), int64(c.RefreshTokenLifetime), retryWindow, flag(c.ReusableRefreshTokens),
		flag(c.Storefront), c.Organization, toList(c.APIs), flag(c.PlainPKCE), flag(c.SkipConsent),
	}
}

// CreateClient implements admin.Store.
func (s *Store) CreateClient(_ context.Context, c oauth.Client, e oauth.Event) error {
	return s.write("create client", func(tx *transaction) error {
		err := tx.execOne(oauth.ErrExists, `
INSERT INTO clients (id, name, version, public, active, grant_types, redirect_uris, scope, owner, secrets, signing_alg,
       access_token_lifetime, refresh_token_lifetime, retry_window, reusable,
       storefront, organization, apis, plain_pkce, skip_consent, not_before, last_used_at, created_at, updated_at, deleted_at)
VALUES ($1, $3, 1, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, 0, 0, $2, $2, 0)
ON CONFLICT (id) DO UPDATE SET name = $3, version = clients.version + 1, public = $4, active = $5, grant_types = $6, redirect_uris = $7,
       scope = $8, owner = $9, secrets = $10, signing_alg = $11, access_token_lifetime = $12, refresh_token_lifetime = $13,
       retry_window = $14, reusable = $15, storefront = $16, organization = $17, apis = $18, plain_pkce = $19, skip_consent = $20,
       not_before = CASE WHEN clients.not_before < clients.deleted_at THEN clients.deleted_at ELSE clients.not_before + 1 END, last_used_at = 0, created_at = $2, updated_at = $2, deleted_at = 0
 WHERE clients.deleted_at <> 0`,
			append([]any{c.ID, toMicro(tx.now)}, clientColumns(&c)...)...)
		if err != nil {
			return err
		}
		return tx.insertEvent(e)
	})
}

// UpdateClient implements admin.Store.
func (s *Store) UpdateClient(_ context.Context, c oauth.Client, e oauth.Event) error {
	return s.write("update client", func(tx *transaction) error {
		if err := tx.exists(clientExists, c.ID); err != nil {
			return err
		}
		err := tx.execOne(oauth.ErrConflict, `
UPDATE clients SET version = version + 1, updated_at = $3, not_before = CASE WHEN active = 0 OR $6 = 1 THEN not_before WHEN not_before < $3 THEN $3 ELSE not_before + 1 END,
       name = $4, public = $5, active = $6, grant_types = $7, redirect_uris = $8,
       scope = $9, owner = $10, secrets = $11, signing_alg = $12, access_token_lifetime = $13, refresh_token_lifetime = $14,
       retry_window = $15, reusable = $16, storefront = $17, organization = $18, apis = $19, plain_pkce = $20, skip_consent = $21
 WHERE id = $1 AND version = $2 AND deleted_at = 0`,
			append([]any{c.ID, c.Version, toMicro(tx.now)}, clientColumns(&c)...)...)
		if err != nil {
			return err
		}
		return tx.insertEvent(e)
	})
}

// DeleteClient implements admin.Store.
func (s *Store) DeleteClient(_ context.Context, id string, e oauth.Event) error {
	return s.write("delete client", func(tx *transaction) error {
		err := tx.execOne(oauth.ErrNotFound, `
UPDATE clients SET version = version + 1, deleted_at = $1, updated_at = $1, active = 0, secrets = '[]'
 WHERE id = $2 AND deleted_at = 0`, toMicro(tx.now), id)
		if err != nil {
			return err
		}
		if _, err := tx.revokeAll(admin.GrantFilter{ClientID: id}, "client_deleted"); err != nil {
			return err
		}
		return tx.insertEvent(e)
	})
}

// RevokeClientTokens implements oauth.Store.
func (s *Store) RevokeClientTokens(_ context.Context, clientID string, notBefore time.Time, e oauth.Event) error {
	return s.write("revoke client tokens", func(tx *transaction) error {
		n, err := tx.exec(`
UPDATE clients SET version = version + 1, updated_at = $1, not_before = CASE WHEN not_before < $1 THEN $1 ELSE not_before + 1 END
 WHERE id = $2 AND not_before = $3 AND deleted_at = 0`, toMicro(tx.now), clientID, toMicro(notBefore))
		if err == nil && n == 0 { // what was found is durable, if a commit is
			_, err = tx.exec("UPDATE clients SET not_before = not_before WHERE id = $1", clientID)
			return err
		}
		if err != nil {
			return err
		}
		return tx.insertEvent(e)
	})
}

// SaveClientUse implements oauth.Store.
func (s *Store) SaveClientUse(_ context.Context, used map[string]time.Time) error {
	return s.write("save client use", func(tx *transaction) error {
		for _, id := range slices.Sorted(maps.Keys(used)) { // two nodes must not deadlock
			_, err := tx.exec("UPDATE clients SET last_used_at = $1 WHERE id = $2 AND last_used_at < $1 AND deleted_at = 0", toMicro(used[id]), id)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// cleanSecrets drops client secrets that expired. It changes nothing that a
// decision depends on, so the client's version stays.
func (s *Store) cleanSecrets(ctx context.Context, c admin.Cleanup) (int, error) {
	clients, err := s.Clients(ctx)
	if err != nil {
		return 0, err
	}
	now, err := s.clock(ctx)
	if err != nil {
		return 0, err
	}
	cutoff, total := now.Add(-c.DeadFor), 0
	for _, client := range clients {
		kept := []oauth.ClientSecret{}
		for _, secret := range client.Secrets {
			if secret.ExpiresAt.IsZero() || !secret.ExpiresAt.Before(cutoff) {
				kept = append(kept, secret)
			}
		}
		gone := len(client.Secrets) - len(kept)
		if gone > 0 && !c.DryRun {
			err = s.write("delete secrets", func(tx *transaction) error {
				_, err := tx.exec("UPDATE clients SET secrets = $1 WHERE id = $2 AND version = $3", toSecrets(kept), client.ID, client.Version)
				return err
			})
		}
		if err != nil {
			return total, err
		}
		total += gone
	}
	return total, nil
}
