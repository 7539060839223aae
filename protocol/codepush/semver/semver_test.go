package semver

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// testdata/cases.json holds random versions and ranges with what the npm package semver 7.6.3 says of them: whether the
// range is valid, whether the version fits it, and whether it is greater than all of it.
func TestCasesOfThePackage(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases [][5]any
	if err := json.Unmarshal(raw, &cases); err != nil || len(cases) < 500 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
	for _, c := range cases {
		v, ok := Parse(c[0].(string))
		r, err := ParseRange(c[1].(string))
		if !ok || [3]any{err == nil, r.Fits(&v), err == nil && r.Above(&v)} != [3]any{c[2], c[3], c[4]} {
			t.Errorf("%v: version %v, range %v, fits %v, above %v", c, ok, err, r.Fits(&v), r.Above(&v))
		}
	}
}

// What the npm package says of these, see its own fixtures.
func TestRanges(t *testing.T) {
	t.Parallel()
	const fits, above, neither = "fits", "above", "neither"
	for _, c := range []struct{ version, in, want string }{
		{"1.2.3", "1.2", fits}, {"1.2.3", "1.2.x", fits}, {"1.2.3", "1.x.x", fits}, {"1.2.3", "*", fits}, {"1.2.3", "", fits}, {"1.2.3", "~1.2", fits},
		{"1.2.3", "~1", fits}, {"1.2.3", "v1.2.3", fits}, {"1.2.3", "=1.2.3", fits}, {"1.2.3", "^ 1.2.0", fits}, {"1.2.3", ">= 1.2.3", fits},
		{"1.2.3", "1.2.3+meta", fits}, {"0.2.5", "^0.2.3", fits}, {"1.2.9", "1.2.3 - 1.2", fits}, {"3.0.0", "1.x || >=2.5.0 || 5.0.0 - 7.2.3", fits},
		{"1.3.0", ">1.2", fits}, {"1.2.3", "<=1.2", fits}, {"1.2.3-beta", ">=1.2.3-alpha", fits}, {"1.2.3-beta", "~1.2.3-beta", fits}, {"1.2.3+meta", "1.2.3", fits},
		{"0.3.0", "^0.2.3", above}, {"0.0.4", "^0.0.3", above}, {"1.3.0", "1.2.3 - 1.2", above}, {"1.2.7", ">=1.2.3 <1.2.7", above},
		{"1.2.3", ">1.2", neither}, {"1.2.3-beta", "*", neither}, {"1.2.3-beta", "1.2.3", neither}, {"1.2.4-beta", ">=1.2.3-alpha", neither},
		{"1.2.3", "~> 1.2.1", fits}, {"1.0.0", "^0", above}, {"0.9.0", "^0", fits}, {"0.0.9", "^0.0", fits}, {"0.1.0", "^0.0", above}, {"2.0.0", "^1.x", above},
		{"1.2.3", "<1.2", above}, {"1.1.9", "<1.2", fits}, {"2.0.0", ">1", fits}, {"1.9.9", ">1", neither}, {"1.9.9", "<=1", fits}, {"2.0.0", "<=1", above},
		{"1.2.3", ">x", above}, {"1.2.3-beta", ">=1.2.3-alpha || *", neither}, {"2.0.0-rc", "^1.0.0", above}, {"1.0.0", "2.0.0", neither}, {"2.0.0", "1.0.0", above},
		{"1.10.0-rc.10", ">1.10.0-rc.9 <1.10.0", fits}, {"1.2.3", "1.2.3 - *", fits}, {"1.2.3", "* - 1.2.3", fits},
		{"3.2.0-rc.10", "^10 >=0.0", neither}, {"0.0.0-beta.1", "=2.* ~0", above}, {"3.1.10", "<x >=2.1", above}, {"0.1.10", ">=0.3 <0||<x", above},
	} {
		v, ok := Parse(c.version)
		if !ok {
			t.Fatalf("%s is no version", c.version)
		}
		r, err := ParseRange(c.in)
		if err != nil {
			t.Fatal(err)
		}
		got := neither
		switch {
		case r.Fits(&v):
			got = fits
		case r.Above(&v):
			got = above
		}
		if got != c.want {
			t.Errorf("%s and %q: %s, want %s", c.version, c.in, got, c.want)
		}
	}
}

func TestWhatIsNoVersion(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "1", "1.2", "01.2.3", "1.2.3.4", "1.2.x", "1.2.3-", "1.2.3-01", "1.2.3-a..b", "1.2.3+", "a.b.c", "1.2.9007199254740992", strings.Repeat("1", 300)} {
		if _, ok := Parse(s); ok {
			t.Errorf("%q is taken for a version", s)
		}
	}
	for _, s := range []string{"latest", ">>1.0.0", "1.2.3 - latest", "1.2.3 || foo", "<>1.0.0", "^~1", strings.Repeat(">=1.0.0 ", 40)} {
		if _, err := ParseRange(s); err == nil {
			t.Errorf("%q is taken for a range", s)
		}
	}
}

func TestEqualRanges(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"1.2", "~1.2.0", true}, {"1.2.x", " 1.2 ", true}, {"*", "", true}, {"^1.0.0", ">=1.0.0 <2.0.0-0", true}, {"1.2.3+a", "=v1.2.3", true},
		{"1.2", "1.3", false}, {"1.2.3", "1.2.3-beta", false}, {"1.2.3", ">=1.2.3", false}, {"1 || 2", "1", false}, {"*", "1", false},
	} {
		a, errA := ParseRange(c.a)
		b, errB := ParseRange(c.b)
		if got := a.Equal(&b); errA != nil || errB != nil || got != c.want || b.Equal(&a) != got {
			t.Errorf("%q and %q: equal %v, want %v", c.a, c.b, got, c.want)
		}
	}
}

func TestPad(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"2": "2.0.0", "2.0": "2.0.0", "2.0-rc": "2.0.0-rc", "2.0+m": "2.0.0+m", "2.0.1": "2.0.1", "2-rc": "2-rc", "x": "x", "": ""} {
		if got := Pad(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

// FuzzRange: nothing crashes, and a version that fits is never above.
func FuzzRange(f *testing.F) {
	f.Add("1.2.3-beta.2+b", ">=1.2.3-alpha <2 || ~1.x - 3")
	f.Add("0.0.0", "1.2.3 - 1.2")
	f.Add("1.0.0-0", "^0.0 ~> * <x")
	f.Fuzz(func(t *testing.T, version, text string) {
		v, ok := Parse(Pad(version))
		r, err := ParseRange(text)
		if !ok || err != nil {
			return
		}
		if r.Fits(&v) && r.Above(&v) {
			t.Fatalf("%q both fits and is above %q", version, text)
		}
		if v.compare(&v) != 0 {
			t.Fatalf("%q is not equal to itself", version)
		}
	})
}
