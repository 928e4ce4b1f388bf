package admin_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/memory"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// bench is an operator at an empty installation.
type bench struct {
	*admin.Operator
	store *memory.Store
	clock time.Time
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{clock: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)}
	now := func() time.Time { return b.clock }
	keys, err := oauth.ParseKeys(oauth.FormatKey(1, make([]byte, oauth.MasterKeySize)))
	if err != nil {
		t.Fatal(err)
	}
	b.store = memory.New(now)
	b.Operator = &admin.Operator{
		Store: b.store, Keys: func() *oauth.Keys { return keys }, Hasher: plainHasher{}, Rand: rand.Reader, Actor: "tester", Now: now,
	}
	return b
}

// plainHasher hashes quickly.
type plainHasher struct{}

func (plainHasher) Hash(_ context.Context, s oauth.Secret) (string, error) {
	sum := sha256.Sum256([]byte(s))
	return "$test$" + hex.EncodeToString(sum[:]), nil
}

func (b *bench) client(t *testing.T, c oauth.Client) oauth.Client {
	t.Helper()
	created, _, err := b.CreateClient(t.Context(), c, "")
	if err != nil {
		t.Fatal(err)
	}
	return created
}

func (b *bench) user(t *testing.T, username string) oauth.User {
	t.Helper()
	u, err := b.CreateUser(t.Context(), username, "", "a password")
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// grant makes a grant of one hour, of one day at most.
func (b *bench) grant(t *testing.T, publicID string, u oauth.User, c oauth.Client) {
	t.Helper()
	g := oauth.Grant{
		ID: oauth.GrantID([]byte(publicID + strings.Repeat(".", 16))[:16]), PublicID: publicID, Version: 1,
		ClientID: c.ID, Subject: u.ID, SubjectEpoch: u.Epoch, Status: oauth.GrantActive, KeyID: 1,
	}
	err := b.store.CreateGrant(t.Context(), oauth.NewGrant{
		Grant: g, ClientVersion: c.Version, IdleLifetime: time.Hour, AbsoluteLifetime: 24 * time.Hour,
		Event: oauth.Event{Type: oauth.EventLogin, Reason: "password", RequestID: "request of " + publicID, GrantID: publicID},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (b *bench) state(t *testing.T, publicID string) admin.GrantState {
	t.Helper()
	v, err := b.Grant(t.Context(), publicID)
	if err != nil {
		t.Fatal(err)
	}
	return admin.StateOf(&v)
}

// wantError checks the kind of an error and what people read.
func wantError(t *testing.T, err, kind error, text string) {
	t.Helper()
	if !errors.Is(err, kind) || !strings.Contains(err.Error(), text) {
		t.Errorf("got error %q, want one of kind %q that says %q", err, kind, text)
	}
}

// recorder is a store that remembers the events of administration.
type recorder struct {
	admin.Store
	events    []oauth.Event
	written   oauth.Client // by the last update
	conflicts int          // so many updates meet somebody else's
}

func (r *recorder) CreateClient(ctx context.Context, c oauth.Client, e oauth.Event) error {
	r.events = append(r.events, e)
	return r.Store.CreateClient(ctx, c, e)
}

func (r *recorder) UpdateClient(ctx context.Context, c oauth.Client, e oauth.Event) error {
	if r.conflicts > 0 {
		r.conflicts--
		other, err := r.Client(ctx, c.ID)
		if err != nil {
			return err
		}
		other.Scope = append(slices.Clone(other.Scope), "other")
		if err := r.Store.UpdateClient(ctx, other, oauth.Event{}); err != nil {
			return err
		}
	}
	r.events, r.written = append(r.events, e), c
	return r.Store.UpdateClient(ctx, c, e)
}

func (r *recorder) RevokeGrants(ctx context.Context, f admin.GrantFilter, reason string, e oauth.Event) (int, error) {
	r.events = append(r.events, e)
	return r.Store.RevokeGrants(ctx, f, reason, e)
}

func (r *recorder) SetUserState(ctx context.Context, id string, enabled *bool, state oauth.SubjectState, e oauth.Event) error {
	r.events = append(r.events, e)
	return r.Store.SetUserState(ctx, id, enabled, state, e)
}

func (b *bench) record() *recorder {
	r := &recorder{Store: b.store}
	b.Store = r
	return r
}

func TestActsAreRecorded(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := b.record()
	u := b.user(t, "alice")
	c := b.client(t, oauth.Client{ID: "shop", Name: "Shop"})
	if _, err := b.UpdateClient(t.Context(), "shop", func(c *oauth.Client) { c.Name, c.Scope = "Store", oauth.Scope{"a"} }); err != nil {
		t.Fatal(err)
	}
	if _, err := b.DisableUser(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.RevokeGrants(t.Context(), admin.GrantChoice{Username: "alice"}); err != nil {
		t.Fatal(err)
	}
	want := []oauth.Event{
		{Reason: "client_created", ClientID: c.ID},
		{Reason: "client_updated", ClientID: c.ID, Detail: "name, scope"},
		{Reason: "user_disabled", Subject: u.ID},
		{Reason: "grant_revoked", Subject: u.ID},
	}
	for i := range want {
		want[i].Type, want[i].Source = oauth.EventAdministration, "tester"
	}
	if !slices.Equal(r.events, want) {
		t.Errorf("got events %+v\nwant %+v", r.events, want)
	}
}
