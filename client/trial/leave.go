package trial

import (
	"fmt"
	"maps"
	"slices"

	"github.com/slipstream-ota/slipstream"
)

// RollBack puts an earlier release of pkg in force at once: one that is official or in history, or the embedded one
// when to is "". What was in force before is dropped, not kept in history, because it must be left. A trial of pkg ends
// without a refusal. Packages whose requirements break are left too.
func RollBack(s State, env Env, pkg string, to slipstream.Digest, reason slipstream.Reason) (State, []slipstream.Event, error) {
	t := begin(s, env)
	p := t.Packages[pkg]
	official := t.Official(t.env, pkg)
	toEmbedded := to == "" || to == t.env.Embedded[pkg].Digest && p.find(to) == nil
	if !toEmbedded && official.Digest != to && p.find(to) == nil {
		return s, nil, fmt.Errorf("roll %s back to %s: %w on this device", pkg, to.Short(), slipstream.ErrNotFound)
	}
	if t.trialOf(pkg) != nil {
		t.endTrial(reason, false)
	}
	if p.Official != nil && (toEmbedded || p.Official.Digest != to) {
		left := *p.Official
		p.Official, p.Crashes = nil, 0
		if h := p.find(to); h != nil && !toEmbedded {
			p.Official = h
			p.History = slices.DeleteFunc(slices.Clone(p.History), func(r Release) bool { return r.Digest == to })
		}
		t.Packages[pkg] = p
		t.tellLeft(pkg, left, reason)
	}
	t.settle()
	return t.State, t.events, nil
}

func (p Package) find(d slipstream.Digest) *Release {
	if d == "" {
		return nil
	}
	for _, r := range p.History {
		if r.Digest == d {
			return &r
		}
	}
	return nil
}

func (t *step) tellLeft(pkg string, left Release, reason slipstream.Reason) {
	left.Rollout = ""
	t.tellMembers(map[string]Release{pkg: left}, slipstream.Event{Kind: slipstream.KindRolledBack, Reason: reason})
}

// Leave drops releases of pkg that were withdrawn or fell below the floor from the line, from trial and from history.
// An official release is left here only while another one is on trial; one that runs is left by [RollBack] or for its
// successor, because only the caller knows where to go.
func Leave(s State, env Env, pkg string, victim func(Release) bool, reason slipstream.Reason) (State, []slipstream.Event) {
	t := begin(s, env)
	if r := t.trialOf(pkg); r != nil && victim(*r) {
		t.endTrial(reason, false)
	}
	t.Staged = slices.DeleteFunc(t.Staged, func(set Set) bool {
		r, ok := set.Members[pkg]
		return ok && victim(r)
	})
	if p, ok := t.Packages[pkg]; ok {
		p.History = slices.DeleteFunc(p.History, victim)
		t.Packages[pkg] = p
		if p.Official != nil && t.trialOf(pkg) != nil && victim(*p.Official) {
			t.retreat(pkg, reason) // or a trial that fails would lead back to it
			t.settle()
		}
	}
	return t.State, t.events
}

// Lose drops the releases whose trees are gone from the disk or damaged, whatever their role. One that is lost after a
// bad start is refused like one that failed: it may have done that to itself, and would do it again.
func Lose(s State, env Env, gone func(slipstream.Digest) bool) (State, []slipstream.Event) {
	t := begin(s, env)
	lost := func(r Release) bool { return r.Digest != "" && gone(r.Digest) }
	if t.Trial != nil {
		for _, r := range t.Trial.Members {
			if lost(r) {
				t.endTrial(slipstream.ReasonStorageCorrupted, t.Trial.Points >= PointsCrash)
				break
			}
		}
	}
	t.Staged = slices.DeleteFunc(t.Staged, func(set Set) bool {
		return slices.ContainsFunc(slices.Collect(maps.Values(set.Members)), lost)
	})
	for _, pkg := range slices.Sorted(maps.Keys(t.Packages)) {
		p := t.Packages[pkg]
		p.History = slices.DeleteFunc(p.History, lost)
		t.Packages[pkg] = p
		if p.Official != nil && lost(*p.Official) {
			if p.Crashes > 0 {
				t.refuse(map[string]Release{pkg: *p.Official}, slipstream.ReasonStorageCorrupted)
			}
			t.retreat(pkg, slipstream.ReasonStorageCorrupted)
		}
	}
	t.settle()
	return t.State, t.events
}

// ChangeChannel moves the device to another channel, which only the host can do: what waits or is on trial is left, the
// anchors restart at the embedded releases. What runs keeps running until the new channel says otherwise.
func ChangeChannel(s State, env Env, channel string) (State, []slipstream.Event) {
	if s.Channel == channel {
		return s, nil
	}
	t := begin(s, env)
	t.Channel = channel
	if t.Trial != nil {
		t.endTrial(slipstream.ReasonChannelChanged, false)
	}
	t.dropControls(slipstream.ReasonChannelChanged, func(Control) bool { return true })
	t.Staged, t.Controls, t.Enrolled = nil, nil, nil
	for pkg, p := range t.Packages {
		p.Anchor, p.Foreign = nil, p.Official != nil
		t.Packages[pkg] = p
	}
	return t.State, t.events
}

// sweep leaves what does not fit the shell any more and what is older than the embedded release.
func (t *step) sweep() {
	if t.Runtime != t.env.Runtime {
		t.Runtime, t.Refusals = t.env.Runtime, nil
	}
	if t.Trial != nil {
		for _, pkg := range slices.Sorted(maps.Keys(t.Trial.Members)) {
			if reason := t.unfit(pkg, t.Trial.Members[pkg]); reason != "" {
				t.endTrial(reason, false)
				break
			}
		}
	}
	t.Staged = slices.DeleteFunc(t.Staged, func(set Set) bool {
		for pkg, r := range set.Members {
			if t.unfit(pkg, r) != "" {
				return true
			}
		}
		return false
	})
	for _, pkg := range slices.Sorted(maps.Keys(t.Packages)) {
		p := t.Packages[pkg]
		p.History = slices.DeleteFunc(p.History, func(r Release) bool { return t.unfit(pkg, r) != "" })
		if p.Anchor != nil && !t.env.Fits(p.Anchor.Runtime) {
			p.Anchor = nil
		}
		t.Packages[pkg] = p
		if p.Official != nil {
			if reason := t.unfit(pkg, *p.Official); reason != "" {
				t.retreat(pkg, reason)
			}
		}
	}
	t.settle()
}

func (t *step) unfit(pkg string, r Release) slipstream.Reason {
	switch {
	case !t.env.Fits(r.Runtime):
		return slipstream.ReasonRuntimeChanged
	case r.Seq < t.env.Embedded[pkg].Seq:
		return slipstream.ReasonEmbeddedNewer
	}
	return ""
}

// retreat leaves the official release of pkg for the newest good one in history, then for the embedded one.
func (t *step) retreat(pkg string, reason slipstream.Reason) {
	p := t.Packages[pkg]
	left := *p.Official
	p.Official, p.Crashes, p.Foreign = nil, 0, false
	for len(p.History) > 0 && p.Official == nil {
		r := p.History[0]
		p.History = p.History[1:]
		if tried := t.trialOf(pkg); tried != nil && tried.Digest == r.Digest {
			continue // whether it is good is just being found out
		}
		if t.unfit(pkg, r) == "" && !t.refused(pkg, r.Digest) {
			p.Official = &r
		}
	}
	t.Packages[pkg] = p
	t.tellLeft(pkg, left, reason)
}

func (t *step) refused(pkg string, d slipstream.Digest) bool {
	return slices.ContainsFunc(t.Refusals, func(f Refusal) bool { return f.Package == pkg && f.Digest == d && f.blocks(t.env.ms()) })
}

// settle leaves official releases whose requirements the others do not meet, until all are met. Each round shortens a
// history, so it ends; an embedded release is never left. A trial that would not fit beside what is left ends too.
func (t *step) settle() {
	at := func(pkg string) Release { return t.Official(t.env, pkg) }
	for again := true; again; {
		again = false
		for _, pkg := range slices.Sorted(maps.Keys(t.Packages)) {
			if o := t.Packages[pkg].Official; o != nil && broken(pkg, *o, at) != nil {
				t.retreat(pkg, slipstream.ReasonRequires)
				again = true
			}
		}
	}
	if t.Trial != nil {
		if _, err := t.unmet(t.Trial.Members); err != nil {
			t.endTrial(slipstream.ReasonRequires, false)
		}
	}
}
