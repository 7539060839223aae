package rollout

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// MaxNotes bounds notes and reasons, in bytes.
const MaxNotes = 4 << 10

// Start puts a rollout on top of its package's list, or at position at (0 = top) when that is not negative.
func (p *Policy) Start(pkg string, e Entry, at int) error {
	if err := e.check(); err != nil {
		return err
	}
	pp := p.pkg(pkg)
	if pp.WithdrawnOn(e.Manifest, e.Platform) {
		return slipstream.Hint(fmt.Errorf("release %s is withdrawn here: %w", e.Version, slipstream.ErrConflict),
			"take the withdrawal back by `slipstream withdraw --undo`, or publish the tree again under a new seq")
	}
	at = min(max(at, 0), len(pp.Rollouts))
	pp.Rollouts = slices.Insert(pp.Rollouts, at, e)
	return pp.checkOverlap(&pp.Rollouts[at])
}

func (e *Entry) check() error {
	switch {
	case e.From < 0 || e.To > slipstream.FullShare || e.From > e.To:
		return slipstream.Invalidf("share [%d, %d): must lie within [0, %d)", e.From, e.To, slipstream.FullShare)
	case e.Control < 0 || e.Control > slipstream.FullShare:
		return slipstream.Invalidf("control %d: must be within 0 and %d", e.Control, slipstream.FullShare)
	case len(e.Salt) > slipstream.MaxNameLength:
		return slipstream.Invalidf("salt is longer than %d bytes", slipstream.MaxNameLength)
	case len(e.Notes) > MaxNotes:
		return slipstream.Invalidf("notes are longer than %d bytes", MaxNotes)
	case e.Cap < 0 || e.Cap > slipstream.MaxSafeInteger:
		return slipstream.Invalidf("cap %d: must be a number of devices, or 0 for no bound", e.Cap)
	}
	if err := CheckApply(e.Apply); err != nil {
		return err
	}
	if e.Plan != nil {
		if err := e.Plan.Check(); err != nil {
			return err
		}
	}
	return CheckWhen(e.When, e.Private)
}

// CheckApply refuses words that no host would understand.
func CheckApply(a slipstream.Apply) error {
	modes := []string{"", slipstream.ModeNextLaunch, slipstream.ModeNextOpen, slipstream.ModeNextResume, slipstream.ModeImmediate, slipstream.ModePrompt}
	priorities := []string{"", slipstream.PriorityLow, slipstream.PriorityNormal, slipstream.PriorityCritical}
	switch {
	case !slices.Contains(modes, a.Mode):
		return slipstream.Invalidf("apply mode %q: must be one of %q", a.Mode, modes[1:])
	case !slices.Contains(priorities, a.Priority):
		return slipstream.Invalidf("priority %q: must be one of %q", a.Priority, priorities[1:])
	case a.Timeout < 0 || a.Timeout > 3600:
		return slipstream.Invalidf("timeout %d: must be between 0 and 3600 seconds", a.Timeout)
	case len(a.Message) > MaxNotes:
		return slipstream.Invalidf("message is longer than %d bytes", MaxNotes)
	}
	return nil
}

// checkOverlap refuses a range that another rollout with the same salt holds: one device would be in both arms.
func (pp *PackagePolicy) checkOverlap(e *Entry) error {
	standing := append(pp.Standing(e.Platform, true), pp.standingElsewhere(e.Platform)...)
	for i := range standing {
		o := &standing[i]
		if o.ID == e.ID || o.PositionSalt() != e.PositionSalt() || o.From >= e.To || e.From >= o.To ||
			!meet(o.Platform, e.Platform) || !overlap(o.Runtime, e.Runtime) || pp.WithdrawnOn(o.Manifest, e.Platform) {
			continue
		}
		return slipstream.Hint(fmt.Errorf("share [%d, %d) overlaps [%d, %d) of rollout %s (version %s), which has the same salt %q: %w",
			e.From, e.To, o.From, o.To, o.ID, o.Version, e.PositionSalt(), slipstream.ErrConflict),
			"choose adjoining ranges for the arms of one test, choose another salt, or end the other rollout first")
	}
	return nil
}

// standingElsewhere are the rollouts that stand in states of the narrower platforms when platform is any.
func (pp *PackagePolicy) standingElsewhere(platform string) []Entry {
	if platform != slipstream.PlatformAny {
		return nil
	}
	var out []Entry
	for i := range pp.Rollouts {
		if o := pp.Rollouts[i].Platform; o != slipstream.PlatformAny {
			out = append(out, pp.Standing(o, true)...)
		}
	}
	return out
}

// Share moves the end of a rollout's range. Raising it only adds devices; lowering it is warned of.
func (p *Policy) Share(id string, to int) (warnings []string, err error) {
	pkg, e, err := p.Find(id)
	if err != nil {
		return nil, err
	}
	if to < e.From || to > slipstream.FullShare {
		return nil, slipstream.Invalidf("share end %d: must be within %d and %d", to, e.From, slipstream.FullShare)
	}
	if e.Hold == slipstream.HoldHalted && to > e.To {
		return nil, slipstream.Hint(fmt.Errorf("rollout %s is halted: %w", id, slipstream.ErrConflict), "look at the evidence, then `slipstream rollout resume`")
	}
	if to < e.To {
		warnings = append(warnings, fmt.Sprintf("the share of version %s falls from %s to %s: devices that run it already keep it, use withdraw to make them leave",
			e.Version, Percent(e.To-e.From), Percent(to-e.From)))
	}
	e.To = to
	return warnings, p.pkg(pkg).checkOverlap(e)
}

// Hold stops new devices taking the release: kind is slipstream.HoldPaused for people, HoldHalted for the guard. A
// pause does not soften a halt.
func (p *Policy) Hold(id, kind string) error {
	_, e, err := p.Find(id)
	if err != nil {
		return err
	}
	if kind != slipstream.HoldPaused && kind != slipstream.HoldHalted {
		return slipstream.Invalidf("hold %q: must be %q or %q", kind, slipstream.HoldPaused, slipstream.HoldHalted)
	}
	if e.Hold != slipstream.HoldHalted {
		e.Hold = kind
	}
	return nil
}

// Resume takes a pause or a halt back.
func (p *Policy) Resume(id string) error {
	pkg, e, err := p.Find(id)
	if err != nil {
		return err
	}
	if p.pkg(pkg).WithdrawnOn(e.Manifest, e.Platform) {
		return slipstream.Hint(fmt.Errorf("release %s is withdrawn, which is more than a pause: %w", e.Version, slipstream.ErrConflict),
			"take the withdrawal back by `slipstream withdraw --undo`, or publish a new release")
	}
	e.Hold = ""
	return nil
}

// Finish gives the release to every device that the rollout's conditions name, without a control group and a plan. A
// paused rollout is resumed by it; a halted one must be resumed first, by somebody who has seen the evidence.
func (p *Policy) Finish(id string) error {
	pkg, e, err := p.Find(id)
	if err != nil {
		return err
	}
	if e.Hold == slipstream.HoldHalted {
		return slipstream.Hint(fmt.Errorf("rollout %s is halted: %w", id, slipstream.ErrConflict),
			"look at the evidence by `slipstream rollout replay %s`, then `slipstream rollout resume %s`", id, id)
	}
	if err := p.Resume(id); err != nil {
		return err
	}
	e.From, e.To, e.Control, e.Plan = 0, slipstream.FullShare, 0, nil
	e.limit(0)
	return p.pkg(pkg).checkOverlap(e)
}

// End takes a rollout off the list. Devices that run its release keep it.
func (p *Policy) End(id string) error {
	pkg, e, err := p.Find(id)
	if err != nil {
		return err
	}
	pp := p.pkg(pkg)
	pp.remember(e.past())
	pp.Rollouts = slices.DeleteFunc(pp.Rollouts, func(o Entry) bool { return o.ID == id })
	return nil
}

// Move puts a rollout at a place in its package's list; 0 is the top.
func (p *Policy) Move(id string, to int) error {
	pkg, found, err := p.Find(id)
	if err != nil {
		return err
	}
	pp, e := p.pkg(pkg), *found
	pp.Rollouts = slices.DeleteFunc(pp.Rollouts, func(o Entry) bool { return o.ID == id })
	pp.Rollouts = slices.Insert(pp.Rollouts, min(max(to, 0), len(pp.Rollouts)), e)
	return nil
}

// Change is what can be edited of a running rollout besides its share and hold; nil leaves as it is.
type Change struct {
	Apply   *slipstream.Apply
	When    *[]slipstream.Condition
	Control *int
	Notes   *string
	// Cap is how many devices may take the release; 0 takes the bound away. A lower one takes nothing back.
	Cap *int64
	// Retry lets devices that gave the release up try it once more.
	Retry bool
}

// Edit changes a rollout.
func (p *Policy) Edit(id string, c Change) error {
	_, e, err := p.Find(id)
	if err != nil {
		return err
	}
	if c.Apply != nil {
		e.Apply = *c.Apply
	}
	if c.When != nil {
		e.When = *c.When
	}
	if c.Control != nil {
		e.Control = *c.Control
	}
	if c.Notes != nil {
		e.Notes = *c.Notes
	}
	if c.Cap != nil {
		e.limit(*c.Cap)
	}
	if c.Retry {
		e.Retry++
	}
	return e.check()
}

// limit sets how many devices may take the release; 0 = no bound.
func (e *Entry) limit(devices int64) { e.Cap, e.Grant = devices, devices != 0 }

// Caps are the rollouts of a channel that have a cap, by id.
func (p *Policy) Caps() map[string]int64 {
	caps := map[string]int64{}
	for _, pp := range p.Packages {
		for i := range pp.Rollouts {
			if e := &pp.Rollouts[i]; e.Grant {
				caps[e.ID] = e.Cap
			}
		}
	}
	return caps
}

// Withdraw makes devices leave a release.
func (p *Policy) Withdraw(pkg string, w Withdrawal) error {
	if len(w.Reason) > MaxNotes {
		return slipstream.Invalidf("reason is longer than %d bytes", MaxNotes)
	}
	pp := p.pkg(pkg)
	if pp.WithdrawnOn(w.Digest, w.Platform) {
		return nil
	}
	pp.Withdrawn = append(pp.Withdrawn, w)
	return nil
}

// Reinstate takes a withdrawal back. The rollouts of the release mean their devices again, as they stand.
func (p *Policy) Reinstate(pkg string, d slipstream.Digest, platform string) error {
	pp := p.pkg(pkg)
	n := len(pp.Withdrawn)
	pp.Withdrawn = slices.DeleteFunc(pp.Withdrawn, func(w Withdrawal) bool { return w.Digest == d && covers(platform, w.Platform) })
	if len(pp.Withdrawn) == n {
		return fmt.Errorf("withdrawal of %s: %w", d.Short(), slipstream.ErrNotFound)
	}
	return nil
}

// Back is a rollback: to Target, on Platform, under the rollout id ID. Fallback tells the signed edges of a release.
type Back struct {
	Target   Past
	Platform string
	ID       string
	By       string
	Reason   string
	At       time.Time
	Fallback func(slipstream.Digest) ([]slipstream.Digest, error)
}

// RollBack puts an earlier release in force and withdraws every newer one that this channel offered for that platform
// and runtime. Only signed fallback edges lead back: where one is missing nothing changes and the error is an
// *EdgeError. It gives what was withdrawn, highest seq first.
func (p *Policy) RollBack(pkg string, b Back) ([]Withdrawal, error) {
	pp := p.pkg(pkg)
	if pp.WithdrawnOn(b.Target.Digest, b.Platform) {
		return nil, slipstream.Hint(fmt.Errorf("release %s is withdrawn itself: %w", b.Target.Version, slipstream.ErrConflict),
			"choose another release, or `slipstream withdraw --undo`")
	}
	for _, f := range pp.Floors {
		if meet(f.Platform, b.Platform) && b.Target.Seq < f.Seq && overlap(f.Runtime, b.Target.Runtime) {
			return nil, fmt.Errorf("release %s (seq %d) is below the floor %d: %w", b.Target.Version, b.Target.Seq, f.Seq, slipstream.ErrConflict)
		}
	}
	var newer []Withdrawal
	var missing []Past
	for _, o := range pp.Offered() {
		if o.Seq <= b.Target.Seq || !meet(o.Platform, b.Platform) || !overlap(o.Runtime, b.Target.Runtime) {
			continue
		}
		edges, err := b.Fallback(o.Digest)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(edges, b.Target.Digest) {
			missing = append(missing, o)
		}
		if !pp.WithdrawnOn(o.Digest, b.Platform) {
			newer = append(newer, Withdrawal{Digest: o.Digest, Platform: b.Platform, Seq: o.Seq, Version: o.Version, Runtime: o.Runtime,
				Reason: b.Reason, At: slipstream.At(b.At)})
		}
	}
	if len(missing) > 0 {
		return nil, &EdgeError{Target: b.Target, From: missing}
	}
	pp.Withdrawn = append(pp.Withdrawn, newer...)
	return newer, p.Start(pkg, pp.inForce(b), 0)
}

// inForce is the rollout that a rollback starts: to everybody whom the release was last meant for here.
func (pp *PackagePolicy) inForce(b Back) Entry {
	var e Entry
	for i := range pp.Rollouts {
		if pp.Rollouts[i].Manifest == b.Target.Digest {
			e = pp.Rollouts[i]
			break
		}
	}
	e.Rollout.ID, e.Manifest, e.Seq, e.Version = b.ID, b.Target.Digest, b.Target.Seq, b.Target.Version
	e.Size, e.Runtime = b.Target.Size, b.Target.Runtime
	e.Salt, e.From, e.To, e.Control, e.Hold, e.Plan = "", 0, slipstream.FullShare, 0, "", nil
	e.limit(0)
	e.By, e.Notes, e.Created = b.By, b.Reason, slipstream.At(b.At)
	e.Platform = b.Platform // elsewhere nothing is withdrawn, so what is newer there stays on top
	return e
}

// EdgeError says that no signed fallback edge leads from newer releases to the target of a rollback.
type EdgeError struct {
	Target Past
	From   []Past
}

func (e *EdgeError) Error() string {
	return fmt.Sprintf("no signed fallback edge leads from version %s (seq %d) back to %s (seq %d), nor from %d others",
		e.From[0].Version, e.From[0].Seq, e.Target.Version, e.Target.Seq, len(e.From)-1)
}

// Is makes an EdgeError a slipstream.ErrConflict.
func (e *EdgeError) Is(target error) bool { return target == slipstream.ErrConflict }

// SetFloor sets the lowest seq that devices of a platform and runtime may run; 0 takes the floor away.
func (p *Policy) SetFloor(pkg string, f Floor) error {
	if f.Seq < 0 || f.Seq > slipstream.MaxSafeInteger {
		return slipstream.Invalidf("floor %d is out of range", f.Seq)
	}
	pp := p.pkg(pkg)
	pp.Floors = slices.DeleteFunc(pp.Floors, func(o Floor) bool { return o.Platform == f.Platform && o.Runtime == f.Runtime })
	if f.Seq > 0 {
		pp.Floors = append(pp.Floors, f)
	}
	return nil
}

// compact moves rollouts that stand in no state into the past, oldest first, when there are many.
func (p *Policy) compact(platforms []string) {
	for _, pp := range p.Packages {
		standing := map[string]bool{}
		for _, platform := range platforms {
			for _, private := range []bool{false, true} {
				for _, e := range pp.Standing(platform, private) {
					standing[e.ID] = true
				}
			}
		}
		excess := len(pp.Rollouts) - len(standing) - maxDormant
		for i := len(pp.Rollouts) - 1; i >= 0 && excess > 0; i-- {
			if !standing[pp.Rollouts[i].ID] {
				pp.remember(pp.Rollouts[i].past())
				pp.Rollouts = slices.Delete(pp.Rollouts, i, i+1)
				excess--
			}
		}
	}
}

func (pp *PackagePolicy) remember(o Past) {
	if i := slices.IndexFunc(pp.Past, func(p Past) bool { return p.Digest == o.Digest }); i >= 0 {
		pp.Past[i].Platform = both(pp.Past[i].Platform, o.Platform)
	} else {
		pp.Past = append(pp.Past, o)
	}
	slices.SortFunc(pp.Past, func(a, b Past) int { return cmp.Compare(b.Seq, a.Seq) })
	if len(pp.Past) > maxPast {
		pp.Past = pp.Past[:maxPast]
	}
}

// Percent writes a number of positions as a share: 1000 is 10%.
func Percent(positions int) string {
	whole, rest := positions/100, positions%100
	switch {
	case rest == 0:
		return fmt.Sprintf("%d%%", whole)
	case rest%10 == 0:
		return fmt.Sprintf("%d.%d%%", whole, rest/10)
	}
	return fmt.Sprintf("%d.%02d%%", whole, rest)
}
