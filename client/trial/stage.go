package trial

import (
	"fmt"
	"maps"
	"slices"

	"github.com/slipstream-ota/slipstream"
)

// step is one transition under way.
type step struct {
	State
	env    Env
	events []slipstream.Event
}

func begin(s State, env Env) *step {
	env.Rules = env.Rules.WithDefaults()
	if env.Fits == nil {
		env.Fits = func(slipstream.Runtime) bool { return true }
	}
	return &step{State: s.clone(), env: env}
}

func (t *step) tell(e slipstream.Event) { t.events = append(t.events, e) }

// tellMembers reports e once for every release of a set, in the order of the packages' names.
func (t *step) tellMembers(members map[string]Release, e slipstream.Event) {
	for _, pkg := range slices.Sorted(maps.Keys(members)) {
		r := members[pkg]
		e.Package, e.Release, e.Rollout, e.Arm = pkg, r.Digest, r.Rollout, treated(r)
		if e.Kind == slipstream.KindRolledBack {
			e.Running = t.Running(t.env, pkg).Digest
		}
		t.tell(e)
	}
}

// treated is the arm of a device that takes r.
func treated(r Release) string {
	if r.Rollout == "" {
		return ""
	}
	return slipstream.ArmTreatment
}

// Stage puts a set of verified, durable releases in line for the next cold start. Waiting sets that share a package
// with it are dropped. Staging what is on trial, in force or in line already changes nothing but its apply rules. A
// release that is refused here, does not fit the shell or is older than the embedded one is a *slipstream.Refusal.
func Stage(s State, env Env, members map[string]Release) (State, []slipstream.Event, error) {
	t := begin(s, env)
	members = maps.Clone(members)
	for _, pkg := range slices.Sorted(maps.Keys(members)) {
		if err := t.admit(pkg, members[pkg]); err != nil {
			return s, nil, err
		}
		if o := t.Packages[pkg].Official; o != nil && o.Digest == members[pkg].Digest && t.trialOf(pkg) == nil {
			delete(members, pkg)
		}
	}
	if len(members) == 0 {
		return s, nil, nil
	}
	if t.Trial != nil && overlaps(t.Trial.Members, members) {
		for pkg, r := range t.Trial.Members {
			if _, ok := members[pkg]; !ok {
				members[pkg] = r // what is tried together is displaced together
			}
		}
	}
	for pkg := range members {
		t.liftRaised(pkg, members[pkg])
	}
	if t.Trial != nil && sameSet(t.Trial.Members, members) {
		t.unstage(members)
		return t.State, nil, nil
	}
	for i, set := range t.Staged {
		if sameSet(set.Members, members) {
			t.Staged[i].Members = members
			return t.State, nil, nil
		}
	}
	fresh := maps.Clone(members)
	for pkg, r := range members {
		if old, ok := t.StagedFor(pkg); ok && old.Digest == r.Digest {
			delete(fresh, pkg)
		}
	}
	t.unstage(members)
	t.Serial++
	t.Staged = append(t.Staged, Set{ID: t.Serial, Members: members})
	t.tellMembers(fresh, slipstream.Event{Kind: slipstream.KindStaged})
	return t.State, t.events, nil
}

func (t *step) trialOf(pkg string) *Release {
	if t.Trial == nil {
		return nil
	}
	if r, ok := t.Trial.Members[pkg]; ok {
		return &r
	}
	return nil
}

func (t *step) admit(pkg string, r Release) error {
	what := fmt.Sprintf("release %s of %s", r.Digest.Short(), pkg)
	if !t.env.Fits(r.Runtime) {
		return slipstream.Refuse(slipstream.ReasonRuntimeMismatch, what, "it fits %s, the shell is %s", r.Runtime, t.env.Runtime)
	}
	if e := t.env.Embedded[pkg]; r.Seq < e.Seq {
		return slipstream.Refuse(slipstream.ReasonEmbeddedNewer, what, "seq %d is below the embedded %d", r.Seq, e.Seq)
	}
	for _, f := range t.Refusals {
		if f.Package == pkg && f.Digest == r.Digest && f.blocks(t.env.ms()) && r.Retry <= f.Retry {
			return slipstream.Refuse(slipstream.ReasonRefusedAfterCrash, what, "it failed %d trials here", f.Tries)
		}
	}
	return nil
}

// liftRaised forgets a refusal once the rollout's retry number is above the one it failed under.
func (t *step) liftRaised(pkg string, r Release) {
	t.Refusals = slices.DeleteFunc(t.Refusals, func(f Refusal) bool {
		return f.Package == pkg && f.Digest == r.Digest && r.Retry > f.Retry
	})
}

// unstage drops every waiting set that shares a package with members.
func (t *step) unstage(members map[string]Release) {
	t.Staged = slices.DeleteFunc(t.Staged, func(set Set) bool { return overlaps(set.Members, members) })
}

// Unstage takes the waiting release of pkg, and the set it is in, out of the line: it is not offered any more.
func Unstage(s State, env Env, pkg string) State {
	t := begin(s, env)
	t.unstage(map[string]Release{pkg: {}})
	return t.State
}

// Offered tells the machine which releases are offered to this device now. A refusal is lifted when a newer release of
// a package that failed with it is offered which has not failed here itself. It reports whether any was.
func Offered(s State, env Env, offers map[string]Release) (State, bool) {
	t := begin(s, env)
	failed := func(pkg string, d slipstream.Digest) bool {
		return slices.ContainsFunc(s.Refusals, func(f Refusal) bool { return f.Package == pkg && f.Digest == d })
	}
	t.Refusals = slices.DeleteFunc(t.Refusals, func(f Refusal) bool {
		for pkg, seq := range f.Set {
			if r, ok := offers[pkg]; ok && r.Seq > seq && !failed(pkg, r.Digest) {
				return true
			}
		}
		return false
	})
	return t.State, len(t.Refusals) != len(s.Refusals)
}

// Enroll notes that the device belongs to an arm of a rollout and gives the event that must be reported before any
// download; it gives none when that was told before. A control device's next start is judged.
func Enroll(s State, env Env, pkg, rollout, arm string, release slipstream.Digest) (State, []slipstream.Event) {
	if s.Enrolled[rollout] == arm {
		return s, nil
	}
	t := begin(s, env)
	if t.Enrolled == nil {
		t.Enrolled = map[string]string{}
	}
	for _, id := range slices.Sorted(maps.Keys(t.Enrolled)) {
		if len(t.Enrolled) < maxEnrolled {
			break
		}
		delete(t.Enrolled, id) // told again if it ever comes back
	}
	t.Enrolled[rollout] = arm
	running := t.Running(t.env, pkg)
	t.Controls = slices.DeleteFunc(t.Controls, func(c Control) bool { return c.Rollout == rollout })
	if arm == slipstream.ArmControl {
		t.Controls = append(t.Controls, Control{Package: pkg, Rollout: rollout, Release: running.Digest})
		t.Controls = t.Controls[max(len(t.Controls)-maxControls, 0):]
	}
	t.tell(slipstream.Event{Kind: slipstream.KindEnrolled, Package: pkg, Release: release, Running: running.Digest, Rollout: rollout, Arm: arm})
	return t.State, t.events
}

// Forget drops what is remembered of rollouts that are not in force any more.
func Forget(s State, env Env, live func(rollout string) bool) State {
	t := begin(s, env)
	maps.DeleteFunc(t.Enrolled, func(id, _ string) bool { return !live(id) })
	t.Controls = slices.DeleteFunc(t.Controls, func(c Control) bool { return !live(c.Rollout) })
	return t.State
}

// Adopt notes that the channel itself offers what runs: a release that came from another channel is at home here now.
func Adopt(s State, env Env, pkg string) State {
	t := begin(s, env)
	p := t.Packages[pkg]
	if p.Official == nil || !p.Foreign {
		return s
	}
	p.Foreign = false
	if a := t.Anchor(t.env, pkg); p.Official.Seq > a.Seq {
		p.Anchor = p.Official
	}
	t.Packages[pkg] = p
	return t.State
}

func sameSet(a, b map[string]Release) bool {
	if len(a) != len(b) {
		return false
	}
	for pkg, r := range a {
		if o, ok := b[pkg]; !ok || o.Digest != r.Digest {
			return false
		}
	}
	return true
}

func overlaps(a, b map[string]Release) bool {
	for pkg := range a {
		if _, ok := b[pkg]; ok {
			return true
		}
	}
	return false
}
