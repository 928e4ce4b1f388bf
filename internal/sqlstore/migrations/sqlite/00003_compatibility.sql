-- +goose Up
-- Programs whose own schema is older than this one may use it, down to the oldest. A
-- migration that adds leaves it as it is; one that takes away what programs before it
-- use raises it, when no such program runs any more (expand and contract).

CREATE TABLE schema_compatibility (
  id     INTEGER PRIMARY KEY NOT NULL,
  oldest BIGINT NOT NULL
);
INSERT INTO schema_compatibility (id, oldest) VALUES (1, 3);
