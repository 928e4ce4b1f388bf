package signing

import (
	"errors"
	"slices"
	"testing"
	"time"
)

const (
	tick = time.Microsecond
	hour = time.Hour
	wait = JWKSMaxAge + 24*hour // how long a key must have been published
)

// firstKeys is the first set of an algorithm, made at t0: a signs, b waits.
func firstKeys() []Key {
	return start(nil, Key{ID: "a", Alg: ES256}, Key{ID: "b", Alg: ES256}, t0)
}

// rotated is rotate, for what must not fail.
func rotated(t *testing.T, keys []Key, fresh string, at time.Time, now bool) []Key {
	t.Helper()
	keys, _, err := rotate(keys, ES256, RotateOptions{Now: now, TokenLifetime: hour}, Key{ID: fresh, Alg: ES256}, at)
	if err != nil {
		t.Fatalf("rotate at %v: %v", at, err)
	}
	return keys
}

func byID(t *testing.T, keys []Key, id string) *Key {
	t.Helper()
	i := slices.IndexFunc(keys, func(k Key) bool { return k.ID == id })
	if i < 0 {
		t.Fatalf("there is no key %q", id)
	}
	return &keys[i]
}

func signing(keys []Key, at time.Time) string {
	if i := active(keys, ES256, at); i >= 0 {
		return keys[i].ID
	}
	return ""
}

func TestKeyState(t *testing.T) {
	t.Parallel()
	full := Key{PublishedAt: t0, ActiveAt: t0.Add(hour), RetiredAt: t0.Add(2 * hour), ExpiresAt: t0.Add(3 * hour)}
	tests := []struct {
		name string
		key  Key
		at   time.Time
		want State
	}{
		{"waits", Key{PublishedAt: t0}, t0.Add(1000 * hour), StateNext},
		{"before its time", full, t0.Add(hour - tick), StateScheduled},
		{"at its time", full, t0.Add(hour), StateActive},
		{"last moment of signing", full, t0.Add(2*hour - tick), StateActive},
		{"retired", full, t0.Add(2 * hour), StateRetired},
		{"last moment in the set", full, t0.Add(3*hour - tick), StateRetired},
		{"expired", full, t0.Add(3 * hour), StateExpired},
		{"without an end", Key{PublishedAt: t0, ActiveAt: t0}, t0.Add(1000 * hour), StateActive},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := tt.key.State(tt.at); got != tt.want {
				t.Errorf("State(%v) = %s, want %s", tt.at, got, tt.want)
			}
			kept := len(living([]Key{tt.key}, tt.at)) == 1
			if want := tt.want != StateExpired; kept != want {
				t.Errorf("kept = %t, want %t", kept, want)
			}
		})
	}
}

func TestFirstRotationIsAtOnce(t *testing.T) {
	t.Parallel()
	at := t0.Add(time.Minute)
	keys, done, err := rotate(firstKeys(), ES256, RotateOptions{TokenLifetime: hour}, Key{ID: "c", Alg: ES256}, at)
	if err != nil {
		t.Fatal(err)
	}
	want := Rotation{Alg: ES256, RetiredID: "a", RetiredUntil: at.Add(hour + 60*time.Second), ActiveID: "b", At: at, NextID: "c"}
	if done != want {
		t.Errorf("got %+v, want %+v", done, want)
	}
	if got := signing(keys, at.Add(-tick)) + signing(keys, at); got != "ab" {
		t.Errorf("signing before and at the switch: %q, want ab", got)
	}
	if a := byID(t, keys, "a"); !a.RetiredAt.Equal(at) || !a.ExpiresAt.Equal(at.Add(hour+time.Minute)) {
		t.Errorf("old key: %+v", a)
	}
	if c := byID(t, keys, "c"); !c.PublishedAt.Equal(at) || !c.ActiveAt.IsZero() {
		t.Errorf("fresh key: %+v", c)
	}
}

// A further key signs when it was published for the max-age of the JWK set and a
// day.
func TestLaterRotationWaitsUntilKeyWasSeen(t *testing.T) {
	t.Parallel()
	first := t0.Add(hour)
	tests := []struct {
		name  string
		after time.Duration // second rotation, after the first
		now   bool
		want  time.Duration // switch, after the first
	}{
		{"at once after the first", 0, false, wait},
		{"a moment too early", wait - tick, false, wait},
		{"just in time", wait, false, wait},
		{"later", wait + tick, false, wait + tick},
		{"emergency", tick, true, tick},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			keys := rotated(t, firstKeys(), "c", first, false)
			at, want := first.Add(tt.after), first.Add(tt.want)
			keys, done, err := rotate(keys, ES256, RotateOptions{Now: tt.now, TokenLifetime: hour}, Key{ID: "d", Alg: ES256}, at)
			if err != nil {
				t.Fatal(err)
			}
			if !done.At.Equal(want) || done.ActiveID != "c" || done.NextID != "d" {
				t.Errorf("got %+v, want c at %v and then d", done, want)
			}
			if got := signing(keys, want.Add(-tick)) + signing(keys, want); got != "bc" {
				t.Errorf("signing before and at the switch: %q, want bc", got)
			}
			if b := byID(t, keys, "b"); !b.RetiredAt.Equal(want) || !b.ExpiresAt.Equal(want.Add(hour+time.Minute)) {
				t.Errorf("old key: %+v", b)
			}
		})
	}
}

func TestRotateWhileScheduled(t *testing.T) {
	t.Parallel()
	first := t0.Add(hour)
	keys := rotated(t, rotated(t, firstKeys(), "c", first, false), "d", first.Add(hour), false)

	_, _, err := rotate(keys, ES256, RotateOptions{TokenLifetime: hour}, Key{ID: "e", Alg: ES256}, first.Add(wait-tick))
	if !errors.Is(err, ErrRotationScheduled) {
		t.Errorf("while scheduled: %v, want ErrRotationScheduled", err)
	}
	over := rotated(t, keys, "e", first.Add(wait), false)
	if d := byID(t, over, "d"); !d.ActiveAt.Equal(first.Add(hour + wait)) {
		t.Errorf("when it is over, d is active at %v, want %v", d.ActiveAt, first.Add(hour+wait))
	}

	at := first.Add(2 * hour)
	now := rotated(t, keys, "e", at, true)
	if got := signing(now, at.Add(-tick)) + signing(now, at); got != "bc" {
		t.Errorf("emergency: signing %q, want bc", got)
	}
	if b := byID(t, now, "b"); !b.RetiredAt.Equal(at) || !b.ExpiresAt.Equal(at.Add(hour+time.Minute)) {
		t.Errorf("emergency: old key %+v", b)
	}
	if i := waiting(now, ES256); now[i].ID != "d" || len(now) != len(keys) {
		t.Errorf("emergency: %s waits and there are %d keys, want d and %d", now[i].ID, len(now), len(keys))
	}
}

func TestRotateRefuses(t *testing.T) {
	t.Parallel()
	fresh := Key{ID: "z", Alg: ES256}
	if _, _, err := rotate(firstKeys(), RS256, RotateOptions{TokenLifetime: hour}, fresh, t0); err == nil {
		t.Error("an algorithm without keys was rotated")
	}
	if _, _, err := rotate(firstKeys(), ES256, RotateOptions{}, fresh, t0); err == nil {
		t.Error("rotated without a token lifetime")
	}
	if _, _, err := rotate(firstKeys()[:1], ES256, RotateOptions{TokenLifetime: hour}, fresh, t0); err == nil {
		t.Error("rotated without a key that waits")
	}
}

func TestRotateLeavesItsInputAndOtherAlgorithms(t *testing.T) {
	t.Parallel()
	keys := start(firstKeys(), Key{ID: "x", Alg: EdDSA}, Key{ID: "y", Alg: EdDSA}, t0)
	before := slices.Clone(keys)
	after := rotated(t, keys, "c", t0.Add(hour), false)
	for i := range keys {
		if !sameTimes(&keys[i], &before[i]) {
			t.Errorf("input key %s changed", keys[i].ID)
		}
	}
	for _, id := range []string{"x", "y"} {
		if !sameTimes(byID(t, after, id), byID(t, before, id)) {
			t.Errorf("key %s of another algorithm changed", id)
		}
	}
}

func sameTimes(a, b *Key) bool {
	return a.PublishedAt.Equal(b.PublishedAt) && a.ActiveAt.Equal(b.ActiveAt) && a.RetiredAt.Equal(b.RetiredAt) && a.ExpiresAt.Equal(b.ExpiresAt)
}

// Only the first set counts as seen, however the clocks of the nodes differ and
// whatever has expired meanwhile.
func TestSeenAt(t *testing.T) {
	t.Parallel()
	first := firstKeys()
	sameMoment := rotated(t, first, "c", t0, false)
	clockBehind := rotated(t, first, "c", t0.Add(-time.Minute), false)
	emergency := rotated(t, sameMoment, "d", t0.Add(hour), true)
	imported, err := addImported(first, Key{ID: "i", Alg: ES256}, ImportOptions{Activate: true, TokenLifetime: hour}, t0.Add(hour))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		keys []Key
		id   string
		seen bool // at its publication
	}{
		{"of the first set", first, "b", true},
		{"of the first set, after an import that signs", imported, "b", true},
		{"made in the same moment", sameMoment, "c", false},
		{"made by a node whose clock is behind", clockBehind, "c", false},
		{"made in an emergency", emergency, "d", false},
		{"made in an emergency, after the others expired", living(emergency, t0.Add(100*hour)), "d", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			k := byID(t, tt.keys, tt.id)
			want := k.PublishedAt
			if !tt.seen {
				want = want.Add(wait)
			}
			if got := seenAt(tt.keys, k); !got.Equal(want) {
				t.Errorf("seen at %v, want %v", got, want)
			}
		})
	}
}

// A node whose clock is behind the one that made the keys signs with them all the same.
func TestActiveWithClockBehind(t *testing.T) {
	t.Parallel()
	if got := signing(firstKeys(), t0.Add(-time.Minute)); got != "a" {
		t.Errorf("signing before the first set: %q, want a", got)
	}
	keys := rotated(t, firstKeys(), "c", t0.Add(-time.Minute), false)
	if got := signing(keys, t0.Add(-time.Minute)) + signing(keys, t0); got != "ab" {
		t.Errorf("rotated with a clock behind: %q, want ab", got)
	}
	emergency := rotated(t, firstKeys(), "c", t0.Add(-time.Minute), true)
	if got := signing(emergency, t0.Add(-time.Minute)) + signing(emergency, t0); got != "bb" {
		t.Errorf("rotated in an emergency with a clock behind: %q, want bb", got)
	}
	if got := signing(nil, t0); got != "" {
		t.Errorf("signing without keys: %q", got)
	}
}

func TestAddImported(t *testing.T) {
	t.Parallel()
	at := t0.Add(hour)
	k := Key{ID: "i", Alg: ES256}

	keys, err := addImported(firstKeys(), k, ImportOptions{}, at)
	if err != nil {
		t.Fatal(err)
	}
	if i := waiting(keys, ES256); len(keys) != 2 || keys[i].ID != "i" || !keys[i].PublishedAt.Equal(at) || signing(keys, at) != "a" {
		t.Errorf("imported to wait: %+v", keys)
	}
	if next := rotated(t, keys, "c", at.Add(hour), false); !byID(t, next, "i").ActiveAt.Equal(at.Add(wait)) {
		t.Errorf("an imported key takes over at %v, want %v", byID(t, next, "i").ActiveAt, at.Add(wait))
	}

	keys, err = addImported(firstKeys(), k, ImportOptions{Activate: true, TokenLifetime: hour}, at)
	if err != nil {
		t.Fatal(err)
	}
	if got := signing(keys, at.Add(-tick)) + signing(keys, at); got != "ai" || keys[waiting(keys, ES256)].ID != "b" {
		t.Errorf("imported to sign: %q sign, want ai; %+v", got, keys)
	}
	if a := byID(t, keys, "a"); !a.ExpiresAt.Equal(at.Add(hour + time.Minute)) {
		t.Errorf("old key: %+v", a)
	}

	if _, err := addImported(firstKeys(), k, ImportOptions{Activate: true}, at); err == nil {
		t.Error("imported to sign without a token lifetime")
	}
	busy := rotated(t, rotated(t, firstKeys(), "c", t0, false), "d", at, false)
	if _, err := addImported(busy, k, ImportOptions{Activate: true, TokenLifetime: hour}, at); !errors.Is(err, ErrRotationScheduled) {
		t.Errorf("imported to sign while a rotation is scheduled: %v, want ErrRotationScheduled", err)
	}
}

func TestNextChange(t *testing.T) {
	t.Parallel()
	keys := rotated(t, rotated(t, firstKeys(), "c", t0, false), "d", t0.Add(tick), false)
	gone, takesOver := t0.Add(hour+time.Minute), byID(t, keys, "c").ActiveAt
	tests := []struct {
		name     string
		at, want time.Time
	}{
		{"before all", t0.Add(-hour), t0},
		{"a retired, expires next", t0, gone},
		{"a moment before", gone.Add(-tick), gone},
		{"a expired, c takes over next", gone, takesOver},
		{"b retired, expires next", takesOver, takesOver.Add(hour + time.Minute)},
		{"nothing more", takesOver.Add(hour + time.Minute), time.Time{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := nextChange(keys, tt.at); !got.Equal(tt.want) {
				t.Errorf("nextChange(%v) = %v, want %v", tt.at, got, tt.want)
			}
		})
	}
}
