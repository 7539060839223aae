-- +goose Up
CREATE TABLE alerts (
    id       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key      TEXT NOT NULL,
    kind     TEXT NOT NULL,
    severity TEXT NOT NULL,
    app      TEXT NOT NULL,
    channel  TEXT NOT NULL,
    package  TEXT NOT NULL,
    subject  TEXT NOT NULL,
    title    TEXT NOT NULL,
    detail   BYTEA NOT NULL,
    state    TEXT NOT NULL,
    count    BIGINT NOT NULL,
    began    BIGINT NOT NULL,
    latest   BIGINT NOT NULL,
    notified BIGINT NOT NULL,
    actor    TEXT NOT NULL,
    note     TEXT NOT NULL,
    changed  BIGINT NOT NULL
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
    sealed   BYTEA NOT NULL,
    disabled BOOLEAN NOT NULL,
    created  BIGINT NOT NULL
);

CREATE TABLE deliveries (
    id       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    target   TEXT NOT NULL REFERENCES alert_targets (name) ON DELETE CASCADE,
    alert    BIGINT NOT NULL,
    event    TEXT NOT NULL,
    body     BYTEA NOT NULL,
    state    TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    due      BIGINT NOT NULL,
    status   BIGINT NOT NULL,
    error    TEXT NOT NULL,
    took     BIGINT NOT NULL,
    created  BIGINT NOT NULL,
    updated  BIGINT NOT NULL
);
CREATE INDEX deliveries_due ON deliveries (due, id) WHERE state = 'queued';
CREATE INDEX deliveries_target ON deliveries (target, id);
