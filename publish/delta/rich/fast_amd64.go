package rich

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

// fetchCells asks for the cells at, which are needed soon.
//
//go:noescape
func fetchCells(cells, at []uint32)

// fetchLines asks for lines.
//
//go:noescape
func fetchLines(cells []line, at []uint32)
