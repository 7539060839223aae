package trial

import (
	"maps"
	"slices"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// Release is what the machine knows of one release. All of it comes from a verified manifest, but for Rollout, Retry
// and Apply, which come from the rollout that offered it. The zero Release with Embedded set is an embedded release
// without a manifest.
type Release struct {
	Digest   slipstream.Digest                 `json:"digest,omitempty"`
	Seq      int64                             `json:"seq"`
	Version  string                            `json:"version,omitempty"`
	Runtime  slipstream.Runtime                `json:"runtime,omitzero"`
	Fallback []slipstream.Digest               `json:"fallback,omitempty"`
	Requires map[string]slipstream.Requirement `json:"requires,omitempty"`
	Rollout  string                            `json:"rollout,omitempty"`
	Retry    int                               `json:"retry,omitempty"`
	Apply    slipstream.Apply                  `json:"apply,omitzero"`
	Embedded bool                              `json:"embedded,omitempty"` // runs from the app binary
	Set      int64                             `json:"set,omitempty"`      // the set it was confirmed in
}

// Package holds the roles of one package. Official nil means that the embedded release is in force.
type Package struct {
	Official *Release  `json:"official,omitempty"`
	History  []Release `json:"history,omitempty"` // confirmed earlier, newest first
	Anchor   *Release  `json:"anchor,omitempty"`  // highest seq confirmed on this channel; nil = embedded
	Crashes  int       `json:"crashes,omitempty"` // bad starts of the official in a row
	Foreign  bool      `json:"foreign,omitempty"` // the official was confirmed on another channel
}

// Set is a group of releases that go together, by package. ID rises with every set staged.
type Set struct {
	ID      int64              `json:"id"`
	Members map[string]Release `json:"members"`
}

// Trial is the set being tried.
type Trial struct {
	Set
	Points  int `json:"points"`
	Attempt int `json:"attempt"` // starts so far
}

// Start is a launch that has not ended yet. Times are Unix milliseconds.
type Start struct {
	Token     string                       `json:"token"`
	Key       string                       `json:"key,omitempty"` // "" = the whole app, else the package that was opened
	Process   string                       `json:"process"`
	At        int64                        `json:"at"`
	Attempt   int                          `json:"attempt"`
	Trial     int64                        `json:"trial,omitempty"` // the set on trial, 0 = none
	Runs      map[string]slipstream.Digest `json:"runs"`            // "" = embedded without manifest
	Confirmed bool                         `json:"confirmed,omitempty"`
}

// Refusal remembers a release that did not work here. It blocks until RetryAt, or for good when RetryAt is 0. Set names
// the seqs that failed together. Times are Unix milliseconds.
type Refusal struct {
	Package string            `json:"package"`
	Digest  slipstream.Digest `json:"digest"`
	Retry   int               `json:"retry"` // the rollout's retry number when it failed
	Tries   int               `json:"tries"` // trials that failed
	Reason  slipstream.Reason `json:"reason"`
	At      int64             `json:"at"`
	RetryAt int64             `json:"retryAt,omitempty"`
	Set     map[string]int64  `json:"set,omitempty"`
}

// Control is a same-time control group membership whose next start is judged like a trial of what runs anyway.
type Control struct {
	Package string            `json:"package"`
	Rollout string            `json:"rollout"`
	Release slipstream.Digest `json:"release,omitempty"`
	Points  int               `json:"points,omitempty"`
	Attempt int               `json:"attempt,omitempty"`
	Token   string            `json:"token,omitempty"` // of the start that is being judged
}

// State is the body of state.json: the roles of all packages, and the evidence. Values are treated as immutable.
type State struct {
	Channel  string             `json:"channel"`
	Runtime  string             `json:"runtime"` // the shell's, at the last cold start
	Serial   int64              `json:"serial"`  // of the newest set
	Packages map[string]Package `json:"packages"`
	Staged   []Set              `json:"staged,omitempty"` // oldest first
	Trial    *Trial             `json:"trial,omitempty"`
	Starts   []Start            `json:"starts,omitempty"`
	Refusals []Refusal          `json:"refusals,omitempty"`
	Controls []Control          `json:"controls,omitempty"`
	Enrolled map[string]string  `json:"enrolled,omitempty"` // rollout → arm, told once
}

// Rules are the numbers of the machine. See [Rules.WithDefaults].
type Rules struct {
	MaxCrashes int           // bad starts that end a trial; default 2
	Retries    int           // further trials of a release that failed; default 1, negative = none
	RetryAfter time.Duration // until that further trial; default 6 h
	Early      time.Duration // a crash this soon after the start counts even when confirmed; default 30 s
	History    int           // good releases kept per package; default 3
}

// Points of the kinds of evidence; a trial ends at PointsCrash × MaxCrashes.
const (
	PointsCrash   = 3
	PointsUnknown = 2
)

// Bounds of what a device remembers. Of refusals and controls the oldest is forgotten.
const (
	maxRefusals = 32
	maxControls = 64
	maxEnrolled = 512
)

// WithDefaults fills in what is zero.
func (r Rules) WithDefaults() Rules {
	if r.MaxCrashes <= 0 {
		r.MaxCrashes = 2
	}
	switch {
	case r.Retries == 0:
		r.Retries = 1
	case r.Retries < 0:
		r.Retries = -1
	}
	if r.RetryAfter <= 0 {
		r.RetryAfter = 6 * time.Hour
	}
	if r.Early <= 0 {
		r.Early = 30 * time.Second
	}
	if r.History <= 0 {
		r.History = 3
	}
	return r
}

// Env is what surrounds a transition. Process differs for every run of the host's process. Embedded names every package
// of the app.
type Env struct {
	Now      time.Time
	Process  string
	Runtime  string
	Fits     func(slipstream.Runtime) bool
	Embedded map[string]Release
	Rules    Rules
}

func (e Env) ms() int64 { return e.Now.UnixMilli() }

// New is the state of a device that holds nothing: the embedded releases run.
func New(channel, runtime string) State {
	return State{Channel: channel, Runtime: runtime, Packages: map[string]Package{}}
}

func (s State) clone() State {
	s.Packages = maps.Clone(s.Packages)
	if s.Packages == nil {
		s.Packages = map[string]Package{}
	}
	for name, p := range s.Packages {
		p.History = slices.Clone(p.History)
		s.Packages[name] = p
	}
	s.Staged = slices.Clone(s.Staged)
	if s.Trial != nil {
		t := *s.Trial
		s.Trial = &t
	}
	s.Starts = slices.Clone(s.Starts)
	s.Refusals = slices.Clone(s.Refusals)
	s.Controls = slices.Clone(s.Controls)
	s.Enrolled = maps.Clone(s.Enrolled)
	return s
}

// Official is what is in force for pkg when no trial runs.
func (s State) Official(env Env, pkg string) Release {
	if p := s.Packages[pkg]; p.Official != nil {
		return *p.Official
	}
	return embedded(env, pkg)
}

// Running is what a launch of pkg runs: the trial's release, else the official one, else the embedded one.
func (s State) Running(env Env, pkg string) Release {
	if s.Trial != nil {
		if r, ok := s.Trial.Members[pkg]; ok {
			return r
		}
	}
	return s.Official(env, pkg)
}

// StagedFor gives the release of pkg that waits for a cold start.
func (s State) StagedFor(pkg string) (Release, bool) {
	for _, set := range s.Staged {
		if r, ok := set.Members[pkg]; ok {
			return r, true
		}
	}
	return Release{}, false
}

// Anchor is the release against which downgrades of pkg are judged; the embedded one counts as confirmed.
func (s State) Anchor(env Env, pkg string) Release {
	e := embedded(env, pkg)
	if a := s.Packages[pkg].Anchor; a != nil && a.Seq > e.Seq && env.Fits(a.Runtime) {
		return *a
	}
	return e
}

// Blocked gives the refusals of pkg that hold at now. A refusal whose retry time has come does not block.
func (s State) Blocked(now time.Time, pkg string) []Refusal {
	var out []Refusal
	for _, r := range s.Refusals {
		if r.Package == pkg && r.blocks(now.UnixMilli()) {
			out = append(out, r)
		}
	}
	return out
}

// blocks reports whether r holds at now. A clock that is far before the refusal was wrong then: waiting for it to come
// round again could take years.
func (r Refusal) blocks(now int64) bool {
	wait := r.RetryAt - r.At
	return r.RetryAt == 0 || now < r.RetryAt && now > r.At-wait
}

func embedded(env Env, pkg string) Release {
	e := env.Embedded[pkg]
	e.Embedded = true
	return e
}
