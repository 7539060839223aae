package client

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// mini is an app of two pages.
func mini(t *testing.T) *bench {
	b := newBench(t, func(c *Config) { c.Packages = []string{"cart", "home"} })
	b.repo.offer(b.repo.publish("cart", "1", files{"cart.js": "c1"}))
	b.repo.offer(b.repo.publish("home", "1", files{"home.js": "h1"}))
	for range 2 { // one set is tried at a time
		b.update()
		b.confirm(b.start())
	}
	b.reopen()
	return b
}

func (b *bench) openPage(pkg string, block time.Duration) (*Launch, bool) {
	b.Helper()
	l, hot, err := b.c.OpenPackage(b.Context(), pkg, block)
	if err != nil {
		b.Fatalf("open %s: %v", pkg, err)
	}
	b.c.cleanup.Wait()
	return l, hot
}

func TestAHotStartNeverSwitches(t *testing.T) {
	t.Parallel()
	b := mini(t)
	first, hot := b.openPage("cart", 0)
	if hot {
		t.Fatal("the first start is cold")
	}
	b.confirm(first)
	b.repo.offer(b.repo.publish("cart", "2", files{"cart.js": "c2"}))
	b.update()
	b.c.Background("cart")
	b.clock.advance(4 * time.Minute)
	again, hot := b.openPage("cart", 0)
	if !hot || again != first {
		t.Fatal("a page in the background for 4 minutes was destroyed")
	}

	t.Run("a destroyed one may", func(t *testing.T) {
		b.c.Background("cart")
		b.clock.advance(5 * time.Minute)
		l, hot := b.openPage("cart", 0)
		if hot || !l.Trial {
			t.Fatalf("hot %v, launch %+v", hot, l)
		}
		b.runs(l, "cart", files{"cart.js": "c2"})
		if _, other := l.Packages["home"]; other {
			t.Error("the launch of one page names the other")
		}
		b.confirm(l)
	})
	t.Run("memory warnings destroy what is hidden", func(t *testing.T) {
		home, _ := b.openPage("home", 0)
		b.c.Background("cart")
		b.c.MemoryWarning()
		if _, hot := b.openPage("cart", 0); hot {
			t.Error("the hidden page survived")
		}
		if l, hot := b.openPage("home", 0); !hot || l != home {
			t.Error("the visible page was destroyed")
		}
	})
}

func TestOpeningAPageUpdatesIt(t *testing.T) {
	t.Parallel()
	b := mini(t)
	b.repo.offer(b.repo.publish("cart", "2", files{"cart.js": "c2"}))
	b.repo.offer(b.repo.publish("home", "2", files{"home.js": "h2"}))
	t.Run("blocking", func(t *testing.T) {
		l, _ := b.openPage("cart", time.Minute)
		b.runs(l, "cart", files{"cart.js": "c2"})
		b.confirm(l)
		if h := b.c.Holds("home"); h.Staged != nil {
			t.Error("the other page was fetched too")
		}
	})
	t.Run("behind", func(t *testing.T) {
		l, _ := b.openPage("home", 0)
		b.runs(l, "home", files{"home.js": "h1"})
		if h := b.c.Holds("home"); h.Staged == nil || h.Staged.Version != "2" {
			t.Errorf("nothing was staged behind: %+v", h.Staged)
		}
	})
	t.Run("offline with what is here", func(t *testing.T) {
		b.offline()
		b.c.Destroy("cart")
		l, _ := b.openPage("cart", time.Minute)
		b.runs(l, "cart", files{"cart.js": "c2"})
	})
}

func TestApplyModes(t *testing.T) {
	t.Parallel()
	with := func(mode string, mandatory bool) func(*slipstream.Rollout) {
		return func(r *slipstream.Rollout) {
			r.Apply = slipstream.Apply{Mode: mode, Mandatory: mandatory, Message: "news"}
		}
	}
	for name, c := range map[string]struct {
		mode      string
		mandatory bool
		agree     bool
		asks      int // prompts
		restarts  int
	}{
		"next launch":           {slipstream.ModeNextLaunch, false, false, 0, 0},
		"immediate":             {slipstream.ModeImmediate, false, false, 0, 1},
		"prompt, agreed":        {slipstream.ModePrompt, false, true, 1, 1},
		"prompt, declined":      {slipstream.ModePrompt, false, false, 1, 0},
		"prompt, but mandatory": {slipstream.ModePrompt, true, false, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asks := 0
			b := newBench(t, func(cfg *Config) {
				cfg.Hooks.Prompt = func(_ context.Context, o Offer) bool {
					asks++
					return c.agree && o.Apply.Message == "news"
				}
			})
			b.repo.offer(b.repo.publish("main", "1.0.0", v1), with(c.mode, c.mandatory))
			b.update()
			b.update()
			if asks != c.asks || len(b.asks) != c.restarts {
				t.Errorf("%d prompts, %d restarts", asks, len(b.asks))
			}
			b.runs(b.start(), "main", v1)
		})
	}
	t.Run("next resume", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.start()
		b.repo.offer(b.repo.publish("main", "1.0.0", v1), with(slipstream.ModeNextResume, false))
		b.update()
		b.c.Background("")
		l, hot, err := b.c.Foreground(t.Context(), "")
		if err != nil || hot {
			t.Fatalf("hot %v, %v", hot, err)
		}
		b.runs(l, "main", v1)
	})
}

func TestPriorities(t *testing.T) {
	t.Parallel()
	t.Run("low waits for an idle device on a free network", func(t *testing.T) {
		t.Parallel()
		metered := true
		b := newBench(t, func(c *Config) { c.Hooks.Metered = func() bool { return metered } })
		b.repo.offer(b.repo.publish("main", "1.0.0", v1), func(r *slipstream.Rollout) { r.Apply.Priority = slipstream.PriorityLow })
		if u := b.update(); len(u.Deferred) != 1 || b.repo.count("/v1/containers/") != 0 {
			t.Fatalf("deferred %v", u.Deferred)
		}
		metered = false
		if u := b.update(); len(u.Staged) != 1 {
			t.Fatalf("staged %v", u.Staged)
		}
	})
	t.Run("critical blocks the start", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.repo.offer(b.repo.publish("main", "1.0.0", v1), func(r *slipstream.Rollout) { r.Apply.Priority = slipstream.PriorityCritical })
		if _, err := b.c.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.runs(b.start(), "main", v1)
	})
	t.Run("but not for ever", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		b.repo.offer(b.repo.publish("main", "1.0.0", v1), func(r *slipstream.Rollout) { r.Apply.Priority = slipstream.PriorityCritical })
		if _, err := b.c.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.offline()
		b.runs(b.start(), "main", nil)
	})
}

// watcher waits for requests of a loop that runs on its own.
func (b *bench) eventually(what string, ok func() bool) {
	b.Helper()
	for range 2000 {
		if ok() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	b.Fatalf("never happened: %s", what)
}

func TestRunChecksAtLaunchOnTheTimerAndWhenWoken(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.Poll = 15 * time.Minute; c.Spread = -1 })
	ctx, cancel := context.WithCancel(t.Context())
	var loop sync.WaitGroup
	loop.Go(func() {
		if err := b.c.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	checks := func(n int) func() bool { return func() bool { return b.repo.count("/state/") >= n } }
	sleeping := func() bool {
		b.clock.mu.Lock()
		defer b.clock.mu.Unlock()
		return len(b.clock.timers) > 0
	}
	b.eventually("the check at launch", checks(1))
	b.eventually("sleep", sleeping)
	b.clock.advance(14 * time.Minute)
	if b.repo.count("/state/") != 1 {
		t.Error("checked before the interval was over")
	}
	b.clock.advance(2 * time.Minute)
	b.eventually("the check on the timer", checks(2))
	b.eventually("sleep", sleeping)
	b.c.Wake(nil)
	b.eventually("the check by push", checks(3))
	if err := b.c.Metric("fps", 60); err != nil {
		t.Fatal(err)
	}
	b.eventually("the report", func() bool { return strings.Contains(strings.Join(b.repo.kinds(), " "), "metric") })
	cancel()
	loop.Wait()
}

func TestWakeKnowsWhatIsOld(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.Spread = time.Hour })
	b.update()
	b.c.Wake([]byte(`{"epoch": 5}`))
	if len(b.c.wake) != 0 {
		t.Error("woken by an epoch that is known")
	}
	b.c.Wake([]byte(`{"epoch": 9007199254740991, "spread": 7}`))
	if w := <-b.c.wake; w.spread != 7*time.Second {
		t.Errorf("spread %s", w.spread)
	}
	b.c.Wake([]byte("anything"))
	if w := <-b.c.wake; w.spread != time.Hour {
		t.Errorf("spread %s", w.spread)
	}
}

// With Live, a change that the server tells of is looked at without waiting for the timer.
func TestRunListensWhenAskedTo(t *testing.T) {
	t.Parallel()
	events := make(chan string)
	b := newBench(t, func(c *Config) { c.Poll = 15 * time.Minute; c.Spread = -1; c.Live = true })
	b.repo.fault = func(r *http.Request, _ *httptest.ResponseRecorder) (*http.Response, error) {
		if r.URL.Path != "/v1/live" {
			return nil, nil
		}
		in, out := io.Pipe()
		go func() {
			for {
				select {
				case e := <-events:
					_, _ = io.WriteString(out, e)
				case <-r.Context().Done():
					_ = out.CloseWithError(r.Context().Err())
					return
				}
			}
		}()
		return &http.Response{StatusCode: http.StatusOK, Body: in, Request: r}, nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	var loop sync.WaitGroup
	loop.Go(func() {
		if err := b.c.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	checks := func(n int) func() bool { return func() bool { return b.repo.count("/state/") >= n } }
	b.eventually("the check at launch", checks(1))
	events <- "event: changed\ndata: {\"epoch\":1,\"spread\":0}\n\n" // known already
	events <- "event: changed\ndata: {\"epoch\":9007199254740991,\"spread\":0}\n\n"
	b.eventually("the check by push", checks(2))
	cancel()
	loop.Wait()
}
