package build

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"

	"github.com/slipstream-ota/slipstream"
)

func name(n int) slipstream.Digest { return slipstream.DigestOf(sha256.Sum256(fmt.Append(nil, n))) }

// newest gives releases from, from-1 … 1.
func newest(from int) (out []slipstream.Digest) {
	for n := from; n > 0; n-- {
		out = append(out, name(n))
	}
	return out
}

func TestBases(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		about   string
		earlier []slipstream.Digest
		running []Share
		bounds  Bounds
		want    []int
	}{
		{about: "the first release has none"},
		{about: "nobody has told: the five before", earlier: newest(8), want: []int{8, 7, 6, 5, 4}},
		{about: "the one before, then what runs most", earlier: newest(8), bounds: Bounds{Previous: 1},
			running: []Share{{name(2), 490}, {name(3), 110}, {name(1), 400}}, want: []int{8, 2, 1, 3}},
		{about: "what half of the fleet runs comes first", earlier: newest(8), bounds: Bounds{Previous: 1},
			running: []Share{{name(3), 100}, {name(2), 500}, {name(1), 400}}, want: []int{2, 8, 1, 3}},
		{about: "until the fleet is covered", earlier: newest(8), bounds: Bounds{Previous: 1, Cover: 0.9},
			running: []Share{{name(2), 490}, {name(3), 90}, {name(1), 420}}, want: []int{8, 2, 1}},
		{about: "devices go back from a later release too", earlier: newest(3), bounds: Bounds{Previous: 1},
			running: []Share{{name(200), 1000}, {name(1), 1}}, want: []int{200, 3}},
		{about: "never more than the most", earlier: newest(30), bounds: Bounds{Most: 3},
			running: []Share{{name(1), 9}, {name(2), 8}, {name(3), 7}}, want: []int{30, 1, 2}},
		{about: "the release itself is no base", earlier: newest(2),
			running: []Share{{name(100), 10}}, want: []int{2, 1}},
	} {
		t.Run(c.about, func(t *testing.T) {
			t.Parallel()
			var want []slipstream.Digest
			for _, n := range c.want {
				want = append(want, name(n))
			}
			if got := Bases(name(100), c.earlier, c.running, c.bounds); !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}
