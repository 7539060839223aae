package halt

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// story writes a log line by line.
type story struct {
	rule Rule
	s    State
	rng  *rand.Rand
}

func tell(rule Rule) *story { return &story{rule: rule, rng: rand.New(rand.NewPCG(5, 5))} }

// devices adds n devices of an arm that end as they join; failed of them, spread evenly, fail.
func (st *story) devices(arm Arm, n, failed int, network func(i int) string) *story {
	batch := make([]Outcome, n)
	for i := range batch {
		seq := st.s.Seq + int64(i) + 1
		batch[i] = Outcome{Seq: seq, At: start.Add(time.Duration(seq) * time.Second), Arm: arm, Network: network(i),
			Failed: (i+1)*failed/n > i*failed/n}
	}
	st.s = st.rule.Step(st.s, batch)
	return st
}

// fleet adds n devices: a share of treatment at random, failing with the given chances.
func (st *story) fleet(n int, share, bad, base float64, network func(i int) string) *story {
	for i := range n {
		o := Outcome{Seq: st.s.Seq + 1, Arm: Control, Failed: st.rng.Float64() < base, Network: network(i)}
		if st.rng.Float64() < share {
			o.Arm, o.Failed = Treatment, st.rng.Float64() < bad
		}
		st.s = st.rule.Step(st.s, []Outcome{o})
	}
	return st
}

func (st *story) verdict() Verdict { return st.rule.Verdict(st.s) }

func many(i int) string                { return fmt.Sprint("home ", i%500) }
func one(name string) func(int) string { return func(int) string { return name } }

func TestOneNetworkHaltsNothing(t *testing.T) {
	t.Parallel()
	office := one("office")
	st := tell(DefaultRule()).devices(Control, 200, 1, many).devices(Treatment, 300, 300, office)
	v := st.verdict()
	if v.Level != Warning || v.Crossed != nil || v.E < v.Threshold {
		t.Fatalf("%+v", v)
	}
	if want := "it comes from 1 network: nothing is halted before devices of 2 networks fail"; !strings.Contains(v.Reason, want) {
		t.Errorf("people read %q", v.Reason)
	}
	// A liar has no more luck with a single honest failure elsewhere …
	if v = st.devices(Treatment, 1, 1, many).verdict(); v.Level != Warning || !strings.Contains(v.Reason, "without the network that weighs most") {
		t.Errorf("%+v", v)
	}
	// … but what other networks say by themselves counts.
	if v = st.devices(Treatment, 20, 20, many).verdict(); v.Level != Alarm {
		t.Errorf("%+v", v)
	}
}

// A fleet that lives behind one address, a factory or a company network, can be told to trust it.
func TestAFleetBehindOneAddressCanTrustIt(t *testing.T) {
	t.Parallel()
	r := DefaultRule()
	r.NetworkShare, r.MinNetworks = 1, 1
	v := tell(r).devices(Control, 40, 0, one("office")).devices(Treatment, 3, 3, one("office")).verdict()
	if v.Level != Alarm || v.Crossed.Treated > 3 {
		t.Errorf("%+v", v)
	}
}

func TestThreeFailedDevicesOfThreeNetworksHalt(t *testing.T) {
	t.Parallel()
	st := tell(DefaultRule()).devices(Treatment, 2, 2, many)
	if v := st.verdict(); v.Level == Alarm {
		t.Errorf("two devices: %+v", v)
	}
	if v := st.devices(Treatment, 1, 1, func(int) string { return "third" }).verdict(); v.Level != Alarm || v.Crossed.Treated != 3 || v.Crossed.Seq != 3 {
		t.Errorf("three devices: %+v", v)
	}
}

// Two offices are a fleet too: each must say by itself that the release is bad.
func TestTwoNetworksAreEnough(t *testing.T) {
	t.Parallel()
	offices := func(i int) string { return fmt.Sprint("office ", i%2) }
	v := tell(DefaultRule()).fleet(12, 1, 1, 0, offices).verdict()
	if v.Level != Alarm || v.Crossed.Treated != 4 {
		t.Errorf("%+v", v)
	}
	v = tell(DefaultRule()).fleet(400, 0.5, 0.5, 0.005, offices).verdict()
	if v.Level != Alarm || v.Crossed.Treated > 60 {
		t.Errorf("half fail: %+v", v)
	}
}

// A network of liars with half of all treated devices cannot halt good releases.
func TestLiarsDoNotHaltGoodReleases(t *testing.T) {
	t.Parallel()
	halted := 0
	for seed := range uint64(40) {
		st := tell(DefaultRule())
		st.rng = rand.New(rand.NewPCG(seed, 1))
		for range 1200 {
			st.fleet(1, 0.5, 0.005, 0.005, func(int) string { return many(st.rng.IntN(500)) })
			st.devices(Treatment, 1, 1, one("liars"))
			if st.s.Crossed != nil {
				halted++
				break
			}
		}
	}
	if halted > 1 {
		t.Errorf("%d of 40 good releases halted", halted)
	}
}

// A test farm that confirms everything does not hide that the release fails on the devices of people.
func TestAFarmDoesNotHideABadRelease(t *testing.T) {
	t.Parallel()
	st := tell(DefaultRule())
	people := 0
	for ; people < 300 && st.s.Crossed == nil; people++ {
		st.fleet(1, 0.5, 0.3, 0.005, func(int) string { return many(people) }).devices(Treatment, 50, 0, one("farm"))
	}
	if st.s.Crossed == nil || people > 150 {
		t.Errorf("halted after %d people: %+v", people, st.verdict())
	}
	if v := st.verdict(); v.NotCounted < v.Treated/2 || !strings.Contains(v.Reason, "one network weighs at most 25 %") {
		t.Errorf("%+v", v)
	}
}

// A network whose control devices all claim to fail would make every release look good beside them.
func TestLiarsInTheControlDoNotHideABadRelease(t *testing.T) {
	t.Parallel()
	r := DefaultRule()
	r.Ceiling = 0.6 // leaves the relative part alone
	st := tell(r)
	people := 0
	for ; people < 20000 && st.s.Crossed == nil; people++ {
		st.fleet(1, 0.5, 0.05, 0.005, func(int) string { return many(people) })
		if people%3 == 0 {
			st.devices(Control, 1, 1, one("liars"))
		}
	}
	if st.s.Crossed == nil || people > 3000 {
		t.Errorf("halted after %d people: %+v", people, st.verdict())
	}
}

// A network that fills the control with devices that never fail would make every release look bad beside them.
func TestLiarsThatFillTheControlAreLeftOut(t *testing.T) {
	t.Parallel()
	st := tell(DefaultRule())
	for i := range 3000 {
		st.fleet(1, 0.5, 0.005, 0.005, func(int) string { return many(i) }).devices(Control, 1, 0, one("liars"))
	}
	if counted := st.s.Treated.Joined + st.s.Control.Joined - st.s.NotCounted; counted > 3200 || st.s.NotCounted < 2800 {
		t.Errorf("%d devices counted of 3,000 honest ones and as many liars: %+v", counted, st.verdict())
	}
}

// Failures are heard of at once, confirmations after hours: that is no reason to halt. Whoever joined counts as good
// until told otherwise.
func TestEarlyFailuresAloneHaltNothing(t *testing.T) {
	t.Parallel()
	r := DefaultRule()
	r.BaseRate = 0.005
	batch := make([]Outcome, 10_000)
	for i := range batch {
		batch[i] = Outcome{Seq: int64(i) + 1, Arm: Treatment, Joined: true, Network: many(i)}
	}
	s := r.Step(State{}, batch)
	batch = batch[:0]
	for i := range int64(80) {
		batch = append(batch, Outcome{Seq: 10_001 + i, Enrolled: 100*i + 1, Arm: Treatment, Failed: true, Network: many(int(100 * i))})
	}
	s = r.Step(s, batch)
	if v := r.Verdict(s); v.Level != Clean || v.EAbs > 1 {
		t.Errorf("80 of 10,000 failed, none confirmed: %+v", v)
	}
}

// A stage changes the share of treatment at once; failures of the old stage must not be judged by the share of the new.
func TestStagesAreNotCompared(t *testing.T) {
	t.Parallel()
	r := DefaultRule()
	r.Ceiling = 0.9 // leaves the relative part alone
	evidence := func(stageOf func(i int) int) float64 {
		var log []Outcome
		for i := range 350 {
			o := Outcome{Seq: int64(i) + 1, Arm: Control, Stage: stageOf(i), Joined: true, Network: many(i)}
			if i%10 == 0 || i >= 150 && i%10 != 1 { // one in ten, later nine in ten
				o.Arm = Treatment
			}
			log = append(log, o)
		}
		// A fifth of either arm of the later devices fails, and is heard of first.
		for i, o := range log[150:190] {
			o.Enrolled, o.Seq, o.Joined, o.Failed = o.Seq, 351+int64(i), false, true
			log = append(log, o)
		}
		return r.Verdict(r.Step(State{}, log)).ERel
	}
	if e := evidence(func(i int) int { return min(1, i/150) }); e > 1 {
		t.Errorf("a good release has the evidence %v against it", e)
	}
	if e := evidence(func(int) int { return 0 }); e < 2 {
		t.Errorf("evidence %v: mixing the stages would do no harm, so this proves nothing", e)
	}
}

func TestLinesThatAreNoEvidence(t *testing.T) {
	t.Parallel()
	good := Outcome{Seq: 10, Arm: Treatment, Failed: true, Device: "a"}
	with := func(change func(*Outcome)) Outcome { o := good; change(&o); return o }
	for name, line := range map[string]Outcome{
		"seen before":               with(func(o *Outcome) { o.Seq = 5 }),
		"no place in the log":       with(func(o *Outcome) { o.Seq = 0 }),
		"no arm":                    with(func(o *Outcome) { o.Arm = "" }),
		"unknown arm":               with(func(o *Outcome) { o.Arm = "both" }),
		"joined before the log":     with(func(o *Outcome) { o.Enrolled = 2 }),
		"enrolled after it ended":   with(func(o *Outcome) { o.Enrolled = 11 }),
		"joined and failed at once": with(func(o *Outcome) { o.Joined = true }),
		"more ends than devices":    with(func(o *Outcome) { o.Enrolled = 5 }), // the one treated device ended already
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := DefaultRule()
			s := r.Step(State{}, []Outcome{{Seq: 5, Arm: Treatment, Failed: true}})
			got := r.Step(s, []Outcome{line})
			if got.Ignored != 1 || got.Treated != s.Treated || got.Abs != s.Abs {
				t.Errorf("%+v", got)
			}
		})
	}
	twice := DefaultRule().Step(State{}, []Outcome{good, with(func(o *Outcome) { o.Seq = 11 })})
	if twice.Ignored != 1 || twice.Treated.Failed != 1 {
		t.Errorf("one device twice in a batch: %+v", twice)
	}
}

// What a rule asks of evidence may change at any time; what the factors mean may not.
func TestARuleThatChangesMidway(t *testing.T) {
	t.Parallel()
	r := DefaultRule()
	r.BaseRate = 0.01
	s := r.Step(State{}, []Outcome{{Seq: 1, Arm: Treatment, Joined: true}})
	r.BaseRate, r.AllowedRatio = 0.2, 2
	s = r.Step(s, []Outcome{{Seq: 2, Arm: Treatment, Enrolled: 1, Failed: true}})
	if s.Ceiling != 0.03 || s.Ratio != 1 {
		t.Errorf("ceiling %v, ratio %v", s.Ceiling, s.Ratio)
	}
	if got, want := r.Verdict(s).EAbs, (2+4+8+0.25/0.03+0.5/0.03+0.9/0.03)/6; math.Abs(got-want) > 1e-9 {
		t.Errorf("one failed device is worth %v, want %v", got, want)
	}
}

// A person who resumes answers for what was known; new evidence halts again.
func TestResumeBeginsAnew(t *testing.T) {
	t.Parallel()
	st := tell(DefaultRule()).devices(Control, 100, 1, many).devices(Treatment, 5, 5, many)
	before := st.verdict()
	st.s = st.s.Resume()
	after := st.verdict()
	if before.Level != Alarm || after.Level != Clean || after.E != 1 || after.FailedTreated != before.FailedTreated {
		t.Errorf("before %+v\nafter %+v", before, after)
	}
	// A device from before the halt is no evidence any more, in either direction.
	st.s = st.rule.Step(st.s, []Outcome{{Seq: st.s.Seq + 1, Enrolled: 103, Arm: Treatment, Failed: true, Network: "late"}})
	if v := st.verdict(); v.E != 1 || v.Ignored != 1 {
		t.Errorf("a late failure: %+v", v)
	}
	if v := st.devices(Treatment, 3, 3, func(i int) string { return fmt.Sprint("new ", i) }).verdict(); v.Level != Alarm {
		t.Errorf("fails again: %+v", v)
	}
}

func TestSilenceAfter(t *testing.T) {
	t.Parallel()
	ten := make([]time.Duration, 10)
	for i := range ten {
		ten[9-i] = time.Duration(i+1) * time.Hour / 2
	}
	for name, c := range map[string]struct {
		control []time.Duration
		want    time.Duration
	}{
		"nothing known":              {nil, 30 * time.Minute},
		"quick fleet":                {[]time.Duration{time.Second, time.Minute}, 30 * time.Minute},
		"nine in ten within 4 h 30":  {ten, 13*time.Hour + 30*time.Minute},
		"one device":                 {[]time.Duration{time.Hour}, 3 * time.Hour},
		"devices that start monthly": {[]time.Duration{1000 * time.Hour}, 24 * time.Hour},
		"no overflow":                {[]time.Duration{math.MaxInt64}, 24 * time.Hour},
	} {
		if got := SilenceAfter(c.control); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestEnough(t *testing.T) {
	t.Parallel()
	noon := start.Add(time.Hour)
	stage := Stage{Since: start, Soak: 30 * time.Minute, MinTreated: 50, HasControl: true}
	both := func() *story {
		return tell(DefaultRule()).devices(Control, 500, 1, many).devices(Treatment, 60, 0, many)
	}
	with := func(change func(*Stage)) Stage { s := stage; change(&s); return s }
	for name, c := range map[string]struct {
		story *story
		stage Stage
		now   time.Time
		why   string // "": may advance
	}{
		"all is there":           {both(), stage, noon, ""},
		"too early":              {both(), stage, start.Add(10 * time.Minute), "at least 30m0s: 20m0s to go"},
		"too few":                {both(), with(func(s *Stage) { s.MinTreated = 300 }), noon, "60 of 60 devices with this release heard of; the stage asks for 300"},
		"no data at all":         {tell(DefaultRule()), with(func(s *Stage) { s.MinTreated = 0 }), noon, "no data means stay"},
		"no control data":        {tell(DefaultRule()).devices(Treatment, 60, 0, many), stage, noon, "No device of the control group"},
		"no control needed":      {tell(DefaultRule()).devices(Treatment, 60, 0, many), with(func(s *Stage) { s.HasControl = false }), noon, ""},
		"nothing since it began": {both(), with(func(s *Stage) { s.Since = start.Add(20 * time.Minute) }), noon, "in this stage: no data means stay"},
		"bad release":            {both().devices(Treatment, 10, 10, many), stage, noon, "Halted"},
		"doubt":                  {both().devices(Treatment, 10, 10, one("office")), stage, noon, "comes from 1 network"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ok, why := c.story.rule.Enough(c.story.s, c.stage, c.now)
			if ok != (c.why == "") || !strings.Contains(why, c.why) {
				t.Errorf("%v: %q", ok, why)
			}
		})
	}
}

func TestArmsOfTheWrongSizeAreSaid(t *testing.T) {
	t.Parallel()
	r := DefaultRule()
	r.Shares = []float64{0.5}
	wrong := 0
	for seed := range uint64(100) {
		st := tell(r)
		st.rng = rand.New(rand.NewPCG(seed, 3))
		if v := st.fleet(600, 0.5, 0, 0, many).verdict(); v.Level != Clean {
			wrong++
		}
	}
	if wrong > 0 {
		t.Errorf("%d of 100 fair splits were called unfair", wrong)
	}
	st := tell(r).fleet(1500, 0.4, 0, 0, many)
	v := st.verdict()
	if v.Level != Inconclusive || !strings.Contains(v.Reason, "of the devices that joined in stage 1 have the release, 50 % were expected") {
		t.Errorf("%+v", v)
	}
	if ok, why := r.Enough(st.s, Stage{}, start); ok || why != v.Reason {
		t.Errorf("advances: %q", why)
	}
	st.s.Stages[0].Stage = 1 // of which nothing is expected
	if v := st.verdict(); v.Level != Clean {
		t.Errorf("%+v", v)
	}
}

func TestWhatPeopleRead(t *testing.T) {
	t.Parallel()
	r := DefaultRule()
	r.BaseRate = 0.005
	for want, st := range map[string]*story{
		"No device on this release was heard of yet.": tell(r).devices(Control, 10, 0, many),
		"2 of 310 devices with this release failed (0.65 %), 11 of 2004 in the control group (0.55 %). No sign of harm: the evidence is 0.67, 100 would halt.": tell(r).
			devices(Control, 2004, 11, many).devices(Treatment, 310, 2, many),
		"1 of 1 device with this release failed (100 %); there is no control group, so only failures above 1.5 % count. Too little to call it harm: the evidence is 7.6, 100 would halt.": tell(r).
			devices(Treatment, 1, 1, many),
	} {
		if got := st.verdict().Reason; got != want {
			t.Errorf("people read\n%s\nwant\n%s", got, want)
		}
	}
}

func TestRulesThatCannotBeMeant(t *testing.T) {
	t.Parallel()
	if err := DefaultRule().Check(); err != nil {
		t.Fatal(err)
	}
	for says, change := range map[string]func(*Rule){
		"alpha 0":             func(r *Rule) { r.Alpha = 0 },
		"alpha NaN":           func(r *Rule) { r.Alpha = math.NaN() },
		"allowed ratio 0.5":   func(r *Rule) { r.AllowedRatio = 0.5 },
		"base rate 1.5":       func(r *Rule) { r.BaseRate = 1.5 },
		"ceiling -1":          func(r *Rule) { r.Ceiling = -1 },
		"network share 0":     func(r *Rule) { r.NetworkShare = 0 },
		"0 devices":           func(r *Rule) { r.MinDevices = 0 },
		"65 networks":         func(r *Rule) { r.MinNetworks = 65 },
		"share 2 of stage 2":  func(r *Rule) { r.Shares = []float64{0.5, 2} },
		"ceiling +Inf must":   func(r *Rule) { r.Ceiling = math.Inf(1) },
		"allowed ratio +Inf ": func(r *Rule) { r.AllowedRatio = math.Inf(1) },
	} {
		r := DefaultRule()
		change(&r)
		if err := r.Check(); !errors.Is(err, slipstream.ErrInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
}
