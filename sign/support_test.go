package sign

import (
	"crypto/ed25519"
	"crypto/sha256"
	"slices"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// key is the signer of a name: the same key in every run.
func key(name string) Signer {
	seed := sha256.Sum256([]byte("slipstream test key " + name))
	return NewSigner(ed25519.NewKeyFromSeed(seed[:]))
}

func keys(names ...string) []Signer {
	var out []Signer
	for _, n := range names {
		out = append(out, key(n))
	}
	return out
}

func publics(names ...string) RoleKeys {
	var out RoleKeys
	for _, n := range names {
		out.Keys = append(out.Keys, key(n).Public())
	}
	return out
}

func ids(names ...string) []string {
	var out []string
	for _, n := range names {
		out = append(out, KeyID(key(n).Public()))
	}
	return out
}

func at(s string) slipstream.Time {
	t, err := slipstream.ParseTime(s)
	if err != nil {
		panic(err)
	}
	return t
}

// noon is the time at which the documents of the tests are fresh.
func noon() time.Time { return at("2026-11-21T12:00:00Z").Time }

func digest(text string) slipstream.Digest { return DigestOf([]byte(text)) }

// encode is Encode, and for documents that a sane writer would not write plain JSON.
func encode(t testing.TB, doc any) []byte {
	t.Helper()
	b, err := Encode(doc)
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	return b
}

// seal signs a payload of any bytes.
func seal(t testing.TB, payloadType string, payload []byte, signers ...Signer) []byte {
	t.Helper()
	e := &Envelope{PayloadType: payloadType, Payload: payload}
	for _, s := range signers {
		if err := e.Sign(s); err != nil {
			t.Fatalf("sign: %v", err)
		}
	}
	return e.Encode()
}

// goodRoot has two of three root keys, two release keys of which one signs, and one state key.
func goodRoot() *slipstream.Root {
	root, release := publics("root-1", "root-2", "root-3"), publics("release-1", "release-2")
	root.Threshold = 2
	r, err := NewRoot("shop", at("2031-11-21T08:00:00Z").Time, root, release, publics("state-1"))
	if err != nil {
		panic(err)
	}
	return r
}

func goodState() *slipstream.State {
	return &slipstream.State{
		App: "shop", Channel: "production", Platform: "android", Epoch: 1795334400,
		Issued: at("2026-11-21T08:00:00Z"), Expires: at("2026-11-22T08:00:00Z"), RootVersion: 1, CheckAfter: 900, Jitter: 60,
		Packages: map[string]slipstream.PackageState{"main": {
			Rollouts: []slipstream.Rollout{{
				ID: "r7", Manifest: digest("release 7"), Seq: 7, Version: "1.7.0", Size: 1234, Runtime: slipstream.Runtime{Range: ">=3.0.0 <4"},
				Salt: "", From: 0, To: 1000, Control: 500,
				When:  []slipstream.Condition{{Attr: "country", Op: "in", Value: []byte(`["de","fr"]`)}},
				Apply: slipstream.Apply{Mode: slipstream.ModeNextLaunch},
			}},
			Withdrawn: []slipstream.Digest{digest("release 6")},
			Floors:    []slipstream.Floor{{Runtime: slipstream.AnyRuntime(), Seq: 3}},
		}},
	}
}

func goodDecision() *slipstream.Decision {
	return &slipstream.Decision{
		App: "shop", Channel: "production", Device: string(digest("shop:install")), Nonce: "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
		Epoch: 1795334400, Issued: at("2026-11-21T12:00:00Z"), Expires: at("2026-11-21T12:10:00Z"),
		Packages: map[string]slipstream.PackageDecision{"main": {
			Verdict: slipstream.VerdictUpdate, Reason: slipstream.ReasonNewRelease, Rollout: "r7",
			Release: &slipstream.ReleaseRef{Digest: digest("release 7"), Seq: 7, Version: "1.7.0", Size: 1234},
			Apply:   &slipstream.Apply{Mode: slipstream.ModeImmediate},
		}},
		CheckAfter: 900,
	}
}

func goodManifest() *slipstream.Manifest {
	return &slipstream.Manifest{
		App: "shop", Package: "main", Platform: "android", Runtime: slipstream.Runtime{Range: ">=3.0.0 <4"}, Seq: 7, Version: "1.7.0",
		Entry: "index.html", Created: at("2026-11-20T08:00:00Z"),
		Files: []slipstream.File{
			{Path: "assets/app.js", Size: 700, SHA256: digest("app")},
			{Path: "bin/tool", Size: 34, SHA256: digest("tool"), Exec: true},
			{Path: "index.html", Size: 500, SHA256: digest("index")},
		},
		Fallback: []slipstream.Digest{digest("release 6"), digest("release 5")},
		Requires: map[string]slipstream.Requirement{"base": {MinSeq: 4}, "theme": {Digests: []slipstream.Digest{digest("theme 1")}}},
		Data:     &slipstream.DataFormats{Reads: []string{"v1", "v2"}, Writes: "v2"},
	}
}

// padded appends spaces, which an envelope may have behind it, until b is n bytes long.
func padded(b []byte, n int) []byte {
	out := slices.Clone(b)
	for len(out) < n {
		out = append(out, ' ')
	}
	return out
}
