package sqlstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/counterfoil/counterfoil/internal/failpoint"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

const (
	// defaultConnections is the most that a node has open to PostgreSQL, unless told
	// otherwise: refreshes share two of them.
	defaultConnections = 16
	// postgresPatience is how long a server waits for a step: its clients wait with it.
	postgresPatience = 3 * time.Second
	// connectPatience is how long a server that accepts a connection may take to answer,
	// before the next host is tried.
	connectPatience = 2 * time.Second
	// politeAttempts is how often a step that met a conflict is run again beside the
	// others of this node, before it makes them wait: under SERIALIZABLE it might
	// otherwise never find a moment at which nobody else writes.
	politeAttempts = 3
	// mostDuplicates is how often a step is run again that met a unique violation.
	mostDuplicates = 3
)

// postgres is a PostgreSQL database, or what speaks its protocol, shared with other
// nodes. Nothing here relies on the isolation level: READ COMMITTED and SERIALIZABLE
// will do.
type postgres struct {
	pool     *pgxpool.Pool
	log      *slog.Logger
	now      func() time.Time // nil: the database's clock
	patience time.Duration
	behind   bool         // a connection pooler, which keeps no session for us
	turn     sync.RWMutex // held by every write, and alone by one that has met too many conflicts
	swapper  *swapper
	swapping sync.WaitGroup

	writes, commits atomic.Uint64
}

// ErrUnsuitable: the database cannot be used as it is named or set up.
var ErrUnsuitable = errors.New("the database is not suitable")

// OpenPostgres opens a PostgreSQL database by its URL, which may name several hosts,
// and takes parameters of libpq and of pgxpool. It does not migrate.
// A database that may lose what it acknowledged is an error.
func OpenPostgres(ctx context.Context, url string, o Options) (*Store, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("open database: %w: %w", ErrUnsuitable, err) // without the password
	}
	configurePostgres(config, url, o)
	e := &postgres{log: o.Log, patience: cmp.Or(o.Patience, postgresPatience)}
	if o.Now != nil {
		e.now = stored(o.Now)
	}
	if e.behind, err = behindPooler(ctx, config.ConnConfig); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if !e.behind {
		config.AfterConnect = planOnce
	} else if config.ConnConfig.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
	if e.pool, err = pgxpool.NewWithConfig(context.WithoutCancel(ctx), config); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := e.check(ctx); err != nil {
		e.pool.Close()
		return nil, fmt.Errorf("open database: %w", err)
	}
	e.swapper = newSwapper(e)
	e.swapping.Go(e.swapper.run)
	return newStore(e, o, e.patience), nil
}

// configurePostgres sets what the URL leaves open. There is no use in a host that
// cannot write.
func configurePostgres(config *pgxpool.Config, url string, o Options) {
	c := config.ConnConfig
	if !strings.Contains(url, "target_session_attrs") {
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	if !strings.Contains(url, "connect_timeout") {
		c.ConnectTimeout = connectPatience
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "counterfoil"
	}
	config.MaxConns = int32(cmp.Or(o.Connections, defaultConnections))
	c.OnNotice = rememberWarning
}

// behindPooler reports whether connections go through a pooler such as PgBouncer: it
// says another process than the one that answers. A pooler in transaction mode keeps
// neither prepared statements nor LISTEN for us.
func behindPooler(ctx context.Context, config *pgx.ConnConfig) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, longestWait) // several hosts may be asked
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var pid uint32
	err = conn.QueryRow(ctx, "SELECT pg_backend_pid()", pgx.QueryExecModeSimpleProtocol).Scan(&pid)
	return pid != conn.PgConn().PID(), err
}

// planOnce lets PostgreSQL plan a prepared statement once instead of each time: with
// arrays as parameters it takes longer to plan than to run. Others plan as they do.
func planOnce(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	_, err := conn.Exec(ctx, "SET plan_cache_mode = force_generic_plan")
	if err != nil && didNotHappen(err) {
		return nil
	}
	return err
}

// close implements engine.
func (e *postgres) close() error {
	e.swapper.close()
	e.swapping.Wait()
	e.pool.Close()
	return nil
}

// stats implements engine.
func (e *postgres) stats() Stats {
	return Stats{Writes: e.writes.Load(), Commits: e.commits.Load(), Waiting: len(e.swapper.queue)}
}

// databaseClock is the database's own clock in microseconds since 1970.
const databaseClock = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"

// given is the time of a clock that is not the database's, as a parameter.
func (e *postgres) given() any {
	if e.now == nil {
		return nil
	}
	return toMicro(e.now())
}

// clock implements engine.
func (e *postgres) clock(ctx context.Context) (now time.Time, err error) {
	if e.now != nil {
		return e.now(), nil
	}
	err = e.each(ctx, "SELECT "+databaseClock, func(row scanner) error { return row.Scan(micro{&now}) })
	return now, err
}

// each implements engine. A read of which no row was seen is tried again.
func (e *postgres) each(ctx context.Context, query string, scan func(scanner) error, args ...any) error {
	seen := false
	return e.read(ctx, query, func(row scanner) error {
		seen = true
		return scan(row)
	}, func() bool { return !seen }, args)
}

// read reads rows. After a broken connection, or a conflict with writes, it begins
// again if it may: at SERIALIZABLE a conflict is found when the rows have been sent.
func (e *postgres) read(ctx context.Context, query string, scan func(scanner) error, mayBeginAgain func() bool, args []any) error {
	if !storable(args) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.patience)
	defer cancel()
	return again(ctx, func(int) error {
		conn, err := e.pool.Acquire(ctx)
		if err != nil {
			return err
		}
		defer conn.Release()
		err = eachOn(ctx, conn.Conn(), query, scan, args)
		if broken(err) {
			e.pool.Reset()
		}
		return err
	}, func(err error, attempt int) bool {
		return mayBeginAgain() && (transient(err, attempt) || broken(err) && attempt == 0)
	})
}

func eachOn(ctx context.Context, conn *pgx.Conn, query string, scan func(scanner) error, args []any) error {
	rows, err := conn.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// again runs something until it succeeds, fails with an error after which that is of
// no use, or the context ends. It waits a little longer each time.
func again(ctx context.Context, run func(attempt int) error, worthwhile func(err error, attempt int) bool) error {
	for attempt := 0; ; attempt++ {
		err := run(attempt)
		if err == nil || !worthwhile(err, attempt) {
			return err
		}
		longest := time.Duration(min(attempt*attempt+1, 50)) * time.Millisecond
		pause := time.NewTimer(rand.N(longest))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return err
		}
	}
}

// takeTurn lets a write begin, and returns what ends its turn.
func (e *postgres) takeTurn(attempt int) (end func()) {
	if attempt > politeAttempts {
		e.turn.Lock()
		return e.turn.Unlock
	}
	e.turn.RLock()
	return e.turn.RUnlock
}

// storable reports whether PostgreSQL can hold the texts among some arguments: UTF-8
// without NUL. No row is found by any other.
func storable(args []any) bool {
	return !slices.ContainsFunc(args, func(arg any) bool {
		text, ok := arg.(string)
		return ok && (!utf8.ValidString(text) || strings.ContainsRune(text, 0))
	})
}

// selectTimedGrant is selectGrant with the clock before it.
var selectTimedGrant = strings.Replace(selectGrant, "SELECT ", "SELECT COALESCE(CAST($2 AS BIGINT), "+databaseClock+"), ", 1)

// timed is a row that begins with the store's time.
type timed struct {
	scanner
	now *time.Time
}

// Scan implements scanner.
func (t timed) Scan(into ...any) error {
	return t.scanner.Scan(append([]any{micro{t.now}}, into...)...)
}

// grants implements engine.
func (e *postgres) grants(ctx context.Context, column string, keys []any, scan func(oauth.GrantView)) error {
	if !storable(keys) {
		return nil
	}
	into := newGrantRow()
	return e.read(ctx, selectTimedGrant+" WHERE g."+column+" = ANY($1)", func(row scanner) error {
		var now time.Time
		v, err := into.scan(timed{row, &now})
		v.Now = now
		scan(v)
		return err
	}, func() bool { return true }, []any{array(keys), e.given()})
}

// touchStore changes nothing, where there is no grant to be touched.
const touchStore = `
UPDATE signing_revision SET revision = revision WHERE id = 1`

// confirm implements engine. A server that was cut off and replaced still answers
// reads, but its commits wait for ever: so the grant is read in a transaction that
// also writes.
func (e *postgres) confirm(_ context.Context, id oauth.GrantID) (v oauth.GrantView, err error) {
	found := false
	err = e.write(func(tx *transaction) error {
		touched, err := tx.exec(touchGrant, id[:])
		if err == nil && touched == 0 {
			_, err = tx.exec(touchStore)
		}
		if err != nil {
			return err
		}
		found = false
		return tx.each(selectTimedGrant+" WHERE g.id = ANY($1)", func(row scanner) error {
			var now time.Time
			v, err = newGrantRow().scan(timed{row, &now})
			v.Now, found = now, true
			return err
		}, [][]byte{id[:]}, e.given())
	})
	if err == nil && !found {
		err = oauth.ErrNotFound
	}
	return v, err
}

// array turns keys into an array of their type.
func array(keys []any) any {
	if _, ok := keys[0].(string); ok {
		return arrayOf[string](keys)
	}
	return arrayOf[[]byte](keys)
}

func arrayOf[T any](keys []any) []T {
	array := make([]T, len(keys))
	for i, key := range keys {
		array[i] = key.(T)
	}
	return array
}

// write implements engine: each step has a transaction of its own.
func (e *postgres) write(step func(*transaction) error) error {
	e.writes.Add(1)
	return e.persist(func(ctx context.Context) error { return e.transact(ctx, step) })
}

// writeOne implements engine.
func (e *postgres) writeOne(query string, args ...any) error {
	e.writes.Add(1)
	var written int64
	err := e.persist(func(ctx context.Context) error {
		return e.autocommit(ctx, func(on *onPostgres) (err error) {
			written, err = on.exec(query, args...)
			return err
		})
	})
	if err == nil && written == 0 {
		err = oauth.ErrConflict
	}
	return err
}

// persist runs a write until it succeeds, fails for good, or patience is over.
func (e *postgres) persist(run func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), e.patience)
	defer cancel()
	return again(ctx, func(attempt int) error {
		defer e.takeTurn(attempt)()
		return run(ctx)
	}, transient)
}

// autocommit runs one statement without BEGIN: in one round trip, so that it holds no
// lock while a message is under way. A node that is stopped, or cut off, blocks nobody.
func (e *postgres) autocommit(ctx context.Context, run func(*onPostgres) error) error {
	conn, err := e.pool.Acquire(ctx)
	if err != nil {
		return err // nothing was sent
	}
	defer conn.Release()
	e.commits.Add(1)
	forgetWarning(conn.Conn())
	err = run(&onPostgres{ctx: ctx, conn: conn.Conn()})
	failpoint.Reach(failpoint.AfterCommit)
	if err = outcome(conn.Conn(), err); errors.Is(err, oauth.ErrOutcomeUnknown) || readOnly(err) {
		e.pool.Reset() // the other connections lead there too
	}
	return err
}

// transact runs a step in a transaction.
func (e *postgres) transact(ctx context.Context, step func(*transaction) error) error {
	conn, err := e.pool.Acquire(ctx)
	if err != nil {
		return err // nothing was sent
	}
	defer conn.Release()
	on := &onPostgres{ctx: ctx, conn: conn.Conn()}
	now, err := e.begin(on)
	if err == nil {
		err = step(&transaction{connection: on, now: now})
	}
	if err != nil {
		if on.rollback(); broken(err) || readOnly(err) {
			e.pool.Reset() // the other connections lead there too
		}
		return err
	}
	e.commits.Add(1)
	failpoint.Reach(failpoint.BeforeCommit)
	err = on.commit()
	failpoint.Reach(failpoint.AfterCommit)
	switch {
	case errors.Is(err, oauth.ErrOutcomeUnknown):
		e.pool.Reset()
	case err == nil && on.announced:
		_, _ = on.exec("SELECT pg_notify('" + channel + "', '')") // who misses it will look by himself
	}
	return err
}

// begin begins a transaction and reads the clock. Should this node be stopped, or cut
// off, in the middle of transactions, they end by themselves: the one that has a lock as
// soon as those that wait for it, instead of each in its turn.
func (e *postgres) begin(on *onPostgres) (time.Time, error) {
	begin := fmt.Sprintf("BEGIN; SET LOCAL idle_in_transaction_session_timeout = %[1]d; SET LOCAL lock_timeout = %[1]d", e.patience.Milliseconds())
	if e.now != nil {
		_, err := on.simple(begin)
		return e.now(), err
	}
	results, err := on.simple(begin + "; SELECT " + databaseClock)
	if err != nil {
		return time.Time{}, err
	}
	last := results[len(results)-1]
	if len(last.Rows) != 1 {
		return time.Time{}, errors.New("the database does not tell the time")
	}
	now, err := strconv.ParseInt(string(last.Rows[0][0]), 10, 64)
	return fromMicro(now), err
}

// onPostgres is the connection of a transaction.
type onPostgres struct {
	ctx       context.Context
	conn      *pgx.Conn
	announced bool
}

// simple runs statements without parameters in one round trip.
func (o *onPostgres) simple(statements string) ([]*pgconn.Result, error) {
	return o.conn.PgConn().Exec(o.ctx, statements).ReadAll()
}

// exec implements connection.
func (o *onPostgres) exec(query string, args ...any) (int64, error) {
	if !storable(args) {
		if strings.HasPrefix(strings.TrimSpace(query), "INSERT") {
			return 0, errors.New("a text is not UTF-8, or has a NUL in it")
		}
		return 0, nil
	}
	tag, err := o.conn.Exec(o.ctx, query, args...)
	return tag.RowsAffected(), err
}

// each implements connection.
func (o *onPostgres) each(query string, scan func(scanner) error, args ...any) error {
	if !storable(args) {
		return nil
	}
	return eachOn(o.ctx, o.conn, query, scan, args)
}

// lockParties implements connection. Logins of one subject come one after the other,
// so that together they keep to the most grants he may have; many subjects may log in
// at a client at once. All visitors are one subject, and for them there is no limit.
func (o *onPostgres) lockParties(subject, clientID string) error {
	lock := "SELECT 1 FROM users WHERE id = $1 FOR NO KEY UPDATE"
	if subject == oauth.VisitorID {
		lock = "SELECT 1 FROM users WHERE id = $1 FOR SHARE"
	}
	if _, err := o.exec(lock, subject); err != nil {
		return err
	}
	_, err := o.exec("SELECT 1 FROM clients WHERE id = $1 FOR SHARE", clientID)
	return err
}

// lockGrants implements connection.
func (o *onPostgres) lockGrants(condition string, args ...any) error {
	_, err := o.exec("SELECT count(*) FROM (SELECT 1 FROM grants WHERE "+condition+" ORDER BY id FOR NO KEY UPDATE) AS locked", args...)
	return err
}

// announce implements connection.
func (o *onPostgres) announce() error {
	o.announced = true
	return nil
}

// rollback ends a transaction that failed; a connection that cannot is closed when it
// is released.
func (o *onPostgres) rollback() { _, _ = o.simple("ROLLBACK") }

// commit makes a transaction durable, or tells what became of it.
func (o *onPostgres) commit() error {
	forgetWarning(o.conn)
	results, err := o.simple("COMMIT")
	if err == nil && results[0].CommandTag.String() != "COMMIT" {
		return errors.New("the transaction was rolled back")
	}
	return outcome(o.conn, err)
}

// migrated implements engine.
func (e *postgres) migrated(ctx context.Context) (exists bool, err error) {
	err = e.each(ctx, "SELECT to_regclass('goose_db_version') IS NOT NULL", func(row scanner) error { return row.Scan(&exists) })
	return exists, err
}

// schema implements engine.
func (e *postgres) schema(context.Context) (*schema, error) {
	return newSchema(stdlib.OpenDB(*e.pool.Config().ConnConfig), goose.DialectPostgres, "migrations/postgres")
}

// check implements engine: it looks for settings with which a COMMIT is not durable, or
// its warning that it is not is never heard.
func (e *postgres) check(ctx context.Context) error {
	var wrong []error
	err := e.each(ctx, "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'client_min_messages') ORDER BY name", func(row scanner) error {
		var name, setting string
		err := row.Scan(&name, &setting)
		if slices.Contains([]string{"off", "local", "error"}, setting) {
			wrong = append(wrong, fmt.Errorf("%s = %s in PostgreSQL: what was acknowledged may be lost", name, setting))
		}
		return err
	})
	if wrong != nil {
		return fmt.Errorf("%w: %w", ErrUnsuitable, errors.Join(wrong...))
	}
	return err
}

// advise implements engine.
func (e *postgres) advise(ctx context.Context) (advice []string, err error) {
	err = e.each(ctx, "SELECT setting FROM pg_settings WHERE name = 'synchronous_standby_names'", func(row scanner) error {
		var names string
		err := row.Scan(&names)
		if names == "" {
			advice = append(advice, "no standby is synchronous: that is right for one server alone, but a failover would lose what was acknowledged")
		}
		return err
	})
	return advice, err
}

// backup implements engine.
func (e *postgres) backup(context.Context, string) error {
	return errors.New("PostgreSQL is backed up by its own tools: docs/operations.md says how")
}
