package simfleet

import (
	"encoding/json"
	"errors"
	"hash/fnv"
	"math"
	"slices"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client"
)

// Rates are the shares of the devices on which a release, when it is tried, ends in a certain way. Their sum is at most 1.
type Rates struct {
	Crash  float64 `json:"crash,omitempty"`  // crashes at every start before it is confirmed
	Hang   float64 `json:"hang,omitempty"`   // the same, found by the watchdog
	Silent float64 `json:"silent,omitempty"` // the device is never heard of again
}

func (r Rates) check() error {
	for _, x := range []float64{r.Crash, r.Hang, r.Silent, r.Crash + r.Hang + r.Silent} {
		if !(x >= 0 && x <= 1) {
			return slipstream.Invalidf("rates %+v: each, and their sum, must be between 0 and 1", r)
		}
	}
	return nil
}

// Part is a value that some of the devices have. Weights are in any unit.
type Part[T any] struct {
	Value  T
	Weight float64
}

// Metric is a measurement that devices report once a release is confirmed. By release version, "" for all others; a
// version without one reports nothing.
type Metric struct {
	Name string
	Of   map[string]Spread
}

// Spread says how the values of a metric are spread over devices: around Mean with this standard deviation; without one,
// yes with the chance Mean.
type Spread struct{ Mean, Deviation float64 }

// Pattern is how devices arrive within Config.Arrive.
type Pattern string

// The patterns.
const (
	Even  Pattern = "even"  // at random times
	Rush  Pattern = "rush"  // most of them at the beginning, like after a push
	Waves Pattern = "waves" // four times more, four times fewer, like days
)

// Config is what a fleet is made of. App, Servers, Root and Devices are needed.
type Config struct {
	App, Channel, Package, Platform string
	Servers                         []string
	Root                            []byte
	Devices                         int

	Arrive  time.Duration // over which the devices come for the first time
	Pattern Pattern       // default even
	Poll    time.Duration // between two checks of a device, give or take a quarter; default 15 s
	Restart time.Duration // longest time until a device is started anew with what it staged; default 2 s
	Confirm time.Duration // from a start to the word that it works, or to a crash; default 1 s, negative = none

	Rates     map[string]Rates        // by version; "" for all that have none of their own
	Shipped   []Part[client.Embedded] // what comes with the app; none = nothing, seq 0
	Countries []Part[string]
	Runtimes  []Part[string]
	Metrics   []Metric
	Networks  int // of the devices; default one for 20 devices, at least 8
	Liars     int // senders that are no devices
	Seed      uint64
	Workers   int // requests at the same time; default 64
}

// Defaults.
const (
	defaultPoll    = 15 * time.Second
	defaultRestart = 2 * time.Second
	defaultConfirm = time.Second
	defaultWorkers = 64
	fewestNetworks = 8
	mostNetworks   = 1 << 16
	perNetwork     = 20
)

func (cfg *Config) complete() error {
	switch {
	case cfg.Devices < 1:
		return slipstream.Invalidf("a fleet of %d devices: at least 1 is needed", cfg.Devices)
	case len(cfg.Servers) == 0:
		return errors.New("a fleet without a server")
	case cfg.Networks < 0 || cfg.Networks > mostNetworks:
		return slipstream.Invalidf("%d networks: at most %d can be made up", cfg.Networks, mostNetworks)
	}
	cfg.Channel = orElse(cfg.Channel, slipstream.DefaultChannel)
	cfg.Package = orElse(cfg.Package, slipstream.DefaultPackage)
	cfg.Platform = orElse(cfg.Platform, slipstream.PlatformAny)
	cfg.Pattern = orElse(cfg.Pattern, Even)
	if !slices.Contains([]Pattern{Even, Rush, Waves}, cfg.Pattern) {
		return slipstream.Invalidf("pattern %q must be even, rush or waves", cfg.Pattern)
	}
	for _, r := range cfg.Rates {
		if err := r.check(); err != nil {
			return err
		}
	}
	for _, weights := range [][]float64{weightsOf(cfg.Shipped), weightsOf(cfg.Countries), weightsOf(cfg.Runtimes)} {
		sum := 0.0
		for _, w := range weights {
			if !(w >= 0) || math.IsInf(w, 0) {
				return slipstream.Invalidf("weight %v must not be negative", w)
			}
			sum += w
		}
		if len(weights) > 0 && sum == 0 {
			return slipstream.Invalidf("all weights are 0")
		}
	}
	cfg.Poll = orElse(cfg.Poll, defaultPoll)
	cfg.Restart = max(orElse(cfg.Restart, defaultRestart), 0)
	cfg.Confirm = max(orElse(cfg.Confirm, defaultConfirm), 0)
	cfg.Workers = min(orElse(cfg.Workers, defaultWorkers), cfg.Devices)
	cfg.Networks = orElse(cfg.Networks, min(max(cfg.Devices/perNetwork, fewestNetworks), mostNetworks))
	return nil
}

func orElse[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

func weightsOf[T any](parts []Part[T]) []float64 {
	out := make([]float64, len(parts))
	for i, p := range parts {
		out[i] = p.Weight
	}
	return out
}

// pick chooses by a number in [0, 1).
func pick[T any](parts []Part[T], at float64) (v T) {
	sum := 0.0
	for _, p := range parts {
		sum += p.Weight
	}
	for _, p := range parts {
		v = p.Value
		if at -= p.Weight / sum; at < 0 {
			break
		}
	}
	return v
}

// seed makes numbers that depend on nothing but the seed, the device and what they are for.
type seed uint64

// mix is splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (s seed) number(device int, purpose string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(purpose))
	return mix(mix(mix(uint64(s))^uint64(device)) ^ h.Sum64())
}

// share is a number in [0, 1).
func (s seed) share(device int, purpose string) float64 {
	return float64(s.number(device, purpose)>>11) / (1 << 53)
}

// arrival is when a device comes, as a share of the time that all take.
func (s seed) arrival(device int, p Pattern) float64 {
	x := s.share(device, "arrival")
	switch p {
	case Rush:
		return x * x * x // half of them within the first eighth
	case Waves:
		const waves, depth = 4, 0.6 // the fewest at a time are a quarter of the most
		at := x
		for range 20 {
			turn := 2 * math.Pi * waves
			at -= (at + depth*math.Sin(turn*at)/turn - x) / (1 + depth*math.Cos(turn*at)) // Newton
		}
		return min(max(at, 0), 1)
	}
	return x
}

// fate is how a device's trials of one release end.
type fate string

const (
	works  fate = ""
	crash  fate = "crash"
	hang   fate = "hang"
	silent fate = "silent"
)

func (r Rates) fate(x float64) fate {
	switch {
	case x < r.Silent:
		return silent
	case x < r.Silent+r.Crash:
		return crash
	case x < r.Silent+r.Crash+r.Hang:
		return hang
	}
	return works
}

func (cfg *Config) rates(version string) Rates {
	if r, own := cfg.Rates[version]; own {
		return r
	}
	return cfg.Rates[""]
}

// value is what a device measures; nil when the version measures nothing.
func (m *Metric) value(s seed, device int, version string) any {
	spread, ok := m.Of[version]
	if !ok {
		if spread, ok = m.Of[""]; !ok {
			return nil
		}
	}
	x := s.share(device, "metric/"+m.Name+"/"+version)
	if spread.Deviation == 0 {
		return x < spread.Mean
	}
	y := s.share(device, "metric2/"+m.Name+"/"+version)
	return spread.Mean + spread.Deviation*math.Sqrt(-2*math.Log(1-x))*math.Cos(2*math.Pi*y) // Box and Muller
}

func quoted(s string) json.RawMessage {
	raw, err := json.Marshal(s)
	if err != nil {
		return nil
	}
	return raw
}
