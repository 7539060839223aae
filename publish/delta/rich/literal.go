package rich

const litInputs = maxContexts + 3

// literals codes bytes.
type literals struct {
	lines  lines
	h      [maxContexts]uint32 // contexts of the byte
	at     [maxContexts]uint32 // places of their lines
	n      int                 // how many
	kind   int
	b      *blend
	refine [kinds][]meanings
	match  [3]prediction
	sel1   int
	sel2   int
	byNode []correction // last corrections: by what the byte is so far
	byByte []correction // and by the byte before, too
	c2     uint32
}

// Kinds of bytes: one that stands for another one of old, and one of new text.
const (
	changedKind = iota
	textKind
	kinds
)

// correction is what a probability was found to mean, in steps of one in the logistic domain.
type correction [25]uint16

const byByteLog = 14

const maxContexts = 15 // of lines; the other inputs are matches

// prediction is a byte that a match expects.
type prediction struct {
	byte   byte
	length int // of the match, 0: nothing is expected
	asked  int // the same while it agrees with the bits so far
	p      [64]uint16
}

func newLiterals(r *room, c *curves, log int) literals {
	l := literals{lines: newLines(r, log), byNode: make([]correction, 512), byByte: make([]correction, 1<<byByteLog)}
	for i := range l.refine {
		l.refine[i] = newRefine(maxContexts)
	}
	l.b = newBlend(c, litInputs+1, [layers]int{512, 640, 256}, 2)
	for i := range l.match {
		for j := range l.match[i].p {
			l.match[i].p[j] = uint16(65535 - 32768/(j&31+2))
		}
	}
	var none correction
	for i := range none {
		none[i] = uint16(c.probability((i - len(none)/2) * 256))
	}
	for _, all := range [][]correction{l.byNode, l.byByte} {
		for i := range all {
			all[i] = none
		}
	}
	return l
}

// begin makes room for the n contexts of a byte.
func (l *literals) begin(kind, n int) { l.kind, l.n = kind, n }

// add takes contexts from the k-th on, and asks for their lines.
func (l *literals) add(k int, contexts ...[2]uint32) {
	h, at := l.h[k:][:len(contexts)], l.at[k:][:len(contexts)]
	for i, c := range contexts {
		h[i] = hash3(uint32(l.kind<<8|k+i)+0x100, c[0], c[1])
		at[i] = l.lines.place(h[i])
	}
	l.lines.fetch(at)
}

// code codes a byte in the contexts that were added.
func (m *model) code(b byte) byte {
	l := &m.lits
	var lines [maxInputs]*counter
	h := l.h[:l.n]
	l.fetchCorrection(1)
	foreseen := l.foresee()
	var half halves
	l.second(&half, foreseen)
	for k, h := range h {
		lines[k] = &l.lines.settle(l.at[k], h)[0]
	}
	node := uint32(1)
	for i := 7; i >= 4; i-- {
		node = node<<1 | uint32(m.codeBit(int(b>>i&1), node, node, uint(i), &lines))
	}
	if node != foreseen {
		l.second(&half, node)
	}
	for k, h := range half.h[:len(h)] {
		lines[k] = &l.lines.settle(half.at[k], h)[0]
	}
	for i := 3; i >= 0; i-- {
		top := uint32(1) << (3 - i)
		node = node<<1 | uint32(m.codeBit(int(b>>i&1), node, node&(top-1)|top, uint(i), &lines))
	}
	return byte(node)
}

// halves are the contexts of the second half of a byte, and the places of their lines.
type halves struct{ h, at [maxContexts]uint32 }

// foresee gives the first half of the byte that is expected most.
func (l *literals) foresee() uint32 {
	for k := range l.match {
		if l.match[k].length > 0 {
			return 16 | uint32(l.match[k].byte>>4)
		}
	}
	return 16
}

// second finds the contexts of the second half behind the first one, and asks for their lines.
func (l *literals) second(half *halves, node uint32) {
	h, at := half.h[:l.n], half.at[:l.n]
	for k, first := range l.at[:l.n] {
		h[k] = hash2(l.h[k], node)
		at[k] = second(h[k], first)
	}
	l.lines.fetch(at)
}

func (l *literals) correction(node uint32) *correction {
	return &l.byByte[(l.c2*0x9e3779b1+node*0x85ebca6b)>>(32-byByteLog)]
}

func (l *literals) fetchCorrection(node uint32) {
	c := l.correction(node)
	fetch(&c[0], &c[len(c)-1])
}

// codeBit codes bit i of a byte. node is the bits above it, behind a one; sub is the same for the bits of its half.
func (m *model) codeBit(bit int, node, sub uint32, i uint, lines *[maxInputs]*counter) int {
	l := &m.lits
	stretch := &m.c.stretch
	refine := &l.refine[l.kind][0]
	var meant [maxInputs]uint16
	ask(lines, int(sub), l.n, refine, stretch, &l.b.in, &meant)
	l.askMatches(node, i, stretch)
	l.b.choose(l.kind<<8|int(node), l.sel1<<3|int(7-i), l.sel2<<5|min(l.match[0].asked, 15)<<1|min(l.match[1].asked, 1), l.kind)
	p := l.b.predict()
	l.fetchCorrection(node<<1 | p>>15) // of the next bit, if this is what it seems
	st := min(max(int(stretch[p>>4&(1<<12-1)])+12<<8, 0), 24<<8-1)
	j, frac := st>>8, st&255
	a0, a1 := (*[2]uint16)(l.byNode[l.kind<<8|int(node)][j:]), (*[2]uint16)(l.correction(node)[j:])
	p0 := (int(a0[0])*(256-frac) + int(a0[1])*frac) >> 8
	p1 := (int(a1[0])*(256-frac) + int(a1[1])*frac) >> 8
	q := uint32((2*int(p) + p0 + p1) / 4)
	q = min(max(q, 16), 65520)
	bit = m.ar.bit(bit, q)
	m.account(q, bit)
	if bit != 0 {
		a0[0], a0[1], a1[0], a1[1] = rise(a0[0]), rise(a0[1]), rise(a1[0]), rise(a1[1])
	} else {
		a0[0], a0[1], a1[0], a1[1] = fall(a0[0]), fall(a0[1]), fall(a1[0]), fall(a1[1])
	}
	l.b.update(bit)
	learn(lines, int(sub), l.n, refine, &meant, bit)
	for k := range l.match {
		if p := &l.match[k]; p.asked > 0 {
			p.learn(l.kind, int(p.byte>>i&1) == bit)
		}
	}
	return bit
}

// askMatches puts the opinions of the matches into the mixer.
func (l *literals) askMatches(node uint32, i uint, stretch *[1 << 12]int16) {
	in := &l.b.in
	for k := range l.match {
		p := &l.match[k]
		x := int32(0)
		p.asked = 0
		if p.length > 0 && (uint32(p.byte)|256)>>(i+1) == node {
			p.asked = p.length
			x = int32(stretch[p.p[(p.length|l.kind<<5)&63]>>4])
			if p.byte>>i&1 == 0 {
				x = -x
			}
		}
		in[maxContexts+k] = x
	}
	in[litInputs] = 256
}

// learn moves the probability that the match is right.
func (p *prediction) learn(kind int, right bool) {
	v := &p.p[(p.asked|kind<<5)&63]
	if right {
		*v += (65535 - *v) >> 6
	} else {
		*v -= *v >> 6
		p.length = 0
	}
}

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
	l.begin(changedKind, 14)
	l.add(0,
		[2]uint32{o0, not},
		[2]uint32{o0 | b1<<8 | o1<<16, 2},
		[2]uint32{o0 | o1<<8 | c1<<16 | c2<<24, 4},
		[2]uint32{m.track.token, c1},
		[2]uint32{uint32(e) | agree<<8, word},
		[2]uint32{o0 | diff(1)<<8, word},
		[2]uint32{o0 | diff(4)<<8, diff(1)},
		[2]uint32{o0 | diff(8)<<8 | diff(16)<<16, word},
		[2]uint32{c1 | c2<<8, 5},
		[2]uint32{c1 | c2<<8 | c3<<16 | c4<<24, 6},
		[2]uint32{not, word},
		[2]uint32{o0 | o1<<8 | o2<<16 | uint32(v[o+3])<<24, 7},
		[2]uint32{m.delta[0], o0 | word<<8},
		[2]uint32{uint32(t.is) | uint32(p.is)<<8, uint32(t.past&3 | p.past&3<<2)},
	)
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

// foretell takes the contexts of the k-th byte of new text that need no match.
func (m *model) foretell(k int) {
	l, t := &m.lits, &m.text
	n := len(m.out)
	c1, c2, c3, c4 := uint32(m.out[n-1]), uint32(m.out[n-2]), uint32(m.out[n-3]), uint32(m.out[n-4])
	c5, c6, c8 := uint32(m.out[n-5]), uint32(m.out[n-6]), uint32(m.out[n-8])
	l0 := uint32(0)
	if k < 24 {
		l0 = uint32(m.view[m.o+k]) + 1
	}
	order4 := c1 | c2<<8 | c3<<16 | c4<<24
	right := uint32(m.rights[0])
	left := uint32(min(m.textLeft, 3))
	pos := uint32(m.np & 3)
	after2, after3 := t.after2[c1|c2<<8], t.after3[t.slot3(order4)]
	l.begin(textKind, maxContexts)
	l.add(1,
		[2]uint32{c1 | c2<<8, 1},
		[2]uint32{c4 | c8<<8, pos},
		[2]uint32{order4 & (1<<(8*pos) - 1), pos}, // the bytes of the word so far
		[2]uint32{order4, c5 | c6<<8 | 1<<16},
		[2]uint32{c4 | c1<<8, pos},
		[2]uint32{t.word, t.lastWord},
		[2]uint32{t.after1[c1], c1},
		[2]uint32{after2, c1},
	)
	l.add(11,
		[2]uint32{l0, c1},
		[2]uint32{right | left<<8, c1},
		[2]uint32{c2 | c3<<8, 6},
		[2]uint32{after3 & 0xffff, after2 & 0xff},
	)
	l.c2 = c1
	l.sel2 = 1 + t.class(byte(c1))
}

// textByte codes a byte of new text, which was foretold.
func (m *model) textByte(b byte) byte {
	l, t := &m.lits, &m.text
	e0, e1, e2 := t.expect(0), t.expect(1), t.expect(2)
	l.add(0, [2]uint32{e2, uint32(m.np & 3)})
	l.add(9, [2]uint32{e0, l.c2}, [2]uint32{e1 | e0<<16, 5})
	for k, e := range [3]uint32{e0, e1, e2} {
		l.match[k].byte, l.match[k].length = byte(e), int(e>>8)
	}
	l.sel1 = 16 + int(min(e1>>8, 15)) + min(m.textLeft, 3)<<4
	return m.code(b)
}
