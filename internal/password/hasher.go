package password

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"

	"github.com/go-crypt/crypt/algorithm/argon2"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// maxLength is the longest password, in bytes, as in Symfony.
const maxLength = 4096

// ErrLength is the error of Hash for a password that could never be verified.
var ErrLength = errors.New("a password has 1 to 4096 bytes")

// The greatest settings of a Hasher.
const (
	maxConcurrency = 256
	maxQueue       = 1 << 16
)

// Hasher computes and verifies password hashes through a gate of its own.
type Hasher struct {
	params   Params
	argon2   *argon2.Hasher
	gate     gate
	random   io.Reader
	dummy    stored // of the present parameters, matching nothing
	computed atomic.Uint64
}

// NewHasher returns a Hasher that makes new hashes with the parameters p. At most
// concurrency hashes are computed at once (0: one per core), at most queue wait
// for their turn (0: twice concurrency). Salts come from random, which must allow
// concurrent use. The error says which setting is out of its limits.
func NewHasher(p Params, concurrency, queue int, random io.Reader) (*Hasher, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	if concurrency == 0 {
		concurrency = min(runtime.GOMAXPROCS(0), maxConcurrency)
	}
	if concurrency < 0 || concurrency > maxConcurrency {
		return nil, fmt.Errorf("the password concurrency is %d, not 1 to %d", concurrency, maxConcurrency)
	}
	if queue == 0 {
		queue = 2 * concurrency
	}
	if queue < 0 || queue > maxQueue {
		return nil, fmt.Errorf("the password queue is %d, not 1 to %d", queue, maxQueue)
	}
	h := &Hasher{params: p.rounded(), gate: newGate(concurrency, queue), random: random}
	var err error
	if h.dummy, err = h.newDummy(); err != nil {
		return nil, err
	}
	h.argon2, err = argon2.New(argon2.WithVariantID(), argon2.WithM(h.params.MemoryKiB),
		argon2.WithT(int(p.Time)), argon2.WithP(int(p.Threads)), argon2.WithK(keySize))
	return h, err
}

// newDummy makes a hash of no password: its salt and its key are random.
func (h *Hasher) newDummy() (stored, error) {
	random := make([]byte, saltSize+keySize)
	if _, err := io.ReadFull(h.random, random); err != nil {
		return stored{}, fmt.Errorf("read randomness: %w", err)
	}
	encode := base64.RawStdEncoding.EncodeToString
	dummy, err := parse(fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s",
		h.params.MemoryKiB, h.params.Time, h.params.Threads, encode(random[:saltSize]), encode(random[saltSize:])))
	return dummy.decoy(), err
}

// Hash returns the argon2id hash of a password in PHC form, with a fresh salt of
// 16 bytes. It returns ErrLength, oauth.ErrBusy or a fault.
func (h *Hasher) Hash(ctx context.Context, s oauth.Secret) (string, error) {
	if !usable(s) {
		return "", ErrLength
	}
	if err := h.gate.enter(ctx); err != nil {
		return "", err
	}
	defer h.gate.leave()
	salt := make([]byte, saltSize)
	if _, err := io.ReadFull(h.random, salt); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	h.computed.Add(1)
	digest, err := h.argon2.HashWithSalt(string(s), salt)
	if err != nil {
		return "", fmt.Errorf("hash a password: %w", err)
	}
	return digest.Encode(), nil
}

// Verify reports whether the password fits the stored hash, and if so whether the
// hash is outdated: not argon2id with the present parameters. An empty password
// and one of more than 4096 bytes fit nothing. It returns oauth.ErrBusy or a
// fault; a stored hash that is malformed is a fault, and fits nothing.
func (h *Hasher) Verify(ctx context.Context, hash string, s oauth.Secret) (ok, outdated bool, err error) {
	parsed, err := parse(hash)
	if err != nil {
		return false, false, err
	}
	ok, err = h.verify(ctx, parsed, s, false)
	return ok, ok && h.outdated(parsed), err
}

func (h *Hasher) outdated(s stored) bool { return s.params != h.params }

// verify is Verify of a parsed hash. When levelled, a password that does not fit
// costs at least what one of the present parameters does.
func (h *Hasher) verify(ctx context.Context, hash stored, s oauth.Secret, levelled bool) (bool, error) {
	if err := h.gate.enter(ctx); err != nil {
		return false, err
	}
	defer h.gate.leave()
	text := string(s[:min(len(s), maxLength)]) // one that is too long costs as much as any other
	ok, err := h.compute(hash, text)
	ok = ok && usable(s)
	if err == nil && !ok && levelled && hash.work < h.dummy.work {
		_, err = h.compute(h.dummy, text)
	}
	if err != nil {
		return false, fmt.Errorf("verify a password: %w", err)
	}
	return ok, nil
}

func (h *Hasher) compute(hash stored, text string) (bool, error) {
	h.computed.Add(1)
	return hash.match(text)
}

// Stats returns how many hashes are being computed and how many requests wait at
// the gate, at this moment.
func (h *Hasher) Stats() (running, waiting int) {
	return len(h.gate.running), len(h.gate.waiting)
}

// Computed returns how many hashes were computed so far, those of unknown accounts
// included.
func (h *Hasher) Computed() uint64 { return h.computed.Load() }

func usable(s oauth.Secret) bool { return s != "" && len(s) <= maxLength }
