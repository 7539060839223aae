package storetest

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// BenchmarkAppend measures durable reports: in batches of a thousand, and one by one from 64 goroutines through a group
// committer. Both tell events/s.
func BenchmarkAppend(b *testing.B, s store.Store) {
	b.Run("batches of 1000", func(b *testing.B) { appendBatches(b, s, outcome) })
	b.Run("batches of 1000 without outcomes", func(b *testing.B) { appendBatches(b, s, progress) })
	b.Run("batches of 1000 with enrolments and outcomes", func(b *testing.B) { appendBatches(b, s, trialStep) })
	b.Run("single from 64 goroutines", func(b *testing.B) {
		g := &committer{reports: s.Reports(), queue: make(chan waitingEvent, 64)}
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan error, 1)
		go func() { done <- g.run(ctx) }()
		var n atomic.Uint64
		n.Store(1 << 40)
		b.SetParallelism(64 / runtime.GOMAXPROCS(0))
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := g.accept(outcome(n.Add(1))); err != nil {
					b.Error(err)
				}
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
}

func appendBatches(b *testing.B, s store.Store, event func(n uint64) store.StoredEvent) {
	var n uint64
	for b.Loop() {
		batch := make([]store.StoredEvent, 1000)
		for i := range batch {
			batch[i] = event(n)
			n++
		}
		if _, err := s.Reports().Append(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "events/s")
}

// progress is an event that says nothing of what runs, or of how a trial ended.
func progress(n uint64) store.StoredEvent {
	e := outcome(n)
	e.ID, e.Kind = "p"+e.ID[1:], []slipstream.Kind{slipstream.KindFetched, slipstream.KindStaged, slipstream.KindStarted}[n%3]
	return e
}

// trialStep is one of the five events of a device's way through a trial; one device in twenty is control, one in fifty
// fails.
func trialStep(n uint64) store.StoredEvent {
	kinds := [...]slipstream.Kind{slipstream.KindEnrolled, slipstream.KindFetched, slipstream.KindStaged, slipstream.KindStarted, slipstream.KindConfirmed}
	device := n / uint64(len(kinds))
	e := outcome(n)
	e.ID, e.Kind, e.Device = "t"+e.ID[1:], kinds[n%uint64(len(kinds))], string(digest("trial "+itoa(int64(device))))
	e.Release, e.Rollout, e.Arm = digest("r"), "trial", slipstream.ArmTreatment
	e.Network = itoa(int64(device % 5000))
	if device%20 == 0 {
		e.Arm, e.Running = slipstream.ArmControl, e.Release
	}
	if e.Kind == slipstream.KindConfirmed && device%50 == 0 {
		e.Kind, e.Reason = slipstream.KindRolledBack, slipstream.ReasonCrashed
	}
	return e
}

// outcome is an event as the fleet sends it: a new id, one of a million devices, one of ten releases.
func outcome(n uint64) store.StoredEvent {
	return store.StoredEvent{
		Event: slipstream.Event{
			ID: fmt.Sprintf("0192f%031x", n*0x9e3779b97f4a7c15), Kind: []slipstream.Kind{slipstream.KindStarted, slipstream.KindConfirmed}[n%2],
			App: "shop", Channel: "production", Package: "main", Device: string(digest(itoa(int64(n % 1_000_000)))), Release: digest(itoa(int64(n % 10))),
			Running: digest("running"), Rollout: "r1", Platform: "android", Runtime: "3.2.0", Epoch: 1772366400,
		},
		Received: time.Now(), Network: "a1b2c3d4",
	}
}

type waitingEvent struct {
	event store.StoredEvent
	done  chan error
}

// committer gathers what waits while a commit runs and stores it in the next one.
type committer struct {
	reports store.Reports
	queue   chan waitingEvent
}

func (g *committer) accept(e store.StoredEvent) error {
	w := waitingEvent{e, make(chan error, 1)}
	g.queue <- w
	return <-w.done
}

func (g *committer) run(ctx context.Context) error {
	for {
		var waiting []waitingEvent
		select {
		case <-ctx.Done():
			return nil
		case w := <-g.queue:
			waiting = append(waiting, w)
		}
		runtime.Gosched()
		for more := true; more && len(waiting) < 1000; {
			select {
			case w := <-g.queue:
				waiting = append(waiting, w)
			default:
				more = false
			}
		}
		batch := make([]store.StoredEvent, len(waiting))
		for i, w := range waiting {
			batch[i] = w.event
		}
		_, err := g.reports.Append(ctx, batch)
		for _, w := range waiting {
			w.done <- err
		}
	}
}
