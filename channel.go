package slipstream

import "encoding/json"

// Holds on a rollout. A held rollout matches only devices that already run its release.
const (
	HoldPaused = "paused" // by a person
	HoldHalted = "halted" // by the guard
)

// Apply modes: how the host should treat an update.
const (
	ModeNextLaunch = "next_launch" // the default
	ModeNextOpen   = "next_open"   // when that package's page is next opened
	ModeNextResume = "next_resume"
	ModeImmediate  = "immediate"
	ModePrompt     = "prompt"
)

// Priorities of an update.
const (
	PriorityLow      = "low" // fetch when idle and unmetered
	PriorityNormal   = "normal"
	PriorityCritical = "critical" // block the start until applied or timed out
)

// Apply tells the host how to treat an update. Timeout is in seconds.
type Apply struct {
	Mode      string `json:"mode,omitempty"`
	Mandatory bool   `json:"mandatory,omitempty"`
	Priority  string `json:"priority,omitempty"`
	Message   string `json:"message,omitempty"`
	Timeout   int    `json:"timeout,omitempty"`
}

// Condition is one {attr, op, value}; all of a rollout's conditions must hold. Value is the raw JSON as signed: a
// string, an integer, a boolean or an array of strings or integers.
type Condition struct {
	Attr  string          `json:"attr"`
	Op    string          `json:"op"`
	Value json.RawMessage `json:"value,omitempty"`
}

// Rollout offers one release on a channel to a share of the devices that its conditions name. From and To are
// positions in [0, FullShare].
type Rollout struct {
	ID       string      `json:"id"`
	Manifest Digest      `json:"manifest"`
	Seq      int64       `json:"seq"`
	Version  string      `json:"version"`
	Size     int64       `json:"size"`
	Runtime  Runtime     `json:"runtime"`
	Salt     string      `json:"salt" strict:"optional"`
	From     int         `json:"from" strict:"optional"`
	To       int         `json:"to" strict:"optional"`
	Control  int         `json:"control" strict:"optional"`
	When     []Condition `json:"when,omitempty"`
	Hold     string      `json:"hold,omitempty"`
	Retry    int         `json:"retry,omitempty"`
	Grant    bool        `json:"grant,omitempty"`
	Apply    Apply       `json:"apply" strict:"optional"`
}

// Defaulter is implemented by documents' parts whose absent fields are not zero. The strict decoder calls it before
// it fills the value in.
type Defaulter interface{ SetDefaults() }

// SetDefaults gives an absent share the full range and an absent control group its default.
func (r *Rollout) SetDefaults() { r.To, r.Control = FullShare, DefaultControl }

// PositionSalt is the salt that positions are computed with: the rollout's id when none is set.
func (r *Rollout) PositionSalt() string {
	if r.Salt == "" {
		return r.ID
	}
	return r.Salt
}

// Floor is the lowest seq that a fitting device may run.
type Floor struct {
	Runtime Runtime `json:"runtime"`
	Seq     int64   `json:"seq"`
}

// PackageState is what a state says of one package, rollouts in order of priority.
type PackageState struct {
	Rollouts  []Rollout `json:"rollouts,omitempty"`
	Withdrawn []Digest  `json:"withdrawn,omitempty"`
	Floors    []Floor   `json:"floors,omitempty"`
}

// State is the signed, short-lived document of one app, channel and platform. CheckAfter and Jitter are seconds.
type State struct {
	App         string                  `json:"app"`
	Channel     string                  `json:"channel"`
	Platform    string                  `json:"platform"`
	Epoch       int64                   `json:"epoch"`
	Issued      Time                    `json:"issued"`
	Expires     Time                    `json:"expires"`
	RootVersion int64                   `json:"rootVersion"`
	CheckAfter  int                     `json:"checkAfter"`
	Jitter      int                     `json:"jitter" strict:"optional"`
	Packages    map[string]PackageState `json:"packages"`
	Crit        []string                `json:"crit,omitempty"`
}

// ReleaseRef names a release in a decision.
type ReleaseRef struct {
	Digest  Digest `json:"digest"`
	Seq     int64  `json:"seq"`
	Version string `json:"version"`
	Size    int64  `json:"size"`
}

// PackageDecision is the answer for one package.
type PackageDecision struct {
	Verdict Verdict     `json:"verdict"`
	Reason  Reason      `json:"reason"`
	Release *ReleaseRef `json:"release,omitempty"`
	Rollout string      `json:"rollout,omitempty"`
	Control bool        `json:"control,omitempty"` // the device is in that rollout's control group
	Retry   int         `json:"retry,omitempty"`
	Apply   *Apply      `json:"apply,omitempty"`
	Grant   string      `json:"grant,omitempty"` // a rollout that the device would take, if it had a place in it
}

// Decision is the signed answer of POST /v1/check. Nonce is the request's, CheckAfter seconds.
type Decision struct {
	App        string                     `json:"app"`
	Channel    string                     `json:"channel"`
	Device     string                     `json:"device"`
	Nonce      string                     `json:"nonce"`
	Epoch      int64                      `json:"epoch"`
	Issued     Time                       `json:"issued"`
	Expires    Time                       `json:"expires"`
	Packages   map[string]PackageDecision `json:"packages"`
	CheckAfter int                        `json:"checkAfter" strict:"optional"`
	Crit       []string                   `json:"crit,omitempty"`
}

// CheckRequest is the body of POST /v1/check.
type CheckRequest struct {
	App      string                    `json:"app"`
	Channel  string                    `json:"channel"`
	Nonce    string                    `json:"nonce"` // base64 of 32 random bytes
	Device   DeviceFacts               `json:"device"`
	Packages map[string]PackageOnBoard `json:"packages"`
}

// DeviceFacts is what a device tells of itself.
type DeviceFacts struct {
	ID         string                     `json:"id,omitempty"` // hex sha256(app + ":" + install id)
	Platform   string                     `json:"platform,omitempty"`
	Runtime    string                     `json:"runtime,omitempty"` // version or fingerprint of the shell
	OS         string                     `json:"os,omitempty"`
	Model      string                     `json:"model,omitempty"`
	Locale     string                     `json:"locale,omitempty"`
	Attributes map[string]json.RawMessage `json:"attributes,omitempty"` // brand, country, first_seen, custom.*
}

// PackageOnBoard is what a device runs of one package. Anchor is the seq of its anchor. Granted are the rollouts with a cap
// in which it has a place, Full those that had none for it.
type PackageOnBoard struct {
	Digest  Digest   `json:"digest,omitempty"`
	Seq     int64    `json:"seq"`
	Anchor  int64    `json:"anchor,omitempty"`
	Refused []Digest `json:"refused,omitempty"`
	Granted []string `json:"granted,omitempty"`
	Full    []string `json:"full,omitempty"`
}

// Container is one entry of the unsigned list of ways to get a release. From is empty for the full one.
type Container struct {
	From   Digest `json:"from,omitempty"`
	Codec  string `json:"codec"`
	Size   int64  `json:"size"`
	SHA256 Digest `json:"sha256"`
}

// GrantRequest is the body of POST /v1/grants: a device asks for a place in a rollout with a cap.
type GrantRequest struct {
	App     string `json:"app"`
	Channel string `json:"channel"`
	Rollout string `json:"rollout"`
	Device  string `json:"device"` // as in DeviceFacts
}

// GrantAnswer says whether the device has a place, and as of which epoch of the channel. A place is for ever; that there is
// none may change with a newer epoch.
type GrantAnswer struct {
	Granted bool  `json:"granted"`
	Epoch   int64 `json:"epoch"`
}
