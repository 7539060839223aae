package suffix

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// texts are the shapes that make sorting and searching hard.
func texts() map[string][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	texts := map[string][]byte{
		"empty": nil, "one byte": []byte("a"), "two falling": []byte("ba"), "two rising": []byte("ab"),
		"banana": []byte("banana"), "mississippi": []byte("mmiissiissiippii"),
		"zeros": make([]byte, 3000), "high bytes": bytes.Repeat([]byte{255, 254, 255}, 700),
		"saw": []byte(strings.Repeat("abcdefgh", 300)), "rising": {0, 1, 2, 3, 4, 5, 6}, "falling": {6, 5, 4, 3, 2, 1, 0},
	}
	fib, prev := []byte("ab"), []byte("a")
	for range 12 {
		fib, prev = append(slices.Clone(fib), prev...), fib
	}
	texts["Fibonacci word"] = fib
	for i := range 60 {
		b := make([]byte, r.IntN(2000))
		for j := range b {
			b[j] = byte(r.IntN(1 + i*4))
		}
		texts[fmt.Sprintf("random %d", i)] = b
	}
	return texts
}

func TestSuffixesComeOutInOrder(t *testing.T) {
	t.Parallel()
	for name, text := range texts() {
		got, err := Sort(context.Background(), text)
		if err != nil {
			t.Fatal(err)
		}
		want := make([]int32, len(text))
		for i := range want {
			want[i] = int32(i)
		}
		slices.SortFunc(want, func(a, b int32) int { return bytes.Compare(text[a:], text[b:]) })
		if !slices.Equal(got, want) {
			t.Errorf("%s: wrong order", name)
		}
	}
}

func TestSortEndsWithTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Sort(ctx, []byte("some text")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func longestNaive(text, pattern []byte) int {
	best := 0
	for i := range text {
		best = max(best, common(text[i:], pattern))
	}
	return best
}

func TestLongestFindsTheLongest(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(6, 6))
	for name, text := range texts() {
		if len(text) > 3000 {
			text = text[:3000]
		}
		x, err := New(context.Background(), text)
		if err != nil {
			t.Fatal(err)
		}
		for range 30 {
			pattern := []byte{1, 2, 3}
			if len(text) > 0 {
				i := r.IntN(len(text))
				pattern = append(slices.Clone(text[i:min(len(text), i+r.IntN(900))]), byte(r.IntN(256)), 7)
			}
			pos, n := x.Longest(pattern, r.IntN(3000))
			want := longestNaive(text, pattern)
			if want < 2 {
				want = 0
			}
			if min(n, searchDepth) != min(want, searchDepth) || n > 0 && common(text[pos:], pattern) != n {
				t.Fatalf("%s: %d bytes at %d, %d are there", name, n, pos, want)
			}
		}
	}
}

// checkCovers fails the test unless covers are inside, in order and do not overlap.
func checkCovers(t testing.TB, old, new []byte, covers []Cover) {
	t.Helper()
	end := 0
	for _, c := range covers {
		if c.Len <= 0 || c.New < end || c.Old < 0 || c.Old+c.Len > len(old) || c.New+c.Len > len(new) {
			t.Fatalf("cover %+v behind %d of %d and %d bytes", c, end, len(old), len(new))
		}
		end = c.New + c.Len
	}
}

func TestCoversHoldWhatIsThere(t *testing.T) {
	t.Parallel()
	all := texts()
	for a, old := range all {
		x, err := New(context.Background(), old)
		if err != nil {
			t.Fatal(err)
		}
		for b, new := range all {
			covers, err := x.Covers(context.Background(), new, 8)
			if err != nil {
				t.Fatal(err)
			}
			checkCovers(t, old, new, covers)
			if a == b && len(new) > 1 && (len(covers) != 1 || covers[0] != Cover{0, 0, len(new)}) {
				t.Errorf("%s is not covered by itself: %v", a, covers)
			}
		}
	}
}

// Inputs on which a careless search takes time with the square of the length.
func TestRepeatsAreNoTrap(t *testing.T) {
	t.Parallel()
	const n = 1 << 20
	for name, pair := range map[string][2][]byte{
		"zeros":             {make([]byte, n), make([]byte, n+1)},
		"zeros and a one":   {append(make([]byte, n), 1), append([]byte{1}, make([]byte, n)...)},
		"broken zeros":      {make([]byte, n), bytes.Repeat(append(make([]byte, 700), 1), n/701)},
		"saws of two kinds": {bytes.Repeat([]byte("abcdefg"), n/7), bytes.Repeat([]byte("abcdefgabcdefh"), n/14)},
	} {
		x, err := New(context.Background(), pair[0])
		if err != nil {
			t.Fatal(err)
		}
		covers, err := x.Covers(context.Background(), pair[1], 8)
		if err != nil {
			t.Fatal(err)
		}
		checkCovers(t, pair[0], pair[1], covers)
		t.Log(name, len(covers))
	}
}

func FuzzCovers(f *testing.F) {
	f.Add([]byte("a banana is a banana"), []byte("bananas are bananas"))
	f.Add([]byte{}, []byte{1})
	f.Fuzz(func(t *testing.T, old, new []byte) {
		x, err := New(context.Background(), old)
		if err != nil {
			t.Fatal(err)
		}
		covers, err := x.Covers(context.Background(), new, 8)
		if err != nil {
			t.Fatal(err)
		}
		checkCovers(t, old, new, covers)
	})
}
