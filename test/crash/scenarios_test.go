package crash

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/failpoint"
)

// crashAtFirstStart lets the first start of an installation die at each of its
// points, each time continuing what the one before left, and at random.
func (r *round) crashAtFirstStart() {
	r.t.Helper()
	for _, first := range []struct{ point, command string }{
		{failpoint.BeforeMigration, "migrate up"},
		{failpoint.AfterMigration, "serve"},
		{failpoint.MasterKeyMade, "serve"},
		{failpoint.BeforeSigningKeys, "serve"},
		{failpoint.AfterSigningKeys, "serve"},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.random.Int64N(int64(100*time.Millisecond))))
		_, err := r.Try(ctx, "", "migrate", "up")
		if ctx.Err() != nil {
			r.kills++
		} else if err != nil {
			r.t.Errorf("the migration of a database that was left by a crash: %v", err)
		}
		cancel()
		r.command(first.point, strings.Fields(first.command)...)
	}
	r.settle()
	r.check()
}

// crashUnderLoad kills the server at random, and then at a point of a refresh, while
// all clients work.
func (r *round) crashUnderLoad(point string) {
	r.t.Helper()
	r.load(true, r.atRandom)
	r.kill()
	r.arm(point, 1+r.random.IntN(100))
	r.Start()
	r.load(true, r.awaitDeath)
	r.disarm(point)
	r.restart()
	r.check()
}

func (r *round) awaitDeath() {
	r.t.Helper()
	if !r.Await(patience) {
		r.t.Errorf("the server does not come to the point where it shall die\n%s", r.Log())
	}
}

// crashAtReplay kills the server while it ends the grant of a replay. That is not
// answered before it is durable (rule 2).
func (r *round) crashAtReplay(point string) {
	r.t.Helper()
	s := r.aVisitor()
	r.kill()
	r.arm(point, 1)
	r.Start()
	answer, err := r.Refresh(s.client, s.chain[0])
	r.awaitDeath()
	r.disarm(point)
	r.restart()
	if err == nil {
		r.t.Errorf("I5: a replay was answered with %d before its revocation was known to be durable", answer.Status)
	}
	r.replay(s)
	r.check()
}

// crashAtRevocation kills an administrator's revocation: none of its grants is ended,
// or if it was durable, all are. The next one is not killed, but the server is, the
// moment it was acknowledged.
func (r *round) crashAtRevocation(point string) {
	r.t.Helper()
	victims, command := r.chooseVictims()
	for _, s := range victims {
		s.endangered.Store(true)
	}
	r.load(false, func() { r.command(point, command...) })
	r.restart()
	r.endedTogether(victims, point == failpoint.AfterCommit)
	r.load(false, func() {
		r.administer(command...)
		r.kill()
	})
	r.Start()
	r.bury(victims)
	r.check()
}

// chooseVictims puts a visitor's grant, or all of them, at an administrator's mercy.
func (r *round) chooseVictims() ([]*session, []string) {
	r.t.Helper()
	s := r.aVisitor()
	r.visitors = append(r.visitors, s)
	switch r.random.IntN(3) {
	case 0:
		return []*session{s}, []string{"grant", "revoke", s.grantID}
	case 1:
		return r.visitors, []string{"grant", "revoke", "--user", "visitor"}
	}
	return r.visitors, []string{"grant", "revoke", "--client", r.visitor.ID}
}

// endedTogether: a revocation that was killed has ended nothing, or everything.
func (r *round) endedTogether(victims []*session, want bool) {
	r.t.Helper()
	for _, s := range victims {
		if !s.refused {
			r.refresh(s)
		}
		if s.refused != want {
			r.t.Errorf("I6, I7: the revocation of grant %s was killed: ended %v, want %v", s.grantID, s.refused, want)
		}
	}
}

// bury moves the sessions whose end was acknowledged.
func (r *round) bury(victims []*session) {
	gone := map[*session]bool{}
	for _, s := range victims {
		gone[s] = true
		r.ended = append(r.ended, s)
	}
	var left []*session
	for _, s := range r.visitors {
		if !gone[s] {
			left = append(left, s)
		}
	}
	r.visitors = left
}

// crashAtCleanup kills a clean-up. What is over and what is alive stays apart, and the
// next clean-up leaves the rows of living grants only (I11).
func (r *round) crashAtCleanup(point string) {
	r.t.Helper()
	r.replay(r.aVisitor())
	before := count(r.grants(), "revoked")
	r.load(true, func() { r.command(point, "cleanup") })
	if after := count(r.grants(), "revoked"); point != failpoint.CleanupPart && after != before {
		r.t.Errorf("a clean-up that was killed before its commit left %d of %d rows", after, before)
	}
	r.load(true, r.atRandom)
	r.restart()
	r.administer("cleanup")
	if left := count(r.grants(), "revoked"); left > 0 {
		r.t.Errorf("I11: %d rows of ended grants are left after a clean-up", left)
	}
	r.check()
}

// crashAtKeyRotation kills the rotation of the signing keys. An access token that was
// signed before goes on to be good, whichever key signs now.
func (r *round) crashAtKeyRotation(point string) {
	r.t.Helper()
	s := r.aVisitor()
	rotate := []string{"key", "rotate", "--now"}
	r.load(true, func() { r.command(point, rotate...) })
	r.restart()
	if status := r.Userinfo(s.access); status != 200 {
		r.t.Errorf("an access token gets %d after a rotation of the signing keys was killed", status)
	}
	r.load(true, func() { r.administer(rotate...) })
	if status := r.Userinfo(s.access); status != 200 {
		r.t.Errorf("an access token gets %d after a rotation of the signing keys", status)
	}
	r.visitors = append(r.visitors, s)
	r.check()
}

// crashAtMasterKeyRotation kills the rotation of the master key. The installation
// starts, and the next rotation works, or says what to do.
func (r *round) crashAtMasterKeyRotation(point string) {
	r.t.Helper()
	rotate := []string{"key", "rotate-master"}
	r.load(true, func() { r.command(point, rotate...) })
	r.load(true, r.atRandom)
	r.restart()
	r.check()
	next := filepath.Join(r.Dir, "data", "master.key.new")
	if _, err := os.Stat(next); !errors.Is(err, fs.ErrNotExist) {
		_, err := r.Try(context.Background(), "", rotate...)
		if err == nil || !strings.Contains(err.Error(), next) || !strings.Contains(err.Error(), "remove it") {
			r.t.Errorf("the rotation after one that was killed does not say what to do: %v", err)
		}
		if err := os.Remove(next); err != nil {
			r.t.Error(err)
		}
	}
	r.load(true, func() { r.administer(rotate...) })
	r.check()
}
