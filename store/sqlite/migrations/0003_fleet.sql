-- +goose Up
-- Everything in this step is derived from reports and written in their commit. What each device runs, by its own word:
-- key is a hash of app, device and package, place one of what the device has in common with others.
CREATE TABLE places (
    id       INTEGER PRIMARY KEY,
    app      TEXT NOT NULL,
    package  TEXT NOT NULL,
    channel  TEXT NOT NULL,
    platform TEXT NOT NULL,
    runtime  TEXT NOT NULL,
    release  TEXT NOT NULL,
    last     INTEGER NOT NULL
);
CREATE TABLE devices (
    key        INTEGER PRIMARY KEY,
    id         BLOB NOT NULL,
    place      INTEGER NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL
);

CREATE TABLE trial_rollouts (
    id      INTEGER PRIMARY KEY,
    rollout TEXT NOT NULL UNIQUE,
    app     TEXT NOT NULL,
    channel TEXT NOT NULL,
    package TEXT NOT NULL,
    last    INTEGER NOT NULL
);

-- One row for each device in each rollout. joined and ended are places in trial_log; ended is 0 while the trial is open.
CREATE TABLE trials (
    device   INTEGER NOT NULL,
    rollout  INTEGER NOT NULL,
    id       BLOB NOT NULL,
    arm      INTEGER NOT NULL,
    network  TEXT NOT NULL,
    release  BLOB NOT NULL,
    joined   INTEGER NOT NULL,
    enrolled INTEGER NOT NULL,
    ended    INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    ending   INTEGER NOT NULL,
    reason   TEXT NOT NULL,
    PRIMARY KEY (device, rollout)
) WITHOUT ROWID;
CREATE INDEX trials_enrolled ON trials (rollout, enrolled);

-- seq is taken from the counter "trials", whose row a transaction holds until its commit: it is the order of commits.
CREATE TABLE trial_log (
    rollout INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    device  INTEGER NOT NULL,
    joined  INTEGER NOT NULL,
    PRIMARY KEY (rollout, seq)
) WITHOUT ROWID;
INSERT INTO counters (name, value) VALUES ('trials', 0);

CREATE TABLE trial_tallies (
    rollout   INTEGER NOT NULL,
    arm       INTEGER NOT NULL,
    network   TEXT NOT NULL,
    enrolled  INTEGER NOT NULL,
    confirmed INTEGER NOT NULL,
    failed    INTEGER NOT NULL,
    gone      INTEGER NOT NULL,
    PRIMARY KEY (rollout, arm, network)
) WITHOUT ROWID;

CREATE TABLE trial_days (
    rollout  INTEGER NOT NULL,
    day      INTEGER NOT NULL,
    outcomes INTEGER NOT NULL,
    failed   INTEGER NOT NULL,
    PRIMARY KEY (rollout, day)
) WITHOUT ROWID;

CREATE TABLE trial_metrics (
    device  INTEGER NOT NULL,
    rollout INTEGER NOT NULL,
    metric  TEXT NOT NULL,
    count   INTEGER NOT NULL,
    sum     REAL NOT NULL,
    yesno   INTEGER NOT NULL,
    PRIMARY KEY (device, rollout, metric)
) WITHOUT ROWID;

-- count is a row of counts. Steps: 0 minute, 1 hour, 2 day.
CREATE TABLE series (
    count INTEGER NOT NULL,
    step  INTEGER NOT NULL,
    at    INTEGER NOT NULL,
    n     INTEGER NOT NULL,
    PRIMARY KEY (count, step, at)
) WITHOUT ROWID;
CREATE INDEX series_at ON series (step, at);

CREATE TABLE reasons (
    id      INTEGER PRIMARY KEY,
    count   INTEGER NOT NULL,
    stage   TEXT NOT NULL,
    reason  TEXT NOT NULL,
    devices INTEGER NOT NULL,
    last    INTEGER NOT NULL,
    UNIQUE (count, stage, reason)
);
CREATE TABLE reasoned (
    reason INTEGER NOT NULL,
    device INTEGER NOT NULL,
    PRIMARY KEY (reason, device)
) WITHOUT ROWID;
