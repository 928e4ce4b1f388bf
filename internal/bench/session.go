package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

const (
	firstPause   = 50 * time.Millisecond // after a failure, doubled with each in a row
	longestPause = 5 * time.Second       // also of what Retry-After asks for
	// loginPatience is how long a client tries to log in before the run.
	loginPatience = 30 * time.Second
)

// session is an honest client: it uses its newest refresh token, sends the same request
// again while it has no answer, and goes on with what the answer brings.
type session struct {
	*run
	cut    context.Context // its end cuts everything off
	number int
	conns  []*conn // one per simultaneous use
	rand   *rand.Rand
	due    time.Time // when the next request is due, where there is a rate

	held     string // the refresh token; empty: log in
	use      use    // of the one that is held
	failures int    // in a row
}

// use is what became of a refresh token so far.
type use struct {
	began      time.Time // when it was first sent; zero: it was not
	lost       int       // answers that the client did not get
	successors []string  // the different ones handed out for it, in order of arrival
	loose      []*conn   // where answers come that the client does not wait for
}

// fate is what becomes of the answers to one use of a refresh token.
type fate int

const (
	kept      fate = iota
	lostEarly      // the client hangs up as soon as it has sent the request
	lostLate       // the server has answered, and the client loses it
)

func newSession(cut context.Context, r *run, number int) *session {
	s := &session{
		run: r, cut: cut, number: number, conns: make([]*conn, r.Race),
		rand: rand.New(rand.NewPCG(r.Seed, uint64(number))),
	}
	for i := range s.conns {
		s.conns[i] = newConn(cut, r)
	}
	return s
}

func (s *session) close() {
	for _, c := range slices.Concat(s.conns, s.use.loose) {
		c.close()
	}
}

// begin logs in before the run. A server that is busy is asked again.
func (s *session) begin(ctx context.Context) error {
	for end := time.Now().Add(loginPatience); ; {
		a := s.login(time.Time{})
		switch {
		case a.outcome() == granted && s.held == "" && s.GrantType == GrantTypeRefreshToken:
			return fmt.Errorf("%w: the answer to the login has no refresh_token", ErrNotBegun)
		case a.outcome() == granted:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("%w: %w", ErrNotBegun, context.Cause(ctx))
		case !a.temporary() || time.Now().After(end):
			return fmt.Errorf("%w: the login failed: %s", ErrNotBegun, a.problem())
		}
		s.pause(ctx, &a)
	}
}

// work repeats requests until ctx ends. An answer that is lost then is still asked for:
// only the retry tells whether the client would have been logged out.
func (s *session) work(ctx context.Context) {
	if s.Rate > 0 {
		s.due = s.start.Add(seconds(float64(s.number) / s.Rate))
	}
	for {
		due, ok := s.await(ctx)
		if !ok {
			break
		}
		s.step(ctx, due)
	}
	for s.use.lost > 0 && s.cut.Err() == nil {
		s.refresh(s.cut, time.Time{}, kept)
	}
	s.recorder.endings(s.use.lost, Failed)
}

// await waits until the next request is due. With a rate, its latency counts from then
// on, however late it is sent: else a slow server would be asked less, and look fast.
// A retry has no place on the schedule; it follows at once.
func (s *session) await(ctx context.Context) (due time.Time, ok bool) {
	if s.Rate <= 0 || !s.use.began.IsZero() {
		return time.Time{}, ctx.Err() == nil
	}
	due = s.due
	s.due = due.Add(seconds(float64(s.Clients) / s.Rate))
	return due, sleep(ctx, time.Until(due))
}

// step sends the next request, or the same once more.
func (s *session) step(ctx context.Context, due time.Time) {
	if s.GrantType == GrantTypeRefreshToken && s.held != "" {
		s.refresh(ctx, due, s.fate())
		return
	}
	if a := s.login(due); a.outcome() != granted {
		s.pause(ctx, &a)
	}
}

// fate draws what becomes of the next answers.
func (s *session) fate() fate {
	switch chance := s.rand.Float64(); {
	case chance < s.Lose/2:
		return lostEarly
	case chance < s.Lose:
		return lostLate
	}
	return kept
}

// login begins a session.
func (s *session) login(due time.Time) answer {
	a := timed(due, func() answer { return s.conns[0].ask(s.requests.login) })
	s.recorder.answer(Login, &a)
	if a.outcome() == granted {
		s.hold(a.refreshToken)
	}
	return a
}

// hold goes on with a refresh token; without one, the client logs in.
func (s *session) hold(token string) { s.held, s.use, s.failures = token, use{}, 0 }

// refresh uses the refresh token that is held, over all connections at the same time.
func (s *session) refresh(ctx context.Context, due time.Time, f fate) {
	kind := Retry
	if s.use.began.IsZero() {
		kind, s.use.began = Refresh, time.Now()
	}
	if f == lostEarly {
		s.sendAndHangUp(ctx, kind)
		return
	}
	answers := s.send(kind, due)
	if f == lostLate {
		s.witness(answers)
		s.lose()
		for _, c := range s.conns {
			c.close()
		}
		return
	}
	s.witness(s.collect())
	s.judge(ctx, kind, answers)
}

// send sends the request over every connection, and returns the answers in the order of
// their arrival.
func (s *session) send(kind Kind, due time.Time) []answer {
	request := s.requests.refresh(s.held)
	ask := func(c *conn) answer {
		a := timed(due, func() answer { return c.ask(request) })
		s.recorder.answer(kind, &a)
		return a
	}
	if len(s.conns) == 1 {
		return []answer{ask(s.conns[0])}
	}
	var lock sync.Mutex
	var answers []answer
	var working sync.WaitGroup
	for _, c := range s.conns {
		working.Go(func() {
			a := ask(c)
			lock.Lock()
			defer lock.Unlock()
			answers = append(answers, a)
		})
	}
	working.Wait()
	return answers
}

// sendAndHangUp sends the request and hangs up. For the server the client has gone. The
// bench itself still listens, so as to compare the answer with that to the retry, which
// follows at once.
func (s *session) sendAndHangUp(ctx context.Context, kind Kind) {
	request, sent := s.requests.refresh(s.held), false
	for i, c := range s.conns {
		a, ok := c.send(request)
		if !ok {
			s.recorder.answer(kind, &a)
			sent = sent || a.sent
			continue
		}
		sent = true
		c.hangUp()
		s.use.loose = append(s.use.loose, c)
		s.conns[i] = newConn(s.cut, s.run)
	}
	if sent {
		s.lose()
		return
	}
	s.pause(ctx, &answer{})
}

// collect reads the answers that the client did not wait for. The client does not go on
// before: one who refreshes three times while its own first request is still on the way
// looks like a thief to any server that recognises replays.
func (s *session) collect() []answer {
	var answers []answer
	for _, c := range s.use.loose {
		answers = append(answers, c.receive())
		c.close()
	}
	s.use.loose = nil
	return answers
}

// lose counts an answer that the client did not get.
func (s *session) lose() {
	s.use.lost++
	s.recorder.lose()
}

// witness remembers the successors in answers that the client never saw.
func (s *session) witness(answers []answer) {
	for i := range answers {
		s.ending(&answers[i])
	}
}

// ending says how a request ended, and what its refresh token is beside those handed
// out before.
func (s *session) ending(a *answer) Ending {
	switch a.outcome() {
	case cutOff:
		return Cut
	case failed:
		return Failed
	case refused:
		return Refused
	}
	switch {
	case a.refreshToken == "" || a.refreshToken == s.held:
		return Reused // a new one is optional (RFC 6749 section 6)
	case slices.Contains(s.use.successors, a.refreshToken):
		return Same
	}
	s.use.successors = append(s.use.successors, a.refreshToken)
	if len(s.use.successors) == 1 {
		return First
	}
	return Other
}

// judge draws the conclusions from the answers that the client got. The client counts
// as refused only if none of its simultaneous requests ended better.
func (s *session) judge(ctx context.Context, kind Kind, answers []answer) {
	next := s.held // that of the last answer, as one holds whose requests all store what they get
	var endings []Ending
	for i := range answers {
		endings = append(endings, s.ending(&answers[i]))
		if answers[i].outcome() == granted && answers[i].refreshToken != "" {
			next = answers[i].refreshToken
		}
	}
	slices.Sort(endings)
	s.recorder.copies(endings[1:])
	switch endings[0] {
	case Cut:
	case Failed:
		s.unanswered(ctx, answers)
	case Refused:
		s.refused(kind, &answers[0])
	default:
		s.recorder.endings(s.use.lost, endings[0])
		s.goOn(next)
	}
}

// unanswered keeps the refresh token: the same request will be sent again.
func (s *session) unanswered(ctx context.Context, answers []answer) {
	if slices.ContainsFunc(answers, func(a answer) bool { return a.lost() }) {
		s.lose()
	}
	s.pause(ctx, &answers[0])
}

// refused ends the session. An honest client is logged out by that; but its retry must
// not have come later than anybody need keep the answer for.
func (s *session) refused(kind Kind, a *answer) {
	s.recorder.endings(s.use.lost, Refused)
	if kind == Retry && time.Since(s.use.began) >= s.Window {
		s.recorder.lateRetry()
	} else {
		s.recorder.violation(LostSession, a)
	}
	s.hold("")
}

// goOn holds the successor. Where others were handed out too, it is asked which live.
func (s *session) goOn(next string) {
	s.recorder.refreshed(next != s.held)
	if len(s.use.successors) > 1 {
		next = s.settle(next)
	}
	s.hold(next)
}

// pause waits before a request is sent again, as long as the server asks for.
func (s *session) pause(ctx context.Context, a *answer) {
	wait := max(a.retryAfter, firstPause<<min(s.failures, 6))
	s.failures++
	sleep(ctx, min(wait, longestPause))
}

// sleep waits, and reports whether it was not interrupted.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// timed measures how long an answer takes, from when it was due if that is known.
func timed(due time.Time, ask func() answer) answer {
	if due.IsZero() {
		due = time.Now()
	}
	a := ask()
	a.took = time.Since(due)
	return a
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
