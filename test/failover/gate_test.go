package failover

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// gate is a TCP proxy that can be shut. A shut gate is a cut network: what is sent
// stays under way, the end of a connection too, until the gate is opened again.
type gate struct {
	address  string
	target   string
	listener net.Listener

	mu    sync.Mutex
	open  chan struct{} // closed while the gate is open
	conns []net.Conn
	ended bool
}

// newGate opens a gate in front of an address until the test ends.
func newGate(t testing.TB, target string) *gate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{address: l.Addr().String(), target: target, listener: l, open: make(chan struct{})}
	close(g.open)
	t.Cleanup(g.end)
	go g.serve()
	return g
}

// set opens or shuts the gate.
func (g *gate) set(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
		if !open {
			g.open = make(chan struct{})
		}
	default:
		if open {
			close(g.open)
		}
	}
}

// pass waits until the gate is open.
func (g *gate) pass() {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	<-open
}

// end closes the gate and all that leads through it.
func (g *gate) end() {
	g.set(true)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = true
	_ = g.listener.Close()
	for _, c := range g.conns {
		_ = c.Close()
	}
}

// keep remembers a connection, or closes it if the gate has ended.
func (g *gate) keep(c net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		_ = c.Close()
	}
	g.conns = append(g.conns, c)
}

func (g *gate) serve() {
	for {
		c, err := g.listener.Accept()
		if err != nil {
			return
		}
		go g.connect(c)
	}
}

// connect joins a connection to the target. Where nobody listens, it is closed.
func (g *gate) connect(c net.Conn) {
	g.keep(c)
	defer func() { _ = c.Close() }()
	g.pass()
	target, err := net.Dial("tcp", g.target)
	if err != nil {
		return
	}
	g.keep(target)
	defer func() { _ = target.Close() }()
	var both sync.WaitGroup
	both.Go(func() { g.forward(target, c) })
	both.Go(func() { g.forward(c, target) })
	both.Wait()
}

// forward copies one direction, holding back each piece while the gate is shut.
func (g *gate) forward(to, from net.Conn) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		g.pass()
		if _, failed := to.Write(buffer[:n]); failed != nil {
			_ = from.Close()
			return
		}
		if err == io.EOF {
			_ = to.(*net.TCPConn).CloseWrite()
			return
		}
		if err != nil {
			_ = to.Close()
			return
		}
	}
}

// TestGate: a shut gate lets nothing through and loses nothing.
func TestGate(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	g := newGate(t, l.Addr().String())
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	client, err := (&net.Dialer{}).DialContext(ctx, "tcp", g.address)
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	send := func(text string) {
		if _, err := io.WriteString(client, text); err != nil {
			t.Fatal(err)
		}
	}
	hear := func(within time.Duration, want string) {
		t.Helper()
		_ = server.SetReadDeadline(time.Now().Add(within))
		var heard strings.Builder
		if _, err := io.CopyN(&heard, server, int64(max(1, len(want)))); heard.String() != want {
			t.Errorf("heard %q, %v; want %q", heard.String(), err, want)
		}
	}
	send("open")
	hear(10*time.Second, "open")
	g.set(false)
	send("shut")
	hear(100*time.Millisecond, "")
	_ = client.Close()
	hear(100*time.Millisecond, "")
	g.set(true)
	hear(10*time.Second, "shut")
	if _, err := server.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after the end of the connection: got %v, want EOF", err)
	}
}
