//go:build !amd64

package rich

import "unsafe"

func weigh(in, w0, w1, w2 *row, n int, sums *[layers + 1]int32) { weighGo(in, w0, w1, w2, n, sums) }

func follow(in, w0, w1, w2 *row, n int, e0, e1, e2 int32) { followGo(in, w0, w1, w2, n, e0, e1, e2) }

// fetch reads memory that is needed soon: the processor goes on meanwhile.
//
//go:noinline
func fetch(a, b *uint16) uint16 { return *a | *b }

// fetchAll does so with things of some size, which lie at these places behind first.
//
//go:noinline
func fetchAll(first unsafe.Pointer, size int, at []uint32) (all uint8) {
	for _, i := range at {
		all |= *(*uint8)(unsafe.Add(first, size*int(i)))
	}
	return all
}

func ask(cells *[maxInputs]*counter, at, n int, refine *meanings, stretch *[1 << 12]int16, in *row, meant *[maxInputs]uint16) {
	askGo(cells, at, n, refine, stretch, in, meant)
}

func learn(cells *[maxInputs]*counter, at, n int, refine *meanings, meant *[maxInputs]uint16, bit int) {
	learnGo(cells, at, n, refine, meant, bit)
}
