package signing

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// How long the steps of a key's life take.
const (
	// JWKSMaxAge is how long others may keep a copy of the JWK set (max-age, RFC
	// 9111 section 5.2.2.1).
	JWKSMaxAge = 5 * time.Minute
	// publishedBefore is how much longer a key is in the set before it signs, for
	// those who keep copies longer than they may.
	publishedBefore = 24 * time.Hour
	// skew is what clocks may differ by.
	skew = 60 * time.Second
)

// State is where a key is in its life.
type State string

// The states, in the order of a life. All but expired keys are in the JWK set.
const (
	StateNext      State = "next"      // waits for the next rotation
	StateScheduled State = "scheduled" // will sign from a set time
	StateActive    State = "active"    // signs
	StateRetired   State = "retired"   // signs no more; there may be living tokens of it
	StateExpired   State = "expired"   // every token of it has expired
)

// State returns where the key is in its life at a time.
func (k *Key) State(at time.Time) State {
	switch {
	case reached(k.ExpiresAt, at):
		return StateExpired
	case reached(k.RetiredAt, at):
		return StateRetired
	case reached(k.ActiveAt, at):
		return StateActive
	case k.ActiveAt.IsZero():
		return StateNext
	}
	return StateScheduled
}

// reached reports whether a time that may not be set has come.
func reached(t, at time.Time) bool { return !t.IsZero() && !at.Before(t) }

// ErrRotationScheduled: the keys of the algorithm are being rotated already.
var ErrRotationScheduled = errors.New("a rotation is scheduled already")

// RotateOptions say how to rotate.
type RotateOptions struct {
	Now           bool          // in an emergency: the next key signs at once, although not everybody may have seen it
	Withdraw      bool          // a key leaked: Now, and no retired key of the algorithm counts any more
	TokenLifetime time.Duration // of the longest-lived access token; required
	Actor         string        // who does it, for the audit
}

// Rotation is what a rotation did.
type Rotation struct {
	Alg          string    `json:"alg"`
	RetiredID    string    `json:"retired_kid"`   // signs until At
	RetiredUntil time.Time `json:"retired_until"` // stays in the JWK set until then
	ActiveID     string    `json:"active_kid"`    // signs from At on
	At           time.Time `json:"active_at"`     // later than now: the rotation is scheduled
	NextID       string    `json:"next_kid"`      // what the next rotation will make active
}

// String says it in a line, for people.
func (r Rotation) String() string {
	return fmt.Sprintf("%s: %s takes over from %s at %s", r.Alg, r.ActiveID, r.RetiredID, r.At.Format(time.RFC3339))
}

// living returns a copy of the keys without the expired ones.
func living(keys []Key, at time.Time) []Key {
	return slices.DeleteFunc(slices.Clone(keys), func(k Key) bool { return k.State(at) == StateExpired })
}

// active finds the key that signs, or -1 if the algorithm has no keys: the first
// that is not retired. It signs even before its time, if a clock is behind.
func active(keys []Key, alg string, at time.Time) int {
	found := -1
	for i := range keys {
		k := &keys[i]
		if k.Alg != alg || k.ActiveAt.IsZero() || reached(k.RetiredAt, at) {
			continue
		}
		if found < 0 || k.ActiveAt.Before(keys[found].ActiveAt) {
			found = i
		}
	}
	return found
}

// scheduled finds the key that will take over from the active one, or -1.
func scheduled(keys []Key, alg string, at time.Time) int {
	signing := active(keys, alg, at)
	for i := range keys {
		if i != signing && keys[i].Alg == alg && keys[i].State(at) == StateScheduled {
			return i
		}
	}
	return -1
}

// waiting finds the key that waits for the next rotation, or -1.
func waiting(keys []Key, alg string) int {
	return slices.IndexFunc(keys, func(k Key) bool { return k.Alg == alg && k.ActiveAt.IsZero() })
}

// seenAt returns when everybody will have seen a key in the JWK set. One of the
// first set of its algorithm was there as early as any token.
func seenAt(keys []Key, k *Key) time.Time {
	for i := range keys {
		first := &keys[i]
		if first.Alg == k.Alg && first.ID != k.ID && first.ActiveAt.Equal(first.PublishedAt) && first.PublishedAt.Equal(k.PublishedAt) {
			return k.PublishedAt
		}
	}
	return k.PublishedAt.Add(JWKSMaxAge + publishedBefore)
}

// publishTime is the time at which a further key of an algorithm is published:
// now, but after the others whatever the clocks say, so that no key looks like one
// of the first set.
func publishTime(keys []Key, alg string, at time.Time) time.Time {
	for i := range keys {
		if keys[i].Alg == alg && !keys[i].PublishedAt.Before(at) {
			at = keys[i].PublishedAt.Add(time.Microsecond)
		}
	}
	return at
}

// start adds the first set of an algorithm: a key that signs and one that waits,
// both published, so that the first rotation has a key which everybody has seen.
func start(keys []Key, first, next Key, at time.Time) []Key {
	first.PublishedAt, first.ActiveAt, next.PublishedAt = at, at, at
	return append(slices.Clone(keys), first, next)
}

// retire ends a key's signing and leaves it published until the last token signed
// with it has expired.
func retire(k *Key, at time.Time, tokenLifetime time.Duration) {
	k.RetiredAt, k.ExpiresAt = at, at.Add(tokenLifetime+skew)
}

// rotate decides a rotation: the waiting key takes over as soon as everybody has
// seen it, and the fresh one waits in its place. In an emergency it takes over at
// once, and so does one that is scheduled.
func rotate(keys []Key, alg string, o RotateOptions, fresh Key, at time.Time) ([]Key, Rotation, error) {
	keys = slices.Clone(keys)
	o.Now = o.Now || o.Withdraw
	old := active(keys, alg, at)
	switch {
	case o.TokenLifetime <= 0:
		return nil, Rotation{}, errNoTokenLifetime
	case old < 0:
		return nil, Rotation{}, fmt.Errorf("there are no %s keys", alg)
	}
	successor := scheduled(keys, alg, at)
	if successor >= 0 && !o.Now {
		return nil, Rotation{}, scheduledError(&keys[successor])
	}
	if successor < 0 {
		successor = waiting(keys, alg)
	}
	if successor < 0 {
		return nil, Rotation{}, fmt.Errorf("no %s key waits for a rotation: import one", alg)
	}
	takesOver := at
	if !o.Now {
		takesOver = later(at, seenAt(keys, &keys[successor]))
	}
	keys[successor].ActiveAt = takesOver
	retire(&keys[old], takesOver, o.TokenLifetime)
	if o.Withdraw {
		withdraw(keys, alg, at)
	}
	if waiting(keys, alg) < 0 {
		fresh.PublishedAt = publishTime(keys, alg, at)
		keys = append(keys, fresh)
	}
	return keys, Rotation{
		Alg: alg, RetiredID: keys[old].ID, RetiredUntil: keys[old].ExpiresAt,
		ActiveID: keys[successor].ID, At: takesOver, NextID: keys[waiting(keys, alg)].ID,
	}, nil
}

// withdraw ends all retired keys of an algorithm at once.
func withdraw(keys []Key, alg string, at time.Time) {
	for i := range keys {
		if k := &keys[i]; k.Alg == alg && !k.RetiredAt.IsZero() && k.ExpiresAt.After(at) {
			k.ExpiresAt = at
		}
	}
}

var errNoTokenLifetime = errors.New("the lifetime of access tokens must be given: a retired key stays published that long")

func scheduledError(k *Key) error {
	return fmt.Errorf("%w: %s key %s takes over at %s", ErrRotationScheduled, k.Alg, k.ID, k.ActiveAt.Format(time.RFC3339))
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// ImportOptions say what to do with an imported key.
type ImportOptions struct {
	Alg           string        // empty: by the key, RS256 for RSA
	Activate      bool          // sign with it at once, although nobody has seen it yet; else it waits for the next rotation
	TokenLifetime time.Duration // see RotateOptions; required with Activate
	Actor         string        // who does it, for the audit
}

// addImported decides an import into an algorithm that has keys. A key that waits
// gives way to one that shall wait: it never signed anything.
func addImported(keys []Key, k Key, o ImportOptions, at time.Time) ([]Key, error) {
	keys = slices.Clone(keys)
	k.PublishedAt = publishTime(keys, k.Alg, at)
	if !o.Activate {
		if i := waiting(keys, k.Alg); i >= 0 {
			keys = slices.Delete(keys, i, i+1)
		}
		return append(keys, k), nil
	}
	if o.TokenLifetime <= 0 {
		return nil, errNoTokenLifetime
	}
	if i := scheduled(keys, k.Alg, at); i >= 0 {
		return nil, scheduledError(&keys[i])
	}
	retire(&keys[active(keys, k.Alg, at)], at, o.TokenLifetime)
	k.ActiveAt = at
	return append(keys, k), nil
}
