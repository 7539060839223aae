package publish

import (
	"fmt"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// Republish makes the manifest of an old release's tree under a new seq and version: the way back where no signed
// fallback edge leads. Its contents are on the server already. It is still to be signed and committed.
func Republish(old *slipstream.Manifest, s Standing, version string, now time.Time) (*slipstream.Manifest, error) {
	if version == old.Version {
		return nil, slipstream.Hint(fmt.Errorf("version %s is taken by the release itself: %w", version, slipstream.ErrConflict), "choose another --version")
	}
	m := *old
	m.Seq, m.Version, m.Created, m.Fallback = s.HighestSeq+1, version, slipstream.At(now), nil
	for _, r := range fallbacks(Target{App: m.App, Package: m.Package, Platform: m.Platform, Runtime: m.Runtime}, s.Recent) {
		m.Fallback = append(m.Fallback, r.Digest)
	}
	return &m, nil
}
