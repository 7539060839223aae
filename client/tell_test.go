package client

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
)

func (b *bench) lastOf(kind slipstream.Kind) slipstream.Event {
	b.Helper()
	for _, e := range slices.Backward(b.told) {
		if e.Kind == kind {
			return e
		}
	}
	b.Fatalf("nothing of kind %s was told: %+v", kind, b.told)
	return slipstream.Event{}
}

func TestAFailureSaysWhatFailed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	first := b.offers("1.0.0", v1)
	b.repo.fault = func(r *http.Request, w *httptest.ResponseRecorder) (*http.Response, error) {
		if strings.HasPrefix(r.URL.Path, "/v1/blobs/") || strings.HasPrefix(r.URL.Path, "/v1/containers/") {
			wrong := httptest.NewRecorder()
			_, err := wrong.WriteString("not what was asked for")
			return wrong.Result(), err
		}
		return w.Result(), nil
	}
	if _, err := b.c.Update(t.Context()); err == nil {
		t.Fatal("the update worked")
	}
	e := b.lastOf(slipstream.KindFailed)
	if e.Stage != "fetch" || e.Release != first || e.Rollout != "ro-1.0.0-main" || e.Arm != slipstream.ArmTreatment || e.Package != "main" || e.Reason == "" || e.Detail == "" {
		t.Errorf("told %+v", e)
	}
	n := len(b.told)
	if _, err := b.c.Update(t.Context()); err == nil {
		t.Fatal("the second update worked")
	}
	if len(b.told) != n {
		t.Errorf("told again: %+v", b.told[n:])
	}
	second := b.offers("1.1.0", v1)
	if _, err := b.c.Update(t.Context()); err == nil {
		t.Fatal("the update to another release worked")
	}
	if e := b.lastOf(slipstream.KindFailed); e.Release != second {
		t.Errorf("the same failure of another release was not told: %+v", e)
	}
}

func TestAMetricSaysWhatRan(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.has("1.0.0", v1)
	if err := b.c.Metric("fps", 59.5); err != nil {
		t.Fatal(err)
	}
	if e := b.lastOf(slipstream.KindMetric); e.Package != "main" || e.Release != d || e.Metric != "fps" || string(e.Value) != "59.5" {
		t.Errorf("told %+v", e)
	}
	if err := b.c.MetricOf("", "bought", true); err != nil {
		t.Fatal(err)
	}
	if e := b.lastOf(slipstream.KindMetric); e.Package != "" || e.Release != "" || !slices.Equal(e.Value, json.RawMessage("true")) {
		t.Errorf("told %+v", e)
	}
}

func TestAQuietDeviceTellsOnceADayWhatItRuns(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.has("1.0.0", v1)
	alive := func() (n int) {
		for _, e := range b.told {
			if e.Kind == slipstream.KindAlive {
				n++
				if e.Running != d || e.Package != "main" || e.Release != "" {
					t.Errorf("told %+v", e)
				}
			}
		}
		return n
	}
	for _, step := range []struct {
		wait time.Duration
		want int
	}{{23 * time.Hour, 0}, {2 * time.Hour, 1}, {time.Hour, 1}, {22 * time.Hour, 1}, {2 * time.Hour, 2}} {
		b.clock.advance(step.wait)
		if _, err := b.c.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := alive(); got != step.want {
			t.Errorf("%v later: %d signs of life, want %d", step.wait, got, step.want)
		}
		b.reopen()
	}
}
