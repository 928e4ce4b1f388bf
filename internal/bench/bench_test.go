package bench

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// options are those of a short run against a server.
func options(t *testing.T, address string) Options {
	t.Helper()
	u, err := url.Parse(address + "/token")
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		URL: u, ClientID: "shop", ClientSecret: "s&cret", Username: "alice", Password: "right=horse",
		Clients: 4, Duration: 300 * time.Millisecond, Lose: 0.2, Timeout: 5 * time.Second, Seed: 1,
	}
}

func mustRun(t *testing.T, o Options) *Result {
	t.Helper()
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestReport: each kind of server is reported as what it is. (A client that hangs up
// early may be overtaken by its own retry: then a strict server grants the retry, and one
// that replaces siblings has killed the one the client holds.)
func TestReport(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rule rule
		lose float64
		race int
		want map[string]bool // which figures are not zero; false: they may be
	}{
		"same successor":              {rule: sameSuccessor, lose: .2, want: figures("rotations lost retries.same")},
		"same successor, raced":       {rule: sameSuccessor, lose: .2, race: 4, want: figures("rotations lost retries.same copies.same")},
		"same successor, all is well": {rule: sameSuccessor, want: figures("rotations")},
		"forking":                     {rule: forking, lose: .2, want: figures("rotations lost retries.other forks")},
		"forking, raced":              {rule: forking, race: 3, want: figures("rotations copies.other forks")},
		"forking, all is well":        {rule: forking, want: figures("rotations")},
		"siblings":                    {rule: siblings, lose: .2, want: figures("rotations lost retries.other siblings lost_sessions?")},
		"hand-over":                   {rule: handOver, lose: .2, want: figures("rotations lost retries.other siblings")},
		"two spellings":               {rule: spellings, lose: .2, want: figures("rotations lost retries.other siblings")},
		"strict":                      {rule: strict, lose: .2, want: figures("rotations lost retries.refused lost_sessions retries.unseen?")},
		"strict, raced":               {rule: strict, race: 3, want: figures("rotations copies.refused")},
		"strict, all is well":         {rule: strict, want: figures("rotations")},
		"strict and revoking, raced":  {rule: strictRevoking, race: 3, want: figures("rotations copies.refused lost_sessions")},
		"not rotating":                {rule: notRotating, lose: .2, race: 2, want: figures("reuses lost retries.reused copies.reused")},
		"silent":                      {rule: silent, lose: .2, race: 2, want: figures("reuses lost retries.reused copies.reused")},
		"forgetful":                   {rule: forgetful, want: figures("rotations lost_sessions")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options(t, start(t, c.rule).URL)
			o.Lose, o.Race, o.JSON = c.lose, c.race, len(name)%2 == 0
			r := mustRun(t, o)
			for figure, n := range figuresOf(r) {
				must, may := c.want[figure]
				if n > 0 && !may || n == 0 && must {
					t.Errorf("%s is %d; want more than zero: %t", figure, n, must)
				}
			}
			checkSums(t, r)
		})
	}
}

func figures(names string) map[string]bool {
	set := map[string]bool{}
	for _, name := range strings.Fields(names) {
		name, may := strings.CutSuffix(name, "?")
		set[name] = !may
	}
	return set
}

func figuresOf(r *Result) map[string]int64 {
	return map[string]int64{
		"rotations": r.Rotations, "reuses": r.Reuses, "lost": r.LostAnswers, "forks": r.Forks, "siblings": r.Siblings,
		"lost_sessions": r.LostSessions, "late": r.LateRetries, "undecided": r.Undecided,
		"retries.same": r.Retries.Same, "retries.other": r.Retries.Other, "retries.unseen": r.Retries.Unseen,
		"retries.reused": r.Retries.Reused, "retries.refused": r.Retries.Refused, "retries.failed": r.Retries.Failed,
		"copies.same": r.Copies.Same, "copies.other": r.Copies.Other, "copies.unseen": r.Copies.Unseen,
		"copies.reused": r.Copies.Reused, "copies.refused": r.Copies.Refused, "copies.failed": r.Copies.Failed,
	}
}

// checkSums: every lost answer has an ending, and a violation is an error.
func checkSums(t *testing.T, r *Result) {
	t.Helper()
	if e := r.Retries; e.Same+e.Other+e.Unseen+e.Reused+e.Refused+e.Failed != r.LostAnswers {
		t.Errorf("%d answers were lost, and their retries ended like this: %+v", r.LostAnswers, e)
	}
	if (r.Err() != nil) != (r.Forks+r.LostSessions > 0) {
		t.Errorf("%d forks and %d lost sessions give the error %v", r.Forks, r.LostSessions, r.Err())
	}
	if n := len(r.Cases); (n > 0) != (r.Err() != nil) || n > maxCases {
		t.Errorf("there are %d cases, and the error %v", n, r.Err())
	}
}

// TestSettle: what two different successors of one refresh token are found to be.
func TestSettle(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rule  rule
		uses  int
		own   int  // which answer the client has
		flaky bool // from then on, there are only errors
		want  Result
		ends  bool // the client has to log in again
	}{
		"fork":                        {rule: forking, uses: 2, own: 1, want: Result{Forks: 1}},
		"fork of five":                {rule: forking, uses: 5, own: 2, want: Result{Forks: 1}},
		"one lives":                   {rule: siblings, uses: 2, own: 1, want: Result{Siblings: 1}, ends: true},
		"one lives, the client's not": {rule: siblings, uses: 2, own: 0, want: Result{Siblings: 1, LostSessions: 1}, ends: true},
		"one lives, and was first":    {rule: decoys, uses: 2, own: 0, want: Result{Siblings: 1}, ends: true},
		"the session changes hands":   {rule: handOver, uses: 2, own: 1, want: Result{Siblings: 1}},
		"one in two spellings":        {rule: spellings, uses: 2, own: 1, want: Result{Siblings: 1}},
		"errors":                      {rule: forking, uses: 2, own: 1, flaky: true, want: Result{Undecided: 1}, ends: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inner, fails := http.Handler(&server{rule: c.rule, tokens: map[string]*token{}}), false
			running := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if fails {
					w.WriteHeader(http.StatusServiceUnavailable)
					return
				}
				inner.ServeHTTP(w, r)
			}))
			defer running.Close()
			s := newSession(t.Context(), newRun(options(t, running.URL)), 0)
			defer s.close()
			s.login(time.Time{})
			for range c.uses {
				s.witness(s.send(Refresh, time.Time{}))
			}
			fails = c.flaky
			live := s.settle(s.use.successors[c.own])
			got := s.recorder.r
			if got.Forks != c.want.Forks || got.Siblings != c.want.Siblings || got.Undecided != c.want.Undecided || got.LostSessions != c.want.LostSessions {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if (live == "") != c.ends {
				t.Errorf("goes on with %q, want an end: %t", live, c.ends)
			}
		})
	}
}

// TestOutcome: what an answer means for its client.
func TestOutcome(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status  int
		body    string
		want    outcome
		problem string
	}{
		{200, `{"access_token":"a","refresh_token":"r"}`, granted, ""},
		{200, `{"access_token":"a"}`, granted, ""},
		{200, `{"refresh_token":"r"}`, failed, "200 without an access_token in JSON"},
		{200, `<html>`, failed, "200 without an access_token in JSON"},
		{400, `{"error":"invalid_grant"}`, refused, "400 invalid_grant"},
		{401, `{"error":"invalid_grant"}`, refused, "401 invalid_grant"},
		{401, `{"error":"invalid_request"}`, refused, "401 invalid_request"},
		{401, `<html>`, refused, "401"},
		{401, `{"error":"invalid_client"}`, failed, "401 invalid_client"},
		{400, `{"error":"invalid_scope\u001b"}`, failed, "400 invalid_scope?"},
		{429, `{"error":"slow_down"}`, failed, "429 slow_down"},
		{503, ``, failed, "503"},
		{302, ``, failed, "302"},
	} {
		a := newAnswer(&http.Response{StatusCode: c.status, Header: http.Header{}}, []byte(c.body))
		if got := a.outcome(); got != c.want {
			t.Errorf("%d %s: outcome %d, want %d", c.status, c.body, got, c.want)
		}
		if got := a.problem(); c.want != granted && got != c.problem {
			t.Errorf("%d %s: %q, want %q", c.status, c.body, got, c.problem)
		}
	}
}

// TestHangUp: the server sees that its client has gone, and the bench still learns what
// it answers.
func TestHangUp(t *testing.T) {
	t.Parallel()
	waiting := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm() // the server watches the connection once the body is read
		<-r.Context().Done()
		_, _ = io.WriteString(w, `{"access_token":"a","refresh_token":"r"}`)
	}))
	defer waiting.Close()
	r := newRun(options(t, waiting.URL))
	c := newConn(t.Context(), r)
	defer c.close()
	if a, ok := c.send(r.requests.refresh("t")); !ok {
		t.Fatalf("the request could not be sent: %v", a.err)
	}
	c.hangUp()
	if a := c.receive(); a.outcome() != granted || a.refreshToken != "r" {
		t.Errorf("got %+v, want the answer to a client that has gone", a)
	}
}

// TestFlaky: the 500s of a server that keeps its promise cost no session.
func TestFlaky(t *testing.T) {
	t.Parallel()
	flaking := httptest.NewServer(flaky(&server{rule: sameSuccessor, tokens: map[string]*token{}}, 7))
	defer flaking.Close()
	r := mustRun(t, options(t, flaking.URL))
	if len(r.Errors) != 1 || r.Errors[0].Name != "500" || r.Errors[0].Count < 3 {
		t.Errorf("errors %+v, want some 500", r.Errors)
	}
	if r.Err() != nil || r.Siblings+r.Retries.Refused > 0 || r.Rotations == 0 {
		t.Errorf("got %+v, want rotations and no violation", r)
	}
}

// TestFlakyStrict: a 500 after the token was consumed costs a session, where there is no
// retry.
func TestFlakyStrict(t *testing.T) {
	t.Parallel()
	flaking := httptest.NewServer(flaky(&server{rule: strict, tokens: map[string]*token{}}, 7))
	defer flaking.Close()
	o := options(t, flaking.URL)
	o.Lose = 0
	if r := mustRun(t, o); r.LostSessions == 0 {
		t.Errorf("got %+v, want lost sessions", r)
	}
}

// TestHanging: requests without an answer time out, count as lost, and are retried.
func TestHanging(t *testing.T) {
	t.Parallel()
	hangs := httptest.NewServer(hanging(&server{rule: sameSuccessor, tokens: map[string]*token{}}, 23))
	defer hangs.Close()
	o := options(t, hangs.URL)
	o.Lose, o.Timeout = 0, 50*time.Millisecond
	r := mustRun(t, o)
	if len(r.Errors) != 1 || r.Errors[0].Name != "transport: timeout" {
		t.Errorf("errors %+v, want timeouts", r.Errors)
	}
	if r.Err() != nil || r.LostAnswers == 0 || r.Retries.Unseen != r.LostAnswers {
		t.Errorf("got %+v, want a successor for every lost answer", r)
	}
	checkSums(t, r)
}

// TestDeaf: a server that stops answering ends neither the run late nor a session.
func TestDeaf(t *testing.T) {
	t.Parallel()
	inner := &server{rule: sameSuccessor, tokens: map[string]*token{}}
	deaf := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := parameters(r)
		if p["grant_type"] == GrantTypeRefreshToken {
			<-r.Context().Done()
			return
		}
		refreshToken, _ := inner.token(p)
		_, _ = fmt.Fprintf(w, `{"access_token":"a","refresh_token":%q}`, refreshToken)
	}))
	defer deaf.Close()
	o := options(t, deaf.URL)
	o.Timeout = time.Minute
	begun := time.Now()
	r := mustRun(t, o)
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("the run took %s", took)
	}
	if r.Requests > 0 || r.Err() != nil {
		t.Errorf("got %+v, want neither answers nor violations", r)
	}
	checkSums(t, r)
}

// TestLateRetry: a refusal after the window is no violation.
func TestLateRetry(t *testing.T) {
	t.Parallel()
	o := options(t, start(t, strict).URL)
	o.Window = time.Nanosecond
	r := mustRun(t, o)
	if r.LateRetries == 0 || r.Retries.Refused < r.LateRetries || r.Err() != nil {
		t.Errorf("got %+v, want late retries and no violation", r)
	}
}

// TestRate: latency counts from when a request was due. One that takes 100 ms, at 20
// due in this time, makes those behind it late.
func TestRate(t *testing.T) {
	t.Parallel()
	inner, n := &server{rule: notRotating, tokens: map[string]*token{}}, 0
	stalls := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n++; n == 20 { // there is one client
			<-time.After(100 * time.Millisecond)
		}
		inner.ServeHTTP(w, r)
	}))
	defer stalls.Close()
	o := options(t, stalls.URL)
	o.Clients, o.Rate, o.Lose, o.Duration = 1, 200, 0, 500*time.Millisecond
	r := mustRun(t, o)
	if most := int64(o.Rate*r.Elapsed.Seconds()) + 2; r.Requests <= 20 || r.Requests > most { // the first at 0, and a login
		t.Errorf("%d requests in %s, want %d, or fewer on a busy machine", r.Requests, r.Elapsed, most)
	}
	refreshes := r.Latencies[len(r.Latencies)-1]
	if refreshes.P90 < 40*time.Millisecond {
		t.Errorf("p90 is %s, want at least 40 ms: a fifth of the requests had to wait", refreshes.P90)
	}
}

// TestLogins: logins can be repeated too.
func TestLogins(t *testing.T) {
	t.Parallel()
	o := options(t, start(t, strict).URL)
	o.GrantType = GrantTypePassword
	r := mustRun(t, o)
	if len(r.Latencies) != 1 || r.Latencies[0].Kind != Login || r.Requests < 10 || r.LostAnswers > 0 {
		t.Errorf("got %+v, want logins only", r)
	}
}

// TestNotBegun: a run that cannot begin says why, without the secrets.
func TestNotBegun(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx     context.Context
		address string
		change  func(*Options)
		want    string
	}{
		"wrong password":   {change: func(o *Options) { o.Password = "wrong" }, want: "the login failed: 400 invalid_grant"},
		"wrong secret":     {change: func(o *Options) { o.ClientSecret = "" }, want: "the login failed: 400 invalid_grant"},
		"nobody listens":   {address: closed.URL, want: "the login failed: transport: connection refused"},
		"ended beforehand": {ctx: canceled, want: "context canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.address == "" {
				c.address = start(t, strict).URL
			}
			if c.ctx == nil {
				c.ctx = t.Context()
			}
			o := options(t, c.address)
			if c.change != nil {
				c.change(&o)
			}
			_, err := Run(c.ctx, o)
			if !errors.Is(err, ErrNotBegun) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestEndedEarly: the end of the context ends the run, with a result.
func TestEndedEarly(t *testing.T) {
	t.Parallel()
	o := options(t, start(t, sameSuccessor).URL)
	ctx, cancel := context.WithCancel(t.Context())
	o.Duration, o.Every = time.Hour, 10*time.Millisecond
	o.Watch = func(p Progress) {
		if p.Throughput > 0 && p.P99 > 0 && p.Elapsed > 0 {
			cancel()
		}
	}
	r, err := Run(ctx, o)
	if err != nil || r.Rotations == 0 || r.Err() != nil {
		t.Errorf("got %+v and %v, want a result", r, err)
	}
	checkSums(t, r)
}

// TestTLS: the certificate is verified, and a client that hangs up gets along with TLS.
func TestTLS(t *testing.T) {
	t.Parallel()
	secure := httptest.NewUnstartedServer(&server{rule: sameSuccessor, tokens: map[string]*token{}})
	secure.EnableHTTP2 = true
	secure.StartTLS()
	defer secure.Close()
	o := options(t, secure.URL)
	if _, err := Run(t.Context(), o); !errors.Is(err, ErrNotBegun) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown certificate gives %v", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	o.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	r := mustRun(t, o)
	if r.Retries.Same == 0 || r.Err() != nil || len(r.Errors) > 0 {
		t.Errorf("got %+v, want the same successor for lost answers", r)
	}
	checkSums(t, r)
}

// TestSecret: no way of printing shows a secret.
func TestSecret(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		if got := fmt.Sprintf(verb, Secret("hunter2")); got != "[redacted]" {
			t.Errorf("%s prints %q", verb, got)
		}
	}
}
