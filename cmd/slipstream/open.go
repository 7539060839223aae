//go:build !device

package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/blob/file"
	"github.com/slipstream-ota/slipstream/blob/s3"
	"github.com/slipstream-ota/slipstream/store"
	"github.com/slipstream-ota/slipstream/store/postgres"
	"github.com/slipstream-ota/slipstream/store/sqlite"
)

// Files in the data folder.
const (
	databaseFile = "slipstream.db"
	blobsFolder  = "blobs"
	secretFile   = "secret"
	spoolFolder  = "uploads"
	tempFolder   = "tmp"
)

// place says where a server keeps things. Empty fields mean the data folder.
type place struct {
	data     string
	database string // postgres://…, or sqlite:PATH
	blobs    string // s3://…, or a folder
	environ  []string
}

// sqlitePath is the database's file, "" when it is not SQLite.
func (p place) sqlitePath() string {
	switch {
	case p.database == "":
		return filepath.Join(p.data, databaseFile)
	case strings.HasPrefix(p.database, "sqlite:"):
		return strings.TrimPrefix(strings.TrimPrefix(p.database, "sqlite:"), "//")
	}
	return ""
}

// openStore opens metadata: the one place that knows the databases there are.
func (p place) openStore(ctx context.Context, migrate bool) (store.Store, error) {
	if path := p.sqlitePath(); path != "" {
		return typed[store.Store](sqlite.Open(ctx, path, sqlite.Options{Migrate: migrate}))
	}
	switch scheme(p.database) {
	case "postgres", "postgresql":
		return typed[store.Store](postgres.Open(ctx, p.database, postgres.Options{Migrate: migrate}))
	}
	return nil, usageError{slipstream.Hint(fmt.Errorf("database %q is of no known kind", scheme(p.database)), "give postgres://user@host/name or sqlite:PATH, or nothing for a file in the data folder")}
}

// openBlobs opens bytes: the one place that knows the blob stores there are.
func (p place) openBlobs(ctx context.Context) (blob.Store, error) {
	switch {
	case p.blobs == "":
		return typed[blob.Store](file.Open(filepath.Join(p.data, blobsFolder)))
	case strings.HasPrefix(p.blobs, "s3:"):
		return typed[blob.Store](s3.Open(ctx, p.blobs, s3.Options{
			AccessKey: lookup(p.environ, "AWS_ACCESS_KEY_ID"), SecretKey: lookup(p.environ, "AWS_SECRET_ACCESS_KEY"),
			SessionToken: lookup(p.environ, "AWS_SESSION_TOKEN"), TempDir: filepath.Join(p.data, tempFolder),
		}))
	case !strings.Contains(p.blobs, "://") || strings.HasPrefix(p.blobs, "file://"):
		return typed[blob.Store](file.Open(strings.TrimPrefix(p.blobs, "file://")))
	}
	return nil, usageError{slipstream.Hint(fmt.Errorf("blob store %q is of no known kind", scheme(p.blobs)), "give s3://bucket?endpoint=…, a folder, or nothing for one in the data folder")}
}

// typed keeps a nil pointer from becoming an interface that is not nil.
func typed[I, T any](v T, err error) (I, error) {
	var none I
	if err != nil {
		return none, err
	}
	out, ok := any(v).(I)
	if !ok {
		return none, errors.New("opened something of the wrong kind")
	}
	return out, nil
}

// scheme is all of an address that may be shown: the rest may hold a password.
func scheme(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "?"
	}
	return u.Scheme
}

// plainAddress is an address without user and options: a folder stays as it is.
func plainAddress(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return address
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
