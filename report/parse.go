package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/slipstream-ota/slipstream"
)

// Limits of one request.
const (
	MaxBody   = 1 << 20 // bytes
	MaxEvents = 1000
	maxText   = 256 // bytes of a free text such as a runtime
)

// Batch is a parsed request: the events that may be stored, and a line of answer for every item.
type Batch struct {
	Events  []slipstream.Event
	results []slipstream.EventResult
	index   []int // of Events in results
}

// ParseEvents reads one event or an array of them. A body that is no JSON, or too large, is a *slipstream.Refusal; an
// item that is no proper event is refused in its own line of the results and does not touch the others. Unknown kinds
// and fields are no error: a newer client may tell more than this server knows.
func ParseEvents(body []byte) (*Batch, error) {
	if len(body) > MaxBody {
		return nil, slipstream.Refuse(slipstream.ReasonTooLarge, "reports", "%d bytes, at most %d", len(body), MaxBody)
	}
	items, err := split(body)
	if err != nil {
		return nil, err
	}
	b := &Batch{results: make([]slipstream.EventResult, len(items))}
	for i, raw := range items {
		b.results[i].Index = i
		e, err := parseEvent(raw)
		if err != nil {
			b.results[i].Status, b.results[i].Error = slipstream.EventRefused, err.Error()
			continue
		}
		b.Events = append(b.Events, e)
		b.index = append(b.index, i)
	}
	return b, nil
}

func split(body []byte) ([]json.RawMessage, error) {
	if !utf8.Valid(body) {
		return nil, slipstream.Refuse(slipstream.ReasonMalformed, "reports", "the body is not UTF-8")
	}
	body = bytes.TrimLeft(body, " \t\r\n")
	if len(body) == 0 || body[0] != '[' {
		if !json.Valid(body) {
			return nil, slipstream.Refuse(slipstream.ReasonMalformed, "reports", "the body is not one JSON value")
		}
		return []json.RawMessage{body}, nil
	}
	var items []json.RawMessage
	if err := json.Unmarshal(body, &items); err != nil {
		return nil, slipstream.Refuse(slipstream.ReasonMalformed, "reports", "%w", err)
	}
	if len(items) > MaxEvents {
		return nil, slipstream.Refuse(slipstream.ReasonTooLarge, "reports", "%d events in one request, at most %d", len(items), MaxEvents)
	}
	return items, nil
}

// Refuse takes out the events for which why gives an error, which becomes their line of the answer.
func (b *Batch) Refuse(why func(*slipstream.Event) error) {
	events, index := b.Events[:0], b.index[:0]
	for i := range b.Events {
		if err := why(&b.Events[i]); err != nil {
			r := &b.results[b.index[i]]
			r.Status, r.Error = slipstream.EventRefused, err.Error()
			continue
		}
		events, index = append(events, b.Events[i]), append(index, b.index[i])
	}
	b.Events, b.index = events, index
}

// Results merges what the store said of Events into the answer to the request, in the request's order.
func (b *Batch) Results(stored []slipstream.EventResult) []slipstream.EventResult {
	for i, s := range stored {
		at := b.index[i]
		b.results[at] = slipstream.EventResult{Index: at, Status: s.Status, Error: s.Error}
	}
	return b.results
}

func parseEvent(raw json.RawMessage) (slipstream.Event, error) {
	var e slipstream.Event
	if err := json.Unmarshal(raw, &e); err != nil {
		var badType *json.UnmarshalTypeError
		if errors.As(err, &badType) && badType.Field != "" {
			return e, fmt.Errorf("%s: a %s is not what belongs there", badType.Field, badType.Value)
		}
		return e, fmt.Errorf("event: %w", err)
	}
	if err := checkEvent(&e); err != nil {
		return e, err
	}
	e.Detail = cut(e.Detail)
	return e, nil
}

func checkEvent(e *slipstream.Event) error {
	if !validID(e.ID) {
		return fmt.Errorf("id %.80q must be 8 to 64 of [A-Za-z0-9._-]", e.ID)
	}
	if err := slipstream.CheckName("kind", string(e.Kind)); err != nil {
		return err
	}
	if err := slipstream.CheckName("app", e.App); err != nil {
		return err
	}
	for _, n := range [...]struct{ kind, name string }{{"channel", e.Channel}, {"package", e.Package}, {"platform", e.Platform}} {
		if n.name == "" {
			continue
		}
		if err := slipstream.CheckName(n.kind, n.name); err != nil {
			return err
		}
	}
	if !slipstream.Digest(e.Device).Valid() {
		return errors.New("device must be 64 lower-case hex digits")
	}
	for _, d := range [...]struct {
		name   string
		digest slipstream.Digest
	}{{"release", e.Release}, {"running", e.Running}} {
		if d.digest != "" && !d.digest.Valid() {
			return fmt.Errorf("%s must be 64 lower-case hex digits", d.name)
		}
	}
	if e.Arm != "" && e.Arm != slipstream.ArmTreatment && e.Arm != slipstream.ArmControl {
		return fmt.Errorf("arm %.80q must be %s or %s", e.Arm, slipstream.ArmTreatment, slipstream.ArmControl)
	}
	if err := checkTexts(e); err != nil {
		return err
	}
	return checkNumbers(e)
}

func checkTexts(e *slipstream.Event) error {
	for _, t := range [...]struct{ name, text string }{
		{"rollout", e.Rollout}, {"runtime", e.Runtime}, {"stage", e.Stage}, {"reason", string(e.Reason)},
		{"codec", e.Codec}, {"metric", e.Metric},
	} {
		if len(t.text) > maxText {
			return fmt.Errorf("%s is longer than %d bytes", t.name, maxText)
		}
		if strings.ContainsFunc(t.text, control) {
			return fmt.Errorf("%s contains a control character", t.name)
		}
	}
	return nil
}

func control(r rune) bool { return r < ' ' || r == 0x7f }

func checkNumbers(e *slipstream.Event) error {
	for _, n := range [...]struct {
		name string
		n    int64
	}{{"epoch", e.Epoch}, {"attempt", int64(e.Attempt)}, {"bytes", e.Bytes}} {
		if n.n < 0 || n.n > slipstream.MaxSafeInteger {
			return fmt.Errorf("%s must be from 0 to 2^53-1", n.name)
		}
	}
	if e.Kind == slipstream.KindMetric && (e.Metric == "" || len(e.Value) == 0) {
		return errors.New("a metric needs both metric and value")
	}
	if len(e.Value) == 0 || string(e.Value) == "null" {
		e.Value = nil
		return nil
	}
	switch c := e.Value[0]; {
	case c == '-' || c >= '0' && c <= '9':
		var f float64
		if err := json.Unmarshal(e.Value, &f); err != nil {
			return errors.New("value is beyond what a number can hold")
		}
		return nil
	case c == 't' || c == 'f':
		return nil
	}
	return errors.New("value must be a number or a boolean")
}

func validID(id string) bool {
	if len(id) < 8 || len(id) > 64 {
		return false
	}
	for i := 0; i < len(id); i++ {
		c := id[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

// cut shortens a detail to its limit without breaking a character. NUL goes, since not every database keeps it.
func cut(s string) string {
	s = strings.ReplaceAll(s, "\x00", "")
	if len(s) <= slipstream.MaxEventDetail {
		return s
	}
	s = s[:slipstream.MaxEventDetail]
	for len(s) > 0 {
		if r, n := utf8.DecodeLastRuneInString(s); r != utf8.RuneError || n != 1 {
			break
		}
		s = s[:len(s)-1]
	}
	return s
}
