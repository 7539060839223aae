package deliver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
	"github.com/slipstream-ota/slipstream/store/sqlite"
)

// granting is the tables with places in a database of their own.
type granting struct {
	*tables
	places store.Grants
}

func (g granting) Grants() store.Grants { return g.places }

// newCapped is a world in which release 5 is offered to those who have a place.
func newCapped(t testing.TB, edits ...func(*slipstream.PackageState)) *world {
	t.Helper()
	w := newWorld(t)
	w.put("shop", "production", "any", 2, packageState(append(edits, func(p *slipstream.PackageState) { p.Rollouts[0].Grant = true })...))
	return w
}

// capped starts a server on which ro_5 has n places; db is shared by all that are given the same file.
func capped(t testing.TB, file string, n int64, edits ...func(*Config)) *world {
	t.Helper()
	db := must[*sqlite.Store](t)(sqlite.Open(t.Context(), file, sqlite.Options{Migrate: true}))
	w := newCapped(t).start(func(c *Config) {
		c.Store = granting{c.Store.(*tables), db.Grants()}
		c.Caps = func(ch store.Channel) map[string]int64 { return map[string]int64{"ro_5": n} }
		for _, e := range edits {
			e(c)
		}
	})
	t.Cleanup(func() {
		w.stop()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func grantBody(device string) string {
	return fmt.Sprintf(`{"app":"shop","channel":"production","rollout":"ro_5","device":%q}`, string(digestOf(device)))
}

func (w *world) grant(device string) string {
	w.t.Helper()
	r := w.ask("POST", "/v1/grants", grantBody(device))
	return fmt.Sprint(r.StatusCode, " ", bodyOf(w.t, r))
}

func TestPlacesAreGivenToTheFirstWhoAsk(t *testing.T) {
	t.Parallel()
	w := capped(t, filepath.Join(t.TempDir(), "db"), 2)
	const yes, no = `200 {"granted":true,"epoch":2}`, `200 {"granted":false,"epoch":2}`
	for i, step := range []struct{ device, want string }{{"a", yes}, {"b", yes}, {"c", no}, {"a", yes}, {"c", no}} {
		if got := w.grant(step.device); got != step.want {
			t.Errorf("question %d, of %s: %s, want %s", i, step.device, got, step.want)
		}
	}
	if h := w.ask("POST", "/v1/grants", grantBody("a")).Header.Get("Cache-Control"); h != "no-store" {
		t.Errorf("Cache-Control %q", h)
	}
}

func TestNoPlaceTooManyFrom64WorkersOnTwoServers(t *testing.T) {
	t.Parallel()
	const workers, devices, places = 64, 40, 500
	file := filepath.Join(t.TempDir(), "db")
	nodes := []*world{capped(t, file, places), capped(t, file, places)}
	var wg sync.WaitGroup
	var given, refused, failed atomic.Int64
	for i := range workers {
		wg.Go(func() {
			for d := range devices {
				switch got := nodes[(i+d)%2].grant(fmt.Sprint(i, " ", d)); {
				case strings.HasPrefix(got, `200 {"granted":true`):
					given.Add(1)
				case strings.HasPrefix(got, `200 {"granted":false`):
					refused.Add(1)
				default:
					failed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if given.Load() != places || refused.Load() != workers*devices-places || failed.Load() != 0 {
		t.Errorf("%d places given, %d devices refused, %d not answered; there were %d places for %d devices",
			given.Load(), refused.Load(), failed.Load(), places, workers*devices)
	}
}

func TestWhatIsNoQuestionForAPlaceIsRefused(t *testing.T) {
	t.Parallel()
	w := capped(t, filepath.Join(t.TempDir(), "db"), 2)
	device := string(digestOf("a"))
	for name, c := range map[string]struct {
		body string
		code int
	}{
		"no JSON":                 {"granted?", http.StatusBadRequest},
		"an array":                {`[]`, http.StatusBadRequest},
		"more behind it":          {grantBody("a") + "{}", http.StatusBadRequest},
		"a device in clear":       {`{"app":"shop","channel":"production","rollout":"ro_5","device":"install-1"}`, http.StatusBadRequest},
		"upper-case hex":          {`{"app":"shop","channel":"production","rollout":"ro_5","device":"` + strings.ToUpper(device) + `"}`, http.StatusBadRequest},
		"an unknown rollout":      {`{"app":"shop","channel":"production","rollout":"ro_9","device":"` + device + `"}`, http.StatusNotFound},
		"another channel's":       {`{"app":"shop","channel":"beta","rollout":"ro_5","device":"` + device + `"}`, http.StatusNotFound},
		"another app's":           {`{"app":"bank","channel":"production","rollout":"ro_5","device":"` + device + `"}`, http.StatusNotFound},
		"more than a device says": {grantBody("a") + strings.Repeat(" ", maxGrantBody), http.StatusRequestEntityTooLarge},
	} {
		if got := w.ask("POST", "/v1/grants", c.body).StatusCode; got != c.code {
			t.Errorf("%s: %d, want %d", name, got, c.code)
		}
	}
	if got := w.ask("GET", "/v1/grants", "").StatusCode; got != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", got)
	}
	if got := w.grant("a"); !strings.HasPrefix(got, `200 {"granted":true`) {
		t.Errorf("afterwards: %s", got)
	}
}

// brokenGrants is a database that is away.
type brokenGrants struct{ store.Grants }

func (brokenGrants) Take(context.Context, []store.GrantRequest) ([]bool, error) {
	return nil, fmt.Errorf("connect: %w", slipstream.ErrUnavailable)
}

func TestADatabaseThatIsAwayGivesNoPlace(t *testing.T) {
	t.Parallel()
	w := newCapped(t).start(func(c *Config) {
		c.Store = granting{c.Store.(*tables), brokenGrants{}}
		c.Caps = func(store.Channel) map[string]int64 { return map[string]int64{"ro_5": 2} }
	})
	r := w.ask("POST", "/v1/grants", grantBody("a"))
	if bodyOf(t, r); r.StatusCode != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" {
		t.Errorf("status %d, Retry-After %q", r.StatusCode, r.Header.Get("Retry-After"))
	}
}

func TestARolloutThatIsHeldOrWithdrawnGivesNoPlaces(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*slipstream.PackageState){
		"paused":    func(p *slipstream.PackageState) { p.Rollouts[0].Hold = slipstream.HoldPaused },
		"halted":    func(p *slipstream.PackageState) { p.Rollouts[0].Hold = slipstream.HoldHalted },
		"withdrawn": withdrawn("5"),
	} {
		w := newCapped(t, edit).start(func(c *Config) {
			c.Store = granting{c.Store.(*tables), brokenGrants{}} // nobody gets as far as that
			c.Caps = func(store.Channel) map[string]int64 { return map[string]int64{"ro_5": 2} }
		})
		if got := w.grant("a"); !strings.HasPrefix(got, "404 ") {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestPlacesFollowTheState(t *testing.T) {
	t.Parallel()
	w := capped(t, filepath.Join(t.TempDir(), "db"), 9)
	capped := func(p *slipstream.PackageState) { p.Rollouts[0].Grant = true }
	epoch := int64(2)
	for _, step := range []struct {
		name  string
		state map[string]slipstream.PackageState
		code  string
	}{
		{"it stands", packageState(capped), "200"},
		{"paused", packageState(capped, func(p *slipstream.PackageState) { p.Rollouts[0].Hold = slipstream.HoldPaused }), "404"},
		{"goes on", packageState(capped), "200"},
		{"without a cap", packageState(), "404"},
		{"gone", packageState(func(p *slipstream.PackageState) { p.Rollouts = nil }), "404"},
	} {
		epoch++
		w.tables.change(func() { w.put("shop", "production", "any", epoch, step.state) })
		w.eventually(func() bool {
			return w.server.snapshot.Load().states[stateKey{"shop", "production", "any"}].epoch == epoch
		})
		if got := w.grant("a"); !strings.HasPrefix(got, step.code) || step.code == "200" && !strings.Contains(got, fmt.Sprintf(`"epoch":%d`, epoch)) {
			t.Errorf("%s: %s", step.name, got)
		}
	}
}

func TestOneNetworkCannotTakeAllPlaces(t *testing.T) {
	t.Parallel()
	w := capped(t, filepath.Join(t.TempDir(), "db"), 1<<30, func(c *Config) {
		c.GrantRate = 1
		c.TrustedProxies = func(string) bool { return true }
	})
	ask := func(from, device string) int {
		r := w.ask("POST", "/v1/grants", grantBody(device), "X-Forwarded-For", from)
		bodyOf(t, r)
		return r.StatusCode
	}
	asked := 0
	for ask("203.0.113.9", "same") == http.StatusOK {
		asked++
	}
	if asked != 2000 {
		t.Errorf("one network asked %d times", asked)
	}
	if got := ask("203.0.113.77", "x"); got != http.StatusTooManyRequests {
		t.Errorf("a neighbour of it: %d", got)
	}
	if got := ask("198.51.100.1", "x"); got != http.StatusOK {
		t.Errorf("another network: %d", got)
	}
}

// A commit takes in what came while the one before it was written, and a caller that goes away holds nobody up.
func TestWhoWaitsForAPlaceSharesACommit(t *testing.T) {
	t.Parallel()
	goOn, batches := make(chan struct{}), make(chan int, 10)
	q := &grantQueue{timeout: time.Minute, take: func(_ context.Context, batch []store.GrantRequest) ([]bool, error) {
		batches <- len(batch)
		<-goOn
		given := make([]bool, len(batch))
		for i, r := range batch {
			given[i] = r.Device != "late"
		}
		return given, nil
	}}
	var wg sync.WaitGroup
	ask := func(ctx context.Context, device string, want bool, wantErr error) {
		wg.Go(func() {
			if got, err := q.ask(ctx, store.GrantRequest{Device: device}); got != want || !errors.Is(err, wantErr) {
				t.Errorf("%s: %v, %v", device, got, err)
			}
		})
	}
	waiting := func(n int) {
		for {
			q.mu.Lock()
			now := len(q.waiting)
			q.mu.Unlock()
			if now == n {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}
	ask(t.Context(), "first", true, nil)
	if n := <-batches; n != 1 {
		t.Fatalf("the first commit has %d", n)
	}
	gone, leave := context.WithCancel(t.Context())
	ask(gone, "gone", false, context.Canceled)
	waiting(1)
	for i := range 6 {
		ask(t.Context(), []string{"late", "in time"}[i%2], i%2 == 1, nil)
	}
	waiting(7)
	leave()
	waiting(6)
	goOn <- struct{}{}
	if n := <-batches; n != 6 {
		t.Errorf("the second commit has %d", n)
	}
	goOn <- struct{}{}
	wg.Wait()
	if q.busy || len(q.waiting) != 0 {
		t.Errorf("busy %v, %d wait", q.busy, len(q.waiting))
	}
}

func TestCallersThatComeAndGoNeverStopTheQueue(t *testing.T) {
	t.Parallel()
	var taken atomic.Int64
	q := &grantQueue{timeout: time.Minute, take: func(_ context.Context, batch []store.GrantRequest) ([]bool, error) {
		if taken.Add(1)%5 == 0 {
			panic(http.ErrAbortHandler)
		}
		return make([]bool, len(batch)), nil
	}}
	var wg sync.WaitGroup
	for w := range 32 {
		wg.Go(func() {
			for i := range 200 {
				ctx, cancel := context.WithCancel(t.Context())
				if (w+i)%3 == 0 {
					cancel()
				}
				func() {
					defer cancel()
					defer func() { _ = recover() }() // as the HTTP server does
					_, _ = q.ask(ctx, store.GrantRequest{})
				}()
			}
		})
	}
	wg.Wait()
	if q.busy || len(q.waiting) != 0 || taken.Load() == 0 {
		t.Errorf("busy %v, %d wait after %d commits", q.busy, len(q.waiting), taken.Load())
	}
}

func FuzzParseGrant(f *testing.F) {
	f.Add([]byte(grantBody("a")))
	f.Add([]byte(`{"app":"a","app":"b"}`))
	f.Add([]byte(`{"app":"a","channel":"b","rollout":"\u0061","device":"","x":[{"y":1e9}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := parseGrant(body)
		if err != nil {
			if slipstream.ReasonOf(err, "") != slipstream.ReasonMalformed {
				t.Fatalf("no reason: %v", err)
			}
			return
		}
		again, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if second, err := parseGrant(again); err != nil || second != got {
			t.Fatalf("%q reads as %+v, which reads as %+v (%v)", body, got, second, err)
		}
	})
}

// BenchmarkGrants has 512 devices at a time ask a server over SQLite for places, of which there are too few, and tells how
// many are given in a second. One too many fails it.
func BenchmarkGrants(b *testing.B) {
	capacity := int64(b.N)*3/4 + 1
	w := capped(b, filepath.Join(b.TempDir(), "db"), capacity, func(c *Config) { c.Log, c.GrantRate = nil, -1 })
	var asked, given atomic.Int64
	b.SetParallelism(512 / runtime.GOMAXPROCS(0))
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			body := fmt.Sprintf(`{"app":"shop","channel":"production","rollout":"ro_5","device":"%064x"}`, asked.Add(1))
			answer := httptest.NewRecorder()
			w.http.ServeHTTP(answer, httptest.NewRequest(http.MethodPost, "/v1/grants", strings.NewReader(body)))
			if answer.Code != http.StatusOK {
				b.Errorf("status %d: %s", answer.Code, answer.Body)
			}
			if strings.HasPrefix(answer.Body.String(), `{"granted":true`) {
				given.Add(1)
			}
		}
	})
	b.ReportMetric(float64(given.Load())/b.Elapsed().Seconds(), "grants/s")
	if want := min(capacity, asked.Load()); given.Load() != want {
		b.Errorf("%d places given, there were %d", given.Load(), want)
	}
}
