package trial

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/slipstream-ota/slipstream"
)

// Opening asks for a launch. Token must be new for every launch. Key is "" for the whole app or the package that is
// opened; Packages are those that run in it, nil = all.
type Opening struct {
	Token    string
	Key      string
	Packages []string
}

// Launch is what a cold start runs. Trial names the packages that are on trial in it. Without a token nothing of it is
// remembered.
type Launch struct {
	Token   string
	Runs    map[string]Release
	Trial   []string
	Attempt int
}

// Evidence of how a start ended.
type Evidence string

// The kinds of evidence.
const (
	Crash   Evidence = "crash"   // an exit or signal was seen, or an uncaught-error hook fired
	Hang    Evidence = "hang"    // the watchdog
	Unknown Evidence = "unknown" // killed, power lost, swiped away
)

func (e Evidence) points() int {
	if e == Unknown {
		return PointsUnknown
	}
	return PointsCrash
}

func (e Evidence) reason() slipstream.Reason {
	switch e {
	case Crash:
		return slipstream.ReasonCrashed
	case Hang:
		return slipstream.ReasonHung
	}
	return slipstream.ReasonUnknownEnd
}

func (e Evidence) kind() slipstream.Kind {
	switch e {
	case Crash:
		return slipstream.KindCrashed
	case Hang:
		return slipstream.KindHung
	}
	return slipstream.KindFailed
}

// ColdStart begins a launch. Starts that an earlier process left open count as unknown ends; what does not fit the
// shell any more or is older than the embedded release is left; then at most one waiting set enters trial. The caller
// persists the state before it runs anything, and runs [Untried] when it cannot.
func ColdStart(s State, env Env, o Opening) (State, Launch, []slipstream.Event) {
	t := begin(s, env)
	for _, st := range slices.Clone(t.Starts) {
		if st.Process != env.Process || st.Key == o.Key || o.Key == "" {
			t.finish(st, Unknown, "")
		}
	}
	t.sweep()
	scope := t.scope(o.Packages)
	t.enter(scope)
	launch := t.launch(scope, true)
	launch.Token = o.Token
	st := Start{Token: o.Token, Key: o.Key, Process: env.Process, At: env.ms(), Attempt: 1, Runs: map[string]slipstream.Digest{}}
	for pkg, r := range launch.Runs {
		st.Runs[pkg] = r.Digest
		st.Attempt = max(st.Attempt, t.Packages[pkg].Crashes+1)
	}
	if len(launch.Trial) > 0 {
		t.Trial.Attempt++
		st.Trial, st.Attempt = t.Trial.ID, t.Trial.Attempt
		if t.Trial.Attempt == 1 {
			t.tellMembers(t.Trial.Members, slipstream.Event{Kind: slipstream.KindStarted, Attempt: 1})
		}
	} else {
		t.startControls(st)
	}
	launch.Attempt = st.Attempt
	t.Starts = append(t.Starts, st)
	return t.State, launch, t.events
}

// Untried is what runs when nothing can be persisted: the official releases that fit, without a token.
func Untried(s State, env Env, packages []string) Launch {
	t := begin(s, env)
	t.sweep()
	return t.launch(t.scope(packages), false)
}

func (t *step) scope(packages []string) []string {
	if len(packages) > 0 {
		return slices.Sorted(slices.Values(packages))
	}
	return t.packages()
}

// packages are all that the app ships or the device holds, by name.
func (t *step) packages() []string {
	all := map[string]bool{}
	for pkg := range t.env.Embedded {
		all[pkg] = true
	}
	for pkg := range t.Packages {
		all[pkg] = true
	}
	return slices.Sorted(maps.Keys(all))
}

func (t *step) launch(scope []string, withTrial bool) Launch {
	l := Launch{Runs: map[string]Release{}}
	for _, pkg := range scope {
		l.Runs[pkg] = t.Official(t.env, pkg)
		if r := t.trialOf(pkg); r != nil && withTrial {
			l.Runs[pkg] = *r
			l.Trial = append(l.Trial, pkg)
		}
	}
	return l
}

// enter takes at most one waiting set into trial. A set that shares a package with the trial under way displaces it;
// any other waits until that is decided.
func (t *step) enter(scope []string) {
	for _, set := range slices.Clone(t.Staged) {
		if t.Trial != nil && !overlaps(set.Members, t.Trial.Members) || !covers(scope, set.Members) {
			continue
		}
		if t.Trial != nil {
			t.endTrial(slipstream.ReasonDisplaced, false)
		}
		t.Staged = slices.DeleteFunc(t.Staged, func(o Set) bool { return o.ID == set.ID })
		set.Members = t.withoutOfficial(set.Members)
		if len(set.Members) == 0 {
			return
		}
		if pkg, err := t.unmet(set.Members); err != nil {
			t.tell(slipstream.Event{Kind: slipstream.KindFailed, Stage: "start", Package: pkg, Release: set.Members[pkg].Digest,
				Rollout: set.Members[pkg].Rollout, Arm: treated(set.Members[pkg]), Reason: slipstream.ReasonRequires, Detail: err.Error()})
			continue
		}
		t.Trial = &Trial{Set: set}
		return
	}
}

// withoutOfficial drops what is in force already: there is nothing to try.
func (t *step) withoutOfficial(members map[string]Release) map[string]Release {
	members = maps.Clone(members)
	maps.DeleteFunc(members, func(pkg string, r Release) bool { return t.Official(t.env, pkg).Digest == r.Digest })
	return members
}

func covers(scope []string, members map[string]Release) bool {
	for pkg := range members {
		if !slices.Contains(scope, pkg) {
			return false
		}
	}
	return true
}

// unmet finds a requirement that would be broken if members were in force beside the official releases.
func (t *step) unmet(members map[string]Release) (string, error) {
	at := func(pkg string) Release {
		if r, ok := members[pkg]; ok {
			return r
		}
		return t.Official(t.env, pkg)
	}
	for _, pkg := range t.packages() {
		if err := broken(pkg, at(pkg), at); err != nil {
			_, own := members[pkg]
			if own {
				return pkg, err
			}
			return slices.Min(slices.Collect(maps.Keys(members))), err
		}
	}
	return "", nil
}

func broken(pkg string, r Release, at func(string) Release) error {
	for _, dep := range slices.Sorted(maps.Keys(r.Requires)) {
		if d := at(dep); !r.Requires[dep].Met(d.Seq, d.Digest) {
			return fmt.Errorf("%s %s needs another release of %s than seq %d", pkg, r.Version, dep, d.Seq)
		}
	}
	return nil
}

// Confirm says that the launch with this token works. The set on trial becomes official, the former official joins
// history, and the anchor rises. A token confirms once; a stale one is refused.
func Confirm(s State, env Env, token string) (State, []slipstream.Event, error) {
	t := begin(s, env)
	i := slices.IndexFunc(t.Starts, func(st Start) bool { return st.Token == token && token != "" })
	if i < 0 || t.Starts[i].Confirmed {
		return s, nil, stale(token)
	}
	st := t.Starts[i]
	onTrial := t.Trial != nil && st.Trial == t.Trial.ID
	if st.Trial != 0 && !onTrial && !t.inForce(st) {
		return s, nil, stale(token)
	}
	t.Starts[i].Confirmed = true
	if onTrial {
		t.promote()
	}
	for _, c := range t.Controls {
		if c.Token == token {
			t.tell(c.event(slipstream.KindConfirmed, ""))
		}
	}
	t.Controls = slices.DeleteFunc(t.Controls, func(c Control) bool { return c.Token == token })
	return t.State, t.events, nil
}

func stale(token string) error {
	return slipstream.Refuse(slipstream.ReasonStaleToken, "confirm", "token %.8q is not of a launch that waits for it", token)
}

// inForce reports whether everything that st runs is official by now.
func (t *step) inForce(st Start) bool {
	for pkg, d := range st.Runs {
		if t.Official(t.env, pkg).Digest != d {
			return false
		}
	}
	return true
}

func (t *step) promote() {
	trial := t.Trial
	t.Trial = nil
	t.tellMembers(trial.Members, slipstream.Event{Kind: slipstream.KindConfirmed, Attempt: trial.Attempt})
	for pkg, r := range trial.Members {
		r.Set = trial.ID
		anchor := t.Anchor(t.env, pkg)
		p := t.Packages[pkg]
		if p.Official != nil && p.Official.Digest != r.Digest {
			p.History = slices.Insert(p.History, 0, *p.Official)
		}
		p.History = slices.DeleteFunc(p.History, func(h Release) bool { return h.Digest == r.Digest })
		p.History = p.History[:min(len(p.History), t.env.Rules.History)]
		p.Official, p.Crashes, p.Foreign = &r, 0, false
		if r.Seq > anchor.Seq {
			p.Anchor = &r
		}
		t.Packages[pkg] = p
		t.Refusals = slices.DeleteFunc(t.Refusals, func(f Refusal) bool { return f.Package == pkg && f.Digest == r.Digest })
	}
}

// End says how the launch with this token ended. detail (an exit code, an error's text) goes into the report.
func End(s State, env Env, token string, ev Evidence, detail string) (State, []slipstream.Event, error) {
	t := begin(s, env)
	i := slices.IndexFunc(t.Starts, func(st Start) bool { return st.Token == token && token != "" })
	if i < 0 {
		return s, nil, stale(token)
	}
	t.finish(t.Starts[i], ev, detail)
	return t.State, t.events, nil
}

// finish closes a start and draws the conclusions.
func (t *step) finish(st Start, ev Evidence, detail string) {
	t.Starts = slices.DeleteFunc(t.Starts, func(o Start) bool { return o.Token == st.Token })
	detail = slipstream.CutDetail(detail)
	switch {
	case !st.Confirmed && t.Trial != nil && st.Trial == t.Trial.ID:
		t.judgeTrial(st, ev, detail)
	case !st.Confirmed && st.Trial != 0:
		// Its trial was left while it ran: nothing else is to blame.
	default:
		t.judgeControls(st, ev, detail)
		t.judgeOfficial(st, ev, detail)
	}
}

func (t *step) judgeTrial(st Start, ev Evidence, detail string) {
	t.Trial.Points += ev.points()
	t.tellMembers(t.Trial.Members, slipstream.Event{Kind: ev.kind(), Stage: "start", Reason: ev.reason(), Detail: detail, Attempt: st.Attempt})
	if t.Trial.Points >= PointsCrash*t.env.Rules.MaxCrashes {
		t.endTrial(ev.reason(), true)
	}
}

// endTrial leaves the set on trial: the official releases are in force at once.
func (t *step) endTrial(reason slipstream.Reason, refuse bool) {
	trial := t.Trial
	t.Trial = nil
	t.tellMembers(trial.Members, slipstream.Event{Kind: slipstream.KindRolledBack, Reason: reason, Attempt: trial.Attempt})
	if refuse {
		t.refuse(trial.Members, reason)
	}
}

// refuse remembers that a set failed here.
func (t *step) refuse(members map[string]Release, reason slipstream.Reason) {
	seqs := map[string]int64{}
	for pkg, r := range members {
		seqs[pkg] = r.Seq
	}
	final := map[string]Release{}
	for _, pkg := range slices.Sorted(maps.Keys(members)) {
		r := members[pkg]
		f := Refusal{Package: pkg, Digest: r.Digest, Retry: r.Retry, Tries: 1, Reason: reason, At: t.env.ms(), Set: seqs}
		i := slices.IndexFunc(t.Refusals, func(o Refusal) bool { return o.Package == pkg && o.Digest == r.Digest })
		if i >= 0 {
			f.Tries += t.Refusals[i].Tries
			t.Refusals = slices.Delete(t.Refusals, i, i+1)
		}
		if f.Tries <= t.env.Rules.Retries {
			f.RetryAt = f.At + t.env.Rules.RetryAfter.Milliseconds()
		} else {
			final[pkg] = r
		}
		t.Refusals = append(t.Refusals, f)
		p := t.Packages[pkg]
		p.History = slices.DeleteFunc(p.History, func(h Release) bool { return h.Digest == r.Digest })
		t.Packages[pkg] = p
		t.Staged = slices.DeleteFunc(t.Staged, func(set Set) bool { return set.Members[pkg].Digest == r.Digest && r.Digest != "" })
	}
	if over := len(t.Refusals) - maxRefusals; over > 0 {
		t.Refusals = slices.Delete(t.Refusals, 0, over)
	}
	t.tellMembers(final, slipstream.Event{Kind: slipstream.KindRefused, Reason: slipstream.ReasonRefusedAfterCrash})
}

// judgeOfficial counts bad starts of official releases in a row and leaves the set that came last when they are too
// many. An unknown end of an unconfirmed start says nothing and breaks no row.
func (t *step) judgeOfficial(st Start, ev Evidence, detail string) {
	bad := ev != Unknown && (!st.Confirmed || t.env.ms()-st.At < t.env.Rules.Early.Milliseconds())
	if !bad && !st.Confirmed {
		return
	}
	var worn []Release
	for _, pkg := range slices.Sorted(maps.Keys(st.Runs)) {
		p := t.Packages[pkg]
		if p.Official == nil || p.Official.Digest != st.Runs[pkg] {
			continue
		}
		p.Crashes++
		if !bad {
			p.Crashes = 0
		}
		t.Packages[pkg] = p
		if bad {
			t.tell(slipstream.Event{Kind: ev.kind(), Stage: "start", Package: pkg, Release: p.Official.Digest, Running: p.Official.Digest,
				Reason: ev.reason(), Detail: detail, Attempt: p.Crashes})
		}
		if p.Crashes > t.env.Rules.MaxCrashes {
			worn = append(worn, *p.Official)
		}
	}
	if len(worn) > 0 {
		newest := slices.MaxFunc(worn, func(a, b Release) int { return cmp.Compare(a.Set, b.Set) })
		t.leaveOfficialSet(newest, st, ev.reason())
	}
}

// leaveOfficialSet leaves the releases that were confirmed together with newest, and begins new rows for all that ran.
func (t *step) leaveOfficialSet(newest Release, st Start, reason slipstream.Reason) {
	left := map[string]Release{}
	for pkg, p := range t.Packages {
		if p.Official != nil && p.Official.Set == newest.Set {
			left[pkg] = *p.Official
		}
		if _, ran := st.Runs[pkg]; ran {
			p.Crashes = 0
			t.Packages[pkg] = p
		}
	}
	t.refuse(left, reason)
	for _, pkg := range slices.Sorted(maps.Keys(left)) {
		t.retreat(pkg, reason)
	}
	t.settle()
}

func (t *step) startControls(st Start) {
	t.dropControls(slipstream.ReasonDisplaced, func(c Control) bool {
		d, runs := st.Runs[c.Package]
		return runs && d != c.Release
	})
	for i, c := range t.Controls {
		if _, runs := st.Runs[c.Package]; !runs || c.Token != "" {
			continue
		}
		c.Attempt++
		c.Token = st.Token
		t.Controls[i] = c
		if c.Attempt == 1 {
			t.tell(c.event(slipstream.KindStarted, ""))
		}
	}
}

// dropControls ends memberships without a verdict: what was to be judged does not run any more.
func (t *step) dropControls(reason slipstream.Reason, drop func(Control) bool) {
	t.Controls = slices.DeleteFunc(t.Controls, func(c Control) bool {
		if !drop(c) {
			return false
		}
		over := c.event(slipstream.KindFailed, reason)
		over.Stage = "trial"
		t.tell(over)
		return true
	})
}

func (t *step) judgeControls(st Start, ev Evidence, detail string) {
	var kept []Control
	for _, c := range t.Controls {
		if c.Token != st.Token {
			kept = append(kept, c)
			continue
		}
		c.Token = ""
		c.Points += ev.points()
		e := c.event(ev.kind(), ev.reason())
		e.Stage, e.Detail = "start", detail
		t.tell(e)
		if c.Points >= PointsCrash*t.env.Rules.MaxCrashes {
			over := c.event(slipstream.KindFailed, ev.reason())
			over.Stage = "trial"
			t.tell(over)
			continue
		}
		kept = append(kept, c)
	}
	t.Controls = kept
}

func (c Control) event(kind slipstream.Kind, reason slipstream.Reason) slipstream.Event {
	return slipstream.Event{Kind: kind, Package: c.Package, Release: c.Release, Running: c.Release, Rollout: c.Rollout,
		Arm: slipstream.ArmControl, Reason: reason, Attempt: c.Attempt}
}
