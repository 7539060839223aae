package decide

import (
	"encoding/json"
	"math"
	"strconv"

	"github.com/slipstream-ota/slipstream"
)

// Device is what is known of a device, parsed once. It is immutable and may be used from many goroutines.
type Device struct {
	facts  slipstream.DeviceFacts
	shell  version
	parsed bool // the shell's runtime is a version
	custom []namedAttribute
}

// namedAttribute: a device tells so few that a list is quicker than a map.
type namedAttribute struct {
	name string
	attribute
}

type attributeKind uint8

const (
	absent attributeKind = iota
	text
	integer
	boolean
	other // present, of a type that no operator but exists understands
)

// attribute is one typed value. text holds every kind's text but other's, for hashing.
type attribute struct {
	kind attributeKind
	text string
	n    int64
}

// NewDevice parses the facts. What does not parse as JSON, and null, is absent.
func NewDevice(f slipstream.DeviceFacts) *Device {
	d := &Device{facts: f}
	d.shell, d.parsed = parseVersion(f.Runtime)
	if len(f.Attributes) > 0 {
		d.custom = make([]namedAttribute, 0, len(f.Attributes))
		for name, raw := range f.Attributes {
			d.custom = append(d.custom, namedAttribute{name, parseAttribute(raw)})
		}
	}
	return d
}

// ID is the device's id on the wire, "" when it has none.
func (d *Device) ID() string { return d.facts.ID }

// Facts are what NewDevice was given.
func (d *Device) Facts() slipstream.DeviceFacts { return d.facts }

func parseAttribute(raw json.RawMessage) attribute {
	if s, ok := plainText(raw); ok {
		return attribute{kind: text, text: s}
	}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil || v == nil {
		return attribute{}
	}
	switch v := v.(type) {
	case string:
		return attribute{kind: text, text: v}
	case bool:
		return attribute{kind: boolean, text: strconv.FormatBool(v)}
	case float64:
		if n, ok := safeInteger(v); ok {
			return attribute{kind: integer, n: n, text: strconv.FormatInt(n, 10)}
		}
	}
	return attribute{kind: other}
}

// plainText reads a JSON string of printable ASCII without escapes, as most attributes are.
func plainText(raw []byte) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' || raw[len(raw)-1] != '"' {
		return "", false
	}
	inside := raw[1 : len(raw)-1]
	for _, c := range inside {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return "", false
		}
	}
	return string(inside), true
}

// safeInteger takes numbers that every language can count with exactly, however they were written.
func safeInteger(f float64) (int64, bool) {
	if f != math.Trunc(f) || math.Abs(f) > slipstream.MaxSafeInteger {
		return 0, false
	}
	return int64(f), true
}

// attribute gives the value that a condition asks for. seq is the running release's.
func (d *Device) attribute(name string, seq int64) attribute {
	switch name {
	case "device":
		return fact(d.facts.ID)
	case "platform":
		return fact(d.facts.Platform)
	case "runtime":
		return fact(d.facts.Runtime)
	case "os":
		return fact(d.facts.OS)
	case "model":
		return fact(d.facts.Model)
	case "locale":
		return fact(d.facts.Locale)
	case "seq":
		return attribute{kind: integer, n: seq}
	}
	for i := range d.custom {
		if d.custom[i].name == name {
			return d.custom[i].attribute
		}
	}
	return attribute{}
}

func fact(s string) attribute {
	if s == "" {
		return attribute{}
	}
	return attribute{kind: text, text: s}
}
