package siege

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/sign"
)

// The attackers here hold the keys that a document needs, or have one of the owner's that was made for somebody else:
// what is left is what the document says.

// rewritten has a state that would bring next, changed in its bytes before its owners sign it.
func rewritten(change func(payload []byte) []byte) func(s *siege) error {
	return func(s *siege) error {
		payload, err := sign.Encode(s.upcoming(func(st *slipstream.State) { offer(st, s.next) }))
		if err != nil {
			return err
		}
		return s.serveSigned(aboutState, sign.TypeState, change(payload), s.origin.keys.state.signers)
	}
}

func (s *siege) serveSigned(part, kind string, payload []byte, signers []sign.Signer) error {
	raw, err := (&forgery{kind: kind, payload: payload}).envelope(signers...)
	if err == nil {
		s.serve(part, raw.Encode())
	}
	return err
}

func replaced(old, by string) func(payload []byte) []byte {
	return func(p []byte) []byte { return bytes.Replace(p, []byte(old), []byte(by), 1) }
}

func prefixed(with string) func(payload []byte) []byte {
	return func(p []byte) []byte { return append([]byte("{"+with+","), p[1:]...) }
}

// strict are states whose JSON two readers could read differently.
func strict() []Attack {
	var out []Attack
	for name, change := range map[string]func([]byte) []byte{
		"a name twice":                          prefixed(`"epoch":999`),
		"a name twice, deep inside":             replaced(`"seq":20`, `"seq":20,"seq":21`),
		"a name in other case":                  replaced(`"epoch"`, `"Epoch"`),
		"a number with a fraction":              replaced(`"checkAfter":900`, `"checkAfter":900.5`),
		"a number with an exponent":             replaced(`"checkAfter":900`, `"checkAfter":9e2`),
		"a number beyond 2^53":                  prefixed(`"later":9007199254740993`),
		"a number with a leading zero":          replaced(`"checkAfter":900`, `"checkAfter":0900`),
		"minus zero":                            replaced(`"jitter":0`, `"jitter":-0`),
		"null in place of an object":            replaced(`"packages":{`, `"packages":null,"x":{`),
		"null in a field nobody knows":          prefixed(`"later":null`),
		"a string in place of a number":         replaced(`"checkAfter":900`, `"checkAfter":"900"`),
		"invalid UTF-8":                         prefixed("\"later\":\"\xff\""),
		"an overlong UTF-8 sequence":            prefixed("\"later\":\"\xc0\xaf\""),
		"a lone surrogate":                      prefixed(`"later":"\ud800\u0041"`),
		"a surrogate at the end":                prefixed(`"later":"\ud800"`),
		"half of a surrogate pair as text":      prefixed(`"later":"\ud800dead"`),
		"a control character in a string":       prefixed("\"later\":\"\x01\""),
		"a comment":                             prefixed(`/* hello */"later":1`),
		"a string that ends behind a backslash": func(p []byte) []byte { return append(p[:len(p)-1], `,"later":"\`...) },
		"a trailing comma":                      func(p []byte) []byte { return append(p[:len(p)-1], ",}"...) },
		"data behind the document":              func(p []byte) []byte { return append(p, "{}"...) },
		"a byte order mark":                     func(p []byte) []byte { return append([]byte("\xef\xbb\xbf"), p...) },
		"arrays without end":                    prefixed(`"later":` + strings.Repeat("[", 100_000)),
		"arrays a thousand deep":                prefixed(`"later":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000)),
		"null in place of it":                   func([]byte) []byte { return []byte("null") },
		"an array in place of it":               func([]byte) []byte { return []byte("[]") },
		"nothing in place of it":                func([]byte) []byte { return nil },
		"no epoch":                              replaced(`"epoch"`, `"epochs"`),
		"a time with a fraction":                replaced(`Z","expires"`, `.5Z","expires"`),
		"a time in another zone":                replaced(`Z","expires"`, `+00:00","expires"`),
		"a time that is no time":                replaced(`"issued":"2026`, `"issued":"2026-13`),
		"a share that ends before it began":     replaced(`"to":10000`, `"from":5000,"to":100`),
		"a share above the whole":               replaced(`"to":10000`, `"to":10001`),
		"a digest in capitals": func(p []byte) []byte {
			i := bytes.Index(p, []byte(`"manifest":"`)) + 12
			return slices.Concat(p[:i], bytes.ToUpper(p[i:i+64]), p[i+64:])
		},
		"a digest that is a path": func(p []byte) []byte {
			i := bytes.Index(p, []byte(`"manifest":"`)) + 12
			return slices.Concat(p[:i], []byte("../../../../etc/passwd"), p[i+64:])
		},
		"an empty digest": func(p []byte) []byte {
			i := bytes.Index(p, []byte(`"manifest":"`)) + 12
			return slices.Concat(p[:i], p[i+64:])
		},
		"a package that is a path":       replaced(`"main":{`, `"../main":{`),
		"a package of spaces and quotes": replaced(`"main":{`, `"ma in\"":{`),
		"a runtime that is nothing":      replaced(`"runtime":{"range":"*"}`, `"runtime":{}`),
		"a runtime that is both":         replaced(`"runtime":{"range":"*"}`, `"runtime":{"range":"*","fingerprint":"f"}`),
	} {
		out = append(out, Attack{Name: "state that says " + name, Reason: slipstream.ReasonMalformed, strike: rewritten(change)})
	}
	return append(out,
		Attack{Name: "state that needs what the device does not know", Reason: slipstream.ReasonUnknownCritical, strike: rewritten(prefixed(`"crit":["later"],"later":1`))},
		Attack{Name: "state with fields that nobody knows: they do no harm", Runs: "next", strike: rewritten(prefixed(`"later":{"a":[1,"b",true]}`))},
		Attack{Name: "state with a condition that nobody knows: it never holds", Why: slipstream.ReasonConditions,
			strike: rewritten(replaced(`"runtime":{"range":"*"}`, `"runtime":{"range":"*"},"when":[{"attr":"model","op":"resembles","value":"x"}]`))},
		Attack{Name: "state with a name in other case beside the right one: it is another name", Runs: "next", strike: rewritten(prefixed(`"EPOCH":9007199254740991`))},
		Attack{Name: "state with a range that is none: it fits nothing", Why: slipstream.ReasonRuntimeMismatch, strike: rewritten(replaced(`{"range":"*"}`, `{"range":">>1"}`))},
	)
}

// misdirected are states that are not for this device, or not for now.
func misdirected() []Attack {
	type edit = func(s *siege, st *slipstream.State)
	out := []Attack{}
	for _, c := range []struct {
		name   string
		reason slipstream.Reason
		edit   edit
	}{
		{"of another app", slipstream.ReasonWrongApp, func(_ *siege, st *slipstream.State) { st.App = "bank" }},
		{"of another channel", slipstream.ReasonWrongChannel, func(_ *siege, st *slipstream.State) { st.Channel = "beta" }},
		{"of another platform", slipstream.ReasonWrongPlatform, func(_ *siege, st *slipstream.State) { st.Platform = "ios" }},
		{"of an app that is a path", slipstream.ReasonMalformed, func(_ *siege, st *slipstream.State) { st.App = "../shop" }},
		{"of the epoch before", slipstream.ReasonStaleState, func(_ *siege, st *slipstream.State) { st.Epoch -= 2 }},
		{"of the same epoch that says something else", slipstream.ReasonEquivocation, func(_ *siege, st *slipstream.State) { st.Epoch-- }},
		{"of the same epoch, issued before", slipstream.ReasonStaleState, func(s *siege, st *slipstream.State) {
			st.Epoch--
			st.Packages = s.origin.state.Packages
			st.Issued = slipstream.At(s.now.Add(-time.Hour))
		}},
		{"of epoch 0", slipstream.ReasonMalformed, func(_ *siege, st *slipstream.State) { st.Epoch = 0 }},
		{"of an epoch below zero", slipstream.ReasonMalformed, func(_ *siege, st *slipstream.State) { st.Epoch = -1 }},
		{"of an epoch of 2^53", slipstream.ReasonMalformed, func(_ *siege, st *slipstream.State) { st.Epoch = slipstream.MaxSafeInteger }},
		{"that expired", slipstream.ReasonExpiredState, func(s *siege, st *slipstream.State) {
			st.Issued, st.Expires = slipstream.At(s.now.Add(-48*time.Hour)), slipstream.At(s.now.Add(-24*time.Hour))
		}},
		{"that expires this very second", slipstream.ReasonExpiredState, func(s *siege, st *slipstream.State) {
			st.Issued, st.Expires = slipstream.At(s.now), slipstream.At(s.now.Add(time.Minute))
		}},
		{"that expired before it was issued", slipstream.ReasonMalformed, func(_ *siege, st *slipstream.State) { st.Expires = st.Issued }},
		{"of root version 0", slipstream.ReasonMalformed, func(_ *siege, st *slipstream.State) { st.RootVersion = 0 }},
	} {
		a := Attack{Name: "state " + c.name, Reason: c.reason, strike: func(s *siege) error {
			return s.state(func(st *slipstream.State) {
				offer(st, s.next)
				c.edit(s, st)
			})
		}}
		if strings.Contains(c.name, "2^53") {
			// The largest number that two languages read alike is one less, and no more than an epoch.
			a.strike = rewritten(func(p []byte) []byte {
				i := bytes.Index(p, []byte(`"epoch":`)) + 8
				return slices.Concat(p[:i], []byte("9007199254740992"), p[i+bytes.IndexByte(p[i:], ','):])
			})
		}
		out = append(out, a)
	}
	return out
}

// mislabelled are signed manifests that are not what the rollout says, or not for this device. Code that its owner
// signed for something else is as foreign as code that he did not sign.
func mislabelled() []Attack {
	var out []Attack
	for _, c := range []struct {
		name   string
		reason slipstream.Reason
		edit   func(m *slipstream.Manifest)
		say    func(r *slipstream.Rollout)
	}{
		{"of another app", slipstream.ReasonWrongApp, func(m *slipstream.Manifest) { m.App = "bank" }, nil},
		{"of another package", slipstream.ReasonManifestMismatch, func(m *slipstream.Manifest) { m.Package = "cart" }, nil},
		{"for another platform", slipstream.ReasonWrongPlatform, func(m *slipstream.Manifest) { m.Platform = "ios" }, nil},
		{"for a shell that this one is not", slipstream.ReasonRuntimeMismatch, func(m *slipstream.Manifest) { m.Runtime.Range = ">=4" }, func(r *slipstream.Rollout) { r.Runtime.Range = ">=4" }},
		{"for a shell that its rollout does not name", slipstream.ReasonManifestMismatch, func(m *slipstream.Manifest) { m.Runtime.Range = ">=3" }, func(r *slipstream.Rollout) { r.Runtime.Range = "*" }},
		{"for a fingerprint, named as fitting all", slipstream.ReasonManifestMismatch, func(m *slipstream.Manifest) { m.Runtime = slipstream.Runtime{Fingerprint: "f"} }, func(r *slipstream.Rollout) { r.Runtime = slipstream.AnyRuntime() }},
		{"of a lower seq than its rollout says", slipstream.ReasonManifestMismatch, func(m *slipstream.Manifest) { m.Seq = 4 }, func(r *slipstream.Rollout) { r.Seq = 50 }},
		{"of another version than its rollout says", slipstream.ReasonManifestMismatch, nil, func(r *slipstream.Rollout) { r.Version = "9.9.9" }},
		{"of another size than its rollout says", slipstream.ReasonManifestMismatch, nil, func(r *slipstream.Rollout) { r.Size-- }},
		{"that needs what the device does not know", slipstream.ReasonUnknownCritical, func(m *slipstream.Manifest) { m.Crit = []string{"later"} }, nil},
		{"whose entry is not among its files", slipstream.ReasonMalformed, func(m *slipstream.Manifest) { m.Entry = "app/other.js" }, nil},
		{"whose entry is outside of it", slipstream.ReasonMalformed, func(m *slipstream.Manifest) { m.Entry = "../state.json" }, nil},
		{"of seq 0", slipstream.ReasonMalformed, func(m *slipstream.Manifest) { m.Seq = 0 }, func(r *slipstream.Rollout) { r.Seq = 26 }},
		{"with a file of less than no bytes", slipstream.ReasonMalformed, func(m *slipstream.Manifest) { m.Files[0].Size = -1 }, func(r *slipstream.Rollout) { r.Size = 5000 }},
		{"whose sizes overflow", slipstream.ReasonMalformed, func(m *slipstream.Manifest) {
			m.Files[0].Size, m.Files[1].Size = slipstream.MaxSafeInteger, slipstream.MaxSafeInteger
		}, func(r *slipstream.Rollout) { r.Size = 5000 }},
		{"with a file without a hash", slipstream.ReasonMalformed, func(m *slipstream.Manifest) { m.Files[0].SHA256 = "" }, nil},
		{"with a hash of another kind", slipstream.ReasonMalformed, func(m *slipstream.Manifest) { m.Files[0].SHA256 = "d41d8cd98f00b204e9800998ecf8427e" }, nil},
		{"with its files out of order", slipstream.ReasonMalformed, func(m *slipstream.Manifest) { slices.Reverse(m.Files) }, nil},
		{"that requires itself", slipstream.ReasonMalformed, func(m *slipstream.Manifest) { m.Requires = map[string]slipstream.Requirement{pkg: {MinSeq: 1}} }, nil},
		{"with a fallback that is no digest", slipstream.ReasonMalformed, func(m *slipstream.Manifest) { m.Fallback = []slipstream.Digest{"../old"} }, nil},
		{"without a runtime", slipstream.ReasonMalformed, func(m *slipstream.Manifest) { m.Runtime = slipstream.Runtime{} }, func(r *slipstream.Rollout) { r.Runtime = slipstream.AnyRuntime() }},
	} {
		a := Attack{Name: "manifest " + c.name, Reason: c.reason, strike: func(s *siege) error { return s.mislabel(c.edit, c.say) }}
		if c.reason == slipstream.ReasonRuntimeMismatch {
			a.Reason, a.Why = "", slipstream.ReasonRuntimeMismatch // the rollout says so already
		}
		out = append(out, a)
	}
	out = append(out, Attack{Name: "manifest for a shell that this one is not, named by a decision", Reason: slipstream.ReasonRuntimeMismatch, decisions: true,
		strike: func(s *siege) error {
			r, err := s.origin.publish(spec{seq: 26, files: filesOf("foreign"), edit: func(m *slipstream.Manifest) { m.Runtime.Range = ">=4" }})
			s.origin.decisions = func(req slipstream.CheckRequest) slipstream.Decision { return s.origin.decision(req, update(r)) }
			return err
		}})
	return append(out, paths()...)
}

func (s *siege) mislabel(edit func(m *slipstream.Manifest), say func(r *slipstream.Rollout)) error {
	r, err := s.origin.publish(spec{seq: 26, files: filesOf("foreign"), edit: edit})
	if err != nil {
		return err
	}
	return s.state(func(st *slipstream.State) {
		offer(st, r)
		if say != nil {
			say(&st.Packages[pkg].Rollouts[0])
		}
	})
}

// paths are manifests, well signed, whose files would land where they must not.
func paths() []Attack {
	var out []Attack
	for name, with := range map[string][]string{
		"above the tree":             {"../../state.json"},
		"above, in the middle":       {"app/../../x"},
		"absolute":                   {"/etc/passwd"},
		"with a backslash":           {`..\x`},
		"on a drive":                 {"C:/x"},
		"in a stream":                {"x:y"},
		"with an empty part":         {"app//x"},
		"with a dot part":            {"app/./x"},
		"ending in a slash":          {"app/"},
		"empty":                      {""},
		"with a zero byte":           {"x\x00y"},
		"with a line break":          {"x\ny"},
		"a device of Windows":        {"app/CON.txt"},
		"ending in a dot":            {"x."},
		"ending in a space":          {"x "},
		"not in normal form":         {"e\u0301"},
		"too long":                   {strings.Repeat("a", slipstream.MaxPathBytes+1)},
		"twice, in other case":       {"App/x", "app/x"},
		"twice, by folded letters":   {"STRASSE/K", "STRASSE/\u212a"},
		"a file that is a directory": {"x", "x/y"},
		"twice":                      {"x", "x"},
	} {
		out = append(out, Attack{Name: "manifest with a path " + name, Reason: slipstream.ReasonMalformed, strike: func(s *siege) error {
			return s.mislabel(func(m *slipstream.Manifest) {
				m.Files = nil
				for _, p := range with {
					m.Files = append(m.Files, slipstream.File{Path: p, Size: 1, SHA256: sum([]byte("x"))})
				}
				slices.SortFunc(m.Files, func(a, b slipstream.File) int { return strings.Compare(a.Path, b.Path) })
			}, nil)
		}})
	}
	return append(out, Attack{Name: "manifest of more files than are allowed", Reason: slipstream.ReasonMalformed, strike: func(s *siege) error {
		return s.mislabel(func(m *slipstream.Manifest) {
			m.Files = nil
			for i := range slipstream.MaxFiles + 1 {
				m.Files = append(m.Files, slipstream.File{Path: fmt.Sprintf("%05d", i), SHA256: sum(nil)})
			}
		}, nil)
	}})
}

// unfit are decisions that a server signed, and that the device must not follow.
func unfit() []Attack {
	var out []Attack
	add := func(name string, reason slipstream.Reason, edit func(s *siege, d *slipstream.Decision)) {
		out = append(out, Attack{Name: "decision " + name, Warning: reason, decisions: true, strike: func(s *siege) error {
			s.decide(func(req slipstream.CheckRequest) ([]byte, error) {
				d := s.origin.decision(req, update(s.next))
				edit(s, &d)
				return seal(sign.TypeDecision, d, s.origin.keys.state.signers...)
			})
			return nil
		}})
	}
	add("of another app", slipstream.ReasonWrongApp, func(_ *siege, d *slipstream.Decision) { d.App = "bank" })
	add("of another channel", slipstream.ReasonWrongChannel, func(_ *siege, d *slipstream.Decision) { d.Channel = "beta" })
	add("for another device", slipstream.ReasonWrongDevice, func(_ *siege, d *slipstream.Decision) { d.Device = string(sum([]byte("another"))) })
	add("with another nonce", slipstream.ReasonWrongNonce, func(_ *siege, d *slipstream.Decision) { d.Nonce = strings.Repeat("A", 43) + "=" })
	add("without a nonce", slipstream.ReasonWrongNonce, func(_ *siege, d *slipstream.Decision) { d.Nonce = "" })
	add("of an epoch before", slipstream.ReasonStaleState, func(_ *siege, d *slipstream.Decision) { d.Epoch-- })
	add("that lives an hour", slipstream.ReasonMalformed, func(_ *siege, d *slipstream.Decision) { d.Expires = slipstream.At(d.Issued.Add(time.Hour)) })
	add("that expired before it was issued", slipstream.ReasonMalformed, func(_ *siege, d *slipstream.Decision) { d.Expires = d.Issued })
	add("of an update without a release", slipstream.ReasonMalformed, func(_ *siege, d *slipstream.Decision) {
		d.Packages[pkg] = slipstream.PackageDecision{Verdict: slipstream.VerdictUpdate, Reason: slipstream.ReasonNewRelease}
	})
	add("for a package that is a path", slipstream.ReasonMalformed, func(_ *siege, d *slipstream.Decision) { d.Packages["../x"] = d.Packages[pkg] })
	add("that needs what the device does not know", slipstream.ReasonUnknownCritical, func(_ *siege, d *slipstream.Decision) { d.Crit = []string{"later"} })
	add("issued after the root expired", slipstream.ReasonExpiredRoot, func(_ *siege, d *slipstream.Decision) {
		d.Issued = slipstream.At(d.Issued.Add(2 * rootLife))
		d.Expires = slipstream.At(d.Issued.Add(time.Minute))
	})
	out = append(out, Attack{Name: "decision replayed", Warning: slipstream.ReasonWrongNonce, decisions: true, strike: func(s *siege) error {
		var kept []byte
		s.decide(func(req slipstream.CheckRequest) (raw []byte, err error) {
			if kept == nil {
				kept, err = seal(sign.TypeDecision, s.origin.decision(req, slipstream.PackageDecision{Verdict: slipstream.VerdictNone, Reason: slipstream.ReasonUpToDate}), s.origin.keys.state.signers...)
			}
			return kept, err
		})
		_, err := s.update()
		return err
	}})
	for _, c := range []struct {
		name   string
		why    slipstream.Reason
		choose func(s *siege) *release
		as     slipstream.PackageDecision
	}{
		{"of a downgrade", slipstream.ReasonDowngrade, func(s *siege) *release { return s.low }, slipstream.PackageDecision{Verdict: slipstream.VerdictUpdate, Reason: slipstream.ReasonNewRelease}},
		{"of a way back that the publisher did not allow", slipstream.ReasonDowngrade, func(s *siege) *release { return s.low }, slipstream.PackageDecision{Verdict: slipstream.VerdictRollback, Reason: slipstream.ReasonWithdrawn}},
		{"of a way back without a reason", slipstream.ReasonDowngrade, func(s *siege) *release { return s.edge }, slipstream.PackageDecision{Verdict: slipstream.VerdictRollback, Reason: slipstream.ReasonNewRelease}},
	} {
		out = append(out, Attack{Name: "decision " + c.name, Why: c.why, decisions: true, strike: func(s *siege) error {
			s.origin.decisions = func(req slipstream.CheckRequest) slipstream.Decision {
				d := c.as
				d.Release = c.choose(s).ref()
				return s.origin.decision(req, d)
			}
			return nil
		}})
	}
	lowered := Attack{Name: "decision that lies about the seq of a downgrade", Reason: slipstream.ReasonManifestMismatch, decisions: true, strike: func(s *siege) error {
		s.origin.decisions = func(req slipstream.CheckRequest) slipstream.Decision {
			d := update(s.low)
			d.Release.Seq = 99
			return s.origin.decision(req, d)
		}
		return nil
	}}
	return append(out, lowered, jsonOfDecision())
}

// jsonOfDecision is a decision whose JSON could be read in two ways.
func jsonOfDecision() Attack {
	return Attack{Name: "decision with a name twice", Warning: slipstream.ReasonMalformed, decisions: true, strike: func(s *siege) error {
		s.decide(func(req slipstream.CheckRequest) ([]byte, error) {
			payload, err := json.Marshal(s.origin.decision(req, update(s.next)))
			if err != nil {
				return nil, err
			}
			e, err := (&forgery{kind: sign.TypeDecision, payload: prefixed(`"epoch":1`)(payload)}).envelope(s.origin.keys.state.signers...)
			if err != nil {
				return nil, err
			}
			return e.Encode(), nil
		})
		return nil
	}}
}
