package simfleet

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client"
)

// never is how long a device sleeps that is not heard of again.
const never = time.Duration(math.MaxInt64)

// Fleet is a number of devices. Make one by New; Run runs it once.
type Fleet struct {
	cfg      Config
	seed     seed
	pool     *pool
	meter    *meter
	packages []string
	begun    time.Time
	devices  []*device
	liars    *liars

	mu     sync.Mutex
	counts counts
}

// counts change while the fleet runs; Fleet.mu guards them.
type counts struct {
	arrived, silent, broken int
	settled                 int
	untold                  int64
	late                    time.Duration
	running                 map[string]int
	told                    map[mark]int64 // events, by release and kind
	tried                   map[slipstream.Digest]int64
	versions                map[slipstream.Digest]string
	rollouts                map[string]slipstream.Digest
	errors                  map[string]*Error
}

// Error is something that went wrong on devices, with one example.
type Error struct {
	What    string `json:"what"`
	Times   int64  `json:"times"`
	Example string `json:"example"`
}

// New makes a fleet. base carries its requests; nil makes connections of its own.
func New(cfg Config, base http.RoundTripper) (*Fleet, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	if base == nil {
		base = &http.Transport{MaxIdleConns: 2 * cfg.Workers, MaxIdleConnsPerHost: 2 * cfg.Workers, IdleConnTimeout: time.Minute, DisableCompression: true}
	}
	f := &Fleet{cfg: cfg, seed: seed(cfg.Seed), pool: newPool(), meter: &meter{base: base, kinds: map[string]*gauge{}}, packages: []string{cfg.Package},
		counts: counts{running: map[string]int{}, told: map[mark]int64{}, tried: map[slipstream.Digest]int64{}, versions: map[slipstream.Digest]string{}, rollouts: map[string]slipstream.Digest{}, errors: map[string]*Error{}}}
	for i := range cfg.Devices {
		d := &device{fleet: f, number: i}
		d.next = d.arrive
		d.at = time.Duration(f.seed.arrival(i, cfg.Pattern) * float64(cfg.Arrive))
		f.devices = append(f.devices, d)
	}
	if cfg.Liars > 0 {
		f.liars = newLiars(f)
	}
	return f, nil
}

// lastMinute is how long devices may take at the end to finish what they do and to tell what they have to tell.
const lastMinute = time.Minute

// Run runs the fleet until ctx ends. Then the devices end what they are doing, send what they have to tell, and are given
// up.
func (f *Fleet) Run(ctx context.Context) {
	f.count(func(*counts) { f.begun = time.Now() })
	acting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(lastMinute, cancel) })
	defer stop()
	var all sync.WaitGroup
	if f.liars != nil {
		all.Go(func() { f.liars.run(ctx) })
	}
	for w := range f.cfg.Workers {
		all.Go(func() {
			var mine pace
			for i := w; i < len(f.devices); i += f.cfg.Workers {
				mine.add(f.devices[i])
			}
			f.work(ctx, acting, &mine)
			for i := w; i < len(f.devices); i += f.cfg.Workers {
				f.devices[i].stop(acting)
			}
		})
	}
	all.Wait()
	if t, ok := f.meter.base.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
}

// queue has the device that wakes next on top.
type queue []*device

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at < q[j].at }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(*device)) }
func (q *queue) Pop() any {
	last := len(*q) - 1
	d := (*q)[last]
	*q = (*q)[:last]
	return d
}

// pace are the devices of one worker. When the machine is too slow, checks come late, as if devices checked less often;
// what a device has begun goes on in its own time.
type pace struct{ checks, starts queue }

func (p *pace) add(d *device) {
	if d.urgent {
		heap.Push(&p.starts, d)
	} else {
		heap.Push(&p.checks, d)
	}
}

// next is the queue whose first device has its turn; nil when none is left.
func (p *pace) next(now time.Duration) *queue {
	switch {
	case len(p.starts) == 0 && len(p.checks) == 0:
		return nil
	case len(p.checks) == 0, len(p.starts) > 0 && (p.starts[0].at <= now || p.starts[0].at <= p.checks[0].at):
		return &p.starts
	}
	return &p.checks
}

// work wakes devices until ctx ends; what they do ends with acting.
func (f *Fleet) work(ctx, acting context.Context, mine *pace) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for q := mine.next(0); q != nil; q = mine.next(time.Since(f.begun)) {
		d := (*q)[0]
		timer.Reset(max(d.at-time.Since(f.begun), 0))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		heap.Pop(q)
		if late := time.Since(f.begun) - d.at; late > time.Second {
			f.count(func(c *counts) { c.late = max(c.late, late) })
		}
		if sleep := d.next(acting); sleep != never {
			d.at = time.Since(f.begun) + sleep
			mine.add(d)
		}
	}
}

func (f *Fleet) count(change func(*counts)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.counts)
}

func (f *Fleet) moved(from string, to *client.Tree, started bool) {
	f.count(func(c *counts) {
		if started {
			c.running[from]--
		}
		c.running[to.Version]++
		if to.Release != "" {
			c.versions[to.Release] = to.Version
		}
	})
}

func (f *Fleet) heard(e *slipstream.Event) {
	f.count(func(c *counts) {
		c.told[mark{release: e.Release, kind: e.Kind}]++
		if e.Kind == slipstream.KindStarted && e.Arm != slipstream.ArmControl {
			c.tried[e.Release]++
		}
		if e.Kind == slipstream.KindEnrolled {
			c.rollouts[e.Rollout] = e.Release
		}
	})
}

func (f *Fleet) offered(o *client.Offer) {
	if o != nil {
		f.count(func(c *counts) { c.versions[o.Release.Digest] = o.Release.Version })
	}
}

// wrong notes what went wrong on a device. What the end of the run cut off is nothing wrong.
func (f *Fleet) wrong(what string, err error) {
	if strings.Contains(err.Error(), context.Canceled.Error()) {
		return
	}
	key := what
	if reason := slipstream.ReasonOf(err, ""); reason != "" {
		key += ": " + string(reason)
	}
	f.count(func(c *counts) {
		e := c.errors[key]
		if e == nil {
			e = &Error{What: key, Example: fmt.Sprintf("%.300s", err)}
			c.errors[key] = e
		}
		e.Times++
	})
}

// Progress is how things stand while the fleet runs.
type Progress struct {
	Elapsed  time.Duration
	Arrived  int
	Silent   int
	Settled  int // that have nothing to do until something changes on the server, as of their last check
	Running  []Running
	Events   map[slipstream.Kind]int64
	Requests int64
	Errors   int64
	Late     time.Duration // the longest that a device had to wait for its turn, when that is over a second
}

// Running is how many devices run a version; "" is what ships without a manifest.
type Running struct {
	Version string `json:"version"`
	Devices int    `json:"devices"`
}

// Now says how things stand.
func (f *Fleet) Now() Progress {
	p := Progress{Events: map[slipstream.Kind]int64{}, Requests: f.meter.requests()}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.begun.IsZero() {
		p.Elapsed = time.Since(f.begun)
	}
	c := &f.counts
	p.Arrived, p.Silent, p.Settled, p.Running, p.Late = c.arrived, c.silent, c.settled, c.runningNow(), c.late
	for m, n := range c.told {
		p.Events[m.kind] += n
	}
	for _, e := range c.errors {
		p.Errors += e.Times
	}
	return p
}

// Tried is how many devices began to try a release; one that tries it again later counts again.
func (f *Fleet) Tried(release slipstream.Digest) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts.tried[release]
}

func (c *counts) runningNow() (out []Running) {
	for version, n := range c.running {
		if n > 0 {
			out = append(out, Running{Version: version, Devices: n})
		}
	}
	slices.SortFunc(out, func(a, b Running) int { return cmp.Or(b.Devices-a.Devices, cmp.Compare(a.Version, b.Version)) })
	return out
}

// Report is what the fleet did, once Run is over.
type Report struct {
	Seed     uint64        `json:"seed"`
	Devices  int           `json:"devices"`
	Arrived  int           `json:"arrived"`
	Silent   int           `json:"silent"`
	Broken   int           `json:"broken,omitempty"` // that the simulation had to give up
	Elapsed  time.Duration `json:"elapsed"`
	Late     time.Duration `json:"late,omitempty"` // longest wait for a turn over a second: the machine is too slow for this fleet
	Running  []Running     `json:"running"`
	Tallies  []Tally       `json:"tallies"`
	Told     []Told        `json:"told"`
	Untold   int64         `json:"untold,omitempty"` // events that no server took
	Requests []Traffic     `json:"requests"`
	Errors   []Error       `json:"errors,omitempty"`
	Lies     *Lies         `json:"lies,omitempty"`
}

// Report says what the fleet did. It may be called when Run is over.
func (f *Fleet) Report() Report {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := &f.counts
	r := Report{Seed: f.cfg.Seed, Devices: f.cfg.Devices, Arrived: c.arrived, Silent: c.silent, Broken: c.broken, Elapsed: time.Since(f.begun), Late: c.late,
		Running: c.runningNow(), Untold: c.untold, Requests: f.meter.traffic()}
	told, tallies := map[mark]int64{}, map[[2]string]*Tally{}
	for _, d := range f.devices {
		for _, m := range d.ledger.marks {
			if m.times > 0 {
				told[mark{release: m.release, kind: m.kind}]++
			}
		}
		for _, t := range d.ledger.trials {
			if !t.gone {
				c.tally(tallies, t)
			}
		}
	}
	lied := map[mark]int64{}
	if f.liars != nil {
		r.Lies, lied = f.liars.total()
	}
	for m := range lied {
		told[m] += 0 // so that a lie that no device told has a line
	}
	for m, n := range told {
		r.Told = append(r.Told, Told{Release: m.release, Version: c.versions[m.release], Kind: m.kind, Devices: n, Lied: lied[m]})
	}
	slices.SortFunc(r.Told, func(a, b Told) int {
		return cmp.Or(cmp.Compare(a.Version, b.Version), cmp.Compare(a.Release, b.Release), cmp.Compare(a.Kind, b.Kind))
	})
	for _, t := range tallies {
		r.Tallies = append(r.Tallies, *t)
	}
	slices.SortFunc(r.Tallies, func(a, b Tally) int {
		return cmp.Or(cmp.Compare(a.Version, b.Version), cmp.Compare(a.Rollout, b.Rollout), cmp.Compare(b.Arm, a.Arm))
	})
	for _, key := range slices.Sorted(maps.Keys(c.errors)) {
		r.Errors = append(r.Errors, *c.errors[key])
	}
	return r
}
