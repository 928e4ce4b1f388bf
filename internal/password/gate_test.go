package password

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// wantBusy checks for oauth.ErrBusy with a time to come again.
func wantBusy(t *testing.T, err error) {
	t.Helper()
	var refusal *oauth.Refusal
	if !errors.Is(err, oauth.ErrBusy) || !errors.As(err, &refusal) || refusal.RetryAfter <= 0 {
		t.Errorf("error %v; want ErrBusy with a time to come again", err)
	}
}

func wantStats(t *testing.T, h *Hasher, running, waiting int) {
	t.Helper()
	if r, w := h.Stats(); r != running || w != waiting {
		t.Errorf("%d running and %d waiting; want %d and %d", r, w, running, waiting)
	}
}

func TestGateQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		random := new(hookedRandom)
		h := newHasher(t, 1, 2, random)
		stored := hash(t, h, staple)
		release := hold(t, h, random)
		done := make(chan error, 2)
		for range 2 {
			go func() {
				ok, _, err := h.Verify(context.Background(), stored, staple)
				if err == nil && !ok {
					err = errors.New("does not fit")
				}
				done <- err
			}()
		}
		synctest.Wait()
		wantStats(t, h, 1, 2)

		before := time.Now()
		_, _, err := h.Verify(t.Context(), stored, staple)
		wantBusy(t, err)
		_, err = h.Hash(t.Context(), staple)
		wantBusy(t, err)
		if waited := time.Since(before); waited != 0 {
			t.Errorf("refused after %v with a full queue; want at once", waited)
		}

		release()
		for range 2 {
			if err := <-done; err != nil {
				t.Errorf("one that waited: %v", err)
			}
		}
		wantStats(t, h, 0, 0)
	})
}

func TestGateWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		random := new(hookedRandom)
		h := newHasher(t, 1, 1, random)
		release := hold(t, h, random)
		defer release()
		before := time.Now()
		_, _, err := h.Verify(t.Context(), phpBcrypt, staple)
		wantBusy(t, err)
		if waited := time.Since(before); waited != 2*time.Second {
			t.Errorf("refused after %v; want 2s", waited)
		}
		wantStats(t, h, 1, 0)
	})
}

func TestGateHangUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		random := new(hookedRandom)
		h := newHasher(t, 1, 1, random)
		release := hold(t, h, random)
		defer release()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			_, _, err := h.Verify(ctx, phpBcrypt, staple)
			done <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("error %v; want context.Canceled", err)
		}
		wantStats(t, h, 1, 0)
		if _, _, err := h.Verify(ctx, phpBcrypt, staple); !errors.Is(err, context.Canceled) {
			t.Errorf("of a client that is gone: error %v; want context.Canceled", err)
		}
	})
}
