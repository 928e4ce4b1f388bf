package sqlstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/sqlstore"
	"github.com/counterfoil/counterfoil/test/postgres"
)

// database is one end of a copy, beside its store.
type database struct {
	*sql.DB
	store *sqlstore.Store
}

// emptySQLite and emptyPostgres make databases without a schema.
func emptySQLite(t *testing.T) database {
	t.Helper()
	return openDatabase(t, filepath.Join(t.TempDir(), "counterfoil.db"))
}

func emptyPostgres(t *testing.T) database {
	t.Helper()
	url := postgres.Database(t, postgres.Shared(t), "")
	return openDatabaseAt(t, url, url)
}

// openDatabaseAt opens a database at PostgreSQL, the store perhaps another way.
func openDatabaseAt(t *testing.T, url, ofStore string) database {
	t.Helper()
	db, err := sql.Open("pgx", url)
	must(t, err)
	closing(t, db)
	return database{db, openPostgres(t, ofStore, nil)}
}

func openDatabase(t *testing.T, path string) database {
	t.Helper()
	s, err := sqlstore.OpenSQLite(t.Context(), path, sqlstore.Options{Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	closing(t, s)
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=synchronous(OFF)") // what tests write need not last
	must(t, err)
	closing(t, db)
	return database{db, s}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func closing(t *testing.T, c io.Closer) {
	t.Helper()
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

// targets are the engines that are copied into.
var targets = []struct {
	name  string
	empty func(*testing.T) database
}{{"SQLite", emptySQLite}, {"PostgreSQL", emptyPostgres}}

// full returns an SQLite database with so many rows in every table.
func full(t *testing.T, rows int) database {
	t.Helper()
	content, err := migrated()
	must(t, err)
	path := filepath.Join(t.TempDir(), "counterfoil.db")
	must(t, os.WriteFile(path, content, 0o600))
	d := openDatabase(t, path)
	for _, name := range d.tables(t) {
		if name != "schema_compatibility" {
			d.fill(t, name, rows)
		}
	}
	d.change(t, "UPDATE signing_revision SET revision = 5 WHERE id = 1")
	return d
}

// tables are the names of all tables, but the one of migrations.
func (d database) tables(t *testing.T) []string {
	t.Helper()
	query := "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
	if _, err := d.ExecContext(t.Context(), "SELECT 1 FROM pg_class"); err == nil {
		query = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
	}
	rows, err := d.QueryContext(t.Context(), query)
	must(t, err)
	defer func() { _ = rows.Close() }()
	var names []string
	for rows.Next() {
		var name string
		must(t, rows.Scan(&name))
		if name != "goose_db_version" && !strings.HasPrefix(name, "feed_") { // what nodes say to one another is not copied
			names = append(names, name)
		}
	}
	must(t, rows.Err())
	slices.Sort(names)
	return names
}

// oddTexts are what a careless copy would change.
var oddTexts = []string{"", " ", "NULL", `\N`, `"';--`, "a\tb\r\nc\\", "Ä\u0308é🔑\u202e", "{}", "\x01\x7f"}

// fill inserts rows of all sorts into a table, as its declaration allows.
func (d database) fill(t *testing.T, name string, rows int) {
	t.Helper()
	columns, err := d.QueryContext(t.Context(), "SELECT name, type, \"notnull\" FROM pragma_table_info($1) ORDER BY cid", name)
	must(t, err)
	var names, kinds []string
	var required []bool
	for columns.Next() {
		var column, kind string
		var notNull bool
		must(t, columns.Scan(&column, &kind, &notNull))
		names, kinds, required = append(names, column), append(kinds, kind), append(required, notNull)
	}
	must(t, columns.Err())
	must(t, columns.Close())
	marks := strings.TrimSuffix(strings.Repeat("?, ", len(names)), ", ")
	for n := range rows {
		values := make([]any, len(names))
		for i, kind := range kinds {
			values[i] = oddValue(kind, n, i)
			if !required[i] && i > 0 && (n+i)%2 == 0 {
				values[i] = nil
			}
		}
		_, err := d.ExecContext(t.Context(), "INSERT INTO "+name+" ("+strings.Join(names, ", ")+") VALUES ("+marks+")", values...)
		must(t, err)
	}
}

// oddValue is the value of a column in row n, in a key different for every row.
func oddValue(kind string, n, column int) any {
	text := oddTexts[(n+column)%len(oddTexts)]
	switch {
	case kind == "TEXT":
		return fmt.Sprintf("%s%d%s", text, n*7%10, text+strings.Repeat("x", n))
	case kind == "BLOB" && column == 0:
		return []byte{byte(n * 37), 0, 0xFF, byte(n)}
	case kind == "BLOB":
		return []byte("\x00\xff'\"" + text)[:(n+column)%4+(n+column)%2]
	case column == 0:
		return 3*n + 2
	}
	extremes := map[string][]int64{"SMALLINT": {0, 1, -32768, 32767}, "INTEGER": {0, -1 << 31, 1<<31 - 1}, "BIGINT": {0, 1, -1 << 63, 1<<63 - 1, 1 << 53, 1<<53 + 1}}[kind]
	return extremes[(n+column)%len(extremes)]
}

// content is all that is in a database: the rows of each table in any order.
func (d database) content(t *testing.T) map[string][]string {
	t.Helper()
	content := map[string][]string{}
	for _, name := range d.tables(t) {
		rows, err := d.QueryContext(t.Context(), "SELECT * FROM "+name)
		must(t, err)
		content[name] = []string{}
		for rows.Next() {
			content[name] = append(content[name], line(t, rows))
		}
		must(t, rows.Err())
		must(t, rows.Close())
		slices.Sort(content[name])
	}
	return content
}

// line is a row as text, its columns in the order of their names.
func line(t *testing.T, rows *sql.Rows) string {
	t.Helper()
	names, err := rows.Columns()
	must(t, err)
	values, into := make([]any, len(names)), make([]any, len(names))
	for i := range values {
		into[i] = &values[i]
	}
	must(t, rows.Scan(into...))
	columns := make([]string, len(names))
	for i, v := range values {
		columns[i] = fmt.Sprintf("%s %T %q", names[i], v, fmt.Sprint(v)) // NULL is <nil>
	}
	slices.Sort(columns)
	return strings.Join(columns, ", ")
}

// copied copies, and returns the report.
func copied(t *testing.T, from, to database, o sqlstore.CopyOptions) []sqlstore.CopiedTable {
	t.Helper()
	report, err := sqlstore.Copy(t.Context(), from.store, to.store, o)
	must(t, err)
	if err := to.store.Ready(t.Context()); err != nil {
		t.Errorf("a complete copy is not ready: %v", err)
	}
	return report
}

func sameContent(t *testing.T, what string, got, want map[string][]string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

// TestCopyRoundTrip: every column of every table is the same at PostgreSQL, and the
// same again at SQLite.
func TestCopyRoundTrip(t *testing.T) {
	t.Parallel()
	const rows = 25
	from, middle, end := full(t, rows), emptyPostgres(t), emptySQLite(t)
	want := from.content(t)
	there := copied(t, from, middle, sqlstore.CopyOptions{Batch: 7})
	sameContent(t, "PostgreSQL", middle.content(t), want)
	back := copied(t, middle, end, sqlstore.CopyOptions{Batch: 4})
	sameContent(t, "SQLite again", end.content(t), want)
	if diff := cmp.Diff(there, back); diff != "" {
		t.Errorf("the two reports differ:\n%s", diff)
	}
	if len(there)+1 != len(want) {
		t.Errorf("the report has %d tables, want all %d but schema_compatibility", len(there), len(want))
	}
	for _, table := range there {
		n, copied := int64(len(want[table.Name])), int64(len(want[table.Name]))
		if table.Name == "users" {
			copied-- // the visitor comes with the schema
		}
		if table.Rows != n || table.Copied != copied {
			t.Errorf("%s: the report says %+v, want %d rows", table.Name, table, n)
		}
	}
	for i, table := range copied(t, from, middle, sqlstore.CopyOptions{}) {
		want := there[i]
		if want.Copied, want.Removed = 0, 0; table != want {
			t.Errorf("a complete copy, copied again: the report says %+v, want %+v", table, want)
		}
	}
}

// TestCopyWays: the same with the other isolation level, without prepared statements,
// and through a pooler.
func TestCopyWays(t *testing.T) {
	t.Parallel()
	for name, way := range map[string]func(t *testing.T, url string) string{
		"serializable":                func(_ *testing.T, url string) string { return url + "&default_transaction_isolation=serializable" },
		"without_prepared_statements": func(_ *testing.T, url string) string { return url + "&default_query_exec_mode=exec" },
		"pooler": func(t *testing.T, url string) string {
			config, err := pgx.ParseConfig(url)
			must(t, err)
			return postgres.PgBouncer(t, postgres.Shared(t), postgres.PgBouncerOptions{Database: config.Database})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := postgres.Database(t, postgres.Shared(t), "")
			from, middle, end := full(t, 9), openDatabaseAt(t, url, way(t, url)), emptySQLite(t)
			want := from.content(t)
			copied(t, from, middle, sqlstore.CopyOptions{Batch: 4})
			sameContent(t, "PostgreSQL", middle.content(t), want)
			copied(t, middle, end, sqlstore.CopyOptions{Batch: 4})
			sameContent(t, "SQLite again", end.content(t), want)
		})
	}
}

// TestCopyThenWrite: the ids that the database chooses go on after those it got.
func TestCopyThenWrite(t *testing.T) {
	t.Parallel()
	for _, target := range targets {
		t.Run(target.name, func(t *testing.T) {
			t.Parallel()
			from, to := full(t, 5), target.empty(t)
			copied(t, from, to, sqlstore.CopyOptions{})
			var before, after int64
			must(t, to.QueryRowContext(t.Context(), "SELECT max(id) FROM events").Scan(&before))
			must(t, to.store.RecordEvent(t.Context(), oauth.Event{Type: oauth.EventLogin, RequestID: "after"}))
			must(t, to.QueryRowContext(t.Context(), "SELECT id FROM events WHERE request_id = 'after'").Scan(&after))
			if after != before+1 {
				t.Errorf("the event after %d got the id %d", before, after)
			}
		})
	}
}

// changes are what may happen at a source between two runs: values that are unique move
// to other rows, and rows come, go and change.
var changes = []string{
	"UPDATE users SET username = 'moved' WHERE username = (SELECT max(username) FROM users)",
	"UPDATE users SET username = 'to the last' WHERE id = (SELECT max(id) FROM users)",
	"UPDATE users SET username = 'to the first' WHERE id = (SELECT min(id) FROM users)",
	"UPDATE users SET email = NULL",
	"UPDATE users SET email = 'only one' WHERE id = (SELECT min(id) FROM users)",
	"DELETE FROM grants WHERE id = (SELECT min(id) FROM grants)",
	"UPDATE grants SET generation = 77, previous_hash = NULL WHERE id = (SELECT max(id) FROM grants)",
	"INSERT INTO master_keys (id, check_value) VALUES (1, x'00')",
	"DELETE FROM event_refusals",
	"UPDATE signing_revision SET revision = 6 WHERE id = 1",
}

func (d database) change(t *testing.T, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		_, err := d.ExecContext(t.Context(), statement)
		must(t, err)
	}
}

// swapNames lets two users have each other's names.
var swapNames = []string{
	"UPDATE users SET username = 'for a moment' WHERE username = 'to the last'",
	"UPDATE users SET username = 'to the last' WHERE username = 'to the first'",
	"UPDATE users SET username = 'to the first' WHERE username = 'for a moment'",
	"UPDATE users SET email = NULL",
	"UPDATE users SET email = 'only one' WHERE id = (SELECT max(id) FROM users)",
}

// TestCopyResumed: a copy that was cut off after any of its batches keeps programs away,
// and goes on from a source that has changed since.
func TestCopyResumed(t *testing.T) {
	t.Parallel()
	for _, target := range targets {
		t.Run(target.name, func(t *testing.T) {
			t.Parallel()
			ends := false
			for cut := 0; !ends; cut++ {
				t.Run(fmt.Sprint(cut), func(t *testing.T) { ends = cutAndResume(t, target.empty(t), cut) })
				if t.Failed() {
					return
				}
			}
		})
	}
}

// cutAndResume reports whether the copy ended before it could be cut off.
func cutAndResume(t *testing.T, to database, cut int) (ended bool) {
	from, options := full(t, 5), sqlstore.CopyOptions{Source: "it", Batch: 3}
	from.change(t, changes[:5]...)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	o := options
	o.Progress = func(sqlstore.CopyProgress) {
		if ctx.Err() != nil {
			t.Error("it goes on after the interruption")
		}
		if cut--; cut < 0 {
			stop()
		}
	}
	if _, err := sqlstore.Copy(ctx, from.store, to.store, o); err == nil {
		return true
	} else if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want a copy that was cut off", err)
	}
	if err := to.store.Ready(t.Context()); err == nil {
		t.Error("a program would start on an unfinished copy")
	}
	if _, err := sqlstore.Copy(t.Context(), to.store, emptySQLite(t).store, options); err == nil {
		t.Error("an unfinished copy was copied")
	}
	from.change(t, slices.Concat(swapNames, changes[5:])...)
	copied(t, from, to, options)
	sameContent(t, "after another run", to.content(t), from.content(t))
	return false
}

// TestCopyOfWhatChanges: a source that is written to while it is copied is noticed, and
// the next run gets the rest.
func TestCopyOfWhatChanges(t *testing.T) {
	t.Parallel()
	for _, target := range targets {
		for _, step := range []sqlstore.CopyStep{sqlstore.CopyRows, sqlstore.CopyVerify} {
			t.Run(target.name+"/"+string(step), func(t *testing.T) {
				t.Parallel()
				first, from, to := full(t, 5), target.empty(t), emptySQLite(t)
				copied(t, first, from, sqlstore.CopyOptions{})
				change := "UPDATE grants SET retries = retries + 1 WHERE retries = 0"
				o := sqlstore.CopyOptions{Batch: 2, Progress: func(p sqlstore.CopyProgress) {
					if p.Step == step {
						from.change(t, change)
					}
				}}
				if _, err := sqlstore.Copy(t.Context(), from.store, to.store, o); !errors.Is(err, sqlstore.ErrSourceChanged) {
					t.Fatalf("got %v, want %v", err, sqlstore.ErrSourceChanged)
				}
				if err := to.store.Ready(t.Context()); err == nil {
					t.Error("a program would start on it")
				}
				report := copied(t, from, to, sqlstore.CopyOptions{})
				sameContent(t, "after another run", to.content(t), from.content(t))
				for _, table := range report {
					if table.Name != "grants" && table.Copied != 0 {
						t.Errorf("%s was copied again: %+v", table.Name, table)
					}
				}
			})
		}
	}
}

// TestCopyIntoOccupied: what is not empty, and no unfinished copy of the same source, is
// left as it is.
func TestCopyIntoOccupied(t *testing.T) {
	t.Parallel()
	for name, occupy := range map[string]func(t *testing.T, from, to database){
		"one revision of keys": func(t *testing.T, _, to database) {
			must(t, to.store.Migrate(t.Context()))
			to.change(t, "UPDATE signing_revision SET revision = 1")
		},
		"one event": func(t *testing.T, _, to database) {
			must(t, to.store.Migrate(t.Context()))
			must(t, to.store.RecordEvent(t.Context(), oauth.Event{Type: oauth.EventLogin}))
		},
		"a complete copy in use": func(t *testing.T, from, to database) {
			copied(t, from, to, sqlstore.CopyOptions{})
			to.change(t, "UPDATE grants SET retries = retries + 1 WHERE retries = 0")
		},
		"a complete copy of a source in use": func(t *testing.T, from, to database) {
			copied(t, from, to, sqlstore.CopyOptions{})
			from.change(t, "DELETE FROM events")
		},
	} {
		for _, target := range targets {
			t.Run(target.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				from, to := full(t, 5), target.empty(t)
				occupy(t, from, to)
				before := to.content(t)
				if _, err := sqlstore.Copy(t.Context(), from.store, to.store, sqlstore.CopyOptions{}); !errors.Is(err, sqlstore.ErrTargetOccupied) {
					t.Errorf("got %v, want %v", err, sqlstore.ErrTargetOccupied)
				}
				sameContent(t, "the target afterwards", to.content(t), before)
			})
		}
	}
}

// wantRefusal wants an error that says so.
func wantRefusal(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, want an error with %q", err, text)
	}
}

// TestCopyOfAnother: the unfinished copy of one source is not mixed with another.
func TestCopyOfAnother(t *testing.T) {
	t.Parallel()
	from, to := full(t, 5), emptySQLite(t)
	ctx, stop := context.WithCancel(t.Context())
	_, err := sqlstore.Copy(ctx, from.store, to.store, sqlstore.CopyOptions{Source: "one", Batch: 2, Progress: func(p sqlstore.CopyProgress) {
		if p.Step == sqlstore.CopyRows && p.Done > 0 {
			stop()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	before := to.content(t)
	_, err = sqlstore.Copy(t.Context(), from.store, to.store, sqlstore.CopyOptions{Source: "another"})
	wantRefusal(t, err, "it holds an unfinished copy of one")
	sameContent(t, "the target afterwards", to.content(t), before)
}

// TestCopyOfNothing: a source without an installation is an error.
func TestCopyOfNothing(t *testing.T) {
	t.Parallel()
	_, err := sqlstore.Copy(t.Context(), emptySQLite(t).store, emptySQLite(t).store, sqlstore.CopyOptions{})
	wantRefusal(t, err, "source: there is no installation in it")
}

// TestCopyOfOtherSchema: a schema whose columns this program may not know is an error at
// either end.
func TestCopyOfOtherSchema(t *testing.T) {
	t.Parallel()
	const newer = "INSERT INTO goose_db_version (version_id, is_applied) VALUES (1000, true)"
	from, to := full(t, 1), emptySQLite(t)
	must(t, to.store.Migrate(t.Context()))
	to.change(t, newer)
	_, err := sqlstore.Copy(t.Context(), from.store, to.store, sqlstore.CopyOptions{})
	wantRefusal(t, err, "target: its schema is 1000")
	from.change(t, newer)
	_, err = sqlstore.Copy(t.Context(), from.store, emptySQLite(t).store, sqlstore.CopyOptions{})
	wantRefusal(t, err, "source: its schema is 1000")
}

// TestCopyTwiceAtOnce: of two runs the later one has the target; the other does nothing
// to it any more, least of all when it is in use already.
func TestCopyTwiceAtOnce(t *testing.T) {
	t.Parallel()
	for _, target := range targets {
		for _, step := range []sqlstore.CopyStep{sqlstore.CopyCompare, sqlstore.CopyRows, sqlstore.CopyVerify, sqlstore.CopyRecheck} {
			t.Run(target.name+"/"+string(step), func(t *testing.T) {
				t.Parallel()
				from, to := full(t, 5), target.empty(t)
				var before map[string][]string
				_, err := sqlstore.Copy(t.Context(), from.store, to.store, sqlstore.CopyOptions{Batch: 2, Progress: func(p sqlstore.CopyProgress) {
					if p.Step == step && before == nil {
						copied(t, from, to, sqlstore.CopyOptions{Batch: 3})
						to.change(t, "DELETE FROM events", "UPDATE grants SET retries = retries + 1 WHERE retries = 0")
						before = to.content(t)
					}
				}})
				if err == nil || before == nil {
					t.Errorf("got %v, want an error of the earlier run", err)
				}
				sameContent(t, "the target afterwards", to.content(t), before)
			})
		}
	}
}

// TestCopyBesideAWriter: a target that something else writes to is no copy.
func TestCopyBesideAWriter(t *testing.T) {
	t.Parallel()
	for _, target := range targets {
		t.Run(target.name, func(t *testing.T) {
			t.Parallel()
			from, to := full(t, 5), target.empty(t)
			_, err := sqlstore.Copy(t.Context(), from.store, to.store, sqlstore.CopyOptions{Progress: func(p sqlstore.CopyProgress) {
				if p.Step == sqlstore.CopyVerify && p.Done == 0 {
					to.change(t, "UPDATE grants SET retries = 0")
				}
			}})
			wantRefusal(t, err, "table grants: it differs from its source")
			if err := to.store.Ready(t.Context()); err == nil {
				t.Error("a program would start on it")
			}
		})
	}
}

// TestCopyOfUnstorable: a text that PostgreSQL cannot hold is named, without a word of
// what is in it.
func TestCopyOfUnstorable(t *testing.T) {
	t.Parallel()
	from, to := full(t, 3), emptyPostgres(t)
	from.change(t, "UPDATE clients SET name = 'a' || char(0) || 'secret' WHERE id = (SELECT max(id) FROM clients)")
	_, err := sqlstore.Copy(t.Context(), from.store, to.store, sqlstore.CopyOptions{})
	wantRefusal(t, err, "clients.name holds a text that PostgreSQL cannot")
	if err != nil && strings.Contains(err.Error(), "secret") {
		t.Errorf("%q repeats the text", err)
	}
	from.change(t, "UPDATE clients SET name = 'b' WHERE id = (SELECT max(id) FROM clients)")
	copied(t, from, to, sqlstore.CopyOptions{})
	sameContent(t, "after another run", to.content(t), from.content(t))
}
