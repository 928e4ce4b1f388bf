package cut_test

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

// manner is what happens to a round trip to the database.
type manner int

const (
	cutRequest    manner = iota // the server gets a part of it, and both lose the connection
	cutAnswer                   // the server does it, and the client gets a part of the answer
	cutMidway                   // the server gets it, and nobody waits for the answer
	holdRequest                 // nothing arrives, and the connection stays open
	holdAnswer                  // the server does it, and the client gets a part of the answer and waits for more
	delay                       // the server gets it, and does it, when the client has given up and was told so
	refuse                      // the client gets an error instead
	denyAfterward               // the server does it, and the client gets an error
	warn                        // the client gets a warning with the answer
)

// fault is what befalls one round trip: the messages of a client up to Sync or Query,
// and the answer of the server up to ReadyForQuery (PostgreSQL documentation, message
// flow). The start of a session is one too.
type fault struct {
	name  string
	how   manner
	code  string // SQLSTATE
	fatal bool   // the error ends the connection
}

// faults are all that are tried. Errors that may follow on what was done are ambiguous
// ones only.
var faults = []fault{
	{name: "cut before the server has it", how: cutRequest},
	{name: "cut before the answer", how: cutAnswer},
	{name: "cut while the server works", how: cutMidway},
	{name: "held, not done", how: holdRequest},
	{name: "held, done", how: holdAnswer},
	{name: "done later", how: delay},
	{name: "serialization failure", how: refuse, code: "40001"},
	{name: "deadlock", how: refuse, code: "40P01"},
	{name: "cancelled", how: refuse, code: "57014"},
	{name: "read-only", how: refuse, code: "25006"},
	{name: "disk full", how: refuse, code: "53100"},
	{name: "too many connections", how: refuse, code: "53300", fatal: true},
	{name: "starting up", how: refuse, code: "57P03", fatal: true},
	{name: "ambiguous, not done", how: refuse, code: "40003"},
	{name: "ambiguous, done", how: denyAfterward, code: "40003"},
	{name: "shutdown, not done", how: refuse, code: "57P01", fatal: true},
	{name: "shutdown, done", how: denyAfterward, code: "57P01", fatal: true},
	{name: "shutdown of another kind, done", how: denyAfterward, code: "57P01"},
	{name: "crash of another process, done", how: denyAfterward, code: "57P02", fatal: true},
	{name: "connection failure, not done", how: refuse, code: "08006"},
	{name: "connection failure, done", how: denyAfterward, code: "08006"},
	{name: "resolution unknown, done", how: denyAfterward, code: "08007", fatal: true},
	{name: "end of an idle session, done", how: denyAfterward, code: "57P05", fatal: true},
	{name: "not replicated", how: warn},
}

// partial reports whether the fault can befall each message of a round trip.
func (f *fault) partial() bool {
	return f.how == cutRequest || f.how == cutAnswer || f.how == holdAnswer
}

// waits reports whether the client will wait until it loses patience.
func (f *fault) waits() bool { return f.how == holdRequest || f.how == holdAnswer || f.how == delay }

// position is a moment of a request: so many round trips are over, and so many messages
// of this one, of the request or of the answer.
type position struct{ trip, message int }

// proxy stands between a node and the database.
type proxy struct {
	listener net.Listener
	target   string
	url      string
	links    sync.WaitGroup

	suffering sync.WaitGroup // links that a fault has befallen

	mu     sync.Mutex
	open   []*link
	armed  *fault
	at     position
	trips  []trip // since it was armed
	fired  bool
	held   []byte        // the request that suffers
	answer chan struct{} // closed when the request that suffers was answered
}

// trip is how many messages a round trip had.
type trip struct{ request, answer int }

// newProxy starts one in front of a database, until the end of the test.
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
	p := &proxy{listener: l, target: u.Host}
	u.Host = l.Addr().String()
	p.url = u.String()
	p.links.Go(p.serve)
	t.Cleanup(func() {
		_ = l.Close()
		p.links.Wait()
	})
	return p
}

// arm lets a fault befall the round trip at a position; nil lets all pass.
func (p *proxy) arm(f *fault, at position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed, p.at, p.trips, p.fired, p.answer = f, at, nil, false, make(chan struct{})
}

// disarm says that the request was answered. It returns the round trips since, and
// whether the fault befell one.
func (p *proxy) disarm() (trips []trip, fired bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = nil
	close(p.answer)
	return p.trips, p.fired
}

// next is the fault of a round trip that begins, and where it is; nil: none.
func (p *proxy) next(request [][]byte) (*fault, int, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trips = append(p.trips, trip{request: len(request)})
	f := p.armed
	if f == nil || len(p.trips) != p.at.trip+1 || f.how == cutRequest && p.at.message >= len(request) {
		return nil, 0, nil
	}
	p.armed, p.fired, p.held = nil, true, bytes.Join(request, nil)
	p.suffering.Add(1)
	return f, p.at.message, p.answer
}

// settle waits until what suffered is over, at the server too: a connection that is
// held must be given up some time.
func (p *proxy) settle(t *testing.T) {
	t.Helper()
	over := make(chan struct{})
	go func() {
		p.suffering.Wait()
		close(over)
	}()
	select {
	case <-over:
	case <-time.After(10 * time.Second):
		t.Fatalf("the node still waits for an answer to %q", p.held)
	}
}

// cutAll cuts the connections that are open.
func (p *proxy) cutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.open {
		_ = l.client.Close()
	}
	p.open = nil
}

// missed says that a fault has not befallen anything after all.
func (p *proxy) missed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fired = false
}

// answered counts a message of the present answer.
func (p *proxy) answered() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.trips); n > 0 {
		p.trips[n-1].answer++
	}
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
		l := &link{proxy: p, client: client, server: server, status: 'I'}
		p.mu.Lock()
		p.open = append(p.open, l)
		p.mu.Unlock()
		p.links.Go(l.run)
	}
}

// link is a connection through the proxy.
type link struct {
	*proxy
	client, server net.Conn
	status         byte // of the transaction: I, T or E
	whole          bool // the last answer was delivered as a whole
}

// cancelRequest is the code of a startup message that asks for a cancellation.
const cancelRequest = 80877102

// run passes one round trip after the other on. What the server still does is waited for.
func (l *link) run() {
	defer l.end()
	startup, err := readMessage(l.client, false)
	if err != nil {
		return
	}
	if binary.BigEndian.Uint32(startup[4:]) == cancelRequest {
		_, _ = l.server.Write(startup)
		_, _ = io.Copy(io.Discard, l.server)
		return
	}
	for request := [][]byte{startup}; request != nil && l.pass(request); {
		request = l.read()
	}
}

// read reads the messages of a round trip; nil: the client has gone.
func (l *link) read() (request [][]byte) {
	for {
		message, err := readMessage(l.client, true)
		if err != nil {
			return nil
		}
		request = append(request, message)
		switch message[0] {
		case 'X':
			_, _ = l.server.Write(bytes.Join(request, nil))
			return nil
		case 'S', 'Q':
			return request
		}
	}
}

// pass passes a round trip on, or what a fault makes of it, and reports whether the
// connection goes on.
func (l *link) pass(request [][]byte) bool {
	f, messages, answered := l.next(request)
	if f == nil {
		return l.send(request) && l.deliver(everything)
	}
	defer l.suffering.Done()
	switch f.how {
	case refuse:
		return l.spoil(request) && l.fail(f)
	case denyAfterward:
		return l.send(request) && l.deliver(nothing) && l.fail(f)
	case warn:
		_, err := l.client.Write(errorMessage('N', "WARNING", "01000"))
		return err == nil && l.send(request) && l.deliver(everything)
	case cutRequest:
		l.send(request[:messages])
	case cutMidway:
		l.send(request)
	case cutAnswer, holdAnswer:
		if l.send(request) && l.deliver(messages) && l.whole {
			l.missed()
			return true
		}
		if f.how == holdAnswer {
			l.wait()
		}
	case holdRequest:
		l.wait()
	case delay:
		l.wait()
		<-answered
		l.send(request)
	}
	l.end()
	return false
}

// wait waits until the client gives up: it says so, and then waits for the server.
func (l *link) wait() {
	for message, err := readMessage(l.client, true); err == nil && message[0] != 'X'; {
		message, err = readMessage(l.client, true)
	}
}

// end takes the connection away from both. What the server was told before it still does.
func (l *link) end() {
	_ = l.client.Close()
	_ = l.server.(*net.TCPConn).CloseWrite()
	_, _ = io.Copy(io.Discard, l.server)
	_ = l.server.Close()
}

func (l *link) send(request [][]byte) bool {
	_, err := l.server.Write(bytes.Join(request, nil))
	return err == nil
}

// How many messages of an answer are delivered.
const (
	nothing    = 0
	everything = 1 << 30
)

// deliver reads the server's answer to its end, and gives so many messages of it to the
// client.
func (l *link) deliver(messages int) bool {
	for {
		message, err := readMessage(l.server, true)
		if err != nil {
			return false
		}
		l.answered()
		l.whole = messages > 0
		if messages > 0 {
			if _, err := l.client.Write(message); err != nil {
				return false
			}
			messages--
		}
		if message[0] == 'Z' {
			l.status = message[5]
			return true
		}
		if message[0] == 'E' && bytes.Contains(message, []byte("FATAL")) {
			return false
		}
	}
}

// spoil makes of the server's transaction what an error makes of one.
func (l *link) spoil(request [][]byte) bool {
	if l.status == 'I' {
		return true
	}
	statement := "an error"
	if bytes.Contains(request[0], []byte("COMMIT")) || bytes.Contains(request[0], []byte("ROLLBACK")) {
		statement = "ROLLBACK"
	}
	message := binary.BigEndian.AppendUint32([]byte{'Q'}, uint32(5+len(statement)))
	return l.send([][]byte{append(append(message, statement...), 0)}) && l.deliver(nothing)
}

// fail answers with an error.
func (l *link) fail(f *fault) bool {
	severity := "ERROR"
	if f.fatal {
		severity = "FATAL"
	}
	reply := errorMessage('E', severity, f.code)
	if !f.fatal {
		reply = append(reply, 'Z', 0, 0, 0, 5, l.status)
	}
	_, err := l.client.Write(reply)
	return err == nil && !f.fatal
}

// errorMessage is an ErrorResponse ('E') or NoticeResponse ('N').
func errorMessage(kind byte, severity, code string) []byte {
	fields := "S" + severity + "\x00V" + severity + "\x00C" + code + "\x00Mcanceling wait for synchronous replication due to user request\x00" +
		"DThe transaction has already committed locally, but might not have been replicated to the standby.\x00\x00"
	message := binary.BigEndian.AppendUint32([]byte{kind}, uint32(4+len(fields)))
	return append(message, fields...)
}

// readMessage reads a message, of which the first of a session has no type.
func readMessage(from net.Conn, typed bool) ([]byte, error) {
	head := make([]byte, 4, 64)
	if typed {
		head = head[:5]
	}
	if _, err := io.ReadFull(from, head); err != nil {
		return nil, err
	}
	rest := make([]byte, binary.BigEndian.Uint32(head[len(head)-4:])-4)
	_, err := io.ReadFull(from, rest)
	return append(head, rest...), err
}
