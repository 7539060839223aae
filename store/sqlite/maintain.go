package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/atomicfile"
	"github.com/slipstream-ota/slipstream/store/sqlstore"
)

// Status says how far the schema of the database at path is, without changing anything.
func Status(ctx context.Context, path string) (_ sqlstore.Schema, err error) {
	db, err := connectExisting(path)
	if err != nil {
		return sqlstore.Schema{}, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := refuseForeign(ctx, db); err != nil {
		return sqlstore.Schema{}, err
	}
	return migrations().Schema(ctx, db)
}

// Migrate brings the database at path to this program's schema, and makes it if it is not there. A database that a
// newer program has used is refused.
func Migrate(ctx context.Context, path string) error {
	s, err := Open(ctx, path, Options{Migrate: true})
	if err != nil {
		return err
	}
	return s.Close()
}

func connectExisting(path string) (*sql.DB, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, slipstream.Hint(fmt.Errorf("open database: %w", err), "check the path; `slipstream serve` makes a new database")
	}
	return connect(path, "query_only(1)")
}

// Backup implements store.Backuper. Writers go on meanwhile. The copy becomes visible whole and durable under path;
// what is there already is never overwritten.
func (s *Store) Backup(ctx context.Context, path string) (err error) {
	if err := s.gate.Enter(); err != nil {
		return err
	}
	defer s.gate.Leave()
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("back up to %s: the file exists: %w", path, slipstream.ErrConflict)
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), "."+filepath.Base(path)+".tmp-")
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	copied := filepath.Join(dir, "copy")
	if err := s.copyTo(ctx, copied); err != nil {
		return fmt.Errorf("back up to %s: %w", path, err)
	}
	// A link, unlike a rename, never replaces another file.
	if err := os.Link(copied, path); err != nil {
		if errors.Is(err, os.ErrExist) {
			err = fmt.Errorf("%w: %w", err, slipstream.ErrConflict)
		}
		return fmt.Errorf("back up: %w", err)
	}
	return atomicfile.SyncDir(filepath.Dir(path))
}

// copyTo writes and fsyncs a copy; VACUUM INTO reads one snapshot and does not fsync. It counts as a write to SQLite, so
// it has a connection of its own beside the readers.
func (s *Store) copyTo(ctx context.Context, path string) (err error) {
	db, err := connect(s.file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, `VACUUM INTO ?`, path); err != nil {
		return errors.Join(explain(err), f.Close())
	}
	return errors.Join(f.Sync(), f.Close())
}
