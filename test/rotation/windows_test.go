package rotation_test

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/test/proof"
)

// TestWindowEdges looks at the edge of every window and lifetime: a nanosecond
// before it, at it, after it. The clock is that of a bubble of testing/synctest,
// where time.Sleep takes no time. A round begins at a random part of a second and
// has windows of random length.
func TestWindowEdges(t *testing.T) {
	t.Parallel()
	looks := 0
	for seed := range proof.Rounds(t, 1) {
		random := rand.New(rand.NewPCG(seed, 0))
		phase := time.Duration(random.Int64N(int64(time.Second)))
		for _, e := range edges(random) {
			for _, offset := range offsets {
				if e.length+offset < 0 {
					continue // before the window began
				}
				synctest.Test(t, func(t *testing.T) { e.look(t, phase, offset) })
				looks++
			}
		}
		for _, l := range secondLooks {
			synctest.Test(t, l.look)
			looks++
		}
		synctest.Test(t, lookBackwards)
	}
	proof.Count(t, looks, "looks at an edge")
}

// offsets are the distances from an edge at which is looked.
var offsets = []time.Duration{-time.Second, -time.Microsecond, -time.Nanosecond, 0, time.Nanosecond, time.Microsecond, time.Second}

// edge is the end of a window.
//
// A store keeps whole microseconds, rounded down, and decides by its clock, rounded
// down as well. So a window of whole microseconds that begins at a nanosecond ends
// exactly its length after the microsecond that holds its beginning: up to 999 ns
// early, never late.
type edge struct {
	name          string
	settings      oauth.Settings
	client        oauth.Client
	begin         func(a *act) // what begins the window, after a login; nil: the login
	length        time.Duration
	end           func(begun time.Time, length time.Duration) time.Time // nil: as above
	probe         func(a *act) string
	inside, after string // what probe returns
}

// look goes through a window and looks at an offset from its end.
func (e *edge) look(t *testing.T, phase, offset time.Duration) {
	time.Sleep(phase)
	a := newAct(t, time.Now, e.settings, e.client)
	if e.begin != nil {
		e.begin(a)
	}
	end := byMicrosecond(time.Now(), e.length)
	if e.end != nil {
		end = e.end(time.Now(), e.length)
	}
	if offset < 0 || e.length > 0 {
		time.Sleep(time.Until(end.Add(offset)))
	}
	want := e.inside
	if offset >= 0 {
		want = e.after
	}
	if got := e.probe(a); got != want {
		t.Errorf("%s of %v that began %v after the second, %v from its end: got %q, want %q", e.name, e.length, phase, offset, got, want)
	}
}

// byMicrosecond is the end of a window that a store keeps.
func byMicrosecond(begun time.Time, length time.Duration) time.Time {
	return begun.Truncate(time.Microsecond).Add(length)
}

// bySecond is the end of an access token: its times are seconds (RFC 7519 section 2).
func bySecond(begun time.Time, length time.Duration) time.Time {
	return begun.Truncate(time.Second).Add(length)
}

// exactly is the end of what is kept in the server's own memory.
func exactly(begun time.Time, length time.Duration) time.Time { return begun.Add(length) }

// newAct makes a world in memory with one client, whose user just logged in.
func newAct(t *testing.T, now func() time.Time, settings oauth.Settings, c oauth.Client) *act {
	s := &stage{world: newWorld(t, inMemory, now, settings)}
	return s.begin(t, &scenario{client: c}, nil)
}

// edges are all there are.
func edges(random *rand.Rand) []edge {
	length := func(most time.Duration) time.Duration { // of any order of magnitude
		return time.Duration(1+random.Int64N(max(1, int64(most/time.Microsecond)>>random.IntN(40)))) * time.Microsecond
	}
	window, other := length(20*24*time.Hour), length(time.Hour)
	list := retryEdges(window, other)
	list = append(list, lateEdges(length(time.Hour))...)
	list = append(list, lifetimeEdges(length(20*24*time.Hour))...)
	list = append(list, accessTokenEdges(length(accessTokenLifetime/2))...)
	return append(list, secretEdges(length(24*time.Hour))...)
}

// retryEdges: the predecessor gets the successor again, and then is a replay.
func retryEdges(window, other time.Duration) []edge {
	none := time.Duration(0)
	set := defaultSettings()
	set.RetryWindow = &window
	otherwise := defaultSettings()
	otherwise.RetryWindow = &other
	list := []edge{
		{name: "the retry window of a public client", settings: defaultSettings(), client: public, length: time.Minute},
		{name: "the retry window of a confidential client", settings: defaultSettings(), length: 5 * time.Minute},
		{name: "the server's retry window", settings: set, client: public, length: window},
		{name: "the client's retry window", settings: otherwise, client: oauth.Client{Public: true, RetryWindow: &window}, length: window},
		{name: "no retry window", settings: defaultSettings(), client: oauth.Client{RetryWindow: &none}, length: 0},
	}
	for i := range list {
		e := &list[i]
		e.begin, e.probe, e.inside, e.after = (*act).predecessor, (*act).present, "retried", "replay"
	}
	return list
}

// lateEdges: an older token is a straggler, and then a replay.
func lateEdges(window time.Duration) []edge {
	set, none := defaultSettings(), defaultSettings()
	set.LateWindow, none.LateWindow = window, 0
	list := []edge{
		{name: "the late window", settings: defaultSettings(), length: lateWindow},
		{name: "the late window set", settings: set, length: window},
		{name: "no late window", settings: none, length: 0},
	}
	for i := range list {
		e := &list[i]
		e.begin, e.probe, e.inside, e.after = func(a *act) { a.older(2) }, (*act).present, "straggler", "replay"
	}
	return list
}

// lifetimeEdges: the newest token rotates, and then is over.
func lifetimeEdges(life time.Duration) []edge {
	set, absolute := defaultSettings(), defaultSettings()
	set.RefreshTokenLifetime = life
	absolute.AbsoluteLifetime = life
	seconds := life.Truncate(time.Second) + time.Second // a client's lifetimes are whole seconds
	list := []edge{
		{name: "the idle lifetime", settings: set, length: life},
		{name: "the idle lifetime after a refresh", settings: set, begin: (*act).rotated, length: life},
		{name: "the client's idle lifetime", settings: defaultSettings(), client: oauth.Client{RefreshTokenLifetime: seconds}, length: seconds},
		{name: "the client's idle lifetime, tightened", settings: defaultSettings(), begin: func(a *act) { a.setLifetime(seconds) }, length: seconds},
		{name: "the client's idle lifetime, loosened", settings: set, begin: func(a *act) { a.setLifetime(2 * seconds) }, length: life},
		{name: "the idle lifetime of a reusable token", settings: set, client: oauth.Client{ReusableRefreshTokens: true}, begin: (*act).reused, length: life},
		{name: "the absolute lifetime", settings: absolute, length: life},
		{name: "the absolute lifetime, refreshed", settings: absolute, begin: (*act).rotated, length: life},
	}
	for i := range list {
		e := &list[i]
		e.probe, e.inside, e.after = (*act).present, "rotated", "grant_expired"
		if e.client.ReusableRefreshTokens {
			e.inside = "reused"
		}
	}
	return list
}

// accessTokenEdges: an access token is alive, and then dead.
func accessTokenEdges(window time.Duration) []edge {
	set := defaultSettings()
	set.PreviousAccessToken.For = window
	list := []edge{
		{name: "the access token lifetime", settings: defaultSettings(), length: accessTokenLifetime, end: bySecond, probe: (*act).accessTokenState},
		{name: "the client's access token lifetime", settings: defaultSettings(), client: oauth.Client{AccessTokenLifetime: time.Minute}, length: time.Minute, end: bySecond, probe: (*act).accessTokenState},
		{name: "the life of the previous access token", settings: set, begin: (*act).rotated, length: window, probe: (*act).accessTokenState},
		{name: "no life of the previous access token", settings: defaultSettings(), begin: (*act).rotated, length: 0, probe: (*act).accessTokenState},
		{name: "the life of the access token before that", settings: set, begin: func(a *act) { a.older(2) }, length: 0, probe: (*act).accessTokenState},
	}
	for i := range list {
		list[i].inside, list[i].after = "alive", "dead"
	}
	return list
}

// secretEdges: secrets that overlap, and what is remembered of wrong ones.
func secretEdges(overlap time.Duration) []edge {
	return []edge{
		{
			name: "the overlap of a client secret", settings: defaultSettings(), length: overlap,
			begin: func(a *act) { a.rotateSecret(overlap) }, probe: (*act).present, inside: "rotated", after: "client_unauthenticated",
		},
		{
			name: "the pause after wrong passwords", settings: defaultSettings(), length: 2 * time.Second,
			begin: func(a *act) { a.guess(5) }, probe: (*act).logIn, inside: "throttled", after: "login",
		},
		{
			// At its end a counter is still remembered: only what is older is not.
			name: "the memory of wrong passwords", settings: defaultSettings(), length: oauth.PairMemory + time.Microsecond,
			begin: func(a *act) { a.guess(5) }, probe: func(a *act) string { a.guess(1); return a.logIn() }, inside: "throttled", after: "login",
		},
		{
			name: "the pause after wrong client secrets", settings: defaultSettings(), length: 15 * time.Minute, end: exactly,
			begin: func(a *act) { a.guessClient(1000) }, probe: (*act).present, inside: "throttled", after: "rotated",
		},
	}
}

// present presents the token, and says how it went.
func (a *act) present() string {
	got := a.send(a.refresh(a.presented))
	if got.err != nil {
		return reasonOf(got.err)
	}
	return got.Outcome
}

func (a *act) logIn() string {
	got := a.send(a.login())
	if got.err != nil {
		return reasonOf(got.err)
	}
	return got.Outcome
}

func (a *act) reused() { a.must(a.refresh(a.presented)) }

// accessTokenState is whether the first access token is alive.
func (a *act) accessTokenState() string {
	if a.alive(a.t, a.access) {
		return "alive"
	}
	return "dead"
}

func (a *act) setLifetime(life time.Duration) {
	_, err := a.operator.UpdateClient(a.t.Context(), a.client.ID, func(c *oauth.Client) { c.RefreshTokenLifetime = life })
	must(a.t, err, "update client")
}

func (a *act) rotateSecret(overlap time.Duration) {
	_, _, err := a.operator.RotateClientSecret(a.t.Context(), a.client.ID, "another", overlap)
	must(a.t, err, "rotate client secret")
}

// guess tries wrong passwords.
func (a *act) guess(times int) {
	for range times {
		r := a.login()
		r.Parameters["password"] = oauth.Parameter{Value: "wrong"}
		if got := a.send(r); reasonOf(got.err) != "password_incorrect" {
			a.t.Fatalf("a wrong password: %v", got.err)
		}
	}
}

// guessClient tries wrong client secrets.
func (a *act) guessClient(times int) {
	for range times {
		r := a.refresh(a.presented)
		r.Parameters["client_secret"] = oauth.Parameter{Value: "wrong"}
		if got := a.send(r); reasonOf(got.err) != "client_unauthenticated" {
			a.t.Fatalf("a wrong client secret: %v", got.err)
		}
	}
}

// secondLook is a request that looks twice: at the grant as it is, and again when its
// write could not be made, or nobody knows. All looks use the time of the first, and
// a rotation seen after it has just happened (docs/rotation.md, rule 2).
type secondLook struct {
	name    string
	begin   func(a *act)  // before the request
	wait    time.Duration // and then
	between func(a *act)  // after its first look, before its write; and then a second and a half passes
	how     failure       // of the write
	want    string
	ended   bool // the grant is over
}

// secondLookWindow is the retry and late window of these, secondLookLife the idle lifetime.
const (
	secondLookWindow = time.Second
	secondLookLife   = time.Minute
)

var secondLooks = []secondLook{
	{"retry, the client changes", (*act).predecessor, secondLookWindow - time.Microsecond, (*act).activate, works, "retried", false},
	{"retry, unknown", (*act).predecessor, secondLookWindow - time.Microsecond, nil, unknown, "retried", false},
	{"retry, unknown but done", (*act).predecessor, secondLookWindow - time.Microsecond, nil, unknownDone, "retried", false},
	{"the end of the lifetime, the client changes", nil, secondLookLife - time.Microsecond, (*act).activate, works, "rotated", false},
	{"the end of the lifetime, unknown", nil, secondLookLife - time.Microsecond, nil, unknown, "rotated", false},
	{"the end of the lifetime, unknown but done", nil, secondLookLife - time.Microsecond, nil, unknownDone, "retried", false},
	{"another was quicker", nil, 0, func(a *act) { a.older(1) }, works, "retried", false},
	{"another was quicker by two", nil, 0, func(a *act) { a.older(2) }, works, "straggler", false},
	{"another was quicker by three", nil, 0, func(a *act) { a.older(3) }, works, "replay", true},
	{"unknown, and another was quicker by two", nil, 0, func(a *act) { a.older(2) }, unknown, "straggler", false},
	{"unknown, and another was quicker by three", nil, 0, func(a *act) { a.older(3) }, unknown, "grant_revoked", false},
}

// look plays it.
func (l *secondLook) look(t *testing.T) {
	settings, window := defaultSettings(), secondLookWindow
	settings.RetryWindow, settings.LateWindow, settings.RefreshTokenLifetime = &window, window, secondLookLife
	a := newAct(t, time.Now, settings, oauth.Client{})
	if l.begin != nil {
		l.begin(a)
	}
	time.Sleep(l.wait)
	a.faulty.arm(plan{{2, l.how}}.of, func(n int) {
		if n != 2 { // 1 is the look
			return
		}
		a.faulty.before = nil
		if l.between != nil {
			plan := a.faulty.plan
			a.faulty.plan = nil
			l.between(a)
			a.faulty.plan = plan
		}
		time.Sleep(1500 * time.Millisecond)
	})
	got := a.present()
	a.faulty.arm(nil, nil)
	if got != l.want {
		t.Errorf("%s: got %q, want %q", l.name, got, l.want)
	}
	if ended := a.row().Status == oauth.GrantRevoked; ended != l.ended {
		t.Errorf("%s: the grant is over: %v, want %v", l.name, ended, l.ended)
	}
}

// lookBackwards: a clock that goes back opens windows again and takes nobody's
// grant; rotated_at never goes back.
func lookBackwards(t *testing.T) {
	shift := time.Duration(0)
	a := newAct(t, func() time.Time { return time.Now().Add(shift) }, defaultSettings(), public)
	a.predecessor()
	rotated := a.row().RotatedAt
	check := func(what, want string) {
		t.Helper()
		if got := a.present(); got != want {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	shift = -time.Hour
	check("an hour back, a retry", "retried")
	time.Sleep(time.Hour + time.Minute - time.Nanosecond)
	check("forward again, the window as before", "retried")
	shift -= time.Hour
	a.presented = a.newest
	check("an hour back, the newest", "rotated")
	if got := a.row().RotatedAt; got.Before(rotated) {
		t.Errorf("rotated_at went back by %v", rotated.Sub(got))
	}
	check("its retry", "retried")

	a.rotated()
	time.Sleep(3 * time.Hour)
	a.faulty.arm(nil, func(n int) {
		if n == 2 { // between look and write
			a.faulty.before = nil
			shift -= time.Hour
			a.older(1)
		}
	})
	check("an hour back after the look, and another was quicker", "retried")
	a.faulty.arm(nil, nil)
	time.Sleep(time.Hour + time.Minute)
	check("the window has closed, by the time that never goes back", "replay")
}
