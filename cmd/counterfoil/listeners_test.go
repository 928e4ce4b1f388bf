package main

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
)

// arrivals is a listener whose connections come from the given addresses.
type arrivals struct {
	net.Listener
	from []string
}

func (a *arrivals) Accept() (net.Conn, error) {
	if len(a.from) == 0 {
		return nil, errNoMore
	}
	peer := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(a.from[0]))
	a.from = a.from[1:]
	ours, theirs := net.Pipe()
	_ = theirs.Close()
	return &connFrom{Conn: ours, peer: peer}, nil
}

var errNoMore = errors.New("nobody comes")

type connFrom struct {
	net.Conn
	peer net.Addr
}

func (c *connFrom) RemoteAddr() net.Addr { return c.peer }

// TestPeerLimit: one peer cannot take all connections (security of listeners, T10);
// proxies speak for many.
func TestPeerLimit(t *testing.T) {
	t.Parallel()
	in := &arrivals{}
	proxy := netip.MustParseAddr("192.0.2.9")
	l := &peerLimit{Listener: in, exempt: func(a netip.Addr) bool { return a == proxy }, open: map[netip.Addr]int{}}
	accepted := func(peer string, times int) (conns []net.Conn) {
		for range times {
			in.from = append(in.from, peer)
		}
		for {
			c, err := l.Accept()
			if err != nil {
				return conns
			}
			conns = append(conns, c)
		}
	}
	greedy := accepted("192.0.2.1:1", maxConnectionsOfPeer+5)
	if len(greedy) != maxConnectionsOfPeer {
		t.Fatalf("%d connections of one peer, want %d", len(greedy), maxConnectionsOfPeer)
	}
	if n := len(accepted("192.0.2.2:1", 1)); n != 1 {
		t.Error("another peer was refused")
	}
	if n := len(accepted("192.0.2.9:1", maxConnectionsOfPeer+5)); n != maxConnectionsOfPeer+5 {
		t.Errorf("%d connections of a proxy, want all", n)
	}
	for range 2 { // closing twice counts once
		if err := greedy[0].Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(accepted("[::ffff:192.0.2.1]:1", 2)); n != 1 {
		t.Errorf("%d connections after one was closed, want 1", n)
	}
}

// TestTimeouts: slow peers are cut off (security of listeners, T10), and headers bounded (T9).
func TestTimeouts(t *testing.T) {
	t.Parallel()
	s := newHTTPServer(nil, nil, slog.New(slog.DiscardHandler))
	got := [...]time.Duration{s.ReadHeaderTimeout, s.ReadTimeout, s.WriteTimeout, s.IdleTimeout, time.Duration(s.MaxHeaderBytes)}
	want := [...]time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, time.Minute, 16 << 10}
	if got != want {
		t.Errorf("timeouts and header limit are %v, want %v", got, want)
	}
}

// TestStop: a request in flight is answered, and nobody else gets in.
func TestStop(t *testing.T) {
	t.Parallel()
	begun, finish := make(chan struct{}), make(chan struct{})
	var entered atomic.Int32
	s := newHTTPServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if entered.Add(1) > 1 {
			return
		}
		close(begun)
		<-finish
		_, _ = io.WriteString(w, "done")
	}), nil, slog.New(slog.DiscardHandler))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served, stopped, answered := make(chan error, 1), make(chan error, 1), make(chan string, 1)
	go func() { served <- serveOn(s, l) }()
	go func() { answered <- get("http://" + l.Addr().String()) }()
	<-begun
	go func() { stopped <- stopServers(t.Context(), []*http.Server{s}) }()
	if err := <-served; err != nil {
		t.Errorf("serving ended with %v", err)
	}
	_ = get("http://" + l.Addr().String()) // the kernel may still take the connection, for a moment
	if n := entered.Load(); n != 1 {
		t.Error("a stopping server answers new requests")
	}
	close(finish)
	if got := <-answered; got != "done" {
		t.Errorf("the request in flight got %q, want its answer", got)
	}
	if err := <-stopped; err != nil {
		t.Errorf("stopping: %v", err)
	}
}

func get(url string) string {
	answer, err := http.Get(url)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	return string(body) + errorText(err)
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
