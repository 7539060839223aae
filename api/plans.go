package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/halt"
	"github.com/slipstream-ota/slipstream/halt/watch"
	"github.com/slipstream-ota/slipstream/publish"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/store"
)

// NoPlan as the stages of a change takes a rollout's plan away.
const NoPlan = "none"

// planOf reads a plan as people write it; nil is none.
func planOf(n *publish.NewPlan) (*rollout.Plan, error) {
	if n == nil {
		return nil, nil
	}
	stages, err := rollout.ParsePlan(n.Stages)
	if err != nil {
		return nil, err
	}
	p := &rollout.Plan{Stages: stages, Start: n.Start}
	for _, text := range n.Windows {
		w, err := rollout.ParseWindow(text)
		if err != nil {
			return nil, err
		}
		p.Windows = append(p.Windows, w)
	}
	return p, p.Check()
}

func (s *Server) setPlan(ctx context.Context, in InRollout, n *publish.NewPlan) (rollout.Done, error) {
	var plan *rollout.Plan
	if n.Stages != NoPlan {
		var err error
		if plan, err = planOf(n); err != nil {
			return rollout.Done{}, err
		}
	}
	return s.cfg.Rollout.SetPlan(ctx, by(ctx).Name, in.App, in.Channel, in.Rollout, plan)
}

// steerChannel changes how a channel's rollouts are watched, and whether their plans go on.
func (s *Server) steerChannel(ctx context.Context, app, channel string, c ChannelChange) error {
	if c.Guard != nil {
		if _, err := s.cfg.Rollout.SetGuard(ctx, by(ctx).Name, app, channel, *c.Guard); err != nil {
			return err
		}
	}
	if f := c.Freeze; f != nil {
		if _, err := s.cfg.Rollout.FreezeChannel(ctx, by(ctx).Name, app, channel, f.Reason, f.Until, !f.On); err != nil {
			return err
		}
	}
	return nil
}

// Look is one look of the guard at a rollout.
type Look struct {
	N       int64           `json:"n"`
	At      slipstream.Time `json:"at"`
	Verdict halt.Verdict    `json:"verdict"`
	Action  rollout.Action  `json:"action,omitempty"`
	Waits   string          `json:"waits,omitempty" doc:"Why the plan stayed where it was"`
	Resumed bool            `json:"resumed,omitempty" doc:"A person had resumed the halted rollout: the evidence began anew"`
	// Again is the verdict that running the rule on the log anew gives, Same whether it is the very same. Both are only
	// there when that was asked for.
	Again *halt.Verdict `json:"again,omitempty"`
	Same  *bool         `json:"same,omitempty"`
}

// EvidenceList is what the guard saw of a rollout, the first look first.
type EvidenceList struct {
	Rollout string `json:"rollout"`
	Looks   []Look `json:"looks"`
}

func (s *Server) evidence(ctx context.Context, in *struct {
	InRollout
	Replay bool `query:"replay" doc:"Run the rule on the log again"`
}) (*body[EvidenceList], error) {
	out := EvidenceList{Rollout: in.Rollout, Looks: []Look{}}
	if err := s.seesEvidence(ctx, in.InRollout); err != nil {
		return nil, err
	}
	if in.Replay {
		seen, err := watch.Replay(ctx, s.cfg.Store, in.Rollout)
		if err != nil && !errors.Is(err, slipstream.ErrNotFound) {
			return nil, err
		}
		for _, v := range seen {
			l := lookOf(v.Evaluation, v.Look)
			l.Again, l.Same = &v.Again, &v.Same
			out.Looks = append(out.Looks, l)
		}
		return answer(out, nil)
	}
	var list []store.Evaluation
	if err := s.cfg.Store.View(ctx, func(tx store.Tx) (err error) {
		list, err = tx.Log().Evidence().List(ctx, in.Rollout, 0)
		return err
	}); err != nil {
		return nil, err
	}
	for _, ev := range list {
		var l watch.Look
		if err := json.Unmarshal(ev.Doc, &l); err != nil {
			return nil, err
		}
		out.Looks = append(out.Looks, lookOf(ev, l))
	}
	return answer(out, nil)
}

// seesEvidence keeps who is for some apps to the rollouts of those: looks are kept by a rollout's id alone. Of a rollout that
// its channel has forgotten nobody can tell whose it was, so that only who sees all apps sees them still.
func (s *Server) seesEvidence(ctx context.Context, in InRollout) error {
	if by(ctx).Apps.All() {
		return nil
	}
	return s.cfg.Store.View(ctx, func(tx store.Tx) error {
		c, err := tx.Channels().Get(ctx, in.App, in.Channel)
		if err != nil {
			return err
		}
		policy, err := rollout.PolicyOf(c)
		if err != nil {
			return err
		}
		for _, pp := range policy.Packages {
			if slices.ContainsFunc(pp.Rollouts, func(e rollout.Entry) bool { return e.ID == in.Rollout }) {
				return nil
			}
		}
		return fmt.Errorf("rollout %s: %w", in.Rollout, slipstream.ErrNotFound)
	})
}

func lookOf(ev store.Evaluation, l watch.Look) Look {
	return Look{N: ev.N, At: slipstream.At(ev.At), Verdict: l.Verdict, Action: l.Action, Waits: l.Waits, Resumed: l.Resumed}
}

// Evidence gives the guard's looks at a rollout; with replay the rule is run on the log again.
func (c *Client) Evidence(ctx context.Context, app, channel, id string, replay bool) (EvidenceList, error) {
	path := appPath(app, "channels", channel, "rollouts", id, "evidence")
	if replay {
		path += "?replay=true"
	}
	return send[EvidenceList](ctx, c, http.MethodGet, path, nil)
}
