// Package sqlite keeps metadata in one SQLite file: write-ahead log, synchronous=FULL, one writer, many readers.
//
// All writes of a process go through one connection that is handed out in the order of asking, so updates and reports
// share it fairly; SQLite's own lock keeps a second process on the same file apart. Readers see snapshots and never
// wait.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/atomicfile"
	"github.com/slipstream-ota/slipstream/store"
	"github.com/slipstream-ota/slipstream/store/sqlstore"
)

// Options change how a database is opened.
type Options struct {
	Migrate  bool // bring an older or empty database to this program's schema
	ReadOnly bool // no writes; Update, Reports().Append and Migrate fail
}

// Store is a store.Store in one SQLite file.
type Store struct {
	file    string
	gate    sqlstore.Gate
	scratch string // folder that Close removes, of ":memory:"
	readers *sql.DB
	db      *sql.DB // of the writer, at most one connection; nil when read-only
	writer  chan struct{}
	bell    *sqlstore.Bell
	reports *reports
}

var (
	_ store.Store    = (*Store)(nil)
	_ store.Backuper = (*Store)(nil)
)

const (
	maxReaders    = 8
	watchPoll     = 500 * time.Millisecond
	applicationID = 0x736c6970
)

//go:embed migrations/*.sql
var files embed.FS

func dialect() *sqlstore.Dialect { return &sqlstore.Dialect{Name: "sqlite3", Explain: explain} }

func migrations() sqlstore.Migrations {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		return sqlstore.Migrations{Dialect: dialect(), FS: files}
	}
	return sqlstore.Migrations{
		Dialect: dialect(), FS: sub,
		Has: `SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '` + sqlstore.SchemaTable + `'`,
	}
}

// Open opens the database at path and makes it, private to this user, if it is not there and o.Migrate is set. The path
// ":memory:" means a new temporary file that Close removes.
func Open(ctx context.Context, path string, o Options) (_ *Store, err error) {
	s := &Store{writer: make(chan struct{}, 1), bell: sqlstore.NewBell()}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open database %s: %w", path, err), s.Close())
		}
	}()
	file := path
	if path == ":memory:" {
		if s.scratch, err = os.MkdirTemp("", "slipstream-"); err != nil {
			return nil, err
		}
		file, o = filepath.Join(s.scratch, "store.db"), Options{Migrate: true}
	}
	s.file = file
	if err := prepare(file, o); err != nil {
		return nil, err
	}
	if !o.ReadOnly {
		if s.db, err = connect(file, "journal_mode(WAL)", "synchronous(FULL)", "wal_autocheckpoint(4000)",
			"journal_size_limit(67108864)", "foreign_keys(1)", "cache_size(-65536)"); err != nil {
			return nil, err
		}
		s.db.SetMaxOpenConns(1)
	}
	if s.readers, err = connect(file, "query_only(1)", "cache_size(-8192)"); err != nil {
		return nil, err
	}
	s.readers.SetMaxOpenConns(maxReaders)
	s.readers.SetMaxIdleConns(maxReaders)
	if err := s.ready(ctx, o); err != nil {
		return nil, err
	}
	s.reports, err = newReports(ctx, s)
	return s, err
}

func (s *Store) ready(ctx context.Context, o Options) error {
	db := s.db
	if db == nil {
		db = s.readers
	}
	if err := refuseForeign(ctx, db); err != nil {
		return err
	}
	return migrations().Ready(ctx, db, o.Migrate && !o.ReadOnly)
}

// prepare makes the file, because SQLite would make it readable for everybody, and its folder.
func prepare(path string, o Options) error {
	if _, err := os.Stat(path); err == nil || o.ReadOnly || !o.Migrate {
		return slipstream.Hint(err, "check the path; `slipstream serve` or `slipstream migrate` makes a new database")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make folder of database: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("make database: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("make database: %w", err)
	}
	return atomicfile.SyncDir(filepath.Dir(path))
}

// connect opens a pool whose transactions that are not read-only take the write lock when they begin.
func connect(path string, pragmas ...string) (*sql.DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	u := url.URL{Scheme: "file", Path: "/" + strings.TrimPrefix(filepath.ToSlash(abs), "/")}
	dsn := u.String() + "?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=temp_store(MEMORY)"
	for _, p := range pragmas {
		dsn += "&_pragma=" + p
	}
	return sql.Open("sqlite", dsn)
}

// refuseForeign keeps us from adding tables to another program's database. It looks at one snapshot: another node may be
// making the tables now.
func refuseForeign(ctx context.Context, db *sql.DB) (err error) {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return explain(err)
	}
	defer func() { err = errors.Join(err, tx.Rollback()) }()
	var id, tables int
	if err := tx.QueryRowContext(ctx, `PRAGMA application_id`).Scan(&id); err != nil {
		return explain(err)
	}
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' AND name <> ?`, sqlstore.SchemaTable).Scan(&tables); err != nil {
		return explain(err)
	}
	if id != applicationID && tables > 0 {
		return slipstream.Hint(sqlstore.ErrForeign, "give slipstream a file of its own")
	}
	return nil
}

// write runs fn on the writer connection, handed out first come, first served, in a transaction that fn ends. The
// transaction is not bound to ctx, because a commit must not be cut off.
func (s *Store) write(ctx context.Context, fn func(tx *sql.Tx) error) error {
	if s.db == nil {
		return sqlstore.ErrReadOnly
	}
	if err := s.gate.Enter(); err != nil {
		return err
	}
	defer s.gate.Leave()
	select {
	case s.writer <- struct{}{}:
		defer func() { <-s.writer }()
	case <-ctx.Done():
		return ctx.Err()
	}
	c, err := s.db.Conn(ctx)
	if err != nil {
		return explain(err)
	}
	defer c.Close()
	alive, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	began := context.AfterFunc(ctx, end) // waiting for another process's lock ends with ctx, the transaction does not
	tx, err := c.BeginTx(alive, nil)
	began()
	if err != nil {
		return errors.Join(ctx.Err(), fmt.Errorf("begin: %w", explain(err)))
	}
	return fn(tx)
}

// commit is write for the reports: fn's error rolls back.
func (s *Store) commit(ctx context.Context, fn func(tx *sql.Tx) error) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		if err := errors.Join(fn(tx), ctx.Err()); err != nil {
			return errors.Join(explain(err), tx.Rollback())
		}
		if err := tx.Commit(); err != nil {
			return fmt.Errorf("commit: %w", explain(err))
		}
		return nil
	})
}

// View implements store.Store.
func (s *Store) View(ctx context.Context, fn func(store.Tx) error) error {
	if err := s.gate.Enter(); err != nil {
		return err
	}
	defer s.gate.Leave()
	tx, err := s.readers.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return explain(err)
	}
	return sqlstore.View(dialect(), tx, fn)
}

// Update implements store.Store.
func (s *Store) Update(ctx context.Context, fn func(store.Tx) error) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		changed, err := sqlstore.Update(ctx, dialect(), tx, fn, nil)
		if changed {
			s.bell.Ring()
		}
		return err
	})
}

// Reports implements store.Store.
func (s *Store) Reports() store.Reports { return s.reports }

// Jobs implements store.Store.
func (s *Store) Jobs() store.Jobs {
	return &sqlstore.Jobs{Dialect: dialect(), Gate: &s.gate, Reader: s.readers, Write: s.commit}
}

// Grants implements store.Store.
func (s *Store) Grants() store.Grants {
	return &sqlstore.Grants{Dialect: dialect(), Gate: &s.gate, Reader: s.readers, Write: s.commit}
}

// Watch implements store.Store. Changes of other processes are seen by looking every half second.
func (s *Store) Watch(ctx context.Context, changed func()) error {
	return sqlstore.Watch(ctx, dialect(), s.readers, s.bell, watchPoll, changed)
}

// Ping implements store.Store.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.gate.Enter(); err != nil {
		return err
	}
	defer s.gate.Leave()
	var n int
	if err := s.readers.QueryRowContext(ctx, `SELECT 1`).Scan(&n); err != nil {
		return fmt.Errorf("ping database: %w", explain(err))
	}
	return nil
}

// Close implements store.Store.
func (s *Store) Close() error {
	if !s.gate.Close() {
		return nil
	}
	var errs []error
	if s.reports != nil {
		errs = append(errs, s.reports.close())
	}
	if s.readers != nil {
		errs = append(errs, s.readers.Close())
	}
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	if s.scratch != "" {
		errs = append(errs, os.RemoveAll(s.scratch))
	}
	return errors.Join(errs...)
}
