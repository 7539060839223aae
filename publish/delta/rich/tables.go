package rich

// counter is an adaptive probability: 12 bits of it and 4 of how often it was used.
type counter = uint16

const freshCounter = 2048 << 4

// rates are what a counter learns from a decision, in 1/65536, by how often it was used.
var rates = [16]int32{32768, 21845, 16384, 13107, 10922, 9362, 8192, 7281, 6553, 5957, 5461, 5041, 4681, 4369, 4096, 3640}

// used is a mask: all ones for a counter that was used before, else zero.
func used(v counter) int32 { return -(int32(v&15+15) >> 4) }

func learnt(v counter, bit int) counter {
	n := v & 15
	p := int32(v >> 4)
	p += ((int32(bit)*4095 - p) * rates[n]) >> 16
	return counter(p)<<4 | (n + (n-12)>>15) // n is 12 at most

}

// lines hold the counters of half a byte in a context: a check and 15 counters.
type lines struct {
	cells   []counter
	mask    uint32
	touched uint16 // of no meaning: it keeps the reads that bring lines near
}

func newLines(r *room, log int) lines {
	return lines{cells: table[counter](r, 16<<log), mask: 1<<log - 1}
}

// find gives the lines of contexts, which are begun when they are not there. All are touched before any is looked at, so
// that the processor waits for memory once and not for each.
func (l *lines) find(h []uint32, at []int) {
	at = at[:len(h)]
	touched := uint16(0)
	for k, h := range h {
		i := int((h*0x2c1b3c6d>>3)&l.mask) << 4
		at[k] = i
		touched |= l.cells[i]
	}
	l.touched = touched
	for k, h := range h {
		at[k] = l.settle(at[k], h)
	}
}

// second gives the lines of the second half of a byte. They lie in the same pieces of memory as the first ones, which
// spares the processor the search for others.
func (l *lines) second(h []uint32, node uint32, at []int) {
	const piece = 1<<11 - 1
	at = at[:len(h)]
	var hashes [maxContexts]uint32
	touched := uint16(0)
	for k, h := range h {
		h = hash2(h, node)
		i := at[k]&^piece | int(h>>3)<<4&piece
		hashes[k], at[k] = h, i
		touched |= l.cells[i]
	}
	l.touched = touched
	for k, h := range hashes[:len(h)] {
		at[k] = l.settle(at[k], h)
	}
}

func (l *lines) settle(i int, h uint32) int {
	check := uint16(h>>16) | 1
	j := i ^ 16
	if l.cells[i] == check {
		return i
	}
	if l.cells[j] == check {
		return j
	}
	if l.cells[i] != 0 && l.cells[i+1]&15 > l.cells[j+1]&15 || l.cells[j] == 0 && l.cells[i] != 0 {
		i = j
	}
	line := (*[16]counter)(l.cells[i:])
	*line = [16]counter{check, freshCounter, freshCounter, freshCounter, freshCounter, freshCounter, freshCounter, freshCounter,
		freshCounter, freshCounter, freshCounter, freshCounter, freshCounter, freshCounter, freshCounter, freshCounter}
	return i
}

// singles are checked counters of one decision each.
type singles struct {
	cells   []uint32 // 16 bits counter, 16 bits check
	mask    uint32
	touched uint32 // as of lines
}

func newSingles(r *room, log int) singles {
	return singles{cells: table[uint32](r, 1<<log), mask: 1<<log - 1}
}

// find gives the places of contexts.
func (s *singles) find(h []uint32, at []int) {
	at = at[:len(h)]
	touched := uint32(0)
	for k, h := range h {
		i := int((h * 0x2c1b3c6d >> 7) & s.mask)
		at[k] = i
		touched |= s.cells[i]
	}
	s.touched = touched
	for k, h := range h {
		at[k] = s.settle(at[k], h)
	}
}

func (s *singles) settle(i int, h uint32) int {
	check := h >> 16
	if s.cells[i]>>16 == check {
		return i
	}
	j := i ^ 1
	if s.cells[j]>>16 == check {
		return j
	}
	if s.cells[i]&15 > s.cells[j]&15 {
		i = j
	}
	s.cells[i] = check<<16 | freshCounter
	return i
}
