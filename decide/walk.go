package decide

import (
	"slices"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// Decision is the outcome for one package on one device.
//
//	none             keep what runs; Reason says why
//	update           install Target, which is newer
//	rollback         leave what runs: for Target, or for the held Fallback, or ToEmbedded
//	blocked          what runs, or the embedded release, must not run but there is nothing else
//	upgrade_runtime  Target would be offered if the shell were another
type Decision struct {
	Verdict slipstream.Verdict
	Reason  slipstream.Reason
	// Target points into the plan's state and must not be changed.
	Target *slipstream.Rollout
	// Fallback points into Local.Held.
	Fallback *Held
	// ToEmbedded: go to the embedded release (never set when it runs already).
	ToEmbedded bool
	// MustLeave: the running release is withdrawn or below its floor.
	MustLeave bool
	// Rollout is the id of the rollout that the decision comes from, or of the one whose control group the device is in.
	Rollout string
	Control bool
	Retry   int
	// Grant is the id of the first rollout that only waits for a grant and is not known to be full, "" when there is none.
	Grant string
}

// outcome of looking at one rollout.
type outcome uint8

const (
	missed  outcome = iota // the rollout does not mean this device
	skipped                // it does, but its release may not run here
	matched
)

// walk is one pass over a package's rollouts. trace is nil but for explanations.
type walk struct {
	plan    *Plan
	pkg     *packagePlan
	device  *Device
	local   *Local
	floor   int64
	leave   slipstream.Reason // why the running release must be left, or ""
	salt    string            // the last position's salt: rollouts of one test share it
	at      int
	asked   uint64 // bit i: runtime i has been asked, and whether it fits is bit i of fitting
	fitting uint64
	skip    slipstream.Reason
	miss    slipstream.Reason
	control *rolloutPlan
	grant   string
	trace   *trace
}

// Decide says what the device should run of package pkg at now. It does not allocate.
func (p *Plan) Decide(pkg string, dev *Device, local *Local, now time.Time) Decision {
	return p.decide(pkg, dev, local, now, nil)
}

func (p *Plan) decide(pkg string, dev *Device, local *Local, now time.Time, tr *trace) Decision {
	if p.Expired(now) {
		tr.expired(p, now)
		return Decision{Verdict: slipstream.VerdictNone, Reason: slipstream.ReasonExpiredState}
	}
	if have := p.state.Platform; have != slipstream.PlatformAny && have != dev.facts.Platform {
		tr.platform(have, dev.facts.Platform)
		return Decision{Verdict: slipstream.VerdictNone, Reason: slipstream.ReasonPlatformMismatch}
	}
	pp := p.packages[pkg]
	if pp == nil {
		tr.noPackage(pkg)
		return Decision{Verdict: slipstream.VerdictNone, Reason: slipstream.ReasonNoRelease}
	}
	w := walk{plan: p, pkg: pp, device: dev, local: local, at: -1, trace: tr}
	w.floor = w.lowest()
	w.leave = pp.bad(local.Running, w.floor)
	tr.running(&w)
	d := w.run()
	d.MustLeave = w.leave != ""
	d.Grant = w.grant
	tr.verdict(&w, d)
	return d
}

func (w *walk) run() Decision {
	for i := range w.pkg.rollouts {
		r := &w.pkg.rollouts[i]
		got, reason := w.look(r)
		w.trace.looked(w, r, got, reason)
		switch got {
		case matched:
			return w.match(r, reason)
		case skipped:
			if w.skip == "" {
				w.skip = reason
			}
		case missed:
			if w.miss == "" {
				w.miss = reason
			}
		}
	}
	if w.leave != "" {
		return w.fallBack()
	}
	if r := w.onlyRuntime(); r != nil {
		return Decision{Verdict: slipstream.VerdictUpgradeRuntime, Reason: slipstream.ReasonRuntimeMismatch, Target: r.Rollout, Rollout: r.ID}
	}
	reason := w.skip
	if reason == "" && w.control != nil {
		reason = slipstream.ReasonControlGroup
	}
	if reason == "" {
		reason = w.miss
	}
	if reason == "" {
		reason = slipstream.ReasonNoRelease
	}
	return w.none(reason, "")
}

// look judges one rollout. For matched, the reason is that of the verdict: up_to_date, keep_newer or new_release.
func (w *walk) look(r *rolloutPlan) (outcome, slipstream.Reason) {
	if !w.fits(r.runtime) {
		return missed, slipstream.ReasonRuntimeMismatch
	}
	if !w.conditions(r) {
		return missed, slipstream.ReasonConditions
	}
	inside, inControl := w.share(r)
	if !inside && !inControl {
		return missed, slipstream.ReasonNotInRollout
	}
	reason := w.barred(r)
	if !inside {
		if w.control == nil && reason == slipstream.ReasonNewRelease {
			w.control = r
			return missed, slipstream.ReasonControlGroup
		}
		return missed, slipstream.ReasonNotInRollout
	}
	switch reason {
	case slipstream.ReasonNewRelease, slipstream.ReasonUpToDate, slipstream.ReasonKeepNewer:
		return matched, reason
	case slipstream.ReasonGrantNeeded:
		// Nobody takes a place that it could not use.
		if w.grant == "" && !slices.Contains(w.local.Full, r.ID) && !w.keepsNewer(r) && w.anchorAllows(r) {
			w.grant = r.ID
		}
	}
	return skipped, reason
}

// fits asks whether a runtime is the device's; the rollouts of a package mostly share one or two.
func (w *walk) fits(runtime int) bool {
	bit := uint64(1) << (runtime & 63)
	if runtime < 64 && w.asked&bit != 0 {
		return w.fitting&bit != 0
	}
	var fits bool
	if w.plan != nil && w.plan.runtime != nil {
		fits = w.plan.runtime(w.pkg.named[runtime])
	} else {
		fits = w.pkg.runtimes[runtime].fits(w.device.facts.Runtime, &w.device.shell, w.device.parsed)
	}
	if runtime < 64 {
		w.asked |= bit
		if fits {
			w.fitting |= bit
		}
	}
	return fits
}

// lowest is the floor: the lowest seq that this device may run.
func (w *walk) lowest() int64 {
	var seq int64
	for i := range w.pkg.floors {
		if f := &w.pkg.floors[i]; f.seq > seq && w.fits(f.runtime) {
			seq = f.seq
		}
	}
	return seq
}

func (w *walk) conditions(r *rolloutPlan) bool {
	for i := range r.when {
		if !r.when[i].holds(w.device, w.local.Running.Seq, r.salt) {
			return false
		}
	}
	return true
}

// share places the device. Without an id only the full range holds it.
func (w *walk) share(r *rolloutPlan) (inside, inControl bool) {
	if r.From == 0 && r.To == slipstream.FullShare {
		return true, false
	}
	if w.device.facts.ID == "" {
		return false, false
	}
	at := w.position(r.salt)
	if at >= r.From && at < r.To {
		return true, false
	}
	return false, at >= slipstream.FullShare-r.Control
}

func (w *walk) position(salt string) int {
	if w.at < 0 || w.salt != salt {
		w.salt, w.at = salt, w.plan.position(salt, w.device.facts.ID)
	}
	return w.at
}

// barred says what stands between a fitting device and the rollout's release: new_release when nothing does.
func (w *walk) barred(r *rolloutPlan) slipstream.Reason {
	if reason := w.pkg.bad(Held{Digest: r.Manifest, Seq: r.Seq}, w.floor); reason != "" {
		return reason
	}
	if r.Manifest == w.local.Running.Digest {
		return slipstream.ReasonUpToDate
	}
	switch {
	case w.local.refused(r.Manifest, r.Retry):
		return slipstream.ReasonRefusedAfterCrash
	case r.Hold == slipstream.HoldHalted:
		return slipstream.ReasonHalted
	case r.Hold != "":
		return slipstream.ReasonPaused
	case r.Grant && !w.local.granted(r.ID):
		return slipstream.ReasonGrantNeeded
	case w.keepsNewer(r):
		return slipstream.ReasonKeepNewer
	case !w.anchorAllows(r):
		return slipstream.ReasonDowngrade
	}
	return slipstream.ReasonNewRelease
}

func (w *walk) keepsNewer(r *rolloutPlan) bool {
	return w.leave == "" && r.Seq <= w.local.Running.Seq
}

// anchorAllows is the rule against downgrades: the anchor itself, anything newer, or what the anchor's publisher
// allowed to leave it for once it is withdrawn or below its floor.
func (w *walk) anchorAllows(r *rolloutPlan) bool {
	anchor := w.local.Anchor
	if r.Seq > anchor.Seq || r.Manifest == anchor.Digest {
		return true
	}
	if w.local.Remote && anchor.Digest == "" {
		// Which release the anchor is cannot be known here; it may be one of the withdrawn ones.
		return anchor.Seq < w.floor || len(w.pkg.withdrawn) > 0
	}
	if w.pkg.bad(anchor, w.floor) == "" {
		return false
	}
	if w.local.Remote {
		return true
	}
	for _, d := range w.local.AnchorFallback {
		if d == r.Manifest {
			return true
		}
	}
	return false
}

func (w *walk) match(r *rolloutPlan, reason slipstream.Reason) Decision {
	if reason != slipstream.ReasonNewRelease {
		return w.none(reason, r.ID)
	}
	d := Decision{Verdict: slipstream.VerdictUpdate, Reason: reason, Target: r.Rollout, Rollout: r.ID, Retry: r.Retry}
	if w.leave != "" {
		d.Reason = w.leave
		if r.Seq <= w.local.Running.Seq {
			d.Verdict = slipstream.VerdictRollback
		}
	}
	return d
}

// none keeps what runs. A control device reports for the rollout that it is compared with.
func (w *walk) none(reason slipstream.Reason, rollout string) Decision {
	d := Decision{Verdict: slipstream.VerdictNone, Reason: reason, Rollout: rollout}
	if w.control != nil {
		d.Rollout, d.Control = w.control.ID, true
	}
	return d
}

// fallBack leaves the running release for the best one that is here already. A release below the embedded one is not
// better than it.
func (w *walk) fallBack() Decision {
	for i := range w.local.Held {
		h := &w.local.Held[i]
		reason := w.unfit(*h)
		w.trace.held(h, reason)
		if reason == "" {
			return Decision{Verdict: slipstream.VerdictRollback, Reason: w.leave, Fallback: h}
		}
	}
	if w.local.RunningEmbedded {
		return Decision{Verdict: slipstream.VerdictBlocked, Reason: w.leave}
	}
	d := Decision{Verdict: slipstream.VerdictRollback, Reason: w.leave, ToEmbedded: true}
	if reason := w.pkg.bad(w.local.Embedded, w.floor); reason != "" && !w.local.Remote {
		d.Verdict, d.Reason = slipstream.VerdictBlocked, reason
	}
	return d
}

// unfit says why a held release cannot be fallen back to, or "".
func (w *walk) unfit(h Held) slipstream.Reason {
	if reason := w.pkg.bad(h, w.floor); reason != "" {
		return reason
	}
	switch {
	case h.Seq < w.local.Embedded.Seq:
		return slipstream.ReasonEmbeddedNewer
	case w.local.gaveUp(h.Digest):
		return slipstream.ReasonRefusedAfterCrash
	case !Fits(h.Runtime, w.device.facts.Runtime):
		return slipstream.ReasonRuntimeMismatch
	}
	return ""
}

// onlyRuntime is the first rollout that this device would be offered if its shell were another. The floor belongs to
// the shell that the device has, so it is not asked.
func (w *walk) onlyRuntime() *rolloutPlan {
	for i := range w.pkg.rollouts {
		r := &w.pkg.rollouts[i]
		if r.Seq <= w.local.Running.Seq || w.fits(r.runtime) || !w.conditions(r) {
			continue
		}
		floor := w.floor
		w.floor = 0
		reason := w.barred(r)
		w.floor = floor
		if reason != slipstream.ReasonNewRelease {
			continue
		}
		if inside, _ := w.share(r); inside {
			return r
		}
	}
	return nil
}

// Wire is the decision as POST /v1/check answers it. A rollback without a release means: to what the device holds.
func (d Decision) Wire() slipstream.PackageDecision {
	out := slipstream.PackageDecision{Verdict: d.Verdict, Reason: d.Reason, Rollout: d.Rollout, Control: d.Control, Retry: d.Retry, Grant: d.Grant}
	if t := d.Target; t != nil {
		out.Release = &slipstream.ReleaseRef{Digest: t.Manifest, Seq: t.Seq, Version: t.Version, Size: t.Size}
		if d.Verdict != slipstream.VerdictUpgradeRuntime {
			out.Apply = &t.Apply
		}
	}
	return out
}
