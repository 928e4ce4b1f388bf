package storetest

import (
	"crypto/sha256"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/signing"
)

// clock is the time that a test decides.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// advance moves the clock, backwards too, and returns the store's time.
func (c *clock) advance(d time.Duration) time.Time {
	c.mu.Lock()
	c.now = c.now.Add(d)
	c.mu.Unlock()
	return c.stored()
}

// stored is the present time as a store must keep it.
func (c *clock) stored() time.Time { return stored(c.Now()) }

// stored is a time as a store must keep it.
func stored(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// fixture is a store of two users, two clients and a grant of each pair but one,
// of which there are two.
type fixture struct {
	*testing.T
	Store
	open  Opener
	clock *clock

	alice, bob oauth.User
	web, app   oauth.Client
	grant      oauth.Grant // of alice at web, the one that steps are tried on
	sibling    oauth.Grant // of the same two
}

const (
	idleLifetime     = 30 * 24 * time.Hour
	absoluteLifetime = 365 * 24 * time.Hour
)

// newFixture opens a store and fills it.
func newFixture(t *testing.T, open Opener) *fixture {
	c := &clock{now: time.Date(2026, 3, 29, 1, 30, 0, 123_456_789, time.FixedZone("", 5400))}
	f := &fixture{T: t, Store: open(t, c.Now), open: open, clock: c}
	f.alice, f.bob = f.createUser("alice"), f.createUser("bob")
	f.web, f.app = f.createClient("web"), f.createClient("app")
	for _, pair := range []struct {
		name   string
		user   oauth.User
		client oauth.Client
	}{{"bob at app", f.bob, f.app}, {"bob at web", f.bob, f.web}, {"alice at app", f.alice, f.app}} {
		f.createGrant(pair.name, pair.user, pair.client)
	}
	f.sibling = f.createGrant("sibling", f.alice, f.web)
	f.grant = f.createGrant("grant", f.alice, f.web)
	c.advance(time.Minute)
	return f
}

// again runs a part of a case on a store of its own.
func (f *fixture) again(name string, run func(*fixture)) {
	f.Run(name, func(t *testing.T) {
		t.Parallel()
		run(newFixture(t, f.open))
	})
}

// must fails the test where a step that has to succeed does not.
func (f *fixture) must(err error, step string) {
	f.Helper()
	if err != nil {
		f.Fatalf("%s: %v", step, err)
	}
}

// wantError checks that a step ends with the named error.
func (f *fixture) wantError(got, want error, step string) {
	f.Helper()
	if !errors.Is(got, want) {
		f.Errorf("%s: got error %v, want %q", step, got, want)
	}
}

// outcome checks that a write which returned nil has happened, and one that failed
// has not, unless it says that it does not know.
func (f *fixture) outcome(err error, happened bool, step string) {
	f.Helper()
	switch {
	case err == nil && !happened:
		f.Errorf("%s: it returned nil and did not happen", step)
	case err != nil && !errors.Is(err, oauth.ErrOutcomeUnknown) && happened:
		f.Errorf("%s: it returned %v and happened", step, err)
	}
}

// same compares two values.
func (f *fixture) same(got, want any, what string, options ...cmp.Option) {
	f.Helper()
	if d := cmp.Diff(want, got, options...); d != "" {
		f.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// act is an event of administration, found again by its request ID.
func act(requestID string) oauth.Event {
	return oauth.Event{Type: oauth.EventAdministration, Reason: "test", RequestID: requestID, Source: "tester"}
}

func (f *fixture) createUser(name string) oauth.User {
	f.Helper()
	err := f.CreateUser(f.Context(), oauth.User{
		Subject: oauth.Subject{ID: "id of " + name, Username: name, Enabled: true, State: oauth.SubjectActive},
		Email:   name + "@example.com", PasswordHash: "hash of " + name,
	}, act("create user "+name))
	f.must(err, "create user "+name)
	return f.user(name)
}

// user reads a user by name.
func (f *fixture) user(name string) oauth.User {
	f.Helper()
	u, err := f.User(f.Context(), name)
	f.must(err, "read user "+name)
	return u
}

func (f *fixture) createClient(id string) oauth.Client {
	f.Helper()
	err := f.CreateClient(f.Context(), oauth.Client{
		ID: id, Name: "Client " + id, Active: true, GrantTypes: []string{"password"}, Scope: oauth.Scope{"read"},
		Secrets: []oauth.ClientSecret{{Hash: "hash of " + id}},
	}, act("create client "+id))
	f.must(err, "create client "+id)
	return f.client(id)
}

// client reads a client.
func (f *fixture) client(id string) oauth.Client {
	f.Helper()
	c, err := f.Client(f.Context(), id)
	f.must(err, "read client "+id)
	return c
}

// newGrant is a grant to be made; its name makes the identifiers.
func newGrant(name string, u oauth.User, c oauth.Client) oauth.NewGrant {
	id := hashOf("id", name)
	return oauth.NewGrant{
		Grant: oauth.Grant{
			ID: oauth.GrantID(id[:16]), PublicID: "public " + name, Version: 1,
			ClientID: c.ID, Subject: u.ID, SubjectEpoch: u.Epoch, Scope: oauth.Scope{"read"}, AMR: []string{"pwd"},
			Status: oauth.GrantActive, CurrentHash: hashOf("secret", name), KeyID: 1,
		},
		ClientVersion: c.Version, IdleLifetime: idleLifetime, AbsoluteLifetime: absoluteLifetime,
		Event: oauth.Event{Type: oauth.EventLogin, Reason: "password", RequestID: "login " + name, GrantID: "public " + name},
	}
}

// hashOf is 32 bytes that stand for something.
func hashOf(what, name string) [32]byte { return sha256.Sum256([]byte(what + " of " + name)) }

// createGrant makes a grant, a millisecond after what was before.
func (f *fixture) createGrant(name string, u oauth.User, c oauth.Client) oauth.Grant {
	f.Helper()
	f.clock.advance(time.Millisecond)
	n := newGrant(name, u, c)
	f.must(f.CreateGrant(f.Context(), n), "create grant "+name)
	return f.read(n.Grant).Grant
}

// read reads a grant as it is now.
func (f *fixture) read(g oauth.Grant) oauth.GrantView {
	f.Helper()
	v, err := f.Grant(f.Context(), g.ID)
	f.must(err, "read grant "+g.PublicID)
	return v
}

// rotated is the next generation of a grant, as the server would make it now.
func (f *fixture) rotated(g oauth.Grant) oauth.Grant {
	g.Generation++
	g.PreviousHash, g.CurrentHash = g.CurrentHash, hashOf("next", string(g.CurrentHash[:]))
	g.SuccessorSalt = hashOf("salt", string(g.CurrentHash[:]))
	g.Retries = 0
	g.LastUsedAt = f.clock.stored()
	g.IdleExpiresAt = g.LastUsedAt.Add(idleLifetime)
	return g
}

// rotate rotates a grant and returns it as it is then.
func (f *fixture) rotate(g oauth.Grant) oauth.Grant {
	f.Helper()
	old, next := f.read(g), f.rotated(g)
	f.must(f.SwapGrant(f.Context(), &old.Grant, &next, old.ClientVersion), "swap grant "+g.PublicID)
	return f.read(g).Grant
}

// world is everything that a store shows, but events and failures.
type world struct {
	Grants   map[string]oauth.Grant
	Clients  map[string]oauth.Client
	Users    map[string]oauth.User
	Keys     []signing.Key
	Revision int64
	Checks   map[uint16][]byte
}

// look reads everything.
func (f *fixture) look() world {
	f.Helper()
	w := world{Grants: map[string]oauth.Grant{}, Clients: map[string]oauth.Client{}, Users: map[string]oauth.User{}}
	views, err := f.Grants(f.Context(), admin.GrantFilter{})
	f.must(err, "list grants")
	for _, v := range views {
		w.Grants[v.Grant.PublicID] = v.Grant
	}
	clients, err := f.Clients(f.Context())
	f.must(err, "list clients")
	for _, c := range clients {
		w.Clients[c.ID] = c
	}
	users, err := f.Users(f.Context())
	f.must(err, "list users")
	for _, u := range users {
		w.Users[u.Username] = u
	}
	w.Keys, w.Revision, err = f.SigningKeys(f.Context())
	f.must(err, "read signing keys")
	w.Checks, err = f.MasterKeyChecks(f.Context())
	f.must(err, "read master key checks")
	return w
}

// onlyChanged compares everything with what it was before, but for the grants, clients
// and users that the step was about.
func (f *fixture) onlyChanged(before world, step string, about ...any) {
	f.Helper()
	after := f.look()
	for _, a := range about {
		switch a := a.(type) {
		case oauth.Grant:
			delete(before.Grants, a.PublicID)
			delete(after.Grants, a.PublicID)
		case oauth.Client:
			delete(before.Clients, a.ID)
			delete(after.Clients, a.ID)
		case oauth.User:
			delete(before.Users, a.Username)
			delete(after.Users, a.Username)
		}
	}
	f.same(after, before, step+": what else changed")
}

// noEvents checks that a step which did not happen left no event.
func (f *fixture) noEvents(requestID, step string) {
	f.Helper()
	if events := f.events(requestID); len(events) != 0 {
		f.Errorf("%s: got %d events %+v, want none", step, len(events), events)
	}
}

// oneEvent returns the only event of a request.
func (f *fixture) oneEvent(requestID, step string) oauth.Event {
	f.Helper()
	events := f.events(requestID)
	if len(events) != 1 {
		f.Fatalf("%s: got %d events of the request %q %+v, want 1", step, len(events), requestID, events)
	}
	return events[0]
}

func (f *fixture) events(requestID string) []oauth.Event {
	f.Helper()
	events, err := f.Events(f.Context(), requestID)
	f.must(err, "read events of "+requestID)
	return events
}

// asStored checks that times are in UTC and in whole microseconds.
func (f *fixture) asStored(what string, times ...time.Time) {
	f.Helper()
	for i, t := range times {
		if t.Location() != time.UTC || t.Nanosecond()%1000 != 0 {
			f.Errorf("%s: the %d. time is %v, want UTC in whole microseconds", what, i+1, t)
		}
	}
}

// grantTimes are all times of a grant.
func grantTimes(g oauth.Grant) []time.Time {
	return []time.Time{g.AuthTime, g.RevokedAt, g.RotatedAt, g.IdleExpiresAt, g.AbsoluteExpiresAt, g.CreatedAt, g.LastUsedAt}
}
