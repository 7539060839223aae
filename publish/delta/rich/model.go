package rich

import (
	"context"
	"hash/crc32"
	"io"
	"math/bits"
)

// modes of a model.
const (
	scanning = iota // only finds out the gaps
	encoding
	decoding
)

// model is the state that writer and reader share. All of it follows from what was coded before.
type model struct {
	ctx  context.Context
	mode int
	err  error
	ar   arith
	c    *curves

	src     Source
	oldSize int
	newSize int
	op, np  int    // aligned place in old, place in new
	jumped  int    // np behind the last structural event, plus one
	view    []byte // a piece of old around op, with zeros where there is nothing
	viewBuf []byte
	vbase   int
	o       int    // op in the view
	out     []byte // the last bytes of new, keep of them at least
	w       io.Writer
	sum     uint32 // CRC-32 of new so far

	// the writer's side
	new      []byte
	covers   []Cover
	cover    int   // the present one
	gaps     []int // the quiet places between changes at quiet places
	gapAt    int
	counted  int   // scanning: quiet places so far
	most     int64 // decisions allowed
	progress func(int)

	// where changes are
	track    tracker
	quiet    int // quiet places before the next change at one
	lastGap  int
	hist     uint64 // the last places: ones are changes
	prevAt   int    // np of the last change
	lastStep int    // from the change before to it
	types    uint32 // the last events: ones are structural

	// what comes in their place
	flags    flags
	guesser  guesser
	hits     uint32    // the last guesses: ones were right
	delta    [2]uint32 // by how much words grew last
	lits     literals
	text     history
	rights   [4]byte // in new text: the bytes of old that follow it
	textLen  int
	textLeft int

	// what it took
	decisions int64
	cat       int // kind of cost
	ends      []int
	part      int
	tally     []Tally // nil: nobody asked
}

// never is the gap behind the last change. All other numbers are below maxSize.
const (
	never   = 1<<31 - 1
	maxSize = 1 << 30
)

const (
	keep          = 64
	outSize       = 64 << 10
	viewSize      = 16 << 10
	viewAfterJump = 1 << 10
	viewPad       = 64
)

func hash2(a, b uint32) uint32 {
	h := a*0x9e3779b1 ^ b*0x85ebca6b
	h ^= h >> 15
	h *= 0x2c1b3c6d
	return h ^ h>>13
}

func hash3(a, b, c uint32) uint32 { return hash2(hash2(a, b), c+0x5bd1e995) }

// load brings the bytes around op into the view: many when old goes on there, few after a jump.
func (m *model) load() {
	size := viewSize
	if m.o < 0 || m.o > len(m.view) {
		size = viewAfterJump
	}
	m.view = m.viewBuf[:size]
	m.vbase = m.op - viewPad
	start, end := max(0, m.vbase), min(m.oldSize, m.vbase+size)
	clear(m.view[:max(0, min(size, start-m.vbase))])
	for at := start; at < end; {
		b, err := m.src.Page(at)
		if err != nil {
			m.fail(err)
			break
		}
		at += copy(m.view[at-m.vbase:end-m.vbase], b)
	}
	clear(m.view[max(0, end-m.vbase):])
	m.o = m.op - m.vbase
}

func (m *model) fail(err error) {
	if m.err == nil {
		m.err = err
	}
}

// at sees to it that the view has the bytes around op.
func (m *model) at() {
	m.o = m.op - m.vbase
	if m.o < viewPad/2 || m.o >= len(m.view)-viewPad {
		m.load()
	}
}

// emit appends a byte of new.
func (m *model) emit(b byte) {
	m.out = append(m.out, b)
	m.np++
	for m.part+1 < len(m.ends) && m.np >= m.ends[m.part] {
		m.part++
	}
	if len(m.out) == cap(m.out) {
		m.flush()
	}
}

// flush hands on what is complete and keeps the last bytes.
func (m *model) flush() {
	if m.mode != scanning {
		m.sum = crc32.Update(m.sum, crc32.IEEETable, m.out[keep:])
	}
	if m.w != nil && m.err == nil {
		if _, err := m.w.Write(m.out[keep:]); err != nil {
			m.fail(err)
		}
	}
	n := copy(m.out, m.out[len(m.out)-keep:])
	m.out = m.out[:n]
	if err := m.ctx.Err(); err != nil {
		m.fail(err)
	}
	if m.most > 0 && m.decisions > m.most {
		m.fail(ErrTooMany)
	}
	if m.progress != nil {
		m.progress(m.np)
	}
}

// run codes everything.
func (m *model) run() error {
	if m.mode != scanning {
		m.newGap()
	}
	for m.np < m.newSize && m.err == nil && m.ar.err == nil {
		if m.op >= m.oldSize || m.op < 0 {
			m.structure()
			continue
		}
		m.at()
		if m.skip() {
			continue
		}
		if m.np >= m.newSize {
			break
		}
		if !m.track.hot(m.view, m.o, m.op) {
			m.event(true)
			m.newGap()
			continue
		}
		change := 0
		if m.mode != decoding && m.changes() {
			change = 1
		}
		m.cat = CostPlace
		if m.mode != scanning {
			change = m.flag(change)
		} else {
			m.decisions++
		}
		if change != 0 {
			m.event(false)
		} else {
			m.track.same(m.op)
			m.same()
		}
	}
	if m.mode == scanning {
		m.gaps = append(m.gaps, m.counted)
		return m.err
	}
	return m.finish()
}

// finish codes half of the CRC-32 of new, so that a wrong old and a damaged end show.
func (m *model) finish() error {
	m.flush()
	m.cat = CostPlace
	for i := range 16 {
		bit := int(m.sum >> i & 1)
		if m.plain(bit) != bit {
			m.fail(ErrCorrupt)
		}
	}
	return m.err
}

// count notes where bytes come from.
func (m *model) count(same, changed, text int) {
	if m.tally != nil {
		t := &m.tally[m.part]
		t.Same += int64(same)
		t.Changed += int64(changed)
		t.Text += int64(text)
	}
}

// changes tells the writer whether the next byte is no plain copy.
func (m *model) changes() bool {
	c := m.covers[m.cover]
	return m.np >= c.New+c.Len || m.new[m.np] != m.view[m.o]
}

func (m *model) same() {
	m.count(1, 0, 0)
	m.emit(m.view[m.o])
	m.op++
	m.hist <<= 1
}

// skip copies quiet bytes. It tells whether it copied any.
func (m *model) skip() bool {
	room := min(cap(m.out)-len(m.out), m.newSize-m.np, m.oldSize-m.op, len(m.view)-viewPad-m.o)
	limit := room
	if m.mode != scanning {
		limit = min(room, m.quiet)
	} else {
		c := m.covers[m.cover]
		limit = min(limit, max(0, c.New+c.Len-m.np))
		limit = alike(m.new[m.np:m.np+limit], m.view[m.o:m.o+limit])
	}
	n := m.track.cold(m.view, m.o, m.op, limit)
	for n < limit && !m.track.hot(m.view, m.o+n, m.op+n) {
		m.track.same(m.op + n)
		n++
		n += m.track.cold(m.view, m.o+n, m.op+n, limit-n)
	}
	if n == 0 {
		return false
	}
	m.out = append(m.out, m.view[m.o:m.o+n]...)
	for left := n; left > 0; {
		k := left
		if m.part+1 < len(m.ends) {
			k = min(k, m.ends[m.part]-m.np)
		}
		m.count(k, 0, 0)
		m.np += k
		left -= k
		for m.part+1 < len(m.ends) && m.np >= m.ends[m.part] {
			m.part++
		}
	}
	m.op += n
	m.hist <<= uint(min(n, 64))
	m.quiet -= n
	m.counted += n
	if len(m.out) == cap(m.out) {
		m.flush()
	}
	return true
}

// alike counts the bytes at the front that are the same in two slices of one length.
func alike(a, b []byte) int {
	for i, c := range a {
		if b[i] != c {
			return i
		}
	}
	return len(a)
}

// newGap codes how many quiet places there are before the next change at one.
func (m *model) newGap() {
	if m.mode == scanning {
		m.gaps = append(m.gaps, m.counted)
		m.counted = 0
		return
	}
	v := 0
	if m.mode == encoding {
		v = m.gaps[m.gapAt]
		m.gapAt++
		if m.gapAt == len(m.gaps) {
			v = never
		}
	}
	m.cat = CostPlace
	m.quiet = m.number(kindGap, v, uint32(log(m.lastGap)), m.types&15)
	m.lastGap = m.quiet
}

// event codes a change at the present place: another byte, or that something is inserted or left out.
func (m *model) event(quiet bool) {
	structural := 0
	if m.mode != decoding {
		if c := m.covers[m.cover]; m.np >= c.New+c.Len {
			structural = 1
		}
	}
	m.cat = CostCover
	if m.mode != scanning {
		structural = m.eventType(structural, quiet)
	}
	m.types = m.types<<1 | uint32(structural)
	if structural != 0 {
		m.structure()
		return
	}
	was := m.view[m.o]
	b := byte(0)
	if m.mode != decoding {
		b = m.new[m.np]
	}
	m.cat = CostByte
	if m.mode != scanning {
		b = m.changedByte(b)
	} else {
		m.decisions += 4
	}
	m.track.changed(m.op, b)
	m.count(0, 1, 0)
	m.emit(b)
	m.learnDelta(was, b)
	m.op++
	m.hist = m.hist<<1 | 1
}

// structure codes new text and where in old it goes on.
func (m *model) structure() {
	n, jump := 0, 0
	if m.mode != decoding {
		c := m.covers[m.cover]
		next := Cover{New: m.newSize, Old: c.Old + c.Len}
		if m.cover+1 < len(m.covers) {
			next = m.covers[m.cover+1]
		}
		n, jump = next.New-m.np, next.Old-m.op
		m.cover++
		if m.cover == len(m.covers) {
			m.covers = append(m.covers, Cover{New: m.newSize, Old: next.Old})
		}
	}
	m.cat = CostCover
	if m.mode != scanning {
		n = m.number(kindText, n, uint32(min(log(m.textLen), 7)), uint32(m.hist&3))
		if n > m.newSize-m.np {
			m.fail(ErrCorrupt)
			return
		}
		if n < m.newSize-m.np {
			jump = m.jump(jump, n)
		}
		if to := m.op + jump; to < 0 || to > m.oldSize {
			m.fail(ErrCorrupt)
			return
		}
		if n == 0 && (jump == 0 || m.jumped == m.np+1) {
			m.fail(ErrCorrupt) // nothing is gained, maybe for ever
			return
		}
		m.jumped = m.np + n + 1
	}
	m.textLen = n
	if m.mode == scanning {
		m.decisions += int64(30 + 8*n)
	}
	if m.tally != nil {
		m.tally[m.part].Covers++
	}
	m.insert(n, jump)
	m.hist <<= 1
	m.track.jumped(m.op)
}

// insert codes n bytes of new text and moves on in old.
func (m *model) insert(n, jump int) {
	if n == 0 || m.mode == scanning {
		if n > 0 {
			for _, b := range m.new[m.np : m.np+n] {
				m.emit(b)
			}
		}
		m.op += jump
		return
	}
	left := m.op
	m.op += jump
	m.at()
	copy(m.rights[:], m.view[m.o:m.o+4])
	m.op = left
	m.at()
	m.cat = CostText
	m.text.prime(m)
	m.text.begin(m)
	for m.textLeft = n; m.textLeft > 0 && m.err == nil && m.ar.err == nil; m.textLeft-- {
		m.text.fetch(m)
		m.foretell(n - m.textLeft) // its lines come near while the matches are looked up
		m.text.lookup(m)
		if m.textLeft < n {
			m.text.keep(m)
		}
		b := byte(0)
		if m.mode == encoding {
			b = m.new[m.np]
		}
		b = m.textByte(b)
		m.count(0, 0, 1)
		m.emit(b)
		m.text.add(m, b)
	}
	m.text.fetch(m)
	m.text.keep(m)
	m.op = left + jump
}

// log gives the bits of a number; 32 stands for all negative ones.
func log(v int) int {
	if v < 0 {
		return 32
	}
	return bits.Len(uint(v))
}
