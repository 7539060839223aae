package rich

import "unsafe"

// counter is an adaptive probability: 4 bits of how often it was used, and below them 12 of it.
type counter = uint16

const (
	freshCounter = 2048
	useBits      = 0xf000
)

// rates are what a counter learns from a decision, in 1/65536, and what is added to its uses, by how often it was used.
var rates = [16]struct{ rate, use uint32 }{{32768, 4096}, {21845, 4096}, {16384, 4096}, {13107, 4096}, {10922, 4096}, {9362, 4096},
	{8192, 4096}, {7281, 4096}, {6553, 4096}, {5957, 4096}, {5461, 4096}, {5041, 4096}, {4681, 0}}

// meanings are what counters were found to mean, by how often they were used and their value.
type meanings [1 << 9]uint16

func newRefine(n int) []meanings {
	r := make([]meanings, n)
	for k := range r {
		for i := range r[k] {
			r[k][i] = uint16((i&31)*2048 + 1024)
		}
	}
	return r
}

// askGo puts the opinions of n counters into in, and where their meanings are into meant: the counters at behind cells, and
// refine for the first one, which the others follow. A counter that was never used has none. It is what ask does.
func askGo(cells *[maxInputs]*counter, at, n int, refine *meanings, stretch *[1 << 12]int16, in *row, meant *[maxInputs]uint16) {
	all := unsafe.Slice(refine, n)
	for k, c := range cells[:n] {
		v := *(*counter)(unsafe.Add(unsafe.Pointer(c), 2*at))
		i := v >> 7
		meant[k] = i
		in[k] = int32(stretch[all[k][i]>>4]) & ((freshCounter<<1 - 1 - int32(v)) >> 31)
	}
}

// learnGo tells the same counters, and their meanings, what the bit was. Two cells may be the same, so that a counter is
// another one than when asked. It is what learn does.
func learnGo(cells *[maxInputs]*counter, at, n int, refine *meanings, meant *[maxInputs]uint16, bit int) {
	all := unsafe.Slice(refine, n)
	for k, c := range cells[:n] {
		c = (*counter)(unsafe.Add(unsafe.Pointer(c), 2*at))
		r := &all[k][meant[k]]
		v, rate := *c, &rates[*c>>12]
		if bit != 0 {
			*r = rise(*r)
			*c = v + counter(uint32(^v&0xfff)*rate.rate>>16+rate.use)
		} else {
			*r = fall(*r)
			*c = v - counter((uint32(v&0xfff)*rate.rate+65535)>>16-rate.use)
		}
	}
}

// rise moves a probability of 1/65536 a little to one, fall to zero.
func rise(v uint16) uint16 { return v + ^v>>6 }
func fall(v uint16) uint16 { return v - uint16((uint32(v)+63)>>6) }
