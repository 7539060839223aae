package build

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/store"
)

// unused is how long a container stays whose base no device runs: a device that tells nothing may have asked for it.
const unused = 24 * time.Hour

// catalogue is what planning looks at, read in one snapshot.
type catalogue struct {
	decided
	releases   map[pkgKey][]*slipstream.Release // newest first
	containers map[slipstream.Digest][]slipstream.Container
}

type pkgKey struct{ app, pkg string }

func (b *Builder) catalogue(ctx context.Context) (c catalogue, err error) {
	err = b.cfg.Store.View(ctx, func(tx store.Tx) error {
		c = catalogue{releases: map[pkgKey][]*slipstream.Release{}}
		var err error
		if c.containers, err = tx.Containers().All(ctx); err != nil {
			return err
		}
		all, err := tx.Releases().List(ctx, store.ReleaseFilter{})
		if err != nil {
			return err
		}
		for _, r := range all {
			k := pkgKey{r.Manifest.App, r.Manifest.Package}
			c.releases[k] = append(c.releases[k], r)
		}
		c.decided, err = decisions(ctx, tx, "")
		return err
	})
	return c, err
}

// decided is what channels say of releases.
type decided struct {
	offered  map[slipstream.Digest]bool
	doubtful map[slipstream.Digest]bool // few devices run it: withdrawn, held, or offered to a small share only
}

// mostOf is the share of devices, in basis points, from which on a release counts as what a channel runs.
const mostOf = 5000

// decisions reads what the channels of app say, "" for those of every app.
func decisions(ctx context.Context, tx store.Tx, app string) (decided, error) {
	out := decided{offered: map[slipstream.Digest]bool{}, doubtful: map[slipstream.Digest]bool{}}
	inForce := map[slipstream.Digest]bool{}
	channels, err := tx.Channels().List(ctx, app)
	for _, ch := range channels {
		policy, err := rollout.PolicyOf(ch)
		if err != nil {
			return out, err
		}
		for _, pp := range policy.Packages {
			out.weigh(pp, inForce)
		}
	}
	maps.DeleteFunc(out.doubtful, func(d slipstream.Digest, _ bool) bool { return inForce[d] })
	return out, err
}

// weigh notes which releases of a package one channel offers, which most of its devices may run, and which only few can.
func (c decided) weigh(pp *rollout.PackagePolicy, inForce map[slipstream.Digest]bool) {
	withdrawn := map[slipstream.Digest]bool{}
	for _, w := range pp.Withdrawn {
		withdrawn[w.Digest], c.doubtful[w.Digest] = true, true
	}
	for _, e := range pp.Rollouts {
		c.offered[e.Manifest] = true
		switch {
		case withdrawn[e.Manifest]:
		case e.Hold == "" && e.To-e.From >= mostOf:
			inForce[e.Manifest] = true
		default:
			c.doubtful[e.Manifest] = true
		}
	}
}

// lastInForce puts the newest release that most devices may run before the others, which are newest first.
func (c decided) lastInForce(earlier []slipstream.Digest) []slipstream.Digest {
	i := slices.IndexFunc(earlier, func(d slipstream.Digest) bool { return !c.doubtful[d] })
	if i <= 0 {
		return earlier
	}
	return slices.Concat(earlier[i:i+1], earlier[:i], earlier[i+1:])
}

// plan queues what is worth having of every release that has no full container yet or is on offer, and drops what
// nobody can use any more.
func (b *Builder) plan(ctx context.Context) error {
	c, err := b.catalogue(ctx)
	if err != nil {
		return err
	}
	var failed error
	for k, releases := range c.releases {
		var running []Share
		if b.cfg.Running != nil {
			if running, err = b.cfg.Running(ctx, k.app, k.pkg); err != nil {
				failed = errors.Join(failed, fmt.Errorf("see what the devices of %s run: %w", k.app, err))
			}
		}
		for _, target := range releases {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			failed = errors.Join(failed, b.planOne(ctx, c, target, releases, running))
		}
	}
	return failed
}

func (b *Builder) planOne(ctx context.Context, c catalogue, target *slipstream.Release, releases []*slipstream.Release, running []Share) error {
	full := slices.ContainsFunc(c.containers[target.Digest], func(k slipstream.Container) bool { return k.From == "" })
	if target.Embedded || full && !c.offered[target.Digest] && len(c.containers[target.Digest]) == 1 {
		return nil
	}
	var earlier, embedded []slipstream.Digest
	var from []Share
	for _, r := range releases {
		if r.Digest == target.Digest || !meet(r.Manifest.Platform, target.Manifest.Platform) {
			continue
		}
		if i := slices.IndexFunc(running, func(s Share) bool { return s.Release == r.Digest }); i >= 0 {
			from = append(from, running[i])
		}
		if r.Manifest.Seq < target.Manifest.Seq {
			earlier = append(earlier, r.Digest)
			if r.Embedded {
				embedded = append(embedded, r.Digest)
			}
		}
	}
	wanted := Bases(target.Digest, c.lastInForce(earlier), from, b.cfg.Bounds)
	for _, d := range embedded[:min(1, len(embedded))] { // where new installations start
		if !slices.Contains(wanted, d) {
			wanted = append(wanted, d)
		}
	}
	var err error
	if !full || c.offered[target.Digest] {
		err = b.queue(ctx, target.Digest, full, wanted)
	} else {
		wanted = nil
	}
	return errors.Join(err, b.drop(ctx, c, target.Digest, wanted, from, running))
}

func meet(a, b string) bool {
	return a == b || a == slipstream.PlatformAny || b == slipstream.PlatformAny
}

// queue adds the jobs of a release. Those that are there already stay as they are.
func (b *Builder) queue(ctx context.Context, target slipstream.Digest, full bool, bases []slipstream.Digest) error {
	now := b.cfg.Clock()
	var jobs []store.Job
	if !full {
		known, err := b.cfg.Store.Jobs().List(ctx, target)
		if err != nil {
			return err
		}
		for _, j := range known {
			removed := j.State == store.JobDone // for its container is not there
			givenUp := j.State == store.JobFailed && j.Due.IsZero() && now.Sub(j.Updated) >= giveUpFor
			if j.From == "" && (removed || givenUp) {
				if err := b.cfg.Store.Jobs().Drop(ctx, target, ""); err != nil {
					return err
				}
			}
		}
		jobs = append(jobs, store.Job{Release: target, Priority: priorityFull, Created: now})
	}
	for i, d := range bases {
		jobs = append(jobs, store.Job{Release: target, From: d, Priority: priorityPlanned + i, Created: now})
	}
	if len(jobs) == 0 {
		return nil
	}
	_, err := b.cfg.Store.Jobs().Add(ctx, jobs)
	return err
}

// drop takes away the containers whose base no device runs and that are not worth having for another reason. The bytes
// go with the next garbage collection. Where nobody tells what the fleet runs, nothing is dropped.
func (b *Builder) drop(ctx context.Context, c catalogue, target slipstream.Digest, wanted []slipstream.Digest, from, running []Share) error {
	if len(running) == 0 {
		return nil
	}
	useless := func(d slipstream.Digest) bool {
		return d != "" && !slices.Contains(wanted, d) && !slices.ContainsFunc(from, func(s Share) bool { return s.Release == d && s.Devices > 0 })
	}
	if !slices.ContainsFunc(c.containers[target], func(k slipstream.Container) bool { return useless(k.From) }) {
		return nil
	}
	jobs, err := b.cfg.Store.Jobs().List(ctx, target)
	if err != nil {
		return err
	}
	now := b.cfg.Clock()
	for _, j := range jobs {
		if !useless(j.From) || j.State == store.JobRunning || now.Sub(j.Updated) < unused {
			continue
		}
		err := b.cfg.Store.Update(ctx, func(tx store.Tx) error {
			for _, k := range c.containers[target] {
				if k.From != j.From {
					continue
				}
				if err := tx.Containers().Delete(ctx, target, k); err != nil && !errors.Is(err, slipstream.ErrNotFound) {
					return err
				}
			}
			return nil
		})
		if err := errors.Join(err, b.cfg.Store.Jobs().Drop(ctx, target, j.From)); err != nil {
			return fmt.Errorf("drop containers from %s: %w", j.From.Short(), err)
		}
	}
	return nil
}

// grant queues what a device asked for, when there is a way.
func (b *Builder) grant(ctx context.Context, w wish) error {
	leads, err := b.leads(ctx, w)
	if err != nil || !leads {
		return err
	}
	jobs, err := b.cfg.Store.Jobs().List(ctx, w.release)
	if err != nil || len(jobs) >= maxWanted {
		return err
	}
	_, err = b.cfg.Store.Jobs().Add(ctx, []store.Job{{Release: w.release, From: w.from, Priority: priorityWanted, Created: b.cfg.Clock()}})
	return err
}

// leads says whether both releases exist, lead to each other, and the asked for is on offer. Strangers ask for anything.
func (b *Builder) leads(ctx context.Context, w wish) (leads bool, err error) {
	err = b.cfg.Store.View(ctx, func(tx store.Tx) error {
		leads = false
		target, err := tx.Releases().Get(ctx, w.release)
		if err != nil {
			return err
		}
		base, err := tx.Releases().Get(ctx, w.from)
		if err != nil {
			return err
		}
		t, o := target.Manifest, base.Manifest
		if target.Embedded || target.Digest == base.Digest || t.App != o.App || t.Package != o.Package || !meet(t.Platform, o.Platform) {
			return nil
		}
		on, err := decisions(ctx, tx, t.App)
		leads = on.offered[target.Digest]
		return err
	})
	if errors.Is(err, slipstream.ErrNotFound) {
		return false, nil
	}
	return leads, err
}
