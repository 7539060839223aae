package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/halt/watch"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/store"
)

func (s *Server) status(ctx context.Context, in *struct {
	App string `query:"app" doc:"Of one app only"`
}) (*body[Status], error) {
	p := by(ctx)
	if in.App != "" && !p.May(auth.Read, in.App) {
		return nil, forbidden(p, auth.Read)
	}
	var out Status
	err := s.cfg.Store.View(ctx, func(tx store.Tx) error {
		out = Status{Apps: []AppStatus{}}
		list, err := tx.Apps().List(ctx)
		if err != nil {
			return err
		}
		found := in.App == ""
		for _, a := range list {
			found = found || a.Name == in.App
			if in.App != "" && a.Name != in.App || !p.May(auth.Read, a.Name) {
				continue
			}
			status, err := s.appStatus(ctx, tx, a)
			if err != nil {
				return err
			}
			out.Apps = append(out.Apps, status)
		}
		if !found {
			return fmt.Errorf("app %s: %w", in.App, slipstream.ErrNotFound)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i := range out.Apps {
		if err := s.count(ctx, &out.Apps[i]); err != nil {
			return nil, err
		}
	}
	return answer(out, nil)
}

func (s *Server) appStatus(ctx context.Context, tx store.Tx, a store.App) (AppStatus, error) {
	out := AppStatus{Name: a.Name, Display: a.Display, Channels: []ChannelStatus{}}
	root, err := newestRoot(ctx, tx, a.Name)
	if err != nil {
		return out, err
	}
	if root == nil {
		out.Warnings = append(out.Warnings, "no root is registered: devices get no states")
	} else {
		out.RootVersion, out.RootExpires = root.Version, &root.Expires
		out.Warnings = append(out.Warnings, aboutRoot(root, s.cfg.Clock())...)
	}
	if out.Unverified, err = rollout.Unverified(ctx, tx, a.Name); err != nil {
		return out, err
	}
	for _, l := range out.Unverified {
		out.Warnings = append(out.Warnings, fmt.Sprintf("version %s of package %s, live on channel %s, is not signed as the newest root asks: devices refuse it", l.Version, l.Package, l.Channel))
	}
	channels, err := tx.Channels().List(ctx, a.Name)
	if err != nil {
		return out, err
	}
	for _, c := range channels {
		status, err := channelStatus(ctx, tx, a, c, s.cfg.Clock())
		if err != nil {
			return out, err
		}
		if status.Expires != nil && !s.cfg.Clock().Before(*status.Expires) {
			out.Warnings = append(out.Warnings, fmt.Sprintf("a state of channel %s has expired: devices take no updates", c.Name))
		}
		out.Channels = append(out.Channels, status)
	}
	return out, nil
}

func channelStatus(ctx context.Context, tx store.Tx, a store.App, c store.Channel, now time.Time) (ChannelStatus, error) {
	described, err := describeChannel(ctx, tx, c, a.Platforms)
	if err != nil {
		return ChannelStatus{}, err
	}
	out := ChannelStatus{Name: c.Name, Packages: []PackageStatus{}}
	for _, st := range described.States {
		out.Epoch = max(out.Epoch, st.Epoch)
		out.Expires = earlier(out.Expires, st.Expires)
	}
	for _, name := range slices.Sorted(maps.Keys(described.Policy.Packages)) {
		pp := described.Policy.Packages[name]
		p := PackageStatus{Name: name, Rollouts: []RolloutStatus{}, Withdrawn: pp.Withdrawn, Floors: pp.Floors}
		standing := map[string]bool{}
		for _, platform := range a.Platforms {
			// A private rollout hides others only from those who see it.
			for _, private := range []bool{false, true} {
				for _, e := range pp.Standing(platform, private) {
					standing[e.ID] = true
				}
			}
		}
		for _, e := range pp.Rollouts {
			if !standing[e.ID] {
				continue
			}
			look, err := newestLook(ctx, tx, e.ID)
			if err != nil {
				return ChannelStatus{}, err
			}
			r := RolloutStatus{Entry: e, Withdrawn: pp.WithdrawnOn(e.Manifest, e.Platform), Guard: look}
			if e.Plan != nil && !e.Plan.Last() {
				r.Waits = described.Policy.Waits(&e, now)
			}
			p.Rollouts = append(p.Rollouts, r)
		}
		out.Packages = append(out.Packages, p)
	}
	return out, nil
}

// newestLook is what the guard saw last of a rollout; nil when it has not looked.
func newestLook(ctx context.Context, tx store.Tx, id string) (*Look, error) {
	ev, _, err := tx.Log().Evidence().Last(ctx, id)
	if errors.Is(err, slipstream.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var kept watch.Look
	if err := json.Unmarshal(ev.Doc, &kept); err != nil {
		return nil, fmt.Errorf("read the guard's look at %s: %w", id, err)
	}
	l := lookOf(ev, kept)
	return &l, nil
}

func earlier(have *time.Time, t time.Time) *time.Time {
	if have == nil || t.Before(*have) {
		return &t
	}
	return have
}

// mostReasons of an app's releases are asked for at once.
const mostReasons = 1000

// count adds what devices reported.
func (s *Server) count(ctx context.Context, a *AppStatus) error {
	counts, err := s.cfg.Store.Reports().Counts(ctx, a.Name)
	if err != nil {
		return fmt.Errorf("count reports: %w", err)
	}
	type key struct {
		channel string
		release slipstream.Digest
	}
	devices, left := map[key]map[slipstream.Kind]int64{}, map[key]map[slipstream.Kind]int64{}
	add := func(to map[key]map[slipstream.Kind]int64, k key, kind slipstream.Kind, n int64) {
		if to[k] == nil {
			to[k] = map[slipstream.Kind]int64{}
		}
		to[k][kind] += n
	}
	for _, c := range counts {
		add(devices, key{c.Channel, c.Release}, c.Kind, c.Devices)
	}
	for _, kind := range []slipstream.Kind{slipstream.KindRolledBack, slipstream.KindFailed} {
		reasons, err := s.cfg.Store.Reports().Fleet().Reasons(ctx, store.ReasonQuery{App: a.Name, Kind: kind, Limit: mostReasons})
		if err != nil {
			return fmt.Errorf("count reports: %w", err)
		}
		for _, r := range reasons {
			if store.TrialEnd(&slipstream.Event{Kind: r.Kind, Stage: r.Stage, Reason: r.Reason}) == store.TrialLeft {
				add(left, key{r.Channel, r.Release}, r.Kind, r.Devices)
			}
		}
	}
	for _, c := range a.Channels {
		for _, p := range c.Packages {
			for i := range p.Rollouts {
				k := key{c.Name, p.Rollouts[i].Manifest}
				p.Rollouts[i].Devices, p.Rollouts[i].Left = devices[k], left[k]
			}
		}
	}
	return nil
}
