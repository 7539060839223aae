package compare

import (
	"math"

	"github.com/slipstream-ota/slipstream"
)

// Kind is what a metric's values are.
type Kind string

// The kinds.
const (
	Number Kind = "number"
	YesNo  Kind = "yes_no"
)

// Direction is which values are better.
type Direction string

// The directions.
const (
	Higher Direction = "higher"
	Lower  Direction = "lower"
)

// DefaultAlpha is the chance of ever being wrong about a test.
const DefaultAlpha = 0.05

// MaxArms is how many arms one test may have.
const MaxArms = 16

// Test is what is compared.
type Test struct {
	Metric string    `json:"metric"`
	Kind   Kind      `json:"kind"`
	Better Direction `json:"better"`
	Alpha  float64   `json:"alpha"` // 0: DefaultAlpha
}

// Arm is one release of a test.
type Arm struct {
	Name   string  `json:"name"`
	Share  float64 `json:"share"`  // expected share of devices, in any unit; 0 in all arms tests no sample ratio
	Joined int64   `json:"joined"` // devices that enrolled, reporting or not; 0 in all arms: those that report
	Sums   Sums    `json:"sums"`
}

// Measured is what is known of one arm.
type Measured struct {
	Name    string  `json:"name"`
	Joined  int64   `json:"joined"`
	Devices int64   `json:"devices"` // that reported the metric
	Value   float64 `json:"value"`   // mean, or rate between 0 and 1
}

// Pair is the difference of two arms: B minus A.
type Pair struct {
	A     string  `json:"a"`
	B     string  `json:"b"`
	Known bool    `json:"known"` // whether anything can be said yet of Low and High
	Diff  float64 `json:"diff"`
	Low   float64 `json:"low"` // of the confidence sequence, now
	High  float64 `json:"high"`
	// Winner is the better arm; "" while the difference may be nothing.
	Winner string `json:"winner,omitempty"`
	Text   string `json:"text"`
}

// Result is what a test came to so far.
type Result struct {
	Test  Test       `json:"test"`
	Arms  []Measured `json:"arms"`
	Pairs []Pair     `json:"pairs"`
	// Winner is the arm that is better than every other one: it is safe to stop. "" while there is none, or while
	// Doubt says why the arms cannot be compared.
	Winner string `json:"winner,omitempty"`
	Doubt  string `json:"doubt,omitempty"`
	Text   string `json:"text"` // the verdict for people
}

// Compare compares arms. It fails with slipstream.ErrInvalid when the test or the sums cannot be meant.
func (t Test) Compare(arms []Arm) (Result, error) {
	if t.Alpha == 0 {
		t.Alpha = DefaultAlpha
	}
	if err := t.check(arms); err != nil {
		return Result{}, err
	}
	r := Result{Test: t}
	for _, a := range arms {
		m := Measured{Name: a.Name, Joined: a.Joined, Devices: a.Sums.Count, Value: a.Sums.Mean}
		if t.Kind == YesNo {
			m.Value = a.Sums.rate()
		}
		r.Arms = append(r.Arms, m)
	}
	alpha := t.Alpha / float64(len(arms)*(len(arms)-1)/2)
	wins := map[string]int{}
	for i := range arms {
		for j := i + 1; j < len(arms); j++ {
			p := t.pair(arms[i], arms[j], alpha)
			wins[p.Winner]++
			r.Pairs = append(r.Pairs, p)
		}
	}
	r.Doubt = doubt(arms)
	if r.Doubt == "" {
		for _, a := range arms {
			if wins[a.Name] == len(arms)-1 {
				r.Winner = a.Name
			}
		}
	}
	r.Text = r.verdict()
	return r, nil
}

func (t Test) pair(a, b Arm, alpha float64) Pair {
	p := Pair{A: a.Name, B: b.Name}
	var iv interval
	if t.Kind == YesNo {
		p.Diff, iv = b.Sums.rate()-a.Sums.rate(), rates(a.Sums, b.Sums, alpha)
		iv.known = a.Sums.Count > 0 && b.Sums.Count > 0
	} else {
		p.Diff, iv = b.Sums.Mean-a.Sums.Mean, numbers(a.Sums, b.Sums, alpha)
	}
	if iv.known {
		p.Known, p.Low, p.High = true, iv.low, iv.high
	}
	switch higher := t.Better == Higher; {
	case p.Low > 0 && higher, p.High < 0 && !higher:
		p.Winner = p.B
	case p.High < 0 && higher, p.Low > 0 && !higher:
		p.Winner = p.A
	}
	p.Text = t.sentence(p, a.Sums, b.Sums)
	return p
}

func (t Test) check(arms []Arm) error {
	switch {
	case t.Kind != Number && t.Kind != YesNo:
		return slipstream.Invalidf("metric %q: kind %q must be %s or %s", t.Metric, t.Kind, Number, YesNo)
	case t.Better != Higher && t.Better != Lower:
		return slipstream.Invalidf("metric %q: better %q must be %s or %s", t.Metric, t.Better, Higher, Lower)
	case !(t.Alpha >= 1e-6 && t.Alpha <= 0.5):
		return slipstream.Invalidf("metric %q: alpha %v must be between 0.000001 and 0.5", t.Metric, t.Alpha)
	case len(arms) < 2 || len(arms) > MaxArms:
		return slipstream.Invalidf("metric %q: %d arms; a test has 2 to %d", t.Metric, len(arms), MaxArms)
	}
	seen := map[string]bool{}
	shares, joined := 0, 0
	for _, a := range arms {
		if a.Name == "" || seen[a.Name] {
			return slipstream.Invalidf("metric %q: arm %q: every arm needs a name of its own", t.Metric, a.Name)
		}
		seen[a.Name] = true
		if !(a.Share >= 0 && a.Share <= math.MaxInt32) {
			return slipstream.Invalidf("metric %q: arm %q: share %v must be a positive number", t.Metric, a.Name, a.Share)
		}
		if err := a.Sums.check(); err != nil {
			return slipstream.Invalidf("metric %q: arm %q: %w", t.Metric, a.Name, err)
		}
		if a.Joined < 0 || a.Joined > 0 && a.Joined < a.Sums.Count {
			return slipstream.Invalidf("metric %q: arm %q: %d devices joined and %d report", t.Metric, a.Name, a.Joined, a.Sums.Count)
		}
		if a.Share > 0 {
			shares++
		}
		if a.Joined > 0 {
			joined++
		}
	}
	if shares != 0 && shares != len(arms) {
		return slipstream.Invalidf("metric %q: give the expected share of every arm or of none", t.Metric)
	}
	if joined == 0 {
		return nil
	}
	for _, a := range arms {
		if a.Joined == 0 && a.Sums.Count > 0 {
			return slipstream.Invalidf("metric %q: arm %q: nobody joined and %d report", t.Metric, a.Name, a.Sums.Count)
		}
	}
	return nil
}
