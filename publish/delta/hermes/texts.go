package hermes

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math/bits"
)

// text is the content of a string: its bytes, two for a character when it is wide.
type text struct {
	wide  bool
	bytes []byte
}

func (t text) equal(o text) bool { return t.wide == o.wide && bytes.Equal(t.bytes, o.bytes) }

// texts are the contents of all strings of a file. Their bytes are the file's, which rewriting leaves as they are.
type texts struct {
	storage []byte
	places  []textPlace
}

type textPlace struct{ offset, size uint32 } // the size in bytes, and the lowest bit says that it is wide

func (t texts) len() int { return len(t.places) }

func (t texts) at(i int) text {
	p := t.places[i]
	size := p.size >> 1
	return text{p.size&1 == 1, t.storage[p.offset : p.offset+size : p.offset+size]}
}

// textFactor bounds the bytes of all strings together, in multiples of the file.
const textFactor = 4

// texts finds the content of every string.
func (l *layout) texts(b []byte) (texts, error) {
	out := texts{b[l.storage.at:l.storage.end()], make([]textPlace, l.strings)}
	left := textFactor * len(b) // strings may share their bytes; nothing sane shares as much
	for i := range out.places {
		v := binary.LittleEndian.Uint32(b[l.small.at+4*i:])
		wide, offset, length := v&1, int(v>>1&(1<<23-1)), int(v>>24)
		if length == 255 {
			if 8*offset+8 > l.overflow.size {
				return texts{}, errLayout
			}
			at := l.overflow.at + 8*offset
			offset, length = int(binary.LittleEndian.Uint32(b[at:])), int(binary.LittleEndian.Uint32(b[at+4:]))
		}
		size := length << wide
		if offset > l.storage.size || size > l.storage.size-offset {
			return texts{}, errLayout
		}
		if left -= size; left < 0 {
			return texts{}, errLayout
		}
		out.places[i] = textPlace{uint32(offset), uint32(size)<<1 | wide}
	}
	return out, nil
}

// finder finds the first string of a content. It is a table of a few bytes for a string: a map of strings takes more memory
// than the file that they are from.
type finder struct {
	in   texts
	seed maphash.Seed // what is found does not depend on it
	mask uint64
	rows []uint32 // number of a string plus one, 0: free
}

func newFinder(in texts) *finder {
	size := 1 << bits.Len(uint(in.len()+in.len()/2))
	f := &finder{in: in, seed: maphash.MakeSeed(), mask: uint64(size - 1), rows: make([]uint32, size)}
	for i := range in.places {
		if row := f.row(in.at(i)); f.rows[row] == 0 {
			f.rows[row] = uint32(i) + 1
		}
	}
	return f
}

// row is where a content is, or where it would be.
func (f *finder) row(t text) uint64 {
	h := maphash.Bytes(f.seed, t.bytes)
	if t.wide {
		h = ^h
	}
	for h &= f.mask; ; h = (h + 1) & f.mask {
		if v := f.rows[h]; v == 0 || f.in.at(int(v-1)).equal(t) {
			return h
		}
	}
}

// first gives the number of the first string of this content.
func (f *finder) first(t text) (int, bool) {
	v := f.rows[f.row(t)]
	return int(v) - 1, v != 0
}

// hash is the one that the engine keeps of an identifier: Jenkins's, one character at a time, without its last steps.
func hash(t text) uint32 {
	var h uint32
	for i := 0; i < len(t.bytes); i++ {
		c := uint32(t.bytes[i])
		if t.wide && i+1 < len(t.bytes) {
			i++
			c |= uint32(t.bytes[i]) << 8
		}
		h += c
		h += h << 10
		h ^= h >> 6
	}
	return h
}
