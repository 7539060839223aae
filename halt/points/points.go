// Package points measures the operating points of the guard: how often it halts good releases that are looked at after
// every line, and how many devices a bad release reaches before it is halted. It drives the shipped rule with seeded
// fleets; the same seed gives the same numbers on every machine.
package points

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"

	"github.com/slipstream-ota/slipstream/halt"
)

// Fleet is one kind of release on one kind of fleet.
type Fleet struct {
	Base   float64   // share of failing devices in the control group, and the rule's BaseRate
	Bad    float64   // share of failing devices with the release
	Mute   float64   // share of devices with the release that fall silent; in the control group nobody does
	Shares []float64 // share of treatment among joining devices, by stage; all stages are equally long
	Most   int64     // treated devices after which a run ends
	// Delay is how many devices join between the joining and the end of one, on average; 0: each ends as it joins.
	// Failures come three times as fast as confirmations, which is what misleads a guard that compares what arrives.
	Delay float64
	// Networks is how many networks there are. The first has Largest of the devices, the others share the rest alike.
	Networks int
	Largest  float64
}

// Result is what many runs came to.
type Result struct {
	Runs   int `json:"runs"`
	Halted int `json:"halted"`
	// Median and P90 are how many devices had the release when it was halted; a run that was not halted counts as more
	// than any.
	Median int64 `json:"median"`
	P90    int64 `json:"p90"`
}

// Never is the number of devices of a run that was not halted.
const Never = math.MaxInt64

// Operate runs as many releases as runs says, with rule looked at after every line.
func Operate(rule halt.Rule, f Fleet, runs int, seed uint64) Result {
	rule.BaseRate = f.Base
	reached := make([]int64, runs)
	result := Result{Runs: runs}
	for i := range reached {
		reached[i] = run(rule, f, rand.New(rand.NewPCG(seed, uint64(i))))
		if reached[i] != Never {
			result.Halted++
		}
	}
	slices.Sort(reached)
	result.Median, result.P90 = reached[runs/2], reached[runs*9/10]
	return result
}

// batch is how many lines one Step of the simulation takes. Step itself looks after every line that can halt.
const batch = 64

// fleet is one run.
type fleet struct {
	Fleet
	rng   *rand.Rand
	names []string
	seq   int64
	lines []halt.Outcome
	due   []due // a heap by when
}

// due is the end of a trial that is still to come, in joined devices.
type due struct {
	when float64
	line halt.Outcome
}

// run gives how many devices had the release when it was halted, or Never.
func run(rule halt.Rule, f Fleet, rng *rand.Rand) int64 {
	l := &fleet{Fleet: f, rng: rng, names: make([]string, max(1, f.Networks))}
	for i := range l.names {
		l.names[i] = "network-" + strconv.Itoa(i)
	}
	var s halt.State
	treated := int64(0)
	for n := 0.0; treated < f.Most; n++ {
		stage := min(len(f.Shares)-1, int(treated*int64(len(f.Shares))/f.Most))
		arm := halt.Control
		if rng.Float64() < f.Shares[stage] {
			arm = halt.Treatment
			treated++
		}
		l.device(n, arm, stage)
		l.deliver(n)
		if len(l.lines) < batch && treated >= batch { // the first devices are looked at one by one
			continue
		}
		s = rule.Step(s, l.lines)
		l.lines = l.lines[:0]
		if s.Crossed != nil {
			return s.Crossed.Treated
		}
	}
	l.deliver(math.Inf(1))
	if s = rule.Step(s, l.lines); s.Crossed != nil {
		return s.Crossed.Treated
	}
	return Never
}

// device joins a device at the time n and settles what will come of it.
func (l *fleet) device(n float64, arm halt.Arm, stage int) {
	o := halt.Outcome{Arm: arm, Stage: stage, Network: l.names[l.network()]}
	bad, mute := l.Base, 0.0
	if arm == halt.Treatment {
		bad, mute = l.Bad, l.Mute
	}
	o.Failed = l.rng.Float64() < bad
	o.Silent = !o.Failed && l.rng.Float64() < mute
	if l.Delay == 0 {
		l.add(o)
		return
	}
	joined := halt.Outcome{Arm: arm, Stage: stage, Network: o.Network, Joined: true}
	o.Enrolled = l.add(joined)
	delay := l.Delay
	switch {
	case o.Failed:
		delay = l.Delay / 3
	case o.Silent:
		delay = l.Delay * 3
	}
	l.push(due{n + l.rng.ExpFloat64()*delay, o})
}

func (l *fleet) network() int {
	if len(l.names) == 1 || l.rng.Float64() < l.Largest {
		return 0
	}
	return 1 + l.rng.IntN(len(l.names)-1)
}

func (l *fleet) add(o halt.Outcome) int64 {
	l.seq++
	o.Seq = l.seq
	l.lines = append(l.lines, o)
	return l.seq
}

// deliver adds the ends that are due at the time n.
func (l *fleet) deliver(n float64) {
	for len(l.due) > 0 && l.due[0].when <= n {
		l.add(l.pop().line)
	}
}

func (l *fleet) push(d due) {
	l.due = append(l.due, d)
	for i := len(l.due) - 1; i > 0 && l.due[i].when < l.due[(i-1)/2].when; i = (i - 1) / 2 {
		l.due[i], l.due[(i-1)/2] = l.due[(i-1)/2], l.due[i]
	}
}

func (l *fleet) pop() due {
	first, last := l.due[0], len(l.due)-1
	l.due[0] = l.due[last]
	l.due = l.due[:last]
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			return first
		}
		if child+1 < last && l.due[child+1].when < l.due[child].when {
			child++
		}
		if l.due[i].when <= l.due[child].when {
			return first
		}
		l.due[i], l.due[child] = l.due[child], l.due[i]
		i = child
	}
}
