-- +goose Up
-- Releases as clients of other protocols fetch them. origin is the base of a difference, '' otherwise.
CREATE TABLE renditions (
    release  TEXT NOT NULL REFERENCES releases (digest) ON DELETE CASCADE,
    protocol TEXT NOT NULL,
    origin   TEXT NOT NULL,
    size     BIGINT NOT NULL,
    sha256   TEXT NOT NULL,
    doc      BYTEA NOT NULL,
    PRIMARY KEY (release, protocol, origin)
);
