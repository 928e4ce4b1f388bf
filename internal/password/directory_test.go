package password

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

var _ oauth.Directory = (*Directory)(nil)

// memory is Users in a map, by ID.
type memory struct {
	mu    sync.Mutex
	users map[string]oauth.User
	fault error // of every call
}

func (m *memory) UserByLogin(_ context.Context, login string) (oauth.User, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fault != nil {
		return oauth.User{}, m.fault
	}
	for _, has := range []func(oauth.User) string{
		func(u oauth.User) string { return u.Username }, func(u oauth.User) string { return u.Email },
	} {
		for _, u := range m.users {
			if login != "" && has(u) == login {
				return u, nil
			}
		}
	}
	return oauth.User{}, oauth.ErrNotFound
}

func (m *memory) UserByEmail(_ context.Context, email string) (oauth.User, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, u := range m.users {
		if strings.EqualFold(u.Email, email) {
			return u, m.fault
		}
	}
	return oauth.User{}, oauth.ErrNotFound
}

func (m *memory) ChoosePassword(_ context.Context, known oauth.User, hash string, _ bool, _ oauth.Event) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	u, ok := m.users[known.ID]
	if !ok {
		return oauth.ErrConflict
	}
	u.PasswordHash = hash
	m.users[known.ID] = u
	return m.fault
}

func (m *memory) ReplacePasswordHash(ctx context.Context, userID, old, hash string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := errors.Join(m.fault, ctx.Err()); err != nil {
		return err
	}
	if u, ok := m.users[userID]; ok && u.PasswordHash == old {
		u.PasswordHash = hash
		m.users[userID] = u
	}
	return nil
}

func (m *memory) add(username, hash string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.users["id-"+username] = oauth.User{
		Subject: oauth.Subject{ID: "id-" + username, Username: username, Enabled: true, State: oauth.SubjectActive},
		Email:   username + "@example.com", PasswordHash: hash,
	}
}

func (m *memory) hashOf(username string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.users["id-"+username].PasswordHash
}

func newDirectory(t *testing.T, random io.Reader) (*Directory, *memory) {
	t.Helper()
	users := &memory{users: map[string]oauth.User{}}
	d, err := NewDirectory(users, newHasher(t, 2, 100, random))
	if err != nil {
		t.Fatal(err)
	}
	return d, users
}

// login looks up and verifies, and returns how many hashes that took.
func login(t *testing.T, d *Directory, name string, password oauth.Secret) (hashes uint64, err error) {
	t.Helper()
	account, err := d.Lookup(t.Context(), name)
	if err != nil {
		t.Fatalf("Lookup of %s: %v", name, err)
	}
	before := d.hasher.Computed()
	err = d.Verify(t.Context(), account, password)
	return d.hasher.Computed() - before, err
}

func TestLookup(t *testing.T) {
	t.Parallel()
	d, users := newDirectory(t, rand.Reader)
	users.add("jane", phpBcrypt)
	for name, known := range map[string]bool{"jane": true, "jane@example.com": true, "Jane": false, "": false} {
		account, err := d.Lookup(t.Context(), name)
		if err != nil || account.Known != known || known && account.ID != "id-jane" || !known && account.ID != "" {
			t.Errorf("Lookup of %q: %+v, %v; want known %v", name, account.Subject, err, known)
		}
	}
	users.fault = errors.New("database is gone")
	if _, err := d.Lookup(t.Context(), "jane"); !errors.Is(err, users.fault) {
		t.Errorf("Lookup without a database: %v; want its fault", err)
	}
}

// What a refusal costs must not tell who exists, also with a
// password that is too long (CVE-2025-22234).
func TestRefusalsCostTheSame(t *testing.T) {
	t.Parallel()
	present := hash(t, newHasher(t, 1, 1, rand.Reader), staple)
	for _, password := range []oauth.Secret{"wrong", "", oauth.Secret(strings.Repeat("x", 73)), oauth.Secret(strings.Repeat("x", 4097)), "\x00"} {
		d, users := newDirectory(t, rand.Reader)
		users.add("present", present)
		users.add("none", "") // has no password
		for _, name := range []string{"present", "none", "stranger"} {
			hashes, err := login(t, d, name, password)
			if !errors.Is(err, oauth.ErrPasswordIncorrect) || hashes != 1 {
				t.Errorf("%s with %d bytes: error %v after %d hashes; want ErrPasswordIncorrect after 1", name, len(password), err, hashes)
			}
		}
	}
}

func TestRefusalOfLegacyHashCostsPresentWork(t *testing.T) {
	t.Parallel()
	dear := strings.Replace(phpBcrypt, "$04$", "$09$", 1) // 20 MiB worth: more than the present 7 MiB
	for hash, want := range map[string]uint64{FormatSymfonySHA512(symfonySalt, symfonyHash): 2, phpBcrypt: 2, dear: 1, phpArgon2id: 1} {
		d, users := newDirectory(t, rand.Reader)
		users.add("jane", hash)
		hashes, err := login(t, d, "jane", "wrong")
		if !errors.Is(err, oauth.ErrPasswordIncorrect) || hashes != want {
			t.Errorf("%s: error %v after %d hashes; want ErrPasswordIncorrect after %d", hash, err, hashes, want)
		}
	}
}

// lockedRandom makes the slots of the decoys the same in every run.
type lockedRandom struct {
	mu sync.Mutex
	*mathrand.ChaCha8
}

func (r *lockedRandom) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ChaCha8.Read(p)
}

// Names that nobody has cost what the hashes of users do: a Symfony hash makes two
// where one of the present parameters makes one.
func TestDecoys(t *testing.T) {
	t.Parallel()
	d, users := newDirectory(t, &lockedRandom{ChaCha8: mathrand.NewChaCha8([32]byte{1})})
	stored := FormatSymfonySHA512(symfonySalt, symfonyHash)
	cost := func(name string, password oauth.Secret) uint64 {
		hashes, err := login(t, d, name, password)
		if !errors.Is(err, oauth.ErrPasswordIncorrect) {
			t.Errorf("%s: error %v; want ErrPasswordIncorrect", name, err)
		}
		return hashes
	}
	twos := func() (n int) {
		for i := range 32 {
			if cost(fmt.Sprint("stranger", i), "s3cret") == 2 { // the user's password, but not his name
				n++
			}
		}
		return n
	}
	if n := twos(); n != 0 {
		t.Errorf("%d of 32 strangers cost two hashes before any user was seen; want 0", n)
	}
	users.add("jane", stored)
	for range 20 {
		cost("jane", "wrong")
	}
	first, second := twos(), twos()
	if first == 0 || first > 12 || first != second {
		t.Errorf("%d, then %d of 32 strangers cost what the one user does; want a few, and the same", first, second)
	}
	for i := range 200 {
		name := fmt.Sprint("user", i)
		users.add(name, stored)
		d.decoys.see("id-"+name, mustParse(t, stored))
	}
	if n := twos(); n != 32 {
		t.Errorf("%d of 32 strangers cost what all users do; want 32", n)
	}
}

func mustParse(t *testing.T, hash string) stored {
	t.Helper()
	s, err := parse(hash)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestVerifyMalformedHashIsFault(t *testing.T) {
	t.Parallel()
	d, users := newDirectory(t, rand.Reader)
	users.add("jane", phpBcrypt[:50])
	_, err := login(t, d, "jane", staple)
	if refusal := new(oauth.Refusal); err == nil || errors.As(err, &refusal) {
		t.Fatalf("error %v; want a fault", err)
	}
	if text := err.Error(); !strings.Contains(text, "id-jane") || strings.Contains(text, phpBcrypt[7:20]) {
		t.Errorf("error %q; want it to name the user and not the hash", text)
	}
}

func TestRehash(t *testing.T) {
	t.Parallel()
	for name, old := range map[string]string{
		"bcrypt": phpBcrypt, "argon2i": phpArgon2i, "other parameters": phpArgon2id,
		"Symfony": FormatSymfonySHA512(symfonySalt, symfonyHash),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			password := oauth.Secret(staple)
			if name == "Symfony" {
				password = "s3cret"
			}
			d, users := newDirectory(t, rand.Reader)
			users.add("jane", old)
			if _, err := login(t, d, "jane", "wrong"); !errors.Is(err, oauth.ErrPasswordIncorrect) {
				t.Errorf("a wrong password: %v; want ErrPasswordIncorrect", err)
			}
			if now := users.hashOf("jane"); now != old {
				t.Errorf("a wrong password replaced the hash by %s", now)
			}
			if _, err := login(t, d, "jane", password); err != nil {
				t.Fatal(err)
			}
			now := users.hashOf("jane")
			if !strings.HasPrefix(now, "$argon2id$v=19$m=7168,t=1,p=1$") {
				t.Errorf("the hash is %s; want argon2id with the present parameters", now)
			}
			if hashes, err := login(t, d, "jane", password); err != nil || hashes != 1 || users.hashOf("jane") != now {
				t.Errorf("the next login: error %v, %d hashes, hash %s; want 1 and the same hash", err, hashes, users.hashOf("jane"))
			}
		})
	}
}

func TestRehashFailureIsNoFailure(t *testing.T) {
	t.Parallel()
	random := new(hookedRandom)
	d, users := newDirectory(t, random)
	users.add("jane", phpBcrypt)
	account, err := d.Lookup(t.Context(), "jane")
	if err != nil {
		t.Fatal(err)
	}
	users.fault = errors.New("database is gone")
	if err := d.Verify(t.Context(), account, staple); err != nil {
		t.Errorf("the hash could not be stored: %v; want nil", err)
	}
	users.fault = nil
	random.set(func() error { return errors.New("no entropy") })
	if err := d.Verify(t.Context(), account, staple); err != nil {
		t.Errorf("the hash could not be made: %v; want nil", err)
	}
	if now := users.hashOf("jane"); now != phpBcrypt {
		t.Errorf("the hash is %s; want the old one", now)
	}
}

func TestRehashOutlivesHangUp(t *testing.T) {
	t.Parallel()
	random := new(hookedRandom)
	d, users := newDirectory(t, random)
	users.add("jane", phpBcrypt)
	account, err := d.Lookup(t.Context(), "jane")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	random.set(func() error { cancel(); return nil }) // while the new hash is made
	if err := d.Verify(ctx, account, staple); err != nil {
		t.Errorf("error %v; want nil", err)
	}
	if now := users.hashOf("jane"); ctx.Err() == nil || !strings.HasPrefix(now, "$argon2id$") {
		t.Errorf("context %v, hash %s; want it cancelled, and argon2id", ctx.Err(), now)
	}
}

// A password that was changed meanwhile stays: the rehash replaces only what it verified.
func TestRehashKeepsNewPassword(t *testing.T) {
	t.Parallel()
	d, users := newDirectory(t, rand.Reader)
	users.add("jane", phpBcrypt)
	account, err := d.Lookup(t.Context(), "jane")
	if err != nil {
		t.Fatal(err)
	}
	users.add("jane", phpBcryptUTF)
	if err := d.Verify(t.Context(), account, staple); err != nil {
		t.Errorf("error %v; want nil", err)
	}
	if now := users.hashOf("jane"); now != phpBcryptUTF {
		t.Errorf("the hash is %s; want the changed password's", now)
	}
}

func TestDirectoryBusy(t *testing.T) {
	t.Parallel()
	random := new(hookedRandom)
	users := &memory{users: map[string]oauth.User{}}
	users.add("jane", phpBcrypt)
	h := newHasher(t, 1, 1, random)
	d, err := NewDirectory(users, h)
	if err != nil {
		t.Fatal(err)
	}
	release := hold(t, h, random)
	defer release()
	h.gate.waiting <- struct{}{} // the queue is full
	for _, name := range []string{"jane", "stranger"} {
		_, err := login(t, d, name, staple)
		wantBusy(t, err)
	}
	<-h.gate.waiting
}
