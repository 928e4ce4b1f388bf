-- +goose Up
-- Browsers' sessions, what OroCommerce knows of its clients, and the subject of all
-- visitors, which has no name.

ALTER TABLE clients ADD COLUMN storefront SMALLINT NOT NULL DEFAULT 0;
ALTER TABLE clients ADD COLUMN organization TEXT NOT NULL DEFAULT '';
ALTER TABLE clients ADD COLUMN apis TEXT NOT NULL DEFAULT '[]';
ALTER TABLE clients ADD COLUMN plain_pkce SMALLINT NOT NULL DEFAULT 0;
ALTER TABLE clients ADD COLUMN skip_consent SMALLINT NOT NULL DEFAULT 0;
ALTER TABLE clients ADD COLUMN not_before BIGINT NOT NULL DEFAULT 0;
ALTER TABLE clients ADD COLUMN last_used_at BIGINT NOT NULL DEFAULT 0;

ALTER TABLE users ADD COLUMN email_lower TEXT COLLATE "C";  -- NULL: no address
UPDATE users SET email_lower = lower(email);
CREATE INDEX users_email_lower ON users (email_lower) WHERE email_lower IS NOT NULL;
INSERT INTO users (id, username, email, epoch, enabled, state, password_hash, created_at, updated_at, deleted_at)
VALUES ('visitor', NULL, NULL, 1, 1, 'active', '', 0, 0, 0);

-- One row per browser that somebody is signed in with; ended ones are deleted. The key
-- is a hash of what the browser has.
CREATE TABLE sessions (
  key           BYTEA PRIMARY KEY,
  subject       TEXT COLLATE "C" NOT NULL,
  subject_epoch BIGINT NOT NULL,
  browser       TEXT NOT NULL,
  created_at    BIGINT NOT NULL,
  expires_at    BIGINT NOT NULL
);
CREATE INDEX sessions_subject ON sessions (subject);
CREATE INDEX sessions_expires ON sessions (expires_at);

UPDATE schema_compatibility SET oldest = 4 WHERE oldest < 4;
