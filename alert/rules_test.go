package alert_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/alert"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/store"
)

// fleet puts counts of devices under a rollout.
type fleet struct {
	store.Store
	mu    sync.Mutex
	tally store.Tally
	runs  int64
	looks int // at the tally
}

func (f *fleet) Reports() store.Reports { return fleetReports{f.Store.Reports(), f} }

type fleetReports struct {
	store.Reports
	f *fleet
}

func (r fleetReports) Trials() store.Trials { return fleetTrials{r.Reports.Trials(), r.f} }

func (r fleetReports) Fleet() store.Fleet { return fleetRows{r.Reports.Fleet(), r.f} }

type fleetTrials struct {
	store.Trials
	f *fleet
}

func (t fleetTrials) Tally(context.Context, string) (map[string]store.Tally, error) {
	t.f.mu.Lock()
	defer t.f.mu.Unlock()
	t.f.looks++
	return map[string]store.Tally{"treatment": t.f.tally, "control": {Enrolled: 1000, Confirmed: 1}}, nil
}

type fleetRows struct {
	store.Fleet
	f *fleet
}

func (r fleetRows) Running(context.Context, string, string) ([]store.Running, error) {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	return []store.Running{{Devices: r.f.runs}}, nil
}

func TestRulesLookAtTheNumbers(t *testing.T) {
	t.Parallel()
	f := &fleet{}
	w := newWorld(t, func(c *alert.Config) {
		f.Store = c.Store
		c.Store, c.Judge = f, time.Millisecond
	})
	w.must(w.service.SetRules(w.ctx, "anna", alert.Rules{SuccessBelow: 0.95, MinDevices: 20, NoDataAfter: 3600}))
	if r, err := w.service.Rules(w.ctx); err != nil || r.SuccessBelow != 0.95 {
		t.Fatalf("rules %+v, %v", r, err)
	}
	set := func(tally store.Tally, runs int64) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.tally, f.runs = tally, runs
	}
	policy := rollout.Policy{Packages: map[string]*rollout.PackagePolicy{"main": {Rollouts: []rollout.Entry{{Platform: "any", Created: slipstream.At(noon),
		Rollout: slipstream.Rollout{ID: "r1", Version: "1.0.0", To: 5000, Runtime: slipstream.AnyRuntime()}}}}}}
	offer := func(hold string) {
		policy.Packages["main"].Rollouts[0].Hold = hold
		raw, err := json.Marshal(policy)
		w.must(err)
		w.update(func(tx store.Tx) error {
			return tx.Channels().Save(w.ctx, store.Channel{App: "shop", Name: "production", Policy: raw})
		})
	}
	looked := func(what string) { // twice: the first look may have begun before
		f.mu.Lock()
		before := f.looks
		f.mu.Unlock()
		w.eventually(what, func() bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.looks >= before+2
		})
	}
	active := func() (kinds string) {
		for _, a := range w.list(store.AlertQuery{Active: true}) {
			kinds += a.Kind + " "
		}
		return kinds
	}
	set(store.Tally{Enrolled: 19, Confirmed: 9, Failed: 10}, 100)
	offer("")
	w.start()
	looked("a look at 19 devices")
	if got := active(); got != "" {
		t.Errorf("19 devices: %s", got)
	}
	for _, step := range []struct {
		name  string
		tally store.Tally
		after time.Duration
		hold  string
		want  string
	}{
		{"too few confirm", store.Tally{Enrolled: 20, Confirmed: 18, Failed: 2}, 0, "", "success_low "},
		{"enough do again", store.Tally{Enrolled: 40, Confirmed: 39, Failed: 1}, 0, "", ""},
		{"many are silent", store.Tally{Enrolled: 60, Confirmed: 39, Failed: 1}, 61 * time.Minute, "", "no_data "},
		{"one speaks", store.Tally{Enrolled: 60, Confirmed: 40, Failed: 1}, 0, "", ""},
		{"they are silent again", store.Tally{Enrolled: 61, Confirmed: 40, Failed: 1}, 61 * time.Minute, "", "no_data "},
		{"it is paused: silence is what was asked for", store.Tally{Enrolled: 61, Confirmed: 40, Failed: 1}, 0, slipstream.HoldPaused, ""},
		{"nobody takes it", store.Tally{}, 61 * time.Minute, "", "no_data "},
	} {
		set(step.tally, 100)
		offer(step.hold)
		if step.after > 0 {
			looked(step.name)
			w.pass(step.after)
		}
		w.eventually(step.name, func() bool { return active() == step.want })
	}
	policy.Packages["main"].Rollouts = append(policy.Packages["main"].Rollouts[:0], rollout.Entry{})[:0]
	raw, err := json.Marshal(policy)
	w.must(err)
	w.update(func(tx store.Tx) error {
		return tx.Channels().Save(w.ctx, store.Channel{App: "shop", Name: "production", Policy: raw})
	})
	w.eventually("it is offered no more", func() bool { return active() == "" })
	for _, bad := range []alert.Rules{{SuccessBelow: 1.1, MinDevices: 1}, {MinDevices: 0}, {MinDevices: 1, NoDataAfter: 5}} {
		if err := w.service.SetRules(w.ctx, "anna", bad); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}
