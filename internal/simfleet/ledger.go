package simfleet

import (
	"slices"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// ledger is what one device told, so that it can be held against what the server counted: of each release and kind once,
// and of each rollout how the trial of the first arm ended.
type ledger struct {
	marks  []mark
	trials []trial
}

type mark struct {
	release slipstream.Digest
	kind    slipstream.Kind
	times   int
}

type trial struct {
	rollout, arm string
	release      slipstream.Digest // on trial, or what a control device runs
	ending       store.TrialEnding
	gone         bool // the enrolment was never told
}

func (l *ledger) note(e *slipstream.Event) {
	i := slices.IndexFunc(l.marks, func(m mark) bool { return m.release == e.Release && m.kind == e.Kind })
	if i < 0 {
		i = len(l.marks)
		l.marks = append(l.marks, mark{release: e.Release, kind: e.Kind})
	}
	l.marks[i].times++
	t := l.trialOf(e.Rollout)
	switch {
	case e.Rollout == "":
	case e.Kind == slipstream.KindEnrolled && t == nil:
		on := e.Release
		if e.Arm == slipstream.ArmControl {
			on = e.Running
		}
		l.trials = append(l.trials, trial{rollout: e.Rollout, arm: e.Arm, release: on})
	case t != nil && t.ending == store.TrialGoesOn && t.release == e.Release:
		t.ending = store.TrialEnd(e)
	}
}

func (l *ledger) trialOf(rollout string) *trial {
	i := slices.IndexFunc(l.trials, func(t trial) bool { return t.rollout == rollout })
	if i < 0 {
		return nil
	}
	return &l.trials[i]
}

// untold takes back an event that no server took.
func (l *ledger) untold(e *slipstream.Event) {
	if i := slices.IndexFunc(l.marks, func(m mark) bool { return m.release == e.Release && m.kind == e.Kind }); i >= 0 {
		l.marks[i].times--
	}
	t := l.trialOf(e.Rollout)
	switch {
	case t == nil:
	case e.Kind == slipstream.KindEnrolled && e.Arm == t.arm:
		t.gone = true
	case t.ending != store.TrialGoesOn && t.release == e.Release && store.TrialEnd(e) == t.ending:
		t.ending = store.TrialGoesOn
	}
}

// Tally is what came of the devices of one arm of a rollout, by what they told.
type Tally struct {
	Rollout   string            `json:"rollout"`
	Arm       string            `json:"arm"`
	Release   slipstream.Digest `json:"release,omitempty"` // that the rollout offers, when a device of this fleet was offered it
	Version   string            `json:"version,omitempty"`
	Enrolled  int64             `json:"enrolled"`
	Confirmed int64             `json:"confirmed"`
	Failed    int64             `json:"failed"`
	Left      int64             `json:"left,omitempty"` // for something else, without a verdict
}

// Told is how many devices told one kind of thing of a release.
type Told struct {
	Release slipstream.Digest `json:"release,omitempty"`
	Version string            `json:"version,omitempty"`
	Kind    slipstream.Kind   `json:"kind"`
	Devices int64             `json:"devices"`
	Lied    int64             `json:"lied,omitempty"` // senders beside them that only say so
}

func (c *counts) tally(all map[[2]string]*Tally, one trial) {
	key := [2]string{one.rollout, one.arm}
	t := all[key]
	if t == nil {
		release := c.rollouts[one.rollout]
		t = &Tally{Rollout: one.rollout, Arm: one.arm, Release: release, Version: c.versions[release]}
		all[key] = t
	}
	t.Enrolled++
	switch one.ending {
	case store.TrialConfirmed:
		t.Confirmed++
	case store.TrialFailed:
		t.Failed++
	case store.TrialLeft:
		t.Left++
	}
}
