package bench

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// errCut is the error of a request that the end of the run cut off.
var errCut = errors.New("the run is over")

// outcome is what an answer means for the client.
type outcome int

const (
	granted outcome = iota
	refused         // the refresh token does not count (any more): clients log their user out
	failed          // anything else: the client may send the same request again
	cutOff          // by the end of the run: it says nothing
)

// answer is the answer to a token request, or why there is none.
type answer struct {
	status       int
	refreshToken string
	code         string // RFC 6749 section 5.2
	requestID    string // to ask the server's operator about
	retryAfter   time.Duration
	malformed    bool

	err  error
	sent bool // the request was, before err

	took time.Duration
}

// newAnswer reads an answer. Members that are not needed are ignored.
func newAnswer(response *http.Response, body []byte) answer {
	var members struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
		Error        string `json:"error"`
	}
	err := json.Unmarshal(body, &members)
	a := answer{
		status: response.StatusCode, refreshToken: members.RefreshToken, code: members.Error,
		requestID: response.Header.Get("X-Request-Id"), sent: true,
	}
	a.malformed = a.status == http.StatusOK && (err != nil || members.AccessToken == "")
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
		a.retryAfter = time.Duration(seconds) * time.Second
	}
	return a
}

// outcome says what the answer means. Some servers refuse a refresh token with 401; but
// invalid_client is about the client.
func (a *answer) outcome() outcome {
	switch {
	case errors.Is(a.err, errCut):
		return cutOff
	case a.err != nil || a.malformed:
		return failed
	case a.status == http.StatusOK:
		return granted
	case a.code == "invalid_client":
		return failed
	case a.code == "invalid_grant" || a.status == http.StatusUnauthorized:
		return refused
	}
	return failed
}

// lost reports whether the request may have counted, and nobody knows.
func (a *answer) lost() bool { return a.err != nil && a.sent }

// temporary reports whether a login that failed is worth another try.
func (a *answer) temporary() bool {
	return a.lost() || a.status == http.StatusTooManyRequests || a.status >= http.StatusInternalServerError
}

// problem names what was wrong with an answer that grants nothing.
func (a *answer) problem() string {
	switch {
	case a.err != nil:
		return "transport: " + transportProblem(a.err)
	case a.malformed:
		return "200 without an access_token in JSON"
	case a.code == "":
		return strconv.Itoa(a.status)
	}
	return strconv.Itoa(a.status) + " " + printable(a.code)
}

// transportProblem names an error of the network, without addresses, so that equal ones
// can be counted together.
func transportProblem(err error) string {
	var network net.Error
	var number syscall.Errno
	switch {
	case errors.As(err, &network) && network.Timeout():
		return "timeout"
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed"
	case errors.As(err, &number):
		return number.Error()
	}
	return printable(err.Error())
}

// printable is foreign text, short and of visible ASCII.
func printable(s string) string {
	const longest = 80
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s[:min(len(s), longest)])
}
