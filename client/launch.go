package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client/trial"
)

// Tree is one package of a launch: the directory to run. An embedded release may have no directory but Files alone.
type Tree struct {
	Package  string
	Release  slipstream.Digest
	Version  string
	Seq      int64
	Dir      string
	Files    fs.FS
	Entry    string
	Embedded bool
	Trial    bool
}

// Launch is one start of the app, or of one opened package. Without a token nothing of it is remembered, and Reason says
// why: another process holds the directory, or it cannot be written.
type Launch struct {
	Token    string
	Attempt  int
	Trial    bool
	Packages map[string]Tree
	Reason   slipstream.Reason

	client *Client
	key    string
	leases []slipstream.Digest
}

// Start is a cold start of the whole app: it ends every launch before it, may switch to what is staged, and says what to
// run. It works without a network, and without a writable disk: then the official releases run.
func (c *Client) Start(ctx context.Context) (*Launch, error) {
	c.awaitCritical(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.coldStart(ctx, "", c.cfg.Packages)
}

// coldStart begins a launch. mu is held.
func (c *Client) coldStart(ctx context.Context, key string, packages []string) (*Launch, error) {
	if c.closed {
		return nil, errors.New("start: the client is closed")
	}
	c.endPages(key)
	l, err := c.begin(ctx, key, packages)
	if err != nil {
		reason := classify(err)
		if c.lock == nil && !c.closed {
			c.reload() // whoever holds the directory may have changed what is official
		}
		c.log.Warn("what is official runs, without a trial", "reason", reason, "error", err)
		l = c.describeLaunch(c.untried(packages))
		l.Reason = reason
	}
	l.client, l.key = c, key
	c.lease(l)
	c.pages[key] = &page{launch: l}
	if c.lock != nil && !c.salvaged {
		c.collect()
	}
	return l, nil
}

// begin makes a launch whose attempt and token are on disk. mu is held.
func (c *Client) begin(ctx context.Context, key string, packages []string) (*Launch, error) {
	if err := c.own(); err != nil {
		return nil, err
	}
	token, err := c.random(16)
	if err != nil {
		return nil, err
	}
	s, events, err := c.withoutLost()
	if err != nil {
		return nil, err
	}
	opening := trial.Opening{Token: token, Key: key, Packages: packages}
	started, launch, more := trial.ColdStart(s, c.env(), opening)
	for damaged := c.damaged(launch); damaged != nil; damaged = c.damaged(launch) {
		var lost []slipstream.Event
		s, lost = trial.Lose(s, c.env(), damaged)
		events = append(events, lost...)
		started, launch, more = trial.ColdStart(s, c.env(), opening)
	}
	c.announce(ctx, launch)
	next := c.body
	next.Trial = started
	for pkg, r := range launch.Runs {
		next.Ran = cloneWith(next.Ran, pkg, r.Digest)
	}
	if err := c.commit(next, append(events, more...)...); err != nil {
		return nil, err
	}
	c.relink(packages)
	return c.describeLaunch(launch), nil
}

// withoutLost drops releases whose trees are not on disk any more. mu is held.
func (c *Client) withoutLost() (trial.State, []slipstream.Event, error) {
	here, err := c.disk.digests()
	if err != nil {
		return c.body.Trial, nil, fmt.Errorf("list releases: %w", err)
	}
	s, events := trial.Lose(c.body.Trial, c.env(), func(d slipstream.Digest) bool { return !slices.Contains(here, d) })
	return s, events, nil
}

// untried is what runs when nothing can be persisted. What is damaged on disk does not run all the same. mu is held.
func (c *Client) untried(packages []string) trial.Launch {
	s := c.body.Trial
	launch := trial.Untried(s, c.env(), packages)
	for damaged := c.damaged(launch); damaged != nil; damaged = c.damaged(launch) {
		s, _ = trial.Lose(s, c.env(), damaged)
		launch = trial.Untried(s, c.env(), packages)
	}
	return launch
}

// damaged reads the trees of a launch and gives those that are not as they were signed; nil when all are. A disk forgets,
// and a program may have written into its own directory. mu is held.
func (c *Client) damaged(l trial.Launch) func(slipstream.Digest) bool {
	var bad []slipstream.Digest
	for _, r := range l.Runs {
		if r.Embedded || r.Digest == "" {
			continue
		}
		if err := c.clean(r.Digest); err != nil {
			c.log.Warn("a release on disk is damaged", "release", r.Digest.Short(), "error", err)
			bad = append(bad, r.Digest)
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return func(d slipstream.Digest) bool { return slices.Contains(bad, d) }
}

// clean says what is not as it was signed in a tree. What nobody signed is removed from it, because a program could load
// it, unless the tree is in use. mu is held.
func (c *Client) clean(digest slipstream.Digest) error {
	t := c.holding(digest)
	if t == nil {
		return slipstream.Refuse(slipstream.ReasonStorageCorrupted, "release "+digest.Short(), "its manifest is gone")
	}
	return c.inspect(t, func(name string, e fs.DirEntry) error {
		if c.lock == nil || slices.Contains(c.leased(), digest) {
			return nil
		}
		c.log.Warn("what nobody signed is removed", "release", digest.Short(), "name", name)
		return c.disk.removeEntry(name, e)
	})
}

// announce tells the host of packages that go back behind the format of their users' data, before it happens.
func (c *Client) announce(ctx context.Context, l trial.Launch) {
	if c.cfg.Hooks.OnDataRollback == nil {
		return
	}
	for _, pkg := range slices.Sorted(maps.Keys(l.Runs)) {
		from, to := c.body.Ran[pkg], l.Runs[pkg]
		if from == "" || from == to.Digest {
			continue
		}
		before, after := c.manifestOf(pkg, from), c.manifestOf(pkg, to.Digest)
		if before == nil || before.Data == nil || before.Data.Writes == "" || before.Seq <= to.Seq {
			continue
		}
		if after == nil || after.Data == nil || !slices.Contains(after.Data.Reads, before.Data.Writes) {
			c.cfg.Hooks.OnDataRollback(ctx, DataRollback{Package: pkg, From: from, To: to.Digest, Format: before.Data.Writes})
		}
	}
}

func (c *Client) manifestOf(pkg string, d slipstream.Digest) *slipstream.Manifest {
	if t := c.holding(d); t != nil {
		return t.manifest
	}
	if d != "" && d == c.embeds[pkg].Digest {
		if m, _, err := c.root.Manifest(c.cfg.Embedded[pkg].Manifest); err == nil {
			return m
		}
	}
	return nil
}

func (c *Client) describeLaunch(l trial.Launch) *Launch {
	out := &Launch{Token: l.Token, Attempt: l.Attempt, Trial: len(l.Trial) > 0, Packages: map[string]Tree{}}
	for pkg, r := range l.Runs {
		t := Tree{Package: pkg, Release: r.Digest, Version: r.Version, Seq: r.Seq, Embedded: r.Embedded, Trial: slices.Contains(l.Trial, pkg)}
		if m := c.manifestOf(pkg, r.Digest); m != nil {
			t.Entry = m.Entry
		}
		if r.Embedded {
			e := c.cfg.Embedded[pkg]
			t.Dir, t.Files = e.Dir, e.Files
		} else {
			t.Dir = c.disk.tree(r.Digest)
			t.Files = os.DirFS(t.Dir)
		}
		out.Packages[pkg] = t
	}
	return out
}

// Confirm says that the launch works. Saying so again is no error.
func (l *Launch) Confirm(context.Context) error {
	c := l.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	for _, st := range c.body.Trial.Starts {
		if st.Token == l.Token && st.Confirmed {
			return nil
		}
	}
	return c.confirm(l.Token)
}

// Confirm confirms the launch with this token, for hosts that hand tokens around. A stale token is refused.
func (c *Client) Confirm(_ context.Context, token string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.confirm(token)
}

func (c *Client) confirm(token string) error {
	s, events, err := trial.Confirm(c.body.Trial, c.env(), token)
	if err != nil {
		return err
	}
	if err := c.step(s, events); err != nil {
		return fmt.Errorf("confirm: %w", err)
	}
	c.relink(c.cfg.Packages)
	return nil
}

// writable says why nothing of this launch can be remembered. mu is held.
func (l *Launch) writable() error {
	if l.Token == "" {
		return slipstream.Refuse(l.Reason, "launch", "it has no token: nothing about it can be kept")
	}
	return nil
}

// Crash says that the launch ended by an exit, a signal or an uncaught error. After the last crash that a trial may have,
// the next Start runs what was official before.
func (l *Launch) Crash(_ context.Context, detail string) error { return l.end(trial.Crash, detail) }

// Hang says that the watchdog ended the launch.
func (l *Launch) Hang(_ context.Context, detail string) error { return l.end(trial.Hang, detail) }

// Close says that the launch ended and nobody knows more: it was stopped from outside.
func (l *Launch) Close(context.Context) error { return l.end(trial.Unknown, "") }

func (l *Launch) end(ev trial.Evidence, detail string) error {
	c := l.client
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.endLaunch(l, ev, detail)
}

// endLaunch is end with mu held.
func (c *Client) endLaunch(l *Launch, ev trial.Evidence, detail string) error {
	if p := c.pages[l.key]; p != nil && p.launch == l {
		delete(c.pages, l.key)
	}
	c.unlease(l)
	if l.Token == "" {
		return nil
	}
	s, events, err := trial.End(c.body.Trial, c.env(), l.Token, ev, detail)
	if err != nil {
		return err
	}
	if err := c.step(s, events); err != nil {
		return fmt.Errorf("note the end of a launch: %w", err)
	}
	c.relink(c.cfg.Packages)
	return nil
}

// Outdated reports whether a cold start now would run something else than this launch does.
func (l *Launch) Outdated() bool {
	c := l.client
	c.mu.Lock()
	defer c.mu.Unlock()
	packages := slices.Sorted(maps.Keys(l.Packages))
	s := c.body.Trial
	if c.lock == nil || l.Token == "" {
		return false
	}
	// The preview ends no launch: an unconfirmed trial that runs well is what a start would run again.
	s.Starts = nil
	_, preview, _ := trial.ColdStart(s, c.env(), trial.Opening{Token: "preview", Key: l.key, Packages: packages})
	for pkg, r := range preview.Runs {
		if r.Digest != l.Packages[pkg].Release {
			return true
		}
	}
	return false
}

// lease is a locked file that tells other processes which tree runs here.
type lease struct {
	name  string
	lock  io.Closer
	users int
}

func (l *lease) drop(d disk) error {
	return errors.Join(ignoreMissing(d.Remove(l.name)), l.lock.Close())
}

// lease keeps the launch's trees from being deleted by whoever holds the lock. mu is held.
func (c *Client) lease(l *Launch) {
	for _, t := range l.Packages {
		if t.Embedded {
			continue
		}
		held := c.leases[t.Release]
		if held == nil {
			name := c.disk.path("leases", string(t.Release)+"-"+c.proc)
			lock, err := c.cfg.Locks.TryLock(name)
			if err != nil {
				c.log.Warn("a running release has no lease", "release", t.Release.Short(), "error", err)
				continue
			}
			held = &lease{name: name, lock: lock}
			c.leases[t.Release] = held
		}
		held.users++
		l.leases = append(l.leases, t.Release)
	}
}

func (c *Client) unlease(l *Launch) {
	for _, d := range l.leases {
		held := c.leases[d]
		if held.users--; held.users > 0 {
			continue
		}
		delete(c.leases, d)
		if err := held.drop(c.disk); err != nil {
			c.log.Warn("a lease is left behind", "error", err)
		}
	}
	l.leases = nil
}

// LeaseFiles are the open files behind the launch's leases. A child process that inherits them keeps its trees even when
// this process dies.
func (l *Launch) LeaseFiles() []*os.File {
	c := l.client
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*os.File
	for _, d := range l.leases {
		if f, ok := c.leases[d].lock.(*os.File); ok {
			out = append(out, f)
		}
	}
	return out
}

// collect deletes the trees that nobody can need any more. mu is held.
func (c *Client) collect() {
	here, err := c.disk.digests()
	if err != nil {
		c.log.Warn("releases are not tidied", "error", err)
		return
	}
	generations := []trial.State{c.body.Trial}
	if c.previous != nil {
		generations = append(generations, *c.previous)
	}
	for _, d := range trial.Garbage(here, c.leased(), generations...) {
		if err := c.disk.discard(d); err != nil {
			c.log.Warn("a release stays", "release", d.Short(), "error", err)
		}
	}
	c.collectManifests(generations)
}

// collectManifests deletes manifests without a tree, but for those of the anchors.
func (c *Client) collectManifests(generations []trial.State) {
	keep, err := c.disk.digests()
	if err != nil {
		return
	}
	for _, s := range generations {
		keep = append(keep, s.Names()...)
		for _, p := range s.Packages {
			if p.Anchor != nil {
				keep = append(keep, p.Anchor.Digest)
			}
		}
	}
	entries, err := c.disk.ReadDir(c.disk.path("releases"))
	if err != nil {
		return
	}
	for _, e := range entries {
		digest, found := strings.CutSuffix(e.Name(), ".manifest.json")
		if found && !slices.Contains(keep, slipstream.Digest(digest)) {
			if err := c.disk.Remove(c.disk.path("releases", e.Name())); err != nil {
				c.log.Warn("a manifest stays", "error", err)
			}
		}
	}
}

// leased lists the trees that live processes run, and removes the leases of dead ones.
func (c *Client) leased() []slipstream.Digest {
	entries, err := c.disk.ReadDir(c.disk.path("leases"))
	if err != nil {
		c.log.Warn("leases are unreadable: nothing is deleted", "error", err)
		all, err := c.disk.digests()
		if err != nil {
			return nil
		}
		return all
	}
	var out []slipstream.Digest
	for _, e := range entries {
		name, _, _ := strings.Cut(e.Name(), "-")
		digest := slipstream.Digest(name)
		if c.leases[digest] == nil {
			path := c.disk.path("leases", e.Name())
			if lock, err := c.cfg.Locks.TryLock(path); err == nil {
				if err := errors.Join(c.disk.Remove(path), lock.Close()); err != nil {
					c.log.Warn("a dead lease stays", "error", err)
				}
				continue
			}
		}
		out = append(out, digest)
	}
	return out
}

// relink renews the convenience links, which nothing reads. mu is held.
func (c *Client) relink(packages []string) {
	links, ok := c.disk.FS.(Linker)
	if !ok {
		return
	}
	s := c.body.Trial
	for _, pkg := range packages {
		targets := map[string]slipstream.Digest{}
		if p := s.Packages[pkg]; p.Official != nil {
			targets["official"] = p.Official.Digest
		}
		if s.Trial != nil {
			if r, on := s.Trial.Members[pkg]; on {
				targets["trial"] = r.Digest
			}
		}
		folder := c.disk.path("packages", pkg)
		err := c.disk.MkdirAll(folder)
		for _, role := range []string{"official", "trial"} {
			name := filepath.Join(folder, role)
			err = errors.Join(err, ignoreMissing(c.disk.Remove(name)))
			if d, held := targets[role]; held {
				err = errors.Join(err, links.Symlink(filepath.Join("..", "..", "releases", string(d)), name))
			}
		}
		if err != nil {
			c.log.Debug("links not renewed", "package", pkg, "error", err)
		}
	}
}
