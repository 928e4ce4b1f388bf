package feed_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/feed"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// noticed is when the death of a node was noticed.
const noticed = 15 * time.Second

// TestNodeDies: what a node rotated is known to the others though it died before it said
// so, however quiet it was before, and however little it lived.
func TestNodeDies(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]func(dies *node, grant oauth.GrantID){
		"at once":              func(*node, oauth.GrantID) {},
		"after a long silence": func(*node, oauth.GrantID) { pass(time.Hour / 2) },
		"after a refresh":      func(dies *node, grant oauth.GrantID) { dies.rotate(grant); pass(feed.Interval) },
		"followed itself":      func(dies *node, _ oauth.GrantID) { dies.follow() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			live(t, oauth.PreviousAccessToken{}, func(w *world) {
				lives := w.start(w.Store)
				f := lives.follow()
				dies := w.start(w.Store)
				grant := w.grant("alice", "shop")
				before(dies, grant)
				dies.rotate(grant)
				dies.kill()
				pass(noticed)
				f.check("a node died")
				if f.anew != 1 {
					w.Errorf("the follower began %d times, want once", f.anew)
				}
			})
		})
	}
}

// TestNodeStops: a node that stops says what it has to say, and that it ends: the others
// need not look at all grants.
func TestNodeStops(t *testing.T) {
	t.Parallel()
	live(t, oauth.PreviousAccessToken{}, func(w *world) {
		s := w.watch()
		f := w.start(s).follow()
		stops := w.start(w.Store)
		grant := w.grant("alice", "shop")
		stops.rotate(grant)
		pass(5 * time.Second)
		s.count("Rotations")
		stops.rotate(grant)
		stops.kill()
		w.must(stops.Stop(w.Context()))
		pass(soon)
		f.check("a node stopped")
		pass(time.Minute)
		if n := s.count("Rotations"); n != 0 {
			w.Errorf("all grants were looked at %d times after a node stopped", n)
		}
	})
}

// TestQuietNode: nor need they where a node has nothing to say for a long time, and then
// has.
func TestQuietNode(t *testing.T) {
	t.Parallel()
	live(t, oauth.PreviousAccessToken{}, func(w *world) {
		s := w.watch()
		here, there := w.start(s), w.start(w.Store)
		grant := w.grant("alice", "shop")
		f := here.follow()
		pass(5 * time.Second)
		s.count("Rotations")
		pass(20 * time.Minute)
		there.rotate(grant)
		pass(soon)
		f.check("a refresh at a node that was quiet")
		if n := s.count("Rotations"); n != 0 {
			w.Errorf("all grants were looked at %d times, though no node died", n)
		}
	})
}

// TestLongDead: nor where a node begins after others died.
func TestLongDead(t *testing.T) {
	t.Parallel()
	live(t, oauth.PreviousAccessToken{}, func(w *world) {
		died := w.start(w.Store)
		died.follow()
		died.rotate(w.grant("alice", "shop"))
		pass(time.Minute)
		died.kill()
		pass(time.Minute)
		s := w.watch()
		f := w.start(s).follow()
		pass(time.Minute)
		f.check("a new node")
		if n := s.count("Rotations"); n != 1 {
			w.Errorf("all grants were looked at %d times, want once", n)
		}
	})
}

// TestStopUnfollowed: who has told nobody anything does not say that it ends.
func TestStopUnfollowed(t *testing.T) {
	t.Parallel()
	live(t, oauth.PreviousAccessToken{}, func(w *world) {
		n := w.start(w.Store)
		n.rotate(w.grant("alice", "shop"))
		n.kill()
		w.must(n.Stop(w.Context()))
		if _, last, err := w.Announced(w.Context(), 0); err != nil || last != 0 {
			w.Errorf("%d announcements though nobody follows, %v", last, err)
		}
	})
}

// TestUnaware: what a node rotated before it knew that anybody follows reaches those who
// do: it had not looked for a while, when they began at two nodes at the same time.
func TestUnaware(t *testing.T) {
	t.Parallel()
	live(t, oauth.PreviousAccessToken{}, func(w *world) {
		here, there, unaware := w.start(w.Store), w.start(w.Store), w.start(w.Store)
		grants := []oauth.GrantID{w.grant("alice", "shop"), w.grant("alice", "shop")}
		pass(time.Minute)
		unaware.held <- struct{}{}
		first := here.follow()
		unaware.rotate(grants[0])
		second := there.follow()
		unaware.rotate(grants[1])
		pass(3 * time.Second)
		<-unaware.held
		pass(soon)
		first.check("who began first")
		second.check("who began second")
	})
}

// TestMissedAnnouncements: a node that stood still while more was announced than is kept
// finds what it missed.
func TestMissedAnnouncements(t *testing.T) {
	t.Parallel()
	live(t, oauth.PreviousAccessToken{}, func(w *world) {
		s := w.watch()
		slow, busy := w.start(s), w.start(w.Store)
		var grants []oauth.GrantID
		for range 300 {
			grants = append(grants, w.grant("alice", "shop"))
		}
		f := slow.follow()
		pass(5 * time.Second)
		s.count("Rotations")
		slow.held <- struct{}{}
		for _, grant := range grants {
			busy.rotate(grant)
			pass(feed.Interval)
		}
		<-slow.held
		pass(soon)
		f.check("after a standstill")
		if s.count("Rotations") == 0 {
			w.Error("the grants were not looked at")
		}
	})
}

// TestLargeAnnouncement: more rotations than go into one announcement are announced in
// several.
func TestLargeAnnouncement(t *testing.T) {
	t.Parallel()
	const rotations = 4500
	live(t, oauth.PreviousAccessToken{}, func(w *world) {
		here, there := w.start(w.Store), w.start(w.Store)
		f := here.follow()
		for i := range rotations {
			there.Rotated(oauth.Rotation{GrantID: fmt.Sprint(i), ClientID: "shop", Generation: 1, At: time.Now()})
		}
		pass(soon)
		f.mustCatchUp()
		if f.entries != rotations {
			w.Errorf("%d of %d rotations reached the other node", f.entries, rotations)
		}
		list, _, err := w.Announced(w.Context(), 0)
		w.must(err)
		for _, a := range list {
			if len(a.Rotations) > 2000 {
				w.Errorf("an announcement has %d rotations", len(a.Rotations))
			}
		}
	})
}

// TestManyNodes: with many nodes, all that is rotated at any reaches all.
func TestManyNodes(t *testing.T) {
	t.Parallel()
	live(t, oauth.PreviousAccessToken{}, func(w *world) {
		var nodes []*node
		for range 8 {
			nodes = append(nodes, w.start(w.Store))
		}
		var grants []oauth.GrantID
		for range nodes {
			grants = append(grants, w.grant("alice", "shop"))
		}
		var following sync.WaitGroup
		followers := make([]*follower, len(nodes))
		for i, n := range nodes { // all at once
			following.Go(func() { followers[i] = n.follow() })
		}
		for i, n := range nodes {
			n.rotate(grants[i])
		}
		following.Wait()
		for i, n := range nodes {
			n.rotate(grants[i])
		}
		pass(soon)
		for i, f := range followers {
			f.check(fmt.Sprint("at node ", i))
		}
	})
}
