package halt

import (
	"time"

	"github.com/slipstream-ota/slipstream"
)

// Arm is slipstream.ArmTreatment or slipstream.ArmControl.
type Arm = string

// The arms, under the names they have in reports.
const (
	Treatment Arm = slipstream.ArmTreatment
	Control   Arm = slipstream.ArmControl
)

// Outcome is one line of the log that the guard judges: a device joined an arm, or its trial came to something. Lines
// come in the order of the server's arrival, with strictly ascending Seq over the whole log; a line whose Seq is not
// above the last one seen is ignored, so that a batch given twice counts once.
//
// A device has at most two lines per release: one with Joined when it enrolled, and later one without, which names the
// first by Enrolled and repeats its Arm, Stage and Network, wherever the device is by then. A line with Enrolled 0 joins
// and ends at once: the caller vouches for the earlier enrolment. The first end of a device counts; what comes later
// must not be given.
type Outcome struct {
	Seq      int64     `json:"seq"`
	At       time.Time `json:"at"` // of the server, never of the device
	Arm      Arm       `json:"arm"`
	Joined   bool      `json:"joined,omitempty"`   // nothing is known yet but that the device enrolled
	Enrolled int64     `json:"enrolled,omitempty"` // Seq of the device's Joined line
	Stage    int       `json:"stage,omitempty"`    // of the plan at the enrolment; devices of two stages are never compared
	Failed   bool      `json:"failed,omitempty"`   // crashed before confirm, reverted, could not be applied
	Silent   bool      `json:"silent,omitempty"`   // nothing was heard for SilenceAfter
	Device   string    `json:"device,omitempty"`   // hash
	Network  string    `json:"network,omitempty"`  // hash of the /24 or /48; "" is one network like any other
}

// Rule says when a release has done enough harm to be halted. Take DefaultRule and change what must differ.
type Rule struct {
	Alpha        float64 `json:"alpha"`         // chance of ever halting a release that is no worse than allowed
	AllowedRatio float64 `json:"allowed_ratio"` // theta0: how much more often than the control a good release may fail
	BaseRate     float64 `json:"base_rate"`     // share of failed devices on the channel in its last 28 days
	Ceiling      float64 `json:"ceiling"`       // share of failed devices that is never good; 0: max(1 %, 3 × BaseRate)
	NetworkShare float64 `json:"network_share"` // what one network may weigh
	MinDevices   int     `json:"min_devices"`   // failed or silent treated devices without which nothing is halted
	MinNetworks  int     `json:"min_networks"`  // networks they must come from
	// SilenceAfter is after how long the caller calls a device silent; the rule only tells people.
	SilenceAfter time.Duration `json:"silence_after"`
	// Shares is the expected share of treatment among the devices that join in each stage, for the test of the sample
	// ratio; 0, or no entry, tests nothing. A stage has an expected share only when the devices of both arms meet it
	// alike: in the first one that is share / (share + control). Later the control group has mostly joined already and
	// the newly included devices have not: leave those stages out.
	Shares []float64 `json:"shares,omitempty"`
}

// DefaultRule is the rule as shipped: alpha 1 %, no worse than the control, a quarter for one network.
func DefaultRule() Rule {
	return Rule{Alpha: 0.01, AllowedRatio: 1, NetworkShare: 0.25, MinDevices: 2, MinNetworks: 2, SilenceAfter: MinSilence}
}

// Levels of a Verdict.
type Level string

// The levels, from nothing known to halt.
const (
	NoData       Level = "no_data"      // no treated device was heard of
	Clean        Level = "clean"        // nothing speaks against the release so far
	Inconclusive Level = "inconclusive" // the arms do not have the expected sizes: do not advance, ask a person
	Warning      Level = "warning"      // evidence, not enough to halt, or enough but from one network
	Alarm        Level = "alarm"        // halt
)

// Verdict is what the rule makes of a state, for machines and for people.
type Verdict struct {
	Level         Level     `json:"level"`
	E             float64   `json:"e"`         // the evidence: the mean of the three parts; it is judged against Threshold
	ERel          float64   `json:"e_rel"`     // fails more often than the control
	EAbs          float64   `json:"e_abs"`     // fails more often than the ceiling
	ESilent       float64   `json:"e_silent"`  // falls silent more often than the control
	EWithout      float64   `json:"e_without"` // the evidence without the network that weighs most
	Threshold     float64   `json:"threshold"` // 1/alpha
	Needed        float64   `json:"needed"`    // what EWithout must reach
	Ceiling       float64   `json:"ceiling"`   // in force
	Treated       int64     `json:"treated"`   // devices that joined each arm
	Control       int64     `json:"control"`
	HeardTreated  int64     `json:"heard_treated"` // of them confirmed or failed
	HeardControl  int64     `json:"heard_control"`
	FailedTreated int64     `json:"failed_treated"`
	FailedControl int64     `json:"failed_control"`
	SilentTreated int64     `json:"silent_treated"`
	SilentControl int64     `json:"silent_control"`
	Networks      int       `json:"networks"`          // with a failed or silent treated device, at most 64
	NotCounted    int64     `json:"not_counted"`       // devices above their network's share
	Ignored       int64     `json:"ignored"`           // lines out of order, repeated, of no arm or without an enrolment
	Crossed       *Crossing `json:"crossed,omitempty"` // when the evidence was enough
	Reason        string    `json:"reason"`            // one or two sentences for people
}

// Crossing is the moment at which the evidence was enough to halt.
type Crossing struct {
	Seq     int64     `json:"seq"`
	At      time.Time `json:"at"`
	E       float64   `json:"e"`
	Treated int64     `json:"treated"` // devices that had joined the treatment
	Failed  int64     `json:"failed"`  // of them failed or silent
}

// Point is the evidence after one batch, for a replay.
type Point struct {
	Seq     int64     `json:"seq"` // of the batch's last line
	At      time.Time `json:"at"`
	Verdict Verdict   `json:"verdict"`
}

// Stage is what the advance to the next one depends on.
type Stage struct {
	Since      time.Time     // when it began
	Soak       time.Duration // least time in it
	MinTreated int64         // devices that must have been heard in the treatment so far
	HasControl bool          // whether a control group exists at this share
}
