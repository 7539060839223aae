package deliver

import (
	"fmt"
	"net/http"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/decide"
	"github.com/slipstream-ota/slipstream/protocol"
)

// Decide answers the question of a device that speaks another protocol from the snapshot, by the very function that
// answers checks. It does no I/O. A channel that does not exist is slipstream.ErrNotFound; no snapshot yet is
// slipstream.ErrUnavailable.
func (s *Server) Decide(q protocol.Question) (protocol.Answer, error) {
	snap, err := s.current()
	if err != nil {
		return protocol.Answer{}, err
	}
	entry := snap.states[stateKey{q.App, q.Channel, q.Device.Platform}]
	if entry == nil {
		entry = snap.states[stateKey{q.App, q.Channel, slipstream.PlatformAny}]
	}
	if entry == nil {
		return protocol.Answer{}, fmt.Errorf("app %q, channel %q: state %w", q.App, q.Channel, slipstream.ErrNotFound)
	}
	if entry.plan == nil {
		return protocol.Answer{}, fmt.Errorf("app %q, channel %q cannot be decided with: %w", q.App, q.Channel, slipstream.ErrUnavailable)
	}
	plan := entry.plan
	if q.Position != nil {
		plan = plan.WithPosition(q.Position)
	}
	if q.Runtime != nil {
		plan = plan.WithRuntime(q.Runtime)
	}
	d := plan.Decide(q.Package, decide.NewDevice(q.Device), &q.Local, s.cfg.Clock())
	return protocol.Answer{Decision: d, Epoch: plan.State().Epoch}, nil
}

// Report stores what a device that speaks another protocol told, by the rules for our own clients: the same limits, the
// same counts, the same log. r is the request that told it. When it returns without an error the events are stored
// durably; those that were stored before change nothing.
func (s *Server) Report(r *http.Request, events []slipstream.Event) error {
	snap, err := s.current()
	if err != nil {
		return err
	}
	adapted := *snap
	adapted.adapted = true
	_, err = s.take(r, &adapted, events)
	return err
}
