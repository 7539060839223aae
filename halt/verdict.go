package halt

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Verdict judges a state. It alarms when the evidence is enough now or was enough at any line taken in.
func (r Rule) Verdict(s State) Verdict {
	if s.Ratio == 0 {
		s.Ratio, s.Ceiling = r.AllowedRatio, r.ceiling()
	}
	o := newOdds(s.Ceiling)
	p := s.parts(nil, &o)
	v := Verdict{
		E: p.mean(), ERel: exp(p.rel), EAbs: exp(p.abs), ESilent: exp(p.silent),
		Threshold: r.threshold(), Needed: r.needed(), Ceiling: s.Ceiling,
		Treated: s.Treated.Joined, Control: s.Control.Joined,
		HeardTreated: s.Treated.heard(), HeardControl: s.Control.heard(),
		FailedTreated: s.Treated.Failed, FailedControl: s.Control.Failed,
		SilentTreated: s.Treated.Silent, SilentControl: s.Control.Silent,
		NotCounted: s.NotCounted, Ignored: s.Ignored, Crossed: s.Crossed,
	}
	v.EWithout, v.Networks = s.without(&o)
	mismatch := r.mismatch(&s)
	switch {
	case s.Crossed != nil || r.halts(&s, &o):
		v.Level = Alarm
	case mismatch != "":
		v.Level = Inconclusive
	case v.E >= v.Needed:
		v.Level = Warning
	case v.HeardTreated+v.SilentTreated == 0:
		v.Level = NoData
	default:
		v.Level = Clean
	}
	v.Reason = r.reason(v, mismatch)
	return v
}

// reason says the verdict to people: what was seen, what it means, what is missing.
func (r Rule) reason(v Verdict, mismatch string) string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	if v.Level == NoData {
		say("No device on this release was heard of yet.")
	} else {
		r.counts(say, v)
	}
	switch v.Level {
	case Alarm:
		if c := v.Crossed; c != nil {
			say(" Halted: the evidence reached %s when %d devices had the release; %s is enough.", number(c.E), c.Treated, number(v.Threshold))
		} else {
			say(" Halt: the evidence is %s; %s is enough.", number(v.E), number(v.Threshold))
		}
	case Inconclusive:
		say(" %s", mismatch)
	case Warning:
		switch {
		case v.E < v.Threshold:
			say(" This looks bad but is not enough to halt: the evidence is %s of %s.", number(v.E), number(v.Threshold))
		case v.Networks < r.MinNetworks:
			say(" The evidence is %s, %s is enough, but it comes from %s: nothing is halted before devices of %d networks fail."+
				" If these devices are yours, halt the rollout yourself.", number(v.E), number(v.Threshold), count(v.Networks, "network"), r.MinNetworks)
		default:
			say(" The evidence is %s, %s is enough, but without the network that weighs most it is only %s of the %s needed: look at that network, or wait for other devices.",
				number(v.E), number(v.Threshold), number(v.EWithout), number(v.Needed))
		}
	case Clean:
		words := "No sign of harm"
		if v.E > 1 {
			words = "Too little to call it harm"
		}
		say(" %s: the evidence is %s, %s would halt.", words, number(v.E), number(v.Threshold))
	}
	if v.NotCounted > 0 {
		say(" %s of crowded networks did not count: one network weighs at most %s.", count(int(v.NotCounted), "device"), percent(r.NetworkShare))
	}
	return b.String()
}

func (r Rule) counts(say func(string, ...any), v Verdict) {
	say("%d of %s with this release failed (%s)", v.FailedTreated, count(int(v.Treated), "device"), percent(ratio(v.FailedTreated, v.Treated)))
	if v.Control > 0 {
		say(", %d of %d in the control group (%s)", v.FailedControl, v.Control, percent(ratio(v.FailedControl, v.Control)))
	} else {
		say("; there is no control group, so only failures above %s count", percent(v.Ceiling))
	}
	if v.SilentTreated+v.SilentControl > 0 {
		say("; silent for %s: %d", r.SilenceAfter, v.SilentTreated)
		if v.Control > 0 {
			say(" and %d", v.SilentControl)
		}
	}
	say(".")
}

// Enough reports whether a rollout may advance to its next stage now. When not, why says to people what is missing: the
// soak time, a verdict without alarm or doubt, devices, or data in both arms. No data means stay.
func (r Rule) Enough(s State, stage Stage, now time.Time) (ok bool, why string) {
	v := r.Verdict(s)
	left := stage.Since.Add(stage.Soak).Sub(now)
	switch {
	case v.Level == Alarm, v.Level == Inconclusive, v.Level == Warning:
		return false, v.Reason
	case left > 0:
		return false, fmt.Sprintf("The stage lasts at least %s: %s to go.", stage.Soak, left.Round(time.Second))
	case v.HeardTreated < stage.MinTreated:
		return false, fmt.Sprintf("%d of %s with this release heard of; the stage asks for %d.", v.HeardTreated, count(int(v.Treated), "device"), stage.MinTreated)
	case s.Treated.Heard.IsZero() || s.Treated.Heard.Before(stage.Since):
		return false, "No device with this release was heard of in this stage: no data means stay."
	case stage.HasControl && v.HeardControl == 0:
		return false, "No device of the control group was heard of: no data means stay."
	}
	return true, v.Reason
}

const (
	unlikeAt    = 1e4 // evidence at which arms are not what they should be: a chance of 1 in 10,000
	unlikePrior = 100 // devices that the prior of the test is worth
)

// unlike reports whether t treated and c control devices do not come from a share q of treatment. It is the
// beta-binomial e-process of Lindon and Malek, "Anytime-valid inference for multinomial count data" (2022), so that
// looking at it all the time is allowed, which a chi-square test forbids. A share of nothing or of all tells nothing.
func unlike(q float64, t, c int64) bool {
	if !(q > 0 && q < 1) {
		return false
	}
	a, b, x, y := unlikePrior*q, unlikePrior*(1-q), float64(t), float64(c)
	return logBeta(a+x, b+y)-logBeta(a, b)-x*math.Log(q)-y*math.Log1p(-q) >= math.Log(unlikeAt)
}

// mismatch says when the arms of a stage do not have the sizes they should have; "" otherwise.
func (r Rule) mismatch(s *State) string {
	for _, n := range s.Stages {
		if n.Stage < 0 || n.Stage >= len(r.Shares) || !unlike(r.Shares[n.Stage], n.Treated, n.Control) {
			continue
		}
		return fmt.Sprintf("The groups do not have their sizes: %s of the devices that joined in stage %d have the release, %s were expected."+
			" Something other than chance decides who joins, so the comparison cannot be trusted.",
			percent(ratio(n.Treated, n.Treated+n.Control)), n.Stage+1, percent(r.Shares[n.Stage]))
	}
	return ""
}

func logBeta(a, b float64) float64 {
	x, _ := math.Lgamma(a)
	y, _ := math.Lgamma(b)
	z, _ := math.Lgamma(a + b)
	return x + y - z
}

func ratio(n, of int64) float64 {
	if of == 0 {
		return 0
	}
	return float64(n) / float64(of)
}

// percent writes a share with two significant digits below ten percent.
func percent(share float64) string {
	p := 100 * share
	switch {
	case p == 0:
		return "0 %"
	case p < 0.01:
		return "under 0.01 %"
	case p < 1:
		return fmt.Sprintf("%.2f %%", p)
	case p < 10:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", p), ".0") + " %"
	}
	return fmt.Sprintf("%.0f %%", p)
}

// number writes evidence: it has no meaning beyond its first digits.
func number(e float64) string {
	switch {
	case e < 0.01:
		return "under 0.01"
	case e < 10:
		return fmt.Sprintf("%.2g", e)
	case e < 1e6:
		return fmt.Sprintf("%.0f", e)
	}
	return "over a million"
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
