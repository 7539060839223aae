-- +goose Up
-- One row for each base of a release: the containers from there are one piece of work. origin '' is the full container.
CREATE TABLE jobs (
    release  TEXT NOT NULL REFERENCES releases (digest) ON DELETE CASCADE,
    origin   TEXT NOT NULL,
    priority INTEGER NOT NULL,
    state    TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    owner    TEXT NOT NULL,
    due      BIGINT NOT NULL,
    done     BIGINT NOT NULL,
    total    BIGINT NOT NULL,
    spent    BIGINT NOT NULL,
    note     TEXT NOT NULL,
    created  BIGINT NOT NULL,
    updated  BIGINT NOT NULL,
    PRIMARY KEY (release, origin)
);
CREATE INDEX jobs_due ON jobs (priority, created) WHERE state <> 'done';
