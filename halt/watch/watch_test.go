package watch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/halt"
	"github.com/slipstream-ota/slipstream/protocol/easyclick"
	"github.com/slipstream-ota/slipstream/protocol/protocoltest"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/store"
)

// world is a server with release 1 in force and release 2 on a plan.
type world struct {
	*protocoltest.World
	t        *testing.T
	id       string
	old, new slipstream.Digest
	watcher  *Watcher
	devices  int
	told     []Happening
}

func newWorld(t *testing.T, plan string) *world {
	t.Helper()
	w := &world{World: protocoltest.New(t, easyclick.Protocol{}), t: t}
	file := map[string]string{"main.js": "x"}
	w.old = w.Publish(protocoltest.Release{Version: "1", Files: file, Offer: &rollout.Offer{Channel: "production", To: slipstream.FullShare}})
	offer := &rollout.Offer{Channel: "production", To: slipstream.FullShare}
	if plan != "" {
		stages, err := rollout.ParsePlan(plan)
		if err != nil {
			t.Fatal(err)
		}
		offer.Plan = &rollout.Plan{Stages: stages}
	}
	w.new = w.Publish(protocoltest.Release{Version: "2", Files: file, Offer: offer})
	w.id = w.RolloutOf("2")
	w.watcher = w.newWatcher()
	return w
}

func (w *world) newWatcher() *Watcher {
	return New(Config{Store: w.Store, Rollout: w.Rollout, Clock: func() time.Time { return w.Now },
		Told: func(_ context.Context, _ store.Tx, h Happening) error { w.told = append(w.told, h); return nil }})
}

// join enrols n devices of an arm and lets each come to an end: confirmed, or rolled_back for the failing.
func (w *world) join(arm string, n int, fails func(i int) bool) {
	w.t.Helper()
	var batch []store.StoredEvent
	for i := range n {
		w.devices++
		e := slipstream.Event{App: "shop", Channel: "production", Package: "main", Device: slipstream.DeviceID("shop", fmt.Sprint(w.devices)), Rollout: w.id, Arm: arm, Release: w.new}
		if arm == slipstream.ArmControl {
			e.Release, e.Running = w.old, w.old
		}
		enrolled, end := e, e
		enrolled.ID, enrolled.Kind = fmt.Sprintf("enrolled-%d", w.devices), slipstream.KindEnrolled
		end.ID, end.Kind = fmt.Sprintf("ended---%d", w.devices), slipstream.KindConfirmed
		if fails != nil && fails(i) {
			end.Kind, end.Reason = slipstream.KindRolledBack, slipstream.ReasonCrashed
		}
		network := fmt.Sprintf("network %d", w.devices%50)
		batch = append(batch, store.StoredEvent{Event: enrolled, Received: w.Now, Network: network}, store.StoredEvent{Event: end, Received: w.Now, Network: network})
	}
	if _, err := w.Store.Reports().Append(w.t.Context(), batch); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) round() {
	w.t.Helper()
	if err := w.watcher.Round(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// entry is the rollout as it stands.
func (w *world) entry() rollout.Entry {
	w.t.Helper()
	var out rollout.Entry
	err := w.Store.View(w.t.Context(), func(tx store.Tx) error {
		ch, err := tx.Channels().Get(w.t.Context(), "shop", "production")
		if err != nil {
			return err
		}
		policy, err := rollout.PolicyOf(ch)
		if err != nil {
			return err
		}
		_, e, err := policy.Find(w.id)
		if err == nil {
			out = *e
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func always(int) bool { return true }

func TestAPlanAdvancesOnEvidence(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "1%:30m:20,10%:2h:20,100%")
	if e := w.entry(); e.To != 100 || e.Plan.At != 0 {
		t.Fatalf("begins at %d, stage %d", e.To, e.Plan.At)
	}
	w.join(slipstream.ArmTreatment, 30, nil)
	w.join(slipstream.ArmControl, 150, nil)
	w.round()
	if e := w.entry(); e.Plan.At != 0 {
		t.Fatal("advanced before its time")
	}
	w.Now = w.Now.Add(31 * time.Minute)
	w.round()
	if e := w.entry(); e.Plan.At != 1 || e.To != 1000 {
		t.Fatalf("time and evidence are there, and it is at stage %d, %d", e.Plan.At, e.To)
	}
	w.Now = w.Now.Add(2*time.Hour + time.Minute)
	w.round()
	if e := w.entry(); e.Plan.At != 1 {
		t.Fatal("advanced although nothing was heard in this stage")
	}
	w.join(slipstream.ArmTreatment, 30, nil)
	w.join(slipstream.ArmControl, 30, nil)
	w.round()
	if e := w.entry(); e.Plan.At != 2 || e.To != slipstream.FullShare {
		t.Fatalf("at stage %d, %d", e.Plan.At, e.To)
	}
	if len(w.told) != 2 || w.told[0].Action != rollout.ActionAdvance {
		t.Errorf("told %+v", w.told)
	}
}

func TestNoDataMeansStay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "1%:30m:20,100%")
	w.Now = w.Now.Add(24 * time.Hour)
	w.round()
	w.join(slipstream.ArmTreatment, 19, nil)
	w.round()
	w.Now = w.Now.Add(24 * time.Hour)
	w.round()
	if e := w.entry(); e.Plan.At != 0 {
		t.Errorf("advanced to stage %d with 19 of 20 devices", e.Plan.At)
	}
}

func TestABadReleaseIsHalted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10%:30m:20,100%")
	before := w.entry()
	w.join(slipstream.ArmControl, 40, nil)
	w.join(slipstream.ArmTreatment, 6, always)
	w.round()
	e := w.entry()
	if e.Hold != slipstream.HoldHalted || e.To != before.To {
		t.Fatalf("hold is %q", e.Hold)
	}
	if len(w.told) != 1 || w.told[0].Action != rollout.ActionHalt || w.told[0].Verdict.Level != halt.Alarm {
		t.Errorf("told %+v", w.told)
	}
	w.round()
	if len(w.told) != 1 {
		t.Error("halted twice")
	}
	w.Now = w.Now.Add(time.Hour)
	w.round()
	if e := w.entry(); e.Plan.At != 0 {
		t.Error("a halted rollout advances")
	}
}

func TestOnHaltWithdraw(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10%:30m:20,100%")
	if _, err := w.Rollout.SetGuard(t.Context(), "test", "shop", "production", rollout.Guard{OnHalt: rollout.OnHaltWithdraw}); err != nil {
		t.Fatal(err)
	}
	w.join(slipstream.ArmControl, 40, nil)
	w.join(slipstream.ArmTreatment, 6, always)
	w.round()
	if len(w.told) != 1 || !w.told[0].Withdrawn {
		t.Fatalf("told %+v", w.told)
	}
	if _, err := w.Rollout.Resume(t.Context(), "test", "shop", "production", w.id); !errors.Is(err, slipstream.ErrConflict) {
		t.Errorf("resuming what is withdrawn: %v", err)
	}
}

func TestAGuardThatIsOffHaltsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10%:30m:20,100%")
	if _, err := w.Rollout.SetGuard(t.Context(), "test", "shop", "production", rollout.Guard{Off: true}); err != nil {
		t.Fatal(err)
	}
	w.join(slipstream.ArmTreatment, 20, always)
	w.Now = w.Now.Add(time.Hour)
	w.round()
	if e := w.entry(); e.Hold != "" || e.Plan.At != 1 {
		t.Errorf("hold %q, stage %d: only time counts", e.Hold, e.Plan.At)
	}
}

func TestAfterAResumeTheEvidenceBeginsAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10%:30m:20,100%")
	w.join(slipstream.ArmControl, 40, nil)
	w.join(slipstream.ArmTreatment, 6, always)
	w.round()
	if _, err := w.Rollout.Resume(t.Context(), "test", "shop", "production", w.id); err != nil {
		t.Fatal(err)
	}
	w.round()
	if e := w.entry(); e.Hold != "" {
		t.Fatal("halted again by what a person has answered for")
	}
	w.join(slipstream.ArmTreatment, 10, always)
	w.round()
	if e := w.entry(); e.Hold != slipstream.HoldHalted {
		t.Error("new harm after a resume is not seen")
	}
	seen, err := Replay(t.Context(), w.Store, w.id)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range seen {
		if !s.Same {
			t.Errorf("look %d: kept %+v, again %+v", s.Evaluation.N, s.Look.Verdict, s.Again)
		}
	}
}

func TestWhatIsReportedDuringAHaltDoesNotHaltAgainAfterAResume(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10%:30m:20,100%")
	w.join(slipstream.ArmControl, 40, nil)
	w.join(slipstream.ArmTreatment, 6, always)
	w.round()
	w.join(slipstream.ArmTreatment, 3, always)
	w.round()
	if _, err := w.Rollout.Resume(t.Context(), "test", "shop", "production", w.id); err != nil {
		t.Fatal(err)
	}
	w.round()
	if e := w.entry(); e.Hold != "" || len(w.told) != 1 {
		t.Fatalf("hold is %q after %d halts: a person has answered for what was seen until then", e.Hold, len(w.told))
	}
	w.join(slipstream.ArmTreatment, 10, always)
	w.round()
	if e := w.entry(); e.Hold != slipstream.HoldHalted {
		t.Error("new harm after the resume is not seen")
	}
}

func TestEveryLookCanBeRunAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "1%:1h:20,10%:1h:20,100%")
	for hour := range 6 {
		w.join(slipstream.ArmTreatment, 40, func(i int) bool { return i == hour })
		w.join(slipstream.ArmControl, 60, func(i int) bool { return i == 2*hour })
		w.silentDevices(5)
		for range 3 {
			w.Now = w.Now.Add(25 * time.Minute)
			w.round()
		}
	}
	seen, err := Replay(t.Context(), w.Store, w.id)
	if err != nil || len(seen) < 6 {
		t.Fatalf("%d looks, %v", len(seen), err)
	}
	silent := int64(0)
	for _, s := range seen {
		if !s.Same {
			t.Errorf("look %d: kept %+v, again %+v", s.Evaluation.N, s.Look.Verdict, s.Again)
		}
		if s.Look.Verdict.Ignored > 0 {
			t.Errorf("look %d: %d lines were ignored", s.Evaluation.N, s.Look.Verdict.Ignored)
		}
		silent = s.Look.Verdict.SilentTreated
	}
	if silent == 0 {
		t.Error("no device counts as silent")
	}
	if _, err := Replay(t.Context(), w.Store, "nobody"); !errors.Is(err, slipstream.ErrNotFound) {
		t.Errorf("a rollout without evidence: %v", err)
	}
}

// silentDevices enrol and are not heard of again until long after.
func (w *world) silentDevices(n int) {
	w.t.Helper()
	var batch []store.StoredEvent
	for range n {
		w.devices++
		batch = append(batch, store.StoredEvent{Received: w.Now, Network: fmt.Sprint(w.devices % 50), Event: slipstream.Event{ID: fmt.Sprintf("enrolled-%d", w.devices),
			Kind: slipstream.KindEnrolled, App: "shop", Channel: "production", Package: "main", Device: slipstream.DeviceID("shop", fmt.Sprint(w.devices)),
			Rollout: w.id, Arm: slipstream.ArmTreatment, Release: w.new}})
	}
	if _, err := w.Store.Reports().Append(w.t.Context(), batch); err != nil {
		w.t.Fatal(err)
	}
}

func TestTwoWatchersNeverTakeAStepTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "1%:1m:0,2%:1m:0,4%:1m:0,8%:1m:0,16%:1m:0,32%:1m:0,100%")
	w.join(slipstream.ArmTreatment, 10, nil)
	w.join(slipstream.ArmControl, 50, nil)
	other := New(Config{Store: w.Store, Rollout: w.Rollout, Clock: func() time.Time { return w.Now }})
	w.watcher = New(Config{Store: w.Store, Rollout: w.Rollout, Clock: func() time.Time { return w.Now }})
	for stage := 1; stage <= 6; stage++ {
		w.join(slipstream.ArmTreatment, 5, nil)
		w.join(slipstream.ArmControl, 5, nil)
		w.Now = w.Now.Add(61 * time.Second)
		var wg sync.WaitGroup
		for _, watcher := range []*Watcher{w.watcher, other} {
			wg.Go(func() {
				for range 3 {
					if err := watcher.Round(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if e := w.entry(); e.Plan.At != stage || len(e.Plan.Began) != stage+1 {
			t.Fatalf("after step %d it is at stage %d", stage, e.Plan.At)
		}
	}
}

func TestAPlanThatStartsLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	at := slipstream.At(w.Now.Add(time.Hour))
	stages, err := rollout.ParsePlan("50%")
	if err != nil {
		t.Fatal(err)
	}
	w.new = w.Publish(protocoltest.Release{Version: "3", Files: map[string]string{"a": "b"}, Offer: &rollout.Offer{Channel: "production",
		Plan: &rollout.Plan{Stages: stages, Start: &at}}})
	w.id = w.RolloutOf("3")
	w.round()
	if e := w.entry(); e.To != 0 || e.Plan.At != -1 {
		t.Fatalf("started early: %d", e.To)
	}
	w.Now = w.Now.Add(time.Hour)
	w.round()
	if e := w.entry(); e.To != 5000 || e.Plan.At != 0 {
		t.Errorf("did not start: %d, stage %d", e.To, e.Plan.At)
	}
}
