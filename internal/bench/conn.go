package bench

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

const (
	maxAnswer = 1 << 20 // bytes of a body that are read
	// maxIdle is how long a connection is used again after its last answer. Servers
	// close idle ones, and that is not to be mistaken for a lost answer.
	maxIdle = 3 * time.Second
)

// conn is a persistent HTTP/1.1 connection to the token endpoint. net/http's client takes
// half as much CPU time again for a request, and cannot hang up and still listen.
type conn struct {
	address string
	tls     *tls.Config
	timeout time.Duration
	cut     context.Context // its end closes the connection under a request

	net     net.Conn // nil: to be opened
	answers *bufio.Reader
	release func() bool
	idle    time.Time
}

func newConn(cut context.Context, r *run) *conn {
	c := &conn{address: address(r.URL), timeout: r.Timeout, cut: cut, answers: bufio.NewReader(nil)}
	if r.URL.Scheme == "https" {
		c.tls = &tls.Config{MinVersion: tls.VersionTLS12}
		if r.TLS != nil {
			c.tls = r.TLS.Clone()
		}
		c.tls.NextProtos = []string{"http/1.1"}
		if c.tls.ServerName == "" {
			c.tls.ServerName = r.URL.Hostname()
		}
	}
	return c
}

// address is where a URL is dialled.
func address(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// ask sends a request and reads its answer.
func (c *conn) ask(request []byte) answer {
	if a, ok := c.send(request); !ok {
		return a
	}
	return c.receive()
}

// send sends a request. If it cannot, the answer says why.
func (c *conn) send(request []byte) (answer, bool) {
	if c.net != nil && time.Since(c.idle) > maxIdle {
		c.close()
	}
	if c.net == nil {
		if err := c.open(); err != nil {
			return c.failed(err, false), false
		}
	}
	_ = c.net.SetDeadline(time.Now().Add(c.timeout)) // what fails here, fails again in Write
	if _, err := c.net.Write(request); err != nil {
		return c.failed(err, true), false
	}
	return answer{}, true
}

func (c *conn) open() error {
	ctx, cancel := context.WithTimeout(c.cut, c.timeout)
	defer cancel()
	opened, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.address)
	if err != nil {
		return err
	}
	c.net = opened
	if c.tls != nil {
		secured := tls.Client(opened, c.tls)
		if err := secured.HandshakeContext(ctx); err != nil {
			return errors.Join(err, opened.Close())
		}
		c.net = secured
	}
	c.answers.Reset(c.net)
	c.release = context.AfterFunc(c.cut, func() { _ = opened.Close() })
	return nil
}

// receive reads the answer to what was sent.
func (c *conn) receive() answer {
	response, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		return c.failed(err, true)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return c.failed(err, true)
	}
	c.idle = time.Now()
	if response.Close || len(body) > maxAnswer {
		c.close()
	}
	return newAnswer(response, body)
}

// failed is the answer that never came.
func (c *conn) failed(err error, sent bool) answer {
	c.close()
	if c.cut.Err() != nil {
		err = errCut
	}
	return answer{err: err, sent: sent}
}

// hangUp tells the server that nobody waits for the answer, as the kernel does for a
// client that has gone.
func (c *conn) hangUp() {
	under := c.net
	if secured, ok := under.(*tls.Conn); ok {
		_ = secured.CloseWrite()
		under = secured.NetConn()
	}
	if half, ok := under.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

func (c *conn) close() {
	if c.net == nil {
		return
	}
	if c.release != nil {
		c.release()
	}
	_ = c.net.Close()
	c.net, c.release = nil, nil
}
