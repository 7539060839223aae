package deliver

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/httpx"
)

// The benchmarks compare a server with a bare net/http handler that answers the same bytes, headers included, or with
// the same server that holds more. Both are asked in turns within one run, over loopback, by the same client on 64
// connections, so that a busy machine slows both alike; the figure is the median over the turns of our throughput over
// the other's. Every check carries a nonce of its own, as a device's does.

const (
	benchClients = 64
	benchTurn    = 16 // requests per client and turn
)

// target is one server under load.
type target struct {
	client *http.Client
	method string
	url    string
	body   string // with the nonce of nonce()
	bytes  int    // length of the right answer
	header http.Header
}

func serveBench(b *testing.B, h http.Handler, method, path, body string) *target {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := httpx.Serve(ctx, httpx.NewServer(h, slog.New(slog.DiscardHandler)), l, time.Second); err != nil {
			b.Errorf("serve: %v", err)
		}
	})
	transport := &http.Transport{MaxIdleConnsPerHost: benchClients, MaxConnsPerHost: benchClients, DisableCompression: true}
	b.Cleanup(func() { transport.CloseIdleConnections(); cancel(); running.Wait() })
	t := &target{client: &http.Client{Transport: transport}, method: method, url: "http://" + l.Addr().String() + path, body: body}
	t.bytes = len(t.ask(b))
	return t
}

func (t *target) ask(b *testing.B) []byte {
	var body io.Reader
	if t.body != "" {
		var fresh [32]byte
		_, _ = rand.Read(fresh[:]) // never fails
		body = strings.NewReader(strings.Replace(t.body, nonce(), base64.StdEncoding.EncodeToString(fresh[:]), 1))
	}
	req, err := http.NewRequest(t.method, t.url, body)
	if err != nil {
		b.Error(err)
		return nil
	}
	r, err := t.client.Do(req)
	if err != nil {
		b.Error(err)
		return nil
	}
	answer, err := io.ReadAll(r.Body)
	r.Body.Close()
	if err != nil || r.StatusCode != http.StatusOK || t.bytes != 0 && len(answer) != t.bytes {
		b.Errorf("status %d, %d bytes, error %v", r.StatusCode, len(answer), err)
	}
	if t.bytes == 0 {
		t.header = r.Header
	}
	return answer
}

func (t *target) turn(b *testing.B) time.Duration {
	start := time.Now()
	var clients sync.WaitGroup
	for range benchClients {
		clients.Go(func() {
			for range benchTurn {
				t.ask(b)
			}
		})
	}
	clients.Wait()
	return time.Since(start)
}

// compare asks both in turns and reports the throughput of ours over that of base.
func compare(b *testing.B, unit string, ours, base *target) {
	b.Helper()
	ours.turn(b)
	base.turn(b)
	b.ResetTimer()
	var ratios []float64
	var took time.Duration
	asked := 0
	for asked < b.N {
		mine := ours.turn(b)
		ratios = append(ratios, float64(base.turn(b))/float64(mine))
		asked += benchClients * benchTurn
		took += mine
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], unit)
	b.ReportMetric(float64(asked)/took.Seconds(), "req/s")
}

// bare answers like ours and looks at nothing; like any handler of POST it reads the body.
func bare(b *testing.B, ours *target) http.Handler {
	answer := ours.ask(b)
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(ours.header)), func(n string) bool { return n == "Date" || n == "Content-Length" })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			if _, err := io.ReadAll(r.Body); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
		}
		for _, n := range names {
			w.Header().Set(n, ours.header.Get(n))
		}
		_, _ = w.Write(answer)
	})
}

// busy is a world with as many apps and releases, counted like in production.
func busy(b *testing.B, apps, releases int) *world {
	b.Helper()
	w := newWorld(b)
	for i := 1; i < apps; i++ {
		app := fmt.Sprintf("app-%d", i)
		w.addApp(app)
		w.put(app, "production", "any", 1, packageState())
	}
	for i := 1; i < releases; i++ {
		w.addRelease(fmt.Sprint("release ", i), []byte("{}"))
	}
	return w.start(func(c *Config) { c.Metrics, c.Log = prometheus.NewRegistry(), slog.New(slog.DiscardHandler) })
}

func BenchmarkState(b *testing.B) {
	b.Run("bare", func(b *testing.B) {
		ours := serveBench(b, busy(b, 1, 1).http, "GET", statePath, "")
		compare(b, "x_bare", ours, serveBench(b, bare(b, ours), "GET", "/", ""))
	})
	b.Run("apps=1000", func(b *testing.B) {
		compare(b, "x_one_app", serveBench(b, busy(b, 1000, 1).http, "GET", statePath, ""), serveBench(b, busy(b, 1, 1).http, "GET", statePath, ""))
	})
	b.Run("releases=1000", func(b *testing.B) {
		compare(b, "x_one_release", serveBench(b, busy(b, 1, 1000).http, "GET", statePath, ""), serveBench(b, busy(b, 1, 1).http, "GET", statePath, ""))
	})
}

func BenchmarkCheck(b *testing.B) {
	body := checkBody(b)
	b.Run("bare", func(b *testing.B) {
		ours := serveBench(b, busy(b, 1, 1).http, "POST", "/v1/check", body)
		compare(b, "x_bare", ours, serveBench(b, bare(b, ours), "POST", "/", body))
	})
	b.Run("apps=1000", func(b *testing.B) {
		compare(b, "x_one_app", serveBench(b, busy(b, 1000, 1).http, "POST", "/v1/check", body), serveBench(b, busy(b, 1, 1).http, "POST", "/v1/check", body))
	})
	b.Run("releases=1000", func(b *testing.B) {
		w := busy(b, 1, 1000)
		w.tables.change(func() {
			var withdraw []func(*slipstream.PackageState)
			for i := range 1000 {
				withdraw = append(withdraw, withdrawn(fmt.Sprint("release ", i)))
			}
			w.put("shop", "production", "any", 1, packageState(withdraw...))
		})
		w.eventually(func() bool { return w.server.snapshot.Load().rev == 2 })
		compare(b, "x_one_release", serveBench(b, w.http, "POST", "/v1/check", body), serveBench(b, busy(b, 1, 1).http, "POST", "/v1/check", body))
	})
}
