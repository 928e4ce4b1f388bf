package disk

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// scenario is a life of a server on a disk: first start, logins, refreshes by several
// clients at once with lost answers and duplicates, checkpoints of the write-ahead log
// meanwhile, a restart, acts that end sessions, and clean-up.
type scenario struct {
	disk     *disk
	clock    *clock
	random   *rand.Rand
	sessions []*session
	steps    int     // of each session, before the restart and after it
	small    bool    // there is little time
	from     int     // when the first start was over
	faults   float64 // the share of writes, truncations and syncs that fail
}

// errGaveUp: the disk was in order again, and still there was no answer.
var errGaveUp = errors.New("a request was repeated and came to nothing")

// patience is how often a client repeats a request that failed.
const patience = 8

func newScenario(d *disk, seed uint64, sessions, steps int) *scenario {
	s := &scenario{disk: d, clock: newClock(), random: rand.New(rand.NewPCG(seed, 0)), steps: steps}
	for i := range sessions {
		s.sessions = append(s.sessions, &session{
			account: account(fmt.Sprintf("user-%d", i)), random: rand.New(rand.NewPCG(seed, uint64(i)+1)),
		})
	}
	return s
}

// run runs the scenario. Its errors are those of a server that broke a promise while
// it was up.
func (s *scenario) run(ctx context.Context) error {
	for _, part := range []func(context.Context, *rig) error{s.begin, s.end} {
		r, err := openRig(ctx, s.disk.dir, s.clock.now)
		if err != nil {
			return err
		}
		if err := errors.Join(part(ctx, r), r.close()); err != nil {
			return err
		}
	}
	return nil
}

// begin is the life before the restart.
func (s *scenario) begin(ctx context.Context, r *rig) error {
	s.from = s.disk.position()
	err := s.together(func(n *session) error {
		return errors.Join(r.create(ctx, n.account), s.login(ctx, r, n))
	}, func() error { return nil })
	if err != nil {
		return err
	}
	s.failSometimes()
	defer s.disk.fail(nil)
	return s.together(func(n *session) error { return s.refreshSteps(ctx, r, n) }, func() error { return s.checkpoint(ctx, "PASSIVE") })
}

// end is the life after it.
func (s *scenario) end(ctx context.Context, r *rig) error {
	s.failSometimes()
	defer s.disk.fail(nil)
	err := s.together(func(n *session) error { return s.refreshSteps(ctx, r, n) }, func() error { return s.checkpoint(ctx, "RESTART") })
	if err != nil {
		return err
	}
	return s.together(func(n *session) error {
		if n == s.sessions[len(s.sessions)-1] { // one stays
			return s.refreshSteps(ctx, r, n)
		}
		return s.endSession(ctx, r, n, &acts[n.random.IntN(len(acts))])
	}, func() error {
		_, err := r.store.Cleanup(ctx, admin.Cleanup{Batch: 2})
		return errors.Join(s.unlessFaulty(err), s.checkpoint(ctx, "TRUNCATE"))
	})
}

// failSometimes lets operations of the disk fail at random.
func (s *scenario) failSometimes() {
	if s.faults == 0 {
		return
	}
	var mu sync.Mutex
	s.disk.fail(func(o operation) int32 {
		mu.Lock()
		defer mu.Unlock()
		if s.random.Float64() >= s.faults {
			return sqlite3.SQLITE_OK
		}
		return failureOf(o, s.random.IntN(2) == 0)
	})
}

// unlessFaulty ignores the failure of something that nobody waits for.
func (s *scenario) unlessFaulty(err error) error {
	if s.faults > 0 {
		return nil
	}
	return err
}

// together runs what sessions do, all at once, and beside it something else.
func (s *scenario) together(each func(*session) error, beside func() error) error {
	errs := make([]error, len(s.sessions)+1)
	var working sync.WaitGroup
	for i, n := range s.sessions {
		working.Go(func() { errs[i] = each(n) })
	}
	working.Go(func() { errs[len(s.sessions)] = beside() })
	working.Wait()
	return errors.Join(errs...)
}

func (s *scenario) login(ctx context.Context, r *rig, n *session) error {
	n.ask(0, s.disk.position())
	response, err := r.login(ctx, n.account)
	if err != nil {
		return fmt.Errorf("login: %w", err)
	}
	return n.acknowledge(0, s.disk.position(), response)
}

// refreshSteps refreshes several times, as honest clients do: mostly once, sometimes
// again because the answer got lost, sometimes twice at once.
func (s *scenario) refreshSteps(ctx context.Context, r *rig, n *session) error {
	for range s.steps {
		var err error
		switch generation := len(n.issued); n.random.IntN(4) {
		case 0: // the answer to the first request gets lost
			n.ask(generation, s.disk.position())
			_, err = r.refresh(ctx, n.account, n.issued[generation-1].refresh)
			err = errors.Join(asFault(err), s.refresh(ctx, r, n, generation))
		case 1:
			var errs [2]error
			var working sync.WaitGroup
			for i := range errs {
				working.Go(func() { errs[i] = s.refresh(ctx, r, n, generation) })
			}
			working.Wait()
			err = errors.Join(errs[:]...)
		default:
			err = s.refresh(ctx, r, n, generation)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", n.account, err)
		}
	}
	return nil
}

// refresh asks for the next generation until there is an answer.
func (s *scenario) refresh(ctx context.Context, r *rig, n *session, generation int) error {
	n.mu.Lock()
	token := n.issued[generation-1].refresh
	n.mu.Unlock()
	n.ask(generation, s.disk.position())
	for range patience {
		response, err := r.refresh(ctx, n.account, token)
		if err == nil {
			return n.acknowledge(generation, s.disk.position(), response)
		}
		if err := asFault(err); err != nil {
			return err
		}
	}
	return errGaveUp
}

// endSession repeats an act until it is known to have happened.
func (s *scenario) endSession(ctx context.Context, r *rig, n *session, a *act) error {
	for len(n.issued) <= 3 { // a token that is three generations old is a replay at once
		if err := s.refreshSteps(ctx, r, n); err != nil {
			return err
		}
	}
	n.act, n.begun = a, s.disk.position()
	var err error
	for try := range patience {
		err = a.run(ctx, r, n)
		if err == nil || try > 0 && errors.Is(err, oauth.ErrNotFound) {
			n.done = s.disk.position()
			return nil
		}
		if s.faults == 0 || refusalOf(err) != nil {
			break
		}
	}
	return fmt.Errorf("%s: %w", a.name, err)
}

// checkpoint moves what is in the write-ahead log into the database, as another
// connection of any process may at any time.
func (s *scenario) checkpoint(ctx context.Context, mode string) (err error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(s.disk.dir, databaseFile)+"?_pragma=busy_timeout(2500)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	_, err = db.ExecContext(ctx, "PRAGMA wal_checkpoint("+mode+")")
	return s.unlessFaulty(err)
}
