//go:build !device

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/internal/simfleet"
)

func TestRatesOfSimulatedDevicesAreRead(t *testing.T) {
	t.Parallel()
	got, err := parseRates([]string{"1.1.0=10%", "0.02"}, []string{"1.2.0=1%"}, []string{"1.1.0=0.5"})
	want := map[string]simfleet.Rates{"": {Crash: 0.02}, "1.1.0": {Crash: 0.1, Silent: 0.5}, "1.2.0": {Crash: 0.02, Hang: 0.01}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "x", "101%", "-1%", "2", "=1%", "1.0.0=", "NaN", "1.0.0=1=2"} {
		if _, err := parseRates([]string{bad}, nil, nil); err == nil {
			t.Errorf("rate %q is accepted", bad)
		}
	}
	metrics, err := parseMetrics([]string{"bought=1.1.0:12%", "seconds=:3~0.5", "bought=1.2.0:0.13"})
	if err != nil || len(metrics) != 2 || metrics[0].Of["1.2.0"].Mean != 0.13 || metrics[1].Of[""] != (simfleet.Spread{Mean: 3, Deviation: 0.5}) {
		t.Errorf("%+v, %v", metrics, err)
	}
	for _, bad := range []string{"", "a", "a=b", "=v:1%", "a=v:2", "a=v:1~0", "a=v:x~1"} {
		if _, err := parseMetrics([]string{bad}); err == nil {
			t.Errorf("metric %q is accepted", bad)
		}
	}
	for _, bad := range []string{"=3", "cn=x", "cn=-1"} {
		if _, err := parseParts([]string{bad}); err == nil {
			t.Errorf("part %q is accepted", bad)
		}
	}
}

// shopper is a publisher with a server of its own and the app shop.
type shopper struct {
	*testing.T
	tool *tool
	dir  string
}

func newShopper(t *testing.T) *shopper {
	t.Helper()
	s := &shopper{T: t, tool: testTool(t), dir: t.TempDir()}
	startTestServer(t, s.tool, serveFlags{data: filepath.Join(s.dir, "data"), proxies: "127.0.0.1,::1", log: "error"})
	s.run("app", "create", "shop")
	return s
}

func (s *shopper) run(args ...string) string {
	s.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(s.Context(), args, s.tool.environ, strings.NewReader(""), &stdout, &stderr); code != exitOK {
		s.Fatalf("slipstream %s: exit code %d\n%s", strings.Join(args, " "), code, stderr.String())
	}
	return stdout.String()
}

func (s *shopper) publish(version string, flags ...string) {
	s.Helper()
	tree := filepath.Join(s.dir, version)
	if err := os.MkdirAll(tree, 0o755); err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tree, "main.js"), []byte("// "+version), 0o600); err != nil {
		s.Fatal(err)
	}
	s.run(append([]string{"publish", tree, "--app", "shop", "--version", version}, flags...)...)
}

func decodeJSON[T any](s *shopper, text string) (v T) {
	s.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		s.Fatalf("%v in\n%s", err, text)
	}
	return v
}

// An A/B test from end to end: two arms, devices that measure, a verdict.
func TestSimulatedDevicesTakePartInATest(t *testing.T) {
	s := newShopper(t)
	s.publish("1.0.0")
	s.publish("1.1.0", "--no-rollout")
	s.publish("1.2.0", "--no-rollout")
	s.run("rollout", "start", "1.1.0", "--app", "shop", "--salt", "test", "--share", "50%", "--control", "0%")
	s.run("rollout", "start", "1.2.0", "--app", "shop", "--salt", "test", "--from", "50%", "--control", "0%")
	out := decodeJSON[simulated](s, s.run("simulate", "--app", "shop", "--devices", "300", "--json", "--duration", "2m", "--settle", "--arrive", "500ms", "--poll", "2s",
		"--restart", "100ms", "--confirm-after", "50ms", "--versions", "1.0.0", "--seed", "5", "--crash-rate", "1.1.0=40%", "--metric", "bought=1.1.0:20%", "--metric", "bought=1.2.0:70%"))
	if out.Arrived != 300 || len(out.Tallies) != 2 || len(out.Errors) > 0 {
		t.Fatalf("%+v", out)
	}
	for _, l := range out.Counted {
		if !l.agrees() {
			t.Errorf("%+v", l)
		}
	}
	c := decodeJSON[api.Comparison](s, s.run("rollout", "compare", "--app", "shop", "--json"))
	if len(c.Arms) != 2 || c.Arms[0].Version != "1.1.0" || c.Arms[0].Share != 5000 || c.Arms[0].Enrolled+c.Arms[1].Enrolled != 300 || c.Doubt != "" {
		t.Fatalf("%+v", c)
	}
	if len(c.Results) != 2 || c.Results[0].Test.Metric != api.MetricWorks || c.Results[0].Winner != "1.2.0" {
		t.Errorf("%+v", c.Results)
	}
	if c.Results[1].Test.Metric != "bought" || c.Results[1].Test.Kind != "yes_no" {
		t.Errorf("%+v", c.Results[1])
	}
	if text := s.run("rollout", "compare", "1.1.0", "1.2.0", "--app", "shop", "--metric", "works"); !strings.Contains(text, "1.2.0 is better by") || strings.Contains(text, "bought") {
		t.Error(text)
	}
}

func TestProgressOfASimulationIsOneLine(t *testing.T) {
	t.Parallel()
	line := progressLine(simfleet.Progress{Elapsed: 12 * time.Second, Arrived: 90, Silent: 1, Running: []simfleet.Running{{Version: "", Devices: 80}, {Version: "1.1.0", Devices: 10}},
		Events: map[slipstream.Kind]int64{slipstream.KindConfirmed: 9, slipstream.KindRolledBack: 2}, Errors: 3}, 100, 123.4)
	if want := "  12s  90 of 100 devices, (shipped): 80, 1.1.0: 10, 2 went back, 9 confirmed, 1 silent, 3 errors, 123 requests/s"; line != want {
		t.Errorf("%q", line)
	}
}
