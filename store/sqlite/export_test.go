package sqlite

import (
	"context"
	"database/sql"
)

// AtSchema opens path and brings it to an earlier schema.
func AtSchema(ctx context.Context, path string, version int64) (*sql.DB, error) {
	if err := prepare(path, Options{Migrate: true}); err != nil {
		return nil, err
	}
	db, err := connect(path, "journal_mode(WAL)", "foreign_keys(1)")
	if err != nil {
		return nil, err
	}
	return db, migrations().UpTo(ctx, db, version)
}

// Raw opens path past the store.
func Raw(path string) (*sql.DB, error) { return connect(path) }
