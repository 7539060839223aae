-- +goose Up
-- Each step runs in one transaction, all of them under one advisory lock.
CREATE UNIQUE INDEX slipstream_schema_once ON slipstream_schema (version_id);

CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('updates', 0), ('rev', 0);

CREATE TABLE apps (
    name      TEXT PRIMARY KEY,
    display   TEXT NOT NULL,
    platforms TEXT NOT NULL,
    settings  BYTEA NOT NULL,
    created   BIGINT NOT NULL
);

CREATE TABLE roots (
    app      TEXT NOT NULL REFERENCES apps (name),
    version  BIGINT NOT NULL,
    envelope BYTEA NOT NULL,
    PRIMARY KEY (app, version)
);

CREATE TABLE state_keys (
    app     TEXT NOT NULL REFERENCES apps (name),
    key_id  TEXT NOT NULL,
    public  TEXT NOT NULL,
    sealed  BYTEA NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (app, key_id)
);

CREATE TABLE packages (
    app         TEXT NOT NULL REFERENCES apps (name),
    name        TEXT NOT NULL,
    highest_seq BIGINT NOT NULL,
    PRIMARY KEY (app, name)
);

CREATE TABLE releases (
    digest    TEXT PRIMARY KEY,
    app       TEXT NOT NULL REFERENCES apps (name),
    package   TEXT NOT NULL,
    platform  TEXT NOT NULL,
    runtime   TEXT NOT NULL,
    version   TEXT NOT NULL,
    seq       BIGINT NOT NULL,
    manifest  BYTEA NOT NULL,
    envelope  BYTEA NOT NULL,
    published BIGINT NOT NULL,
    notes     TEXT NOT NULL,
    embedded  BOOLEAN NOT NULL,
    UNIQUE (app, package, platform, runtime, version),
    UNIQUE (app, package, seq)
);

CREATE TABLE containers (
    release TEXT NOT NULL REFERENCES releases (digest) ON DELETE CASCADE,
    origin  TEXT NOT NULL,
    codec   TEXT NOT NULL,
    size    BIGINT NOT NULL,
    sha256  TEXT NOT NULL,
    PRIMARY KEY (release, origin, codec)
);

CREATE TABLE channels (
    app     TEXT NOT NULL REFERENCES apps (name),
    name    TEXT NOT NULL,
    display TEXT NOT NULL,
    policy  BYTEA NOT NULL,
    created BIGINT NOT NULL,
    updated BIGINT NOT NULL,
    PRIMARY KEY (app, name)
);

CREATE TABLE states (
    app      TEXT NOT NULL,
    channel  TEXT NOT NULL,
    platform TEXT NOT NULL,
    epoch    BIGINT NOT NULL,
    issued   BIGINT NOT NULL,
    expires  BIGINT NOT NULL,
    envelope BYTEA NOT NULL,
    private  BYTEA,
    rev      BIGINT NOT NULL UNIQUE,
    PRIMARY KEY (app, channel, platform),
    FOREIGN KEY (app, channel) REFERENCES channels (app, name) ON DELETE CASCADE
);

CREATE TABLE audit (
    seq    BIGINT PRIMARY KEY,
    at     BIGINT NOT NULL,
    actor  TEXT NOT NULL,
    action TEXT NOT NULL,
    app    TEXT NOT NULL,
    target TEXT NOT NULL,
    detail BYTEA NOT NULL,
    prev   TEXT NOT NULL,
    hash   TEXT NOT NULL
);
-- +goose StatementBegin
CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only';
END
$$;
-- +goose StatementEnd
CREATE TRIGGER audit_keeps BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();

CREATE TABLE tokens (
    id        TEXT PRIMARY KEY,
    hash      BYTEA NOT NULL UNIQUE,
    name      TEXT NOT NULL,
    role      TEXT NOT NULL,
    app       TEXT NOT NULL,
    created   BIGINT NOT NULL,
    expires   BIGINT NOT NULL,
    last_used BIGINT NOT NULL
);

CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value BYTEA NOT NULL
);
