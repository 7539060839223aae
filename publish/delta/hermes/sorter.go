package hermes

import (
	"encoding/binary"
	"slices"
	"sort"
)

// record is what a sorter sorts, high first.
type record struct{ high, low uint64 }

func compare(a, b record) int {
	switch {
	case a.high < b.high, a.high == b.high && a.low < b.low:
		return -1
	case a == b:
		return 0
	}
	return 1
}

const (
	recordSize  = 16
	sorterCount = 8 << 10 // records that a sorter with a Room holds
)

// sorter gives records back in order, equal ones once. Without a Room it holds them all; with one it holds some and keeps
// sorted runs of the others there, which must not be released before it is read.
type sorter struct {
	room  *Room
	held  []record
	mixed bool // held is not in order
	runs  []sortedRun
}

type sortedRun struct {
	at    int64
	count int
}

func newSorter(room *Room) *sorter {
	s := &sorter{room: room}
	if room == nil {
		return s
	}
	if n := len(room.spare); n > 0 {
		s.held, room.spare = room.spare[n-1][:0], room.spare[:n-1]
	} else {
		s.held = make([]record, 0, sorterCount)
	}
	return s
}

func (s *sorter) add(r record) {
	if s.room != nil && len(s.held) == sorterCount {
		s.spill()
	}
	if n := len(s.held); n > 0 && compare(s.held[n-1], r) > 0 {
		s.mixed = true
	}
	s.held = append(s.held, r)
}

// begun tells of what is held in order whether there is a record of this high number, and else nothing: false.
func (s *sorter) begun(high uint64) bool {
	n := len(s.held)
	if s.mixed || n == 0 || s.held[n-1].high < high {
		return false
	}
	i := sort.Search(n, func(i int) bool { return s.held[i].high >= high })
	return s.held[i].high == high
}

func (s *sorter) sort() {
	if s.mixed {
		slices.SortFunc(s.held, compare)
		s.mixed = false
	}
	s.held = slices.Compact(s.held)
}

// spill writes what is held as one run.
func (s *sorter) spill() {
	if len(s.held) == 0 {
		return
	}
	s.sort()
	run := sortedRun{s.room.allocate(int64(len(s.held)) * recordSize), len(s.held)}
	p := s.room.vacant()
	p.number = -1
	at := run.at
	b := p.data[:0]
	for _, r := range s.held {
		b = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, r.high), r.low)
		if len(b) == pageSize {
			s.room.write(b, at)
			at += pageSize
			b = b[:0]
		}
	}
	s.room.write(b, at)
	s.runs, s.held, s.mixed = append(s.runs, run), s.held[:0], false
}

// close gives the memory back, and what is in the room stays there.
func (s *sorter) close() {
	if s.room != nil && s.held != nil {
		s.room.spare = append(s.room.spare, s.held)
	}
	s.held = nil
}

// sorted gives the records. It may be asked again when all are in the room (spill), and add must not be called after it.
func (s *sorter) sorted() *merge {
	if len(s.runs) == 0 {
		s.sort()
		return &merge{heap: []*source{{records: s.held}}}
	}
	s.spill()
	m := &merge{buffer: newSorter(s.room)}
	buffer := m.buffer.held[:sorterCount]
	part := max(1, len(buffer)/len(s.runs))
	for _, run := range s.runs {
		// More runs than records: a file of 64 MiB has fewer.
		src := &source{room: s.room, at: run.at, left: run.count, buffer: make([]record, 0)}
		if len(buffer) >= part {
			src.buffer, buffer = buffer[:part:part], buffer[part:]
		} else {
			src.buffer = make([]record, 1)
		}
		if src.fill() {
			m.heap = append(m.heap, src)
		}
	}
	for i := len(m.heap)/2 - 1; i >= 0; i-- {
		m.down(i)
	}
	return m
}

// source is a run that is read.
type source struct {
	records []record // still to be given
	room    *Room
	at      int64
	left    int // in the room
	buffer  []record
}

// fill sees to it that there are records, or gives false at the end.
func (s *source) fill() bool {
	if len(s.records) > 0 {
		return true
	}
	if s.left == 0 || s.room.err != nil {
		return false
	}
	p := s.room.vacant()
	p.number = -1
	n := min(len(s.buffer), s.left, pageSize/recordSize)
	b := p.data[:n*recordSize]
	s.room.read(b, s.at)
	s.records = s.buffer[:n]
	for i := range s.records {
		s.records[i] = record{binary.LittleEndian.Uint64(b[recordSize*i:]), binary.LittleEndian.Uint64(b[recordSize*i+8:])}
	}
	s.at += int64(len(b))
	s.left -= n
	return true
}

// merge gives the records of several runs in order.
type merge struct {
	heap   []*source // the one with the least record first
	buffer *sorter   // whose memory the sources use
	last   record
	begun  bool
}

// next gives the next record, and false at the end.
func (m *merge) next() (record, bool) {
	for len(m.heap) > 0 {
		s := m.heap[0]
		if len(s.records) == 0 {
			m.heap = nil
			break
		}
		r := s.records[0]
		s.records = s.records[1:]
		if len(s.records) == 0 && (s.room == nil || !s.fill()) {
			m.heap[0] = m.heap[len(m.heap)-1]
			m.heap = m.heap[:len(m.heap)-1]
		}
		m.down(0)
		if !m.begun || r != m.last {
			m.begun, m.last = true, r
			return r, true
		}
	}
	return record{}, false
}

func (m *merge) down(i int) {
	for {
		least := i
		for k := 2*i + 1; k <= 2*i+2 && k < len(m.heap); k++ {
			if compare(m.heap[k].records[0], m.heap[least].records[0]) < 0 {
				least = k
			}
		}
		if least == i {
			return
		}
		m.heap[i], m.heap[least] = m.heap[least], m.heap[i]
		i = least
	}
}

// close ends the reading.
func (m *merge) close() {
	if m.buffer != nil {
		m.buffer.close()
	}
}
