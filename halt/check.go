package halt

import (
	"math"

	"github.com/slipstream-ota/slipstream"
)

// Check refuses a rule that cannot be meant, and says which setting and what it may be.
func (r Rule) Check() error {
	within := func(x, low, high float64) bool { return !math.IsNaN(x) && x >= low && x <= high }
	switch {
	case !within(r.Alpha, 1e-6, 0.2):
		return slipstream.Invalidf("guard: alpha %v must be between 0.000001 and 0.2", r.Alpha)
	case !within(r.AllowedRatio, 1, 10):
		return slipstream.Invalidf("guard: allowed ratio %v must be between 1 and 10", r.AllowedRatio)
	case !within(r.BaseRate, 0, 1):
		return slipstream.Invalidf("guard: base rate %v must be between 0 and 1", r.BaseRate)
	case r.Ceiling != 0 && !within(r.Ceiling, 1e-6, 1):
		return slipstream.Invalidf("guard: ceiling %v must be 0 or between 0.000001 and 1", r.Ceiling)
	case !within(r.NetworkShare, 0.01, 1):
		return slipstream.Invalidf("guard: network share %v must be between 0.01 and 1", r.NetworkShare)
	case r.MinDevices < 1:
		return slipstream.Invalidf("guard: %d devices needed to halt must be at least 1", r.MinDevices)
	case r.MinNetworks < 1 || r.MinNetworks > tracked:
		return slipstream.Invalidf("guard: %d networks needed to halt must be between 1 and %d", r.MinNetworks, tracked)
	}
	for i, q := range r.Shares {
		if !within(q, 0, 1) {
			return slipstream.Invalidf("guard: expected share %v of stage %d must be between 0 and 1", q, i+1)
		}
	}
	return nil
}
