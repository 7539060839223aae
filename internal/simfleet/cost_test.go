package simfleet

import (
	"context"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// What one device costs: memory while it lives, and processor time, with the server's, from its arrival to the
// confirmation of one update.
func BenchmarkDevice(b *testing.B) {
	w := newWorld(b)
	w.publish("1.0.0", 10000)
	cfg := w.config(max(b.N, 100))
	cfg.Poll, cfg.Arrive = time.Minute, 0
	f := w.fleet(cfg)
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	cpu := func() time.Duration {
		var u syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before, begun := heap(), cpu()
	b.ResetTimer()
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() { defer close(done); f.Run(ctx) }()
	for {
		now := f.Now()
		if len(now.Running) == 1 && now.Running[0].Devices == cfg.Devices && now.Running[0].Version == "1.0.0" {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	b.StopTimer()
	used := cpu() - begun
	alive := heap() - before
	cancel()
	<-done
	b.ReportMetric(float64(alive)/float64(cfg.Devices)/1024, "KiB/device")
	b.ReportMetric(float64(used.Microseconds())/float64(cfg.Devices)/1000, "cpu-ms/device")
}

// What a check costs that finds nothing new, with the server's part.
func BenchmarkCheck(b *testing.B) {
	w := newWorld(b)
	w.publish("1.0.0", 10000)
	cfg := w.config(1)
	cfg.Poll = time.Hour
	f := w.fleet(cfg)
	d := f.devices[0]
	d.arrive(b.Context())
	for d.control != "" || d.again || d.runs == "" {
		d.next(b.Context())
	}
	b.ReportAllocs()
	for b.Loop() {
		d.check(b.Context())
	}
}
