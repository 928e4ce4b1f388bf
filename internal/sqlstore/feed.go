package sqlstore

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil/internal/feed"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// announcementSlots is how many announcements are kept: the rows of their table.
const announcementSlots = 256

// Changes implements feed.Store.
func (s *Store) Changes(ctx context.Context, since time.Time) (feed.Changes, error) {
	c, err := feed.Changes{}, error(nil)
	if c.Now, err = s.clock(ctx); err != nil {
		return c, wrap("read changes", err)
	}
	for _, read := range []func(context.Context, int64, *feed.Changes) error{s.revokedGrants, s.changedSubjects, s.changedClients} {
		if err := read(ctx, max(1, toMicro(since)), &c); err != nil {
			return c, wrap("read changes", err)
		}
	}
	return c, nil
}

func (s *Store) revokedGrants(ctx context.Context, since int64, c *feed.Changes) error {
	return s.each(ctx, "SELECT public_id, client_id, revoked_at FROM grants WHERE revoked_at > 0 AND revoked_at >= $1", func(row scanner) error {
		var g feed.RevokedGrant
		err := row.Scan(&g.PublicID, &g.ClientID, micro{&g.At})
		c.Grants = append(c.Grants, g)
		return err
	}, since)
}

// changedSubjects reads users with those of their active grants that matter, in one
// look, so that a grant which was made since is not taken for one that ended.
func (s *Store) changedSubjects(ctx context.Context, since int64, c *feed.Changes) error {
	return s.each(ctx, `
SELECT u.id, u.blocked, u.updated_at, COALESCE(g.public_id, ''), COALESCE(g.client_id, ''), COALESCE(g.subject_epoch, 0) < u.epoch
  FROM (SELECT id, epoch, created_at, updated_at, CASE WHEN enabled = 0 OR state <> 'active' OR deleted_at <> 0 THEN 1 ELSE 0 END AS blocked FROM users WHERE updated_at >= $1) u
  LEFT JOIN grants g ON g.subject = u.id AND g.status = 'active' AND (u.blocked = 1 OR g.subject_epoch < u.epoch)
 WHERE u.updated_at <> u.created_at OR u.blocked = 1
 ORDER BY u.id, g.public_id`, func(row scanner) error {
		var u feed.ChangedSubject
		var g feed.RevokedGrant
		var over bool
		if err := row.Scan(&u.ID, truth{&u.Blocked}, micro{&u.At}, &g.PublicID, &g.ClientID, truth{&over}); err != nil {
			return err
		}
		if n := len(c.Subjects); n == 0 || c.Subjects[n-1].ID != u.ID {
			c.Subjects = append(c.Subjects, u)
		}
		last := &c.Subjects[len(c.Subjects)-1]
		switch {
		case g.PublicID == "":
		case over:
			last.Ended = append(last.Ended, g)
		default:
			last.Grants = append(last.Grants, g)
		}
		return nil
	}, since)
}

func (s *Store) changedClients(ctx context.Context, since int64, c *feed.Changes) error {
	return s.each(ctx, `
SELECT c.id, c.active = 0 OR c.deleted_at <> 0 OR c.owner <> '' AND NOT EXISTS (SELECT 1 FROM users u WHERE u.id = c.owner AND u.enabled = 1 AND u.state = 'active' AND u.deleted_at = 0),
       c.not_before, c.updated_at
  FROM clients c
 WHERE c.updated_at >= $1 AND (c.updated_at <> c.created_at OR c.active = 0 OR c.not_before > 0 OR c.owner <> '')`, func(row scanner) error {
		var client feed.ChangedClient
		err := row.Scan(&client.ID, truth{&client.Blocked}, micro{&client.NotBefore}, micro{&client.At})
		c.Clients = append(c.Clients, client)
		return err
	}, since)
}

// Rotations implements feed.Store.
func (s *Store) Rotations(ctx context.Context, since time.Time, each func(oauth.Rotation)) error {
	err := s.each(ctx, "SELECT public_id, client_id, generation, rotated_at FROM grants WHERE rotated_at >= $1 AND generation > 0 AND status = 'active'", func(row scanner) error {
		var r oauth.Rotation
		var generation int64
		err := row.Scan(&r.GrantID, &r.ClientID, &generation, micro{&r.At})
		r.Generation = uint32(generation)
		each(r)
		return err
	}, toMicro(since))
	if err != nil {
		return wrap("read rotations", err)
	}
	return nil
}

// LongestLifetime implements feed.Store.
func (s *Store) LongestLifetime(ctx context.Context) (now time.Time, longest time.Duration, err error) {
	if now, err = s.clock(ctx); err != nil {
		return now, 0, wrap("read lifetimes", err)
	}
	err = s.row(ctx, "SELECT COALESCE(max(access_token_lifetime), 0) FROM clients", func(row scanner) error { return row.Scan(&longest) })
	if err != nil {
		return now, 0, wrap("read lifetimes", err)
	}
	return now, longest, nil
}

// storedRotation is a rotation in the column rotations.
type storedRotation struct {
	GrantID    string `json:"g"`
	ClientID   string `json:"c"`
	Generation uint32 `json:"n"`
	At         int64  `json:"t"`
}

// Announce implements feed.Store. The row of feed_state is written first: nodes that
// announce at the same time wait for one another there.
func (s *Store) Announce(_ context.Context, a feed.Announcement) error {
	stored := make([]storedRotation, 0, len(a.Rotations))
	for _, r := range a.Rotations {
		stored = append(stored, storedRotation{r.GrantID, r.ClientID, r.Generation, toMicro(r.At)})
	}
	rotations, err := json.Marshal(stored)
	if err != nil {
		return wrap("announce rotations", err)
	}
	return s.write("announce rotations", func(tx *transaction) error {
		if _, err := tx.exec("UPDATE feed_state SET number = number + 1 WHERE id = 1"); err != nil {
			return err
		}
		var number int64
		if err := tx.row("SELECT number FROM feed_state WHERE id = 1", func(row scanner) error { return row.Scan(&number) }); err != nil {
			return err
		}
		_, err := tx.exec("UPDATE feed_announcements SET number = $1, at = $2, node = $3, final = $4, rotations = $5 WHERE slot = $6",
			number, toMicro(tx.now), a.Node, flag(a.Final), string(rotations), number%announcementSlots)
		return err
	})
}

// Announced implements feed.Store.
func (s *Store) Announced(ctx context.Context, after int64) ([]feed.Announcement, int64, error) {
	var last int64
	err := s.row(ctx, "SELECT number FROM feed_state WHERE id = 1", func(row scanner) error { return row.Scan(&last) })
	if err != nil {
		return nil, 0, wrap("read announcements", err)
	}
	if last <= after {
		return nil, last, nil
	}
	var list []feed.Announcement
	err = s.each(ctx, "SELECT number, at, node, final, rotations FROM feed_announcements WHERE number > $1 AND number <= $2", func(row scanner) error {
		a, err := scanAnnouncement(row)
		list = append(list, a)
		return err
	}, after, last)
	if err != nil {
		return nil, 0, wrap("read announcements", err)
	}
	slices.SortFunc(list, func(a, b feed.Announcement) int { return int(a.Number - b.Number) })
	return list, last, nil
}

func scanAnnouncement(row scanner) (feed.Announcement, error) {
	var a feed.Announcement
	var text string
	if err := row.Scan(&a.Number, micro{&a.At}, &a.Node, truth{&a.Final}, &text); err != nil {
		return a, err
	}
	var stored []storedRotation
	err := json.Unmarshal([]byte(text), &stored)
	for _, r := range stored {
		a.Rotations = append(a.Rotations, oauth.Rotation{GrantID: r.GrantID, ClientID: r.ClientID, Generation: r.Generation, At: fromMicro(r.At)})
	}
	return a, err
}

// Followed implements feed.Store.
func (s *Store) Followed(ctx context.Context) (at time.Time, err error) {
	err = s.row(ctx, "SELECT followed_at FROM feed_state WHERE id = 1", func(row scanner) error { return row.Scan(micro{&at}) })
	if err != nil {
		return at, wrap("read who follows", err)
	}
	return at, nil
}

// Follow implements feed.Store.
func (s *Store) Follow(context.Context) error {
	return s.write("follow", func(tx *transaction) error {
		_, err := tx.exec("UPDATE feed_state SET followed_at = $1 WHERE id = 1 AND followed_at < $1", toMicro(tx.now))
		return err
	})
}
