//go:build unix && !device

package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream/alert"
	"github.com/slipstream-ota/slipstream/alert/webhook"
	"github.com/slipstream-ota/slipstream/internal/pgtest"
	"github.com/slipstream-ota/slipstream/internal/s3test"
)

// tell runs one command of the tool and gives what it printed.
func tell(t *testing.T, tool *tool, args ...string) string {
	t.Helper()
	var out strings.Builder
	quiet := *tool
	quiet.stdout = &out
	c := newRootCommand(&quiet)
	c.SetArgs(args)
	c.SetOut(&out)
	c.SetErr(io.Discard)
	if err := c.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("slipstream %s: %v", strings.Join(args, " "), err)
	}
	return out.String()
}

// web is a folder to publish.
func web(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "web")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte("<p>hello</p>"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func scrape(t *testing.T, url string) (int, string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func TestEveryMetricOfTheDashboardAndTheRulesExists(t *testing.T) {
	tool, data := testTool(t), t.TempDir()
	f := serveFlags{data: data, guardEvery: "100ms"}
	s := startTestServer(t, tool, f)
	if _, err := tool.createApp(t.Context(), newAppNamed("shop"), time.Now().AddDate(1, 0, 0)); err != nil {
		t.Fatal(err)
	}
	tell(t, tool, "publish", web(t), "--app", "shop", "--version", "1.0.0", "--share", "50%")
	client, err := tool.client()
	if err != nil {
		t.Fatal(err)
	}
	e, err := pick(t.Context(), client, at{app: "shop", channel: "production", pkg: "main"}, "")
	if err != nil {
		t.Fatal(err)
	}
	device := sha256.Sum256([]byte("device"))
	event := fmt.Sprintf(`[{"id":"report-1","kind":"enrolled","app":"shop","channel":"production","package":"main","device":%q,"release":%q,"rollout":%q,"arm":"treatment","at":%q}]`,
		hex.EncodeToString(device[:]), e.Manifest, e.ID, time.Now().UTC().Format("2006-01-02T15:04:05Z"))
	res, err := http.Post(s.URL()+"/v1/reports", "application/json", strings.NewReader(event))
	if err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if res.StatusCode != http.StatusOK || strings.Contains(string(answer), "error") {
		t.Fatalf("report: %s %s", res.Status, answer)
	}
	// The hook is where nobody listens: an attempt fails.
	tell(t, tool, "alert", "target", "add", "ops", "--webhook", "http://127.0.0.1:1/")
	tell(t, tool, "token", "create", "ci")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f.tell.metricsListen = "127.0.0.1:0"
	cfg, err := tool.serveConfig(f)
	if err != nil {
		t.Fatal(err)
	}
	cfg.listen = "127.0.0.1:0"
	second, err := tool.startServer(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := second.Close(); err != nil {
			t.Error(err)
		}
	}()
	if code, _ := scrape(t, second.URL()+"/metrics"); code != http.StatusNotFound {
		t.Errorf("/metrics is answered to devices with %d", code)
	}
	// A second look at the evidence needs a second line.
	res, err = http.Post(second.URL()+"/v1/reports", "application/json", strings.NewReader(strings.NewReplacer(`"id":"report-1"`, `"id":"report-2"`, "enrolled", "confirmed").Replace(event)))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()

	wanted := map[string]bool{}
	for _, name := range []string{"../../deploy/grafana/slipstream.json", "../../deploy/prometheus/rules.yml"} {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\b(?:slipstream|go|process)_[a-z0-9_]+\b`).FindAllString(string(raw), -1) {
			wanted[m] = true
		}
	}
	if len(wanted) < 20 {
		t.Fatalf("only %d metrics are used: %v", len(wanted), wanted)
	}
	var missing []string
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		_, text := scrape(t, second.metrics+"/metrics")
		missing = nil
		for m := range wanted {
			if !regexp.MustCompile(`(?m)^` + m + `[{ ]`).MatchString(text) {
				missing = append(missing, m)
			}
		}
		if len(missing) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("a live /metrics lacks %v", missing)
		}
	}
}

func TestMetricsMayBeTurnedOff(t *testing.T) {
	s := startTestServer(t, testTool(t), serveFlags{data: t.TempDir(), tell: tellFlags{metricsListen: "off"}})
	if code, _ := scrape(t, s.URL()+"/metrics"); code != http.StatusNotFound {
		t.Errorf("/metrics: %d", code)
	}
}

func TestAlertsReachAReceiverAndPeopleSettleThem(t *testing.T) {
	tool := testTool(t)
	startTestServer(t, tool, serveFlags{data: t.TempDir()})
	var mu sync.Mutex
	var secret string
	got := map[string]alert.Body{}
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		var b alert.Body
		if err := webhook.Verify(secret, r.Header, raw, time.Now()); err != nil {
			t.Errorf("signature: %v", err)
		}
		if err := json.Unmarshal(raw, &b); err != nil {
			t.Error(err)
		}
		got[b.Type] = b
	}))
	defer hook.Close()
	heard := func(event string) alert.Body {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			mu.Lock()
			b, ok := got[event]
			mu.Unlock()
			if ok {
				return b
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s was never heard", event)
			}
		}
	}
	if _, err := tool.createApp(t.Context(), newAppNamed("shop"), time.Now().AddDate(1, 0, 0)); err != nil {
		t.Fatal(err)
	}
	added := tell(t, tool, "alert", "target", "add", "ops", "--webhook", hook.URL+"/secretpath")
	mu.Lock()
	secret = regexp.MustCompile(`whsec_\S+`).FindString(strings.ReplaceAll(added, ",", " "))
	mu.Unlock()
	tell(t, tool, "alert", "test", "ops")
	heard("test")
	tell(t, tool, "publish", web(t), "--app", "shop", "--version", "1.0.0")
	if b := heard("release.published"); b.Data.Wake == nil || b.Data.Wake.Epoch == 0 || b.Data.Wake.Spread != 600 {
		t.Errorf("what a push service gets: %+v", b.Data)
	}
	client, err := tool.client()
	if err != nil {
		t.Fatal(err)
	}
	tell(t, tool, "alert", "rules", "--success-below", "0.97")
	rules, err := client.AlertRules(t.Context())
	if err != nil || rules.SuccessBelow != 0.97 || rules.MinDevices != alert.DefaultRules().MinDevices {
		t.Errorf("rules %+v, %v", rules, err)
	}
	if out := tell(t, tool, "alert", "ls"); !strings.Contains(out, "Nothing to tell") {
		t.Errorf("what stands:\n%s", out)
	}
	if out := tell(t, tool, "alert", "ls", "--all"); !strings.Contains(out, "offers version 1.0.0 of shop") {
		t.Errorf("what was noted:\n%s", out)
	}
	if out := tell(t, tool, "alert", "target", "ls"); strings.Contains(out, "secretpath") || !strings.Contains(out, "webhook") {
		t.Errorf("targets:\n%s", out)
	}
	if out := tell(t, tool, "alert", "deliveries", "--target", "ops"); !strings.Contains(out, "release.published") {
		t.Errorf("messages:\n%s", out)
	}
	tell(t, tool, "alert", "retry", "--all")
	tell(t, tool, "alert", "target", "rm", "ops")
}

// Clients of every node are told within a second of a change on any of them.
func TestEveryNodeTellsItsLiveClients(t *testing.T) {
	cluster := pgtest.New()
	code := cluster.Run(runFunc(func() {
		t.Run("nodes", func(t *testing.T) {
			folder := t.TempDir()
			f := serveFlags{database: cluster.Database(t), blobs: s3test.Fake(t), secret: filepath.Join(folder, "secret")}
			ann, bob := testTool(t), testTool(t)
			f.data = filepath.Join(folder, "a")
			a := startTestServer(t, ann, f)
			f.data = filepath.Join(folder, "b")
			b := startTestServer(t, bob, f)
			if _, err := ann.createApp(t.Context(), newAppNamed("shop"), time.Now().AddDate(1, 0, 0)); err != nil {
				t.Fatal(err)
			}
			told := make(chan time.Time, 2)
			ctx, cancel := context.WithCancel(t.Context())
			var reading sync.WaitGroup
			defer reading.Wait()
			defer cancel()
			for _, s := range []*runningServer{a, b} {
				lines := follow(ctx, t, s.URL()+"/v1/live?app=shop")
				first := next(t, lines) // the epoch of now
				reading.Go(func() {
					for line := range lines {
						if line != first {
							told <- time.Now()
							return
						}
					}
				})
			}
			tell(t, ann, "publish", web(t), "--app", "shop", "--version", "1.0.0")
			begun := time.Now()
			for range 2 {
				select {
				case at := <-told:
					t.Logf("told %s after the command", at.Sub(begun).Round(time.Millisecond))
				case <-time.After(20 * time.Second):
					t.Fatal("a client was never told")
				}
			}
		})
	}))
	if code != 0 {
		t.Error("the cluster did not stop")
	}
}

func next(t *testing.T, lines <-chan string) string {
	t.Helper()
	select {
	case line := <-lines:
		return line
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was said")
		return ""
	}
}

// follow gives the data lines of a stream, asking again until the channel is known to the node.
func follow(ctx context.Context, t *testing.T, url string) <-chan string {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != http.StatusOK {
			res.Body.Close()
			if time.Now().After(deadline) {
				t.Fatalf("%s: %s", url, res.Status)
			}
			continue
		}
		lines := make(chan string, 64)
		go func() {
			defer res.Body.Close()
			defer close(lines)
			for s := bufio.NewScanner(res.Body); s.Scan(); {
				if strings.HasPrefix(s.Text(), "data: ") {
					lines <- s.Text()
				}
			}
		}()
		return lines
	}
}
