-- +goose Up
-- Each step runs in one transaction. The unique index makes a step that two processes run at once fail in one of them.
CREATE UNIQUE INDEX slipstream_schema_once ON slipstream_schema (version_id);
PRAGMA application_id = 0x736c6970;

CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO counters (name, value) VALUES ('updates', 0), ('rev', 0);

CREATE TABLE apps (
    name      TEXT PRIMARY KEY,
    display   TEXT NOT NULL,
    platforms TEXT NOT NULL,
    settings  BLOB NOT NULL,
    created   INTEGER NOT NULL
);

CREATE TABLE roots (
    app      TEXT NOT NULL REFERENCES apps (name),
    version  INTEGER NOT NULL,
    envelope BLOB NOT NULL,
    PRIMARY KEY (app, version)
);

CREATE TABLE state_keys (
    app     TEXT NOT NULL REFERENCES apps (name),
    key_id  TEXT NOT NULL,
    public  TEXT NOT NULL,
    sealed  BLOB NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (app, key_id)
);

CREATE TABLE packages (
    app         TEXT NOT NULL REFERENCES apps (name),
    name        TEXT NOT NULL,
    highest_seq INTEGER NOT NULL,
    PRIMARY KEY (app, name)
);

CREATE TABLE releases (
    digest    TEXT PRIMARY KEY,
    app       TEXT NOT NULL REFERENCES apps (name),
    package   TEXT NOT NULL,
    platform  TEXT NOT NULL,
    runtime   TEXT NOT NULL,
    version   TEXT NOT NULL,
    seq       INTEGER NOT NULL,
    manifest  BLOB NOT NULL,
    envelope  BLOB NOT NULL,
    published INTEGER NOT NULL,
    notes     TEXT NOT NULL,
    embedded  INTEGER NOT NULL,
    UNIQUE (app, package, platform, runtime, version),
    UNIQUE (app, package, seq)
);

CREATE TABLE containers (
    release TEXT NOT NULL REFERENCES releases (digest) ON DELETE CASCADE,
    origin  TEXT NOT NULL,
    codec   TEXT NOT NULL,
    size    INTEGER NOT NULL,
    sha256  TEXT NOT NULL,
    PRIMARY KEY (release, origin, codec)
);

CREATE TABLE channels (
    app     TEXT NOT NULL REFERENCES apps (name),
    name    TEXT NOT NULL,
    display TEXT NOT NULL,
    policy  BLOB NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    PRIMARY KEY (app, name)
);

CREATE TABLE states (
    app      TEXT NOT NULL,
    channel  TEXT NOT NULL,
    platform TEXT NOT NULL,
    epoch    INTEGER NOT NULL,
    issued   INTEGER NOT NULL,
    expires  INTEGER NOT NULL,
    envelope BLOB NOT NULL,
    private  BLOB,
    rev      INTEGER NOT NULL UNIQUE,
    PRIMARY KEY (app, channel, platform),
    FOREIGN KEY (app, channel) REFERENCES channels (app, name) ON DELETE CASCADE
);

CREATE TABLE audit (
    seq    INTEGER PRIMARY KEY,
    at     INTEGER NOT NULL,
    actor  TEXT NOT NULL,
    action TEXT NOT NULL,
    app    TEXT NOT NULL,
    target TEXT NOT NULL,
    detail BLOB NOT NULL,
    prev   TEXT NOT NULL,
    hash   TEXT NOT NULL
);
-- +goose StatementBegin
CREATE TRIGGER audit_keeps_on_update BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_keeps_on_delete BEFORE DELETE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
-- +goose StatementEnd

CREATE TABLE tokens (
    id        TEXT PRIMARY KEY,
    hash      BLOB NOT NULL UNIQUE,
    name      TEXT NOT NULL,
    role      TEXT NOT NULL,
    app       TEXT NOT NULL,
    created   INTEGER NOT NULL,
    expires   INTEGER NOT NULL,
    last_used INTEGER NOT NULL
);

CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
);
