package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/slipstream-ota/slipstream/store"
	"github.com/slipstream-ota/slipstream/store/sqlstore"
)

// reports is the outcome log. Its statements are prepared once for the writer connection.
type reports struct {
	sqlstore.Reports
	store *Store
	ids   sqlstore.CountIDs

	insertEvent, insertDevice, raiseCount *sql.Stmt
}

var _ store.Reports = (*reports)(nil)

func newReports(ctx context.Context, s *Store) (*reports, error) {
	r := &reports{
		Reports: sqlstore.Reports{Dialect: dialect(), Gate: &s.gate, Reader: s.readers, Write: s.commit},
		store:   s,
	}
	if s.db == nil {
		return r, nil
	}
	for stmt, query := range map[**sql.Stmt]string{
		&r.insertEvent: `INSERT INTO events (key, app, device, release, kind, received, network, body)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING`,
		&r.insertDevice: `INSERT INTO counted (count, device) VALUES (?, ?) ON CONFLICT DO NOTHING`,
		&r.raiseCount:   `UPDATE counts SET devices = devices + ? WHERE id = ?`,
	} {
		var err error
		if *stmt, err = s.db.PrepareContext(ctx, query); err != nil {
			return nil, fmt.Errorf("prepare: %w", explain(err))
		}
	}
	return r, nil
}

func (r *reports) close() error {
	var errs []error
	for _, stmt := range []*sql.Stmt{r.insertEvent, r.insertDevice, r.raiseCount} {
		if stmt != nil {
			errs = append(errs, stmt.Close())
		}
	}
	return errors.Join(errs...)
}

// Append implements store.Reports.
func (r *reports) Append(ctx context.Context, batch []store.StoredEvent) ([]bool, error) {
	rows := make([]sqlstore.EventRow, len(batch))
	for i := range batch {
		var err error
		if rows[i], err = sqlstore.Row(&batch[i]); err != nil {
			return nil, err
		}
	}
	a := sqlstore.Appended{Batch: batch, Fresh: make([]bool, len(batch)), Counted: make([]bool, len(batch)), Counts: map[sqlstore.CountKey]int64{}}
	err := r.store.commit(ctx, func(tx *sql.Tx) error {
		if err := r.insert(ctx, tx, rows, a.Fresh); err != nil {
			return err
		}
		if err := r.count(ctx, tx, a); err != nil {
			return err
		}
		return sqlstore.Derive(ctx, r.Dialect, tx, a)
	})
	if err != nil {
		return nil, fmt.Errorf("append events: %w", err)
	}
	r.ids.Put(a.Counts)
	return a.Fresh, nil
}

func (r *reports) insert(ctx context.Context, tx *sql.Tx, rows []sqlstore.EventRow, fresh []bool) error {
	insert := tx.StmtContext(ctx, r.insertEvent)
	for i := range rows {
		if i%64 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		e := &rows[i]
		res, err := insert.Exec(e.Key, e.App, e.Device, e.Release, e.Kind, e.Received, e.Network, e.Body)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return err
		}
		fresh[i] = n > 0
	}
	return nil
}

// count adds the devices that report something for the first time. a gets the ids of the counts, and which events they are.
func (r *reports) count(ctx context.Context, tx *sql.Tx, a sqlstore.Appended) error {
	insert := tx.StmtContext(ctx, r.insertDevice)
	added := map[int64]int64{}
	for i := range a.Batch {
		if !a.Fresh[i] || a.Batch[i].Uncounted {
			continue
		}
		id, err := r.countID(ctx, tx, sqlstore.CountKeyOf(&a.Batch[i]), a.Counts)
		if err != nil {
			return err
		}
		res, err := insert.Exec(id, sqlstore.DeviceKey(a.Batch[i].App, a.Batch[i].Device))
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return err
		}
		added[id] += n
		a.Counted[i] = n > 0
	}
	raise := tx.StmtContext(ctx, r.raiseCount)
	for id, n := range added {
		if n == 0 {
			continue
		}
		if _, err := raise.Exec(n, id); err != nil {
			return err
		}
	}
	return nil
}

func (r *reports) countID(ctx context.Context, tx *sql.Tx, k sqlstore.CountKey, known map[sqlstore.CountKey]int64) (int64, error) {
	if id, ok := known[k]; ok {
		return id, nil
	}
	id, ok := r.ids.Get(k)
	if !ok {
		var err error
		if id, err = sqlstore.CountID(ctx, r.Dialect, tx, k); err != nil {
			return 0, err
		}
	}
	known[k] = id
	return id, nil
}
