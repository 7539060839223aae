package decide

import (
	"fmt"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// Step is one look of the walk in words for people. Rollout is empty for steps that are about the device.
type Step struct {
	Rollout string            `json:"rollout,omitempty"`
	Version string            `json:"version,omitempty"`
	Digest  slipstream.Digest `json:"digest,omitempty"`
	Reason  slipstream.Reason `json:"reason,omitempty"`
	Text    string            `json:"text"`
}

// trace collects steps; a nil trace collects nothing.
type trace struct{ steps []Step }

// Explain is Decide with every step of its walk.
func (p *Plan) Explain(pkg string, dev *Device, local *Local, now time.Time) (Decision, []Step) {
	tr := &trace{}
	d := p.decide(pkg, dev, local, now, tr)
	return d, tr.steps
}

func (t *trace) say(reason slipstream.Reason, format string, args ...any) {
	t.steps = append(t.steps, Step{Reason: reason, Text: fmt.Sprintf(format, args...)})
}

func (t *trace) expired(p *Plan, now time.Time) {
	if t != nil {
		t.say(slipstream.ReasonExpiredState, "the state expired at %s and it is %s: keep what runs, install nothing",
			p.state.Expires.UTC().Format(slipstream.TimeLayout), now.UTC().Format(slipstream.TimeLayout))
	}
}

func (t *trace) platform(have, want string) {
	if t != nil {
		t.say(slipstream.ReasonPlatformMismatch, "this state is for platform %s, the device says %q", have, want)
	}
}

func (t *trace) noPackage(pkg string) {
	if t != nil {
		t.say(slipstream.ReasonNoRelease, "the channel says nothing of package %s on this platform", pkg)
	}
}

func (t *trace) running(w *walk) {
	if t == nil {
		return
	}
	name := heldName(w.local.Running)
	if w.local.RunningEmbedded {
		name = "the embedded release, " + name
	}
	switch w.leave {
	case slipstream.ReasonWithdrawn:
		t.say(w.leave, "it runs %s, which is withdrawn and must be left", name)
	case slipstream.ReasonBelowFloor:
		t.say(w.leave, "it runs %s, which is below the floor %d and must be left", name, w.floor)
	default:
		t.say("", "it runs %s, which may stay", name)
	}
}

func heldName(h Held) string {
	if h.Digest == "" {
		return fmt.Sprintf("seq %d without a manifest", h.Seq)
	}
	return fmt.Sprintf("seq %d (%s)", h.Seq, h.Digest.Short())
}

func (t *trace) looked(w *walk, r *rolloutPlan, got outcome, reason slipstream.Reason) {
	if t == nil {
		return
	}
	verb := map[outcome]string{missed: "does not fit this device", skipped: "fits this device but is passed over", matched: "is the one"}[got]
	t.steps = append(t.steps, Step{
		Rollout: r.ID, Version: r.Version, Digest: r.Manifest, Reason: reason,
		Text: fmt.Sprintf("rollout %s (version %s, seq %d) %s: %s", r.ID, r.Version, r.Seq, verb, w.why(r, reason)),
	})
}

func (w *walk) why(r *rolloutPlan, reason slipstream.Reason) string {
	switch reason {
	case slipstream.ReasonRuntimeMismatch:
		return fmt.Sprintf("it is for runtime %s and the shell is %q", r.Runtime, w.device.facts.Runtime)
	case slipstream.ReasonConditions:
		return w.whyConditions(r)
	case slipstream.ReasonNotInRollout, slipstream.ReasonControlGroup:
		return w.whyShare(r, reason)
	case slipstream.ReasonWithdrawn:
		return "its release is withdrawn"
	case slipstream.ReasonBelowFloor:
		return fmt.Sprintf("its release is below the floor %d", w.floor)
	case slipstream.ReasonRefusedAfterCrash:
		return fmt.Sprintf("this device gave the release up and the retry number is still %d", r.Retry)
	case slipstream.ReasonPaused:
		return "it is paused, so only devices that already run its release keep it"
	case slipstream.ReasonHalted:
		return "the guard halted it, so only devices that already run its release keep it"
	case slipstream.ReasonGrantNeeded:
		return "it has a cap, and this device has no grant yet"
	case slipstream.ReasonDowngrade:
		return fmt.Sprintf("its release is not newer than %s, which the device has confirmed, and no signed fallback edge leads there", heldName(w.local.Anchor))
	case slipstream.ReasonKeepNewer:
		return fmt.Sprintf("the device already runs the newer seq %d and keeps it", w.local.Running.Seq)
	case slipstream.ReasonUpToDate:
		return "the device already runs its release"
	}
	return "nothing stands in the way"
}

func (w *walk) whyConditions(r *rolloutPlan) string {
	for i := range r.when {
		c := &r.when[i]
		if c.holds(w.device, w.local.Running.Seq, r.salt) {
			continue
		}
		a := w.device.attribute(c.attr, w.local.Running.Seq)
		switch {
		case c.never:
			return fmt.Sprintf("its condition %s %s is not understood and so never holds", c.attr, c.op)
		case a.kind == absent:
			return fmt.Sprintf("its condition %s %s %s asks for something that the device does not tell", c.attr, c.op, r.When[i].Value)
		case hashedAttr(c.attr) && (c.op == "in" || c.op == "not_in"):
			return fmt.Sprintf("its condition %s %s a list of %d does not hold", c.attr, c.op, len(c.hashed))
		case a.kind == integer:
			return fmt.Sprintf("its condition %s %s %s does not hold for %d", c.attr, c.op, r.When[i].Value, a.n)
		}
		return fmt.Sprintf("its condition %s %s %s does not hold for %q", c.attr, c.op, r.When[i].Value, a.text)
	}
	return "its conditions do not hold"
}

func (w *walk) whyShare(r *rolloutPlan, reason slipstream.Reason) string {
	if w.device.facts.ID == "" {
		return "a device without an id is only in rollouts to everybody"
	}
	at := w.position(r.salt)
	if reason == slipstream.ReasonControlGroup {
		return fmt.Sprintf("the device is at position %d, in the control group from %d on, whose health is compared with the share [%d, %d)",
			at, slipstream.FullShare-r.Control, r.From, r.To)
	}
	return fmt.Sprintf("the device is at position %d, outside the share [%d, %d)", at, r.From, r.To)
}

func (t *trace) held(h *Held, reason slipstream.Reason) {
	if t == nil {
		return
	}
	text := "held release " + heldName(*h) + " can be gone back to"
	if reason != "" {
		text = fmt.Sprintf("held release %s cannot be gone back to: %s", heldName(*h), reason)
	}
	t.steps = append(t.steps, Step{Digest: h.Digest, Reason: reason, Text: text})
}

func (t *trace) verdict(w *walk, d Decision) {
	if t == nil {
		return
	}
	var text string
	switch {
	case d.Verdict == slipstream.VerdictUpgradeRuntime:
		text = fmt.Sprintf("only the shell is in the way of version %s (runtime %s): the app itself must be updated", d.Target.Version, d.Target.Runtime)
	case d.Verdict == slipstream.VerdictUpdate:
		text = fmt.Sprintf("so it updates to version %s", d.Target.Version)
	case d.Verdict == slipstream.VerdictRollback && d.Target != nil:
		text = fmt.Sprintf("so it goes back to version %s", d.Target.Version)
	case d.Fallback != nil:
		text = "so it goes back to the held " + heldName(*d.Fallback)
	case d.Verdict == slipstream.VerdictRollback && w.local.Remote:
		text = "so it goes back to the newest good release that it holds, or to the embedded one"
	case d.Verdict == slipstream.VerdictRollback:
		text = "so it goes back to the embedded release"
	case d.Verdict == slipstream.VerdictBlocked:
		text = "nothing else can run, so the embedded release runs although it is " + string(d.Reason)
	case d.Control:
		text = fmt.Sprintf("so it keeps what it runs, as a control device of rollout %s", d.Rollout)
	default:
		text = "so it keeps what it runs"
	}
	t.steps = append(t.steps, Step{Rollout: d.Rollout, Reason: d.Reason, Text: text})
}
