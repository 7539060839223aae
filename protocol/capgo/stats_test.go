package capgo

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// tell sends a batch of actions about a version, as one device would.
func (w *world) tell(device, version string, change map[string]any, actions ...string) {
	w.Helper()
	var list []any
	for i, action := range actions {
		e := phone(change)
		e["device_id"], e["version_name"], e["action"], e["old_version_name"], e["timestamp"] = device, version, action, "", w.Now.UnixMilli()+int64(i)
		list = append(list, e)
	}
	if code := w.send(http.MethodPost, "stats", list, nil); code != http.StatusOK {
		w.Fatalf("stats: %d", code)
	}
}

// TestABatchCostsTheStoreLittle: strangers may put as many devices into one as they like.
func TestABatchCostsTheStoreLittle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	w.release("1.4.0", map[string]string{"index.html": "1"})
	asked := 0
	w.server.cfg.Running = func(context.Context, string, string, string) (slipstream.Digest, error) {
		asked++
		return "", nil
	}
	var list []any
	for i := range 300 {
		e := phone(nil)
		e["device_id"], e["version_name"], e["action"], e["timestamp"] = fmt.Sprint("stranger-", i), "1.4.0", "download_complete", w.Now.UnixMilli()
		list = append(list, e)
	}
	if code := w.send(http.MethodPost, "stats", list, nil); code != http.StatusOK {
		t.Fatalf("stats: %d", code)
	}
	if asked > maxPhones {
		t.Errorf("the store was asked %d times for one request", asked)
	}
}

// TestStatsCountOnce: however often a client tells something, a device counts once, and the guard sees how trials ended.
func TestStatsCountOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	w.release("1.4.0", map[string]string{"index.html": "1"})
	good := []string{"download_0", "download_complete", "set_next", "set", "app_launch_ready", "app_moved_to_background"}
	for range 3 {
		w.tell("a", "1.4.0", nil, good...)
		w.tell("b", "1.4.0", nil, "download_complete", "set", "update_fail")
		w.tell("c", "1.4.0", nil, "download_complete", "set", "app_crash", "app_launch_ready")
		w.tell("e", "1.4.0", map[string]any{"platform": "electron", "plugin_version": "0.0.1"}, "download_complete", "set")
		w.tell("f", "1.4.0", map[string]any{"platform": "electron", "plugin_version": "0.0.1"}, "download_complete", "set_fail")
		w.tell("g", "9.9.9", nil, good...)
		w.tell("", "1.4.0", nil, good...)
		w.tell("h", builtin, nil, "app_moved_to_foreground", "app_moved_to_background", "app_crash")
	}
	want := map[string]int64{"enrolled": 5, "fetched": 5, "staged": 1, "started": 3, "confirmed": 3, "rolled_back": 1, "failed": 1, "crashed": 1}
	if got := w.Counts(); !maps.Equal(got, want) {
		t.Errorf("counts %v, want %v", got, want)
	}
	tally, err := w.Store.Reports().Trials().Tally(w.Context(), w.RolloutOf("1.4.0"))
	if err != nil {
		t.Fatal(err)
	}
	if got := tally[slipstream.ArmTreatment]; got.Enrolled != 5 || got.Confirmed != 3 || got.Failed != 2 {
		t.Errorf("the guard sees %+v", got)
	}
}

// TestOlderUpdatersConfirm: those that do not say when the host was ready are taken to be well when they leave the screen.
func TestOlderUpdatersConfirm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	w.release("1.4.0", map[string]string{"index.html": "1"})
	old := map[string]any{"plugin_version": "5.9.0"}
	w.tell("a", "1.4.0", old, "download_complete", "set")
	if got := w.Counts(); got["started"] != 1 || got["confirmed"] != 0 {
		t.Fatalf("to be set is no proof: %v", got)
	}
	w.tell("a", "1.4.0", old, "app_moved_to_foreground")
	if got := w.Counts(); got["confirmed"] != 0 {
		t.Fatalf("nor is a start: %v", got)
	}
	w.tell("a", "1.4.0", old, "app_moved_to_background")
	if got := w.Counts(); got["confirmed"] != 1 {
		t.Errorf("it ran until it was left: %v", got)
	}
}

// TestFailuresOfSomethingElse: native updaters name what runs when the download of another bundle goes wrong. That is held
// against none.
func TestFailuresOfSomethingElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	w.release("1.4.0", map[string]string{"index.html": "1"})
	w.tell("a", "1.4.0", nil, "download_complete", "set", "app_launch_ready")
	w.release("1.5.0", map[string]string{"index.html": "2"})
	w.tell("a", "1.4.0", nil, "download_fail", "checksum_fail", "unzip_fail")
	if got := w.Counts(); got["failed"] != 0 {
		t.Errorf("held against what runs: %v", got)
	}
	w.tell("a", "1.5.0:assets/a.js", nil, "download_manifest_checksum_fail")
	w.tell("b", "1.5.0", nil, "finish_download_fail")
	if got := w.Counts(); got["failed"] != 2 {
		t.Errorf("what names its bundle: %v", got)
	}
	tally, err := w.Store.Reports().Trials().Tally(w.Context(), w.RolloutOf("1.5.0"))
	if err != nil || tally[slipstream.ArmTreatment].Failed != 1 {
		t.Errorf("the guard sees %+v, %v", tally, err)
	}
}

// TestTheFleetIsKnown: what devices run, whatever the way they came to it.
func TestTheFleetIsKnown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	one := w.release("1.4.0", map[string]string{"index.html": "1"})
	w.tell("a", "1.4.0", nil, "set", "app_launch_ready")
	two := w.release("1.5.0", map[string]string{"index.html": "2"})
	w.tell("b", "1.5.0", nil, "set", "app_launch_ready")
	w.tell("c", "1.5.0", nil, "set", "app_launch_ready")
	w.tell("a", "1.5.0", nil, "set", "update_fail")
	w.tell("d", builtin, nil, "app_moved_to_foreground")
	list, err := w.Store.Reports().Fleet().Running(w.Context(), "shop", "main")
	if err != nil {
		t.Fatal(err)
	}
	got := map[slipstream.Digest]int64{}
	for _, r := range list {
		got[r.Release] += r.Devices
	}
	if want := (map[slipstream.Digest]int64{one: 1, two: 2, "": 1}); !maps.Equal(got, want) {
		t.Errorf("running %v, want %v", got, want)
	}
	events, err := w.Store.Reports().Events(w.Context(), store.EventQuery{App: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if !slipstream.Digest(e.Device).Valid() {
			t.Errorf("a raw device id: %s", e.Device)
		}
	}
}

// TestALongBatch: a thousand events are looked at, the rest is not taken and says so.
func TestALongBatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	w.release("1.4.0", map[string]string{"index.html": "1"})
	var list []string
	for i := range maxEvents + 2 {
		list = append(list, fmt.Sprintf(`{"platform":"ios","device_id":"a","app_id":"%s","version_name":"1.4.0","action":"app_crash","timestamp":%d}`, appID, w.Now.UnixMilli()+int64(i)))
	}
	var out struct{ Results []result }
	if code := w.send(http.MethodPost, "stats", "["+strings.Join(list, ",")+"]", &out); code != http.StatusOK || len(out.Results) != maxEvents+2 {
		t.Fatalf("%d, %d results", code, len(out.Results))
	}
	for i, r := range out.Results {
		if (r.Status == "ok") != (i < maxEvents) || r.Index != i {
			t.Errorf("event %d: %+v", i, r)
		}
	}
	if got := w.Counts(); got["crashed"] != 1 {
		t.Errorf("one device crashed: %v", got)
	}
	if code := w.send(http.MethodPost, "stats", "["+strings.Repeat(" ", maxStats)+"]", nil); code != http.StatusRequestEntityTooLarge {
		t.Errorf("a batch without bounds: %d", code)
	}
}

// TestABatchOfNothings: what a stranger sends does not become many times as much in memory and in the answer.
func TestABatchOfNothings(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	w.release("1.4.0", map[string]string{"index.html": "1"})
	var out struct{ Results []result }
	if code := w.send(http.MethodPost, "stats", "["+strings.Repeat("0,", maxStats/2-2)+"0]", &out); code != http.StatusOK || len(out.Results) != maxAnswered {
		t.Errorf("%d, %d results", code, len(out.Results))
	}
	long := `{"action":"ping"` + strings.Repeat(`,"a":0`, maxRequest/6) + `}`
	if code := w.send(http.MethodPost, "stats", "["+long+"]", &out); code != http.StatusOK || len(out.Results) != 1 || out.Results[0].Error != "invalid_event" {
		t.Errorf("%d, %+v", code, out.Results)
	}
	if code := w.send(http.MethodPost, "stats", `[{"action":"ping"},`, nil); code != http.StatusBadRequest {
		t.Errorf("half an array: %d", code)
	}
}

// TestWhatAStrangerSendsStaysSmall: reading a long request takes no more memory than a few times its length.
func TestWhatAStrangerSendsStaysSmall(t *testing.T) {
	var keys strings.Builder
	for i := range maxStats / 12 {
		fmt.Fprintf(&keys, `"%d":0,`, i)
	}
	object, array := []byte("{"+keys.String()+`"a":0}`), []byte("["+strings.Repeat("{},", maxStats/3-1)+"{}]")
	for name, read := range map[string]func(){
		"an object": func() {
			if _, err := parseFields(object); err == nil {
				t.Error("an object with very many fields was taken")
			}
		},
		"a list of files": func() {
			if _, ok := parsePieces(array); ok {
				t.Error("a list of very many files was taken")
			}
		},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		read()
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > maxStats {
			t.Errorf("%s: %d bytes were taken for a request of %d", name, grown, maxStats)
		}
	}
}
