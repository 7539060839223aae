package report

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// Config tunes an Intake. Zero fields mean the defaults.
type Config struct {
	// Batch is how many events one commit takes (default 2,000; a single call's events are never torn apart), Wait how
	// long the first of them waits for company (default 2 ms).
	Batch int
	Wait  time.Duration
	// Queue is how many events may wait before callers are refused (default 16,384).
	Queue int
	// Timeout bounds one commit (default 10 s).
	Timeout time.Duration
	// Salt is the server's secret for the hashes of networks.
	Salt []byte
	// Accepted is told, after the commit, of events that were stored for the first time; nil tells nobody. It must be
	// quick: the writer waits for it.
	Accepted func([]store.StoredEvent)
}

const (
	defaultBatch   = 2000
	defaultWait    = 2 * time.Millisecond
	defaultQueue   = 16384
	defaultTimeout = 10 * time.Second
)

func (c Config) withDefaults() Config {
	if c.Batch <= 0 {
		c.Batch = defaultBatch
	}
	if c.Wait <= 0 {
		c.Wait = defaultWait
	}
	if c.Queue <= 0 {
		c.Queue = defaultQueue
	}
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	return c
}

// Intake stores events. Many callers wait for one commit; a single goroutine, that of Run, writes.
type Intake struct {
	log   store.Reports
	cfg   Config
	queue chan *call

	mu      sync.Mutex
	waiting int  // events in the queue
	closed  bool // Run has ended: nobody would write
}

// call is one caller's events on their way into a commit.
type call struct {
	events []store.StoredEvent
	done   chan outcome // of capacity 1, so that the writer never waits for a caller that gave up
}

type outcome struct {
	results []slipstream.EventResult
	err     error
}

// NewIntake makes an Intake over log. Nothing is stored until Run runs.
func NewIntake(log store.Reports, cfg Config) *Intake {
	cfg = cfg.withDefaults()
	return &Intake{log: log, cfg: cfg, queue: make(chan *call, cfg.Queue)}
}

// Accept stores events durably: when it returns without an error they survive a crash. results[i] says whether
// events[i] was new. It fails with slipstream.ErrUnavailable when too many wait already, when the store does not
// answer, or after Run has ended. A caller whose ctx ends may have been stored all the same; repeating an event by its
// id is harmless. The events belong to the Intake afterwards.
func (in *Intake) Accept(ctx context.Context, events []store.StoredEvent) ([]slipstream.EventResult, error) {
	if len(events) == 0 {
		return nil, nil
	}
	c := &call{events: events, done: make(chan outcome, 1)}
	if err := in.enqueue(c); err != nil {
		return nil, err
	}
	select {
	case o := <-c.done:
		return o.results, o.err
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the commit of reports: %w", ctx.Err())
	}
}

// enqueue never blocks: the queue's capacity is in calls, of which each weighs at least one event.
func (in *Intake) enqueue(c *call) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return fmt.Errorf("take in reports: the server is stopping: %w", slipstream.ErrUnavailable)
	}
	if in.waiting+len(c.events) > in.cfg.Queue {
		return fmt.Errorf("take in reports: %d are waiting: %w", in.waiting, slipstream.ErrUnavailable)
	}
	in.waiting += len(c.events)
	in.queue <- c
	return nil
}

// Run writes until ctx ends, then writes what is waiting and returns. It must be called once.
func (in *Intake) Run(ctx context.Context) error {
	for {
		select {
		case c := <-in.queue:
			in.write(ctx, in.gather(c))
		case <-ctx.Done():
			in.mu.Lock()
			in.closed = true
			in.mu.Unlock()
			for {
				select {
				case c := <-in.queue:
					in.write(ctx, in.gather(c))
				default:
					return nil
				}
			}
		}
	}
}

// gather collects calls until there are enough events or the first has waited long enough.
func (in *Intake) gather(first *call) []*call {
	calls, n := []*call{first}, len(first.events)
	timer := time.NewTimer(in.cfg.Wait)
	defer timer.Stop()
	for n < in.cfg.Batch {
		select {
		case c := <-in.queue:
			calls, n = append(calls, c), n+len(c.events)
		case <-timer.C:
			return in.left(calls, n)
		}
	}
	return in.left(calls, n)
}

func (in *Intake) left(calls []*call, n int) []*call {
	in.mu.Lock()
	in.waiting -= n
	in.mu.Unlock()
	return calls
}

// write commits the calls together. When the store refuses the whole for a reason other than its own absence, each
// call is tried alone, so that one caller's events cannot refuse another's.
func (in *Intake) write(ctx context.Context, calls []*call) {
	err := in.commit(ctx, calls)
	if err == nil {
		return
	}
	alone := len(calls) > 1 && !errors.Is(err, slipstream.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded)
	for _, c := range calls {
		one := err
		if alone {
			if one = in.commit(ctx, []*call{c}); one == nil {
				continue
			}
		}
		c.done <- outcome{err: one}
	}
}

// commit outlives ctx: what waits when the server stops is still written.
func (in *Intake) commit(ctx context.Context, calls []*call) error {
	batch := calls[0].events
	if len(calls) > 1 {
		batch = nil
		for _, c := range calls {
			batch = append(batch, c.events...)
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), in.cfg.Timeout)
	defer cancel()
	fresh, err := in.log.Append(ctx, batch)
	if err != nil {
		return fmt.Errorf("store reports: %w", err)
	}
	if len(fresh) != len(batch) {
		return fmt.Errorf("store reports: the store answered for %d of %d events", len(fresh), len(batch))
	}
	in.tell(batch, fresh)
	for _, c := range calls {
		n := len(c.events)
		c.done <- outcome{results: results(fresh[:n])}
		fresh = fresh[n:]
	}
	return nil
}

func (in *Intake) tell(batch []store.StoredEvent, fresh []bool) {
	if in.cfg.Accepted == nil {
		return
	}
	var first []store.StoredEvent
	for i, e := range batch {
		if fresh[i] {
			first = append(first, e)
		}
	}
	if len(first) > 0 {
		in.cfg.Accepted(first)
	}
}

func results(fresh []bool) []slipstream.EventResult {
	out := make([]slipstream.EventResult, len(fresh))
	for i, f := range fresh {
		out[i] = slipstream.EventResult{Index: i, Status: slipstream.EventDuplicate}
		if f {
			out[i].Status = slipstream.EventAccepted
		}
	}
	return out
}
