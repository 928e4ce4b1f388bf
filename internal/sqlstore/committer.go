package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil/internal/failpoint"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

const (
	// mostInBatch bounds a transaction, so that nobody waits long for the others.
	mostInBatch = 256
	// longestWait is how long a caller waits for the outcome of its step.
	longestWait = 12 * time.Second
)

// errClosed: the store is closed.
var errClosed = errors.New("the store is closed")

// committer makes writes durable in groups: whatever waits goes into the next
// transaction, so that concurrent writes share the cost of one COMMIT and nobody
// waits for a timer. Each write is answered after the COMMIT.
type committer struct {
	db      *sql.DB
	now     func() time.Time
	most    int // in a batch
	queue   chan *pending
	closed  chan struct{}
	closing sync.Once

	conn    *sql.Conn // nil: none open
	prepare map[string]*sql.Stmt

	writes, commits atomic.Uint64
}

// pending is a write that waits for its outcome.
type pending struct {
	step func(*transaction) error
	done chan error
}

// onWriter is the committer's connection as its steps see it.
type onWriter struct{ *committer }

func newCommitter(db *sql.DB, now func() time.Time) *committer {
	return &committer{db: db, now: now, most: mostInBatch, queue: make(chan *pending, 4*mostInBatch), closed: make(chan struct{})}
}

func (c *committer) close() { c.closing.Do(func() { close(c.closed) }) }

// do waits for the outcome of a step: nil after its COMMIT, an error of the step
// when it is known that nothing was written, or oauth.ErrOutcomeUnknown.
func (c *committer) do(step func(*transaction) error) error {
	p := &pending{step: step, done: make(chan error, 1)}
	c.writes.Add(1)
	timer := time.NewTimer(longestWait)
	defer timer.Stop()
	select {
	case <-c.closed:
		return errClosed
	default:
	}
	select {
	case c.queue <- p:
	case <-c.closed:
		return errClosed
	case <-timer.C:
		return errors.New("too many writes wait")
	}
	select {
	case err := <-p.done:
		return err
	case <-timer.C:
		return errors.Join(oauth.ErrOutcomeUnknown, errTooLong)
	}
}

// run serves the queue until it is closed and empty.
func (c *committer) run() {
	defer c.disconnect()
	for {
		select {
		case p := <-c.queue:
			runtime.Gosched() // let those who are ready to write do so: they share the commit
			c.commit(takeWaiting(p, c.queue, c.most))
		case <-c.closed:
			select {
			case p := <-c.queue:
				c.commit(takeWaiting(p, c.queue, c.most))
			default:
				return
			}
		}
	}
}

// takeWaiting returns first and what waits in a queue besides it, at most so many.
func takeWaiting[T any](first T, queue <-chan T, most int) []T {
	batch := append(make([]T, 0, min(most, 1+len(queue))), first)
	for len(batch) < most {
		select {
		case next := <-queue:
			batch = append(batch, next)
		default:
			return batch
		}
	}
	return batch
}

// commit runs a batch in one transaction and answers each member. If a member's
// statement fails, nothing of the batch happened, and each is run by itself.
func (c *committer) commit(batch []*pending) {
	results := make([]error, len(batch))
	err := c.execute("BEGIN IMMEDIATE")
	if err != nil {
		c.disconnect()
		answer(batch, results, err)
		return
	}
	for i, p := range batch {
		results[i] = p.step(&transaction{connection: onWriter{c}, now: c.now()})
		if results[i] != nil && !isNamed(results[i]) {
			c.rollback()
			c.apart(batch, results[i])
			return
		}
	}
	c.commits.Add(1)
	failpoint.Reach(failpoint.BeforeCommit)
	if err := c.execute("COMMIT"); err != nil {
		c.disconnect()
		for i := range results { // even a conflict may have been with a member that is undone now
			results[i] = errors.Join(oauth.ErrOutcomeUnknown, err)
		}
	}
	failpoint.Reach(failpoint.AfterCommit)
	answer(batch, results, nil)
}

// apart runs the members of a failed batch one by one, so that the fault of one
// does not become that of the others.
func (c *committer) apart(batch []*pending, err error) {
	if len(batch) == 1 {
		answer(batch, []error{err}, nil)
		return
	}
	for _, p := range batch {
		c.commit([]*pending{p})
	}
}

// answer tells each member its result, or all of them err.
func answer(batch []*pending, results []error, err error) {
	for i, p := range batch {
		if err != nil {
			results[i] = err
		}
		p.done <- results[i]
	}
}

// rollback ends the transaction; a connection that cannot is given up.
func (c *committer) rollback() {
	if err := c.execute("ROLLBACK"); err != nil {
		c.disconnect()
	}
}

// disconnect gives the connection up: the next transaction uses a fresh one. An
// open transaction ends with it.
func (c *committer) disconnect() {
	if c.conn == nil {
		return
	}
	for _, stmt := range c.prepare {
		_ = stmt.Close()
	}
	// Report the connection as bad, so that the pool closes it.
	_ = c.conn.Raw(func(any) error { return errBadConn })
	_ = c.conn.Close()
	c.conn, c.prepare = nil, nil
}

// statement prepares a statement on the connection, once.
func (c *committer) statement(query string) (*sql.Stmt, error) {
	if c.conn == nil {
		conn, err := c.db.Conn(context.Background())
		if err != nil {
			return nil, err
		}
		c.conn, c.prepare = conn, map[string]*sql.Stmt{}
	}
	if stmt, ok := c.prepare[query]; ok {
		return stmt, nil
	}
	stmt, err := c.conn.PrepareContext(context.Background(), query)
	if err == nil {
		c.prepare[query] = stmt
	}
	return stmt, err
}

func (c *committer) execute(query string) error {
	stmt, err := c.statement(query)
	if err != nil {
		return err
	}
	_, err = stmt.ExecContext(context.Background())
	return err
}

// exec implements connection.
func (o onWriter) exec(query string, args ...any) (int64, error) {
	stmt, err := o.statement(query)
	if err != nil {
		return 0, err
	}
	result, err := stmt.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// each implements connection.
func (o onWriter) each(query string, scan func(scanner) error, args ...any) error {
	stmt, err := o.statement(query)
	if err != nil {
		return err
	}
	return eachRow(stmt, scan, args)
}

// lockParties has nothing to do: there is one writer.
func (o onWriter) lockParties(string, string) error { return nil }

// lockGrants has nothing to do either.
func (o onWriter) lockGrants(string, ...any) error { return nil }

// announce has nothing to do: there is one node.
func (o onWriter) announce() error { return nil }
