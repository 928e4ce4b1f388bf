package signing

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

var _ oauth.Signer = (*Ring)(nil)

func sortedNames(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// testOptions are options with a clock that stands at t0 and master key 1.
func testOptions(t testing.TB, s Store, alg string) Options {
	t.Helper()
	keys := masterKeys(t, "k", 1)
	return Options{Store: s, Keys: func() *oauth.Keys { return keys }, Now: func() time.Time { return t0 }, Rand: rand.Reader, Alg: alg}
}

func open(t testing.TB, o Options) *Ring {
	t.Helper()
	r, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// openAll returns a ring with keys for every algorithm.
func openAll(t testing.TB) *Ring {
	t.Helper()
	r := open(t, testOptions(t, &memoryStore{}, RS256))
	for _, alg := range Algorithms() {
		sign(t, r, alg)
	}
	return r
}

// openAt returns a ring for EdDSA, with its clock and its store.
func openAt(t testing.TB, s *memoryStore) (*Ring, *testClock) {
	t.Helper()
	clock := &testClock{t: t0}
	o := testOptions(t, s, EdDSA)
	o.Now = clock.now
	return open(t, o), clock
}

func sign(t testing.TB, r *Ring, alg string) string {
	t.Helper()
	token, err := r.Sign(alg, "JWT", []byte("payload"))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// signer is the kid of the key that signs.
func signer(t testing.TB, r *Ring, alg string) string {
	t.Helper()
	first, _, _ := strings.Cut(sign(t, r, alg), ".")
	h, err := parseHeader(first)
	if err != nil {
		t.Fatal(err)
	}
	return h.KeyID
}

func states(r *Ring) string {
	var text []string
	for _, s := range r.List() {
		text = append(text, string(s.State))
	}
	return strings.Join(text, " ")
}

func lastEvent(t testing.TB, s *memoryStore) oauth.Event {
	t.Helper()
	_, _, events := s.snapshot()
	if len(events) == 0 {
		t.Fatal("there is no event")
	}
	return events[len(events)-1]
}

func TestFirstStart(t *testing.T) {
	t.Parallel()
	for _, alg := range Algorithms() {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			s := &memoryStore{}
			r := open(t, testOptions(t, s, alg))
			if got := states(r); got != "active next" {
				t.Errorf("states %q, want active and next", got)
			}
			keys, revision, _ := s.snapshot()
			for _, k := range keys {
				if k.Alg != alg || !k.PublishedAt.Equal(t0) || k.MasterKeyID != 1 || !thumbprintForm(k.ID) {
					t.Errorf("stored key %+v", k)
				}
				if !strings.Contains(string(r.JWKS()), k.ID) {
					t.Errorf("key %s is not published", k.ID)
				}
			}
			if e := lastEvent(t, s); e.Type != oauth.EventAdministration || e.Reason != "keys_made" || e.Source == "" {
				t.Errorf("event %+v", e)
			}
			again := open(t, testOptions(t, s, alg))
			if _, after, _ := s.snapshot(); after != revision {
				t.Error("the second start changed the set")
			}
			if _, _, err := again.Verify(sign(t, r, alg)); err != nil {
				t.Errorf("after the second start: %v", err)
			}
		})
	}
}

func TestOpenRefusesOptions(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		spoil func(*Options)
	}{
		{"no store", func(o *Options) { o.Store = nil }},
		{"no master keys", func(o *Options) { o.Keys = nil }},
		{"no clock", func(o *Options) { o.Now = nil }},
		{"no randomness", func(o *Options) { o.Rand = nil }},
		{"no algorithm", func(o *Options) { o.Alg = "" }},
		{"unknown algorithm", func(o *Options) { o.Alg = "HS256" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := &memoryStore{}
			o := testOptions(t, s, EdDSA)
			tt.spoil(&o)
			if _, err := Open(t.Context(), o); err == nil {
				t.Error("opened")
			}
			if keys, _, _ := s.snapshot(); len(keys) != 0 {
				t.Error("keys were made")
			}
		})
	}
}

// An algorithm of a client gets its keys when it first signs.
func TestSignMakesKeys(t *testing.T) {
	t.Parallel()
	s := &memoryStore{}
	r, _ := openAt(t, s)
	token := sign(t, r, ES256)
	if got := states(r); got != "active next active next" {
		t.Errorf("states %q", got)
	}
	if e := lastEvent(t, s); e.Reason != "keys_made" || !strings.HasPrefix(e.Detail, ES256) {
		t.Errorf("event %+v", e)
	}
	_, revision, _ := s.snapshot()
	sign(t, r, ES256)
	if _, after, _ := s.snapshot(); after != revision {
		t.Error("the second signature changed the set")
	}
	other := open(t, testOptions(t, s, EdDSA))
	if _, _, err := other.Verify(token); err != nil {
		t.Errorf("another node: %v", err)
	}
}

func TestSignReportsFaultOfStore(t *testing.T) {
	t.Parallel()
	s := &memoryStore{}
	r, _ := openAt(t, s)
	fault := errors.New("disk on fire")
	s.setFault(fault)
	if _, err := r.Sign(ES256, "JWT", nil); !errors.Is(err, fault) {
		t.Errorf("got %v, want the fault", err)
	}
	s.setFault(nil)
	sign(t, r, ES256)
}

// Nodes that start at once, and first need an algorithm at once, agree.
func TestNodesAgree(t *testing.T) {
	t.Parallel()
	s := &memoryStore{}
	const nodes = 6
	rings, tokens := make([]*Ring, nodes), make([]string, nodes)
	var group sync.WaitGroup
	for i := range nodes {
		group.Go(func() {
			r, err := Open(context.Background(), testOptions(t, s, EdDSA))
			if err != nil {
				t.Error(err)
				return
			}
			token, err := r.Sign(ES256, "JWT", []byte("payload"))
			if err != nil {
				t.Error(err)
			}
			rings[i], tokens[i] = r, token
		})
	}
	group.Wait()
	if keys, _, _ := s.snapshot(); len(keys) != 4 {
		t.Fatalf("%d keys, want 2 for each of 2 algorithms", len(keys))
	}
	for _, r := range rings {
		if err := r.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, token := range tokens {
			if _, _, err := r.Verify(token); err != nil {
				t.Error(err)
			}
		}
	}
}

// A change that meets another one is decided again, upon what the other left.
func TestChangeAfterConflict(t *testing.T) {
	t.Parallel()
	s := &memoryStore{}
	r, clock := openAt(t, s)
	other := open(t, testOptions(t, s, EdDSA))
	clock.set(t0.Add(hour))
	s.before = func() {
		s.before = nil
		if _, err := other.Import(t.Context(), readKey(t, "p256_sec1"), ImportOptions{}); err != nil {
			t.Error(err)
		}
	}
	if _, err := r.Rotate(t.Context(), EdDSA, RotateOptions{TokenLifetime: hour}); err != nil {
		t.Fatal(err)
	}
	keys, _, events := s.snapshot()
	if len(keys) != 5 || len(events) != 3 {
		t.Errorf("%d keys and %d events, want 5 and 3: both changes", len(keys), len(events))
	}
}

func TestChangeGivesUp(t *testing.T) {
	t.Parallel()
	s := &memoryStore{}
	r, _ := openAt(t, s)
	keys, _, _ := s.snapshot()
	s.before = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.revision++
	}
	if _, err := r.Rotate(t.Context(), EdDSA, RotateOptions{TokenLifetime: hour}); err == nil {
		t.Error("rotated in spite of conflicts")
	}
	if after, _, _ := s.snapshot(); !slices.EqualFunc(keys, after, func(a, b Key) bool { return a.ID == b.ID && sameTimes(&a, &b) }) {
		t.Error("the set changed")
	}
}

// A rotation from first to last, as those see it who hold tokens.
func TestRotationOverlap(t *testing.T) {
	t.Parallel()
	s := &memoryStore{}
	r, clock := openAt(t, s)
	oldToken, oldKey := sign(t, r, EdDSA), signer(t, r, EdDSA)

	switched := t0.Add(hour)
	clock.set(switched)
	done, err := r.Rotate(t.Context(), EdDSA, RotateOptions{TokenLifetime: hour, Actor: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	if e := lastEvent(t, s); e.Reason != "key_rotated" || e.Source != "alice" || !strings.Contains(e.Detail, done.ActiveID) {
		t.Errorf("event %+v", e)
	}
	if got := signer(t, r, EdDSA); got != done.ActiveID || got == oldKey {
		t.Errorf("%s signs, want %s", got, done.ActiveID)
	}
	if got := states(r); got != "retired active next" {
		t.Errorf("states %q", got)
	}

	leaves := switched.Add(hour + 60*time.Second)
	for _, tt := range []struct {
		at        time.Time
		published bool
	}{{switched, true}, {leaves.Add(-tick), true}, {leaves, false}} {
		clock.set(tt.at)
		_, _, err := r.Verify(oldToken)
		inSet := strings.Contains(string(r.JWKS()), oldKey)
		if (err == nil) != tt.published || inSet != tt.published {
			t.Errorf("at %v: Verify %v, in the JWK set %t, want %t", tt.at, err, inSet, tt.published)
		}
	}
	if got := states(r); got != "active next" {
		t.Errorf("states %q", got)
	}
	if keys, _, _ := s.snapshot(); len(keys) != 3 {
		t.Errorf("time alone changed the stored set: %d keys", len(keys))
	}
	if _, err := r.Import(t.Context(), readKey(t, "p256_sec1"), ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	if keys, _, _ := s.snapshot(); slices.ContainsFunc(keys, func(k Key) bool { return k.ID == oldKey }) {
		t.Error("the next change kept the expired key")
	}
}

// A scheduled key takes over by time alone.
func TestScheduledRotation(t *testing.T) {
	t.Parallel()
	r, clock := openAt(t, &memoryStore{})
	rotate := func(now bool) (Rotation, error) {
		return r.Rotate(t.Context(), EdDSA, RotateOptions{TokenLifetime: hour, Now: now})
	}
	first, err := rotate(false)
	if err != nil {
		t.Fatal(err)
	}
	clock.set(t0.Add(hour))
	second, err := rotate(false)
	if err != nil {
		t.Fatal(err)
	}
	if second.ActiveID != first.NextID || !second.At.Equal(t0.Add(wait+tick)) {
		t.Errorf("second rotation %+v", second)
	}
	if _, err := rotate(false); !errors.Is(err, ErrRotationScheduled) || !strings.Contains(err.Error(), second.ActiveID) {
		t.Errorf("third rotation: %v", err)
	}
	clock.set(second.At.Add(-tick))
	before := signer(t, r, EdDSA)
	clock.set(second.At)
	if after := signer(t, r, EdDSA); before != first.ActiveID || after != second.ActiveID {
		t.Errorf("%s and then %s sign, want %s and %s", before, after, first.ActiveID, second.ActiveID)
	}
	third, err := rotate(true)
	if err != nil || !third.At.Equal(second.At) || signer(t, r, EdDSA) != third.ActiveID {
		t.Errorf("emergency: %+v, %v", third, err)
	}
}

func TestRotateRefusesUnknownAlgorithm(t *testing.T) {
	t.Parallel()
	r, _ := openAt(t, &memoryStore{})
	for _, alg := range []string{"", "HS256", "none"} {
		if done, err := r.Rotate(t.Context(), alg, RotateOptions{TokenLifetime: hour}); err == nil {
			t.Errorf("Rotate(%q) = %+v", alg, done)
		}
	}
}

// An algorithm that was not used yet gets its keys.
func TestRotateMakesFirstKeys(t *testing.T) {
	t.Parallel()
	r, _ := openAt(t, &memoryStore{})
	done, err := r.Rotate(t.Context(), ES256, RotateOptions{TokenLifetime: hour})
	if err != nil || done.ActiveID == "" || done.NextID == "" || signer(t, r, ES256) != done.ActiveID {
		t.Errorf("got %+v, %v; %s signs", done, err, signer(t, r, ES256))
	}
}

// What the command line does reaches a running server.
func TestRefresh(t *testing.T) {
	t.Parallel()
	s := &memoryStore{}
	server, _ := openAt(t, s)
	commandLine, _ := openAt(t, s)

	known := server.current.Load()
	if err := server.Refresh(t.Context()); err != nil || server.current.Load() != known {
		t.Errorf("Refresh without a change made a new view: %v", err)
	}
	done, err := commandLine.Rotate(t.Context(), EdDSA, RotateOptions{TokenLifetime: hour})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := signer(t, server, EdDSA); got != done.ActiveID {
		t.Errorf("%s signs, want %s", got, done.ActiveID)
	}
	if !strings.Contains(string(server.JWKS()), done.NextID) {
		t.Error("the fresh key is not published")
	}

	fault := errors.New("no route to host")
	s.setFault(fault)
	if err := server.Refresh(t.Context()); !errors.Is(err, fault) {
		t.Errorf("Refresh = %v, want the fault", err)
	}
	sign(t, server, EdDSA)
}

func TestSignWhileRotating(t *testing.T) {
	t.Parallel()
	r, _ := openAt(t, &memoryStore{})
	stop := make(chan struct{})
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				token, err := r.Sign(EdDSA, "at+jwt", []byte("payload"))
				if err != nil {
					t.Error(err)
					return
				}
				if _, _, err := r.Verify(token); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 20 {
		if _, err := r.Rotate(t.Context(), EdDSA, RotateOptions{TokenLifetime: hour, Now: true}); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	group.Wait()
}

func TestImport(t *testing.T) {
	t.Parallel()
	s := &memoryStore{}
	r, clock := openAt(t, s)
	clock.set(t0.Add(hour))

	got, err := r.Import(t.Context(), readKey(t, "rsa_pkcs1"), ImportOptions{Alg: PS256, Actor: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	if got.Alg != PS256 || got.State != StateActive || signer(t, r, PS256) != got.ID {
		t.Errorf("first key of its algorithm: %+v", got)
	}
	if e := lastEvent(t, s); e.Reason != "key_imported" || e.Source != "alice" || !strings.Contains(e.Detail, got.ID) {
		t.Errorf("event %+v", e)
	}
	if _, err := r.Import(t.Context(), readKey(t, "rsa_pkcs8"), ImportOptions{}); !errors.Is(err, oauth.ErrExists) {
		t.Errorf("the same key for another algorithm: %v, want ErrExists", err)
	}

	waits, err := r.Import(t.Context(), readKey(t, "ed25519"), ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if waits.State != StateNext || signer(t, r, EdDSA) == waits.ID || !strings.Contains(string(r.JWKS()), waits.ID) {
		t.Errorf("imported to wait: %+v", waits)
	}
	if _, err := r.Import(t.Context(), readKey(t, "ed25519"), ImportOptions{}); !errors.Is(err, oauth.ErrExists) {
		t.Errorf("imported twice: %v, want ErrExists", err)
	}
	if _, err := r.Import(t.Context(), readKey(t, "p256_sec1"), ImportOptions{Alg: RS256}); err == nil {
		t.Error("an EC key was imported for RS256")
	}
	if _, err := r.Import(t.Context(), readKey(t, "rsa_1024"), ImportOptions{}); err == nil || !strings.Contains(err.Error(), "1024 bits") {
		t.Errorf("a short key: %v", err)
	}
}

func TestImportActivates(t *testing.T) {
	t.Parallel()
	r, _ := openAt(t, &memoryStore{})
	old := sign(t, r, EdDSA)
	got, err := r.Import(t.Context(), readKey(t, "ed25519"), ImportOptions{Activate: true, TokenLifetime: hour})
	if err != nil {
		t.Fatal(err)
	}
	if got.State != StateActive || signer(t, r, EdDSA) != got.ID {
		t.Errorf("imported to sign: %+v", got)
	}
	if _, _, err := r.Verify(old); err != nil {
		t.Errorf("a token of the old key: %v", err)
	}
}

// A key that has expired is gone, though the store still has it.
func TestImportAfterExpiry(t *testing.T) {
	t.Parallel()
	s := &memoryStore{}
	r, clock := openAt(t, s)
	o := ImportOptions{Activate: true, TokenLifetime: hour}
	first, err := r.Import(t.Context(), readKey(t, "ed25519"), o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Rotate(t.Context(), EdDSA, RotateOptions{TokenLifetime: hour, Now: true}); err != nil {
		t.Fatal(err)
	}
	clock.set(t0.Add(hour + time.Minute))
	again, err := r.Import(t.Context(), readKey(t, "ed25519"), ImportOptions{})
	if err != nil || again.ID != first.ID || again.State != StateNext {
		t.Errorf("Import = %+v, %v; want %s, which waits", again, err, first.ID)
	}
}

// A leaked key leaves the set with the rotation, and what it signed counts no more.
func TestWithdraw(t *testing.T) {
	t.Parallel()
	r, _ := openAt(t, &memoryStore{})
	token, err := r.Sign(EdDSA, "JWT", []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	leaked := signer(t, r, EdDSA)
	if _, err := r.Rotate(t.Context(), EdDSA, RotateOptions{TokenLifetime: hour, Now: true}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Verify(token); err != nil {
		t.Errorf("after a rotation: %v", err)
	}
	if _, err := r.Rotate(t.Context(), EdDSA, RotateOptions{TokenLifetime: hour, Withdraw: true}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Verify(token); err == nil {
		t.Error("after the withdrawal the token still counts")
	}
	if strings.Contains(string(r.JWKS()), leaked) {
		t.Error("the withdrawn key is still published")
	}
}

// private_key is for the first start only.
func TestOpenImports(t *testing.T) {
	t.Parallel()
	s := &memoryStore{}
	o := testOptions(t, s, ES256)
	o.ImportPEM = readKey(t, "p256_sec1")
	r := open(t, o)
	key, err := parsePEM(o.ImportPEM)
	if err != nil {
		t.Fatal(err)
	}
	imported, err := newOpenKey(ES256, key)
	if err != nil {
		t.Fatal(err)
	}
	if got := signer(t, r, ES256); got != imported.id || states(r) != "active next" {
		t.Errorf("%s signs, want %s; states %q", got, imported.id, states(r))
	}
	if e := lastEvent(t, s); e.Reason != "key_imported" {
		t.Errorf("event %+v", e)
	}
	o.ImportPEM = []byte("no longer there")
	open(t, o)
	o.Alg = EdDSA
	open(t, o)
}

func TestOpenRefusesImport(t *testing.T) {
	t.Parallel()
	tests := []struct{ file, want string }{
		{"p256_sec1", "it is a key for ES256, and the signing algorithm is EdDSA"},
		{"encrypted_pkcs8", "passphrase"},
		{"public", "no private key"},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			t.Parallel()
			s := &memoryStore{}
			o := testOptions(t, s, EdDSA)
			o.ImportPEM = readKey(t, tt.file)
			if _, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
			if keys, _, _ := s.snapshot(); len(keys) != 0 {
				t.Error("keys were made")
			}
		})
	}
}

// The error of a key that does not open names it and its master key.
func TestOpenRefusesSealedKey(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		keys *oauth.Keys
		harm func(keys []Key)
		want error
	}{
		{"master key missing", masterKeys(t, "k", 2), func([]Key) {}, ErrSealed},
		{"another master key of that id", masterKeys(t, "x", 1), func([]Key) {}, ErrSealed},
		{"damaged", masterKeys(t, "k", 1), func(k []Key) { k[0].Sealed[20] ^= 1 }, ErrSealed},
		{"of another key", masterKeys(t, "k", 1), func(k []Key) { k[0].Sealed = k[1].Sealed }, ErrSealed},
		{"for another algorithm", masterKeys(t, "k", 1), func(k []Key) { k[0].Alg = RS256 }, nil},
		{"for no algorithm", masterKeys(t, "k", 1), func(k []Key) { k[0].Alg = "none" }, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := &memoryStore{}
			openAt(t, s)
			tt.harm(s.keys)
			o := testOptions(t, s, EdDSA)
			o.Keys = func() *oauth.Keys { return tt.keys }
			_, err := Open(t.Context(), o)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if text := err.Error(); !strings.Contains(text, s.keys[0].ID) || !strings.Contains(text, "master key 1") {
				t.Errorf("%q names not both key and master key", text)
			}
		})
	}
}

// A key that has expired needs no master key any more.
func TestOpenSkipsExpiredKey(t *testing.T) {
	t.Parallel()
	s := &memoryStore{}
	r, _ := openAt(t, s)
	if _, err := r.Rotate(t.Context(), EdDSA, RotateOptions{TokenLifetime: hour}); err != nil {
		t.Fatal(err)
	}
	s.keys[0].MasterKeyID = 9
	o := testOptions(t, s, EdDSA)
	o.Now = func() time.Time { return t0.Add(hour + time.Minute - tick) }
	if _, err := Open(t.Context(), o); !errors.Is(err, ErrSealed) {
		t.Errorf("a moment before: %v, want ErrSealed", err)
	}
	o.Now = func() time.Time { return t0.Add(hour + time.Minute) }
	open(t, o)
}

func TestReseal(t *testing.T) {
	t.Parallel()
	s := &memoryStore{}
	before, _ := openAt(t, s)
	token := sign(t, before, EdDSA)

	both := masterKeys(t, "k", 2, 1)
	o := testOptions(t, s, EdDSA)
	o.Keys = func() *oauth.Keys { return both }
	r := open(t, o)
	if err := r.Reseal(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	if e := lastEvent(t, s); e.Reason != "keys_resealed" || e.Source != "alice" {
		t.Errorf("event %+v", e)
	}
	keys, revision, _ := s.snapshot()
	for _, k := range keys {
		if k.MasterKeyID != 2 {
			t.Errorf("key %s is sealed under master key %d, want 2", k.ID, k.MasterKeyID)
		}
	}
	if err := r.Reseal(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	if _, after, _ := s.snapshot(); after != revision {
		t.Error("a second time changed the set")
	}

	second := masterKeys(t, "k", 2)
	o.Keys = func() *oauth.Keys { return second }
	if _, _, err := open(t, o).Verify(token); err != nil {
		t.Errorf("with the new master key only: %v", err)
	}
	if err := before.Refresh(t.Context()); err != nil {
		t.Errorf("a node that has the keys open already: %v", err)
	}
}
