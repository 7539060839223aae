package rich

import "slices"

const litInputs = maxContexts + 3

// literals codes bytes.
type literals struct {
	lines  lines
	h      [maxContexts]uint32
	at     [maxContexts]int
	b      *blend
	refine []uint16
	kind   int
	n      int // contexts
	match  [3]prediction
	sel1   int
	sel2   int
	apm    [2][]uint16
	c2     uint32
}

// Last corrections: steps of the probability, and the logarithm of the contexts of the second one.
const (
	apmSteps = 25
	apmLog   = 14
)

const maxContexts = 15 // of lines; the other inputs are matches

// prediction is a byte that a match expects.
type prediction struct {
	byte   byte
	length int // of the match, 0: nothing is expected
	p      []uint16
}

func newLiterals(r *room, c *curves, log int) literals {
	l := literals{lines: newLines(r, log), refine: newRefine(2 * litInputs)}
	l.b = newBlend(c, litInputs+1, [layers]int{512, 640, 256}, 2)
	for i := range l.match {
		l.match[i].p = make([]uint16, 64)
		for j := range l.match[i].p {
			l.match[i].p[j] = uint16(65535 - 32768/(j&31+2))
		}
	}
	row := make([]uint16, apmSteps)
	for i := range row {
		row[i] = uint16(c.probability((i - apmSteps/2) * 256))
	}
	for i, n := range [...]int{512, 1 << apmLog} {
		l.apm[i] = slices.Repeat(row, n)
	}
	return l
}

// begin makes room for the contexts of a byte: of a changed one or of new text.
func (l *literals) begin(kind int) { l.kind, l.n = kind, 0 }

// add gives the next context.
func (l *literals) add(a, b uint32) {
	l.h[l.n] = hash3(uint32(l.kind<<8|l.n)+0x100, a, b)
	l.n++
}

// code codes a byte in the contexts that were set.
func (m *model) code(b byte) byte {
	l := &m.lits
	node := uint32(1)
	for i := 7; i >= 0; i-- {
		switch i {
		case 7:
			l.lines.find(l.h[:l.n], l.at[:])
		case 3:
			l.lines.second(l.h[:l.n], node, l.at[:])
		}
		node = node<<1 | uint32(m.codeBit(int(b>>i&1), node, uint(i)))
	}
	return byte(node)
}

func (m *model) codeBit(bit int, node uint32, i uint) int {
	l := &m.lits
	sub := int(node)
	if i < 4 {
		sub = int(node&(1<<(3-i)-1) | 1<<(3-i))
	}
	row0 := (l.kind<<8 | int(node)) * apmSteps
	row1 := int((l.c2*0x9e3779b1+node*0x85ebca6b)>>(32-apmLog)) * apmSteps
	l.lines.touched = l.apm[1][row1+apmSteps/2] // it is far away, and needed soon
	var slot [maxContexts]*uint16
	var cell [maxContexts]*counter
	cells := l.lines.cells
	refine := l.refine[l.kind*litInputs<<9:][:litInputs<<9]
	n := min(l.n, maxContexts)
	stretch, in := &m.c.stretch, &l.b.in
	for k, at := range l.at[:n] {
		c := &cells[at+sub]
		v := *c
		r := &refine[k<<9|int(v&15)<<5|int(v>>11)]
		cell[k], slot[k] = c, r
		in[k] = int32(stretch[*r>>4]) & used(v)
	}
	lens := [3]int{}
	for k := range l.match {
		pr := &l.match[k]
		x := int32(0)
		if pr.length > 0 && (uint32(pr.byte)|256)>>(i+1) == node {
			lens[k] = pr.length
			x = int32(stretch[pr.p[pr.length|l.kind<<5]>>4])
			if pr.byte>>i&1 == 0 {
				x = -x
			}
		}
		in[maxContexts+k] = x
	}
	in[litInputs] = 256
	l.b.choose(l.kind<<8|int(node), l.sel1<<3|int(7-i), l.sel2<<5|min(lens[0], 15)<<1|min(lens[1], 1), l.kind)
	p := l.b.predict()
	// two last corrections, by what the byte is so far and by the byte before
	st := min(max(int(stretch[p>>4])+12<<8, 0), 24<<8-1)
	j, frac := st>>8, st&255
	a0, a1 := l.apm[0][row0+j:][:2], l.apm[1][row1+j:][:2]
	p0 := (int(a0[0])*(256-frac) + int(a0[1])*frac) >> 8
	p1 := (int(a1[0])*(256-frac) + int(a1[1])*frac) >> 8
	q := uint32((2*int(p) + p0 + p1) / 4)
	q = min(max(q, 16), 65520)
	bit = m.ar.bit(bit, q)
	m.account(q, bit)
	target := int32(bit) * 65535
	a0[0], a0[1] = toward(a0[0], target), toward(a0[1], target)
	a1[0], a1[1] = toward(a1[0], target), toward(a1[1], target)
	l.b.update(bit)
	for k, c := range cell[:n] {
		*slot[k] = toward(*slot[k], target)
		*c = learnt(*c, bit)
	}
	for k, length := range lens {
		if length > 0 {
			pr := &l.match[k]
			v := &pr.p[length|l.kind<<5]
			if int(pr.byte>>i&1) == bit {
				*v += (65535 - *v) >> 6
			} else {
				*v -= *v >> 6
				pr.length = 0
			}
		}
	}
	return bit
}

// toward moves a probability of 1/65536 a little to a target.
func toward(v uint16, target int32) uint16 { return uint16(int32(v) + (target-int32(v))>>6) }

// changedByte codes the byte that stands for another one of old.
func (m *model) changedByte(b byte) byte {
	best := m.guess()
	if best >= 0 {
		right := 0
		if s := &m.guesser.sources[best]; s.byte == b {
			right = 1
		}
		if m.hit(best, right) != 0 {
			b = m.guesser.sources[best].byte
			m.guessed(b)
			return b
		}
	}
	b = m.otherByte(b, best)
	m.guessed(b)
	return b
}

// otherByte codes a changed byte that was not guessed.
func (m *model) otherByte(b byte, best int) byte {
	not := uint32(256)
	if best >= 0 {
		not = uint32(m.guesser.sources[best].byte)
	}
	l := &m.lits
	v, o := m.view, m.o
	o0, o1, o2, b1 := uint32(v[o]), uint32(v[o+1]), uint32(v[o+2]), uint32(v[o-1])
	n := len(m.out)
	c1, c2, c3, c4 := uint32(m.out[n-1]), uint32(m.out[n-2]), uint32(m.out[n-3]), uint32(m.out[n-4])
	diff := func(k int) uint32 { return uint32(m.out[n-k] - v[o-k]) }
	word := uint32(m.op & 3)
	e, agree := m.expected()
	t, p := m.track.words.at(m.track.word), m.track.triples.at(m.track.triple)
	l.begin(0)
	l.add(o0, not)
	l.add(o0|b1<<8|o1<<16, 2)
	l.add(o0|o1<<8|c1<<16|c2<<24, 4)
	l.add(m.track.token, c1)
	l.add(uint32(e)|agree<<8, word)
	l.add(o0|diff(1)<<8, word)
	l.add(o0|diff(4)<<8, diff(1))
	l.add(o0|diff(8)<<8|diff(16)<<16, word)
	l.add(c1|c2<<8, 5)
	l.add(c1|c2<<8|c3<<16|c4<<24, 6)
	l.add(not, word)
	l.add(o0|o1<<8|o2<<16|uint32(v[o+3])<<24, 7)
	l.add(m.delta[0], o0|word<<8)
	l.add(uint32(t.is)|uint32(p.is)<<8, uint32(t.past&3|p.past&3<<2))
	l.c2 = o0
	l.match[0].byte, l.match[0].length = e, 0
	if byte(o0) != e {
		l.match[0].length = int(1 + agree)
	}
	l.match[1].length, l.match[2].length = 0, 0
	l.sel1 = int(word | agree<<2)
	l.sel2 = 0
	return m.code(b)
}

// textByte codes a byte of new text, the k-th of its piece.
func (m *model) textByte(b byte, k int) byte {
	l := &m.lits
	t := &m.text
	n := len(m.out)
	c1, c2, c3, c4 := uint32(m.out[n-1]), uint32(m.out[n-2]), uint32(m.out[n-3]), uint32(m.out[n-4])
	c5, c6 := uint32(m.out[n-5]), uint32(m.out[n-6])
	l0 := uint32(0)
	if k < 24 {
		l0 = uint32(m.view[m.o+k]) + 1
	}
	order4 := c1 | c2<<8 | c3<<16 | c4<<24
	right := uint32(m.rights[0])
	left := uint32(min(m.textLeft, 3))
	e0, e1, e2 := t.expect(0), t.expect(1), t.expect(2)
	pos := uint32(m.np & 3)
	c8 := uint32(m.out[n-8])
	after2, after3 := t.after2[c1|c2<<8], t.after3[t.slot3(order4)]
	l.begin(1)
	l.add(e2, pos)
	l.add(c1|c2<<8, 1)
	l.add(c4|c8<<8, pos)
	l.add(order4&(1<<(8*pos)-1), pos) // the bytes of the word so far
	l.add(order4, c5|c6<<8|1<<16)
	l.add(c4|c1<<8, pos)
	l.add(t.word, t.lastWord)
	l.add(t.after1[c1], c1)
	l.add(after2, c1)
	l.add(e0, c1)
	l.add(e1|e0<<16, 5)
	l.add(l0, c1)
	l.add(right|left<<8, c1)
	l.add(c2|c3<<8, 6)
	l.add(after3&0xffff, after2&0xff)
	l.c2 = c1
	for k, e := range [3]uint32{e0, e1, e2} {
		l.match[k].byte, l.match[k].length = byte(e), int(e>>8)
	}
	l.sel1 = 16 + int(min(e1>>8, 15)) + int(left)<<4
	l.sel2 = 1 + t.class(byte(c1))
	return m.code(b)
}
