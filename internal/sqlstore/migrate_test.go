package sqlstore

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// TestMigrateEvents: what the first schema recorded is found in the present one, and
// repeated refusals still share their event.
func TestMigrateEvents(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, err := OpenSQLite(ctx, filepath.Join(t.TempDir(), "counterfoil.db"), Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	schema, err := s.schema(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer schema.close()
	if _, err := schema.UpTo(ctx, 1); err != nil {
		t.Fatal(err)
	}
	const old = `INSERT INTO events (at, last_at, count, type, reason, request_id, last_request_id, client_id, subject, grant_id, source, detail, shared) VALUES `
	for _, values := range []string{
		`(1, 1, 1, 'login', 'password', 'r-login', 'r-login', 'c', 's', 'g', 'net', '', NULL)`,
		`(2, 3, 2, 'refusal', 'replay', 'r-first', 'r-last', 'c', 's', 'g', 'net', 'X2', 'grant g replay')`,
	} {
		if _, err := schema.db.ExecContext(ctx, old+values); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.RecordRefusal(ctx, oauth.Event{Type: oauth.EventRefusal, Reason: "replay", GrantID: "g", RequestID: "r-new"}); err != nil {
		t.Fatal(err)
	}
	for requestID, count := range map[string]int{"r-login": 1, "r-first": 3, "r-new": 3} {
		list, err := s.Events(ctx, requestID)
		if err != nil || len(list) != 1 || list[0].Count != count || list[0].GrantID != "g" {
			t.Errorf("%s: got %+v, %v; want one event, counted %d times", requestID, list, err, count)
		}
	}
}
