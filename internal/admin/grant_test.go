package admin_test

import (
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

func TestGrantState(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		name   string
		change func(*oauth.GrantView)
		want   admin.GrantState
	}{
		{"in order", func(*oauth.GrantView) {}, admin.StateActive},
		{"idle for too long", func(v *oauth.GrantView) { v.Grant.IdleExpiresAt = now }, admin.StateExpired},
		{"too old", func(v *oauth.GrantView) { v.Grant.AbsoluteExpiresAt = now }, admin.StateExpired},
		{"revoked", func(v *oauth.GrantView) { v.Grant.Status, v.Grant.IdleExpiresAt = oauth.GrantRevoked, now }, admin.StateRevoked},
		{"subject gone", func(v *oauth.GrantView) { v.SubjectExists = false }, admin.StateRevoked},
		{"signed out everywhere", func(v *oauth.GrantView) { v.Subject.Epoch++ }, admin.StateRevoked},
		{"client gone", func(v *oauth.GrantView) { v.ClientVersion = 0 }, admin.StateRevoked},
		{"subject disabled", func(v *oauth.GrantView) { v.Subject.Enabled = false }, admin.StateActive},
	} {
		v := oauth.GrantView{
			Grant:         oauth.Grant{Status: oauth.GrantActive, SubjectEpoch: 1, IdleExpiresAt: now.Add(1), AbsoluteExpiresAt: now.Add(2)},
			Subject:       oauth.Subject{Epoch: 1, Enabled: true},
			SubjectExists: true, ClientVersion: 1, Now: now,
		}
		test.change(&v)
		if got := admin.StateOf(&v); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

func TestListGrants(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	alice, bob := b.user(t, "alice"), b.user(t, "bob")
	shop, app := b.client(t, oauth.Client{ID: "shop", Name: "x"}), b.client(t, oauth.Client{ID: "app", Name: "x"})
	b.grant(t, "g1", alice, shop)
	b.grant(t, "g2", bob, shop)
	b.grant(t, "g3", alice, app)
	for _, test := range []struct {
		choice admin.GrantChoice
		want   int
	}{
		{admin.GrantChoice{}, 3},
		{admin.GrantChoice{Username: "alice"}, 2},
		{admin.GrantChoice{ClientID: "shop"}, 2},
		{admin.GrantChoice{Username: "bob", ClientID: "app"}, 0},
		{admin.GrantChoice{Limit: 1}, 1},
	} {
		views, err := b.Grants(t.Context(), test.choice)
		if err != nil || len(views) != test.want {
			t.Errorf("%+v: got %d grants and error %v, want %d", test.choice, len(views), err, test.want)
		}
	}
	_, err := b.Grants(t.Context(), admin.GrantChoice{Username: "carol"})
	wantError(t, err, oauth.ErrNotFound, "there is no user carol")
	_, err = b.Grants(t.Context(), admin.GrantChoice{ClientID: "nobody"})
	wantError(t, err, oauth.ErrNotFound, "there is no client nobody")
}

func TestRevokeGrants(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		choice admin.GrantChoice
		g1, g2 admin.GrantState
	}{
		{admin.GrantChoice{GrantID: "g1"}, admin.StateRevoked, admin.StateActive},
		{admin.GrantChoice{Username: "bob"}, admin.StateActive, admin.StateRevoked},
		{admin.GrantChoice{ClientID: "shop"}, admin.StateRevoked, admin.StateRevoked},
	} {
		b := newBench(t)
		shop := b.client(t, oauth.Client{ID: "shop", Name: "x"})
		b.grant(t, "g1", b.user(t, "alice"), shop)
		b.grant(t, "g2", b.user(t, "bob"), shop)
		if _, err := b.RevokeGrants(t.Context(), test.choice); err != nil {
			t.Errorf("%+v: %v", test.choice, err)
		}
		if g1, g2 := b.state(t, "g1"), b.state(t, "g2"); g1 != test.g1 || g2 != test.g2 {
			t.Errorf("%+v: got %s and %s, want %s and %s", test.choice, g1, g2, test.g1, test.g2)
		}
		if n, err := b.RevokeGrants(t.Context(), test.choice); err != nil || n != 0 {
			t.Errorf("%+v once more: got %d and error %v, want none", test.choice, n, err)
		}
	}
}

func TestRevokeGrantsRefuses(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	_, err := b.RevokeGrants(t.Context(), admin.GrantChoice{Limit: 3})
	wantError(t, err, admin.ErrUsage, "say which grants to revoke")
	_, err = b.RevokeGrants(t.Context(), admin.GrantChoice{GrantID: "g9"})
	wantError(t, err, oauth.ErrNotFound, "there is no grant g9")
	_, err = b.RevokeGrants(t.Context(), admin.GrantChoice{Username: "carol"})
	wantError(t, err, oauth.ErrNotFound, "there is no user carol")
}

func TestExplain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.grant(t, "g1", b.user(t, "alice"), b.client(t, oauth.Client{ID: "shop", Name: "x"}))
	events, err := b.Explain(t.Context(), "request of g1")
	if err != nil || len(events) != 1 || events[0].GrantID != "g1" {
		t.Errorf("got %+v and error %v, want the login", events, err)
	}
	_, err = b.Explain(t.Context(), "nothing")
	wantError(t, err, oauth.ErrNotFound, "there is no event of the request nothing")
}

func TestCleanup(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	alice, shop := b.user(t, "alice"), b.client(t, oauth.Client{ID: "shop", Name: "x"})
	b.grant(t, "old", alice, shop)
	b.clock = b.clock.Add(3 * time.Hour)
	b.grant(t, "new", alice, shop)
	for _, dryRun := range []bool{true, false} {
		removed, err := b.Cleanup(t.Context(), admin.Cleanup{DeadFor: time.Hour, DryRun: dryRun})
		if err != nil || removed.Grants != 1 {
			t.Errorf("dry run %t: got %+v and error %v, want one grant", dryRun, removed, err)
		}
	}
	if views, err := b.Grants(t.Context(), admin.GrantChoice{}); err != nil || len(views) != 1 || views[0].Grant.PublicID != "new" {
		t.Errorf("got %d grants and error %v, want the new one", len(views), err)
	}
	_, err := b.Cleanup(t.Context(), admin.Cleanup{DeadFor: -1})
	wantError(t, err, admin.ErrUsage, "not negative")
}
