package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/slipstream-ota/slipstream/store"
)

// ErrReadOnly is the error of a write inside a View.
var ErrReadOnly = errors.New("this transaction only reads")

// Tx is store.Tx over one database transaction.
type Tx struct {
	conn
	readOnly bool
	wrote    bool
}

var _ store.Tx = (*Tx)(nil)

// write runs a changing statement.
func (t *Tx) write(ctx context.Context, query string, args ...any) (int64, error) {
	if t.readOnly {
		return 0, ErrReadOnly
	}
	n, err := t.exec(ctx, query, args...)
	t.wrote = t.wrote || n > 0
	return n, err
}

// next raises the counter name by one and gives its new value. Updates are serialised, so values come in commit order.
func (t *Tx) next(ctx context.Context, name string) (int64, error) {
	if t.readOnly {
		return 0, ErrReadOnly
	}
	var n int64
	err := t.one(ctx, `UPDATE counters SET value = value + 1 WHERE name = ? RETURNING value`, []any{name}, &n)
	return n, about(err, "counter %s", name)
}

// exists says whether query finds a row.
func (t *Tx) exists(ctx context.Context, query string, args ...any) (bool, error) {
	var found bool
	err := t.one(ctx, `SELECT EXISTS (`+query+`)`, args, &found)
	return found, err
}

// Counters that the schema makes.
const (
	counterUpdates = "updates" // rises with every Update that wrote something
	counterRev     = "rev"     // of states
)

// View runs fn in tx, which must be a read-only snapshot, and ends it.
func View(d *Dialect, tx *sql.Tx, fn func(store.Tx) error) (err error) {
	defer func() { err = errors.Join(err, rollback(tx)) }()
	return fn(&Tx{conn: conn{tx, d}, readOnly: true})
}

// Update runs fn in tx and commits it. tx must be alone among writers and must not end with ctx, so that the commit is
// never cut off half way: ctx is looked at before it. changed tells whether something was written; finish, when given,
// runs last inside the transaction.
func Update(ctx context.Context, d *Dialect, tx *sql.Tx, fn func(store.Tx) error, finish func(*sql.Tx) error) (changed bool, err error) {
	done := false
	defer func() {
		if !done {
			err = errors.Join(err, rollback(tx))
		}
	}()
	t := &Tx{conn: conn{tx, d}}
	if err := fn(t); err != nil {
		return false, err
	}
	if t.wrote {
		if _, err := t.next(ctx, counterUpdates); err != nil {
			return false, err
		}
		if finish != nil {
			if err := finish(tx); err != nil {
				return false, d.explain(err)
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	done = true
	if err := tx.Commit(); err != nil {
		return false, fmt.Errorf("commit: %w", d.explain(err))
	}
	return t.wrote, nil
}

func rollback(tx *sql.Tx) error {
	if err := tx.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) {
		return fmt.Errorf("roll back: %w", err)
	}
	return nil
}

// Apps implements store.Tx.
func (t *Tx) Apps() store.Apps { return apps{t} }

// Releases implements store.Tx.
func (t *Tx) Releases() store.Releases { return releases{t} }

// Channels implements store.Tx.
func (t *Tx) Channels() store.Channels { return channels{t} }

// States implements store.Tx.
func (t *Tx) States() store.States { return states{t} }

// Containers implements store.Tx.
func (t *Tx) Containers() store.Containers { return containers{t} }

// Log implements store.Tx.
func (t *Tx) Log() store.Log { return logs{t} }

// People implements store.Tx.
func (t *Tx) People() store.People { return people{t} }

// Settings implements store.Tx.
func (t *Tx) Settings() store.Settings { return settings{t} }
