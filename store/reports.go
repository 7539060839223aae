package store

import (
	"context"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// Everything here is derived from reports and written by Reports.Append in the commit that stores them. Uncounted events
// take no part in it, but for the end of a trial that a counted one opened.

// Outcome is one line of the trial log: a device joined an arm of a rollout, or its trial came to an end. A device has at
// most one line of each sort per rollout, the joining one first.
type Outcome struct {
	// Seq is the line's place in the log of all rollouts; lines of one rollout rise, with gaps. 0 in what Silent gives.
	Seq     int64
	Rollout string
	Device  string // hex, as in events
	Arm     string // the first that the device told
	Network string // of the first enrolment, hashed
	// Joined marks the line of the enrolment: nothing is known yet of how it goes.
	Joined      bool
	EnrolledSeq int64 // Seq of the device's joining line; of that line itself Seq
	Failed      bool
	Reason      slipstream.Reason // of a failure
	Enrolled    time.Time         // when the server took the enrolment in
	At          time.Time         // when it took in what this line tells; zero in what Silent gives
}

// Tally is what became of the devices of one arm. Enrolled - Confirmed - Failed - Left are still open or silent.
type Tally struct {
	Enrolled, Confirmed, Failed int64
	// Left are trials that ended without a verdict, because the device had to take something else first.
	Left     int64
	Networks int64 // different ones among the enrolled
}

// MetricRow sums up what the devices of one arm measured. A device counts by its own mean, however often it measured;
// yes is 1, no is 0.
type MetricRow struct {
	Arm, Metric string
	Devices     int64
	Sum         float64 // of the devices' means
	Squares     float64 // of the same, squared
	Mean, M2    float64 // of the devices' means: their mean, and the sum of the squared distances from it
	// Binary is whether all values were yes or no.
	Binary bool
}

// Trials is the append-only log that the guard judges.
//
// Append fills it: the first enrolled event of a device for a rollout opens its trial; a later event of the same device,
// rollout and release that ends a trial (see TrialEnd) closes it, the first one wins, and without an enrolment before it
// is no evidence. Both get the next Seq. Lines appear in order of Seq on every node: what was read once up to a Seq never
// grows below it. Forget and Expire take lines out.
type Trials interface {
	// Outcomes gives the lines of rollout above after, by Seq, at most limit (0 = 10,000).
	Outcomes(ctx context.Context, rollout string, after int64, limit int) ([]Outcome, error)
	// Silent gives the devices that enrolled in (after, upTo] and had no end in the log up to the Seq asOf (0 = now), by
	// time of enrolment, then device.
	Silent(ctx context.Context, rollout string, after, upTo time.Time, asOf int64) ([]Outcome, error)
	// Tally counts by arm.
	Tally(ctx context.Context, rollout string) (map[string]Tally, error)
	// Delays gives the time from enrolment to outcome of an arm's devices, the newest outcome first, at most limit (0 = 10,000).
	Delays(ctx context.Context, rollout, arm string, limit int) ([]time.Duration, error)
	// BaseRate counts the outcomes of both arms of all rollouts of a channel and package since then, in whole days (UTC).
	BaseRate(ctx context.Context, app, channel, pkg string, since time.Time) (outcomes, failed int64, err error)
	// Metrics sums up by arm and metric, in that order.
	Metrics(ctx context.Context, rollout string) ([]MetricRow, error)
}

// TrialEnding says what an event means for the trial of its device.
type TrialEnding int

// The endings.
const (
	TrialGoesOn    TrialEnding = iota
	TrialConfirmed             // it works
	TrialFailed                // it was given up, or could not be applied
	TrialLeft                  // no verdict: something else came first
)

// TrialEnd settles which events end a trial, for both arms and for the clients of all protocols:
//
//   - confirmed: it works;
//   - rolled_back, and failed at stage "trial" (how a control device tells the end of what it only pretends to try):
//     failed when the reason is crashed, hung, unknown_end or storage_corrupted; with any other reason the device had to
//     leave for something that the release is not to blame for;
//   - failed at stage fetch, stage or start with a reason that speaks against the bytes: failed. Network, time, disk
//     space and locks are the device's own, and it will try again.
//
// A single crash or hang ends nothing: the trial has more attempts.
func TrialEnd(e *slipstream.Event) TrialEnding {
	switch e.Kind {
	case slipstream.KindConfirmed:
		return TrialConfirmed
	case slipstream.KindRolledBack:
		return endedFor(e.Reason)
	case slipstream.KindFailed:
		switch e.Stage {
		case "trial":
			return endedFor(e.Reason)
		case "fetch", "stage", "start":
			return unusable(e.Reason)
		}
	}
	return TrialGoesOn
}

func endedFor(r slipstream.Reason) TrialEnding {
	switch r {
	case slipstream.ReasonCrashed, slipstream.ReasonHung, slipstream.ReasonUnknownEnd, slipstream.ReasonStorageCorrupted:
		return TrialFailed
	}
	return TrialLeft
}

func unusable(r slipstream.Reason) TrialEnding {
	switch r {
	case slipstream.ReasonFileMismatch, slipstream.ReasonContainerInvalid, slipstream.ReasonManifestMismatch, slipstream.ReasonSignatureInvalid,
		slipstream.ReasonMalformed, slipstream.ReasonTooLarge, slipstream.ReasonUnknownCritical:
		return TrialFailed
	}
	return TrialGoesOn
}

// DeviceRow is what one device runs of one package, by its own word.
type DeviceRow struct {
	App, Device, Package       string
	Channel, Platform, Runtime string
	Release                    slipstream.Digest // "" = what came with the app, without a manifest
	// FirstSeen and LastSeen are when the server heard first and last what it runs; LastSeen to the hour.
	FirstSeen, LastSeen time.Time
}

// DeviceQuery selects device rows; zero fields do not restrict, but App is needed.
type DeviceQuery struct {
	App, Channel, Package, Platform, Runtime string
	Release                                  slipstream.Digest
	Prefix                                   string // of the device id
	// After goes on behind a row of an earlier answer.
	AfterDevice, AfterPackage string
	Limit                     int // 0 = 1000
}

// DeviceTrial is one enrolment of a device. Ended is zero while it is open; Ending and Reason say how it ended.
type DeviceTrial struct {
	Rollout, Channel, Package, Arm, Network string
	Release                                 slipstream.Digest // on trial, or what a control device runs
	Enrolled, Ended                         time.Time
	Ending                                  TrialEnding
	Reason                                  slipstream.Reason
	Metrics                                 []DeviceMetric
}

// DeviceMetric is what a device measured of one metric in one trial.
type DeviceMetric struct {
	Metric string
	Count  int64
	Sum    float64
}

// Device is all that is kept of a device beside its events.
type Device struct {
	Rows   []DeviceRow   // by package
	Trials []DeviceTrial // the newest enrolment first
}

// Spread counts the devices that look alike.
type Spread struct {
	Channel, Package, Platform, Runtime string
	Release                             slipstream.Digest
	Devices                             int64
}

// Running counts the devices that run a release.
type Running struct {
	Release slipstream.Digest
	Devices int64
}

// Step is the resolution of a series.
type Step string

// The steps.
const (
	StepMinute Step = "minute"
	StepHour   Step = "hour"
	StepDay    Step = "day"
)

// Length is the time that a point of the step stands for; 0 for an unknown one.
func (s Step) Length() time.Duration {
	switch s {
	case StepMinute:
		return time.Minute
	case StepHour:
		return time.Hour
	case StepDay:
		return 24 * time.Hour
	}
	return 0
}

// SeriesQuery selects a series; empty names do not restrict, but App and Step are needed. The points are those whose
// time is in [From, To); a zero To has no end.
type SeriesQuery struct {
	App, Channel, Package string
	Release               slipstream.Digest
	Kind                  slipstream.Kind
	Step                  Step
	From, To              time.Time
}

// Point is how many devices reported Kind of their release for the first time from At, a whole step of UTC, on.
type Point struct {
	At   time.Time
	Kind slipstream.Kind
	N    int64
}

// ReasonQuery selects reasons; zero fields do not restrict, but App is needed.
type ReasonQuery struct {
	App, Channel, Package string
	Release               slipstream.Digest
	Kind                  slipstream.Kind
	Since                 time.Time // only those reported after it
	Limit                 int       // 0 = 100
}

// ReasonCount is how many devices told Reason; each counts once for a release. Last is when one did so last.
type ReasonCount struct {
	Channel, Package string
	Release          slipstream.Digest
	Kind             slipstream.Kind
	Stage            string
	Reason           slipstream.Reason
	Devices          int64
	Last             time.Time
}

// Retention says before when things are deleted; a zero time keeps them.
type Retention struct {
	Devices              time.Time // rows of devices that were not heard since
	Trials               time.Time // whole rollouts in which nothing happened since
	Minutes, Hours, Days time.Time // points of series
}

// Fleet answers questions about the devices.
type Fleet interface {
	// Devices gives rows in an order that means nothing but stays, for going on behind one.
	Devices(ctx context.Context, q DeviceQuery) ([]DeviceRow, error)
	// Device gives all that is kept of one device beside its events; of an unknown one nothing.
	Device(ctx context.Context, app, device string) (Device, error)
	// Spread is the fragmentation of an app, the largest groups first.
	Spread(ctx context.Context, app string) ([]Spread, error)
	// Running counts the devices of a package by release, the most used first.
	Running(ctx context.Context, app, pkg string) ([]Running, error)
	// Series gives the points that are not zero, by time, then kind.
	Series(ctx context.Context, q SeriesQuery) ([]Point, error)
	// Reasons ranks what went wrong, the most devices first.
	Reasons(ctx context.Context, q ReasonQuery) ([]ReasonCount, error)
	// Expire deletes what is older than r says, and tells how many device rows, rollouts' trials and points that were.
	Expire(ctx context.Context, r Retention) (int64, error)
}
