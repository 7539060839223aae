package compare

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream"
)

func sums(t *testing.T, values ...float64) (s Sums) {
	t.Helper()
	for _, x := range values {
		var err error
		if s, err = s.Add(x); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// spread is n devices with this mean and standard deviation.
func spread(n int64, mean, deviation float64) Sums {
	return Sums{Count: n, Mean: mean, M2: deviation * deviation * float64(n-1)}
}

// Somebody looks after every single device and stops as soon as the interval misses the truth: that happens in at most
// 5 % of the tests, whatever the devices report.
func TestTheTruthStaysInsideHoweverOftenOneLooks(t *testing.T) {
	t.Parallel()
	const runs, devices = 250, 4000
	for name, c := range map[string]struct {
		draw func(r *rand.Rand) float64
		mean float64
	}{
		"normal":      {func(r *rand.Rand) float64 { return 3 + 2*r.NormFloat64() }, 3},
		"exponential": {func(r *rand.Rand) float64 { return r.ExpFloat64() }, 1},
		"long tail":   {func(r *rand.Rand) float64 { return math.Exp(r.NormFloat64()) }, math.Exp(0.5)},
		"dice":        {func(r *rand.Rand) float64 { return float64(r.IntN(6) + 1) }, 3.5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			missed := 0
			for run := range uint64(runs) {
				rng := rand.New(rand.NewPCG(run, 11))
				var a, b Sums
				for range devices {
					x := c.draw(rng)
					if rng.IntN(3) == 0 { // a third in a; b is better by 1
						a, _ = a.Add(x)
					} else {
						b, _ = b.Add(x + 1)
					}
					if iv := numbers(a, b, DefaultAlpha); iv.known && (iv.low > 1 || iv.high < 1) {
						missed++
						break
					}
				}
			}
			t.Logf("missed the truth in %d of %d tests", missed, runs)
			if float64(missed) > DefaultAlpha*runs {
				t.Errorf("missed the truth in %d of %d tests, at most 5 %% are allowed", missed, runs)
			}
		})
	}
	for name, rate := range map[string][2]float64{"rare": {0.004, 0.008}, "equal": {0.1, 0.1}, "half": {0.5, 0.55}, "nearly all": {0.99, 0.98}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			missed, truth := 0, rate[1]-rate[0]
			for run := range uint64(runs) {
				rng := rand.New(rand.NewPCG(run, 12))
				var a, b Sums
				for n := range devices {
					if rng.IntN(2) == 0 {
						a = a.AddYes(rng.Float64() < rate[0])
					} else {
						b = b.AddYes(rng.Float64() < rate[1])
					}
					if outside(a, b, truth, n%8 == 0) {
						missed++
						break
					}
				}
			}
			t.Logf("missed the truth in %d of %d tests", missed, runs)
			if float64(missed) > DefaultAlpha*runs {
				t.Errorf("missed the truth in %d of %d tests, at most 5 %% are allowed", missed, runs)
			}
		})
	}
}

// The usual 95 % interval, looked at in the same way, misses the truth in every third test: the proof above can fail.
func TestTheUsualIntervalMayNotBeLookedAtAllTheTime(t *testing.T) {
	t.Parallel()
	missed := 0
	for run := range uint64(100) {
		rng := rand.New(rand.NewPCG(run, 11))
		var a, b Sums
		for range 4000 {
			a, _ = a.Add(rng.NormFloat64())
			b, _ = b.Add(rng.NormFloat64())
			width := 1.96 * math.Sqrt((a.variance()+b.variance())/float64(a.Count))
			if a.Count >= leastNumbers && math.Abs(b.Mean-a.Mean) > width {
				missed++
				break
			}
		}
	}
	if missed < 20 {
		t.Errorf("missed the truth in %d of 100 tests", missed)
	}
}

// outside asks the two intervals of rates whether they miss the truth, without computing the ends of the exact one.
func outside(a, b Sums, truth float64, exact bool) bool {
	if exact && against(a, b)(truth) >= math.Log(1/(DefaultAlpha*exactPart)) {
		return true
	}
	if min(a.Yes, a.Count-a.Yes, b.Yes, b.Count-b.Yes) < leastAnswers {
		return false
	}
	p, q := a.rate(), b.rate()
	iv := asymptotic(q-p, p*(1-p), q*(1-q), a.Count, b.Count, DefaultAlpha*(1-exactPart))
	return iv.low > truth || iv.high < truth
}

func TestIntervalsOfRates(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(4, 4))
	for range 150 {
		n, m := 1+rng.Int64N(1<<rng.IntN(20)), 1+rng.Int64N(1<<rng.IntN(20))
		a, b := Sums{Count: n, Yes: rng.Int64N(n + 1)}, Sums{Count: m, Yes: rng.Int64N(m + 1)}
		iv, back := rates(a, b, 0.05), rates(b, a, 0.05)
		seen := b.rate() - a.rate()
		if iv.low > seen || iv.high < seen || iv.low < -1 || iv.high > 1 || iv.low >= iv.high {
			t.Errorf("%+v %+v: %+v around %v", a, b, iv, seen)
		}
		if math.Abs(iv.low+back.high) > 1e-6 || math.Abs(iv.high+back.low) > 1e-6 {
			t.Errorf("%+v %+v: %+v, the other way round %+v", a, b, iv, back)
		}
		if wide := rates(a, b, 0.001); wide.low > iv.low+1e-9 || wide.high < iv.high-1e-9 {
			t.Errorf("%+v %+v: %+v at 5 %%, narrower %+v at 0.1 %%", a, b, iv, wide)
		}
		// The ends are where the evidence reaches its limit.
		exact, f := exactRates(a, b, 0.05), against(a, b)
		if exact.high < 1 && math.Abs(f(exact.high)-math.Log(20)) > 1e-3 || exact.low > -1 && math.Abs(f(exact.low)-math.Log(20)) > 1e-3 {
			t.Errorf("%+v %+v: evidence %v and %v at the ends of %+v", a, b, f(exact.low), f(exact.high), exact)
		}
	}
}

// Devices may be added up anywhere in any order.
func TestSumsMerge(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(8, 8))
	for range 200 {
		var all Sums
		parts := make([]Sums, 1+rng.IntN(5))
		for range rng.IntN(300) {
			x := 1e6 + rng.NormFloat64()*math.Pow(10, float64(rng.IntN(8)))
			p := &parts[rng.IntN(len(parts))]
			*p, _ = p.Add(x)
			all, _ = all.Add(x)
		}
		var merged Sums
		for _, p := range parts {
			raw, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			var read Sums
			if err := json.Unmarshal(raw, &read); err != nil || read != p {
				t.Fatalf("%v: stored %+v, read %+v", err, p, read)
			}
			merged = merged.Merge(read)
		}
		near := func(x, y float64) bool { return math.Abs(x-y) <= 1e-9*max(1, math.Abs(x), math.Abs(y)) }
		if merged.Count != all.Count || !near(merged.Mean, all.Mean) || !near(merged.M2, all.M2) {
			t.Errorf("merged %+v, at once %+v", merged, all)
		}
	}
	yes := Sums{}.AddYes(true).AddYes(false)
	if got := yes.Merge(Sums{}).Merge(yes); got.Count != 4 || got.Yes != 2 {
		t.Errorf("%+v", got)
	}
}

func TestNoNumberBreaksTheSums(t *testing.T) {
	t.Parallel()
	before := sums(t, 1, 2, 3)
	for _, x := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1e101, -math.MaxFloat64} {
		if after, err := before.Add(x); !errors.Is(err, slipstream.ErrInvalid) || after != before {
			t.Errorf("%v: %v, %+v", x, err, after)
		}
	}
	huge := Sums{}
	for i := range 1000 {
		huge, _ = huge.Add(MaxValue * float64(1-2*(i%2)))
	}
	r, err := Test{Metric: "m", Kind: Number, Better: Higher}.Compare([]Arm{{Name: "A", Sums: huge}, {Name: "B", Sums: huge.Merge(huge)}})
	if err != nil || r.Winner != "" || math.IsInf(r.Pairs[0].High, 0) || r.Pairs[0].High <= 0 {
		t.Errorf("%v %+v", err, r)
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

func TestWhatPeopleRead(t *testing.T) {
	t.Parallel()
	higher, lower := Test{Metric: "bought", Kind: YesNo, Better: Higher}, Test{Metric: "start_ms", Kind: Number, Better: Lower}
	for _, c := range []struct {
		name   string
		test   Test
		arms   []Arm
		winner string
		text   string
	}{
		{"better", higher, []Arm{{Name: "A", Sums: Sums{Count: 40000, Yes: 4000}}, {Name: "B", Sums: Sums{Count: 40000, Yes: 5200}}}, "B",
			"B is better by 2.2 % to 3.8 %; safe to stop."},
		{"worse", higher, []Arm{{Name: "A", Sums: Sums{Count: 40000, Yes: 5200}}, {Name: "B", Sums: Sums{Count: 40000, Yes: 4000}}}, "A",
			"A is better by 2.2 % to 3.8 %; safe to stop."},
		{"open", higher, []Arm{{Name: "A", Sums: Sums{Count: 900, Yes: 90}}, {Name: "B", Sums: Sums{Count: 900, Yes: 99}}}, "",
			"No difference yet: B minus A is between -3.5 % and 5.5 %."},
		{"one device", higher, []Arm{{Name: "A", Sums: Sums{Count: 1, Yes: 1}}, {Name: "B", Sums: Sums{Count: 1}}}, "",
			"No difference yet: B minus A is between -100.0 % and 90.0 %."},
		{"nobody", higher, []Arm{{Name: "A"}, {Name: "B"}}, "", "Too early to say: 0 and 0 devices report."},
		{"all or none", higher, []Arm{{Name: "A", Sums: Sums{Count: 30}}, {Name: "B", Sums: Sums{Count: 30, Yes: 30}}}, "B",
			"B is better by 71.7 % to 100.0 %; safe to stop."},
		{"lower is better", lower, []Arm{{Name: "old", Sums: spread(5000, 820, 300)}, {Name: "new", Sums: spread(5000, 760, 280)}}, "new",
			"new is better by 41.7 to 78.3; safe to stop."},
		{"few numbers", lower, []Arm{{Name: "A", Sums: spread(49, 1, 1)}, {Name: "B", Sums: spread(5000, 2, 1)}}, "",
			"Too early to say: 49 and 5000 devices report, 50 in each arm are needed."},
		{"no variance", lower, []Arm{{Name: "A", Sums: spread(100, 5, 0)}, {Name: "B", Sums: spread(100, 6, 0)}}, "",
			"Nothing can be said: all devices of an arm report the same value (A: 5, B: 6 on average)."},
		{"three arms", lower, []Arm{{Name: "A", Sums: spread(9000, 50, 10)}, {Name: "B", Sums: spread(9000, 52, 10)}, {Name: "C", Sums: spread(9000, 45, 10)}}, "C",
			"C is better than every other arm, by at least 4.47; safe to stop."},
		{"three arms, two alike", lower, []Arm{{Name: "A", Sums: spread(9000, 50, 10)}, {Name: "B", Sums: spread(9000, 45.1, 10)}, {Name: "C", Sums: spread(9000, 45, 10)}}, "",
			"No arm is better than all others yet."},
		{"wrong sizes", higher, []Arm{{Name: "A", Share: 1, Joined: 6000, Sums: Sums{Count: 6000, Yes: 600}}, {Name: "B", Share: 1, Joined: 5000, Sums: Sums{Count: 5000, Yes: 4000}}}, "",
			"The arms do not have their sizes: B has 45.5 % of the devices, 50.0 % were expected. Something other than chance decides who is in an arm, so the arms cannot be compared."},
		{"silent losers", higher, []Arm{{Name: "A", Joined: 6000, Sums: Sums{Count: 5000, Yes: 600}}, {Name: "B", Joined: 6000, Sums: Sums{Count: 4000, Yes: 3000}}}, "",
			"The arms do not report alike: 83.3 % of the devices of A and 66.7 % of those of B report this metric. Those that do may be another kind of device, so the arms cannot be compared."},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, err := c.test.Compare(c.arms)
			if err != nil {
				t.Fatal(err)
			}
			if r.Text != c.text || r.Winner != c.winner {
				t.Errorf("winner %q, want %q; people read\n%s\nwant\n%s", r.Winner, c.winner, r.Text, c.text)
			}
			if raw, err := json.Marshal(r); err != nil || !json.Valid(raw) {
				t.Error(err)
			}
		})
	}
}

// Shares that are kept are never called wrong, however often one looks; shares that are not are found.
func TestSizesOfArms(t *testing.T) {
	t.Parallel()
	look := func(seed uint64, shares, really []float64) (said int) {
		rng := rand.New(rand.NewPCG(seed, 9))
		arms := make([]Arm, len(shares))
		for i := range arms {
			arms[i] = Arm{Name: string(rune('A' + i)), Share: shares[i]}
		}
		for n := range 4000 {
			at, i := rng.Float64(), 0
			for ; i < len(really)-1 && at >= really[i]; i++ {
				at -= really[i]
			}
			arms[i].Sums.Count++
			if sizes(arms) != "" {
				return n + 1
			}
		}
		return 0
	}
	for seed := range uint64(60) {
		if n := look(seed, []float64{5000, 3000, 2000}, []float64{0.5, 0.3, 0.2}); n != 0 {
			t.Errorf("seed %d: fair sizes called wrong after %d devices", seed, n)
		}
	}
	if n := look(1, []float64{1, 1}, []float64{0.58, 0.42}); n == 0 {
		t.Error("58 to 42 in the place of halves was not found in 4,000 devices")
	}
}

func TestTestsThatCannotBeMeant(t *testing.T) {
	t.Parallel()
	good := Test{Metric: "m", Kind: YesNo, Better: Higher}
	with := func(change func(*Test)) Test { c := good; change(&c); return c }
	arms := []Arm{{Name: "A"}, {Name: "B"}}
	for says, c := range map[string]struct {
		test Test
		arms []Arm
	}{
		`kind "text"`:               {with(func(c *Test) { c.Kind = "text" }), arms},
		`better "more"`:             {with(func(c *Test) { c.Better = "more" }), arms},
		"alpha NaN":                 {with(func(c *Test) { c.Alpha = math.NaN() }), arms},
		"alpha 1":                   {with(func(c *Test) { c.Alpha = 1 }), arms},
		"1 arms":                    {good, arms[:1]},
		"17 arms":                   {good, make([]Arm, 17)},
		"a name of its own":         {good, []Arm{{Name: "A"}, {Name: "A"}}},
		"share NaN":                 {good, []Arm{{Name: "A", Share: math.NaN()}, {Name: "B"}}},
		"every arm or of none":      {good, []Arm{{Name: "A", Share: 1}, {Name: "B"}}},
		"sums {Count:1 Yes:2":       {good, []Arm{{Name: "A", Sums: Sums{Count: 1, Yes: 2}}, {Name: "B"}}},
		"M2:NaN":                    {good, []Arm{{Name: "A", Sums: Sums{Count: 1, M2: math.NaN()}}, {Name: "B"}}},
		"Mean:+Inf":                 {good, []Arm{{Name: "A", Sums: Sums{Count: 1, Mean: math.Inf(1)}}, {Name: "B"}}},
		"Count:-1":                  {good, []Arm{{Name: "A", Sums: Sums{Count: -1}}, {Name: "B"}}},
		"2 devices joined and 3":    {good, []Arm{{Name: "A", Joined: 2, Sums: Sums{Count: 3}}, {Name: "B", Joined: 2}}},
		"nobody joined and 3":       {good, []Arm{{Name: "A", Sums: Sums{Count: 3}}, {Name: "B", Joined: 2}}},
		"Count:9223372036854775807": {good, []Arm{{Name: "A", Sums: Sums{Count: math.MaxInt64}}, {Name: "B"}}},
	} {
		if _, err := c.test.Compare(c.arms); !errors.Is(err, slipstream.ErrInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
}

func TestPercent(t *testing.T) {
	t.Parallel()
	for share, want := range map[float64]string{0: "0 %", 0.021: "2.1 %", -0.021: "-2.1 %", 1: "100.0 %", 0.0004: "0.04 %", 0.00001: "0.001 %", 1e-9: "0 %",
		math.Copysign(0, -1): "0 %", 0.00096: "0.1 %"} {
		if got := percent(share); got != want {
			t.Errorf("%v: %q, want %q", share, got, want)
		}
	}
}

func BenchmarkCompareRates(b *testing.B) {
	arms := []Arm{{Name: "A", Sums: Sums{Count: 40000, Yes: 4000}}, {Name: "B", Sums: Sums{Count: 40000, Yes: 5200}}}
	for b.Loop() {
		if r, err := (Test{Kind: YesNo, Better: Higher}).Compare(arms); err != nil || r.Winner != "B" {
			b.Fatal(err, r)
		}
	}
}
