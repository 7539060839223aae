package publish

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/sign"
)

// MaxSeqJump is how far above what is proven a server may push the seq of a release. A server that lies about it could
// else have the publisher sign the highest seq there is, after which devices take nothing any more.
const MaxSeqJump = 1 << 20

// Keyring is whose signatures on earlier releases count for a publisher: a root that they hold themselves, and single
// keys, such as the ones that they sign with. The server can add to it nothing but roots that follow that one.
type Keyring struct {
	root *sign.Trust
	keys []ed25519.PublicKey
}

// NewKeyring opens a publisher's own root (its envelope, from a place that is trusted).
func NewKeyring(root []byte) (Keyring, error) {
	trust, err := sign.OpenRoot(root)
	if err != nil {
		return Keyring{}, fmt.Errorf("open own root: %w", err)
	}
	return Keyring{root: trust}, nil
}

// With is the keyring and keys that count alone.
func (k Keyring) With(keys ...ed25519.PublicKey) Keyring {
	k.keys = slices.Concat(k.keys, keys)
	return k
}

// Root is the newest root that the keyring knows.
func (k Keyring) Root() *sign.Trust { return k.root }

// Follow walks from the publisher's own root to the newest one of the server. Each root must be signed by the one before;
// a server whose roots leave that chain is refused. One that has only older roots changes nothing.
func (k Keyring) Follow(ctx context.Context, server Server, app string) (Keyring, error) {
	if k.root == nil {
		return k, slipstream.Hint(fmt.Errorf("own root of app %s: %w", app, slipstream.ErrNotFound), "%s", hintRoot)
	}
	if own := k.root.Root().App; own != app {
		return k, slipstream.Refuse(slipstream.ReasonWrongApp, "own root", "it is of app %q, not %q", own, app)
	}
	roots, err := server.Roots(ctx, app)
	if err != nil {
		return k, fmt.Errorf("read roots: %w", err)
	}
	for _, raw := range roots {
		root, e, _, err := sign.DraftRoot(raw)
		if err != nil {
			return k, fmt.Errorf("root of the server: %w", err)
		}
		switch own := k.root.Root().Version; {
		case root.Version < own:
			continue
		case root.Version == own:
			err = k.sameRoot(e)
		default:
			var next *sign.Trust
			if next, err = k.root.Next(raw); err == nil {
				k.root = next
			}
		}
		if err != nil {
			return k, slipstream.Hint(fmt.Errorf("version %d of the root, from the server, does not follow your own version %d: %w", root.Version, k.root.Root().Version, err),
				"do not sign anything for this server before you know why. If your own root.json is outdated or of another app, replace it by a copy from somebody you trust")
		}
	}
	return k, nil
}

// hintRoot says where a publisher's own root comes from.
const hintRoot = "`slipstream app create` leaves root.json in your folder; elsewhere, in CI for example, name a copy of it by --root or SLIPSTREAM_ROOT. It is no secret, but must not come from the server"

// sameRoot refuses e, of the same version as the newest root, when it says something else.
func (k Keyring) sameRoot(e *sign.Envelope) error {
	own, err := sign.ParseEnvelope(k.root.Envelope(), sign.TypeRoot, slipstream.MaxRootBytes)
	if err != nil {
		return err
	}
	if sign.DigestOf(own.Payload) != sign.DigestOf(e.Payload) {
		return slipstream.Refuse(slipstream.ReasonSignatureInvalid, "root", "it is another one than yours of the same version")
	}
	return nil
}

// Open gives the manifest of a release that the server handed out, once it is proven to be what the digest names, of this
// app, and signed as the newest root asks or by a key that counts alone. Whoever signs it again, or a way back to it,
// signs nothing that has not been signed before.
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
	if len(r.Envelope) == 0 {
		return nil, slipstream.Hint(slipstream.Refuse(slipstream.ReasonSignatureInvalid, "release "+r.Digest.Short(), "nobody signed it, it came in through %s", r.AdapterOnly), hintAdopt)
	}
	if k.root != nil {
		if _, _, err := k.root.Manifest(r.Envelope); err == nil {
			return m, nil
		}
	}
	e, err := sign.ParseEnvelope(r.Envelope, sign.TypeManifest, slipstream.MaxManifestBytes)
	if err != nil {
		return nil, err
	}
	message := sign.PAE(e.PayloadType, e.Payload)
	for _, pub := range k.keys {
		for _, s := range e.Signatures {
			if s.KeyID == sign.KeyID(pub) && sign.VerifySignature(pub, message, s.Sig) {
				return m, nil
			}
		}
	}
	return nil, slipstream.Hint(slipstream.Refuse(slipstream.ReasonSignatureInvalid, "release "+r.Digest.Short(), "neither the keys of the newest root nor yours have signed it"),
		"the server may have made it up. If it was signed by a key that the root no longer lists, `slipstream release resign` with --signed-by names that key")
}

// SeqMemory keeps the highest seq that was signed on this machine, per app and package, so that a server cannot talk a
// publisher out of it.
type SeqMemory interface {
	Highest(app, pkg string) (int64, error) // 0 = none
	Remember(app, pkg string, seq int64) error
}

// past is what is proven of a target's earlier releases.
type past struct {
	back     []ReleaseInfo // ways back, newest first
	highest  int64         // seq: of releases, or remembered
	warnings []Warning
}

// proven reads what the server says of earlier releases and keeps what is proven.
func (k Keyring) proven(ctx context.Context, server Server, t Target, s Standing, memory SeqMemory) (p past, err error) {
	if memory != nil {
		if p.highest, err = memory.Highest(t.App, t.Package); err != nil {
			return p, err
		}
	}
	s.Recent = slices.DeleteFunc(slices.Clone(s.Recent), func(r ReleaseInfo) bool { return r.AdapterOnly != "" }) // no ways back: nobody signed them
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
			return p, fmt.Errorf("read release %s: %w", info.Version, err)
		}
		r.Digest = info.Digest // what would be signed, not what the answer calls itself
		m, err := k.Open(t.App, r)
		if err != nil {
			p.warnings = append(p.warnings, Warning{WarnServer, fmt.Sprintf("release %s is no way back: %v", info.Version, err)})
			continue
		}
		if m.Package != t.Package {
			continue
		}
		p.highest = max(p.highest, m.Seq)
		claimed := ReleaseInfo{Digest: info.Digest, App: m.App, Package: m.Package, Platform: m.Platform, Runtime: m.Runtime, Seq: m.Seq,
			Version: m.Version, Data: m.Data, Embedded: info.Embedded}
		p.back = append(p.back, claimed)
	}
	p.back = fallbacks(t, p.back)
	return p, nil
}

// nextSeq is the seq of the next release, or why it cannot be the one that the server wants.
func nextSeq(s Standing, highest, least int64) (int64, error) {
	next := max(s.HighestSeq+1, highest+1, least)
	if next > max(highest, least)+MaxSeqJump {
		return 0, slipstream.Hint(slipstream.Refuse(slipstream.ReasonManifestMismatch, "seq", "the server wants %d, but the highest that is proven to be signed is %d", next, highest),
			"a seq only ever rises, so a wrong one cannot be taken back. If this is right, say --min-seq %d", next)
	}
	return next, nil
}
