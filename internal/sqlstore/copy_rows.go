package sqlstore

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"strconv"
	"strings"
)

// table is one that is copied.
type table struct {
	name    string
	columns string // the first is the primary key, by which rows are in the same order on every engine
	written string // the condition of rows that no migration makes
}

// tables are all of the schema but those about the schema itself: goose_db_version and
// schema_compatibility, and what nodes say to one another: feed_state and
// feed_announcements. The small ones come first, since they soonest tell two
// installations apart.
var tables = []table{
	{name: "master_keys", columns: "id, check_value"},
	{name: "signing_revision", columns: "id, revision", written: " WHERE revision <> 0"},
	{name: "signing_keys", columns: "id, position, alg, master_key_id, sealed, published_at, active_at, retired_at, expires_at"},
	{name: "clients", columns: "id, name, version, public, active, grant_types, redirect_uris, scope, owner, secrets, signing_alg, " +
		"access_token_lifetime, refresh_token_lifetime, retry_window, reusable, created_at, updated_at, deleted_at, " +
		"storefront, organization, apis, plain_pkce, skip_consent, not_before, last_used_at"},
	{name: "users", columns: "id, username, email, epoch, enabled, state, password_hash, created_at, updated_at, deleted_at, email_lower", written: " WHERE id <> 'visitor' OR epoch <> 1"},
	{name: "sessions", columns: "key, subject, subject_epoch, browser, created_at, expires_at"},
	{name: "event_failures", columns: "key, kind, count, last_at"},
	{name: "event_refusals", columns: "id, at, type, reason, request_id, client_id, subject, grant_id, source, detail"},
	{name: "events", columns: "id, at, last_at, count, type, reason, request_id, last_request_id, client_id, subject, grant_id, source, detail, shared"},
	{name: "grants", columns: "id, public_id, version, client_id, subject, subject_epoch, scope, resource, auth_time, amr, acr, cnf, " +
		"status, revoked_at, revoked_reason, generation, current_hash, previous_hash, successor_salt, key_id, rotated_at, retries, " +
		"idle_expires_at, absolute_expires_at, created_at, last_used_at"},
}

func (t table) columnList() []string { return strings.Split(t.columns, ", ") }

func (t table) key() string {
	key, _, _ := strings.Cut(t.columns, ",")
	return key
}

// row is a row of a table: int64, string, []byte or, for NULL, nil. The first is its key.
type row []any

// scanRow reads a row, however an engine represents what is in it.
func scanRow(from scanner, columns int) (row, error) {
	r, into := make(row, columns), make([]any, columns)
	for i := range r {
		into[i] = &r[i]
	}
	if err := from.Scan(into...); err != nil {
		return nil, err
	}
	for i, v := range r {
		switch v := v.(type) {
		case nil, int64, string:
		case int16:
			r[i] = int64(v)
		case int32:
			r[i] = int64(v)
		case []byte:
			r[i] = append([]byte{}, v...) // no octets are not NULL
		default:
			return nil, fmt.Errorf("a column holds a %T", v)
		}
	}
	return r, nil
}

// appendCode appends a row so that different rows differ: each value with its type and
// its length.
func (r row) appendCode(b []byte) []byte {
	for _, v := range r {
		switch v := v.(type) {
		case nil:
			b = append(b, 'n')
		case int64:
			b = binary.BigEndian.AppendUint64(append(b, 'i'), uint64(v))
		case string:
			b = binary.BigEndian.AppendUint64(append(b, 's'), uint64(len(v)))
			b = append(b, v...)
		case []byte:
			b = binary.BigEndian.AppendUint64(append(b, 'b'), uint64(len(v)))
			b = append(b, v...)
		}
	}
	return b
}

// page is a number of rows of a table that follow each other.
type page struct {
	table
	rows  []row
	after any // the key before the first of them; nil: there is none
}

// next reads the page that follows.
func (p *page) next(read reader, size int) (err error) {
	where, args := "", []any(nil)
	if len(p.rows) > 0 {
		p.after = p.last()
		where, args = " WHERE "+p.key()+" > $1", []any{p.after}
	}
	p.rows = make([]row, 0, size)
	columns := len(p.columnList())
	query := "SELECT " + p.columns + " FROM " + p.name + where + " ORDER BY " + p.key() + " LIMIT " + strconv.Itoa(size)
	return read(query, func(from scanner) error {
		r, err := scanRow(from, columns)
		p.rows = append(p.rows, r)
		return err
	}, args...)
}

func (p *page) last() any { return p.rows[len(p.rows)-1][0] }

// missing returns the rows of a page that another database has not, or not so.
func (p *page) missing(other reader) ([]row, error) {
	where, args := p.key()+" <= $1", []any{p.last()}
	if p.after != nil {
		where, args = where+" AND "+p.key()+" > $2", append(args, p.after)
	}
	found, columns := map[string]bool{}, len(p.columnList())
	for _, r := range p.rows {
		found[string(r.appendCode(nil))] = false
	}
	err := other("SELECT "+p.columns+" FROM "+p.name+" WHERE "+where, func(from scanner) error {
		r, err := scanRow(from, columns)
		code := string(r.appendCode(nil))
		if _, here := found[code]; here {
			found[code] = true
		}
		return err
	}, args...)
	if err != nil {
		return nil, err
	}
	var missing []row
	for _, r := range p.rows {
		if !found[string(r.appendCode(nil))] {
			missing = append(missing, r)
		}
	}
	return missing, nil
}

// sum sums up rows in the order of their keys.
type sum struct {
	rows int64
	hash hash.Hash
	code []byte
}

func newSum() *sum { return &sum{hash: sha256.New()} }

func (s *sum) add(rows []row) {
	for _, r := range rows {
		s.code = r.appendCode(s.code[:0])
		_, _ = s.hash.Write(s.code) // never fails
	}
	s.rows += int64(len(rows))
}

func (s *sum) checksum() (sum [sha256.Size]byte) {
	s.hash.Sum(sum[:0])
	return sum
}
