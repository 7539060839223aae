package deliver

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/report"
)

func TestAnEnrolmentIsCountedBeforeTheSnapshotKnowsTheRollout(t *testing.T) {
	w := newWorld(t)
	d := w.addRelease("5", []byte("{}"))
	w.tables.releases[d].Manifest = testManifest()
	w.start()
	w.put("shop", "beta", "any", 2, packageState()) // nobody tells the server
	snap := w.server.snapshot.Load()
	e := eventOf(t, fmt.Sprintf(`{"id":"event-0001","kind":"enrolled","app":"shop","device":%q,"release":%q,"channel":"beta","package":"main","rollout":"ro_5","arm":"treatment"}`, digestOf("d"), d))
	for channel, want := range map[string]bool{"beta": true, "gamma": false} {
		e.Channel = channel
		got, err := w.server.releases.within(w.server).enrolls(t.Context(), snap, &e)
		if err != nil || got != want {
			t.Errorf("channel %s: counted %v, %v", channel, got, err)
		}
	}
}

func TestOneNetworkCannotTakeThePlaceOfAllOthers(t *testing.T) {
	w := newWorld(t).start(func(c *Config) {
		c.ReportRate = 10
		c.TrustedProxies = func(string) bool { return true }
	})
	n := 0
	report := func(from string, events int) *http.Response {
		var body []string
		for range events {
			n++
			body = append(body, event(fmt.Sprintf("event-%04d", n), "shop"))
		}
		return w.ask("POST", "/v1/reports", "["+strings.Join(body, ",")+"]", "X-Forwarded-For", from)
	}
	status := func(r *http.Response) int { bodyOf(t, r); return r.StatusCode }
	for range 2 {
		if got := status(report("203.0.113.9", 1000)); got != 200 {
			t.Fatalf("status %d within the burst", got)
		}
	}
	r := report("203.0.113.77", 5)
	if body := bodyOf(t, r); r.StatusCode != 429 || r.Header.Get("Retry-After") != "1" || !strings.Contains(body, "too_many_requests") {
		t.Errorf("a neighbour beyond it: status %d, Retry-After %q, %s", r.StatusCode, r.Header.Get("Retry-After"), body)
	}
	stored := len(w.tables.events)
	if got := status(report("198.51.100.1", 5)); got != 200 {
		t.Errorf("another network: status %d", got)
	}
	if got := len(w.tables.events); got != stored+5 {
		t.Errorf("%d events more are stored, want the other network's 5", got-stored)
	}
	for _, private := range []string{"127.0.0.1", "10.1.2.3", "192.168.1.1", "fd00::1"} {
		for range 3 {
			if got := status(report(private, 1000)); got != 200 {
				t.Errorf("%s: status %d", private, got)
			}
		}
	}
	w.setTime(noon.Add(2 * time.Second))
	if got := status(report("203.0.113.9", 20)); got != 200 {
		t.Errorf("after it waited: status %d", got)
	}
}

func TestWhatIsRememberedOfNetworksIsBounded(t *testing.T) {
	q := newQuota(1)
	for i := range 3 * maxQuotas {
		if wait := q.take(fmt.Sprint(i), 100, noon); wait != 0 {
			t.Fatalf("network %d waits %v", i, wait)
		}
	}
	if len(q.used) > maxQuotas {
		t.Errorf("%d networks are remembered", len(q.used))
	}
	s := New(Config{ReportRate: -1})
	for range 100 {
		if err := s.within(netip.MustParseAddr("203.0.113.9"), "n", 1000); err != nil {
			t.Fatalf("without a bound: %v", err)
		}
	}
}

func testManifest() *slipstream.Manifest {
	return &slipstream.Manifest{App: "shop", Package: "main"}
}

func eventOf(t *testing.T, body string) slipstream.Event {
	t.Helper()
	batch, err := report.ParseEvents([]byte(body))
	if err != nil || len(batch.Events) != 1 {
		t.Fatalf("%d events, %v", len(batch.Events), err)
	}
	return batch.Events[0]
}
