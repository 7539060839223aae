// Package easyclick lets scripts packed with EasyClick update themselves from this server with the update.json that they
// have: one GET that names the running version, answered with a small JSON object or, when there is nothing to do, with
// nothing at all.
//
//	GET /easyclick/{app}/{channel}/update?version=1.0.0[&deviceId=…&androidId=…&apkVersion=…&osVersion=…&ecVersion=…&pkgName=…&model=…&brand=…]
//
//	{"download_url":"https://…/easyclick/shop/production/files/<sha256>/main.iec","version":"1.1.0","dialog":true,"msg":"…","force":false,"md5":"…","download_timeout":60}
//
// dialog, msg, force and download_timeout are what the rollout's apply says: mode prompt, message, mandatory, timeout.
// Whatever goes wrong, the body is empty, which these clients take for "keep your script"; the status tells programs
// and people what it was.
//
// A device is placed for shares by its androidId, else its deviceId (on iOS ecid, else serialNo, else deviceId); one
// that tells none of them only takes part in rollouts over the full share. The deviceId may change with a new
// installation of the host, and so may the device's place.
package easyclick

import (
	"context"
	"encoding/json"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/protocol"
	"github.com/slipstream-ota/slipstream/store"
)

// Name of the protocol in switches and paths.
const Name = "easyclick"

// Options of an app. Package is what its clients run; "" means the default package.
type Options struct {
	Package string `json:"package,omitempty"`
}

func parseOptions(raw json.RawMessage) (Options, error) {
	var o Options
	if err := protocol.ReadOptions(Name, raw, &o, "there is one: package"); err != nil {
		return o, err
	}
	if o.Package == "" {
		o.Package = slipstream.DefaultPackage
	}
	return o, slipstream.CheckName("package", o.Package)
}

// Protocol is EasyClick's update protocol.
type Protocol struct{}

var _ protocol.Protocol = Protocol{}

// Name implements protocol.Protocol.
func (Protocol) Name() string { return Name }

// Check implements protocol.Protocol.
func (Protocol) Check(options json.RawMessage) error {
	_, err := parseOptions(options)
	return err
}

// Fits implements protocol.Protocol: a release is one compiled script.
func (Protocol) Fits(m *slipstream.Manifest) error {
	_, err := protocol.SingleFile(m)
	return err
}

// rendition is what clients need of a release besides its bytes.
type rendition struct {
	MD5  string `json:"md5"` // lower-case hex, of the file
	Path string `json:"path"`
}

// Render implements protocol.Protocol: it computes the MD5 that clients check a download by.
func (Protocol) Render(ctx context.Context, r *slipstream.Release, blobs blob.Store) (store.Rendition, error) {
	f, sum, err := protocol.Checksum(ctx, r.Manifest, blobs)
	if err != nil {
		return store.Rendition{}, err
	}
	doc, err := json.Marshal(rendition{MD5: sum, Path: f.Path})
	return store.Rendition{Size: f.Size, SHA256: f.SHA256, Doc: doc}, err
}
