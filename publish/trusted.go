package publish

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/sign"
)

// MaxSeqJump is how far above what is proven a server may push the seq of a release. A server that lies about it could
// else have the publisher sign the highest seq there is, after which devices take nothing any more.
const MaxSeqJump = 1 << 20

// Keyring is whose signatures on earlier releases count for a publisher: the keys that they sign with, and the release
// keys of the root in their own folder. Nothing of it comes from the server.
type Keyring []ed25519.PublicKey

// KeyringOf is the public keys of signers and the release role of roots (envelopes from a place that is trusted).
func KeyringOf(signers []sign.Signer, roots ...[]byte) (Keyring, error) {
	var k Keyring
	for _, s := range signers {
		k = append(k, s.Public())
	}
	for _, raw := range roots {
		trust, err := sign.OpenRoot(raw)
		if err != nil {
			return nil, fmt.Errorf("open own root: %w", err)
		}
		root := trust.Root()
		for _, id := range root.Roles.Release.Keys {
			pub, err := sign.ParsePublic(root.Keys[id].Public)
			if err != nil {
				return nil, fmt.Errorf("open own root: %w", err)
			}
			k = append(k, pub)
		}
	}
	return k, nil
}

// Open gives the manifest of a release that the server handed out, once it is proven to be what the digest names, of this
// app, and signed by one of ours. Whoever signs it again, or a way back to it, signs nothing that they have not signed
// before.
func (k Keyring) Open(app string, r Release) (*slipstream.Manifest, error) {
	m, err := r.Manifest()
	if err != nil {
		return nil, err
	}
	if err := sign.CheckManifest(m); err != nil {
		return nil, err
	}
	if m.App != app {
		return nil, slipstream.Refuse(slipstream.ReasonWrongApp, "release "+r.Digest.Short(), "it is of app %q, not %q", m.App, app)
	}
	e, err := sign.ParseEnvelope(r.Envelope, sign.TypeManifest, slipstream.MaxManifestBytes)
	if err != nil {
		return nil, err
	}
	message := sign.PAE(e.PayloadType, e.Payload)
	for _, pub := range k {
		for _, s := range e.Signatures {
			if s.KeyID == sign.KeyID(pub) && sign.VerifySignature(pub, message, s.Sig) {
				return m, nil
			}
		}
	}
	return nil, slipstream.Hint(slipstream.Refuse(slipstream.ReasonSignatureInvalid, "release "+r.Digest.Short(), "no key known here has signed it"),
		"the server may have made it up; if another of your keys signed it, have the app's root.json in your folder or in SLIPSTREAM_ROOT")
}

// proven reads what the server says of earlier releases and keeps what is proven: the ways back for a target, and the
// highest seq.
func (k Keyring) proven(ctx context.Context, server Server, t Target, s Standing) (back []ReleaseInfo, highest int64, warnings []Warning, err error) {
	candidates := fallbacks(t, s.Recent)
	look := candidates
	if len(s.Recent) > 0 && (len(candidates) == 0 || candidates[0].Digest != s.Recent[0].Digest) {
		look = append([]ReleaseInfo{s.Recent[0]}, candidates...)
	}
	for _, info := range look {
		r, err := server.Release(ctx, t.App, string(info.Digest))
		if errors.Is(err, slipstream.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, 0, nil, fmt.Errorf("read release %s: %w", info.Version, err)
		}
		r.Digest = info.Digest // what would be signed, not what the answer calls itself
		m, err := k.Open(t.App, r)
		if err != nil {
			warnings = append(warnings, Warning{WarnServer, fmt.Sprintf("release %s is no way back: %v", info.Version, err)})
			continue
		}
		if m.Package != t.Package {
			continue
		}
		highest = max(highest, m.Seq)
		claimed := ReleaseInfo{Digest: info.Digest, Package: m.Package, Platform: m.Platform, Runtime: m.Runtime, Seq: m.Seq, Version: m.Version, Data: m.Data, Embedded: info.Embedded}
		back = append(back, fallbacks(t, []ReleaseInfo{claimed})...)
	}
	return fallbacks(t, back), highest, warnings, nil
}

// nextSeq is the seq of the next release, or why it cannot be the one that the server wants.
func nextSeq(s Standing, highest, least int64) (int64, error) {
	next := max(s.HighestSeq+1, highest+1, least)
	if next > max(highest, least)+MaxSeqJump {
		return 0, slipstream.Hint(slipstream.Refuse(slipstream.ReasonManifestMismatch, "seq", "the server wants %d, but the highest signed release has %d", next, highest),
			"a seq only ever rises, so a wrong one cannot be taken back. If this is right, say --min-seq %d", next)
	}
	return next, nil
}
