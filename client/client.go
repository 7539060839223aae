package client

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client/trial"
	"github.com/slipstream-ota/slipstream/decide"
	"github.com/slipstream-ota/slipstream/sign"
)

// Embedded is the release that ships inside the app. Manifest is its signed envelope; without one it counts as seq 0.
// Dir is where the host runs it from, when it lies on disk.
type Embedded struct {
	Files    fs.FS
	Dir      string
	Manifest []byte
}

// Limits bound what a server can make a device wait for. Zero fields take the defaults.
type Limits struct {
	Document time.Duration // for one document; default 30 s
	Download time.Duration // for one object beside what its size needs at MinRate; default 10 min
	MinRate  int64         // bytes per second, averaged over Window; default 1024
	Window   time.Duration // default 30 s
	Rounds   int           // how often all servers are tried; default 3
	Backoff  time.Duration // longest wait before the second round, doubled with each, up to 30 s; default 1 s
	Memory   int           // bytes of tables and bytecode that unpacking an update may hold; default 16 MiB, less takes larger downloads
}

// Config sets a client up. Dir, App, Servers and Root are needed.
type Config struct {
	Dir, App string
	Channel  string   // default: the one of the last run, at first production
	Platform string   // default any
	Runtime  string   // of the native shell: a version or a fingerprint
	Packages []string // default main
	Servers  []string // base URLs, tried in turn
	Root     []byte   // the root envelope that ships inside the app; trust starts here and nowhere else
	Embedded map[string]Embedded

	OS, Model, Locale string
	Attributes        map[string]json.RawMessage // brand, country, custom.*

	MaxCrashes int           // default 2
	Retries    int           // further trials of a failed release; default 1, negative = none
	RetryAfter time.Duration // default 6 h
	History    int           // good releases kept per package; default 3
	Poll       time.Duration // between checks; 0 = what the server says
	Spread     time.Duration // longest random wait after Wake; default 10 min, negative = none
	Background time.Duration // how long a page may stay in the background; default 5 min
	Decisions  bool          // ask the server for a decision too, as private rollouts need
	Live       bool          // while Run runs, let the server tell of changes; where it cannot, polling does
	Limits     Limits
	Hooks      Hooks

	FS        FS
	Locks     Locks
	Clock     Clock
	Transport http.RoundTripper
	Rand      io.Reader
	Log       *slog.Logger
}

// Hooks are called by the client on its own goroutines, one at a time; they must not call the client. All may be nil.
type Hooks struct {
	// Prompt asks the user whether to apply a staged update now. The answer does not matter when it is mandatory. Checks go
	// on while it is open; it ends when ctx does.
	Prompt func(ctx context.Context, o Offer) bool
	// Restart says that the host should start again now: what is staged is meant to run at once, or what runs must be left.
	Restart func(ctx context.Context, c Change)
	// OnDataRollback announces that a package goes back to a release that cannot read what the one before wrote.
	OnDataRollback func(ctx context.Context, d DataRollback)
	// Metered and Idle hold back downloads of low priority.
	Metered func() bool
	Idle    func() bool
	// OnEvent sees every report as it is written down.
	OnEvent func(e slipstream.Event)
}

// Change says why a host should start again.
type Change struct {
	Packages []string
	Reason   slipstream.Reason
	Offers   []Offer // what is staged, when that is the cause
}

// DataRollback names the two releases and the format that the older one does not read.
type DataRollback struct {
	Package  string
	From, To slipstream.Digest
	Format   string
}

// Client keeps the packages of one app on one device. Its methods may be called from many goroutines.
type Client struct {
	cfg    Config
	disk   disk
	net    *network
	clock  Clock
	log    *slog.Logger
	proc   string
	fits   func(slipstream.Runtime) bool
	embeds map[string]trial.Release

	turn chan struct{} // holds one value: whoever has it checks, fetches or stages
	wake chan wakeUp
	told chan struct{} // something was put into the outbox

	parts  map[slipstream.Digest]bool // objects that the last fetch asked for; of whoever has the turn
	asking sync.Mutex                 // one question to the host at a time

	mu       sync.Mutex // guards all below, and the order of writes
	lock     io.Closer  // nil: another process may change things, we may not
	device   device
	trust    *sign.Trust
	root     *sign.Trust   // as shipped
	chain    []*sign.Trust // the roots that followed it, oldest first; the last one is trust
	salvaged bool          // no state was readable: what lies on the disk is kept until the next process knows what it needs
	number   int64         // of the newest generation
	body     body
	raw      []byte // that generation's bytes
	previous *trial.State
	states   map[string]heldState // last accepted, by channel
	channel  string
	leases   map[slipstream.Digest]*lease
	pages    map[string]*page
	closed   bool
	cleanup  sync.WaitGroup // updates that run behind an opened page
	behind   context.Context
	stop     context.CancelFunc
}

// device is the content of device.json.
type device struct {
	ID        string          `json:"id"`
	FirstSeen slipstream.Time `json:"firstSeen"`
}

// Open prepares a device's directory. When another process holds it, the client can still start what is in force, and
// every change is refused with reason locked.
func Open(ctx context.Context, cfg Config) (*Client, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	root, err := sign.OpenRoot(cfg.Root)
	if err != nil {
		return nil, fmt.Errorf("open the shipped root: %w", err)
	}
	if root.Root().App != cfg.App {
		return nil, slipstream.Refuse(slipstream.ReasonWrongApp, "root", "it is of app %q, not %q", root.Root().App, cfg.App)
	}
	behind, stop := context.WithCancel(context.WithoutCancel(ctx))
	c := &Client{
		cfg: cfg, disk: disk{FS: cfg.FS, dir: cfg.Dir}, clock: cfg.Clock, log: cfg.Log, root: root,
		turn: make(chan struct{}, 1), wake: make(chan wakeUp, 1), told: make(chan struct{}, 1),
		leases: map[slipstream.Digest]*lease{}, pages: map[string]*page{}, embeds: map[string]trial.Release{},
		fits:   func(r slipstream.Runtime) bool { return decide.Fits(r, cfg.Runtime) },
		behind: behind, stop: stop,
	}
	c.net = newNetwork(cfg)
	if c.proc, err = c.random(8); err != nil {
		return nil, err
	}
	c.openEmbedded()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.own(); err != nil && classify(err) == slipstream.ReasonInternal {
		return nil, fmt.Errorf("open %s: %w", cfg.Dir, err)
	}
	if c.lock == nil {
		c.reload()
	}
	return c, nil
}

func (cfg *Config) complete() error {
	for kind, name := range map[string]string{"app": cfg.App, "channel": orElse(cfg.Channel, slipstream.DefaultChannel), "platform": orElse(cfg.Platform, slipstream.PlatformAny)} {
		if err := slipstream.CheckName(kind, name); err != nil {
			return err
		}
	}
	if cfg.Dir == "" {
		return errors.New("open a client without a directory")
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return fmt.Errorf("find directory: %w", err)
	}
	cfg.Dir = dir
	cfg.Platform = orElse(cfg.Platform, slipstream.PlatformAny)
	if len(cfg.Packages) == 0 {
		cfg.Packages = []string{slipstream.DefaultPackage}
	}
	for _, pkg := range cfg.Packages {
		if err := slipstream.CheckName("package", pkg); err != nil {
			return err
		}
	}
	cfg.Packages = slices.Compact(slices.Sorted(slices.Values(cfg.Packages)))
	cfg.Spread = max(orElse(cfg.Spread, 10*time.Minute), 0)
	cfg.Background = orElse(cfg.Background, 5*time.Minute)
	cfg.FS, cfg.Locks = orElse[FS](cfg.FS, Disk{}), orElse[Locks](cfg.Locks, Disk{})
	cfg.Clock = orElse[Clock](cfg.Clock, systemClock{})
	cfg.Rand = orElse(cfg.Rand, rand.Reader)
	cfg.Log = orElse(cfg.Log, slog.New(slog.DiscardHandler))
	if cfg.Transport == nil {
		cfg.Transport = http.DefaultTransport
	}
	l := &cfg.Limits
	l.Document, l.Download = orElse(l.Document, 30*time.Second), orElse(l.Download, 10*time.Minute)
	l.MinRate, l.Window = orElse(l.MinRate, 1024), orElse(l.Window, 30*time.Second)
	l.Rounds, l.Backoff = orElse(l.Rounds, 3), orElse(l.Backoff, time.Second)
	l.Memory = orElse(l.Memory, 16<<20)
	return nil
}

// orElse is v, or otherwise when v is zero.
func orElse[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// openEmbedded reads the manifests that ship with the app. One that does not verify is as good as none: the app must
// run all the same.
func (c *Client) openEmbedded() {
	for _, pkg := range c.cfg.Packages {
		e := c.cfg.Embedded[pkg]
		r := trial.Release{Embedded: true, Runtime: slipstream.AnyRuntime()}
		if len(e.Manifest) > 0 {
			m, digest, err := c.root.Manifest(e.Manifest)
			if err == nil && (m.App != c.cfg.App || m.Package != pkg) {
				err = slipstream.Refuse(slipstream.ReasonManifestMismatch, "manifest", "it is of %s/%s", m.App, m.Package)
			}
			if err != nil {
				c.log.Error("the embedded release's manifest is not usable", "package", pkg, "error", err)
			} else {
				r = describe(m, digest)
				r.Embedded = true
			}
		}
		c.embeds[pkg] = r
	}
}

// describe is what the state machine knows of a verified manifest.
func describe(m *slipstream.Manifest, digest slipstream.Digest) trial.Release {
	return trial.Release{Digest: digest, Seq: m.Seq, Version: m.Version, Runtime: m.Runtime, Fallback: m.Fallback, Requires: m.Requires}
}

// own takes the lock, if it can, and loads everything. mu is held.
func (c *Client) own() error {
	if c.lock != nil {
		return nil
	}
	if c.closed {
		return errors.New("the client is closed")
	}
	if err := c.disk.makeFolders(); err != nil {
		return storage("make folders", err)
	}
	lock, err := c.cfg.Locks.TryLock(c.disk.path("lock"))
	if errors.Is(err, ErrLocked) {
		return &slipstream.Refusal{Reason: slipstream.ReasonLocked, What: "directory " + c.cfg.Dir, Err: err}
	}
	if err != nil {
		return storage("take the lock", err)
	}
	c.lock = lock
	if err := c.disk.leftovers(); err != nil {
		c.log.Warn("leftovers stay", "error", err)
	}
	c.reload()
	if err := c.identify(); err != nil {
		c.log.Warn("the device has no lasting id", "error", err)
	}
	if err := c.keepRoot(); err != nil {
		c.log.Warn("the root is not kept", "error", err)
	}
	if err := c.unstageRevoked(); err != nil {
		c.log.Warn("a staged release of a former key stays", "error", err)
	}
	if want := c.cfg.Channel; want != "" && want != c.channel {
		if err := c.changeChannel(want); err != nil {
			c.log.Warn("the change of channel is not kept", "error", err)
		}
	}
	return nil
}

// reload reads what is on disk. mu is held.
func (c *Client) reload() {
	c.takeChain()
	l := c.disk.load()
	for _, err := range l.damage {
		c.log.Error("state unusable", "error", err)
	}
	if !l.found {
		l.body.Trial = trial.New(orElse(c.cfg.Channel, slipstream.DefaultChannel), c.cfg.Runtime)
	}
	if !l.newest {
		l.body.Trial = c.salvage(l.body.Trial)
		c.salvaged = !l.found && len(l.damage) > 0
	}
	c.channel = l.body.Trial.Channel
	c.number, c.body, c.raw, c.previous = l.number, l.body, l.raw, l.previous
	if len(l.damage) > 0 {
		e := slipstream.Event{Kind: slipstream.KindFailed, Stage: "start", Reason: slipstream.ReasonStorageCorrupted, Detail: l.damage[0].Error()}
		c.body.Outbox = append(c.body.Outbox, c.complete(e))
	}
	c.states = map[string]heldState{}
	if role := roleKey(c.trust); c.body.StateRole == "" {
		c.body.StateRole = role
	} else if c.body.StateRole != role && c.lock != nil {
		if err := c.forgetStates(); err != nil {
			c.log.Error("states of another key not forgotten", "error", err)
		}
	}
	if raw, err := c.disk.read(c.disk.path("device.json"), 4<<10); err == nil {
		var d device
		if decodeStrict(raw, &d) == nil && len(d.ID) == 32 {
			c.device = d
		}
	}
}

// identify makes the install id on the first run. mu is held.
func (c *Client) identify() error {
	if c.device.ID != "" {
		return nil
	}
	id, err := c.random(16)
	if err != nil {
		return err
	}
	d := device{ID: id, FirstSeen: slipstream.At(c.clock.Now())}
	raw, err := json.Marshal(d)
	if err != nil {
		return err
	}
	c.device = d
	return storage("write device.json", c.disk.write(c.disk.path("device.json"), raw))
}

// Device is the device's id on the wire; the install id itself never leaves the device.
func (c *Client) Device() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deviceID()
}

func (c *Client) deviceID() string {
	if c.device.ID == "" {
		return ""
	}
	return slipstream.DeviceID(c.cfg.App, c.device.ID)
}

func (c *Client) random(n int) (string, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(c.cfg.Rand, b); err != nil {
		return "", fmt.Errorf("read random bytes: %w", err)
	}
	return hex.EncodeToString(b), nil
}

func (c *Client) env() trial.Env {
	return trial.Env{
		Now: c.clock.Now(), Process: c.proc, Runtime: c.cfg.Runtime, Fits: c.fits, Embedded: c.embeds,
		Rules: trial.Rules{MaxCrashes: c.cfg.MaxCrashes, Retries: c.cfg.Retries, RetryAfter: c.cfg.RetryAfter, History: c.cfg.History},
	}
}

// commit makes next the state of the device, durably or not at all. Events go into the outbox in the same write. Who
// changes anything owns the directory before it computes next. mu is held.
func (c *Client) commit(next body, events ...slipstream.Event) error {
	if c.lock == nil {
		return &slipstream.Refusal{Reason: slipstream.ReasonLocked, What: "directory " + c.cfg.Dir, Err: ErrLocked}
	}
	next.Outbox = slices.Clone(next.Outbox)
	done := make([]slipstream.Event, 0, len(events))
	for _, e := range events {
		done = append(done, c.complete(e))
	}
	next.Outbox = bounded(append(next.Outbox, done...))
	next.Told = c.toldBy(next.Told, done)
	raw, err := encodeGeneration(c.number+1, next)
	for slipstream.ReasonOf(err, "") == slipstream.ReasonTooLarge && len(next.Outbox) > 0 {
		next.Outbox = next.Outbox[(len(next.Outbox)+1)/2:] // the roles of releases matter more than old reports
		raw, err = encodeGeneration(c.number+1, next)
	}
	if err != nil {
		return err
	}
	if len(c.raw) > 0 {
		if err := c.disk.write(c.disk.path(previousState), c.raw); err != nil {
			return storage("write state", err)
		}
	}
	if err := c.disk.write(c.disk.path(stateFile), raw); err != nil {
		return storage("write state", err)
	}
	before := c.body.Trial
	c.number, c.body, c.raw, c.previous = c.number+1, next, raw, &before
	for _, e := range done {
		c.log.Info("event", "kind", e.Kind, "package", e.Package, "release", e.Release.Short(), "reason", e.Reason)
		if c.cfg.Hooks.OnEvent != nil {
			c.cfg.Hooks.OnEvent(e)
		}
	}
	if len(done) > 0 {
		select {
		case c.told <- struct{}{}:
		default:
		}
	}
	return nil
}

// step applies one transition of the state machine and persists it. mu is held.
func (c *Client) step(s trial.State, events []slipstream.Event) error {
	next := c.body
	next.Trial = s
	return c.commit(next, events...)
}

// Held describes the roles of one package, for people and tests.
type Held struct {
	Running, Official trial.Release
	Staged, Trial     *trial.Release
	History           []trial.Release
	Anchor            trial.Release
	Refusals          []trial.Refusal
}

// Holds says what the device holds of pkg.
func (c *Client) Holds(pkg string) Held {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, env := c.body.Trial, c.env()
	h := Held{Running: s.Running(env, pkg), Official: s.Official(env, pkg), History: slices.Clone(s.Packages[pkg].History), Anchor: s.Anchor(env, pkg)}
	if r, ok := s.StagedFor(pkg); ok {
		h.Staged = &r
	}
	if s.Trial != nil {
		if r, ok := s.Trial.Members[pkg]; ok {
			h.Trial = &r
		}
	}
	for _, f := range s.Refusals {
		if f.Package == pkg {
			h.Refusals = append(h.Refusals, f)
		}
	}
	return h
}

// Version is the version of a release that is on the device, "" when it is not known.
func (c *Client) Version(d slipstream.Digest) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.embeds {
		if d != "" && e.Digest == d {
			return e.Version
		}
	}
	if t := c.holding(d); t != nil {
		return t.manifest.Version
	}
	return ""
}

// ChangeChannel moves the device to another channel. Only the host can do that.
func (c *Client) ChangeChannel(ctx context.Context, channel string) error {
	if err := slipstream.CheckName("channel", channel); err != nil {
		return err
	}
	_, release, err := c.takeTurn(ctx)
	if err != nil {
		return err
	}
	defer release()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.own(); err != nil {
		return err
	}
	return c.changeChannel(channel)
}

// changeChannel moves in memory even when the disk refuses: the host's word counts. mu is held.
func (c *Client) changeChannel(channel string) error {
	s, events := trial.ChangeChannel(c.body.Trial, c.env(), channel)
	c.channel, c.cfg.Channel = channel, channel
	if err := c.step(s, events); err != nil {
		c.body.Trial = s
		return err
	}
	return nil
}

// takeTurn waits until nobody else checks, fetches or stages. The context that it gives ends with the client too.
func (c *Client) takeTurn(ctx context.Context) (_ context.Context, release func(), err error) {
	select {
	case c.turn <- struct{}{}:
		ctx, cancel := context.WithCancel(ctx)
		unhook := context.AfterFunc(c.behind, cancel)
		return ctx, func() { unhook(); cancel(); <-c.turn }, nil
	case <-ctx.Done():
		return ctx, nil, context.Cause(ctx)
	}
}

// Close ends what is under way, waits for it, and gives the directory up. What was started keeps running; its end can no longer be told.
func (c *Client) Close() error {
	c.stop()
	c.cleanup.Wait()
	c.turn <- struct{}{} // whoever writes must be done before another process may
	defer func() { <-c.turn }()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	var errs []error
	for _, l := range c.leases {
		errs = append(errs, l.drop(c.disk))
	}
	clear(c.leases)
	if c.lock != nil {
		errs = append(errs, c.lock.Close())
		c.lock = nil
	}
	return errors.Join(errs...)
}
