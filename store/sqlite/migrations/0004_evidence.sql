-- +goose Up
-- The guard's looks at rollouts, and the newest state of each.
CREATE TABLE evaluations (
    rollout     TEXT NOT NULL,
    n           BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    from_seq    BIGINT NOT NULL,
    to_seq      BIGINT NOT NULL,
    silent_from BIGINT NOT NULL,
    silent_to   BIGINT NOT NULL,
    doc         BLOB NOT NULL,
    PRIMARY KEY (rollout, n)
);
CREATE TABLE guard_states (
    rollout TEXT PRIMARY KEY,
    n       BIGINT NOT NULL,
    at      BIGINT NOT NULL,
    state   BLOB NOT NULL
);
