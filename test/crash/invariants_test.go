package crash

import (
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"path/filepath"
	"slices"

	_ "modernc.org/sqlite"
)

// check looks at a running server without load: everything that was acknowledged
// still holds.
func (r *round) check() {
	r.t.Helper()
	r.integrity()
	for _, s := range slices.Concat(r.residents, r.visitors) {
		r.goesOn(s)
	}
	for _, s := range r.ended {
		r.staysEnded(s)
	}
	one := r.residents[r.random.IntN(residents)]
	r.forgedTokenChangesNothing(one)
	r.stragglerEndsNothing(one)
	r.rows()
}

// goesOn: the client refreshes with the newest token it was given, or that of a
// request without an answer (I2, I7), again for the same successor (I1, I3), and its
// older access token is dead (I9).
func (r *round) goesOn(s *session) {
	r.t.Helper()
	older := s.access
	if !r.refresh(s) {
		r.t.Errorf("I2, I7: grant %s does not go on at generation %d", s.grantID, len(s.chain)-1)
		return
	}
	r.retry(s)
	if status := r.Userinfo(s.access); status != 200 {
		r.t.Errorf("the new access token of grant %s gets %d", s.grantID, status)
	}
	if status := r.Userinfo(older); status != 401 {
		r.t.Errorf("I9: the access token of generation %d of grant %s gets %d at generation %d", len(s.chain)-2, s.grantID, status, len(s.chain)-1)
	}
}

// staysEnded: no member of a grant works after its end was acknowledged (I5, I6).
func (r *round) staysEnded(s *session) {
	r.t.Helper()
	for _, token := range s.chain[max(0, len(s.chain)-2):] {
		answer, err := r.Refresh(s.client, token)
		if err != nil || !refused(answer, revoked) {
			r.t.Errorf("I5, I6: grant %s, which was ended, gets %d %s, %v", s.grantID, answer.Status, answer.Hint, err)
		}
	}
	if status := r.Userinfo(s.access); status != 401 {
		r.t.Errorf("I5, I6: the access token of grant %s, which was ended, gets %d", s.grantID, status)
	}
}

// replay presents the first refresh token of a session with a past: that ends it.
func (r *round) replay(s *session) {
	r.t.Helper()
	answer, err := r.Refresh(s.client, s.chain[0])
	if err != nil || !refused(answer, revoked) {
		r.t.Errorf("I5: a replay of grant %s gets %d %s, %v", s.grantID, answer.Status, answer.Hint, err)
	}
	r.ended = append(r.ended, s)
	r.staysEnded(s)
}

// forgedTokenChangesNothing: a token with another secret, of the newest generation
// and of an old one, is refused, and its grant stays as it is (I8).
func (r *round) forgedTokenChangesNothing(s *session) {
	r.t.Helper()
	before := r.grants()[s.grantID]
	for _, token := range []string{s.newest(), s.chain[0]} {
		answer, err := r.Refresh(s.client, forge(token))
		if err != nil || !refused(answer, malformed) {
			r.t.Errorf("I8: a forged token gets %d %s, %v", answer.Status, answer.Hint, err)
		}
	}
	if after := r.grants()[s.grantID]; after != before {
		r.t.Errorf("I8: a forged token changed grant %s from %+v to %+v", s.grantID, before, after)
	}
}

// forge changes a bit of a refresh token's secret and repairs its checksum, which
// needs no key.
func forge(token string) string {
	const prefix, secret, sum = "cfr_", 24, 72
	raw, err := base64.RawURLEncoding.DecodeString(token[len(prefix):])
	if err != nil {
		return token
	}
	raw[secret] ^= 1
	binary.BigEndian.PutUint32(raw[sum:], crc32.ChecksumIEEE(raw[:sum]))
	return prefix + base64.RawURLEncoding.EncodeToString(raw)
}

// stragglerEndsNothing: when the successor was used, the token before it is worth
// nothing (I4), yet a late duplicate of it ends nothing (I7).
func (r *round) stragglerEndsNothing(s *session) {
	r.t.Helper()
	if !r.refresh(s) {
		r.t.Errorf("I2, I7: grant %s does not go on at generation %d", s.grantID, len(s.chain)-1)
		return
	}
	answer, err := r.Refresh(s.client, s.chain[len(s.chain)-3])
	if err != nil || !refused(answer, revoked) {
		r.t.Errorf("I4: generation %d of grant %s gets %d %s at generation %d, %v", len(s.chain)-3, s.grantID, answer.Status, answer.Hint, len(s.chain)-1, err)
	}
	r.goesOn(s)
}

// row is what the database has of a grant.
type row struct {
	Status              string
	Generation, Version int
	Scope               string
	Idle, Absolute      int64
}

// database opens the database beside the server.
func (r *round) database() *sql.DB {
	r.t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(r.Dir, "data", "counterfoil.db")+"?_pragma=busy_timeout(5000)")
	if err != nil {
		r.t.Fatal(err)
	}
	return db
}

// integrity: neither SQLite nor the program's own examination finds damage.
func (r *round) integrity() {
	r.t.Helper()
	db := r.database()
	defer func() { _ = db.Close() }()
	var found string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&found); err != nil || found != "ok" {
		r.t.Errorf("the database is damaged: %s, %v", found, err)
	}
	r.Run("", "doctor")
}

// grants reads all rows of grants.
func (r *round) grants() map[string]row {
	r.t.Helper()
	db := r.database()
	defer func() { _ = db.Close() }()
	rows, err := db.Query("SELECT public_id, status, generation, version, scope, idle_expires_at, absolute_expires_at FROM grants")
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	grants := map[string]row{}
	for rows.Next() {
		var id string
		var g row
		if err := rows.Scan(&id, &g.Status, &g.Generation, &g.Version, &g.Scope, &g.Idle, &g.Absolute); err != nil {
			r.t.Fatal(err)
		}
		grants[id] = g
	}
	if err := rows.Err(); err != nil {
		r.t.Fatal(err)
	}
	return grants
}

// rows: there is one row for each grant, at the generation that its client knows
// (I1), and none but for logins without an answer (I11); its scope and its end stay
// as they were (I10).
func (r *round) rows() {
	r.t.Helper()
	grants := r.grants()
	alive := slices.Concat(r.residents, r.visitors)
	for _, s := range alive {
		g, ok := grants[s.grantID]
		if !ok || g.Status != "active" {
			r.t.Errorf("I2: grant %s is %q in the database", s.grantID, g.Status)
		}
		if g.Generation != len(s.chain)-1 {
			r.t.Errorf("I1: grant %s was rotated %d times, its client knows of %d", s.grantID, g.Generation, len(s.chain)-1)
		}
		if s.absolute == 0 {
			s.absolute = g.Absolute
		}
		if g.Scope != `["read","write"]` || g.Idle > g.Absolute || g.Absolute != s.absolute {
			r.t.Errorf("I10: grant %s has changed: %+v, its end was %d", s.grantID, g, s.absolute)
		}
	}
	if active := count(grants, "active"); active > len(alive)+r.lostLogins {
		r.t.Errorf("I11: %d grants are active, %d are known, and %d logins had no answer", active, len(alive), r.lostLogins)
	}
}

func count(grants map[string]row, status string) int {
	n := 0
	for _, g := range grants {
		if g.Status == status {
			n++
		}
	}
	return n
}
