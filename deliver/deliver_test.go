package deliver

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/sign"
	"github.com/slipstream-ota/slipstream/store"
)

const statePath = "/v1/apps/shop/channels/production/state/any"

func TestAnswersAreWhatTheyShouldBe(t *testing.T) {
	w := newWorld(t)
	manifest := w.addRelease("5", []byte(`{"a manifest":1}`))
	bare := w.addRelease("bare", []byte(`{}`))
	w.tables.containers[manifest] = []slipstream.Container{{Codec: "full/1", Size: 10, SHA256: digestOf("c")}, {From: digestOf("4"), Codec: "changed/1", Size: 5, SHA256: digestOf("d")}}
	blob := w.addBlob("0123456789")
	sum, _ := hex.DecodeString(string(blob))
	w.start()
	state := string(w.tables.rows[0].Envelope)
	root := string(w.tables.roots["shop"][0])
	etag := newDocument([]byte(state)).etag[0]
	const immutable, shared = "public, max-age=31536000, immutable", "public, max-age=30, stale-while-revalidate=60, stale-if-error=86400"

	for _, c := range []struct {
		name, method, path string
		header             []string
		status             int
		body               string // exact for a success, a part for a problem
		want               map[string]string
		forbidden          []string // headers
	}{
		{name: "state, byte for byte", path: statePath, status: 200, body: state,
			want: map[string]string{"Cache-Control": shared, "Etag": etag, "Content-Type": "application/json", "Content-Length": fmt.Sprint(len(state))}, forbidden: []string{"Set-Cookie", "Last-Modified"}},
		{name: "state by HEAD", method: "HEAD", path: statePath, status: 200, want: map[string]string{"Content-Length": fmt.Sprint(len(state)), "Etag": etag}},
		{name: "state that the client has", path: statePath, header: []string{"If-None-Match", etag}, status: 304, want: map[string]string{"Cache-Control": shared, "Etag": etag}, forbidden: []string{"Content-Type"}},
		{name: "state that a proxy weakened", path: statePath, header: []string{"If-None-Match", `"x", W/` + etag}, status: 304},
		{name: "any state will do", path: statePath, header: []string{"If-None-Match", "*"}, status: 304},
		{name: "another state than the client has", path: statePath, header: []string{"If-None-Match", `"0"`}, status: 200, body: state},
		{name: "no such platform", path: "/v1/apps/shop/channels/production/state/ios", status: 404, body: `"code":"not_found"`, want: map[string]string{"Cache-Control": "no-store"}, forbidden: []string{"Etag"}},
		{name: "no such app", path: "/v1/apps/none/channels/production/state/any", status: 404, body: `"code":"not_found"`},
		{name: "state by POST", method: "POST", path: statePath, status: 405, body: `"code":"method_not_allowed"`, want: map[string]string{"Allow": "GET, HEAD"}},
		{name: "root", path: "/v1/apps/shop/roots/1", status: 200, body: root, want: map[string]string{"Cache-Control": immutable}},
		{name: "next root", path: "/v1/apps/shop/roots/2", status: 404, body: `"code":"not_found"`, want: map[string]string{"Cache-Control": "no-store"}},
		{name: "root 0", path: "/v1/apps/shop/roots/0", status: 404},
		{name: "root +1", path: "/v1/apps/shop/roots/+1", status: 404},
		{name: "root 01", path: "/v1/apps/shop/roots/01", status: 404},
		{name: "root x", path: "/v1/apps/shop/roots/x", status: 404},
		{name: "root of no app", path: "/v1/apps/none/roots/1", status: 404},
		{name: "manifest", path: "/v1/manifests/" + string(manifest), status: 200, body: `{"a manifest":1}`, want: map[string]string{"Content-Type": "application/json"}},
		{name: "no such manifest", path: "/v1/manifests/" + string(digestOf("x")), status: 404, want: map[string]string{"Cache-Control": "no-store"}},
		{name: "manifest by no digest", path: "/v1/manifests/abc", status: 404},
		{name: "manifest by an upper-case digest", path: "/v1/manifests/" + strings.ToUpper(string(manifest)), status: 404},
		{name: "containers", path: "/v1/releases/" + string(manifest) + "/containers", status: 200, want: map[string]string{"Cache-Control": "public, max-age=60"},
			body: `[{"codec":"full/1","size":10,"sha256":"` + string(digestOf("c")) + `"},{"from":"` + string(digestOf("4")) + `","codec":"changed/1","size":5,"sha256":"` + string(digestOf("d")) + `"}]`},
		{name: "no containers", path: "/v1/releases/" + string(bare) + "/containers", status: 200, body: "[]"},
		{name: "containers of no release", path: "/v1/releases/" + string(digestOf("x")) + "/containers", status: 404},
		{name: "blob", path: "/v1/blobs/" + string(blob), status: 200, body: "0123456789", want: map[string]string{"Cache-Control": immutable, "Etag": `"` + string(blob) + `"`,
			"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", "Content-Length": "10", "Repr-Digest": "sha-256=:" + base64.StdEncoding.EncodeToString(sum) + ":"}, forbidden: []string{"Content-Encoding", "Last-Modified"}},
		{name: "container", path: "/v1/containers/" + string(blob), header: []string{"Accept-Encoding", "gzip"}, status: 200, body: "0123456789", forbidden: []string{"Content-Encoding"}},
		{name: "blob by HEAD", method: "HEAD", path: "/v1/blobs/" + string(blob), status: 200, want: map[string]string{"Content-Length": "10", "Accept-Ranges": "bytes"}},
		{name: "rest of a blob", path: "/v1/blobs/" + string(blob), header: []string{"Range", "bytes=4-"}, status: 206, body: "456789", want: map[string]string{"Content-Range": "bytes 4-9/10", "Cache-Control": immutable}},
		{name: "rest of the same blob", path: "/v1/blobs/" + string(blob), header: []string{"Range", "bytes=4-5", "If-Range", `"` + string(blob) + `"`}, status: 206, body: "45"},
		{name: "rest of another blob", path: "/v1/blobs/" + string(blob), header: []string{"Range", "bytes=4-", "If-Range", `"other"`}, status: 200, body: "0123456789"},
		{name: "beyond a blob", path: "/v1/blobs/" + string(blob), header: []string{"Range", "bytes=10-"}, status: 416, body: `"code":"range_not_satisfiable"`, want: map[string]string{"Content-Range": "bytes */10", "Cache-Control": "no-store"}, forbidden: []string{"Etag"}},
		{name: "blob that the client has", path: "/v1/blobs/" + string(blob), header: []string{"If-None-Match", `"` + string(blob) + `"`}, status: 304},
		{name: "no such blob", path: "/v1/blobs/" + string(digestOf("x")), status: 404, body: `"code":"not_found"`, want: map[string]string{"Cache-Control": "no-store"}, forbidden: []string{"Etag", "Repr-Digest"}},
		{name: "blob outside the store", path: "/v1/blobs/..%2f..%2fetc%2fpasswd", status: 404},
		{name: "check by GET", path: "/v1/check", status: 405, want: map[string]string{"Allow": "POST"}},
		{name: "reports by PUT", method: "PUT", path: "/v1/reports", status: 405, want: map[string]string{"Allow": "POST"}},
		{name: "alive", path: "/healthz", status: 200, body: "ok\n"},
		{name: "ready", path: "/readyz", status: 200, body: "ready\n", want: map[string]string{"Cache-Control": "no-store"}},
		{name: "missing blob that the client says it has", path: "/v1/blobs/" + string(digestOf("x")), header: []string{"If-None-Match", `"` + string(digestOf("x")) + `"`}, status: 404, want: map[string]string{"Cache-Control": "no-store"}},
		{name: "a path that is not clean", path: "/v1//check", status: 404, body: `"code":"not_found"`},
		{name: "a path with dots", path: "/v1/./check", status: 404, body: `"code":"not_found"`},
		{name: "nothing there", path: "/v1/nothing", status: 404, body: `"code":"not_found"`},
		{name: "the top", path: "/", status: 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			method := c.method
			if method == "" {
				method = http.MethodGet
			}
			r := w.ask(method, c.path, "", c.header...)
			body := bodyOf(t, r)
			if r.StatusCode != c.status {
				t.Fatalf("status %d, want %d: %s", r.StatusCode, c.status, body)
			}
			problem := c.status >= 400
			if problem && (r.Header.Get("Content-Type") != "application/problem+json" || !json.Valid([]byte(body))) {
				t.Errorf("not a problem document: %s %s", r.Header.Get("Content-Type"), body)
			}
			if problem && !strings.Contains(body, c.body) || !problem && body != c.body {
				t.Errorf("body %q, want %q", body, c.body)
			}
			for name, value := range c.want {
				if got := r.Header.Get(name); got != value {
					t.Errorf("%s: %q, want %q", name, got, value)
				}
			}
			for _, name := range c.forbidden {
				if got, there := r.Header[name]; there {
					t.Errorf("%s must not be there: %q", name, got)
				}
			}
		})
	}
}

func TestAChangeReachesDevices(t *testing.T) {
	w := newWorld(t).start()
	var row store.StateRow
	w.tables.change(func() { row = w.put("shop", "production", "any", 2, packageState(withdrawn("4"))) })
	w.eventually(func() bool { return bodyOf(t, w.ask("GET", statePath, "")) == string(row.Envelope) })

	w.tables.change(func() { w.put("shop", "beta", "any", 1, packageState()) })
	w.eventually(func() bool {
		return w.ask("GET", "/v1/apps/shop/channels/beta/state/any", "").StatusCode == http.StatusOK
	})
	w.tables.change(func() { w.tables.channels = w.tables.channels[:1] })
	w.eventually(func() bool {
		return w.ask("GET", "/v1/apps/shop/channels/beta/state/any", "").StatusCode == http.StatusNotFound
	})
	if w.ask("GET", statePath, "").StatusCode != http.StatusOK {
		t.Error("deleting one channel took another with it")
	}

	w.tables.change(func() { w.addApp("other") })
	w.eventually(func() bool { return w.ask("GET", "/v1/apps/other/roots/1", "").StatusCode == http.StatusOK })
	w.tables.change(func() { w.tables.roots["other"] = append(w.tables.roots["other"], []byte("root 2")) })
	w.eventually(func() bool { return bodyOf(t, w.ask("GET", "/v1/apps/other/roots/2", "")) == "root 2" })
	w.tables.change(func() { w.tables.apps = w.tables.apps[:1] })
	w.eventually(func() bool { return w.ask("GET", "/v1/apps/other/roots/1", "").StatusCode == http.StatusNotFound })
}

func TestARefreshReadsOnlyWhatChanged(t *testing.T) {
	w := newWorld(t).start()
	before := w.server.snapshot.Load()
	w.tables.change(func() { w.put("shop", "beta", "any", 1, packageState()) })
	w.eventually(func() bool { return w.server.snapshot.Load().rev == 2 })
	after := w.server.snapshot.Load()
	if before.paths[statePath] != after.paths[statePath] || before.apps["shop"] != after.apps["shop"] {
		t.Error("what did not change was built again")
	}
	if len(before.paths) != 1 || len(after.paths) != 2 {
		t.Error("the old snapshot was changed")
	}
}

func TestReSignedManifestsAreServedAnew(t *testing.T) {
	w := newWorld(t)
	d := w.addRelease("5", []byte("once signed"))
	w.start()
	path := "/v1/manifests/" + string(d)
	first := w.ask("GET", path, "")
	if bodyOf(t, first) != "once signed" || strings.Contains(first.Header.Get("Cache-Control"), "immutable") {
		t.Fatal("the first manifest")
	}
	w.tables.change(func() { w.addRelease("5", []byte("signed twice")) })
	w.eventually(func() bool { return bodyOf(t, w.ask("GET", path, "")) == "signed twice" })
}

func TestDevicesAreAnsweredWhileTheDatabaseIsAway(t *testing.T) {
	w := newWorld(t)
	d := w.addRelease("5", []byte("manifest"))
	unseen := w.addRelease("6", []byte("never asked for"))
	w.start()
	if w.ask("GET", "/v1/manifests/"+string(d), "").StatusCode != http.StatusOK {
		t.Fatal("manifest")
	}
	w.tables.change(func() { w.tables.down = fmt.Errorf("no route to the database: %w", slipstream.ErrUnavailable) })
	w.eventually(func() bool { return strings.Contains(w.logs.String(), "could not be refreshed") })
	for path, status := range map[string]int{statePath: 200, "/v1/apps/shop/roots/1": 200, "/v1/manifests/" + string(d): 200, "/readyz": 200,
		"/v1/manifests/" + string(unseen): 503} {
		r := w.ask("GET", path, "")
		if r.StatusCode != status {
			t.Errorf("%s: status %d, want %d", path, r.StatusCode, status)
		}
		if status == 503 && (r.Header.Get("Retry-After") == "" || strings.Contains(bodyOf(t, r), "no route")) {
			t.Error("a device must be told when to come again, and nothing of the database")
		}
	}
	if r := w.ask("POST", "/v1/check", checkBody(t)); r.StatusCode != http.StatusOK {
		t.Errorf("check: status %d", r.StatusCode)
	}
	if r := w.ask("POST", "/v1/reports", `{"id":"event-0001","kind":"fetched","app":"shop","device":"`+string(digestOf("d"))+`"}`); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a report that is not stored got status %d", r.StatusCode)
	}
	w.tables.change(func() { w.tables.down = nil; w.put("shop", "production", "any", 2, packageState()) })
	w.eventually(func() bool { return w.server.snapshot.Load().rev == 2 })
}

func TestBeforeTheFirstSnapshotNothingIsAnswered(t *testing.T) {
	w := newWorld(t)
	w.tables.down = errors.New("starting up")
	w.start()
	for _, path := range []string{statePath, "/v1/apps/shop/roots/1", "/readyz"} {
		if r := w.ask("GET", path, ""); r.StatusCode != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" {
			t.Errorf("%s: status %d", path, r.StatusCode)
		}
	}
	if w.ask("GET", "/healthz", "").StatusCode != http.StatusOK {
		t.Error("a waiting process is alive")
	}
	w.tables.change(func() { w.tables.down = nil })
	w.eventually(func() bool { return w.server.Ready() == nil })
}

func TestStoppingIsToldBeforeTheEnd(t *testing.T) {
	w := newWorld(t).start()
	w.server.Stopping()
	if w.server.Ready() == nil || w.ask("GET", "/readyz", "").StatusCode != http.StatusServiceUnavailable {
		t.Error("a stopping server says that it is ready")
	}
	if w.ask("GET", statePath, "").StatusCode != http.StatusOK {
		t.Error("a stopping server must still answer")
	}
	v := newWorld(t).start()
	v.stop()
	if v.server.Ready() == nil {
		t.Error("a stopped server says that it is ready")
	}
}

func TestAnExpiredStateIsServedAndLoggedOnce(t *testing.T) {
	w := newWorld(t).start()
	w.stop()
	w.setTime(noon.Add(24 * time.Hour))
	for range 3 {
		w.server.logExpired()
	}
	if n := strings.Count(w.logs.String(), "a state has expired"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	if w.ask("GET", statePath, "").StatusCode != http.StatusOK {
		t.Error("not served")
	}
	w.setTime(noon)
	w.server.logExpired()
	w.setTime(noon.Add(48 * time.Hour))
	w.server.logExpired()
	if n := strings.Count(w.logs.String(), "a state has expired"); n != 2 {
		t.Errorf("a state that was healed and expired again was logged %d times", n)
	}
}

func TestRequestsAreCounted(t *testing.T) {
	registry := prometheus.NewRegistry()
	w := newWorld(t).start(func(c *Config) { c.Metrics = registry })
	for _, path := range []string{statePath, statePath, "/v1/nothing", "/v1/manifests/x"} {
		w.ask("GET", path, "")
	}
	w.ask("POST", "/v1/check", "{}")
	got := map[string]float64{}
	histograms := 0
	for _, family := range must[[]*dto.MetricFamily](t)(registry.Gather()) {
		for _, m := range family.GetMetric() {
			switch family.GetName() {
			case "slipstream_deliver_requests_total":
				got[m.GetLabel()[1].GetValue()+" "+m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			case "slipstream_deliver_duration_seconds":
				histograms++
			}
		}
	}
	for name, n := range map[string]float64{"state 200": 2, "unknown 404": 1, "manifest 404": 1, "check 400": 1, "root 200": 0} {
		if got[name] != n {
			t.Errorf("%s: counted %g, want %g", name, got[name], n)
		}
	}
	if histograms != int(routes) {
		t.Errorf("%d histograms", histograms)
	}
	if second := New(Config{Metrics: registry, Store: w.tables}); second.metrics == nil {
		t.Error("a second server on one registry must not fail")
	}
}

func TestAnAppWhoseKeyIsNotHereStillHasStates(t *testing.T) {
	w := newWorld(t)
	w.tables.keys["shop"] = nil
	w.start()
	if w.ask("GET", statePath, "").StatusCode != http.StatusOK {
		t.Error("the state is signed already")
	}
	r := w.ask("POST", "/v1/check", checkBody(t))
	if body := bodyOf(t, r); r.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "use the signed state") {
		t.Errorf("check without a key: status %d: %s", r.StatusCode, body)
	}
	if !strings.Contains(w.logs.String(), "0 of 1 state keys") {
		t.Errorf("the log does not say what is missing: %s", w.logs)
	}
}

func TestARowThatCannotBeReadIsStillServed(t *testing.T) {
	w := newWorld(t)
	w.tables.rows[0].Envelope = []byte("from a later version")
	w.start()
	if bodyOf(t, w.ask("GET", statePath, "")) != "from a later version" {
		t.Error("not served")
	}
	if w.ask("POST", "/v1/check", checkBody(t)).StatusCode != http.StatusServiceUnavailable {
		t.Error("decided with a state that cannot be read")
	}
}

func TestThePrivateStateIsUsedForDecisionsAlone(t *testing.T) {
	w := newWorld(t)
	private := packageState(func(p *slipstream.PackageState) { p.Rollouts[0].Manifest, p.Rollouts[0].Seq = digestOf("9"), 9 })
	st := slipstream.State{App: "shop", Channel: "production", Platform: "any", Epoch: 1, Issued: slipstream.At(noon), Expires: slipstream.At(noon.Add(time.Hour)), RootVersion: 1, Packages: private}
	w.tables.rows[0].Private = must[[]byte](t)(sign.Encode(st))
	w.start()
	if strings.Contains(bodyOf(t, w.ask("GET", statePath, "")), string(digestOf("9"))) {
		t.Error("the private rollout is public")
	}
	d := w.decision(checkBody(t))
	if r := d.Packages["main"].Release; r == nil || r.Digest != digestOf("9") {
		t.Errorf("decided %+v", d.Packages["main"])
	}
}

func TestWatchComesBack(t *testing.T) {
	w := newWorld(t)
	w.tables.down = errors.New("gone")
	w.start()
	w.eventually(func() bool { return strings.Count(w.logs.String(), "cannot be followed") >= 3 })
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if wait(ctx, time.Hour) {
		t.Error("waited on after the end")
	}
}

// TestWhoChangedSomethingWaitsItsOwnTime: a refresh that hangs in the store holds nobody else up.
func TestWhoChangedSomethingWaitsItsOwnTime(t *testing.T) {
	w := newWorld(t)
	w.put("shop", "production", "any", 1, map[string]slipstream.PackageState{})
	w.start()
	w.server.refreshing <- struct{}{}
	defer func() { <-w.server.refreshing }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := w.server.Settle(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestWhoChangedSomethingSeesItAtOnce(t *testing.T) {
	w := newWorld(t)
	w.put("shop", "production", "any", 1, map[string]slipstream.PackageState{})
	w.start()
	row := w.put("shop", "production", "any", 2, map[string]slipstream.PackageState{}) // and nobody tells the server
	if got := w.ask("GET", statePath, ""); got.Header.Get("Etag") == newDocument(row.Envelope).etag[0] {
		t.Fatal("the test shows nothing: the server knew already")
	}
	if err := w.server.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.ask("GET", statePath, ""); got.Header.Get("Etag") != newDocument(row.Envelope).etag[0] {
		t.Error("the change is not served")
	}
}
