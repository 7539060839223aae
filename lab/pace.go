package lab

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Limits of proofs are times of a machine of two cores that does nothing else. A machine that is slower, or busy with other
// things, gets as much more time as it takes longer for a fixed piece of work, so that a limit stops what hangs and not what
// crawls.
const (
	paceEvery    = 3 * time.Second       // between two looks at the machine
	paceWork     = 62 * time.Millisecond // that the piece of work takes when nothing else runs
	paceRounds   = 30_000_000            // of it
	slowestPace  = 8.0                   // no machine counts as slower
	longestLimit = 5                     // times the limit, whatever the machine: the end of what hangs
)

// pace is a clock that runs as fast as the machine works.
type pace struct {
	mu    sync.Mutex
	began time.Time // of what is not counted yet
	slow  float64   // how much longer the machine takes now
	spent time.Duration
	sum   uint64 // of the work, so that it is done
}

func newPace(now time.Time) *pace { return &pace{began: now, slow: 1} }

// look counts the time since the last look by how slow the machine was before it and is now, whichever is more.
func (p *pace) look(now time.Time, slow float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	slow = min(max(slow, 1), slowestPace)
	p.spent += time.Duration(float64(now.Sub(p.began)) / max(slow, p.slow))
	p.began, p.slow = now, slow
}

// at is how much the machine has done until now, in time of a quiet one.
func (p *pace) at(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.spent + time.Duration(float64(now.Sub(p.began))/p.slow)
}

// run looks at the machine until ctx ends.
func (p *pace) run(ctx context.Context) {
	tick := time.NewTicker(paceEvery)
	defer tick.Stop()
	for {
		begun := time.Now()
		p.work(paceRounds)
		took := time.Since(begun)
		p.look(time.Now(), float64(took)/float64(paceWork))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// work is a fixed amount of it, for one core.
func (p *pace) work(rounds int) {
	x := uint64(88172645463325252)
	for range rounds {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sum += x
}

// limited ends the context when the machine has done what a quiet one does in limit.
func (p *pace) limited(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	begun := time.Now()
	first := p.at(begun)
	go func() {
		left := limit
		for {
			timer := time.NewTimer(max(left, time.Millisecond))
			select {
			case <-ctx.Done():
				timer.Stop()
				return
			case now := <-timer.C:
				left = limit - (p.at(now) - first)
				if wall := now.Sub(begun); left <= 0 || wall >= longestLimit*limit {
					cancel(overLimit(limit, wall))
					return
				}
			}
		}
	}()
	return ctx, func() { cancel(nil) }
}

func overLimit(limit, wall time.Duration) error {
	if slow := wall.Seconds() / limit.Seconds(); slow > 1.5 {
		return fmt.Errorf("not done within %s, on a machine that was %.1f times as slow as it should be", limit, slow)
	}
	return fmt.Errorf("not done within %s", limit)
}
