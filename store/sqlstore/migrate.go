package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/slipstream-ota/slipstream"
)

// SchemaTable records which steps of the schema a database has.
const SchemaTable = "slipstream_schema"

// Schema says how far a database is. Version 0 is an empty database.
type Schema struct {
	Version int64    // of the database
	Latest  int64    // that this program knows
	Pending []string // names of the steps between, in order
}

// Newer reports whether the database belongs to a newer program.
func (s Schema) Newer() bool { return s.Version > s.Latest }

// Migrations are the numbered steps of one database: files NNNN_name.sql in FS, forward only.
type Migrations struct {
	Dialect *Dialect
	FS      fs.FS
	Has     string             // query that finds a row when SchemaTable exists
	Locker  lock.SessionLocker // keeps two nodes apart; nil where the write lock of the database does
}

// Schema reads how far db is without changing it.
func (m Migrations) Schema(ctx context.Context, db *sql.DB) (Schema, error) {
	p, err := m.provider(db)
	if err != nil {
		return Schema{}, err
	}
	c := conn{db, m.Dialect}
	var s Schema
	var found bool
	if err := c.one(ctx, `SELECT EXISTS (`+m.Has+`)`, nil, &found); err != nil {
		return s, fmt.Errorf("look for schema: %w", err)
	}
	if found {
		if err := c.one(ctx, `SELECT COALESCE(MAX(version_id), 0) FROM `+SchemaTable, nil, &s.Version); err != nil {
			return s, fmt.Errorf("read schema version: %w", err)
		}
	}
	for _, src := range p.ListSources() {
		s.Latest = src.Version
		if src.Version > s.Version {
			s.Pending = append(s.Pending, src.Path)
		}
	}
	return s, nil
}

// UpTo runs the steps that db lacks up to version, each in a transaction; version 0 means all. A database that is
// already further is left as it is.
func (m Migrations) UpTo(ctx context.Context, db *sql.DB, version int64) error {
	s, err := m.Schema(ctx, db)
	if err != nil {
		return err
	}
	if err := refuseNewer(s); err != nil {
		return err
	}
	if version == 0 {
		version = s.Latest
	}
	// A node that lost a race finds the step done when it looks again.
	for attempt := 0; ; attempt++ {
		p, err := m.provider(db)
		if err != nil {
			return err
		}
		_, err = p.UpTo(ctx, version)
		if err == nil {
			return nil
		}
		if attempt == 5 || ctx.Err() != nil {
			return fmt.Errorf("migrate to schema %d: %w", version, m.Dialect.explain(err))
		}
	}
}

// Ready brings db to the latest schema if migrate is set, and refuses one that this program cannot work with.
func (m Migrations) Ready(ctx context.Context, db *sql.DB, migrate bool) error {
	s, err := m.Schema(ctx, db)
	if err != nil {
		return err
	}
	if err := refuseNewer(s); err != nil {
		return err
	}
	switch {
	case len(s.Pending) == 0:
		return nil
	case !migrate:
		return slipstream.Hint(fmt.Errorf("database has schema %d, this program needs %d", s.Version, s.Latest),
			"make a backup, then run `slipstream migrate`")
	}
	return m.UpTo(ctx, db, 0)
}

func refuseNewer(s Schema) error {
	if !s.Newer() {
		return nil
	}
	return slipstream.Hint(fmt.Errorf("database has schema %d, this program knows only up to %d", s.Version, s.Latest),
		"a newer slipstream has used this database: run that version or a later one, or restore a backup from before")
}

func (m Migrations) provider(db *sql.DB) (*goose.Provider, error) {
	opts := []goose.ProviderOption{
		goose.WithTableName(SchemaTable), goose.WithDisableGlobalRegistry(true), goose.WithSlog(slog.New(slog.DiscardHandler)),
	}
	if m.Locker != nil {
		opts = append(opts, goose.WithSessionLocker(m.Locker))
	}
	p, err := goose.NewProvider(goose.Dialect(m.Dialect.Name), db, m.FS, opts...)
	if err != nil {
		return nil, fmt.Errorf("load migrations: %w", err)
	}
	return p, nil
}

// ErrForeign is the error of a database that has tables of another program and none of ours.
var ErrForeign = errors.New("database belongs to another program")
