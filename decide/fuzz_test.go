package decide

import (
	"encoding/json"
	"testing"

	"github.com/slipstream-ota/slipstream"
)

func FuzzRange(f *testing.F) {
	for _, c := range rangeCases {
		f.Add(c.expr, "1.2.3")
	}
	for _, s := range brokenRanges {
		f.Add(s, "1.2.3-rc.1+b")
	}
	f.Fuzz(func(t *testing.T, expr, shell string) {
		broken := CheckRange(expr) != nil
		fits := Fits(slipstream.Runtime{Range: expr}, shell)
		if broken && fits {
			t.Fatalf("broken range %q fits %q", expr, shell)
		}
		v, ok := parseVersion(shell)
		if !ok {
			return
		}
		if v.compare(&v) != 0 || !Fits(slipstream.Runtime{Range: "=" + shell}, shell) && len(shell) < MaxRangeBytes {
			t.Fatalf("%q is not equal to itself", shell)
		}
		if broken {
			return
		}
		// An alternative that holds nothing changes nothing.
		if with := Fits(slipstream.Runtime{Range: expr + "||<0.0.0-0"}, shell); with != fits && len(expr) < MaxRangeBytes-20 && v.compare(&version{pre: "0"}) >= 0 {
			t.Fatalf("%q fits %q: %v, with an empty alternative %v", expr, shell, fits, with)
		}
	})
}

func FuzzCondition(f *testing.F) {
	for _, c := range conditionCases() {
		f.Add(c.Attr, c.Op, []byte(c.Value), []byte(`"x"`))
	}
	f.Fuzz(func(t *testing.T, attr, op string, value, told []byte) {
		w := slipstream.Condition{Attr: attr, Op: op, Value: value}
		facts := someone()
		facts.Attributes[attr] = json.RawMessage(told)
		c := compileCondition(w)
		holds := c.holds(NewDevice(facts), 7, testSalt)
		if holds && c.never {
			t.Fatal("a condition that is not understood holds")
		}
		if c.holds(NewDevice(slipstream.DeviceFacts{}), 7, testSalt) && op != "exists" && attr != "seq" {
			t.Fatal("a missing attribute matches")
		}
		// What a server accepts is understood.
		if CheckConditions([]slipstream.Condition{w}) == nil && c.never {
			t.Fatal("a condition passes the check and is not understood")
		}
		// in and not_in are never true together.
		if op == "in" && holds {
			w.Op = "not_in"
			if not := compileCondition(w); not.holds(NewDevice(facts), 7, testSalt) {
				t.Fatal("in and not_in both hold")
			}
		}
	})
}

func FuzzCompile(f *testing.F) {
	for _, c := range walkCases() {
		raw, err := json.Marshal(c.State)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte(`{"packages":{"main":{"rollouts":[{"id":"a","from":-5,"to":99999}]}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var st slipstream.State
		if json.Unmarshal(raw, &st) != nil {
			return
		}
		plan, err := Compile(&st)
		if err != nil {
			return
		}
		dev := NewDevice(phone())
		for _, local := range []Local{{}, running(4, 3), embedded()} {
			for pkg := range st.Packages {
				d := plan.Decide(pkg, dev, &local, noon)
				if d.Verdict == "" || d.Reason == "" {
					t.Fatalf("no verdict or reason: %+v", d)
				}
				plan.Explain(pkg, dev, &local, noon)
			}
		}
	})
}
