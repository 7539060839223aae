package client

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/sign"
)

// fakeClock stands still until it is moved. Short waits (the pauses of a retry) are over at once.
type fakeClock struct {
	mu     sync.Mutex
	now    time.Time
	timers []fakeTimer
}

type fakeTimer struct {
	at time.Time
	ch chan time.Time
}

func newClock() *fakeClock {
	return &fakeClock{now: time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)}
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := make(chan time.Time, 1)
	if d < 10*time.Second {
		ch <- c.now
		return ch
	}
	c.timers = append(c.timers, fakeTimer{c.now.Add(d), ch})
	return ch
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	c.timers = slices.DeleteFunc(c.timers, func(t fakeTimer) bool {
		if t.at.After(c.now) {
			return false
		}
		t.ch <- c.now
		return true
	})
}

// seeded is deterministic randomness that many goroutines may read.
type seeded struct {
	mu  sync.Mutex
	rng *rand.ChaCha8
}

func newSeeded(seed byte) *seeded {
	return &seeded{rng: rand.NewChaCha8([32]byte{seed})}
}

func (s *seeded) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rng.Read(p)
}

func signer(seed byte) sign.Signer {
	return sign.NewSigner(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize)))
}

func (faultyFile) Sync() error { return nil }

// bench is one device and its server.
type bench struct {
	*testing.T
	clock *fakeClock
	repo  *repository
	disk  *faultyDisk
	cfg   Config
	c     *Client
	told  []slipstream.Event
	asks  []Change
}

// newBench opens a device on a fresh directory; change edits its configuration first.
func newBench(t *testing.T, change ...func(*Config)) *bench {
	t.Helper()
	b := &bench{T: t, clock: newClock(), disk: &faultyDisk{}}
	b.repo = newRepository(t, b.clock)
	b.cfg = Config{Dir: t.TempDir(), App: "shop", Runtime: "1.0.0", Servers: []string{"http://a.test"}, Root: b.repo.roots[0],
		FS: b.disk, Clock: b.clock, Transport: b.repo, Rand: newSeeded(9), Limits: Limits{Rounds: 2}}
	b.cfg.Hooks.OnEvent = func(e slipstream.Event) { b.told = append(b.told, e) }
	b.cfg.Hooks.Restart = func(_ context.Context, c Change) { b.asks = append(b.asks, c) }
	for _, f := range change {
		f(&b.cfg)
	}
	b.open()
	return b
}

func (b *bench) open() {
	b.Helper()
	c, err := Open(b.Context(), b.cfg)
	if err != nil {
		b.Fatalf("open: %v", err)
	}
	b.c = c
	b.Cleanup(func() { c.Close() })
}

// reopen is a restart of the process.
func (b *bench) reopen(change ...func(*Config)) {
	b.Helper()
	if err := b.c.Close(); err != nil {
		b.Fatalf("close: %v", err)
	}
	for _, f := range change {
		f(&b.cfg)
	}
	b.open()
}

func (b *bench) update() *Updated {
	b.Helper()
	u, err := b.c.Update(b.Context())
	if err != nil {
		b.Fatalf("update: %v", err)
	}
	return u
}

func (b *bench) updateFails(reason slipstream.Reason) {
	b.Helper()
	if _, err := b.c.Update(b.Context()); err == nil || classify(err) != reason {
		b.Fatalf("update: want reason %s, got %v", reason, err)
	}
}

func (b *bench) start() *Launch {
	b.Helper()
	l, err := b.c.Start(b.Context())
	if err != nil {
		b.Fatalf("start: %v", err)
	}
	return l
}

func (b *bench) confirm(l *Launch) {
	b.Helper()
	if err := l.Confirm(b.Context()); err != nil {
		b.Fatalf("confirm: %v", err)
	}
}

func (b *bench) crash(l *Launch) {
	b.Helper()
	if err := l.Crash(b.Context(), "exit 1"); err != nil {
		b.Fatalf("crash: %v", err)
	}
}

// install brings a release into force: update, start, confirm.
func (b *bench) install() *Launch {
	b.Helper()
	b.update()
	l := b.start()
	b.confirm(l)
	return l
}

// offers publishes a release of main and offers it to everybody.
func (b *bench) offers(version string, content files, change ...func(*slipstream.Manifest)) slipstream.Digest {
	b.Helper()
	d := b.repo.publish("main", version, content, change...)
	b.repo.offer(d)
	return d
}

// has is offers, and brings the release into force.
func (b *bench) has(version string, content files, change ...func(*slipstream.Manifest)) slipstream.Digest {
	b.Helper()
	d := b.offers(version, content, change...)
	b.install()
	return d
}

// runs checks what a launch runs, byte for byte.
func (b *bench) runs(l *Launch, pkg string, content files) {
	b.Helper()
	t := l.Packages[pkg]
	if content == nil {
		if !t.Embedded {
			b.Fatalf("%s runs %s, expected the embedded release", pkg, t.Version)
		}
		return
	}
	for name, want := range content {
		got, err := os.ReadFile(filepath.Join(t.Dir, filepath.FromSlash(name)))
		if err != nil || string(got) != want {
			b.Fatalf("%s (%s): file %s is %q, expected %q (%v)", pkg, t.Version, name, got, want, err)
		}
	}
}

func (b *bench) version(pkg string) string { return b.c.Holds(pkg).Running.Version }

func (b *bench) tellsOf(kind slipstream.Kind, reason slipstream.Reason) bool {
	return slices.ContainsFunc(b.told, func(e slipstream.Event) bool { return e.Kind == kind && e.Reason == reason })
}

func (b *bench) offline() {
	b.repo.mu.Lock()
	defer b.repo.mu.Unlock()
	b.repo.down = true
}

func (b *bench) online() {
	b.repo.mu.Lock()
	defer b.repo.mu.Unlock()
	b.repo.fault, b.repo.down = nil, false
}
