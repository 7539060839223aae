-- +goose Up
-- Everything in this step is derived from reports and written in their commit. What each device runs, by its own word:
-- key is a hash of app, device and package, place one of what the device has in common with others.
CREATE TABLE places (
    id       BIGINT PRIMARY KEY,
    app      TEXT NOT NULL,
    package  TEXT NOT NULL,
    channel  TEXT NOT NULL,
    platform TEXT NOT NULL,
    runtime  TEXT NOT NULL,
    release  TEXT NOT NULL,
    last     BIGINT NOT NULL
);
CREATE TABLE devices (
    key        BIGINT PRIMARY KEY,
    id         BYTEA NOT NULL,
    place      BIGINT NOT NULL,
    first_seen BIGINT NOT NULL,
    last_seen  BIGINT NOT NULL
);

CREATE TABLE trial_rollouts (
    id      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rollout TEXT NOT NULL UNIQUE,
    app     TEXT NOT NULL,
    channel TEXT NOT NULL,
    package TEXT NOT NULL,
    last    BIGINT NOT NULL
);

-- One row for each device in each rollout. joined and ended are places in trial_log; ended is 0 while the trial is open.
CREATE TABLE trials (
    device   BIGINT NOT NULL,
    rollout  BIGINT NOT NULL,
    id       BYTEA NOT NULL,
    arm      BIGINT NOT NULL,
    network  TEXT NOT NULL,
    release  BYTEA NOT NULL,
    joined   BIGINT NOT NULL,
    enrolled BIGINT NOT NULL,
    ended    BIGINT NOT NULL,
    ended_at BIGINT NOT NULL,
    ending   BIGINT NOT NULL,
    reason   TEXT NOT NULL,
    PRIMARY KEY (device, rollout)
);
CREATE INDEX trials_enrolled ON trials (rollout, enrolled);

-- seq is taken from the counter "trials", whose row a transaction holds until its commit: it is the order of commits.
CREATE TABLE trial_log (
    rollout BIGINT NOT NULL,
    seq     BIGINT NOT NULL,
    device  BIGINT NOT NULL,
    joined  BIGINT NOT NULL,
    PRIMARY KEY (rollout, seq)
);
INSERT INTO counters (name, value) VALUES ('trials', 0);

CREATE TABLE trial_tallies (
    rollout   BIGINT NOT NULL,
    arm       BIGINT NOT NULL,
    network   TEXT NOT NULL,
    enrolled  BIGINT NOT NULL,
    confirmed BIGINT NOT NULL,
    failed    BIGINT NOT NULL,
    gone      BIGINT NOT NULL,
    PRIMARY KEY (rollout, arm, network)
);

CREATE TABLE trial_days (
    rollout  BIGINT NOT NULL,
    day      BIGINT NOT NULL,
    outcomes BIGINT NOT NULL,
    failed   BIGINT NOT NULL,
    PRIMARY KEY (rollout, day)
);

CREATE TABLE trial_metrics (
    device  BIGINT NOT NULL,
    rollout BIGINT NOT NULL,
    metric  TEXT NOT NULL,
    count   BIGINT NOT NULL,
    sum     DOUBLE PRECISION NOT NULL,
    yesno   BIGINT NOT NULL,
    PRIMARY KEY (device, rollout, metric)
);

-- count is a row of counts. Steps: 0 minute, 1 hour, 2 day.
CREATE TABLE series (
    count BIGINT NOT NULL,
    step  BIGINT NOT NULL,
    at    BIGINT NOT NULL,
    n     BIGINT NOT NULL,
    PRIMARY KEY (count, step, at)
);
CREATE INDEX series_at ON series (step, at);

CREATE TABLE reasons (
    id      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    count   BIGINT NOT NULL,
    stage   TEXT NOT NULL,
    reason  TEXT NOT NULL,
    devices BIGINT NOT NULL,
    last    BIGINT NOT NULL,
    UNIQUE (count, stage, reason)
);
CREATE TABLE reasoned (
    reason BIGINT NOT NULL,
    device BIGINT NOT NULL,
    PRIMARY KEY (reason, device)
);
