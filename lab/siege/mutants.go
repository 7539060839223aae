package siege

import "strings"

// Edit is a change to the source: Old stands there exactly once, and New takes its place.
type Edit struct{ File, Old, New string }

// Mutant is a client without one step of verification, or without both of two steps that watch over the same thing.
// Such a client exists only as a program that the proof builds from changed source: no switch in a released one leaves
// a step out. By names attacks that must find it out, by the beginning of their names.
type Mutant struct {
	Name  string
	Edits []Edit
	By    []string
}

// gone makes a case of a switch, whose condition ends with the colon, never hold.
func gone(file, condition string) Edit {
	return Edit{file, "case " + condition, "case false && (" + strings.TrimSuffix(condition, ":") + "):"}
}

// skipped makes an if never hold. What it declares on the way stays.
func skipped(file, condition string) Edit {
	before, test := "", condition
	if i := strings.LastIndex(condition, "; "); i >= 0 {
		before, test = condition[:i+2], condition[i+2:]
	}
	return Edit{file, "if " + condition + " {", "if " + before + "false && (" + test + ") {"}
}

func mutant(name string, e Edit, by ...string) Mutant { return Mutant{name, []Edit{e}, by} }

const (
	fileAccept   = "sign/accept.go"
	fileTrust    = "sign/trust.go"
	fileCheck    = "sign/check.go"
	fileEnvelope = "sign/envelope.go"
	fileKeys     = "sign/ed25519.go"
	fileJSON     = "sign/json.go"
	fileDecode   = "sign/decode.go"
	filePaths    = "sign/paths.go"
	fileWalk     = "decide/walk.go"
	fileApply    = "publish/delta/apply.go"
	fileSteps    = "publish/delta/format.go"
	fileNetwork  = "client/transport.go"
	fileRoots    = "client/trust.go"
	fileDecision = "client/decision.go"
	fileFetch    = "client/fetch.go"
	fileAssemble = "client/assemble.go"
)

// Mutants are all steps, in the order in which a client takes them.
func Mutants() []Mutant {
	var out []Mutant
	for _, group := range [][]Mutant{signatureMutants(), rootMutants(), formMutants(), acceptMutants(), manifestMutants(), deviceMutants(), fileMutants()} {
		out = append(out, group...)
	}
	return out
}

func signatureMutants() []Mutant {
	return []Mutant{
		mutant("a signature is not looked at", Edit{fileTrust, "VerifySignature(pub, message, s.Sig)", "(VerifySignature(pub, message, s.Sig) || true)"}, "state: strangers under", "state: one bit"),
		mutant("signatures are not counted", skipped(fileTrust, "n := len(k.signedBy(e)); n < k.threshold"), "state: unsigned"),
		mutant("a signature counts as often as it comes", Edit{fileTrust, "known && !valid[s.KeyID] && V", "known && V"}, "state: one key's signature").
			with(Edit{fileTrust, "valid[s.KeyID] = true", "valid[s.KeyID+string(rune(len(valid)))] = true"}),
		mutant("every key of the envelope's own choice counts", Edit{fileTrust, "pub, known := k.keys[s.KeyID]", "pub, known := k.keys[s.KeyID]\n\t\tfor _, p := range k.keys {\n\t\t\tif !known {\n\t\t\t\tpub, known = p, true\n\t\t\t}\n\t\t}"}, "state: one key's signature under a made-up"),
		mutant("the state's signatures", skipped(fileTrust, `err := t.roles.state.verify(e, "state", "state"); err != nil`), "state: unsigned"),
		mutant("the manifest's signatures", skipped(fileTrust, `err := t.roles.release.verify(e, "manifest", "release"); err != nil`), "manifest: unsigned"),
		mutant("the decision's signatures", skipped(fileTrust, `err := t.roles.state.verify(e, "decision", "state"); err != nil`), "decision: unsigned"),
		mutant("manifests by the state role too", Edit{fileTrust, `t.roles.release.verify(e, "manifest", "release"); err != nil`, `t.roles.release.verify(e, "manifest", "release"); err != nil && t.roles.state.verify(e, "manifest", "release") != nil`}, "manifest: signed by keys of other roles"),
		mutant("states by the release role too", Edit{fileTrust, `t.roles.state.verify(e, "state", "state"); err != nil`, `t.roles.state.verify(e, "state", "state"); err != nil && t.roles.release.verify(e, "state", "state") != nil`}, "state: signed by keys of other roles"),
		mutant("the type is not in the signed bytes", Edit{fileKeys, "return ed25519.Verify(pub, message, sig)", "_, body, _ := strings.Cut(string(message), \"{\")\n\treturn ed25519.Verify(pub, message, sig) || ed25519.Verify(pub, []byte(\"{\"+body), sig)"}, "state: signatures over the bare payload").with(Edit{fileKeys, "\"math/big\"\n", "\"math/big\"\n\t\"strings\"\n"}),
		mutant("the payload's type", skipped(fileEnvelope, "e.PayloadType != wantType"), "state: signed as another type", "state: the type in capitals"),
		mutant("the number of signatures", skipped(fileEnvelope, "len(w.Signatures) > MaxSignatures"), "state: more signatures"),
		mutant("line breaks in base64", skipped(fileEnvelope, `strings.ContainsAny(s, "\r\n")`), "state: a line break in the base64"),
	}
}

func (m Mutant) with(e Edit) Mutant {
	m.Edits = append(m.Edits, e)
	return m
}

func rootMutants() []Mutant {
	return []Mutant{
		mutant("the signatures of the root before", skipped(fileTrust, `err := t.roles.root.verify(e, "root", "previous root's root"); err != nil`), "root signed by the keys after alone"),
		mutant("the signatures of the next root itself", skipped(fileTrust, `err := roles.root.verify(e, "root", "root"); err != nil`), "root signed by the keys before alone"),
		mutant("the next root's app", skipped(fileTrust, "next.root.App != t.root.App"), "root of another app"),
		mutant("the next root's version", skipped(fileTrust, "next.root.Version != t.root.Version+1"), "root that leaves a version out", "root of the version"),
		mutant("thresholds below one", gone(fileCheck, "role.Threshold < 1:"), "root with threshold 0"),
		mutant("thresholds that no keys reach", gone(fileCheck, "role.Threshold > len(set.keys):"), "root with a threshold that no keys reach"),
		mutant("keys that are listed twice", skipped(fileCheck, "listed[id]"), "root with a key twice"),
		mutant("keys that are not defined", skipped(fileCheck, "_, defined := r.Keys[id]; !defined"), "root with a key that it does not define"),
		mutant("ids that are not the keys'", skipped(fileCheck, "KeyID(pub) != id"), "root with one public key under two ids"),
		mutant("keys of small order", gone(fileKeys, "smallOrder(b):"), "root with a key of small order"),
		mutant("keys that are not canonical", gone(fileKeys, "!canonicalY(b):"), "root with a key that is not canonical"),
		mutant("keys that are no points", gone(fileKeys, "!onCurve(b):"), "root with a key that is not on the curve"),
		mutant("the root's expiry", skipped(fileAccept, "t.Expired(now)"), "root on the device expired", "root that expired"),
		mutant("the shipped root's app", skipped("client/client.go", "root.Root().App != cfg.App"), "shipped root of another app"),
		mutant("roots are asked for once a day", Edit{fileRoots, "return since < 0 || since >= int64(rootCheckEvery/time.Second)", "return false && since < int64(rootCheckEvery/time.Second)"}, "rotation hidden for a day"),
		mutant("the end of the walk", Edit{fileRoots, "for range slipstream.MaxRootSteps {", "for range 1000 {"}, "rotations: 64 steps"),
		mutant("what the state key before said is forgotten", Edit{fileRoots, "same := next.StateRoleEqual(c.trust)", "same := next.StateRoleEqual(c.trust) || true"}, "rotation of the state key: epochs"),
		mutant("and only that", Edit{fileRoots, "same := next.StateRoleEqual(c.trust)", "same := next.StateRoleEqual(c.trust) && false"}, "rotation of other keys"),
	}
}

func formMutants() []Mutant {
	return []Mutant{
		mutant("names that are repeated", skipped(fileJSON, "seen[name] || seen == nil && n.get(name) != nil"), "state that says a name twice"),
		mutant("data behind the document", skipped(fileJSON, "p.pos != len(data)"), "state that says data behind"),
		mutant("null", Edit{fileJSON, `err = errors.New("null is not allowed")`, `n.kind = kindObject`}, "state that says null in a field"),
		mutant("numbers that are no integers", Edit{fileJSON, `return 0, errors.New("only integers are allowed")`, "p.pos += 2\n\t\treturn 900, nil"}, "state that says a number with"),
		mutant("integers beyond 2^53", Edit{fileJSON, "if err != nil || v > slipstream.MaxSafeInteger || v < -slipstream.MaxSafeInteger {", "if err != nil || false && v > slipstream.MaxSafeInteger {"}, "state that says a number beyond"),
		mutant("leading zeros", gone(fileJSON, "n > 1 && p.data[digits] == '0':"), "state that says a number with a leading zero"),
		mutant("strings that are not UTF-8", skipped(fileJSON, "r == utf8.RuneError && size <= 1"), "state that says invalid UTF-8", "state that says an overlong"),
		mutant("surrogates without a second half", skipped(fileJSON, "!p.word(`\\u`)"), "state that says half of a surrogate"),
		mutant("surrogates with a second half that is none", skipped(fileJSON, "r = utf16.DecodeRune(r, low); r == utf8.RuneError"), "state that says a lone surrogate"),
		mutant("control characters", gone(fileJSON, "c < 0x20:"), "state that says a control character"),
		mutant("the depth of arrays", Edit{fileJSON, "func (p *parser) array(n *node, depth int) error {\n\tif depth > MaxDepth {", "func (p *parser) array(n *node, depth int) error {\n\tif false && depth > MaxDepth {"}, "state that says arrays a thousand deep"),
		mutant("fields that are missing", skipped(fileDecode, "f.required"), "state that says no epoch"),
		mutant("names in other case", Edit{fileJSON, "\t\tif have == name {", "\t\tif strings.EqualFold(have, name) {"}, "state that says a name in other case", "state with a name in other case").with(Edit{fileJSON, "\t\"strconv\"\n", "\t\"strconv\"\n\t\"strings\"\n"}),
		mutant("what a document needs of its reader", skipped(fileDecode, "!known(item.text)"), "state that needs what", "manifest that needs what"),
		mutant("the form of states", skipped(fileTrust, "err := CheckState(&s); err != nil"), "state of epoch 0", "state that says a package"),
		mutant("the form of decisions", skipped(fileTrust, "err := CheckDecision(&d); err != nil"), "decision that expired before", "decision for a package that is a path"),
	}
}

func acceptMutants() []Mutant {
	return []Mutant{
		mutant("the state's app", gone(fileAccept, "s.App != e.App:"), "state of another app"),
		mutant("the state's channel", gone(fileAccept, "s.Channel != e.Channel:"), "state of another channel"),
		mutant("the state's platform", gone(fileAccept, "s.Platform != e.Platform:"), "state of another platform"),
		mutant("epochs that fall", gone(fileAccept, "s.Epoch < last.Epoch:"), "state of the epoch before", "an old state, replayed"),
		mutant("states that are older than one of the same epoch", gone(fileAccept, "s.Issued.Before(last.Issued.Time):"), "state of the same epoch, issued before"),
		mutant("the same epoch saying something else", skipped(fileAccept, "!same"), "state of the same epoch that says"),
		mutant("the state's expiry", skipped(fileAccept, "!now.Before(s.Expires.Time)"), "state that expired", "one state for ever").
			with(Edit{"decide/plan.go", "func (p *Plan) Expired(now time.Time) bool { return ", "func (p *Plan) Expired(now time.Time) bool { return false && "}),
		mutant("the highest time that was signed", Edit{fileAccept, "now := later(e.Now, e.HighestSigned)", "now := e.Now"}, "an expired state, with the device's clock set back"),
		mutant("the decision's app", gone(fileAccept, "d.App != e.App:"), "decision of another app"),
		mutant("the decision's channel", gone(fileAccept, "d.Channel != e.Channel:"), "decision of another channel"),
		mutant("the decision's device", gone(fileAccept, "d.Device != e.Device:"), "decision for another device"),
		mutant("the decision's nonce", gone(fileAccept, `d.Nonce != e.Nonce || e.Nonce == "":`), "decision with another nonce"),
		mutant("the decision's epoch", gone(fileAccept, "d.Epoch < e.LastEpoch:"), "decision of an epoch before"),
		mutant("the decision's life", gone(fileAccept, "d.Expires.Sub(d.Issued.Time) > MaxDecisionLife:"), "decision that lives an hour"),
	}
}

func manifestMutants() []Mutant {
	return []Mutant{
		mutant("the manifest's digest", gone(fileAccept, "digest != r.Digest:"), "network: the manifest of a twin"),
		mutant("the manifest's app", gone(fileAccept, "m.App != e.App:"), "manifest of another app"),
		mutant("the manifest's package", gone(fileAccept, "m.Package != e.Package:"), "manifest of another package"),
		mutant("the manifest's platform", gone(fileAccept, "m.Platform != slipstream.PlatformAny && m.Platform != e.Platform:"), "manifest for another platform"),
		mutant("the manifest's runtime against the rollout's", gone(fileAccept, "e.Runtime != nil && m.Runtime != *e.Runtime:"), "manifest for a shell that its rollout"),
		mutant("the manifest's seq", gone(fileAccept, "m.Seq != r.Seq:"), "manifest of a lower seq", "decision that lies"),
		mutant("the manifest's version", gone(fileAccept, "m.Version != r.Version:"), "manifest of another version"),
		mutant("the manifest's total size", gone(fileAccept, "m.Size() != r.Size:"), "manifest of another size"),
		mutant("whether the manifest fits this shell", gone(fileAccept, "e.Fits != nil && !e.Fits(m.Runtime):"), "manifest for a shell that this one is not, named by a decision").
			with(skipped("client/trial/stage.go", "!t.env.Fits(r.Runtime)")),
		mutant("the form of manifests", skipped(fileTrust, "err := CheckManifest(&m); err != nil"), "manifest with a path", "manifest with its files"),
		mutant("parts of paths", skipped(filePaths, "err := checkPart(part); err != nil"), "manifest with a path above"),
		mutant("backslashes, colons and control characters", skipped(filePaths, "r == '\\\\' || r == ':' || unicode.IsControl(r)"), "manifest with a path with a backslash", "manifest with a path on a drive"),
		mutant("paths in normal form", gone(filePaths, "!norm.NFC.IsNormalString(p):"), "manifest with a path not in normal form"),
		mutant("names that Windows reserves", gone(filePaths, "windowsReserved(part):"), "manifest with a path a device of Windows"),
		mutant("paths that differ in case alone", Edit{filePaths, "\t\tfolded := FoldPath(f.Path)\n\t\tif other", "\t\tfolded := f.Path\n\t\tif other"}, "manifest with a path twice, in other case"),
		mutant("files that are directories", skipped(filePaths, "parent, isFile := seen[folded[:i]]; isFile"), "manifest with a path a file that is a directory"),
		mutant("the number of files", skipped(filePaths, "len(files) > slipstream.MaxFiles"), "manifest of more files"),
		mutant("the order of files", gone(fileCheck, "i > 0 && files[i-1].Path >= f.Path:"), "manifest with its files out of order"),
		mutant("sizes of files", gone(fileCheck, "f.Size < 0 || f.Size > slipstream.MaxSafeInteger-total:"), "manifest with a file of less", "manifest whose sizes overflow"),
	}
}

func deviceMutants() []Mutant {
	return []Mutant{
		mutant("the anchor", gone(fileWalk, "!w.anchorAllows(r):"), "a downgrade after a fall"),
		mutant("the fallbacks that the publisher signed", Edit{fileWalk, "\t\tif d == r.Manifest {\n\t\t\treturn true", "\t\tif d == r.Manifest || true {\n\t\t\treturn true"}, "a downgrade, with what runs withdrawn").with(Edit{fileWalk, "\tif w.local.Remote {\n\t\treturn true\n\t}\n\tfor", "\tif w.local.Remote || len(w.local.AnchorFallback) > 0 {\n\t\treturn true\n\t}\n\tfor"}),
		mutant("releases that are older than what runs", gone(fileWalk, "w.keepsNewer(r):"), "a downgrade, named by a state").with(gone(fileWalk, "!w.anchorAllows(r):")),
		mutant("releases that were given up", gone(fileWalk, "w.local.refused(r.Manifest, r.Retry):"), "a release that this device gave up"),
		mutant("withdrawals and floors", skipped(fileWalk, `reason := w.pkg.bad(Held{Digest: r.Manifest, Seq: r.Seq}, w.floor); reason != ""`), "a release below its floor"),
		mutant("conditions that nobody knows", skipped(fileWalk, "!w.conditions(r)"), "state with a condition"),
		mutant("the anchor, for decisions", Edit{fileDecision, "if target.Seq > anchor.Seq || target.Digest == anchor.Digest {", "if true || target.Seq > anchor.Seq || target.Digest == anchor.Digest {"}, "decision of a downgrade"),
		mutant("the fallbacks that the publisher signed, for decisions", Edit{fileDecision, "if anchorLeft && slices.Contains(anchor.Fallback, target.Digest) {", "if anchorLeft || slices.Contains(anchor.Fallback, target.Digest) {"}, "decision of a way back"),
		mutant("an accepted state is kept before anybody acts", Edit{fileRoots, "return s, c.keepState(raw, etag, s)", "_ = etag\n\treturn s, nil"}, "a state that was accepted and not acted upon", "an old state, replayed"),
		mutant("the epoch of a decision is kept", Edit{fileDecision, "if d.Epoch > known.Epoch || d.Issued.Unix() > known.Signed {", "if false {"}, "a decision's epoch is remembered"),
		mutant("the epoch that outlives its envelope", skipped(fileRoots, "err == nil && s.Epoch < known.Epoch"), "a decision's epoch is remembered"),
		mutant("newer roots, when a signature fails", Edit{fileRoots, "walk := slipstream.ReasonOf(err, \"\") == slipstream.ReasonSignatureInvalid ||", "walk :="}, "nine rotations"),
	}
}

func fileMutants() []Mutant {
	return []Mutant{
		{"the cap on documents", []Edit{skipped(fileNetwork, "len(raw) > limit"), skipped(fileEnvelope, "len(raw) > maxBytes")}, []string{"a state longer than the cap"}},
		{"the cap on documents, while they are read", []Edit{{fileNetwork, "io.LimitReader(r, int64(limit)+1)", "r"}}, []string{"network: state that never ends"}},
		mutant("a download that is longer than it says", skipped(fileFetch, "int64(len(b)) > in.left"), "network: container that never ends", "network: everything that carries files that never ends"),
		{"the hashes of files, twice", []Edit{skipped(fileAssemble, "got := slipstream.DigestOf([32]byte(h.Sum(nil))); n != f.Size || got != f.SHA256"),
			skipped(fileFetch, "got := slipstream.DigestOf([32]byte(h.Sum(nil))); got != sum || n != size")}, []string{"network: every container and file replaced"}},
		mutant("the hashes of files that a container carries", Edit{fileApply, "if err := checkFile(f, f.Size, h.Sum(nil)); err != nil {", "if err := checkFile(f, f.Size, h.Sum(nil)); false && err != nil {"}, "network: a container of the attacker's"),
		mutant("the sizes that a list of containers may say", Edit{fileFetch, "k.Size <= 0 || k.Size > limit || !k.SHA256.Valid()", "!k.SHA256.Valid() && k.Size < -limit"}, "network: a container far larger"),
	}
}
