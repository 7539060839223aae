package halt

import (
	"slices"
	"time"
)

// MinSilence is the shortest, MaxSilence the longest time after which a device is called silent. A day is the longest,
// because a release that makes devices mute must be found while it is still small.
const (
	MinSilence = 30 * time.Minute
	MaxSilence = 24 * time.Hour
)

// SilenceAfter is after how long without a report a device counts as silent: three times the delay within which 90 % of
// the control's devices were heard of after they joined, within MinSilence and MaxSilence. Without control delays it is
// MinSilence. The order of delays does not matter and they are not changed. Take it once per rollout: it must not
// depend on how the treated devices fare.
func SilenceAfter(control []time.Duration) time.Duration {
	if len(control) == 0 {
		return MinSilence
	}
	sorted := slices.Sorted(slices.Values(control))
	p90 := sorted[(len(sorted)*9+9)/10-1]
	if p90 > MaxSilence/3 {
		return MaxSilence
	}
	return max(MinSilence, 3*p90)
}
