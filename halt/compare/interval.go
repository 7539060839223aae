package compare

import "math"

const (
	leastNumbers = 50  // devices in each arm below which nothing is said of numbers
	leastAnswers = 10  // of yes and of no in each arm for the asymptotic interval
	sharpest     = 500 // h at which the asymptotic interval is narrowest
	exactPart    = 0.2 // of alpha, for the exact interval of rates
)

// interval is a confidence sequence's range at one time; known is false while nothing can be said.
type interval struct {
	low, high float64
	known     bool
}

// numbers is the confidence sequence for the mean of b minus the mean of a.
func numbers(a, b Sums, alpha float64) interval {
	va, vb := a.variance(), b.variance()
	if a.Count < leastNumbers || b.Count < leastNumbers || va == 0 || vb == 0 {
		return interval{}
	}
	return asymptotic(b.Mean-a.Mean, va, vb, a.Count, b.Count, alpha)
}

// rates is the confidence sequence for the rate of b minus the rate of a.
func rates(a, b Sums, alpha float64) interval {
	exact := exactRates(a, b, alpha*exactPart)
	if min(a.Yes, a.Count-a.Yes, b.Yes, b.Count-b.Yes) < leastAnswers {
		return exact
	}
	smooth := func(s Sums) float64 {
		p := (float64(s.Yes) + 1) / (float64(s.Count) + 2)
		return p * (1 - p)
	}
	both := asymptotic(b.rate()-a.rate(), smooth(a), smooth(b), a.Count, b.Count, alpha*(1-exactPart))
	both.low, both.high = max(both.low, exact.low), min(both.high, exact.high)
	return both
}

// asymptotic is the interval around d for arms of n and m devices with these variances.
func asymptotic(d, va, vb float64, n, m int64, alpha float64) interval {
	fn, fm := float64(n), float64(m)
	h := fn * fm / (fn + fm)
	twice := 2 * math.Log(1/alpha)
	r := (twice + math.Log(1+twice)) / sharpest
	width := math.Sqrt(va/fn+vb/fm) * math.Sqrt((1+1/(h*r))*(math.Log1p(h*r)+twice))
	return interval{low: d - width, high: d + width, known: true}
}

// exactRates is the range of q - p over all rates p of a and q of b that are not refuted at alpha.
func exactRates(a, b Sums, alpha float64) interval {
	limit, f := math.Log(1/alpha), against(a, b)
	seen := b.rate() - a.rate()
	return interval{low: edge(seen, -1, limit, f), high: edge(seen, 1, limit, f), known: true}
}

// against gives the logarithm of the evidence against a difference d of the rates: that of the two rates with this
// difference against which there is least. It is convex in d.
func against(a, b Sums) func(d float64) float64 {
	ea, eb := mixture(a), mixture(b)
	return func(d float64) float64 {
		return lowest(max(0, -d), min(1, 1-d), func(p float64) float64 { return ea(p) + eb(min(1, max(0, p+d))) })
	}
}

// mixture is the logarithm of the beta-binomial mixture against the rate p: evidence that the rate is not p.
func mixture(s Sums) func(p float64) float64 {
	yes, no := float64(s.Yes), float64(s.Count-s.Yes)
	start := logBeta(0.5+yes, 0.5+no) - logBeta(0.5, 0.5)
	return func(p float64) float64 {
		e := start
		if yes > 0 {
			e -= yes * math.Log(p)
		}
		if no > 0 {
			e -= no * math.Log1p(-p)
		}
		return e
	}
}

// lowest is the least value of a convex function between two ends.
func lowest(low, high float64, f func(float64) float64) float64 {
	const golden = 0.6180339887498949
	x, y := high-golden*(high-low), low+golden*(high-low)
	fx, fy := f(x), f(y)
	best := min(f(low), f(high), fx, fy)
	for range 70 {
		if fx <= fy {
			high, y, fy = y, x, fx
			x = high - golden*(high-low)
			fx = f(x)
		} else {
			low, x, fx = x, y, fy
			y = low + golden*(high-low)
			fy = f(y)
		}
		best = min(best, fx, fy)
	}
	return best
}

// edge goes from inside, where f is below the limit, towards outside and gives where f reaches it; outside when never.
func edge(inside, outside, limit float64, f func(float64) float64) float64 {
	if f(outside) < limit {
		return outside
	}
	for range 50 {
		if middle := (inside + outside) / 2; f(middle) < limit {
			inside = middle
		} else {
			outside = middle
		}
	}
	return outside
}

func logBeta(a, b float64) float64 {
	x, _ := math.Lgamma(a)
	y, _ := math.Lgamma(b)
	z, _ := math.Lgamma(a + b)
	return x + y - z
}
