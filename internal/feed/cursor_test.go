package feed_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/feed"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// moveTo lets a follower go on at another node, with its cursor.
func (f *follower) moveTo(n *node) { f.at = n }

// TestMove: who moves to another node with its cursor goes on there, and misses nothing:
// not what happened meanwhile, nor what only one of the nodes knew when it moved.
func TestMove(t *testing.T) {
	t.Parallel()
	for name, act := range acts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			live(t, oauth.PreviousAccessToken{}, func(w *world) {
				here, there := w.start(w.Store), w.start(w.Store)
				grant := w.populate()
				f := here.follow()
				there.follow()
				pass(5 * time.Minute)
				f.mustCatchUp()
				act(there, grant) // of which here nothing is known
				f.moveTo(there)
				pass(soon)
				f.check("moved with the act")
				f.moveTo(here)
				f.check("moved back")
				pass(20 * time.Minute)
				f.moveTo(there)
				f.check("moved after a while")
				if f.anew != 1 {
					w.Errorf("the follower began %d times, want once", f.anew)
				}
			})
		})
	}
}

// TestMoveToNewNode: a node that was started since knows what happened before.
func TestMoveToNewNode(t *testing.T) {
	t.Parallel()
	for name, act := range acts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			live(t, oauth.PreviousAccessToken{}, func(w *world) {
				here := w.start(w.Store)
				grant := w.populate()
				f := here.follow()
				pass(10 * time.Minute)
				f.mustCatchUp()
				act(here, grant)
				here.kill()
				f.moveTo(w.start(w.Store))
				f.check("at a new node")
				if f.anew != 1 {
					w.Errorf("the follower began %d times, want once", f.anew)
				}
			})
		})
	}
}

// lifts are the ways in which what was cut off is let in again.
var lifts = map[string]struct{ cut, lift func(*world) }{
	"user":   {func(w *world) { w.enable("alice", false) }, func(w *world) { w.enable("alice", true) }},
	"client": {func(w *world) { w.activate("long", false) }, func(w *world) { w.activate("long", true) }},
	"owner":  {func(w *world) { w.enable("owner", false) }, func(w *world) { w.enable("owner", true) }},
	"user by a password": {
		func(w *world) {
			w.must(w.SetUserState(w.Context(), "alice", nil, oauth.SubjectReset, oauth.Event{}))
		},
		func(w *world) {
			w.must(w.SetUserState(w.Context(), "alice", nil, oauth.SubjectActive, oauth.Event{}))
		},
	},
}

// TestLift: that a user or client is let in again reaches everybody who knows that they
// were not, wherever they knew it from, and however long they were away. Their access
// tokens may live long.
func TestLift(t *testing.T) {
	t.Parallel()
	for name, c := range lifts {
		for _, away := range []time.Duration{soon, 45 * time.Minute, 90 * time.Minute} {
			t.Run(name+" after "+away.String(), func(t *testing.T) {
				t.Parallel()
				live(t, oauth.PreviousAccessToken{}, func(w *world) {
					w.user("owner")
					w.client("long", func(client *oauth.Client) { client.AccessTokenLifetime, client.Owner = 48*time.Hour, "owner" })
					here, there := w.start(w.Store), w.start(w.Store)
					w.grant("alice", "long")
					w.ownToken("long")
					stays, moves := here.follow(), here.follow()
					there.follow()
					pass(time.Minute)
					c.cut(w)
					pass(soon)
					stays.check("cut off")
					moves.check("cut off, who moves")
					c.lift(w)
					others := there.follow()
					for left := away; left > 0; left -= 10 * time.Minute { // somebody else follows
						pass(min(left, 10*time.Minute))
						others.check("let in, elsewhere")
					}
					stays.check("let in")
					fresh := w.start(w.Store)
					for to, n := range map[string]*node{"another node": there, "a new node": fresh} {
						moved := *moves
						moved.moveTo(n)
						moved.check("let in, at " + to)
					}
				})
			})
		}
	}
}

// TestBlockedAgain: who is let in and blocked again between two looks may have got access
// tokens in between: they are dead for as long as they would live.
func TestBlockedAgain(t *testing.T) {
	t.Parallel()
	for name, c := range lifts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			live(t, oauth.PreviousAccessToken{}, func(w *world) {
				w.user("owner")
				w.client("long", func(client *oauth.Client) { client.Owner = "owner" })
				n := w.start(w.Store)
				grant := w.grant("alice", "long")
				f := n.follow()
				c.cut(w)
				for range 2 {
					pass(25 * time.Minute)
					f.check("blocked")
				}
				c.lift(w)
				n.rotate(grant)
				w.ownToken("long")
				c.cut(w)
				for range 3 {
					pass(19 * time.Minute)
					f.check("blocked again")
				}
			})
		})
	}
}

// TestCursors: a cursor is gone on from where that is right, and else the list begins anew.
func TestCursors(t *testing.T) {
	t.Parallel()
	at := func(d time.Duration) string { return strconv.FormatInt(time.Now().Add(d).UnixMicro(), 10) }
	for name, c := range map[string]struct {
		cursor func(own string) string
		anew   bool
		told   int
	}{
		"the node's own":               {func(own string) string { return own }, false, 0},
		"another's of now":             {func(string) string { return "0123456789abcdef.7." + at(0) }, false, 1},
		"another's from before":        {func(string) string { return "0123456789abcdef.7." + at(-24*time.Minute) }, false, 2},
		"another's, too old":           {func(string) string { return "0123456789abcdef.7." + at(-31*time.Minute) }, true, 3},
		"another's, ahead by a little": {func(string) string { return "0123456789abcdef.7." + at(5*time.Second) }, false, 1},
		"another's, of a time to come": {func(string) string { return "0123456789abcdef.7." + at(2*time.Minute) }, true, 3},
		"another's, between two parts": {func(string) string { return "0123456789abcdef.7.0" }, true, 3},
		"of the end of time":           {func(string) string { return "0123456789abcdef.7.9223372036854775807" }, true, 3},
		"of the beginning of time":     {func(string) string { return "0123456789abcdef.7.1" }, true, 3},
		"the node's own, never given": {func(own string) string {
			name, _, _ := strings.Cut(own, ".")
			return name + ".999." + at(0)
		}, true, 3},
		"of a node without a name": {func(string) string { return ".0.0" }, true, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			live(t, oauth.PreviousAccessToken{}, func(w *world) {
				n := w.start(w.Store)
				n.follow()
				for _, after := range []time.Duration{25 * time.Minute, 25 * time.Minute, 0} {
					n.rotate(w.grant("alice", "shop"))
					pass(after)
				}
				pass(soon)
				cursor := c.cursor(n.follow().cursor)
				f := &follower{world: w, at: n, cursor: cursor, known: map[subject]feed.Cutoff{}}
				f.mustCatchUp()
				if (f.anew == 1) != c.anew || f.entries != c.told {
					w.Errorf("cursor %s: the list begins anew: %v, with %d entries; want %v with %d", cursor, f.anew == 1, f.entries, c.anew, c.told)
				}
			})
		})
	}
}

// TestShortLifetimes: where access tokens live shortly, who was away for longer than what
// is known of them begins anew.
func TestShortLifetimes(t *testing.T) {
	t.Parallel()
	live(t, oauth.PreviousAccessToken{}, func(w *world) {
		w.lifetime = 5 * time.Minute
		here := w.start(w.Store)
		f := here.follow()
		here.rotate(w.grant("alice", "shop"))
		pass(10 * time.Minute)
		f.moveTo(w.start(w.Store))
		f.check("after ten minutes")
		if f.anew != 2 {
			w.Error("the list did not begin anew")
		}
	})
}

// TestNoCursor: what no feed gave out is refused.
func TestNoCursor(t *testing.T) {
	t.Parallel()
	live(t, oauth.PreviousAccessToken{}, func(w *world) {
		n := w.start(w.Store)
		for _, cursor := range []string{" ", ".", "..", "a.b.c", "a.1", "a.1.2.3", "a.-1.2", "a.1.-2", "a.1.9223372036854775808", "a.1.2 ", "a.0x1.2", "a..2"} {
			if _, err := n.Follow(w.Context(), cursor, 0); !errors.Is(err, feed.ErrCursor) {
				w.Errorf("cursor %q: %v, want %v", cursor, err, feed.ErrCursor)
			}
		}
	})
}

// TestRecordEnded: who comes back with a cursor of a record that ended, at the same node,
// goes on by its time.
func TestRecordEnded(t *testing.T) {
	t.Parallel()
	live(t, oauth.PreviousAccessToken{}, func(w *world) {
		here, there := w.start(w.Store), w.start(w.Store)
		grant := w.populate()
		f, elsewhere := here.follow(), there.follow()
		for range 5 { // here nobody follows
			pass(20 * time.Minute)
			elsewhere.mustCatchUp()
		}
		here.rotate(grant)
		f.cursor = elsewhere.cursor
		pass(soon)
		f.check("after the record ended")
		if f.anew != 1 {
			w.Errorf("the follower began %d times, want once", f.anew)
		}
	})
}
