package decide

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/slipstream-ota/slipstream"
)

const crowd = 20000 // devices that the properties are tried on

func decideFor(t *testing.T, st *slipstream.State, id string, local Local) Decision {
	t.Helper()
	plan, err := Compile(st)
	if err != nil {
		t.Fatal(err)
	}
	return plan.Decide("main", NewDevice(phone(func(f *slipstream.DeviceFacts) { f.ID = id })), &local, noon)
}

func TestRaisingAShareOnlyAddsDevices(t *testing.T) {
	local := running(4)
	var plans []*Plan
	shares := []int{0, 1, 100, 500, 1000, 2500, 5000, 9400, 9600, 9999, 10000}
	for _, to := range shares {
		plan, err := Compile(stateOf(offers(offer(5, share(0, to)))))
		if err != nil {
			t.Fatal(err)
		}
		plans = append(plans, plan)
	}
	counts := make([]int, len(shares))
	for n := range crowd {
		dev := NewDevice(phone(func(f *slipstream.DeviceFacts) { f.ID = device(n) }))
		was := false
		for i, plan := range plans {
			is := plan.Decide("main", dev, &local, noon).Verdict == slipstream.VerdictUpdate
			if was && !is {
				t.Fatalf("device %d is in a share of %d but not of %d", n, shares[i-1], shares[i])
			}
			if was = is; is {
				counts[i]++
			}
		}
	}
	for i, to := range shares {
		// Five standard deviations of a binomial distribution around the share.
		expect, p := float64(crowd)*float64(to)/slipstream.FullShare, float64(to)/slipstream.FullShare
		if d := float64(counts[i]) - expect; d*d > 25*float64(crowd)*p*(1-p) {
			t.Errorf("a share of %d holds %d of %d devices", to, counts[i], crowd)
		}
	}
	if counts[len(counts)-1] != crowd {
		t.Errorf("100 %% holds %d of %d devices", counts[len(counts)-1], crowd)
	}
}

func TestFullShareIsEverybodyTheConditionsName(t *testing.T) {
	st := stateOf(offers(offer(5, when("os", "semver", `">=14"`))))
	rnd := rand.New(rand.NewPCG(1, 2))
	for n := range 2000 {
		major := rnd.IntN(30)
		f := phone(func(f *slipstream.DeviceFacts) { f.ID, f.OS = device(n), fmt.Sprintf("%d.1", major) })
		if n%3 == 0 {
			f.ID = ""
		}
		plan, err := Compile(st)
		if err != nil {
			t.Fatal(err)
		}
		local := running(4)
		if got := plan.Decide("main", NewDevice(f), &local, noon).Verdict == slipstream.VerdictUpdate; got != (major >= 14) {
			t.Fatalf("os %d: update is %v", major, got)
		}
	}
}

func TestAdjoiningRangesUnderOneSaltPartitionAllDevices(t *testing.T) {
	cuts := []int{0, 1, 1000, 3333, 5000, 9999, 10000}
	var arms []slipstream.Rollout
	for i := range cuts[1:] {
		arms = append(arms, offer(int64(10+i), func(r *slipstream.Rollout) { r.Salt, r.From, r.To, r.Control = "test", cuts[i], cuts[i+1], 0 }))
	}
	backwards := make([]slipstream.Rollout, len(arms))
	for i := range arms {
		backwards[len(arms)-1-i] = arms[i]
	}
	for n := range 3000 {
		d := decideFor(t, stateOf(offers(arms...)), device(n), running(4))
		if d.Target == nil {
			t.Fatalf("device %d is in no arm", n)
		}
		if e := decideFor(t, stateOf(offers(backwards...)), device(n), running(4)); e.Rollout != d.Rollout {
			t.Fatalf("device %d is in arms %s and %s", n, d.Rollout, e.Rollout)
		}
	}
}

// TestSaltsAreIndependent cross-tabulates tenths under pairs of salts: a device's place under one says nothing of its
// place under another.
func TestSaltsAreIndependent(t *testing.T) {
	salts := []string{"ro_1", "ro_2", "ro_3", "a", "b", ""}
	for i, a := range salts {
		for _, b := range salts[i+1:] {
			var table [10][10]int
			for n := range crowd {
				id := device(n)
				table[Position(a, id)/1000][Position(b, id)/1000]++
			}
			const expect = crowd / 100.0
			chi := 0.0
			for _, row := range table {
				for _, n := range row {
					chi += (float64(n) - expect) * (float64(n) - expect) / expect
				}
			}
			// 99 degrees of freedom: mean 99, standard deviation 14; 170 is five of them.
			if chi > 170 {
				t.Errorf("salts %q and %q: chi-square %.0f", a, b, chi)
			}
		}
	}
}

func TestTheFirstFittingRolloutWins(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		st, local, dev := randomWorld(rnd)
		plan, err := Compile(st)
		if err != nil {
			t.Fatal(err)
		}
		d := plan.Decide("main", dev, &local, noon)
		if d.Target == nil || d.Verdict == slipstream.VerdictUpgradeRuntime {
			continue
		}
		for i, r := range st.Packages["main"].Rollouts {
			if r.ID == d.Rollout {
				break
			}
			alone := stateOf(offers(r), func(p *slipstream.PackageState) {
				p.Withdrawn, p.Floors = st.Packages["main"].Withdrawn, st.Packages["main"].Floors
			})
			p, err := Compile(alone)
			if err != nil {
				t.Fatal(err)
			}
			if e := p.Decide("main", dev, &local, noon); e.Target != nil && e.Verdict != slipstream.VerdictUpgradeRuntime {
				t.Fatalf("rollout %d would give %s by itself, yet %s was chosen", i, e.Rollout, d.Rollout)
			}
		}
	}
}

// TestDecisionsKeepTheLaws tries what must hold in any state for any device.
func TestDecisionsKeepTheLaws(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for n := range 20000 {
		st, local, dev := randomWorld(rnd)
		plan, err := Compile(st)
		if err != nil {
			t.Fatal(err)
		}
		d := plan.Decide("main", dev, &local, noon)
		if again := plan.Decide("main", dev, &local, noon); !reflect.DeepEqual(d, again) {
			t.Fatalf("world %d: decided %+v, then %+v", n, d, again)
		}
		if d.Verdict == "" || d.Reason == "" {
			t.Fatalf("world %d: no verdict or no reason: %+v", n, d)
		}
		pp := plan.packages["main"]
		floor := (&walk{pkg: pp, device: dev}).lowest()
		good := pp.bad(local.Running, floor) == ""
		if good == d.MustLeave {
			t.Fatalf("world %d: running is good %v but must leave %v", n, good, d.MustLeave)
		}
		if good && (d.Fallback != nil || d.ToEmbedded) {
			t.Fatalf("world %d: a good release is left for what is held: %+v", n, d)
		}
		if d.Target == nil || d.Verdict == slipstream.VerdictUpgradeRuntime {
			continue
		}
		target := d.Target
		switch {
		case pp.bad(Held{Digest: target.Manifest, Seq: target.Seq}, floor) != "":
			t.Fatalf("world %d: a withdrawn or too old release is offered", n)
		case !Fits(target.Runtime, dev.facts.Runtime):
			t.Fatalf("world %d: a release for another shell is offered", n)
		case good && target.Seq <= local.Running.Seq:
			t.Fatalf("world %d: a good release is left for an older one", n)
		case target.Seq <= local.Anchor.Seq && target.Manifest != local.Anchor.Digest && pp.bad(local.Anchor, floor) == "":
			t.Fatalf("world %d: a good anchor is undercut", n)
		case local.refused(target.Manifest, target.Retry):
			t.Fatalf("world %d: a refused release is offered", n)
		}
	}
}

// randomWorld mixes everything that a state and a device can have, over ten releases.
func randomWorld(rnd *rand.Rand) (*slipstream.State, Local, *Device) {
	seq := func() int64 { return 1 + rnd.Int64N(10) }
	chance := func(percent int) bool { return rnd.IntN(100) < percent }
	ranges := []string{"*", "3.x", "4.x", ">=3.1.0", "<3.0.0", "nonsense"}
	var parts []func(*slipstream.PackageState)
	for i := range rnd.IntN(6) {
		r := offer(seq(), func(r *slipstream.Rollout) {
			r.ID = fmt.Sprintf("r%d", i)
			r.Runtime.Range = ranges[rnd.IntN(len(ranges))]
			if chance(50) {
				r.From = rnd.IntN(5000)
				r.To = r.From + rnd.IntN(5001)
			}
			if chance(20) {
				r.Hold = []string{slipstream.HoldPaused, slipstream.HoldHalted}[rnd.IntN(2)]
			}
			r.Grant, r.Retry = chance(10), rnd.IntN(2)
		})
		if chance(20) {
			when("seq", "gte", fmt.Sprint(seq()))(&r)
		}
		parts = append(parts, offers(r))
	}
	for range rnd.IntN(3) {
		parts = append(parts, withdraw(seq()))
	}
	if chance(20) {
		parts = append(parts, floorAt(seq(), ranges[rnd.IntN(len(ranges))]))
	}
	local := running(seq())
	if chance(30) {
		local.Anchor = held(seq())
	}
	for range rnd.IntN(4) {
		local.Held = append(local.Held, held(seq()))
	}
	for range rnd.IntN(3) {
		local = local.refusing(seq(), rnd.IntN(2))
	}
	if chance(50) {
		local.AnchorFallback = append(local.AnchorFallback, rel(seq()), rel(seq()))
	}
	if chance(20) {
		local.RunningEmbedded, local.Embedded = true, local.Running
	}
	local.Remote = chance(20)
	id := device(rnd.IntN(1000))
	if chance(10) {
		id = ""
	}
	return stateOf(parts...), local, NewDevice(phone(func(f *slipstream.DeviceFacts) { f.ID = id }))
}

func TestThePositionFunctionCanBeReplaced(t *testing.T) {
	plan, err := Compile(stateOf(offers(offer(5, share(0, 1)))))
	if err != nil {
		t.Fatal(err)
	}
	local, dev := running(4), NewDevice(phone())
	first := plan.WithPosition(func(string, string) int { return 0 })
	if d := first.Decide("main", dev, &local, noon); d.Verdict != slipstream.VerdictUpdate {
		t.Errorf("a device put at position 0 gets %s", d.Verdict)
	}
	if d := plan.Decide("main", dev, &local, noon); d.Verdict != slipstream.VerdictNone {
		t.Errorf("the plan itself has changed: %s", d.Verdict)
	}
}

func TestCompileRefusesImpossibleShares(t *testing.T) {
	for _, r := range []slipstream.Rollout{offer(1, share(-1, 5)), offer(1, share(6, 5)), offer(1, share(0, 10001)), offer(1, func(r *slipstream.Rollout) { r.Control = -1 })} {
		_, err := Compile(stateOf(offers(r)))
		if slipstream.ReasonOf(err, "") != slipstream.ReasonMalformed {
			t.Errorf("share [%d, %d), control %d: %v", r.From, r.To, r.Control, err)
		}
	}
	if _, err := Compile(nil); slipstream.ReasonOf(err, "") != slipstream.ReasonMalformed {
		t.Errorf("no state: %v", err)
	}
}

func TestWireSaysOnlyWhatTheDeviceNeeds(t *testing.T) {
	w := decideFor(t, stateOf(offers(offer(5, retry(1)))), device(1), running(4)).Wire()
	if w.Release == nil || w.Release.Digest != rel(5) || w.Release.Seq != 5 || w.Release.Version != "1.5.0" || w.Release.Size != 5000 || w.Apply == nil || w.Retry != 1 {
		t.Errorf("an update on the wire: %+v", w)
	}
	w = decideFor(t, stateOf(offers(offer(5))), device(1), running(5)).Wire()
	if w.Release != nil || w.Apply != nil || w.Rollout != "ro_5" {
		t.Errorf("none on the wire: %+v", w)
	}
}
