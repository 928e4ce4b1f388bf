package password

import (
	"container/list"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// How long, and how many, right client secrets are remembered.
const (
	secretMemory  = time.Hour
	secretsAtMost = 10_000
)

// fingerprint stands for a stored hash and a secret that fits it. Its key never
// leaves the process.
type fingerprint [sha256.Size]byte

// ClientSecrets is the oauth.SecretVerifier of chosen and imported client secrets.
// A secret is verified once, through a gate of its own, so that logins never make
// refreshes wait; then it is remembered, as a keyed hash, for an hour after its
// last use. A wrong secret is never remembered.
type ClientSecrets struct {
	hasher *Hasher
	now    func() time.Time
	key    [32]byte
	flight singleflight.Group

	mu    sync.Mutex
	known map[fingerprint]*list.Element
	order list.List // of remembered, the latest used first
}

// remembered is a right secret.
type remembered struct {
	fingerprint fingerprint
	until       time.Time
}

// NewClientSecrets returns a verifier with the settings of h, and a gate of its own
// of the same size. The clock is now.
func NewClientSecrets(h *Hasher, now func() time.Time) (*ClientSecrets, error) {
	own, err := NewHasher(h.params, cap(h.gate.running), cap(h.gate.waiting), h.random)
	if err != nil {
		return nil, err
	}
	c := &ClientSecrets{hasher: own, now: now, known: map[fingerprint]*list.Element{}}
	if _, err := io.ReadFull(h.random, c.key[:]); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	return c, nil
}

// VerifySecret implements oauth.SecretVerifier. Requests with the same secret at
// the same time share one computation, which a client that hangs up does not end.
func (c *ClientSecrets) VerifySecret(ctx context.Context, hash string, secret oauth.Secret) (bool, error) {
	f := c.fingerprint(hash, secret)
	if c.remembers(f) {
		return true, nil
	}
	shared := context.WithoutCancel(ctx)
	result := c.flight.DoChan(string(f[:]), func() (any, error) { return c.verifyOnce(shared, f, hash, secret) })
	select {
	case r := <-result:
		ok, _ := r.Val.(bool)
		return ok, r.Err
	case <-ctx.Done():
		return false, fmt.Errorf("verify a client secret: %w", ctx.Err())
	}
}

func (c *ClientSecrets) verifyOnce(ctx context.Context, f fingerprint, hash string, secret oauth.Secret) (bool, error) {
	if c.remembers(f) { // since the last look
		return true, nil
	}
	ok, _, err := c.hasher.Verify(ctx, hash, secret)
	if ok {
		c.remember(f)
	}
	return ok, err
}

// Stats returns how many secrets are being verified and how many wait, at this moment.
func (c *ClientSecrets) Stats() (running, waiting int) { return c.hasher.Stats() }

func (c *ClientSecrets) fingerprint(hash string, secret oauth.Secret) fingerprint {
	h := hmac.New(sha256.New, c.key[:])
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(hash))))
	_, _ = io.WriteString(h, hash)
	_, _ = io.WriteString(h, string(secret))
	return fingerprint(h.Sum(nil))
}

// remembers reports whether a secret is known to be right, and if so remembers it
// for longer.
func (c *ClientSecrets) remembers(f fingerprint) bool {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.known[f]
	if !ok {
		return false
	}
	r := e.Value.(*remembered)
	if !now.Before(r.until) {
		c.forget(e)
		return false
	}
	r.until = now.Add(secretMemory)
	c.order.MoveToFront(e)
	return true
}

// remember adds a right secret. A full memory forgets the one not used for longest.
func (c *ClientSecrets) remember(f fingerprint) {
	until := c.now().Add(secretMemory)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known[f] = c.order.PushFront(&remembered{fingerprint: f, until: until})
	if len(c.known) > secretsAtMost {
		c.forget(c.order.Back())
	}
}

func (c *ClientSecrets) forget(e *list.Element) {
	delete(c.known, c.order.Remove(e).(*remembered).fingerprint)
}
