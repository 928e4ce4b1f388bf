package cut

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"
)

// fault is what befalls one round trip to the database: the messages of a client up to
// Sync or Query, and the answer of the server up to ReadyForQuery (PostgreSQL
// documentation, message formats).
type fault struct {
	name     string
	forward  bool   // whether the server gets it, and does it
	code     string // the SQLSTATE that the client gets instead of the answer; empty: none
	fatal    bool   // whether that ends the connection
	warning  bool   // whether a warning comes before the answer
	hold     bool   // whether no answer ever comes, and the connection stays open
	midway   bool   // whether the connection is cut without waiting for the answer
	definite bool   // whether the client may believe that nothing happened
}

// faults are all that are tried: at each round trip of a request, each of them.
var faults = []fault{
	{name: "cut before the server has it"},
	{name: "cut while the server works", forward: true, midway: true},
	{name: "cut before the answer comes", forward: true},
	{name: "no answer, not done", hold: true},
	{name: "no answer, done", forward: true, hold: true},
	{name: "serialization failure", code: "40001", definite: true},
	{name: "deadlock", code: "40P01", definite: true},
	{name: "cancelled", code: "57014", definite: true},
	{name: "read-only", code: "25006", definite: true},
	{name: "disk full", code: "53100", definite: true},
	{name: "ambiguous, done", forward: true, code: "40003"},
	{name: "ambiguous, not done", code: "40003"},
	{name: "administrator's shutdown, done", forward: true, code: "57P01", fatal: true},
	{name: "administrator's shutdown, not done", code: "57P01", fatal: true},
	{name: "crash of another process, done", forward: true, code: "57P02", fatal: true},
	{name: "starting up", code: "57P03", fatal: true},
	{name: "connection failure, done", forward: true, code: "08006"},
	{name: "connection failure, not done", code: "08006"},
	{name: "transaction resolution unknown", forward: true, code: "08007"},
	{name: "a warning with the answer", forward: true, warning: true},
}

// proxy stands between a node and the database.
type proxy struct {
	t        testing.TB
	listener net.Listener
	target   string
	url      string

	mu    sync.Mutex
	armed *fault
	after int // round trips that still pass
	fired bool
}

func newProxy(t testing.TB, database string) *proxy {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	p := &proxy{t: t, listener: l, target: u.Host}
	u.Host = l.Addr().String()
	p.url = u.String()
	go p.serve()
	return p
}

// arm lets so many round trips pass, and then a fault befall one.
func (p *proxy) arm(f fault, after int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed, p.after, p.fired = &f, after, false
}

// disarm reports whether the fault has befallen something.
func (p *proxy) disarm() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = nil
	return p.fired
}

// next is the fault of a round trip that begins; nil: none.
func (p *proxy) next() *fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.armed == nil {
		return nil
	}
	if p.after--; p.after >= 0 {
		return nil
	}
	f := p.armed
	p.armed, p.fired = nil, true
	return f
}

func (p *proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		go (&link{proxy: p, client: client, server: server, status: 'I'}).run()
	}
}

// link is a connection through the proxy.
type link struct {
	*proxy
	client, server net.Conn
	status         byte // of the transaction: I, T or E
}

// run passes the start of a session on, and then one round trip after the other.
func (l *link) run() {
	defer func() { _, _ = l.client.Close(), l.server.Close() }()
	startup, err := readMessage(l.client, false)
	if err != nil {
		return
	}
	if _, err := l.server.Write(startup); err != nil || binary.BigEndian.Uint32(startup[4:]) == cancelRequest {
		return
	}
	if _, ok := l.answer(true, false); !ok {
		return
	}
	for l.roundTrip() {
	}
}

// cancelRequest is the code of a startup message that asks for a cancellation.
const cancelRequest = 80877102

// roundTrip passes one on, or what a fault makes of it, and reports whether the
// connection goes on.
func (l *link) roundTrip() bool {
	var request []byte
	for {
		message, err := readMessage(l.client, true)
		if err != nil {
			return false
		}
		request = append(request, message...)
		if message[0] == 'X' {
			_, _ = l.server.Write(request)
			return false
		}
		if message[0] == 'S' || message[0] == 'Q' {
			break
		}
	}
	f := l.next()
	if f == nil {
		if _, err := l.server.Write(request); err != nil {
			return false
		}
		_, ok := l.answer(true, false)
		return ok
	}
	return l.suffer(f, request)
}

// suffer lets a fault befall a round trip.
func (l *link) suffer(f *fault, request []byte) bool {
	if f.forward {
		if _, err := l.server.Write(request); err != nil {
			return false
		}
		if f.midway {
			return false
		}
		if status, ok := l.answer(f.warning, f.warning); !ok {
			return false
		} else if f.warning {
			l.status = status
			return true
		}
	}
	switch {
	case f.hold:
		for { // until it gives up
			if message, err := readMessage(l.client, true); err != nil || message[0] == 'X' {
				return false
			}
		}
	case f.code == "":
		return false
	}
	severity := "ERROR"
	if f.fatal {
		severity = "FATAL"
	}
	status := l.status
	if status == 'T' {
		status = 'E'
	}
	reply := notice('E', severity, f.code)
	if !f.fatal {
		reply = append(reply, 'Z', 0, 0, 0, 5, status)
	}
	_, err := l.client.Write(reply)
	return err == nil && !f.fatal
}

// answer reads the server's answer up to ReadyForQuery, and gives it to the client if
// it shall have it, perhaps after a warning.
func (l *link) answer(deliver, warn bool) (status byte, ok bool) {
	if warn {
		if _, err := l.client.Write(notice('N', "WARNING", "01000")); err != nil {
			return 0, false
		}
	}
	for {
		message, err := readMessage(l.server, true)
		if err != nil {
			return 0, false
		}
		if deliver {
			if _, err := l.client.Write(message); err != nil {
				return 0, false
			}
		}
		switch {
		case message[0] == 'Z':
			l.status = message[5]
			return l.status, true
		case message[0] == 'E' && bytes.Contains(message, []byte("FATAL")):
			return 0, false
		}
	}
}

// notice is an ErrorResponse ('E') or NoticeResponse ('N').
func notice(kind byte, severity, code string) []byte {
	text := "canceling wait for synchronous replication due to user request"
	fields := "S" + severity + "\x00V" + severity + "\x00C" + code + "\x00M" + text + "\x00\x00"
	message := binary.BigEndian.AppendUint32([]byte{kind}, uint32(4+len(fields)))
	return append(message, fields...)
}

// readMessage reads a message, of which the first of a session has no type. A byte is
// waited for as long as it takes.
func readMessage(from net.Conn, typed bool) ([]byte, error) {
	head := make([]byte, 4, 64)
	if typed {
		head = head[:5]
	}
	if err := from.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(from, head); err != nil {
		return nil, err
	}
	rest := make([]byte, binary.BigEndian.Uint32(head[len(head)-4:])-4)
	_, err := io.ReadFull(from, rest)
	return append(head, rest...), err
}
