package siege

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/sign"
)

// forgery is a document that would do harm if it were believed: nothing is wrong with it but what a forger does to its
// signatures. kind is its payload type, owners the role that should have signed it.
type forgery struct {
	kind    string
	payload []byte
	owners  []sign.Signer
	others  []sign.Signer // keys of other roles of the same app
	evil    []sign.Signer
	// place gives the device the envelope where it asks for such a document. It has to be called once only.
	place func(raw []byte) error
}

// forgeries are the four documents.
var forgeries = map[string]struct {
	make func(s *siege) (*forgery, error)
	// by what reason the update fails when the document is refused, given the document's own
	reason, warning func(of slipstream.Reason) slipstream.Reason
	decisions       bool
}{
	"state":    {forgeState, same, nothing, false},
	"manifest": {forgeManifest, same, nothing, false},
	"root":     {forgeRoot, func(slipstream.Reason) slipstream.Reason { return slipstream.ReasonSignatureInvalid }, same, false},
	"decision": {forgeDecision, nothing, same, true},
}

func same(r slipstream.Reason) slipstream.Reason  { return r }
func nothing(slipstream.Reason) slipstream.Reason { return "" }

func forgeState(s *siege) (*forgery, error) {
	payload, err := sign.Encode(s.upcoming(func(st *slipstream.State) { offer(st, s.next) }))
	k := s.origin.keys
	return &forgery{kind: sign.TypeState, payload: payload, owners: k.state.signers, others: slices.Concat(k.release.signers, k.root.signers), evil: s.evil.state.signers,
		place: func(raw []byte) error { s.serve(aboutState, raw); return nil }}, err
}

// forgeManifest is the attacker's own code, named by a state that a stolen state key signed.
func forgeManifest(s *siege) (*forgery, error) {
	payload, err := sign.Encode(s.code.manifest)
	k := s.origin.keys
	return &forgery{kind: sign.TypeManifest, payload: payload, owners: k.release.signers, others: slices.Concat(k.state.signers, k.root.signers), evil: s.evil.release.signers,
		place: func(raw []byte) error { return s.name(raw, s.code) }}, err
}

// name has a good state name whatever payload an envelope holds as the manifest of what r describes.
func (s *siege) name(raw []byte, r *release) error {
	var w struct {
		Payload []byte `json:"payload"`
	}
	digest := r.digest
	if json.Unmarshal(raw, &w) == nil {
		digest = sign.DigestOf(w.Payload)
	}
	if r.digest != digest { // its bytes are there under the new name too
		copied := *r
		copied.digest, copied.envelope = digest, raw
		if err := s.origin.hold(&copied); err != nil {
			return err
		}
	}
	s.serve(aboutManifests+string(digest), raw)
	return s.state(func(st *slipstream.State) {
		offer(st, r)
		st.Packages[pkg].Rollouts[0].Manifest = digest
	})
}

// forgeRoot gives the attacker every role, and has him use them at once.
func forgeRoot(s *siege) (*forgery, error) {
	root, err := s.origin.rootOf(2, s.evil)
	if err != nil {
		return nil, err
	}
	payload, err := sign.Encode(root)
	k := s.origin.keys
	return &forgery{kind: sign.TypeRoot, payload: payload, owners: k.root.signers, others: slices.Concat(k.state.signers, k.release.signers), evil: s.evil.root.signers,
		place: func(raw []byte) error { return s.usurp(raw) }}, err
}

// usurp offers a root, and code of the attacker's by a state of his, as if the root were believed.
func (s *siege) usurp(root []byte) error {
	s.serve(aboutRoots+"2", root)
	return s.state(func(st *slipstream.State) {
		st.RootVersion = 2
		offer(st, s.code)
	}, s.evil.state.signers...)
}

func forgeDecision(s *siege) (*forgery, error) {
	f := &forgery{kind: sign.TypeDecision, owners: s.origin.keys.state.signers, others: s.origin.keys.release.signers, evil: s.evil.state.signers}
	return f, nil
}

// trick is what a forger does to the signatures. A document of which the payload is not known before it is asked for, a
// decision, is made anew for every question.
type trick struct {
	name   string
	reason slipstream.Reason
	do     func(f *forgery) ([]byte, error)
}

// strike plays the trick with one of the four documents.
func (t trick) strike(what string) func(s *siege) error {
	return func(s *siege) error {
		f, err := forgeries[what].make(s)
		if err != nil {
			return err
		}
		if what != "decision" {
			raw, err := t.do(f)
			if err != nil {
				return err
			}
			return f.place(raw)
		}
		s.decide(func(req slipstream.CheckRequest) ([]byte, error) {
			f.payload, err = sign.Encode(s.origin.decision(req, update(s.next)))
			if err != nil {
				return nil, err
			}
			return t.do(f)
		})
		return nil
	}
}

// decide answers checks.
func (s *siege) decide(answer func(req slipstream.CheckRequest) ([]byte, error)) {
	s.also(func(x *exchange) {
		if !x.about(aboutCheck) {
			return
		}
		var req slipstream.CheckRequest
		raw, err := []byte(nil), json.Unmarshal(x.asked, &req)
		if err == nil {
			s.origin.mu.Lock()
			raw, err = answer(req)
			s.origin.mu.Unlock()
		}
		if x.status, x.body = 200, raw; err != nil {
			x.status, x.body = 500, []byte(err.Error())
		}
	})
}

func (f *forgery) envelope(signers ...sign.Signer) (*sign.Envelope, error) {
	e := &sign.Envelope{PayloadType: f.kind, Payload: f.payload}
	for _, s := range signers {
		if err := e.Sign(s); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// signedBy has the document signed by whom the trick can get at.
func signedBy(choose func(f *forgery) []sign.Signer, change func(e *sign.Envelope)) func(f *forgery) ([]byte, error) {
	return func(f *forgery) ([]byte, error) {
		e, err := f.envelope(choose(f)...)
		if err != nil {
			return nil, err
		}
		if change != nil {
			change(e)
		}
		return e.Encode(), nil
	}
}

func nobody(*forgery) []sign.Signer      { return nil }
func strangers(f *forgery) []sign.Signer { return f.evil }
func owners(f *forgery) []sign.Signer    { return f.owners }
func oneOwner(f *forgery) []sign.Signer  { return f.owners[:1] }

// tricks are all that a forger without the keys, or with too few of them, tries.
func tricks() []trick {
	forged := slipstream.ReasonSignatureInvalid
	twice := func(other func(s *sign.Signature)) func(e *sign.Envelope) {
		return func(e *sign.Envelope) {
			again := sign.Signature{KeyID: e.Signatures[0].KeyID, Sig: bytes.Clone(e.Signatures[0].Sig)}
			if other != nil {
				other(&again)
			}
			e.Signatures = append(e.Signatures, again)
		}
	}
	each := func(change func(sig []byte) []byte) func(e *sign.Envelope) {
		return func(e *sign.Envelope) {
			for i := range e.Signatures {
				e.Signatures[i].Sig = change(e.Signatures[i].Sig)
			}
		}
	}
	out := []trick{
		{"unsigned", forged, signedBy(nobody, nil)},
		{"signed by strangers", forged, signedBy(strangers, nil)},
		{"signed by keys of other roles", forged, signedBy(func(f *forgery) []sign.Signer { return f.others }, nil)},
		{"one signature of two", forged, signedBy(oneOwner, nil)},
		{"one signature of two, and one by a stranger", forged, signedBy(func(f *forgery) []sign.Signer { return append(slices.Clone(f.owners[:1]), f.evil...) }, nil)},
		{"one key's signature twice", forged, signedBy(oneOwner, twice(nil))},
		{"one key's signature under another key's id", forged, func(f *forgery) ([]byte, error) {
			return signedBy(oneOwner, twice(func(s *sign.Signature) { s.KeyID = sign.KeyID(f.owners[1].Public()) }))(f)
		}},
		{"one key's signature under a made-up id", forged, signedBy(oneOwner, twice(func(s *sign.Signature) { s.KeyID = "0123456789abcdef" }))},
		{"one key's signature under its id in capitals", forged, signedBy(oneOwner, twice(func(s *sign.Signature) { s.KeyID = string(bytes.ToUpper([]byte(s.KeyID))) }))},
		{"strangers under the owners' ids", forged, func(f *forgery) ([]byte, error) {
			return signedBy(strangers, func(e *sign.Envelope) {
				for i := range e.Signatures {
					e.Signatures[i].KeyID = sign.KeyID(f.owners[i].Public())
				}
			})(f)
		}},
		{"S raised by the order of the group", forged, signedBy(owners, each(raiseS))},
		{"a signature of zeros", forged, signedBy(owners, each(func([]byte) []byte { return make([]byte, 64) }))},
		{"a signature whose point is of small order", forged, signedBy(owners, each(func(sig []byte) []byte {
			return append(append([]byte{1}, make([]byte, 31)...), sig[32:]...)
		}))},
		{"signatures cut by a byte", forged, signedBy(owners, each(func(sig []byte) []byte { return sig[:63] }))},
		{"signatures a byte longer", forged, signedBy(owners, each(func(sig []byte) []byte { return append(bytes.Clone(sig), 0) }))},
		{"empty signatures", forged, signedBy(owners, each(func([]byte) []byte { return nil }))},
		{"one bit of every signature changed", forged, signedBy(owners, each(func(sig []byte) []byte { sig[40] ^= 1; return sig }))},
		{"signatures over the bare payload", forged, overBytes(func(f *forgery) []byte { return f.payload })},
		{"signatures over another type", forged, overBytes(func(f *forgery) []byte { return sign.PAE("application/json", f.payload) })},
		{"the payload changed after signing", forged, signedBy(owners, func(e *sign.Envelope) { e.Payload = append([]byte(" "), e.Payload...) })},
	}
	return slices.Concat(out, oddIDs(), shellTricks())
}

// shellTricks break the envelope around a document that its owners signed.
func shellTricks() []trick {
	bad := slipstream.ReasonMalformed
	text := func(change func(raw []byte) []byte) func(f *forgery) ([]byte, error) {
		return func(f *forgery) ([]byte, error) {
			raw, err := signedBy(owners, nil)(f)
			return change(raw), err
		}
	}
	replace := func(old, new string) func(raw []byte) []byte {
		return func(raw []byte) []byte { return bytes.Replace(raw, []byte(old), []byte(new), 1) }
	}
	return []trick{
		{"signed as another type of document", bad, func(f *forgery) ([]byte, error) {
			other := *f
			if other.kind = sign.TypeDecision; f.kind == sign.TypeDecision {
				other.kind = sign.TypeState
			}
			return signedBy(owners, nil)(&other)
		}},
		{"the type in capitals", bad, text(func(raw []byte) []byte {
			return bytes.Replace(raw, []byte("vnd.slipstream"), []byte("vnd.Slipstream"), 1)
		})},
		{"more signatures than are allowed", bad, signedBy(owners, func(e *sign.Envelope) {
			for len(e.Signatures) <= sign.MaxSignatures {
				e.Signatures = append(e.Signatures, sign.Signature{KeyID: "00", Sig: []byte{1}})
			}
		})},
		{"a line break in the base64", bad, text(replace(`"payload":"`, `"payload":"\n`))},
		{"base64 without padding", bad, text(func(raw []byte) []byte { return bytes.ReplaceAll(raw, []byte("="), nil) })},
		{"base64 of URLs", bad, text(func(raw []byte) []byte { return bytes.Replace(raw, []byte(`"sig":"`), []byte(`"sig":"_-`), 1) })},
		{"the payload twice", bad, text(func(raw []byte) []byte {
			return append([]byte(`{"payload":"`+base64.StdEncoding.EncodeToString([]byte(`{}`))+`",`), raw[1:]...)
		})},
		{"no signatures at all", bad, text(func(raw []byte) []byte { return append(raw[:bytes.Index(raw, []byte(`,"signatures"`))], '}') })},
		{"signatures null", bad, text(func(raw []byte) []byte { return append(raw[:bytes.Index(raw, []byte(`[`))], `null}`...) })},
		{"a signature null", bad, text(replace(`"signatures":[`, `"signatures":[null,`))},
		{"the payload an object", bad, text(func(raw []byte) []byte {
			return []byte(`{"payloadType":"` + sign.TypeState + `","payload":{},"signatures":[]}`)
		})},
		{"data behind the envelope", bad, text(func(raw []byte) []byte { return append(raw, raw...) })},
		{"a byte order mark", bad, text(func(raw []byte) []byte { return append([]byte("\xef\xbb\xbf"), raw...) })},
		{"an array of envelopes", bad, text(func(raw []byte) []byte { return append(append([]byte("["), raw...), ']') })},
		{"null in place of it", bad, text(func([]byte) []byte { return []byte("null") })},
		{"a page of HTML in place of it", bad, text(func([]byte) []byte { return []byte("<!doctype html><title>Log in</title>") })},
		{"nothing in place of it", bad, text(func([]byte) []byte { return []byte{} })},
	}
}

// overBytes signs something else than what the format says.
func overBytes(message func(f *forgery) []byte) func(f *forgery) ([]byte, error) {
	return func(f *forgery) ([]byte, error) {
		e := &sign.Envelope{PayloadType: f.kind, Payload: f.payload}
		for _, o := range f.owners {
			sig, err := o.Sign(message(f))
			if err != nil {
				return nil, err
			}
			e.Signatures = append(e.Signatures, sign.Signature{KeyID: sign.KeyID(o.Public()), Sig: sig})
		}
		return e.Encode(), nil
	}
}

// raiseS makes the other encoding of the same signature, with S + L, that RFC 8032 §5.1.7 forbids.
func raiseS(sig []byte) []byte {
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	be := slices.Clone(sig[32:])
	slices.Reverse(be)
	s := new(big.Int).Add(new(big.Int).SetBytes(be), order).FillBytes(make([]byte, 32))
	slices.Reverse(s)
	return append(slices.Clone(sig[:32]), s...)
}

// forged are all tricks with all four documents.
func forged() []Attack {
	var out []Attack
	for _, what := range []string{"root", "manifest", "state", "decision"} {
		f := forgeries[what]
		for _, t := range tricks() {
			out = append(out, Attack{Name: fmt.Sprintf("%s: %s", what, t.name), Reason: f.reason(t.reason), Warning: f.warning(t.reason), decisions: f.decisions, strike: t.strike(what)})
		}
	}
	return out
}
