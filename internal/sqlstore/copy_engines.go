package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// snapshot lets read see a database as it is at one moment, whatever is written
// meanwhile. Its connection is its own.
func (s *Store) snapshot(ctx context.Context, read func(reader) error) error {
	schema, err := s.schema(ctx)
	if err != nil {
		return err
	}
	defer schema.close()
	tx, err := schema.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	return read(func(query string, scan func(scanner) error, args ...any) error {
		rows, err := tx.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			if err := scan(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}

// inBulk is a connection of a transaction that writes whole rows, many at once.
type inBulk interface {
	insertRows(t table, rows []row) error
	deleteRows(t table, rows []row) error
	// restartIdentities makes the ids that the database chooses itself go on after those
	// that are there.
	restartIdentities() error
}

var _, _ inBulk = onWriter{}, (*onPostgres)(nil)

// insertRows implements inBulk. A statement for each row costs no round trip here.
func (o onWriter) insertRows(t table, rows []row) error {
	statement := "INSERT INTO " + t.name + " (" + t.columns + ") VALUES (" + placeholders(len(t.columnList())) + ")"
	for _, r := range rows {
		if _, err := o.exec(statement, r...); err != nil {
			return err
		}
	}
	return nil
}

// deleteRows implements inBulk.
func (o onWriter) deleteRows(t table, rows []row) error {
	for _, r := range rows {
		if _, err := o.exec("DELETE FROM "+t.name+" WHERE "+t.key()+" = $1", r[0]); err != nil {
			return err
		}
	}
	return nil
}

// restartIdentities implements inBulk: SQLite takes the next id after the last.
func (o onWriter) restartIdentities() error { return nil }

// insertRows implements inBulk, by COPY.
func (o *onPostgres) insertRows(t table, rows []row) error {
	columns, values := t.columnList(), make([][]any, len(rows))
	for i, r := range rows {
		if column := slices.IndexFunc(r, func(v any) bool { return !storable([]any{v}) }); column >= 0 {
			return fmt.Errorf("%s.%s holds a text that PostgreSQL cannot: it is not UTF-8, or has a NUL in it", t.name, columns[column])
		}
		values[i] = r
	}
	_, err := o.conn.CopyFrom(o.ctx, pgx.Identifier{t.name}, columns, pgx.CopyFromRows(values))
	return err
}

// deleteRows implements inBulk.
func (o *onPostgres) deleteRows(t table, rows []row) error {
	keys := make([]any, len(rows))
	for i, r := range rows {
		keys[i] = r[0]
	}
	var list any
	switch keys[0].(type) {
	case int64:
		list = arrayOf[int64](keys)
	default:
		list = array(keys)
	}
	_, err := o.exec("DELETE FROM "+t.name+" WHERE "+t.key()+" = ANY($1)", list)
	return err
}

// restartIdentities implements inBulk.
func (o *onPostgres) restartIdentities() error {
	for _, t := range []string{"events", "event_refusals"} {
		_, err := o.exec("SELECT setval(pg_get_serial_sequence('" + t + "', 'id'), COALESCE((SELECT max(id) FROM " + t + "), 0) + 1, false)")
		if err != nil {
			return err
		}
	}
	return nil
}
