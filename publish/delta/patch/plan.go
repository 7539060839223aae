package patch

import (
	"bytes"
	"math/bits"

	"github.com/slipstream-ota/slipstream/publish/delta/suffix"
)

// prices are what a byte of new text is taken to cost, in 1/8 bits, for the choice of covers.
type prices struct{ rich, simple int }

const priceOfChange = 24

// priceOf tells text, which is cheap, from binary content.
func priceOf(b []byte) prices {
	odd := 0
	for _, c := range b {
		if c < 32 && c != '\t' && c != '\n' && c != '\r' || c == 127 {
			odd++
		}
	}
	if odd*50 > len(b) {
		return prices{rich: 20, simple: 30}
	}
	return prices{rich: 9, simple: 18}
}

// prune leaves out the covers that cost more to tell than the new text they save, at the price of a byte of that. It is a
// shortest path: every cover may follow any of the last few.
func prune(old, new []byte, covers []suffix.Cover, price int) []suffix.Cover {
	const span = 24
	type node struct{ cost, from int }
	best := make([]node, len(covers)+1)
	for i := range best {
		next := suffix.Cover{New: len(new)}
		own := 0
		if i < len(covers) {
			next = covers[i]
			own = priceOfChange * differing(old[next.Old:next.Old+next.Len], new[next.New:next.New+next.Len])
		}
		best[i] = node{next.New*price + jumpCost(next.Old, next.New), -1}
		for j := max(0, i-span); j < i; j++ {
			p := covers[j]
			text := next.New - p.New - p.Len
			cost := best[j].cost + text*price
			if i < len(covers) {
				cost += jumpCost(next.Old-p.Old-p.Len, text)
			}
			if cost <= best[i].cost {
				best[i] = node{cost, j}
			}
		}
		best[i].cost += own
	}
	n := 0
	for i := best[len(covers)].from; i >= 0; i = best[i].from {
		n++
	}
	out := make([]suffix.Cover, n)
	for i := best[len(covers)].from; i >= 0; i = best[i].from {
		n--
		out[n] = covers[i]
	}
	return out
}

// differing counts the places where two pieces of one length differ.
func differing(a, b []byte) int {
	n := 0
	for i := alike(a, b, 0); i < len(a); i = alike(a, b, i+1) {
		n++
	}
	return n
}

// alike gives the first place from i on where two pieces of one length differ, or their end.
func alike(a, b []byte, i int) int {
	const step = 64
	for i+step <= len(a) && bytes.Equal(a[i:i+step], b[i:i+step]) {
		i += step
	}
	for i < len(a) && a[i] == b[i] {
		i++
	}
	return i
}

// jumpCost is roughly what rich takes to begin a cover, in 1/8 bits.
func jumpCost(jump, text int) int {
	if jump < 0 {
		jump = -jump
	}
	return 8*(8+bits.Len(uint(text))) + 8*bits.Len(uint(jump))
}
