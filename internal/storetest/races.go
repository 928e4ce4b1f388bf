package storetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/signing"
)

var raceCases = []testCase{
	{"one of 64 rotations wins", raceRotate},
	{"one of 64 uses within a generation wins", raceReuse},
	{"40 of 64 retries are in a budget of 40", raceRetry},
	{"no rotation after what ended it", raceStopRotations},
	{"no retry after what ended it", raceStopRetries},
	{"no creation after what ended it", raceStopCreations},
	{"the most grants of a subject at a client", raceMaxGrants},
	{"many grants at once", raceManyGrants},
	{"a context that ends", raceCancel},
	{"a clean-up never takes what was just used", raceCleanup},
	{"one of many changes wins", raceChanges},
	{"nothing is lost from a counter", raceCounters},
}

// together runs n steps at once and returns their errors.
func together(n int, step func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var done sync.WaitGroup
	for i := range n {
		done.Go(func() {
			<-start
			errs[i] = step(i)
		})
	}
	close(start)
	done.Wait()
	return errs
}

// wantWinners checks how many of the steps succeeded, and that the others ended
// with the named error. It returns one that succeeded.
func (f *fixture) wantWinners(errs []error, want int, otherwise error, step string) int {
	f.Helper()
	won, winner := 0, 0
	var fault error
	for i, err := range errs {
		switch {
		case err == nil:
			won++
			winner = i
		case !errors.Is(err, otherwise):
			fault = err
		}
	}
	if fault != nil {
		f.Errorf("%s: got error %v, want none or %v", step, fault, otherwise)
	}
	if won != want {
		f.Fatalf("%s: %d of %d succeeded, want %d", step, won, len(errs), want)
	}
	return winner
}

func raceRotate(f *fixture) {
	g := f.grant
	for range 4 {
		before := f.look()
		nexts := make([]oauth.Grant, 64)
		errs := together(len(nexts), func(i int) error {
			nexts[i] = f.rotated(g)
			nexts[i].SuccessorSalt = hashOf("salt", fmt.Sprint(i))
			return f.SwapGrant(f.Context(), &g, &nexts[i], f.web.Version)
		})
		want := nexts[f.wantWinners(errs, 1, oauth.ErrConflict, "rotate at once")]
		want.Version, want.RotatedAt = g.Version+1, f.clock.stored()
		f.onlyChanged(before, "rotate at once", g)
		g = f.read(g).Grant
		f.same(g, want, "grant after the rotation that succeeded")
	}
}

func raceReuse(f *fixture) {
	errs := together(64, func(i int) error {
		next := f.grant
		next.LastUsedAt = next.LastUsedAt.Add(time.Duration(i) * time.Second)
		return f.SwapGrant(f.Context(), &f.grant, &next, f.web.Version)
	})
	winner := f.wantWinners(errs, 1, oauth.ErrConflict, "use at once")
	f.same(f.read(f.grant).Grant.LastUsedAt, f.grant.LastUsedAt.Add(time.Duration(winner)*time.Second), "last use")
}

func raceRetry(f *fixture) {
	g := f.rotate(f.grant)
	before := f.look()
	errs := together(64, func(int) error { return f.RetryGrant(f.Context(), &g, f.web.Version, 40) })
	f.wantWinners(errs, 40, oauth.ErrConflict, "retry at once")
	f.onlyChanged(before, "retry at once", g)
	want := g
	want.Retries = 40
	f.same(f.read(g).Grant, want, "grant after the retries")
}

// stops are acts after which no step upon f.grant succeeds that was authenticated
// before.
var stops = []struct {
	name string
	by   func(f *fixture) error
}{
	{"revoke the grant", func(f *fixture) error { return f.RevokeGrant(f.Context(), f.grant.ID, "replay", act("")) }},
	{"revoke by public ID", func(f *fixture) error { return f.stopBy(admin.GrantFilter{PublicID: f.grant.PublicID}) }},
	{"revoke by subject", func(f *fixture) error { return f.stopBy(subjectOf(f.grant)) }},
	{"revoke by client", func(f *fixture) error { return f.stopBy(clientOf(f.grant)) }},
	{"disable", func(f *fixture) error {
		return f.SetUserState(f.Context(), f.alice.ID, new(false), oauth.SubjectActive, act(""))
	}},
	{"lock", func(f *fixture) error {
		return f.SetUserState(f.Context(), f.alice.ID, new(true), oauth.SubjectLocked, act(""))
	}},
	{"lock by failures", func(f *fixture) error {
		return f.RecordLoginFailure(f.Context(), keysOf("s", "a"), f.alice.ID, 1)
	}},
	{"set password", func(f *fixture) error { return f.SetPassword(f.Context(), f.alice.ID, "new", true, act("")) }},
	{"delete user", func(f *fixture) error { return f.DeleteUser(f.Context(), f.alice.ID, act("")) }},
	{"update client", func(f *fixture) error { return f.UpdateClient(f.Context(), f.web, act("")) }},
	{"delete client", func(f *fixture) error { return f.DeleteClient(f.Context(), "web", act("")) }},
}

func (f *fixture) stopBy(filter admin.GrantFilter) error {
	_, err := f.RevokeGrants(f.Context(), filter, "administrator", act(""))
	return err
}

// untilStopped repeats a step in four places, stops it in between, and checks that
// none that began after the stop succeeded. It returns how many succeeded, before
// and around the stop.
func (f *fixture) untilStopped(stop func(*fixture) error, step func(place, turn int) error) int {
	f.Helper()
	var stopped atomic.Bool
	var won atomic.Int64
	var done sync.WaitGroup
	going := make(chan struct{}, 1)
	for place := range 4 {
		done.Go(func() {
			for turn := 0; ; turn++ {
				late := stopped.Load()
				err := step(place, turn)
				switch {
				case err == nil && late:
					f.Errorf("a step that began after the stop was acknowledged succeeded")
				case err != nil && !errors.Is(err, oauth.ErrConflict):
					f.Errorf("got error %v, want none or %q", err, oauth.ErrConflict)
					late = true
				}
				if err == nil && won.Add(1) == 8 {
					going <- struct{}{}
				}
				if late {
					return
				}
			}
		})
	}
	select {
	case <-going:
	case <-time.After(10 * time.Second):
		f.Errorf("%d steps succeeded within 10 s, want 8 before the stop", won.Load())
	}
	if err := stop(f); err != nil {
		f.Errorf("stop: %v", err)
	}
	stopped.Store(true)
	done.Wait()
	return int(won.Load())
}

func raceStopRotations(f *fixture) {
	for _, s := range stops {
		f.again(s.name, func(f *fixture) {
			won := f.untilStopped(s.by, func(int, int) error {
				v, err := f.Grant(f.Context(), f.grant.ID)
				if err != nil {
					return err
				}
				next := f.rotated(v.Grant)
				return f.SwapGrant(f.Context(), &v.Grant, &next, f.web.Version)
			})
			if got := f.read(f.grant).Grant.Generation; int(got) != won {
				f.Errorf("the generation is %d after %d rotations that succeeded", got, won)
			}
		})
	}
}

func raceStopRetries(f *fixture) {
	for _, s := range stops {
		f.again(s.name, func(f *fixture) {
			g := f.rotate(f.grant)
			won := f.untilStopped(s.by, func(int, int) error {
				return f.RetryGrant(f.Context(), &g, f.web.Version, math.MaxInt32)
			})
			if got := f.read(g).Grant.Retries; got != won {
				f.Errorf("%d retries are counted after %d that succeeded", got, won)
			}
		})
	}
}

func raceStopCreations(f *fixture) {
	for _, s := range stops[2:] {
		f.again(s.name, func(f *fixture) {
			won := f.untilStopped(s.by, func(place, turn int) error {
				return f.CreateGrant(f.Context(), newGrant(fmt.Sprint(place, " ", turn), f.alice, f.web))
			})
			if got := len(f.look().Grants); got != 5+won {
				f.Errorf("there are %d grants after %d of 5 more that succeeded", got, won)
			}
			if s.name == "revoke by subject" || s.name == "revoke by client" || s.name == "delete client" || s.name == "delete user" {
				f.noneEscaped()
			}
		})
	}
}

// noneEscaped checks that no grant of alice at web was made around its revocation.
func (f *fixture) noneEscaped() {
	f.Helper()
	views, err := f.Grants(f.Context(), admin.GrantFilter{Subject: f.alice.ID, ClientID: "web"})
	f.must(err, "list grants")
	for _, v := range views {
		if v.Grant.Status == oauth.GrantActive {
			f.Errorf("%s escaped the revocation: it is active", v.Grant.PublicID)
		}
	}
}

func raceMaxGrants(f *fixture) {
	errs := together(32, func(i int) error {
		n := newGrant(fmt.Sprint(i), f.alice, f.web)
		n.MaxGrants = 5
		return f.CreateGrant(f.Context(), n)
	})
	f.wantWinners(errs, 32, nil, "create at once")
	active := 0
	for _, g := range f.look().Grants {
		if g.Subject == f.alice.ID && g.ClientID == "web" && g.Status == oauth.GrantActive {
			active++
		}
	}
	if active != 5 {
		f.Errorf("%d grants are active, want the most, 5", active)
	}
}

// raceManyGrants rotates many grants in many places, while others look.
func raceManyGrants(f *fixture) {
	const grants, places, turns = 8, 4, 10
	ids := make([]oauth.Grant, grants)
	for i := range ids {
		ids[i] = f.createGrant(fmt.Sprint(i), f.bob, f.app)
	}
	before := f.look()
	var won [grants]atomic.Int64
	errs := together(grants*places, func(i int) error {
		g := ids[i%grants]
		for range turns {
			v, err := f.Grant(f.Context(), g.ID)
			if err != nil {
				return err
			}
			if v.Grant.Generation > 0 && v.Grant.CurrentHash != hashOf("next", string(v.Grant.PreviousHash[:])) {
				return fmt.Errorf("%s was read half-way through a rotation", g.PublicID)
			}
			next := f.rotated(v.Grant)
			if err := f.SwapGrant(f.Context(), &v.Grant, &next, f.app.Version); err == nil {
				won[i%grants].Add(1)
			} else if !errors.Is(err, oauth.ErrConflict) {
				return err
			}
			if _, err := f.Grants(f.Context(), admin.GrantFilter{ClientID: "app", Limit: 3}); err != nil {
				return err
			}
		}
		return f.RecordEvent(f.Context(), act("many"))
	})
	f.wantWinners(errs, grants*places, nil, "rotate many grants at once")
	about := make([]any, grants)
	for i, g := range ids {
		about[i] = g
		now := f.read(g).Grant
		if n := won[i].Load(); n < turns || int64(now.Generation) != n || now.Version != g.Version+n {
			f.Errorf("%s: generation %d, version %d after %d rotations that succeeded; want %d, %d", g.PublicID, now.Generation, now.Version, n, n, g.Version+n)
		}
	}
	f.onlyChanged(before, "rotate many grants at once", about...)
}

// raceCancel ends the context of a swap while it runs.
func raceCancel(f *fixture) {
	for range 32 {
		v := f.read(f.grant)
		next := f.rotated(v.Grant)
		ctx, cancel := context.WithCancel(f.Context())
		errs := together(2, func(i int) error {
			if i == 1 {
				cancel()
				return nil
			}
			return f.SwapGrant(ctx, &v.Grant, &next, f.web.Version)
		})
		f.outcome(errs[0], f.read(f.grant).Grant.Generation == next.Generation, "swap while its context ends")
	}
}

// raceCleanup uses grants that have just expired: whichever comes first, what was
// acknowledged stays.
func raceCleanup(f *fixture) {
	const grants = 32
	ids := make([]oauth.Grant, grants)
	for i := range ids {
		ids[i] = f.createGrant(fmt.Sprint(i), f.bob, f.app)
	}
	f.until(ids[grants-1].IdleExpiresAt.Add(time.Second))
	errs := together(grants+1, func(i int) error {
		if i == grants/2 {
			_, err := f.Store.Cleanup(f.Context(), admin.Cleanup{Batch: 3})
			return err
		}
		g := ids[i%grants]
		next := f.rotated(g)
		return f.SwapGrant(f.Context(), &g, &next, f.app.Version)
	})
	for i, err := range errs {
		if i == grants/2 {
			f.must(err, "clean up")
			continue
		}
		_, missing := f.Grant(f.Context(), ids[i%grants].ID)
		if err == nil && missing != nil {
			f.Errorf("%s was swapped and is gone: %v", ids[i%grants].PublicID, missing)
		}
		if err != nil && !errors.Is(err, oauth.ErrConflict) {
			f.Errorf("swap during a clean-up: got error %v, want none or %q", err, oauth.ErrConflict)
		}
	}
}

func raceChanges(f *fixture) {
	ctx := f.Context()
	errs := together(32, func(int) error { return f.UpdateClient(ctx, f.web, act("")) })
	f.wantWinners(errs, 1, oauth.ErrConflict, "update a client at once")
	errs = together(32, func(i int) error {
		return f.ReplaceSigningKeys(ctx, 0, []signing.Key{{ID: fmt.Sprint(i), Sealed: []byte{1}, PublishedAt: f.clock.stored()}}, act(""))
	})
	winner := f.wantWinners(errs, 1, oauth.ErrConflict, "replace signing keys at once")
	f.same(f.look().Keys[0].ID, fmt.Sprint(winner), "the signing key of whoever succeeded")
	errs = together(32, func(int) error { return f.CreateClient(ctx, oauth.Client{ID: "new"}, act("")) })
	f.wantWinners(errs, 1, oauth.ErrExists, "create a client at once")
	errs = together(32, func(i int) error {
		return f.CreateUser(ctx, oauth.User{Subject: oauth.Subject{ID: fmt.Sprint(i), Username: "new", State: oauth.SubjectActive}}, act(""))
	})
	f.wantWinners(errs, 1, oauth.ErrExists, "create a user at once")
	errs = together(32, func(i int) error { return f.AddMasterKeyCheck(ctx, 9, []byte{byte(i)}) })
	f.wantWinners(errs, 1, oauth.ErrExists, "add a master key at once")
	errs = together(32, func(int) error { return f.DeleteUser(ctx, f.bob.ID, act("")) })
	f.wantWinners(errs, 1, oauth.ErrNotFound, "delete a user at once")
}

func raceCounters(f *fixture) {
	errs := together(64, func(i int) error {
		return errors.Join(
			f.RecordLoginFailure(f.Context(), keysOf("s", "a"), "", 0),
			f.RecordLoginFailure(f.Context(), keysOf("t", fmt.Sprint(i)), "", 0),
			f.RecordRefusal(f.Context(), fullEvent(oauth.EventRefusal, "refusal")),
			f.SaveClientFailures(f.Context(), map[[16]byte]oauth.FailureCount{key("c"): {Count: 1 + i, Last: f.clock.stored()}}))
	})
	f.wantWinners(errs, 64, nil, "count at once")
	f.wantFailures(keysOf("s", "a"), 64, 1, "64 failures at an account")
	f.wantFailures(keysOf("t", "0"), 1, 64, "failures at 64 accounts")
	if got := f.oneEvent("refusal", "64 refusals").Count; got != 64 {
		f.Errorf("64 refusals at once count %d", got)
	}
	f.wantClientFailures(map[[16]byte]oauth.FailureCount{key("c"): {Count: 64, Last: f.clock.stored()}}, "saved from 64 nodes")
}
