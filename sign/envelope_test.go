package sign

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream"
)

type paeCase struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Body input  `json:"body"`
	PAE  input  `json:"pae"`
}

func paeCases() []paeCase {
	c := func(name, payloadType, body, pae string) paeCase {
		return paeCase{name, payloadType, inputOf([]byte(body)), inputOf([]byte(pae))}
	}
	return []paeCase{
		c("example of the DSSE specification", "http://example.com/HelloWorld", "hello world", "DSSEv1 29 http://example.com/HelloWorld 11 hello world"),
		c("empty body", "t", "", "DSSEv1 1 t 0 "),
		c("empty type", "", "b", "DSSEv1 0  1 b"),
		c("lengths are of bytes", "é", "中", "DSSEv1 2 é 3 中"),
		c("body that is not UTF-8", "t", "\xff\x00", "DSSEv1 1 t 2 \xff\x00"),
	}
}

func TestPAE(t *testing.T) {
	t.Parallel()
	for _, c := range vectors(t, "pae.json", paeCases()) {
		if got := PAE(c.Type, c.Body.bytes(t)); !bytes.Equal(got, c.PAE.bytes(t)) {
			t.Errorf("%s: got %q", c.Name, got)
		}
	}
}

// envelopeCase is opened as Type with at most Max bytes and verified by the keys, of which Threshold must have signed.
type envelopeCase struct {
	Name      string   `json:"name"`
	Envelope  input    `json:"envelope"`
	Type      string   `json:"type"`
	Max       int      `json:"max"`
	Keys      []string `json:"keys"` // base64 of public keys
	Threshold int      `json:"threshold"`
	Payload   string   `json:"payload,omitempty"` // base64, when accepted
	Expect    string   `json:"expect"`
}

func envelopeCases(t *testing.T) []envelopeCase {
	const (
		max       = 1000
		malformed = string(slipstream.ReasonMalformed)
		invalid   = string(slipstream.ReasonSignatureInvalid)
	)
	payload := []byte(`{"hello":"world"}`)
	var out []envelopeCase
	add := func(name, envelope string, threshold int, want string, keyNames ...string) {
		c := envelopeCase{Name: name, Envelope: inputOf([]byte(envelope)), Type: TypeState, Max: max, Threshold: threshold, Expect: want}
		for _, k := range keyNames {
			c.Keys = append(c.Keys, EncodePublic(key(k).Public()))
		}
		if want == ok {
			c.Payload = base64.StdEncoding.EncodeToString(payload)
		}
		out = append(out, c)
	}
	good := string(seal(t, TypeState, payload, key("a")))
	twice := string(seal(t, TypeState, payload, key("a"), key("b")))
	edit := func(s, old, new string) string {
		if !strings.Contains(s, old) {
			t.Fatalf("%q is not in %s", old, s)
		}
		return strings.Replace(s, old, new, 1)
	}
	body := base64.StdEncoding.EncodeToString(payload)
	sigA := base64.StdEncoding.EncodeToString(signature(t, "a", payload))
	sigB := base64.StdEncoding.EncodeToString(signature(t, "b", payload))
	idA, idB := ids("a")[0], ids("b")[0]
	entry := func(id, sig string) string { return fmt.Sprintf(`{"keyid":%q,"sig":%q}`, id, sig) }
	envelope := func(entries ...string) string {
		return fmt.Sprintf(`{"payloadType":%q,"payload":%q,"signatures":[%s]}`, TypeState, body, strings.Join(entries, ","))
	}

	add("good", good, 1, ok, "a")
	add("good, two of two", twice, 2, ok, "a", "b")
	add("good, one of two", good, 1, ok, "a", "b")
	add("white space and another order of names", fmt.Sprintf("{ \"signatures\" : [%s],\n\"payload\":%q, \"payloadType\":%q }\n", entry(idA, sigA), body, TypeState), 1, ok, "a")
	add("unknown names are ignored", edit(good, `{"payloadType"`, `{"future":[1],"payloadType"`), 1, ok, "a")
	add("signature by an unknown key is skipped", twice, 1, ok, "b")
	add("signature of another length by an unknown key is skipped", envelope(entry("future", "AAAA"), entry(idA, sigA)), 1, ok, "a")
	add("bad signature before the good one of the same key", envelope(entry(idA, sigB), entry(idA, sigA)), 1, ok, "a")
	add("bad signature beside enough good ones", envelope(entry(idA, sigA), entry(idB, sigA)), 1, ok, "a", "b")
	add("exactly as long as allowed", string(padded([]byte(good), max)), 1, ok, "a")

	add("one byte too long", string(padded([]byte(good), max+1)), 1, string(slipstream.ReasonTooLarge), "a")
	add("too long and broken: the size counts first", strings.Repeat("x", max+1), 1, string(slipstream.ReasonTooLarge), "a")
	add("empty", "", 1, malformed, "a")
	add("not an object", "[]", 1, malformed, "a")
	add("trailing data", good+"{}", 1, malformed, "a")
	add("byte order mark", "\ufeff"+good, 1, malformed, "a")
	add("payloadType of another document", string(seal(t, TypeManifest, payload, key("a"))), 1, malformed, "a")
	add("payloadType in upper case", edit(good, TypeState, strings.ToUpper(TypeState)), 1, malformed, "a")
	add("payloadType with parameters", edit(good, TypeState, TypeState+"; charset=utf-8"), 1, malformed, "a")
	add("payloadType missing", edit(good, `"payloadType"`, `"payloadtype"`), 1, malformed, "a")
	add("payload missing", edit(good, `"payload":`, `"Payload":`), 1, malformed, "a")
	add("signatures missing", edit(good, `"signatures"`, `"Signatures"`), 1, malformed, "a")
	add("keyid missing", edit(good, `"keyid"`, `"keyId"`), 1, malformed, "a")
	add("payload repeated", edit(good, `"payload":`, `"payload":"e30=","payload":`), 1, malformed, "a")
	add("payload null", edit(good, `"`+body+`"`, `null`), 1, malformed, "a")
	add("payload an object", edit(good, `"`+body+`"`, string(payload)), 1, malformed, "a")
	add("signatures null", fmt.Sprintf(`{"payloadType":%q,"payload":%q,"signatures":null}`, TypeState, body), 1, malformed, "a")
	add("payload without padding", edit(good, body, strings.TrimRight(body, "=")), 1, malformed, "a")
	add("payload with an escaped line break", edit(good, body, body[:8]+`\n`+body[8:]), 1, malformed, "a")
	add("payload with an escaped carriage return at the end", edit(good, body, body+`\r`), 1, malformed, "a")
	add("payload with a space", edit(good, body, body[:8]+` `+body[8:]), 1, malformed, "a")
	add("payload with bits left over", edit(good, body, body[:len(body)-2]+string(body[len(body)-2]+1)+"="), 1, malformed, "a")
	add("payload of the URL alphabet", edit(good, body, "____"), 1, malformed, "a")
	add("signature without padding", edit(good, sigA, strings.TrimRight(sigA, "=")), 1, malformed, "a")
	add("signature with a line break", edit(good, sigA, sigA+`\n`), 1, malformed, "a")
	add("signature of an unknown key not base64", envelope(entry(idA, sigA), entry("other", "?")), 1, malformed, "a")
	add("invalid UTF-8 in an unknown name", edit(good, `{"payloadType"`, "{\"\xff\":1,\"payloadType\""), 1, malformed, "a")

	add("no signature", envelope(), 1, invalid, "a")
	add("signed by an unknown key only", good, 1, invalid, "b")
	add("one signature of two", good, 2, invalid, "a", "b")
	add("one key signs twice", envelope(entry(idA, sigA), entry(idA, sigA)), 2, invalid, "a", "b")
	add("one key signs under two ids", envelope(entry(idA, sigA), entry(idB, sigA)), 2, invalid, "a", "b")
	add("payload changed", edit(good, body, base64.StdEncoding.EncodeToString([]byte(`{"hello":"World"}`))), 1, invalid, "a")
	add("payload written differently", edit(good, body, base64.StdEncoding.EncodeToString([]byte(`{"hello": "world"}`))), 1, invalid, "a")
	add("signature over the payload alone", envelope(entry(idA, base64.StdEncoding.EncodeToString(bare(t, "a", payload)))), 1, invalid, "a")
	add("signature for another payloadType", envelope(entry(idA, base64.StdEncoding.EncodeToString(bare(t, "a", PAE(TypeDecision, payload))))), 1, invalid, "a")
	add("signature of 63 bytes", envelope(entry(idA, base64.StdEncoding.EncodeToString(signature(t, "a", payload)[:63]))), 1, invalid, "a")
	add("keyid in upper case", edit(good, idA, strings.ToUpper(idA)), 1, invalid, "a")

	many := envelopeCase{Name: "65 signatures", Type: TypeState, Max: slipstream.MaxStateBytes, Keys: []string{EncodePublic(key("a").Public())}, Threshold: 1, Expect: malformed}
	many.Envelope = inputOf([]byte(envelope(strings.Split(strings.Repeat(entry(idA, sigA)+"\n", MaxSignatures)+entry(idA, sigA), "\n")...)))
	out = append(out, many)
	many.Name, many.Expect, many.Payload = "64 signatures", ok, body
	many.Envelope = inputOf([]byte(envelope(strings.Split(strings.Repeat(entry(idA, sigA)+"\n", MaxSignatures-1)+entry(idA, sigA), "\n")...)))
	return append(out, many)
}

func bare(t testing.TB, name string, message []byte) []byte {
	t.Helper()
	sig, err := key(name).Sign(message)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func signature(t testing.TB, name string, payload []byte) []byte {
	t.Helper()
	return bare(t, name, PAE(TypeState, payload))
}

func TestEnvelopes(t *testing.T) {
	t.Parallel()
	for _, c := range vectors(t, "envelopes.json", envelopeCases(t)) {
		t.Run(c.Name, func(t *testing.T) {
			e, err := ParseEnvelope(c.Envelope.bytes(t), c.Type, c.Max)
			if err != nil {
				expect(t, err, c.Expect)
				return
			}
			set := keySet{keys: map[string]publicKey{}, threshold: c.Threshold}
			for _, k := range c.Keys {
				pub, err := ParsePublic(k)
				if err != nil {
					t.Fatal(err)
				}
				set.keys[KeyID(pub)] = pub
			}
			err = set.verify(e, "envelope", "test's")
			expect(t, err, c.Expect)
			if err == nil && base64.StdEncoding.EncodeToString(e.Payload) != c.Payload {
				t.Errorf("payload is %q", e.Payload)
			}
		})
	}
}

func TestSigningAgainReplaces(t *testing.T) {
	t.Parallel()
	e, err := Seal(TypeState, map[string]int{"a": 1}, keys("a", "b", "a")...)
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Signatures) != 2 {
		t.Errorf("%d signatures by two keys", len(e.Signatures))
	}
}

func TestMergeCollectsSignatures(t *testing.T) {
	t.Parallel()
	doc := map[string]int{"a": 1}
	a, errA := Seal(TypeRoot, doc, keys("a", "c")...)
	b, errB := Seal(TypeRoot, doc, keys("b", "c")...)
	other, errO := Seal(TypeRoot, map[string]int{"a": 2}, key("b"))
	if errA != nil || errB != nil || errO != nil {
		t.Fatal(errA, errB, errO)
	}
	if err := a.Merge(b); err != nil {
		t.Fatal(err)
	}
	if len(a.Signatures) != 3 {
		t.Errorf("%d signatures of a, b and c", len(a.Signatures))
	}
	if err := a.Merge(other); err == nil {
		t.Error("signatures of another document were taken over")
	}
}

// FuzzParseEnvelope: what is accepted survives encoding, byte for byte in the payload and every signature.
func FuzzParseEnvelope(f *testing.F) {
	for _, c := range envelopeCases(&testing.T{}) {
		if c.Envelope.Text != "" && len(c.Envelope.Text) < 1000 {
			f.Add([]byte(c.Envelope.Text))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := ParseEnvelope(raw, TypeState, slipstream.MaxStateBytes)
		if err != nil {
			return
		}
		again, err := ParseEnvelope(e.Encode(), TypeState, slipstream.MaxStateBytes*2)
		if err != nil {
			t.Fatalf("own encoding is refused: %v", err)
		}
		if !bytes.Equal(e.Payload, again.Payload) || !bytes.Equal(e.Encode(), again.Encode()) {
			t.Fatal("encoding changed the envelope")
		}
	})
}
