// Package ocrunner is the small patch service that apps with a runtime patcher (OCRunner, JSPatch and their like) ask: a
// POST that names the app's version and the MD5 of the patch it runs, answered with a link that is good for a minute.
//
//	POST …/api/patch/version            {"version":"1.1.1","md5":"…"}
//	   200 {"update":false,"message":"Already up-to-date patch"}
//	   200 {"update":true,"version":"1.1.1","url":"…/api/patch/download/<token>", …}
//	   400 {"error":"version required"} · 400 {"error":"Invalid version"} · 500 {"error":"Patch file not found"}
//	GET  …/api/patch/download/{token}    the patch, as patch.zip · 404 Invalid or expired link · 403 Link expired
//
// The paths stand under /ocrunner/{app}/{channel}, and at the root of a server that was set up for one app.
//
// A release's version is the app version that its patch is for; what follows a + only tells patches of one app version
// apart (1.1.1+2) and is not told to clients. By the rule "not_newer" (the default) an app at or below that version may
// take the patch, by "equal" only an app at exactly that version. The app's version is also the runtime for the ranges of
// releases. The MD5 says which release a device runs.
//
// Beyond the document, a request may carry "deviceId" and "attributes" for shares and conditions, and "accept":["bsdiff"]
// for increments; an answer also carries "md5", "sha256", "size", "priority" ("block" or "preload"), "mandatory" and
// "message", and an increment as "patch":{"format":"bsdiff","url":…,"size":…}. The download's headers carry the release's
// signed manifest, by which a client that knows the root verifies what it got.
package ocrunner

import (
	"context"
	"encoding/json"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/protocol"
	"github.com/slipstream-ota/slipstream/store"
)

// Name of the protocol in switches and paths.
const Name = "ocrunner"

// Version rules.
const (
	RuleNotNewer = "not_newer" // an app at or below the release's version may take it
	RuleEqual    = "equal"     // only an app at exactly that version
)

// Options of an app. Rules name a rule by channel, "" for all others.
type Options struct {
	Package string            `json:"package,omitempty"`
	Rules   map[string]string `json:"rules,omitempty"`
}

func (o *Options) rule(channel string) string {
	if r := o.Rules[channel]; r != "" {
		return r
	}
	if r := o.Rules[""]; r != "" {
		return r
	}
	return RuleNotNewer
}

func parseOptions(raw json.RawMessage) (Options, error) {
	var o Options
	if err := protocol.ReadOptions(Name, raw, &o, "there are package and rules"); err != nil {
		return o, err
	}
	if o.Package == "" {
		o.Package = slipstream.DefaultPackage
	}
	for channel, rule := range o.Rules {
		if rule != RuleNotNewer && rule != RuleEqual {
			return o, slipstream.Invalidf("options of %s: rule %q of channel %q is not one of %s, %s", Name, rule, channel, RuleNotNewer, RuleEqual)
		}
	}
	return o, slipstream.CheckName("package", o.Package)
}

// Protocol is the patch service.
type Protocol struct{}

var _ protocol.Protocol = Protocol{}

// Name implements protocol.Protocol.
func (Protocol) Name() string { return Name }

// Check implements protocol.Protocol.
func (Protocol) Check(options json.RawMessage) error {
	_, err := parseOptions(options)
	return err
}

// Fits implements protocol.Protocol: a release is one patch file.
func (Protocol) Fits(m *slipstream.Manifest) error {
	_, err := protocol.SingleFile(m)
	return err
}

// maxHeader bounds the manifest that goes along with a download, in bytes of its envelope.
const maxHeader = 6 << 10

// rendition is what clients need of a release besides its bytes. Manifest is empty where it is too long for a header.
type rendition struct {
	MD5      string `json:"md5"` // lower-case hex
	Manifest []byte `json:"manifest,omitempty"`
}

// Render implements protocol.Protocol.
func (Protocol) Render(ctx context.Context, r *slipstream.Release, blobs blob.Store) (store.Rendition, error) {
	f, sum, err := protocol.Checksum(ctx, r.Manifest, blobs)
	if err != nil {
		return store.Rendition{}, err
	}
	made := rendition{MD5: sum}
	if len(r.Envelope) <= maxHeader {
		made.Manifest = r.Envelope
	}
	doc, err := json.Marshal(made)
	return store.Rendition{Size: f.Size, SHA256: f.SHA256, Doc: doc}, err
}
