package api_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/store"
)

func deviceID(n int) string { return fmt.Sprintf("%064x", n) }

// told stores reports of n devices that took the release, and of one that did not.
func (w *world) told(release slipstream.Digest, n int) {
	w.Helper()
	var batch []store.StoredEvent
	add := func(device int, kind slipstream.Kind, edit func(*slipstream.Event)) {
		e := slipstream.Event{ID: fmt.Sprintf("event-%d", len(batch)), Kind: kind, App: "shop", Channel: "production", Package: "main", Device: deviceID(device),
			Release: release, Rollout: "ro", Arm: slipstream.ArmTreatment, Platform: "ios", Runtime: "3.2.0"}
		if edit != nil {
			edit(&e)
		}
		batch = append(batch, store.StoredEvent{Event: e, Received: time.Now(), Network: "net"})
	}
	for i := range n {
		add(i, slipstream.KindEnrolled, nil)
		add(i, slipstream.KindConfirmed, nil)
	}
	add(n, slipstream.KindEnrolled, nil)
	add(n, slipstream.KindRolledBack, func(e *slipstream.Event) { e.Reason = slipstream.ReasonCrashed })
	add(n, slipstream.KindMetric, func(e *slipstream.Event) { e.Metric, e.Value = "fps", []byte("60") })
	_, err := w.store.Reports().Append(w.ctx, batch)
	w.must(err)
}

// A device that leaves a release on trial for a newer one says nothing against it.
func TestStatusTellsWhoLeftForAnotherRelease(t *testing.T) {
	w := newWorld(t)
	w.shop()
	release := w.publish(1).Digest
	w.told(release, 2)
	left := slipstream.Event{ID: "event-left", Kind: slipstream.KindRolledBack, App: "shop", Channel: "production", Package: "main", Device: deviceID(9),
		Release: release, Reason: slipstream.ReasonDisplaced}
	_, err := w.store.Reports().Append(w.ctx, []store.StoredEvent{{Event: left, Received: time.Now(), Network: "net"}})
	w.must(err)
	status, err := w.client("viewer").Status(w.ctx, "shop")
	w.must(err)
	r := status.Apps[0].Channels[0].Packages[0].Rollouts[0]
	if r.Devices[slipstream.KindRolledBack] != 2 || r.Left[slipstream.KindRolledBack] != 1 || len(r.Left) != 1 {
		t.Errorf("devices %v, of which left %v", r.Devices, r.Left)
	}
}

func TestFleet(t *testing.T) {
	w := newWorld(t)
	w.shop()
	release := w.publish(1).Digest
	w.told(release, 5)
	c := w.client("viewer")

	page, err := c.Devices(w.ctx, "shop", api.DeviceQuery{Limit: 4})
	w.must(err)
	rest, err := c.Devices(w.ctx, "shop", api.DeviceQuery{Limit: 4, After: page.Next})
	w.must(err)
	if len(page.Devices) != 4 || len(rest.Devices) != 2 || rest.Next != "" {
		t.Errorf("pages of %d and %d devices, then %q", len(page.Devices), len(rest.Devices), rest.Next)
	}
	some, err := c.Devices(w.ctx, "shop", api.DeviceQuery{OfFleet: api.OfFleet{Release: "1.1.0"}, Platform: "ios"})
	w.must(err)
	if len(some.Devices) != 5 || some.Devices[0].Version != "1.1.0" {
		t.Errorf("devices on 1.1.0: %+v", some)
	}
	spread, err := c.Spread(w.ctx, "shop")
	w.must(err)
	if len(spread.Groups) != 2 || spread.Groups[0].Devices != 5 || spread.Groups[0].Version != "1.1.0" || spread.Groups[1].Release != "" {
		t.Errorf("spread %+v", spread)
	}
	series, err := c.Series(w.ctx, "shop", api.SeriesQuery{Step: store.StepDay})
	w.must(err)
	if n := len(series.Points); n == 0 || series.Points[n-1].Kinds[slipstream.KindConfirmed] != 5 || *series.Points[n-1].Success < 0.8 || *series.Points[n-1].Success > 0.9 {
		t.Errorf("series %+v", series)
	}
	reasons, err := c.Reasons(w.ctx, "shop", api.ReasonQuery{Kind: slipstream.KindRolledBack, Since: time.Now().Add(-time.Hour)})
	w.must(err)
	if len(reasons) != 1 || reasons[0].Devices != 1 || reasons[0].Reason != slipstream.ReasonCrashed || reasons[0].Version != "1.1.0" {
		t.Errorf("reasons %+v", reasons)
	}
	d, err := c.Device(w.ctx, "shop", deviceID(5))
	w.must(err)
	if len(d.Events) != 3 || len(d.Packages) != 1 || len(d.Trials) != 1 || d.Trials[0].Outcome != "failed" || d.Trials[0].Metrics["fps"] != 60 {
		t.Errorf("device %+v", d)
	}
}

func TestADeviceIsForgotten(t *testing.T) {
	w := newWorld(t)
	w.shop()
	w.told(w.publish(1).Digest, 1)
	if _, err := w.client("viewer").ForgetDevice(w.ctx, "shop", deviceID(1)); err == nil {
		t.Error("a viewer may not delete")
	}
	c := w.client("operator")
	f, err := c.ForgetDevice(w.ctx, "shop", deviceID(1))
	w.must(err)
	if f.Events != 3 {
		t.Errorf("%d events", f.Events)
	}
	if _, err := c.Device(w.ctx, "shop", deviceID(1)); !errors.Is(err, slipstream.ErrNotFound) {
		t.Errorf("afterwards: %v", err)
	}
	spread, err := c.Spread(w.ctx, "shop")
	w.must(err)
	if len(spread.Groups) != 1 {
		t.Errorf("spread %+v", spread)
	}
	log, err := w.client("owner").Audit(w.ctx, api.AuditQuery{Action: "device.forget"})
	w.must(err)
	if len(log) != 1 || strings.Contains(fmt.Sprintf("%+v %s", log, log[0].Detail), deviceID(1)) {
		t.Errorf("the audit log says %+v", log)
	}
}

func TestFleetRefusesWhatMakesNoSense(t *testing.T) {
	w := newWorld(t)
	w.shop()
	_, err := w.client("owner").CreateApp(w.ctx, newApp("cart"))
	w.must(err)
	w.token("cart-viewer", auth.Viewer, "cart")
	for path, status := range map[string]int{
		"/devices?prefix=XYZ": 422, "/devices?after=nonsense": 422, "/devices?limit=5000": 422, "/devices/xyz": 422, "/devices?release=9.9.9": 404,
		"/series?step=week": 422, "/series?from=yesterday": 422, "/reasons?since=soon": 422, "/devices/" + deviceID(1): 404,
	} {
		if got, body := w.get("/v1/admin/apps/shop"+path, "viewer"); got != status {
			t.Errorf("%s: status %d, want %d: %s", path, got, status, body)
		}
	}
	for _, path := range []string{"/devices", "/spread", "/series", "/reasons", "/devices/" + deviceID(1)} {
		if got, _ := w.get("/v1/admin/apps/shop"+path, "cart-viewer"); got != 403 {
			t.Errorf("%s with another app's token: status %d", path, got)
		}
		if got, _ := w.get("/v1/admin/apps/nope"+path, "viewer"); got != 404 {
			t.Errorf("%s of no app: status %d", path, got)
		}
	}
}

func (w *world) get(path, as string) (int, string) {
	w.Helper()
	req, err := http.NewRequestWithContext(w.ctx, http.MethodGet, w.url+path, nil)
	w.must(err)
	req.Header.Set("Authorization", "Bearer "+w.secrets[as])
	res, err := http.DefaultClient.Do(req)
	w.must(err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	w.must(err)
	return res.StatusCode, string(b)
}
