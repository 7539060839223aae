package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/sign"
	"github.com/slipstream-ota/slipstream/store"
)

// StartRollout offers a published release on a channel.
func (s *Service) StartRollout(ctx context.Context, by, app string, release slipstream.Digest, o Offer) (Done, error) {
	id, err := s.newID()
	if err != nil {
		return Done{}, err
	}
	return s.change(ctx, by, app, o.Channel, "rollout.start", func(e *edit) error {
		r, err := e.signed(release)
		if err != nil {
			return err
		}
		trust, err := newestTrust(e.ctx, e.tx, app)
		if err != nil {
			return err
		}
		if trust != nil {
			if _, _, err := trust.Manifest(r.Envelope); err != nil {
				return slipstream.Hint(fmt.Errorf("devices would refuse the release: %w", err), "sign it with a key of the newest root by `slipstream release resign`")
			}
		}
		return e.start(r, o, id)
	})
}

// release gets a release of the app that is being edited.
func (e *edit) release(d slipstream.Digest) (*slipstream.Release, error) {
	r, err := e.tx.Releases().Get(e.ctx, d)
	if err != nil {
		return nil, err
	}
	if r.Manifest.App != e.app.Name {
		return nil, fmt.Errorf("release %s of app %s: %w", d.Short(), e.app.Name, slipstream.ErrNotFound)
	}
	return r, nil
}

// signed gets a release that a state may name. One that came in through another protocol's upload never stands in any.
func (e *edit) signed(d slipstream.Digest) (*slipstream.Release, error) {
	r, err := e.release(d)
	if err != nil {
		return nil, err
	}
	return r, offerable(r)
}

// offerable refuses a release that nobody signed.
func offerable(r *slipstream.Release) error {
	if name := r.Adapter(); name != "" {
		m := r.Manifest
		return slipstream.Hint(fmt.Errorf("release %s is for clients of %s alone, nobody signed it: %w", m.Version, name, slipstream.ErrConflict),
			"`slipstream release sign %s@%s` publishes its contents as a release with your signature", m.Package, m.Version)
	}
	return nil
}

// onRollout is change for the verbs that mean one rollout.
func (s *Service) onRollout(ctx context.Context, by, app, channel, id, action string, fn func(*edit) error) (Done, error) {
	return s.change(ctx, by, app, channel, action, func(e *edit) error {
		pkg, entry, err := e.policy.Find(id)
		if err != nil {
			return err
		}
		e.target = id
		e.detail["package"], e.detail["version"] = pkg, entry.Version
		if err := fn(e); err != nil {
			return err
		}
		if _, entry, err = e.policy.Find(id); err == nil {
			now := *entry
			e.done.Rollout = &now
		}
		return nil
	})
}

// Share moves the end of a rollout's range, see Policy.Share.
func (s *Service) Share(ctx context.Context, by, app, channel, id string, to int) (Done, error) {
	return s.onRollout(ctx, by, app, channel, id, "rollout.share", func(e *edit) error {
		warnings, err := e.policy.Share(id, to)
		e.done.Warnings = append(e.done.Warnings, warnings...)
		e.detail["to"] = to
		return err
	})
}

// Pause stops new devices taking the rollout's release.
func (s *Service) Pause(ctx context.Context, by, app, channel, id string) (Done, error) {
	return s.onRollout(ctx, by, app, channel, id, "rollout.pause", func(e *edit) error {
		return e.policy.Hold(id, slipstream.HoldPaused)
	})
}

// Halt is the guard's pause; evidence goes into the audit log.
func (s *Service) Halt(ctx context.Context, by, app, channel, id string, evidence map[string]any) (Done, error) {
	return s.onRollout(ctx, by, app, channel, id, "rollout.halt", func(e *edit) error {
		e.detail["evidence"] = evidence
		return e.policy.Hold(id, slipstream.HoldHalted)
	})
}

// Resume takes a pause or halt back.
func (s *Service) Resume(ctx context.Context, by, app, channel, id string) (Done, error) {
	return s.onRollout(ctx, by, app, channel, id, "rollout.resume", func(e *edit) error { return e.policy.Resume(id) })
}

// Finish gives the release to every device that the rollout's conditions name.
func (s *Service) Finish(ctx context.Context, by, app, channel, id string) (Done, error) {
	return s.onRollout(ctx, by, app, channel, id, "rollout.finish", func(e *edit) error { return e.policy.Finish(id) })
}

// End takes a rollout off the list.
func (s *Service) End(ctx context.Context, by, app, channel, id string) (Done, error) {
	return s.onRollout(ctx, by, app, channel, id, "rollout.end", func(e *edit) error { return e.policy.End(id) })
}

// Move changes a rollout's priority; 0 is the top.
func (s *Service) Move(ctx context.Context, by, app, channel, id string, to int) (Done, error) {
	return s.onRollout(ctx, by, app, channel, id, "rollout.move", func(e *edit) error {
		e.detail["to"] = to
		return e.policy.Move(id, to)
	})
}

// Edit changes what a rollout says besides its share and hold.
func (s *Service) Edit(ctx context.Context, by, app, channel, id string, c Change) (Done, error) {
	return s.onRollout(ctx, by, app, channel, id, "rollout.edit", func(e *edit) error {
		if c.Retry {
			e.detail["retry"] = true
		}
		if c.Cap != nil {
			e.detail["cap"] = *c.Cap
		}
		return e.policy.Edit(id, c)
	})
}

// WithdrawSpec says what devices must leave. Platform "" means the release's own.
type WithdrawSpec struct {
	Release  slipstream.Digest
	Platform string
	Reason   string
	Undo     bool // take the withdrawal back
}

// Withdraw makes devices leave a release at their next check, or takes that back.
func (s *Service) Withdraw(ctx context.Context, by, app, channel string, w WithdrawSpec) (Done, error) {
	action := "release.withdraw"
	if w.Undo {
		action = "release.reinstate"
	}
	return s.change(ctx, by, app, channel, action, func(e *edit) error {
		r, err := e.signed(w.Release)
		if err != nil {
			return err
		}
		m, platform := r.Manifest, first(w.Platform, r.Manifest.Platform)
		e.target = string(w.Release)
		e.detail["package"], e.detail["version"], e.detail["platform"] = m.Package, m.Version, platform
		if w.Undo {
			return e.policy.Reinstate(m.Package, w.Release, platform)
		}
		e.detail["reason"] = w.Reason
		was := Withdrawal{Digest: w.Release, Platform: platform, Seq: m.Seq, Version: m.Version, Runtime: m.Runtime, Reason: w.Reason, At: slipstream.At(e.now)}
		if err := e.policy.Withdraw(m.Package, was); err != nil {
			return err
		}
		e.done.Withdrawn = []Withdrawal{was}
		e.done.Warnings = append(e.done.Warnings, e.policy.pkg(m.Package).aboutWithdrawal(m, platform)...)
		return nil
	})
}

// aboutWithdrawal says where devices go that leave a release.
func (pp *PackagePolicy) aboutWithdrawal(m *slipstream.Manifest, platform string) []string {
	for _, e := range pp.Standing(platform, true) {
		if e.Hold != "" || pp.WithdrawnOn(e.Manifest, platform) || !overlap(e.Runtime, m.Runtime) {
			continue
		}
		if e.Seq < m.Seq && !m.MayFallBackTo(e.Manifest) {
			return []string{fmt.Sprintf("devices go back to what they hold, or to the embedded release: no signed fallback edge leads from %s to %s, which the channel offers", m.Version, e.Version)}
		}
		return nil
	}
	return []string{"devices go back to what they hold, or to the embedded release: the channel offers nothing else"}
}

// RollbackSpec says where to go back to. To "" means the release before the newest one in force; Platform "" means the
// target's own.
type RollbackSpec struct {
	Package  string
	To       slipstream.Digest
	Platform string
	Runtime  *slipstream.Runtime // for To "": of this runtime only
	Reason   string
}

// RollBack puts an earlier release in force and, in the same epoch, withdraws every newer one that this channel
// offered for that platform and runtime. Where no signed fallback edge leads there the error says to re-publish.
func (s *Service) RollBack(ctx context.Context, by, app, channel string, r RollbackSpec) (Done, error) {
	id, err := s.newID()
	if err != nil {
		return Done{}, err
	}
	done, err := s.change(ctx, by, app, channel, "release.rollback", func(e *edit) error {
		target, err := e.policy.pkg(r.Package).target(r)
		if err != nil {
			return err
		}
		back := Back{Target: target, Platform: first(r.Platform, target.Platform), ID: id, By: by, Reason: r.Reason, At: e.now,
			Fallback: func(d slipstream.Digest) ([]slipstream.Digest, error) {
				release, err := e.tx.Releases().Get(e.ctx, d)
				if errors.Is(err, slipstream.ErrNotFound) {
					return []slipstream.Digest{target.Digest}, nil // deleted long ago; a device that still runs it goes back to what it holds
				}
				if err != nil {
					return nil, err
				}
				return release.Manifest.Fallback, nil
			}}
		if !covers(target.Platform, back.Platform) && back.Platform != target.Platform {
			return fmt.Errorf("release %s is for platform %s, not %s: %w", target.Version, target.Platform, back.Platform, slipstream.ErrConflict)
		}
		e.done.Withdrawn, err = e.policy.RollBack(r.Package, back)
		if err != nil {
			return err
		}
		e.target = string(target.Digest)
		e.detail["package"], e.detail["version"], e.detail["reason"] = r.Package, target.Version, r.Reason
		withdrawn := make([]slipstream.Digest, len(e.done.Withdrawn))
		for i, w := range e.done.Withdrawn {
			withdrawn[i] = w.Digest
		}
		e.detail["withdrawn"], e.detail["rollout"] = withdrawn, id
		entry := e.policy.pkg(r.Package).Rollouts[0]
		e.done.Rollout = &entry
		return nil
	})
	var edge *EdgeError
	if errors.As(err, &edge) {
		err = slipstream.Hint(err, "`slipstream rollback --republish --to %s` publishes the old tree again under a new seq", edge.Target.Version)
	}
	return done, err
}

// target is the release that a rollback goes to.
func (pp *PackagePolicy) target(r RollbackSpec) (Past, error) {
	offered := pp.Offered()
	if r.To != "" {
		i := slices.IndexFunc(offered, func(p Past) bool { return p.Digest == r.To })
		if i < 0 {
			return Past{}, slipstream.Hint(fmt.Errorf("release %s was never offered on this channel: %w", r.To.Short(), slipstream.ErrNotFound),
				"start a rollout of it, or publish its tree again")
		}
		return offered[i], nil
	}
	var newest *Past
	for i := range offered {
		o := &offered[i]
		if pp.WithdrawnOn(o.Digest, o.Platform) || r.Platform != "" && !covers(o.Platform, r.Platform) || r.Runtime != nil && o.Runtime != *r.Runtime {
			continue
		}
		if newest == nil {
			newest = o
		} else if o.Platform == newest.Platform && overlap(o.Runtime, newest.Runtime) {
			return *o, nil
		}
	}
	return Past{}, fmt.Errorf("release before the newest of package %s: %w", r.Package, slipstream.ErrNotFound)
}

// SetFloor sets the lowest seq that devices may run. A floor above all that the channel offers there sends devices to
// their embedded release and is refused unless force is set.
func (s *Service) SetFloor(ctx context.Context, by, app, channel, pkg string, f Floor, force bool) (Done, error) {
	if err := errors.Join(slipstream.CheckName("package", pkg), slipstream.CheckName("platform", f.Platform)); err != nil {
		return Done{}, err
	}
	return s.change(ctx, by, app, channel, "floor.set", func(e *edit) error {
		pp := e.policy.pkg(pkg)
		reached := slices.ContainsFunc(pp.Rollouts, func(o Entry) bool {
			return o.Seq >= f.Seq && meet(o.Platform, f.Platform) && overlap(o.Runtime, f.Runtime) && !pp.WithdrawnOn(o.Manifest, f.Platform)
		})
		if !reached && f.Seq > 0 && !force {
			return slipstream.Hint(fmt.Errorf("nothing that the channel offers reaches the floor %d: %w", f.Seq, slipstream.ErrConflict),
				"devices would go to their embedded release; --force does it all the same")
		}
		e.target = pkg
		e.detail["platform"], e.detail["runtime"], e.detail["seq"] = f.Platform, f.Runtime, f.Seq
		return e.policy.SetFloor(pkg, f)
	})
}

// Promote offers on channel what another channel of the app has in force: for every platform and runtime its topmost
// rollout to everybody or anybody that is neither held nor withdrawn. release "" means all of them.
func (s *Service) Promote(ctx context.Context, by, app, pkg, from string, release slipstream.Digest, o Offer) ([]Done, error) {
	if from == o.Channel {
		return nil, slipstream.Invalidf("promoting needs two different channels")
	}
	var out []Done
	err := s.store.Update(ctx, func(tx store.Tx) error {
		out = nil
		a, err := tx.Apps().Get(ctx, app)
		if err != nil {
			return err
		}
		source, err := tx.Channels().Get(ctx, app, from)
		if err != nil {
			return err
		}
		p, err := PolicyOf(source)
		if err != nil {
			return err
		}
		heads := p.pkg(pkg).heads(release)
		if len(heads) == 0 {
			return fmt.Errorf("release of package %s in force on channel %s: %w", pkg, from, slipstream.ErrNotFound)
		}
		for _, h := range slices.Backward(heads) { // the topmost one is started last and so stands on top again
			id, err := s.newID()
			if err != nil {
				return err
			}
			e := &edit{ctx: ctx, tx: tx, app: a, now: s.clock(), by: by, action: "release.promote", detail: map[string]any{"from": from}}
			done, err := s.changeIn(e, o.Channel, func(e *edit) error {
				r, err := e.release(h.Manifest)
				if err != nil {
					return err
				}
				e.done.Warnings = p.pkg(pkg).aboutPromote(from, &h, o)
				return e.start(r, o.promoting(&h), id)
			})
			if err != nil {
				return err
			}
			out = append(out, done)
		}
		return nil
	})
	return out, err
}

// promoting is o for the devices that h meant, in h's way: what was for some devices only does not become everybody's.
func (o Offer) promoting(h *Entry) Offer {
	o.platform = h.Platform
	o.Private = o.Private || h.Private
	if o.When == nil {
		o.When = h.When
	}
	if o.Apply == (slipstream.Apply{}) {
		o.Apply = h.Apply
	}
	return o
}

// aboutPromote says what promoting h, a head of channel from, brings to some devices only, and what stays behind.
func (pp *PackagePolicy) aboutPromote(from string, h *Entry, o Offer) []string {
	if len(h.When) == 0 || o.When != nil {
		return nil
	}
	out := []string{fmt.Sprintf("version %s keeps the conditions that it has on channel %s: only devices get it for which %s", h.Version, from, describe(h.When))}
	at := slices.IndexFunc(pp.Rollouts, func(e Entry) bool { return e.ID == h.ID })
	for _, e := range pp.Rollouts[at+1:] {
		if e.Manifest != h.Manifest && e.Platform == h.Platform && e.Runtime == h.Runtime && e.Hold == "" && !pp.WithdrawnOn(e.Manifest, e.Platform) {
			return append(out, fmt.Sprintf("version %s, which stands under it on channel %s for other devices, is not promoted; where both are wanted, promote --release %s comes first, --release %s after it",
				e.Version, from, e.Version, h.Version))
		}
	}
	return out
}

// describe says conditions in a line. Long values are cut.
func describe(when []slipstream.Condition) string {
	const most = 40
	parts := make([]string, len(when))
	for i, c := range when {
		value := string(c.Value)
		if len(value) > most {
			value = strings.ToValidUTF8(value[:most], "") + "…"
		}
		parts[i] = fmt.Sprintf("%s %s %s", c.Attr, c.Op, value)
	}
	return strings.Join(parts, " and ")
}

// heads are the topmost rollouts in force, one per platform and runtime, top first.
func (pp *PackagePolicy) heads(release slipstream.Digest) []Entry {
	var out []Entry
	for _, e := range pp.Rollouts {
		if e.Hold != "" || pp.WithdrawnOn(e.Manifest, e.Platform) || release != "" && e.Manifest != release {
			continue
		}
		if !slices.ContainsFunc(out, func(o Entry) bool { return o.Platform == e.Platform && o.Runtime == e.Runtime }) {
			out = append(out, e)
		}
	}
	return out
}

// AddSignatures keeps the signatures of envelope beside those that the release has. The envelope must hold the same
// payload and be signed as the newest root asks.
func (s *Service) AddSignatures(ctx context.Context, by, app string, release slipstream.Digest, envelope []byte) error {
	return s.store.Update(ctx, func(tx store.Tx) error {
		e := &edit{ctx: ctx, tx: tx, app: store.App{Name: app}}
		r, err := e.signed(release)
		if err != nil {
			return err
		}
		trust, err := s.releaseTrust(ctx, tx, app)
		if err != nil {
			return err
		}
		have, err := sign.ParseEnvelope(r.Envelope, sign.TypeManifest, slipstream.MaxManifestBytes)
		if err != nil {
			return err
		}
		more, err := sign.ParseEnvelope(envelope, sign.TypeManifest, slipstream.MaxManifestBytes)
		if err != nil {
			return err
		}
		if got := sign.DigestOf(more.Payload); got != release {
			return slipstream.Refuse(slipstream.ReasonManifestMismatch, "manifest", "envelope holds release %s", got.Short())
		}
		if err := have.Merge(more); err != nil {
			return err
		}
		merged := have.Encode()
		if _, _, err := trust.Manifest(merged); err != nil {
			return err
		}
		if err := tx.Releases().SetEnvelope(ctx, release, merged); err != nil {
			return err
		}
		return s.audit(ctx, tx, by, "release.resign", app, string(release), map[string]any{"signatures": len(have.Signatures)}, s.clock())
	})
}
