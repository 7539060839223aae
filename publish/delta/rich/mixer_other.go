//go:build !amd64

package rich

func weigh(in, w0, w1, w2 *row, n int, sums *[layers + 1]int32) { weighGo(in, w0, w1, w2, n, sums) }

func follow(in, w0, w1, w2 *row, n int, e0, e1, e2 int32) { followGo(in, w0, w1, w2, n, e0, e1, e2) }
