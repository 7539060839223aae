package api

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/store"
)

// InChannel is the path of operations on one channel.
type InChannel struct {
	InApp
	Channel string `path:"channel" maxLength:"64" doc:"Name of the channel"`
}

// InRollout is the path of operations on one rollout.
type InRollout struct {
	InChannel
	Rollout string `path:"rollout" maxLength:"64" doc:"Id of the rollout"`
}

// onChannel is a path with a JSON body.
type onChannel[T any] struct {
	InChannel
	Body T
}

func (s *Server) routeChannels() {
	const channel = "/apps/{app}/channels/{channel}"
	route(s, http.MethodGet, "/apps/{app}/channels", "List channels with their policies", auth.Read, s.listChannels)
	route(s, http.MethodPost, "/apps/{app}/channels", "Make a channel", auth.Manage, s.createChannel)
	route(s, http.MethodGet, channel, "Show a channel with its policy", auth.Read, func(ctx context.Context, in *InChannel) (*body[Channel], error) {
		return answer(s.channel(ctx, in.App, in.Channel))
	})
	route(s, http.MethodPatch, channel, "Change a channel's display name, timing, guard or freeze", auth.Manage, s.changeChannel)
	route(s, http.MethodPost, channel+"/rollouts", "Offer a published release", auth.Operate, s.startRollout)
	route(s, http.MethodPatch, channel+"/rollouts/{rollout}", "Share, plan, skip, freeze, pause, resume, finish, end, move or edit a rollout", auth.Operate, s.changeRollout)
	route(s, http.MethodGet, channel+"/rollouts/{rollout}/evidence", "What the guard saw of a rollout, and whether it comes out again", auth.Read, s.evidence)
	route(s, http.MethodPost, channel+"/withdraw", "Make devices leave a release, or take that back", auth.Operate, s.withdraw)
	route(s, http.MethodPost, channel+"/rollback", "Go back to an earlier release", auth.Operate, s.rollback)
	route(s, http.MethodPost, channel+"/promote", "Offer what another channel has in force", auth.Operate, s.promote)
	route(s, http.MethodPost, channel+"/floor", "Set the lowest seq that devices may run", auth.Operate, s.setFloor)
	route(s, http.MethodPost, channel+"/explain", "Why a device gets what it gets", auth.Read, s.explain)
}

func describeChannel(ctx context.Context, tx store.Tx, c store.Channel, platforms []string) (Channel, error) {
	p, err := rollout.PolicyOf(c)
	if err != nil {
		return Channel{}, err
	}
	out := Channel{App: c.App, Name: c.Name, Display: c.Display, Created: c.Created, Updated: c.Updated, Policy: *p, States: []StateInfo{}}
	for _, platform := range platforms {
		row, err := tx.States().Get(ctx, c.App, c.Name, platform)
		if errors.Is(err, slipstream.ErrNotFound) {
			continue
		}
		if err != nil {
			return Channel{}, err
		}
		out.States = append(out.States, StateInfo{Platform: platform, Epoch: row.Epoch, Issued: row.Issued, Expires: row.Expires, Bytes: len(row.Envelope)})
	}
	return out, nil
}

func (s *Server) listChannels(ctx context.Context, in *InApp) (*body[ChannelList], error) {
	out := ChannelList{Channels: []Channel{}}
	err := s.cfg.Store.View(ctx, func(tx store.Tx) error {
		out.Channels = out.Channels[:0]
		a, err := tx.Apps().Get(ctx, in.App)
		if err != nil {
			return err
		}
		list, err := tx.Channels().List(ctx, in.App)
		if err != nil {
			return err
		}
		for _, c := range list {
			described, err := describeChannel(ctx, tx, c, a.Platforms)
			if err != nil {
				return err
			}
			out.Channels = append(out.Channels, described)
		}
		return nil
	})
	for i := 0; i < len(out.Channels) && err == nil; i++ {
		err = s.countPlaces(ctx, &out.Channels[i])
	}
	return answer(out, err)
}

// countPlaces fills in how many devices the channel's rollouts with a cap have let in.
func (s *Server) countPlaces(ctx context.Context, c *Channel) error {
	caps := c.Policy.Caps()
	if len(caps) == 0 {
		return nil
	}
	var err error
	c.Places, err = s.cfg.Store.Grants().Count(ctx, slices.Sorted(maps.Keys(caps))...)
	return err
}

func (s *Server) channel(ctx context.Context, app, name string) (Channel, error) {
	var out Channel
	err := s.cfg.Store.View(ctx, func(tx store.Tx) error {
		a, err := tx.Apps().Get(ctx, app)
		if err != nil {
			return err
		}
		c, err := tx.Channels().Get(ctx, app, name)
		if err != nil {
			return slipstream.Hint(err, "`slipstream channel create %s --app %s` makes the channel", name, app)
		}
		out, err = describeChannel(ctx, tx, c, a.Platforms)
		return err
	})
	if err != nil {
		return Channel{}, err
	}
	return out, s.countPlaces(ctx, &out)
}

func (s *Server) createChannel(ctx context.Context, in *struct {
	InApp
	Body NewChannel
}) (*body[Channel], error) {
	spec := rollout.ChannelSpec{App: in.App, Name: in.Body.Name, Display: in.Body.Display, Timing: in.Body.Timing}
	if _, err := s.cfg.Rollout.CreateChannel(ctx, by(ctx).Name, spec); err != nil {
		return nil, err
	}
	return answer(s.channel(ctx, in.App, in.Body.Name))
}

func (s *Server) changeChannel(ctx context.Context, in *onChannel[ChannelChange]) (*body[Channel], error) {
	have, err := s.channel(ctx, in.App, in.Channel)
	if err != nil {
		return nil, err
	}
	spec := rollout.ChannelSpec{App: in.App, Name: in.Channel, Display: have.Display, Timing: have.Policy.Timing}
	if in.Body.Display != nil {
		spec.Display = *in.Body.Display
	}
	if in.Body.Timing != nil {
		spec.Timing = *in.Body.Timing
	}
	if in.Body.Display != nil || in.Body.Timing != nil {
		if _, err := s.cfg.Rollout.SaveChannel(ctx, by(ctx).Name, spec); err != nil {
			return nil, err
		}
	}
	if err := s.steerChannel(ctx, in.App, in.Channel, in.Body); err != nil {
		return nil, err
	}
	return answer(s.channel(ctx, in.App, in.Channel))
}

func (s *Server) startRollout(ctx context.Context, in *onChannel[StartRollout]) (*body[rollout.Done], error) {
	b := in.Body
	d, err := s.resolve(ctx, in.App, first(b.Package, slipstream.DefaultPackage), b.Release)
	if err != nil {
		return nil, err
	}
	plan, err := planOf(b.Plan)
	if err != nil {
		return nil, err
	}
	return answer(s.cfg.Rollout.StartRollout(ctx, by(ctx).Name, in.App, d, rollout.Offer{Plan: plan, Channel: in.Channel, From: b.From, To: end(b.To),
		Control: b.Control, Salt: b.Salt, When: b.When, Apply: b.Apply, Private: b.Private, Cap: b.Cap, Notes: b.Notes, At: b.At}))
}

// end is the end of a range of positions, everybody when absent.
func end(to *int) int {
	if to == nil {
		return slipstream.FullShare
	}
	return *to
}

func (s *Server) changeRollout(ctx context.Context, in *struct {
	InRollout
	Body RolloutChange
}) (*body[rollout.Done], error) {
	c, r, who := in.Body, s.cfg.Rollout, by(ctx).Name
	edit := c.Apply != nil || c.When != nil || c.Control != nil || c.Notes != nil || c.Cap != nil || c.Retry
	verbs := 0
	for _, asked := range []bool{c.To != nil, c.Hold != nil, c.Finish, c.Winner, c.End, c.Move != nil, c.Plan != nil, c.Skip, c.Freeze != nil, edit} {
		if asked {
			verbs++
		}
	}
	if verbs != 1 {
		return nil, slipstream.Invalidf("a change of a rollout is exactly one of to, hold, finish, winner, end, move, plan, skip, freeze, or an edit; this one is %d", verbs)
	}
	switch {
	case c.To != nil:
		return answer(r.Share(ctx, who, in.App, in.Channel, in.Rollout, *c.To))
	case c.Hold != nil && *c.Hold == slipstream.HoldPaused:
		return answer(r.Pause(ctx, who, in.App, in.Channel, in.Rollout))
	case c.Hold != nil:
		return answer(r.Resume(ctx, who, in.App, in.Channel, in.Rollout))
	case c.Plan != nil:
		return answer(s.setPlan(ctx, in.InRollout, c.Plan))
	case c.Skip:
		return answer(r.Skip(ctx, who, in.App, in.Channel, in.Rollout))
	case c.Freeze != nil:
		return answer(r.FreezePlan(ctx, who, in.App, in.Channel, in.Rollout, *c.Freeze))
	case c.Winner:
		return answer(r.FinishWinner(ctx, who, in.App, in.Channel, in.Rollout))
	case c.Finish:
		return answer(r.Finish(ctx, who, in.App, in.Channel, in.Rollout))
	case c.End:
		return answer(r.End(ctx, who, in.App, in.Channel, in.Rollout))
	case c.Move != nil:
		return answer(r.Move(ctx, who, in.App, in.Channel, in.Rollout, *c.Move))
	}
	return answer(r.Edit(ctx, who, in.App, in.Channel, in.Rollout,
		rollout.Change{Apply: c.Apply, When: c.When, Control: c.Control, Notes: c.Notes, Cap: c.Cap, Retry: c.Retry}))
}

func (s *Server) withdraw(ctx context.Context, in *onChannel[Withdraw]) (*body[rollout.Done], error) {
	b := in.Body
	d, err := s.resolve(ctx, in.App, first(b.Package, slipstream.DefaultPackage), b.Release)
	if err != nil {
		return nil, err
	}
	return answer(s.cfg.Rollout.Withdraw(ctx, by(ctx).Name, in.App, in.Channel,
		rollout.WithdrawSpec{Release: d, Platform: b.Platform, Reason: b.Reason, Undo: b.Undo}))
}

func (s *Server) rollback(ctx context.Context, in *onChannel[Rollback]) (*body[rollout.Done], error) {
	b := in.Body
	pkg := first(b.Package, slipstream.DefaultPackage)
	spec := rollout.RollbackSpec{Package: pkg, Platform: b.Platform, Reason: b.Reason}
	if b.To != "" {
		var err error
		if spec.To, err = s.resolve(ctx, in.App, pkg, b.To); err != nil {
			return nil, err
		}
	}
	return answer(s.cfg.Rollout.RollBack(ctx, by(ctx).Name, in.App, in.Channel, spec))
}

func (s *Server) promote(ctx context.Context, in *onChannel[Promote]) (*body[Promoted], error) {
	b := in.Body
	pkg := first(b.Package, slipstream.DefaultPackage)
	var d slipstream.Digest
	if b.Release != "" {
		var err error
		if d, err = s.resolve(ctx, in.App, pkg, b.Release); err != nil {
			return nil, err
		}
	}
	started, err := s.cfg.Rollout.Promote(ctx, by(ctx).Name, in.App, pkg, b.From, d,
		rollout.Offer{Channel: in.Channel, To: end(b.To), Control: b.Control, Notes: b.Notes})
	return answer(Promoted{Started: started}, err)
}

func (s *Server) setFloor(ctx context.Context, in *onChannel[SetFloor]) (*body[rollout.Done], error) {
	b := in.Body
	pkg := first(b.Package, slipstream.DefaultPackage)
	f := rollout.Floor{Platform: b.Platform, Runtime: b.Runtime, Seq: b.Seq}
	if b.Release != "" {
		d, err := s.resolve(ctx, in.App, pkg, b.Release)
		if err != nil {
			return nil, err
		}
		r, err := s.get(ctx, d)
		if err != nil {
			return nil, err
		}
		f.Seq, f.Platform = r.Manifest.Seq, first(f.Platform, r.Manifest.Platform)
		if f.Runtime == (slipstream.Runtime{}) {
			f.Runtime = r.Manifest.Runtime
		}
	}
	f.Platform = first(f.Platform, slipstream.PlatformAny)
	if f.Runtime == (slipstream.Runtime{}) {
		f.Runtime = slipstream.AnyRuntime()
	}
	return answer(s.cfg.Rollout.SetFloor(ctx, by(ctx).Name, in.App, in.Channel, pkg, f, b.Force))
}

func (s *Server) get(ctx context.Context, d slipstream.Digest) (*slipstream.Release, error) {
	var r *slipstream.Release
	err := s.cfg.Store.View(ctx, func(tx store.Tx) (err error) {
		r, err = tx.Releases().Get(ctx, d)
		return err
	})
	return r, err
}
