package failover

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/test/postgres"
	"github.com/counterfoil/counterfoil/test/program"
	"github.com/counterfoil/counterfoil/test/proof"
)

// The two primaries of TestTwoPrimaries. Their names have the same length.
const (
	present = "counterfoil_new"
	past    = "counterfoil_old"
)

// TestTwoPrimaries: an old primary that does not know yet that it was replaced answers
// reads from the past and acknowledges no write, and a node has connections to both.
// What it read from one it may write to the other; still nobody who is honest is
// refused. Here both are databases of one server, the old one a copy of the new one as
// it was, which waits for a standby that does not exist.
func TestTwoPrimaries(t *testing.T) {
	t.Parallel()
	s := startTwoPrimaries(t)
	f := newFork(t, s)
	database := f.url(t, s) + "&pool_max_conn_lifetime=200ms"
	nodes := newNodes(t, database, database)
	t.Cleanup(func() { tellRefusals(t, nodes) })
	clients := newClients(t, nodes, 24)
	f.divide(t, s, nodes)
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

// startTwoPrimaries starts a server on which every database waits for a standby that
// does not exist, unless it is set not to.
func startTwoPrimaries(t *testing.T) *postgres.Server {
	t.Helper()
	s, err := postgres.Start(postgres.Options{Settings: map[string]string{"synchronous_standby_names": "nobody", "synchronous_commit": "local"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := s.CreateDatabase(t.Context(), present, ""); err != nil {
		t.Fatal(err)
	}
	return s
}

// divide makes the old primary, and from then on leads every other connection to it.
func (f *fork) divide(t *testing.T, s *postgres.Server, nodes []*program.Program) {
	t.Helper()
	for _, p := range nodes {
		p.Stop() // a database that is in use cannot be copied
	}
	if err := s.CreateDatabase(t.Context(), past, present); err != nil {
		t.Fatal(err)
	}
	if err := execute(t.Context(), s.URL("postgres"), "ALTER DATABASE "+past+" SET synchronous_commit = 'on'"); err != nil {
		t.Fatal(err)
	}
	for _, p := range nodes {
		p.Start()
	}
	f.divided.Store(true)
}

// fork is a TCP proxy that leads connections to one database or the other.
type fork struct {
	listener net.Listener
	target   string
	divided  atomic.Bool
}

func newFork(t *testing.T, s *postgres.Server) *fork {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	u, err := url.Parse(s.URL(present))
	if err != nil {
		t.Fatal(err)
	}
	f := &fork{listener: l, target: u.Host}
	go f.serve()
	return f
}

// url is the URL of whichever primary it happens to be.
func (f *fork) url(t *testing.T, s *postgres.Server) string {
	t.Helper()
	return strings.Replace(s.URL(present), f.target, f.listener.Addr().String(), 1)
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

// connect reads a startup message (PostgreSQL documentation, message formats) and may
// change the database it names.
func (f *fork) connect(c net.Conn) {
	defer func() { _ = c.Close() }()
	length := make([]byte, 4)
	if _, err := io.ReadFull(c, length); err != nil {
		return
	}
	message := make([]byte, max(4, binary.BigEndian.Uint32(length))-4)
	if _, err := io.ReadFull(c, message); err != nil {
		return
	}
	if f.divided.Load() && rand.IntN(2) == 0 {
		message = bytes.Replace(message, []byte(present), []byte(past), 1)
	}
	target, err := net.Dial("tcp", f.target)
	if err != nil {
		return
	}
	defer func() { _ = target.Close() }()
	if _, err := target.Write(append(length, message...)); err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(target, c)
		_ = target.Close()
	}()
	_, _ = io.Copy(c, target)
}
