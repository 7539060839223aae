package sqlstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// Alerts implements store.Log.
func (l logs) Alerts() store.Alerts { return alerts(l) }

type alerts struct{ *Tx }

// quiet is write without telling the watchers.
func (t *Tx) quiet(ctx context.Context, query string, args ...any) (int64, error) {
	if t.readOnly {
		return 0, ErrReadOnly
	}
	return t.exec(ctx, query, args...)
}

// insert runs a changing statement that returns the new row's id.
func (t *Tx) insert(ctx context.Context, query string, args ...any) (int64, error) {
	if t.readOnly {
		return 0, ErrReadOnly
	}
	var id int64
	err := t.one(ctx, query+` RETURNING id`, args, &id)
	t.wrote = t.wrote || err == nil
	return id, err
}

const (
	alertColumns = `id, key, kind, severity, app, channel, package, subject, title, detail, state, count, began, latest, notified, actor, note, changed`
	activeAlert  = `state IN ('open', 'acknowledged')`
)

func scanAlert(s scanner) (store.Alert, error) {
	var a store.Alert
	var first, last, notified, changed int64
	err := s.Scan(&a.ID, &a.Key, &a.Kind, &a.Severity, &a.App, &a.Channel, &a.Package, &a.Subject, &a.Title, &a.Detail,
		(*string)(&a.State), &a.Count, &first, &last, &notified, &a.Actor, &a.Note, &changed)
	a.Detail = orNil(a.Detail)
	a.First, a.Last, a.Notified, a.Changed = instant(first), instant(last), instant(notified), instant(changed)
	return a, err
}

func (t alerts) Raise(ctx context.Context, a store.Alert) (store.Alert, bool, error) {
	if t.readOnly {
		return a, false, ErrReadOnly
	}
	if a.State.Active() {
		now, err := get(ctx, t.conn, scanAlert, `UPDATE alerts SET count = count + 1, latest = ?, severity = ?, title = ?, detail = ?
			WHERE key = ? AND `+activeAlert+` RETURNING `+alertColumns,
			micros(a.Last), text(a.Severity), text(a.Title), bytesOf(a.Detail), text(a.Key))
		if err == nil {
			t.wrote = true
			return now, true, nil
		}
		if !errors.Is(err, slipstream.ErrNotFound) {
			return a, false, about(err, "raise alert %q", a.Key)
		}
	}
	a.Count, a.First = 1, a.Last
	var err error
	a.ID, err = t.insert(ctx, `INSERT INTO alerts (`+strings.TrimPrefix(alertColumns, "id, ")+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		text(a.Key), text(a.Kind), text(a.Severity), text(a.App), text(a.Channel), text(a.Package), text(a.Subject), text(a.Title), bytesOf(a.Detail),
		string(a.State), a.Count, micros(a.First), micros(a.Last), micros(a.Notified), text(a.Actor), text(a.Note), micros(a.Changed))
	a.First, a.Last, a.Notified, a.Changed = instant(micros(a.First)), instant(micros(a.Last)), instant(micros(a.Notified)), instant(micros(a.Changed))
	return a, false, about(err, "raise alert %q", a.Key)
}

func (t alerts) Get(ctx context.Context, id int64) (store.Alert, error) {
	a, err := get(ctx, t.conn, scanAlert, `SELECT `+alertColumns+` FROM alerts WHERE id = ?`, id)
	return a, about(err, "alert %d", id)
}

func (t alerts) List(ctx context.Context, q store.AlertQuery) ([]store.Alert, error) {
	var w where
	w.addText("app", q.App)
	w.addAny("app", q.Apps)
	w.addText("kind", q.Kind)
	w.addText("key", q.Key)
	if q.Active {
		w.parts = append(w.parts, activeAlert)
	}
	if q.BeforeID != 0 {
		w.add("id < ?", q.BeforeID)
	}
	out, err := list(ctx, t.conn, scanAlert, `SELECT `+alertColumns+` FROM alerts`+w.sql()+` ORDER BY id DESC`+limit(q.Limit), w.args...)
	return out, about(err, "list alerts")
}

func (t alerts) Save(ctx context.Context, a store.Alert) error {
	if a.State.Active() {
		taken, err := t.exists(ctx, `SELECT 1 FROM alerts AS o WHERE o.id <> ? AND o.state IN ('open', 'acknowledged') AND o.key = (SELECT key FROM alerts WHERE id = ?)`, a.ID, a.ID)
		if err == nil && taken {
			err = fmt.Errorf("another one with its key is active: %w", slipstream.ErrConflict)
		}
		if err != nil {
			return about(err, "save alert %d", a.ID)
		}
	}
	n, err := t.write(ctx, `UPDATE alerts SET state = ?, notified = ?, actor = ?, note = ?, changed = ? WHERE id = ?`,
		string(a.State), micros(a.Notified), text(a.Actor), text(a.Note), micros(a.Changed), a.ID)
	if err == nil && n == 0 {
		err = slipstream.ErrNotFound
	}
	return about(err, "save alert %d", a.ID)
}

func (t alerts) Expire(ctx context.Context, before time.Time) (int64, error) {
	n, err := t.quiet(ctx, `DELETE FROM alerts WHERE latest < ? AND NOT (`+activeAlert+`)`, micros(before))
	if err != nil {
		return 0, about(err, "expire alerts")
	}
	_, err = t.quiet(ctx, `DELETE FROM deliveries WHERE updated < ? AND state <> 'queued'`, micros(before))
	return n, about(err, "expire deliveries")
}

func (t alerts) Targets() store.AlertTargets { return targets(t) }

func (t alerts) Deliveries() store.Deliveries { return deliveries(t) }

type targets struct{ *Tx }

const targetColumns = `name, type, app, kinds, severity, address, public, sealed, disabled, created`

func scanTarget(s scanner) (store.AlertTarget, error) {
	var t store.AlertTarget
	var kinds string
	var created int64
	if err := s.Scan(&t.Name, &t.Type, &t.App, &kinds, &t.Severity, &t.Address, &t.Public, &t.Sealed, &t.Disabled, &created); err != nil {
		return t, err
	}
	t.Created = instant(created)
	if err := json.Unmarshal([]byte(kinds), &t.Kinds); err != nil {
		return t, fmt.Errorf("kinds of target %q: %w", t.Name, err)
	}
	return t, nil
}

func (t targets) Put(ctx context.Context, g store.AlertTarget) error {
	kinds, err := json.Marshal(append([]string{}, g.Kinds...))
	if err != nil {
		return fmt.Errorf("encode kinds of target %q: %w", g.Name, err)
	}
	_, err = t.write(ctx, `INSERT INTO alert_targets (`+targetColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET type = excluded.type, app = excluded.app, kinds = excluded.kinds, severity = excluded.severity,
		address = excluded.address, public = excluded.public, sealed = excluded.sealed, disabled = excluded.disabled, created = excluded.created`,
		g.Name, g.Type, g.App, string(kinds), g.Severity, text(g.Address), g.Public, bytesOf(g.Sealed), g.Disabled, micros(g.Created))
	return about(err, "put target %q", g.Name)
}

func (t targets) Get(ctx context.Context, name string) (store.AlertTarget, error) {
	g, err := get(ctx, t.conn, scanTarget, `SELECT `+targetColumns+` FROM alert_targets WHERE name = ?`, text(name))
	return g, about(err, "target %q", name)
}

func (t targets) List(ctx context.Context) ([]store.AlertTarget, error) {
	out, err := list(ctx, t.conn, scanTarget, `SELECT `+targetColumns+` FROM alert_targets ORDER BY name`)
	return out, about(err, "list targets")
}

func (t targets) Delete(ctx context.Context, name string) error {
	n, err := t.write(ctx, `DELETE FROM alert_targets WHERE name = ?`, text(name))
	if err == nil && n == 0 {
		err = slipstream.ErrNotFound
	}
	return about(err, "delete target %q", name)
}

type deliveries struct{ *Tx }

const deliveryColumns = `id, target, alert, event, body, state, attempts, due, status, error, took, created, updated`

func scanDelivery(s scanner) (store.Delivery, error) {
	var d store.Delivery
	var due, took, created, updated int64
	err := s.Scan(&d.ID, &d.Target, &d.Alert, &d.Event, &d.Body, (*string)(&d.State), &d.Attempts, &due, &d.Status, &d.Error, &took, &created, &updated)
	d.Due, d.Created, d.Updated = instant(due), instant(created), instant(updated)
	d.Took = time.Duration(took) * time.Microsecond
	return d, err
}

func (t deliveries) Add(ctx context.Context, d store.Delivery) (store.Delivery, error) {
	found, err := t.exists(ctx, `SELECT 1 FROM alert_targets WHERE name = ?`, text(d.Target))
	if err == nil && !found {
		err = fmt.Errorf("target %q: %w", d.Target, slipstream.ErrNotFound)
	}
	if err != nil {
		return d, about(err, "queue a message")
	}
	d.State, d.Attempts = store.DeliveryQueued, 0
	if d.Due.IsZero() {
		d.Due = d.Created
	}
	d.Updated = d.Created
	d.ID, err = t.insert(ctx, `INSERT INTO deliveries (`+strings.TrimPrefix(deliveryColumns, "id, ")+`) VALUES (?, ?, ?, ?, 'queued', 0, ?, 0, '', 0, ?, ?)`,
		d.Target, d.Alert, text(d.Event), bytesOf(d.Body), micros(d.Due), micros(d.Created), micros(d.Updated))
	return d, about(err, "queue a message")
}

// claimWindow bounds how many due deliveries are looked at for one claim, so that those of a busy target do not hide the
// others for long.
const claimWindow = 1000

func (t deliveries) Claim(ctx context.Context, now time.Time, lease time.Duration, most, perTarget int) ([]store.Delivery, error) {
	if t.readOnly {
		return nil, ErrReadOnly
	}
	type waiting struct {
		id     int64
		target string
	}
	due, err := list(ctx, t.conn, func(s scanner) (w waiting, err error) { return w, s.Scan(&w.id, &w.target) },
		`SELECT id, target FROM deliveries WHERE state = 'queued' AND due <= ? ORDER BY due, id`+limit(claimWindow), micros(now))
	if err != nil {
		return nil, about(err, "look for messages")
	}
	taken := map[string]int{}
	var out []store.Delivery
	for _, w := range due {
		if len(out) == most {
			break
		}
		if taken[w.target] == perTarget {
			continue
		}
		taken[w.target]++
		d, err := get(ctx, t.conn, scanDelivery, `UPDATE deliveries SET attempts = attempts + 1, due = ?, updated = ? WHERE id = ? RETURNING `+deliveryColumns,
			micros(now.Add(lease)), micros(now), w.id)
		if err != nil {
			return nil, about(err, "claim message %d", w.id)
		}
		out = append(out, d)
	}
	return out, nil
}

func (t deliveries) Finish(ctx context.Context, d store.Delivery) error {
	n, err := t.quiet(ctx, `UPDATE deliveries SET state = ?, due = ?, status = ?, error = ?, took = ?, updated = ? WHERE id = ? AND attempts = ? AND state = 'queued'`,
		string(d.State), micros(d.Due), d.Status, text(d.Error), d.Took.Microseconds(), micros(d.Updated), d.ID, d.Attempts)
	if err != nil || n > 0 {
		return about(err, "finish message %d", d.ID)
	}
	there, err := t.exists(ctx, `SELECT 1 FROM deliveries WHERE id = ?`, d.ID)
	switch {
	case err != nil:
	case there:
		err = fmt.Errorf("another attempt began: %w", slipstream.ErrConflict)
	default:
		err = slipstream.ErrNotFound
	}
	return about(err, "finish message %d", d.ID)
}

func (t deliveries) List(ctx context.Context, q store.DeliveryQuery) ([]store.Delivery, error) {
	var w where
	w.addText("target", q.Target)
	w.addText("state", string(q.State))
	if q.Alert != 0 {
		w.add("alert = ?", q.Alert)
	}
	if q.BeforeID != 0 {
		w.add("id < ?", q.BeforeID)
	}
	out, err := list(ctx, t.conn, scanDelivery, `SELECT `+deliveryColumns+` FROM deliveries`+w.sql()+` ORDER BY id DESC`+limit(q.Limit), w.args...)
	return out, about(err, "list messages")
}

func (t deliveries) Retry(ctx context.Context, now time.Time, target string, ids ...int64) (int64, error) {
	const dead = `UPDATE deliveries SET state = 'queued', attempts = 0, due = ?, updated = ? WHERE state = 'dead'`
	var w where
	w.addText("target", target)
	scope := strings.Replace(w.sql(), " WHERE ", " AND ", 1)
	args := append([]any{micros(now), micros(now)}, w.args...)
	if len(ids) == 0 {
		n, err := t.write(ctx, dead+scope, args...)
		return n, about(err, "retry messages")
	}
	var total int64
	for _, id := range ids {
		n, err := t.write(ctx, dead+scope+` AND id = ?`, append(slices.Clone(args), id)...)
		if err != nil {
			return 0, about(err, "retry message %d", id)
		}
		total += n
	}
	return total, nil
}

func (t deliveries) Counts(ctx context.Context) (map[store.DeliveryState]int64, error) {
	type count struct {
		state store.DeliveryState
		n     int64
	}
	rows, err := list(ctx, t.conn, func(s scanner) (c count, err error) { return c, s.Scan((*string)(&c.state), &c.n) },
		`SELECT state, COUNT(*) FROM deliveries GROUP BY state`)
	out := map[store.DeliveryState]int64{}
	for _, c := range rows {
		out[c.state] = c.n
	}
	return out, about(err, "count messages")
}
