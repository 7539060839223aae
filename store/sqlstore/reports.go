package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// expireStep bounds the events deleted in one transaction, so that reports and updates get in between.
const expireStep = 2000

// Reports are the queries of the outcome log that are the same on both databases; Append is each database's own.
type Reports struct {
	Dialect *Dialect
	Gate    *Gate
	Reader  *sql.DB
	// Write runs fn in a transaction of its own and commits it.
	Write func(ctx context.Context, fn func(tx *sql.Tx) error) error
}

// Events implements store.Reports.
func (r *Reports) Events(ctx context.Context, q store.EventQuery) ([]store.StoredEvent, error) {
	if err := r.Gate.Enter(); err != nil {
		return nil, err
	}
	defer r.Gate.Leave()
	var w where
	switch {
	case q.Device != "" && q.App != "":
		first, last := deviceRange(q.App, q.Device)
		w.add("key >= ?", first)
		w.add("key <= ?", last)
		w.add("device = ?", text(q.Device))
	case q.Device != "":
		w.add("device = ?", text(q.Device))
	}
	w.addText("app", text(q.App))
	w.addText("release", text(string(q.Release)))
	w.addText("kind", text(string(q.Kind)))
	n := q.Limit
	if n <= 0 {
		n = 1000
	}
	out, err := list(ctx, conn{r.Reader, r.Dialect}, scanEvent,
		`SELECT app, device, release, kind, received, network, body FROM events`+w.sql()+` ORDER BY seq DESC`+limit(n), w.args...)
	return out, about(err, "list events")
}

// Counts implements store.Reports.
func (r *Reports) Counts(ctx context.Context, app string) ([]store.Count, error) {
	if err := r.Gate.Enter(); err != nil {
		return nil, err
	}
	defer r.Gate.Leave()
	var w where
	w.add("devices > ?", 0)
	w.addText("app", app)
	out, err := list(ctx, conn{r.Reader, r.Dialect}, func(s scanner) (store.Count, error) {
		var c store.Count
		err := s.Scan(&c.App, &c.Channel, &c.Package, (*string)(&c.Release), (*string)(&c.Kind), &c.Devices)
		return c, err
	}, `SELECT app, channel, package, release, kind, devices FROM counts`+w.sql()+` ORDER BY app, channel, package, release, kind`, w.args...)
	return out, about(err, "count outcomes")
}

// Forget implements store.Reports.
func (r *Reports) Forget(ctx context.Context, app, device string) (int64, error) {
	var n int64
	err := r.Write(ctx, func(tx *sql.Tx) error {
		c := conn{tx, r.Dialect}
		first, last := deviceRange(app, device)
		var err error
		if n, err = c.exec(ctx, `DELETE FROM events WHERE key >= ? AND key <= ? AND app = ? AND device = ?`, first, last, text(app), text(device)); err != nil {
			return err
		}
		if err := forgetDevice(ctx, c, app, device); err != nil {
			return err
		}
		// Its places in rollouts with a cap stay taken, without a name.
		if _, err := c.exec(ctx, `DELETE FROM grants WHERE device = ? AND app = ?`, text(device), text(app)); err != nil {
			return err
		}
		key := DeviceKey(app, device)
		if _, err := c.exec(ctx, `UPDATE counts SET devices = devices - 1
			WHERE app = ? AND EXISTS (SELECT 1 FROM counted WHERE counted.count = counts.id AND counted.device = ?)`, text(app), key); err != nil {
			return err
		}
		_, err = c.exec(ctx, `DELETE FROM counted WHERE device = ? AND count IN (SELECT id FROM counts WHERE app = ?)`, key, text(app))
		return err
	})
	return n, about(err, "forget device")
}

// Expire implements store.Reports.
func (r *Reports) Expire(ctx context.Context, t time.Time) (int64, error) {
	var total int64
	for {
		var n int64
		err := r.Write(ctx, func(tx *sql.Tx) (err error) {
			n, err = conn{tx, r.Dialect}.exec(ctx, `DELETE FROM events WHERE seq IN
				(SELECT seq FROM events WHERE received < ? ORDER BY received LIMIT ?)`, micros(t), expireStep)
			return err
		})
		total += n
		if err != nil || n < expireStep {
			return total, about(err, "expire events")
		}
	}
}

// CountID gives the id of the row of counts for k and makes it if needed.
func CountID(ctx context.Context, d *Dialect, tx *sql.Tx, k CountKey) (int64, error) {
	c := conn{tx, d}
	args := []any{k.App, k.Channel, k.Package, k.Release, k.Kind}
	const find = `SELECT id FROM counts WHERE app = ? AND channel = ? AND package = ? AND release = ? AND kind = ?`
	var id int64
	err := c.one(ctx, find, args, &id)
	if !errors.Is(err, slipstream.ErrNotFound) {
		return id, err
	}
	if _, err := c.exec(ctx, `INSERT INTO counts (app, channel, package, release, kind, devices) VALUES (?, ?, ?, ?, ?, 0) ON CONFLICT DO NOTHING`, args...); err != nil {
		return 0, fmt.Errorf("new count: %w", err)
	}
	return id, c.one(ctx, find, args, &id)
}
