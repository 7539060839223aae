package slipstream

import (
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// Kind is what a report tells. Unknown kinds are kept, not refused.
type Kind string

// The kinds.
const (
	KindEnrolled   Kind = "enrolled" // which arm of a rollout, before any download
	KindFetched    Kind = "fetched"
	KindStaged     Kind = "staged"
	KindStarted    Kind = "started" // a trial began
	KindConfirmed  Kind = "confirmed"
	KindCrashed    Kind = "crashed"
	KindHung       Kind = "hung"
	KindRolledBack Kind = "rolled_back"
	KindRefused    Kind = "refused"
	KindFailed     Kind = "failed"
	KindMetric     Kind = "metric"
	KindAlive      Kind = "alive" // what a device runs, told when nothing else told it for a day
)

// Arms of a rollout, for Event.Arm.
const (
	ArmTreatment = "treatment"
	ArmControl   = "control"
)

// MaxEventDetail bounds Event.Detail in bytes.
const MaxEventDetail = 2 << 10

// CutDetail makes text fit for an event: valid UTF-8 of at most MaxEventDetail bytes, never cut inside a character.
func CutDetail(text string) string {
	text = strings.ToValidUTF8(text, "?")
	if len(text) <= MaxEventDetail {
		return text
	}
	end := MaxEventDetail
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}

// Event is one report of a device: POST /v1/reports takes one or an array. ID is chosen by the device and makes a
// repeated event count once. At is the device's own clock and is never trusted for order.
type Event struct {
	ID       string          `json:"id"` // 8 to 64 of [A-Za-z0-9._-]
	Kind     Kind            `json:"kind"`
	App      string          `json:"app"`
	Channel  string          `json:"channel,omitempty"`
	Package  string          `json:"package,omitempty"`
	Device   string          `json:"device"` // hex sha256(app + ":" + install id)
	Release  Digest          `json:"release,omitempty"`
	Running  Digest          `json:"running,omitempty"` // what ran when it happened
	Rollout  string          `json:"rollout,omitempty"`
	Arm      string          `json:"arm,omitempty"`
	Epoch    int64           `json:"epoch,omitempty"`
	At       *Time           `json:"at,omitempty"`
	Platform string          `json:"platform,omitempty"`
	Runtime  string          `json:"runtime,omitempty"`
	Stage    string          `json:"stage,omitempty"` // of a failure: check, fetch, stage, start …
	Reason   Reason          `json:"reason,omitempty"`
	Detail   string          `json:"detail,omitempty"`
	Attempt  int             `json:"attempt,omitempty"`
	Bytes    int64           `json:"bytes,omitempty"` // downloaded
	Codec    string          `json:"codec,omitempty"`
	Metric   string          `json:"metric,omitempty"`
	Value    json.RawMessage `json:"value,omitempty"` // of a metric: a number or a boolean
}

// EventResult is one line of the answer to POST /v1/reports.
type EventResult struct {
	Index  int    `json:"index"`
	Status string `json:"status"` // accepted | duplicate | refused
	Error  string `json:"error,omitempty"`
}

// Statuses of an EventResult.
const (
	EventAccepted  = "accepted"
	EventDuplicate = "duplicate"
	EventRefused   = "refused"
)
