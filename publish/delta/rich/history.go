package rich

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// history finds what followed the last bytes before, in old and in new text.
type history struct {
	after1   []uint32 // by the last byte: the four bytes that followed it last
	after2   []uint32
	after3   []uint32
	places   []uint32       // tables, one behind the other: by a hash of the last bytes the place behind them, plus one; new text lies behind old
	logs     int            // logarithm of the size of each
	keys     [tables]uint32 // of the last bytes in these
	at       [tables]int    // place of the expected byte, -1: none
	length   [tables]int
	next     [tables]byte // the expected byte
	text     []byte       // new text, a ring
	end      int          // bytes of it so far
	word     uint32
	lastWord uint32
	primed   bool
}

const (
	textRing  = 1 << 18
	after3Log = 16
	tables    = 3
)

// How many of the last bytes the first two tables of places go by.
const (
	longSpan  = 8
	shortSpan = 5
)

var spans = [2]int{longSpan, shortSpan}

func newHistory(r *room, indexLog int) history {
	h := history{after1: make([]uint32, 256), after2: table[uint32](r, 1<<16), after3: table[uint32](r, 1<<after3Log), places: table[uint32](r, tables<<indexLog), text: make([]byte, textRing), logs: indexLog}
	h.at = [tables]int{-1, -1, -1}
	return h
}

func (t *history) slot3(order4 uint32) uint32 {
	return (order4 & 0xffffff) * 0x9e3779b1 >> (32 - after3Log)
}

func (t *history) class(b byte) int {
	switch {
	case b >= 'a' && b <= 'z':
		return 0
	case b >= 'A' && b <= 'Z':
		return 1
	case b >= '0' && b <= '9':
		return 2
	case b < 32:
		return 3
	case b >= 128:
		return 4
	case b == ' ' || b == '.' || b == '_':
		return 5
	}
	return 6
}

const keyFactor = 0x9e3779b97f4a7c15

// index gives one of the tables of places.
func (t *history) index(k int) []uint32 { return t.places[k<<t.logs:][:1<<t.logs] }

// key hashes the last n bytes.
func key(last uint64, n, log int) uint32 {
	return uint32((last << (64 - 8*n)) * keyFactor >> (64 - log))
}

// byteAt reads from old or from new text.
func (t *history) byteAt(m *model, at int) byte {
	if at < m.oldSize {
		b, err := m.src.Page(at)
		if err != nil {
			m.fail(err)
			return 0
		}
		return b[0]
	}
	return t.text[(at-m.oldSize)&(textRing-1)]
}

func (t *history) last(m *model) uint64 {
	return binary.BigEndian.Uint64(m.out[len(m.out)-8:])
}

// begin looks at the text in front of a new piece.
func (t *history) begin(m *model) {
	t.word = 0
	i := len(m.out)
	for i > len(m.out)-16 && wordByte(m.out[i-1]) {
		i--
	}
	for _, b := range m.out[i:] {
		t.word = (t.word + uint32(b) + 1) * 0x2f0b4c47
	}
	t.lastWord = uint32(m.out[i-1])
	t.at = [tables]int{-1, -1, -1}
	t.length = [tables]int{}
}

// fetch asks for what lookup and keep need.
func (t *history) fetch(m *model) {
	last := t.last(m)
	for k, span := range [tables]int{longSpan, shortSpan, m.np & 3} {
		t.keys[k] = uint32(k)<<t.logs | key(last, span, t.logs)
	}
	fetchAll(unsafe.Pointer(&t.places[0]), 4, t.keys[:])
}

// lookup finds matches with the last bytes where there are none.
func (t *history) lookup(m *model) {
	last := t.last(m)
	for k := range t.at {
		if t.length[k] > 0 && t.at[k] >= 0 {
			continue
		}
		span := m.np & 3
		if k < len(spans) {
			span = spans[k]
		} else if span < 2 {
			continue
		}
		at := int(t.places[t.keys[k]])
		t.at[k], t.length[k] = -1, 0
		if at == 0 || at >= m.oldSize+t.end {
			continue
		}
		if at > m.oldSize && at-m.oldSize < t.end-textRing+64 {
			continue
		}
		n := t.alike(m, at, last)
		if n >= min(span, 7) {
			t.at[k], t.length[k] = at, n
			t.next[k] = t.byteAt(m, at)
		}
	}
}

// alike counts how many of the last bytes are the same in front of a place, up to 24.
func (t *history) alike(m *model, at int, last uint64) int {
	n := 0
	back := m.out[len(m.out)-24:]
	if at > 24 && at <= m.oldSize {
		b, err := m.src.Page(at - 24)
		if err != nil {
			m.fail(err)
			return 0
		}
		if len(b) >= 24 {
			for n < 24 {
				x := binary.LittleEndian.Uint64(b[16-n:]) ^ binary.LittleEndian.Uint64(back[16-n:])
				if x != 0 {
					return n + bits.LeadingZeros64(x)>>3
				}
				n += 8
			}
			return n
		}
	}
	for n < 24 && at-1-n >= 0 && (at-1-n >= m.oldSize || at <= m.oldSize) && t.byteAt(m, at-1-n) == back[23-n] {
		n++
	}
	return n
}

// add learns a byte of new text.
func (t *history) add(m *model, b byte) {
	n := len(m.out)
	c1, c2, c3 := uint32(m.out[n-2]), uint32(m.out[n-3]), uint32(m.out[n-4])
	t.after1[c1] = t.after1[c1]<<8 | uint32(b)
	t.after2[c1|c2<<8] = t.after2[c1|c2<<8]<<8 | uint32(b)
	s := t.slot3(c1 | c2<<8 | c3<<16)
	t.after3[s] = t.after3[s]<<8 | uint32(b)
	if wordByte(b) {
		t.word = (t.word + uint32(b) + 1) * 0x2f0b4c47
	} else if t.word != 0 {
		t.lastWord, t.word = t.word, 0
	}
	t.text[t.end&(textRing-1)] = b
	t.end++
	for k := range t.at {
		if t.at[k] >= 0 {
			if t.next[k] == b {
				t.length[k]++
				t.at[k]++
				if t.at[k] == m.oldSize || t.at[k] >= m.oldSize+t.end {
					t.at[k], t.length[k] = -1, 0
				} else {
					t.next[k] = t.byteAt(m, t.at[k])
				}
			} else {
				t.at[k], t.length[k] = -1, 0
			}
		}
	}
}

// keep notes where the last bytes are.
func (t *history) keep(m *model) {
	for k := range spans {
		t.places[t.keys[k]] = uint32(m.oldSize + t.end)
	}
}

// expect gives the expected byte and, above it, a class of how long the match is.
func (t *history) expect(k int) uint32 {
	if t.at[k] < 0 {
		return 0
	}
	n := t.length[k]
	if n > 15 {
		n = 15 + min((n-15)>>3, 15)
	}
	return uint32(t.next[k]) | uint32(min(n+1, 31))<<8
}
