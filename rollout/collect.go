package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/store"
)

const (
	settingCollect = "gc"
	collectLease   = 10 * time.Minute
)

// DefaultMargin is how old bytes must be before garbage collection takes them: a publish that is under way has
// uploaded what no release names yet.
const DefaultMargin = 24 * time.Hour

// errCollected makes a commit look at its blobs once more: a garbage collection ran since.
var errCollected = errors.New("garbage was collected meanwhile")

// collecting is the record of garbage collections: a generation that rises with each, and until when the running one
// may delete.
type collecting struct {
	Generation int64     `json:"generation"`
	Until      time.Time `json:"until,omitzero"`
}

func collectingOf(ctx context.Context, tx store.Tx) (collecting, error) {
	var c collecting
	b, err := tx.Settings().Get(ctx, settingCollect)
	if errors.Is(err, slipstream.ErrNotFound) || err == nil && len(b) == 0 {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("read record of garbage collections: %w", err)
	}
	return c, nil
}

func (c collecting) save(ctx context.Context, tx store.Tx) error {
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return tx.Settings().Set(ctx, settingCollect, b)
}

func generationOf(ctx context.Context, tx store.Tx) (int64, error) {
	c, err := collectingOf(ctx, tx)
	return c.Generation, err
}

// unchanged makes sure that no blob was deleted since generation was read, and that none is being deleted now.
func (s *Service) unchanged(ctx context.Context, tx store.Tx, generation int64) error {
	c, err := collectingOf(ctx, tx)
	if err != nil {
		return err
	}
	if s.clock().Before(c.Until) {
		return slipstream.Hint(fmt.Errorf("garbage collection is running: %w", slipstream.ErrUnavailable), "try again in a moment")
	}
	if c.Generation != generation {
		return errCollected
	}
	return nil
}

// CollectSpec says what may go. Releases go only when Keep or KeepFor is set, and then only those beyond both.
type CollectSpec struct {
	Apply   bool
	Margin  time.Duration // of age, for bytes and releases alike; 0 means DefaultMargin
	Keep    int           // the newest releases of each package, platform and runtime that stay
	KeepFor time.Duration // releases younger than this stay
}

// Collected is what went, or would go.
type Collected struct {
	Applied  bool   `json:"applied"`
	Releases []Gone `json:"releases"`
	Blobs    int    `json:"blobs"`
	Bytes    int64  `json:"bytes"`
	Kept     int    `json:"kept"`  // blobs that stay
	Fresh    int    `json:"fresh"` // blobs that nothing names, too young to go
}

// Gone is a release that went or would go.
type Gone struct {
	Digest   slipstream.Digest `json:"digest"`
	App      string            `json:"app"`
	Package  string            `json:"package"`
	Platform string            `json:"platform"`
	Version  string            `json:"version"`
	Seq      int64             `json:"seq"`
}

// Collect finds, and with Apply removes, releases beyond their retention and bytes that nothing names. Never what a
// state names, nor what a fallback edge of such a release names, nor what is younger than the margin.
func (s *Service) Collect(ctx context.Context, by string, spec CollectSpec) (Collected, error) {
	if spec.Margin == 0 {
		spec.Margin = DefaultMargin
	}
	if spec.Margin < 0 || spec.Keep < 0 || spec.KeepFor < 0 {
		return Collected{}, slipstream.Invalidf("margin and retention may not be negative")
	}
	if !spec.Apply {
		var out Collected
		var named map[[32]byte]struct{}
		err := s.store.View(ctx, func(tx store.Tx) (err error) {
			if out.Releases, err = s.expired(ctx, tx, spec); err != nil {
				return err
			}
			named, err = s.named(ctx, tx, out.Releases)
			return err
		})
		if err != nil {
			return out, err
		}
		return out, s.sweep(ctx, spec, named, &out, nil)
	}
	return s.collect(ctx, by, spec)
}

func (s *Service) collect(ctx context.Context, by string, spec CollectSpec) (out Collected, err error) {
	out.Applied = true
	var named map[[32]byte]struct{}
	var mine int64
	err = s.store.Update(ctx, func(tx store.Tx) error {
		c, err := collectingOf(ctx, tx)
		if err != nil {
			return err
		}
		now := s.clock()
		if now.Before(c.Until) {
			return fmt.Errorf("another garbage collection is running: %w", slipstream.ErrConflict)
		}
		mine = c.Generation + 1
		if err := (collecting{Generation: mine, Until: now.Add(collectLease)}).save(ctx, tx); err != nil {
			return err
		}
		if out.Releases, err = s.expired(ctx, tx, spec); err != nil {
			return err
		}
		for _, r := range out.Releases {
			if err := forget(ctx, tx, r); err != nil {
				return err
			}
			if err := s.audit(ctx, tx, by, "release.delete", r.App, string(r.Digest), map[string]any{"package": r.Package, "version": r.Version, "gc": true}, now); err != nil {
				return err
			}
		}
		named, err = s.named(ctx, tx, nil)
		return err
	})
	if err != nil {
		return Collected{}, err
	}
	err = s.sweep(ctx, spec, named, &out, func() error { return s.lease(ctx, mine, collectLease) })
	ending := context.WithoutCancel(ctx) // the lease must not outlive a caller who has gone
	end := s.store.Update(ending, func(tx store.Tx) error {
		if err := (collecting{Generation: mine}).save(ending, tx); err != nil {
			return err
		}
		return s.audit(ending, tx, by, "gc", "", "", map[string]any{"releases": len(out.Releases), "blobs": out.Blobs, "bytes": out.Bytes}, s.clock())
	})
	return out, errors.Join(err, end)
}

// lease makes the right to delete last longer, unless somebody else has taken it.
func (s *Service) lease(ctx context.Context, mine int64, d time.Duration) error {
	return s.store.Update(ctx, func(tx store.Tx) error {
		c, err := collectingOf(ctx, tx)
		if err != nil {
			return err
		}
		if c.Generation != mine {
			return fmt.Errorf("another garbage collection took over: %w", slipstream.ErrConflict)
		}
		return collecting{Generation: mine, Until: s.clock().Add(d)}.save(ctx, tx)
	})
}

// sweep lists the blobs that nothing names and, with renew, deletes them while it holds the lease.
func (s *Service) sweep(ctx context.Context, spec CollectSpec, named map[[32]byte]struct{}, out *Collected, renew func() error) error {
	now := s.clock()
	renewed := now
	var garbage []blob.Info
	err := s.blobs.List(ctx, func(i blob.Info) error {
		_, used := named[raw(i.Digest)]
		switch {
		case used:
			out.Kept++
		case now.Sub(i.Modified) < spec.Margin:
			out.Fresh++
		default:
			garbage = append(garbage, i)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list blobs: %w", err)
	}
	if renew != nil {
		if err := renew(); err != nil {
			return err
		}
	}
	for _, i := range garbage {
		if renew != nil {
			if s.clock().Sub(renewed) > collectLease/2 {
				if err := renew(); err != nil {
					return err
				}
				renewed = s.clock()
			}
			if err := s.blobs.Delete(ctx, i.Digest); err != nil {
				return fmt.Errorf("delete blob %s: %w", i.Digest.Short(), err)
			}
		}
		out.Blobs++
		out.Bytes += i.Size
	}
	return nil
}

// raw packs a digest; the maps of a large store are full of them.
func raw(d slipstream.Digest) [32]byte {
	var out [32]byte
	for i := range out {
		if 2*i+1 < len(d) {
			out[i] = nibble(d[2*i])<<4 | nibble(d[2*i+1])
		}
	}
	return out
}

func nibble(c byte) byte {
	if c >= 'a' {
		return c - 'a' + 10
	}
	return c - '0'
}

// named is the set of all bytes that releases and their containers name, but for those of the releases without.
func (s *Service) named(ctx context.Context, tx store.Tx, without []Gone) (map[[32]byte]struct{}, error) {
	out := map[[32]byte]struct{}{}
	gone := map[slipstream.Digest]bool{}
	for _, g := range without {
		gone[g.Digest] = true
	}
	apps, err := tx.Apps().List(ctx)
	if err != nil {
		return nil, err
	}
	for _, a := range apps {
		releases, err := tx.Releases().List(ctx, store.ReleaseFilter{App: a.Name})
		if err != nil {
			return nil, err
		}
		for _, r := range releases {
			if gone[r.Digest] {
				continue
			}
			for _, f := range r.Manifest.Files {
				out[raw(f.SHA256)] = struct{}{}
			}
		}
	}
	containers, err := tx.Containers().All(ctx)
	if err != nil {
		return nil, err
	}
	for release, list := range containers {
		for _, c := range list {
			if !gone[release] {
				out[raw(c.SHA256)] = struct{}{}
			}
		}
	}
	renditions, err := tx.Containers().Renditions(ctx, "")
	if err != nil {
		return nil, err
	}
	for _, r := range renditions {
		if !gone[r.Release] {
			out[raw(r.SHA256)] = struct{}{}
		}
	}
	return out, nil
}

// expired are the releases that retention lets go.
func (s *Service) expired(ctx context.Context, tx store.Tx, spec CollectSpec) ([]Gone, error) {
	out := []Gone{}
	if spec.Keep == 0 && spec.KeepFor == 0 {
		return out, nil
	}
	apps, err := tx.Apps().List(ctx)
	if err != nil {
		return nil, err
	}
	now := s.clock()
	for _, a := range apps {
		held, err := heldReleases(ctx, tx, a)
		if err != nil {
			return nil, err
		}
		releases, err := tx.Releases().List(ctx, store.ReleaseFilter{App: a.Name})
		if err != nil {
			return nil, err
		}
		newer := map[string]int{}
		for _, r := range releases { // newest first within a package
			m := r.Manifest
			line := m.Package + " " + m.Platform + " " + m.Runtime.Key()
			newer[line]++
			age := now.Sub(r.Published.Time)
			if newer[line] <= spec.Keep || age < spec.KeepFor || age < spec.Margin || held[r.Digest] {
				continue
			}
			out = append(out, Gone{Digest: r.Digest, App: a.Name, Package: m.Package, Platform: m.Platform, Version: m.Version, Seq: m.Seq})
		}
	}
	return out, nil
}

// heldReleases are those that a state of the app names, those that a fallback edge of them names, embedded ones,
// which shells in the field start from, and those of adapters, which decide themselves how long they need them.
func heldReleases(ctx context.Context, tx store.Tx, a store.App) (map[slipstream.Digest]bool, error) {
	held := map[slipstream.Digest]bool{}
	channels, err := tx.Channels().List(ctx, a.Name)
	if err != nil {
		return nil, err
	}
	var live []slipstream.Digest
	for _, c := range channels {
		p, err := PolicyOf(c)
		if err != nil {
			return nil, err
		}
		for _, pp := range p.Packages {
			for _, platform := range a.Platforms {
				for _, e := range pp.Standing(platform, true) {
					live = append(live, e.Manifest)
				}
				floors := pp.floorsOn(platform)
				for _, w := range pp.Withdrawn {
					if covers(w.Platform, platform) && !belowFloor(w, floors) {
						held[w.Digest] = true
					}
				}
			}
		}
	}
	slices.Sort(live)
	for _, d := range slices.Compact(live) {
		held[d] = true
		r, err := tx.Releases().Get(ctx, d)
		if err != nil {
			return nil, err
		}
		for _, f := range r.Manifest.Fallback {
			held[f] = true
		}
	}
	embedded, err := tx.Releases().List(ctx, store.ReleaseFilter{App: a.Name})
	if err != nil {
		return nil, err
	}
	for _, r := range embedded {
		if r.Embedded || r.Adapter() != "" {
			held[r.Digest] = true
		}
	}
	return held, nil
}

// forget deletes a release. Rollouts of it that stand in no state go with it, so that none can come back without its
// release.
func forget(ctx context.Context, tx store.Tx, r Gone) error {
	channels, err := tx.Channels().List(ctx, r.App)
	if err != nil {
		return err
	}
	for _, c := range channels {
		p, err := PolicyOf(c)
		if err != nil {
			return err
		}
		pp := p.Packages[r.Package]
		if pp == nil || !slices.ContainsFunc(pp.Rollouts, func(e Entry) bool { return e.Manifest == r.Digest }) {
			continue
		}
		for _, e := range pp.Rollouts {
			if e.Manifest == r.Digest {
				pp.remember(e.past())
			}
		}
		pp.Rollouts = slices.DeleteFunc(pp.Rollouts, func(e Entry) bool { return e.Manifest == r.Digest })
		if c.Policy, err = p.encode(); err != nil {
			return err
		}
		if err := tx.Channels().Save(ctx, c); err != nil {
			return err
		}
	}
	return tx.Releases().Delete(ctx, r.Digest)
}

// DeleteRelease removes one release that no state and no fallback edge of a live release names. Its bytes go with the
// next garbage collection.
func (s *Service) DeleteRelease(ctx context.Context, by, app string, d slipstream.Digest) error {
	return s.store.Update(ctx, func(tx store.Tx) error {
		e := &edit{ctx: ctx, tx: tx, app: store.App{Name: app}}
		r, err := e.release(d)
		if err != nil {
			return err
		}
		a, err := tx.Apps().Get(ctx, app)
		if err != nil {
			return err
		}
		held, err := heldReleases(ctx, tx, a)
		if err != nil {
			return err
		}
		if held[d] {
			return slipstream.Hint(fmt.Errorf("release %s is named by a channel or by a fallback edge of a live release: %w", d.Short(), slipstream.ErrConflict),
				"end its rollouts first; devices may still need it to go back to")
		}
		m := r.Manifest
		if err := forget(ctx, tx, Gone{Digest: d, App: app, Package: m.Package}); err != nil {
			return err
		}
		return s.audit(ctx, tx, by, "release.delete", app, string(d), map[string]any{"package": m.Package, "version": m.Version}, s.clock())
	})
}
