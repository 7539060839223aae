package alert

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/store"
)

// Rules are what numbers are judged by. They hold for all apps.
type Rules struct {
	// SuccessBelow is the share of ended trials that were confirmed, below which a rollout is told of; 0 is never.
	SuccessBelow float64 `json:"successBelow" minimum:"0" maximum:"1" doc:"Share of ended trials that must be confirmed; 0 for no such alert"`
	// MinDevices is how many devices a rule needs to say anything.
	MinDevices int64 `json:"minDevices" minimum:"1" maximum:"1000000" doc:"Devices that a rule needs to say anything"`
	// NoDataAfter is how long devices that took a release may be silent, in seconds, or how long nobody may take it; 0 is
	// for ever.
	NoDataAfter int64 `json:"noDataAfter" minimum:"0" maximum:"31536000" doc:"Seconds without any outcome of devices that took a release; 0 for no such alert"`
}

// DefaultRules hold until others are set.
func DefaultRules() Rules { return Rules{SuccessBelow: 0.9, MinDevices: 50, NoDataAfter: 6 * 3600} }

// Check refuses rules that mean nothing.
func (r Rules) Check() error {
	switch {
	case !(r.SuccessBelow >= 0 && r.SuccessBelow <= 1):
		return slipstream.Invalidf("success rate %v: must be between 0 and 1", r.SuccessBelow)
	case r.MinDevices < 1 || r.MinDevices > 1_000_000:
		return slipstream.Invalidf("%d devices: must be between 1 and 1,000,000", r.MinDevices)
	case r.NoDataAfter != 0 && (r.NoDataAfter < 60 || r.NoDataAfter > 365*24*3600):
		return slipstream.Invalidf("silence of %d s: must be between a minute and a year, or 0", r.NoDataAfter)
	}
	return nil
}

const settingRules = "alert/rules"

func readRules(ctx context.Context, tx store.Tx) (Rules, error) {
	raw, err := tx.Settings().Get(ctx, settingRules)
	if errors.Is(err, slipstream.ErrNotFound) {
		return DefaultRules(), nil
	}
	if err != nil {
		return Rules{}, err
	}
	var r Rules
	if err := json.Unmarshal(raw, &r); err != nil {
		return Rules{}, fmt.Errorf("read rules: %w", err)
	}
	return r, nil
}

// Live is a rollout that is offered, with what became of its devices.
type Live struct {
	App, Channel, Package string
	Rollout               rollout.Entry
	Tally                 map[string]store.Tally // by arm
	Running               int64                  // devices that run any release of the package
	// Still is since when no trial has ended, as long as this process looks.
	Still time.Time
}

// treated adds up all arms that get the release.
func (l *Live) treated() (t store.Tally) {
	for arm, a := range l.Tally {
		if arm == slipstream.ArmControl {
			continue
		}
		t.Enrolled, t.Confirmed, t.Failed, t.Left = t.Enrolled+a.Enrolled, t.Confirmed+a.Confirmed, t.Failed+a.Failed, t.Left+a.Left
	}
	return t
}

// ended is how many trials of all arms are over.
func (l *Live) ended() (n int64) {
	for _, a := range l.Tally {
		n += a.Confirmed + a.Failed + a.Left
	}
	return n
}

// finding is what a rule says of a rollout: an alert that should stand, or should not.
type finding struct {
	alert  Alert
	stands bool
}

// judge says what the rules find. It is a function of its arguments.
func (r Rules) judge(l *Live, now time.Time) []finding {
	t := l.treated()
	base := Alert{App: l.App, Channel: l.Channel, Package: l.Package, Subject: l.Rollout.ID, Severity: Warning, At: now}
	low, silent := finding{alert: base}, finding{alert: base}
	low.alert.Kind, silent.alert.Kind = KindSuccessLow, KindNoData
	low.alert.Key, silent.alert.Key = RolloutKey(KindSuccessLow, l.App, l.Channel, l.Rollout.ID), RolloutKey(KindNoData, l.App, l.Channel, l.Rollout.ID)
	detail, err := json.Marshal(map[string]any{"version": l.Rollout.Version, "enrolled": t.Enrolled, "confirmed": t.Confirmed, "failed": t.Failed, "running": l.Running})
	if err == nil {
		low.alert.Detail, silent.alert.Detail = detail, detail
	}
	if over := t.Confirmed + t.Failed; over >= r.MinDevices {
		rate := float64(t.Confirmed) / float64(over)
		low.stands = rate < r.SuccessBelow
		low.alert.Title = fmt.Sprintf("Only %.1f %% of %d trials of version %s of %s, package %s, on %s were confirmed; %.1f %% are wanted",
			100*rate, over, l.Rollout.Version, l.App, l.Package, l.Channel, 100*r.SuccessBelow)
	}
	patience := time.Duration(r.NoDataAfter) * time.Second
	if held := l.Rollout.Hold != "" || l.Rollout.To <= l.Rollout.From; held || patience == 0 {
		return []finding{low, silent}
	}
	open := t.Enrolled - t.Confirmed - t.Failed - t.Left
	switch {
	case open >= r.MinDevices && !l.Still.IsZero() && now.Sub(l.Still) >= patience:
		silent.stands = true
		silent.alert.Title = fmt.Sprintf("%d devices took version %s of %s, package %s, on %s, and nothing was heard of any trial for %s",
			open, l.Rollout.Version, l.App, l.Package, l.Channel, patience)
	case t.Enrolled == 0 && l.Running >= r.MinDevices && now.Sub(l.Rollout.Created.Time) >= patience && !l.Still.IsZero() && now.Sub(l.Still) >= patience:
		silent.stands = true
		silent.alert.Title = fmt.Sprintf("No device has taken version %s of %s, package %s, on %s for %s, though %d run the package",
			l.Rollout.Version, l.App, l.Package, l.Channel, patience, l.Running)
	}
	return []finding{low, silent}
}

// live reads every rollout that is offered. still remembers since when each stands still.
func (s *Service) live(ctx context.Context, now time.Time) ([]Live, error) {
	var out []Live
	err := s.cfg.Store.View(ctx, func(tx store.Tx) error {
		out = nil
		channels, err := tx.Channels().List(ctx, "")
		if err != nil {
			return err
		}
		for _, c := range channels {
			p, err := rollout.PolicyOf(c)
			if err != nil {
				return err
			}
			for name, pp := range p.Packages {
				for _, e := range pp.Rollouts {
					if !pp.WithdrawnOn(e.Manifest, e.Platform) {
						out = append(out, Live{App: c.App, Channel: c.Name, Package: name, Rollout: e})
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read rollouts: %w", err)
	}
	seen := map[string]still{}
	running := map[[2]string]int64{}
	for i := range out {
		l := &out[i]
		if l.Tally, err = s.cfg.Store.Reports().Trials().Tally(ctx, l.Rollout.ID); err != nil {
			return nil, fmt.Errorf("count trials: %w", err)
		}
		pkg := [2]string{l.App, l.Package}
		if _, counted := running[pkg]; !counted {
			list, err := s.cfg.Store.Reports().Fleet().Running(ctx, l.App, l.Package)
			if err != nil {
				return nil, fmt.Errorf("count devices: %w", err)
			}
			running[pkg] = 0
			for _, r := range list {
				running[pkg] += r.Devices
			}
		}
		l.Running = running[pkg]
		was, known := s.still[l.Rollout.ID]
		if !known || was.ended != l.ended() || was.hold != l.Rollout.Hold {
			was = still{ended: l.ended(), hold: l.Rollout.Hold, since: now}
		}
		seen[l.Rollout.ID], l.Still = was, was.since
	}
	s.still = seen
	return out, nil
}

// still is how far a rollout was when it was seen to move last.
type still struct {
	ended int64
	hold  string
	since time.Time
}

// judge looks at all rollouts, raises what should stand and settles what should not.
func (s *Service) judge(ctx context.Context) error {
	now := s.cfg.Clock()
	all, err := s.live(ctx, now)
	if err != nil {
		return err
	}
	s.cfg.Metrics.setLive(all)
	var rules Rules
	active := map[string]store.Alert{}
	err = s.cfg.Store.View(ctx, func(tx store.Tx) error {
		if rules, err = readRules(ctx, tx); err != nil {
			return err
		}
		list, err := tx.Log().Alerts().List(ctx, store.AlertQuery{Active: true})
		for _, a := range list {
			active[a.Key] = a
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("read rules: %w", err)
	}
	s.cfg.Metrics.setActive(active)
	var due []finding
	offered := map[string]bool{}
	for i := range all {
		for _, f := range rules.judge(&all[i], now) {
			offered[f.alert.Key] = true
			a, stands := active[f.alert.Key]
			if f.stands && (!stands || now.Sub(a.Last) >= remindAfter) || !f.stands && stands {
				due = append(due, f)
			}
		}
	}
	for key, a := range active { // of rollouts that are offered no more
		if (a.Kind == KindSuccessLow || a.Kind == KindNoData) && !offered[key] {
			due = append(due, finding{alert: Alert{Key: key, At: now}})
		}
	}
	if len(due) == 0 {
		return nil
	}
	return s.cfg.Store.Update(ctx, func(tx store.Tx) error {
		for _, f := range due {
			if !f.stands {
				if err := Settle(ctx, tx, f.alert.Key, "system", "it is over", now); err != nil {
					return err
				}
				continue
			}
			if err := Raise(ctx, tx, f.alert); err != nil {
				return err
			}
		}
		return nil
	})
}
