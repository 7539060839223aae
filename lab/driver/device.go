package driver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client"
	"github.com/slipstream-ota/slipstream/internal/crashfs"
	"github.com/slipstream-ota/slipstream/sign"
)

// Device is the Go client. The zero value is ready for init.
type Device struct {
	// Transport carries the requests; nil takes plain HTTP of its own.
	Transport http.RoundTripper

	own     *http.Transport
	memory  *crashfs.FS
	clock   clock
	log     reasons
	setup   Setup
	fs      client.FS
	client  *client.Client
	launch  *client.Launch
	shipped int64
	kept    []byte // the newest root that was seen on the disk
	newest  int64  // and its version
	epoch   int64
	answers map[string]client.Answer
}

var _ Driver = (*Device)(nil)

// clock shows what it was told, and waits as the real one does.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

func (c *clock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// reasons is a log of which only the reasons of refusals are kept.
type reasons struct {
	mu   sync.Mutex
	seen []slipstream.Reason
}

func (r *reasons) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }
func (r *reasons) WithAttrs([]slog.Attr) slog.Handler           { return r }
func (r *reasons) WithGroup(string) slog.Handler                { return r }

func (r *reasons) Handle(_ context.Context, rec slog.Record) error {
	rec.Attrs(func(a slog.Attr) bool {
		err, is := a.Value.Any().(error)
		if !is {
			return true
		}
		if reason := slipstream.ReasonOf(err, ""); reason != "" {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.seen = append(r.seen, reason)
		}
		return true
	})
	return nil
}

func (r *reasons) take() []slipstream.Reason {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := append([]slipstream.Reason{}, r.seen...)
	r.seen = nil
	return out
}

// Tell does one command.
func (d *Device) Tell(ctx context.Context, c Command) (Answer, error) {
	if c.Now != nil {
		d.clock.set(c.Now.Time)
	}
	if d.client == nil && c.Do != DoInit && c.Do != DoQuit {
		return failed(errors.New("no init yet")), nil
	}
	var err error
	switch c.Do {
	case DoInit:
		err = d.init(ctx, c.Setup)
	case DoUpdate:
		err = d.update(ctx)
	case DoStart:
		d.launch, err = d.client.Start(ctx)
		if err == nil && d.launch.Token == "" {
			err = slipstream.Refuse(d.launch.Reason, "start", "it is not kept")
		}
	case DoConfirm, DoCrash:
		err = d.end(ctx, c.Do)
	case DoReport:
		err = d.client.Report(ctx)
	case DoState:
	case DoQuit:
		return Answer{OK: true}, d.Close()
	default:
		err = fmt.Errorf("command %q is not known", c.Do)
	}
	if cause := context.Cause(ctx); cause != nil {
		return Answer{}, cause
	}
	a := failed(err)
	a.Warnings = d.log.take()
	if d.client == nil {
		return a, nil
	}
	return a, d.describe(&a, c.Do == DoStart)
}

func failed(err error) Answer {
	if err == nil {
		return Answer{OK: true}
	}
	return Answer{Reason: slipstream.ReasonOf(err, slipstream.ReasonInternal), Error: err.Error()}
}

func (d *Device) init(ctx context.Context, s Setup) error {
	if err := d.shut(); err != nil {
		return err
	}
	transport := d.Transport
	if transport == nil {
		d.own = &http.Transport{}
		transport = d.own
	}
	cfg := client.Config{
		Dir: s.Dir, App: s.App, Channel: s.Channel, Platform: s.Platform, Runtime: s.Runtime, Packages: s.Packages, Servers: s.Servers,
		Root: []byte(s.Root), Decisions: s.Decisions, Embedded: map[string]client.Embedded{}, Clock: &d.clock, Transport: transport, Log: slog.New(&d.log),
		Limits: client.Limits{
			Rounds: 1, Document: millis(s.Limits.Document), Download: millis(s.Limits.Download), Window: millis(s.Limits.Window), MinRate: s.Limits.MinRate,
		},
		FS: client.Disk{}, Locks: client.Disk{},
	}
	for pkg, manifest := range s.Embedded {
		cfg.Embedded[pkg] = client.Embedded{Manifest: []byte(manifest)}
	}
	if s.Dir == "" {
		if d.memory == nil {
			d.memory = crashfs.New()
		}
		cfg.Dir = filepath.FromSlash("/device")
		if err := d.memory.MkdirAll(cfg.Dir); err != nil {
			return err
		}
		cfg.FS, cfg.Locks = d.memory, d.memory
	}
	d.setup, d.fs = s, cfg.FS
	d.setup.Dir = cfg.Dir
	if len(d.setup.Packages) == 0 {
		d.setup.Packages = []string{slipstream.DefaultPackage}
	}
	if root, err := sign.OpenRoot(cfg.Root); err == nil {
		d.shipped = root.Root().Version
	}
	var err error
	d.client, err = client.Open(ctx, cfg)
	return err
}

func millis(n int) time.Duration { return time.Duration(n) * time.Millisecond }

func (d *Device) update(ctx context.Context) error {
	d.answers = nil
	u, err := d.client.Update(ctx)
	if u != nil && u.Checked != nil {
		d.epoch, d.answers = u.Epoch, u.Answers
	}
	return err
}

func (d *Device) end(ctx context.Context, how string) error {
	if d.launch == nil {
		return errors.New("nothing was started")
	}
	if how == DoConfirm {
		return d.launch.Confirm(ctx)
	}
	return d.launch.Crash(ctx, "told so")
}

// describe fills in what the device has.
func (d *Device) describe(a *Answer, started bool) error {
	a.Epoch, a.Packages = d.epoch, map[string]Package{}
	a.Root = d.shipped
	if raw, err := d.read(filepath.Join(d.setup.Dir, "trust", "root.json")); err == nil && !bytes.Equal(raw, d.kept) {
		if trust, err := sign.OpenRoot(raw); err == nil {
			d.kept, d.newest = raw, trust.Root().Version
		}
	}
	a.Root = max(a.Root, d.newest)
	for _, pkg := range d.setup.Packages {
		h := d.client.Holds(pkg)
		p := Package{Running: h.Running.Digest, Embedded: h.Running.Embedded, Anchor: h.Anchor.Seq, Trial: h.Trial != nil}
		if h.Staged != nil {
			p.Staged = h.Staged.Digest
		}
		p.Verdict, p.Why = d.answers[pkg].Verdict, d.answers[pkg].Reason
		if started && d.launch != nil {
			t := d.launch.Packages[pkg]
			p.Running, p.Embedded, p.Trial = t.Release, t.Embedded, t.Trial
			p.Files = map[string]slipstream.Digest{}
			if !t.Embedded {
				if err := d.hash(t.Dir, "", p.Files); err != nil {
					return fmt.Errorf("read what runs: %w", err)
				}
			}
		}
		a.Packages[pkg] = p
	}
	return nil
}

func (d *Device) hash(dir, prefix string, into map[string]slipstream.Digest) error {
	entries, err := d.fs.ReadDir(dir)
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		if e.IsDir() {
			err = errors.Join(err, d.hash(name, prefix+e.Name()+"/", into))
			continue
		}
		raw, rerr := d.read(name)
		err = errors.Join(err, rerr)
		into[prefix+e.Name()] = slipstream.DigestOf(sha256.Sum256(raw))
	}
	return err
}

func (d *Device) read(name string) ([]byte, error) {
	f, err := d.fs.Open(name)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(f)
	return raw, errors.Join(err, f.Close())
}

// Used is how many bytes the device's directory holds, when it is in memory.
func (d *Device) Used() (int64, error) {
	if d.memory == nil {
		return 0, nil
	}
	return used(d.memory, d.setup.Dir)
}

func used(disk client.FS, dir string) (int64, error) {
	entries, err := disk.ReadDir(dir)
	var total int64
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		if e.IsDir() {
			n, err := used(disk, name)
			if err != nil {
				return total, err
			}
			total += n
			continue
		}
		f, err := disk.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return total, err
		}
		n, err := f.Size()
		if err := errors.Join(err, f.Close()); err != nil {
			return total, err
		}
		total += n
	}
	return total, err
}

// shut ends the client.
func (d *Device) shut() error {
	var err error
	if d.client != nil {
		err = d.client.Close()
	}
	if d.own != nil {
		d.own.CloseIdleConnections()
	}
	d.client, d.launch, d.own, d.answers, d.epoch = nil, nil, nil, nil, 0
	d.log.take()
	return err
}

// Close ends the client and forgets a device that was in memory.
func (d *Device) Close() error {
	err := d.shut()
	d.memory, d.kept, d.newest = nil, nil, 0
	return err
}

var _ slog.Handler = (*reasons)(nil)
