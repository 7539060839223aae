package hermes

import (
	"bytes"
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
	out := texts{b[l.storage.at:l.storage.end()], make([]textPlace, 0, l.strings)}
	m := held(b)
	err := l.eachText(m, m, func(_ int, p textPlace) { out.places = append(out.places, p) })
	return out, err
}

// eachText calls visit with the place of every string, read by way of two views of the file.
func (l *layout) eachText(m, far *image, visit func(int, textPlace)) error {
	left := textFactor * m.size // strings may share their bytes; nothing sane shares as much
	for i := range l.strings {
		p, ok := l.place(m, far, i)
		if left -= int(p.size >> 1); !ok || left < 0 {
			return ErrUnknown
		}
		visit(i, p)
	}
	return nil
}

// place gives where a string is, or false when it is not in the file.
func (l *layout) place(m, far *image, i int) (textPlace, bool) {
	v := m.number(l.small.at+4*i, 4)
	wide, offset, length := v&1, int64(v>>1&(1<<23-1)), int64(v>>24)
	if length == 255 {
		if 8*offset+8 > int64(l.overflow.size) {
			return textPlace{}, false
		}
		at := l.overflow.at + 8*int(offset)
		offset, length = int64(far.number(at, 4)), int64(far.number(at+4, 4))
	}
	size, storage := length<<wide, int64(l.storage.size)
	if offset > storage || size > storage-offset {
		return textPlace{}, false
	}
	return textPlace{uint32(offset), uint32(size)<<1 | wide}, true
}

// finder finds the first string of a content. It is a table of a few bytes for a string: a map of strings takes more memory
// than the file that they are from.
type finder struct {
	in     texts
	seed   maphash.Seed // what is found does not depend on it
	mask   uint64
	rows   []uint32 // number of a string plus one, and eight bits of its hash above; 0: free
	unique bool     // no two have the same content
}

// numberBits are those of a row for the number: a file that is rewritten has fewer strings.
const numberBits = 24

func newFinder(in texts) *finder {
	size := 1 << bits.Len(uint(in.len()+in.len()/2))
	f := &finder{in: in, seed: maphash.MakeSeed(), mask: uint64(size - 1), rows: make([]uint32, size), unique: true}
	for i := range in.places {
		row, tag := f.row(in.at(i))
		if f.rows[row] == 0 {
			f.rows[row] = tag | uint32(i+1)
		} else {
			f.unique = false
		}
	}
	return f
}

// row is where a content is, or where it would be, with the bits of its hash.
func (f *finder) row(t text) (row uint64, tag uint32) {
	h := maphash.Bytes(f.seed, t.bytes)
	if t.wide {
		h = ^h
	}
	tag = uint32(h>>32) &^ (1<<numberBits - 1)
	for h &= f.mask; ; h = (h + 1) & f.mask {
		v := f.rows[h]
		if v == 0 || (v^tag)>>numberBits == 0 && f.in.at(int(v&(1<<numberBits-1)-1)).equal(t) {
			return h, tag
		}
	}
}

// first gives the number of the first string of this content. The one at guess is looked at before all others.
func (f *finder) first(t text, guess int) (int, bool) {
	if f.unique && guess < f.in.len() && f.in.at(guess).equal(t) {
		return guess, true
	}
	row, _ := f.row(t)
	v := f.rows[row]
	return int(v&(1<<numberBits-1)) - 1, v != 0
}

// hashOf is the hash that the engine keeps of an identifier: Jenkins's, one character at a time, without its last steps.
func (l *layout) hashOf(storage *image, p textPlace) (h uint32) {
	at, end := l.storage.at+int(p.offset), l.storage.at+int(p.offset+p.size>>1)
	mix := func(c uint32) {
		h += c
		h += h << 10
		h ^= h >> 6
	}
	if p.size&1 == 0 {
		for at < end {
			b := storage.chunk(at, end-at)
			for _, c := range b {
				mix(uint32(c))
			}
			at += len(b)
		}
		return h
	}
	for ; at < end; at += 2 {
		mix(storage.number(at, 2))
	}
	return h
}
