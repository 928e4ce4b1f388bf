package endpoint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// response is the http.ResponseWriter of all handlers. It remembers what the log
// and the metrics want to know.
type response struct {
	http.ResponseWriter
	route     route
	began     time.Time
	requestID string
	source    string // address block of the caller
	status    int    // 0: nothing is written yet
	err       error  // why the request was refused, or failed
	stack     []byte // of a panic

	outcome   string
	grantType string // one of ours
	clientID  string // of an authenticated client
	grantID   string
}

// WriteHeader implements http.ResponseWriter.
func (w *response) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// send writes a whole answer. The header values may be shared: nobody changes them.
func (w *response) send(status int, contentType []string, body []byte) {
	if contentType != nil {
		w.Header()["Content-Type"] = contentType
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that is gone does not matter
}

// fail writes the answer to a request that was refused, or that we failed at: a
// client learns nothing of a fault but that it may try again.
func (w *response) fail(r *http.Request, err error) {
	w.err = err
	refusal := errFault
	_ = errors.As(err, &refusal)
	w.setRetryAfter(refusal)
	w.route.refuse(w, r, refusal)
}

// setRetryAfter says when to come again, if that is known.
func (w *response) setRetryAfter(refusal *oauth.Refusal) {
	if wait := retryAfter(refusal); wait > 0 {
		w.Header()["Retry-After"] = []string{strconv.FormatInt(wait, 10)}
	}
}

// errFault is how a fault is told. It is never `invalid_grant`: on that, clients
// log their user out.
var errFault = &oauth.Refusal{Reason: "fault", Code: "temporarily_unavailable", Description: "The server is temporarily unavailable. Try again later."}

// retryAfter returns the seconds of a Retry-After header, rounded up so that
// nobody comes too early (RFC 9110 section 10.2.3); 0: there is none.
func retryAfter(refusal *oauth.Refusal) int64 {
	wait := int64((refusal.RetryAfter + time.Second - 1) / time.Second)
	if status := status(refusal); status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		wait = max(wait, 1)
	}
	return wait
}

// finish ends a request: panics, the log line and the metrics.
func (e *endpoint) finish(w *response, r *http.Request) {
	v := recover()
	abort := v == http.ErrAbortHandler
	if v != nil {
		w.stack = debug.Stack()
		abort = w.answerPanic(r, v) || abort
	}
	outcome := w.judge(r)
	duration := time.Since(w.began)
	e.log(w, r, outcome, duration)
	e.note(w, outcome)
	if e.Observe != nil {
		e.Observe(Observation{
			Endpoint: w.route.endpoint, GrantType: w.grantType, Outcome: outcome, Status: w.status, Duration: duration,
		})
	}
	if abort {
		panic(http.ErrAbortHandler)
	}
}

// note remembers why a request for a token or a code, a sign-in, or the use or the
// revocation of a token failed. Of other addresses the log is enough.
func (e *endpoint) note(w *response, outcome string) {
	if w.err == nil || !slices.Contains([]string{"token", "authorize", "sign_in", "account", "userinfo", "introspect", "revoke", "revocations", "forward_auth"}, w.route.endpoint) {
		return
	}
	event := oauth.Event{Reason: outcome, RequestID: w.requestID, ClientID: w.clientID, GrantID: w.grantID, Source: w.source}
	if detail := detail(w.err); detail != nil {
		event.Detail = detail.Error()
	}
	e.Server.NoteRefusal(event)
}

// answerPanic answers like a fault. It reports true where an answer has begun
// already, which then must not look complete.
func (w *response) answerPanic(r *http.Request, v any) (begun bool) {
	err := fmt.Errorf("panic: %v", v)
	if w.status != 0 || v == http.ErrAbortHandler {
		w.err = err
		return true
	}
	w.fail(r, err)
	return false
}

// judge says in a word how the request ended.
func (w *response) judge(r *http.Request) string {
	if w.err == nil {
		return cmp.Or(w.outcome, "ok")
	}
	var refusal *oauth.Refusal
	switch {
	case errors.As(w.err, &refusal):
		return refusal.Reason
	case errors.Is(w.err, context.Canceled) && r.Context().Err() != nil:
		return "canceled" // the client hung up: nobody's fault
	}
	return errFault.Reason
}

// log writes the one line of a request. It contains nothing that a stranger
// typed: only ids of ours and names from our own lists.
func (e *endpoint) log(w *response, r *http.Request, outcome string, duration time.Duration) {
	level := w.level(outcome)
	if !e.Logger.Enabled(r.Context(), level) {
		return
	}
	attrs := make([]slog.Attr, 0, 12)
	attrs = append(attrs,
		slog.String("request_id", w.requestID), slog.String("method", knownMethod(r.Method)), slog.String("path", w.route.path),
		slog.Int("status", w.status), slog.String("outcome", outcome), slog.String("source", w.source), slog.Duration("duration", duration),
	)
	if w.clientID != "" {
		attrs = append(attrs, slog.String("client_id", w.clientID))
	}
	if w.grantID != "" {
		attrs = append(attrs, slog.String("grant_id", w.grantID))
	}
	if detail := detail(w.err); detail != nil {
		attrs = append(attrs, slog.String("error", detail.Error()))
	}
	if w.stack != nil {
		attrs = append(attrs, slog.String("stack", string(w.stack)))
	}
	e.Logger.LogAttrs(r.Context(), level, "request", attrs...)
}

// detail is what the log tells beyond the outcome: a fault, or the cause of a
// refusal; not the parameter a refusal is about, which may be what somebody typed.
func detail(err error) error {
	var refusal *oauth.Refusal
	if errors.As(err, &refusal) {
		return refusal.Unwrap()
	}
	return err
}

// level is the level of a request's log line. Probes come every second.
func (w *response) level(outcome string) slog.Level {
	switch outcome {
	case oauth.ErrReplay.Reason:
		return slog.LevelWarn
	case oauth.ErrHistoryForked.Reason, oauth.ErrGenerationUnknown.Reason, errFault.Reason:
		return slog.LevelError
	case "ok":
		if w.route.endpoint == "health" {
			return slog.LevelDebug
		}
	}
	return slog.LevelInfo
}

var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE"} // RFC 9110 section 9, RFC 5789

func knownMethod(method string) string {
	if slices.Contains(methods, method) {
		return method
	}
	return "other"
}
