package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// What a halt does beside holding the rollout.
const (
	OnHaltHold     = "hold"     // the default
	OnHaltWithdraw = "withdraw" // and devices leave the release
)

// Guard is how a channel's rollouts are watched. Zero fields mean the defaults of package halt.
type Guard struct {
	Off          bool    `json:"off,omitempty" doc:"Nothing is halted, and plans advance by time alone"`
	Alpha        float64 `json:"alpha,omitempty" doc:"Chance of ever halting a good release"`
	AllowedRatio float64 `json:"allowedRatio,omitempty" doc:"How much more often than the control group a good release may fail"`
	Ceiling      float64 `json:"ceiling,omitempty" doc:"Share of failed devices that is never good"`
	NetworkShare float64 `json:"networkShare,omitempty" doc:"What one network may weigh"`
	MinNetworks  int     `json:"minNetworks,omitempty" doc:"Networks that harm must come from before anything is halted"`
	OnHalt       string  `json:"onHalt,omitempty" doc:"hold or withdraw"`
}

// Check refuses settings that cannot be meant; package halt has its own word on the numbers together.
func (g Guard) Check() error {
	switch {
	case g.Alpha < 0 || g.Alpha > 0.5:
		return slipstream.Invalidf("guard alpha %v: must lie between 0 and 0.5, like 0.01", g.Alpha)
	case g.AllowedRatio != 0 && (g.AllowedRatio < 1 || g.AllowedRatio > 10):
		return slipstream.Invalidf("guard allowed ratio %v: must lie between 1 and 10, like 1.2", g.AllowedRatio)
	case g.Ceiling < 0 || g.Ceiling > 0.5:
		return slipstream.Invalidf("guard ceiling %v: must lie between 0 and 0.5, like 0.03", g.Ceiling)
	case g.NetworkShare < 0 || g.NetworkShare > 1:
		return slipstream.Invalidf("guard network share %v: must lie between 0 and 1, like 0.25", g.NetworkShare)
	case g.MinNetworks < 0 || g.MinNetworks > 64:
		return slipstream.Invalidf("guard networks %d: must lie between 0 and 64", g.MinNetworks)
	case !slices.Contains([]string{"", OnHaltHold, OnHaltWithdraw}, g.OnHalt):
		return slipstream.Invalidf("guard on halt %q: must be %s or %s", g.OnHalt, OnHaltHold, OnHaltWithdraw)
	}
	return nil
}

// Action is what the guard wants done about a rollout.
type Action string

// The actions.
const (
	ActionNone    Action = ""        // nothing but keeping the evidence
	ActionAdvance Action = "advance" // the next stage of the plan
	ActionHalt    Action = "halt"    // hold it, and maybe withdraw the release
)

// Judgement is one look of the guard at a rollout and what it wants done.
type Judgement struct {
	App, Channel, Rollout string
	Action                Action
	Evidence              map[string]any // for the audit log
	// Save keeps the evidence in the same transaction; slipstream.ErrConflict means that another node was faster, and
	// nothing happens.
	Save func(ctx context.Context, tx store.Tx) error
	// Told is called in the transaction with what was done, to raise an alert; nil tells nobody.
	Told func(ctx context.Context, tx store.Tx, e Entry, withdrawn bool) error
}

// Steer keeps the guard's evidence and does what it asks for, in one transaction: after a crash there is never a halt
// without its evidence, nor evidence of a halt that is not in force. An action that the rollout does not allow any more
// (another node, or people, have moved it meanwhile) is slipstream.ErrConflict, and nothing happens: who looks again sees it
// as it stands.
func (s *Service) Steer(ctx context.Context, j Judgement) (done bool, err error) {
	err = s.store.Update(ctx, func(tx store.Tx) error {
		done = false
		if err := j.Save(ctx, tx); err != nil {
			return err
		}
		if j.Action == ActionNone {
			return nil
		}
		a, err := tx.Apps().Get(ctx, j.App)
		if err != nil {
			return err
		}
		e := &edit{ctx: ctx, tx: tx, app: a, now: s.clock(), by: "guard", action: "rollout." + string(j.Action), target: j.Rollout, detail: map[string]any{"evidence": j.Evidence}}
		_, err = s.changeIn(e, j.Channel, func(e *edit) error { return e.steer(j) })
		done = err == nil
		return err
	})
	return done, err
}

// errMoot says that people have settled meanwhile what the guard wanted to do.
var errMoot = fmt.Errorf("the rollout has moved on: %w", slipstream.ErrConflict)

func (e *edit) steer(j Judgement) error {
	pkg, entry, err := e.policy.Find(j.Rollout)
	if errors.Is(err, slipstream.ErrNotFound) {
		return errMoot
	}
	if err != nil {
		return err
	}
	e.detail["package"], e.detail["version"] = pkg, entry.Version
	withdrawn := false
	switch j.Action {
	case ActionAdvance:
		if e.policy.Waits(entry, e.now) != "" {
			return errMoot
		}
		if err := e.policy.Advance(j.Rollout, e.now); err != nil {
			return fmt.Errorf("advance: %w", err)
		}
		e.detail["to"] = entry.To
	case ActionHalt:
		if entry.Hold == slipstream.HoldHalted {
			return errMoot
		}
		if err := e.policy.Hold(j.Rollout, slipstream.HoldHalted); err != nil {
			return err
		}
		if withdrawn = e.policy.Guard.OnHalt == OnHaltWithdraw; withdrawn {
			e.detail["withdrawn"] = entry.Manifest
			if err := e.policy.Withdraw(pkg, Withdrawal{Digest: entry.Manifest, Platform: entry.Platform, Seq: entry.Seq, Version: entry.Version,
				Runtime: entry.Runtime, Reason: "halted by the guard", At: slipstream.At(e.now)}); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("action %q is unknown", j.Action)
	}
	if j.Told == nil {
		return nil
	}
	return j.Told(e.ctx, e.tx, *entry, withdrawn)
}

// SetPlan gives a running rollout a plan, another one, or (nil) takes it away.
func (s *Service) SetPlan(ctx context.Context, by, app, channel, id string, plan *Plan) (Done, error) {
	return s.onRollout(ctx, by, app, channel, id, "rollout.stage", func(e *edit) error {
		e.detail["plan"] = plan
		return e.policy.SetPlan(id, plan, e.now)
	})
}

// Skip puts the next stage of a plan in force at once, whatever time and evidence say.
func (s *Service) Skip(ctx context.Context, by, app, channel, id string) (Done, error) {
	return s.onRollout(ctx, by, app, channel, id, "rollout.skip", func(e *edit) error {
		err := e.policy.Advance(id, e.now)
		if _, entry, ferr := e.policy.Find(id); ferr == nil {
			e.detail["to"] = entry.To
		}
		return err
	})
}

// FreezePlan keeps a rollout's plan where it is, or lets it go on.
func (s *Service) FreezePlan(ctx context.Context, by, app, channel, id string, frozen bool) (Done, error) {
	return s.onRollout(ctx, by, app, channel, id, "rollout.freeze", func(e *edit) error {
		e.detail["frozen"] = frozen
		return e.policy.FreezePlan(id, frozen)
	})
}

// FreezePlan keeps a rollout's plan where it is, or lets it go on.
func (p *Policy) FreezePlan(id string, frozen bool) error {
	_, e, err := p.Find(id)
	if err != nil {
		return err
	}
	if e.Plan == nil {
		return slipstream.Hint(fmt.Errorf("rollout %s has no plan: %w", id, slipstream.ErrConflict), "`slipstream rollout pause` stops new devices taking the release")
	}
	plan := *e.Plan
	plan.Frozen = frozen
	e.Plan = &plan
	return nil
}

// FreezeChannel keeps every plan of a channel where it is, until then (nil: until taken back); reason is for people. With
// thaw the channel's plans go on.
func (s *Service) FreezeChannel(ctx context.Context, by, app, channel, reason string, until *time.Time, thaw bool) (Done, error) {
	return s.change(ctx, by, app, channel, "channel.freeze", func(e *edit) error {
		e.detail["frozen"], e.detail["reason"] = !thaw, reason
		if thaw {
			e.policy.Freeze = nil
			return nil
		}
		if len(reason) > MaxNotes {
			return slipstream.Invalidf("reason is longer than %d bytes", MaxNotes)
		}
		f := &Freeze{Reason: reason, By: by, At: slipstream.At(e.now)}
		if until != nil {
			if !until.After(e.now) {
				return slipstream.Invalidf("until %s: that is over already", until.UTC().Format(time.RFC3339))
			}
			at := slipstream.At(*until)
			f.Until = &at
		}
		e.policy.Freeze = f
		return nil
	})
}

// SetGuard changes how a channel's rollouts are watched. What runs is judged by the new settings where the rule allows
// it; the allowed ratio and the ceiling of a rollout that has evidence already stay.
func (s *Service) SetGuard(ctx context.Context, by, app, channel string, g Guard) (Done, error) {
	return s.change(ctx, by, app, channel, "channel.guard", func(e *edit) error {
		e.detail["guard"] = g
		e.policy.Guard = g
		return g.Check()
	})
}

// FinishWinner ends an A/B test: the rollouts that share the winner's salt are ended, and its release goes to every
// device that the winner's conditions name.
func (s *Service) FinishWinner(ctx context.Context, by, app, channel, id string) (Done, error) {
	return s.onRollout(ctx, by, app, channel, id, "rollout.finish", func(e *edit) error {
		ended, err := e.policy.FinishWinner(id)
		e.detail["ended"] = ended
		return err
	})
}

// FinishWinner is Service.FinishWinner on a policy. It names the rollouts that were ended.
func (p *Policy) FinishWinner(id string) (ended []string, err error) {
	pkg, winner, err := p.Find(id)
	if err != nil {
		return nil, err
	}
	salt := winner.PositionSalt()
	for _, o := range slices.Clone(p.pkg(pkg).Rollouts) {
		if o.ID != id && o.PositionSalt() == salt && meet(o.Platform, winner.Platform) {
			if err := p.End(o.ID); err != nil {
				return nil, err
			}
			ended = append(ended, o.ID)
		}
	}
	if len(ended) == 0 {
		return nil, slipstream.Hint(fmt.Errorf("rollout %s is no arm of a test: no other has its salt %q: %w", id, salt, slipstream.ErrConflict),
			"`slipstream rollout finish %s` gives its release to everybody", id)
	}
	return ended, p.Finish(id)
}
