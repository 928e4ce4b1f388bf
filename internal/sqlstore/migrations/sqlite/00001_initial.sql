-- +goose Up
-- Times are microseconds since 1970 UTC; 0 is no time. Lists are JSON arrays.

CREATE TABLE clients (
  id                     TEXT PRIMARY KEY NOT NULL,
  name                   TEXT NOT NULL,
  version                BIGINT NOT NULL,
  public                 SMALLINT NOT NULL,
  active                 SMALLINT NOT NULL,
  grant_types            TEXT NOT NULL,
  redirect_uris          TEXT NOT NULL,
  scope                  TEXT,              -- NULL: no list
  owner                  TEXT NOT NULL,
  secrets                TEXT NOT NULL,     -- [{"hash":…,"expires_at":…}]
  signing_alg            TEXT NOT NULL,
  access_token_lifetime  BIGINT NOT NULL,   -- nanoseconds, like the next two
  refresh_token_lifetime BIGINT NOT NULL,
  retry_window           BIGINT,            -- NULL: the server's
  reusable               SMALLINT NOT NULL,
  created_at             BIGINT NOT NULL,
  updated_at             BIGINT NOT NULL,
  deleted_at             BIGINT NOT NULL    -- a deleted client keeps its version for an heir of its id
);
CREATE INDEX clients_owner ON clients (owner);

CREATE TABLE users (
  id            TEXT PRIMARY KEY NOT NULL,
  username      TEXT UNIQUE,                -- NULL: deleted; the id is never used again
  email         TEXT UNIQUE,
  epoch         BIGINT NOT NULL,
  enabled       SMALLINT NOT NULL,
  state         TEXT NOT NULL,
  password_hash TEXT NOT NULL,
  created_at    BIGINT NOT NULL,
  updated_at    BIGINT NOT NULL,
  deleted_at    BIGINT NOT NULL
);

-- One row per grant, however often it is refreshed. No index on a column that a
-- rotation writes.
CREATE TABLE grants (
  id                  BLOB PRIMARY KEY NOT NULL,
  public_id           TEXT NOT NULL UNIQUE,
  version             BIGINT NOT NULL,
  client_id           TEXT NOT NULL,
  subject             TEXT NOT NULL,
  subject_epoch       BIGINT NOT NULL,
  scope               TEXT NOT NULL,
  resource            TEXT NOT NULL,
  auth_time           BIGINT NOT NULL,
  amr                 TEXT NOT NULL,
  acr                 TEXT NOT NULL,
  cnf                 TEXT NOT NULL,
  status              TEXT NOT NULL,
  revoked_at          BIGINT NOT NULL,
  revoked_reason      TEXT NOT NULL,
  generation          BIGINT NOT NULL,
  current_hash        BLOB NOT NULL,
  previous_hash       BLOB,                 -- NULL at generation 0, like the salt
  successor_salt      BLOB,
  key_id              INTEGER NOT NULL,
  rotated_at          BIGINT NOT NULL,
  retries             INTEGER NOT NULL,
  idle_expires_at     BIGINT NOT NULL,
  absolute_expires_at BIGINT NOT NULL,      -- 0: never
  created_at          BIGINT NOT NULL,
  last_used_at        BIGINT NOT NULL
);
CREATE INDEX grants_subject ON grants (subject, client_id, status);
CREATE INDEX grants_client ON grants (client_id);

-- What is worth keeping of logins, refusals of authentic tokens, revocations and
-- administration. Never a row for a refresh or a retry.
CREATE TABLE events (
  id              INTEGER PRIMARY KEY,
  at              BIGINT NOT NULL,
  last_at         BIGINT NOT NULL,
  count           BIGINT NOT NULL,
  type            TEXT NOT NULL,
  reason          TEXT NOT NULL,
  request_id      TEXT NOT NULL,
  last_request_id TEXT NOT NULL,
  client_id       TEXT NOT NULL,
  subject         TEXT NOT NULL,
  grant_id        TEXT NOT NULL,
  source          TEXT NOT NULL,
  detail          TEXT NOT NULL,
  shared          TEXT UNIQUE               -- what repeated refusals share; NULL: nothing
);
CREATE INDEX events_request ON events (request_id);
CREATE INDEX events_last_request ON events (last_request_id);
CREATE INDEX events_last_at ON events (last_at);

-- The latest refusals of all kinds, a fixed number of them.
CREATE TABLE event_refusals (
  id         INTEGER PRIMARY KEY,
  at         BIGINT NOT NULL,
  type       TEXT NOT NULL,
  reason     TEXT NOT NULL,
  request_id TEXT NOT NULL,
  client_id  TEXT NOT NULL,
  subject    TEXT NOT NULL,
  grant_id   TEXT NOT NULL,
  source     TEXT NOT NULL,
  detail     TEXT NOT NULL
);
CREATE INDEX event_refusals_request ON event_refusals (request_id);

-- Counters against guessing, by keyed hash of what was guessed at.
CREATE TABLE event_failures (
  key     BLOB PRIMARY KEY NOT NULL,
  kind    TEXT NOT NULL,
  count   BIGINT NOT NULL,
  last_at BIGINT NOT NULL
);

CREATE TABLE master_keys (
  id          INTEGER PRIMARY KEY NOT NULL,
  check_value BLOB NOT NULL
);

CREATE TABLE signing_keys (
  id            TEXT PRIMARY KEY NOT NULL,
  position      INTEGER NOT NULL,
  alg           TEXT NOT NULL,
  master_key_id INTEGER NOT NULL,
  sealed        BLOB NOT NULL,
  published_at  BIGINT NOT NULL,
  active_at     BIGINT NOT NULL,
  retired_at    BIGINT NOT NULL,
  expires_at    BIGINT NOT NULL
);
CREATE TABLE signing_revision (
  id       INTEGER PRIMARY KEY NOT NULL,
  revision BIGINT NOT NULL
);
INSERT INTO signing_revision (id, revision) VALUES (1, 0);
