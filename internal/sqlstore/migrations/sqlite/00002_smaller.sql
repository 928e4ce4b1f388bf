-- +goose Up
-- A login leaves a grant and an event; what indexes need not hold is left out of them.
-- An event was last requested by the request that made it, unless it says otherwise.

DROP INDEX grants_subject;
CREATE INDEX grants_subject ON grants (subject);

CREATE TABLE event_records (
  id              INTEGER PRIMARY KEY,
  at              BIGINT NOT NULL,
  last_at         BIGINT NOT NULL,
  count           BIGINT NOT NULL,
  type            TEXT NOT NULL,
  reason          TEXT NOT NULL,
  request_id      TEXT NOT NULL,
  last_request_id TEXT,                     -- NULL: none but the first
  client_id       TEXT NOT NULL,
  subject         TEXT NOT NULL,
  grant_id        TEXT NOT NULL,
  source          TEXT NOT NULL,
  detail          TEXT NOT NULL,
  shared          TEXT                      -- what repeated refusals share; NULL: nothing
);
INSERT INTO event_records
SELECT id, at, last_at, count, type, reason, request_id, NULLIF(last_request_id, request_id),
       client_id, subject, grant_id, source, detail, shared
  FROM events;
DROP TABLE events;
ALTER TABLE event_records RENAME TO events;
CREATE UNIQUE INDEX events_shared ON events (shared) WHERE shared IS NOT NULL;
CREATE INDEX events_request ON events (request_id) WHERE type <> 'login';
CREATE INDEX events_last_request ON events (last_request_id) WHERE last_request_id IS NOT NULL;
CREATE INDEX events_last_at ON events (last_at);
