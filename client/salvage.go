package client

import (
	"slices"
	"strings"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client/trial"
	"github.com/slipstream-ota/slipstream/sign"
)

// salvage raises the anchors of s to the highest signed releases whose manifests lie on the disk, when the newest
// generation of the state is not usable. Which of them were confirmed is lost with it, so an anchor may be higher than it
// was, never lower than what ran: damage is no way to a downgrade. mu is held.
func (c *Client) salvage(s trial.State) trial.State {
	entries, err := c.disk.ReadDir(c.disk.path("releases"))
	if err != nil {
		if ignoreMissing(err) != nil {
			c.log.Error("releases on disk are unknown", "error", err)
		}
		return s
	}
	packages := map[string]trial.Package{}
	for pkg, p := range s.Packages {
		packages[pkg] = p
	}
	for _, e := range entries {
		name, isManifest := strings.CutSuffix(e.Name(), ".manifest.json")
		digest := slipstream.Digest(name)
		if !isManifest || !digest.Valid() {
			continue
		}
		m := c.signedHere(digest)
		if m == nil || m.App != c.cfg.App || !c.fits(m.Runtime) {
			continue
		}
		p := packages[m.Package]
		if p.Anchor == nil || m.Seq > p.Anchor.Seq {
			r := describe(m, digest)
			p.Anchor = &r
			packages[m.Package] = p
		}
	}
	s.Packages = packages
	return s
}

// signedHere is a manifest on the disk, when the release role of the newest or of the shipped root signed it.
func (c *Client) signedHere(digest slipstream.Digest) *slipstream.Manifest {
	raw, err := c.disk.read(c.disk.manifestFile(digest), slipstream.MaxManifestBytes)
	if err != nil {
		return nil
	}
	for _, trust := range slices.Concat(c.chain, []*sign.Trust{c.root, c.trust}) {
		if m, named, err := trust.Manifest(raw); err == nil && named == digest {
			return m
		}
	}
	return nil
}
