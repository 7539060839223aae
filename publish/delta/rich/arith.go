package rich

import "io"

// arith is a binary arithmetic coder over 32 bits, without carries: the interval [low, high] is split by the
// probability of a one, and bytes that both ends share leave it.
type arith struct {
	low, high uint32
	encoding  bool
	shifts    int64 // bytes that left the interval
	out       []byte

	in   io.ByteReader
	code uint32
	read int64 // bytes taken from in
	over bool  // in has ended
	err  error
}

func (a *arith) startEncoding() {
	a.low, a.high, a.encoding = 0, 1<<32-1, true
}

func (a *arith) startDecoding(r io.ByteReader) {
	a.low, a.high, a.in = 0, 1<<32-1, r
	for range 4 {
		a.code = a.code<<8 | uint32(a.next())
	}
}

// next gives the next byte. The writer leaves out zeros among the last four, so these may be missing; more may not.
func (a *arith) next() byte {
	if a.over {
		return 0
	}
	b, err := a.in.ReadByte()
	if err != nil {
		a.over = true
		if err != io.EOF {
			a.fail(err)
		}
		return 0
	}
	a.read++
	return b
}

func (a *arith) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}

// bit codes one decision; p in 1 … 65535 is the probability of a one in 1/65536.
func (a *arith) bit(bit int, p uint32) int {
	mid := a.low + uint32(uint64(a.high-a.low)*uint64(p)>>16)
	if a.encoding {
		if bit != 0 {
			a.high = mid
		} else {
			a.low = mid + 1
		}
		for (a.low^a.high)>>24 == 0 {
			a.out = append(a.out, byte(a.high>>24))
			a.low <<= 8
			a.high = a.high<<8 | 255
		}
		return bit
	}
	if a.code <= mid {
		bit = 1
		a.high = mid
	} else {
		bit = 0
		a.low = mid + 1
	}
	for (a.low^a.high)>>24 == 0 {
		a.low <<= 8
		a.high = a.high<<8 | 255
		a.code = a.code<<8 | uint32(a.next())
		a.shifts++
		if a.shifts > a.read {
			a.fail(io.ErrUnexpectedEOF)
		}
	}
	return bit
}

// last gives the number that ends the stream: the one of the interval with the most zeros at its end.
func (a *arith) last() uint32 {
	if a.low == 0 {
		return 0
	}
	for n := uint(24); n > 0; n -= 8 {
		if v := a.high >> n << n; v >= a.low {
			return v
		}
	}
	return a.low
}

// finish gives all coded bytes, without the zeros of the last number.
func (a *arith) finish() []byte {
	for v := a.last(); v != 0; v <<= 8 {
		a.out = append(a.out, byte(v>>24))
	}
	return a.out
}

// finished tells whether the stream ends here, and as the writer ends it. A byte lost, added or turned shows.
func (a *arith) finished() bool {
	n := a.shifts
	for v := a.last(); v != 0; v <<= 8 {
		n++
	}
	if a.code != a.last() || a.read != n {
		return false
	}
	a.next()
	return a.over
}
