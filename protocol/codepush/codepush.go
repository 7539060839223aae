// Package codepush lets apps with a CodePush client (react-native-code-push and its forks) update from this server. It
// answers both dialects of their wire, under /codepush/ and at the root of the server:
//
//	GET  updateCheck · v0.1/public/codepush/update_check              is there an update for this deployment key, version and package
//	POST reportStatus/deploy · v0.1/public/codepush/report_status/deploy      how an installation went
//	POST reportStatus/download · v0.1/public/codepush/report_status/download  that a package was downloaded
//
// A deployment is a channel, a deployment key an option of the switch; the key alone says which app, channel and platform
// a request is about. A release is rendered as a zip below CodePush/ with the hash that these clients compute of it, and
// as differences from the releases before it. Each rollout gets a label of its own, v1, v2 … per deployment, that only
// rises, so that also the way back is something new to a client.
//
// Who gets what is decided by package decide alone, with two values of this protocol: its placing of devices (see
// position) and its reading of version ranges (package semver). What is left to do here is to find the release that a
// client means by a label or hash, and to say what was decided in the client's words.
package codepush

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/protocol"
	"github.com/slipstream-ota/slipstream/store"
)

// Name of the protocol in switches and paths.
const Name = "codepush"

// Options of an app. Package is what its clients run, "" means the default package. Deployments are the keys by channel.
// SigningKey is the PEM of the RSA public key that the app has embedded; with it, only releases signed by that key are
// taken.
type Options struct {
	Package     string          `json:"package,omitempty"`
	Deployments map[string]Keys `json:"deployments,omitempty"`
	SigningKey  string          `json:"signingKey,omitempty"`
}

// Keys are the deployment keys of a channel by platform. In JSON one key for devices of any platform is just a text:
// "KEY", or {"android": "KEY", "ios": "KEY"}.
type Keys map[string]string

// UnmarshalJSON reads a text or an object.
func (k *Keys) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*k = Keys{slipstream.PlatformAny: one}
		return nil
	}
	var by map[string]string
	if err := json.Unmarshal(b, &by); err != nil {
		return err
	}
	*k = by
	return nil
}

// MarshalJSON writes the shortest form.
func (k Keys) MarshalJSON() ([]byte, error) {
	if one, ok := k[slipstream.PlatformAny]; ok && len(k) == 1 {
		return json.Marshal(one)
	}
	return json.Marshal(map[string]string(k))
}

func parseOptions(raw json.RawMessage) (Options, error) {
	var o Options
	if err := protocol.ReadOptions(Name, raw, &o, `they look like {"deployments":{"production":"KEY"}}; there are deployments, package and signingKey`); err != nil {
		return o, err
	}
	if o.Package == "" {
		o.Package = slipstream.DefaultPackage
	}
	seen := map[string]string{}
	for _, channel := range slices.Sorted(maps.Keys(o.Deployments)) {
		if err := slipstream.CheckName("channel", channel); err != nil {
			return o, err
		}
		for platform, key := range o.Deployments[channel] {
			if err := slipstream.CheckName("platform", platform); err != nil {
				return o, err
			}
			if !validKey(key) {
				return o, slipstream.Invalidf("options of %s: a deployment key is 10 to 100 of A-Z, a-z, 0-9, _ and -; that of %s is not", Name, channel)
			}
			if at := seen[key]; at != "" {
				return o, slipstream.Invalidf("options of %s: %s and %s have the same deployment key", Name, at, channel)
			}
			seen[key] = channel
		}
	}
	if o.SigningKey != "" {
		if _, err := parsePublic(o.SigningKey); err != nil {
			return o, err
		}
	}
	return o, slipstream.CheckName("package", o.Package)
}

func validKey(key string) bool {
	if len(key) < 10 || len(key) > 100 {
		return false
	}
	for i := range len(key) {
		c := key[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// Protocol is CodePush.
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

// Fits implements protocol.Protocol: any tree whose paths mean the same in a zip.
func (Protocol) Fits(m *slipstream.Manifest) error {
	_, err := layout(m)
	return err
}

// Wants implements protocol.Choosy: clients run one package.
func (Protocol) Wants(options json.RawMessage, m *slipstream.Manifest) bool {
	o, err := parseOptions(options)
	return err == nil && o.Package == m.Package
}

// FitsWith implements protocol.Choosy: an app that has a key embedded takes nothing that is not signed by it.
func (p Protocol) FitsWith(options json.RawMessage, m *slipstream.Manifest) error {
	o, err := parseOptions(options)
	if err != nil || o.SigningKey == "" {
		return err
	}
	if singleFile(m) {
		return slipstream.Hint(slipstream.Invalidf("it is a single file, which cannot be signed, and the apps have a key embedded"), "release a folder")
	}
	files, err := layout(m)
	if err != nil {
		return err
	}
	token := signatureIn(m)
	if token == "" {
		for _, f := range files {
			if f.path == signatureFile {
				return nil // its content is looked at when the release is rendered, and before it is offered
			}
		}
		return slipstream.Hint(slipstream.Invalidf("it is not signed for CodePush, and the apps have a key embedded"), "publish with --codepush-key FILE, the private key of the app's pair")
	}
	key, err := parsePublic(o.SigningKey)
	if err != nil {
		return err
	}
	return verify(token, hashOf(files), key)
}

// rendition is what the store keeps about a package: the hash that clients compute of it, and the token that it was
// signed with, if it was.
type rendition struct {
	Hash  slipstream.Digest `json:"hash"`
	Token string            `json:"token,omitempty"`
}

// difference is the same of a difference between two packages.
type difference struct {
	From slipstream.Digest `json:"from"` // package hash
	Hash slipstream.Digest `json:"hash"` // package hash that it leads to
}

// Render implements protocol.Protocol: it makes the zip. The same release gives the same bytes.
func (Protocol) Render(ctx context.Context, r *slipstream.Release, blobs blob.Store) (store.Rendition, error) {
	files, err := layout(r.Manifest)
	if err != nil {
		return store.Rendition{}, err
	}
	doc := rendition{Hash: hashOf(files)}
	if singleFile(r.Manifest) {
		raw, err := json.Marshal(rendition{Hash: files[0].sha256})
		return store.Rendition{Size: files[0].size, SHA256: files[0].sha256, Doc: raw}, err
	}
	if doc.Token, err = tokenOf(ctx, blobs, files); err != nil {
		return store.Rendition{}, err
	}
	if doc.Token != "" {
		claimed, err := contentHash(doc.Token)
		if err != nil {
			return store.Rendition{}, err
		}
		if claimed != string(doc.Hash) {
			return store.Rendition{}, slipstream.Refuse(slipstream.ReasonSignatureInvalid, signatureFile, "it is of other contents: %.64q, the package is %s", claimed, doc.Hash)
		}
	}
	sum, size, err := putZip(ctx, blobs, nil, files)
	if err != nil {
		return store.Rendition{}, err
	}
	raw, err := json.Marshal(doc)
	return store.Rendition{Size: size, SHA256: sum, Doc: raw}, err
}

// root is the folder that clients keep a package in, and the only one below which they look for a signature.
const root = "CodePush/"

const signatureFile = root + ".codepushrelease"

// packed is one file of a package. inline is its content when it is no blob.
type packed struct {
	path   string
	size   int64
	sha256 slipstream.Digest
	inline []byte
}

// layout is the package of a release: its files below root, what clients ignore left out, and the signature that the
// manifest carries.
func layout(m *slipstream.Manifest) ([]packed, error) {
	below := kept(m)
	if !below {
		below = true
		for _, f := range m.Files {
			below = below && strings.HasPrefix(f.Path, root)
		}
	}
	files := make([]packed, 0, len(m.Files)+1)
	names := map[string]bool{}
	for _, f := range m.Files {
		path := f.Path
		if !below {
			path = root + path
		}
		switch {
		case strings.Contains(path, `\`):
			return nil, slipstream.Invalidf("%s: clients take a backslash for a separator", f.Path)
		case path == diffFile:
			return nil, slipstream.Invalidf("%s: clients take a package with that file for a difference", f.Path)
		case ignored(path):
			continue
		}
		names[path] = true
		files = append(files, packed{path: path, size: f.Size, sha256: f.SHA256})
	}
	if len(files) == 0 {
		return nil, slipstream.Invalidf("it has no file that clients would keep")
	}
	if token := signatureIn(m); token != "" {
		if names[signatureFile] {
			return nil, slipstream.Invalidf("it is signed twice: by its manifest and by its file .codepushrelease")
		}
		files = append(files, inlined(signatureFile, []byte(token)))
	}
	return files, nil
}
