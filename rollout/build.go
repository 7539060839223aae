package rollout

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/decide"
)

// Header is what a state says besides its packages.
type Header struct {
	App, Channel string
	Epoch        int64
	RootVersion  int64
	Now          time.Time
}

// Built is the state of one platform. Private is the same state with the private rollouts in it, nil when there are
// none.
type Built struct {
	State   *slipstream.State
	Private *slipstream.State
}

// NextEpoch is the epoch after last: it only rises, and a database that comes back from a backup does not fall behind
// its devices, for epochs are never below the clock.
func NextEpoch(last int64, now time.Time) int64 { return max(last+1, now.Unix()) }

// Build gives the states in force, one per platform. Left out are withdrawals below a floor and rollouts that could
// never be reached for an unheld, unconditional one over the full range above them.
func Build(p *Policy, h Header, platforms []string) ([]Built, error) {
	out := make([]Built, 0, len(platforms))
	for _, platform := range platforms {
		public, err := buildOne(p, h, platform, false)
		if err != nil {
			return nil, err
		}
		b := Built{State: public}
		if p.anyPrivate(platform) {
			if b.Private, err = buildOne(p, h, platform, true); err != nil {
				return nil, err
			}
		}
		out = append(out, b)
	}
	return out, nil
}

func (p *Policy) anyPrivate(platform string) bool {
	for _, pp := range p.Packages {
		if slices.ContainsFunc(pp.Rollouts, func(e Entry) bool { return e.Private && covers(e.Platform, platform) }) {
			return true
		}
	}
	return false
}

func buildOne(p *Policy, h Header, platform string, private bool) (*slipstream.State, error) {
	s := &slipstream.State{
		App: h.App, Channel: h.Channel, Platform: platform, Epoch: h.Epoch, RootVersion: h.RootVersion,
		Issued: slipstream.At(h.Now), Expires: slipstream.At(h.Now.Add(p.Timing.lifetime())),
		CheckAfter: p.Timing.checkAfter(), Jitter: p.Timing.jitter(),
		Packages: map[string]slipstream.PackageState{},
	}
	for name, pp := range p.Packages {
		ps := slipstream.PackageState{Floors: pp.floorsOn(platform)}
		for _, e := range pp.Standing(platform, private) {
			r := e.Rollout
			when, err := hashLists(r.When, r.PositionSalt())
			if err != nil {
				return nil, fmt.Errorf("rollout %s: %w", r.ID, err)
			}
			r.When = when
			ps.Rollouts = append(ps.Rollouts, r)
		}
		for _, w := range pp.Withdrawn {
			if covers(w.Platform, platform) && !belowFloor(w, ps.Floors) && !slices.Contains(ps.Withdrawn, w.Digest) {
				ps.Withdrawn = append(ps.Withdrawn, w.Digest)
			}
		}
		s.Packages[name] = ps
	}
	return s, nil
}

// Standing are the rollouts that a state of this platform names, top first.
func (pp *PackagePolicy) Standing(platform string, private bool) []Entry {
	var out []Entry
	var covering []*Entry
	for i := range pp.Rollouts {
		e := &pp.Rollouts[i]
		if !covers(e.Platform, platform) || e.Private && !private || pp.shadowed(e, platform, covering) {
			continue
		}
		out = append(out, *e)
		if e.unconditional() && !pp.barred(e, platform) {
			covering = append(covering, e)
		}
	}
	return out
}

// unconditional reports whether e takes every device that its runtime fits.
func (e *Entry) unconditional() bool {
	return e.Hold == "" && len(e.When) == 0 && !e.Grant && e.From == 0 && e.To == slipstream.FullShare
}

// barred reports whether e's release may not run somewhere on the platform, so that devices walk past it.
func (pp *PackagePolicy) barred(e *Entry, platform string) bool {
	return pp.WithdrawnOn(e.Manifest, platform) ||
		slices.ContainsFunc(pp.Floors, func(f Floor) bool { return covers(f.Platform, platform) && e.Seq < f.Seq })
}

// shadowed reports whether no device ever gets to e. A newer release below an older one is not: a device that has
// confirmed something in between is not allowed the older one and walks on.
func (pp *PackagePolicy) shadowed(e *Entry, platform string, covering []*Entry) bool {
	return slices.ContainsFunc(covering, func(c *Entry) bool {
		return wider(c.Runtime, e.Runtime) && (e.Seq <= c.Seq || pp.WithdrawnOn(e.Manifest, platform))
	})
}

// wider reports whether every shell that fits b surely fits a.
func wider(a, b slipstream.Runtime) bool { return a == b || a == slipstream.AnyRuntime() }

func (pp *PackagePolicy) floorsOn(platform string) []slipstream.Floor {
	var out []slipstream.Floor
	for _, f := range pp.Floors {
		if !covers(f.Platform, platform) {
			continue
		}
		i := slices.IndexFunc(out, func(o slipstream.Floor) bool { return o.Runtime == f.Runtime })
		if i < 0 {
			out = append(out, slipstream.Floor{Runtime: f.Runtime, Seq: f.Seq})
		} else {
			out[i].Seq = max(out[i].Seq, f.Seq)
		}
	}
	return out
}

func belowFloor(w Withdrawal, floors []slipstream.Floor) bool {
	return slices.ContainsFunc(floors, func(f slipstream.Floor) bool { return w.Seq < f.Seq && wider(f.Runtime, w.Runtime) })
}

// hashLists replaces the values of lists of devices and custom attributes by what may stand in a public state.
func hashLists(when []slipstream.Condition, salt string) ([]slipstream.Condition, error) {
	out := slices.Clone(when)
	for i, w := range out {
		if !secret(w) {
			continue
		}
		values, err := listed(w)
		if err != nil {
			return nil, err
		}
		for j, v := range values {
			values[j] = decide.HashValue(salt, v)
		}
		if out[i].Value, err = json.Marshal(values); err != nil {
			return nil, fmt.Errorf("encode hashed values: %w", err)
		}
	}
	return out, nil
}

// secret reports whether the condition's list stands in a state only as hashes.
func secret(w slipstream.Condition) bool {
	return (w.Attr == "device" || strings.HasPrefix(w.Attr, "custom.")) && (w.Op == "in" || w.Op == "not_in")
}

// listed gives the values of a list as the texts that devices hash: a text itself, an integer in decimal, true, false.
func listed(w slipstream.Condition) ([]string, error) {
	var raw []json.RawMessage
	if err := json.Unmarshal(w.Value, &raw); err != nil || raw == nil {
		return nil, slipstream.Invalidf("condition %s %s: value must be an array", w.Attr, w.Op)
	}
	out := make([]string, len(raw))
	for i, r := range raw {
		var v any
		if err := json.Unmarshal(r, &v); err != nil {
			return nil, slipstream.Invalidf("condition %s %s: %w", w.Attr, w.Op, err)
		}
		switch v := v.(type) {
		case string:
			out[i] = v
		case bool:
			out[i] = strconv.FormatBool(v)
		case float64:
			if v != float64(int64(v)) || v > slipstream.MaxSafeInteger || v < -slipstream.MaxSafeInteger {
				return nil, slipstream.Invalidf("condition %s %s: %s is not an integer that every language can count with", w.Attr, w.Op, r)
			}
			out[i] = strconv.FormatInt(int64(v), 10)
		default:
			return nil, slipstream.Invalidf("condition %s %s: %s cannot be listed", w.Attr, w.Op, r)
		}
	}
	return out, nil
}

// CheckWhen says what is wrong with conditions as people write them. Private rollouts may list more values than a
// public state may carry.
func CheckWhen(when []slipstream.Condition, private bool) error {
	hashed, err := hashLists(when, "check")
	if err != nil {
		return err
	}
	if private {
		for i, w := range hashed {
			if !secret(w) {
				continue
			}
			// The cap is for what devices download; each list is well formed by now, so an empty one stands for it.
			hashed[i].Value = json.RawMessage(`[]`)
		}
	}
	return slipstream.Invalid(decide.CheckConditions(hashed))
}
