package api

import (
	"context"
	"errors"
	"fmt"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/decide"
	"github.com/slipstream-ota/slipstream/sign"
	"github.com/slipstream-ota/slipstream/store"
)

func (s *Server) explain(ctx context.Context, in *onChannel[Explain]) (*body[Explained], error) {
	var out Explained
	err := s.cfg.Store.View(ctx, func(tx store.Tx) error {
		st, err := stateFor(ctx, tx, in.App, in.Channel, in.Body.Device.Platform)
		if err != nil {
			return err
		}
		plan, err := decide.Compile(st)
		if err != nil {
			return err
		}
		pkg := first(in.Body.Package, slipstream.DefaultPackage)
		local, err := localOf(ctx, tx, in.App, pkg, in.Body)
		if err != nil {
			return err
		}
		d, steps := plan.Explain(pkg, decide.NewDevice(in.Body.Device), local, s.cfg.Clock())
		out = Explained{Platform: st.Platform, Epoch: st.Epoch, Decision: d.Wire(), Steps: steps, Position: map[string]int{}}
		if id := in.Body.Device.ID; id != "" {
			for _, r := range st.Packages[pkg].Rollouts {
				out.Position[r.ID] = decide.Position(r.PositionSalt(), id)
			}
		}
		return nil
	})
	return answer(out, err)
}

// stateFor is the state that a device of this platform is decided by, with the private rollouts in it. A platform
// without states of its own gets that of "any".
func stateFor(ctx context.Context, tx store.Tx, app, channel, platform string) (*slipstream.State, error) {
	if _, err := tx.Channels().Get(ctx, app, channel); err != nil {
		return nil, err
	}
	row, err := tx.States().Get(ctx, app, channel, first(platform, slipstream.PlatformAny))
	if errors.Is(err, slipstream.ErrNotFound) {
		row, err = tx.States().Get(ctx, app, channel, slipstream.PlatformAny)
	}
	if errors.Is(err, slipstream.ErrNotFound) {
		return nil, slipstream.Hint(fmt.Errorf("app %s has no signed state yet: %w", app, err), "`slipstream app create %s` finishes what was begun", app)
	}
	if err != nil {
		return nil, err
	}
	payload := row.Private
	if payload == nil {
		e, err := sign.ParseEnvelope(row.Envelope, sign.TypeState, slipstream.MaxStateBytes)
		if err != nil {
			return nil, fmt.Errorf("open state: %w", err)
		}
		payload = e.Payload
	}
	var st slipstream.State
	if err := sign.Decode(payload, &st); err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	return &st, nil
}

// localOf is what a device would know of itself that runs what the question says.
func localOf(ctx context.Context, tx store.Tx, app, pkg string, q Explain) (*decide.Local, error) {
	l := &decide.Local{RunningEmbedded: q.Running == "", Granted: q.Granted}
	held := func(ref string) (decide.Held, *slipstream.Manifest, error) {
		d, err := resolveIn(ctx, tx, app, pkg, ref)
		if err != nil {
			return decide.Held{}, nil, err
		}
		r, err := tx.Releases().Get(ctx, d)
		if err != nil {
			return decide.Held{}, nil, err
		}
		if r.Manifest.Package != pkg {
			return decide.Held{}, nil, slipstream.Invalidf("release %s is of package %s, not %s", d.Short(), r.Manifest.Package, pkg)
		}
		return decide.Held{Digest: d, Seq: r.Manifest.Seq, Runtime: r.Manifest.Runtime}, r.Manifest, nil
	}
	var err error
	if q.Running != "" {
		if l.Running, _, err = held(q.Running); err != nil {
			return nil, err
		}
	}
	if anchor := first(q.Anchor, q.Running); anchor != "" {
		var m *slipstream.Manifest
		if l.Anchor, m, err = held(anchor); err != nil {
			return nil, err
		}
		l.AnchorFallback = m.Fallback
	}
	for _, ref := range q.Held {
		h, _, err := held(ref)
		if err != nil {
			return nil, err
		}
		l.Held = append(l.Held, h)
	}
	for _, ref := range q.Refused {
		h, _, err := held(ref)
		if err != nil {
			return nil, err
		}
		l.Refused = append(l.Refused, decide.Refusal{Digest: h.Digest})
	}
	return l, nil
}
