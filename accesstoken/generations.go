package accesstoken

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

var errOlderGeneration = fmt.Errorf("%w: its grant was refreshed since", ErrRevoked)

// defaultMaxGrants is what Generations remembers if nothing is said: about 15 MB.
const defaultMaxGrants = 100_000

// keepBeyondExpiry is how long past its end a token is remembered: ends may have fractions
// of seconds, and a clock may be put back a little.
const keepBeyondExpiry = time.Minute

// Generations is the way of liveness that needs nobody: it refuses an access token whose
// generation is lower than the highest that it has seen of the same grant. So as soon as a
// client uses its new access token here, the one before it is dead here. It costs a
// look into a map, and no allocation where the grant is known.
//
// It sees what comes to this process and nothing else: an older token is accepted until
// the newer one has been here, and a revoked, blocked or refreshed-elsewhere one until it
// expires. Together with a Feed (see All) it closes the moment between a refresh and the
// arrival of its news.
//
// It is not for clients whose policy keeps the previous access token alive for a while
// (previous_access_token `keep` or a duration) or whose refresh tokens are reusable:
// there an older token is no dead one.
//
// Memory is bounded. Where more grants than MaxGrants are in use at the same time, those
// that were not seen for longest are forgotten, and an older token of such a grant is
// accepted again until its newer one returns. Only tokens whose signature is good get
// here, so a stranger cannot fill the memory.
type Generations struct {
	now func() time.Time

	mu   sync.Mutex
	seen recent[string, seenGrant]
}

// seenGrant is the newest generation seen of a grant, and when this may be forgotten (in
// seconds since 1970): when the last token seen of it is dead for all clocks.
type seenGrant struct{ generation, until int64 }

// GenerationsConfig has the settings of Generations. All may be left out.
type GenerationsConfig struct {
	MaxGrants int              // how many grants are remembered at most; 100,000 if it is 0
	Now       func() time.Time // the clock; time.Now if it is nil
}

// NewGenerations returns a Generations that has seen nothing yet.
func NewGenerations(c GenerationsConfig) *Generations {
	if c.MaxGrants <= 0 {
		c.MaxGrants = defaultMaxGrants
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Generations{now: c.Now, seen: recent[string, seenGrant]{limit: c.MaxGrants}}
}

// Alive implements Liveness. A token without a grant is alive.
func (g *Generations) Alive(_ context.Context, t *Token) error {
	if t.GrantID == "" {
		return nil
	}
	now, until := g.now().Unix(), t.ExpiresAt.Add(keepBeyondExpiry).Unix()
	g.mu.Lock()
	defer g.mu.Unlock()
	newest := g.seen.get(t.GrantID)
	if newest == nil || newest.until <= now {
		g.seen.put(strings.Clone(t.GrantID), seenGrant{t.Generation, until}) // not the claim, which may be a piece of the whole token
		return nil
	}
	newest.until = max(newest.until, until) // an older token that lives longer keeps the memory of the newer one
	if t.Generation < newest.generation {
		return errOlderGeneration
	}
	newest.generation = t.Generation
	return nil
}

// recent is a map of at most limit entries, two at least. When its young half is full it
// becomes the old one, and what was in the old one and not used since is forgotten. It is
// not safe for concurrent use.
type recent[K comparable, V any] struct {
	limit      int
	young, old map[K]*kept[K, V]
}

// kept has the key too: to write it into a map again must not exchange it for an equal
// text that is part of a longer one.
type kept[K comparable, V any] struct {
	key   K
	value V
}

// get returns what is kept for k, to be read and changed in place, or nil. It is young
// again.
func (r *recent[K, V]) get(k K) *V {
	if e, ok := r.young[k]; ok {
		return &e.value
	}
	e, ok := r.old[k]
	if !ok {
		return nil
	}
	r.enter(e)
	return &e.value
}

// put keeps v for k.
func (r *recent[K, V]) put(k K, v V) *V {
	e := &kept[K, V]{k, v}
	r.enter(e)
	return &e.value
}

func (r *recent[K, V]) enter(e *kept[K, V]) {
	if _, known := r.young[e.key]; !known && len(r.young) >= max(1, r.limit/2) {
		r.old, r.young = r.young, nil
	}
	if r.young == nil {
		r.young = map[K]*kept[K, V]{}
	}
	r.young[e.key] = e
}

// forget takes k away, if v is what is kept for it.
func (r *recent[K, V]) forget(k K, v *V) {
	for _, half := range []map[K]*kept[K, V]{r.young, r.old} {
		if e, ok := half[k]; ok && &e.value == v {
			delete(half, k)
		}
	}
}
