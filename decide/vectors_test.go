package decide

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
)

var update = flag.Bool("update", false, "write testdata/vectors anew")

// golden compares got with a file of vectors that other languages run as well, or writes it.
func golden(t *testing.T, name string, got any) {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(got); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("..", "testdata", "vectors", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("read vectors: %v (write them with: go test ./decide -update)", err)
	}
	if !bytes.Equal(want, b.Bytes()) {
		t.Fatalf("%s has drifted from the code; if that is meant, write it with: go test ./decide -update", name)
	}
}

func digest(name string) slipstream.Digest { return slipstream.DigestOf(sha256.Sum256([]byte(name))) }

// device gives the n-th of an endless row of device ids.
func device(n int) string { return string(digest(fmt.Sprintf("install %d", n))) }

// deviceAt finds a device whose position under salt lies in [from, to).
func deviceAt(salt string, from, to int) string {
	for n := 0; ; n++ {
		if at := Position(salt, device(n)); at >= from && at < to {
			return device(n)
		}
	}
}

var (
	noon     = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	midnight = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
)

func TestPositionVectors(t *testing.T) {
	type vector struct {
		Salt     string `json:"salt"`
		Device   string `json:"device"`
		Position int    `json:"position"`
	}
	vectors := []vector{{Salt: "s", Device: "d"}, {Salt: "", Device: ""}, {Salt: "", Device: device(0)}, {Salt: "Salz ∎ 鹽", Device: device(0)}}
	for n := range 40 {
		vectors = append(vectors, vector{Salt: fmt.Sprintf("ro_%d", n%4), Device: device(n)})
	}
	vectors = append(vectors, vector{Salt: string(bytes.Repeat([]byte("long"), 100)), Device: device(1)},
		vector{Salt: "edge", Device: deviceAt("edge", 0, 1)}, vector{Salt: "edge", Device: deviceAt("edge", 9999, 10000)})
	for i := range vectors {
		vectors[i].Position = Position(vectors[i].Salt, vectors[i].Device)
	}
	if vectors[0].Position != 9410 {
		t.Errorf("position of d under s is %d, want 0x9d1ff4137bf051d2 mod 10000 = 9410", vectors[0].Position)
	}
	golden(t, "positions.json", vectors)
}

// rangeCases say for each range which shells it holds for and which not.
var rangeCases = []struct {
	expr    string
	holds   []string
	refuses []string
}{
	{"*", []string{"1.2.3", "0.0.0-a", "", "not a version", "fingerprint-1", "1.2.3.4"}, nil},
	{"x", []string{"1.2.3", "whatever"}, nil},
	{"*.*", []string{"1.2.3", "whatever"}, nil},
	{"1.2.3", []string{"1.2.3", "v1.2.3", "1.2.3+build.7"}, []string{"1.2.4", "1.2.3-rc.1", "1.2", "", "one"}},
	{"=1.2.3", []string{"1.2.3"}, []string{"1.2.2"}},
	{"= 1.2.3", []string{"1.2.3"}, []string{"1.2.2"}},
	{"v1.2.3", []string{"1.2.3"}, []string{"1.2.2"}},
	{"1.2", []string{"1.2", "1.2.0"}, []string{"1.2.1", "1.3"}},
	{"3", []string{"3", "3.0", "3.0.0"}, []string{"3.0.1", "3.1"}},
	{"<2.0.0", []string{"1.9.9", "2.0.0-rc.1", "0"}, []string{"2.0.0", "2"}},
	{"<=2.0.0", []string{"2.0.0", "2", "2.0.0+x"}, []string{"2.0.1"}},
	{">2.0.0", []string{"2.0.1", "2.0.1-a", "10.0.0"}, []string{"2.0.0", "2.0.0-rc.1"}},
	{">=2.0.0", []string{"2.0.0", "2.1"}, []string{"2.0.0-rc.1", "1.99.99"}},
	{">= 2.0.0", []string{"2.0.0"}, []string{"1.0.0"}},
	{">=2.0.0-rc.1", []string{"2.0.0-rc.1", "2.0.0-rc.2", "2.0.0-rc.10", "2.0.0"}, []string{"2.0.0-beta", "2.0.0-rc"}},
	{"~1.2.3", []string{"1.2.3", "1.2.99"}, []string{"1.2.2", "1.3.0", "1.3.0-a", "1.2.3-a"}},
	{"~1.2", []string{"1.2.0", "1.2.9"}, []string{"1.3.0", "1.1.9"}},
	{"~1", []string{"1.0.0", "1.0.9"}, []string{"1.1.0"}},
	{"~1.2.3-beta.2", []string{"1.2.3-beta.2", "1.2.3", "1.2.4-a"}, []string{"1.2.3-beta.1"}},
	{"^1.2.3", []string{"1.2.3", "1.9.0", "1.9.0-a"}, []string{"1.2.2", "2.0.0", "2.0.0-a"}},
	{"^0.2.3", []string{"0.2.3", "0.2.9"}, []string{"0.3.0", "0.2.2", "1.0.0"}},
	{"^0.0.3", []string{"0.0.3"}, []string{"0.0.4", "0.0.2", "0.0.3-a"}},
	{"^0.0.0", []string{"0.0.0"}, []string{"0.0.1"}},
	{"^3", []string{"3.0.0", "3.99.1"}, []string{"4", "2.9"}},
	{"1.x", []string{"1.0.0", "1.99.0", "1", "1.0.0-a"}, []string{"2.0.0", "0.9", "2.0.0-a"}},
	{"1.X.x", []string{"1.5.0"}, []string{"2.0.0"}},
	{"1.2.*", []string{"1.2.0", "1.2.7", "1.2.7-rc"}, []string{"1.3.0"}},
	{"=1.2.x", []string{"1.2.7"}, []string{"1.3.0"}},
	{">=1.2.0 <2.0.0", []string{"1.2.0", "1.99.0", "2.0.0-a"}, []string{"1.1.9", "2.0.0"}},
	{"  >=1.2.0   <2.0.0  ", []string{"1.5.0"}, []string{"2.0.0"}},
	{"1.x || 3.x", []string{"1.5.0", "3.1.0"}, []string{"2.0.0", "4.0.0"}},
	{"1.x||>=3.1.0 <3.2.0", []string{"1.5.0", "3.1.9"}, []string{"3.0.0", "3.2.0"}},
	{"* >=2", []string{"2.0.0"}, []string{"1.0.0", "not a version"}},
	{"1.0.0 || *", []string{"not a version", "9.9.9"}, nil},
	{"1.0.0-alpha.1", []string{"1.0.0-alpha.1"}, []string{"1.0.0-alpha.2", "1.0.0"}},
	{"<1.0.0-alpha.beta", []string{"1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.99"}, []string{"1.0.0-alpha.beta", "1.0.0-beta"}},
	{">1.0.0-beta.2", []string{"1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.0-beta.2.1"}, []string{"1.0.0-beta.2", "1.0.0-beta"}},
	{">1.0.0-99999999999999999999", []string{"1.0.0-100000000000000000000", "1.0.0-a"}, []string{"1.0.0-99999999999999999998"}},
	{"=1.0.0-7", []string{"1.0.0-7", "1.0.0-007"}, []string{"1.0.0-70"}},
	{">=2026.04.01", []string{"2026.4.1", "2026.11.21"}, []string{"2026.03.31"}},
	{">=1", []string{"9007199254740991.0.0", "1.9007199254740991"}, []string{"9007199254740992.0.0", "99999999999999999999999.0.0"}},
	{"^9007199254740991.0.0", []string{"9007199254740991.5.0"}, []string{"1.0.0"}},
	{">=0", []string{"0", "1.2.3", "1.0-rc"}, []string{"", "1.2.3.4", "1..2", ".1", "1.", "a.b.c", "-1", "+1", "1.2.3-", "1.2.3-a..b", "1.2.3+", "1.2.3-ü", " 1.2.3", "1,2", "vv1", "0x1"}},
}

var brokenRanges = []string{
	"", " ", "||", "1.0.0 ||", "|| 1.0.0", "1.0.0 || || 2.0.0", "abc", "1.2.3.4", ">=", "> =1.0.0", "<>1.0.0", "=>1.0.0", "!1.0.0", "==1.0.0",
	">1.x", "^1.x", "~*", "1.x.3", "x.1", "1.x-beta", "1.0.0 - 2.0.0", "1.0.0,2.0.0", "1.0.0|2.0.0", "9007199254740992.0.0", "1.0.0\t", "1.0.0\n2.0.0",
	"1..0", "-1", "~", "~>1.0.0",
}

func TestRangeVectors(t *testing.T) {
	type vector struct {
		Range string `json:"range"`
		Shell string `json:"shell"`
		Fits  bool   `json:"fits"`
	}
	out := struct {
		Note    string   `json:"note"`
		Fits    []vector `json:"fits"`
		Refused []string `json:"refused"`
	}{Note: "A refused range may not be put into a state; one that is found there fits nothing."}
	for _, c := range rangeCases {
		if err := CheckRange(c.expr); err != nil {
			t.Errorf("range %q: %v", c.expr, err)
		}
		for _, shell := range c.holds {
			out.Fits = append(out.Fits, vector{c.expr, shell, true})
		}
		for _, shell := range c.refuses {
			out.Fits = append(out.Fits, vector{c.expr, shell, false})
		}
	}
	for _, v := range out.Fits {
		if got := Fits(slipstream.Runtime{Range: v.Range}, v.Shell); got != v.Fits {
			t.Errorf("range %q, shell %q: fits is %v", v.Range, v.Shell, got)
		}
	}
	long := "1.0.0" + string(bytes.Repeat([]byte(" "), MaxRangeBytes))
	for _, s := range append(brokenRanges, long) {
		if CheckRange(s) == nil {
			t.Errorf("range %q is accepted", s)
		}
		if Fits(slipstream.Runtime{Range: s}, "1.0.0") {
			t.Errorf("broken range %q fits", s)
		}
		out.Refused = append(out.Refused, s)
	}
	golden(t, "ranges.json", out)
}

func TestFingerprintFitsOnlyItself(t *testing.T) {
	rt := slipstream.Runtime{Fingerprint: "abc"}
	if !Fits(rt, "abc") || Fits(rt, "abd") || Fits(rt, "") || Fits(slipstream.Runtime{}, "") || Fits(slipstream.Runtime{}, "1.0.0") {
		t.Error("a fingerprint must fit exactly itself and an empty runtime nothing")
	}
}
