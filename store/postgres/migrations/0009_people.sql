-- +goose Up
-- People with a name of their own, the browsers that are signed in, and codes that are good for one use.
CREATE TABLE members (
    name     TEXT PRIMARY KEY,
    display  TEXT NOT NULL,
    email    TEXT NOT NULL,
    role     TEXT NOT NULL,
    apps     TEXT NOT NULL,
    password TEXT NOT NULL,
    otp      BYTEA NOT NULL,
    otp_step BIGINT NOT NULL,
    recovery TEXT NOT NULL,
    subject  TEXT NOT NULL,
    created  BIGINT NOT NULL,
    seen     BIGINT NOT NULL,
    disabled BOOLEAN NOT NULL
);
CREATE UNIQUE INDEX members_email ON members (email) WHERE email <> '';
CREATE UNIQUE INDEX members_subject ON members (subject) WHERE subject <> '';
ALTER TABLE tokens ADD COLUMN member TEXT REFERENCES members (name) ON DELETE CASCADE;
CREATE TABLE sessions (
    hash    BYTEA PRIMARY KEY,
    id      TEXT NOT NULL UNIQUE,
    token   TEXT REFERENCES tokens (id) ON DELETE CASCADE,
    member  TEXT REFERENCES members (name) ON DELETE CASCADE,
    via     TEXT NOT NULL,
    agent   TEXT NOT NULL,
    created BIGINT NOT NULL,
    seen    BIGINT NOT NULL,
    expires BIGINT NOT NULL
);
CREATE INDEX sessions_token ON sessions (token);
CREATE INDEX sessions_member ON sessions (member);
CREATE TABLE tickets (
    hash    BYTEA PRIMARY KEY,
    kind    TEXT NOT NULL,
    token   TEXT REFERENCES tokens (id) ON DELETE CASCADE,
    member  TEXT REFERENCES members (name) ON DELETE CASCADE,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL
);
CREATE INDEX tickets_token ON tickets (token);
CREATE INDEX tickets_member ON tickets (member);
