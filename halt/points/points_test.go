package points_test

import (
	"flag"
	"testing"

	"github.com/slipstream-ota/slipstream/halt"
	"github.com/slipstream-ota/slipstream/halt/points"
)

var long = flag.Bool("long", false, "measure the operating points in full, as docs/guard.md states them; minutes")

func TestOperatingPoints(t *testing.T) {
	t.Parallel()
	for _, c := range points.Cases(*long) {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			r, err := c.Run(halt.DefaultRule(), 1)
			t.Log(r)
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// A guard that is too eager or too slow does not get through.
func TestABadGuardIsFound(t *testing.T) {
	t.Parallel()
	eager, slow := halt.DefaultRule(), halt.DefaultRule()
	eager.Alpha, eager.NetworkShare, eager.MinNetworks = 0.5, 1, 1
	slow.MinDevices = 25
	good, bad := points.Cases(false)[0], points.Cases(false)[9]
	if r, err := good.Run(eager, 1); good.Median != 0 || err == nil {
		t.Errorf("%s: the eager guard %s", good.Name, r)
	}
	if r, err := bad.Run(slow, 1); bad.Median == 0 || err == nil {
		t.Errorf("%s: the slow guard %s", bad.Name, r)
	}
}

// The same seed gives the same numbers.
func TestSameSeedSameNumbers(t *testing.T) {
	t.Parallel()
	f := points.Fleet{Base: 0.005, Bad: 0.1, Shares: []float64{0.2, 0.5}, Most: 500, Delay: 50, Networks: 30, Largest: 0.3}
	first, second := points.Operate(halt.DefaultRule(), f, 20, 7), points.Operate(halt.DefaultRule(), f, 20, 7)
	if first != second || first.Halted == 0 {
		t.Errorf("%+v, then %+v", first, second)
	}
}
