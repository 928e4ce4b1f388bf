// Package bench is a load run against the token endpoint (RFC 6749 section 3.2) of any
// authorization server, which also looks whether refresh tokens keep the promise: one
// successor, and no client that is logged out because an answer was lost.
//
// It owns the honest client (session.go), its connections (conn.go), the verdict about
// two successors of one refresh token (branch.go) and the figures (recorder.go,
// result.go). It knows no server: what it says is what anybody sees from outside. The
// command line belongs to cmd/counterfoil.
package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"
)

// What a run repeats.
const (
	GrantTypePassword     = "password"
	GrantTypeRefreshToken = "refresh_token"
)

// Options say what a run does. URL, Username and Clients are needed.
type Options struct {
	URL          *url.URL // of the token endpoint
	TLS          *tls.Config
	JSON         bool // requests in JSON; else as a form, which is the standard
	ClientID     string
	ClientSecret Secret // empty: a public client
	Username     string
	Password     Secret
	Scope        string // of the logins; empty: not sent

	GrantType string        // what is repeated; empty: refresh_token
	Clients   int           // each with a session of its own
	Duration  time.Duration // of the load; the logins before it come on top
	Rate      float64       // requests per second in all; 0: each client sends when it has its answer
	Lose      float64       // share of the uses of a refresh token whose answers the client loses
	Race      int           // simultaneous uses of each refresh token; 0 and 1: one

	Timeout time.Duration  // until a request counts as lost; 0: 10s
	Window  time.Duration  // how long a retry must be honoured; 0: 60s
	Every   time.Duration  // how often Progress is called
	Watch   func(Progress) // told how it goes; nil: nobody
	Seed    uint64         // of what is lost
}

// ErrNotBegun is the error of a run that could not begin: a client cannot log in.
var ErrNotBegun = errors.New("the run could not begin")

const (
	defaultTimeout = 10 * time.Second
	defaultWindow  = 60 * time.Second
	// grace is for the answers and retries that the end of the run leaves open.
	grace = 2 * time.Second
	// loginsAtOnce is how many clients log in at the same time before the run: a
	// server hashes few passwords at once, and refuses more.
	loginsAtOnce = 4
)

// Run logs every client in, lets them work for the duration, and returns what came of
// it. The end of ctx ends the run early, and is no error once the load has begun.
func Run(ctx context.Context, o Options) (*Result, error) {
	r := newRun(o)
	cut, cancel := context.WithCancel(context.WithoutCancel(ctx)) // hard: it cuts connections off
	defer cancel()
	sessions := make([]*session, o.Clients)
	for i := range sessions {
		sessions[i] = newSession(cut, r, i)
		defer sessions[i].close()
	}
	abort := context.AfterFunc(ctx, cancel)
	if err := r.begin(ctx, sessions); err != nil {
		return nil, err
	}
	if !abort() {
		return nil, fmt.Errorf("%w: %w", ErrNotBegun, context.Cause(ctx))
	}
	return r.load(ctx, cancel, sessions), nil
}

// run is what the sessions of a run share.
type run struct {
	Options
	requests *requests
	recorder *recorder
	start    time.Time // of the load
}

func newRun(o Options) *run {
	if o.GrantType == "" {
		o.GrantType = GrantTypeRefreshToken
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.Window <= 0 {
		o.Window = defaultWindow
	}
	o.Race = max(1, o.Race)
	return &run{Options: o, requests: newRequests(&o), recorder: newRecorder()}
}

// begin logs the clients in. For logins themselves it only tries one.
func (r *run) begin(ctx context.Context, sessions []*session) error {
	if r.GrantType == GrantTypePassword {
		return sessions[0].begin(ctx)
	}
	queue, failed := make(chan *session), make([]error, loginsAtOnce)
	var working sync.WaitGroup
	for i := range failed {
		working.Go(func() {
			for s := range queue {
				if failed[i] == nil {
					failed[i] = s.begin(ctx)
				}
			}
		})
	}
	for _, s := range sessions {
		queue <- s
	}
	close(queue)
	working.Wait()
	for _, err := range failed {
		if err != nil {
			return err
		}
	}
	return nil
}

// load lets the sessions work until the duration is over or ctx ends.
func (r *run) load(ctx context.Context, cut context.CancelFunc, sessions []*session) *Result {
	before := ownCPU()
	r.start = time.Now()
	r.recorder.begin(r.start)
	ctx, stop := context.WithTimeout(ctx, r.Duration)
	defer stop()
	var late *time.Timer
	ended := make(chan struct{})
	context.AfterFunc(ctx, func() { late = time.AfterFunc(grace, cut); close(ended) })
	var working sync.WaitGroup
	for _, s := range sessions {
		working.Go(func() { s.work(ctx) })
	}
	done := r.watch(ctx)
	working.Wait()
	stop()
	<-ended
	late.Stop()
	<-done
	return r.recorder.result(time.Now(), ownCPU()-before)
}

// watch tells how it goes until ctx ends; then the channel is closed.
func (r *run) watch(ctx context.Context) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if r.Watch == nil || r.Every <= 0 {
			return
		}
		again := time.NewTicker(r.Every)
		defer again.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-again.C:
				r.Watch(r.recorder.progress(now))
			}
		}
	}()
	return done
}
