package sign

import (
	"crypto/ed25519"
	"maps"
	"slices"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// Trust is one verified root: the keys and thresholds that everything else is checked against. It is immutable.
type Trust struct {
	root     *slipstream.Root
	envelope []byte
	roles    roleSets
}

// roleSets are the usable keys of the three roles.
type roleSets struct{ root, release, state keySet }

// keySet is the keys of a role by key id, and how many different ones must sign.
type keySet struct {
	keys      map[string]ed25519.PublicKey
	threshold int
}

// signedBy gives the ids, sorted, of the keys of k that signed e validly.
func (k keySet) signedBy(e *Envelope) []string {
	message := PAE(e.PayloadType, e.Payload)
	valid := map[string]bool{}
	for _, s := range e.Signatures {
		pub, known := k.keys[s.KeyID]
		if known && !valid[s.KeyID] && VerifySignature(pub, message, s.Sig) {
			valid[s.KeyID] = true
		}
	}
	return slices.Sorted(maps.Keys(valid))
}

func (k keySet) verify(e *Envelope, what, role string) error {
	if n := len(k.signedBy(e)); n < k.threshold {
		return slipstream.Refuse(slipstream.ReasonSignatureInvalid, what, "%d of %d needed signatures by the %s role are valid", n, k.threshold, role)
	}
	return nil
}

// OpenRoot opens the root that shipped inside the app, or any root that is trusted for where it came from: it must carry
// a threshold of its own root role. Its expiry is not looked at.
func OpenRoot(raw []byte) (*Trust, error) {
	e, err := ParseEnvelope(raw, TypeRoot, slipstream.MaxRootBytes)
	if err != nil {
		return nil, err
	}
	return openRoot(e, raw)
}

func openRoot(e *Envelope, raw []byte) (*Trust, error) {
	var root slipstream.Root
	if err := decodeAs("root", e.Payload, &root); err != nil {
		return nil, err
	}
	roles, err := checkRoot(&root)
	if err != nil {
		return nil, err
	}
	if err := roles.root.verify(e, "root", "root"); err != nil {
		return nil, err
	}
	return &Trust{root: &root, envelope: slices.Clone(raw), roles: roles}, nil
}

// Next opens the following root: version+1 of the same app, signed by a threshold of this root's and of its own root
// role. An expired root on the way is no error; see Expired for the last one. A client takes at most
// slipstream.MaxRootSteps steps at a time.
func (t *Trust) Next(raw []byte) (*Trust, error) {
	e, err := ParseEnvelope(raw, TypeRoot, slipstream.MaxRootBytes)
	if err != nil {
		return nil, err
	}
	if err := t.roles.root.verify(e, "root", "previous root's root"); err != nil {
		return nil, err
	}
	next, err := openRoot(e, raw)
	if err != nil {
		return nil, err
	}
	if next.root.App != t.root.App {
		return nil, slipstream.Refuse(slipstream.ReasonWrongApp, "root", "of app %q, not %q", next.root.App, t.root.App)
	}
	if next.root.Version != t.root.Version+1 {
		return nil, slipstream.Refuse(slipstream.ReasonRootVersion, "root", "version %d does not follow %d", next.root.Version, t.root.Version)
	}
	return next, nil
}

// Root is the verified document; it must not be changed.
func (t *Trust) Root() *slipstream.Root { return t.root }

// Envelope is the root exactly as it came, to be stored; it must not be changed.
func (t *Trust) Envelope() []byte { return t.envelope }

// Expired reports whether the root's time is over. An expired root stops updates, never the app.
func (t *Trust) Expired(now time.Time) bool { return !now.Before(t.root.Expires.Time) }

// StateRoleEqual reports whether o has the same keys and threshold in the state role. If not, stored states, epochs and
// signed times are to be forgotten.
func (t *Trust) StateRoleEqual(o *Trust) bool {
	a, b := slices.Sorted(slices.Values(t.root.Roles.State.Keys)), slices.Sorted(slices.Values(o.root.Roles.State.Keys))
	return t.root.Roles.State.Threshold == o.root.Roles.State.Threshold && slices.Equal(a, b)
}

// Manifest opens and checks a manifest signed by the release role; the digest is its name.
func (t *Trust) Manifest(raw []byte) (*slipstream.Manifest, slipstream.Digest, error) {
	e, err := ParseEnvelope(raw, TypeManifest, slipstream.MaxManifestBytes)
	if err != nil {
		return nil, "", err
	}
	if err := t.roles.release.verify(e, "manifest", "release"); err != nil {
		return nil, "", err
	}
	var m slipstream.Manifest
	if err := decodeAs("manifest", e.Payload, &m); err != nil {
		return nil, "", err
	}
	if err := CheckManifest(&m); err != nil {
		return nil, "", err
	}
	return &m, DigestOf(e.Payload), nil
}

// State opens and checks a state signed by the state role, by itself: see AcceptState.
func (t *Trust) State(raw []byte) (*slipstream.State, error) {
	s, _, err := t.openState(raw)
	return s, err
}

func (t *Trust) openState(raw []byte) (*slipstream.State, []byte, error) {
	e, err := ParseEnvelope(raw, TypeState, slipstream.MaxStateBytes)
	if err != nil {
		return nil, nil, err
	}
	if err := t.roles.state.verify(e, "state", "state"); err != nil {
		return nil, nil, err
	}
	var s slipstream.State
	if err := decodeAs("state", e.Payload, &s); err != nil {
		return nil, nil, err
	}
	if err := CheckState(&s); err != nil {
		return nil, nil, err
	}
	return &s, e.Payload, nil
}

// Decision opens and checks a decision signed by the state role, by itself: see AcceptDecision.
func (t *Trust) Decision(raw []byte) (*slipstream.Decision, error) {
	e, err := ParseEnvelope(raw, TypeDecision, slipstream.MaxDecisionBytes)
	if err != nil {
		return nil, err
	}
	if err := t.roles.state.verify(e, "decision", "state"); err != nil {
		return nil, err
	}
	var d slipstream.Decision
	if err := decodeAs("decision", e.Payload, &d); err != nil {
		return nil, err
	}
	if err := CheckDecision(&d); err != nil {
		return nil, err
	}
	return &d, nil
}
