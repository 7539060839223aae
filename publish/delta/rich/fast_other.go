//go:build !amd64

package rich

func weigh(in, w0, w1, w2 *row, n int, sums *[layers + 1]int32) { weighGo(in, w0, w1, w2, n, sums) }

func follow(in, w0, w1, w2 *row, n int, e0, e1, e2 int32) { followGo(in, w0, w1, w2, n, e0, e1, e2) }

// fetch reads memory that is needed soon: the processor goes on meanwhile.
//
//go:noinline
func fetch(a, b *uint16) uint16 { return *a | *b }

// fetchCells does so with cells.
//
//go:noinline
func fetchCells(cells, at []uint32) (all uint32) {
	for _, i := range at {
		all |= cells[i]
	}
	return all
}

// fetchLines does so with lines.
//
//go:noinline
func fetchLines(cells []line, at []uint32) (all uint16) {
	for _, i := range at {
		all |= cells[i][0]
	}
	return all
}
