package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"

	"github.com/slipstream-ota/slipstream/store"
	"github.com/slipstream-ota/slipstream/store/sqlstore"
)

// reports is the outcome log. Appends of several nodes run side by side: every table's rows are taken in one order, so
// they wait for each other at most, and what still deadlocks is repeated.
type reports struct {
	sqlstore.Reports
	store *Store
	ids   sqlstore.CountIDs
}

var _ store.Reports = (*reports)(nil)

// Append implements store.Reports.
func (r *reports) Append(ctx context.Context, batch []store.StoredEvent) ([]bool, error) {
	rows := make([]sqlstore.EventRow, len(batch))
	for i := range batch {
		var err error
		if rows[i], err = sqlstore.Row(&batch[i]); err != nil {
			return nil, err
		}
	}
	var a sqlstore.Appended
	err := r.store.write(ctx, func(tx *sql.Tx) error {
		a = sqlstore.Appended{Batch: batch, Counted: make([]bool, len(batch)), Counts: map[sqlstore.CountKey]int64{}}
		var err error
		if a.Fresh, err = insert(ctx, tx, rows); err != nil {
			return err
		}
		added, err := r.count(ctx, tx, a)
		if err != nil {
			return err
		}
		if err := sqlstore.Derive(ctx, r.Dialect, tx, a); err != nil {
			return err
		}
		return raise(ctx, tx, added)
	})
	if err != nil {
		return nil, fmt.Errorf("append events: %w", err)
	}
	r.ids.Put(a.Counts)
	return a.Fresh, nil
}

// insert stores the events that are new, each as the earliest of the batch that carries its key.
func insert(ctx context.Context, tx *sql.Tx, rows []sqlstore.EventRow) ([]bool, error) {
	fresh := make([]bool, len(rows))
	if len(rows) == 0 {
		return fresh, nil
	}
	first := map[string]int{}
	for i := range rows {
		if _, repeated := first[string(rows[i].Key)]; !repeated {
			first[string(rows[i].Key)] = i
		}
	}
	var c columns
	for i := range rows {
		if first[string(rows[i].Key)] == i {
			c.add(&rows[i])
		}
	}
	// seq, the order of reading, is taken in the order of the batch; the rows go in sorted by key.
	stored, err := tx.QueryContext(ctx, `WITH e AS MATERIALIZED (
			SELECT nextval(pg_get_serial_sequence('events', 'seq')) AS seq, *
			FROM unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::bytea[])
				AS u (key, app, device, release, kind, received, network, body))
		INSERT INTO events (seq, key, app, device, release, kind, received, network, body)
		SELECT seq, key, app, device, release, kind, received, network, body FROM e ORDER BY key
		ON CONFLICT (key) DO NOTHING RETURNING key`,
		c.key, c.app, c.device, c.release, c.kind, c.received, c.network, c.body)
	if err != nil {
		return nil, err
	}
	defer stored.Close()
	for stored.Next() {
		var key []byte
		if err := stored.Scan(&key); err != nil {
			return nil, err
		}
		fresh[first[string(key)]] = true
	}
	return fresh, stored.Err()
}

// columns are rows turned round, for unnest.
type columns struct {
	key, body                           [][]byte
	app, device, release, kind, network []string
	received                            []int64
}

func (c *columns) add(r *sqlstore.EventRow) {
	c.key, c.body = append(c.key, r.Key), append(c.body, r.Body)
	c.app, c.device, c.release = append(c.app, r.App), append(c.device, r.Device), append(c.release, r.Release)
	c.kind, c.network, c.received = append(c.kind, r.Kind), append(c.network, r.Network), append(c.received, r.Received)
}

// counted is a device that a count has, by their keys.
type counted struct{ count, device int64 }

// count adds the devices that report something for the first time, and says by how many each count rises. a gets the ids
// of the counts, and which events they are.
func (r *reports) count(ctx context.Context, tx *sql.Tx, a sqlstore.Appended) (map[int64]int64, error) {
	events := map[sqlstore.CountKey][]int{}
	for i := range a.Batch {
		if a.Fresh[i] && !a.Batch[i].Uncounted {
			k := sqlstore.CountKeyOf(&a.Batch[i])
			events[k] = append(events[k], i)
		}
	}
	var countIDs, deviceKeys []int64
	first := map[counted]int{}
	for _, k := range slices.SortedFunc(maps.Keys(events), sqlstore.CountKey.Compare) {
		id, ok := r.ids.Get(k)
		if !ok {
			var err error
			if id, err = sqlstore.CountID(ctx, r.Dialect, tx, k); err != nil {
				return nil, err
			}
		}
		a.Counts[k] = id
		for _, i := range events[k] {
			c := counted{id, sqlstore.DeviceKey(a.Batch[i].App, a.Batch[i].Device)}
			if _, repeated := first[c]; repeated {
				continue
			}
			first[c] = i
			countIDs, deviceKeys = append(countIDs, id), append(deviceKeys, c.device)
		}
	}
	if len(countIDs) == 0 {
		return nil, nil
	}
	added := map[int64]int64{}
	return added, countDevices(ctx, tx, countIDs, deviceKeys, func(c counted) {
		added[c.count]++
		a.Counted[first[c]] = true
	})
}

// countDevices tells of every device that a count did not have.
func countDevices(ctx context.Context, tx *sql.Tx, countIDs, deviceKeys []int64, fresh func(counted)) error {
	rows, err := tx.QueryContext(ctx, `INSERT INTO counted (count, device) SELECT c, d FROM unnest($1::bigint[], $2::bigint[]) AS u (c, d) ORDER BY c, d
		ON CONFLICT DO NOTHING RETURNING count, device`, countIDs, deviceKeys)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var c counted
		if err := rows.Scan(&c.count, &c.device); err != nil {
			return err
		}
		fresh(c)
	}
	return rows.Err()
}

// raise adds to the counters, whose rows every append of the fleet wants: last in the transaction, in order of id.
func raise(ctx context.Context, tx *sql.Tx, added map[int64]int64) error {
	for _, id := range slices.Sorted(maps.Keys(added)) {
		if _, err := tx.ExecContext(ctx, `UPDATE counts SET devices = devices + $1 WHERE id = $2`, added[id], id); err != nil {
			return err
		}
	}
	return nil
}
