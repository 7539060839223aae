package protocol

import (
	"slices"
	"testing"
)

func TestVersionsAreOrdered(t *testing.T) {
	t.Parallel()
	ordered := []string{"0", "0.9", "1.0.0-alpha", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0", "1.0.1", "1.9", "1.10.0", "2", "7", "8.0", "10", "99999999999999999999", "100000000000000000000", "a", "b"}
	for i, a := range ordered {
		for j, b := range ordered {
			want := 0
			if i != j {
				want = map[bool]int{true: -1, false: 1}[i < j]
			}
			if got := Compare(a, b); got != want {
				t.Errorf("Compare(%q, %q) = %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestEqualVersions(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]string{{"1", "1.0.0"}, {"v1.2", "1.2"}, {"1.2+build", "1.2"}, {" 1.2 ", "1.2"}, {"01", "1"}, {"", "0"}} {
		if Compare(pair[0], pair[1]) != 0 || Compare(pair[1], pair[0]) != 0 {
			t.Errorf("%q and %q", pair[0], pair[1])
		}
	}
}

// FuzzCompare checks that the order is one: no two answers contradict each other.
func FuzzCompare(f *testing.F) {
	f.Add("1.0.0", "1.10.0", "7")
	f.Add("v1-a", "1-b", "1")
	f.Add("..", "0.", "a.1")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if Compare(a, b) != -Compare(b, a) || Compare(a, a) != 0 {
			t.Fatalf("%q, %q: %d, %d", a, b, Compare(a, b), Compare(b, a))
		}
		s := []string{a, b, c}
		slices.SortFunc(s, Compare)
		if Compare(s[0], s[1]) > 0 || Compare(s[1], s[2]) > 0 || Compare(s[0], s[2]) > 0 {
			t.Fatalf("not sorted: %q", s)
		}
	})
}
