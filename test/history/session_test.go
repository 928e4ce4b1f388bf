package history

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// mostCalls is after how many calls a session leaves its grant and logs in anew, so
// that the search for an order of the calls stays short.
const mostCalls = 200

// user is a resource owner, whose passwords are counted.
type user struct {
	number    int
	name      string
	attempted atomic.Int64 // the newest password that was set, perhaps
	set       atomic.Int64 // the newest that surely was
}

// password is the text of a user's n-th password.
func password(n int64) string { return fmt.Sprintf("right horse staple %d", n) }

// holding is a grant and the tokens that its client holds of it.
type holding struct {
	number  int
	user    *user
	grantID string

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced at every change
	tokens   map[uint32]string
	newest   uint32
	underWay map[uint32]int // calls that are not over, by the generation presented
	calls    int
	over     bool // refused: the client is logged out
}

// change tells those who wait for it. The lock is held.
func (h *holding) change() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// take chooses the token to present so many times: the newest, or for a thief an old
// one. The newest waits until no call is under way that it would turn into a replay:
// that no duplicate of its own is delayed past three rotations is all that an honest
// client has to promise (I7). It reports false when the session must log in anew.
func (h *holding) take(ctx context.Context, rng *rand.Rand, times int, stealing bool) (uint32, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for !h.over && h.calls < mostCalls && ctx.Err() == nil {
		generation := h.newest
		old := stealing && generation >= 2
		if old {
			generation -= 2 + uint32(rng.IntN(min(4, int(generation)-1)))
		}
		if old || h.oldestUnderWay() > int64(generation)-2 {
			h.calls += times
			h.underWay[generation] += times
			return generation, true
		}
		changed := h.changed
		h.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		h.mu.Lock()
	}
	return 0, false
}

func (h *holding) oldestUnderWay() int64 {
	oldest := int64(math.MaxInt64)
	for generation, n := range h.underWay {
		if n > 0 {
			oldest = min(oldest, int64(generation))
		}
	}
	return oldest
}

// token returns the text of a token.
func (h *holding) token(generation uint32) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tokens[generation]
}

// done: a call that presented this generation is over.
func (h *holding) done(generation uint32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.underWay[generation]--
	h.change()
}

// retire: nobody will ever know whether a call is over. A client that now went on for
// three rotations could be the victim of its own request, so it logs in anew.
func (h *holding) retire() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
	h.change()
}

// hear is what the client does with an answer.
func (h *holding) hear(r reply, presented uint32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case r.Answer == OK:
		h.tokens[presented+1] = r.Tokens.RefreshToken
		h.newest = max(h.newest, presented+1)
	case r.Answer == Refused && presented == h.newest:
		h.over = true
	}
	h.change()
}

// session is somebody who is logged in, with one grant at a time. Several workers
// may use it, which then present the same token at once.
type session struct {
	round *round
	user  *user
	thief bool

	mu      sync.Mutex
	holding *holding
	logins  int
}

// work refreshes until the context ends, now and then several times at once.
func (s *session) work(ctx context.Context, process int, rng *rand.Rand) {
	for ctx.Err() == nil {
		h := s.hold(process, rng)
		if h == nil {
			s.round.pause(ctx, rng, 50*time.Millisecond)
			continue
		}
		times := 1
		if rng.IntN(s.round.bursts) == 0 {
			times += 1 + rng.IntN(3)
		}
		generation, ok := h.take(ctx, rng, times, s.thief && rng.IntN(100) == 0)
		if !ok {
			s.leave(h)
			continue
		}
		var atOnce sync.WaitGroup
		for range times {
			own := rand.New(rand.NewPCG(rng.Uint64(), rng.Uint64()))
			atOnce.Go(func() { s.round.refresh(h, generation, process, own) })
		}
		atOnce.Wait()
		s.round.pause(ctx, rng, s.round.pace)
	}
}

// hold returns the session's grant, or logs in; nil: it could not.
func (s *session) hold(process int, rng *rand.Rand) *holding {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holding == nil {
		secret := s.user.attempted.Load()
		if s.logins++; s.logins%2 == 0 { // the newest may not have been set
			secret = s.user.set.Load()
		}
		s.holding = s.round.login(s.user, secret, process, rng)
	}
	return s.holding
}

// leave gives a grant up.
func (s *session) leave(h *holding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holding == h {
		s.holding = nil
	}
}

// login makes a grant at one of the servers.
func (r *round) login(u *user, secret int64, process int, rng *rand.Rand) *holding {
	server := rng.IntN(len(r.servers))
	conn, err := dial(r.servers[server].Address)
	if err != nil {
		return nil
	}
	call := r.recorder.Begin(Call{Operation: Login, User: u.number, Process: process, Server: server + 1, Secret: int(secret)})
	var made *holding
	over := make(chan struct{})
	w := &wire{conn: conn, after: 10 * time.Second, listening: &r.listening, over: func(a reply) {
		made = r.loggedIn(call, u, a)
		close(over)
	}}
	answer := w.ask(map[string]string{
		"grant_type": "password", "client_id": r.client.ID, "client_secret": r.client.Secret, "username": u.name, "password": password(secret),
	})
	if answer.Answer != OK {
		return nil
	}
	<-over
	return made
}

// loggedIn records the answer to a login: a grant, if it was heard.
func (r *round) loggedIn(call *Call, u *user, a reply) *holding {
	token, err := ParseToken(a.Tokens.RefreshToken)
	if a.Answer != OK || err != nil {
		r.recorder.End(call, func(c *Call) { c.Answer = a.Answer })
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	h := &holding{
		number: len(r.holdings) + 1, user: u, grantID: grantID(a.Tokens.AccessToken), changed: make(chan struct{}),
		tokens: map[uint32]string{0: a.Tokens.RefreshToken}, underWay: map[uint32]int{},
	}
	r.holdings = append(r.holdings, h)
	r.recorder.End(call, func(c *Call) { c.Answer, c.Grant, c.Delivered = OK, h.number, token })
	return h
}

// refresh presents a token to one of the servers.
func (r *round) refresh(h *holding, generation uint32, process int, rng *rand.Rand) {
	server := rng.IntN(len(r.servers))
	conn, err := dial(r.servers[server].Address)
	if err != nil {
		h.done(generation)
		return
	}
	w := &wire{conn: conn}
	w.decide(rng, r.losses)
	r.present(h, generation, process, server, w)
}

// present presents a token over a wire, records what comes of it, and returns what
// the client hears.
func (r *round) present(h *holding, generation uint32, process, server int, w *wire) Answer {
	text := h.token(generation)
	presented, err := ParseToken(text)
	if err != nil {
		r.Errorf("grant %d: %v", h.number, err)
	}
	call := r.recorder.Begin(Call{Operation: Refresh, User: h.user.number, Grant: h.number, Process: process, Server: server + 1, Presented: presented})
	w.listening, w.over = &r.listening, func(a reply) {
		r.refreshed(call, a)
		h.done(generation)
	}
	a := w.ask(map[string]string{
		"grant_type": "refresh_token", "client_id": r.client.ID, "client_secret": r.client.Secret, "refresh_token": text,
	})
	if a.Answer == None {
		r.recorder.Lose(call)
	}
	if w.fate == reset {
		h.retire()
	}
	h.hear(a, generation)
	return a.Answer
}

// refreshed records what a server answered, whether the client hears it or not.
func (r *round) refreshed(call *Call, a reply) {
	token, err := ParseToken(a.Tokens.RefreshToken)
	if a.Answer == OK && err != nil {
		a.Answer = "200 without a refresh token"
	}
	if a.Answer == OK {
		r.accepted.Add(1)
	}
	r.recorder.End(call, func(c *Call) { c.Answer, c.Delivered = a.Answer, token })
}

// grantID reads the claim of that name from an access token.
func grantID(accessToken string) string {
	parts := strings.Split(accessToken, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		GrantID string `json:"grant_id"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		return ""
	}
	return claims.GrantID
}

// pause waits for a random time at most so long, or until the context ends.
func (r *round) pause(ctx context.Context, rng *rand.Rand, longest time.Duration) {
	r.wait(ctx, time.Duration(rng.Int64N(int64(longest)+1)))
}

// wait waits so long, or until the context ends.
func (r *round) wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
