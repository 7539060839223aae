// Package postgres keeps metadata in PostgreSQL, for several server nodes on one database.
//
// Updates take one advisory lock, so they are serialised over all nodes and plain READ COMMITTED is enough for them;
// views are REPEATABLE READ; the outcome log does without the lock. A change is told to the other nodes by NOTIFY in
// its transaction, and by looking every second where notifications do not get through.
package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
	"github.com/slipstream-ota/slipstream/store/sqlstore"
)

// Options change how a database is opened.
type Options struct {
	Migrate  bool // bring an older or empty database to this program's schema
	ReadOnly bool // no writes; Update, Reports().Append and Migrate fail
}

// Store is a store.Store in a PostgreSQL database.
type Store struct {
	gate     sqlstore.Gate
	pool     *pgxpool.Pool
	db       *sql.DB // over pool
	dialect  *sqlstore.Dialect
	readOnly bool
	bell     *sqlstore.Bell
	poll     time.Duration // how often Watch looks by itself
	reports  *reports
}

var _ store.Store = (*Store)(nil)

const (
	// Advisory locks of the database. The numbers are arbitrary and must not change.
	updateLock  = 0x736c6970_00000001
	migrateLock = 0x736c6970_00000002

	notifyChannel  = "slipstream_changed"
	watchPoll      = time.Second
	connectTimeout = 5 * time.Second
	maxConns       = 16
)

//go:embed migrations/*.sql
var files embed.FS

func migrations(d *sqlstore.Dialect) sqlstore.Migrations {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		return sqlstore.Migrations{Dialect: d, FS: files}
	}
	return sqlstore.Migrations{
		Dialect: d, FS: sub, Locker: locker{},
		Has: `SELECT 1 FROM pg_tables WHERE schemaname = current_schema() AND tablename = '` + sqlstore.SchemaTable + `'`,
	}
}

// locker keeps two nodes from migrating at once. It is a lock.SessionLocker.
type locker struct{}

func (locker) SessionLock(ctx context.Context, c *sql.Conn) error {
	_, err := c.ExecContext(ctx, `SELECT pg_advisory_lock($1)`, int64(migrateLock))
	return err
}

func (locker) SessionUnlock(ctx context.Context, c *sql.Conn) error {
	_, err := c.ExecContext(ctx, `SELECT pg_advisory_unlock($1)`, int64(migrateLock))
	return err
}

// Open connects to the database that url names (postgres://user:password@host:port/database?sslmode=…; pool_max_conns
// and the other settings of pgxpool and libpq are understood) and checks its schema.
func Open(ctx context.Context, url string, o Options) (_ *Store, err error) {
	s, err := connect(ctx, url)
	if err != nil {
		return nil, err
	}
	s.readOnly = o.ReadOnly
	if err := migrations(s.dialect).Ready(ctx, s.db, o.Migrate && !o.ReadOnly); err != nil {
		return nil, errors.Join(fmt.Errorf("open database: %w", s.dialect.Explain(err)), s.Close())
	}
	return s, nil
}

func connect(ctx context.Context, url string) (*Store, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, slipstream.Hint(fmt.Errorf("database URL: %w", err), "it looks like postgres://user:password@host:5432/database?sslmode=verify-full")
	}
	if !strings.Contains(url, "pool_max_conns") {
		cfg.MaxConns = maxConns
	}
	if !strings.Contains(url, "connect_timeout") {
		cfg.ConnConfig.ConnectTimeout = connectTimeout
	}
	if cfg.ConnConfig.RuntimeParams["application_name"] == "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = "slipstream"
	}
	cfg.AfterConnect = durable
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	s := &Store{
		pool: pool, db: stdlib.OpenDBFromPool(pool), bell: sqlstore.NewBell(), poll: watchPoll,
		dialect: &sqlstore.Dialect{Name: "postgres", Numbered: true, Explain: explainer(&cfg.ConnConfig.Config)},
	}
	s.reports = &reports{Reports: sqlstore.Reports{Dialect: s.dialect, Gate: &s.gate, Reader: s.db, Write: s.write}, store: s}
	return s, nil
}

// durable makes commits wait for the disk even where the server's default says otherwise: what was acknowledged is kept.
func durable(ctx context.Context, c *pgx.Conn) error {
	_, err := c.Exec(ctx, `SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'`)
	return err
}

// transact runs fn in a READ COMMITTED transaction that fn ends. The transaction is not bound to ctx, because a commit
// that is cut off has an unknown outcome.
func (s *Store) transact(ctx context.Context, fn func(tx *sql.Tx) error) error {
	if s.readOnly {
		return sqlstore.ErrReadOnly
	}
	if err := s.gate.Enter(); err != nil {
		return err
	}
	defer s.gate.Leave()
	c, err := s.db.Conn(ctx)
	if err != nil {
		return s.explain(ctx, err)
	}
	defer c.Close()
	alive, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	tx, err := c.BeginTx(alive, nil)
	if err != nil {
		return s.explain(ctx, err)
	}
	return fn(tx)
}

// explain prefers the end of ctx, which the driver sometimes tells as a broken connection.
func (s *Store) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.dialect.Explain(err)
}

// write is the transaction of the outcome log: fn's error rolls back, and a lost conflict is repeated.
func (s *Store) write(ctx context.Context, fn func(tx *sql.Tx) error) error {
	for attempt := 0; ; attempt++ {
		err := s.transact(ctx, func(tx *sql.Tx) error {
			if err := errors.Join(fn(tx), ctx.Err()); err != nil {
				return errors.Join(s.explain(ctx, err), ignoreDone(tx.Rollback()))
			}
			if err := tx.Commit(); err != nil {
				return fmt.Errorf("commit: %w", s.explain(ctx, err))
			}
			return nil
		})
		if attempt == 5 || !again(err) {
			return err
		}
	}
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// View implements store.Store.
func (s *Store) View(ctx context.Context, fn func(store.Tx) error) error {
	if err := s.gate.Enter(); err != nil {
		return err
	}
	defer s.gate.Leave()
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return s.explain(ctx, err)
	}
	return sqlstore.View(s.dialect, tx, fn)
}

// Update implements store.Store. Waiting for the update lock ends with ctx, at the latest after half a minute; a node
// that hangs inside its transaction loses it after a minute.
func (s *Store) Update(ctx context.Context, fn func(store.Tx) error) error {
	return s.transact(ctx, func(tx *sql.Tx) error {
		var ignored [3]any
		err := tx.QueryRowContext(ctx, `SELECT set_config('lock_timeout', '30s', true),
			set_config('idle_in_transaction_session_timeout', '60s', true), pg_advisory_xact_lock($1)::text`, int64(updateLock)).
			Scan(&ignored[0], &ignored[1], &ignored[2])
		if err != nil {
			return errors.Join(s.explain(ctx, err), ignoreDone(tx.Rollback()))
		}
		changed, err := sqlstore.Update(ctx, s.dialect, tx, fn, func(tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `SELECT pg_notify($1, '')`, notifyChannel)
			return err
		})
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
	return &sqlstore.Jobs{Dialect: s.dialect, Gate: &s.gate, Reader: s.db, Write: s.write}
}

// Grants implements store.Store.
func (s *Store) Grants() store.Grants {
	return &sqlstore.Grants{Dialect: s.dialect, Gate: &s.gate, Reader: s.db, Write: s.write}
}

// Ping implements store.Store.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.gate.Enter(); err != nil {
		return err
	}
	defer s.gate.Leave()
	if err := s.pool.Ping(ctx); err != nil {
		return fmt.Errorf("ping database: %w", s.explain(ctx, err))
	}
	return nil
}

// Close implements store.Store.
func (s *Store) Close() error {
	if !s.gate.Close() {
		return nil
	}
	err := s.db.Close()
	s.pool.Close()
	return err
}

// Status says how far the schema of the database is, without changing anything.
func Status(ctx context.Context, url string) (_ sqlstore.Schema, err error) {
	s, err := connect(ctx, url)
	if err != nil {
		return sqlstore.Schema{}, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	schema, err := migrations(s.dialect).Schema(ctx, s.db)
	return schema, s.explain(ctx, err)
}

// Migrate brings the database to this program's schema. A database that a newer program has used is refused.
func Migrate(ctx context.Context, url string) error {
	s, err := Open(ctx, url, Options{Migrate: true})
	if err != nil {
		return err
	}
	return s.Close()
}
