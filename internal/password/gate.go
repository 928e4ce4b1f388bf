package password

import (
	"context"
	"fmt"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// maxWait is how long a request may wait at the gate.
const maxWait = 2 * time.Second

// gate bounds how many hashes are computed at once, and how many may wait: each
// takes a core and many MiB.
type gate struct {
	running chan struct{}
	waiting chan struct{}
}

func newGate(concurrency, queue int) gate {
	return gate{running: make(chan struct{}, concurrency), waiting: make(chan struct{}, queue)}
}

// enter waits for its turn, first come first served. Whoever it returns nil to
// must leave. It returns oauth.ErrBusy when the queue is full or maxWait is over,
// and an error when the context ends first.
func (g gate) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("wait for a password hash: %w", err)
	}
	select {
	case g.running <- struct{}{}:
		return nil
	default:
	}
	select {
	case g.waiting <- struct{}{}:
		defer func() { <-g.waiting }()
	default:
		return oauth.ErrBusy.After(maxWait)
	}
	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	select {
	case g.running <- struct{}{}:
		return nil
	case <-timer.C:
		return oauth.ErrBusy.After(maxWait)
	case <-ctx.Done():
		return fmt.Errorf("wait for a password hash: %w", ctx.Err())
	}
}

func (g gate) leave() { <-g.running }
