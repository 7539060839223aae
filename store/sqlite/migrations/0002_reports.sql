-- +goose Up
-- Rows are appended; only the index on key is written at random places, so batches stay cheap however many there are.
CREATE TABLE events (
    seq      INTEGER PRIMARY KEY,
    key      BLOB NOT NULL UNIQUE,
    app      TEXT NOT NULL,
    device   TEXT NOT NULL,
    release  TEXT NOT NULL,
    kind     TEXT NOT NULL,
    received INTEGER NOT NULL,
    network  TEXT NOT NULL,
    body     BLOB NOT NULL
);
CREATE INDEX events_received ON events (received);

CREATE TABLE counts (
    id      INTEGER PRIMARY KEY,
    app     TEXT NOT NULL,
    channel TEXT NOT NULL,
    package TEXT NOT NULL,
    release TEXT NOT NULL,
    kind    TEXT NOT NULL,
    devices INTEGER NOT NULL,
    UNIQUE (app, channel, package, release, kind)
);

CREATE TABLE counted (
    count  INTEGER NOT NULL,
    device INTEGER NOT NULL,
    PRIMARY KEY (count, device)
) WITHOUT ROWID;
