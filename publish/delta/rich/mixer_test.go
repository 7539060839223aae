package rich

import (
	"math/rand/v2"
	"testing"
)

func TestVectorInstructionsWeighAsGoDoes(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(4, 4))
	for _, n := range []int{flagInputs, smallInputs, guessInputs, litInputs + 1} {
		for range 5000 {
			var in row
			var w [2 * layers]row
			size := int32(1) << r.IntN(30)
			for i := range in {
				for k := range layers {
					w[k][i] = r.Int32N(2*size) - size
				}
			}
			for i := range n {
				switch in[i] = r.Int32N(2*limit+1) - limit; r.IntN(8) {
				case 0:
					in[i] = limit
				case 1:
					in[i] = -limit
				}
			}
			copy(w[layers:], w[:layers])
			var got, want [layers + 1]int32
			weigh(&in, &w[0], &w[1], &w[2], n, &got)
			weighGo(&in, &w[3], &w[4], &w[5], n, &want)
			if [layers]int32(got[:]) != [layers]int32(want[:]) {
				t.Fatalf("sums of %v by %v are %v, not %v", in, w[:layers], got, want)
			}
			var e [layers]int32
			for k := range e {
				e[k] = (r.Int32N(2<<16+1) - 1<<16) * pace >> 10
			}
			follow(&in, &w[0], &w[1], &w[2], n, e[0], e[1], e[2])
			followGo(&in, &w[3], &w[4], &w[5], n, e[0], e[1], e[2])
			if [layers]row(w[:layers]) != [layers]row(w[layers:]) {
				t.Fatalf("weights follow %v to %v, not %v", e, w[:layers], w[layers:])
			}
		}
	}
}
