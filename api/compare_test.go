package api_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/halt/compare"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/store"
)

// arm has n devices of one arm enrol and confirm a rollout's release, the first bad of them fail instead; each measures
// what value says, nothing for "".
func (w *world) arm(r *rollout.Entry, arm string, n, bad int, value func(i int) string) {
	w.Helper()
	var batch []store.StoredEvent
	for i := range n {
		e := slipstream.Event{App: "shop", Channel: "production", Package: "main", Device: slipstream.DeviceID("shop", fmt.Sprint(r.ID, arm, i)), Release: r.Manifest,
			Running: r.Manifest, Rollout: r.ID, Arm: arm}
		kinds := []slipstream.Kind{slipstream.KindEnrolled, slipstream.KindConfirmed}
		if i < bad {
			kinds[1], e.Reason = slipstream.KindRolledBack, slipstream.ReasonCrashed
		}
		if v := value(i); v != "" {
			e.Metric, e.Value = "bought", []byte(v)
			kinds = append(kinds, slipstream.KindMetric)
		}
		for _, k := range kinds {
			e.Kind, e.ID = k, fmt.Sprintf("%s-%s-%d-%s", r.ID, arm, i, k)
			batch = append(batch, store.StoredEvent{Event: e, Received: w.now.Add(time.Minute), Network: fmt.Sprint(i)})
		}
	}
	_, err := w.store.Reports().Append(w.ctx, batch)
	w.must(err)
}

func every(n int) func(int) string {
	return func(i int) string { return fmt.Sprint(i%n == 0) }
}

// arms starts two rollouts that share the salt "test".
func (w *world) arms(c *api.Client) (a, b *rollout.Entry) {
	w.Helper()
	for i, r := range []**rollout.Entry{&a, &b} {
		to, none := 5000*(i+1), 0
		done, err := c.StartRollout(w.ctx, "shop", "production", api.StartRollout{Release: string(w.publish(int64(i + 1)).Digest), Salt: "test", From: 5000 * i, To: &to, Control: &none})
		w.must(err)
		*r = done.Rollout
	}
	return a, b
}

func TestCompareSaysWhichArmIsBetter(t *testing.T) {
	w := newWorld(t)
	c := w.shop()
	a, b := w.arms(c)
	w.arm(a, slipstream.ArmTreatment, 400, 0, every(10))
	w.arm(b, slipstream.ArmTreatment, 420, 0, every(2))
	out, err := w.client("viewer").Compare(w.ctx, "shop", "production", api.CompareQuery{})
	w.must(err)
	if len(out.Arms) != 2 || out.Arms[0].Rollout != a.ID || out.Arms[0].Enrolled != 400 || out.Arms[1].Confirmed != 420 || out.Doubt != "" || out.Since == nil || out.Salt != "test" {
		t.Fatalf("%+v", out)
	}
	if len(out.Results) != 2 || out.Results[0].Test.Metric != api.MetricWorks || out.Results[0].Winner != "" {
		t.Errorf("%+v", out.Results)
	}
	bought := out.Results[1]
	if bought.Test.Kind != compare.YesNo || bought.Winner != b.Version || bought.Pairs[0].Low <= 0 || !strings.Contains(bought.Text, "safe to stop") {
		t.Errorf("%+v", bought)
	}
	// The other way round the other arm is better, and one metric may be asked for alone.
	out, err = c.Compare(w.ctx, "shop", "production", api.CompareQuery{Rollouts: []string{b.Version, a.ID}, Metric: "bought", Better: compare.Lower, Alpha: 0.01})
	w.must(err)
	if len(out.Results) != 1 || out.Results[0].Winner != a.Version || out.Results[0].Test.Alpha != 0.01 {
		t.Errorf("%+v", out.Results)
	}
}

func TestCompareSaysWhenTheArmsAreNotOfTheirSizes(t *testing.T) {
	w := newWorld(t)
	c := w.shop()
	a, b := w.arms(c)
	w.arm(a, slipstream.ArmTreatment, 600, 0, every(10))
	w.arm(b, slipstream.ArmTreatment, 200, 0, every(2))
	out, err := c.Compare(w.ctx, "shop", "production", api.CompareQuery{})
	w.must(err)
	if !strings.Contains(out.Doubt, "50.0 % were expected") || out.Results[1].Winner != "" || out.Results[1].Text != out.Doubt {
		t.Errorf("%+v", out)
	}
}

func TestOneRolloutIsComparedWithItsControlGroup(t *testing.T) {
	w := newWorld(t)
	c := w.shop()
	half := 5000
	done, err := c.StartRollout(w.ctx, "shop", "production", api.StartRollout{Release: string(w.publish(1).Digest), To: &half})
	w.must(err)
	w.arm(done.Rollout, slipstream.ArmTreatment, 200, 60, func(i int) string { return fmt.Sprint(100 + i%7) })
	w.arm(done.Rollout, slipstream.ArmControl, 20, 0, func(i int) string { return "" })
	out, err := c.Compare(w.ctx, "shop", "production", api.CompareQuery{Rollouts: []string{done.Rollout.ID}})
	w.must(err)
	if len(out.Arms) != 2 || out.Arms[1].Name != slipstream.ArmControl || out.Arms[1].Share != slipstream.DefaultControl || out.Arms[0].Failed != 60 || out.Arms[1].Confirmed != 20 {
		t.Fatalf("%+v", out.Arms)
	}
	if len(out.Results) != 2 || out.Results[1].Test.Kind != compare.Number || !strings.Contains(out.Results[1].Doubt, "do not report alike") {
		t.Errorf("%+v", out.Results)
	}
}

func TestWhatIsNoTestIsRefused(t *testing.T) {
	w := newWorld(t)
	c := w.shop()
	if _, err := c.Compare(w.ctx, "shop", "production", api.CompareQuery{}); !errors.Is(err, slipstream.ErrNotFound) {
		t.Errorf("nothing to compare: %v", err)
	}
	a, _ := w.arms(c)
	half := 5000
	done, err := c.StartRollout(w.ctx, "shop", "production", api.StartRollout{Release: string(a.Manifest), Salt: "another", To: &half})
	w.must(err)
	if _, err := c.Compare(w.ctx, "shop", "production", api.CompareQuery{Rollouts: []string{a.ID, done.Rollout.ID}}); err == nil || !strings.Contains(err.Error(), "different salts") {
		t.Errorf("two salts: %v", err)
	}
	if _, err := c.Compare(w.ctx, "shop", "production", api.CompareQuery{Rollouts: []string{"nobody"}}); !errors.Is(err, slipstream.ErrNotFound) {
		t.Errorf("unknown rollout: %v", err)
	}
	if code, _ := w.get(api.Base+"/apps/shop/channels/production/compare?better=prettier", "viewer"); code != http.StatusUnprocessableEntity {
		t.Errorf("unknown direction: %d", code)
	}
}
