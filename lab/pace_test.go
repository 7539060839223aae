package lab

import (
	"context"
	"strings"
	"testing"
	"time"
)

func TestABusyMachineGetsMoreTime(t *testing.T) {
	t.Parallel()
	const limit = 200 * time.Millisecond
	for _, c := range []struct {
		about string
		slow  float64
		least time.Duration // the limit comes no earlier
	}{
		{"a quiet machine", 1, limit},
		{"a machine that is faster than it need be", 0.1, limit},
		{"a busy one", 3, 3 * limit},
		{"one that stands still", 1000, longestLimit * limit},
	} {
		t.Run(c.about, func(t *testing.T) {
			t.Parallel()
			now := time.Now()
			p := newPace(now)
			p.look(now, c.slow)
			ctx, cancel := p.limited(t.Context(), limit)
			defer cancel()
			<-ctx.Done()
			if took := time.Since(now); took < c.least {
				t.Errorf("ended after %s, want at least %s", took, c.least)
			}
			if err := context.Cause(ctx); err == nil || !strings.HasPrefix(err.Error(), "not done within 200ms") {
				t.Errorf("the cause is %v", err)
			}
		})
	}
}

func TestTimeIsCountedByHowSlowTheMachineIs(t *testing.T) {
	t.Parallel()
	at := func(seconds int) time.Time { return time.Unix(int64(1_700_000_000+seconds), 0) }
	p := newPace(at(0))
	p.look(at(10), 1) // quiet: 10 s
	p.look(at(20), 5) // it became busy at some time between: 2 s
	p.look(at(30), 5) // 2 s
	p.look(at(40), 1) // 2 s
	p.look(at(50), 1) // quiet again: 10 s
	if got := p.at(at(60)); got != 36*time.Second {
		t.Errorf("%s, want 36s", got)
	}
}

func TestTheMachineIsLookedAt(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	p := newPace(time.Now())
	ended := make(chan struct{})
	go func() { defer close(ended); p.run(ctx) }()
	for {
		p.mu.Lock()
		worked := p.sum != 0 && p.slow >= 1
		p.mu.Unlock()
		if worked {
			break
		}
		time.Sleep(time.Millisecond)
	}
	stop()
	<-ended
}
