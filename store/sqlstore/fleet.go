package sqlstore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

const (
	maxGroups        = 10000 // of a spread; strangers choose what they call their runtime
	maxPoints        = 100000
	maxReasonsPer    = 100 // different ones of one count; what comes later is "other"
	otherReason      = "other"
	defaultRows      = 1000
	defaultTopReason = 100
	placeRest        = 48 * time.Hour // a place without devices stays so long
)

// Appended is a batch on its way in: which events are new, which of them raised a count, and the ids of the counts.
type Appended struct {
	Batch   []store.StoredEvent
	Fresh   []bool
	Counted []bool
	Counts  map[CountKey]int64
}

// Derive writes what follows from a batch, in its transaction, after its events and before its counts are raised. The
// order of the tables, and of the rows in each, is the same for all.
func Derive(ctx context.Context, d *Dialect, tx *sql.Tx, a Appended) error {
	c := conn{tx, d}
	var events, ofTrials []*store.StoredEvent
	for i := range a.Batch {
		e := &a.Batch[i]
		if !a.Fresh[i] {
			continue
		}
		if !e.Uncounted {
			events = append(events, e)
		}
		// What is enrolled already may name what this server does not know: the release that came with the app.
		if !e.Uncounted || e.Kind != slipstream.KindEnrolled {
			ofTrials = append(ofTrials, e)
		}
	}
	if err := foldTrials(ctx, c, ofTrials); err != nil {
		return about(err, "trials")
	}
	if err := seeDevices(ctx, c, events); err != nil {
		return about(err, "device rows")
	}
	if err := rankReasons(ctx, c, events, a.Counts); err != nil {
		return about(err, "reasons")
	}
	return about(drawSeries(ctx, c, a), "series")
}

// place is what a device has in common with others: a row of places, under the hash of the rest as its id.
type place struct{ app, pkg, channel, platform, runtime, release string }

func (p place) id() int64 { return hashOf(p.app, p.pkg, p.channel, p.platform, p.runtime, p.release) }

func hashOf(parts ...string) int64 {
	h := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return int64(binary.BigEndian.Uint64(h[:8]))
}

// rowKey is the key of a device's row for a package.
func rowKey(app, pkg string, device []byte) int64 { return hashOf(app, pkg, string(device)) }

// sight is a row of devices.
type sight struct {
	key, place  int64
	id          []byte
	first, last int64
}

// runs says what the device runs in force when e was made, if e tells that.
func runs(e *store.StoredEvent) (slipstream.Digest, bool) {
	switch e.Kind {
	case slipstream.KindConfirmed:
		return e.Release, true
	case slipstream.KindEnrolled, slipstream.KindRolledBack, slipstream.KindAlive:
		return e.Running, true
	}
	return "", false
}

func seeDevices(ctx context.Context, c conn, events []*store.StoredEvent) error {
	places, rows := map[place]int64{}, map[int64]*sight{}
	var last int64
	for _, e := range events {
		release, tells := runs(e)
		id := rawDigest(e.Device)
		if !tells || id == nil || e.Package == "" {
			continue
		}
		p := place{text(e.App), text(e.Package), text(e.Channel), text(e.Platform), text(e.Runtime), text(string(release))}
		at, known := places[p]
		if !known {
			at = p.id()
			places[p] = at
		}
		now := micros(e.Received)
		last = max(last, now)
		key := rowKey(p.app, p.pkg, id)
		if s := rows[key]; s != nil {
			s.place, s.last = at, max(s.last, now)
			continue
		}
		rows[key] = &sight{key: key, id: id, place: at, first: now, last: now}
	}
	if len(rows) == 0 {
		return nil
	}
	if err := keepPlaces(ctx, c, places, last); err != nil {
		return err
	}
	values := make([][]any, 0, len(rows))
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		s := rows[key]
		values = append(values, []any{s.key, s.id, s.place, s.first, floor(s.last, time.Hour)})
	}
	// A row that says the same in the same hour is not written again.
	_, err := c.insertRows(ctx, `INSERT INTO devices (key, id, place, first_seen, last_seen)`,
		`ON CONFLICT (key) DO UPDATE SET place = excluded.place,
			last_seen = CASE WHEN excluded.last_seen > devices.last_seen THEN excluded.last_seen ELSE devices.last_seen END
		WHERE devices.place <> excluded.place OR devices.last_seen < excluded.last_seen`, values)
	return err
}

// keepPlaces makes the rows of places. One that was of no use for two days may be deleted: touching it once a day keeps
// it for this transaction.
func keepPlaces(ctx context.Context, c conn, places map[place]int64, now int64) error {
	var rows [][]any
	for _, p := range slices.SortedFunc(maps.Keys(places), func(a, b place) int { return cmp.Compare(places[a], places[b]) }) {
		rows = append(rows, []any{places[p], p.app, p.pkg, p.channel, p.platform, p.runtime, p.release, floor(now, 24*time.Hour)})
	}
	_, err := c.insertRows(ctx, `INSERT INTO places (id, app, package, channel, platform, runtime, release, last)`,
		`ON CONFLICT (id) DO UPDATE SET last = excluded.last WHERE places.last < excluded.last`, rows)
	return err
}

// floor is the start of the step that an instant in microseconds is in.
func floor(us int64, step time.Duration) int64 {
	n := step.Microseconds()
	return us - ((us%n)+n)%n
}

var _ store.Fleet = fleet{}

// steps are the resolutions of series by their number in the table.
func steps() [3]store.Step { return [3]store.Step{store.StepMinute, store.StepHour, store.StepDay} }

func drawSeries(ctx context.Context, c conn, a Appended) error {
	type key struct{ count, step, at int64 }
	points := map[key]int64{}
	for i := range a.Batch {
		if !a.Counted[i] {
			continue
		}
		id := a.Counts[CountKeyOf(&a.Batch[i])]
		for step, s := range steps() {
			points[key{id, int64(step), floor(micros(a.Batch[i].Received), s.Length())}]++
		}
	}
	keys := slices.SortedFunc(maps.Keys(points), func(a, b key) int {
		return cmp.Or(cmp.Compare(a.count, b.count), cmp.Compare(a.step, b.step), cmp.Compare(a.at, b.at))
	})
	rows := make([][]any, len(keys))
	for i, k := range keys {
		rows[i] = []any{k.count, k.step, k.at, points[k]}
	}
	_, err := c.insertRows(ctx, `INSERT INTO series (count, step, at, n)`, `ON CONFLICT (count, step, at) DO UPDATE SET n = series.n + excluded.n`, rows)
	return err
}

// reasonKey names a row of table reasons.
type reasonKey struct {
	count         int64
	stage, reason string
}

func rankReasons(ctx context.Context, c conn, events []*store.StoredEvent, counts map[CountKey]int64) error {
	type told struct {
		devices map[int64]bool
		last    int64
	}
	all := map[reasonKey]*told{}
	for _, e := range events {
		switch e.Kind {
		case slipstream.KindCrashed, slipstream.KindHung, slipstream.KindRolledBack, slipstream.KindRefused, slipstream.KindFailed:
		default:
			continue
		}
		k := reasonKey{counts[CountKeyOf(e)], word(e.Stage), word(string(e.Reason))}
		if all[k] == nil {
			all[k] = &told{devices: map[int64]bool{}}
		}
		all[k].devices[DeviceKey(e.App, e.Device)] = true
		all[k].last = max(all[k].last, micros(e.Received))
	}
	byID := map[int64]*told{}
	for _, k := range slices.SortedFunc(maps.Keys(all), compareReasons) {
		id, err := reasonID(ctx, c, k)
		if err != nil {
			return err
		}
		if byID[id] == nil {
			byID[id] = all[k]
			continue
		}
		maps.Copy(byID[id].devices, all[k].devices)
		byID[id].last = max(byID[id].last, all[k].last)
	}
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		var rows [][]any
		for _, d := range slices.Sorted(maps.Keys(byID[id].devices)) {
			rows = append(rows, []any{id, d})
		}
		n, err := c.insertRows(ctx, `INSERT INTO reasoned (reason, device)`, `ON CONFLICT DO NOTHING`, rows)
		if err != nil {
			return err
		}
		if _, err := c.exec(ctx, `UPDATE reasons SET devices = devices + ?, last = CASE WHEN last < ? THEN CAST(? AS BIGINT) ELSE last END WHERE id = ?`,
			n, byID[id].last, byID[id].last, id); err != nil {
			return err
		}
	}
	return nil
}

func compareReasons(a, b reasonKey) int {
	return cmp.Or(cmp.Compare(a.count, b.count), strings.Compare(a.stage, b.stage), strings.Compare(a.reason, b.reason))
}

// word keeps what looks like a word of the vocabulary. Rows of reasons stay, and strangers choose what they send.
func word(s string) string {
	if len(s) > 40 || strings.ContainsFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' }) {
		return otherReason
	}
	return s
}

func reasonID(ctx context.Context, c conn, k reasonKey) (int64, error) {
	const find = `SELECT id FROM reasons WHERE count = ? AND stage = ? AND reason = ?`
	var ids []int64
	scan := func(s scanner) (id int64, err error) { return id, s.Scan(&id) }
	ids, err := list(ctx, c, scan, find, k.count, k.stage, k.reason)
	if err != nil || len(ids) > 0 {
		return first(ids), err
	}
	var n int
	if err := c.one(ctx, `SELECT COUNT(*) FROM reasons WHERE count = ?`, []any{k.count}, &n); err != nil {
		return 0, err
	}
	if n >= maxReasonsPer {
		k.stage, k.reason = "", otherReason
	}
	if _, err := c.exec(ctx, `INSERT INTO reasons (count, stage, reason, devices, last) VALUES (?, ?, ?, 0, 0) ON CONFLICT DO NOTHING`, k.count, k.stage, k.reason); err != nil {
		return 0, err
	}
	ids, err = list(ctx, c, scan, find, k.count, k.stage, k.reason)
	return first(ids), err
}

func first(ids []int64) int64 {
	if len(ids) == 0 {
		return 0
	}
	return ids[0]
}

// fleet answers the questions about devices.
type fleet struct{ r *Reports }

// Fleet implements store.Reports.
func (r *Reports) Fleet() store.Fleet { return fleet{r} }

// read runs fn on the reader.
func read[T any](r *Reports, fn func(c conn) (T, error)) (T, error) {
	if err := r.Gate.Enter(); err != nil {
		var zero T
		return zero, err
	}
	defer r.Gate.Leave()
	return fn(conn{r.Reader, r.Dialect})
}

const devicesSQL = `SELECT d.key, p.app, d.id, p.package, p.channel, p.platform, p.runtime, p.release, d.first_seen, d.last_seen
	FROM devices d JOIN places p ON p.id = d.place`

// keyedRow is a device row with its key.
type keyedRow struct {
	store.DeviceRow
	key int64
}

func scanDevice(s scanner) (keyedRow, error) {
	var d keyedRow
	var device []byte
	var firstSeen, lastSeen int64
	err := s.Scan(&d.key, &d.App, &device, &d.Package, &d.Channel, &d.Platform, &d.Runtime, (*string)(&d.Release), &firstSeen, &lastSeen)
	d.Device, d.FirstSeen, d.LastSeen = hex.EncodeToString(device), instant(firstSeen), instant(lastSeen)
	return d, err
}

func plainRow(s scanner) (store.DeviceRow, error) {
	d, err := scanDevice(s)
	return d.DeviceRow, err
}

// Devices implements store.Fleet.
func (f fleet) Devices(ctx context.Context, q store.DeviceQuery) ([]store.DeviceRow, error) {
	var w where
	w.add("p.app = ?", text(q.App))
	w.addText("p.channel", text(q.Channel))
	w.addText("p.package", text(q.Package))
	w.addText("p.platform", text(q.Platform))
	w.addText("p.runtime", text(q.Runtime))
	w.addText("p.release", text(string(q.Release)))
	if q.Prefix != "" {
		low, high, ok := prefixRange(q.Prefix)
		if !ok {
			return nil, slipstream.Invalidf("device %q does not begin with hex digits", q.Prefix)
		}
		w.add("d.id >= ?", low)
		w.add("d.id <= ?", high)
	}
	if q.AfterDevice != "" {
		w.add("d.key > ?", rowKey(text(q.App), text(q.AfterPackage), rawDigest(q.AfterDevice)))
	}
	out, err := read(f.r, func(c conn) ([]store.DeviceRow, error) {
		return list(ctx, c, plainRow, devicesSQL+w.sql()+` ORDER BY d.key`+limit(orDefault(q.Limit, defaultRows)), w.args...)
	})
	return out, about(err, "list devices")
}

func orDefault(n, otherwise int) int {
	if n <= 0 {
		return otherwise
	}
	return n
}

// prefixRange gives the lowest and the highest device id that begin with some hex digits.
func prefixRange(prefix string) (low, high []byte, ok bool) {
	if len(prefix) > 64 {
		return nil, nil, false
	}
	low, err := hex.DecodeString(prefix + strings.Repeat("0", 64-len(prefix)))
	if err != nil {
		return nil, nil, false
	}
	high, err = hex.DecodeString(prefix + strings.Repeat("f", 64-len(prefix)))
	return low, high, err == nil
}

// Device implements store.Fleet.
func (f fleet) Device(ctx context.Context, app, device string) (store.Device, error) {
	out, err := read(f.r, func(c conn) (store.Device, error) {
		var d store.Device
		keys, err := rowKeys(ctx, c, app, device)
		if err != nil {
			return d, err
		}
		err = inChunks(keys, "d.key", func(cond string, args []any) error {
			rows, err := list(ctx, c, plainRow, devicesSQL+` WHERE `+cond, args...)
			d.Rows = append(d.Rows, rows...)
			return err
		})
		if err != nil {
			return d, err
		}
		slices.SortFunc(d.Rows, func(a, b store.DeviceRow) int { return strings.Compare(a.Package, b.Package) })
		d.Trials, err = trialsOf(ctx, c, app, device)
		return d, err
	})
	return out, about(err, "look at device")
}

// rowKeys are the keys that the rows of a device can have.
func rowKeys(ctx context.Context, c conn, app, device string) ([]int64, error) {
	return list(ctx, c, func(s scanner) (int64, error) {
		var pkg string
		err := s.Scan(&pkg)
		return rowKey(text(app), pkg, rawDigest(device)), err
	}, `SELECT DISTINCT package FROM places WHERE app = ?`, text(app))
}

// Spread implements store.Fleet.
func (f fleet) Spread(ctx context.Context, app string) ([]store.Spread, error) {
	out, err := read(f.r, func(c conn) ([]store.Spread, error) {
		return list(ctx, c, func(s scanner) (store.Spread, error) {
			var g store.Spread
			err := s.Scan(&g.Channel, &g.Package, &g.Platform, &g.Runtime, (*string)(&g.Release), &g.Devices)
			return g, err
		}, `SELECT p.channel, p.package, p.platform, p.runtime, p.release, COUNT(*) FROM devices d JOIN places p ON p.id = d.place WHERE p.app = ?
			GROUP BY p.channel, p.package, p.platform, p.runtime, p.release
			ORDER BY COUNT(*) DESC, p.channel, p.package, p.platform, p.runtime, p.release`+limit(maxGroups), text(app))
	})
	return out, about(err, "spread of devices")
}

// Running implements store.Fleet.
func (f fleet) Running(ctx context.Context, app, pkg string) ([]store.Running, error) {
	out, err := read(f.r, func(c conn) ([]store.Running, error) {
		return list(ctx, c, func(s scanner) (store.Running, error) {
			var g store.Running
			err := s.Scan((*string)(&g.Release), &g.Devices)
			return g, err
		}, `SELECT p.release, COUNT(*) FROM devices d JOIN places p ON p.id = d.place WHERE p.app = ? AND p.package = ?
			GROUP BY p.release ORDER BY COUNT(*) DESC, p.release`+limit(maxGroups), text(app), text(pkg))
	})
	return out, about(err, "count running releases")
}

// Series implements store.Fleet.
func (f fleet) Series(ctx context.Context, q store.SeriesQuery) ([]store.Point, error) {
	all := steps()
	step := slices.Index(all[:], q.Step)
	if step < 0 {
		return nil, slipstream.Invalidf("step %q is none of minute, hour, day", q.Step)
	}
	w := ofCounts(q.App, q.Channel, q.Package, q.Release, q.Kind)
	w.add("s.step = ?", step)
	w.add("s.at >= ?", micros(q.From))
	if !q.To.IsZero() {
		w.add("s.at < ?", micros(q.To))
	}
	out, err := read(f.r, func(c conn) ([]store.Point, error) {
		return list(ctx, c, func(s scanner) (store.Point, error) {
			var p store.Point
			var at int64
			err := s.Scan(&at, (*string)(&p.Kind), &p.N)
			p.At = instant(at)
			return p, err
		}, `SELECT s.at, c.kind, CAST(SUM(s.n) AS BIGINT) FROM series s JOIN counts c ON c.id = s.count`+w.sql()+` GROUP BY s.at, c.kind ORDER BY s.at, c.kind`+limit(maxPoints), w.args...)
	})
	return out, about(err, "read series")
}

// ofCounts restricts rows of counts, alias c.
func ofCounts(app, channel, pkg string, release slipstream.Digest, kind slipstream.Kind) where {
	var w where
	w.add("c.app = ?", text(app))
	w.addText("c.channel", text(channel))
	w.addText("c.package", text(pkg))
	w.addText("c.release", text(string(release)))
	w.addText("c.kind", text(string(kind)))
	return w
}

// Reasons implements store.Fleet.
func (f fleet) Reasons(ctx context.Context, q store.ReasonQuery) ([]store.ReasonCount, error) {
	w := ofCounts(q.App, q.Channel, q.Package, q.Release, q.Kind)
	w.add("r.devices > ?", 0)
	w.add("r.last > ?", micros(q.Since))
	out, err := read(f.r, func(c conn) ([]store.ReasonCount, error) {
		return list(ctx, c, func(s scanner) (store.ReasonCount, error) {
			var r store.ReasonCount
			var last int64
			err := s.Scan(&r.Channel, &r.Package, (*string)(&r.Release), (*string)(&r.Kind), &r.Stage, (*string)(&r.Reason), &r.Devices, &last)
			r.Last = instant(last)
			return r, err
		}, `SELECT c.channel, c.package, c.release, c.kind, r.stage, r.reason, r.devices, r.last FROM reasons r JOIN counts c ON c.id = r.count`+w.sql()+
			` ORDER BY r.devices DESC, r.last DESC, r.id`+limit(orDefault(q.Limit, defaultTopReason)), w.args...)
	})
	return out, about(err, "rank reasons")
}

// Expire implements store.Fleet.
func (f fleet) Expire(ctx context.Context, r store.Retention) (int64, error) {
	var total int64
	add := func(n int64, err error) error {
		total += n
		return err
	}
	if !r.Devices.IsZero() {
		if err := add(f.expireDevices(ctx, r.Devices)); err != nil {
			return total, about(err, "expire device rows")
		}
	}
	for step, before := range [...]time.Time{r.Minutes, r.Hours, r.Days} {
		if before.IsZero() {
			continue
		}
		if err := add(f.r.inSteps(ctx, `DELETE FROM series WHERE (count, step, at) IN (SELECT count, step, at FROM series WHERE step = ? AND at < ? ORDER BY at LIMIT ?)`,
			step, micros(before), expireStep)); err != nil {
			return total, about(err, "expire series")
		}
	}
	if r.Trials.IsZero() {
		return total, nil
	}
	err := add(f.r.expireTrials(ctx, r.Trials))
	return total, about(err, "expire trials")
}

// inSteps repeats a deletion that takes at most expireStep rows until nothing is left, each in a transaction.
func (r *Reports) inSteps(ctx context.Context, query string, args ...any) (int64, error) {
	var total int64
	for {
		var n int64
		err := r.Write(ctx, func(tx *sql.Tx) (err error) {
			n, err = conn{tx, r.Dialect}.exec(ctx, query, args...)
			return err
		})
		total += n
		if err != nil || n < expireStep {
			return total, err
		}
	}
}

// expireDevices walks through the table beside the writers and deletes what is still old when it comes to that; then
// the places that nobody is at.
func (f fleet) expireDevices(ctx context.Context, before time.Time) (int64, error) {
	var total int64
	for after := int64(math.MinInt64); ; {
		old, err := read(f.r, func(c conn) ([]int64, error) {
			return list(ctx, c, func(s scanner) (key int64, err error) { return key, s.Scan(&key) },
				`SELECT key FROM devices WHERE key > ? AND last_seen < ? ORDER BY key`+limit(expireStep), after, micros(before))
		})
		if err != nil {
			return total, err
		}
		if len(old) == 0 {
			break
		}
		var n int64
		err = f.r.Write(ctx, func(tx *sql.Tx) error {
			n = 0
			return inChunks(old, "key", func(cond string, args []any) error {
				gone, err := conn{tx, f.r.Dialect}.exec(ctx, `DELETE FROM devices WHERE `+cond+` AND last_seen < ?`, append(args, micros(before))...)
				n += gone
				return err
			})
		})
		if total += n; err != nil {
			return total, err
		}
		after = old[len(old)-1]
	}
	return total, f.r.Write(ctx, func(tx *sql.Tx) error {
		_, err := conn{tx, f.r.Dialect}.exec(ctx, `DELETE FROM places WHERE last < ? AND id NOT IN (SELECT place FROM devices)`, floor(micros(before.Add(-placeRest)), 24*time.Hour))
		return err
	})
}

// forgetDevice deletes what is derived from a device's events.
func forgetDevice(ctx context.Context, c conn, app, device string) error {
	if err := forgetTrials(ctx, c, DeviceKey(app, device)); err != nil {
		return err
	}
	keys, err := rowKeys(ctx, c, app, device)
	if err != nil {
		return err
	}
	err = inChunks(keys, "key", func(cond string, args []any) error {
		_, err := c.exec(ctx, `DELETE FROM devices WHERE `+cond, args...)
		return err
	})
	if err != nil {
		return err
	}
	const ofApp = `(SELECT r.id FROM reasons r JOIN counts c ON c.id = r.count WHERE c.app = ?)`
	key := DeviceKey(app, device)
	if _, err := c.exec(ctx, `UPDATE reasons SET devices = devices - 1
		WHERE id IN `+ofApp+` AND EXISTS (SELECT 1 FROM reasoned WHERE reasoned.reason = reasons.id AND reasoned.device = ?)`, text(app), key); err != nil {
		return err
	}
	_, err = c.exec(ctx, `DELETE FROM reasoned WHERE device = ? AND reason IN `+ofApp, key, text(app))
	return err
}
