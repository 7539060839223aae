package client

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client/live"
)

// page is a launch that lives: the whole app under "", or one opened package under its name.
type page struct {
	launch *Launch
	hidden bool
	since  time.Time // in the background
}

// wakeUp asks the loop of Run for a check.
type wakeUp struct {
	spread time.Duration // longest random wait before it
}

// Run keeps the packages up to date until ctx ends: at once, then at the interval that the configuration or else the
// server sets, and whenever Wake is called. Reports go out as they come up. It returns nil when ctx ends.
func (c *Client) Run(ctx context.Context) error {
	failures := 0
	var asked sync.WaitGroup
	defer asked.Wait()
	if c.cfg.Live {
		listening, stop := context.WithCancel(ctx)
		defer stop()
		asked.Go(func() { c.listen(listening) })
	}
	for {
		updated, err := c.updateQuietly(ctx, c.cfg.Packages)
		if updated != nil && len(updated.Staged) > 0 {
			asked.Go(func() { c.offerNow(ctx, updated.Staged) }) // a question that stays open holds up no check
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			c.log.Warn("update", "reason", slipstream.ReasonOf(err, slipstream.ReasonInternal), "error", err)
		}
		if updated == nil {
			failures++
		} else {
			failures = 0
		}
		c.flush(ctx)
		if !c.rest(ctx, c.wait(updated, err, failures)) {
			return nil
		}
	}
}

// listen lets the server wake the loop of Run.
func (c *Client) listen(ctx context.Context) {
	c.mu.Lock()
	channel := c.channel
	c.mu.Unlock()
	live.Listen(ctx, live.Config{HTTP: c.net.http, Servers: c.net.servers, App: c.cfg.App, Channel: channel, Clock: c.clock, Rand: c.cfg.Rand, Debug: c.log.Debug,
		Epoch: func() int64 {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.body.Channels[channel].Epoch
		}}, c.Wake)
}

// flush sends reports; what cannot be sent stays.
func (c *Client) flush(ctx context.Context) {
	if err := c.Report(ctx); err != nil && ctx.Err() == nil {
		c.log.Debug("reports wait", "error", err)
	}
}

// wait is the time until the next check. A failed one is repeated sooner, with a growing random wait, but never sooner
// than a server asked for.
func (c *Client) wait(u *Updated, err error, failures int) time.Duration {
	if u != nil && u.Checked != nil {
		return u.Next
	}
	bound := min(5*time.Second<<min(failures, 10), orElse(c.cfg.Poll, 15*time.Minute))
	return max(bound/2+jitter(c.cfg.Rand, bound/2), RetryAfter(err))
}

// rest waits and sends reports meanwhile. It reports whether to go on.
func (c *Client) rest(ctx context.Context, d time.Duration) bool {
	timer := c.clock.After(d)
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer:
			return true
		case w := <-c.wake:
			return sleep(ctx, c.clock, jitter(c.cfg.Rand, w.spread)) == nil
		case <-c.told:
			c.flush(ctx)
		}
	}
}

// Wake makes Run check soon, whatever kind of push the host has. The payload may be JSON: "spread" is the longest random
// wait in seconds, 0 for none; "epoch" is ignored when it is known already. Anything else means: something changed. A
// fleet that is woken by one message does not come all at once.
func (c *Client) Wake(payload []byte) {
	w := wakeUp{spread: c.cfg.Spread}
	var p struct {
		Spread *int  `json:"spread"`
		Epoch  int64 `json:"epoch"`
	}
	if json.Unmarshal(payload, &p) == nil {
		if p.Spread != nil {
			w.spread = min(max(time.Duration(*p.Spread)*time.Second, 0), time.Hour)
		}
		c.mu.Lock()
		known := c.body.Channels[c.channel].Epoch
		c.mu.Unlock()
		if p.Epoch != 0 && p.Epoch <= known {
			return
		}
	}
	select {
	case c.wake <- w:
	default: // a check is coming already
	}
}

// OpenPackage opens the page of one package. While it lives, in the foreground or not too long in the background, this
// is a hot start: the same launch goes on, whatever is staged. Otherwise it is a cold start. With block > 0 an update of
// the package is waited for that long first; else what is here is used and the update runs behind.
func (c *Client) OpenPackage(ctx context.Context, pkg string, block time.Duration) (l *Launch, hot bool, err error) {
	if !slices.Contains(c.cfg.Packages, pkg) {
		return nil, false, slipstream.Refuse(slipstream.ReasonNoRelease, "package "+pkg, "the app does not have it")
	}
	if l, ok := c.resume(pkg); ok {
		return l, true, nil
	}
	if block > 0 {
		limited, cancel := context.WithTimeout(ctx, block)
		_, err := c.update(limited, []string{pkg})
		cancel()
		if err != nil {
			c.log.Warn("opened with what is here", "package", pkg, "error", err)
		}
	}
	c.mu.Lock()
	l, err = c.coldStart(ctx, pkg, c.closure(pkg))
	c.mu.Unlock()
	if err == nil && block <= 0 {
		c.updateBehind(pkg)
	}
	return l, false, err
}

// updateBehind updates one package while it is in use.
func (c *Client) updateBehind(pkg string) {
	c.cleanup.Go(func() {
		if _, err := c.update(c.behind, []string{pkg}); err != nil && !errors.Is(err, context.Canceled) {
			c.log.Warn("update behind", "package", pkg, "error", err)
		}
	})
}

// closure is pkg with all that it needs, now and staged. mu is held.
func (c *Client) closure(pkg string) []string {
	in := map[string]bool{pkg: true}
	env := c.env()
	for grew := true; grew; {
		grew = false
		for _, p := range slices.Sorted(maps.Keys(in)) {
			needs := slices.Collect(maps.Keys(c.body.Trial.Running(env, p).Requires))
			for _, set := range c.body.Trial.Staged {
				if _, member := set.Members[p]; member {
					needs = append(needs, slices.Collect(maps.Keys(set.Members))...)
				}
			}
			for _, need := range needs {
				if !in[need] && slices.Contains(c.cfg.Packages, need) {
					in[need], grew = true, true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(in))
}

// resume gives the launch of a page that still lives, and brings it to the foreground.
func (c *Client) resume(key string) (*Launch, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.pages[key]
	if p == nil || p.hidden && c.clock.Now().Sub(p.since) >= c.cfg.Background {
		return nil, false
	}
	p.hidden = false
	return p.launch, true
}

// Background says that a page (a package's name, "" for the whole app) went out of sight.
func (c *Client) Background(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.pages[key]; p != nil && !p.hidden {
		p.hidden, p.since = true, c.clock.Now()
	}
}

// Foreground says that a page is seen again. When it was too long in the background it was destroyed, and this is a cold
// start; the same when an update is staged that is meant for the next resume. Else it is a hot start.
func (c *Client) Foreground(ctx context.Context, key string) (l *Launch, hot bool, err error) {
	if l, ok := c.resume(key); ok && !c.resumesInto(key) {
		return l, true, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	packages := c.cfg.Packages
	if key != "" {
		packages = c.closure(key)
	}
	l, err = c.coldStart(ctx, key, packages)
	return l, false, err
}

// resumesInto reports whether something staged for the page waits for a resume.
func (c *Client) resumesInto(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, set := range c.body.Trial.Staged {
		for pkg, r := range set.Members {
			mode := r.Apply.Mode
			if (key == "" || key == pkg) && (mode == slipstream.ModeNextResume || mode == slipstream.ModeImmediate) {
				return true
			}
		}
	}
	return false
}

// MemoryWarning destroys the pages that are in the background: opening them is a cold start.
func (c *Client) MemoryWarning() { c.endHidden(0) }

// Expire destroys the pages that were too long in the background. Hosts that show pages call it from a timer; a page that
// is opened again is judged anyway.
func (c *Client) Expire() { c.endHidden(c.cfg.Background) }

func (c *Client) endHidden(atLeast time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.clock.Now()
	for _, key := range slices.Sorted(maps.Keys(c.pages)) {
		if p := c.pages[key]; p.hidden && now.Sub(p.since) >= atLeast {
			c.destroy(p)
		}
	}
}

// Destroy ends a page because the host closed it.
func (c *Client) Destroy(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.pages[key]; p != nil {
		c.destroy(p)
	}
}

func (c *Client) destroy(p *page) {
	if err := c.endLaunch(p.launch, "unknown", ""); err != nil {
		c.log.Warn("the end of a page is not noted", "page", p.launch.key, "error", err)
	}
}

// endPages drops the leases of launches that a cold start of key replaces; the state machine ends them in the same write
// as the start. mu is held.
func (c *Client) endPages(key string) {
	for k, p := range c.pages {
		if key == "" || k == key {
			c.unlease(p.launch)
			delete(c.pages, k)
		}
	}
}
