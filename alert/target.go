package alert

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// TargetSpec is what people say of a target.
type TargetSpec struct {
	Name, Type, App string
	Kinds           []string // empty: all but changes
	Severity        string   // empty: all
	Address
}

func purposeOf(target string) string { return "alert target " + target }

// AddTarget keeps a new target. secret is what its messages are signed with, shown this once; "" where there is none.
func (s *Service) AddTarget(ctx context.Context, by string, spec TargetSpec) (t store.AlertTarget, secret string, err error) {
	if err := errors.Join(slipstream.CheckName("target", spec.Name), spec.check()); err != nil {
		return t, "", err
	}
	sender := s.cfg.Senders[spec.Type]
	if sender == nil {
		return t, "", slipstream.Invalidf("type %q: must be one of %s", spec.Type, strings.Join(s.Types(), ", "))
	}
	ready, shown, public, err := sender.Prepare(ctx, spec.Address)
	if err != nil {
		return t, "", fmt.Errorf("target %s: %w", spec.Name, err)
	}
	plain, err := json.Marshal(ready)
	if err != nil {
		return t, "", fmt.Errorf("encode address: %w", err)
	}
	sealed, err := s.cfg.Sealer.Seal(purposeOf(spec.Name), plain)
	if err != nil {
		return t, "", fmt.Errorf("seal address: %w", err)
	}
	t = store.AlertTarget{Name: spec.Name, Type: spec.Type, App: spec.App, Kinds: slices.Compact(slices.Sorted(slices.Values(spec.Kinds))), Severity: spec.Severity,
		Address: shown, Public: public, Sealed: sealed, Created: stamp(s.cfg.Clock())}
	err = s.cfg.Store.Update(ctx, func(tx store.Tx) error {
		if spec.App != "" {
			if _, err := tx.Apps().Get(ctx, spec.App); err != nil {
				return err
			}
		}
		targets := tx.Log().Alerts().Targets()
		list, err := targets.List(ctx)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(list, func(o store.AlertTarget) bool { return o.Name == spec.Name }) {
			return slipstream.Hint(fmt.Errorf("target %s exists: %w", spec.Name, slipstream.ErrConflict), "remove it first by `slipstream alert target rm %s`, or choose another name", spec.Name)
		}
		if len(list) >= maxTargets {
			return slipstream.Hint(fmt.Errorf("there are %d targets: %w", len(list), slipstream.ErrConflict), "remove some that are not needed")
		}
		if err := targets.Put(ctx, t); err != nil {
			return err
		}
		return s.audit(ctx, tx, by, "alert.target.add", spec.App, spec.Name, map[string]any{"type": t.Type, "address": shown, "kinds": t.Kinds, "severity": t.Severity})
	})
	if public == "" {
		secret = ready.Secret
	}
	return t, secret, err
}

func (t TargetSpec) check() error {
	for _, k := range t.Kinds {
		if !slices.Contains(Kinds(), k) {
			return slipstream.Invalidf("kind %q: must be one of %s", k, strings.Join(Kinds(), ", "))
		}
	}
	if t.Severity != "" && !slices.Contains(Severities(), t.Severity) {
		return slipstream.Invalidf("severity %q: must be one of %s", t.Severity, strings.Join(Severities(), ", "))
	}
	if len(t.URL) > 2000 || len(t.Secret) > 500 {
		return slipstream.Invalidf("the address is too long")
	}
	return nil
}

// RemoveTarget takes a target away, with the messages to it.
func (s *Service) RemoveTarget(ctx context.Context, by, name string, allowed func(store.AlertTarget) error) error {
	return s.cfg.Store.Update(ctx, func(tx store.Tx) error {
		t, err := tx.Log().Alerts().Targets().Get(ctx, name)
		if err != nil {
			return err
		}
		if err := allowed(t); err != nil {
			return err
		}
		if err := tx.Log().Alerts().Targets().Delete(ctx, name); err != nil {
			return err
		}
		return s.audit(ctx, tx, by, "alert.target.remove", t.App, name, map[string]any{"type": t.Type, "address": t.Address})
	})
}

// Test sends a message to a target at once and says how that went. It is not queued and not tried again.
func (s *Service) Test(ctx context.Context, by, name string, allowed func(store.AlertTarget) error) (Sent, error) {
	var t store.AlertTarget
	err := s.cfg.Store.View(ctx, func(tx store.Tx) (err error) {
		t, err = tx.Log().Alerts().Targets().Get(ctx, name)
		return err
	})
	if err != nil {
		return Sent{}, err
	}
	if err := allowed(t); err != nil {
		return Sent{}, err
	}
	now := stamp(s.cfg.Clock())
	body, err := bodyOf(store.Alert{Kind: EventTest, Severity: Info, App: t.App, Title: "Slipstream: this is a test, sent by " + by}, EventTest, nil, now)
	if err != nil {
		return Sent{}, err
	}
	return s.send(ctx, t, messageOf(store.Delivery{Event: EventTest, Body: body, Created: now}, now))
}

// Retry queues dead messages anew.
func (s *Service) Retry(ctx context.Context, target string, ids ...int64) (n int64, err error) {
	err = s.cfg.Store.Update(ctx, func(tx store.Tx) error {
		n, err = tx.Log().Alerts().Deliveries().Retry(ctx, s.cfg.Clock(), target, ids...)
		return err
	})
	return n, err
}

func (s *Service) open(t store.AlertTarget) (Address, error) {
	var a Address
	plain, err := s.cfg.Sealer.Open(purposeOf(t.Name), t.Sealed)
	if err != nil {
		return a, fmt.Errorf("open address of target %s: %w", t.Name, err)
	}
	if err := json.Unmarshal(plain, &a); err != nil {
		return a, fmt.Errorf("read address of target %s: %w", t.Name, err)
	}
	return a, nil
}
