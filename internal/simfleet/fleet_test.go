package simfleet

import (
	"math"
	"testing"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client"
	"github.com/slipstream-ota/slipstream/store"
)

// agrees holds what the server counted against what the devices told, for every release that they told of.
func (w *world) agrees(r Report) {
	w.Helper()
	for _, t := range r.Told {
		if got := w.counted(t.Release)[t.Kind]; got != t.Devices {
			w.Errorf("%d devices told %s of %q, the server counted %d", t.Devices, t.Kind, t.Version, got)
		}
	}
	for _, t := range r.Tallies {
		all, err := w.store.Reports().Trials().Tally(w.Context(), t.Rollout)
		w.must(err)
		got := all[t.Arm]
		want := store.Tally{Enrolled: t.Enrolled, Confirmed: t.Confirmed, Failed: t.Failed, Left: t.Left, Networks: got.Networks}
		if got != want {
			w.Errorf("%s of %q: the server has %+v, the devices told %+v", t.Arm, t.Version, got, want)
		}
	}
}

func (r Report) told(version string, kind slipstream.Kind) int64 {
	for _, t := range r.Told {
		if t.Version == version && t.Kind == kind {
			return t.Devices
		}
	}
	return 0
}

func (r Report) tally(version, arm string) Tally {
	for _, t := range r.Tallies {
		if t.Version == version && t.Arm == arm {
			return t
		}
	}
	return Tally{}
}

func near(t testing.TB, what string, got int64, want float64) {
	t.Helper()
	if math.Abs(float64(got)-want) > 4*math.Sqrt(want)+1 {
		t.Errorf("%s: %d, expected about %.0f", what, got, want)
	}
}

func TestFleetDoesWhatItsRatesSayAndTheServerCountsIt(t *testing.T) {
	w := newWorld(t)
	w.publish("1.0.0", slipstream.FullShare)
	w.publish("1.1.0", 5000)
	shipped, err := Ship(t.Context(), w.url, w.root, w.shipped[0])
	if err != nil {
		t.Fatal(err)
	}
	const devices = 160
	cfg := w.config(devices)
	cfg.Shipped = []Part[client.Embedded]{{Value: shipped, Weight: 1}}
	cfg.Rates = map[string]Rates{"1.1.0": {Crash: 0.2, Hang: 0.1, Silent: 0.1}, "": {Crash: 0.25}}
	f := w.fleet(cfg)
	r := w.run(f)
	w.agrees(r)
	treated, control := r.tally("1.1.0", slipstream.ArmTreatment), r.tally("1.1.0", slipstream.ArmControl)
	n := float64(treated.Enrolled)
	near(t, "treated", treated.Enrolled, 0.5*devices)
	near(t, "in control", control.Enrolled, 0.05*devices)
	near(t, "failed", treated.Failed, 0.3*n)
	near(t, "silent", treated.Enrolled-treated.Failed-treated.Confirmed, 0.1*n)
	near(t, "crashed", r.told("1.1.0", slipstream.KindCrashed), 0.2*n)
	near(t, "hung", r.told("1.1.0", slipstream.KindHung), 0.1*n)
	near(t, "failed of the control", control.Failed, 0.25*float64(control.Enrolled))
	if control.Failed+control.Confirmed != control.Enrolled || r.Arrived != devices || r.Broken != 0 || r.Untold != int64(r.Silent) {
		t.Error(show(r))
	}
	if len(r.Running) != 2 || r.Running[0].Devices+r.Running[1].Devices != devices {
		t.Errorf("%+v", r.Running)
	}
}

// What ships without a manifest has no release to name: its reports must be taken all the same.
func TestAControlGroupThatRunsWhatShippedIsCounted(t *testing.T) {
	w := newWorld(t)
	w.publish("1.0.0", 5000)
	cfg := w.config(200)
	cfg.Rates = map[string]Rates{"": {Crash: 0.5}}
	r := w.run(w.fleet(cfg))
	w.agrees(r)
	control := r.tally("1.0.0", slipstream.ArmControl)
	if control.Enrolled == 0 || control.Failed == 0 || control.Confirmed+control.Failed != control.Enrolled || r.Untold != 0 {
		t.Error(show(r))
	}
}

func TestTheSameSeedMakesTheSameFleet(t *testing.T) {
	var tallies [2]Tally
	for i := range tallies {
		w := newWorld(t)
		digest := w.publish("1.0.0", slipstream.FullShare)
		cfg := w.config(60)
		cfg.Rates = map[string]Rates{"1.0.0": {Crash: 0.5}}
		cfg.Seed = 7
		r := w.run(w.fleet(cfg))
		w.agrees(r)
		tallies[i] = r.tally("1.0.0", slipstream.ArmTreatment)
		tallies[i].Rollout = ""
		if tallies[i].Release != digest {
			t.Errorf("told of %s, published was %s", tallies[i].Release, digest)
		}
	}
	if tallies[0] != tallies[1] || tallies[0].Failed == 0 || tallies[0].Confirmed == 0 {
		t.Errorf("%+v, then %+v", tallies[0], tallies[1])
	}
}

func TestLiarsAreHeardAndTheirUnaskedReportsAreNoEvidence(t *testing.T) {
	w := newWorld(t)
	w.publish("1.0.0", slipstream.FullShare)
	cfg := w.config(30)
	cfg.Liars = 40
	f := w.fleet(cfg)
	r := w.run(f)
	if r.Lies == nil || r.Lies.Unasked != 20 || r.Lies.Flooded != 20 || r.Lies.Accepted != 60 {
		t.Fatalf("%+v", r.Lies)
	}
	honest := r.tally("1.0.0", slipstream.ArmTreatment)
	all, err := w.store.Reports().Trials().Tally(t.Context(), honest.Rollout)
	if err != nil {
		t.Fatal(err)
	}
	got := all[slipstream.ArmTreatment]
	if got.Enrolled != honest.Enrolled+20 || got.Failed != 20 || got.Confirmed != 30 {
		t.Errorf("the server has %+v, the devices told %+v", got, honest)
	}
}

func TestDevicesArriveInTheirPattern(t *testing.T) {
	const devices = 4000
	for pattern, want := range map[Pattern][2]float64{ // expected in the first eighth and in the second half
		Even:  {devices / 8, devices / 2},
		Rush:  {devices / 2, devices * (1 - math.Cbrt(0.5))},
		Waves: {devices / 8, devices / 2},
	} {
		early, late := int64(0), int64(0)
		for i := range devices {
			switch at := seed(1).arrival(i, pattern); {
			case at < 0 || at > 1:
				t.Fatalf("%s: %v", pattern, at)
			case at < 0.125:
				early++
			case at >= 0.5:
				late++
			}
		}
		near(t, string(pattern)+" early", early, want[0])
		near(t, string(pattern)+" late", late, want[1])
	}
	// In waves the crests of an eighth have more than twice what the troughs have.
	var eighths [16]int
	for i := range devices {
		eighths[int(seed(1).arrival(i, Waves)*15.999)]++
	}
	if eighths[0] < 2*eighths[2] {
		t.Errorf("%v", eighths)
	}
}

func TestWhatCannotBeMeantIsRefused(t *testing.T) {
	good := Config{App: "shop", Servers: []string{"http://127.0.0.1:1"}, Devices: 1}
	for name, change := range map[string]func(*Config){
		"no devices":        func(c *Config) { c.Devices = 0 },
		"no server":         func(c *Config) { c.Servers = nil },
		"rate over 1":       func(c *Config) { c.Rates = map[string]Rates{"": {Crash: 0.7, Hang: 0.4}} },
		"negative rate":     func(c *Config) { c.Rates = map[string]Rates{"": {Crash: -0.1}} },
		"not a number":      func(c *Config) { c.Rates = map[string]Rates{"": {Crash: math.NaN()}} },
		"no weight":         func(c *Config) { c.Countries = []Part[string]{{Value: "cn"}} },
		"unknown pattern":   func(c *Config) { c.Pattern = "zigzag" },
		"too many networks": func(c *Config) { c.Networks = 1 << 20 },
	} {
		cfg := good
		change(&cfg)
		if _, err := New(cfg, nil); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, err := New(good, nil); err != nil {
		t.Error(err)
	}
}
