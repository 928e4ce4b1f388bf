package sqlstore_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/sqlstore"
	"github.com/counterfoil/counterfoil/internal/storetest"
	"github.com/counterfoil/counterfoil/test/postgres"
)

// openPostgres opens a store at a database.
func openPostgres(t *testing.T, url string, now func() time.Time) *sqlstore.Store {
	t.Helper()
	return openWith(t, url, sqlstore.Options{Now: now, Patience: 10 * time.Second})
}

// openPatient opens a store that waits for no longer than a test can.
func openPatient(t *testing.T, url string, patience time.Duration) *sqlstore.Store {
	t.Helper()
	return openWith(t, url, sqlstore.Options{Patience: patience})
}

func openWith(t *testing.T, url string, o sqlstore.Options) *sqlstore.Store {
	t.Helper()
	o.Log = slog.New(slog.DiscardHandler)
	s, err := sqlstore.OpenPostgres(t.Context(), url, o)
	must(t, err)
	closing(t, s)
	return s
}

// TestPostgres holds the store on PostgreSQL to the promises of the ports, with both
// isolation levels that make sense; the second without prepared statements, as behind a
// pooler.
func TestPostgres(t *testing.T) {
	t.Parallel()
	for _, way := range []struct{ name, parameters string }{
		{"read_committed", ""},
		{"serializable", "&default_transaction_isolation=serializable&default_query_exec_mode=exec"},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t *testing.T, now func() time.Time) storetest.Store {
				return openPostgres(t, postgres.Migrated(t)+way.parameters, now)
			})
		})
	}
}

// load is a store on PostgreSQL, with grants to rotate.
type load struct {
	*sqlstore.Store
	t      *testing.T
	grants []oauth.GrantID
}

func newLoad(t *testing.T, url string, grants int) *load {
	t.Helper()
	l := &load{Store: openPostgres(t, url, nil), t: t}
	err := errors.Join(
		l.CreateClient(t.Context(), oauth.Client{ID: "shop", Active: true}, oauth.Event{}),
		l.CreateUser(t.Context(), oauth.User{Subject: oauth.Subject{ID: theSubject, Username: "user", Enabled: true, State: oauth.SubjectActive}}, oauth.Event{}),
	)
	if err != nil {
		t.Fatal(err)
	}
	for range grants {
		l.create()
	}
	return l
}

// theSubject is the user of newLoad.
const theSubject = "0192b1f0-7a5c-7000-8000-000000000001"

// newGrant is a grant of that user as a login makes it.
func newGrant(id oauth.GrantID) oauth.Grant {
	g := oauth.Grant{ID: id, PublicID: rand.Text()[:20], Version: 1, ClientID: "shop", Subject: theSubject, SubjectEpoch: 1, AMR: []string{"pwd"}, Status: oauth.GrantActive, KeyID: 1}
	_, _ = rand.Read(g.CurrentHash[:])
	return g
}

// create makes a grant as a login does.
func (l *load) create() {
	l.t.Helper()
	var id oauth.GrantID
	_, _ = rand.Read(id[:])
	n := oauth.NewGrant{Grant: newGrant(id), ClientVersion: 1, IdleLifetime: time.Hour, Event: oauth.Event{Type: oauth.EventLogin}}
	if err := l.CreateGrant(l.t.Context(), n); err != nil {
		l.t.Fatal(err)
	}
	l.grants = append(l.grants, id)
}

// rotate rotates a grant once, with the version of the client that it sees, and writes
// every column that a rotation writes.
func (l *load) rotate(id oauth.GrantID) error {
	v, err := l.Grant(l.t.Context(), id)
	if err != nil {
		return err
	}
	next := v.Grant
	next.Generation++
	next.PreviousHash = next.CurrentHash
	next.LastUsedAt, next.IdleExpiresAt = v.Now, v.Now.Add(time.Hour)
	_, _ = rand.Read(next.CurrentHash[:])
	_, _ = rand.Read(next.SuccessorSalt[:])
	return l.SwapGrant(l.t.Context(), &v.Grant, &next, v.ClientVersion)
}

// rotateAll rotates every grant so many times, with 64 at work.
func (l *load) rotateAll(times int) {
	l.t.Helper()
	const workers = 64
	var working sync.WaitGroup
	for w := range workers {
		working.Go(func() {
			for range times {
				for i := w; i < len(l.grants); i += workers {
					if err := l.rotate(l.grants[i]); err != nil {
						l.t.Errorf("rotate: %v", err)
						return
					}
				}
			}
		})
	}
	working.Wait()
}

// TestRotationsStayOnTheirPage: rotations are HOT updates, which write no index. At rest
// they all are; while somebody else's snapshot keeps old versions from being cleared
// away, as on a busy machine, some are not. So it has the server for itself.
func TestRotationsStayOnTheirPage(t *testing.T) {
	for _, size := range []struct{ grants, times int }{{1, 500}, {64, 60}, {2000, 3}} {
		t.Run(fmt.Sprint(size.grants), func(t *testing.T) {
			url := postgres.Database(t, postgres.Shared(t), "") // with statistics of its own
			s := openPostgres(t, url, nil)
			if err := s.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			t.Run("rotate", func(t *testing.T) { newLoad(t, url, size.grants).rotateAll(size.times) }) // a closed store tells its statistics
			conn, err := pgx.Connect(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close(context.Background()) }()
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			var updates, hot int
			for deadline := time.Now().Add(time.Minute); updates < size.grants*size.times; <-tick.C { // they come late
				err := conn.QueryRow(t.Context(), "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'grants'").Scan(&updates, &hot)
				if err != nil || time.Now().After(deadline) {
					t.Fatalf("%d of %d updates in the statistics, %v", updates, size.grants*size.times, err)
				}
			}
			t.Logf("%d of %d rotations were HOT updates", hot, updates)
			if (updates-hot)*10 > updates {
				t.Error("too few")
			}
		})
	}
}

// TestSwapsShareAStatement: swaps that wait together are one statement in one round
// trip, each grant once in it, and are answered after the commit. It runs alone: the
// first of them must not give up before the others wait.
func TestSwapsShareAStatement(t *testing.T) {
	const swaps = 100
	url := postgres.Migrated(t)
	trips := newTripCounter(t, url)
	l := newLoad(t, trips.url, swaps)
	for _, id := range l.grants { // with all connections open, and the statement known to them
		if err := l.rotate(id); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT 1 FROM grants WHERE id = $1 FOR UPDATE", l.grants[0][:]); err != nil {
		t.Fatal(err)
	}
	commits := l.Stats().Commits
	var working sync.WaitGroup
	working.Go(func() { // the first waits for the lock, and all others for the first
		if err := l.rotate(l.grants[0]); err != nil {
			t.Error(err)
		}
	})
	wait(t, func() bool { return l.Stats().Commits == commits+1 })
	for _, id := range l.grants[1:] {
		working.Go(func() {
			if err := l.rotate(id); err != nil {
				t.Error(err)
			}
		})
	}
	wait(t, func() bool { return l.Stats().Waiting == swaps-1 })
	before := trips.count.Load()
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	working.Wait()
	if n := trips.count.Load() - before; n != 1 {
		t.Errorf("%d swaps that waited together took %d round trips, want 1", swaps-1, n)
	}
	if n := l.Stats().Commits - commits; n != 2 {
		t.Errorf("%d commits, want that of the first and one for all others", n)
	}
}

// wait waits until something holds.
func wait(t *testing.T, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
	}
}

// tripCounter is a proxy that counts the round trips of a client of PostgreSQL: the
// messages Sync and Query (PostgreSQL documentation, message formats).
type tripCounter struct {
	url    string
	count  atomic.Int64
	frozen atomic.Bool // it passes nothing on, nor that a client has gone, until it is ended
	ended  chan struct{}
	end    func()
}

func newTripCounter(t *testing.T, database string) *tripCounter {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	target := u.Host
	u.Host = listener.Addr().String()
	c := &tripCounter{url: u.String(), ended: make(chan struct{})}
	c.end = sync.OnceFunc(func() { close(c.ended) })
	t.Cleanup(c.end)
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				_ = client.Close()
				return
			}
			go func() { _, _ = io.Copy(client, server); _ = client.Close() }()
			go func() {
				c.pass(client, server)
				if c.frozen.Load() {
					<-c.ended
				}
				_ = server.Close()
			}()
		}
	}()
	return c
}

// pass hands a client's messages on. The first has no type.
func (c *tripCounter) pass(client io.Reader, server io.Writer) {
	from := bufio.NewReader(client)
	for first := true; ; first = false {
		head := make([]byte, 5)
		if first {
			head = head[1:]
		}
		if _, err := io.ReadFull(from, head); err != nil {
			return
		}
		rest := make([]byte, binary.BigEndian.Uint32(head[len(head)-4:])-4)
		if _, err := io.ReadFull(from, rest); err != nil {
			return
		}
		if c.frozen.Load() {
			return
		}
		if !first && (head[0] == 'S' || head[0] == 'Q') {
			c.count.Add(1)
		}
		if _, err := server.Write(append(head, rest...)); err != nil {
			return
		}
	}
}

// TestTwoNodesNeverWaitForOneAnother: two nodes swap the same grants in groups. There are
// conflicts and no faults, and every rotation is one that both saw.
func TestTwoNodesNeverWaitForOneAnother(t *testing.T) {
	t.Parallel()
	for _, parameters := range []string{"", "&default_transaction_isolation=serializable"} {
		url := postgres.Migrated(t) + parameters
		a := newLoad(t, url, 100)
		b := &load{Store: openPostgres(t, url, nil), t: t, grants: a.grants}
		var working sync.WaitGroup
		for _, node := range []*load{a, b} {
			for _, id := range a.grants {
				working.Go(func() {
					for range 20 {
						err := node.rotate(id)
						if err != nil && !errors.Is(err, oauth.ErrConflict) {
							t.Errorf("rotate: %v", err)
						}
					}
				})
			}
		}
		working.Wait()
		sum := 0
		for _, id := range a.grants {
			v, err := a.Grant(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if v.Grant.Version != int64(v.Grant.Generation)+1 {
				t.Errorf("generation %d has version %d", v.Grant.Generation, v.Grant.Version)
			}
			sum += int(v.Grant.Generation)
		}
		if sum < 20*100 {
			t.Errorf("%d rotations, want at least what one node did", sum)
		}
	}
}
