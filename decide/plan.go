package decide

import (
	"time"

	"github.com/slipstream-ota/slipstream"
)

// Plan is a compiled state: ranges and conditions parsed once. It is immutable and may be used from many goroutines.
type Plan struct {
	state    *slipstream.State
	packages map[string]*packagePlan
	position PositionFunc
	runtime  RuntimeFunc // nil: our own ranges
}

// RuntimeFunc says whether a device's shell is one that rt means.
type RuntimeFunc func(rt slipstream.Runtime) bool

type packagePlan struct {
	rollouts  []rolloutPlan
	withdrawn map[slipstream.Digest]struct{}
	floors    []floorPlan
	runtimes  []runtimeFit         // each different one once
	named     []slipstream.Runtime // the same, as they stand in the state
}

type rolloutPlan struct {
	*slipstream.Rollout
	runtime int // in packagePlan.runtimes
	when    []condition
	salt    string
}

type floorPlan struct {
	runtime int
	seq     int64
}

// Compile prepares a state for deciding. A share outside [0, slipstream.FullShare] is a *slipstream.Refusal with
// reason malformed; ranges and conditions that do not parse make their rollout fit nobody. The state must not be
// changed afterwards.
func Compile(st *slipstream.State) (*Plan, error) {
	if st == nil {
		return nil, slipstream.Refuse(slipstream.ReasonMalformed, "state", "is missing")
	}
	p := &Plan{state: st, packages: make(map[string]*packagePlan, len(st.Packages)), position: Position}
	for name, ps := range st.Packages {
		pp, err := compilePackage(name, ps)
		if err != nil {
			return nil, err
		}
		p.packages[name] = pp
	}
	return p, nil
}

func compilePackage(name string, ps slipstream.PackageState) (*packagePlan, error) {
	pp := &packagePlan{
		rollouts:  make([]rolloutPlan, len(ps.Rollouts)),
		withdrawn: make(map[slipstream.Digest]struct{}, len(ps.Withdrawn)),
		floors:    make([]floorPlan, len(ps.Floors)),
	}
	known := map[slipstream.Runtime]int{}
	for i := range ps.Rollouts {
		r := &ps.Rollouts[i]
		if r.From < 0 || r.From > r.To || r.To > slipstream.FullShare || r.Control < 0 || r.Control > slipstream.FullShare {
			return nil, slipstream.Refuse(slipstream.ReasonMalformed, "state",
				"package %s: rollout %q has share [%d, %d) and control %d", name, r.ID, r.From, r.To, r.Control)
		}
		rp := rolloutPlan{Rollout: r, runtime: pp.addRuntime(known, r.Runtime), salt: r.PositionSalt()}
		for _, w := range r.When {
			rp.when = append(rp.when, compileCondition(w))
		}
		pp.rollouts[i] = rp
	}
	for _, d := range ps.Withdrawn {
		pp.withdrawn[d] = struct{}{}
	}
	for i, f := range ps.Floors {
		pp.floors[i] = floorPlan{runtime: pp.addRuntime(known, f.Runtime), seq: f.Seq}
	}
	return pp, nil
}

// State is the state that the plan was compiled from.
func (p *Plan) State() *slipstream.State { return p.state }

// WithPosition is the same plan with another position function, for protocols whose clients place themselves.
func (p *Plan) WithPosition(f PositionFunc) *Plan {
	q := *p
	q.position = f
	return &q
}

// WithRuntime is the same plan with another reading of runtimes, for protocols whose ranges follow other rules. f is asked
// about one device: a plan with it is for that device alone.
func (p *Plan) WithRuntime(f RuntimeFunc) *Plan {
	q := *p
	q.runtime = f
	return &q
}

// Expired reports whether the state is no longer valid at now.
func (p *Plan) Expired(now time.Time) bool { return !now.Before(p.state.Expires.Time) }

func (pp *packagePlan) isWithdrawn(d slipstream.Digest) bool {
	_, ok := pp.withdrawn[d]
	return ok && d != ""
}

func (pp *packagePlan) addRuntime(known map[slipstream.Runtime]int, rt slipstream.Runtime) int {
	i, ok := known[rt]
	if !ok {
		i = len(pp.runtimes)
		known[rt] = i
		pp.runtimes = append(pp.runtimes, compileRuntime(rt))
		pp.named = append(pp.named, rt)
	}
	return i
}

// bad says why a release must not run: withdrawn, below the floor, or "" when it may.
func (pp *packagePlan) bad(h Held, floor int64) slipstream.Reason {
	switch {
	case pp.isWithdrawn(h.Digest):
		return slipstream.ReasonWithdrawn
	case h.Seq < floor:
		return slipstream.ReasonBelowFloor
	}
	return ""
}
