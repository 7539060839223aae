package watch

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/halt"
	"github.com/slipstream-ota/slipstream/store"
)

// spread makes room between two lines of the log, for the devices that were found silent after the first of them: the
// rule wants one rising number for every line.
const spread = 1 << 20

// Batch turns what the look ev took in into lines of the rule: the log's own first, then the silent devices. What a device
// tells that an earlier look has called silent is not heard any more, since the first end counts. began says when the
// stages of the plan began.
func Batch(before halt.State, lines, silent []store.Outcome, ev *store.Evaluation, began []slipstream.Time) []halt.Outcome {
	out := make([]halt.Outcome, 0, len(lines)+len(silent))
	at := before.Seq
	for _, o := range lines {
		late := !o.Joined && !o.Enrolled.After(ev.SilentFrom)
		if late {
			continue
		}
		at = o.Seq * spread
		line := halt.Outcome{Seq: at, At: o.At, Arm: o.Arm, Joined: o.Joined, Stage: stageOf(o.Enrolled, began), Failed: o.Failed, Device: o.Device, Network: o.Network}
		if !o.Joined {
			line.Enrolled = o.EnrolledSeq * spread
		}
		out = append(out, line)
	}
	for _, o := range silent {
		at++
		out = append(out, halt.Outcome{Seq: at, At: ev.SilentTo, Arm: o.Arm, Enrolled: o.EnrolledSeq * spread, Stage: stageOf(o.Enrolled, began), Silent: true, Device: o.Device, Network: o.Network})
	}
	return out
}

func stageOf(t time.Time, began []slipstream.Time) int {
	n := 0
	for i, b := range began {
		if !t.Before(b.Time) {
			n = i
		}
	}
	return n
}

// Seen is one look as it was kept, beside what running it again gives.
type Seen struct {
	Evaluation store.Evaluation
	Look       Look
	Again      halt.Verdict
	Same       bool
}

// Replay runs every look at a rollout again from the log. Same says of each whether the verdict comes out as it was kept;
// it cannot where devices were deleted from the log since.
func Replay(ctx context.Context, st store.Store, id string) ([]Seen, error) {
	var looks []store.Evaluation
	if err := st.View(ctx, func(tx store.Tx) (err error) {
		looks, err = tx.Log().Evidence().List(ctx, id, 0)
		return err
	}); err != nil {
		return nil, err
	}
	if len(looks) == 0 {
		return nil, fmt.Errorf("evidence of rollout %s: %w", id, slipstream.ErrNotFound)
	}
	var state halt.State
	out := make([]Seen, 0, len(looks))
	for _, ev := range looks {
		s := Seen{Evaluation: ev}
		if err := json.Unmarshal(ev.Doc, &s.Look); err != nil {
			return nil, fmt.Errorf("read look %d: %w", ev.N, err)
		}
		lines, err := between(ctx, st, &ev)
		if err != nil {
			return nil, err
		}
		var silent []store.Outcome
		if ev.SilentTo.After(ev.SilentFrom) {
			if silent, err = st.Reports().Trials().Silent(ctx, id, ev.SilentFrom, ev.SilentTo, ev.ToSeq); err != nil {
				return nil, fmt.Errorf("read silent devices: %w", err)
			}
		}
		if s.Look.Resumed {
			state = state.Resume()
		}
		state = s.Look.Rule.Step(state, Batch(state, lines, silent, &ev, s.Look.Began))
		s.Again = s.Look.Rule.Verdict(state)
		s.Same = same(s.Again, s.Look.Verdict)
		out = append(out, s)
	}
	return out, nil
}

// between gives the lines of the log that a look took in.
func between(ctx context.Context, st store.Store, ev *store.Evaluation) ([]store.Outcome, error) {
	lines, err := st.Reports().Trials().Outcomes(ctx, ev.Rollout, ev.FromSeq, batchLimit)
	if err != nil {
		return nil, fmt.Errorf("read outcomes: %w", err)
	}
	for i, o := range lines {
		if o.Seq > ev.ToSeq {
			return lines[:i], nil
		}
	}
	return lines, nil
}

// same compares verdicts by their JSON, in which they were kept.
func same(a, b halt.Verdict) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}
