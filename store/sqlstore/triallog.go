package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

var _ store.Trials = trials{}

// trials reads the log.
type trials struct{ r *Reports }

// Trials implements store.Reports.
func (r *Reports) Trials() store.Trials { return trials{r} }

// Outcomes implements store.Trials.
func (t trials) Outcomes(ctx context.Context, rollout string, after int64, n int) ([]store.Outcome, error) {
	out, err := read(t.r, func(c conn) ([]store.Outcome, error) {
		return list(ctx, c, func(s scanner) (store.Outcome, error) {
			row, o, joined := trialRow{}, store.Outcome{Rollout: rollout}, 0
			err := s.Scan(&o.Seq, &joined, &row.id, &row.arm, &o.Network, &o.EnrolledSeq, &row.enrolled, (*int)(&row.ending), &row.reason, &row.endedAt)
			o.Device, o.Arm, o.Joined, o.Enrolled = hex.EncodeToString(row.id), armName(row.arm), joined == 1, instant(row.enrolled)
			if o.At = o.Enrolled; !o.Joined {
				o.At, o.Failed, o.Reason = instant(row.endedAt), row.ending == store.TrialFailed, slipstream.Reason(row.reason)
			}
			return o, err
		}, `SELECT l.seq, l.joined, t.id, t.arm, t.network, t.joined, t.enrolled, t.ending, t.reason, t.ended_at
			FROM trial_log l JOIN trials t ON t.device = l.device AND t.rollout = l.rollout
			WHERE l.rollout = (SELECT id FROM trial_rollouts WHERE rollout = ?) AND l.seq > ? ORDER BY l.seq`+limit(orDefault(n, defaultLines)), text(rollout), after)
	})
	return out, about(err, "outcomes of rollout %s", rollout)
}

// Silent implements store.Trials.
func (t trials) Silent(ctx context.Context, rollout string, after, upTo time.Time, asOf int64) ([]store.Outcome, error) {
	if asOf <= 0 {
		asOf = math.MaxInt64
	}
	out, err := read(t.r, func(c conn) ([]store.Outcome, error) {
		return list(ctx, c, func(s scanner) (store.Outcome, error) {
			row, o := trialRow{}, store.Outcome{Rollout: rollout}
			err := s.Scan(&row.id, &row.arm, &o.Network, &o.EnrolledSeq, &row.enrolled)
			o.Device, o.Arm, o.Enrolled = hex.EncodeToString(row.id), armName(row.arm), instant(row.enrolled)
			return o, err
		}, `SELECT id, arm, network, joined, enrolled FROM trials WHERE rollout = (SELECT id FROM trial_rollouts WHERE rollout = ?)
			AND enrolled > ? AND enrolled <= ? AND joined <= ? AND (ended = 0 OR ended > ?) ORDER BY enrolled, id`,
			text(rollout), micros(after), micros(upTo), asOf, asOf)
	})
	return out, about(err, "silent devices of rollout %s", rollout)
}

// Tally implements store.Trials.
func (t trials) Tally(ctx context.Context, rollout string) (map[string]store.Tally, error) {
	out := map[string]store.Tally{}
	_, err := read(t.r, func(c conn) ([]struct{}, error) {
		return list(ctx, c, func(s scanner) (struct{}, error) {
			var arm int64
			var y store.Tally
			err := s.Scan(&arm, &y.Enrolled, &y.Confirmed, &y.Failed, &y.Left, &y.Networks)
			out[armName(arm)] = y
			return struct{}{}, err
		}, `SELECT arm, CAST(SUM(enrolled) AS BIGINT), CAST(SUM(confirmed) AS BIGINT), CAST(SUM(failed) AS BIGINT), CAST(SUM(gone) AS BIGINT), COUNT(*)
			FROM trial_tallies WHERE rollout = (SELECT id FROM trial_rollouts WHERE rollout = ?) AND enrolled > 0 GROUP BY arm`, text(rollout))
	})
	return out, about(err, "count trials of rollout %s", rollout)
}

// Delays implements store.Trials.
func (t trials) Delays(ctx context.Context, rollout, arm string, n int) ([]time.Duration, error) {
	number, ok := armNumber(arm)
	if !ok {
		return nil, slipstream.Invalidf("arm %q is neither %s nor %s", arm, slipstream.ArmTreatment, slipstream.ArmControl)
	}
	out, err := read(t.r, func(c conn) ([]time.Duration, error) {
		return list(ctx, c, func(s scanner) (time.Duration, error) {
			var us int64
			err := s.Scan(&us)
			return time.Duration(us) * time.Microsecond, err
		}, `SELECT t.ended_at - t.enrolled FROM trial_log l JOIN trials t ON t.device = l.device AND t.rollout = l.rollout
			WHERE l.rollout = (SELECT id FROM trial_rollouts WHERE rollout = ?) AND l.joined = 0 AND t.arm = ? ORDER BY l.seq DESC`+limit(orDefault(n, defaultLines)), text(rollout), number)
	})
	return out, about(err, "delays of rollout %s", rollout)
}

// BaseRate implements store.Trials.
func (t trials) BaseRate(ctx context.Context, app, channel, pkg string, since time.Time) (outcomes, failed int64, err error) {
	_, err = read(t.r, func(c conn) (struct{}, error) {
		return struct{}{}, c.one(ctx, `SELECT CAST(COALESCE(SUM(d.outcomes), 0) AS BIGINT), CAST(COALESCE(SUM(d.failed), 0) AS BIGINT)
			FROM trial_rollouts r JOIN trial_days d ON d.rollout = r.id WHERE r.app = ? AND r.channel = ? AND r.package = ? AND d.day >= ?`,
			[]any{text(app), text(channel), text(pkg), floor(micros(since), 24*time.Hour)}, &outcomes, &failed)
	})
	return outcomes, failed, about(err, "base rate of channel %s", channel)
}

// Metrics implements store.Trials. The spread is taken in one pass that stays exact for values far from zero.
func (t trials) Metrics(ctx context.Context, rollout string) ([]store.MetricRow, error) {
	type group struct {
		arm    int64
		metric string
	}
	sums := map[group]*store.MetricRow{}
	_, err := read(t.r, func(c conn) (struct{}, error) {
		return struct{}{}, each(ctx, c, func(s scanner) error {
			var g group
			var n, yesno int64
			var sum float64
			if err := s.Scan(&g.arm, &g.metric, &n, &sum, &yesno); err != nil {
				return err
			}
			m := sums[g]
			if m == nil {
				m = &store.MetricRow{Arm: armName(g.arm), Metric: g.metric, Binary: true}
				sums[g] = m
			}
			x := sum / float64(n)
			m.Devices++
			delta := x - m.Mean
			m.Mean += delta / float64(m.Devices)
			m.M2 += delta * (x - m.Mean)
			m.Sum, m.Squares, m.Binary = m.Sum+x, m.Squares+x*x, m.Binary && yesno == 1
			return nil
		}, `SELECT t.arm, m.metric, m.count, m.sum, m.yesno FROM trials t JOIN trial_metrics m ON m.device = t.device AND m.rollout = t.rollout
			WHERE t.rollout = (SELECT id FROM trial_rollouts WHERE rollout = ?)`, text(rollout))
	})
	out := make([]store.MetricRow, 0, len(sums))
	for _, g := range slices.SortedFunc(maps.Keys(sums), func(a, b group) int {
		return cmp.Or(strings.Compare(armName(a.arm), armName(b.arm)), strings.Compare(a.metric, b.metric))
	}) {
		out = append(out, *sums[g])
	}
	return out, about(err, "metrics of rollout %s", rollout)
}

// each calls fn for every row without keeping them.
func each(ctx context.Context, c conn, fn func(scanner) error, query string, args ...any) (err error) {
	rows, err := c.q.QueryContext(ctx, c.d.bind(query), args...)
	if err != nil {
		return c.d.explain(err)
	}
	defer func() { err = c.d.explain(errors.Join(err, rows.Close())) }()
	for rows.Next() {
		if err := fn(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// trialsOf gives the enrolments of a device, the newest first.
func trialsOf(ctx context.Context, c conn, app, device string) ([]store.DeviceTrial, error) {
	key := DeviceKey(app, device)
	out, err := list(ctx, c, func(s scanner) (store.DeviceTrial, error) {
		var t store.DeviceTrial
		var arm, enrolled, ended int64
		var release []byte
		err := s.Scan(&t.Rollout, &t.Channel, &t.Package, &arm, &t.Network, &release, &enrolled, &ended, (*int)(&t.Ending), (*string)(&t.Reason))
		t.Arm, t.Release, t.Enrolled, t.Ended = armName(arm), releaseOf(release), instant(enrolled), instant(ended)
		return t, err
	}, `SELECT r.rollout, r.channel, r.package, t.arm, t.network, t.release, t.enrolled, t.ended_at, t.ending, t.reason
		FROM trials t JOIN trial_rollouts r ON r.id = t.rollout WHERE t.device = ? AND r.app = ? ORDER BY t.joined DESC`, key, text(app))
	if err != nil || len(out) == 0 {
		return out, err
	}
	err = each(ctx, c, func(s scanner) error {
		var rollout string
		var m store.DeviceMetric
		if err := s.Scan(&rollout, &m.Metric, &m.Count, &m.Sum); err != nil {
			return err
		}
		for i := range out {
			if out[i].Rollout == rollout {
				out[i].Metrics = append(out[i].Metrics, m)
			}
		}
		return nil
	}, `SELECT r.rollout, m.metric, m.count, m.sum FROM trial_metrics m JOIN trial_rollouts r ON r.id = m.rollout
		WHERE m.device = ? AND r.app = ? ORDER BY m.rollout, m.metric`, key, text(app))
	return out, err
}

// forgetTrials deletes a device's trials and its part of what was summed up.
func forgetTrials(ctx context.Context, c conn, device int64) error {
	if _, err := lockTrials(ctx, c); err != nil {
		return err
	}
	rows, err := list(ctx, c, scanTrial, `SELECT `+trialColumns+` FROM trials WHERE device = ?`, device)
	if err != nil {
		return err
	}
	type statement struct {
		query string
		args  []any
	}
	for _, t := range rows {
		d := tallyOf(t.ending)
		todo := []statement{
			{`DELETE FROM trial_log WHERE rollout = ? AND seq IN (?, ?)`, []any{t.rollout, t.joined, t.ended}},
			{`UPDATE trial_tallies SET enrolled = enrolled - 1, confirmed = confirmed - ?, failed = failed - ?, gone = gone - ?
				WHERE rollout = ? AND arm = ? AND network = ?`, []any{d.confirmed, d.failed, d.gone, t.rollout, t.arm, t.network}},
			{`DELETE FROM trial_tallies WHERE rollout = ? AND arm = ? AND network = ? AND enrolled <= 0`, []any{t.rollout, t.arm, t.network}},
			{`UPDATE trial_days SET outcomes = outcomes - ?, failed = failed - ? WHERE rollout = ? AND day = ?`,
				[]any{d.confirmed + d.failed, d.failed, t.rollout, floor(t.endedAt, 24*time.Hour)}},
		}
		for _, s := range todo {
			if _, err := c.exec(ctx, s.query, s.args...); err != nil {
				return err
			}
		}
	}
	if _, err := c.exec(ctx, `DELETE FROM trial_metrics WHERE device = ?`, device); err != nil {
		return err
	}
	_, err = c.exec(ctx, `DELETE FROM trials WHERE device = ?`, device)
	return err
}

// expireTrials deletes whole rollouts, so that a log that is there is there from its beginning.
func (r *Reports) expireTrials(ctx context.Context, before time.Time) (int64, error) {
	ids, err := read(r, func(c conn) ([]int64, error) {
		return list(ctx, c, func(s scanner) (id int64, err error) { return id, s.Scan(&id) }, `SELECT id FROM trial_rollouts WHERE last < ? ORDER BY id`, micros(before))
	})
	if err != nil {
		return 0, err
	}
	var total int64
	for _, id := range ids {
		for done := false; !done; {
			err := r.Write(ctx, func(tx *sql.Tx) (err error) {
				done, err = expireSome(ctx, conn{tx, r.Dialect}, id, micros(before))
				return err
			})
			if err != nil {
				return total, err
			}
		}
		total++
	}
	return total, nil
}

// expireSome deletes a part of a rollout's rows and says whether that was all. A rollout that came to life again stays.
func expireSome(ctx context.Context, c conn, id, before int64) (done bool, err error) {
	if _, err := lockTrials(ctx, c); err != nil {
		return false, err
	}
	var old int64
	if err := c.one(ctx, `SELECT COUNT(*) FROM trial_rollouts WHERE id = ? AND last < ?`, []any{id, before}, &old); err != nil || old == 0 {
		return true, err
	}
	const some = `(SELECT device, rollout FROM trials WHERE rollout = ? ORDER BY enrolled, device LIMIT ?)`
	if _, err := c.exec(ctx, `DELETE FROM trial_metrics WHERE (device, rollout) IN `+some, id, expireStep); err != nil {
		return false, err
	}
	n, err := c.exec(ctx, `DELETE FROM trials WHERE (device, rollout) IN `+some, id, expireStep)
	if err != nil || n == expireStep {
		return false, err
	}
	for _, query := range []string{`DELETE FROM trial_log WHERE rollout = ?`, `DELETE FROM trial_tallies WHERE rollout = ?`,
		`DELETE FROM trial_days WHERE rollout = ?`, `DELETE FROM trial_rollouts WHERE id = ?`} {
		if _, err := c.exec(ctx, query, id); err != nil {
			return false, err
		}
	}
	return true, nil
}
