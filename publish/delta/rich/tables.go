package rich

import "unsafe"

// line holds the counters of half a byte in a context: a check and 15 counters.
type line [16]counter

type lines struct {
	cells []line
	mask  uint32
}

func newLines(r *room, log int) lines {
	return lines{cells: table[line](r, 1<<log), mask: 1<<log - 1}
}

// place says where the line of a context should be.
func (l *lines) place(h uint32) uint32 { return h * 0x2c1b3c6d >> 3 & l.mask }

// second says where the line of the second half of a byte should be, near that of the first half: this spares the
// processor the search for another piece of memory.
func second(h, first uint32) uint32 {
	const piece = 1<<7 - 1
	return first&^piece | h>>3&piece
}

// fetch asks for lines.
func (l *lines) fetch(at []uint32) {
	fetchAll(unsafe.Pointer(&l.cells[0]), int(unsafe.Sizeof(line{})), at)
}

// settle gives the line of a context. When it is neither at its place nor beside it, it is begun.
func (l *lines) settle(i, h uint32) *line {
	check := uint16(h>>16) | 1
	pair := (*twoLines)(l.cells[i&^1:])
	if pair[i&1][0] == check {
		return &pair[i&1]
	}
	return pair.beside(i&1, check)
}

type twoLines [2]line

// beside gives the line with a check that is not the one at i. A new one takes the place of an empty one or that which was
// used less.
func (p *twoLines) beside(i uint32, check uint16) *line {
	first, other := &p[i&1], &p[i&1^1]
	if other[0] == check {
		return other
	}
	if first[0] != 0 && (first[1]&useBits > other[1]&useBits || other[0] == 0) {
		first = other
	}
	*first = line{check, freshCounter, freshCounter, freshCounter, freshCounter, freshCounter, freshCounter, freshCounter,
		freshCounter, freshCounter, freshCounter, freshCounter, freshCounter, freshCounter, freshCounter, freshCounter}
	return first
}

// singles are checked counters of one decision each.
type singles struct {
	cells []single
	mask  uint32
}

type single struct {
	counter counter
	check   uint16
}

func newSingles(r *room, log int) singles {
	return singles{cells: table[single](r, 1<<log), mask: 1<<log - 1}
}

// find gives the counters of contexts. All are asked for before any is looked at, so that the processor waits for memory
// once and not for each.
func (s *singles) find(h []uint32, found *[maxInputs]*counter) {
	var places [maxInputs]uint32
	at := places[:len(h)]
	for k, h := range h {
		at[k] = h * 0x2c1b3c6d >> 7 & s.mask
	}
	fetchAll(unsafe.Pointer(&s.cells[0]), int(unsafe.Sizeof(single{})), at)
	for k, i := range at {
		found[k] = s.settle(i, h[k])
	}
}

func (s *singles) settle(i, h uint32) *counter {
	check := uint16(h >> 16)
	pair := (*[2]single)(s.cells[i&^1:])
	first, other := &pair[i&1], &pair[i&1^1]
	if first.check == check {
		return &first.counter
	}
	if other.check == check {
		return &other.counter
	}
	if first.counter&useBits > other.counter&useBits {
		first = other
	}
	*first = single{freshCounter, check}
	return &first.counter
}
