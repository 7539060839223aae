package codepush

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/slipstream-ota/slipstream"
)

// events are a report in our words: what was downloaded enrolled the device in the label's rollout, what succeeded is
// confirmed, what failed was rolled back for a reason that these clients do not know. The ids follow from what is told,
// so that telling it again changes nothing. A client without an id, and a label that was never given out here, say
// nothing that could be counted.
func (s *Server) events(ctx context.Context, ed *edition, d *deployment, t *told) ([]slipstream.Event, error) {
	if t.client == "" {
		return nil, nil
	}
	base := slipstream.Event{App: d.app, Channel: d.channel, Package: d.pkg, Platform: d.platform, Runtime: t.version, Device: slipstream.DeviceID(d.app, t.client)}
	event := func(kind slipstream.Kind, parts ...string) slipstream.Event {
		e := base
		e.Kind = kind
		e.ID = eventID(append(parts, string(base.Release), string(kind), t.key)...)
		return e
	}
	if t.label == "" {
		// The binary's own bundle runs: the app is new, or was updated by its shop.
		return []slipstream.Event{event(slipstream.KindAlive, t.version, t.previous)}, nil
	}
	e := d.labels[t.label]
	if e == nil {
		return nil, nil
	}
	before, err := s.before(ctx, ed, d, t, base.Device)
	if err != nil {
		return nil, err
	}
	base.Release, base.Rollout, base.Running = e.Release, e.Rollout, before
	if e.Own != nil {
		base.Rollout = "" // no rollout of the channel: counted by its release
	}
	enrolled := event(slipstream.KindEnrolled, t.label)
	enrolled.Arm = slipstream.ArmTreatment
	switch t.status {
	case statusSucceeded:
		return joined(e, enrolled, event(slipstream.KindConfirmed, t.label)), nil
	case statusFailed:
		back := event(slipstream.KindRolledBack, t.label)
		back.Reason = slipstream.ReasonUnknownEnd
		return joined(e, enrolled, back), nil
	}
	return joined(e, enrolled, event(slipstream.KindFetched, t.label)), nil
}

// joined puts the enrolment first, where there is a rollout to enrol in.
func joined(e *entry, enrolled, then slipstream.Event) []slipstream.Event {
	if e.Own != nil {
		return []slipstream.Event{then}
	}
	return []slipstream.Event{enrolled, then}
}

// before is what the device ran before the package that it reports on: by its own word, else by what it told last.
func (s *Server) before(ctx context.Context, ed *edition, d *deployment, t *told, device string) (slipstream.Digest, error) {
	from := d
	if other := ed.byKey[t.previousKey]; other != nil && other.app == d.app && other.pkg == d.pkg {
		from = other
	}
	if e := from.labels[t.previous]; e != nil {
		return e.Release, nil
	}
	if t.previous != "" || s.cfg.Running == nil {
		return "", nil // the version of a binary
	}
	return s.cfg.Running(ctx, d.app, d.pkg, device)
}

func eventID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return "cp-" + hex.EncodeToString(sum[:20])
}
