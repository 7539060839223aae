package halt

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// history makes a log of joins and ends, in batches, from a seed: delays, stages, crowds, repeated and bad lines.
func history(seed uint64, lines int) (batches [][]Outcome) {
	rng := rand.New(rand.NewPCG(seed, 7))
	var batch, waiting []Outcome
	for seq := int64(1); seq <= int64(lines); seq++ {
		o := Outcome{Seq: seq, At: start.Add(time.Duration(seq) * time.Second), Arm: Control, Stage: int(seq) * 3 / lines,
			Device: fmt.Sprint("d", seq), Network: fmt.Sprint("n", rng.IntN(1+rng.IntN(200)))}
		if rng.IntN(4) == 0 {
			o.Arm = Treatment
		}
		switch k := rng.IntN(20); {
		case k < 8:
			o.Joined = true
			waiting = append(waiting, o)
		case k < 15 && len(waiting) > 0:
			at := rng.IntN(len(waiting))
			w := waiting[at]
			waiting = append(waiting[:at], waiting[at+1:]...)
			o.Arm, o.Network, o.Stage, o.Device, o.Enrolled = w.Arm, w.Network, w.Stage, w.Device, w.Seq
			o.Failed, o.Silent = rng.IntN(50) == 0, rng.IntN(50) == 0
		case k == 15:
			o.Arm = "both"
		case k == 16:
			o.Seq = max(1, seq-5)
		default:
			o.Failed = rng.IntN(50) == 0
		}
		batch = append(batch, o)
		if rng.IntN(30) == 0 {
			batches, batch = append(batches, batch), nil
		}
	}
	return append(batches, batch)
}

func TestStateIsTheSameAfterAReplay(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		r, batches := DefaultRule(), history(seed, 1500)
		var s State
		points := r.Replay(batches)
		for i, b := range batches {
			before, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			next := r.Step(s, b)
			if after, _ := json.Marshal(s); string(after) != string(before) {
				t.Fatalf("seed %d: the state given to Step was changed", seed)
			}
			if v := r.Verdict(next); !reflect.DeepEqual(v, points[i].Verdict) {
				t.Fatalf("seed %d, batch %d:\n%+v\nreplayed\n%+v", seed, i, v, points[i].Verdict)
			}
			// Stored and read again between any two batches.
			raw, err := json.Marshal(next)
			if err != nil {
				t.Fatal(err)
			}
			s = State{}
			if err := json.Unmarshal(raw, &s); err != nil {
				t.Fatal(err)
			}
			if again, _ := json.Marshal(s); string(again) != string(raw) {
				t.Fatalf("seed %d: stored\n%s\nread\n%s", seed, raw, again)
			}
		}
		if s.Ignored == 0 || s.Treated.Failed == 0 || s.Control.Silent == 0 || len(s.Cohorts) < 3 {
			t.Fatalf("seed %d: the history is too plain to prove anything: %+v", seed, s)
		}
	}
}

func TestABatchGivenTwiceCountsOnce(t *testing.T) {
	t.Parallel()
	r := DefaultRule()
	var once, twice State
	for _, b := range history(3, 1500) {
		once = r.Step(once, b)
		twice = r.Step(r.Step(twice, b), b)
	}
	twice.Ignored = once.Ignored
	if !reflect.DeepEqual(once, twice) {
		t.Errorf("once\n%+v\ntwice\n%+v", once, twice)
	}
}

// However the log is cut into batches, lines that join first and end later give the same evidence.
func TestEvidenceDoesNotDependOnTheBatches(t *testing.T) {
	t.Parallel()
	var log []Outcome
	for i := range int64(600) {
		o := Outcome{Seq: i + 1, Arm: Control, Joined: true, Network: fmt.Sprint(i % 50)}
		if i%7 == 0 {
			o.Arm = Treatment
		}
		log = append(log, o)
	}
	for i, o := range log {
		o.Enrolled, o.Seq, o.Joined, o.Failed = o.Seq, o.Seq+600, false, i%40 == 0
		log = append(log, o)
	}
	r := DefaultRule()
	whole := r.Step(State{}, log)
	for _, size := range []int{1, 7, 100} {
		var s State
		for at := 0; at < len(log); at += size {
			s = r.Step(s, log[at:min(len(log), at+size)])
		}
		if !reflect.DeepEqual(s, whole) {
			t.Errorf("batches of %d:\n%+v\nas one\n%+v", size, s, whole)
		}
	}
}

// The trap of the absolute part: an alternative at or below what a good release may have would give the good release
// evidence against itself. No factor may be worth more than 1 on average while the release is good.
func TestNoAlternativeGivesAGoodReleaseEvidenceAgainstItself(t *testing.T) {
	t.Parallel()
	const exact = 1 + 1e-9
	for c := 0.0005; c < 1; c *= 1.07 {
		for i, o := range newOdds(c) {
			p := ceilingAlternatives(c)[i]
			if o.used != (p > 0) || o.used && p <= 1.5*c {
				t.Fatalf("ceiling %v uses the alternative %v", c, p)
			}
			for _, rate := range []float64{0, c / 3, c / 1.01, c} {
				if mean := (1-rate)*math.Exp(o.good) + rate*math.Exp(o.bad); o.used && mean > exact {
					t.Errorf("ceiling %v, true rate %v: the alternative %v is worth %v on average", c, rate, p, mean)
				}
			}
			if o.used && (o.good >= 0 || o.bad <= 0 || o.good >= o.bad) {
				t.Errorf("ceiling %v: a good device weighs %v, a failed one %v", c, o.good, o.bad)
			}
		}
	}
	for _, theta0 := range []float64{1, 1.2, 3} {
		for _, arms := range [][2]int64{{1, 1}, {1, 1000}, {1000, 1}, {17, 83}, {50000, 50000}} {
			bad, good := ratioFactors(theta0, arms[0], arms[1], true), ratioFactors(theta0, arms[0], arms[1], false)
			for _, theta := range []float64{0.2, 1, theta0} {
				chance := theta * float64(arms[0]) / (theta*float64(arms[0]) + float64(arms[1]))
				for i := range bad {
					if mean := chance*math.Exp(bad[i]) + (1-chance)*math.Exp(good[i]); theta <= theta0 && mean > exact {
						t.Errorf("allowed %v, true ratio %v, arms %v: the ratio %v is worth %v on average", theta0, theta, arms, ratioAlternatives()[i], mean)
					}
				}
			}
		}
	}
	sum := 0.0
	for i, a := range ratioAlternatives() {
		sum += ratioPriors()[i]
		if a <= 1 {
			t.Errorf("ratio %v is no alternative", a)
		}
	}
	if math.Abs(sum-1) > 1e-12 {
		t.Errorf("the ratios weigh %v together", sum)
	}
}

// With only one arm there is nothing to compare with, and nothing to learn.
func TestOneArmAloneGivesNoRelativeEvidence(t *testing.T) {
	t.Parallel()
	var log []Outcome
	for i := range int64(50) {
		log = append(log, Outcome{Seq: i + 1, Arm: Treatment, Failed: true, Network: fmt.Sprint(i)})
	}
	v := DefaultRule().Verdict(DefaultRule().Step(State{}, log))
	if v.ERel != 1 || v.ESilent != 1 || v.Level != Alarm {
		t.Errorf("%+v", v)
	}
}

// What is stored with every decision stays small, whatever the fleet.
func TestStateStaysSmall(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 1))
	r := DefaultRule()
	var s State
	batch := make([]Outcome, 5000)
	for seq := int64(1); seq <= 150_000; {
		for i := range batch {
			batch[i] = Outcome{Seq: seq, Arm: Treatment, Failed: rng.IntN(200) == 0, Silent: rng.IntN(100) == 0, Network: fmt.Sprintf("%016x", rng.IntN(50_000))}
			if rng.IntN(2) == 0 {
				batch[i].Arm = Control
			}
			seq++
		}
		s = r.Step(s, batch)
	}
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes, %d cohorts", len(raw), len(s.Cohorts))
	if len(raw) > 64<<10 || len(s.Crowds) != tracked || len(s.Suspects) != tracked {
		t.Errorf("%d bytes with %d crowds, %d suspects", len(raw), len(s.Crowds), len(s.Suspects))
	}
	for i := range 4 * cohortsMost { // a plan that flaps
		s = r.Step(s, []Outcome{{Seq: s.Seq + 1, Arm: Control, Stage: i % 2}})
	}
	if len(s.Cohorts) > cohortsMost {
		t.Errorf("%d cohorts", len(s.Cohorts))
	}
}

func BenchmarkStepPer1000Outcomes(b *testing.B) {
	for _, size := range []int{10, 1000} {
		b.Run(fmt.Sprintf("batches of %d", size), func(b *testing.B) {
			rng := rand.New(rand.NewPCG(1, 1))
			r := DefaultRule()
			var s State
			batch := make([]Outcome, size)
			seq := int64(0)
			fill := func() {
				for i := range batch {
					seq++
					batch[i] = Outcome{Seq: seq, Arm: Control, Failed: rng.IntN(200) == 0, Device: fmt.Sprintf("%064x", seq), Network: fmt.Sprintf("%016x", rng.IntN(5000))}
					if rng.IntN(5) == 0 {
						batch[i].Arm = Treatment
					}
				}
			}
			for range 50_000 / size {
				fill()
				s = r.Step(s, batch)
			}
			b.ReportAllocs()
			for b.Loop() {
				for range 1000 / size {
					b.StopTimer()
					fill()
					b.StartTimer()
					s = r.Step(s, batch)
					if v := r.Verdict(s); v.Level == NoData {
						b.Fatal("no data")
					}
				}
			}
		})
	}
}
