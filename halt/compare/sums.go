package compare

import (
	"math"

	"github.com/slipstream-ota/slipstream"
)

// MaxValue is the greatest absolute value that a device may report: squares of it still add up.
const MaxValue = 1e100

// maxCount is beyond every fleet, and small enough for the logarithms of factorials to have digits left.
const maxCount = 1e12

// Sums is what the devices of one arm reported of one metric: of yes or no Count and Yes, of numbers Count, Mean and
// M2. The zero value is an arm of which nothing was heard.
type Sums struct {
	Count int64   `json:"count"`
	Yes   int64   `json:"yes,omitempty"`
	Mean  float64 `json:"mean,omitempty"`
	M2    float64 `json:"m2,omitempty"` // sum of squared distances from Mean
}

// Add takes in the number of one device. NaN, infinities and what is beyond MaxValue are refused.
func (s Sums) Add(x float64) (Sums, error) {
	if !(math.Abs(x) <= MaxValue) {
		return s, slipstream.Invalidf("value %v must be a number between -%g and %g", x, MaxValue, MaxValue)
	}
	s.Count++
	d := x - s.Mean
	s.Mean += d / float64(s.Count)
	s.M2 += d * (x - s.Mean)
	return s, nil
}

// AddYes takes in the answer of one device.
func (s Sums) AddYes(yes bool) Sums {
	s.Count++
	if yes {
		s.Yes++
	}
	return s
}

// Merge puts the devices of two sums together; none may be in both. The order matters in the last digits only.
func (s Sums) Merge(o Sums) Sums {
	if s.Count == 0 || o.Count == 0 {
		if s.Count == 0 {
			return o
		}
		return s
	}
	n, m := float64(s.Count), float64(o.Count)
	d := o.Mean - s.Mean
	return Sums{Count: s.Count + o.Count, Yes: s.Yes + o.Yes, Mean: s.Mean + d*(m/(n+m)), M2: s.M2 + o.M2 + d*d*(n*m/(n+m))}
}

// check refuses sums that no devices could have made.
func (s Sums) check() error {
	finite := math.Abs(s.Mean) <= MaxValue*(1+1e-9) && s.M2 >= 0 && s.M2 <= math.MaxFloat64
	if s.Count < 0 || s.Count > maxCount || s.Yes < 0 || s.Yes > s.Count || !finite {
		return slipstream.Invalidf("sums %+v are not those of any devices", s)
	}
	return nil
}

// variance of one device's number; 0 below two devices.
func (s Sums) variance() float64 {
	if s.Count < 2 {
		return 0
	}
	return s.M2 / float64(s.Count-1)
}

func (s Sums) rate() float64 {
	if s.Count == 0 {
		return 0
	}
	return float64(s.Yes) / float64(s.Count)
}
