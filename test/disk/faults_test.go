package disk

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/test/proof"
)

// honest is who logs in and refreshes, another one whose token a thief has.
const (
	honest account = "honest"
	robbed account = "robbed"
)

// prepared is a disk after the first start, with both accounts.
func prepared(t *testing.T) image {
	t.Helper()
	d := newDisk(t)
	d.quick = true
	r, err := openRig(t.Context(), d.dir, newClock().now)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.create(t.Context(), honest), r.create(t.Context(), robbed), r.close()); err != nil {
		t.Fatal(err)
	}
	return d.content(t)
}

// breakage is how a disk fails from its n-th operation on.
type breakage struct {
	n       int
	full    bool // writes: there is no room; else an error
	lasting bool // until it is mended; else once
}

func (b breakage) String() string {
	return fmt.Sprintf("operation %d, full %v, lasting %v", b.n, b.full, b.lasting)
}

// broken counts the operations of a disk and fails as it is told.
type broken struct {
	breakage
	mu     sync.Mutex
	count  int
	failed int
	mended bool
}

func (b *broken) fault(o operation) int32 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count++
	if b.mended || b.count < b.n || b.count > b.n && !b.lasting {
		return sqlite3.SQLITE_OK
	}
	b.failed++
	return failureOf(o, b.full)
}

func (b *broken) mend() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mended = true
}

// TestDiskFaults lets every single write, truncation and sync of a client's life fail:
// a full disk, an error, a sync that fails within COMMIT; once, or until the disk is
// mended. The client gets its answer or is told to come again, never a refusal; what
// can be read is read meanwhile; and as soon as the disk is in order the same request
// gets the one successor, without a restart (I7, I12, rules 1 to 4).
func TestDiskFaults(t *testing.T) {
	t.Parallel()
	base, faults := prepared(t), 0
	for seed := range proof.Rounds(t, 1) {
		random := rand.New(rand.NewPCG(seed, 0))
		for n := 1; ; n++ {
			if proof.Budget(t) == 0 {
				n += random.IntN(30)
			}
			b := breakage{n: n, full: random.IntN(2) == 0, lasting: random.IntN(2) == 0}
			failed, err := liveThrough(t, base, b)
			if err != nil {
				t.Fatalf("seed %d, %v: %v", seed, b, err)
			}
			if failed == 0 { // the life has fewer operations
				break
			}
			faults++
		}
	}
	proof.Count(t, faults, "faults")
}

// liveThrough runs a client's life on a disk that breaks and returns how many
// operations failed.
func liveThrough(t *testing.T, base image, b breakage) (int, error) {
	t.Helper()
	d := newDisk(t)
	defer d.discard()
	d.quick = true
	base.write(t, d.dir)
	c := newClock()
	r, err := openRig(t.Context(), d.dir, c.now)
	if err != nil {
		return 0, err
	}
	l := &life{rig: r, disk: &broken{breakage: b}, clock: c}
	d.fail(l.disk.fault)
	if err := errors.Join(l.run(t.Context()), r.close()); err != nil {
		return 0, err
	}
	// What was acknowledged is there for the next process, too.
	if l.rig, err = openRig(t.Context(), d.dir, c.now); err != nil {
		return 0, err
	}
	return l.disk.failed, errors.Join(l.afterwards(t.Context()), l.close())
}

// life is what an honest client and a thief do, one thing after the other.
type life struct {
	*rig
	disk  *broken
	clock *clock
	held  oauth.TokenResponse // by the honest client
	ended oauth.TokenResponse // of the robbed one
}

func (l *life) run(ctx context.Context) error {
	for _, part := range []func(context.Context) error{l.honestPart, l.robbedPart, l.revokedPart} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

// surely repeats a request until it succeeds. While the disk is broken it must fail
// without a refusal, and what was handed out can be checked; then it is mended.
func (l *life) surely(what string, ask func() error) error {
	var err error
	for try := range patience {
		if err = ask(); err == nil {
			return nil
		}
		if refusal := asFault(err); refusal != nil {
			return fmt.Errorf("%s: %w", what, refusal)
		}
		if l.held.AccessToken != "" {
			if err := l.mayBeAlive(l.held.AccessToken); err != nil {
				return fmt.Errorf("%s failed, and now %w", what, err)
			}
		}
		if try > 0 {
			l.disk.mend()
		}
	}
	return fmt.Errorf("%s: %w: %w", what, errGaveUp, err)
}

// mayBeAlive checks that an access token can be looked at. It is dead if a refresh
// has happened that nobody was told of.
func (l *life) mayBeAlive(token oauth.Secret) error {
	if _, err := l.AccessToken(context.Background(), token); err != nil && !errors.Is(err, oauth.ErrAccessTokenInvalid) {
		return fmt.Errorf("an access token cannot be checked: %w", err)
	}
	return nil
}

func (l *life) login(ctx context.Context, a account) (response oauth.TokenResponse, err error) {
	err = l.surely("login", func() (err error) {
		response, err = l.rig.login(ctx, a)
		return err
	})
	return response, err
}

// refresh returns the one successor, having asked for it twice.
func (l *life) refresh(ctx context.Context, a account, token oauth.Secret) (response oauth.TokenResponse, err error) {
	for range 2 {
		err = errors.Join(err, l.surely("refresh", func() error {
			next, err := l.rig.refresh(ctx, a, token)
			if err == nil && response.RefreshToken != "" && next.RefreshToken != response.RefreshToken {
				return oauth.ErrHistoryForked.Because(errors.New("two successors"))
			}
			if err == nil {
				response = next
			}
			return err
		}))
	}
	return response, err
}

// honestPart is a login and some refreshes, each with a retry.
func (l *life) honestPart(ctx context.Context) (err error) {
	if l.held, err = l.login(ctx, honest); err != nil {
		return err
	}
	for range 2 {
		l.clock.add(time.Hour / 2)
		if l.held, err = l.refresh(ctx, honest, l.held.RefreshToken); err != nil {
			return err
		}
	}
	return nil
}

// robbedPart is a replay. It is told only when the end of the grant is durable.
func (l *life) robbedPart(ctx context.Context) error {
	first, err := l.login(ctx, robbed)
	if err != nil {
		return err
	}
	next, err := l.refresh(ctx, robbed, first.RefreshToken)
	if err != nil {
		return err
	}
	l.clock.add(time.Hour / 2) // the window is closed
	err = l.surely("replay", func() error {
		_, err := l.rig.refresh(ctx, robbed, first.RefreshToken)
		if errors.Is(err, oauth.ErrReplay) || errors.Is(err, oauth.ErrGrantRevoked) {
			return nil
		}
		return err
	})
	l.ended = next
	return errors.Join(err, l.isOver(ctx))
}

// revokedPart is a sign-out everywhere of the robbed account.
func (l *life) revokedPart(ctx context.Context) error {
	response, err := l.login(ctx, robbed)
	if err != nil {
		return err
	}
	err = l.surely("revocation", func() error {
		_, err := l.store.RevokeGrants(ctx, admin.GrantFilter{Subject: robbed.userID()}, "test", oauth.Event{Type: oauth.EventAdministration})
		return err
	})
	l.ended = response
	return errors.Join(err, l.isOver(ctx))
}

// isOver checks that the robbed account's last session does not work.
func (l *life) isOver(ctx context.Context) error {
	return l.surely("the session that ended", func() error {
		response, err := l.rig.refresh(ctx, robbed, l.ended.RefreshToken)
		switch {
		case err == nil:
			return oauth.ErrHistoryForked.Because(errors.New("it works, with generation " + response.GrantID))
		case errors.Is(err, oauth.ErrGrantRevoked):
			return nil
		}
		return err
	})
}

// afterwards checks that everything is as it was told, in the next process.
func (l *life) afterwards(ctx context.Context) error {
	_, err := l.refresh(ctx, honest, l.held.RefreshToken)
	return errors.Join(err, l.isOver(ctx))
}

// TestSlowDisk: a sync that takes longer than anybody waits is an answer to come
// again, in time; when the disk is done the same request gets the one successor, and
// nothing has happened twice. The clock is a false one: nobody really waits.
func TestSlowDisk(t *testing.T) {
	base := prepared(t)
	if _, err := rightHorse(); err != nil { // outside of the bubble: others use it too
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t)
		d.quick = true
		base.write(t, d.dir)
		r, err := openRig(t.Context(), d.dir, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		first, err := r.login(t.Context(), honest)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		d.fail(func(o operation) int32 {
			if o.kind == syncKind {
				<-done
			}
			return sqlite3.SQLITE_OK
		})
		begun := time.Now()
		var waiting sync.WaitGroup
		for range 3 {
			waiting.Go(func() {
				if _, err := r.refresh(t.Context(), honest, first.RefreshToken); err == nil || refusalOf(err) != nil {
					t.Errorf("on a disk that hangs: got %v, want a fault", err)
				}
			})
		}
		waiting.Wait()
		if waited := time.Since(begun); waited > 30*time.Second {
			t.Errorf("the answer to come again took %v", waited)
		}
		close(done)
		d.fail(nil)
		next, err := r.refresh(t.Context(), honest, first.RefreshToken)
		if err != nil {
			t.Fatalf("the disk is done: %v", err)
		}
		again, err := r.refresh(t.Context(), honest, first.RefreshToken)
		if err != nil || again.RefreshToken != next.RefreshToken {
			t.Errorf("a retry: %v, the same successor: %v", err, again.RefreshToken == next.RefreshToken)
		}
		v, err := r.store.GrantByPublicID(t.Context(), next.GrantID)
		if err != nil || v.Grant.Generation != 1 {
			t.Errorf("generation %d, %v; want 1", v.Grant.Generation, err)
		}
		if err := r.close(); err != nil {
			t.Error(err)
		}
	})
	proof.Count(t, 1, "slow disks")
}

// TestFailedWrite lets each operation of a write fail and kills the process right then.
// In the next process a write that was acknowledged has happened, and one that failed
// has not, unless the store said that it does not know: a COMMIT whose sync failed may
// be found in the log and count (oauth.Store, rule 3).
func TestFailedWrite(t *testing.T) {
	t.Parallel()
	base, faults := prepared(t), 0
	for seed := range proof.Rounds(t, 1) {
		for n := 1; ; n++ {
			b := breakage{n: n, full: seed%2 == 0}
			failed, err := writeAndDie(t, base, b)
			if err != nil {
				t.Fatalf("seed %d, %v: %v", seed, b, err)
			}
			if failed == 0 { // the write has fewer operations
				break
			}
			faults++
		}
	}
	proof.Count(t, faults, "faults")
}

// writeAndDie signs an account out everywhere on a disk that breaks and looks whether
// that has happened in what the process leaves if it dies then.
func writeAndDie(t *testing.T, base image, b breakage) (int, error) {
	t.Helper()
	d, left := newDisk(t), newDisk(t)
	defer d.discard()
	defer left.discard()
	d.quick, left.quick = true, true
	base.write(t, d.dir)
	r, err := openRig(t.Context(), d.dir, newClock().now)
	if err != nil {
		return 0, err
	}
	response, err := r.login(t.Context(), robbed)
	if err != nil {
		return 0, errors.Join(err, r.close())
	}
	disk := &broken{breakage: b}
	d.fail(disk.fault)
	_, told := r.store.RevokeGrants(t.Context(), admin.GrantFilter{Subject: robbed.userID()}, "test", oauth.Event{Type: oauth.EventAdministration})
	d.content(t).write(t, left.dir)
	d.fail(nil)
	if err := r.close(); err != nil {
		return 0, err
	}
	if r, err = openRig(t.Context(), left.dir, newClock().now); err != nil {
		return 0, err
	}
	v, err := r.store.GrantByPublicID(t.Context(), response.GrantID)
	if err := errors.Join(err, r.close()); err != nil {
		return 0, err
	}
	happened := v.Grant.Status == oauth.GrantRevoked
	if (told == nil) != happened && !errors.Is(told, oauth.ErrOutcomeUnknown) {
		return 0, fmt.Errorf("the store returned %v, and that it happened is %v", told, happened)
	}
	return disk.failed, nil
}
