package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil/test/program"
)

// fate is what happens to an answer.
type fate int

const (
	arrives fate = iota // unless it takes longer than the client waits
	hangUp              // the client closes its side of the connection and does not hear it
	reset               // the client tears the connection down: nobody will ever know
)

// drainTime is longer than any server needs to end a request or to be woken up.
const drainTime = 30 * time.Second

// reply is an answer of the token endpoint.
type reply struct {
	Answer Answer
	Tokens program.Tokens
}

// wire is one request over a connection of its own, whose answer can get lost.
type wire struct {
	conn  *net.TCPConn
	fate  fate
	after time.Duration // the client waits so long
	over  func(reply)   // is told once when the server is done, if that can be known

	listening *sync.WaitGroup
}

// dial connects to a server. A request that could not be sent never happened.
func dial(address string) (*net.TCPConn, error) {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// decide chooses a fate, and how long the client waits: a lost answer is lost
// before, while or after the server works on it. Of a hundred answers so many are lost.
func (w *wire) decide(rng *rand.Rand, losses int) {
	switch n := rng.IntN(100); {
	case n < 1:
		w.fate, w.after = reset, time.Duration(rng.IntN(4000))*time.Microsecond
	case n < losses:
		w.fate, w.after = hangUp, time.Duration(rng.IntN(8000))*time.Microsecond
	default:
		w.after = time.Duration(500+rng.IntN(5000)) * time.Millisecond
	}
}

// ask sends a request and returns what the client hears of it: none if it is lost.
// Where the connection still tells when the server is done, a goroutine of its own
// listens for that.
func (w *wire) ask(parameters map[string]string) reply {
	if err := w.send(parameters); err != nil { // the server is dead
		_ = w.conn.Close()
		w.over(reply{Answer: None})
		return reply{Answer: None}
	}
	waited := time.NewTimer(w.after)
	defer waited.Stop()
	if w.fate == reset {
		<-waited.C
		_ = w.conn.SetLinger(0)
		_ = w.conn.Close()
		return reply{Answer: None}
	}
	heard := make(chan reply, 1)
	w.listening.Go(func() { w.listen(heard) })
	select {
	case r := <-heard:
		if w.fate == arrives {
			return r
		}
	case <-waited.C:
		_ = w.conn.CloseWrite() // the server sees a client that hangs up
	}
	return reply{Answer: None}
}

func (w *wire) send(parameters map[string]string) error {
	body, err := json.Marshal(parameters)
	if err != nil {
		return err
	}
	request, err := http.NewRequest(http.MethodPost, "http://"+w.conn.RemoteAddr().String()+"/oauth2-token", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Close = true
	return request.Write(w.conn)
}

// listen waits until the server has answered, or closed the connection without: then
// the request is over. A process that was killed closes it when its last thread is gone.
func (w *wire) listen(heard chan<- reply) {
	defer func() { _ = w.conn.Close() }()
	_ = w.conn.SetReadDeadline(time.Now().Add(drainTime))
	r, err := readReply(w.conn)
	if timeout, ok := err.(net.Error); !ok || !timeout.Timeout() {
		w.over(r)
	}
	heard <- r
}

func readReply(conn io.Reader) (reply, error) {
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return reply{Answer: None}, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return reply{Answer: None}, err
	}
	r := reply{Tokens: program.Tokens{Status: response.StatusCode}}
	if err := json.Unmarshal(body, &r.Tokens); err != nil {
		return reply{Answer: None}, err
	}
	r.Answer = answerOf(r.Tokens)
	return r, nil
}

func answerOf(t program.Tokens) Answer {
	switch {
	case t.Status == http.StatusOK:
		return OK
	case t.Status == http.StatusServiceUnavailable:
		return Unavailable
	case t.Status == http.StatusUnauthorized && t.Hint == "Token has been revoked":
		return Refused
	case t.Status == http.StatusBadRequest && strings.Contains(t.Hint, "disabled"):
		return Blocked
	}
	return Answer(http.StatusText(t.Status) + ": " + t.Error + " " + t.Hint)
}
