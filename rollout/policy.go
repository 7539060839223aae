package rollout

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// Defaults of a channel's timing.
const (
	DefaultCheckAfter = 900       // seconds between two checks of a device
	DefaultJitter     = 180       // seconds, added at random
	DefaultLifetime   = 24 * 3600 // seconds that a state is valid
	DefaultSpread     = 600       // seconds over which devices spread what they do when they are told of a change
)

// How much of the past a policy keeps.
const (
	maxDormant = 32   // rollouts that stand in no state any more, ready to come back when what covers them is withdrawn
	maxPast    = 1000 // releases offered before that, by name only
)

// Policy is the document in store.Channel.Policy.
type Policy struct {
	Timing   Timing                    `json:"timing,omitzero"`
	Guard    Guard                     `json:"guard,omitzero"`
	Freeze   *Freeze                   `json:"freeze,omitempty"`
	Packages map[string]*PackagePolicy `json:"packages,omitempty"`
}

// Timing is in seconds; zero means the default. Jitter -1 means none.
type Timing struct {
	CheckAfter int `json:"checkAfter,omitempty" doc:"Seconds between two checks of a device"`
	Jitter     int `json:"jitter,omitempty" doc:"Seconds that devices add at random; -1 for none"`
	Lifetime   int `json:"lifetime,omitempty" doc:"Seconds that a signed state is valid; it is signed again at half of it"`
	Spread     int `json:"spread,omitempty" doc:"Seconds over which devices that are told of a change spread their checks; a tenth when it is urgent"`
}

// PackagePolicy is what is decided for one package, over all platforms.
type PackagePolicy struct {
	Rollouts  []Entry      `json:"rollouts,omitempty"` // the first that fits a device wins
	Withdrawn []Withdrawal `json:"withdrawn,omitempty"`
	Floors    []Floor      `json:"floors,omitempty"`
	Past      []Past       `json:"past,omitempty"` // offered once, by rollouts that are gone
}

// Entry is a rollout as decided. Unlike in a state, When holds lists of devices and custom values in clear.
type Entry struct {
	slipstream.Rollout
	Platform string          `json:"platform"`          // of its release, or one among any
	Private  bool            `json:"private,omitempty"` // only in decisions, never in a public state
	Notes    string          `json:"notes,omitempty"`
	By       string          `json:"by,omitempty"`
	Created  slipstream.Time `json:"created"`
	Plan     *Plan           `json:"plan,omitempty"`
	Cap      int64           `json:"cap,omitempty"` // devices that may take it, 0 = no bound; Rollout.Grant goes with it
}

// Withdrawal makes devices of a platform leave a release. Platform "any" means all.
type Withdrawal struct {
	Digest   slipstream.Digest  `json:"digest"`
	Platform string             `json:"platform"`
	Seq      int64              `json:"seq"`
	Version  string             `json:"version,omitempty"`
	Runtime  slipstream.Runtime `json:"runtime"`
	Reason   string             `json:"reason,omitempty"`
	At       slipstream.Time    `json:"at"`
}

// Floor is the lowest seq that fitting devices of a platform may run. Platform "any" means all.
type Floor struct {
	Platform string             `json:"platform"`
	Runtime  slipstream.Runtime `json:"runtime"`
	Seq      int64              `json:"seq"`
}

// Past names a release that was offered.
type Past struct {
	Digest   slipstream.Digest  `json:"digest"`
	Seq      int64              `json:"seq"`
	Version  string             `json:"version"`
	Size     int64              `json:"size"`
	Platform string             `json:"platform"`
	Runtime  slipstream.Runtime `json:"runtime"`
}

// SpreadOf is over how many seconds the devices of a channel spread what they do when they are told of a change.
func SpreadOf(c store.Channel) int {
	p, err := PolicyOf(c)
	if err != nil || p.Timing.Spread == 0 {
		return DefaultSpread
	}
	return p.Timing.Spread
}

// PolicyOf reads a channel's policy.
func PolicyOf(c store.Channel) (*Policy, error) {
	p := &Policy{}
	if len(c.Policy) > 0 {
		if err := json.Unmarshal(c.Policy, p); err != nil {
			return nil, fmt.Errorf("read policy of channel %s of %s: %w", c.Name, c.App, err)
		}
	}
	if p.Packages == nil {
		p.Packages = map[string]*PackagePolicy{}
	}
	maps.DeleteFunc(p.Packages, func(_ string, pp *PackagePolicy) bool { return pp == nil })
	return p, nil
}

func (p *Policy) encode() ([]byte, error) {
	b, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode policy: %w", err)
	}
	return b, nil
}

func (p *Policy) pkg(name string) *PackagePolicy {
	pp := p.Packages[name]
	if pp == nil {
		pp = &PackagePolicy{}
		p.Packages[name] = pp
	}
	return pp
}

// Find gives the rollout with this id and its package, or slipstream.ErrNotFound.
func (p *Policy) Find(id string) (string, *Entry, error) {
	for name, pp := range p.Packages {
		for i := range pp.Rollouts {
			if pp.Rollouts[i].ID == id {
				return name, &pp.Rollouts[i], nil
			}
		}
	}
	return "", nil, fmt.Errorf("rollout %q: %w", id, slipstream.ErrNotFound)
}

// WithdrawnOn reports whether the release is withdrawn for devices of platform.
func (pp *PackagePolicy) WithdrawnOn(d slipstream.Digest, platform string) bool {
	return slices.ContainsFunc(pp.Withdrawn, func(w Withdrawal) bool { return w.Digest == d && covers(w.Platform, platform) })
}

// Offered are all releases that the channel ever offered of the package, highest seq first.
func (pp *PackagePolicy) Offered() []Past {
	byDigest := map[slipstream.Digest]Past{}
	for _, p := range pp.Past {
		byDigest[p.Digest] = p
	}
	for i := range pp.Rollouts {
		p := pp.Rollouts[i].past()
		if known, ok := byDigest[p.Digest]; ok {
			p.Platform = both(p.Platform, known.Platform)
		}
		byDigest[p.Digest] = p
	}
	out := make([]Past, 0, len(byDigest))
	for _, p := range byDigest {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Past) int { return cmp.Compare(b.Seq, a.Seq) })
	return out
}

func (e *Entry) past() Past {
	return Past{Digest: e.Manifest, Seq: e.Seq, Version: e.Version, Size: e.Size, Platform: e.Platform, Runtime: e.Runtime}
}

// covers reports whether what is said for platform a is said for platform b.
func covers(a, b string) bool { return a == slipstream.PlatformAny || a == b }

// meet reports whether two platforms have devices in common.
func meet(a, b string) bool { return covers(a, b) || covers(b, a) }

// both is what covers two platforms.
func both(a, b string) string {
	if a == b {
		return a
	}
	return slipstream.PlatformAny
}

func (t Timing) checkAfter() int {
	if t.CheckAfter == 0 {
		return DefaultCheckAfter
	}
	return t.CheckAfter
}

func (t Timing) jitter() int {
	switch t.Jitter {
	case 0:
		return DefaultJitter
	case -1:
		return 0
	}
	return t.Jitter
}

func (t Timing) lifetime() time.Duration {
	if t.Lifetime == 0 {
		return DefaultLifetime * time.Second
	}
	return time.Duration(t.Lifetime) * time.Second
}

// Check refuses timings that would hurt: of a fleet that hammers the server, or of states that expire while asleep.
func (t Timing) Check() error {
	switch {
	case t.CheckAfter != 0 && (t.CheckAfter < 10 || t.CheckAfter > 30*24*3600):
		return slipstream.Invalidf("checkAfter %d: must be between 10 seconds and 30 days", t.CheckAfter)
	case t.Jitter < -1 || t.Jitter > 30*24*3600:
		return slipstream.Invalidf("jitter %d: must be between 0 seconds and 30 days", t.Jitter)
	case t.Spread < 0 || t.Spread > 3600:
		return slipstream.Invalidf("spread %d: must be between 1 second and an hour", t.Spread)
	case t.Lifetime != 0 && (t.Lifetime < 600 || t.Lifetime > 30*24*3600):
		return slipstream.Invalidf("lifetime %d: must be between 10 minutes and 30 days", t.Lifetime)
	}
	return nil
}
