package nodes

import (
	"net/http"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/test/postgres"
	"github.com/counterfoil/counterfoil/test/program"
)

// TestPooler: with PgBouncer in transaction mode in front of everything, an installation
// is made from nothing, administered and refreshed; and when the pooler's connections to
// the server are ended, sessions lose nothing, and go on at once.
func TestPooler(t *testing.T) {
	t.Parallel()
	database := postgres.Database(t, postgres.Shared(t), "")
	pooled := through(t, database)
	newNode(t, pooled, masterKey).Run("", "migrate", "up")
	nodes := startNodes(t, 2, pooled)
	s := logIn(t, nodes[0], "user")
	s.useAtOnce(t, nodes, 0, func(*program.Program) {})
	nodes[0].Run("", "doctor")
	nodes[0].Run("", "user", "disable", s.user)
	s.refresh(t, nodes[1], http.StatusBadRequest)
	nodes[1].Run("", "user", "enable", s.user)
	s.refresh(t, nodes[0], http.StatusOK)

	chain := startChain(t, s, nodes...)
	for range 5 {
		chain.goesOn(t)
		execute(t, database, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	}
	chain.goesOn(t)
	chain.end()
	for _, node := range nodes {
		s.refresh(t, node, http.StatusOK)
		eventually(t, 5*time.Second, "ready", func() bool { return get(node, "/healthz/ready") == http.StatusOK })
	}
	nodes[0].Run("", "doctor")
}
