package sign

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/slipstream-ota/slipstream"
)

// Payload types of the four documents.
const (
	TypeRoot     = "application/vnd.slipstream.root.v1+json"
	TypeManifest = "application/vnd.slipstream.manifest.v1+json"
	TypeState    = "application/vnd.slipstream.state.v1+json"
	TypeDecision = "application/vnd.slipstream.decision.v1+json"
)

// MaxSignatures bounds the signatures of one envelope, and with them the work of verifying it.
const MaxSignatures = 64

// Signature is one signature of an envelope over PAE(type, payload).
type Signature struct {
	KeyID string
	Sig   []byte
}

// Envelope is an opened DSSE envelope. Payload is the decoded document, byte for byte as signed.
type Envelope struct {
	PayloadType string
	Payload     []byte
	Signatures  []Signature
}

type wireEnvelope struct {
	PayloadType string          `json:"payloadType"`
	Payload     string          `json:"payload"`
	Signatures  []wireSignature `json:"signatures"`
}

type wireSignature struct {
	KeyID string `json:"keyid"`
	Sig   string `json:"sig"`
}

// ParseEnvelope opens an envelope of at most maxBytes bytes whose payload type is exactly wantType. It verifies no
// signature. Errors are refusals: too_large before a byte is looked at, else malformed.
func ParseEnvelope(raw []byte, wantType string, maxBytes int) (*Envelope, error) {
	e, err := parseAnyEnvelope(raw, maxBytes)
	if err != nil {
		return nil, err
	}
	if e.PayloadType != wantType {
		return nil, slipstream.Refuse(slipstream.ReasonMalformed, "envelope", "payload type %q instead of %q", e.PayloadType, wantType)
	}
	return e, nil
}

// TypeOf gives the payload type of an envelope of at most maxBytes bytes, for tools that take any document. A client
// never asks: it names the type that it expects.
func TypeOf(raw []byte, maxBytes int) (string, error) {
	e, err := parseAnyEnvelope(raw, maxBytes)
	if err != nil {
		return "", err
	}
	return e.PayloadType, nil
}

func parseAnyEnvelope(raw []byte, maxBytes int) (*Envelope, error) {
	if len(raw) > maxBytes {
		return nil, slipstream.Refuse(slipstream.ReasonTooLarge, "envelope", "%d bytes, at most %d are allowed", len(raw), maxBytes)
	}
	var w wireEnvelope
	if err := decodeAs("envelope", raw, &w); err != nil {
		return nil, err
	}
	malformed := func(format string, args ...any) error {
		return slipstream.Refuse(slipstream.ReasonMalformed, "envelope", format, args...)
	}
	if len(w.Signatures) > MaxSignatures {
		return nil, malformed("%d signatures, at most %d are allowed", len(w.Signatures), MaxSignatures)
	}
	payload, err := decodeBase64(w.Payload)
	if err != nil {
		return nil, malformed("payload: %w", err)
	}
	e := &Envelope{PayloadType: w.PayloadType, Payload: payload, Signatures: make([]Signature, len(w.Signatures))}
	for i, s := range w.Signatures {
		sig, err := decodeBase64(s.Sig)
		if err != nil {
			return nil, malformed("signature %d: %w", i, err)
		}
		e.Signatures[i] = Signature{KeyID: s.KeyID, Sig: sig}
	}
	return e, nil
}

// decodeBase64 reads the standard alphabet, padded and canonical. encoding/base64 alone would skip line breaks.
func decodeBase64(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, fmt.Errorf("line break in base64")
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("decode base64: %w", err)
	}
	return b, nil
}

// Encode writes the envelope as compact JSON.
func (e *Envelope) Encode() []byte {
	var b bytes.Buffer
	b.WriteString(`{"payloadType":`)
	b.Write(quote(e.PayloadType))
	b.WriteString(`,"payload":"`)
	b.WriteString(base64.StdEncoding.EncodeToString(e.Payload))
	b.WriteString(`","signatures":[`)
	for i, s := range e.Signatures {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`{"keyid":`)
		b.Write(quote(s.KeyID))
		b.WriteString(`,"sig":"`)
		b.WriteString(base64.StdEncoding.EncodeToString(s.Sig))
		b.WriteString(`"}`)
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

// quote writes s as a JSON string; only text that came from a document or a constant gets here, so it cannot fail.
func quote(s string) []byte {
	b, _ := json.Marshal(s)
	return b
}

// Sign adds the signature of s, or replaces the one that its key made before.
func (e *Envelope) Sign(s Signer) error {
	sig, err := s.Sign(PAE(e.PayloadType, e.Payload))
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	id := KeyID(s.Public())
	e.Signatures = slices.DeleteFunc(e.Signatures, func(old Signature) bool { return old.KeyID == id })
	e.Signatures = append(e.Signatures, Signature{KeyID: id, Sig: sig})
	return nil
}

// Merge adds the signatures of o, which must hold the very same payload; a signature that is in both counts once.
func (e *Envelope) Merge(o *Envelope) error {
	if e.PayloadType != o.PayloadType || !bytes.Equal(e.Payload, o.Payload) {
		return fmt.Errorf("the two files sign different documents: %w", slipstream.ErrConflict)
	}
	for _, s := range o.Signatures {
		same := func(have Signature) bool { return have.KeyID == s.KeyID && bytes.Equal(have.Sig, s.Sig) }
		if !slices.ContainsFunc(e.Signatures, same) {
			e.Signatures = append(e.Signatures, s)
		}
	}
	return nil
}

// Seal encodes doc and signs it by every signer.
func Seal(payloadType string, doc any, signers ...Signer) (*Envelope, error) {
	payload, err := Encode(doc)
	if err != nil {
		return nil, err
	}
	e := &Envelope{PayloadType: payloadType, Payload: payload}
	for _, s := range signers {
		if err := e.Sign(s); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// Encode writes doc as compact JSON without HTML escaping. A document that Decode would refuse (a nil slice without
// omitempty is null; a float in free-form data) is an error here, before anybody signs it.
func Encode(doc any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(doc); err != nil {
		return nil, fmt.Errorf("encode document: %w", err)
	}
	out := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	if _, err := parseJSON(out); err != nil {
		return nil, fmt.Errorf("encode document: %w", err)
	}
	return out, nil
}

// PAE is the DSSE pre-authentication encoding, the bytes that a signature is over.
func PAE(payloadType string, body []byte) []byte {
	b := make([]byte, 0, len(payloadType)+len(body)+40)
	b = append(b, "DSSEv1 "...)
	b = strconv.AppendInt(b, int64(len(payloadType)), 10)
	b = append(b, ' ')
	b = append(b, payloadType...)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(len(body)), 10)
	b = append(b, ' ')
	return append(b, body...)
}

// DigestOf names a payload: a manifest's digest is that of its payload bytes.
func DigestOf(payload []byte) slipstream.Digest {
	return slipstream.DigestOf(sha256.Sum256(payload))
}
