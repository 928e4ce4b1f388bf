package oauth_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// tryPassword logs in at OroCommerce's endpoint.
func (r *rig) tryPassword(source, name, password string) error {
	_, err := r.ask(oauth.OroCommerce, source, "grant_type", "password", "client_id", "public", "username", name, "password", password)
	return err
}

// guess fails until it is throttled, and returns how often it failed and the pause.
func (r *rig) guess(source, name string) (int, time.Duration) {
	r.t.Helper()
	for n := range 20 {
		err := r.tryPassword(source, name, "wrong horse")
		var refusal *oauth.Refusal
		switch {
		case errors.Is(err, oauth.ErrThrottled) && errors.As(err, &refusal):
			return n, refusal.RetryAfter
		case !errors.Is(err, oauth.ErrPasswordIncorrect):
			r.t.Fatalf("guess %d: %v", n, err)
		}
	}
	r.t.Fatal("20 guesses and no throttling")
	return 0, 0
}

// TestThrottledLogin: a source that guesses waits, with the right password too;
// others do not; success clears; another server on the same store knows.
func TestThrottledLogin(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n, wait := r.guess(home, "user")
	if n < 5 || n > 12 || wait <= 0 {
		t.Errorf("throttled after %d failures for %v; want after 5 to 12", n, wait)
	}
	if err := r.tryPassword(home, "user", "right horse"); !errors.Is(err, oauth.ErrThrottled) {
		t.Errorf("the right password while throttled: %v", err)
	}
	if err := r.tryPassword(home, "user@example.com", "right horse"); !errors.Is(err, oauth.ErrThrottled) {
		t.Errorf("the same account by e-mail: %v", err)
	}
	if err := r.tryPassword(elsewhere, "user", "right horse"); err != nil {
		t.Errorf("another source: %v", err)
	}
	if err := r.tryPassword(home, "other", "right horse"); err != nil {
		t.Errorf("another account: %v", err)
	}
	restarted := newRig(t)
	restarted.Store, restarted.clock, restarted.Now = r.Store, r.clock, r.Now
	if err := restarted.tryPassword(home, "user", "right horse"); !errors.Is(err, oauth.ErrThrottled) {
		t.Errorf("after a restart: %v", err)
	}
	r.clock.add(wait)
	if err := r.tryPassword(home, "user", "wrong horse"); !errors.Is(err, oauth.ErrPasswordIncorrect) {
		t.Errorf("after the pause: %v", err)
	}
	if _, longer := r.guess(home, "user"); longer <= wait {
		t.Errorf("the pause does not grow: %v, then %v", wait, longer)
	}
	r.clock.add(time.Hour)
	if err := r.tryPassword(home, "user", "right horse"); err != nil {
		t.Errorf("the right password after the pause: %v", err)
	}
	if n, _ := r.guess(home, "user"); n < 5 {
		t.Errorf("success did not clear the failures: throttled after %d", n)
	}
}

// TestThrottledUnknown: a name that nobody has is throttled like one that exists.
func TestThrottledUnknown(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n, wait := r.guess(home, "user")
	if m, other := r.guess(home, "nobody"); m != n || other != wait {
		t.Errorf("a user: %d failures, %v; nobody: %d failures, %v", n, wait, m, other)
	}
}

// TestThrottledSpraying: a source that fails at 100 names waits for all of them.
func TestThrottledSpraying(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for n := range 100 {
		if err := r.tryPassword(home, fmt.Sprint("name", n), "x"); !errors.Is(err, oauth.ErrPasswordIncorrect) {
			t.Fatalf("name %d: %v", n, err)
		}
	}
	if err := r.tryPassword(home, "user", "right horse"); !errors.Is(err, oauth.ErrThrottled) {
		t.Errorf("after 100 names: %v", err)
	}
	if err := r.tryPassword(elsewhere, "user", "right horse"); err != nil {
		t.Errorf("another source: %v", err)
	}
}

// TestThrottledSecrets: a source that tries 1,000 secrets of a client waits, at
// refreshes too, and after a restart.
func TestThrottledSecrets(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	try := func(r *rig, source, id, secret string) error {
		_, err := r.ask(oauth.Standard, source, "grant_type", "refresh_token", "client_id", id, "client_secret", secret, "refresh_token", "x")
		return err
	}
	for n := range 1000 {
		if err := try(r, home, "confidential", fmt.Sprint("guess ", n)); !errors.Is(err, oauth.ErrClientUnauthenticated) {
			t.Fatalf("guess %d: %v", n, err)
		}
	}
	if err := try(r, home, "confidential", string(r.secret)); !errors.Is(err, oauth.ErrThrottled) {
		t.Errorf("the right secret after 1,000 guesses: %v", err)
	}
	if err := try(r, elsewhere, "confidential", string(r.secret)); !errors.Is(err, oauth.ErrRefreshTokenMalformed) {
		t.Errorf("another source: %v", err)
	}
	if err := try(r, home, "reusable", string(r.secret)); !errors.Is(err, oauth.ErrRefreshTokenMalformed) {
		t.Errorf("another client: %v", err)
	}
	if err := r.SaveSecretFailures(t.Context()); err != nil {
		t.Fatal(err)
	}
	restarted := newRig(t)
	restarted.Store, restarted.clock, restarted.Now = r.Store, r.clock, r.Now
	if err := restarted.LoadSecretFailures(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := try(restarted, home, "confidential", string(r.secret)); !errors.Is(err, oauth.ErrThrottled) {
		t.Errorf("after a restart: %v", err)
	}
	r.clock.add(16 * time.Minute)
	if err := try(r, home, "confidential", string(r.secret)); !errors.Is(err, oauth.ErrRefreshTokenMalformed) {
		t.Errorf("after the pause: %v", err)
	}
}

// TestLockout: with the setting, an account is locked after so many failures.
func TestLockout(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Settings.Lockout = 3
	for n, source := range []string{"192.0.2.0/24", "198.51.100.0/24"} {
		if err := r.tryPassword(source, "user", "wrong horse"); !errors.Is(err, oauth.ErrPasswordIncorrect) {
			t.Fatalf("failure %d: %v", n, err)
		}
	}
	if err := r.tryPassword(home, "user", "right horse"); err != nil {
		t.Fatalf("success before the limit: %v", err)
	}
	for n := range 3 {
		if err := r.tryPassword(home, "user", "wrong horse"); !errors.Is(err, oauth.ErrPasswordIncorrect) {
			t.Fatalf("failure %d: %v", n, err)
		}
	}
	if err := r.tryPassword(elsewhere, "user", "right horse"); !errors.Is(err, oauth.ErrSubjectLocked) {
		t.Errorf("after three failures: %v, want that the account is locked", err)
	}
}

// TestThrottledReadings: two readings of Basic credentials are two guesses, and
// each counts for the client it is about.
func TestThrottledReadings(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for n := range 1100 {
		_, err := r.Token(t.Context(), oauth.TokenRequest{
			Profile: oauth.Standard, Source: home, Parameters: parameters("grant_type", "refresh_token", "refresh_token", "x"),
			Basic: []oauth.BasicCredentials{{ID: "confidenti%61l", Secret: "x"}, {ID: "confidential", Secret: oauth.Secret(fmt.Sprint(n))}},
		})
		if errors.Is(err, oauth.ErrThrottled) && n == 1000 {
			return
		}
		if !errors.Is(err, oauth.ErrClientUnauthenticated) {
			t.Fatalf("guess %d: %v", n, err)
		}
	}
	t.Error("1,100 guesses and no throttling")
}

// TestInventedClients: client ids that nobody has leave no trace in the store.
func TestInventedClients(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for n := range 100 {
		_, err := r.ask(oauth.Standard, home, "grant_type", "refresh_token", "client_id", fmt.Sprint("nobody", n), "client_secret", "x", "refresh_token", "x")
		if !errors.Is(err, oauth.ErrClientUnauthenticated) {
			t.Fatal(err)
		}
	}
	if err := r.SaveSecretFailures(t.Context()); err != nil {
		t.Fatal(err)
	}
	if counts, err := r.memory.ClientFailures(t.Context()); err != nil || len(counts) != 0 {
		t.Errorf("%d counters, %v", len(counts), err)
	}
}

// TestManyCountersAreSaved: in steps, and again when that failed.
func TestManyCountersAreSaved(t *testing.T) {
	t.Parallel()
	const sources = 1000
	r := newRig(t)
	for n := range sources {
		source := fmt.Sprintf("198.%d.%d.0/24", n/256, n%256)
		if _, err := r.ask(oauth.Standard, source, "grant_type", "refresh_token", "client_id", "confidential", "client_secret", "x"); !errors.Is(err, oauth.ErrClientUnauthenticated) {
			t.Fatal(err)
		}
	}
	r.Store = &unsavable{Store: r.memory}
	if err := r.SaveSecretFailures(t.Context()); err == nil {
		t.Error("a fault was not reported")
	}
	r.Store = r.memory
	if err := r.SaveSecretFailures(t.Context()); err != nil {
		t.Fatal(err)
	}
	if counts, err := r.memory.ClientFailures(t.Context()); err != nil || len(counts) != sources {
		t.Errorf("%d counters, %v; want %d", len(counts), err, sources)
	}
}

// unsavable saves counters once and then fails.
type unsavable struct {
	oauth.Store
	saved bool
}

func (u *unsavable) SaveClientFailures(ctx context.Context, counts map[[16]byte]oauth.FailureCount) error {
	if u.saved {
		return errDisk
	}
	u.saved = true
	return u.Store.SaveClientFailures(ctx, counts)
}

// TestThrottledTogether: guesses that wait for their turn together do not all
// count as made before the throttling.
func TestThrottledTogether(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var working sync.WaitGroup
	for range 50 {
		working.Go(func() { _ = r.tryPassword(home, "user", "wrong horse") })
	}
	working.Wait()
	if err := r.tryPassword(home, "user", "right horse"); !errors.Is(err, oauth.ErrThrottled) {
		t.Errorf("after 50 guesses at once: %v", err)
	}
	// One whose password is right, but whose turn came after the others' failures.
	r = newRig(t)
	r.Directory = &overtaken{Directory: r.Directory, first: func() { r.guess(home, "user") }}
	if err := r.tryPassword(home, "user", "right horse"); !errors.Is(err, oauth.ErrThrottled) {
		t.Errorf("overtaken by guesses: %v", err)
	}
}

// overtaken lets something happen while the first password waits for its turn.
type overtaken struct {
	oauth.Directory
	first func()
}

func (o *overtaken) Verify(ctx context.Context, a oauth.Account, password oauth.Secret) error {
	if first := o.first; first != nil {
		o.first = nil
		first()
	}
	return o.Directory.Verify(ctx, a, password)
}
