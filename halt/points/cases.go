package points

import (
	"fmt"

	"github.com/slipstream-ota/slipstream/halt"
)

// Case is one operating point: what is tried, and what it may come to.
type Case struct {
	Name  string
	Fleet Fleet
	Runs  int
	// Median is the most treated devices until the halt, in the middle run; 0: the release is good, and at most one run
	// in a hundred may be halted.
	Median int64
}

// Cases are the operating points that the guard promises; full is the form whose numbers docs/guard.md states, minutes
// of work. Otherwise it is a few seconds, and because the middle of few runs is uncertain, half as much again is
// allowed.
func Cases(full bool) (cases []Case) {
	good, bad, slow, most := 50, 41, 15, int64(400)
	if full {
		good, bad, slow, most = 1000, 1000, 500, 5000
	}
	for _, k := range []struct {
		name string
		Fleet
	}{
		{"5 % of the devices", Fleet{Shares: []float64{0.05}, Most: most, Networks: 2000, Largest: 0.1}},
		{"half of the devices", Fleet{Shares: []float64{0.5}, Most: 4 * most, Networks: 2000, Largest: 0.1}},
		{"four stages, late confirmations", Fleet{Shares: []float64{0.17, 0.5, 0.8, 0.95}, Most: 4 * most, Networks: 2000, Largest: 0.33, Delay: 300}},
	} {
		for _, base := range []float64{0.001, 0.005, 0.02} {
			f := k.Fleet
			f.Base, f.Bad = base, base
			cases = append(cases, Case{Name: fmt.Sprintf("good release, base %v %%, %s", 100*base, k.name), Fleet: f, Runs: good})
		}
	}
	for _, k := range []struct {
		name      string
		bad, mute float64
		delay     float64
		median    int64
	}{
		{"all fail", 1, 0, 0, 3},
		{"ten-fold", 0.05, 0, 0, 150},
		{"five-fold", 0.025, 0, 0, 450},
		{"two-fold", 0.01, 0, 0, 4500},
		{"all fall silent", 0, 1, 0, 6},
		{"a tenth falls silent", 0.005, 0.1, 0, 60},
		{"all fail, late outcomes", 1, 0, 200, 12},
		{"ten-fold, late outcomes", 0.05, 0, 200, 170},
	} {
		runs := bad
		if k.median > 1000 {
			runs = slow
		}
		if !full {
			k.median += k.median / 2
		}
		cases = append(cases, Case{Name: "base 0.5 %, " + k.name, Runs: runs, Median: k.median, Fleet: Fleet{Base: 0.005, Bad: k.bad, Mute: k.mute,
			Delay: k.delay, Shares: []float64{0.05}, Most: 20000, Networks: 2000, Largest: 0.1}})
	}
	return cases
}

// Run tries the case with rule; the error says which promise was not kept.
func (c Case) Run(rule halt.Rule, seed uint64) (Result, error) {
	r := Operate(rule, c.Fleet, c.Runs, seed)
	switch {
	case c.Median == 0 && 100*r.Halted > r.Runs:
		return r, fmt.Errorf("%s: halted %d of %d, at most one in a hundred may be", c.Name, r.Halted, r.Runs)
	case c.Median > 0 && r.Median > c.Median:
		return r, fmt.Errorf("%s: %s until the halt, at most %d are allowed", c.Name, devices(r.Median), c.Median)
	}
	return r, nil
}

func (r Result) String() string {
	if 2*r.Halted <= r.Runs {
		return fmt.Sprintf("halted %d of %d", r.Halted, r.Runs)
	}
	return fmt.Sprintf("halted %d of %d; until then %s in the middle run, %s in the tenth longest", r.Halted, r.Runs, devices(r.Median), devices(r.P90))
}

func devices(n int64) string {
	if n == Never {
		return "more devices than there were"
	}
	return fmt.Sprintf("%d treated devices", n)
}
