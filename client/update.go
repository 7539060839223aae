package client

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client/trial"
)

// How long a critical update may hold up a start, whatever the server says.
const (
	defaultCriticalTimeout = 10 * time.Second
	maxCriticalTimeout     = 30 * time.Second
)

// Updated is the outcome of an update: what was newly staged, and what was put off.
type Updated struct {
	*Checked
	Staged   []Offer
	Deferred []Offer
}

// Update checks, fetches and stages. What is staged runs after the next cold start.
func (c *Client) Update(ctx context.Context) (*Updated, error) {
	return c.update(ctx, c.cfg.Packages)
}

// update asks the host about what it staged only after it gave the turn back: a question may stay open for long.
func (c *Client) update(ctx context.Context, packages []string) (*Updated, error) {
	out, err := c.updateQuietly(ctx, packages)
	if out != nil && len(out.Staged) > 0 {
		c.offerNow(ctx, out.Staged)
	}
	return out, err
}

func (c *Client) updateQuietly(ctx context.Context, packages []string) (*Updated, error) {
	ctx, release, err := c.takeTurn(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	checked, err := c.check(ctx)
	if err != nil {
		return nil, err
	}
	out := &Updated{Checked: checked}
	c.tellArms(ctx, checked)
	fetched, err := c.fetch(ctx, out, packages)
	c.dropParts(err == nil && len(packages) == len(c.cfg.Packages) || classify(err) == slipstream.ReasonDiskFull)
	return out, errors.Join(err, c.stage(out, fetched))
}

// tellArms sends which arms the device is in before it downloads anything: what fails later must not fail unseen. When no
// server takes it in the time of one document, the report waits and the download goes on.
func (c *Client) tellArms(ctx context.Context, checked *Checked) {
	offered := slices.ContainsFunc(slices.Collect(maps.Values(checked.Answers)), func(a Answer) bool { return a.Offer != nil })
	if !offered || !slices.ContainsFunc(c.Pending(), func(e slipstream.Event) bool { return e.Kind == slipstream.KindEnrolled }) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Limits.Document)
	defer cancel()
	c.flush(ctx)
}

// dropParts removes partial downloads that nobody will go on with: those of objects that the fetch before it did not ask
// for, or all.
func (c *Client) dropParts(all bool) {
	entries, err := c.disk.ReadDir(c.disk.path("fetch"))
	for _, e := range entries {
		if name, _ := strings.CutSuffix(e.Name(), ".part"); !all && c.parts[slipstream.Digest(name)] {
			continue
		}
		err = errors.Join(err, c.disk.Remove(c.disk.path("fetch", e.Name())))
	}
	if err != nil {
		c.log.Warn("partial downloads stay", "error", err)
	}
}

// set is a group of releases that go together and are on disk.
type set map[string]*wanted

// fetch brings what is offered onto the disk. A package that fails does not hold up others that do not need it.
func (c *Client) fetch(ctx context.Context, out *Updated, packages []string) ([]set, error) {
	var errs []error
	c.parts = map[slipstream.Digest]bool{}
	wants := map[string]*wanted{}
	targets := map[string]trial.Release{}
	for _, pkg := range slices.Sorted(maps.Keys(out.Answers)) {
		offer := out.Answers[pkg].Offer
		if offer == nil {
			continue
		}
		if c.putOff(*offer) {
			out.Deferred = append(out.Deferred, *offer)
			continue
		}
		w, err := c.manifest(ctx, *offer)
		if err != nil {
			errs = append(errs, c.failedOffer("fetch", *offer, err))
			continue
		}
		wants[pkg], targets[pkg] = w, w.release()
	}
	c.mu.Lock()
	groups, unmet := trial.Group(c.body.Trial, c.env(), targets)
	c.mu.Unlock()
	for _, pkg := range slices.Sorted(maps.Keys(unmet)) {
		err := &slipstream.Refusal{Reason: slipstream.ReasonRequires, What: "release of " + pkg, Err: unmet[pkg]}
		errs = append(errs, c.failedOffer("stage", *out.Answers[pkg].Offer, err))
		out.Answers[pkg] = Answer{Verdict: slipstream.VerdictNone, Reason: slipstream.ReasonRequires}
	}
	var sets []set
	for _, group := range groups {
		if !slices.ContainsFunc(packages, func(pkg string) bool { _, in := group[pkg]; return in }) {
			continue
		}
		ready := set{}
		for _, pkg := range slices.Sorted(maps.Keys(group)) {
			if err := c.fetchOne(ctx, wants[pkg]); err != nil {
				errs = append(errs, err)
				break
			}
			ready[pkg] = wants[pkg]
		}
		if len(ready) == len(group) {
			sets = append(sets, ready)
		}
	}
	return sets, errors.Join(errs...)
}

func (c *Client) fetchOne(ctx context.Context, w *wanted) error {
	pkg := w.offer.Package
	if err := c.obtain(ctx, w); err != nil {
		return c.failedOffer("fetch", w.offer, err)
	}
	c.succeeded("fetch", pkg)
	if w.codec == "" {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.commit(c.body, slipstream.Event{Kind: slipstream.KindFetched, Package: pkg, Release: w.digest(), Rollout: w.offer.Rollout, Arm: treated(w.offer.Rollout),
		Running: c.body.Trial.Running(c.env(), pkg).Digest, Bytes: w.bytes, Codec: w.codec})
}

// putOff holds back downloads of low priority while the network costs money or the device is in use.
func (c *Client) putOff(o Offer) bool {
	h := c.cfg.Hooks
	return o.Apply.Priority == slipstream.PriorityLow && !o.Leaving && (h.Metered != nil && h.Metered() || h.Idle != nil && !h.Idle())
}

func (w *wanted) release() trial.Release {
	r := describe(w.manifest, w.digest())
	r.Rollout, r.Retry, r.Apply = w.offer.Rollout, w.offer.Retry, w.offer.Apply
	return r
}

// stage puts the sets in line for the next cold start.
func (c *Client) stage(out *Updated, sets []set) error {
	var errs []error
	for _, s := range sets {
		fresh, err := c.stageSet(s)
		for _, pkg := range slices.Sorted(maps.Keys(s)) {
			if err != nil {
				err = c.failedOffer("stage", s[pkg].offer, err)
			} else {
				c.succeeded("stage", pkg)
			}
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out.Staged = append(out.Staged, fresh...)
	}
	return errors.Join(errs...)
}

// stageSet stages one set and says which of its releases were not in line before. An official release that must be left
// is given up in the same write: should the new one fail, the device falls back to a good one.
func (c *Client) stageSet(s set) ([]Offer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	members := map[string]trial.Release{}
	var fresh []Offer
	for _, pkg := range slices.Sorted(maps.Keys(s)) {
		members[pkg] = s[pkg].release()
		before, waiting := c.body.Trial.StagedFor(pkg)
		if (!waiting || before.Digest != members[pkg].Digest) && c.body.Trial.Running(c.env(), pkg).Digest != members[pkg].Digest {
			fresh = append(fresh, s[pkg].offer)
		}
	}
	next, events, err := trial.Stage(c.body.Trial, c.env(), members)
	if err != nil {
		return nil, err
	}
	for pkg, w := range s {
		if !w.offer.Leaving {
			continue
		}
		to := slipstream.Digest("")
		if h := next.Packages[pkg].History; len(h) > 0 {
			to = h[0].Digest
		}
		var more []slipstream.Event
		if next, more, err = trial.RollBack(next, c.env(), pkg, to, w.offer.Reason); err != nil {
			return nil, err
		}
		events = append(events, more...)
	}
	if len(fresh) == 0 && len(events) == 0 {
		return nil, nil
	}
	return fresh, c.step(next, events)
}

// offerNow asks the host to start again where the apply mode says so: at once, or when the user agrees.
func (c *Client) offerNow(ctx context.Context, staged []Offer) {
	c.asking.Lock()
	defer c.asking.Unlock()
	h := c.cfg.Hooks
	var now []Offer
	for _, o := range staged {
		switch {
		case o.Leaving || o.Apply.Mode == slipstream.ModeImmediate:
			now = append(now, o)
		case o.Apply.Mode == slipstream.ModePrompt && h.Prompt != nil:
			if h.Prompt(ctx, o) || o.Apply.Mandatory {
				now = append(now, o)
			} else {
				c.log.Info("update declined: it applies at the next cold start", "package", o.Package, "version", o.Release.Version)
			}
		}
	}
	if len(now) == 0 || h.Restart == nil {
		return
	}
	change := Change{Reason: slipstream.ReasonNewRelease, Offers: now}
	for _, o := range now {
		change.Packages = append(change.Packages, o.Package)
	}
	h.Restart(ctx, change)
}

// awaitCritical blocks a start while an update of critical priority is known but not staged, at most as long as it says.
func (c *Client) awaitCritical(ctx context.Context) {
	c.mu.Lock()
	state, _ := c.lastState()
	writer := c.own() == nil
	c.mu.Unlock()
	plan, err := c.plan(state)
	if err != nil || plan == nil || !writer {
		return
	}
	var wait time.Duration
	for pkg, r := range c.ruleOnce(plan, nil, c.clock.Now()) {
		if r.offer == nil || r.offer.Apply.Priority != slipstream.PriorityCritical {
			continue
		}
		c.mu.Lock()
		staged, waiting := c.body.Trial.StagedFor(pkg)
		c.mu.Unlock()
		if !waiting || staged.Digest != r.offer.Release.Digest {
			seconds := min(r.offer.Apply.Timeout, int(maxCriticalTimeout/time.Second))
			wait = max(wait, orElse(time.Duration(seconds)*time.Second, defaultCriticalTimeout))
		}
	}
	if wait == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if _, err := c.Update(ctx); err != nil {
		c.log.Warn("a critical update did not make it before the start", "error", err)
	}
}
