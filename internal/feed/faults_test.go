package feed_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/feed"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// TestStoreFails: while a node cannot read what was cut off nobody is told that all is
// well, and when it can again nothing was lost, here or elsewhere.
func TestStoreFails(t *testing.T) {
	t.Parallel()
	for _, broken := range []string{"", "Changes", "Announced", "Announce", "Rotations", "LongestLifetime", "Followed", "Follow", "Policy"} {
		for _, outage := range []time.Duration{5 * time.Second, 10 * time.Minute} {
			t.Run(fmt.Sprintf("%s for %s", broken, outage), func(t *testing.T) {
				t.Parallel()
				live(t, oauth.PreviousAccessToken{}, func(w *world) {
					s := w.watch()
					here, there := w.start(s), w.start(w.Store)
					grants := []oauth.GrantID{w.grant("alice", "shop"), w.grant("alice", "shop"), w.grant("alice", "shop")}
					near, far := here.follow(), there.follow()
					moves := here.follow()
					pass(time.Minute)
					s.fail(func(method string) bool { return broken == "" || method == broken })
					here.rotate(grants[0])
					there.rotate(grants[1])
					w.revoke(grants[2])
					pass(outage)
					if err := near.catchUp(); err != nil && !errors.Is(err, feed.ErrStale) {
						w.Errorf("during the outage: %v", err)
					} else if err == nil {
						near.check("during the outage, told that all is well")
					}
					moves.moveTo(there)
					here.rotate(grants[0])
					there.rotate(grants[1])
					s.fail(nil)
					pass(soon)
					near.check("after the outage")
					far.check("after the outage, elsewhere")
					moves.check("who moved because of it")
					moves.moveTo(here)
					moves.check("who moved back")
				})
			})
		}
	}
}

// TestStale: three seconds after the last step that it could make, a node says so, and to
// those who wait too.
func TestStale(t *testing.T) {
	t.Parallel()
	live(t, oauth.PreviousAccessToken{}, func(w *world) {
		s := w.watch()
		n := w.start(s)
		f := n.follow()
		pass(time.Minute)
		s.fail(func(string) bool { return true })
		pass(2 * time.Second)
		f.mustCatchUp()
		pass(1500 * time.Millisecond)
		for _, wait := range []time.Duration{0, time.Second} {
			if err := f.ask(wait); !errors.Is(err, feed.ErrStale) {
				w.Errorf("after 3.5 s without the database, waiting for %s: %v, want %v", wait, err, feed.ErrStale)
			}
		}
		if _, err := n.Follow(w.Context(), "", 0); !errors.Is(err, feed.ErrStale) {
			w.Errorf("who begins then: %v, want %v", err, feed.ErrStale)
		}
		s.fail(nil)
		pass(soon)
		f.check("with the database back")
	})
}

// TestFirstFails: who follows first while the database is broken is told so after a
// while, and finds everything as soon as it is not.
func TestFirstFails(t *testing.T) {
	t.Parallel()
	live(t, oauth.PreviousAccessToken{}, func(w *world) {
		s := w.watch()
		n := w.start(s)
		grant := w.grant("alice", "shop")
		s.fail(func(string) bool { return true })
		f := &follower{world: w, at: n}
		begun := time.Now()
		if err := f.ask(0); !errors.Is(err, feed.ErrStale) || time.Since(begun) > 15*time.Second {
			w.Errorf("the first follower: %v after %s, want %v in time", err, time.Since(begun), feed.ErrStale)
		}
		n.rotate(grant)
		s.fail(nil)
		f.check("with the database back")
	})
}

// TestEveryCallFails: whichever call of the store fails, once, nothing is lost.
func TestEveryCallFails(t *testing.T) {
	t.Parallel()
	const most = 200
	for _, who := range []string{"the follower's node", "the other node"} {
		for fails := range most {
			t.Run(fmt.Sprintf("%s, call %d", who, fails), func(t *testing.T) {
				t.Parallel()
				live(t, oauth.PreviousAccessToken{}, func(w *world) {
					s := w.watch()
					calls, failed := 0, false
					s.fail(func(string) bool {
						calls++
						failed = failed || calls == fails
						return calls == fails
					})
					stores := map[bool]feed.Store{true: s, false: w.Store}
					here := w.start(stores[who == "the follower's node"])
					there := w.start(stores[who != "the follower's node"])
					dies := w.start(w.Store)
					grant, other, third := w.populate(), w.grant("bob", "shop"), w.grant("bob", "api")
					f := here.follow()
					here.rotate(grant)
					there.rotate(other)
					pass(2 * time.Second)
					dies.rotate(third)
					dies.kill()
					here.rotate(grant)
					there.rotate(other)
					pass(noticed)
					w.revoke(grant)
					there.rotate(other)
					pass(2 * soon)
					f.check("in the end")
					if !failed && fails > 0 {
						w.Skip("there are fewer calls")
					}
				})
			})
		}
	}
}

// TestClockSetBack: that the store's clock, or a node's, is set back loses nothing, nor
// for those who then move.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	for _, by := range []time.Duration{-2 * time.Second, -time.Minute, -10 * time.Minute, 10 * time.Minute} {
		for _, name := range []string{"refresh", "disable user"} {
			t.Run(fmt.Sprintf("%s, %s", by, name), func(t *testing.T) {
				t.Parallel()
				live(t, oauth.PreviousAccessToken{}, func(w *world) {
					here, there := w.start(w.Store), w.start(w.Store)
					grant := w.populate()
					f, moves, late, sleeps := here.follow(), here.follow(), there.follow(), here.follow()
					for range 2 {
						pass(15 * time.Minute)
						f.mustCatchUp()
						sleeps.mustCatchUp()
					}
					w.set.Store(int64(by))
					pass(soon)
					acts[name](here, grant)
					pass(soon)
					f.check("here")
					moves.moveTo(there)
					moves.check("moved with a cursor from before")
					late.check("there")
					fresh := w.start(w.Store)
					late.moveTo(fresh)
					late.check("moved to a new node")
					pass(12 * time.Minute)
					f.moveTo(there)
					f.check("moved after a while")
					sleeps.moveTo(there)
					sleeps.check("moved with a cursor from before, after a while")
				})
			})
		}
	}
}

// lateStore shows revoked grants some time after they were written, as if they were
// committed then.
type lateStore struct {
	feed.Store
	by time.Duration
}

func (s *lateStore) Changes(ctx context.Context, since time.Time) (feed.Changes, error) {
	c, err := s.Store.Changes(ctx, since)
	var visible []feed.RevokedGrant
	for _, g := range c.Grants {
		if c.Now.Sub(g.At) >= s.by {
			visible = append(visible, g)
		}
	}
	c.Grants = visible
	return c, err
}

// TestVisibleLate: a change that took long to be committed, with the time at which it was
// begun, is found, and by those who move in the meantime too.
func TestVisibleLate(t *testing.T) {
	t.Parallel()
	for late, found := range map[time.Duration]time.Duration{0: soon, 4 * time.Second: soon, time.Minute: 11 * time.Second, 150 * time.Second: 11 * time.Second} {
		t.Run(late.String(), func(t *testing.T) {
			t.Parallel()
			live(t, oauth.PreviousAccessToken{}, func(w *world) {
				here, there := w.start(&lateStore{w.Store, late}), w.start(&lateStore{w.Store, late})
				grant := w.grant("alice", "shop")
				f, moves := here.follow(), here.follow()
				there.follow()
				pass(10 * time.Minute)
				moves.mustCatchUp()
				w.revoke(grant)
				pass(late - time.Millisecond)
				moves.mustCatchUp()
				pass(time.Millisecond + found)
				f.check("here")
				pass(10 * time.Second)
				moves.moveTo(there)
				moves.check("moved")
				if moves.anew != 1 {
					w.Errorf("who moved began %d times, want once", moves.anew)
				}
			})
		})
	}
}

// TestLives: in random lives of several nodes, with deaths, stops, outages and followers
// that move, everybody knows what is dead, and nothing else, whenever there was time to
// tell it.
func TestLives(t *testing.T) {
	t.Parallel()
	for seed := range uint64(25) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			previous := oauth.PreviousAccessToken{For: time.Duration(seed%2) * 20 * time.Second}
			live(t, previous, func(w *world) {
				l := newLife(w, seed)
				for range 60 {
					l.act()
				}
				l.rest()
			})
		})
	}
}

// life is a random life.
type life struct {
	*world
	*rand.Rand
	stores    []*watched
	nodes     []*node
	followers []*follower
	living    []oauth.GrantID
	names     []string
	number    int
}

func newLife(w *world, seed uint64) *life {
	l := &life{world: w, Rand: rand.New(rand.NewPCG(seed, 1))}
	for range 3 {
		l.stores = append(l.stores, w.watch())
		l.nodes = append(l.nodes, w.start(l.stores[len(l.stores)-1]))
	}
	for i := range 5 {
		name := fmt.Sprint("user ", i)
		w.user(name)
		l.names = append(l.names, name)
		l.living = append(l.living, w.grant(name, "shop"), w.grant(name, "shop"))
	}
	pass(time.Millisecond)
	for range 5 {
		l.followers = append(l.followers, &follower{world: w, at: l.nodes[l.IntN(len(l.nodes))]})
	}
	return l
}

// act does something, and lets some time pass.
func (l *life) act() {
	node := l.IntN(len(l.nodes))
	name := l.names[l.IntN(len(l.names))]
	f := l.followers[l.IntN(len(l.followers))]
	switch l.IntN(14) {
	case 0, 1, 2, 3, 4:
		l.refresh(l.nodes[node])
	case 5:
		l.revoke(l.living[l.IntN(len(l.living))])
	case 6:
		l.enable(name, l.IntN(2) == 0)
	case 7:
		l.renew(name)
	case 8:
		l.activate("shop", l.IntN(3) > 0)
	case 9, 10:
		f.moveTo(l.nodes[node])
	case 11:
		l.replace(node)
	case 12:
		luck, from := rand.New(rand.NewPCG(l.Uint64(), 2)), l.IntN(100)
		l.stores[node].fail(func(string) bool { return luck.IntN(100) < from })
	case 13:
		l.rest()
	}
	pass([]time.Duration{0, 50 * time.Millisecond, 150 * time.Millisecond, 2 * time.Second, time.Minute}[l.IntN(5)])
	_ = f.catchUp() // it may be told to come again
}

// refresh rotates a grant, where that is possible, at one node or at several.
func (l *life) refresh(n *node) {
	id := l.living[l.IntN(len(l.living))]
	v, err := l.Grant(l.Context(), id)
	l.must(err)
	t := token{grantID: v.Grant.PublicID, generation: v.Grant.Generation, clientID: "shop"}
	if l.alive(&t) {
		n.rotate(id)
	}
}

// renew gives a user another password, and perhaps another grant.
func (l *life) renew(name string) {
	l.setPassword(name)
	subject, err := l.Subject(l.Context(), name)
	l.must(err)
	if subject.Blocked() == nil {
		l.living = append(l.living, l.grant(name, "shop"))
	}
}

// replace lets a node die, or stop, and starts another; who followed there moves.
func (l *life) replace(i int) {
	old := l.nodes[i]
	old.kill()
	if l.IntN(2) == 0 {
		pass(0)
		_ = old.Stop(l.Context()) // its store may fail
	}
	l.stores[i] = l.watch()
	l.nodes[i] = l.start(l.stores[i])
	for _, f := range l.followers {
		if f.at == old {
			f.moveTo(l.nodes[l.IntN(len(l.nodes))])
		}
	}
}

// rest lets the stores work, and the news arrive, and checks everybody.
func (l *life) rest() {
	for _, s := range l.stores {
		s.fail(nil)
	}
	l.number++
	pass(noticed + soon)
	var asking sync.WaitGroup
	for _, f := range l.followers {
		asking.Go(func() { _ = f.catchUp() }) // the first at a node waits for its record
	}
	asking.Wait()
	for i, f := range l.followers {
		f.check(fmt.Sprintf("rest %d, follower %d", l.number, i))
	}
}
