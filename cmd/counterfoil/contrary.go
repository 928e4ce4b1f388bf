package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strconv"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// contrary is a server at its worst moment, again and again: it commits what a client
// asks for, and then loses the answer. The client sees a connection that was closed,
// before the answer or in the middle of it, and never an error status.
type contrary struct {
	public http.Handler
	share  float64        // of the successful answers of the token endpoints
	random func() float64 // from 0 to below 1
	losses io.Writer      // gets a line for each loss
}

// beContrary makes a server contrary.
func beContrary(share float64, losses io.Writer) func(http.Handler) http.Handler {
	return func(public http.Handler) http.Handler {
		return &contrary{public: public, share: share, random: rand.Float64, losses: losses}
	}
}

// tokenPaths are the token endpoints, whose answers nobody can ask for a second time
// but by the same request.
var tokenPaths = []string{"/oauth2-token", "/oauth2/token"}

// ServeHTTP implements http.Handler. What happens is decided when the whole answer is
// there: by then all that it says is durable.
func (c *contrary) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || !slices.Contains(tokenPaths, r.URL.Path) {
		c.public.ServeHTTP(w, r)
		return
	}
	asked, answer := &keptBody{ReadCloser: r.Body}, &heldAnswer{ResponseWriter: w}
	r.Body = asked
	c.public.ServeHTTP(answer, r)
	luck := c.random()
	if answer.status != http.StatusOK || luck >= c.share {
		answer.send()
		return
	}
	begun := luck >= c.share/2
	c.tell(asked.grantType()+" request at "+r.URL.Path, answer.Header().Get("X-Request-Id"), begun)
	if begun {
		answer.sendHalf()
	}
	panic(http.ErrAbortHandler) // net/http closes the connection, or resets the stream of HTTP/2
}

// tell tells a loss before the client can notice it, and nothing that is secret.
func (c *contrary) tell(request, id string, begun bool) {
	how := "nothing of it was sent"
	if begun {
		how = "half of it was sent"
	}
	_, _ = fmt.Fprintf(c.losses, "Lost on purpose: the answer to a %s, X-Request-Id %s; %s.\n"+
		"What it says is committed. A good client now sends the same request again, unchanged.\n", request, id, how)
}

// keptBody is the body of a request, of which it keeps what is read.
type keptBody struct {
	io.ReadCloser
	read bytes.Buffer
}

// Read implements io.Reader.
func (b *keptBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read.Write(p[:n])
	return n, err
}

// grantTypeOf finds the grant type in a body of whatever media type.
var grantTypeOf = regexp.MustCompile(`\bgrant_type[="':\s]+(\w+)`)

// grantType is the grant type of a token request, for people. It is one of our own
// names: what else stands in a body may be secret.
func (b *keptBody) grantType() string {
	if match := grantTypeOf.FindSubmatch(b.read.Bytes()); match != nil && slices.Contains(oauth.GrantTypes(), string(match[1])) {
		return string(match[1])
	}
	return "token"
}

// heldAnswer is an answer that nobody has seen yet.
type heldAnswer struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

// WriteHeader implements http.ResponseWriter.
func (a *heldAnswer) WriteHeader(status int) { a.status = cmp.Or(a.status, status) }

// Write implements http.ResponseWriter.
func (a *heldAnswer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

// send sends the answer as it would have been sent.
func (a *heldAnswer) send() {
	a.ResponseWriter.WriteHeader(cmp.Or(a.status, http.StatusOK))
	_, _ = a.ResponseWriter.Write(a.body.Bytes()) // a client that is gone does not matter
}

// sendHalf announces the whole answer and sends half of it.
func (a *heldAnswer) sendHalf() {
	a.Header().Set("Content-Length", strconv.Itoa(a.body.Len()))
	a.ResponseWriter.WriteHeader(a.status)
	_, _ = a.ResponseWriter.Write(a.body.Bytes()[:a.body.Len()/2])
	_ = http.NewResponseController(a.ResponseWriter).Flush() // or it would get lost as well
}
