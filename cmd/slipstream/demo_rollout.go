//go:build !device

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/client"
	"github.com/slipstream-ota/slipstream/internal/config"
	"github.com/slipstream-ota/slipstream/internal/simfleet"
)

// What the fleet of the demonstration is like. A good release fails on a few devices in a thousand, as releases do.
const (
	demoPlan       = "0.5%:3s:10,5%:3s,50%:3s,100%" // the first stage asks for few devices, so that a small fleet will do
	demoBaseRate   = 0.003
	demoBadRate    = 0.7
	demoPoll       = 8 * time.Second
	demoGuard      = 500 * time.Millisecond
	demoStage      = 3 * time.Minute // at most, until a release has come to its end
	demoEverybody  = 0.98            // of the devices run a release that is everywhere: some have failed, some are on their way
	demoHandful    = 0.015           // of the devices, at most, have tried a release that was stopped
	demoAfterwards = demoPoll * 3 / 2
)

// rolloutDemo shows how a plan and the guard bring a good release to everybody and stop a bad one.
type rolloutDemo struct {
	demo
	devices int

	api   *api.Client
	fleet *simfleet.Fleet
	ended chan struct{}
	told  []*toldRelease
}

// toldRelease is a line of the summary, and of what is printed with --json.
type toldRelease struct {
	Version string            `json:"version"`
	Rollout string            `json:"rollout"`
	Release slipstream.Digest `json:"release"`
	Share   int               `json:"share"` // in the end, of 10000
	Hold    string            `json:"hold,omitempty"`
	Tried   int64             `json:"tried"` // devices
	Runs    int               `json:"runs"`  // devices in the end
	Level   string            `json:"level"` // the guard's
	Reason  string            `json:"reason"`
	Took    time.Duration     `json:"took"`
}

func (d *rolloutDemo) run(ctx context.Context) (err error) {
	if d.dir, err = os.MkdirTemp("", "slipstream-demo-"); err != nil {
		return fmt.Errorf("make a temporary folder: %w", err)
	}
	running, stop := context.WithCancel(ctx)
	defer func() {
		stop()
		if d.ended != nil {
			<-d.ended
		}
		if d.server != nil {
			err = errors.Join(err, d.server.Close())
		}
		err = errors.Join(err, os.RemoveAll(d.dir))
	}()
	d.environ = []string{"HOME=" + d.dir, "XDG_CONFIG_HOME=" + filepath.Join(d.dir, "config"), "TMPDIR=" + os.TempDir()}
	for _, step := range []func(context.Context) error{d.serve, d.start, d.good, d.bad, d.finish} {
		if err := step(running); err != nil {
			return errors.Join(err, ctx.Err())
		}
	}
	return nil
}

func (d *rolloutDemo) serve(ctx context.Context) error {
	d.title("A server on embedded storage, and an app")
	env, err := config.Load(d.environ)
	if err != nil {
		return err
	}
	quiet := &tool{stdin: strings.NewReader(""), stdout: io.Discard, stderr: d.t.stderr, env: env, environ: d.environ}
	data := filepath.Join(d.dir, "data")
	cfg, err := quiet.serveConfig(serveFlags{listen: "127.0.0.1:0", data: data, log: "error", proxies: "127.0.0.1,::1", guardEvery: demoGuard.String()})
	if err != nil {
		return err
	}
	if d.server, err = quiet.startServer(ctx, cfg); err != nil {
		return err
	}
	d.say("$ slipstream serve --data %s --guard-every %s --trusted-proxies 127.0.0.1,::1", data, demoGuard)
	if _, err = d.command(ctx, "app", "create", "shop"); err != nil {
		return err
	}
	d.api, err = api.NewClient(d.server.URL(), d.server.Token(), nil)
	return err
}

// start publishes what the devices have shipped with, and switches them on.
func (d *rolloutDemo) start(ctx context.Context) error {
	d.title("%d devices that shipped with release 1.0.0 are switched on. Each is the real client, on a disk in memory", d.devices)
	if err := d.publish(ctx, "1.0.0"); err != nil {
		return err
	}
	root, err := os.ReadFile(config.Folder{Path: filepath.Join(d.dir, "config", "slipstream")}.RootFile("shop"))
	if err != nil {
		return fmt.Errorf("read root: %w", err)
	}
	shipped, err := simfleet.Ship(ctx, d.server.URL(), root, d.told[0].Release)
	if err != nil {
		return err
	}
	d.fleet, err = simfleet.New(simfleet.Config{App: "shop", Servers: []string{d.server.URL()}, Root: root, Devices: d.devices, Arrive: demoPoll, Poll: demoPoll,
		Restart: time.Second, Confirm: 500 * time.Millisecond, Shipped: []simfleet.Part[client.Embedded]{{Value: shipped, Weight: 1}}, Seed: 1,
		Rates: map[string]simfleet.Rates{"": {Crash: demoBaseRate}, "1.2.0": {Crash: demoBadRate}}}, nil)
	if err != nil {
		return err
	}
	d.ended = make(chan struct{})
	go func() {
		defer close(d.ended)
		d.fleet.Run(ctx)
	}()
	for now := d.fleet.Now(); now.Arrived < d.devices; now = d.fleet.Now() {
		if now.Elapsed > demoStage {
			return fmt.Errorf("only %d of %d devices came within %s: %+v", now.Arrived, d.devices, demoStage, d.fleet.Report().Errors)
		}
		if err := d.wait(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	d.say("all %d run 1.0.0", d.devices)
	return nil
}

func (d *rolloutDemo) good(ctx context.Context) error {
	d.title("Release 1.1.0 works: the plan takes it to everybody, step by step, because the guard has nothing to say against it")
	if err := d.publish(ctx, "1.1.0", "--plan="+demoPlan); err != nil {
		return err
	}
	return d.follow(ctx, func(r api.RolloutStatus, runs int) bool {
		return r.To == slipstream.FullShare && float64(runs) >= demoEverybody*float64(d.devices)
	}, func(r api.RolloutStatus) error {
		if r.Hold != "" {
			return fmt.Errorf("the good release was %s", r.Hold)
		}
		return nil
	})
}

func (d *rolloutDemo) bad(ctx context.Context) error {
	d.title("Release 1.2.0 crashes on %.0f %% of the devices. Nobody watches", 100*demoBadRate)
	if err := d.publish(ctx, "1.2.0", "--plan="+demoPlan); err != nil {
		return err
	}
	first := 0
	err := d.follow(ctx, func(r api.RolloutStatus, _ int) bool { return r.Hold == slipstream.HoldHalted }, func(r api.RolloutStatus) error {
		if first == 0 {
			first = r.To
		}
		if r.To > first {
			return fmt.Errorf("the bad release got from %d to %d positions", first, r.To)
		}
		return nil
	})
	if err != nil {
		return err
	}
	d.say("halted. Another %s, in which every device asks again:", demoAfterwards)
	if err := d.wait(ctx, demoAfterwards); err != nil {
		return err
	}
	end := d.told[len(d.told)-1]
	if err := d.look(ctx, end); err != nil {
		return err
	}
	d.say("%d of %d devices have tried it; those on which it crashed are back on 1.1.0 by themselves", end.Tried, d.devices)
	if most := demoHandful * float64(d.devices); float64(end.Tried) > most {
		return fmt.Errorf("%d devices tried the bad release, more than %.0f", end.Tried, most)
	}
	return nil
}

// publish writes and publishes a release, as a user would.
func (d *rolloutDemo) publish(ctx context.Context, version string, flags ...string) error {
	tree := filepath.Join(d.dir, "shop-"+version)
	if err := os.MkdirAll(tree, 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{"main.js": "start('" + version + "')\n", "shop.js": strings.Repeat("sell(); // the same in every release\n", 100)} {
		if err := os.WriteFile(filepath.Join(tree, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	if _, err := d.command(ctx, append([]string{"publish", tree, "--app", "shop", "--version", version}, flags...)...); err != nil {
		return err
	}
	told := &toldRelease{Version: version}
	d.told = append(d.told, told)
	return d.look(ctx, told)
}

// look brings a line of the summary up to date.
func (d *rolloutDemo) look(ctx context.Context, told *toldRelease) error {
	r, err := d.rollout(ctx, told.Version)
	if err != nil {
		return err
	}
	told.Rollout, told.Release, told.Share, told.Hold = r.ID, r.Manifest, r.To, r.Hold
	if r.Guard != nil {
		told.Level, told.Reason = string(r.Guard.Verdict.Level), r.Guard.Verdict.Reason
	}
	if d.fleet != nil {
		told.Tried, told.Runs = d.fleet.Tried(r.Manifest), d.runs(told.Version)
	}
	return nil
}

func (d *rolloutDemo) rollout(ctx context.Context, version string) (api.RolloutStatus, error) {
	s, err := d.api.Status(ctx, "shop")
	if err != nil {
		return api.RolloutStatus{}, fmt.Errorf("read status: %w", err)
	}
	for _, c := range s.Apps[0].Channels {
		for _, p := range c.Packages {
			for _, r := range p.Rollouts {
				if r.Version == version {
					return r, nil
				}
			}
		}
	}
	return api.RolloutStatus{}, fmt.Errorf("rollout of %s: %w", version, slipstream.ErrNotFound)
}

func (d *rolloutDemo) runs(version string) int {
	for _, r := range d.fleet.Now().Running {
		if r.Version == version {
			return r.Devices
		}
	}
	return 0
}

// follow tells how the newest rollout goes until it is over, or goes wrong.
func (d *rolloutDemo) follow(ctx context.Context, over func(r api.RolloutStatus, runs int) bool, wrong func(api.RolloutStatus) error) error {
	told, begun := d.told[len(d.told)-1], time.Now()
	shown, share := time.Time{}, -1
	for {
		r, err := d.rollout(ctx, told.Version)
		if err != nil {
			return err
		}
		if err := wrong(r); err != nil {
			return err
		}
		runs, done := d.runs(told.Version), false
		if done = over(r, runs); done || r.To != share || time.Since(shown) >= 3*time.Second {
			shown, share = time.Now(), r.To
			d.say("  %4s  %s %4s  %5d devices tried it, %4d went back, %5d run it   guard: %s%s", time.Since(begun).Round(time.Second), shareBar(r), shareText(r.Entry),
				d.fleet.Tried(r.Manifest), wentBack(r), runs, guardText(r), waiting(r))
		}
		if done {
			told.Took = time.Since(begun).Round(100 * time.Millisecond)
			return d.look(ctx, told)
		}
		if time.Since(begun) > demoStage {
			return fmt.Errorf("release %s has not come to its end within %s", told.Version, demoStage)
		}
		if err := d.wait(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

func (d *rolloutDemo) finish(ctx context.Context) error {
	d.title("The guard's evidence, computed again from the log of outcomes")
	end := d.told[len(d.told)-1]
	if _, err := d.command(ctx, "rollout", "replay", end.Rollout, "--app", "shop"); err != nil {
		return err
	}
	for _, one := range d.told {
		took := one.Took
		if err := d.look(ctx, one); err != nil && !errors.Is(err, slipstream.ErrNotFound) { // what is covered by 100 % of another stands no more
			return err
		}
		one.Took, one.Runs, one.Tried = took, d.runs(one.Version), d.fleet.Tried(one.Release)
	}
	d.title("What happened")
	return d.t.print(d.told, func(w io.Writer) {
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "  RELEASE\tSHARE\tTRIED BY\tRUNS ON\tTIME\tOUTCOME")
		for _, one := range d.told[1:] {
			outcome := "everywhere"
			if one.Hold != "" {
				outcome = one.Hold + " by the guard"
			}
			fmt.Fprintf(table, "  %s\t%g %%\t%d devices\t%d devices\t%s\t%s\n", one.Version, float64(one.Share)/100, one.Tried, one.Runs, one.Took, outcome)
		}
		table.Flush()
	})
}
