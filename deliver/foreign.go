package deliver

import (
	"fmt"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/decide"
)

// Foreign is the question of a device that speaks another protocol, in our words.
type Foreign struct {
	App, Channel, Package string
	Device                slipstream.DeviceFacts
	Local                 decide.Local
	// Position places the device for shares; nil is our own function.
	Position decide.PositionFunc
}

// ForeignAnswer is what was decided, and under which epoch.
type ForeignAnswer struct {
	decide.Decision
	Epoch int64
}

// DecideForeign answers a question of another protocol from the snapshot, by the very function that answers checks. It
// does no I/O. The channel that does not exist is slipstream.ErrNotFound; no snapshot yet is slipstream.ErrUnavailable.
func (s *Server) DecideForeign(q Foreign) (ForeignAnswer, error) {
	snap, err := s.current()
	if err != nil {
		return ForeignAnswer{}, err
	}
	entry := snap.states[stateKey{q.App, q.Channel, q.Device.Platform}]
	if entry == nil {
		entry = snap.states[stateKey{q.App, q.Channel, slipstream.PlatformAny}]
	}
	if entry == nil {
		return ForeignAnswer{}, fmt.Errorf("app %q, channel %q: state %w", q.App, q.Channel, slipstream.ErrNotFound)
	}
	if entry.plan == nil {
		return ForeignAnswer{}, fmt.Errorf("app %q, channel %q cannot be decided with: %w", q.App, q.Channel, slipstream.ErrUnavailable)
	}
	plan := entry.plan
	if q.Position != nil {
		plan = plan.WithPosition(q.Position)
	}
	d := plan.Decide(q.Package, decide.NewDevice(q.Device), &q.Local, s.cfg.Clock())
	return ForeignAnswer{Decision: d, Epoch: plan.State().Epoch}, nil
}
