package hermes

import "encoding/binary"

// image is bytes that are read and changed in place: bytes that are held, or a stretch of a Room seen through one page at
// a time. Several views of a stretch see the changes of each other. As with a slice, what is beyond the end must not be
// asked for.
type image struct {
	win   []byte // what is at hand, from base on
	base  int
	page  *page // of win; nil: the whole is held
	room  *Room // nil: the whole is held
	start int64 // in the room
	size  int
}

func held(b []byte) *image { return &image{win: b, size: len(b)} }

// stretch gives a view of size bytes in the room.
func (r *Room) stretch(start int64, size int) *image {
	return &image{room: r, start: start, size: size}
}

// zeros gives a new stretch that is all zero.
func (r *Room) zeros(size int) *image {
	m := r.stretch(r.allocate(int64(size)), size)
	for at := int64(0); at < int64(size); at += pageSize {
		r.page((m.start+at)>>pageLog, true)
	}
	return m
}

// view gives another view of the same bytes, which leave ends.
func (m *image) view() *image {
	v := *m
	if m.room != nil {
		v.win, v.page, v.base = nil, nil, 0
	}
	return &v
}

// leave lets go of the page.
func (m *image) leave() {
	if m.page != nil {
		m.page.pins--
		m.page, m.win = nil, nil
	}
}

// enter brings the page of a place to hand, and gives what is at hand from there on.
func (m *image) enter(at int) []byte {
	if i := at - m.base; m.room == nil || i >= 0 && i < len(m.win) {
		return m.win[i:]
	}
	m.leave()
	n := at >> pageLog
	m.page = m.room.page(m.start>>pageLog+int64(n), false)
	m.page.pins++
	m.base = n << pageLog
	m.win = m.page.data[:min(pageSize, m.size-m.base)]
	return m.win[at-m.base:]
}

// chunk gives as many of n bytes at a place as are at hand together, and at least one. They are not changed.
func (m *image) chunk(at, n int) []byte {
	b := m.enter(at)
	return b[:min(n, len(b))]
}

// whole gives n bytes at a place when they are at hand together, else nil. Who changes them says so by touch.
func (m *image) whole(at, n int) []byte {
	if i := at - m.base; i >= 0 && i+n <= len(m.win) {
		return m.win[i : i+n]
	}
	return nil
}

// touch says that what is at hand has changed.
func (m *image) touch() {
	if m.page != nil {
		m.page.changed = true
	}
}

func (m *image) byteAt(at int) byte {
	if i := at - m.base; uint(i) < uint(len(m.win)) {
		return m.win[i]
	}
	return m.enter(at)[0]
}

func (m *image) setByte(at int, v byte) {
	m.enter(at)[0] = v
	m.touch()
}

// number reads a number of 1, 2 or 4 bytes.
func (m *image) number(at int, width byte) uint32 {
	i := at - m.base
	if i < 0 || i+int(width) > len(m.win) {
		return m.across(at, width)
	}
	switch b := m.win[i:]; width {
	case 1:
		return uint32(b[0])
	case 2:
		return uint32(binary.LittleEndian.Uint16(b))
	default:
		return binary.LittleEndian.Uint32(b)
	}
}

// across reads a number that is not at hand as a whole.
func (m *image) across(at int, width byte) (v uint32) {
	for k := range min(int(width), 4) {
		v |= uint32(m.byteAt(at+k)) << (8 * k)
	}
	return v
}

func (m *image) setNumber(at int, width byte, v uint32) {
	i := at - m.base
	if i < 0 || i+int(width) > len(m.win) {
		for k := range min(int(width), 4) {
			m.setByte(at+k, byte(v>>(8*k)))
		}
		return
	}
	switch b := m.win[i:]; width {
	case 1:
		b[0] = byte(v)
	case 2:
		binary.LittleEndian.PutUint16(b, uint16(v))
	default:
		binary.LittleEndian.PutUint32(b, v)
	}
	m.touch()
}

// clear makes bytes zero.
func (m *image) clear(s span) {
	for at := s.at; at < s.end(); {
		b := m.chunk(at, s.end()-at)
		clear(b)
		m.touch()
		at += len(b)
	}
}
