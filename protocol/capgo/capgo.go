// Package capgo lets apps with Capgo's updater (@capgo/capacitor-updater 5 to 8, @capgo/electron-updater) update from this
// server: only updateUrl, statsUrl and channelUrl in their configuration change.
//
//	POST   /capgo/{app}/updates                 is there another bundle for this device
//	POST   /capgo/{app}/updates/manifest_size   what the files of an answer weigh
//	POST   /capgo/{app}/stats                   what happened on a device: one event or an array
//	POST   /capgo/{app}/channel_self            choose a channel for this device; PUT asks, GET lists, DELETE undoes
//	GET    /capgo/{app}/files/{sha256}.zip      a bundle; {sha256} one file of it, {sha256}.br the same in Brotli
//
// A release is rendered as a zip of its tree. These clients tell bundles apart by their name alone, and never take one again
// whose name they once failed with. So each offer of a release has a name of its own: its version, and where a channel offers
// the same release anew, the version with a count behind it (1.4.0+2).
//
// Who gets what is decided by package decide alone. What is left to do here is to find the release that a client means by
// a name, and to say what was decided in the client's words.
package capgo

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/protocol"
	"github.com/slipstream-ota/slipstream/protocol/archive"
	"github.com/slipstream-ota/slipstream/store"
)

// Name of the protocol in switches and paths.
const Name = "capgo"

// builtin is what clients call the bundle that ships in the app.
const builtin = "builtin"

// Options of an app. AppID is the id that its clients send; "" takes any. Package is what they run, "" means the default
// package. Channel is for devices that name none, "" means the default channel. Channels are channels by the names that
// clients have for them, where those differ from ours. SelfAssign are the channels (ours) that devices may choose for themselves.
// PublicKey is the PEM of the RSA key that the apps have embedded; with it, only releases signed by its private half are taken.
type Options struct {
	AppID      string            `json:"appId,omitempty"`
	Package    string            `json:"package,omitempty"`
	Channel    string            `json:"channel,omitempty"`
	Channels   map[string]string `json:"channels,omitempty"`
	SelfAssign []string          `json:"selfAssign,omitempty"`
	PublicKey  string            `json:"publicKey,omitempty"`
}

func parseOptions(raw json.RawMessage) (Options, error) {
	var o Options
	if err := protocol.ReadOptions(Name, raw, &o, `they look like {"appId":"com.example.app"}; there are appId, package, channel, channels, selfAssign and publicKey`); err != nil {
		return o, err
	}
	if o.Package == "" {
		o.Package = slipstream.DefaultPackage
	}
	if o.Channel == "" {
		o.Channel = slipstream.DefaultChannel
	}
	if len(o.AppID) > maxText || strings.ContainsFunc(o.AppID, unicode.IsSpace) {
		return o, slipstream.Invalidf("options of %s: appId %.40q is none: it is what capacitor.config has, com.example.app", Name, o.AppID)
	}
	for _, theirs := range slices.Sorted(maps.Keys(o.Channels)) {
		if theirs == "" || len(theirs) > maxText {
			return o, slipstream.Invalidf("options of %s: channels has a name that is empty or longer than %d bytes", Name, maxText)
		}
		if err := slipstream.CheckName("channel", o.Channels[theirs]); err != nil {
			return o, err
		}
	}
	for _, c := range append([]string{o.Channel}, o.SelfAssign...) {
		if err := slipstream.CheckName("channel", c); err != nil {
			return o, err
		}
	}
	if o.PublicKey != "" {
		if _, err := parsePublic(o.PublicKey); err != nil {
			return o, err
		}
	}
	return o, slipstream.CheckName("package", o.Package)
}

// Protocol is Capgo's.
type Protocol struct{}

var (
	_ protocol.Protocol = Protocol{}
	_ protocol.Choosy   = Protocol{}
)

// Name implements protocol.Protocol.
func (Protocol) Name() string { return Name }

// Check implements protocol.Protocol.
func (Protocol) Check(options json.RawMessage) error {
	_, err := parseOptions(options)
	return err
}

// Wants implements protocol.Choosy: clients run one package.
func (Protocol) Wants(options json.RawMessage, m *slipstream.Manifest) bool {
	o, err := parseOptions(options)
	return err == nil && o.Package == m.Package
}

// Fits implements protocol.Protocol: a web app, whose names these clients can take.
func (Protocol) Fits(m *slipstream.Manifest) error {
	if m.Version == builtin || m.Version == "unknown" {
		return slipstream.Hint(slipstream.Invalidf("its version is %q, which these clients call something else by", m.Version), "give it another: --version 1.4.0")
	}
	starts := false
	for _, f := range m.Files {
		starts = starts || f.Path == startPage
		if strings.ContainsFunc(f.Path, unicode.IsSpace) || strings.ContainsAny(f.Path, "?#%") {
			return slipstream.Hint(slipstream.Invalidf("%q: these clients cannot take a name with a space, ?, # or %%", f.Path), "rename the file, or leave it out by .slipstreamignore")
		}
	}
	if !starts {
		return slipstream.Hint(slipstream.Invalidf("it has no %s at its top, where these clients start", startPage), "publish the folder that your web build writes: webDir of capacitor.config")
	}
	_, err := signatureIn(m)
	return err
}

const startPage = "index.html"

// FitsWith implements protocol.Choosy: an app that has a key embedded takes nothing that is not signed by it.
func (Protocol) FitsWith(options json.RawMessage, m *slipstream.Manifest) error {
	o, err := parseOptions(options)
	if err != nil {
		return err
	}
	sig, err := signatureIn(m)
	switch {
	case err != nil || o.PublicKey == "":
		return err
	case sig == nil:
		return slipstream.Hint(slipstream.Invalidf("it is not signed for Capgo, and the apps have a key embedded"), "publish with --capgo-private-key FILE, the private key of the app's pair")
	}
	key, err := parsePublic(o.PublicKey)
	if err != nil {
		return err
	}
	if !key.Equal(sig.public) {
		return slipstream.Hint(slipstream.Refuse(slipstream.ReasonSignatureInvalid, Meta, "it is not signed by the key that the apps have"), "sign by the private key of the pair whose public key is the option publicKey")
	}
	return nil
}

// rendition is what the store keeps about a bundle. Plain is the SHA-256 of the zip before it was encrypted. What follows
// is of signed ones.
type rendition struct {
	Plain      slipstream.Digest `json:"plain"`
	Checksum   []byte            `json:"checksum,omitempty"` // the key's word on the checksum
	Older      []byte            `json:"older,omitempty"`    // the same in the form of older clients
	SessionKey string            `json:"sessionKey,omitempty"`
	KeyID      string            `json:"keyId,omitempty"`
}

// Render implements protocol.Protocol: it makes the zip, and encrypts that of a signed release by the session key that its
// publisher chose. The same release gives the same bytes.
func (Protocol) Render(ctx context.Context, r *slipstream.Release, blobs blob.Store) (store.Rendition, error) {
	sig, err := signatureIn(r.Manifest)
	if err != nil {
		return store.Rendition{}, err
	}
	entries := entriesOf(r.Manifest.Files, func(f slipstream.File, w io.Writer) error { return archive.Copy(ctx, w, blobs, f) })
	var doc rendition
	sum, size, err := archive.Put(ctx, blobs, func(w io.Writer) (err error) {
		doc, err = sig.seal(w, entries)
		return err
	})
	if err != nil {
		return store.Rendition{}, err
	}
	raw, err := json.Marshal(doc)
	return store.Rendition{Size: size, SHA256: sum, Doc: raw}, err
}

// entriesOf are the files of a bundle in the order of their names.
func entriesOf(files []slipstream.File, copyTo func(f slipstream.File, w io.Writer) error) []archive.Entry {
	sorted := slices.Clone(files)
	slices.SortFunc(sorted, func(a, b slipstream.File) int { return strings.Compare(a.Path, b.Path) })
	entries := make([]archive.Entry, len(sorted))
	for i, f := range sorted {
		entries[i] = archive.Entry{Path: f.Path, CopyTo: func(w io.Writer) error { return copyTo(f, w) }}
	}
	return entries
}
