package memory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// The reasons of the revocations that the store makes itself.
const (
	reasonSuperseded    = "superseded"
	reasonClientDeleted = "client_deleted"
	reasonUserDeleted   = "user_deleted"
	reasonSignedOut     = "signed_out"
)

// CreateGrant implements oauth.Store.
func (s *Store) CreateGrant(_ context.Context, n oauth.NewGrant) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := copyGrant(&n.Grant)
	if !s.inOrder(&g, n.ClientVersion) {
		return oauth.ErrConflict
	}
	if _, taken := s.grants[g.ID]; taken || s.publicGrant(g.PublicID) != nil {
		return fmt.Errorf("create grant: the identifier: %w", oauth.ErrExists)
	}
	s.begin(&g, n)
	return nil
}

// begin puts in a grant whose life begins now.
func (s *Store) begin(g *oauth.Grant, n oauth.NewGrant) {
	now := s.now()
	g.CreatedAt, g.LastUsedAt, g.RotatedAt = now, now, now
	g.IdleExpiresAt = precise(now.Add(n.IdleLifetime))
	g.AbsoluteExpiresAt = time.Time{}
	if n.AbsoluteLifetime > 0 {
		g.AbsoluteExpiresAt = precise(now.Add(n.AbsoluteLifetime))
		g.IdleExpiresAt = earlier(g.IdleExpiresAt, g.AbsoluteExpiresAt)
	}
	if n.MaxGrants > 0 {
		s.supersede(g, n.MaxGrants-1)
	}
	s.grants[g.ID] = g
	if n.Event.Type != "" {
		s.record(n.Event)
	}
}

// RedeemGrant implements oauth.Store.
func (s *Store) RedeemGrant(_ context.Context, n oauth.NewGrant, pendingHash [32]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.grants[n.Grant.ID]
	if g == nil || g.Version != n.Grant.Version || g.Status != oauth.GrantPending || g.CurrentHash != pendingHash ||
		g.SubjectEpoch != n.Grant.SubjectEpoch || !s.inOrder(g, n.ClientVersion) {
		return oauth.ErrConflict
	}
	redeemed := copyGrant(g)
	redeemed.Version++
	redeemed.Status = oauth.GrantActive
	redeemed.CurrentHash, redeemed.KeyID, redeemed.Scope = n.Grant.CurrentHash, n.Grant.KeyID, slices.Clone(n.Grant.Scope)
	s.begin(&redeemed, n)
	return nil
}

// GrantsOf implements oauth.Store.
func (s *Store) GrantsOf(ctx context.Context, subject string, most int) ([]oauth.GrantView, error) {
	views, err := s.Grants(ctx, admin.GrantFilter{Subject: subject})
	views = slices.DeleteFunc(views, func(v oauth.GrantView) bool {
		return v.Grant.Status != oauth.GrantActive || v.Grant.SubjectEpoch != v.Subject.Epoch
	})
	return views[:min(most, len(views))], err
}

// supersede leaves at most n grants of the subject, the client and the status of g.
func (s *Store) supersede(g *oauth.Grant, n int) {
	others := s.chooseGrants(func(o *oauth.Grant) bool {
		return o.ID != g.ID && o.Status == g.Status && o.Subject == g.Subject && o.ClientID == g.ClientID
	})
	slices.SortStableFunc(others, func(a, b *oauth.Grant) int { return b.LastUsedAt.Compare(a.LastUsedAt) })
	for _, longestIdle := range others[min(n, len(others)):] {
		if g.Status == oauth.GrantPending {
			delete(s.grants, longestIdle.ID)
			continue
		}
		s.revoke(longestIdle, reasonSuperseded)
	}
}

// inOrder checks the conditions on a grant's subject and client.
func (s *Store) inOrder(g *oauth.Grant, clientVersion int64) bool {
	u, c := s.users[g.Subject], s.clients[g.ClientID]
	return u != nil && u.Epoch == g.SubjectEpoch && u.Enabled && u.State == oauth.SubjectActive &&
		c != nil && c.Version == clientVersion
}

// Grant implements oauth.Store.
func (s *Store) Grant(_ context.Context, id oauth.GrantID) (oauth.GrantView, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.view(s.grants[id])
}

// ConfirmGrant implements oauth.Store: there is no other past.
func (s *Store) ConfirmGrant(ctx context.Context, id oauth.GrantID) (oauth.GrantView, error) {
	return s.Grant(ctx, id)
}

// GrantByPublicID implements oauth.Store.
func (s *Store) GrantByPublicID(_ context.Context, publicID string) (oauth.GrantView, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.view(s.publicGrant(publicID))
}

func (s *Store) publicGrant(publicID string) *oauth.Grant {
	for _, g := range s.grants {
		if g.PublicID == publicID {
			return g
		}
	}
	return nil
}

// view shows a grant with all that a decision depends on; nil is ErrNotFound.
func (s *Store) view(g *oauth.Grant) (oauth.GrantView, error) {
	if g == nil {
		return oauth.GrantView{}, oauth.ErrNotFound
	}
	v := oauth.GrantView{Grant: copyGrant(g), Now: s.now()}
	if u := s.users[g.Subject]; u != nil {
		v.Subject, v.SubjectExists = u.Subject, true
	}
	if c := s.clients[g.ClientID]; c != nil {
		v.ClientVersion, v.ClientActive = c.Version, c.Active
	}
	return v, nil
}

// SwapGrant implements oauth.Store. It writes what a refresh may change and nothing else.
func (s *Store) SwapGrant(_ context.Context, old, next *oauth.Grant, clientVersion int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.asDecidedUpon(old, clientVersion)
	if g == nil {
		return oauth.ErrConflict
	}
	if next.Generation != g.Generation {
		g.RotatedAt = later(s.now(), g.RotatedAt)
	}
	g.Version++
	g.Generation = next.Generation
	g.CurrentHash, g.PreviousHash, g.SuccessorSalt, g.KeyID = next.CurrentHash, next.PreviousHash, next.SuccessorSalt, next.KeyID
	g.Retries = next.Retries
	g.IdleExpiresAt, g.LastUsedAt = precise(next.IdleExpiresAt), precise(next.LastUsedAt)
	return nil
}

// RetryGrant implements oauth.Store.
func (s *Store) RetryGrant(_ context.Context, decided *oauth.Grant, clientVersion int64, budget int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.asDecidedUpon(decided, clientVersion)
	if g == nil || g.Retries >= budget {
		return oauth.ErrConflict
	}
	g.Retries++
	return nil
}

// asDecidedUpon returns the row of a grant if it, its subject and its client still
// are what a decision was made upon; else nil.
func (s *Store) asDecidedUpon(decided *oauth.Grant, clientVersion int64) *oauth.Grant {
	g := s.grants[decided.ID]
	if g == nil || g.Version != decided.Version || g.CurrentHash != decided.CurrentHash || g.Status != oauth.GrantActive ||
		g.SubjectEpoch != decided.SubjectEpoch || !s.inOrder(g, clientVersion) {
		return nil
	}
	return g
}

// RevokeGrant implements oauth.Store.
func (s *Store) RevokeGrant(_ context.Context, id oauth.GrantID, reason string, e oauth.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.grants[id]; g != nil && s.revoke(g, reason) {
		s.record(e)
	}
	return nil
}

// revoke revokes a grant where it is not, and reports whether it did.
func (s *Store) revoke(g *oauth.Grant, reason string) bool {
	if g.Status == oauth.GrantRevoked {
		return false
	}
	g.Status, g.RevokedAt, g.RevokedReason = oauth.GrantRevoked, s.now(), reason
	g.Version++
	return true
}

// revokeAll revokes the active ones of the grants that fit, and counts them.
func (s *Store) revokeAll(reason string, fit func(*oauth.Grant) bool) int {
	n := 0
	for _, g := range s.chooseGrants(fit) {
		if s.revoke(g, reason) {
			n++
		}
	}
	return n
}

// Grants implements admin.Store.
func (s *Store) Grants(_ context.Context, f admin.GrantFilter) ([]oauth.GrantView, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	chosen := s.chooseGrants(fits(f))
	if f.Limit > 0 {
		chosen = chosen[:min(f.Limit, len(chosen))]
	}
	views := make([]oauth.GrantView, 0, len(chosen))
	for _, g := range chosen {
		v, err := s.view(g)
		if err != nil {
			return nil, err
		}
		views = append(views, v)
	}
	return views, nil
}

// fits makes a filter a predicate.
func fits(f admin.GrantFilter) func(*oauth.Grant) bool {
	return func(g *oauth.Grant) bool {
		return (f.PublicID == "" || f.PublicID == g.PublicID) &&
			(f.Subject == "" || f.Subject == g.Subject) &&
			(f.ClientID == "" || f.ClientID == g.ClientID)
	}
}

// chooseGrants returns the rows of the grants that fit, newest first.
func (s *Store) chooseGrants(fit func(*oauth.Grant) bool) []*oauth.Grant {
	var chosen []*oauth.Grant
	for _, g := range s.grants {
		if fit(g) {
			chosen = append(chosen, g)
		}
	}
	slices.SortFunc(chosen, func(a, b *oauth.Grant) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.PublicID, b.PublicID))
	})
	return chosen
}

// RevokeGrants implements admin.Store.
func (s *Store) RevokeGrants(_ context.Context, f admin.GrantFilter, reason string, e oauth.Event) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, c := s.users[f.Subject], s.clients[f.ClientID]
	switch {
	case f.PublicID == "" && f.Subject == "" && f.ClientID == "":
		return 0, errors.New("revoke grants: the filter names nothing")
	case f.PublicID != "" && s.publicGrant(f.PublicID) == nil, f.Subject != "" && u == nil, f.ClientID != "" && c == nil:
		return 0, oauth.ErrNotFound
	}
	switch {
	case f.PublicID != "" || u != nil && c != nil: // what is named is not all of a subject's or a client's grants
	case u != nil:
		u.Epoch++
		u.UpdatedAt = s.now()
	default:
		s.raiseVersion(c)
		c.UpdatedAt, c.NotBefore = s.now(), s.cutOff(c)
	}
	n := s.revokeAll(reason, fits(f))
	s.record(e)
	return n, nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
