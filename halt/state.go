package halt

import (
	"slices"
	"time"
)

// State is everything the rule remembers of a log: its size does not grow with the number of devices. The zero value
// is the state of an empty log. It is a value: Step never changes the one it is given. Its JSON form is stored with
// every decision; the log weights in it are natural logarithms.
type State struct {
	Seq int64     `json:"seq"` // of the last line taken in
	At  time.Time `json:"at"`

	// Ratio and Ceiling are those of the rule that took in the first line. Later ones have no effect on this state: the
	// weights below are products of factors that must belong together.
	Ratio   float64 `json:"ratio"`
	Ceiling float64 `json:"ceiling"`

	Rel [ratios]float64   `json:"rel"` // log weight of each alternative
	Abs [ceilings]float64 `json:"abs"`
	Sil [ratios]float64   `json:"sil"`

	Treated    Counts `json:"treated"`
	Control    Counts `json:"control"`
	NotCounted int64  `json:"not_counted"` // joined, above the share of their network
	Ignored    int64  `json:"ignored"`

	// Harmed is how many counted devices failed or fell silent, by arm.
	HarmedTreated int64 `json:"harmed_treated"`
	HarmedControl int64 `json:"harmed_control"`

	Stages   []StageCount `json:"stages,omitempty"`
	Cohorts  []Cohort     `json:"cohorts,omitempty"`
	Crowds   []Crowd      `json:"crowds,omitempty"`
	Suspects []Suspect    `json:"suspects,omitempty"`
	Crossed  *Crossing    `json:"crossed,omitempty"`
}

// Counts is what is known of one arm, of all devices whether they weigh or not.
type Counts struct {
	Joined    int64     `json:"joined"`
	Confirmed int64     `json:"confirmed"`
	Failed    int64     `json:"failed"`
	Silent    int64     `json:"silent"`
	Heard     time.Time `json:"heard"` // when a device was last heard
}

func (c Counts) heard() int64 { return c.Confirmed + c.Failed }

// StageCount is how many counted devices joined each arm in one stage.
type StageCount struct {
	Stage   int   `json:"stage"`
	Treated int64 `json:"treated"`
	Control int64 `json:"control"`
}

// Cohort is devices that joined one after the other in one stage. Only they are compared with each other.
type Cohort struct {
	From  int64  `json:"from"` // Seq of its first Joined line
	Stage int    `json:"stage"`
	Full  int64  `json:"full"` // joined devices at which the next one begins
	N     int64  `json:"n"`    // joined, counted or not
	T     Pool   `json:"t"`
	C     Pool   `json:"c"`
	Thin  []Thin `json:"thin,omitempty"`
}

// Pool is the counted devices of a cohort in one arm.
type Pool struct {
	Joined int64 `json:"joined"`
	Failed int64 `json:"failed"`
	Silent int64 `json:"silent"`
}

// Thin says which part of a crowded network's devices counts in a cohort, in 65536ths.
type Thin struct {
	Network string `json:"network"`
	Keep    uint32 `json:"keep"`
}

const (
	cohortLeast = 100 // devices in the smallest cohort
	cohortPart  = 16  // a cohort is at least this part of what joined before it, so that a large fleet has few cohorts
	cohortsMost = 512 // about 10,000 times the devices there are; a plan that flaps between stages ends here
)

// clone makes everything that Step changes in place its own.
func (s State) clone() State {
	s.Stages = slices.Clone(s.Stages)
	s.Cohorts = slices.Clone(s.Cohorts)
	s.Crowds = slices.Clone(s.Crowds)
	s.Suspects = slices.Clone(s.Suspects)
	return s
}

// Step takes in what arrived since the last evaluation and gives the new state. It looks at the evidence after every
// line that can raise it, so a crossing between two evaluations is not missed. Bad lines are counted in Ignored.
func (r Rule) Step(s State, batch []Outcome) State {
	s = s.clone()
	if s.Ratio == 0 {
		s.Ratio, s.Ceiling = r.AllowedRatio, r.ceiling()
	}
	st := &step{State: s, rule: r, odds: newOdds(s.Ceiling), places: make(map[string]int, tracked)}
	for i, c := range s.Crowds {
		st.places[c.Network] = i
	}
	// Who joined is taken in first: arms and networks are known before any outcome is looked at.
	good := make([]bool, len(batch))
	seen := make(map[once]bool, len(batch))
	for i := range batch {
		if good[i] = st.admit(&batch[i], seen); good[i] && batch[i].Enrolled == 0 {
			st.join(&batch[i])
		}
	}
	for i := range batch {
		if good[i] && !batch[i].Joined {
			st.end(&batch[i])
		}
	}
	return st.State
}

// step is one Step under way.
type step struct {
	State
	rule   Rule
	odds   odds
	places map[string]int // of a network in Crowds
}

// once is a device with a join or an end.
type once struct {
	device string
	joined bool
}

// admit reports whether the line is in order and well formed, and notes that it was seen.
func (st *step) admit(o *Outcome, seen map[once]bool) bool {
	key := once{o.Device, o.Joined}
	bad := o.Seq <= st.Seq ||
		o.Arm != Treatment && o.Arm != Control ||
		o.Joined && (o.Failed || o.Silent || o.Enrolled != 0) ||
		o.Enrolled < 0 || o.Enrolled >= o.Seq ||
		o.Device != "" && seen[key]
	st.Seq = max(st.Seq, o.Seq)
	if o.At.After(st.At) {
		st.At = o.At
	}
	if bad {
		st.Ignored++
		return false
	}
	if o.Device != "" {
		seen[key] = true
	}
	return true
}

func (st *step) join(o *Outcome) {
	arm := st.arm(o.Arm)
	arm.Joined++
	c := st.cohort(o)
	c.N++
	counted := c.counts(o.Network, o.Seq)
	st.crowd(o, counted)
	if !counted {
		st.NotCounted++
		return
	}
	i := slices.IndexFunc(st.Stages, func(n StageCount) bool { return n.Stage == o.Stage })
	if i < 0 {
		i = len(st.Stages)
		st.Stages = append(st.Stages, StageCount{Stage: o.Stage})
	}
	if o.Arm == Control {
		c.C.Joined++
		st.Stages[i].Control++
		return
	}
	c.T.Joined++
	st.Stages[i].Treated++
	for k, a := range st.odds {
		st.Abs[k] += a.good
	}
}

// end takes in what a trial came to. A device that joined counts against a failing release from its first line on: a
// later failure takes that back.
func (st *step) end(o *Outcome) {
	at := o.Seq
	if o.Enrolled != 0 {
		at = o.Enrolled
	}
	c := st.cohortOf(at)
	if c == nil {
		st.Ignored++
		return
	}
	arm, pool := st.arm(o.Arm), &c.T
	if o.Arm == Control {
		pool = &c.C
	}
	counted := c.counts(o.Network, at)
	if counted && (o.Failed || o.Silent) && pool.Failed+pool.Silent >= pool.Joined {
		st.Ignored++ // more ends than devices that joined
		return
	}
	switch {
	case o.Failed:
		arm.Failed++
	case o.Silent:
		arm.Silent++
	default:
		arm.Confirmed++
	}
	if !o.Silent && o.At.After(arm.Heard) {
		arm.Heard = o.At
	}
	if counted && (o.Failed || o.Silent) {
		st.harm(o, c, pool)
	}
}

// harm turns a failed or silent device into evidence.
func (st *step) harm(o *Outcome, c *Cohort, pool *Pool) {
	treated := o.Arm == Treatment
	gone := func(p Pool) int64 {
		if o.Failed {
			return p.Joined - p.Failed
		}
		return p.Joined - p.Silent
	}
	factors := ratioFactors(st.Ratio, gone(c.T), gone(c.C), treated)
	who := st.suspect(o.Network)
	weights, blame := &st.Sil, &who.Sil
	if o.Failed {
		pool.Failed++
		weights, blame = &st.Rel, &who.Rel
	} else {
		pool.Silent++
	}
	for k, f := range factors {
		weights[k] += f
	}
	if !treated {
		st.HarmedControl++
		who.Control++
		return
	}
	st.HarmedTreated++
	who.Treated++
	for k, f := range factors {
		blame[k] += f
	}
	if o.Failed {
		who.Failed++
		for k, a := range st.odds {
			st.Abs[k] += a.bad - a.good
		}
	}
	if st.Crossed == nil && st.rule.halts(&st.State, &st.odds) {
		st.Crossed = &Crossing{Seq: o.Seq, At: o.At, E: st.evidence(nil).mean(), Treated: st.Treated.Joined,
			Failed: st.Treated.Failed + st.Treated.Silent}
	}
}

func (s *State) arm(a Arm) *Counts {
	if a == Control {
		return &s.Control
	}
	return &s.Treated
}

// cohort is the one that takes the device of o in. When it is full or the stage changes, the next one is opened; what
// the networks may weigh in it is settled at that moment, before anything is known of its devices.
func (st *step) cohort(o *Outcome) *Cohort {
	if n := len(st.Cohorts); n > 0 {
		c := &st.Cohorts[n-1]
		if c.Stage == o.Stage && c.N < c.Full || n >= cohortsMost {
			return c
		}
	}
	c := Cohort{From: o.Seq, Stage: o.Stage}
	c.Full = max(cohortLeast, (st.Treated.Joined+st.Control.Joined)/cohortPart)
	c.Thin = st.thin(c.Full, o.Stage)
	st.Cohorts = append(st.Cohorts, c)
	return &st.Cohorts[len(st.Cohorts)-1]
}

// cohortOf finds the cohort of the device whose Joined line has this Seq; nil: it joined before the log began.
func (s *State) cohortOf(seq int64) *Cohort {
	if n := len(s.Cohorts); n > 0 && s.Cohorts[n-1].From <= seq {
		return &s.Cohorts[n-1]
	}
	i, found := slices.BinarySearchFunc(s.Cohorts, seq, func(c Cohort, seq int64) int {
		switch {
		case c.From < seq:
			return -1
		case c.From > seq:
			return 1
		}
		return 0
	})
	if !found {
		i--
	}
	if i < 0 {
		return nil
	}
	return &s.Cohorts[i]
}

// Resume is the state after a person resumed a halted rollout: what is known of the devices stays, the evidence begins
// anew, because a person has answered for what it said so far.
func (s State) Resume() State {
	s = s.clone()
	s.Rel, s.Abs, s.Sil = [ratios]float64{}, [ceilings]float64{}, [ratios]float64{}
	s.HarmedTreated, s.HarmedControl = 0, 0
	s.Suspects, s.Crossed = nil, nil
	// The next device opens a cohort: a failure of one that joined before must not take back a factor that is gone.
	s.Cohorts = nil
	return s
}

// Replay evaluates batches from the beginning, as they were evaluated, and gives the evidence after each.
func (r Rule) Replay(batches [][]Outcome) []Point {
	points := make([]Point, 0, len(batches))
	var s State
	for _, b := range batches {
		s = r.Step(s, b)
		points = append(points, Point{Seq: s.Seq, At: s.At, Verdict: r.Verdict(s)})
	}
	return points
}

// mix spreads a Seq over all 64 bits (the finaliser of SplitMix64, Steele, Lea and Flood 2014). A device cannot choose
// its place in the log, so it cannot choose whether it counts.
func mix(seq int64) uint64 {
	z := uint64(seq) + 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
