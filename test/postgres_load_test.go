package test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/test/postgres"
)

// BenchmarkRefreshOnPostgres loads the real server with clients that refresh one after
// the other, on SQLite and on PostgreSQL, both on disk with full durability. It reports
// the CPU time that a refresh costs the server, and PostgreSQL.
func BenchmarkRefreshOnPostgres(b *testing.B) {
	for _, clients := range []int{64, 256} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			b.Run("SQLite", func(b *testing.B) { loadOn(b, clients, nil) })
			b.Run("PostgreSQL", func(b *testing.B) { loadOn(b, clients, startOnDisk(b)) })
		})
	}
}

// startOnDisk starts a PostgreSQL with a database of its own, on disk.
func startOnDisk(b *testing.B) *postgres.Server {
	b.Helper()
	s, err := postgres.Start(postgres.Options{Dir: os.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Stop() })
	if err := s.CreateDatabase(context.Background(), "counterfoil", ""); err != nil {
		b.Fatal(err)
	}
	return s
}

// loadOn loads a server on a PostgreSQL, or on SQLite where that is nil.
func loadOn(b *testing.B, clients int, database *postgres.Server) {
	spent := func() time.Duration { return 0 }
	settings := []string{"SIGNING_ALG=EdDSA"}
	if database != nil {
		spent = database.CPU
		settings = append(settings, "DATABASE="+database.URL("counterfoil"))
	}
	p := newLoad(b, clients, settings...)
	server, store := serverCPU(b, p.Server.Process.Pid), spent()
	p.refreshAll(b)
	server, store = serverCPU(b, p.Server.Process.Pid)-server, spent()-store
	each := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 / float64(b.N) }
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "refreshes/s")
	b.ReportMetric(each(server), "server-cpu-µs")
	b.ReportMetric(each(store), "database-cpu-µs")
	b.ReportMetric(each(server+store), "cpu-µs")
}
