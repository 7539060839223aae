package rich

// blend joins the opinions of many contexts into one probability: each opinion is weighed, in three ways at the same
// time, with weights chosen by small selectors; a second layer joins the three.
type blend struct {
	c      *curves
	n      int               // inputs
	in     row               // opinions, logistic; zero from n on
	sets   [layers][]row     // first layer: weights of 1/65536, a row for each value of the selector
	chosen [layers]*row      // of sets
	mid    [layers + 1]int32 // outputs of the first layer, logistic; the last is of no meaning
	final  [][layers]int32   // second layer, for each kind
	kind   int
	p      uint32
}

// row holds a number for each input. |opinions| are at most limit, and weights stay far below 1<<31: a step is 600 at most
// and goes against the error, so that n steps make them grow by the root of n.
type row [maxInputs]int32

const (
	maxInputs = 20 // a multiple of four
	layers    = 3
)

func newBlend(c *curves, inputs int, sizes [layers]int, kinds int) *blend {
	b := &blend{c: c, n: inputs}
	for i, size := range sizes {
		b.sets[i] = make([]row, size)
		for j := range b.sets[i] {
			for k := range b.sets[i][j] {
				b.sets[i][j][k] = initialWeight
			}
		}
	}
	b.final = make([][layers]int32, kinds)
	for i := range b.final {
		b.final[i] = [layers]int32{65536 / layers, 65536 / layers, 65536 / layers}
	}
	return b
}

const initialWeight = 11000

func (b *blend) choose(s0, s1, s2, kind int) {
	b.chosen = [layers]*row{&b.sets[0][s0], &b.sets[1][s1], &b.sets[2][s2]}
	b.kind = kind
}

// predict gives the probability of a one.
func (b *blend) predict() uint32 {
	weigh(&b.in, b.chosen[0], b.chosen[1], b.chosen[2], b.n, &b.mid)
	f := &b.final[b.kind]
	sum := int64(b.mid[0])*int64(f[0]) + int64(b.mid[1])*int64(f[1]) + int64(b.mid[2])*int64(f[2])
	b.p = b.c.probability(int(sum >> 16))
	return b.p
}

// update learns the decision.
func (b *blend) update(bit int) {
	target := int32(bit) << 16
	squash := &b.c.squash
	e0 := (target - int32(squash[b.mid[0]+limit])) * pace >> 10
	e1 := (target - int32(squash[b.mid[1]+limit])) * pace >> 10
	e2 := (target - int32(squash[b.mid[2]+limit])) * pace >> 10
	if max(e0, e1, e2) >= smallError || min(e0, e1, e2) <= -smallError {
		follow(&b.in, b.chosen[0], b.chosen[1], b.chosen[2], b.n, e0, e1, e2)
	}
	err := (target - int32(b.p)) >> 2
	f := &b.final[b.kind]
	f[0] += (b.mid[0]*err + 1<<15) >> 16
	f[1] += (b.mid[1]*err + 1<<15) >> 16
	f[2] += (b.mid[2]*err + 1<<15) >> 16
}

// pace is how fast weights follow; errors below smallError change nothing.
const (
	pace       = 50
	smallError = 8
)

// weighGo puts the sums of n inputs by each row of weights, within the limits, into sums. It is what weigh does.
func weighGo(in, w0, w1, w2 *row, n int, sums *[layers + 1]int32) {
	x := in[:n]
	a, b, c := w0[:len(x)], w1[:len(x)], w2[:len(x)]
	var d0, d1, d2 int64
	for i, x := range x {
		x := int64(x)
		d0 += x * int64(a[i])
		d1 += x * int64(b[i])
		d2 += x * int64(c[i])
	}
	sums[0] = int32(min(max(d0>>16, -limit), limit))
	sums[1] = int32(min(max(d1>>16, -limit), limit))
	sums[2] = int32(min(max(d2>>16, -limit), limit))
}

// followGo moves each row of weights by its error, a number of 16 bits. It is what follow does.
func followGo(in, w0, w1, w2 *row, n int, e0, e1, e2 int32) {
	x := in[:n]
	a, b, c := w0[:len(x)], w1[:len(x)], w2[:len(x)]
	for i, x := range x {
		a[i] += (x*e0 + 1<<13) >> 14
		b[i] += (x*e1 + 1<<13) >> 14
		c[i] += (x*e2 + 1<<13) >> 14
	}
}
