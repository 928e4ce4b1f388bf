package spec

import (
	"context"
	"errors"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

var (
	errDisk  = errors.New("the disk is on fire")
	errCrash = errors.New("this process is gone")
)

// gate is the store of a node. A request that wants to read or write stands still at
// the gate until the walk says what comes of it. Only one request moves at a time:
// walk.moving.
type gate struct {
	oauth.Store
	walk *walk
}

// flight is a request on its way through the real server.
type flight struct {
	stops  chan stop  // where it came to stand
	passes chan error // what the call at the gate comes to
	at     stop       // where it stands

	looking   bool   // one look may read more than once
	recording error  // what RecordRefusal comes to
	recorded  string // what the last event said, of a refusal or a revocation
	crashed   bool
	attempts  int
	slow      bool
}

// stop is a place where a request stands: at the gate to read, at the gate to write, or
// at its end.
type stop struct {
	write    *call
	ended    bool
	response oauth.TokenResponse
	err      error
}

// call is a write at the gate. The walk carries it out with do, now, later or never.
type call struct {
	kind          WriteKind // Rotate for every SwapGrant
	create        oauth.NewGrant
	old, next     oauth.Grant
	clientVersion int64
	budget        int
	id            oauth.GrantID
	do            func() error
}

// stand waits for what the walk says.
func (f *flight) stand(at stop) error {
	f.stops <- at
	err := <-f.passes
	f.crashed = errors.Is(err, errCrash)
	return err
}

// read stops a request once for each look.
func (g *gate) read() error {
	f := g.walk.moving
	switch {
	case f.crashed:
		return errCrash
	case f.looking:
		return nil
	}
	err := f.stand(stop{})
	f.looking = err == nil
	return err
}

// write stops a request before each write.
func (g *gate) write(c call) error {
	f := g.walk.moving
	if f.crashed {
		return errCrash
	}
	f.looking = false
	return f.stand(stop{write: &c})
}

func (g *gate) Client(ctx context.Context, id string) (oauth.Client, error) {
	if err := g.read(); err != nil {
		return oauth.Client{}, err
	}
	return g.Store.Client(ctx, id)
}

func (g *gate) Grant(ctx context.Context, id oauth.GrantID) (oauth.GrantView, error) {
	if err := g.read(); err != nil {
		return oauth.GrantView{}, err
	}
	return g.Store.Grant(ctx, id)
}

// ConfirmGrant is a look as well: a refusal's second one, or a login's after a write of
// unknown outcome.
func (g *gate) ConfirmGrant(ctx context.Context, id oauth.GrantID) (oauth.GrantView, error) {
	if err := g.read(); err != nil {
		return oauth.GrantView{}, err
	}
	return g.Store.ConfirmGrant(ctx, id)
}

func (g *gate) CreateGrant(ctx context.Context, n oauth.NewGrant) error {
	return g.write(call{kind: Create, create: n, id: n.Grant.ID, clientVersion: n.ClientVersion, do: func() error {
		return g.Store.CreateGrant(ctx, n)
	}})
}

func (g *gate) SwapGrant(ctx context.Context, old, next *oauth.Grant, clientVersion int64) error {
	c := call{kind: Rotate, old: *old, next: *next, clientVersion: clientVersion, id: old.ID}
	before, after := *old, *next
	c.do = func() error { return g.Store.SwapGrant(ctx, &before, &after, clientVersion) }
	return g.write(c)
}

func (g *gate) RetryGrant(ctx context.Context, decided *oauth.Grant, clientVersion int64, budget int) error {
	c := call{kind: Retry, old: *decided, clientVersion: clientVersion, budget: budget, id: decided.ID}
	before := *decided
	c.do = func() error { return g.Store.RetryGrant(ctx, &before, clientVersion, budget) }
	return g.write(c)
}

func (g *gate) RevokeGrant(ctx context.Context, id oauth.GrantID, reason string, e oauth.Event) error {
	g.walk.moving.recorded = e.Detail
	return g.write(call{kind: Revoke, id: id, do: func() error { return g.Store.RevokeGrant(ctx, id, reason, e) }})
}

// RecordRefusal is part of the look that ends in the refusal.
func (g *gate) RecordRefusal(ctx context.Context, e oauth.Event) error {
	f := g.walk.moving
	switch {
	case f.crashed:
		return errCrash
	case f.recording != nil:
		f.recorded = e.Detail
		return f.recording
	}
	f.recorded = e.Detail
	return g.Store.RecordRefusal(ctx, e)
}

// start sends a request to a node and waits until it stands.
func (w *walk) start(node *oauth.Server, r oauth.TokenRequest) *flight {
	f := &flight{stops: make(chan stop), passes: make(chan error)}
	w.moving = f
	ctx := w.t.Context()
	go func() {
		response, err := node.Token(ctx, r)
		f.stops <- stop{ended: true, response: response, err: err}
	}()
	w.arrive(f)
	return f
}

// pass lets a request go on with what its call at the gate came to, until it stands again.
func (w *walk) pass(f *flight, comesTo error) {
	w.moving = f
	f.passes <- comesTo
	w.arrive(f)
}

// arrive waits until the request stands.
func (w *walk) arrive(f *flight) {
	w.t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	select {
	case f.at = <-f.stops:
	case <-deadline.C:
		w.t.Fatal("a request neither ends nor asks the store for anything")
	}
}

// abandon is the crash of a request: whatever it still asks for fails, and nobody hears
// its answer.
func (w *walk) abandon(f *flight) {
	for !f.at.ended {
		w.pass(f, errCrash)
	}
}
