package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client"
	"github.com/slipstream-ota/slipstream/publish/delta"
	"github.com/slipstream-ota/slipstream/sign"
)

const (
	lifeApp = "shop"
	mainPkg = slipstream.DefaultPackage
	cartPkg = "cart" // needed by later releases of main
)

var lifePackages = [...]string{cartPkg, mainPkg}

// clock stands still until somebody moves it.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// After never comes: whoever waits is stopped by the end of what he waits for.
func (c *clock) After(time.Duration) <-chan time.Time { return nil }

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// machine is what a device's client runs on. settle says that time passes in which the system writes everything back.
type machine struct {
	fs     client.FS
	locks  client.Locks
	dir    string
	settle func()
	shared *delta.Compressors // by many lives; may be nil
}

// life is one device from its first install on, and the repository that it follows.
type life struct {
	machine
	repo     *Repository
	clock    *clock
	rand     io.Reader
	releases map[string]*Release // by name: main1, cart1 …
	told     func(slipstream.Event)
	final    map[string]*Release // what a device runs in the end that follows the repository
	trusts   sync.Map            // opened roots, by envelope

	client *client.Client
	launch *client.Launch
	locked *ownLocks
}

// ownLocks are the locks of one process: they end with it.
type ownLocks struct {
	client.Locks
	held []io.Closer
}

// TryLock waits a moment: a program that another goroutine is about to run holds all our files until it begins.
func (o *ownLocks) TryLock(name string) (io.Closer, error) {
	l, err := o.Locks.TryLock(name)
	for range 200 {
		if !errors.Is(err, client.ErrLocked) {
			break
		}
		time.Sleep(5 * time.Millisecond)
		l, err = o.Locks.TryLock(name)
	}
	if err != nil {
		return nil, err
	}
	once := &closeOnce{Closer: l}
	o.held = append(o.held, once)
	return once, nil
}

func (o *ownLocks) kill() error {
	var errs []error
	for _, l := range o.held {
		errs = append(errs, l.Close())
	}
	o.held = nil
	return errors.Join(errs...)
}

type closeOnce struct {
	io.Closer
	once sync.Once
	err  error
}

func (c *closeOnce) Close() error {
	c.once.Do(func() { c.err = c.Closer.Close() })
	return c.err
}

func newLife(m machine, seed uint64) (*life, error) {
	l := &life{machine: m, clock: newClock(), rand: newRand(seed), releases: map[string]*Release{}, final: map[string]*Release{}}
	var err error
	if l.repo, err = NewRepository(lifeApp, l.clock.Now); err != nil {
		return nil, err
	}
	if m.shared != nil {
		l.repo.Compressors = m.shared
	}
	for _, channel := range []string{production, beta} {
		l.repo.Change(channel, func(c *Channel) { c.Epoch = 1000 })
	}
	return l, l.publish("main1", Spec{Package: mainPkg, Seq: 1})
}

func newRand(seed uint64) io.Reader {
	return rand.NewChaCha8(sha256.Sum256(fmt.Appendf(nil, "randomness %d", seed)))
}

func (l *life) publish(name string, s Spec) error {
	if s.Files == nil {
		s.Files = filesOf(name)
	}
	for _, other := range l.releases {
		if other.Manifest.Package == s.Package {
			s.Fallback = append(s.Fallback, other.Digest)
		}
	}
	slices.Sort(s.Fallback)
	r, err := l.repo.Publish(s)
	l.releases[name] = r
	return err
}

// filesOf is a small tree: one file of several pages, one in a nested directory, one that never changes.
func filesOf(name string) map[string][]byte {
	random := newRand(uint64(len(name)) + uint64(name[len(name)-1])<<8)
	noise := make([]byte, 3000)
	if _, err := io.ReadFull(random, noise); err != nil {
		noise = []byte(name)
	}
	return map[string][]byte{
		"app/deep/words.json": fmt.Appendf(nil, `{"release":%q}`, name),
		"app/main.js":         append(fmt.Appendf(nil, "// %s\n", name), bytes.Repeat(noise, 3)...),
		"shared.txt":          []byte("the same in every release\n"),
	}
}

// config is the device's, whoever runs it.
func (l *life) config(m machine, transport http.RoundTripper, now client.Clock, random io.Reader) client.Config {
	return client.Config{
		Dir: m.dir, App: lifeApp, Runtime: "3.0.0", Packages: lifePackages[:], Servers: []string{"http://repository.lab"}, Root: l.repo.Root(1),
		Embedded: map[string]client.Embedded{mainPkg: {Manifest: l.releases["main1"].Envelope}},
		History:  1, Limits: client.Limits{Rounds: 1}, FS: m.fs, Locks: m.locks, Clock: now, Transport: transport, Rand: random,
	}
}

// step is one thing that happens in a life. What it acknowledges when it returns nil must survive.
type step struct {
	name string
	do   func(ctx context.Context, l *life) error
}

// live goes through all steps. around is called before and after each.
func (l *life) live(ctx context.Context, steps []step, around func(i int, begins bool) error) error {
	for i, s := range steps {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := around(i, true); err != nil {
			return err
		}
		if err := s.do(ctx, l); err != nil {
			return fmt.Errorf("step %d, %s: %w", i, s.name, err)
		}
		if err := around(i, false); err != nil {
			return err
		}
	}
	return l.stop()
}

// stop ends the process without any farewell, as a kill does.
func (l *life) stop() error {
	if l.locked == nil {
		return nil
	}
	err := l.locked.kill()
	l.locked, l.client, l.launch = nil, nil, nil
	return err
}

func (l *life) open(ctx context.Context) error {
	if err := l.stop(); err != nil {
		return err
	}
	m := l.machine
	l.locked = &ownLocks{Locks: l.locks}
	m.locks = l.locked
	cfg := l.config(m, l.repo, l.clock, l.rand)
	cfg.Hooks.OnEvent = l.told
	c, err := client.Open(ctx, cfg)
	l.client = c
	return err
}

// boot is a cold start in a new process.
func boot(name string) step {
	return step{"start: " + name, func(ctx context.Context, l *life) error {
		if err := l.open(ctx); err != nil {
			return err
		}
		launch, err := l.client.Start(ctx)
		if err != nil {
			return err
		}
		if launch.Token == "" {
			return fmt.Errorf("the start is not kept: %s", launch.Reason)
		}
		l.launch = launch
		return nil
	}}
}

func confirm() step {
	return step{"confirm", func(ctx context.Context, l *life) error { return l.launch.Confirm(ctx) }}
}

func crash() step {
	return step{"crash", func(ctx context.Context, l *life) error { return l.launch.Crash(ctx, "exit code 1") }}
}

func update(name string, before func(l *life) error) step {
	return step{"update: " + name, func(ctx context.Context, l *life) error {
		if err := before(l); err != nil {
			return err
		}
		l.clock.advance(time.Minute)
		_, err := l.client.Update(ctx)
		return err
	}}
}

func report() step {
	return step{reportStep, func(ctx context.Context, l *life) error { return l.client.Report(ctx) }}
}

// wait lets hours pass.
func wait(d time.Duration) step {
	return step{fmt.Sprintf("wait %s", d), func(_ context.Context, l *life) error {
		l.clock.advance(d)
		l.settle()
		return nil
	}}
}

func (l *life) offer(channel string, names ...string) {
	var releases []*Release
	for _, name := range names {
		releases = append(releases, l.releases[name])
	}
	l.repo.Offer(channel, releases...)
}

const (
	production = slipstream.DefaultChannel
	beta       = "beta"

	reportStep = "report"
)

// deviceLife is the life that the crash proofs go through: first install, stage, trial, confirm, update, crashes and the
// way back, the second try after six hours, unknown ends, a set of two packages, garbage collection, two rotations of
// the root, a change of channel, an official release that goes bad, and a withdrawal.
func deviceLife() []step {
	steps := []step{
		{"first install", func(ctx context.Context, l *life) error { return l.open(ctx) }},
		boot("embedded"), confirm(),
		update("stage, file by file", func(l *life) error {
			l.repo.Codecs = nil
			return l.offerNew(production, Spec{Package: mainPkg, Seq: 2})
		}),
		boot("trial"), confirm(),
		update("by container", func(l *life) error {
			l.repo.Codecs = []string{delta.CodecFull, delta.CodecChanged}
			return l.offerNew(production, Spec{Package: mainPkg, Seq: 3})
		}),
		boot("trial"), confirm(), report(), wait(time.Hour), boot("official"), confirm(),
		update("a bad release", func(l *life) error { return l.offerNew(production, Spec{Package: mainPkg, Seq: 4}) }),
		boot("trial of the bad one"), crash(), boot("trial again"), crash(), boot("back on the official"), confirm(), report(),
		wait(6 * time.Hour),
		update("the second try", func(*life) error { return nil }),
		boot("second trial"), boot("after a kill"), boot("after another"), boot("refused for good"), confirm(), report(),
		update("two packages that need each other", func(l *life) error {
			if err := l.publish("cart1", Spec{Package: cartPkg, Seq: 1, Requires: needs(mainPkg, 5)}); err != nil {
				return err
			}
			if err := l.publish("main5", Spec{Package: mainPkg, Seq: 5, Requires: needs(cartPkg, 1)}); err != nil {
				return err
			}
			l.offer(production, "main5", "cart1")
			return nil
		}),
		boot("trial of both"), confirm(), boot("collects garbage"), confirm(), report(), wait(time.Hour),
		{"the state key is replaced", func(ctx context.Context, l *life) error {
			if err := l.rotate(func(k *Keys) { k.State = []sign.Signer{Key("state 2")} }, 2); err != nil {
				return err
			}
			_, err := l.client.Check(ctx)
			return err
		}},
		{"change of channel", func(ctx context.Context, l *life) error {
			l.offer(beta, "main5", "cart1")
			return l.client.ChangeChannel(ctx, beta)
		}},
	}
	return append(steps, laterLife()...)
}

func laterLife() []step {
	return []step{
		update("on the other channel", func(l *life) error {
			return l.offerNew(beta, Spec{Package: mainPkg, Seq: 6, Requires: needs(cartPkg, 1)})
		}),
		boot("trial"), confirm(), crash(), boot("crashed early"), crash(), boot("crashed twice"), crash(), boot("left for history"), confirm(), report(), wait(25 * time.Hour),
		{"a key joins the state role", func(ctx context.Context, l *life) error {
			if err := l.rotate(func(k *Keys) { k.State = append([]sign.Signer{Key("state 3")}, k.State...) }, 1); err != nil {
				return err
			}
			_, err := l.client.Check(ctx)
			return err
		}},
		{"a release key joins", func(ctx context.Context, l *life) error {
			err := l.repo.Rotate(func(k *Keys) { k.Release = append(slices.Clip(k.Release), Key("release 2")) })
			if err != nil {
				return err
			}
			_, err = l.client.Check(ctx)
			return err
		}},
		update("after it", func(l *life) error {
			return l.offerNew(beta, Spec{Package: mainPkg, Seq: 7, Requires: needs(cartPkg, 1)})
		}),
		boot("trial"), confirm(),
		{"withdrawn", func(ctx context.Context, l *life) error {
			l.repo.Withdraw(beta, l.releases["main7"])
			_, err := l.client.Check(ctx)
			return err
		}},
		boot("what is held"), confirm(),
		report(),
		update("the last", func(l *life) error {
			for _, s := range []Spec{{Package: cartPkg, Seq: 2, Requires: needs(mainPkg, 8)}, {Package: mainPkg, Seq: 8, Requires: needs(cartPkg, 2)}} {
				name := fmt.Sprintf("%s%d", s.Package, s.Seq)
				if err := l.publish(name, s); err != nil {
					return err
				}
				l.final[s.Package] = l.releases[name]
			}
			l.offer(beta, "main8", "cart2")
			l.offer(production, "main8", "cart2")
			return nil
		}),
		boot("trial"), confirm(), boot("the end"), confirm(),
	}
}

func needs(pkg string, minSeq int64) map[string]slipstream.Requirement {
	return map[string]slipstream.Requirement{pkg: {MinSeq: minSeq}}
}

// offerNew publishes a release and offers it.
func (l *life) offerNew(channel string, s Spec) error {
	name := fmt.Sprintf("%s%d", s.Package, s.Seq)
	if err := l.publish(name, s); err != nil {
		return err
	}
	l.offer(channel, name)
	return nil
}

// rotate publishes a new root and begins the epochs again at a low number, as after a stolen state key.
func (l *life) rotate(change func(*Keys), epoch int64) error {
	if err := l.repo.Rotate(change); err != nil {
		return err
	}
	for _, channel := range []string{production, beta} {
		l.repo.Change(channel, func(c *Channel) { c.Epoch = epoch })
	}
	return nil
}
