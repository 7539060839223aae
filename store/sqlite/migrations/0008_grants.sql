-- +goose Up
-- Places in rollouts with a cap: how many were given, when the latest was, and to whom.
CREATE TABLE grant_counts (
    rollout TEXT PRIMARY KEY,
    given   BIGINT NOT NULL,
    latest  BIGINT NOT NULL
);
CREATE TABLE grants (
    rollout TEXT NOT NULL,
    device  TEXT NOT NULL,
    app     TEXT NOT NULL,
    PRIMARY KEY (rollout, device)
) WITHOUT ROWID;
CREATE INDEX grants_device ON grants (device);
