package deliver

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

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
func newCapped(t *testing.T, edits ...func(*slipstream.PackageState)) *world {
	t.Helper()
	w := newWorld(t)
	w.put("shop", "production", "any", 2, packageState(append(edits, func(p *slipstream.PackageState) { p.Rollouts[0].Grant = true })...))
	return w
}

// capped starts a server on which ro_5 has n places; db is shared by all that are given the same file.
func capped(t *testing.T, file string, n int64) *world {
	t.Helper()
	db := must[*sqlite.Store](t)(sqlite.Open(t.Context(), file, sqlite.Options{Migrate: true}))
	w := newCapped(t).start(func(c *Config) {
		c.Store = granting{c.Store.(*tables), db.Grants()}
		c.Caps = func(ch store.Channel) map[string]int64 { return map[string]int64{"ro_5": n} }
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
	if got := w.grant("a"); !strings.HasPrefix(got, "503 ") {
		t.Errorf("away: %s", got)
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
