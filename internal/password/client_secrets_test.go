package password

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

var _ oauth.SecretVerifier = (*ClientSecrets)(nil)

func newClientSecrets(t *testing.T, random *hookedRandom) *ClientSecrets {
	t.Helper()
	c, err := NewClientSecrets(newHasher(t, 1, 1, random), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// verifies checks the answer and how many hashes it took.
func verifies(t *testing.T, c *ClientSecrets, hash string, secret oauth.Secret, want bool, hashes uint64) {
	t.Helper()
	before := c.hasher.Computed()
	ok, err := c.VerifySecret(t.Context(), hash, secret)
	if n := c.hasher.Computed() - before; ok != want || err != nil || n != hashes {
		t.Errorf("VerifySecret: fits %v after %d hashes, error %v; want %v after %d", ok, n, err, want, hashes)
	}
}

func TestClientSecretsRemember(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c, err := NewClientSecrets(newHasher(t, 1, 1, rand.Reader), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	verifies(t, c, phpBcrypt, staple, true, 1)
	verifies(t, c, phpBcrypt, staple, true, 0)
	verifies(t, c, phpBcrypt2b, staple, true, 1) // another hash of the same secret
	verifies(t, c, phpBcrypt, "wrong", false, 1)
	verifies(t, c, phpBcrypt, "wrong", false, 1) // wrong ones are not remembered
	verifies(t, c, phpBcrypt, staple, true, 0)
	now = now.Add(59 * time.Minute)
	verifies(t, c, phpBcrypt, staple, true, 0) // and from now on for an hour
	now = now.Add(59 * time.Minute)
	verifies(t, c, phpBcrypt, staple, true, 0)
	verifies(t, c, phpBcrypt2b, staple, true, 1) // not used since
	now = now.Add(time.Hour)
	verifies(t, c, phpBcrypt, staple, true, 1)
}

func TestClientSecretsFaults(t *testing.T) {
	t.Parallel()
	c := newClientSecrets(t, new(hookedRandom))
	verifies(t, c, phpBcrypt, "", false, 1)
	for range 2 {
		ok, err := c.VerifySecret(t.Context(), phpBcrypt[:50], staple)
		if refusal := new(oauth.Refusal); ok || err == nil || errors.As(err, &refusal) {
			t.Errorf("of a malformed hash: fits %v, error %v; want a fault", ok, err)
		}
	}
}

func TestClientSecretsBound(t *testing.T) {
	t.Parallel()
	c := newClientSecrets(t, new(hookedRandom))
	verifies(t, c, phpBcrypt, staple, true, 1)
	verifies(t, c, phpBcrypt2b, staple, true, 1)
	for i := range secretsAtMost - 1 {
		c.remember(c.fingerprint("hash", oauth.Secret(fmt.Sprint(i))))
		verifies(t, c, phpBcrypt, staple, true, 0) // in use all the time
	}
	if len(c.known) != secretsAtMost || c.order.Len() != secretsAtMost {
		t.Errorf("%d secrets are remembered, %d in order; want %d", len(c.known), c.order.Len(), secretsAtMost)
	}
	verifies(t, c, phpBcrypt2b, staple, true, 1) // the one not used for longest is forgotten
	if len(c.known) != secretsAtMost || c.order.Len() != secretsAtMost {
		t.Errorf("%d secrets are remembered, %d in order; want %d", len(c.known), c.order.Len(), secretsAtMost)
	}
}

func TestClientSecretsShareOneComputation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		random := new(hookedRandom)
		c := newClientSecrets(t, random)
		release := hold(t, c.hasher, random)
		before := c.hasher.Computed()
		gone, hangUp := context.WithCancel(t.Context())
		first := make(chan error)
		go func() {
			_, err := c.VerifySecret(gone, phpBcrypt, staple)
			first <- err
		}()
		synctest.Wait()
		const n = 50
		done := make(chan error, n)
		for range n {
			go func() {
				ok, err := c.VerifySecret(context.Background(), phpBcrypt, staple)
				if err == nil && !ok {
					err = errors.New("does not fit")
				}
				done <- err
			}()
		}
		synctest.Wait()
		wantStats(t, c.hasher, 1, 1)
		hangUp() // of the one that began it
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("the client that hung up: %v; want context.Canceled", err)
		}
		release()
		for range n {
			if err := <-done; err != nil {
				t.Errorf("one that waited: %v", err)
			}
		}
		if got := c.hasher.Computed() - before; got != 2 { // the held one, and one for all
			t.Errorf("%d hashes were computed; want 2", got)
		}
	})
}

// Logins never make refreshes wait, and the other way round.
func TestClientSecretsHaveTheirOwnGate(t *testing.T) {
	t.Parallel()
	random := new(hookedRandom)
	h := newHasher(t, 1, 1, random)
	c, err := NewClientSecrets(h, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	release := hold(t, h, random)
	defer release()
	verifies(t, c, phpBcrypt, staple, true, 1)
	if running, waiting := c.Stats(); running != 0 || waiting != 0 {
		t.Errorf("%d running and %d waiting; want none", running, waiting)
	}
}

// A remembered secret needs no gate at all; another is told to come again.
func TestClientSecretsBusy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		random := new(hookedRandom)
		c := newClientSecrets(t, random)
		verifies(t, c, phpBcrypt, staple, true, 1)
		release := hold(t, c.hasher, random)
		defer release()
		verifies(t, c, phpBcrypt, staple, true, 0)
		_, err := c.VerifySecret(t.Context(), phpBcrypt2b, staple)
		wantBusy(t, err)
	})
}

func TestNewClientSecretsWithoutRandomness(t *testing.T) {
	t.Parallel()
	h := newHasher(t, 1, 1, rand.Reader)
	h.random = &hookedRandom{hook: func() error { return errors.New("no entropy") }}
	if _, err := NewClientSecrets(h, time.Now); err == nil {
		t.Error("no error without randomness: the key would be known")
	}
}
