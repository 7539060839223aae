package sign

import (
	"fmt"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// MaxDecisionLife is the longest time between a decision's issued and expires.
const MaxDecisionLife = 10 * time.Minute

// ExpectState is what a device asked for and remembers. Last is the envelope of the state that it accepted last for this
// channel and platform, as it came, or nil: its signatures were checked then and are not again. Now is its clock;
// HighestSigned the highest issued time of any state or decision that it accepted, or zero. After the state role changed
// (see Trust.StateRoleEqual) Last is nil and HighestSigned zero.
type ExpectState struct {
	App, Channel, Platform string
	Last                   []byte
	Now, HighestSigned     time.Time
}

// AcceptState opens a state and checks it in the prescribed order: size cap, envelope, role threshold, form, app,
// channel, platform, epoch, expiry of the state, expiry of the root. Nobody keeps the envelope before this returns nil.
func (t *Trust) AcceptState(raw []byte, e ExpectState) (*slipstream.State, error) {
	s, payload, err := t.openState(raw)
	if err != nil {
		return nil, err
	}
	switch {
	case s.App != e.App:
		return nil, slipstream.Refuse(slipstream.ReasonWrongApp, "state", "of app %q, not %q", s.App, e.App)
	case s.Channel != e.Channel:
		return nil, slipstream.Refuse(slipstream.ReasonWrongChannel, "state", "of channel %q, not %q", s.Channel, e.Channel)
	case s.Platform != e.Platform:
		return nil, slipstream.Refuse(slipstream.ReasonWrongPlatform, "state", "of platform %q, not %q", s.Platform, e.Platform)
	}
	if e.Last != nil {
		if err := checkAfter(s, payload, e.Last); err != nil {
			return nil, err
		}
	}
	now := later(e.Now, e.HighestSigned)
	if !now.Before(s.Expires.Time) {
		return nil, slipstream.Refuse(slipstream.ReasonExpiredState, "state", "expired at %s, now it is %s", stamp(s.Expires.Time), stamp(now))
	}
	if err := t.checkUnexpired(now); err != nil {
		return nil, err
	}
	return s, nil
}

// checkAfter compares a state with the one that was accepted before it, given by its envelope.
func checkAfter(s *slipstream.State, payload, envelope []byte) error {
	e, err := ParseEnvelope(envelope, TypeState, slipstream.MaxStateBytes)
	if err != nil {
		return fmt.Errorf("the state before: %w", err)
	}
	var last slipstream.State
	if err := decodeAs("the state before", e.Payload, &last); err != nil {
		return err
	}
	return checkEpoch(s, &last, payload, e.Payload)
}

func checkEpoch(s, last *slipstream.State, payload, lastPayload []byte) error {
	switch {
	case s.Epoch < last.Epoch:
		return slipstream.Refuse(slipstream.ReasonStaleState, "state", "epoch %d after %d", s.Epoch, last.Epoch)
	case s.Epoch > last.Epoch:
		return nil
	case s.Issued.Before(last.Issued.Time):
		return slipstream.Refuse(slipstream.ReasonStaleState, "state", "epoch %d, issued at %s after %s", s.Epoch, stamp(s.Issued.Time), stamp(last.Issued.Time))
	}
	same, err := equalButTimes(payload, lastPayload)
	if err != nil {
		return slipstream.Refuse(slipstream.ReasonMalformed, "state", "compare with the last: %w", err)
	}
	if !same {
		return slipstream.Refuse(slipstream.ReasonEquivocation, "state", "epoch %d says something else than before", s.Epoch)
	}
	return nil
}

// equalButTimes compares two signed states as JSON values, whole, without issued and expires: a field that this version
// does not know must be equal too, because a later one may act on it.
func equalButTimes(a, b []byte) (bool, error) {
	var trees [2]*node
	for i, payload := range [2][]byte{a, b} {
		n, err := parseJSON(payload)
		if err != nil {
			return false, err
		}
		trees[i] = n.without("issued", "expires")
	}
	return trees[0].equal(trees[1]), nil
}

func (t *Trust) checkUnexpired(now time.Time) error {
	if t.Expired(now) {
		return slipstream.Refuse(slipstream.ReasonExpiredRoot, "root", "version %d expired at %s", t.root.Version, stamp(t.root.Expires.Time))
	}
	return nil
}

// ExpectDecision is what a device asked for and remembers. LastEpoch is the highest epoch that it accepted on this
// channel, or 0.
type ExpectDecision struct {
	App, Channel, Device, Nonce string
	LastEpoch                   int64
	Now, HighestSigned          time.Time
}

// AcceptDecision opens a decision and checks it in the prescribed order: size cap, envelope, role threshold, form, app,
// channel, device, nonce, epoch, life, expiry of the root.
//
// A decision is fresh because it repeats the random nonce of the request, so neither Now nor HighestSigned is held
// against its expires: it serves the device whose clock, or an earlier signer's clock, is wrong. The root's expiry is
// judged by the decision's own issued time or HighestSigned, whichever is later, and not by Now.
func (t *Trust) AcceptDecision(raw []byte, e ExpectDecision) (*slipstream.Decision, error) {
	d, err := t.Decision(raw)
	if err != nil {
		return nil, err
	}
	switch {
	case d.App != e.App:
		return nil, slipstream.Refuse(slipstream.ReasonWrongApp, "decision", "of app %q, not %q", d.App, e.App)
	case d.Channel != e.Channel:
		return nil, slipstream.Refuse(slipstream.ReasonWrongChannel, "decision", "of channel %q, not %q", d.Channel, e.Channel)
	case d.Device != e.Device:
		return nil, slipstream.Refuse(slipstream.ReasonWrongDevice, "decision", "for another device")
	case d.Nonce != e.Nonce || e.Nonce == "":
		return nil, slipstream.Refuse(slipstream.ReasonWrongNonce, "decision", "answers another request")
	case d.Epoch < e.LastEpoch:
		return nil, slipstream.Refuse(slipstream.ReasonStaleState, "decision", "epoch %d after %d", d.Epoch, e.LastEpoch)
	case d.Expires.Sub(d.Issued.Time) > MaxDecisionLife:
		return nil, slipstream.Refuse(slipstream.ReasonMalformed, "decision", "lives longer than %s", MaxDecisionLife)
	}
	if err := t.checkUnexpired(later(d.Issued.Time, e.HighestSigned)); err != nil {
		return nil, err
	}
	return d, nil
}

// ExpectManifest is what named the manifest, and the shell that it must fit. Platform is the device's, "" or "any" when
// it has none. Runtime is the rollout's, nil when a decision or a fallback named the release. Fits says whether this
// shell fits; nil when the caller has no shell.
type ExpectManifest struct {
	App, Package, Platform string
	Release                slipstream.ReleaseRef
	Runtime                *slipstream.Runtime
	Fits                   func(slipstream.Runtime) bool
}

// AcceptManifest opens a manifest and checks it in the prescribed order: size cap, envelope, role threshold, form,
// digest, app, package, platform, runtime, seq, version, total size, and that the runtime fits this shell.
func (t *Trust) AcceptManifest(raw []byte, e ExpectManifest) (*slipstream.Manifest, error) {
	m, digest, err := t.Manifest(raw)
	if err != nil {
		return nil, err
	}
	mismatch := func(field string, got, want any) error {
		return slipstream.Refuse(slipstream.ReasonManifestMismatch, "manifest", "%s is %v, expected %v", field, got, want)
	}
	r := e.Release
	switch {
	case digest != r.Digest:
		return nil, mismatch("digest", digest, r.Digest)
	case m.App != e.App:
		return nil, slipstream.Refuse(slipstream.ReasonWrongApp, "manifest", "of app %q, not %q", m.App, e.App)
	case m.Package != e.Package:
		return nil, mismatch("package", m.Package, e.Package)
	case m.Platform != slipstream.PlatformAny && m.Platform != e.Platform:
		return nil, slipstream.Refuse(slipstream.ReasonWrongPlatform, "manifest", "for platform %q, not %q", m.Platform, e.Platform)
	case e.Runtime != nil && m.Runtime != *e.Runtime:
		return nil, mismatch("runtime", m.Runtime, *e.Runtime)
	case m.Seq != r.Seq:
		return nil, mismatch("seq", m.Seq, r.Seq)
	case m.Version != r.Version:
		return nil, mismatch("version", m.Version, r.Version)
	case m.Size() != r.Size:
		return nil, mismatch("total size", m.Size(), r.Size)
	case e.Fits != nil && !e.Fits(m.Runtime):
		return nil, slipstream.Refuse(slipstream.ReasonRuntimeMismatch, "manifest", "needs runtime %s", m.Runtime)
	}
	return m, nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func stamp(t time.Time) string { return t.UTC().Format(slipstream.TimeLayout) }
