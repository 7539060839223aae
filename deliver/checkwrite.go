package deliver

import (
	"encoding/base64"
	"fmt"
	"strconv"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/decide"
	"github.com/slipstream-ota/slipstream/sign"
)

// rendered is what a decision says of a rollout, as JSON made once for a snapshot.
type rendered struct{ release, id, apply []byte }

func render(r *slipstream.Rollout) (rendered, error) {
	release, err := sign.Encode(slipstream.ReleaseRef{Digest: r.Manifest, Seq: r.Seq, Version: r.Version, Size: r.Size})
	if err != nil {
		return rendered{}, err
	}
	apply, err := sign.Encode(r.Apply)
	if err != nil {
		return rendered{}, err
	}
	id, err := sign.Encode(r.ID)
	return rendered{release, id, apply}, err
}

// renderAll prepares every rollout of a state.
func renderAll(st *slipstream.State) (map[*slipstream.Rollout]rendered, error) {
	out := map[*slipstream.Rollout]rendered{}
	for _, p := range st.Packages {
		for i := range p.Rollouts {
			var err error
			if out[&p.Rollouts[i]], err = render(&p.Rollouts[i]); err != nil {
				return nil, fmt.Errorf("render rollout %q: %w", p.Rollouts[i].ID, err)
			}
		}
	}
	return out, nil
}

// appendHead writes a decision up to its packages, appendPackage one of those, appendTail the end: what encoding/json
// would write of a slipstream.Decision, without making one. App, channel, device, nonce and package names were
// checked to need no escaping.
func appendHead(b []byte, d *slipstream.Decision) []byte {
	b = append(append(b, `{"app":"`...), d.App...)
	b = append(append(b, `","channel":"`...), d.Channel...)
	b = append(append(b, `","device":"`...), d.Device...)
	b = append(append(b, `","nonce":"`...), d.Nonce...)
	b = strconv.AppendInt(append(b, `","epoch":`...), d.Epoch, 10)
	b = d.Issued.UTC().AppendFormat(append(b, `,"issued":"`...), slipstream.TimeLayout)
	b = d.Expires.UTC().AppendFormat(append(b, `","expires":"`...), slipstream.TimeLayout)
	return append(b, `","packages":{`...)
}

func appendTail(b []byte, d *slipstream.Decision) []byte {
	b = strconv.AppendInt(append(b, `},"checkAfter":`...), int64(d.CheckAfter), 10)
	return append(b, '}')
}

func (e *stateEntry) appendPackage(b []byte, name string, d *decide.Decision) ([]byte, error) {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	b = append(append(append(b, '"'), name...), `":{"verdict":"`...)
	b = append(append(b, d.Verdict...), `","reason":"`...)
	b = append(append(b, d.Reason...), '"')
	id, target := []byte(nil), e.rendered[d.Target]
	if d.Target != nil {
		b = append(append(b, `,"release":`...), target.release...)
		id = target.id
	}
	if d.Rollout != "" && id == nil {
		var err error
		if id, err = sign.Encode(d.Rollout); err != nil {
			return b, fmt.Errorf("encode rollout: %w", err)
		}
	}
	if id != nil {
		b = append(append(b, `,"rollout":`...), id...)
	}
	if d.Control {
		b = append(b, `,"control":true`...)
	}
	if d.Retry != 0 {
		b = strconv.AppendInt(append(b, `,"retry":`...), int64(d.Retry), 10)
	}
	if d.Target != nil && d.Verdict != slipstream.VerdictUpgradeRuntime {
		b = append(append(b, `,"apply":`...), target.apply...)
	}
	if d.Grant != "" {
		id, err := sign.Encode(d.Grant)
		if err != nil {
			return b, fmt.Errorf("encode rollout: %w", err)
		}
		b = append(append(b, `,"grant":`...), id...)
	}
	return append(b, '}'), nil
}

// seal puts b.payload into a signed envelope in b.answer: the same bytes that sign.Seal makes, from buffers that are
// used again.
func seal(signers []signer, b *checkBuffers) error {
	m := append(b.message[:0], "DSSEv1 "...)
	m = strconv.AppendInt(m, int64(len(sign.TypeDecision)), 10)
	m = append(append(append(m, ' '), sign.TypeDecision...), ' ')
	m = strconv.AppendInt(m, int64(len(b.payload)), 10)
	b.message = append(append(m, ' '), b.payload...)

	a := append(append(b.answer[:0], `{"payloadType":"`...), sign.TypeDecision...)
	a = base64.StdEncoding.AppendEncode(append(a, `","payload":"`...), b.payload)
	a = append(a, `","signatures":[`...)
	for i, s := range signers {
		signature, err := s.Sign(b.message)
		if err != nil {
			return fmt.Errorf("sign decision: %w", err)
		}
		if i > 0 {
			a = append(a, ',')
		}
		a = append(append(a, `{"keyid":"`...), s.keyID...)
		a = base64.StdEncoding.AppendEncode(append(a, `","sig":"`...), signature)
		a = append(a, `"}`...)
	}
	b.answer = append(a, `]}`...)
	return nil
}
