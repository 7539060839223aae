package storetest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream/store"
)

func place(rollout string, n int, capacity int64) store.GrantRequest {
	return store.GrantRequest{App: "shop", Rollout: rollout, Device: string(digest(itoa(int64(n)))), Cap: capacity}
}

func (e *env) take(batch ...store.GrantRequest) []bool {
	e.Helper()
	given, err := e.s.Grants().Take(e.Context(), batch)
	e.must(err)
	return given
}

func (e *env) placesGiven(rollout string) int64 {
	e.Helper()
	n, err := e.s.Grants().Count(e.Context(), rollout)
	e.must(err)
	return n[rollout]
}

var grantCases = []contract{
	{"places go first come, first served, and stay with who has one", func(e *env) {
		e.same(e.take(place("r1", 1, 2), place("r1", 2, 2), place("r1", 3, 2)), []bool{true, true, false}, "three ask for two places")
		e.same(e.take(place("r1", 3, 2), place("r1", 1, 2)), []bool{false, true}, "asked again")
		e.same(e.take(place("r2", 3, 1), place("r1", 4, 2), place("r2", 3, 1), place("r2", 4, 1)), []bool{true, false, true, false}, "another rollout has places of its own, and one for a device")
		e.same(e.placesGiven("r1"), int64(2), "places of the first")
		e.same(e.placesGiven("r2"), int64(1), "places of the second")
		e.same(e.take(), []bool{}, "nobody asks")
	}},
	{"a higher cap makes room, a lower one takes nothing back", func(e *env) {
		e.take(place("r1", 1, 1), place("r1", 2, 1))
		e.same(e.take(place("r1", 2, 2)), []bool{true}, "with one place more")
		e.same(e.take(place("r1", 1, 1), place("r1", 2, 1), place("r1", 3, 1)), []bool{true, true, false}, "with one less")
		e.same(e.take(place("r1", 3, 0), place("r3", 1, 0), place("r3", 1, -1)), []bool{false, false, false}, "without any")
	}},
	{"a place of a forgotten device stays taken, without its name", func(e *env) {
		e.take(place("r1", 1, 1))
		_, err := e.s.Reports().Forget(e.Context(), "another app", place("", 1, 0).Device)
		e.must(err)
		e.same(e.take(place("r1", 1, 1)), []bool{true}, "the device, when another app forgets what it calls so")
		_, err = e.s.Reports().Forget(e.Context(), "shop", place("", 1, 0).Device)
		e.must(err)
		e.same(e.take(place("r1", 2, 1)), []bool{false}, "somebody else")
		e.same(e.take(place("r1", 1, 1)), []bool{false}, "the same device, which is a stranger now")
	}},
	{"thousands of devices in one batch", func(e *env) {
		const devices = 1300
		batch := make([]store.GrantRequest, devices)
		for i := range batch {
			batch[i] = place("r1", i, devices-100)
		}
		for range 2 {
			yes := 0
			for _, g := range e.take(batch...) {
				if g {
					yes++
				}
			}
			e.same(yes, devices-100, "devices with a place")
		}
	}},
	{"places of rollouts that are over are forgotten, of those that stand never", func(e *env) {
		e.take(place("r1", 1, 1), place("r2", 1, 1))
		expire := func(t time.Time, standing ...string) int64 {
			n, err := e.s.Grants().Expire(e.Context(), t, standing)
			e.must(err)
			return n
		}
		later := time.Now().Add(time.Hour)
		e.same(expire(time.Now().Add(-time.Hour)), int64(0), "rollouts that gave a place since")
		e.same(expire(later, "r1", "r2"), int64(0), "rollouts that stand")
		e.same(expire(later, "r1"), int64(1), "rollouts that are over")
		e.same(e.placesGiven("r2"), int64(0), "places of the one that is over")
		e.same(e.take(place("r1", 1, 1), place("r1", 2, 1)), []bool{true, false}, "the one that stands")
	}},
	{"a batch is given whole or not at all", func(e *env) {
		ended, cancel := context.WithCancel(e.Context())
		cancel()
		if _, err := e.s.Grants().Take(ended, []store.GrantRequest{place("r1", 1, 9), place("r2", 2, 9)}); err == nil {
			e.Error("took places after its context ended")
		}
		e.same(e.placesGiven("r1")+e.placesGiven("r2"), int64(0), "places of a batch that failed")
	}},
	{"64 workers on two nodes give exactly as many as there are", func(e *env) {
		const workers, devices, places = 64, 40, 500
		nodes := []store.Store{e.s, e.node()}
		var given atomic.Int64
		var mu sync.Mutex
		have := map[string]bool{}
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for i := range devices {
					// Every second worker asks for devices that another one asks for at the same time.
					r := place("r1", (w/2*2)*devices+i+(w%2)*devices/2, places)
					got, err := nodes[w%2].Grants().Take(e.Context(), []store.GrantRequest{r})
					if err != nil {
						e.Errorf("take: %v", err)
						return
					}
					if !got[0] {
						continue
					}
					given.Add(1)
					mu.Lock()
					have[r.Device] = true
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		e.same(len(have), places, "devices with a place")
		e.same(e.placesGiven("r1"), int64(places), "places counted")
		if given.Load() < places {
			e.Errorf("%d answers said yes, %d places were there", given.Load(), places)
		}
	}},
}

// BenchmarkGrants measures places given durably in batches of 512, a third of them repeated, and tells grants/s.
func BenchmarkGrants(b *testing.B, s store.Store) {
	n, round := 0, 0
	for b.Loop() {
		batch := make([]store.GrantRequest, 512)
		for i := range batch {
			if i%3 != 0 {
				n++
			}
			batch[i] = place(fmt.Sprintf("r%d", round/100), n, 1<<40)
		}
		round++
		if _, err := s.Grants().Take(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*512/b.Elapsed().Seconds(), "grants/s")
}
