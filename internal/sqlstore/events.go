package sqlstore

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// mostRefusals is how many noted refusals are remembered.
const mostRefusals = 10_000

const insertEvent = `
INSERT INTO events (at, last_at, count, type, reason, request_id, client_id, subject, grant_id, source, detail, shared)
VALUES ($1, $1, 1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`

const shareEvent = insertEvent + `
ON CONFLICT (shared) WHERE shared IS NOT NULL DO UPDATE SET count = events.count + 1, last_at = $1, last_request_id = $4`

func (t *transaction) insertEvent(e oauth.Event) error {
	_, err := t.exec(insertEvent, eventColumns(e, t.now, nil)...)
	return err
}

func eventColumns(e oauth.Event, now time.Time, shared any) []any {
	return []any{
		toMicro(now), string(e.Type), text(e.Reason), text(e.RequestID), text(e.ClientID), text(e.Subject), text(e.GrantID), text(e.Source), text(e.Detail), shared,
	}
}

// text is what every database can hold of what somebody sent: UTF-8 without NUL.
func text(sent string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(sent, "\uFFFD"), "\x00", "\uFFFD")
}

// RecordEvent implements admin.Store.
func (s *Store) RecordEvent(_ context.Context, e oauth.Event) error {
	return s.write("record event", func(tx *transaction) error { return tx.insertEvent(e) })
}

// RecordRefusal implements oauth.Store. The refusals of a token whose grant is gone
// are shared by its client.
func (s *Store) RecordRefusal(_ context.Context, e oauth.Event) error {
	shared := "grant " + e.GrantID + " " + e.Reason
	if e.GrantID == "" {
		shared = "client " + e.ClientID + " " + e.Reason
	}
	return s.write("record refusal", func(tx *transaction) error {
		_, err := tx.exec(shareEvent, eventColumns(e, tx.now, shared)...)
		return err
	})
}

// NoteRefusal implements oauth.Store.
func (s *Store) NoteRefusal(e oauth.Event) {
	select {
	case s.noted <- e:
	default: // too many: the log has them
	}
}

// writeNoted writes noted refusals until the store is closed.
func (s *Store) writeNoted() {
	for {
		select {
		case e := <-s.noted:
			s.writeBatch(takeWaiting(e, s.noted, mostInBatch))
		case <-s.stop:
			for len(s.noted) > 0 {
				s.writeBatch(takeWaiting(<-s.noted, s.noted, mostInBatch))
			}
			return
		}
	}
}

// writeBatch writes noted refusals in one step, and drops the oldest beyond what is
// remembered.
func (s *Store) writeBatch(batch []oauth.Event) {
	err := s.write("note refusals", func(tx *transaction) error {
		for _, e := range batch {
			_, err := tx.exec(`
INSERT INTO event_refusals (at, type, reason, request_id, client_id, subject, grant_id, source, detail)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`, eventColumns(e, tx.now, nil)[:9]...)
			if err != nil {
				return err
			}
		}
		_, err := tx.exec("DELETE FROM event_refusals WHERE id <= (SELECT max(id) FROM event_refusals) - $1", mostRefusals)
		return err
	})
	if err != nil && s.log != nil {
		s.log.Error("refusals could not be noted", "error", err, "refusals", len(batch))
	}
}

// selectEvents and selectNoted read events and noted refusals.
const (
	selectEvents = `
SELECT at, last_at, count, type, reason, request_id, client_id, subject, grant_id, source, detail FROM events`
	selectNoted = `
SELECT at, at, 1, type, reason, request_id, client_id, subject, grant_id, source, detail FROM event_refusals r`
)

// notLogin and login find the events of a request; those of logins, which are the
// most and hardly ever asked for, have no index.
const (
	notLogin = ` WHERE (type <> 'login' AND request_id = $1 OR last_request_id = $1)`
	login    = ` WHERE type = 'login' AND request_id = $1`
)

// Events implements admin.Store. A refusal that was both recorded and noted is
// reported once.
func (s *Store) Events(ctx context.Context, requestID string) ([]oauth.Event, error) {
	list, err := s.events(ctx, selectEvents+notLogin+" UNION ALL"+selectNoted+` WHERE request_id = $1
   AND NOT EXISTS (SELECT 1 FROM events e`+notLogin+` AND e.reason = r.reason)`, requestID)
	if err == nil && len(list) == 0 {
		list, err = s.events(ctx, selectEvents+login, requestID)
	}
	if err != nil {
		return nil, wrap("read events", err)
	}
	slices.SortStableFunc(list, func(a, b oauth.Event) int { return cmp.Compare(a.At.UnixMicro(), b.At.UnixMicro()) })
	return list, nil
}

func (s *Store) events(ctx context.Context, query, requestID string) ([]oauth.Event, error) {
	list := []oauth.Event{}
	err := s.each(ctx, query, func(row scanner) error {
		var e oauth.Event
		err := row.Scan(micro{&e.At}, micro{&e.LastAt}, &e.Count, &e.Type, &e.Reason, &e.RequestID, &e.ClientID, &e.Subject, &e.GrantID, &e.Source, &e.Detail)
		list = append(list, e)
		return err
	}, requestID)
	return list, err
}

func (s *Store) cleanEvents(ctx context.Context, c admin.Cleanup) (int, error) {
	if c.Events <= 0 {
		return 0, nil
	}
	now, err := s.clock(ctx)
	if err != nil {
		return 0, err
	}
	return s.deleteInSteps(ctx, c, "events", "id", "last_at < $1", toMicro(now.Add(-c.Events)))
}
