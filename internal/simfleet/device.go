package simfleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client"
)

// folder is where every device keeps its things, each on its own disk.
const folder = "/device"

// device is one simulated device. Only its worker touches it.
type device struct {
	fleet  *Fleet
	number int
	next   func(context.Context) time.Duration // what it does when it wakes; how long it sleeps then
	at     time.Duration                       // when it wakes, since the fleet began
	urgent bool                                // a start is under way: it does not wait behind those that only check

	client  *client.Client
	launch  *client.Launch
	control string // rollout whose control group it joined, until that is judged
	fate    fate   // of the start under way
	runs    string // version
	started bool   // at least once
	settled bool   // has nothing to do until something changes on the server
	again   bool   // something is staged, or what runs must be left: it is to start anew
	ledger  ledger
}

// arrive switches the device on for the first time: it runs what came with its app.
func (d *device) arrive(ctx context.Context) time.Duration {
	f := d.fleet
	disk := newDisk(f.pool)
	if err := d.identify(disk); err != nil {
		return d.fail("open", err)
	}
	cfg := client.Config{
		Dir: folder, App: f.cfg.App, Channel: f.cfg.Channel, Platform: f.cfg.Platform, Packages: f.packages, Servers: f.cfg.Servers, Root: f.cfg.Root,
		Runtime: pick(f.cfg.Runtimes, f.seed.share(d.number, "runtime")),
		FS:      disk, Locks: disk, Transport: &link{fleet: f.meter, sender: sender(d.network(), d.number)},
		Limits: client.Limits{Rounds: 1},
		Hooks:  client.Hooks{OnEvent: d.hear, Restart: func(context.Context, client.Change) { d.again = true }},
	}
	if len(f.cfg.Countries) > 0 {
		country := pick(f.cfg.Countries, f.seed.share(d.number, "country"))
		cfg.Attributes = map[string]json.RawMessage{"country": quoted(country)}
	}
	if len(f.cfg.Shipped) > 0 {
		cfg.Embedded = map[string]client.Embedded{f.cfg.Package: pick(f.cfg.Shipped, f.seed.share(d.number, "shipped"))}
	}
	var err error
	if d.client, err = client.Open(ctx, cfg); err != nil {
		return d.fail("open", err)
	}
	if err := d.start(ctx); err != nil {
		return d.fail("start", err)
	}
	if err := d.launch.Confirm(ctx); err != nil {
		return d.fail("confirm", err)
	}
	f.count(func(c *counts) { c.arrived++ })
	return d.check(ctx)
}

func (d *device) network() int {
	return int(d.fleet.seed.number(d.number, "network") % uint64(d.fleet.cfg.Networks))
}

// identify gives the device the install id that the seed says, as its first run would have made one.
func (d *device) identify(disk *disk) error {
	s := d.fleet.seed
	raw, err := json.Marshal(map[string]any{
		"id":        fmt.Sprintf("%016x%016x", s.number(d.number, "id"), s.number(d.number, "rest of id")),
		"firstSeen": slipstream.At(time.Now()),
	})
	if err != nil {
		return err
	}
	if err := disk.MkdirAll(folder); err != nil {
		return err
	}
	file, err := disk.Create(folder+"/device.json", 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(raw)
	return errors.Join(err, file.Close())
}

// hear notes what the client tells, as it is written down on the device.
func (d *device) hear(e slipstream.Event) {
	switch {
	case e.Package != d.fleet.cfg.Package || e.Arm != slipstream.ArmControl:
	case e.Kind == slipstream.KindEnrolled:
		d.control = e.Rollout
	case e.Kind == slipstream.KindFailed && e.Stage == "trial":
		d.control = "" // it has failed by what it was judged by
	}
	d.ledger.note(&e)
	d.fleet.heard(&e)
}

// check asks the servers, takes what they offer, and reports.
func (d *device) check(ctx context.Context) time.Duration {
	updated, err := d.client.Update(ctx)
	if err != nil {
		d.fleet.wrong("check", err)
	}
	if updated != nil {
		d.fleet.offered(updated.Answers[d.fleet.cfg.Package].Offer)
		d.again = d.again || len(updated.Staged) > 0
	}
	d.report(ctx)
	restarts := d.control != "" || d.again
	d.settle(!restarts && err == nil && len(d.client.Pending()) == 0)
	if restarts {
		d.next, d.urgent = d.restart, true
		return time.Duration(rand.Float64() * float64(d.fleet.cfg.Restart))
	}
	d.next, d.urgent = d.check, false
	poll := d.fleet.cfg.Poll
	return max(poll*3/4+time.Duration(rand.Float64()*float64(poll/2)), client.RetryAfter(err))
}

// settle notes whether the device has something to do.
func (d *device) settle(settled bool) {
	if settled != d.settled {
		d.settled = settled
		d.fleet.count(func(c *counts) {
			if c.settled--; settled {
				c.settled += 2
			}
		})
	}
}

func (d *device) report(ctx context.Context) {
	if err := d.client.Report(ctx); err != nil {
		d.fleet.wrong("report", err)
	}
}

// restart starts the app anew and lets the fate of what runs have its way.
func (d *device) restart(ctx context.Context) time.Duration {
	if err := d.start(ctx); err != nil {
		return d.fail("start", err)
	}
	d.again, d.fate = false, works
	tree := d.launch.Packages[d.fleet.cfg.Package]
	tried := ""
	switch {
	case tree.Trial:
		tried = "trial/" + string(tree.Release)
	case d.control != "":
		tried = "control/" + d.control
	}
	if tried != "" {
		d.fate = d.fleet.cfg.rates(tree.Version).fate(d.fleet.seed.share(d.number, tried))
	}
	if d.fate == silent {
		return d.fallSilent()
	}
	d.next = d.conclude
	return time.Duration(rand.Float64() * float64(d.fleet.cfg.Confirm))
}

// conclude ends the time in which it shows whether a start works.
func (d *device) conclude(ctx context.Context) time.Duration {
	var err error
	switch d.fate {
	case crash:
		err = d.launch.Crash(ctx, "exit status 1: simulated")
	case hang:
		err = d.launch.Hang(ctx, "no sign of life: simulated")
	default:
		if err = d.launch.Confirm(ctx); err == nil {
			err = d.measure()
		}
		d.control = ""
	}
	if err != nil {
		return d.fail("conclude", err)
	}
	d.report(ctx)
	if d.fate == works {
		d.next, d.urgent = d.check, false
		return time.Duration(rand.Float64() * float64(d.fleet.cfg.Poll))
	}
	return d.restart(ctx)
}

func (d *device) measure() error {
	for i := range d.fleet.cfg.Metrics {
		m := &d.fleet.cfg.Metrics[i]
		if v := m.value(d.fleet.seed, d.number, d.runs); v != nil {
			if err := d.client.Metric(m.Name, v); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *device) start(ctx context.Context) error {
	var err error
	if d.launch, err = d.client.Start(ctx); err != nil {
		return err
	}
	if d.launch.Token == "" {
		return fmt.Errorf("start without a token: %s", d.launch.Reason)
	}
	tree := d.launch.Packages[d.fleet.cfg.Package]
	d.fleet.moved(d.runs, &tree, d.started)
	d.runs, d.started = tree.Version, true
	return nil
}

// fallSilent switches the device off for good. What it has not told it never tells.
func (d *device) fallSilent() time.Duration {
	d.forgo()
	d.settle(true)
	d.fleet.count(func(c *counts) { c.silent++ })
	if err := d.client.Close(); err != nil {
		d.fleet.wrong("close", err)
	}
	d.client, d.launch = nil, nil
	return never
}

// fail is the end of a device that broke: the simulation is wrong, or the client is.
func (d *device) fail(what string, err error) time.Duration {
	d.fleet.wrong(what, err)
	d.settle(true)
	d.fleet.count(func(c *counts) { c.broken++ })
	return never
}

// forgo takes what no server has taken out of what was told.
func (d *device) forgo() {
	if d.client == nil {
		return
	}
	for _, e := range d.client.Pending() {
		d.ledger.untold(&e)
		d.fleet.count(func(c *counts) { c.untold++ })
	}
}

// stop flushes what is still to be told, and gives the device up.
func (d *device) stop(ctx context.Context) {
	if d.client == nil {
		return
	}
	if len(d.client.Pending()) > 0 {
		d.report(ctx)
	}
	d.forgo()
	if err := d.client.Close(); err != nil {
		d.fleet.wrong("close", err)
	}
	d.client = nil
}
