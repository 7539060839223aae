package decide

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// twenty is a state of 20 rollouts that a device has to place itself in, one by one, and fits none but the last.
func twenty(releases int) *slipstream.State {
	var parts []func(*slipstream.PackageState)
	for i := range 19 {
		parts = append(parts, offers(offer(int64(100+i), share(0, 1), shells(">=3.0.0 <4.0.0"), func(r *slipstream.Rollout) { r.Control = 0 })))
	}
	parts = append(parts, offers(offer(99, share(0, 9999))))
	for i := range releases - 20 {
		parts = append(parts, withdraw(int64(1000+i)))
	}
	return stateOf(parts...)
}

// outsider is a device at no rollout's first position.
func outsider() *Device {
	for n := 0; ; n++ {
		fits := false
		for i := range 19 {
			fits = fits || Position(fmt.Sprintf("ro_%d", 100+i), device(n)) == 0
		}
		if !fits {
			return NewDevice(phone(func(f *slipstream.DeviceFacts) { f.ID = device(n) }))
		}
	}
}

func TestDecideDoesNotAllocate(t *testing.T) {
	hashed := offer(200, when("device", "in", hashes(device(5))), when("custom.plan", "not_in", hashes("pro")), when("os", "semver", `"15.x"`))
	st := twenty(20)
	p := st.Packages["main"]
	p.Rollouts = append([]slipstream.Rollout{hashed}, p.Rollouts[1:]...)
	st.Packages["main"] = p
	plan, err := Compile(st)
	if err != nil {
		t.Fatal(err)
	}
	dev, local := outsider(), running(4, 3)
	local = local.refusing(7, 0)
	if d := plan.Decide("main", dev, &local, noon); d.Rollout != "ro_99" {
		t.Fatalf("the walk does not reach its end: %+v", d)
	}
	if n := testing.AllocsPerRun(200, func() { plan.Decide("main", dev, &local, noon) }); n != 0 {
		t.Errorf("a decision allocates %v times", n)
	}
}

// BenchmarkDecide walks 20 rollouts and reports how much longer that takes than the 20 hashes it needs. Hashes and
// walk are timed in turns within one run, so that a busy machine slows both.
func BenchmarkDecide(b *testing.B) {
	for _, releases := range []int{20, 1000} {
		b.Run(fmt.Sprintf("releases=%d", releases), func(b *testing.B) {
			plan, err := Compile(twenty(releases))
			if err != nil {
				b.Fatal(err)
			}
			dev, local := outsider(), running(4)
			var texts [20][]byte
			for i := range texts {
				texts[i] = []byte(fmt.Sprintf("ro_%d:%s", 80+i, dev.ID()))
			}
			var walk, bare time.Duration
			var sink byte
			const turn = 64
			b.ReportAllocs()
			for n := 0; n < b.N; n += turn {
				start := time.Now()
				for range turn {
					if plan.Decide("main", dev, &local, noon).Target == nil {
						b.Fatal("no target")
					}
				}
				middle := time.Now()
				for range turn {
					for i := range texts {
						sum := sha256.Sum256(texts[i])
						sink ^= sum[0]
					}
				}
				walk += middle.Sub(start)
				bare += time.Since(middle)
			}
			b.ReportMetric(float64(walk)/float64(bare), "x_hashes")
			b.ReportMetric(float64(walk.Nanoseconds())/float64((b.N+turn-1)/turn*turn), "ns/decision")
			_ = sink
		})
	}
}
