package build

import (
	"runtime"
	"time"
)

// meter tells what a job takes of the processors. Jobs of a node run one after another, so it is what the process has used
// since the job began. What else the process does meanwhile, requests of devices above all, counts as well: a job never gets
// more than its share. Waiting does not count, neither for the store and the blobs nor for a processor that other programs
// have.
type meter struct {
	used  func() (time.Duration, bool)
	clock func() time.Time
	began time.Time
	from  time.Duration
	known bool
}

func (b *Builder) meter() *meter {
	m := &meter{used: b.cfg.Processor, clock: b.cfg.Clock, began: b.cfg.Clock()}
	m.from, m.known = m.used()
	return m
}

// taken gives the processor time since the meter was made. On a system that does not tell it, that is the most that it can
// be: the time on the clock, on every processor that the job may use.
func (m *meter) taken() time.Duration {
	if now, ok := m.used(); ok && m.known {
		return max(now-m.from, 0)
	}
	return max(m.clock().Sub(m.began), 0) * time.Duration(runtime.GOMAXPROCS(0))
}
