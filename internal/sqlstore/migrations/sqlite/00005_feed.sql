-- +goose Up
-- What the revocation feed finds changes by, and where nodes announce rotations to one
-- another: a fixed number of rows, written in turn.

CREATE INDEX grants_revoked ON grants (revoked_at) WHERE revoked_at > 0;
CREATE INDEX users_updated ON users (updated_at);
CREATE INDEX clients_updated ON clients (updated_at);

CREATE TABLE feed_state (
  id          INTEGER PRIMARY KEY NOT NULL,
  number      BIGINT NOT NULL,            -- of the last announcement
  followed_at BIGINT NOT NULL             -- when somebody last followed; 0: never
);
INSERT INTO feed_state (id, number, followed_at) VALUES (1, 0, 0);

CREATE TABLE feed_announcements (
  slot      INTEGER PRIMARY KEY NOT NULL, -- number modulo the number of rows
  number    BIGINT NOT NULL,
  at        BIGINT NOT NULL,
  node      TEXT NOT NULL,
  final     SMALLINT NOT NULL,
  rotations TEXT NOT NULL                 -- [{"g":grant,"c":client,"n":generation,"t":time},…]
);
INSERT INTO feed_announcements (slot, number, at, node, final, rotations)
WITH RECURSIVE slots (slot) AS (SELECT 0 UNION ALL SELECT slot + 1 FROM slots WHERE slot < 255)
SELECT slot, 0, 0, '', 1, '[]' FROM slots;
