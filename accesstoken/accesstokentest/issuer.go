// Package accesstokentest is an issuer of access tokens for tests of APIs, as
// net/http/httptest is a server for tests of HTTP clients. It makes access tokens of both
// of Counterfoil's profiles, publishes the keys, and answers what an API may ask about a
// token: introspection (RFC 7662) and the feed of revocations, long poll included. To an
// API it cannot be told from the real server.
//
//	issuer := accesstokentest.NewIssuer(t)
//	verifier, err := accesstoken.NewVerifier(accesstoken.Config{Issuer: issuer.URL, …})
//	raw := issuer.AccessToken("alice", accesstokentest.Scope("orders:read"), accesstokentest.Grant("g1"))
//	// … the API lets raw in …
//	issuer.Refresh("g1")
//	// … and now it does not
//
// What happens to a token in its life is a method: [Issuer.Refresh], [Issuer.Revoke],
// [Issuer.BlockUser], [Issuer.BlockClient], [Issuer.RevokeClientTokens]; and so is what
// happens to the issuer: [Issuer.RotateKeys], [Issuer.Down], [Issuer.Silence],
// [Issuer.Restart]. Everything may be called by several goroutines at once.
//
// Who may have a token is no business of this package: it has no token endpoint, no
// passwords and no refresh tokens.
package accesstokentest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// The paths at which an Issuer answers, below its URL. They are Counterfoil's.
const (
	PathKeys        = "/oauth2/jwks"                            // RFC 7517
	PathIntrospect  = "/oauth2/introspect"                      // RFC 7662
	PathRevocations = "/oauth2/revocations"                     // the feed of revocations
	PathMetadata    = "/.well-known/oauth-authorization-server" // RFC 8414
)

// Issuer is an authorization server, reduced to what the owner of an API meets. It ends
// with its test.
type Issuer struct {
	// URL is the issuer identifier: `iss` of its tokens, and what its paths begin with.
	// It has no slash at the end.
	URL string

	// ClientID and ClientSecret are those of the confidential client as which an API asks
	// for introspection and for the feed. The secret is random.
	ClientID, ClientSecret string

	t        testing.TB
	now      func() time.Time
	lifetime time.Duration
	previous time.Duration
	pageSize int
	inMemory bool
	client   *http.Client
	closed   chan struct{} // ends with the test

	mu       sync.Mutex
	state    health
	turned   chan struct{} // closed at every change, and then another
	requests map[string]int
	keys     map[string]*key // by alg: the one that signs
	retired  []*key
	life     life
}

// health is how the Issuer answers.
type health int

const (
	up health = iota
	down
	silent
)

// Option is a setting of NewIssuer.
type Option func(*Issuer)

// Clock has the Issuer read the time from now, instead of from time.Now: `iat` and `exp`
// of tokens, and whether they have expired. A long poll is held by the real clock (or by
// that of the testing/synctest bubble).
func Clock(now func() time.Time) Option { return func(i *Issuer) { i.now = now } }

// Lifetime is how long access tokens live; an hour if it is not given.
func Lifetime(d time.Duration) Option { return func(i *Issuer) { i.lifetime = d } }

// KeepPrevious has a refresh leave the access token before it alive for d (Counterfoil's
// setting previous_access_token). If it is not given, it is dead at once.
func KeepPrevious(d time.Duration) Option { return func(i *Issuer) { i.previous = d } }

// PageSize is how many entries an answer of the feed has at most; 1000 if it is not given.
func PageSize(entries int) Option { return func(i *Issuer) { i.pageSize = entries } }

// Client sets ClientID and ClientSecret.
func Client(id, secret string) Option {
	return func(i *Issuer) { i.ClientID, i.ClientSecret = id, secret }
}

// InMemory has the Issuer speak HTTP over pipes inside of the process instead of over
// loopback, so that it can be used in a bubble of testing/synctest. Only HTTPClient then
// reaches it; its URL is an https address that does not exist.
func InMemory() Option { return func(i *Issuer) { i.inMemory = true } }

// NewIssuer starts an Issuer that ends with t. It listens on 127.0.0.1 at a free port,
// unless it is InMemory. Where it cannot, t fails.
func NewIssuer(t testing.TB, options ...Option) *Issuer {
	t.Helper()
	i := &Issuer{
		ClientID:     "orders-api",
		ClientSecret: randomHex(),
		t:            t,
		now:          time.Now,
		lifetime:     time.Hour,
		pageSize:     1000,
		closed:       make(chan struct{}),
		turned:       make(chan struct{}),
		requests:     map[string]int{},
		life:         newLife(),
	}
	for _, option := range options {
		option(i)
	}
	i.keys = newKeys()
	i.serve()
	return i
}

// serve answers at i.URL until the test ends.
func (i *Issuer) serve() {
	listener, transport := i.listen()
	server := &http.Server{Handler: i.handler(), ReadHeaderTimeout: time.Minute}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener) // http.ErrServerClosed, by the clean-up below
	}()
	i.client = &http.Client{Transport: transport}
	i.t.Cleanup(func() {
		close(i.closed)
		transport.CloseIdleConnections()
		_ = server.Close()
		<-ended
	})
}

// listen decides the URL.
func (i *Issuer) listen() (net.Listener, *http.Transport) {
	if i.inMemory {
		pipes := newPipeListener()
		i.URL = "https://issuer-" + randomHex()[:8] + ".test"
		return pipes, &http.Transport{DialTLSContext: pipes.dial}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		i.t.Fatalf("accesstokentest: listen on loopback: %v", err)
	}
	i.URL = "http://" + listener.Addr().String()
	return listener, &http.Transport{}
}

// HTTPClient reaches the Issuer. On loopback any other client does too.
func (i *Issuer) HTTPClient() *http.Client { return i.client }

// Requests is how many requests came for a path, answered or not.
func (i *Issuer) Requests(path string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.requests[path]
}

// Down has the Issuer answer 503 with Retry-After to everything, as behind a proxy whose
// backend is gone, until Up.
func (i *Issuer) Down() { i.turn(down) }

// Silence has the Issuer accept requests and answer nothing at all until Up, as behind a
// network that swallows packets.
func (i *Issuer) Silence() { i.turn(silent) }

// Up ends Down and Silence. Requests that wait are answered.
func (i *Issuer) Up() { i.turn(up) }

func (i *Issuer) turn(to health) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.state = to
	i.changed()
}

// Restart is an end and a new start of the server: requests that wait are cut off without
// an answer, and the feed cannot continue from a cursor that it gave out before. Tokens,
// grants, keys and blocks are as they were.
func (i *Issuer) Restart() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.life.run = randomHex()
	i.changed()
}

// changed wakes all requests that wait. The caller holds i.mu.
func (i *Issuer) changed() {
	close(i.turned)
	i.turned = make(chan struct{})
}

// health returns how to answer now, and a channel that is closed when that may change.
func (i *Issuer) health() (health, <-chan struct{}) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.state, i.turned
}

// handler routes, in the state of health that the Issuer has.
func (i *Issuer) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+PathKeys, i.serveKeys)
	mux.HandleFunc("POST "+PathIntrospect, i.serveIntrospection)
	mux.HandleFunc("GET "+PathRevocations, i.serveRevocations)
	mux.HandleFunc("GET "+PathMetadata, i.serveMetadata)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		i.requests[r.URL.Path]++
		i.mu.Unlock()
		switch i.awaitVoice(r.Context()) {
		case up:
			mux.ServeHTTP(w, r)
		case down:
			writeUnavailable(w)
		}
	})
}

// awaitVoice waits while the Issuer is silent. It returns silent if the request, or the
// test, ended first.
func (i *Issuer) awaitVoice(ctx context.Context) health {
	for {
		state, turned := i.health()
		if state != silent {
			return state
		}
		select {
		case <-turned:
		case <-ctx.Done():
			return silent
		case <-i.closed:
			return silent
		}
	}
}

// pipeListener is a listener whose connections are net.Pipe's.
type pipeListener struct {
	connections chan net.Conn
	closed      chan struct{}
	close       func()
}

func newPipeListener() *pipeListener {
	l := &pipeListener{connections: make(chan net.Conn), closed: make(chan struct{})}
	l.close = sync.OnceFunc(func() { close(l.closed) })
	return l
}

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.connections <- far:
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Accept implements net.Listener.
func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.connections:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *pipeListener) Close() error {
	l.close()
	return nil
}

// Addr implements net.Listener.
func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

// randomHex is 128 random bits.
func randomHex() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}
