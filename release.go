package slipstream

import "encoding/json"

// File is one file of a release.
type File struct {
	Path   string `json:"path"` // relative, '/', NFC UTF-8
	Size   int64  `json:"size"` // bytes
	SHA256 Digest `json:"sha256"`
	Exec   bool   `json:"exec,omitempty"`
}

// Requirement says which release of another package a release needs: any at or above MinSeq, or one of Digests. On the
// wire it is an integer or an array of digests.
type Requirement struct {
	MinSeq  int64
	Digests []Digest
}

// MarshalJSON writes the integer or the array.
func (r Requirement) MarshalJSON() ([]byte, error) {
	if len(r.Digests) > 0 {
		return json.Marshal(r.Digests)
	}
	return json.Marshal(r.MinSeq)
}

// UnmarshalJSON reads an integer or an array.
func (r *Requirement) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, &r.Digests)
	}
	return json.Unmarshal(b, &r.MinSeq)
}

// Met reports whether a release with this seq and digest satisfies r.
func (r Requirement) Met(seq int64, digest Digest) bool {
	if len(r.Digests) == 0 {
		return seq >= r.MinSeq
	}
	for _, d := range r.Digests {
		if d == digest {
			return true
		}
	}
	return false
}

// DataFormats names the formats of stored user data that a release can read and the one that it writes.
type DataFormats struct {
	Reads  []string `json:"reads,omitempty"`
	Writes string   `json:"writes,omitempty"`
}

// Manifest is the publisher-signed description of a release. Its payload's SHA-256 is the release's digest.
type Manifest struct {
	App      string                     `json:"app"`
	Package  string                     `json:"package"`
	Platform string                     `json:"platform"`
	Runtime  Runtime                    `json:"runtime"`
	Seq      int64                      `json:"seq"`
	Version  string                     `json:"version"`
	Entry    string                     `json:"entry,omitempty"`
	Created  Time                       `json:"created"`
	Files    []File                     `json:"files"`
	Fallback []Digest                   `json:"fallback,omitempty"`
	Requires map[string]Requirement     `json:"requires,omitempty"`
	Data     *DataFormats               `json:"data,omitempty"`
	Meta     map[string]json.RawMessage `json:"meta,omitempty"`
	Crit     []string                   `json:"crit,omitempty"`
}

// Size is the total of all files in bytes.
func (m *Manifest) Size() int64 {
	var n int64
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

// MayFallBackTo reports whether the publisher allowed this release to be left for d.
func (m *Manifest) MayFallBackTo(d Digest) bool {
	for _, f := range m.Fallback {
		if f == d {
			return true
		}
	}
	return false
}

// MetaAdapter is the key in an unsigned manifest's meta that names the protocol which the release came in through.
const MetaAdapter = "adapter"

// Adapter names the foreign protocol that a release came in through, "" for one that a publisher signed. An adapter-only
// release has no envelope: it is offered to that protocol's clients alone and never named in a state.
func (r *Release) Adapter() string {
	if len(r.Envelope) > 0 || r.Manifest == nil {
		return ""
	}
	var name string
	if raw := r.Manifest.Meta[MetaAdapter]; raw == nil || json.Unmarshal(raw, &name) != nil {
		return ""
	}
	return name
}

// Release is a manifest as a store keeps it: named, signed, accepted.
type Release struct {
	Digest    Digest
	Manifest  *Manifest
	Envelope  []byte // as signed, verbatim
	Published Time   // when the server accepted it
	Notes     string // for people; not signed
	// Embedded marks a release that only ships inside app binaries: a base for containers, never offered.
	Embedded bool
}

// Root is the offline-signed list of keys and roles of an app.
type Root struct {
	App     string             `json:"app"`
	Version int64              `json:"version"`
	Expires Time               `json:"expires"`
	Keys    map[string]RootKey `json:"keys"`
	Roles   Roles              `json:"roles"`
	Crit    []string           `json:"crit,omitempty"`
}

// RootKey is one public key: alg is "ed25519", public the base64 of its 32 bytes.
type RootKey struct {
	Alg    string `json:"alg"`
	Public string `json:"public"`
}

// Roles are the three roles a root names.
type Roles struct {
	Root    Role `json:"root"`
	Release Role `json:"release"`
	State   Role `json:"state"`
}

// Role is a set of key ids of which Threshold different ones must sign.
type Role struct {
	Keys      []string `json:"keys"`
	Threshold int      `json:"threshold"`
}
