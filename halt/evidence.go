package halt

import (
	"math"
	"slices"
)

// How many alternatives each part weighs.
const (
	ratios   = 8
	ceilings = 6
)

// ratioAlternatives are how many times more often than allowed a bad release may fail; none is 1 or less, so none gives
// a good release evidence against itself.
func ratioAlternatives() [ratios]float64 { return [ratios]float64{1.3, 1.6, 2, 3, 5, 10, 30, 100} }

// ratioPriors is what each ratio weighs in the mean; together they are 1. The slight ones weigh more: they need the most
// devices, the gross ones are found at once whatever they weigh.
func ratioPriors() [ratios]float64 {
	return [ratios]float64{5. / 64, 10. / 64, 13. / 64, 11. / 64, 10. / 64, 8. / 64, 4. / 64, 3. / 64}
}

// ceilingAlternatives are the shares of failed devices that a release above the ceiling c may have. Those at or below
// 1.5 c are left out (0): an alternative at or below what a good release may have would grow on good releases.
func ceilingAlternatives(c float64) [ceilings]float64 {
	all := [ceilings]float64{2 * c, 4 * c, 8 * c, 0.25, 0.5, 0.9}
	for i, p := range all {
		if p <= 1.5*c || p >= 1 {
			all[i] = 0
		}
	}
	return all
}

// odds are the log factors of the absolute part: of a device that joined, and of one that failed.
type odds [ceilings]struct {
	good, bad float64
	used      bool
}

func newOdds(c float64) (o odds) {
	for i, p := range ceilingAlternatives(c) {
		if p > 0 {
			o[i].good, o[i].bad, o[i].used = math.Log1p(-p)-math.Log1p(-c), math.Log(p/c), true
		}
	}
	return o
}

// ratioFactors are the log factors of one harmed device for each alternative, where t and c devices of its cohort were
// still unharmed in the two arms, itself among them. Under the null the harmed one is a treated one with a chance of at
// most q0 = theta0 t / (theta0 t + c), whoever of the t + c it is. With one arm empty nothing is learnt.
func ratioFactors(theta0 float64, t, c int64, treated bool) (f [ratios]float64) {
	if t <= 0 || c <= 0 {
		return f
	}
	null := theta0 * float64(t)
	all := null + float64(c)
	for i, a := range ratioAlternatives() {
		// p/q0 = a (null + c) / (a null + c); (1-p)/(1-q0) = (null + c) / (a null + c)
		f[i] = math.Log(all / (a*null + float64(c)))
		if treated {
			f[i] += math.Log(a)
		}
	}
	return f
}

// parts are the logarithms of the three parts of the evidence.
type parts struct{ rel, abs, silent float64 }

// mean is the evidence: the mean of the three parts, finite.
func (p parts) mean() float64 { return exp(logMean([]float64{p.rel, p.abs, p.silent}, nil)) }

// exp is finite: what overflows is as good as certain.
func exp(x float64) float64 { return math.Exp(min(x, 690)) }

// evidence gives the parts, without what the network of who brought against the release when who is not nil.
func (s *State) evidence(who *Suspect) parts {
	o := newOdds(s.Ceiling)
	return s.parts(who, &o)
}

func (s *State) parts(who *Suspect, o *odds) parts {
	rel, sil := s.Rel, s.Sil
	var abs []float64
	for k, a := range o {
		if !a.used {
			continue
		}
		w := s.Abs[k]
		if who != nil {
			w -= float64(who.Failed) * (a.bad - a.good)
		}
		abs = append(abs, w)
	}
	if who != nil {
		for k := range rel {
			rel[k] -= who.Rel[k]
			sil[k] -= who.Sil[k]
		}
	}
	priors := ratioPriors()
	return parts{rel: logMean(rel[:], priors[:]), abs: logMean(abs, nil), silent: logMean(sil[:], priors[:])}
}

// logMean is the logarithm of the mean of e^w, weighted by priors that are 1 together; without priors all weigh alike.
// An empty list is no evidence, 0.
func logMean(w, priors []float64) float64 {
	if len(w) == 0 {
		return 0
	}
	top, sum := slices.Max(w), 0.0
	for i, x := range w {
		weight := 1.0
		if priors != nil {
			weight = priors[i] * float64(len(w))
		}
		sum += weight * math.Exp(x-top)
	}
	return top + math.Log(sum/float64(len(w)))
}

// without is the evidence when the network that weighs most had said nothing, and how many networks have a harmed
// treated device.
func (s *State) without(o *odds) (e float64, networks int) {
	e = s.parts(nil, o).mean()
	for i := range s.Suspects {
		if who := &s.Suspects[i]; who.Treated > 0 {
			networks++
			e = min(e, s.parts(who, o).mean())
		}
	}
	return e, networks
}

// halts reports whether the evidence is enough.
func (r Rule) halts(s *State, o *odds) bool {
	if s.HarmedTreated < int64(r.MinDevices) || s.parts(nil, o).mean() < r.threshold() {
		return false
	}
	e, networks := s.without(o)
	return networks >= r.MinNetworks && (r.NetworkShare >= 1 || e >= r.needed())
}

func (r Rule) threshold() float64 { return 1 / r.Alpha }

// needed is what the evidence must reach without any one network: one network then brings at most its share of the
// evidence needed, on the scale on which evidence of independent devices adds up.
func (r Rule) needed() float64 { return math.Pow(r.threshold(), 1-r.NetworkShare) }

func (r Rule) ceiling() float64 {
	if r.Ceiling > 0 {
		return r.Ceiling
	}
	return max(0.01, 3*r.BaseRate)
}
