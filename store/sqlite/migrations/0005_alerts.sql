-- +goose Up
CREATE TABLE alerts (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    key      TEXT NOT NULL,
    kind     TEXT NOT NULL,
    severity TEXT NOT NULL,
    app      TEXT NOT NULL,
    channel  TEXT NOT NULL,
    package  TEXT NOT NULL,
    subject  TEXT NOT NULL,
    title    TEXT NOT NULL,
    detail   BLOB NOT NULL,
    state    TEXT NOT NULL,
    count    INTEGER NOT NULL,
    began    INTEGER NOT NULL,
    latest   INTEGER NOT NULL,
    notified INTEGER NOT NULL,
    actor    TEXT NOT NULL,
    note     TEXT NOT NULL,
    changed  INTEGER NOT NULL
);
CREATE UNIQUE INDEX alerts_active ON alerts (key) WHERE state IN ('open', 'acknowledged');
CREATE INDEX alerts_latest ON alerts (latest);

CREATE TABLE alert_targets (
    name     TEXT PRIMARY KEY,
    type     TEXT NOT NULL,
    app      TEXT NOT NULL,
    kinds    TEXT NOT NULL,
    severity TEXT NOT NULL,
    address  TEXT NOT NULL,
    public   TEXT NOT NULL,
    sealed   BLOB NOT NULL,
    disabled BOOLEAN NOT NULL,
    created  INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE deliveries (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    target   TEXT NOT NULL REFERENCES alert_targets (name) ON DELETE CASCADE,
    alert    INTEGER NOT NULL,
    event    TEXT NOT NULL,
    body     BLOB NOT NULL,
    state    TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    due      INTEGER NOT NULL,
    status   INTEGER NOT NULL,
    error    TEXT NOT NULL,
    took     INTEGER NOT NULL,
    created  INTEGER NOT NULL,
    updated  INTEGER NOT NULL
);
CREATE INDEX deliveries_due ON deliveries (due, id) WHERE state = 'queued';
CREATE INDEX deliveries_target ON deliveries (target, id);
