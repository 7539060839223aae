//go:build !device

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/client"
	"github.com/slipstream-ota/slipstream/internal/simfleet"
)

// simulateFlags are the flags of simulate, as given.
type simulateFlags struct {
	device              deviceFlags
	token               string
	devices, liars      int
	networks, workers   int
	arrive, lasting     time.Duration
	poll, restart, wait time.Duration
	pattern             string
	crash, hang, silent []string
	versions, countries []string
	runtimes, metrics   []string
	seed                uint64
	seedSaid, settle    bool
}

func newSimulateCommand(t *tool) *cobra.Command {
	var f simulateFlags
	c := &cobra.Command{
		Use: "simulate --app APP [flags]", Short: "Run a fleet of simulated devices against a server", Args: exactly(0, "no argument"),
		Long: `Simulate runs thousands of devices in this process. Each is the real client on a file system in memory: it checks, enrols,
downloads, verifies, tries, confirms and goes back as a real one does. Only whether a release works on a device is made
up, by the rates that you give. At the end it says what the devices did and what the server counted.

Rates are shares of the devices on which a release, when it is tried, crashes, hangs, or is never heard of again: 2%, 0.02,
or VERSION=2% for one release. They hold for the control group as well, by the version that it runs.

The server must believe what a proxy on this machine says of senders (serve --trusted-proxies 127.0.0.1,::1): else all
devices are of one network, and the guard gives one network little weight. Never point this at a server that real devices
use: the reports are as good as theirs.`,
		Example: `  slipstream simulate --app shop --devices 10000 --versions 1.0.0=100% --crash-rate 1.1.0=5% --duration 2m
  slipstream simulate --app shop --countries cn=70%,jp=30% --liars 500 --pattern rush --arrive 1m
  slipstream simulate --app shop --metric bought=1.1.0:12% --metric bought=1.2.0:13%`,
		RunE: func(c *cobra.Command, _ []string) error {
			f.seedSaid = c.Flags().Changed("seed")
			return t.simulate(c.Context(), &f)
		},
	}
	fs := c.Flags()
	fs.StringSliceVar(&f.device.servers, "server", nil, "server addresses (default: SLIPSTREAM_URL, or what login and serve wrote)")
	fs.StringVar(&f.token, "token", "", "API token, to look up versions and the server's counts (default: SLIPSTREAM_TOKEN, or what login and serve wrote)")
	fs.StringVar(&f.device.app, "app", "", "app (default: the only app known here)")
	fs.StringVar(&f.device.channel, "channel", slipstream.DefaultChannel, "channel")
	fs.StringSliceVar(&f.device.packages, "package", []string{slipstream.DefaultPackage}, "package")
	fs.StringVar(&f.device.platform, "platform", slipstream.PlatformAny, "platform")
	fs.StringVar(&f.device.root, "root", t.env.Get("root", ""), "root.json that trust starts from (default: the publisher's own, on the same machine)")
	fs.IntVar(&f.devices, "devices", 1000, "how many devices")
	fs.DurationVar(&f.lasting, "duration", time.Minute, "how long; 0 until interrupted")
	fs.BoolVar(&f.settle, "settle", false, "end as soon as no device has anything left to do")
	fs.DurationVar(&f.arrive, "arrive", 10*time.Second, "time over which the devices come for the first time")
	fs.StringVar(&f.pattern, "pattern", string(simfleet.Even), "how they come: even, rush (half of them in the first eighth) or waves")
	fs.DurationVar(&f.poll, "poll", 15*time.Second, "time between two checks of a device, give or take a quarter")
	fs.DurationVar(&f.restart, "restart", 2*time.Second, "longest time until a device is started anew with what it staged")
	fs.DurationVar(&f.wait, "confirm-after", time.Second, "longest time from a start until it is confirmed or crashes")
	fs.StringArrayVar(&f.crash, "crash-rate", nil, "share of the devices on which a release crashes: RATE or VERSION=RATE (repeatable)")
	fs.StringArrayVar(&f.hang, "hang-rate", nil, "share on which it hangs, the same way")
	fs.StringArrayVar(&f.silent, "silent-rate", nil, "share that is never heard of again, the same way")
	fs.StringSliceVar(&f.versions, "versions", nil, "releases that ship with the app: VERSION=SHARE,…; none=SHARE ships nothing (default: none)")
	fs.StringSliceVar(&f.countries, "countries", nil, "attribute country: cn=70%,jp=30%")
	fs.StringSliceVar(&f.runtimes, "runtimes", nil, "versions of the native shell: 3.2.0=80%,3.1.0=20%")
	fs.StringArrayVar(&f.metrics, "metric", nil, "what devices measure once a release is confirmed: NAME=VERSION:RATE for yes or no, NAME=VERSION:MEAN~DEVIATION for numbers (repeatable)")
	fs.IntVar(&f.liars, "liars", 0, "senders that are no devices: half report failures without having enrolled, half enrol and fail from one network")
	fs.IntVar(&f.networks, "networks", 0, "networks of the devices (default: one for 20 devices)")
	fs.Uint64Var(&f.seed, "seed", 0, "the same seed makes the same devices with the same fates (default: a new one)")
	fs.IntVar(&f.workers, "workers", 0, "requests at the same time (default 64)")
	return c
}

func (t *tool) simulate(ctx context.Context, f *simulateFlags) error {
	cfg, err := t.simulated(ctx, f)
	if err != nil {
		return err
	}
	fleet, err := simfleet.New(cfg, nil)
	if err != nil {
		return usageError{err}
	}
	server, err := t.counting(cfg.Servers[0], f.token)
	if err != nil {
		return err
	}
	before, err := countsOf(ctx, server, cfg.App, cfg.Channel)
	if err != nil {
		return err
	}
	lasting := f.lasting
	if lasting == 0 {
		lasting = math.MaxInt64
	}
	running, cancel := context.WithTimeout(ctx, lasting)
	defer cancel()
	var beside sync.WaitGroup
	beside.Go(func() { t.showProgress(running, fleet, cfg.Devices) })
	if f.settle {
		beside.Go(func() {
			for running.Err() == nil && fleet.Now().Settled < cfg.Devices {
				time.Sleep(20 * time.Millisecond)
			}
			cancel()
		})
	}
	fleet.Run(running)
	cancel()
	beside.Wait()
	out := simulated{Report: fleet.Report()}
	after, err := countsOf(context.WithoutCancel(ctx), server, cfg.App, cfg.Channel)
	if err != nil {
		return err
	}
	out.Counted = compareCounts(out.Report, before, after)
	if err := t.print(out, func(w io.Writer) { out.write(w) }); err != nil {
		return err
	}
	if out.Arrived == 0 {
		return slipstream.Hint(errors.New("no device reached the server"), "the errors above say why")
	}
	return nil
}

// counting is the management API for looking things up; nil when no token is at hand.
func (t *tool) counting(url, token string) (*api.Client, error) {
	saved, err := t.env.Folder().LoadServer()
	if err != nil {
		return nil, err
	}
	token = first(token, t.env.Get("token", ""))
	if token == "" && url == saved.URL {
		token = saved.Token
	}
	if token == "" {
		return nil, nil
	}
	return api.NewClient(url, token, nil)
}

// simulated makes the fleet's configuration from flags, environment, the publisher's folder and the server.
func (t *tool) simulated(ctx context.Context, f *simulateFlags) (cfg simfleet.Config, err error) {
	d := &f.device
	if d.app, err = t.defaultApp(d.app); err != nil {
		return cfg, err
	}
	if len(d.packages) != 1 {
		return cfg, usageError{errors.New("simulated devices have one package")}
	}
	cfg = simfleet.Config{App: d.app, Channel: d.channel, Package: d.packages[0], Platform: d.platform, Devices: f.devices, Arrive: f.arrive,
		Pattern: simfleet.Pattern(f.pattern), Poll: f.poll, Restart: f.restart, Confirm: f.wait, Networks: f.networks, Liars: f.liars, Seed: f.seed, Workers: f.workers}
	if !f.seedSaid {
		cfg.Seed = rand.Uint64() >> 1 // so that it fits into any JSON reader's integers
	}
	if cfg.Restart == 0 {
		cfg.Restart = -1
	}
	if cfg.Confirm == 0 {
		cfg.Confirm = -1
	}
	if cfg.Servers, err = d.serverList(t); err != nil {
		return cfg, err
	}
	if cfg.Root, err = d.rootEnvelope(t); err != nil {
		return cfg, err
	}
	if cfg.Rates, err = parseRates(f.crash, f.hang, f.silent); err != nil {
		return cfg, usageError{err}
	}
	if cfg.Countries, err = parseParts(f.countries); err != nil {
		return cfg, usageError{fmt.Errorf("countries: %w", err)}
	}
	if cfg.Runtimes, err = parseParts(f.runtimes); err != nil {
		return cfg, usageError{fmt.Errorf("runtimes: %w", err)}
	}
	if cfg.Metrics, err = parseMetrics(f.metrics); err != nil {
		return cfg, usageError{err}
	}
	cfg.Shipped, err = t.ship(ctx, f, &cfg)
	return cfg, err
}

// ship fetches what comes with the app of the devices.
func (t *tool) ship(ctx context.Context, f *simulateFlags, cfg *simfleet.Config) ([]simfleet.Part[client.Embedded], error) {
	parts, err := parseParts(f.versions)
	if err != nil {
		return nil, usageError{fmt.Errorf("versions: %w", err)}
	}
	var out []simfleet.Part[client.Embedded]
	var server *api.Client
	for _, p := range parts {
		var e client.Embedded
		if p.Value != "none" {
			if server == nil {
				if server, err = t.counting(cfg.Servers[0], f.token); err != nil {
					return nil, err
				}
			}
			if server == nil {
				return nil, slipstream.Hint(errors.New("versions cannot be looked up without a token"), "give --token, or run `slipstream login`")
			}
			r, err := server.Release(ctx, cfg.App, cfg.Package+"@"+p.Value)
			if err != nil {
				return nil, slipstream.Hint(fmt.Errorf("look up version %s: %w", p.Value, err), "`slipstream release list` shows what there is")
			}
			if e, err = simfleet.Ship(ctx, cfg.Servers[0], cfg.Root, r.Digest); err != nil {
				return nil, err
			}
		}
		out = append(out, simfleet.Part[client.Embedded]{Value: e, Weight: p.Weight})
	}
	return out, nil
}

// parseRate reads a share: 2%, 0.02, 1.
func parseRate(s string) (float64, error) {
	number, percent := strings.CutSuffix(strings.TrimSpace(s), "%")
	x, err := strconv.ParseFloat(number, 64)
	if percent {
		x /= 100
	}
	if err != nil || !(x >= 0 && x <= 1) {
		return 0, fmt.Errorf("rate %q must be between 0%% and 100%%, such as 2%% or 0.02", s)
	}
	return x, nil
}

// parseRates reads RATE and VERSION=RATE of the three fates. A version has the general rate where it has none of its own.
func parseRates(crash, hang, silent []string) (map[string]simfleet.Rates, error) {
	out := map[string]simfleet.Rates{}
	for _, general := range []bool{true, false} {
		for fate, list := range [][]string{crash, hang, silent} {
			for _, s := range list {
				version, rate, named := strings.Cut(s, "=")
				if named == general {
					continue
				}
				if !named {
					version, rate = "", s
				} else if version == "" {
					return nil, fmt.Errorf("rate %q is neither RATE nor VERSION=RATE", s)
				}
				x, err := parseRate(rate)
				if err != nil {
					return nil, err
				}
				r, known := out[version]
				if !known {
					r = out[""]
				}
				*[]*float64{&r.Crash, &r.Hang, &r.Silent}[fate] = x
				out[version] = r
			}
		}
	}
	return out, nil
}

// parseParts reads VALUE=SHARE; without a share all weigh the same.
func parseParts(list []string) ([]simfleet.Part[string], error) {
	var out []simfleet.Part[string]
	for _, s := range list {
		value, weight, named := strings.Cut(strings.TrimSpace(s), "=")
		p := simfleet.Part[string]{Value: value, Weight: 1}
		if named {
			var err error
			if p.Weight, err = strconv.ParseFloat(strings.TrimSuffix(weight, "%"), 64); err != nil || !(p.Weight >= 0) {
				return nil, fmt.Errorf("%q is not VALUE=SHARE", s)
			}
		}
		if value == "" {
			return nil, fmt.Errorf("%q is not VALUE=SHARE", s)
		}
		out = append(out, p)
	}
	return out, nil
}

// parseMetrics reads NAME=VERSION:RATE and NAME=VERSION:MEAN~DEVIATION.
func parseMetrics(list []string) ([]simfleet.Metric, error) {
	var out []simfleet.Metric
	at := map[string]int{}
	for _, s := range list {
		name, rest, _ := strings.Cut(s, "=")
		version, value, found := strings.Cut(rest, ":")
		if name == "" || !found {
			return nil, fmt.Errorf("metric %q is neither NAME=VERSION:RATE nor NAME=VERSION:MEAN~DEVIATION", s)
		}
		var spread simfleet.Spread
		var err error
		if mean, deviation, number := strings.Cut(value, "~"); number {
			var bad error
			spread.Mean, err = strconv.ParseFloat(mean, 64)
			spread.Deviation, bad = strconv.ParseFloat(deviation, 64)
			if err = errors.Join(err, bad); err == nil && !(spread.Deviation > 0) {
				err = errors.New("the deviation must be above 0")
			}
		} else {
			spread.Mean, err = parseRate(value)
		}
		if err != nil {
			return nil, fmt.Errorf("metric %q: %w", s, err)
		}
		if _, known := at[name]; !known {
			at[name] = len(out)
			out = append(out, simfleet.Metric{Name: name, Of: map[string]simfleet.Spread{}})
		}
		out[at[name]].Of[version] = spread
	}
	return out, nil
}
