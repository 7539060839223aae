package rollout

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
)

func TestParsePlan(t *testing.T) {
	t.Parallel()
	got, err := ParsePlan("1%:30m,10%:2h:50,50%:3d:0,100%")
	want := []Stage{{100, 1800, DefaultMinDevices}, {1000, 7200, 50}, {5000, 259200, 0}, {10000, 0, 0}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	for text, said := range map[string]string{
		"1%,100%":                           "stage 1 (1%): says no time",
		"10%:1h,5%:1h,100%":                 "stage 2 (5%): a plan never shrinks, and the stage before has 10%",
		"10%:1h,10%:1h":                     "stage 2 (10%): a plan never shrinks",
		"10%:1h,120%":                       "stage 2 (120%): a share over 100%",
		"0%:1h,100%":                        "stage 1 (0%): the share must be above 0%",
		"10%:soon,100%":                     `stage 1 (10%:soon): "soon" is no time`,
		"10%:-1h,100%":                      "is no time",
		"10%:1h:many,100%":                  "is no number of devices",
		"10%:1h:1:2,100%":                   "a stage is SHARE:TIME:DEVICES",
		"ten:1h,100%":                       `"ten" is no share`,
		"1.234%:1h,100%":                    "is no share",
		"-1%:1h,100%":                       "is no share",
		strings.Repeat("1%:1h,", 30) + "2%": "between 1 and 20 stages",
		",":                                 "stage 1",
	} {
		if _, err := ParsePlan(text); err == nil || !strings.Contains(err.Error(), said) || !errors.Is(err, slipstream.ErrInvalid) {
			t.Errorf("%q: %v, want %q", text, err, said)
		}
	}
	if stages, err := ParsePlan(""); err != nil || len(stages) != 5 || stages[4].Share != slipstream.FullShare {
		t.Errorf("the default plan: %v, %v", stages, err)
	}
}

func TestWindows(t *testing.T) {
	t.Parallel()
	at := func(s string) time.Time {
		v, err := time.Parse("Mon 2006-01-02 15:04", s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, c := range []struct {
		window, now string
		holds       bool
	}{
		{"mon-fri 09:00-17:00", "Fri 2026-11-20 09:00", true},
		{"mon-fri 09:00-17:00", "Fri 2026-11-20 17:00", false},
		{"mon-fri 09:00-17:00", "Sat 2026-11-21 12:00", false},
		{"fri-mon 09:00-17:00", "Sun 2026-11-22 12:00", true},
		{"sat,sun 00:00-24:00", "Sun 2026-11-22 23:59", true},
		{"22:00-04:00", "Fri 2026-11-20 23:00", true},
		{"22:00-04:00", "Fri 2026-11-20 03:59", true},
		{"22:00-04:00", "Fri 2026-11-20 12:00", false},
		{"fri 22:00-04:00", "Sat 2026-11-21 03:00", true},
		{"fri 22:00-04:00", "Fri 2026-11-20 03:00", false},
		{"09:00-17:00 Asia/Shanghai", "Fri 2026-11-20 01:00", true},
		{"09:00-17:00 Asia/Shanghai", "Fri 2026-11-20 10:00", false},
	} {
		w, err := ParseWindow(c.window)
		if err != nil {
			t.Errorf("%s: %v", c.window, err)
			continue
		}
		if got := w.holds(at(c.now)); got != c.holds {
			t.Errorf("%s at %s: %v", c.window, c.now, got)
		}
	}
	for _, bad := range []string{"", "mon-fri", "9-17", "25:00-26:00", "09:00-17:00 Mars/Olympus", "foo 09:00-17:00"} {
		if _, err := ParseWindow(bad); !errors.Is(err, slipstream.ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// planned is a rollout of release 2 on a plan, at its first stage.
func planned(t *testing.T, plan string, now time.Time) *Policy {
	t.Helper()
	stages, err := ParsePlan(plan)
	if err != nil {
		t.Fatal(err)
	}
	e := entry(2)
	e.Plan = &Plan{Stages: stages}
	if err := e.begin(now, false); err != nil {
		t.Fatal(err)
	}
	p := policy(list(e, entry(1)))
	return p
}

func TestEveryVerbOnAPlan(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	p := planned(t, "1%:1h,10%:1h,100%", now)
	at := func() (stage, to int) {
		_, e, err := p.Find("r2")
		if err != nil {
			t.Fatal(err)
		}
		return e.Plan.At, e.To
	}
	steps := []struct {
		name      string
		do        func() error
		ok        bool
		stage, to int
	}{
		{"skip", func() error { return p.Advance("r2", now) }, true, 1, 1000},
		{"a share by hand above the stage", func() error { _, err := p.Share("r2", 2000); return err }, true, 1, 2000},
		{"another plan that begins lower", func() error { return p.SetPlan("r2", &Plan{Stages: []Stage{{500, 60, 0}, {10000, 0, 0}}}, now) }, true, 0, 2000},
		{"a plan that would shrink", func() error { return p.SetPlan("r2", &Plan{Stages: []Stage{{5000, 60, 0}, {10000, 0, 0}}}, now) }, false, 0, 2000},
		{"pause", func() error { return p.Hold("r2", slipstream.HoldPaused) }, true, 0, 2000},
		{"skip while paused", func() error { return p.Advance("r2", now) }, false, 0, 2000},
		{"resume", func() error { return p.Resume("r2") }, true, 0, 2000},
		{"freeze", func() error { return p.FreezePlan("r2", true) }, true, 0, 2000},
		{"skip what is frozen", func() error { return p.Advance("r2", now) }, true, 1, 10000},
		{"skip behind the last", func() error { return p.Advance("r2", now) }, false, 1, 10000},
		{"halt", func() error { return p.Hold("r2", slipstream.HoldHalted) }, true, 1, 10000},
		{"halt twice", func() error { return p.Hold("r2", slipstream.HoldHalted) }, true, 1, 10000},
		{"finish while halted", func() error { return p.Finish("r2") }, false, 1, 10000},
		{"resume the halt", func() error { return p.Resume("r2") }, true, 1, 10000},
		{"pause again", func() error { return p.Hold("r2", slipstream.HoldPaused) }, true, 1, 10000},
	}
	for _, s := range steps {
		if err := s.do(); (err == nil) != s.ok {
			t.Fatalf("%s: %v", s.name, err)
		}
		if stage, to := at(); stage != s.stage || to != s.to {
			t.Errorf("%s: at stage %d, %d", s.name, stage, to)
		}
	}
	if err := p.Finish("r2"); err != nil {
		t.Errorf("finishing a paused one: %v", err)
	}
	if _, e, err := p.Find("r2"); err != nil || e.Plan != nil || e.Hold != "" || e.To != slipstream.FullShare {
		t.Errorf("finished: %+v, %v", e, err)
	}
	if err := p.Advance("r2", now); !errors.Is(err, slipstream.ErrConflict) {
		t.Errorf("skip without a plan: %v", err)
	}
}

func TestWhatAPlanWaitsFor(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	later := slipstream.At(now.Add(time.Hour))
	for said, change := range map[string]func(p *Policy, e *Entry){
		"":                                  func(*Policy, *Entry) {},
		"it has no plan":                    func(_ *Policy, e *Entry) { e.Plan = nil },
		"it is paused":                      func(_ *Policy, e *Entry) { e.Hold = slipstream.HoldPaused },
		"it is halted":                      func(_ *Policy, e *Entry) { e.Hold = slipstream.HoldHalted },
		"it is at its last stage":           func(_ *Policy, e *Entry) { e.Plan.At = 1 },
		"it is frozen":                      func(_ *Policy, e *Entry) { e.Plan.Frozen = true },
		"the channel is frozen: x":          func(p *Policy, _ *Entry) { p.Freeze = &Freeze{Reason: "x"} },
		"it starts at 2026-11-20T13:00:00Z": func(_ *Policy, e *Entry) { e.Plan.Start = &later },
		"now is outside of its windows":     func(_ *Policy, e *Entry) { e.Plan.Windows = []Window{{From: "01:00", To: "02:00"}} },
		"the stage has 30m0s to go":         func(_ *Policy, e *Entry) { e.Plan.Began = []slipstream.Time{slipstream.At(now.Add(-30 * time.Minute))} },
	} {
		p := planned(t, "1%:1h,100%", now.Add(-2*time.Hour))
		_, e, err := p.Find("r2")
		if err != nil {
			t.Fatal(err)
		}
		change(p, e)
		if got := p.Waits(e, now); got != said {
			t.Errorf("got %q, want %q", got, said)
		}
	}
	p := planned(t, "1%:1h,100%", now.Add(-2*time.Hour))
	p.Freeze = &Freeze{Until: &later}
	_, e, _ := p.Find("r2")
	if p.Waits(e, now) == "" || p.Waits(e, later.Time) != "" {
		t.Error("a freeze ends at its time")
	}
}

func TestFinishWinner(t *testing.T) {
	t.Parallel()
	arms := func() *Policy {
		return policy(list(entry(3, salt("ab"), share(0, 5000)), entry(2, salt("ab"), share(5000, 10000)), entry(1)))
	}
	p := arms()
	ended, err := p.FinishWinner("r2")
	if err != nil || !slices.Equal(ended, []string{"r3"}) {
		t.Fatalf("ended %v, %v", ended, err)
	}
	if _, e, err := p.Find("r2"); err != nil || e.From != 0 || e.To != slipstream.FullShare || e.Control != 0 {
		t.Errorf("the winner is at %+v, %v", e, err)
	}
	if _, err := arms().FinishWinner("r1"); !errors.Is(err, slipstream.ErrConflict) {
		t.Errorf("a rollout that is no arm: %v", err)
	}
	held := arms()
	if err := held.Hold("r2", slipstream.HoldHalted); err != nil {
		t.Fatal(err)
	}
	if _, err := held.FinishWinner("r2"); !errors.Is(err, slipstream.ErrConflict) {
		t.Errorf("a halted winner: %v", err)
	}
}
