package decide

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream"
)

const testSalt = "ro_1"

// someone is the device that the condition vectors ask about; it runs seq 7.
func someone() slipstream.DeviceFacts {
	return slipstream.DeviceFacts{
		ID: device(1), Platform: "android", Runtime: "3.2.0", OS: "14.1", Model: "Pixel 8", Locale: "zh-CN",
		Attributes: map[string]json.RawMessage{
			"brand": json.RawMessage(`"Google"`), "country": json.RawMessage(`"CN"`),
			"first_seen":   json.RawMessage(`"2026-11-01T00:00:00Z"`),
			"custom.plan":  json.RawMessage(`"pro"`),
			"custom.age":   json.RawMessage(`42`),
			"custom.exp":   json.RawMessage(`4.2e1`),
			"custom.ratio": json.RawMessage(`0.5`),
			"custom.huge":  json.RawMessage(`9007199254740992`),
			"custom.beta":  json.RawMessage(`true`),
			"custom.none":  json.RawMessage(`null`),
			"custom.list":  json.RawMessage(`["a"]`),
			"custom.empty": json.RawMessage(`""`),
			"custom.since": json.RawMessage(`"2026-01-01T00:00:00Z"`),
			"custom.vers":  json.RawMessage(`"2.5.0"`),
			"custom.utf8":  json.RawMessage(`"gr\u00fcn 鹽"`),
		},
	}
}

func hashes(values ...string) string {
	var out []string
	for _, v := range values {
		out = append(out, fmt.Sprintf("%q", HashValue(testSalt, v)))
	}
	return "[" + strings.Join(out, ",") + "]"
}

type conditionCase struct {
	Attr  string          `json:"attr"`
	Op    string          `json:"op"`
	Value json.RawMessage `json:"value,omitempty"`
	Holds bool            `json:"holds"`
}

func conditionCases() []conditionCase {
	yes := func(attr, op, value string) conditionCase {
		return conditionCase{attr, op, json.RawMessage(value), true}
	}
	no := func(attr, op, value string) conditionCase {
		return conditionCase{attr, op, json.RawMessage(value), false}
	}
	return []conditionCase{
		yes("platform", "in", `["ios","android"]`), no("platform", "in", `["ios"]`), no("platform", "in", `[]`),
		yes("platform", "not_in", `["ios"]`), no("platform", "not_in", `["android"]`), yes("platform", "not_in", `[]`),
		no("platform", "in", `["Android"]`), yes("model", "in", `["Pixel 8"]`), yes("brand", "in", `["Google"]`),
		yes("locale", "in", `["zh-CN"]`), no("locale", "in", `["zh"]`), yes("country", "not_in", `["US"]`),
		// Not well formed: never, whichever the operator.
		no("platform", "in", `"android"`), no("platform", "not_in", `"ios"`), no("platform", "not_in", `null`),
		no("platform", "not_in", ``), no("platform", "not_in", `[true]`), no("platform", "not_in", `[0.5]`), no("platform", "not_in", `[null]`),
		// Versions.
		yes("runtime", "semver", `">=3.0.0 <4.0.0"`), no("runtime", "semver", `"2.x"`), yes("os", "semver", `"14.x"`),
		no("model", "semver", `">=0"`), yes("model", "semver", `"*"`), no("runtime", "semver", `">="`), no("runtime", "semver", `3`),
		yes("custom.vers", "semver", `"^2.1.0"`), no("custom.age", "semver", `"*"`),
		// Numbers.
		yes("seq", "gte", `7`), no("seq", "gte", `8`), no("seq", "lt", `7`), yes("seq", "lt", `8`),
		yes("seq", "in", `[6,7]`), no("seq", "in", `[6]`), yes("seq", "not_in", `[6]`), no("seq", "in", `["7"]`),
		yes("custom.age", "gte", `42`), no("custom.age", "lt", `42`), yes("custom.exp", "gte", `42`),
		no("custom.ratio", "gte", `0`), no("custom.ratio", "lt", `1`), no("custom.huge", "gte", `0`), no("custom.beta", "gte", `0`),
		no("os", "gte", `14`), no("seq", "gte", `"7"`), no("seq", "gte", `null`), no("seq", "gte", `6.5`), no("seq", "gte", `9007199254740992`),
		no("seq", "lt", `9007199254740992`), yes("seq", "lt", `9007199254740991`),
		// Times. The attribute equal to the value is neither before nor after it.
		yes("first_seen", "before", `"2026-11-02T00:00:00Z"`), no("first_seen", "before", `"2026-11-01T00:00:00Z"`),
		yes("first_seen", "after", `"2026-10-31T23:59:59Z"`), no("first_seen", "after", `"2026-11-01T00:00:00Z"`),
		no("first_seen", "before", `"2026-12-01"`), no("first_seen", "before", `1800000000`), no("platform", "after", `"2000-01-01T00:00:00Z"`),
		yes("custom.since", "before", `"2026-01-02T00:00:00Z"`), no("first_seen", "before", `"2026-11-02T00:00:00+00:00"`),
		// Presence.
		yes("platform", "exists", `true`), no("platform", "exists", `false`), yes("custom.plan", "exists", `true`),
		no("custom.missing", "exists", `true`), yes("custom.missing", "exists", `false`), yes("custom.none", "exists", `false`),
		yes("custom.empty", "exists", `true`), yes("custom.list", "exists", `true`), no("custom.list", "exists", `false`),
		yes("seq", "exists", `true`), yes("device", "exists", `true`), no("platform", "exists", `"true"`), no("platform", "exists", `null`),
		// Absence and wrong types make everything else false.
		no("custom.missing", "in", hashes("pro")), no("custom.missing", "not_in", hashes("pro")), no("custom.missing", "gte", `0`),
		no("custom.missing", "semver", `"*"`), no("custom.none", "not_in", hashes("x")), no("custom.list", "not_in", hashes("a")),
		no("custom.ratio", "not_in", hashes("1")), no("battery", "not_in", `["low"]`), yes("battery", "exists", `false`),
		no("seq", "not_in", `"7"`),
		// Hashed lists.
		yes("device", "in", hashes(device(0), device(1))), no("device", "in", hashes(device(0))), no("device", "not_in", hashes(device(1))),
		yes("device", "not_in", hashes(device(0))), no("device", "in", fmt.Sprintf(`["%s"]`, device(1))),
		yes("custom.plan", "in", hashes("free", "pro")), no("custom.plan", "in", hashes("free")), yes("custom.plan", "not_in", hashes("free")),
		no("custom.plan", "in", `["pro"]`), no("custom.plan", "not_in", `["free"]`), yes("custom.age", "in", hashes("42")),
		yes("custom.exp", "in", hashes("42")), yes("custom.beta", "in", hashes("true")), no("custom.beta", "in", hashes("false")),
		yes("custom.utf8", "in", hashes("grün 鹽")), yes("custom.empty", "in", hashes("")),
		no("custom.plan", "in", strings.ToUpper(hashes("pro"))),
		// Unknown operators never hold.
		no("platform", "equals", `"android"`), no("platform", "IN", `["android"]`), no("platform", "", `["android"]`), no("custom.missing", "absent", `true`),
	}
}

func TestConditionVectors(t *testing.T) {
	cases := conditionCases()
	dev := NewDevice(someone())
	for _, c := range cases {
		compiled := compileCondition(slipstream.Condition{Attr: c.Attr, Op: c.Op, Value: c.Value})
		if got := compiled.holds(dev, 7, testSalt); got != c.Holds {
			t.Errorf("%s %s %s: holds is %v", c.Attr, c.Op, c.Value, got)
		}
	}
	golden(t, "conditions.json", map[string]any{
		"salt": testSalt, "seq": 7, "device": someone(), "cases": cases,
	})
}

func TestMissingFactsMatchOnlyAbsence(t *testing.T) {
	nobody := NewDevice(slipstream.DeviceFacts{})
	for _, attr := range []string{"device", "platform", "runtime", "os", "model", "brand", "locale", "country", "first_seen", "custom.x"} {
		for _, op := range []string{"in", "not_in", "semver", "gte", "lt", "before", "after"} {
			for _, value := range []string{`[]`, `["a"]`, `"*"`, `0`, `"2026-11-21T00:00:00Z"`, hashes("")} {
				c := compileCondition(slipstream.Condition{Attr: attr, Op: op, Value: json.RawMessage(value)})
				if c.holds(nobody, 0, testSalt) {
					t.Errorf("%s %s %s holds for a device that does not say", attr, op, value)
				}
			}
		}
		c := compileCondition(slipstream.Condition{Attr: attr, Op: "exists", Value: json.RawMessage(`false`)})
		if !c.holds(nobody, 0, testSalt) {
			t.Errorf("%s exists false does not hold for a device that does not say", attr)
		}
	}
}

func TestCheckConditions(t *testing.T) {
	many := make([]string, slipstream.MaxHashedValues+1)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	for _, c := range []struct {
		name  string
		when  []slipstream.Condition
		wrong string // part of the error, "" for none
	}{
		{"nothing", nil, ""},
		{"good", []slipstream.Condition{{Attr: "custom.a", Op: "in", Value: json.RawMessage(hashes(many[1:]...))}, {Attr: "seq", Op: "lt", Value: json.RawMessage(`3`)}}, ""},
		{"unknown attribute", []slipstream.Condition{{Attr: "battery", Op: "exists", Value: json.RawMessage(`true`)}}, `unknown attribute "battery"`},
		{"nameless custom", []slipstream.Condition{{Attr: "custom.", Op: "exists", Value: json.RawMessage(`true`)}}, "unknown attribute"},
		{"unknown operator", []slipstream.Condition{{Attr: "os", Op: "like", Value: json.RawMessage(`"x"`)}}, "condition 1 (os like): unknown operator"},
		{"plain custom value", []slipstream.Condition{{Attr: "custom.a", Op: "in", Value: json.RawMessage(`["pro"]`)}}, "not a hashed value"},
		{"broken range", []slipstream.Condition{{Attr: "os", Op: "semver", Value: json.RawMessage(`">"`)}}, "not a version"},
		{"too many hashes", []slipstream.Condition{{Attr: "device", Op: "in", Value: json.RawMessage(hashes(many...))}}, "at most 1000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := CheckConditions(c.when)
			if c.wrong == "" && err != nil {
				t.Fatal(err)
			}
			if c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
				t.Fatalf("error %v, want one with %q", err, c.wrong)
			}
		})
	}
}
