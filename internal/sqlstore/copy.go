package sqlstore

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

var (
	// ErrSourceChanged: the source of a copy was in use.
	ErrSourceChanged = errors.New("the source was written to while it was copied: stop its servers and copy again, which copies only what differs by then")
	// ErrTargetOccupied: the target of a copy holds something else.
	ErrTargetOccupied = errors.New("the target is in use, or holds something else: copy into an empty database")
)

// errTakenOver: another run of the copy writes to the target.
var errTakenOver = errors.New("another copy has taken over this target")

// CopyOptions say how a database is copied.
type CopyOptions struct {
	// Source is the name of the source, without secrets: an unfinished copy goes on only
	// from the source it began with.
	Source string
	// Progress, if not nil, is told how it goes, after every batch.
	Progress func(CopyProgress)
	// Batch is how many rows share a transaction; 0: defaultBatch.
	Batch int
}

// CopyStep is what a copy is at.
type CopyStep string

// The steps of a copy, in their order.
const (
	CopyCompare CopyStep = "compare" // what an earlier run copied
	CopyRows    CopyStep = "copy"    // what is missing
	CopyVerify  CopyStep = "verify"  // the target, read again
	CopyRecheck CopyStep = "recheck" // whether the source is still what it was
)

// CopyProgress is how far a step of a copy is.
type CopyProgress struct {
	Step        CopyStep
	Done, Total int64 // rows
}

// CopiedTable is a table that source and target agree about.
type CopiedTable struct {
	Name     string
	Rows     int64
	Copied   int64    // of them, by this run
	Removed  int64    // from the target: rows that the source has no more, or no more so
	Checksum [32]byte // SHA-256 of the rows in the order of their keys; the same on every engine
}

// defaultBatch is how many rows share a transaction of a copy.
const defaultBatch = 2000

// unfinished, as the oldest program that a schema is for, keeps every program away
// from a database that is not all there yet.
const unfinished = math.MaxInt64

// Copy makes a database the copy of another, of whatever engine: every row of every
// table, as it is. The target gets its schema here, and must be empty otherwise, or be
// what an earlier run left: then only what differs is copied. No server and no command
// starts on it before it is complete. A complete and equal one is left as it is.
//
// The source is read as it is at one moment. At the end source and target are read
// once more and compared by counts and checksums; if the source was written to
// meanwhile, the target stays unfinished and the error is ErrSourceChanged. The master
// keys are no part of a database.
func Copy(ctx context.Context, from, to *Store, o CopyOptions) ([]CopiedTable, error) {
	c := newCopier(ctx, to, o)
	if err := c.run(from); err != nil {
		return nil, wrap("copy database", err)
	}
	return c.report(), nil
}

func (c *copier) run(from *Store) error {
	oldest, err := copyable(c.ctx, from)
	if err != nil {
		return wrap("source", err)
	}
	if err := prepareTarget(c.ctx, c.to); err != nil {
		return wrap("target", err)
	}
	switch err := c.claim(); {
	case errors.Is(err, ErrTargetOccupied):
		return from.snapshot(c.ctx, c.compare)
	case err != nil:
		return err
	}
	if err := from.snapshot(c.ctx, c.copy); err != nil {
		return err
	}
	if err := c.verify(from); err != nil {
		return err
	}
	return c.finish(oldest)
}

// copyable reports whether a database can be copied: it is complete, and its schema is
// the one this program knows. It returns the oldest program that the schema is for.
func copyable(ctx context.Context, from *Store) (oldest int64, err error) {
	if err := knownSchema(ctx, from); err != nil {
		return 0, err
	}
	err = from.row(ctx, "SELECT oldest FROM schema_compatibility WHERE id = 1", func(row scanner) error { return row.Scan(&oldest) })
	if err == nil && oldest == unfinished {
		return 0, errors.New("it is an unfinished copy itself")
	}
	return oldest, err
}

// prepareTarget gives an empty database its schema.
func prepareTarget(ctx context.Context, to *Store) error {
	have, err := to.schemaVersion(ctx)
	if err != nil {
		return err
	}
	if have == 0 {
		return to.Migrate(ctx)
	}
	return knownSchema(ctx, to)
}

func knownSchema(ctx context.Context, s *Store) error {
	have, err := s.schemaVersion(ctx)
	switch {
	case err != nil:
		return err
	case have == 0:
		return errors.New("there is no installation in it")
	case have != newestSchema():
		return fmt.Errorf("its schema is %d, and this program copies %d: 'counterfoil migrate up' brings an older one there", have, newestSchema())
	}
	return nil
}

// reader reads rows. An error of scan ends it.
type reader func(query string, scan func(scanner) error, args ...any) error

// copier is one run of a copy.
type copier struct {
	ctx      context.Context
	to       *Store
	options  CopyOptions
	name     string // a random one, by which it knows that no other run has taken over
	tables   []*tableCopy
	progress CopyProgress
}

// tableCopy is what a run knows of a table.
type tableCopy struct {
	table
	CopiedTable
}

func newCopier(ctx context.Context, to *Store, o CopyOptions) *copier {
	o.Batch = cmp.Or(o.Batch, defaultBatch)
	c := &copier{ctx: ctx, to: to, options: o, name: rand.Text()}
	for _, t := range tables {
		c.tables = append(c.tables, &tableCopy{table: t, CopiedTable: CopiedTable{Name: t.name}})
	}
	return c
}

// target reads from the target.
func (c *copier) target(query string, scan func(scanner) error, args ...any) error {
	return c.to.each(c.ctx, query, scan, args...)
}

func (c *copier) report() []CopiedTable {
	report := make([]CopiedTable, len(c.tables))
	for i, t := range c.tables {
		report[i] = t.CopiedTable
	}
	return report
}

const createUnfinished = "CREATE TABLE IF NOT EXISTS unfinished_copy (id INTEGER PRIMARY KEY, source TEXT NOT NULL, run TEXT NOT NULL)"

// claim takes the target for this run, and closes it to all programs. Another run that
// had it finds that out with its next batch.
func (c *copier) claim() error {
	return c.to.write("claim the target", func(tx *transaction) error {
		if _, err := tx.exec(createUnfinished); err != nil {
			return err
		}
		var source string
		err := tx.row("SELECT source FROM unfinished_copy WHERE id = 1", func(row scanner) error { return row.Scan(&source) })
		switch {
		case errors.Is(err, oauth.ErrNotFound):
			err = vacant(tx)
		case err == nil && source != c.options.Source:
			err = fmt.Errorf("it holds an unfinished copy of %s: finish that, or copy into an empty database", source)
		}
		if err != nil {
			return err
		}
		if _, err := tx.exec("UPDATE schema_compatibility SET oldest = $1 WHERE id = 1", int64(unfinished)); err != nil {
			return err
		}
		_, err = tx.exec("INSERT INTO unfinished_copy (id, source, run) VALUES (1, $1, $2) ON CONFLICT (id) DO UPDATE SET run = $2", c.options.Source, c.name)
		return err
	})
}

// vacant returns ErrTargetOccupied if anything was ever written after the migrations.
func vacant(tx *transaction) error {
	for _, t := range tables {
		err := tx.each("SELECT 1 FROM "+t.name+t.written+" LIMIT 1", func(scanner) error { return ErrTargetOccupied })
		if err != nil {
			return err
		}
	}
	return nil
}

// write runs a step at the target, if the target is still this run's.
func (c *copier) write(what string, step func(*transaction) error) error {
	return c.to.write(what, func(tx *transaction) error {
		if err := tx.execOne(errTakenOver, "UPDATE unfinished_copy SET run = $1 WHERE id = 1 AND run = $1", c.name); err != nil {
			return err
		}
		return step(tx)
	})
}

// finish opens the target to programs.
func (c *copier) finish(oldest int64) error {
	return c.write("finish", func(tx *transaction) error {
		if err := tx.connection.(inBulk).restartIdentities(); err != nil {
			return err
		}
		if _, err := tx.exec("UPDATE schema_compatibility SET oldest = $1 WHERE id = 1", oldest); err != nil {
			return err
		}
		_, err := tx.exec("DROP TABLE unfinished_copy")
		return err
	})
}

// copy makes the target what the source is. What must go, goes first: a value that is
// unique may have moved to another row.
func (c *copier) copy(source reader) error {
	if err := c.begin(CopyCompare, c.target); err != nil {
		return err
	}
	for _, t := range c.tables {
		if err := c.discard(t, source); err != nil {
			return err
		}
	}
	if err := c.begin(CopyRows, source); err != nil {
		return err
	}
	for _, t := range c.tables {
		if err := c.fill(t, source); err != nil {
			return err
		}
	}
	return nil
}

// discard removes what the source has not, or not so.
func (c *copier) discard(t *tableCopy, source reader) error {
	return c.pages(t, c.target, func(p page) error {
		surplus, err := p.missing(source)
		if err != nil || len(surplus) == 0 {
			return err
		}
		err = c.write("remove "+t.name, func(tx *transaction) error {
			return tx.connection.(inBulk).deleteRows(t.table, surplus)
		})
		t.Removed += int64(len(surplus))
		return err
	})
}

// fill adds what the target has not, and sums the source up.
func (c *copier) fill(t *tableCopy, source reader) error {
	sum := newSum()
	err := c.pages(t, source, func(p page) error {
		sum.add(p.rows)
		var absent []row
		err := c.write("copy "+t.name, func(tx *transaction) (err error) {
			if absent, err = p.missing(tx.each); err != nil || len(absent) == 0 {
				return err
			}
			return tx.connection.(inBulk).insertRows(t.table, absent)
		})
		t.Copied += int64(len(absent))
		return err
	})
	t.Rows, t.Checksum = sum.rows, sum.checksum()
	return err
}

// verify compares what was read at the source with what the target has, and with what
// the source has by now.
func (c *copier) verify(from *Store) error {
	if err := c.begin(CopyVerify, c.target); err != nil {
		return err
	}
	if err := c.agree(c.target, errors.New("it differs from its source: something else writes to the target")); err != nil {
		return err
	}
	return from.snapshot(c.ctx, func(source reader) error {
		if err := c.begin(CopyRecheck, source); err != nil {
			return err
		}
		return c.agree(source, ErrSourceChanged)
	})
}

// agree returns mismatch if a database is not what was read at the source.
func (c *copier) agree(read reader, mismatch error) error {
	for _, t := range c.tables {
		sum, err := c.sum(t, read)
		if err != nil {
			return err
		}
		if sum.rows != t.Rows || sum.checksum() != t.Checksum {
			return wrap("table "+t.name, mismatch)
		}
	}
	return nil
}

// compare returns ErrTargetOccupied if the target is not a complete copy of the source.
func (c *copier) compare(source reader) error {
	if err := c.begin(CopyVerify, source, c.target); err != nil {
		return err
	}
	for _, t := range c.tables {
		want, err := c.sum(t, source)
		if err != nil {
			return err
		}
		got, err := c.sum(t, c.target)
		if err != nil {
			return err
		}
		t.Rows, t.Checksum = want.rows, want.checksum()
		if got.rows != t.Rows || got.checksum() != t.Checksum {
			return ErrTargetOccupied
		}
	}
	return nil
}

// sum reads a whole table.
func (c *copier) sum(t *tableCopy, read reader) (*sum, error) {
	s := newSum()
	return s, c.pages(t, read, func(p page) error {
		s.add(p.rows)
		return nil
	})
}

// pages reads a table page by page, in the order of its keys, and tells how it goes.
func (c *copier) pages(t *tableCopy, read reader, visit func(page) error) error {
	p := page{table: t.table}
	for {
		if err := p.next(read, c.options.Batch); err != nil || len(p.rows) == 0 {
			return err
		}
		if err := visit(p); err != nil {
			return err
		}
		if err := c.advance(len(p.rows)); err != nil {
			return err
		}
	}
}

// begin begins a step that reads the tables of some databases.
func (c *copier) begin(step CopyStep, databases ...reader) error {
	c.progress = CopyProgress{Step: step}
	for _, read := range databases {
		for _, t := range c.tables {
			err := read("SELECT count(*) FROM "+t.name, func(row scanner) error {
				var n int64
				err := row.Scan(&n)
				c.progress.Total += n
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return c.advance(0)
}

// advance tells how it goes. A run that is to end does so here.
func (c *copier) advance(rows int) error {
	c.progress.Done += int64(rows)
	if c.options.Progress != nil {
		c.options.Progress(c.progress)
	}
	return c.ctx.Err()
}
