package rich

// weigh is weighGo by the vector instructions that every amd64 processor has.
//
//go:noescape
func weigh(in, w0, w1, w2 *row, n int, sums *[layers + 1]int32)

// follow is followGo by the same.
//
//go:noescape
func follow(in, w0, w1, w2 *row, n int, e0, e1, e2 int32)
