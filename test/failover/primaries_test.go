package failover

import (
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/test/postgres"
	"github.com/counterfoil/counterfoil/test/program"
	"github.com/counterfoil/counterfoil/test/proof"
)

// TestTwoPrimaries: an old primary that does not know yet that it was replaced answers
// reads from the past and acknowledges no write, and a node has connections to both.
// What it read from one it may write to the other; still nobody who is honest is
// refused. The old one is a copy of the new one as it was, which waits for a standby
// that does not exist.
func TestTwoPrimaries(t *testing.T) {
	t.Parallel()
	present, past := startPrimary(t), startPrimary(t)
	f := newFork(t, present, past)
	database := f.url() + "&pool_max_conn_lifetime=200ms"
	nodes := newNodes(t, database, database)
	t.Cleanup(func() { tellRefusals(t, nodes) })
	clients := newClients(t, nodes, 24)
	f.divide(t, nodes)
	for seed := range proof.Rounds(t, 1) {
		clients.goOn(seed, 5)
	}
	if clients.tally.unavailable == 0 {
		t.Error("no client met the old primary")
	}
	f.divided.Store(false)
	reuse(t, clients, nodes)
	proof.Count(t, clients.tally.refreshes, "refreshes")
}

// goOn lets the clients run until each was answered so many times and then refreshed.
func (c *clients) goOn(seed uint64, times int) {
	c.t.Helper()
	defer c.run(seed)()
	c.answered(times, 3*time.Minute)
	c.refreshed(time.Now(), 3*time.Minute)
}

// tellRefusals logs what the nodes said about refusals, if the test failed.
func tellRefusals(t *testing.T, nodes []*program.Program) {
	if !t.Failed() {
		return
	}
	for _, p := range nodes {
		for line := range strings.Lines(p.Log()) {
			if strings.Contains(line, `"status":401`) {
				t.Log(line)
			}
		}
	}
}

// counterfoil is the name of the database at both primaries.
const counterfoil = "counterfoil"

// startPrimary starts a server with an empty database.
func startPrimary(t *testing.T) *postgres.Server {
	t.Helper()
	s, err := postgres.Start(postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := s.CreateDatabase(t.Context(), counterfoil, ""); err != nil {
		t.Fatal(err)
	}
	return s
}

// fork is a TCP proxy that leads connections to one primary or the other.
type fork struct {
	listener      net.Listener
	present, past *postgres.Server
	divided       atomic.Bool
}

func newFork(t *testing.T, present, past *postgres.Server) *fork {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	f := &fork{listener: l, present: present, past: past}
	go f.serve()
	return f
}

// url is the URL of whichever primary it happens to be.
func (f *fork) url() string {
	return strings.Replace(f.present.URL(counterfoil), address(f.present), f.listener.Addr().String(), 1)
}

func address(s *postgres.Server) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)) }

// divide makes the old primary, and from then on leads every other connection to it.
func (f *fork) divide(t *testing.T, nodes []*program.Program) {
	t.Helper()
	for _, p := range nodes {
		p.Stop() // it must not write while it is copied
	}
	nodes[0].Run("", "copy", "--from", f.present.URL(counterfoil), "--to", f.past.URL(counterfoil))
	for _, statement := range []string{"ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()"} {
		if err := execute(t.Context(), f.past.URL("postgres"), statement); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range nodes {
		p.Start()
	}
	f.divided.Store(true)
}

func (f *fork) serve() {
	for {
		c, err := f.listener.Accept()
		if err != nil {
			return
		}
		go f.connect(c)
	}
}

// connect leads a connection to one of the two until either side ends it.
func (f *fork) connect(c net.Conn) {
	defer func() { _ = c.Close() }()
	to := f.present
	if f.divided.Load() && rand.IntN(2) == 0 {
		to = f.past
	}
	target, err := net.Dial("tcp", address(to))
	if err != nil {
		return
	}
	defer func() { _ = target.Close() }()
	go func() {
		_, _ = io.Copy(target, c)
		_ = target.Close()
	}()
	_, _ = io.Copy(c, target)
}
