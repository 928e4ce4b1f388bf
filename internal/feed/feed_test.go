package feed_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/feed"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// acts are the ways in which access tokens die, or come to life again. Each is done to
// alice, who has a grant, or to the client.
var acts = map[string]func(n *node, grant oauth.GrantID){
	"refresh":         func(n *node, grant oauth.GrantID) { n.rotate(grant) },
	"refresh twice":   func(n *node, grant oauth.GrantID) { n.rotate(grant); n.rotate(grant) },
	"revoke grant":    func(n *node, grant oauth.GrantID) { n.revoke(grant) },
	"disable user":    func(n *node, _ oauth.GrantID) { n.enable("alice", false) },
	"change password": func(n *node, _ oauth.GrantID) { n.setPassword("alice") },
	"delete user":     func(n *node, _ oauth.GrantID) { n.must(n.DeleteUser(n.Context(), "alice", oauth.Event{})) },
	"sign out":        func(n *node, _ oauth.GrantID) { n.must(n.SignOut(n.Context(), "alice", oauth.Event{})) },
	"deactivate":      func(n *node, _ oauth.GrantID) { n.activate("shop", false) },
	"deactivate and activate": func(n *node, _ oauth.GrantID) {
		n.activate("shop", false)
		n.activate("shop", true)
	},
	"delete client": func(n *node, _ oauth.GrantID) { n.must(n.DeleteClient(n.Context(), "shop", oauth.Event{})) },
	"revoke the client's own": func(n *node, _ oauth.GrantID) {
		n.must(n.RevokeClientTokens(n.Context(), "shop", time.Time{}, oauth.Event{}))
	},
	"disable the client's owner": func(n *node, _ oauth.GrantID) { n.enable("owner", false) },
	"refresh and disable user":   func(n *node, grant oauth.GrantID) { n.rotate(grant); n.enable("alice", false) },
}

// populate makes grants, and access tokens of all kinds.
func (w *world) populate() (acted oauth.GrantID) {
	w.Helper()
	w.user("owner")
	w.user("bob")
	w.client("api", nil)
	pass(time.Millisecond)
	w.changeClient("shop", func(c *oauth.Client) { c.Owner = "owner" })
	acted = w.grant("alice", "shop")
	w.grant("alice", "api")
	w.grant("bob", "shop")
	w.grant("bob", "api")
	w.ownToken("shop")
	w.ownToken("api")
	return acted
}

// TestActs: whatever kills an access token, a follower knows at once, at the node where it
// happened and at another, one who waits and one who begins later.
func TestActs(t *testing.T) {
	t.Parallel()
	for name, act := range acts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			live(t, oauth.PreviousAccessToken{}, func(w *world) {
				here, there := w.start(w.Store), w.start(w.Store)
				grant := w.populate()
				near, far := here.follow(), there.follow()
				pass(time.Minute)
				near.check("before the act, here")
				far.check("before the act, there")
				awake := []func() time.Duration{near.waits(feed.LongestWait), far.waits(feed.LongestWait)}
				pass(time.Second)
				act(here, grant)
				for i, f := range []*follower{near, far} {
					if took := awake[i]() - time.Second; took > soon {
						w.Errorf("follower %d was told after %s, want %s at most", i, took, soon)
					}
					f.check("after the act")
					if f.anew != 1 {
						w.Errorf("follower %d began %d times, want once", i, f.anew)
					}
				}
				for i, n := range []*node{here, there} {
					n.follow().check(fmt.Sprint("a later follower at node ", i))
				}
			})
		})
	}
}

// TestNobodyFollows: nothing is kept, announced, or looked for among the grants, until
// somebody follows. The first who does is told all that matters.
func TestNobodyFollows(t *testing.T) {
	t.Parallel()
	for name, act := range acts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			live(t, oauth.PreviousAccessToken{}, func(w *world) {
				s := w.watch()
				here, there := w.start(s), w.start(w.Store)
				grant := w.populate()
				pass(time.Minute)
				act(here, grant)
				pass(time.Minute)
				for method, n := range s.calls {
					if method != "Followed" {
						w.Errorf("%s was called %d times though nobody follows", method, n)
					}
				}
				if _, last, err := w.Announced(w.Context(), 0); err != nil || last != 0 {
					w.Errorf("%d announcements though nobody follows, %v", last, err)
				}
				begun := time.Now()
				f := there.follow()
				if took := time.Since(begun); took > 3*time.Second {
					w.Errorf("the first list came after %s", took)
				}
				f.check("the first follower")
			})
		})
	}
}

// TestOneAnswer: what comes at the same time shares an answer, and of what was replaced
// only the last is told.
func TestOneAnswer(t *testing.T) {
	t.Parallel()
	live(t, oauth.PreviousAccessToken{}, func(w *world) {
		n := w.start(w.Store)
		first, second := w.grant("alice", "shop"), w.grant("alice", "shop")
		f := n.follow()
		awake := f.waits(feed.LongestWait)
		n.rotate(first)
		n.revoke(second)
		n.enable("alice", false)
		awake()
		if len(f.last.Cutoffs) != 3 {
			w.Errorf("one answer has %+v, want all three", f.last.Cutoffs)
		}
		n.enable("alice", true)
		pass(soon)
		f.mustCatchUp()
		f.entries = 0
		for range 5 {
			n.rotate(first)
			pass(soon)
		}
		f.check("after five refreshes")
		if f.entries != 1 {
			w.Errorf("five refreshes of a grant were told with %d entries, want the last", f.entries)
		}
		if late := n.follow(); late.entries != 3 {
			w.Errorf("who begins is told %+v, want one entry of each", late.last.Cutoffs)
		}
	})
}

// TestWait: who waits in vain gets an empty answer when the time is over, and can go on.
func TestWait(t *testing.T) {
	t.Parallel()
	live(t, oauth.PreviousAccessToken{}, func(w *world) {
		n := w.start(w.Store)
		f := n.follow()
		for _, c := range []struct{ wait, want time.Duration }{{0, 0}, {7 * time.Second, 7 * time.Second}, {time.Hour, feed.LongestWait}} {
			if took := f.waits(c.wait)(); took != c.want || len(f.last.Cutoffs) != 0 {
				w.Errorf("waiting for %s took %s and brought %+v, want nothing after %s", c.wait, took, f.last.Cutoffs, c.want)
			}
		}
		ctx, cancel := context.WithTimeout(w.Context(), time.Second)
		defer cancel()
		if _, err := n.Follow(ctx, f.cursor, feed.LongestWait); !errors.Is(err, context.DeadlineExceeded) {
			w.Errorf("a follower who hung up: %v", err)
		}
		if f.anew != 1 {
			w.Errorf("the follower began %d times, want once", f.anew)
		}
	})
}

// TestExpired: what no token can outlive is forgotten, as late as the token that lives
// longest, of whatever client: a client's lifetime may have been shortened.
func TestExpired(t *testing.T) {
	t.Parallel()
	live(t, oauth.PreviousAccessToken{}, func(w *world) {
		w.client("long", func(c *oauth.Client) { c.AccessTokenLifetime = 2 * time.Hour })
		n := w.start(w.Store)
		short, long := w.grant("alice", "shop"), w.grant("alice", "long")
		f := n.follow()
		n.rotate(short)
		n.rotate(long)
		pass(soon)
		for hour, want := range []int{2, 2, 2, 0} {
			f.check(fmt.Sprintf("in hour %d", hour))
			fresh := w.start(w.Store)
			for _, late := range []*follower{n.follow(), fresh.follow()} {
				if late.entries != want {
					w.Errorf("who begins in hour %d is told %+v, want %d", hour, late.last.Cutoffs, want)
				}
			}
			fresh.kill()
			for range 2 { // so that somebody follows
				pass(30 * time.Minute)
				f.mustCatchUp()
			}
		}
	})
}

// TestLongerLifetime: where access tokens live longer since the record began, it keeps what
// kills them as long, though their client may be gone.
func TestLongerLifetime(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"refresh", "revoke grant", "disable user", "delete user", "deactivate", "delete client"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			live(t, oauth.PreviousAccessToken{}, func(w *world) {
				n := w.start(w.Store)
				grant := w.populate()
				f := n.follow()
				pass(time.Minute)
				w.changeClient("shop", func(c *oauth.Client) { c.AccessTokenLifetime = 2 * time.Hour })
				n.rotate(grant)
				w.ownToken("shop")
				pass(time.Minute)
				acts[name](n, grant)
				for range 4 {
					pass(30 * time.Minute)
					f.check("later")
				}
			})
		})
	}
}

// TestMemory: many refreshes of a few grants take no more memory than one of each. Other
// tests would disturb it.
func TestMemory(t *testing.T) {
	live(t, oauth.PreviousAccessToken{}, func(w *world) {
		n := w.start(w.Store)
		n.follow()
		refresh := func(from, to uint32) uint64 {
			for generation := from; generation < to; generation++ {
				for grant := range 10 {
					n.Rotated(oauth.Rotation{GrantID: fmt.Sprint("grant ", grant), ClientID: "shop", Generation: generation, At: time.Now()})
				}
				if generation%10 == 0 {
					pass(time.Second)
				}
			}
			pass(time.Minute)
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			return m.HeapAlloc
		}
		before := refresh(1, 1000)
		if after := refresh(1000, 20_000); after > before+4<<20 {
			w.Errorf("190000 refreshes of 10 grants took %d MB", (after-before)>>20)
		}
		n.follow()
	})
}

// TestPages: a list of many entries comes in parts, and nothing is lost that happens in
// between.
func TestPages(t *testing.T) {
	t.Parallel()
	const grants = 12_000
	live(t, oauth.PreviousAccessToken{}, func(w *world) {
		n, other := w.start(w.Store), w.start(w.Store)
		n.follow()
		rotated := func(grant int, generation uint32) {
			n.Rotated(oauth.Rotation{GrantID: fmt.Sprint(grant), ClientID: "shop", Generation: generation, At: time.Now()})
		}
		for grant := range grants {
			rotated(grant, 1)
		}
		pass(soon)
		f := &follower{world: w, at: n}
		var sizes []int
		for f.cursor == "" || f.last.More {
			w.must(f.ask(0))
			sizes = append(sizes, len(f.last.Cutoffs))
			if f.last.Complete != (len(sizes) == 1) {
				w.Errorf("part %d says that it begins a list: %v", len(sizes), f.last.Complete)
			}
			if len(sizes) == 1 { // one that was told, one that was not, and a new one
				rotated(1, 2)
				rotated(grants-1, 2)
				rotated(grants, 2)
				pass(soon)
				moved := *f
				moved.moveTo(other)
				moved.mustCatchUp()
				if moved.anew != 2 {
					w.Error("who moved with a part of the list did not begin anew")
				}
			}
		}
		if want := []int{5000, 5000, 2002}; fmt.Sprint(sizes) != fmt.Sprint(want) {
			w.Errorf("the parts have %v entries, want %v", sizes, want)
		}
		for grant := range grants + 1 {
			want := uint32(1)
			if grant == 1 || grant >= grants-1 {
				want = 2
			}
			if c := f.known[subject{grantID: fmt.Sprint(grant)}]; c.Generation != want {
				w.Fatalf("grant %d: generation %d was told, want %d", grant, c.Generation, want)
			}
		}
	})
}

// TestPolicies: what a refresh does to the access tokens before it is told as the policy
// has it, and what is revoked is dead under any.
func TestPolicies(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		policy   oauth.PreviousAccessToken
		reusable bool
		entries  int // after a refresh
	}{
		"revoke":   {entries: 1},
		"keep":     {policy: oauth.PreviousAccessToken{Keep: true}},
		"duration": {policy: oauth.PreviousAccessToken{For: 90 * time.Second}, entries: 1},
		"reusable": {reusable: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			live(t, c.policy, func(w *world) {
				w.client("policy", func(client *oauth.Client) { client.ReusableRefreshTokens = c.reusable })
				here, there := w.start(w.Store), w.start(w.Store)
				grant := w.grant("alice", "policy")
				near, far := here.follow(), there.follow()
				here.rotate(grant)
				pass(soon)
				check := func(when string) {
					for _, f := range []*follower{near, far, here.follow(), there.follow()} {
						f.check(when)
					}
				}
				check("after a refresh")
				if near.entries != c.entries || far.entries != c.entries {
					w.Errorf("a refresh was told with %d and %d entries, want %d", near.entries, far.entries, c.entries)
				}
				pass(90*time.Second - soon - time.Nanosecond)
				check("before the duration is over")
				pass(time.Nanosecond)
				check("when the duration is over")
				here.rotate(grant)
				here.rotate(grant)
				pass(soon)
				check("after more refreshes")
				here.revoke(grant)
				pass(soon)
				check("revoked")
			})
		})
	}
}

// TestUnfollowed: when nobody has followed for long, nothing is done and kept any more, and
// the next who follows begins anew, with all that matters.
func TestUnfollowed(t *testing.T) {
	t.Parallel()
	live(t, oauth.PreviousAccessToken{}, func(w *world) {
		s := w.watch()
		here, there := w.start(s), w.start(w.Store)
		grant := w.populate()
		f := here.follow()
		pass(2*time.Hour + time.Minute) // the other nodes think for an hour that somebody does
		for _, method := range []string{"Announce", "Changes", "Announced", "Followed"} {
			s.count(method)
		}
		here.rotate(grant)
		there.rotate(grant)
		pass(30 * time.Minute)
		for _, method := range []string{"Announce", "Changes", "Announced"} {
			if n := s.count(method); n != 0 {
				w.Errorf("%s was called %d times though nobody follows any more", method, n)
			}
		}
		if s.count("Followed") == 0 {
			w.Error("it was not looked whether anybody follows elsewhere")
		}
		f.check("after a while")
		if f.anew != 2 {
			w.Errorf("the follower began %d times, want anew with the record", f.anew)
		}
		here.rotate(grant)
		pass(soon)
		f.check("after another refresh")
		there.rotate(grant)
		pass(soon)
		f.check("after a refresh elsewhere")
	})
}

// TestFollowedInTime: who comes at the moment when the record is about to be forgotten is
// told the news.
func TestFollowedInTime(t *testing.T) {
	t.Parallel()
	live(t, oauth.PreviousAccessToken{}, func(w *world) {
		s := w.watch()
		n := w.start(s)
		grant := w.grant("alice", "shop")
		f := n.follow()
		pass(time.Minute)
		pass(time.Until(s.lastCall("Followed").Add(time.Second)))
		asked := time.Now()
		f.mustCatchUp()
		var took func() time.Duration
		s.fail(func(method string) bool {
			if took == nil && method == "Followed" && time.Since(asked) == time.Hour { // the last look before
				took = f.waits(10 * time.Second)
				time.Sleep(time.Millisecond)
			}
			return false
		})
		pass(time.Hour + 2*time.Second)
		n.rotate(grant)
		s.fail(nil)
		if took == nil {
			w.Fatal("it was not looked at that moment whether anybody follows")
		}
		if d := took(); d > 4*time.Second {
			w.Errorf("the news came after %s", d)
		}
		f.check("who came in time")
	})
}

// TestFollowedStill: who goes on to follow keeps the record for as long as that.
func TestFollowedStill(t *testing.T) {
	t.Parallel()
	live(t, oauth.PreviousAccessToken{}, func(w *world) {
		here, there := w.start(w.Store), w.start(w.Store)
		grant := w.populate()
		f := there.follow()
		for range 80 {
			awake := f.waits(feed.LongestWait)
			pass(time.Minute)
			awake()
		}
		here.rotate(grant)
		pass(soon)
		f.check("after more than an hour")
		if f.anew != 1 {
			w.Errorf("the follower began %d times, want once", f.anew)
		}
	})
}

// TestClose: all who wait are let go at once, with what they can go on from.
func TestClose(t *testing.T) {
	t.Parallel()
	live(t, oauth.PreviousAccessToken{}, func(w *world) {
		n := w.start(w.Store)
		var awake []func() time.Duration
		for range 10 {
			awake = append(awake, n.follow().waits(feed.LongestWait))
		}
		pass(time.Second)
		n.Close()
		for i, took := range awake {
			if d := took(); d != time.Second {
				w.Errorf("follower %d was let go after %s, want at once", i, d-time.Second)
			}
		}
	})
}

// TestCloseBeforeTheRecord: nor does anybody wait for a record that will never be.
func TestCloseBeforeTheRecord(t *testing.T) {
	t.Parallel()
	live(t, oauth.PreviousAccessToken{}, func(w *world) {
		n := w.start(w.Store)
		n.kill()
		f := &follower{world: w, at: n}
		var asking sync.WaitGroup
		begun := time.Now()
		asking.Go(func() {
			if err := f.ask(0); !errors.Is(err, feed.ErrStale) {
				w.Errorf("a follower without a record: %v, want %v", err, feed.ErrStale)
			}
		})
		pass(time.Second)
		n.Close()
		asking.Wait()
		if took := time.Since(begun); took != time.Second {
			w.Errorf("a follower without a record was let go after %s, want at once", took-time.Second)
		}
	})
}

// TestManyFollowers: many wait while several refresh and revoke, and each knows all.
func TestManyFollowers(t *testing.T) {
	t.Parallel()
	live(t, oauth.PreviousAccessToken{}, func(w *world) {
		nodes := []*node{w.start(w.Store), w.start(w.Store)}
		const grants, rounds = 40, 25
		var following, refreshing sync.WaitGroup
		ended := make(chan struct{})
		followers := make([]*follower, 100)
		for i := range followers {
			followers[i] = &follower{world: w, at: nodes[i%2]}
			following.Go(func() {
				for {
					if err := followers[i].ask(5 * time.Second); err != nil {
						w.Error(err)
						return
					}
					select {
					case <-ended:
						return
					default:
					}
				}
			})
		}
		pass(5 * time.Second)
		for i := range grants {
			refreshing.Go(func() {
				for generation := range uint32(rounds) {
					pause := time.Duration(i*7+int(generation)*13) * time.Millisecond % (300 * time.Millisecond)
					time.Sleep(pause)
					nodes[generation%2].Rotated(oauth.Rotation{GrantID: fmt.Sprint(i), ClientID: "shop", Generation: generation + 1, At: time.Now()})
				}
			})
		}
		refreshing.Wait()
		pass(soon)
		close(ended)
		following.Wait()
		for i, f := range followers {
			f.mustCatchUp()
			for grant := range grants {
				if c := f.known[subject{grantID: fmt.Sprint(grant)}]; c.Generation != rounds {
					w.Fatalf("follower %d knows generation %d of grant %d, want %d", i, c.Generation, grant, rounds)
				}
			}
		}
	})
}

// TestNew: what is required is asked for.
func TestNew(t *testing.T) {
	t.Parallel()
	if _, err := feed.New(feed.Options{}); err == nil {
		t.Error("a feed of nothing was made")
	}
}
