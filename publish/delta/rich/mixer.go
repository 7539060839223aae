package rich

// blend joins the opinions of many contexts into one probability: each opinion is weighed, in three ways at the same
// time, with weights chosen by small selectors; a second layer joins the three.
type blend struct {
	c     *curves
	n     int // inputs
	in    [maxInputs]int32
	sets  [layers][]int32 // first layer: weights of 1/65536, n for each value of the selector
	sel   [layers]int     // offset in sets
	mid   [layers]int32   // outputs of the first layer, logistic
	midP  [layers]uint32
	final []int32 // second layer, layers weights for each kind
	fsel  int
	p     uint32
}

const (
	maxInputs = 20
	layers    = 3
)

func newBlend(c *curves, inputs int, sizes [layers]int, kinds int) *blend {
	b := &blend{c: c, n: inputs}
	for i, size := range sizes {
		b.sets[i] = make([]int32, size*inputs)
		for j := range b.sets[i] {
			b.sets[i][j] = initialWeight
		}
	}
	b.final = make([]int32, kinds*layers)
	for i := range b.final {
		b.final[i] = 65536 / layers
	}
	return b
}

const initialWeight = 11000

func (b *blend) choose(s0, s1, s2, kind int) {
	b.sel = [layers]int{s0 * b.n, s1 * b.n, s2 * b.n}
	b.fsel = kind * layers
}

func (b *blend) weights() (in, w0, w1, w2 []int32) {
	in = b.in[:b.n]
	return in, b.sets[0][b.sel[0]:][:len(in)], b.sets[1][b.sel[1]:][:len(in)], b.sets[2][b.sel[2]:][:len(in)]
}

// predict gives the probability of a one.
func (b *blend) predict() uint32 {
	in, w0, w1, w2 := b.weights()
	var d0, d1, d2 int64
	for i, x := range in {
		x := int64(x)
		d0 += x * int64(w0[i])
		d1 += x * int64(w1[i])
		d2 += x * int64(w2[i])
	}
	f := b.final[b.fsel:][:layers]
	sum := int64(0)
	for k, dot := range [layers]int64{d0, d1, d2} {
		st := int32(min(max(dot>>16, -limit), limit))
		b.mid[k] = st
		b.midP[k] = uint32(b.c.squash[st+limit])
		sum += int64(st) * int64(f[k])
	}
	b.p = b.c.probability(int(sum >> 16))
	return b.p
}

// update learns the decision.
func (b *blend) update(bit int) {
	target := int32(bit) << 16
	in, w0, w1, w2 := b.weights()
	e0 := (target - int32(b.midP[0])) * learn >> 10
	e1 := (target - int32(b.midP[1])) * learn >> 10
	e2 := (target - int32(b.midP[2])) * learn >> 10
	if max(e0, e1, e2) >= smallError || min(e0, e1, e2) <= -smallError {
		for i, x := range in {
			w0[i] += (x*e0 + 1<<13) >> 14
			w1[i] += (x*e1 + 1<<13) >> 14
			w2[i] += (x*e2 + 1<<13) >> 14
		}
	}
	err := (target - int32(b.p)) >> 2
	f := b.final[b.fsel:][:layers]
	for k, st := range b.mid {
		f[k] += (st*err + 1<<15) >> 16
	}
}

// learn is how fast weights follow; errors below smallError change nothing.
const (
	learn      = 50
	smallError = 8
)
