package halt

import "slices"

// Crowd is a network with many devices. The list has the networks with the most devices: a new network takes the place
// of the smallest and inherits its numbers (Space-Saving, Metwally, Agrawal and El Abbadi 2005), so a number is never
// below the truth and at most 1/64 of all devices above it.
type Crowd struct {
	Network string `json:"network"`
	Joined  int64  `json:"joined"`
	Counted int64  `json:"counted"` // of them
	// Stage is the last one in which a device of it joined; Treated and Control are its counted devices there.
	Stage   int   `json:"stage"`
	Treated int64 `json:"treated"`
	Control int64 `json:"control"`
}

// Suspect is a network with failed or silent devices, listed like a Crowd: what it seems to have said against the
// release is never less than what it said.
type Suspect struct {
	Network string          `json:"network"`
	Treated int64           `json:"treated"` // counted devices that failed or fell silent
	Failed  int64           `json:"failed"`  // of them failed
	Control int64           `json:"control"` // the same in the control
	Rel     [ratios]float64 `json:"rel"`     // log weight that its treated devices brought
	Sil     [ratios]float64 `json:"sil"`
}

const (
	tracked = 64 // networks in each list: one that is not there has less than 1/64 of the devices
	slack   = 8  // devices of one network that count whatever its share, so that a fleet can begin anywhere
	keepAll = 1 << 16
)

func (st *step) crowd(o *Outcome, counted bool) {
	i, known := st.places[o.Network]
	switch {
	case known:
	case len(st.Crowds) < tracked:
		i = len(st.Crowds)
		st.Crowds = append(st.Crowds, Crowd{Network: o.Network})
	default:
		i = least(len(st.Crowds), func(i int) int64 { return st.Crowds[i].Joined })
		delete(st.places, st.Crowds[i].Network)
		st.Crowds[i].Network = o.Network
	}
	st.places[o.Network] = i
	c := &st.Crowds[i]
	if c.Stage != o.Stage {
		c.Stage, c.Treated, c.Control = o.Stage, 0, 0
	}
	c.Joined++
	if !counted {
		return
	}
	c.Counted++
	if o.Arm == Treatment {
		c.Treated++
	} else {
		c.Control++
	}
}

func (st *step) suspect(network string) *Suspect {
	i := slices.IndexFunc(st.Suspects, func(s Suspect) bool { return s.Network == network })
	if i < 0 {
		if len(st.Suspects) < tracked {
			i = len(st.Suspects)
			st.Suspects = append(st.Suspects, Suspect{Network: network})
		} else {
			i = least(len(st.Suspects), func(i int) int64 { return st.Suspects[i].Treated + st.Suspects[i].Control })
			st.Suspects[i].Network = network
		}
	}
	return &st.Suspects[i]
}

// least is the first of the n places with the smallest number.
func least(n int, number func(int) int64) int {
	best := 0
	for i := 1; i < n; i++ {
		if number(i) < number(best) {
			best = i
		}
	}
	return best
}

// counts reports whether the device of this network whose Joined line has this Seq counts. The answer is the same
// whenever it is asked, and is settled before anything is known of the device.
func (c *Cohort) counts(network string, seq int64) bool {
	for _, t := range c.Thin {
		if t.Network == network {
			return uint32(mix(seq)>>48) < t.Keep
		}
	}
	return true
}

// thin settles what each crowded network may weigh in the next n devices of a stage: all arms alike, from what joined
// before.
//
// A network is to have at most its share of the counted devices. With fewer than four networks in the whole fleet the
// share is that of an equal part, or nothing could ever be learnt of such a fleet. A network with more than the share
// of the control's failures is left out until others catch up: it would make any release look good. So is one that
// fills one arm more than the others do in this stage: devices that never fail, put into the control, would make any
// release look bad.
func (st *step) thin(n int64, stage int) (thin []Thin) {
	if len(st.Crowds) < 2 || st.rule.NetworkShare >= 1 {
		return nil
	}
	share := max(st.rule.NetworkShare, 1/float64(len(st.Crowds)))
	joined := float64(st.Treated.Joined + st.Control.Joined)
	counted := joined - float64(st.NotCounted)
	here := StageCount{}
	if i := slices.IndexFunc(st.Stages, func(n StageCount) bool { return n.Stage == stage }); i >= 0 {
		here = st.Stages[i]
	}
	for _, c := range st.Crowds {
		part := float64(c.Joined) / joined // of the next n that are likely its own
		own, others := part*float64(n), (1-part)*float64(n)
		room := (share*(counted+others) - float64(c.Counted) + slack) / (1 - share)
		keep := max(0, min(1, room/own))
		i := slices.IndexFunc(st.Suspects, func(s Suspect) bool { return s.Network == c.Network })
		if i >= 0 && float64(st.Suspects[i].Control) > slack+share*float64(st.HarmedControl) {
			keep = 0
		}
		t, u := here.Treated-c.Treated, here.Control-c.Control // of the others
		if c.Stage == stage && unlike(float64(t)/float64(t+u), c.Treated, c.Control) {
			keep = 0
		}
		if keep < 1 {
			thin = append(thin, Thin{Network: c.Network, Keep: uint32(keep * keepAll)})
		}
	}
	return thin
}
