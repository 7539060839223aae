package publish

import (
	"context"
	"fmt"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// Republish makes the manifest of an old release's tree under a new seq and version: the way back where no signed
// fallback edge leads. Its contents are on the server already. It is still to be signed and committed.
//
// old must have been opened by the keyring: what is signed again was signed before.
func Republish(ctx context.Context, server Server, old *slipstream.Manifest, s Standing, keys Keyring, version string, now time.Time) (*slipstream.Manifest, error) {
	if version == old.Version {
		return nil, slipstream.Hint(fmt.Errorf("version %s is taken by the release itself: %w", version, slipstream.ErrConflict), "choose another --version")
	}
	m := *old
	m.Version, m.Created, m.Fallback = version, slipstream.At(now), nil
	back, highest, _, err := keys.proven(ctx, server, Target{App: m.App, Package: m.Package, Platform: m.Platform, Runtime: m.Runtime}, s)
	if err != nil {
		return nil, err
	}
	if m.Seq, err = nextSeq(s, max(highest, old.Seq), 0); err != nil {
		return nil, err
	}
	for _, r := range back {
		m.Fallback = append(m.Fallback, r.Digest)
	}
	return &m, nil
}
