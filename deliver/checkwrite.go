package deliver

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/sign"
)

// seal writes the decision's envelope into b.answer: the same bytes that sign.Seal makes, from buffers that are used
// again.
func seal(d *slipstream.Decision, signers []signer, b *checkBuffers) error {
	var err error
	if b.payload, err = appendDecision(b.payload[:0], d); err != nil {
		return err
	}
	m := append(b.message[:0], "DSSEv1 "...)
	m = strconv.AppendInt(m, int64(len(sign.TypeDecision)), 10)
	m = append(m, ' ')
	m = append(m, sign.TypeDecision...)
	m = append(m, ' ')
	m = strconv.AppendInt(m, int64(len(b.payload)), 10)
	m = append(m, ' ')
	b.message = append(m, b.payload...)

	a := append(b.answer[:0], `{"payloadType":"`...)
	a = append(a, sign.TypeDecision...)
	a = append(a, `","payload":"`...)
	a = base64.StdEncoding.AppendEncode(a, b.payload)
	a = append(a, `","signatures":[`...)
	for i, s := range signers {
		signature, err := s.Sign(b.message)
		if err != nil {
			return fmt.Errorf("sign decision: %w", err)
		}
		if i > 0 {
			a = append(a, ',')
		}
		a = append(a, `{"keyid":"`...)
		a = append(a, s.keyID...)
		a = append(a, `","sig":"`...)
		a = base64.StdEncoding.AppendEncode(a, signature)
		a = append(a, `"}`...)
	}
	b.answer = append(a, `]}`...)
	return nil
}

// appendDecision writes what encoding/json would. App, channel, device, nonce, verdicts, reasons and digests were
// checked to need no escaping.
func appendDecision(b []byte, d *slipstream.Decision) ([]byte, error) {
	b = append(append(b, `{"app":"`...), d.App...)
	b = append(append(b, `","channel":"`...), d.Channel...)
	b = append(append(b, `","device":"`...), d.Device...)
	b = append(append(b, `","nonce":"`...), d.Nonce...)
	b = strconv.AppendInt(append(b, `","epoch":`...), d.Epoch, 10)
	b = d.Issued.UTC().AppendFormat(append(b, `,"issued":"`...), slipstream.TimeLayout)
	b = d.Expires.UTC().AppendFormat(append(b, `","expires":"`...), slipstream.TimeLayout)
	b = append(b, `","packages":{`...)
	var few [4]string
	names := slices.AppendSeq(few[:0], maps.Keys(d.Packages))
	slices.Sort(names)
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), name...), `":`...)
		p := d.Packages[name]
		var err error
		if b, err = appendPackage(b, &p); err != nil {
			return b, err
		}
	}
	b = strconv.AppendInt(append(b, `},"checkAfter":`...), int64(d.CheckAfter), 10)
	return append(b, '}'), nil
}

func appendPackage(b []byte, p *slipstream.PackageDecision) ([]byte, error) {
	var err error
	b = append(append(b, `{"verdict":"`...), p.Verdict...)
	b = append(append(b, `","reason":"`...), p.Reason...)
	b = append(b, '"')
	if r := p.Release; r != nil {
		b = append(append(b, `,"release":{"digest":"`...), r.Digest...)
		b = strconv.AppendInt(append(b, `","seq":`...), r.Seq, 10)
		if b, err = appendText(append(b, `,"version":`...), r.Version); err != nil {
			return b, err
		}
		b = strconv.AppendInt(append(b, `,"size":`...), r.Size, 10)
		b = append(b, '}')
	}
	if p.Rollout != "" {
		if b, err = appendText(append(b, `,"rollout":`...), p.Rollout); err != nil {
			return b, err
		}
	}
	if p.Control {
		b = append(b, `,"control":true`...)
	}
	if p.Retry != 0 {
		b = strconv.AppendInt(append(b, `,"retry":`...), int64(p.Retry), 10)
	}
	if p.Apply != nil {
		b = append(b, `,"apply":`...)
		if *p.Apply == (slipstream.Apply{}) {
			b = append(b, `{}`...)
		} else {
			apply, err := sign.Encode(p.Apply)
			if err != nil {
				return b, fmt.Errorf("encode apply: %w", err)
			}
			b = append(b, apply...)
		}
	}
	return append(b, '}'), nil
}

// appendText quotes s; printable ASCII without quotes and backslashes needs no encoder.
func appendText(b []byte, s string) ([]byte, error) {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, err := sign.Encode(s)
			if err != nil {
				return b, fmt.Errorf("encode text: %w", err)
			}
			return append(b, quoted...), nil
		}
	}
	return append(append(append(b, '"'), s...), '"'), nil
}
