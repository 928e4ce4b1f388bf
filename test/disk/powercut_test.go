package disk

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/counterfoil/counterfoil/test/proof"
)

// TestPowerCut cuts the power at every sync of a server's life, and between them, in
// each of the ways in which a disk may then have lost what was not synced. Whatever
// was acknowledged before is there: no client lost its session, no token has two
// successors, nothing that was ended works (I1, I2, I3, I5, I6, I7).
func TestPowerCut(t *testing.T) {
	t.Parallel()
	cutRounds(t, 0)
}

// TestPowerCutAfterFaults is TestPowerCut on a disk that before failed now and then: a
// write was torn, or a sync failed and what it should have written is lost although
// the next sync succeeds, as on Linux.
func TestPowerCutAfterFaults(t *testing.T) {
	t.Parallel()
	cutRounds(t, 0.03)
}

// cutRounds runs scenarios on disks where a share of operations fails, and cuts them.
func cutRounds(t *testing.T, faults float64) {
	t.Helper()
	cuts := 0
	for seed := range proof.Rounds(t, 1) {
		s := newScenario(newDisk(t), seed, 4, 4)
		if proof.Budget(t) == 0 {
			s = smallScenario(t, seed)
		}
		s.faults = faults
		if err := s.run(t.Context()); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		n, err := s.cutEverywhere(t, seed, outcomes)
		cuts += n
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	proof.Count(t, cuts, "power cuts")
}

// smallScenario is one that the short version of a check has time for.
func smallScenario(t *testing.T, seed uint64) *scenario {
	t.Helper()
	s := newScenario(newDisk(t), seed, 2, 1)
	s.small = true
	return s
}

// TestPowerCutSeesLostWrites: a disk that says that something is synced while it is
// not is found out, whatever it lies about: the check can see lost writes.
func TestPowerCutSeesLostWrites(t *testing.T) {
	all := map[string]func(operation) bool{
		"everything":    func(operation) bool { return true },
		"the log":       func(o operation) bool { return strings.HasSuffix(o.name, "-wal") },
		"the database":  func(o operation) bool { return o.name == databaseFile },
		"the directory": func(o operation) bool { return o.kind == syncDirectoryKind },
	}
	for name, lies := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const seed = 1
			s := smallScenario(t, seed)
			s.disk.lies = lies
			if err := s.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := s.cutEverywhere(t, seed, outcomes[:1]); err == nil {
				t.Error("the lie was not found out")
			}
		})
	}
	proof.Count(t, len(all), "lies")
}

// cutEverywhere cuts the power at every moment that matters and returns how many
// different disks it has checked.
func (s *scenario) cutEverywhere(t *testing.T, seed uint64, outcomes []outcome) (int, error) {
	t.Helper()
	var checked atomic.Int64
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(2)
	random := rand.New(rand.NewPCG(seed, 1<<32))
	r := newReplay(random)
	for cut := range len(s.disk.operations) + 1 {
		if s.interesting(cut) || cut >= s.from && random.IntN(20) == 0 {
			for n, image := range r.images(s.tried(outcomes)) {
				group.Go(func() error {
					checked.Add(1)
					return s.verify(ctx, t, image, cut, n)
				})
			}
		}
		if ctx.Err() != nil || cut == len(s.disk.operations) {
			break
		}
		r.step(s.disk.operations[cut])
	}
	err := group.Wait()
	return int(checked.Load()), err
}

// interesting reports whether a sync is about to be complete, or everything is over.
// What holds after a sync is checked before the next one, where all else is lost. Of
// the first start the short version takes some.
func (s *scenario) interesting(cut int) bool {
	switch {
	case cut == len(s.disk.operations):
		return true
	case cut < s.from && (s.faults > 0 || s.disk.lies != nil || s.small && s.random.IntN(3) > 0):
		return false
	}
	kind := s.disk.operations[cut].kind
	return kind == syncKind || kind == syncDirectoryKind
}

// tried is outcomes, of which the short version of a check tries the first, and now and
// then another.
func (s *scenario) tried(outcomes []outcome) []outcome {
	if !s.small {
		return outcomes
	}
	tried := outcomes[:1:1]
	if other := s.random.IntN(2 * len(outcomes)); other > 0 && other < len(outcomes) {
		tried = append(tried, outcomes[other])
	}
	return tried
}

// images returns the different disks that a cut may leave now.
func (r *replay) images(outcomes []outcome) []image {
	var images []image
	seen := map[[sha256.Size]byte]bool{}
	for _, o := range outcomes {
		for range max(1, o.draws) {
			image := r.cut(o)
			if sum := image.sum(); !seen[sum] {
				seen[sum] = true
				images = append(images, image)
			}
		}
	}
	return images
}

// sum tells images apart.
func (i image) sum() [sha256.Size]byte {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(i)) {
		fmt.Fprintf(h, "%s %d\n", name, len(i[name]))
		h.Write(i[name])
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// verify starts a server on what a power cut at some operation left.
func (s *scenario) verify(ctx context.Context, t *testing.T, i image, cut, number int) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("power cut at operation %d, disk %d: %w", cut, number, err)
		}
	}()
	d := newDisk(t)
	defer d.discard()
	d.quick = true
	i.write(t, d.dir)
	r, err := openRig(ctx, d.dir, s.clock.now)
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range s.sessions {
		if err := n.verify(ctx, r, cut); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", n.account, err))
		}
	}
	return errors.Join(append(errs, r.close())...)
}
