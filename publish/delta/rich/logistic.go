package rich

import "math/bits"

// The logistic domain: x stands for the probability 1/(1+e^(-x/256)).
const (
	limit  = 3071 // largest x: a probability of about 6e-6
	domain = 2*limit + 1
)

// curves are the two functions between probabilities in 1/65536 and the logistic domain.
type curves struct {
	squash  [domain]uint16 // from x+limit
	stretch [1 << 12]int16 // from p/16
}

// newCurves computes the tables in integers, so that they are the same everywhere.
func newCurves() *curves {
	c := &curves{}
	const step = 1157433911791679357 // e^(1/256) in 1/2^60
	e := uint64(1 << 40)             // e^(x/256) in 1/2^40
	for x := 0; x <= limit; x++ {
		// e/(1+e) in 1/65536; e stays below 2^58
		p := uint32(65536 - (uint64(1)<<56)/(e+1<<40)) // 65536*(1 - 1/(1+e))
		p = min(max(p, 1), 65535)
		c.squash[limit+x] = uint16(p)
		c.squash[limit-x] = uint16(65536 - p)
		hi, lo := bits.Mul64(e, step)
		e = hi<<4 | lo>>60
	}
	x := 0
	for p := range c.stretch {
		for x < domain-1 && int(c.squash[x]) < p<<4|8 {
			x++
		}
		c.stretch[p] = int16(x - limit)
	}
	return c
}

func (c *curves) probability(x int) uint32 {
	return uint32(c.squash[min(max(x, -limit), limit)+limit])
}
