package siege

import (
	"testing"

	"github.com/slipstream-ota/slipstream/lab/driver"
)

func TestAttacks(t *testing.T) {
	t.Parallel()
	stock := NewStock()
	names := map[string]bool{}
	for _, a := range Cases() {
		if names[a.Name] {
			t.Errorf("two attacks are called %q", a.Name)
		}
		names[a.Name] = true
		if a.Slow {
			continue
		}
		t.Run(a.Name, func(t *testing.T) {
			t.Parallel()
			d := &driver.Device{}
			defer d.Close()
			if err := a.Run(t.Context(), stock, d, ""); err != nil {
				t.Error(err)
			}
		})
	}
}
