package sign

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// A line is one case of accepting a document: everything is good but for what it changes. Lines are in the order of the
// checks; remove any of these, and a line of its name fails.
type line[D, G any] struct {
	name    string
	want    slipstream.Reason
	doc     func(*D)                            // before it is signed
	payload func([]byte) []byte                 // the signed bytes
	signers []string                            // instead of the role's key
	raw     func(t *testing.T, b []byte) []byte // the envelope
	pad     int
	root    func(*slipstream.Root)
	given   func(*G)
}

// rooted is a root, changed, signed and opened.
func (l line[D, G]) rooted(t *testing.T) []byte {
	t.Helper()
	r := goodRoot()
	if l.root != nil {
		l.root(r)
	}
	return seal(t, TypeRoot, encode(t, r), keys("root-1", "root-2")...)
}

func (l line[D, G]) sealed(t *testing.T, payloadType string, doc *D, signer string) input {
	t.Helper()
	if l.doc != nil {
		l.doc(doc)
	}
	payload, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	if l.payload != nil {
		payload = l.payload(payload)
	}
	signers := l.signers
	if signers == nil {
		signers = []string{signer}
	}
	b := seal(t, payloadType, payload, keys(signers...)...)
	if l.raw != nil {
		b = l.raw(t, b)
	}
	in := inputOf(b)
	in.Pad = l.pad
	return in
}

// replace edits text that must be there.
func replace(old, new string) func([]byte) []byte {
	return func(b []byte) []byte {
		if !strings.Contains(string(b), old) {
			panic(old + " is not in " + string(b))
		}
		return []byte(strings.Replace(string(b), old, new, 1))
	}
}

// tampered changes the payload after it was signed.
func tampered(payloadType, old, new string) func(*testing.T, []byte) []byte {
	return func(t *testing.T, b []byte) []byte {
		e, err := ParseEnvelope(b, payloadType, slipstream.MaxManifestBytes)
		if err != nil {
			t.Fatal(err)
		}
		e.Payload = replace(old, new)(e.Payload)
		return e.Encode()
	}
}

// broken is an envelope that is none.
func broken(_ *testing.T, b []byte) []byte { return b[:len(b)-1] }

// typed signs the same payload as another document.
func typed(payloadType, as string, signers ...string) func(*testing.T, []byte) []byte {
	return func(t *testing.T, b []byte) []byte {
		e, err := ParseEnvelope(b, payloadType, slipstream.MaxManifestBytes)
		if err != nil {
			t.Fatal(err)
		}
		return seal(t, as, e.Payload, keys(signers...)...)
	}
}

func stateThreshold2(r *slipstream.Root) { setRole(&r.Roles.State, r, 2, "state-1", "state-2") }

// signedTwice repeats the only signature.
func signedTwice(payloadType string) func(*testing.T, []byte) []byte {
	return func(t *testing.T, b []byte) []byte {
		e, err := ParseEnvelope(b, payloadType, slipstream.MaxManifestBytes)
		if err != nil {
			t.Fatal(err)
		}
		e.Signatures = append(e.Signatures, e.Signatures[0])
		return e.Encode()
	}
}

func rootExpires(s string) func(*slipstream.Root) {
	return func(r *slipstream.Root) { r.Expires = at(s) }
}

type givenState struct {
	App           string `json:"app"`
	Channel       string `json:"channel"`
	Platform      string `json:"platform"`
	Last          *input `json:"last,omitempty"` // envelope of the state that was accepted last
	Now           string `json:"now"`
	HighestSigned string `json:"highestSigned,omitempty"`

	last        func(*slipstream.State)
	lastPayload func([]byte) []byte
}

type stateCase struct {
	Name   string     `json:"name"`
	Root   input      `json:"root"`
	State  input      `json:"state"`
	Given  givenState `json:"given"`
	Expect string     `json:"expect"`
}

type stateLine = line[slipstream.State, givenState]

func stateLines() []stateLine {
	type S = slipstream.State
	type G = givenState
	const bad = slipstream.ReasonMalformed
	lastSame := func(g *G) { g.last = func(*S) {} }
	first := func(s *S) *slipstream.Rollout { return &s.Packages["main"].Rollouts[0] }
	out := []stateLine{
		{name: "accepted", want: ok},
		{name: "size cap: exactly", want: ok, pad: slipstream.MaxStateBytes},
		{name: "size cap", want: slipstream.ReasonTooLarge, pad: slipstream.MaxStateBytes + 1},
		{name: "envelope: cut", want: bad, raw: broken},
		{name: "envelope: a decision of the same role", want: bad, raw: typed(TypeState, TypeDecision, "state-1")},
		{name: "role threshold: signed by the release role", want: slipstream.ReasonSignatureInvalid, signers: []string{"release-1"}},
		{name: "role threshold: not signed", want: slipstream.ReasonSignatureInvalid, signers: []string{}},
		{name: "role threshold: changed after signing", want: slipstream.ReasonSignatureInvalid, raw: tampered(TypeState, `"to":1000`, `"to":9999`)},
		{name: "role threshold: one of two", want: slipstream.ReasonSignatureInvalid, root: stateThreshold2},
		{name: "role threshold: one key twice", want: slipstream.ReasonSignatureInvalid, root: stateThreshold2, raw: signedTwice(TypeState)},
		{name: "role threshold: two of two", want: ok, root: stateThreshold2, signers: []string{"state-1", "state-2"}},
		{name: "role threshold before form", want: slipstream.ReasonSignatureInvalid, signers: []string{"release-1"}, doc: func(s *S) { s.Epoch = 0 }},
		{name: "form: needs what is not known", want: slipstream.ReasonUnknownCritical, doc: func(s *S) { s.Crit = []string{"future"} }},
		{name: "form: crit of known fields", want: ok, doc: func(s *S) { s.Crit = []string{"packages"} }},
		{name: "form: unknown fields", want: ok, payload: replace(`{"app"`, `{"future":{"x":[1]},"app"`)},
		{name: "form: app repeated", want: bad, payload: replace(`{"app"`, `{"app":"other","app"`)},
		{name: "form: App beside app is an unknown field", want: ok, payload: replace(`{"app"`, `{"App":"other","app"`)},
		{name: "form: packages null", want: bad, doc: func(s *S) { s.Packages = nil }},
		{name: "form: epoch a float", want: bad, payload: replace(`"epoch":1795334400`, `"epoch":1795334400.0`)},
		{name: "form: epoch 0", want: bad, doc: func(s *S) { s.Epoch = 0 }},
		{name: "form: epoch 2^53", want: bad, doc: func(s *S) { s.Epoch = 1 << 53 }},
		{name: "form: epoch 2^53-1", want: ok, doc: func(s *S) { s.Epoch = 1<<53 - 1 }},
		{name: "form: expires not after issued", want: bad, doc: func(s *S) { s.Issued = s.Expires }},
		{name: "form: rootVersion 0", want: bad, doc: func(s *S) { s.RootVersion = 0 }},
		{name: "form: checkAfter below 0", want: bad, doc: func(s *S) { s.CheckAfter = -1 }},
		{name: "form: jitter below 0", want: bad, doc: func(s *S) { s.Jitter = -1 }},
		{name: "form: jitter may be absent", want: ok, payload: replace(`"jitter":60,`, ``)},
		{name: "form: name of a package", want: bad, doc: func(s *S) { s.Packages["Main"] = slipstream.PackageState{} }},
		{name: "form: rollout without id", want: bad, doc: func(s *S) { first(s).ID = "" }},
		{name: "form: two rollouts of one id", want: bad, doc: func(s *S) {
			p := s.Packages["main"]
			p.Rollouts = append(p.Rollouts, p.Rollouts[0])
			s.Packages["main"] = p
		}},
		{name: "form: digest in upper case", want: bad, doc: func(s *S) { first(s).Manifest = slipstream.Digest(strings.ToUpper(string(digest("x")))) }},
		{name: "form: digest too short", want: bad, doc: func(s *S) { first(s).Manifest = "abc" }},
		{name: "form: seq 0", want: bad, doc: func(s *S) { first(s).Seq = 0 }},
		{name: "form: version empty", want: bad, doc: func(s *S) { first(s).Version = "" }},
		{name: "form: size below 0", want: bad, doc: func(s *S) { first(s).Size = -1 }},
		{name: "form: no runtime", want: bad, doc: func(s *S) { first(s).Runtime = slipstream.Runtime{} }},
		{name: "form: range and fingerprint", want: bad, doc: func(s *S) { first(s).Runtime.Fingerprint = "f" }},
		{name: "form: share from below 0", want: bad, doc: func(s *S) { first(s).From = -1 }},
		{name: "form: share beyond 10000", want: bad, doc: func(s *S) { first(s).To = 10001 }},
		{name: "form: share turned round", want: bad, doc: func(s *S) { first(s).From, first(s).To = 11, 10 }},
		{name: "form: share of nobody", want: ok, doc: func(s *S) { first(s).From, first(s).To = 10, 10 }},
		{name: "form: control beyond 10000", want: bad, doc: func(s *S) { first(s).Control = 10001 }},
		{name: "form: control below 0", want: bad, doc: func(s *S) { first(s).Control = -1 }},
		{name: "form: retry below 0", want: bad, doc: func(s *S) { first(s).Retry = -1 }},
		{name: "form: timeout below 0", want: bad, doc: func(s *S) { first(s).Apply.Timeout = -1 }},
		{name: "form: unknown operators are for decide", want: ok, doc: func(s *S) { first(s).When[0].Op = "future" }},
		{name: "form: withdrawn digest", want: bad, doc: func(s *S) { s.Packages["main"].Withdrawn[0] = "x" }},
		{name: "form: floor without runtime", want: bad, doc: func(s *S) { s.Packages["main"].Floors[0].Runtime = slipstream.Runtime{} }},
		{name: "form: floor below 0", want: bad, doc: func(s *S) { s.Packages["main"].Floors[0].Seq = -1 }},
		{name: "form: name of the channel", want: bad, doc: func(s *S) { s.Channel = "a b" }},
		{name: "form: name of the platform", want: bad, doc: func(s *S) { s.Platform = "" }},
		{name: "form before app", want: bad, doc: func(s *S) { s.App, s.Epoch = "other", 0 }},
		{name: "app", want: slipstream.ReasonWrongApp, doc: func(s *S) { s.App = "other" }},
		{name: "app before channel", want: slipstream.ReasonWrongApp, doc: func(s *S) { s.App, s.Channel = "other", "beta" }},
		{name: "channel", want: slipstream.ReasonWrongChannel, doc: func(s *S) { s.Channel = "beta" }},
		{name: "channel before platform", want: slipstream.ReasonWrongChannel, doc: func(s *S) { s.Channel, s.Platform = "beta", "ios" }},
		{name: "platform", want: slipstream.ReasonWrongPlatform, doc: func(s *S) { s.Platform = "ios" }},
		{name: "platform: any is another one", want: slipstream.ReasonWrongPlatform, doc: func(s *S) { s.Platform = "any" }},
		{name: "platform before epoch", want: slipstream.ReasonWrongPlatform, doc: func(s *S) { s.Platform = "ios"; s.Epoch-- }, given: lastSame},
		{name: "epoch: lower", want: slipstream.ReasonStaleState, doc: func(s *S) { s.Epoch-- }, given: lastSame},
		{name: "epoch: lower, before expiry", want: slipstream.ReasonStaleState, doc: func(s *S) { s.Epoch--; s.Expires = at("2026-11-21T09:00:00Z") }, given: lastSame},
		{name: "epoch: higher", want: ok, doc: func(s *S) { s.Epoch++; s.CheckAfter = 1 }, given: lastSame},
		{name: "epoch: far higher", want: ok, doc: func(s *S) { s.Epoch = 1<<53 - 1 }, given: lastSame},
		{name: "epoch: higher, issued earlier", want: ok, doc: func(s *S) { s.Epoch++; s.Issued = at("2026-11-21T07:00:00Z") }, given: lastSame},
		{name: "epoch: equal, the same", want: ok, given: lastSame},
		{name: "epoch: equal, signed again", want: ok, doc: func(s *S) { s.Issued, s.Expires = at("2026-11-21T10:00:00Z"), at("2026-11-22T10:00:00Z") }, given: lastSame},
		{name: "epoch: equal, written differently", want: ok, given: lastSame, payload: func(b []byte) []byte {
			return replace(`"jitter":60,`, "\n")(replace(`["de","fr"]`, `[ "d\u0065", "fr" ]`)(replace(`{"app"`, `{"jitter":60,"app"`)(b)))
		}},
		{name: "epoch: equal, issued earlier", want: slipstream.ReasonStaleState, doc: func(s *S) { s.Issued = at("2026-11-21T07:59:59Z") }, given: lastSame},
	}
	for name, change := range map[string]func(*S){
		"rootVersion": func(s *S) { s.RootVersion++ }, "checkAfter": func(s *S) { s.CheckAfter++ }, "jitter": func(s *S) { s.Jitter++ },
		"share": func(s *S) { first(s).To++ }, "hold": func(s *S) { first(s).Hold = slipstream.HoldPaused },
		"condition": func(s *S) { first(s).When[0].Value = json.RawMessage(`["de"]`) }, "apply": func(s *S) { first(s).Apply.Mandatory = true },
		"withdrawn": func(s *S) { s.Packages["main"].Withdrawn[0] = digest("other") }, "floor": func(s *S) { s.Packages["main"].Floors[0].Seq++ },
		"a package": func(s *S) { s.Packages["cart"] = slipstream.PackageState{} },
	} {
		out = append(out, stateLine{name: "epoch: equal, differs in " + name, want: slipstream.ReasonEquivocation, doc: change, given: lastSame})
	}
	slices.SortStableFunc(out[len(out)-10:], func(a, b stateLine) int { return strings.Compare(a.name, b.name) })
	out = append(out, unknownLines()...)
	const expired = slipstream.ReasonExpiredState
	return append(out, []stateLine{
		{name: "epoch: equal and different, before expiry", want: slipstream.ReasonEquivocation, given: func(g *G) { g.last = func(s *S) { s.Jitter++ }; g.Now = "2027-01-01T00:00:00Z" }},
		{name: "epoch: no state was accepted before", want: ok, doc: func(s *S) { s.Epoch = 1 }},
		{name: "expiry: a second before", want: ok, given: func(g *G) { g.Now = "2026-11-22T07:59:59Z" }},
		{name: "expiry: at that second", want: expired, given: func(g *G) { g.Now = "2026-11-22T08:00:00Z" }},
		{name: "expiry: clock slow, highest signed time later", want: expired, given: func(g *G) { g.Now = "2020-01-01T00:00:00Z"; g.HighestSigned = "2026-11-22T08:00:00Z" }},
		{name: "expiry: clock slow, highest signed time earlier", want: ok, given: func(g *G) { g.Now = "2020-01-01T00:00:00Z"; g.HighestSigned = "2026-11-22T07:59:59Z" }},
		{name: "expiry: clock fast, highest signed time earlier", want: expired, given: func(g *G) { g.Now = "2026-11-22T08:00:00Z"; g.HighestSigned = "2026-11-21T08:00:00Z" }},
		{name: "expiry: state before root", want: expired, root: rootExpires("2026-11-01T00:00:00Z"), given: func(g *G) { g.Now = "2026-11-22T08:00:00Z" }},
		{name: "expiry of the root: at that second", want: slipstream.ReasonExpiredRoot, root: rootExpires("2026-11-21T12:00:00Z")},
		{name: "expiry of the root: clock slow", want: slipstream.ReasonExpiredRoot, root: rootExpires("2026-11-21T12:00:00Z"), given: func(g *G) { g.Now = "2020-01-01T00:00:00Z"; g.HighestSigned = "2026-11-21T12:00:00Z" }},
	}...)
}

// unknownLines are states of one epoch that differ, or do not, where this version reads nothing.
func unknownLines() []stateLine {
	more := replace(`{"app"`, `{"future":{"x":[1,{"y":"z"}]},"app"`)
	given := func(payload func([]byte) []byte) func(*givenState) {
		return func(g *givenState) { g.last, g.lastPayload = func(*slipstream.State) {}, payload }
	}
	const differs = slipstream.ReasonEquivocation
	return []stateLine{
		{name: "epoch: equal, the same unknown field", want: ok, payload: more, given: given(more)},
		{name: "epoch: equal, the same unknown field written differently", want: ok, given: given(more),
			payload: replace(`"platform"`, `"future":{ "x": [1, {"\u0079":"z"}] },"platform"`)},
		{name: "epoch: equal, an unknown field more", want: differs, payload: more, given: given(nil)},
		{name: "epoch: equal, an unknown field gone", want: differs, given: given(more)},
		{name: "epoch: equal, an unknown field differs", want: differs, payload: replace(`{"app"`, `{"future":{"x":[1,{"y":"w"}]},"app"`), given: given(more)},
		{name: "epoch: equal, an unknown field of another kind", want: differs, payload: replace(`{"app"`, `{"future":1,"app"`),
			given: given(replace(`{"app"`, `{"future":true,"app"`))},
		{name: "epoch: equal, an unknown field in a rollout differs", want: differs, payload: replace(`{"id":"r7"`, `{"future":2,"id":"r7"`),
			given: given(replace(`{"id":"r7"`, `{"future":1,"id":"r7"`))},
		{name: "epoch: equal, an unknown array turned round", want: differs, payload: replace(`{"app"`, `{"future":[2,1],"app"`),
			given: given(replace(`{"app"`, `{"future":[1,2],"app"`))},
		{name: "epoch: equal, a known field is there empty", want: differs, payload: replace(`{"id":"r7"`, `{"retry":0,"id":"r7"`), given: given(nil)},
		{name: "epoch: higher, an unknown field more", want: ok, doc: func(s *slipstream.State) { s.Epoch++ }, payload: more, given: given(nil)},
	}
}

func stateCases(t *testing.T) []stateCase {
	var out []stateCase
	for _, l := range stateLines() {
		c := stateCase{Name: l.name, Root: inputOf(l.rooted(t)), Expect: string(l.want)}
		c.State = l.sealed(t, TypeState, goodState(), "state-1")
		c.Given = givenState{App: "shop", Channel: "production", Platform: "android", Now: "2026-11-21T12:00:00Z"}
		if l.given != nil {
			l.given(&c.Given)
		}
		if c.Given.last != nil {
			last := goodState()
			c.Given.last(last)
			payload := encode(t, last)
			if c.Given.lastPayload != nil {
				payload = c.Given.lastPayload(payload)
			}
			in := inputOf(seal(t, TypeState, payload, key("state-1")))
			c.Given.Last = &in
		}
		out = append(out, c)
	}
	return out
}

func openTrust(t *testing.T, in input) *Trust {
	t.Helper()
	trust, err := OpenRoot(in.bytes(t))
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

func instant(t *testing.T, s string) time.Time {
	t.Helper()
	if s == "" {
		return time.Time{}
	}
	return at(s).Time
}

func TestEachLineOfTheOrderForStates(t *testing.T) {
	t.Parallel()
	for _, c := range vectors(t, "accept_state.json", stateCases(t)) {
		t.Run(c.Name, func(t *testing.T) {
			trust := openTrust(t, c.Root)
			e := ExpectState{App: c.Given.App, Channel: c.Given.Channel, Platform: c.Given.Platform,
				Now: instant(t, c.Given.Now), HighestSigned: instant(t, c.Given.HighestSigned)}
			if c.Given.Last != nil {
				e.Last = c.Given.Last.bytes(t)
				if _, err := trust.State(e.Last); err != nil {
					t.Fatal(err)
				}
			}
			s, err := trust.AcceptState(c.State.bytes(t), e)
			expect(t, err, c.Expect)
			if (s == nil) != (err != nil) {
				t.Errorf("state %v beside error %v", s, err)
			}
		})
	}
}

func FuzzState(f *testing.F) {
	f.Add(encode(f, goodState()))
	trust, err := OpenRoot(seal(f, TypeRoot, encode(f, goodRoot()), keys("root-1", "root-2")...))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		s, err := trust.State(seal(t, TypeState, payload, key("state-1")))
		if err != nil {
			return
		}
		// What was accepted, written by us and read again, is equal to itself.
		own := encode(t, s)
		again, err := trust.State(seal(t, TypeState, own, key("state-1")))
		if err != nil {
			t.Fatalf("own writing is refused: %v", err)
		}
		if err := checkEpoch(again, s, encode(t, again), own); err != nil {
			t.Fatalf("own writing differs: %v", err)
		}
	})
}
