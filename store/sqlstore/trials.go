package sqlstore

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

const (
	counterTrials   = "trials" // the last seq of the trial log
	maxMetricsPer   = 64       // of one device in one trial
	maxMetricTrials = 8        // the newest of a device that one measurement counts for
	defaultLines    = 10000
	biggestMetric   = 1e100 // beyond it the sums of squares would not fit
	smallestMetric  = 1e-100
)

// Arms as the tables hold them.
const (
	armTreatment = 0
	armControl   = 1
)

func armNumber(arm string) (int64, bool) {
	switch arm {
	case slipstream.ArmTreatment:
		return armTreatment, true
	case slipstream.ArmControl:
		return armControl, true
	}
	return 0, false
}

func armName(n int64) string {
	if n == armControl {
		return slipstream.ArmControl
	}
	return slipstream.ArmTreatment
}

// trialRow is a row of trials.
type trialRow struct {
	device, rollout, arm             int64
	id, release                      []byte
	network                          string
	joined, enrolled, ended, endedAt int64
	ending                           store.TrialEnding
	reason                           string
}

const trialColumns = `device, rollout, id, arm, network, release, joined, enrolled, ended, ended_at, ending, reason`

func scanTrial(s scanner) (*trialRow, error) {
	t := &trialRow{}
	return t, s.Scan(&t.device, &t.rollout, &t.id, &t.arm, &t.network, &t.release, &t.joined, &t.enrolled, &t.ended, &t.endedAt, (*int)(&t.ending), &t.reason)
}

func (t *trialRow) values() []any {
	return []any{t.device, t.rollout, t.id, t.arm, t.network, bytesOf(t.release), t.joined, t.enrolled, t.ended, t.endedAt, int(t.ending), t.reason}
}

// rolloutRow is a row of trial_rollouts.
type rolloutRow struct {
	id                int64
	name              string
	app, channel, pkg string
	last              int64
	touched           bool
}

type (
	trialKey struct{ device, rollout int64 }
	tallyKey struct {
		rollout, arm int64
		network      string
	}
	tallyDelta struct{ enrolled, confirmed, failed, gone int64 }
	dayKey     struct{ rollout, day int64 }
	dayDelta   struct{ outcomes, failed int64 }
	metricKey  struct {
		device, rollout int64
		metric          string
	}
	metricRow struct {
		count int64
		sum   float64
		yesno int64
		added bool
	}
)

// trialFold is one batch's walk through the trials. It runs under the lock of the counter.
type trialFold struct {
	conn
	seq      int64
	rollouts map[string]*rolloutRow
	byID     map[int64]*rolloutRow
	rows     map[trialKey]*trialRow
	ofDevice map[int64][]*trialRow
	changed  map[trialKey]*trialRow
	log      [][]any
	tallies  map[tallyKey]tallyDelta
	days     map[dayKey]dayDelta
	metrics  map[metricKey]*metricRow
}

// foldTrials opens and closes trials by the events, in their order.
func foldTrials(ctx context.Context, c conn, events []*store.StoredEvent) error {
	events, err := concerning(ctx, c, events)
	if err != nil || len(events) == 0 {
		return err
	}
	f := &trialFold{conn: c, rollouts: map[string]*rolloutRow{}, byID: map[int64]*rolloutRow{}, rows: map[trialKey]*trialRow{},
		ofDevice: map[int64][]*trialRow{}, changed: map[trialKey]*trialRow{}, tallies: map[tallyKey]tallyDelta{},
		days: map[dayKey]dayDelta{}, metrics: map[metricKey]*metricRow{}}
	if f.seq, err = lockTrials(ctx, c); err != nil {
		return err
	}
	before := f.seq
	if err := f.load(ctx, events); err != nil {
		return err
	}
	for _, e := range events {
		switch e.Kind {
		case slipstream.KindEnrolled:
			f.join(e)
		case slipstream.KindMetric:
			f.measure(e)
		default:
			f.end(e)
		}
	}
	if err := f.save(ctx); err != nil {
		return err
	}
	if f.seq == before {
		return nil
	}
	_, err = c.exec(ctx, `UPDATE counters SET value = ? WHERE name = ?`, f.seq, counterTrials)
	return err
}

// lockTrials keeps all other transactions out of the trials until this one ends: so the seqs that it takes become
// visible before any higher one.
func lockTrials(ctx context.Context, c conn) (seq int64, err error) {
	err = c.one(ctx, `UPDATE counters SET value = value WHERE name = ? RETURNING value`, []any{counterTrials}, &seq)
	return seq, about(err, "counter %s", counterTrials)
}

// concerning leaves the events that can do something to a trial, looking as little as possible: most batches need no
// lock.
func concerning(ctx context.Context, c conn, events []*store.StoredEvent) ([]*store.StoredEvent, error) {
	var some []*store.StoredEvent
	joins, names := false, map[string]bool{}
	for _, e := range events {
		if !slipstream.Digest(e.Device).Valid() || !touchesTrials(e) {
			continue
		}
		some = append(some, e)
		if e.Kind == slipstream.KindEnrolled {
			joins = true
		} else if e.Kind != slipstream.KindMetric {
			names[text(e.Rollout)] = true
		}
	}
	if joins || len(some) == 0 {
		return some, nil
	}
	known := map[string]bool{}
	err := inChunks(slices.Sorted(maps.Keys(names)), "rollout", func(cond string, args []any) error {
		some, err := list(ctx, c, func(s scanner) (name string, err error) { return name, s.Scan(&name) }, `SELECT rollout FROM trial_rollouts WHERE `+cond, args...)
		for _, name := range some {
			known[name] = true
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	devices := map[int64]bool{}
	some = slices.DeleteFunc(some, func(e *store.StoredEvent) bool {
		gone := e.Kind != slipstream.KindMetric && !known[text(e.Rollout)]
		if !gone {
			devices[DeviceKey(e.App, e.Device)] = true
		}
		return gone
	})
	var found int64
	err = inChunks(slices.Sorted(maps.Keys(devices)), "device", func(cond string, args []any) error {
		var n int64
		if found > 0 {
			return nil
		}
		err := c.one(ctx, `SELECT COUNT(*) FROM (SELECT 1 FROM trials WHERE `+cond+` LIMIT 1) t`, args, &n)
		found += n
		return err
	})
	if err != nil || found == 0 {
		return nil, err
	}
	return some, nil
}

func touchesTrials(e *store.StoredEvent) bool {
	switch e.Kind {
	case slipstream.KindEnrolled:
		_, ok := armNumber(e.Arm)
		return ok && e.Rollout != ""
	case slipstream.KindMetric:
		_, _, ok := measured(e.Value)
		return ok && e.Metric != ""
	}
	return e.Rollout != "" && store.TrialEnd(&e.Event) != store.TrialGoesOn
}

// measured reads the value of a metric. A number whose square no float holds is none.
func measured(raw json.RawMessage) (v float64, yesno int64, ok bool) {
	switch string(raw) {
	case "true":
		return 1, 1, true
	case "false":
		return 0, 1, true
	}
	if err := json.Unmarshal(raw, &v); err != nil || math.Abs(v) > biggestMetric {
		return 0, 0, false
	}
	if math.Abs(v) < smallestMetric {
		v = 0
	}
	return v, 0, true
}

// load reads the rollouts and trials that the events may touch, and makes rollouts that are new.
func (f *trialFold) load(ctx context.Context, events []*store.StoredEvent) error {
	names, devices, metrics := map[string]*store.StoredEvent{}, map[int64]bool{}, false
	for _, e := range events {
		devices[DeviceKey(e.App, e.Device)] = true
		metrics = metrics || e.Kind == slipstream.KindMetric
		if name := text(e.Rollout); e.Kind == slipstream.KindEnrolled && names[name] == nil {
			names[name] = e
		}
	}
	var fresh [][]any
	for _, name := range slices.Sorted(maps.Keys(names)) {
		e := names[name]
		fresh = append(fresh, []any{name, text(e.App), text(e.Channel), text(e.Package), micros(e.Received)})
	}
	if _, err := f.insertRows(ctx, `INSERT INTO trial_rollouts (rollout, app, channel, package, last)`, `ON CONFLICT (rollout) DO NOTHING`, fresh); err != nil {
		return err
	}
	keys := slices.Sorted(maps.Keys(devices))
	err := inChunks(keys, "device", func(cond string, args []any) error {
		rows, err := list(ctx, f.conn, scanTrial, `SELECT `+trialColumns+` FROM trials WHERE `+cond+` ORDER BY joined`, args...)
		for _, t := range rows {
			f.keep(t)
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := f.loadRollouts(ctx, events); err != nil {
		return err
	}
	if !metrics {
		return nil
	}
	return inChunks(keys, "device", func(cond string, args []any) error {
		_, err := list(ctx, f.conn, func(s scanner) (struct{}, error) {
			var k metricKey
			m := &metricRow{}
			err := s.Scan(&k.device, &k.rollout, &k.metric, &m.count, &m.sum, &m.yesno)
			f.metrics[k] = m
			return struct{}{}, err
		}, `SELECT device, rollout, metric, count, sum, yesno FROM trial_metrics WHERE `+cond, args...)
		return err
	})
}

func (f *trialFold) loadRollouts(ctx context.Context, events []*store.StoredEvent) error {
	names, ids := map[string]bool{}, map[int64]bool{}
	for _, e := range events {
		names[text(e.Rollout)] = true
	}
	for k := range f.rows {
		ids[k.rollout] = true
	}
	keep := func(cond string, args []any) error {
		_, err := list(ctx, f.conn, func(s scanner) (struct{}, error) {
			r := &rolloutRow{}
			err := s.Scan(&r.id, &r.name, &r.app, &r.channel, &r.pkg, &r.last)
			if f.byID[r.id] == nil {
				f.rollouts[r.name], f.byID[r.id] = r, r
			}
			return struct{}{}, err
		}, `SELECT id, rollout, app, channel, package, last FROM trial_rollouts WHERE `+cond, args...)
		return err
	}
	return errors.Join(inChunks(slices.Sorted(maps.Keys(names)), "rollout", keep), inChunks(slices.Sorted(maps.Keys(ids)), "id", keep))
}

func (f *trialFold) keep(t *trialRow) {
	f.rows[trialKey{t.device, t.rollout}] = t
	f.ofDevice[t.device] = append(f.ofDevice[t.device], t)
}

func (f *trialFold) next() int64 {
	f.seq++
	return f.seq
}

func (f *trialFold) join(e *store.StoredEvent) {
	r := f.rollouts[text(e.Rollout)]
	device := DeviceKey(e.App, e.Device)
	if r == nil || r.app != text(e.App) || r.channel != text(e.Channel) || r.pkg != text(e.Package) || f.rows[trialKey{device, r.id}] != nil {
		return
	}
	arm, _ := armNumber(e.Arm)
	on := e.Release
	if arm == armControl {
		on = e.Running
	}
	t := &trialRow{device: device, rollout: r.id, arm: arm, id: rawDigest(e.Device), release: releaseBytes(on), network: text(e.Network),
		joined: f.next(), enrolled: micros(e.Received)}
	f.keep(t)
	f.note(t, r, e)
	f.log = append(f.log, []any{r.id, t.joined, device, 1})
	f.tally(t, tallyDelta{enrolled: 1})
}

func (f *trialFold) note(t *trialRow, r *rolloutRow, e *store.StoredEvent) {
	f.changed[trialKey{t.device, t.rollout}] = t
	r.last, r.touched = max(r.last, micros(e.Received)), true
}

func (f *trialFold) tally(t *trialRow, d tallyDelta) {
	k := tallyKey{t.rollout, t.arm, t.network}
	have := f.tallies[k]
	f.tallies[k] = tallyDelta{have.enrolled + d.enrolled, have.confirmed + d.confirmed, have.failed + d.failed, have.gone + d.gone}
}

func (f *trialFold) end(e *store.StoredEvent) {
	r := f.rollouts[text(e.Rollout)]
	if r == nil || r.app != text(e.App) {
		return
	}
	t := f.rows[trialKey{DeviceKey(e.App, e.Device), r.id}]
	if t == nil || t.ended != 0 || e.Arm != "" && e.Arm != armName(t.arm) || e.Release != "" && e.Release != releaseOf(t.release) {
		return
	}
	t.ending, t.ended, t.endedAt = store.TrialEnd(&e.Event), f.next(), micros(e.Received)
	if t.ending != store.TrialConfirmed {
		t.reason = text(string(e.Reason))
	}
	f.note(t, r, e)
	f.tally(t, tallyOf(t.ending))
	if t.ending == store.TrialLeft {
		return
	}
	f.log = append(f.log, []any{r.id, t.ended, t.device, 0})
	k := dayKey{r.id, floor(t.endedAt, 24*time.Hour)}
	have := f.days[k]
	f.days[k] = dayDelta{have.outcomes + 1, have.failed + tallyOf(t.ending).failed}
}

func tallyOf(ending store.TrialEnding) tallyDelta {
	switch ending {
	case store.TrialConfirmed:
		return tallyDelta{confirmed: 1}
	case store.TrialFailed:
		return tallyDelta{failed: 1}
	case store.TrialLeft:
		return tallyDelta{gone: 1}
	}
	return tallyDelta{}
}

// measure counts a measurement for the newest trials of the device that the event does not exclude: by rollout, package
// or the release that ran.
func (f *trialFold) measure(e *store.StoredEvent) {
	value, yesno, _ := measured(e.Value)
	metric := text(e.Metric)
	trials := f.ofDevice[DeviceKey(e.App, e.Device)]
	n := 0
	for i := len(trials) - 1; i >= 0 && n < maxMetricTrials; i-- {
		t := trials[i]
		r := f.byID[t.rollout]
		if r == nil || r.app != text(e.App) || e.Rollout != "" && r.name != text(e.Rollout) || e.Package != "" && r.pkg != text(e.Package) ||
			e.Channel != "" && r.channel != text(e.Channel) || e.Release != "" && e.Release != releaseOf(t.release) {
			continue
		}
		n++
		k := metricKey{t.device, t.rollout, metric}
		m := f.metrics[k]
		if m == nil {
			if f.metricsOf(t) >= maxMetricsPer {
				continue
			}
			m = &metricRow{yesno: yesno}
			f.metrics[k] = m
		}
		if sum := m.sum + value; math.Abs(sum) <= biggestMetric*float64(m.count+1) {
			m.count, m.sum, m.yesno, m.added = m.count+1, sum, m.yesno&yesno, true
		}
	}
}

func (f *trialFold) metricsOf(t *trialRow) (n int) {
	for k := range f.metrics {
		if k.device == t.device && k.rollout == t.rollout {
			n++
		}
	}
	return n
}

func (f *trialFold) save(ctx context.Context) error {
	steps := []func(context.Context) error{f.saveRows, f.saveTallies, f.saveMetrics}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	for _, r := range f.byID {
		if !r.touched {
			continue
		}
		if _, err := f.exec(ctx, `UPDATE trial_rollouts SET last = ? WHERE id = ?`, r.last, r.id); err != nil {
			return err
		}
	}
	return nil
}

func (f *trialFold) saveRows(ctx context.Context) error {
	var rows [][]any
	for _, k := range slices.SortedFunc(maps.Keys(f.changed), func(a, b trialKey) int {
		return cmp.Or(cmp.Compare(a.device, b.device), cmp.Compare(a.rollout, b.rollout))
	}) {
		rows = append(rows, f.changed[k].values())
	}
	if _, err := f.insertRows(ctx, `INSERT INTO trials (`+trialColumns+`)`, `ON CONFLICT (device, rollout) DO UPDATE SET
		ended = excluded.ended, ended_at = excluded.ended_at, ending = excluded.ending, reason = excluded.reason`, rows); err != nil {
		return err
	}
	_, err := f.insertRows(ctx, `INSERT INTO trial_log (rollout, seq, device, joined)`, ``, f.log)
	return err
}

func (f *trialFold) saveTallies(ctx context.Context) error {
	var rows [][]any
	for _, k := range slices.SortedFunc(maps.Keys(f.tallies), func(a, b tallyKey) int {
		return cmp.Or(cmp.Compare(a.rollout, b.rollout), cmp.Compare(a.arm, b.arm), strings.Compare(a.network, b.network))
	}) {
		d := f.tallies[k]
		rows = append(rows, []any{k.rollout, k.arm, k.network, d.enrolled, d.confirmed, d.failed, d.gone})
	}
	if _, err := f.insertRows(ctx, `INSERT INTO trial_tallies (rollout, arm, network, enrolled, confirmed, failed, gone)`,
		`ON CONFLICT (rollout, arm, network) DO UPDATE SET enrolled = trial_tallies.enrolled + excluded.enrolled,
			confirmed = trial_tallies.confirmed + excluded.confirmed, failed = trial_tallies.failed + excluded.failed, gone = trial_tallies.gone + excluded.gone`, rows); err != nil {
		return err
	}
	rows = nil
	for k, d := range f.days {
		rows = append(rows, []any{k.rollout, k.day, d.outcomes, d.failed})
	}
	_, err := f.insertRows(ctx, `INSERT INTO trial_days (rollout, day, outcomes, failed)`,
		`ON CONFLICT (rollout, day) DO UPDATE SET outcomes = trial_days.outcomes + excluded.outcomes, failed = trial_days.failed + excluded.failed`, rows)
	return err
}

func (f *trialFold) saveMetrics(ctx context.Context) error {
	var rows [][]any
	for k, m := range f.metrics {
		if m.added {
			rows = append(rows, []any{k.device, k.rollout, k.metric, m.count, m.sum, m.yesno})
		}
	}
	_, err := f.insertRows(ctx, `INSERT INTO trial_metrics (device, rollout, metric, count, sum, yesno)`,
		`ON CONFLICT (device, rollout, metric) DO UPDATE SET count = excluded.count, sum = excluded.sum, yesno = excluded.yesno`, rows)
	return err
}
