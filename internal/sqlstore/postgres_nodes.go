package sqlstore

import (
	"context"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/jackc/pgx/v5"
)

// channel is what nodes listen to.
const channel = "counterfoil"

// Watch calls changed whenever a node announces that something nodes remember was
// changed (signing keys, master keys), until the context ends. It may miss some, as
// behind a pooler: whoever remembers must also look by himself.
func (s *Store) Watch(ctx context.Context, changed func()) { s.watch(ctx, changed) }

// watch implements engine: there are no other nodes.
func (e *embedded) watch(ctx context.Context, _ func()) { <-ctx.Done() }

// watch implements engine.
func (e *postgres) watch(ctx context.Context, changed func()) {
	if e.behind {
		<-ctx.Done()
		return
	}
	const pause = time.Second
	for ctx.Err() == nil {
		e.listen(ctx, changed)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// listen listens until the connection breaks.
func (e *postgres) listen(ctx context.Context, changed func()) {
	conn, err := pgx.ConnectConfig(ctx, e.pool.Config().ConnConfig)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return
	}
	for {
		changed() // also for what was missed before
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return
		}
	}
}

// Alone runs something unless another node is about it, and reports whether it did.
// Two at once must do no harm: a node may lose its connection, and its right, unseen.
func (s *Store) Alone(ctx context.Context, name string, run func(context.Context) error) (bool, error) {
	return s.alone(ctx, name, run)
}

// alone implements engine: there are no other nodes.
func (e *embedded) alone(ctx context.Context, _ string, run func(context.Context) error) (bool, error) {
	return true, run(ctx)
}

// alone implements engine. The lock is that of a transaction, since a pooler keeps no
// session for us, and ends with the connection. The transaction has no snapshot once the
// lock is asked for: with one, however long the work takes, nowhere in the database could
// old versions of rows be cleared away, and refreshes would cease to be HOT updates.
func (e *postgres) alone(ctx context.Context, name string, run func(context.Context) error) (bool, error) {
	conn, err := e.pool.Acquire(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Release()
	on := &onPostgres{ctx: ctx, conn: conn.Conn()}
	defer on.rollback()
	hash := fnv.New64a()
	_, _ = hash.Write([]byte("counterfoil " + name))
	results, err := on.simple(fmt.Sprintf("BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_try_advisory_xact_lock(%d)", int64(hash.Sum64())))
	if err != nil {
		return false, err
	}
	if mine := string(results[1].Rows[0][0]) == "t"; !mine {
		return false, nil
	}
	return true, run(ctx)
}
