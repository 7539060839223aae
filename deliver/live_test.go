package deliver

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/deliver/live"
	"github.com/slipstream-ota/slipstream/store"
)

// critical makes the release one that cannot wait.
func critical(p *slipstream.PackageState) { p.Rollouts[0].Apply.Priority = slipstream.PriorityCritical }

func share(to int) func(*slipstream.PackageState) {
	return func(p *slipstream.PackageState) { p.Rollouts[0].To = to }
}

func held(p *slipstream.PackageState) { p.Rollouts[0].Hold = slipstream.HoldPaused }

func TestAChangeOfTheSnapshotIsToldToWhoListens(t *testing.T) {
	t.Parallel()
	hub := live.NewHub(live.Config{})
	w := newWorld(t).start(func(c *Config) {
		c.Live = hub
		c.Spread = func(ch store.Channel) int { return map[string]int{"production": 300}[ch.Name] }
	})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = hub.Run(ctx) })
	server := httptest.NewServer(w.http)
	t.Cleanup(func() { cancel(); running.Wait(); server.Close() })

	if res := w.ask("GET", "/v1/live?app=other", ""); res.StatusCode != http.StatusNotFound {
		t.Errorf("another app: %s", res.Status)
	}
	if res := w.ask("POST", "/v1/live?app=shop", ""); res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %s", res.Status)
	}
	res, err := http.Get(server.URL + "/v1/live?app=shop&channel=production&epoch=1")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for epoch, step := range []struct {
		name   string
		state  map[string]slipstream.PackageState
		spread int
		urgent bool
	}{
		2: {"a share grows", packageState(share(5000)), 300, false},
		3: {"a critical release comes", packageState(critical, share(100)), 30, true},
		4: {"it reaches more", packageState(critical, share(200)), 30, true},
		5: {"it is paused", packageState(critical, share(200), held), 300, false},
		6: {"it goes on", packageState(critical, share(200)), 30, true},
		7: {"nothing about it changes", packageState(critical, share(200)), 300, false},
		8: {"a release is withdrawn", packageState(withdrawn("4")), 30, true},
		9: {"it stays withdrawn", packageState(withdrawn("4")), 300, false},
	} {
		if step.state == nil {
			continue
		}
		w.tables.change(func() { w.put("shop", "production", "any", int64(epoch), step.state) })
		want := fmt.Sprintf(`data: {"epoch":%d,"spread":%d,"urgent":%t}`, epoch, step.spread, step.urgent)
		for lines.Scan() && !strings.HasPrefix(lines.Text(), "data:") {
		}
		if lines.Text() != want {
			t.Errorf("%s:\n got %s\nwant %s", step.name, lines.Text(), want)
		}
	}
}

func TestWithoutAHubThereAreNoLiveConnections(t *testing.T) {
	t.Parallel()
	w := newWorld(t).start()
	if res := w.ask("GET", "/v1/live?app=shop", ""); res.StatusCode != http.StatusNotFound {
		t.Errorf("%s", res.Status)
	}
}
