package sign

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream"
)

type givenDecision struct {
	App           string `json:"app"`
	Channel       string `json:"channel"`
	Device        string `json:"device"`
	Nonce         string `json:"nonce"`
	LastEpoch     int64  `json:"lastEpoch"`
	Now           string `json:"now"`
	HighestSigned string `json:"highestSigned,omitempty"`
}

type decisionCase struct {
	Name     string        `json:"name"`
	Root     input         `json:"root"`
	Decision input         `json:"decision"`
	Given    givenDecision `json:"given"`
	Expect   string        `json:"expect"`
}

func decisionLines() []line[slipstream.Decision, givenDecision] {
	type D = slipstream.Decision
	type G = givenDecision
	const bad = slipstream.ReasonMalformed
	change := func(f func(*slipstream.PackageDecision)) func(*D) {
		return func(d *D) {
			p := d.Packages["main"]
			f(&p)
			d.Packages["main"] = p
		}
	}
	return []line[D, G]{
		{name: "accepted", want: ok},
		{name: "size cap: exactly", want: ok, pad: slipstream.MaxDecisionBytes},
		{name: "size cap", want: slipstream.ReasonTooLarge, pad: slipstream.MaxDecisionBytes + 1},
		{name: "envelope: cut", want: bad, raw: broken},
		{name: "envelope: a state of the same role", want: bad, raw: typed(TypeDecision, TypeState, "state-1")},
		{name: "role threshold: signed by the release role", want: slipstream.ReasonSignatureInvalid, signers: []string{"release-1"}},
		{name: "role threshold: changed after signing", want: slipstream.ReasonSignatureInvalid, raw: tampered(TypeDecision, `"seq":7`, `"seq":8`)},
		{name: "role threshold: one of two", want: slipstream.ReasonSignatureInvalid, root: stateThreshold2},
		{name: "form: needs what is not known", want: slipstream.ReasonUnknownCritical, doc: func(d *D) { d.Crit = []string{"future"} }},
		{name: "form: unknown fields", want: ok, payload: replace(`{"app"`, `{"future":true,"app"`)},
		{name: "form: epoch 0", want: bad, doc: func(d *D) { d.Epoch = 0 }},
		{name: "form: expires not after issued", want: bad, doc: func(d *D) { d.Expires = d.Issued }},
		{name: "form: checkAfter below 0", want: bad, doc: func(d *D) { d.CheckAfter = -1 }},
		{name: "form: checkAfter may be absent", want: ok, payload: replace(`,"checkAfter":900`, ``)},
		{name: "form: packages null", want: bad, doc: func(d *D) { d.Packages = nil }},
		{name: "form: name of a package", want: bad, doc: func(d *D) { d.Packages["../x"] = slipstream.PackageDecision{Verdict: "none", Reason: "up_to_date"} }},
		{name: "form: update without release", want: bad, doc: change(func(p *slipstream.PackageDecision) { p.Release = nil })},
		{name: "form: rollback without release leads to the embedded one", want: ok, doc: change(func(p *slipstream.PackageDecision) { p.Release, p.Verdict = nil, slipstream.VerdictRollback })},
		{name: "form: nothing to do", want: ok, doc: change(func(p *slipstream.PackageDecision) {
			*p = slipstream.PackageDecision{Verdict: slipstream.VerdictNone, Reason: slipstream.ReasonUpToDate}
		})},
		{name: "form: digest", want: bad, doc: change(func(p *slipstream.PackageDecision) { p.Release.Digest = "x" })},
		{name: "form: seq below 0", want: bad, doc: change(func(p *slipstream.PackageDecision) { p.Release.Seq = -1 })},
		{name: "form: size below 0", want: bad, doc: change(func(p *slipstream.PackageDecision) { p.Release.Size = -1 })},
		{name: "form: name of the channel", want: bad, doc: func(d *D) { d.Channel = "a b" }},
		{name: "app", want: slipstream.ReasonWrongApp, doc: func(d *D) { d.App = "other" }},
		{name: "channel", want: slipstream.ReasonWrongChannel, doc: func(d *D) { d.Channel = "beta" }},
		{name: "device", want: slipstream.ReasonWrongDevice, doc: func(d *D) { d.Device = string(digest("shop:other")) }},
		{name: "nonce", want: slipstream.ReasonWrongNonce, doc: func(d *D) { d.Nonce = "B" + d.Nonce[1:] }},
		{name: "nonce: the device sent none", want: slipstream.ReasonWrongNonce, doc: func(d *D) { d.Nonce = "" }, given: func(g *G) { g.Nonce = "" }},
		{name: "epoch: lower than the state's", want: slipstream.ReasonStaleState, given: func(g *G) { g.LastEpoch++ }},
		{name: "epoch: that of the state", want: ok, given: func(g *G) { g.LastEpoch = 1795334400 }},
		{name: "life: ten minutes and a second", want: bad, doc: func(d *D) { d.Expires = at("2026-11-21T12:10:01Z") }},
		{name: "clock far ahead", want: ok, given: func(g *G) { g.Now = "2050-01-01T00:00:00Z" }},
		{name: "clock far behind", want: ok, given: func(g *G) { g.Now = "1970-01-01T00:00:00Z" }},
		{name: "an earlier signer's clock was ahead", want: ok, given: func(g *G) { g.HighestSigned = "2027-01-01T00:00:00Z" }},
		{name: "expiry of the root: by the decision's time", want: slipstream.ReasonExpiredRoot, root: rootExpires("2026-11-21T12:00:00Z"), given: func(g *G) { g.Now = "1970-01-01T00:00:00Z" }},
		{name: "expiry of the root: by the highest signed time", want: slipstream.ReasonExpiredRoot, root: rootExpires("2026-11-21T12:00:01Z"), given: func(g *G) { g.HighestSigned = "2026-11-21T12:00:01Z" }},
		{name: "expiry of the root: a second later", want: ok, root: rootExpires("2026-11-21T12:00:01Z"), given: func(g *G) { g.Now = "2050-01-01T00:00:00Z" }},
	}
}

func decisionCases(t *testing.T) []decisionCase {
	var out []decisionCase
	for _, l := range decisionLines() {
		good := goodDecision()
		c := decisionCase{Name: l.name, Root: inputOf(l.rooted(t)), Expect: string(l.want)}
		c.Given = givenDecision{App: "shop", Channel: "production", Device: good.Device, Nonce: good.Nonce, LastEpoch: good.Epoch, Now: "2026-11-21T12:00:00Z"}
		c.Decision = l.sealed(t, TypeDecision, good, "state-1")
		if l.given != nil {
			l.given(&c.Given)
		}
		out = append(out, c)
	}
	return out
}

func TestEachLineOfTheOrderForDecisions(t *testing.T) {
	t.Parallel()
	for _, c := range vectors(t, "accept_decision.json", decisionCases(t)) {
		t.Run(c.Name, func(t *testing.T) {
			g := c.Given
			d, err := openTrust(t, c.Root).AcceptDecision(c.Decision.bytes(t), ExpectDecision{App: g.App, Channel: g.Channel, Device: g.Device, Nonce: g.Nonce,
				LastEpoch: g.LastEpoch, Now: instant(t, g.Now), HighestSigned: instant(t, g.HighestSigned)})
			expect(t, err, c.Expect)
			if (d == nil) != (err != nil) {
				t.Errorf("decision %v beside error %v", d, err)
			}
		})
	}
}

type givenManifest struct {
	App      string                `json:"app"`
	Package  string                `json:"package"`
	Platform string                `json:"platform"`
	Release  slipstream.ReleaseRef `json:"release"`
	Runtime  *slipstream.Runtime   `json:"runtime,omitempty"` // the rollout's
	Fits     bool                  `json:"fits"`              // whether the shell fits the manifest's runtime
}

type manifestCase struct {
	Name     string        `json:"name"`
	Root     input         `json:"root"`
	Manifest input         `json:"manifest"`
	Given    givenManifest `json:"given"`
	Expect   string        `json:"expect"`
}

func manifestLines() []line[slipstream.Manifest, givenManifest] {
	type M = slipstream.Manifest
	type G = givenManifest
	const bad, mismatch = slipstream.ReasonMalformed, slipstream.ReasonManifestMismatch
	releaseThreshold2 := func(r *slipstream.Root) { r.Roles.Release.Threshold = 2 }
	return []line[M, G]{
		{name: "accepted", want: ok},
		{name: "size cap: exactly", want: ok, pad: slipstream.MaxManifestBytes},
		{name: "size cap", want: slipstream.ReasonTooLarge, pad: slipstream.MaxManifestBytes + 1},
		{name: "envelope: cut", want: bad, raw: broken},
		{name: "envelope: another payload type", want: bad, raw: typed(TypeManifest, TypeState, "release-1")},
		{name: "role threshold: signed by the state role", want: slipstream.ReasonSignatureInvalid, signers: []string{"state-1"}},
		{name: "role threshold: signed by the root role", want: slipstream.ReasonSignatureInvalid, signers: []string{"root-1", "root-2", "root-3"}},
		{name: "role threshold: changed after signing", want: slipstream.ReasonSignatureInvalid, raw: tampered(TypeManifest, `"size":700`, `"size":701`)},
		{name: "role threshold: one of two", want: slipstream.ReasonSignatureInvalid, root: releaseThreshold2},
		{name: "role threshold: two of two", want: ok, root: releaseThreshold2, signers: []string{"release-1", "release-2"}},
		{name: "form: needs what is not known", want: slipstream.ReasonUnknownCritical, doc: func(m *M) { m.Crit = []string{"future"} }},
		{name: "form: unknown fields", want: ok, payload: replace(`{"app"`, `{"future":{},"app"`)},
		{name: "form: free data", want: ok, doc: func(m *M) {
			m.Meta = map[string]json.RawMessage{"commit": json.RawMessage(`{"id":"abc","n":[1,true]}`)}
		}},
		{name: "form: float in free data", want: bad, doc: func(m *M) { m.Meta = map[string]json.RawMessage{"x": json.RawMessage(`1.5`)} }},
		{name: "form: null in free data", want: bad, doc: func(m *M) { m.Meta = map[string]json.RawMessage{"x": json.RawMessage(`null`)} }},
		{name: "form: name of the package", want: bad, doc: func(m *M) { m.Package = "../x" }},
		{name: "form: name of the platform", want: bad, doc: func(m *M) { m.Platform = "" }},
		{name: "form: seq 0", want: bad, doc: func(m *M) { m.Seq = 0 }},
		{name: "form: version empty", want: bad, doc: func(m *M) { m.Version = "" }},
		{name: "form: version of 128 bytes", want: ok, doc: func(m *M) { m.Version = strings.Repeat("v", 128) }, given: func(g *G) { g.Release.Version = strings.Repeat("v", 128) }},
		{name: "form: version of 129 bytes", want: bad, doc: func(m *M) { m.Version = strings.Repeat("v", 129) }},
		{name: "form: no runtime", want: bad, doc: func(m *M) { m.Runtime = slipstream.Runtime{} }},
		{name: "form: range and fingerprint", want: bad, doc: func(m *M) { m.Runtime.Fingerprint = "f" }},
		{name: "form: entry not a file", want: bad, doc: func(m *M) { m.Entry = "main.js" }},
		{name: "form: entry in another case", want: bad, doc: func(m *M) { m.Entry = "Index.html" }},
		{name: "form: no entry", want: ok, doc: func(m *M) { m.Entry = "" }},
		{name: "form: files null", want: bad, doc: func(m *M) { m.Files = nil }},
		{name: "form: path leads outside", want: bad, doc: func(m *M) { m.Files[0].Path = "../app.js" }},
		{name: "form: files not sorted", want: bad, doc: func(m *M) { m.Files[0], m.Files[1] = m.Files[1], m.Files[0] }},
		{name: "form: a file twice", want: bad, doc: func(m *M) { m.Files[1] = m.Files[0] }},
		{name: "form: a file is another's folder", want: bad, doc: func(m *M) { m.Files[0].Path = "bin" }},
		{name: "form: file hash", want: bad, doc: func(m *M) { m.Files[0].SHA256 = "x" }},
		{name: "form: file size below 0", want: bad, doc: func(m *M) { m.Files[0].Size = -1 }},
		{name: "form: total size beyond 2^53-1", want: bad, doc: func(m *M) { m.Files[0].Size = 1<<53 - 1 }},
		{name: "form: created with a fraction", want: bad, payload: replace(`08:00:00Z"`, `08:00:00.5Z"`)},
		{name: "form: fallback digest", want: bad, doc: func(m *M) { m.Fallback[0] = "x" }},
		{name: "form: requires itself", want: bad, doc: func(m *M) { m.Requires["main"] = slipstream.Requirement{MinSeq: 1} }},
		{name: "form: requires a bad name", want: bad, doc: func(m *M) { m.Requires["Base"] = slipstream.Requirement{MinSeq: 1} }},
		{name: "form: requires a negative seq", want: bad, doc: func(m *M) { m.Requires["base"] = slipstream.Requirement{MinSeq: -1} }},
		{name: "form: requires none of no release", want: bad, payload: replace(`"base":4`, `"base":[]`)},
		{name: "form: requires a text", want: bad, payload: replace(`"base":4`, `"base":"4"`)},
		{name: "form: requires an object", want: bad, payload: replace(`"base":4`, `"base":{"minSeq":4}`)},
		{name: "form: requires a bad digest", want: bad, payload: replace(`"base":4`, `"base":["x"]`)},
		{name: "digest", want: mismatch, given: func(g *G) { g.Release.Digest = digest("other") }},
		{name: "digest: of a payload that says the same in other bytes", want: mismatch, payload: replace(`{"app"`, `{ "app"`), given: func(g *G) { g.Release.Digest = DigestOf(mustEncode(goodManifest())) }},
		{name: "app", want: slipstream.ReasonWrongApp, doc: func(m *M) { m.App = "other" }},
		{name: "package", want: mismatch, doc: func(m *M) { m.Package = "cart" }},
		{name: "platform", want: slipstream.ReasonWrongPlatform, doc: func(m *M) { m.Platform = "ios" }},
		{name: "platform: any suits each", want: ok, doc: func(m *M) { m.Platform = "any" }},
		{name: "platform: the device has none", want: slipstream.ReasonWrongPlatform, given: func(g *G) { g.Platform = "any" }},
		{name: "runtime: another range", want: mismatch, doc: func(m *M) { m.Runtime.Range = "*" }},
		{name: "runtime: a fingerprint", want: mismatch, doc: func(m *M) { m.Runtime = slipstream.Runtime{Fingerprint: ">=3.0.0 <4"} }},
		{name: "runtime: nothing names one", want: ok, given: func(g *G) { g.Runtime = nil }},
		{name: "seq", want: mismatch, doc: func(m *M) { m.Seq = 8 }},
		{name: "version", want: mismatch, doc: func(m *M) { m.Version = "1.7.1" }},
		{name: "total size", want: mismatch, doc: func(m *M) { m.Files[0].Size++ }},
		{name: "runtime does not fit this shell", want: slipstream.ReasonRuntimeMismatch, given: func(g *G) { g.Fits = false }},
	}
}

func mustEncode(doc any) []byte {
	b, err := Encode(doc)
	if err != nil {
		panic(err)
	}
	return b
}

func manifestCases(t *testing.T) []manifestCase {
	var out []manifestCase
	for _, l := range manifestLines() {
		good := goodManifest()
		c := manifestCase{Name: l.name, Root: inputOf(l.rooted(t)), Expect: string(l.want)}
		c.Given = givenManifest{App: "shop", Package: "main", Platform: "android", Fits: true, Runtime: &slipstream.Runtime{Range: good.Runtime.Range},
			Release: slipstream.ReleaseRef{Seq: good.Seq, Version: good.Version, Size: good.Size()}}
		c.Manifest = l.sealed(t, TypeManifest, good, "release-1")
		if e, err := ParseEnvelope([]byte(c.Manifest.Text), TypeManifest, slipstream.MaxManifestBytes); err == nil {
			c.Given.Release.Digest = DigestOf(e.Payload)
		}
		if l.given != nil {
			l.given(&c.Given)
		}
		out = append(out, c)
	}
	return out
}

func TestEachLineOfTheOrderForManifests(t *testing.T) {
	t.Parallel()
	for _, c := range vectors(t, "accept_manifest.json", manifestCases(t)) {
		t.Run(c.Name, func(t *testing.T) {
			g := c.Given
			m, err := openTrust(t, c.Root).AcceptManifest(c.Manifest.bytes(t), ExpectManifest{App: g.App, Package: g.Package, Platform: g.Platform,
				Release: g.Release, Runtime: g.Runtime, Fits: func(slipstream.Runtime) bool { return g.Fits }})
			expect(t, err, c.Expect)
			if (m == nil) != (err != nil) {
				t.Errorf("manifest %v beside error %v", m, err)
			}
		})
	}
}

func TestManifestHoldsSixteenThousandFiles(t *testing.T) {
	t.Parallel()
	m := goodManifest()
	m.Entry, m.Files = "", nil
	for i := range slipstream.MaxFiles {
		m.Files = append(m.Files, slipstream.File{Path: fmt.Sprintf("%05d", i), SHA256: digest("x")})
	}
	if err := CheckManifest(m); err != nil {
		t.Errorf("%d files: %v", len(m.Files), err)
	}
	m.Files = append(m.Files, slipstream.File{Path: "one more", SHA256: digest("x")})
	expect(t, CheckManifest(m), string(slipstream.ReasonMalformed))
}

func FuzzManifest(f *testing.F) {
	f.Add(encode(f, goodManifest()))
	trust, err := OpenRoot(seal(f, TypeRoot, encode(f, goodRoot()), keys("root-1", "root-2")...))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		m, name, err := trust.Manifest(seal(t, TypeManifest, payload, key("release-1")))
		if err != nil {
			return
		}
		if name != DigestOf(payload) {
			t.Fatalf("digest %s of %q", name, payload)
		}
		if err := CheckManifest(m); err != nil {
			t.Fatalf("an opened manifest is refused by its own check: %v", err)
		}
		if m.Size() < 0 {
			t.Fatalf("total size %d", m.Size())
		}
	})
}
