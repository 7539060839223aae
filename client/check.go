package client

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client/trial"
	"github.com/slipstream-ota/slipstream/decide"
)

// Answer is what was decided for one package. Offer is set when there is something to take.
type Answer struct {
	Verdict slipstream.Verdict
	Reason  slipstream.Reason
	Offer   *Offer
}

// Checked is the outcome of a check. Next is how long to wait for the following one.
type Checked struct {
	Epoch    int64
	Answers  map[string]Answer
	Next     time.Duration
	Decision bool // a signed decision was asked for and used
}

// ruling is a decision in the client's own terms, wherever it came from.
type ruling struct {
	verdict  slipstream.Verdict
	reason   slipstream.Reason
	offer    *Offer
	rollout  string // whose control group the device is in
	control  bool
	release  slipstream.Digest // what that rollout offers
	fallback *slipstream.Digest
	embedded bool // leave for the embedded release
	leave    bool // what runs must be left
	grant    string
}

// Check asks the servers what this device should run, keeps the accepted answer, and acts on what needs no download:
// withdrawn releases are left, refusals are lifted, group memberships are reported. It downloads no release.
func (c *Client) Check(ctx context.Context) (*Checked, error) {
	ctx, release, err := c.takeTurn(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	return c.check(ctx)
}

func (c *Client) check(ctx context.Context) (*Checked, error) {
	if err := c.writer(); err != nil {
		return nil, err
	}
	now := c.clock.Now() // fixed for the whole check
	state, err := c.refreshState(ctx, now)
	out := &Checked{Next: c.cfg.Poll}
	var decisions *slipstream.Decision
	expired := slipstream.ReasonOf(err, "") == slipstream.ReasonExpiredState
	if (c.cfg.Decisions && err == nil) || expired {
		d, derr := c.decision(ctx, now)
		switch {
		case derr == nil:
			decisions, err = d, nil
		case err == nil:
			c.log.Warn("no decision: the public state rules", "error", derr)
		}
	}
	if err != nil {
		return nil, c.failed("check", "", err)
	}
	c.succeeded("check", "")
	plan, err := c.plan(state)
	if err != nil {
		return nil, c.failed("check", "", err)
	}
	if decisions != nil {
		out.Epoch, out.Decision = decisions.Epoch, true
		c.next(out, decisions.CheckAfter, 0)
	} else {
		out.Epoch = state.Epoch
		c.next(out, state.CheckAfter, state.Jitter)
	}
	if err := c.conclude(ctx, out, plan, decisions, now); err != nil {
		return out, err
	}
	return out, c.tellAlive(now)
}

// conclude decides, acts, and asks the host to start again when something that runs was left.
func (c *Client) conclude(ctx context.Context, out *Checked, plan *decide.Plan, d *slipstream.Decision, now time.Time) error {
	before := c.runningNow()
	rulings, err := c.rule(ctx, plan, d, now)
	if err != nil {
		return err
	}
	err = c.act(plan, rulings)
	out.answer(rulings)
	change := Change{}
	after := c.runningNow()
	for _, pkg := range c.cfg.Packages {
		if before[pkg] != after[pkg] {
			change.Packages = append(change.Packages, pkg)
			change.Reason = leavingReason(rulings[pkg])
		}
	}
	if len(change.Packages) > 0 && c.cfg.Hooks.Restart != nil {
		c.cfg.Hooks.Restart(ctx, change)
	}
	return err
}

func (c *Client) runningNow() map[string]slipstream.Digest {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]slipstream.Digest{}
	for _, pkg := range c.cfg.Packages {
		out[pkg] = c.body.Trial.Running(c.env(), pkg).Digest
	}
	return out
}

func (out *Checked) answer(rulings map[string]ruling) {
	out.Answers = map[string]Answer{}
	for pkg, r := range rulings {
		out.Answers[pkg] = Answer{Verdict: r.verdict, Reason: r.reason, Offer: r.offer}
	}
}

// Bounds, in seconds, of when a server lets a device ask again: whoever steals its key could else have all devices ask
// without end, or keep them from ever learning of a new key.
const (
	minCheckAfter = 10
	maxCheckAfter = 24 * 60 * 60
)

// next fills in when to come again: an explicit poll interval wins over the server's.
func (c *Client) next(out *Checked, after, spread int) {
	if out.Next <= 0 {
		out.Next = time.Duration(min(max(after, minCheckAfter), maxCheckAfter))*time.Second + jitter(c.cfg.Rand, time.Duration(min(max(spread, 0), maxCheckAfter))*time.Second)
	}
}

// writer says whether this process may change anything.
func (c *Client) writer() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.own()
}

func (c *Client) plan(state *slipstream.State) (*decide.Plan, error) {
	if state == nil {
		return nil, nil
	}
	plan, err := decide.Compile(state)
	if err != nil {
		return nil, fmt.Errorf("compile state: %w", err)
	}
	return plan, nil
}

// rule decides for every package, anew when what is offered lifts a refusal or an answer about a grant comes in between.
func (c *Client) rule(ctx context.Context, plan *decide.Plan, d *slipstream.Decision, now time.Time) (map[string]ruling, error) {
	if err := c.leaveVictims(plan); err != nil {
		return nil, err
	}
	rulings := c.ruleOnce(plan, d, now)
	for range maxGrants {
		answered, err := c.grants(ctx, rulings)
		if err != nil {
			return nil, err
		}
		if !answered {
			break
		}
		if d != nil {
			next, err := c.decision(ctx, now)
			if err != nil {
				c.log.Warn("no decision after an answer about a grant; the next check knows it", "error", err)
				break
			}
			d = next
		}
		rulings = c.ruleOnce(plan, d, now)
	}
	lifted, err := c.lift(rulings)
	if err != nil {
		return nil, err
	}
	if lifted {
		rulings = c.ruleOnce(plan, d, now)
	}
	return rulings, nil
}

func (c *Client) ruleOnce(plan *decide.Plan, d *slipstream.Decision, now time.Time) map[string]ruling {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]ruling{}
	dev := decide.NewDevice(c.facts())
	known := c.body.Channels[c.channel]
	if signed := time.Unix(known.Signed, 0); signed.After(now) {
		now = signed
	}
	for _, pkg := range c.cfg.Packages {
		if d != nil {
			if pd, ok := d.Packages[pkg]; ok {
				out[pkg] = c.ruleByDecision(pkg, pd)
			}
			continue
		}
		out[pkg] = c.ruleByState(plan, pkg, dev, now)
	}
	return out
}

func (c *Client) ruleByState(plan *decide.Plan, pkg string, dev *decide.Device, now time.Time) ruling {
	local := c.local(pkg)
	d := plan.Decide(pkg, dev, &local, now)
	if d.Reason == slipstream.ReasonKeepNewer && c.body.Trial.Packages[pkg].Foreign {
		local.Running.Seq = min(local.Running.Seq, local.Embedded.Seq) // it was confirmed elsewhere: not newer by this channel's count
		d = plan.Decide(pkg, dev, &local, now)
	}
	r := ruling{verdict: d.Verdict, reason: d.Reason, rollout: d.Rollout, control: d.Control, embedded: d.ToEmbedded, leave: d.MustLeave, grant: d.Grant}
	if d.Fallback != nil {
		r.fallback = &d.Fallback.Digest
	}
	if t := d.Target; t != nil && (d.Verdict == slipstream.VerdictUpdate || d.Verdict == slipstream.VerdictRollback) {
		r.offer = &Offer{Package: pkg, Release: slipstream.ReleaseRef{Digest: t.Manifest, Seq: t.Seq, Version: t.Version, Size: t.Size},
			Runtime: &t.Runtime, Rollout: t.ID, Retry: t.Retry, Apply: t.Apply, Leaving: d.MustLeave, Reason: d.Reason}
	}
	for _, ro := range plan.State().Packages[pkg].Rollouts {
		if ro.ID == d.Rollout {
			r.release = ro.Manifest
		}
	}
	return r
}

// facts are what the device tells of itself. mu is held.
func (c *Client) facts() slipstream.DeviceFacts {
	f := slipstream.DeviceFacts{ID: c.deviceID(), Platform: c.cfg.Platform, Runtime: c.cfg.Runtime, OS: c.cfg.OS, Model: c.cfg.Model,
		Locale: c.cfg.Locale, Attributes: c.cfg.Attributes}
	if _, told := f.Attributes["first_seen"]; !told && c.device.ID != "" {
		raw, err := c.device.FirstSeen.MarshalJSON()
		if err == nil {
			f.Attributes = cloneWith(f.Attributes, "first_seen", json.RawMessage(raw))
		}
	}
	return f
}

// local is what the device holds of pkg, in the terms of package decide. mu is held.
func (c *Client) local(pkg string) decide.Local {
	s, env := c.body.Trial, c.env()
	running, anchor := s.Running(env, pkg), s.Anchor(env, pkg)
	l := decide.Local{Running: heldOf(running), RunningEmbedded: running.Embedded, Embedded: heldOf(c.embeds[pkg]), Anchor: heldOf(anchor), AnchorFallback: anchor.Fallback}
	if official := s.Official(env, pkg); !official.Embedded && official.Digest != running.Digest {
		l.Held = append(l.Held, heldOf(official))
	}
	for _, h := range s.Packages[pkg].History {
		if h.Digest != running.Digest {
			l.Held = append(l.Held, heldOf(h))
		}
	}
	for _, f := range s.Blocked(c.clock.Now(), pkg) {
		l.Refused = append(l.Refused, decide.Refusal{Digest: f.Digest, Retry: f.Retry})
	}
	l.Granted, l.Full = c.places()
	return l
}

func heldOf(r trial.Release) decide.Held {
	return decide.Held{Digest: r.Digest, Seq: r.Seq, Runtime: r.Runtime}
}

// victims says which releases of pkg the state tells every device to leave.
func (c *Client) victims(state *slipstream.State, pkg string) func(trial.Release) slipstream.Reason {
	p := state.Packages[pkg]
	var floor int64
	for _, f := range p.Floors {
		if c.fits(f.Runtime) {
			floor = max(floor, f.Seq)
		}
	}
	return func(r trial.Release) slipstream.Reason {
		switch {
		case r.Digest != "" && slices.Contains(p.Withdrawn, r.Digest):
			return slipstream.ReasonWithdrawn
		case r.Seq < floor:
			return slipstream.ReasonBelowFloor
		}
		return ""
	}
}

// leaveVictims drops what is withdrawn or below its floor from the line, from trial and from history.
func (c *Client) leaveVictims(plan *decide.Plan) error {
	if plan == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, pkg := range c.cfg.Packages {
		why := c.victims(plan.State(), pkg)
		for _, reason := range []slipstream.Reason{slipstream.ReasonWithdrawn, slipstream.ReasonBelowFloor} {
			bad := func(r trial.Release) bool { return why(r) == reason }
			if !c.anyVictim(pkg, bad) {
				continue
			}
			s, events := trial.Leave(c.body.Trial, c.env(), pkg, bad, reason)
			if err := c.step(s, events); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Client) anyVictim(pkg string, bad func(trial.Release) bool) bool {
	s := c.body.Trial
	if r, ok := s.StagedFor(pkg); ok && bad(r) {
		return true
	}
	if s.Trial != nil {
		if r, ok := s.Trial.Members[pkg]; ok && bad(r) {
			return true
		}
	}
	return slices.ContainsFunc(s.Packages[pkg].History, bad)
}

// lift tells the state machine what is offered, which may lift refusals.
func (c *Client) lift(rulings map[string]ruling) (bool, error) {
	offers := map[string]trial.Release{}
	for pkg, r := range rulings {
		if r.offer != nil {
			offers[pkg] = trial.Release{Digest: r.offer.Release.Digest, Seq: r.offer.Release.Seq}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s, lifted := trial.Offered(c.body.Trial, c.env(), offers)
	if !lifted {
		return false, nil
	}
	return true, c.step(s, nil)
}

// act does what a check asks for and needs no download.
func (c *Client) act(plan *decide.Plan, rulings map[string]ruling) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.forget(plan, rulings); err != nil {
		return err
	}
	for _, pkg := range c.cfg.Packages {
		r, ok := rulings[pkg]
		if !ok || r.reason == slipstream.ReasonExpiredState {
			continue
		}
		if err := c.enroll(pkg, r); err != nil {
			return err
		}
		if err := c.unstage(pkg, r); err != nil {
			return err
		}
		if r.reason == slipstream.ReasonUpToDate && c.body.Trial.Packages[pkg].Foreign {
			if err := c.step(trial.Adopt(c.body.Trial, c.env(), pkg), nil); err != nil {
				return err
			}
		}
		r = c.atHand(pkg, r)
		rulings[pkg] = r
		if !r.embedded && r.fallback == nil {
			continue
		}
		to := slipstream.Digest("")
		if r.fallback != nil {
			to = *r.fallback
		}
		s, events, err := trial.RollBack(c.body.Trial, c.env(), pkg, to, leavingReason(r))
		if err != nil {
			return fmt.Errorf("leave release: %w", err)
		}
		next := c.left(c.body.Trial.Running(c.env(), pkg).Digest)
		next.Trial = s
		if err := c.commit(next, events...); err != nil {
			return err
		}
	}
	return nil
}

// manyRollouts is how many are remembered before a decision that does not name one lets it be forgotten.
const manyRollouts = 64

// forget drops what is remembered of rollouts that the public state no longer has. Decisions know private ones too, of
// which each names only some: where they are used, this waits until many are remembered. mu is held.
func (c *Client) forget(plan *decide.Plan, rulings map[string]ruling) error {
	var state *slipstream.State
	if plan != nil {
		state = plan.State()
	}
	if plan == nil || c.cfg.Decisions {
		if len(c.body.Trial.Enrolled) < manyRollouts && len(c.body.Grants) < manyRollouts {
			return nil
		}
		state, _ = c.lastState()
	}
	live := map[string]bool{}
	for _, r := range rulings {
		live[r.rollout] = true
	}
	if state != nil {
		for _, p := range state.Packages {
			for _, r := range p.Rollouts {
				live[r.ID] = true
			}
		}
	}
	next := c.body
	next.Trial = trial.Forget(c.body.Trial, c.env(), func(id string) bool { return live[id] })
	next.Grants = maps.Clone(next.Grants)
	maps.DeleteFunc(next.Grants, func(id string, _ bool) bool { return !live[id] })
	next.Ungranted = maps.Clone(next.Ungranted)
	maps.DeleteFunc(next.Ungranted, func(id string, _ int64) bool { return !live[id] })
	if len(next.Trial.Enrolled) == len(c.body.Trial.Enrolled) && len(next.Grants) == len(c.body.Grants) && len(next.Ungranted) == len(c.body.Ungranted) {
		return nil
	}
	return c.commit(next)
}

// atHand turns an offer of a known good release that the device holds into a way back that needs no trial, when what
// runs must be left. mu is held.
func (c *Client) atHand(pkg string, r ruling) ruling {
	if r.offer == nil || !r.offer.Leaving {
		return r
	}
	d := r.offer.Release.Digest
	good := func(h trial.Release) bool { return h.Digest == d }
	switch official := c.body.Trial.Official(c.env(), pkg); {
	case d == c.embeds[pkg].Digest:
		r.embedded, r.offer = true, nil
	case good(official) || slices.ContainsFunc(c.body.Trial.Packages[pkg].History, good):
		r.fallback, r.offer = &d, nil
	}
	return r
}

func leavingReason(r ruling) slipstream.Reason {
	if r.reason == slipstream.ReasonBelowFloor {
		return r.reason
	}
	return slipstream.ReasonWithdrawn
}

// enroll reports once in which arm of a rollout the device is. mu is held.
func (c *Client) enroll(pkg string, r ruling) error {
	rollout, arm, release := r.rollout, slipstream.ArmControl, r.release
	if r.offer != nil {
		rollout, arm, release = r.offer.Rollout, slipstream.ArmTreatment, r.offer.Release.Digest
	} else if !r.control {
		return nil
	}
	if rollout == "" {
		return nil
	}
	s, events := trial.Enroll(c.body.Trial, c.env(), pkg, rollout, arm, release)
	if len(events) == 0 {
		return nil
	}
	return c.step(s, events)
}

// unstage takes what is not offered any more out of the line. mu is held.
func (c *Client) unstage(pkg string, r ruling) error {
	staged, waiting := c.body.Trial.StagedFor(pkg)
	if !waiting || r.offer != nil && r.offer.Release.Digest == staged.Digest {
		return nil
	}
	if r.offer != nil {
		return nil // what is offered instead takes its place when it is staged
	}
	return c.step(trial.Unstage(c.body.Trial, c.env(), pkg), nil)
}
