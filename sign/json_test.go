package sign

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream"
)

type strictCase struct {
	Name   string `json:"name"`
	Input  input  `json:"input"`
	Expect string `json:"expect"`
}

func strictCases() []strictCase {
	const bad = string(slipstream.ReasonMalformed)
	c := func(name, text, expect string) strictCase { return strictCase{name, inputOf([]byte(text)), expect} }
	return []strictCase{
		c("empty object", `{}`, ok),
		c("white space around everything", " {\t\"a\"\r\n: [ 1 , 2 ] } \n", ok),
		c("all kinds", `{"a":{"b":[1,-1,"x",true,false,"",[],{}]}}`, ok),
		c("every escape", `"\"\\\/\b\f\n\r\t\u0041\u00e9\u4e2d"`, ok),
		c("surrogate pair", `"\ud83d\ude00"`, ok),
		c("surrogate pair in upper case", `"\uD83D\uDE00"`, ok),
		c("four-byte UTF-8", `"😀"`, ok),
		c("replacement character as it is", "\"\ufffd\"", ok),
		c("replacement character escaped", `"\ufffd"`, ok),
		c("line separator raw", "\"\u2028\"", ok),
		c("delete raw", "\"\x7f\"", ok),
		c("NUL escaped", `"\u0000"`, ok),
		c("largest integer", `9007199254740991`, ok),
		c("smallest integer", `-9007199254740991`, ok),
		c("zero", `0`, ok),
		c("names that differ in case are two names", `{"App":1,"app":2}`, ok),
		c("same name in different objects", `[{"a":1},{"a":1}]`, ok),
		c("32 levels", strings.Repeat("[", 32)+strings.Repeat("]", 32), ok),

		c("33 levels", strings.Repeat("[", 33)+strings.Repeat("]", 33), bad),
		c("33 levels of objects", strings.Repeat(`{"a":`, 32)+"{}"+strings.Repeat("}", 32), bad),
		c("nothing", ``, bad),
		c("only space", ` `, bad),
		c("null", `null`, bad),
		c("null deep inside", `{"a":[{"b":null}]}`, bad),
		c("name repeated", `{"a":1,"a":1}`, bad),
		c("name repeated by an escape", `{"a":1,"\u0061":1}`, bad),
		c("name repeated deep inside", `{"x":[{"a":1,"b":2,"a":3}]}`, bad),
		c("name repeated after many", `{"a":0,"b":1,"c":2,"d":3,"e":4,"f":5,"g":6,"h":7,"i":8,"j":9,"k":10,"l":11,"m":12,"n":13,"o":14,"p":15,"q":16,"r":17,"q":18}`, bad),
		c("float", `1.5`, bad),
		c("float that is an integer", `1.0`, bad),
		c("exponent", `1e3`, bad),
		c("exponent in upper case", `1E3`, bad),
		c("minus zero", `-0`, bad),
		c("2^53", `9007199254740992`, bad),
		c("-2^53", `-9007199254740992`, bad),
		c("2^64", `18446744073709551616`, bad),
		c("a number of many digits", strings.Repeat("9", 400), bad),
		c("leading zero", `01`, bad),
		c("leading zero after minus", `-01`, bad),
		c("plus sign", `+1`, bad),
		c("minus alone", `-`, bad),
		c("digit missing before the point", `.5`, bad),
		c("hexadecimal", `0x10`, bad),
		c("NaN", `NaN`, bad),
		c("Infinity", `-Infinity`, bad),
		c("trailing data", `{} {}`, bad),
		c("trailing letter", `{}x`, bad),
		c("trailing NUL", "{}\x00", bad),
		c("byte order mark", "\ufeff{}", bad),
		c("no-break space", "\u00a0{}", bad),
		c("form feed as space", "\f{}", bad),
		c("comment", "{} // end", bad),
		c("comma at the end of an array", `[1,]`, bad),
		c("comma at the end of an object", `{"a":1,}`, bad),
		c("comma alone", `[,]`, bad),
		c("comma missing", `[1 2]`, bad),
		c("colon missing", `{"a" 1}`, bad),
		c("value missing", `{"a":}`, bad),
		c("name not a string", `{1:2}`, bad),
		c("name without quotes", `{a:1}`, bad),
		c("single quotes", `'a'`, bad),
		c("object without an end", `{"a":1`, bad),
		c("array without an end", `[1`, bad),
		c("closed by the wrong bracket", `[1}`, bad),
		c("string without an end", `"a`, bad),
		c("string that ends in a backslash", `"a\`, bad),
		c("True", `True`, bad),
		c("tru", `tru`, bad),
		c("truee", `truee`, bad),
		c("raw tab in a string", "\"\t\"", bad),
		c("raw line break in a string", "\"a\nb\"", bad),
		c("raw NUL in a string", "\"\x00\"", bad),
		c("unknown escape", `"\x41"`, bad),
		c("escaped quote sign", `"\'"`, bad),
		c("short escape", `"\u12"`, bad),
		c("escape not hexadecimal", `"\u12g4"`, bad),
		c("escape with a sign", `"\u+123"`, bad),
		c("lone high surrogate", `"\ud83d"`, bad),
		c("lone low surrogate", `"\ude00"`, bad),
		c("high surrogate before a letter", `"\ud83dx"`, bad),
		c("high surrogate before another escape", `"\ud83d\n"`, bad),
		c("two high surrogates", `"\ud83d\ud83d"`, bad),
		c("surrogates in the wrong order", `"\ude00\ud83d"`, bad),
		c("lone surrogate in a name", `{"\ud800":1}`, bad),
		c("lone surrogate as raw bytes", "\"\xed\xa0\x80\"", bad),
		c("surrogate pair as raw bytes", "\"\xed\xa0\xbd\xed\xb8\x80\"", bad),
		c("invalid UTF-8", "\"\xff\"", bad),
		c("cut UTF-8", "\"\xe4\xb8\"", bad),
		c("overlong UTF-8", "\"\xc0\xaf\"", bad),
		c("UTF-8 beyond U+10FFFF", "\"\xf4\x90\x80\x80\"", bad),
		c("invalid UTF-8 in a name", "{\"\xff\":1}", bad),
		c("invalid UTF-8 outside of strings", "{}\xff", bad),
		c("UTF-16", "\xff\xfe{\x00}\x00", bad),
	}
}

func TestStrictJSON(t *testing.T) {
	t.Parallel()
	for _, c := range vectors(t, "strict.json", strictCases()) {
		t.Run(c.Name, func(t *testing.T) {
			var v json.RawMessage
			expect(t, Decode(c.Input.bytes(t), &v), c.Expect)
		})
	}
}

type shape struct {
	App   string            `json:"app"`
	Count int8              `json:"count,omitempty"`
	On    bool              `json:"on" strict:"optional"`
	Names []string          `json:"names,omitempty"`
	Part  *shapePart        `json:"part,omitempty"`
	Free  json.RawMessage   `json:"free,omitempty"`
	More  map[string]string `json:"more,omitempty"`
	When  *slipstream.Time  `json:"when,omitempty"`
	Crit  []string          `json:"crit,omitempty"`
}

type shapePart struct {
	Share int `json:"share" strict:"optional"`
}

func (s *shapePart) SetDefaults() { s.Share = 10000 }

func TestDecodeFillsFields(t *testing.T) {
	t.Parallel()
	when := at("2026-11-21T08:00:00Z")
	for _, c := range []struct {
		name, text string
		want       shape
	}{
		{"all of them", `{"app":"a","count":-7,"on":true,"names":["x"],"part":{"share":5},"free":{"k":[1]},"more":{"a":"b"},"when":"2026-11-21T08:00:00Z"}`,
			shape{App: "a", Count: -7, On: true, Names: []string{"x"}, Part: &shapePart{5}, Free: json.RawMessage(`{"k":[1]}`), More: map[string]string{"a": "b"}, When: &when}},
		{"absent field has its default", `{"app":"a","part":{}}`, shape{App: "a", Part: &shapePart{10000}}},
		{"default gives way to zero", `{"app":"a","part":{"share":0}}`, shape{App: "a", Part: &shapePart{0}}},
		{"unknown names are ignored", `{"app":"a","future":{"x":1}}`, shape{App: "a"}},
		{"names in another case are unknown names", `{"APP":"b","app":"a","Count":9}`, shape{App: "a"}},
		{"raw values keep their bytes", `{"app":"a","free":[ "\u0041" ]}`, shape{App: "a", Free: json.RawMessage(`[ "\u0041" ]`)}},
		{"crit names a known field", `{"app":"a","crit":["app"]}`, shape{App: "a", Crit: []string{"app"}}},
		{"a time may be escaped", `{"app":"a","when":"2026-11-21T08:00:00\u005a"}`, shape{App: "a", When: &when}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got shape
			if err := Decode([]byte(c.text), &got); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		want       slipstream.Reason
	}{
		{"a required field is missing", `{}`, "malformed"},
		{"a required field only in another case", `{"App":"a"}`, "malformed"},
		{"a number for a string", `{"app":1}`, "malformed"},
		{"a string for a number", `{"app":"a","count":"1"}`, "malformed"},
		{"a number too large for its field", `{"app":"a","count":128}`, "malformed"},
		{"a number for a boolean", `{"app":"a","on":1}`, "malformed"},
		{"an object for an array", `{"app":"a","names":{}}`, "malformed"},
		{"an array for an object", `{"app":"a","part":[]}`, "malformed"},
		{"an array for a map", `{"app":"a","more":[]}`, "malformed"},
		{"an array for a document", `[]`, "malformed"},
		{"null in an unknown field", `{"app":"a","future":null}`, "malformed"},
		{"a float in raw data", `{"app":"a","free":{"x":1.5}}`, "malformed"},
		{"a repeated name in raw data", `{"app":"a","free":{"x":1,"x":1}}`, "malformed"},
		{"a time with an offset", `{"app":"a","when":"2026-11-21T08:00:00+00:00"}`, "malformed"},
		{"a time with a fraction", `{"app":"a","when":"2026-11-21T08:00:00.0Z"}`, "malformed"},
		{"a time in lower case", `{"app":"a","when":"2026-11-21t08:00:00z"}`, "malformed"},
		{"a day that does not exist", `{"app":"a","when":"2026-02-29T08:00:00Z"}`, "malformed"},
		{"a leap second", `{"app":"a","when":"2016-12-31T23:59:60Z"}`, "malformed"},
		{"a time as a number", `{"app":"a","when":1}`, "malformed"},
		{"crit not an array", `{"app":"a","crit":"app"}`, "malformed"},
		{"crit not of strings", `{"app":"a","crit":[1]}`, "malformed"},
		{"crit names what is not known", `{"app":"a","crit":["app","future"]}`, "unknown_critical"},
		{"crit names a field in another case", `{"app":"a","crit":["App"]}`, "unknown_critical"},
		{"crit counts before what only seems malformed", `{"app":{"new":1},"crit":["future"]}`, "unknown_critical"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var v shape
			expect(t, Decode([]byte(c.text), &v), string(c.want))
		})
	}
}

func TestEncodeRefusesWhatDecodeWould(t *testing.T) {
	t.Parallel()
	m := goodManifest()
	m.Files = nil
	if b, err := Encode(m); err == nil {
		t.Errorf("nil files were written as %s", b)
	}
	m = goodManifest()
	m.Meta = map[string]json.RawMessage{"ratio": json.RawMessage(`1.5`)}
	if b, err := Encode(m); err == nil {
		t.Errorf("a float was written as %s", b)
	}
	if got := encode(t, map[string]string{"a": "<&>"}); string(got) != `{"a":"<&>"}` {
		t.Errorf("HTML was escaped: %s", got)
	}
}

// plain turns a node into what encoding/json makes of the same value.
func (n *node) plain() any {
	switch n.kind {
	case kindObject:
		m := map[string]any{}
		for i, name := range n.names {
			m[name] = n.items[i].plain()
		}
		return m
	case kindArray:
		a := []any{}
		for i := range n.items {
			a = append(a, n.items[i].plain())
		}
		return a
	case kindString:
		return n.text
	case kindInteger:
		return float64(n.num)
	}
	return n.num == 1
}

// TestWhatIsCutOffIsNotReadBeyondItsEnd: a document may end anywhere, also behind the first byte of an escape.
func TestWhatIsCutOffIsNotReadBeyondItsEnd(t *testing.T) {
	t.Parallel()
	whole := []byte(`{"a":"\"\\\u0041\ud83d\ude00é","b":[-1,20,true,false,{"c":""}],"d":{}}`)
	if _, err := parseJSON(whole); err != nil {
		t.Fatal(err)
	}
	for end := range whole {
		if _, err := parseJSON(slices.Clip(bytes.Clone(whole[:end]))); err == nil {
			t.Errorf("%s is accepted", whole[:end])
		}
	}
}

// FuzzDecode: what the strict reader accepts, encoding/json reads as the same value.
func FuzzDecode(f *testing.F) {
	for _, c := range strictCases() {
		if c.Input.Text != "" {
			f.Add([]byte(c.Input.Text))
		}
	}
	f.Add(encode(f, goodManifest()))
	f.Add(encode(f, goodState()))
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := parseJSON(data)
		if err != nil {
			return
		}
		var want any
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatalf("encoding/json refuses what was accepted: %v", err)
		}
		if got := n.plain(); !reflect.DeepEqual(got, want) {
			t.Fatalf("read %#v, encoding/json reads %#v", got, want)
		}
		var ours, theirs slipstream.Manifest
		if Decode(data, &ours) != nil {
			return
		}
		// encoding/json folds case: hide from it what is an unknown name to us.
		if exact, err := json.Marshal(onlyKnown(n, ours)); err != nil || json.Unmarshal(exact, &theirs) != nil {
			t.Fatalf("encoding/json refuses a manifest that was accepted: %s", exact)
		}
		a, errA := json.Marshal(ours)
		b, errB := json.Marshal(theirs)
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Fatalf("read %s (%v), encoding/json reads %s (%v)", a, errA, b, errB)
		}
	})
}

// onlyKnown drops the names of n that v, a struct, and the structs in it do not have.
func onlyKnown(n *node, v any) any {
	var prune func(n *node, t reflect.Type) any
	prune = func(n *node, t reflect.Type) any {
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		_, custom := reflect.New(t).Interface().(json.Unmarshaler)
		switch {
		case custom:
		case t.Kind() == reflect.Slice && n.kind == kindArray:
			a := []any{}
			for i := range n.items {
				a = append(a, prune(&n.items[i], t.Elem()))
			}
			return a
		case t.Kind() == reflect.Struct && n.kind == kindObject:
			m := map[string]any{}
			for _, f := range (&decoder{fields: map[reflect.Type][]field{}}).fieldsOf(t) {
				if item := n.get(f.name); item != nil {
					m[f.name] = prune(item, t.Field(f.index).Type)
				}
			}
			return m
		}
		return json.RawMessage(n.raw)
	}
	return prune(n, reflect.TypeOf(v))
}
