package memory

import (
	"bytes"
	"context"
	"slices"

	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/signing"
)

// SigningKeys implements signing.Store.
func (s *Store) SigningKeys(context.Context) ([]signing.Key, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return copyKeys(s.signingKeys), s.revision, nil
}

// ReplaceSigningKeys implements signing.Store.
func (s *Store) ReplaceSigningKeys(_ context.Context, revision int64, keys []signing.Key, e oauth.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.revision != revision {
		return oauth.ErrConflict
	}
	s.signingKeys = copyKeys(keys)
	s.revision++
	s.record(e)
	return nil
}

// MasterKeyChecks implements admin.Store.
func (s *Store) MasterKeyChecks(context.Context) (map[uint16][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	checks := make(map[uint16][]byte, len(s.masterKeys))
	for id, check := range s.masterKeys {
		checks[id] = slices.Clone(check)
	}
	return checks, nil
}

// AddMasterKeyCheck implements admin.Store.
func (s *Store) AddMasterKeyCheck(_ context.Context, id uint16, check []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if present, ok := s.masterKeys[id]; ok && !bytes.Equal(present, check) {
		return oauth.ErrExists
	}
	s.masterKeys[id] = slices.Clone(check)
	return nil
}

// RemoveMasterKeyCheck implements admin.Store.
func (s *Store) RemoveMasterKeyCheck(_ context.Context, id uint16) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.masterKeys, id)
	return nil
}

// MasterKeyUse implements admin.Store.
func (s *Store) MasterKeyUse(context.Context) (map[uint16]int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	use, now := map[uint16]int{}, s.now()
	for _, g := range s.grants {
		if g.Status != oauth.GrantRevoked && now.Before(overSince(g)) {
			use[g.KeyID]++
		}
	}
	for _, c := range s.clients {
		for _, secret := range s.showClient(c).Secrets {
			if id, generated := oauth.SecretKeyID(secret.Hash); generated {
				use[id]++
			}
		}
	}
	for _, k := range s.signingKeys {
		use[k.MasterKeyID]++
	}
	return use, nil
}
