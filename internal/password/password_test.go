package password

import (
	"context"
	"crypto/rand"
	"io"
	"sync"
	"testing"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// cheap are the least parameters allowed.
var cheap = Params{MemoryKiB: minMemoryKiB, Time: 1, Threads: 1}

func newHasher(t *testing.T, concurrency, queue int, random io.Reader) *Hasher {
	t.Helper()
	h, err := NewHasher(cheap, concurrency, queue, random)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func hash(t *testing.T, h *Hasher, password oauth.Secret) string {
	t.Helper()
	text, err := h.Hash(t.Context(), password)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// hookedRandom is crypto/rand that does something first, once there is something to do.
type hookedRandom struct {
	mu   sync.Mutex
	hook func() error
}

func (r *hookedRandom) set(hook func() error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hook = hook
}

func (r *hookedRandom) Read(p []byte) (int, error) {
	r.mu.Lock()
	hook := r.hook
	r.mu.Unlock()
	if hook != nil {
		if err := hook(); err != nil {
			return 0, err
		}
	}
	return rand.Read(p)
}

// hold makes one Hash of h occupy the gate, until the returned function is called,
// which waits for it to end. random must be h's.
func hold(t *testing.T, h *Hasher, random *hookedRandom) (release func()) {
	t.Helper()
	inside, open, done := make(chan struct{}), make(chan struct{}), make(chan error)
	random.set(func() error {
		close(inside)
		<-open
		return nil
	})
	go func() {
		_, err := h.Hash(context.Background(), "holds the gate")
		done <- err
	}()
	<-inside
	random.set(nil)
	return func() {
		t.Helper()
		close(open)
		if err := <-done; err != nil {
			t.Errorf("the held Hash: %v", err)
		}
	}
}
