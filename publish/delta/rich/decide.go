package rich

import "math/bits"

// kinds of decisions and numbers, part of their contexts.
const (
	kindChange = iota + 1
	kindType
	kindGap
	kindText
	kindJump
	kindWay
	kindHit
)

const (
	flagInputs  = 12
	smallInputs = 6
	guessInputs = 14
)

// flags code everything but bytes.
type flags struct {
	cells     singles
	h         [maxInputs]uint32 // contexts of the next decision
	big       decider           // whether a byte changes
	small     decider           // kinds of events, and numbers
	guess     decider           // whether a guess is right
	quick     [1 << 12]uint16   // how often a byte changes, by little
	recent    [4]int            // shifts between old and new that were left
	lastClass [8]uint32         // of the numbers of a kind
	classPrev [8]uint32
}

// decider codes decisions by a number of contexts.
type decider struct {
	b      *blend
	refine []meanings
}

func newFlags(r *room, c *curves, class int) flags {
	f := flags{cells: newSingles(r, class-6)}
	f.big = newDecider(c, flagInputs, [layers]int{256, 64, 32})
	f.small = newDecider(c, smallInputs, [layers]int{32, 32, 8})
	f.guess = newDecider(c, guessInputs, [layers]int{32, 1024, 32})
	for i := range f.quick {
		f.quick[i] = 8192
	}
	return f
}

func newDecider(c *curves, n int, sizes [layers]int) decider {
	return decider{b: newBlend(c, n, sizes, 8), refine: newRefine(n)}
}

// decide codes one decision in the contexts h[:n].
func (m *model) decide(d *decider, bit int) int {
	f := &m.flags
	n := min(d.b.n, maxInputs)
	var cells [maxInputs]*counter
	var meant [maxInputs]uint16
	f.cells.find(f.h[:n], &cells)
	ask(&cells, 0, n, &d.refine[0], &m.c.stretch, &d.b.in, &meant)
	p := min(max(d.b.predict(), 4), 65532)
	bit = m.ar.bit(bit, p)
	m.account(p, bit)
	d.b.update(bit)
	learn(&cells, 0, n, &d.refine[0], &meant, bit)
	return bit
}

func (m *model) account(p uint32, bit int) {
	m.decisions++
	if m.tally == nil {
		return
	}
	if bit == 0 {
		p = 65536 - p
	}
	// the binary logarithm in 1/65536, a parabola between powers of two
	l := bits.Len32(p) - 1
	x := int64(p-1<<l) << 16 >> l
	x += x * (65536 - x) >> 16 * 22528 >> 16
	m.tally[m.part].Cost[m.cat] += int64(16-l)<<16 - x
}

// rare is the probability of a change, in 1/65536, below which a quick guess is good enough to code with.
const rare = 150

// flag codes whether the byte at a likely place changes.
func (m *model) flag(bit int) int {
	f := &m.flags
	near := uint32(m.hist)
	dist := min(m.np-m.prevAt, 63)
	t, p := m.track.words.at(m.track.word), m.track.triples.at(m.track.triple)
	e, agree := m.expected()
	likely := 0
	if agree < 2 && e != m.view[m.o] {
		likely = 1
	}
	if (near>>3|near>>7|near>>15)&1 != 0 {
		likely |= 2
	}
	quick := &f.quick[int(t.past&7)|int(p.past&7)<<3|min(dist, 15)<<6|likely<<10]
	q := uint32(*quick)
	if q < rare {
		q = max(q, 8)
		bit = m.ar.bit(bit, q)
		m.account(q, bit)
	} else {
		bit = m.slowFlag(bit, t, p, uint32(dist), e, agree)
	}
	*quick = uint16(int32(*quick) + (int32(bit)*65535-int32(*quick))>>5)
	return bit
}

// slowFlag is flag by all that is known.
func (m *model) slowFlag(bit int, t, p *past, dist uint32, e byte, agree uint32) int {
	f := &m.flags
	v, o := m.view, m.o
	o0, o1, o2, b1 := uint32(v[o]), uint32(v[o+1]), uint32(v[o+2]), uint32(v[o-1])
	c1, c2 := uint32(m.out[len(m.out)-1]), uint32(m.out[len(m.out)-2])
	word := uint32(m.op & 3)
	es := agree << 1
	if uint32(e) == o0 {
		es |= 1
	}
	near := uint32(m.hist)
	inside := uint32(0)
	if wordByte(v[o-1]) {
		inside |= 1
	}
	if wordByte(v[o+1]) {
		inside |= 2
	}
	h := &f.h
	h[0] = hash3(kindChange<<8, near&0xff, dist)
	h[1] = hash3(kindChange<<8+1, b1|o0<<8|o1<<16, near&1)
	h[2] = hash3(kindChange<<8+13, o0|inside<<8, near&7)
	h[3] = hash3(kindChange<<8+3, m.track.token, near&1)
	h[4] = hash3(kindChange<<8+4, near>>3&0x11|near>>11&0x11<<1|near&3<<8|near>>19&0x11<<10, word)
	h[5] = hash3(kindChange<<8+5, dist, uint32(min(m.lastStep, 255)))
	h[6] = hash3(kindChange<<8+6, es, word|near&7<<2)
	h[7] = hash3(kindChange<<8+7, o0|o1<<8|o2<<16|uint32(v[o+3])<<24, near&1)
	h[8] = hash3(kindChange<<8+8, o0|c1<<8|c2<<16, 0)
	h[9] = hash3(kindChange<<8+12, uint32(p.past), uint32(log(m.op-int(p.when))))
	h[10] = hash3(kindChange<<8+10, uint32(t.past), uint32(log(m.op-int(t.when))))
	h[11] = hash3(kindChange<<8+11, uint32(t.past)|uint32(p.past)<<8, inside)
	f.big.b.choose(int(near&255), int(word|es<<2&15<<2), int(min(dist, 31)), 0)
	return m.decide(&f.big, bit)
}

func (m *model) eventType(bit int, quiet bool) int {
	f := &m.flags
	v, o := m.view, m.o
	o0, o1, b1 := uint32(v[o]), uint32(v[o+1]), uint32(v[o-1])
	c1 := uint32(m.out[len(m.out)-1])
	q := uint32(0)
	if quiet {
		q = 1
	}
	h := &f.h
	h[0] = hash3(kindType, q, uint32(m.hist)&15)
	h[1] = hash3(kindType<<8, b1|o0<<8|o1<<16, q)
	h[2] = hash3(kindType<<8+1, o0, q)
	h[3] = hash3(kindType<<8+2, m.track.token, c1)
	h[4] = hash3(kindType<<8+3, m.types&0xff, q)
	h[5] = hash3(kindType<<8+4, c1, o0)
	f.small.b.choose(int(q), int(m.types&3), kindType, 1)
	return m.decide(&f.small, bit)
}

// number codes a number below maxSize, or never, given two small facts it may depend on.
func (m *model) number(kind uint32, v int, a, b uint32) int {
	f := &m.flags
	class := log(v)
	node := uint32(1)
	code := func(bit int, node, extra uint32) int {
		h := &f.h
		k := kind<<8 | extra<<16
		h[0] = hash3(k, node, 1)
		h[1] = hash3(k, node, 2|a<<8)
		h[2] = hash3(k, node, 3|b<<8)
		h[3] = hash3(k, node, 4|a<<8|b<<16)
		h[4] = hash3(k, node, 5|f.lastClass[kind]<<8)
		h[5] = hash3(k, node, 6|f.lastClass[kind]<<8|f.classPrev[kind]<<16)
		f.small.b.choose(int(node&31), int(extra&31), int(kind), int(kind))
		return m.decide(&f.small, bit)
	}
	for i := 4; i >= 0; i-- {
		node = node<<1 | uint32(code(class>>i&1, node, 0))
	}
	class = int(node & 31)
	f.classPrev[kind] = f.lastClass[kind]
	f.lastClass[kind] = uint32(class)
	switch {
	case class < 2:
		return class
	case class == 31:
		return never
	}
	r := 1
	for i := class - 2; i >= 0; i-- {
		bit := v >> i & 1
		if class-2-i < 3 {
			bit = code(bit, uint32(r)|32, uint32(class))
		} else {
			bit = m.plain(bit)
		}
		r = r<<1 | bit
	}
	return r
}

// plain codes a bit that nothing is known of.
func (m *model) plain(bit int) int {
	bit = m.ar.bit(bit, 32768)
	m.account(32768, bit)
	return bit
}

// Ways to tell where old goes on.
const (
	jumpAhead = iota
	jumpBack
	jumpRecent // to a shift that was left before: the latest, the one before …
)

// jump codes how far old goes on from where it was left.
func (m *model) jump(jump, n int) int {
	f := &m.flags
	way := jumpAhead
	if m.mode == encoding {
		if jump < 0 {
			way = jumpBack
		}
		shift := m.op + jump - (m.np + n)
		for i, s := range f.recent {
			if s == shift && jump != 0 {
				way = jumpRecent + i
				break
			}
		}
	}
	a := uint32(min(log(n), 7))
	way = m.number(kindWay, way, a, 0)
	switch {
	case way >= jumpRecent+len(f.recent):
		m.fail(ErrCorrupt)
		return 0
	case way >= jumpRecent:
		i := way - jumpRecent
		jump = f.recent[i] - m.op + m.np + n
		copy(f.recent[1:i+1], f.recent[:i])
	default:
		if jump < 0 {
			jump = -jump
		}
		jump = m.number(kindJump, jump, a, uint32(min(log(m.textLen), 3)))
		if way == jumpBack {
			jump = -jump
		}
		copy(f.recent[1:], f.recent[:len(f.recent)-1])
	}
	f.recent[0] = m.op - m.np
	return jump
}

// wordBytes are the letters, digits, _, $ and all from 128 on, a bit for each.
var wordBytes = [4]uint64{0x03ff001000000000, 0x07fffffe87fffffe, 1<<64 - 1, 1<<64 - 1}

func wordByte(b byte) bool { return wordBytes[b>>6]>>(b&63)&1 != 0 }

// dword is the word of four bytes of old that op is in.
func (m *model) dword() uint32 {
	i := m.o - m.op&3
	return uint32(m.view[i]) | uint32(m.view[i+1])<<8 | uint32(m.view[i+2])<<16 | uint32(m.view[i+3])<<24
}

// expected gives what the byte becomes when its word grows by as much as the one changed last, and how well the bytes of
// the word so far agree with that.
func (m *model) expected() (byte, uint32) {
	k := uint(m.op & 3)
	w := m.dword()
	got := uint32(0)
	for i := range k {
		got |= uint32(m.out[len(m.out)-int(k-i)]) << (8 * i)
	}
	mask := uint32(1)<<(8*k) - 1
	for i, d := range m.delta {
		if e := w + d; e&mask == got {
			return byte(e >> (8 * k)), uint32(i)
		}
	}
	return byte(w >> (8 * k)), 2
}

// learnDelta remembers by how much the word of the changed byte grew.
func (m *model) learnDelta(was, is byte) {
	m.lastStep = m.np - m.prevAt
	m.prevAt = m.np
	k := uint(m.op & 3)
	w := m.dword()
	got := uint32(0)
	for i := range k + 1 {
		got |= uint32(m.out[len(m.out)-1-int(k-i)]) << (8 * i)
	}
	high := ^uint32(0)
	if k < 3 {
		high = uint32(1)<<(8*(k+1)) - 1
	}
	d := got - w
	// a sign that the bytes so far suggest
	d = d & high
	if k < 3 && d>>(8*k+7) != 0 {
		d |= ^high
	}
	if d != m.delta[0] {
		if m.delta[0]&(1<<(8*k)-1) != d&(1<<(8*k)-1) || k == 0 {
			m.delta[1] = m.delta[0]
		}
		m.delta[0] = d
	}
}
