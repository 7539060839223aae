package api

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/slipstream-ota/slipstream/halt/compare"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/store"
)

func (a ComparedArm) count(tally map[string]store.Tally) ComparedArm {
	t := tally[a.Arm]
	a.Enrolled, a.Confirmed, a.Failed = t.Enrolled, t.Confirmed, t.Failed
	return a
}

// tellApart gives every arm a name of its own.
func tellApart(arms []ComparedArm) {
	names := map[string]int{}
	for _, a := range arms {
		names[a.Name]++
	}
	for i := range arms {
		if names[arms[i].Name] > 1 {
			arms[i].Name += " (" + arms[i].Rollout + ")"
		}
	}
}

// metricNames are the metrics to compare: only the one that is asked for, else works and all that were reported.
func metricNames(metrics map[string][]store.MetricRow, only string) []string {
	if only != "" {
		return []string{only}
	}
	names := map[string]bool{}
	for _, rows := range metrics {
		for _, r := range rows {
			names[r.Metric] = true
		}
	}
	delete(names, MetricWorks)
	return append([]string{MetricWorks}, slices.Sorted(maps.Keys(names))...)
}

// comparison is one metric's test.
type comparison struct{ compare.Test }

func (c comparison) metric(arms []ComparedArm, metrics map[string][]store.MetricRow) (compare.Result, error) {
	in := make([]compare.Arm, len(arms))
	rows := make([]store.MetricRow, len(arms))
	c.Kind = compare.YesNo
	for i, a := range arms {
		in[i] = compare.Arm{Name: a.Name, Joined: a.Enrolled}
		for _, r := range metrics[a.Rollout] {
			if r.Arm == a.Arm && r.Metric == c.Metric {
				rows[i] = r
			}
		}
		if rows[i].Devices > 0 && !yesOrNo(rows[i]) {
			c.Kind = compare.Number
		}
	}
	if c.Metric == MetricWorks {
		c.Kind, c.Better = compare.YesNo, compare.Higher
	}
	for i, a := range arms {
		switch r := rows[i]; {
		case c.Metric == MetricWorks:
			in[i].Sums = compare.Sums{Count: a.Confirmed + a.Failed, Yes: a.Confirmed}
		case c.Kind == compare.YesNo:
			in[i].Sums = compare.Sums{Count: r.Devices, Yes: int64(math.Round(r.Sum))}
		default:
			in[i].Sums = compare.Sums{Count: r.Devices, Mean: r.Mean, M2: r.M2}
		}
		in[i].Joined = max(in[i].Joined, in[i].Sums.Count) // an enrolment may have been forgotten since
	}
	return c.Compare(in)
}

// yesOrNo reports whether every device said the same each time: the mean of its values is 0 or 1.
func yesOrNo(r store.MetricRow) bool {
	return r.Binary && math.Abs(r.Sum-math.Round(r.Sum)) < 1e-6 && math.Abs(r.Squares-r.Sum) < 1e-6
}

// doubtSizes holds the sizes of the arms against their shares, of the devices that enrolled since anything was changed.
// The arms of a single rollout, treatment and control, are only comparable while nothing was changed at all: later the
// control group has mostly enrolled already, and the newly included devices have not.
func (s *Server) doubtSizes(ctx context.Context, out *Comparison, entries []rollout.Entry, changed map[string]time.Time) error {
	since := changed[entries[0].ID]
	for _, e := range entries {
		since = later(since, changed[e.ID])
	}
	started := entries[0].Created.Add(time.Second) // it is kept to the second
	if len(entries) == 1 && since.After(started) || slices.ContainsFunc(out.Arms, func(a ComparedArm) bool { return a.Share <= 0 }) {
		return nil
	}
	joined := map[string][]time.Time{} // by rollout and arm
	var upTo time.Time
	for _, e := range entries {
		full, err := s.joins(ctx, e.ID, since, joined)
		if err != nil {
			return err
		}
		if !full.IsZero() && (upTo.IsZero() || full.Before(upTo)) {
			upTo = full
		}
	}
	arms := make([]compare.Arm, len(out.Arms))
	for i, a := range out.Arms {
		arms[i] = compare.Arm{Name: a.Name, Share: float64(a.Share)}
		for _, at := range joined[a.Rollout+"/"+a.Arm] {
			if upTo.IsZero() || !at.After(upTo) {
				arms[i].Joined++
			}
		}
	}
	r, err := compare.Test{Metric: MetricWorks, Kind: compare.YesNo, Better: compare.Higher}.Compare(arms)
	if err != nil {
		return err
	}
	out.Since, out.Doubt = &since, r.Doubt
	return nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// joins reads when devices enrolled in a rollout, from since on. When there are too many it stops, and says at what time.
func (s *Server) joins(ctx context.Context, id string, since time.Time, joined map[string][]time.Time) (full time.Time, err error) {
	for after, n := int64(0), 0; ; {
		list, err := s.cfg.Store.Reports().Trials().Outcomes(ctx, id, after, joinsRead)
		if err != nil {
			return full, fmt.Errorf("read enrolments: %w", err)
		}
		for _, o := range list {
			after = o.Seq
			if !o.Joined || o.At.Before(since) {
				continue
			}
			joined[id+"/"+o.Arm] = append(joined[id+"/"+o.Arm], o.At)
			if n++; n >= joinsMost {
				return o.At, nil
			}
		}
		if len(list) < joinsRead {
			return full, nil
		}
	}
}
