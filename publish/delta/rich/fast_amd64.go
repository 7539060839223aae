package rich

import "unsafe"

// weigh is weighGo by the vector instructions that every amd64 processor has.
//
//go:noescape
func weigh(in, w0, w1, w2 *row, n int, sums *[layers + 1]int32)

// follow is followGo by the same.
//
//go:noescape
func follow(in, w0, w1, w2 *row, n int, e0, e1, e2 int32)

// fetch asks for the memory at a and b, which is needed soon, and does not wait for it.
//
//go:noescape
func fetch(a, b *uint16)

// fetchAll asks for things of some size, which lie at these places behind first. There is one at least.
//
//go:noescape
func fetchAll(first unsafe.Pointer, size int, at []uint32)

// ask is askGo.
//
//go:noescape
func ask(cells *[maxInputs]*counter, at, n int, refine *meanings, stretch *[1 << 12]int16, in *row, meant *[maxInputs]uint16)

// learn is learnGo.
//
//go:noescape
func learn(cells *[maxInputs]*counter, at, n int, refine *meanings, meant *[maxInputs]uint16, bit int)
