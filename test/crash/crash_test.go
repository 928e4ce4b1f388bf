package crash

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/failpoint"
	"github.com/counterfoil/counterfoil/test/proof"
)

// crash is a point to die at, and how the program comes to it.
type crash struct {
	point  string
	happen func(r *round, point string)
}

// crashes are all that a round tries, besides those of its first start and the kills
// at random.
var crashes = []crash{
	{failpoint.BeforeSwap, (*round).crashUnderLoad},
	{failpoint.BeforeCommit, (*round).crashUnderLoad},
	{failpoint.AfterCommit, (*round).crashUnderLoad},
	{failpoint.HalfAnswer, (*round).crashUnderLoad},

	{failpoint.RevokeGrant, (*round).crashAtReplay},
	{failpoint.BeforeCommit, (*round).crashAtReplay},
	{failpoint.AfterCommit, (*round).crashAtReplay},

	{failpoint.RevokeGrants, (*round).crashAtRevocation},
	{failpoint.ShutOut, (*round).crashAtRevocation},
	{failpoint.BeforeCommit, (*round).crashAtRevocation},
	{failpoint.AfterCommit, (*round).crashAtRevocation},

	{failpoint.DeleteGrant, (*round).crashAtCleanup},
	{failpoint.CleanupPart, (*round).crashAtCleanup},
	{failpoint.BeforeCommit, (*round).crashAtCleanup},

	{failpoint.BeforeSigningKeys, (*round).crashAtKeyRotation},
	{failpoint.BeforeCommit, (*round).crashAtKeyRotation},
	{failpoint.AfterSigningKeys, (*round).crashAtKeyRotation},

	{failpoint.MasterKeyKnown, (*round).crashAtMasterKeyRotation},
	{failpoint.MasterKeyWaits, (*round).crashAtMasterKeyRotation},
	{failpoint.MasterKeyRotated, (*round).crashAtMasterKeyRotation},
}

// TestCrashLoop crashes an installation in every way there is, in a random order,
// while clients refresh, log in and retry. After each restart every client goes on,
// what was revoked stays revoked, and the database is sound. The short version tries
// each point once; with a budget, a round ends early when that is spent.
func TestCrashLoop(t *testing.T) {
	t.Parallel()
	begun, reached, tried := time.Now(), map[string]int{}, map[string]bool{}
	enough := func(point string) bool {
		return tried[point] && time.Since(begun) >= proof.Budget(t) && os.Getenv(proof.SeedVariable) == ""
	}
	var kills, acknowledged int
	for seed := range proof.Rounds(t, 1) {
		r := begin(t, seed, reached)
		r.crashAtFirstStart()
		for _, i := range r.random.Perm(len(crashes)) {
			c := crashes[i]
			if enough(c.point) {
				continue
			}
			r.random = rand.New(rand.NewPCG(seed, uint64(i))) // the same whichever came before
			tried[c.point] = true
			c.happen(r, c.point)
			if t.Failed() {
				t.Fatalf("that was after a crash at the point %s", c.point)
			}
		}
		r.end()
		kills += r.kills
		acknowledged += int(r.acknowledged.Load())
	}
	for _, point := range failpoint.Points {
		if reached[point] == 0 {
			t.Errorf("the fail point %s was never reached", point)
		}
	}
	proof.Count(t, kills, "kills")
	proof.Count(t, len(reached), "fail points reached")
	proof.Count(t, acknowledged, "acknowledged refreshes")
}
