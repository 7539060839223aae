package client

import (
	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client/trial"
)

// salvage rebuilds what protects a device from downgrades when both generations of its state are unusable: the highest
// signed release of each package that lies on the disk becomes the anchor. Which of them were confirmed is lost, so this
// may be higher than before, never lower than what ran. mu is held.
func (c *Client) salvage(s trial.State) trial.State {
	digests, err := c.disk.digests()
	if err != nil {
		c.log.Error("releases on disk are unknown", "error", err)
	}
	for _, d := range digests {
		raw, err := c.disk.read(c.disk.manifestFile(d), slipstream.MaxManifestBytes)
		if err != nil {
			continue
		}
		m, digest, err := c.trust.Manifest(raw)
		if err != nil || digest != d || m.App != c.cfg.App {
			continue
		}
		p := s.Packages[m.Package]
		if r := describe(m, d); p.Anchor == nil || r.Seq > p.Anchor.Seq {
			p.Anchor = &r
		}
		if s.Packages == nil {
			s.Packages = map[string]trial.Package{}
		}
		s.Packages[m.Package] = p
	}
	return s
}
