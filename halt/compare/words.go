package compare

import (
	"fmt"
	"math"
	"strings"
)

const (
	doubtful   = 1e-4 // chance at which the arms are said not to be comparable
	doubtPrior = 100  // devices that the prior of the test of sizes is worth
)

// doubt says why the arms cannot be compared; "" when nothing speaks against it.
func doubt(arms []Arm) string {
	if d := sizes(arms); d != "" {
		return d
	}
	for i, a := range arms {
		for _, b := range arms[i+1:] {
			if a.Joined == 0 || b.Joined == 0 {
				continue
			}
			ra, rb := Sums{Count: a.Joined, Yes: a.Sums.Count}, Sums{Count: b.Joined, Yes: b.Sums.Count}
			if iv := exactRates(ra, rb, doubtful); iv.low > 0 || iv.high < 0 {
				return fmt.Sprintf("The arms do not report alike: %s of the devices of %s and %s of those of %s report this metric."+
					" Those that do may be another kind of device, so the arms cannot be compared.", percent(ra.rate()), a.Name, percent(rb.rate()), b.Name)
			}
		}
	}
	return ""
}

// sizes says when the arms do not have their expected sizes. With n_i devices in arms of the shares s_i the evidence is
// the Dirichlet-multinomial with prior 100 s_i over the multinomial with s_i.
func sizes(arms []Arm) string {
	joined, shares := int64(0), 0.0
	for _, a := range arms {
		joined += a.Joined
		shares += a.Share
	}
	if shares == 0 {
		return ""
	}
	devices := func(a Arm) int64 {
		if joined > 0 {
			return a.Joined
		}
		return a.Sums.Count
	}
	e, n := 0.0, 0.0
	worst, off := arms[0], 0.0
	for _, a := range arms {
		share, x := a.Share/shares, float64(devices(a))
		n += x
		up, _ := math.Lgamma(doubtPrior*share + x)
		down, _ := math.Lgamma(doubtPrior * share)
		e += up - down - x*math.Log(share)
	}
	up, _ := math.Lgamma(doubtPrior)
	down, _ := math.Lgamma(doubtPrior + n)
	if e += up - down; e < math.Log(1/doubtful) {
		return ""
	}
	for _, a := range arms {
		if d := math.Abs(float64(devices(a))/n - a.Share/shares); d > off {
			worst, off = a, d
		}
	}
	return fmt.Sprintf("The arms do not have their sizes: %s has %s of the devices, %s were expected."+
		" Something other than chance decides who is in an arm, so the arms cannot be compared.",
		worst.Name, percent(float64(devices(worst))/n), percent(worst.Share/shares))
}

// verdict is the sentence about the whole test.
func (r Result) verdict() string {
	switch {
	case r.Doubt != "":
		return r.Doubt
	case len(r.Arms) == 2:
		return r.Pairs[0].Text
	case r.Winner == "":
		return "No arm is better than all others yet."
	}
	// Better than every other one by at least the least of the lower ends.
	least := math.Inf(1)
	for _, p := range r.Pairs {
		if p.Winner == r.Winner {
			least = min(least, math.Abs(p.Low), math.Abs(p.High))
		}
	}
	return fmt.Sprintf("%s is better than every other arm, by at least %s; safe to stop.", r.Winner, r.Test.amount(least))
}

// sentence is the verdict about one pair.
func (t Test) sentence(p Pair, a, b Sums) string {
	switch {
	case t.Kind == Number && min(a.Count, b.Count) < leastNumbers:
		return fmt.Sprintf("Too early to say: %d and %d devices report, %d in each arm are needed.", a.Count, b.Count, leastNumbers)
	case !p.Known && t.Kind == Number:
		return fmt.Sprintf("Nothing can be said: all devices of an arm report the same value (%s: %s, %s: %s on average).", p.A, t.amount(a.Mean), p.B, t.amount(b.Mean))
	case !p.Known:
		return fmt.Sprintf("Too early to say: %d and %d devices report.", a.Count, b.Count)
	case p.Winner != "":
		low, high := math.Abs(p.Low), math.Abs(p.High)
		return fmt.Sprintf("%s is better by %s to %s; safe to stop.", p.Winner, t.amount(min(low, high)), t.amount(max(low, high)))
	}
	return fmt.Sprintf("No difference yet: %s minus %s is between %s and %s.", p.B, p.A, t.amount(p.Low), t.amount(p.High))
}

// amount writes a value or difference: of rates in percent of the devices, of numbers in the metric's own unit.
func (t Test) amount(x float64) string {
	if t.Kind == YesNo {
		return percent(x)
	}
	if x == 0 {
		return "0" // never -0
	}
	s := fmt.Sprintf("%.3g", x)
	if size := math.Abs(x); size >= 1000 && size < 1e9 {
		s = fmt.Sprintf("%.0f", x)
	}
	return s
}

// percent writes a share with one digit after the point, or with as many as it needs to differ from nothing.
func percent(share float64) string {
	p := 100 * share
	s := fmt.Sprintf("%.1f", p)
	if math.Abs(p) < 0.095 {
		s = fmt.Sprintf("%.1g", p)
	}
	if strings.ContainsAny(s, "e") {
		s = fmt.Sprintf("%.6f", p)
	}
	switch s {
	case "0", "-0", "0.0", "-0.0", "0.000000", "-0.000000":
		s = "0"
	}
	return s + " %"
}
