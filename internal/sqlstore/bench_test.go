package sqlstore

import (
	"context"
	"crypto/rand"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// openBench opens a migrated store with a client, a user and some grants.
func openBench(b *testing.B, grants int) (*Store, []oauth.GrantID) {
	b.Helper()
	ctx := context.Background()
	s, err := OpenSQLite(ctx, filepath.Join(b.TempDir(), "counterfoil.db"), Options{Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	if err := s.Migrate(ctx); err != nil {
		b.Fatal(err)
	}
	if err := s.CreateClient(ctx, oauth.Client{ID: benchClient, Active: true}, oauth.Event{}); err != nil {
		b.Fatal(err)
	}
	if err := s.CreateUser(ctx, oauth.User{Subject: benchUser}, oauth.Event{}); err != nil {
		b.Fatal(err)
	}
	return s, fillBench(b, s, grants)
}

// benchClient is a client id as `client create` makes it.
const benchClient = "0123456789abcdef0123456789abcdef"

// benchUser is a user as `user create` makes them.
var benchUser = oauth.Subject{ID: "0192b1f0-7a5c-7000-8000-000000000001", Username: "user", Enabled: true, State: oauth.SubjectActive}

// fillBench makes grants, as many at once as share a commit well.
func fillBench(b *testing.B, s *Store, grants int) []oauth.GrantID {
	b.Helper()
	const workers = 64
	ids := make([]oauth.GrantID, grants)
	var working sync.WaitGroup
	for w := range workers {
		working.Go(func() {
			for i := w; i < grants; i += workers {
				if err := s.CreateGrant(context.Background(), benchGrant(&ids[i])); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	working.Wait()
	return ids
}

// benchGrant is a grant as a login makes it.
func benchGrant(id *oauth.GrantID) oauth.NewGrant {
	_, _ = rand.Read(id[:])
	g := oauth.Grant{
		ID: *id, PublicID: rand.Text()[:20], Version: 1, ClientID: benchClient, Subject: benchUser.ID, SubjectEpoch: 1,
		AMR: []string{"pwd"}, AuthTime: time.Now(), KeyID: 1,
	}
	_, _ = rand.Read(g.CurrentHash[:])
	e := oauth.Event{
		Type: oauth.EventLogin, RequestID: rand.Text() + "000000", ClientID: g.ClientID, Subject: g.Subject, GrantID: g.PublicID, Source: "192.0.2.0/24",
	}
	return oauth.NewGrant{Grant: g, ClientVersion: 1, IdleLifetime: time.Hour, AbsoluteLifetime: 1000 * time.Hour, Event: e}
}

// BenchmarkGrant reads one grant.
func BenchmarkGrant(b *testing.B) {
	s, ids := openBench(b, 100)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := s.Grant(context.Background(), ids[i%len(ids)]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSwapGrant reads and swaps grants, 64 at once: what one refresh asks of the
// store. Together they share commits; apart each has its own.
func BenchmarkSwapGrant(b *testing.B) {
	b.Run("together", func(b *testing.B) { swapGrants(b, mostInBatch) })
	b.Run("apart", func(b *testing.B) { swapGrants(b, 1) })
}

func swapGrants(b *testing.B, most int) {
	const clients = 64
	s, ids := openBench(b, clients)
	embeddedIn(s).committer.most = most
	before, used := s.Stats(), cpuTime(b)
	var next atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(clients / 2)
	b.RunParallel(func(pb *testing.PB) {
		id := ids[int(next.Add(1)-1)%clients]
		for pb.Next() {
			v, err := s.Grant(context.Background(), id)
			if err != nil {
				b.Error(err)
				return
			}
			swapped := v.Grant
			swapped.Generation++
			_, _ = rand.Read(swapped.CurrentHash[:])
			if err := s.SwapGrant(context.Background(), &v.Grant, &swapped, 1); err != nil {
				b.Error(err)
				return
			}
		}
	})
	after := s.Stats()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "swaps/s")
	b.ReportMetric(float64((cpuTime(b)-used).Microseconds())/float64(b.N), "cpu-µs/op")
	b.ReportMetric(float64(after.Writes-before.Writes)/float64(after.Commits-before.Commits), "writes/commit")
}

// cpuTime is what this process has used so far: on a shared machine it says more
// than the clock on the wall.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
