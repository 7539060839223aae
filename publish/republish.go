package publish

import (
	"context"
	"fmt"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/sign"
)

// Again says how an old release is to be published again.
type Again struct {
	Version string // "" = the old one + -again.SEQ
	MinSeq  int64  // as in Request
	Keys    Keyring
	Seqs    SeqMemory // nil = nothing is kept
}

// Republish makes and signs the manifest of an old release's tree under a new seq and version: the way back where no
// signed fallback edge leads. Its contents are on the server already. It is still to be committed.
//
// What the server handed out as old must be proven by the keys, which must have followed its roots: what is signed again
// was signed before.
func Republish(ctx context.Context, server Server, old Release, s Standing, a Again, signers []sign.Signer, now time.Time) (*slipstream.Manifest, *sign.Envelope, error) {
	was, err := a.Keys.Open(a.Keys.Root().Root().App, old)
	if err != nil {
		return nil, nil, err
	}
	m := *was
	before, err := a.Keys.proven(ctx, server, Target{App: m.App, Package: m.Package, Platform: m.Platform, Runtime: m.Runtime}, s, a.Seqs)
	if err != nil {
		return nil, nil, err
	}
	if m.Seq, err = nextSeq(s, max(before.highest, was.Seq), a.MinSeq); err != nil {
		return nil, nil, err
	}
	m.Version, m.Created, m.Fallback = a.Version, slipstream.At(now), nil
	if m.Version == "" {
		m.Version = fmt.Sprintf("%s-again.%d", was.Version, m.Seq)
	}
	if m.Version == was.Version {
		return nil, nil, slipstream.Hint(fmt.Errorf("version %s is taken by the release itself: %w", m.Version, slipstream.ErrConflict), "choose another --version")
	}
	for _, r := range before.back {
		m.Fallback = append(m.Fallback, r.Digest)
	}
	if a.Seqs != nil {
		if err := a.Seqs.Remember(m.App, m.Package, m.Seq); err != nil {
			return nil, nil, err
		}
	}
	e, err := sign.Seal(sign.TypeManifest, &m, signers...)
	if err != nil {
		return nil, nil, fmt.Errorf("sign manifest: %w", err)
	}
	return &m, e, nil
}
