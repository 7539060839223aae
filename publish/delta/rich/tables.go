package rich

// counter is an adaptive probability: 12 bits of it and 4 of how often it was used.
type counter = uint16

const freshCounter = 2048 << 4

// rates are what a counter learns from a decision, in 1/65536, by how often it was used.
var rates = [16]int32{32768, 21845, 16384, 13107, 10922, 9362, 8192, 7281, 6553, 5957, 5461, 5041, 4681, 4369, 4096, 3640}

func learnt(v counter, bit int) counter {
	n := v & 15
	p := int32(v >> 4)
	p += ((int32(bit)*4095 - p) * rates[n]) >> 16
	if n < 12 {
		n++
	}
	return counter(p)<<4 | n
}

// lines hold the counters of half a byte in a context: a check and 15 counters.
type lines struct {
	cells []counter
	mask  uint32
}

func newLines(log int) lines {
	return lines{cells: make([]counter, 16<<log), mask: 1<<log - 1}
}

// find gives the line of a context, which is begun when it is not there.
func (l *lines) find(h uint32) int {
	return l.settle(int((h*0x2c1b3c6d>>3)&l.mask)<<4, h)
}

// second gives the line of the second half of a byte. It lies in the same piece of memory as the first one's, which
// spares the processor the search for another.
func (l *lines) second(first int, h uint32) int {
	const piece = 1<<11 - 1
	return l.settle(first&^piece|int(h>>3)<<4&piece, h)
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
	line := l.cells[i : i+16]
	line[0] = check
	for k := 1; k < 16; k++ {
		line[k] = freshCounter
	}
	return i
}

// singles are checked counters of one decision each.
type singles struct {
	cells []uint32 // 16 bits counter, 16 bits check
	mask  uint32
}

func newSingles(log int) singles {
	return singles{cells: make([]uint32, 1<<log), mask: 1<<log - 1}
}

func (s *singles) find(h uint32) int {
	check := h >> 16
	i := int((h * 0x2c1b3c6d >> 7) & s.mask)
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
