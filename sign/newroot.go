package sign

import (
	"crypto/ed25519"
	"fmt"
	"slices"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// AlgEd25519 is the one key algorithm of this version of the format.
const AlgEd25519 = "ed25519"

type publicKey = ed25519.PublicKey

// RoleKeys are the keys of a role and how many of them must sign; Threshold 0 means 1.
type RoleKeys struct {
	Keys      []ed25519.PublicKey
	Threshold int
}

// NewRoot makes version 1 of an app's root, not yet signed: see Seal. A key of the state role may be in no other role,
// because the server holds it.
func NewRoot(app string, expires time.Time, root, release, state RoleKeys) (*slipstream.Root, error) {
	r := &slipstream.Root{App: app, Version: 1, Expires: slipstream.At(expires), Keys: map[string]slipstream.RootKey{}}
	r.Roles.Root = addRole(r, root)
	r.Roles.Release = addRole(r, release)
	r.Roles.State = addRole(r, state)
	return r, CheckNewRoot(r)
}

func addRole(r *slipstream.Root, k RoleKeys) slipstream.Role {
	role := slipstream.Role{Keys: []string{}, Threshold: max(k.Threshold, 1)}
	for _, pub := range k.Keys {
		if id := AddKey(r, pub); !slices.Contains(role.Keys, id) {
			role.Keys = append(role.Keys, id)
		}
	}
	return role
}

// AddKey lists pub among the keys of r, in no role yet, and gives its id.
func AddKey(r *slipstream.Root, pub ed25519.PublicKey) string {
	id := KeyID(pub)
	r.Keys[id] = slipstream.RootKey{Alg: AlgEd25519, Public: EncodePublic(pub)}
	return id
}

// CheckNewRoot is CheckRoot and what a writer of roots must keep beyond it.
func CheckNewRoot(r *slipstream.Root) error {
	if err := CheckRoot(r); err != nil {
		return err
	}
	for _, id := range r.Roles.State.Keys {
		if slices.Contains(r.Roles.Root.Keys, id) || slices.Contains(r.Roles.Release.Keys, id) {
			return malformed("root", fmt.Errorf("key %s of the state role, which the server holds, is in another role", id))
		}
	}
	return nil
}

// RootSigners says who signed a root file so far. Signed are the ids, sorted, of the root role's keys with a valid
// signature; Needed is the threshold.
type RootSigners struct {
	Signed []string
	Needed int
}

// Complete reports whether enough have signed.
func (s RootSigners) Complete() bool { return len(s.Signed) >= s.Needed }

// DraftRoot opens a root that is still collecting signatures: the form is checked, and who signed is told, nothing is
// refused for missing signatures.
func DraftRoot(raw []byte) (*slipstream.Root, *Envelope, RootSigners, error) {
	e, err := ParseEnvelope(raw, TypeRoot, slipstream.MaxRootBytes)
	if err != nil {
		return nil, nil, RootSigners{}, err
	}
	var root slipstream.Root
	if err := decodeAs("root", e.Payload, &root); err != nil {
		return nil, nil, RootSigners{}, err
	}
	sets, err := checkRoot(&root)
	if err != nil {
		return nil, nil, RootSigners{}, err
	}
	return &root, e, RootSigners{Signed: sets.root.signedBy(e), Needed: sets.root.threshold}, nil
}

// RootSigners says which keys of this root's root role signed e, the draft of the next root.
func (t *Trust) RootSigners(e *Envelope) RootSigners {
	return RootSigners{Signed: t.roles.root.signedBy(e), Needed: t.roles.root.threshold}
}
