// Package suffix finds where parts of one byte string occur in another: a suffix array of the old one, searched with
// bounded work, and from that the covers, the pieces of the old string that the new one is built from.
package suffix

import (
	"bytes"
	"context"
)

// Index finds the places of a text. It is read-only after New and may be used by many goroutines.
type Index struct {
	text  []byte
	order []int32
	pairs []int32 // where in order the suffixes begin that start with a pair of bytes
}

// New sorts text, which must not change afterwards.
func New(ctx context.Context, text []byte) (*Index, error) {
	order, err := Sort(ctx, text)
	if err != nil {
		return nil, err
	}
	x := &Index{text: text, order: order, pairs: make([]int32, 1<<16+1)}
	for i := 1; i < len(text); i++ {
		x.pairs[int(text[i-1])<<8|int(text[i])+1]++
	}
	// The suffix of one byte lies in front of all that begin with it: count it to the pair with zero.
	if n := len(text); n > 0 {
		x.pairs[int(text[n-1])<<8+1]++
	}
	for i := 1; i < len(x.pairs); i++ {
		x.pairs[i] += x.pairs[i-1]
	}
	return x, nil
}

// searchDepth bounds the bytes that one comparison of a search looks at. Longer matches are measured afterwards.
const searchDepth = 512

// Longest gives the place of the text that has the longest common beginning with pattern, and that length. Beyond 512
// bytes one is as good as the other. Among equal ones it is the place nearest to the wanted one of those it looks at.
func (x *Index) Longest(pattern []byte, wanted int) (pos, length int) {
	if len(pattern) < 2 || len(x.text) == 0 {
		return 0, 0
	}
	p := int(pattern[0])<<8 | int(pattern[1])
	lo, hi := int(x.pairs[p]), int(x.pairs[p+1])
	if lo == hi {
		return 0, 0
	}
	first, last := lo, hi
	deep := pattern[:min(len(pattern), searchDepth)]
	lcpLo, lcpHi := 0, 0
	for lo < hi { // the first suffix that is not smaller than the pattern
		mid := int(uint(lo+hi) >> 1)
		at := x.text[x.order[mid]:]
		n := min(lcpLo, lcpHi)
		n += common(at[min(n, len(at)):], deep[n:])
		if n == len(deep) || n < len(at) && at[n] > deep[n] {
			hi, lcpHi = mid, n
		} else {
			lo, lcpLo = mid+1, n
		}
	}
	best := 0
	near := func(i int) bool {
		at := int(x.order[i])
		n := common(x.text[at:], deep)
		if n == searchDepth {
			n += common(x.text[at+n:], pattern[n:])
		}
		if n > best || n == best && distance(at, wanted) < distance(pos, wanted) {
			best, pos = n, at
			return true
		}
		return n == best
	}
	const neighbours = 8
	for i := lo; i < min(last, lo+neighbours) && near(i); i++ {
	}
	for i := lo - 1; i >= max(first, lo-neighbours) && near(i); i-- {
	}
	if best < 2 {
		return 0, 0
	}
	return pos, best
}

func distance(a, b int) int {
	if a < b {
		return b - a
	}
	return a - b
}

// common counts the bytes that a and b begin with alike.
func common(a, b []byte) int {
	n := min(len(a), len(b))
	i := 0
	for i+32 <= n && bytes.Equal(a[i:i+32], b[i:i+32]) {
		i += 32
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}
