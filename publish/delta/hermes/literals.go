package hermes

import (
	"cmp"
	"slices"
)

// run is a run of literals that an instruction names: where it begins in the file, where its buffer ends, and how many
// literals it has.
type run struct{ at, end, count int }

// note keeps the run that an operand names.
func (w *rewriter) note(kind byte, place, count uint32) {
	var buffer span
	switch kind {
	case keysAt:
		buffer = w.keys
	case valuesAt:
		buffer = w.values
	case arrayAt:
		buffer = w.arrays
	default:
		return
	}
	if int64(place) < int64(buffer.size) {
		w.runs = append(w.runs, run{buffer.at + int(place), buffer.end(), int(count)})
	}
}

// literals renumbers the strings among the literals. A run is groups of a kind and a count in one byte or two, and the
// values. The compiler lets the end of one run be the begin of another where their bytes are alike: an id that shares a
// byte with anything else stays as it is, so kinds and counts always stay, and what stays is found again from them.
func (w *rewriter) literals() {
	w.runs = append(w.runs, w.shapeRuns()...)
	slices.SortFunc(w.runs, func(a, b run) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.count, b.count)) })
	w.runs = slices.Compact(w.runs)
	begin := w.arrays.at
	size := w.values.end() - begin
	r := roles{use: make([]uint32, size), ids: make([]place, 0, size/4), begin: begin}
	left := len(w.b) // literals that may be looked at: an honest file has far fewer
	for _, s := range w.runs {
		left = w.walk(s, left, func(at, size int, kind byte) {
			switch {
			case kind >= longString && kind <= byteString:
				r.claim(at, size, byte(size))
			case size > 0:
				r.claim(at, size, 0)
			}
		})
	}
	for _, p := range r.ids {
		if r.alone(p) {
			w.renumber(int(p.at), p.width)
		}
	}
}

// Kinds of literals that matter, and what tells kind and count of those that follow.
const (
	longString  = 4
	shortString = 5
	byteString  = 6
	group       = 8
)

// walk calls visit with every part of a run. It ends when left literals are seen, and gives how many are left then.
func (w *rewriter) walk(s run, left int, visit func(at, size int, kind byte)) int {
	widths := [8]int{0, 0, 0, 8, longString: 4, shortString: 2, byteString: 1, 7: 4}
	if w.version.recent {
		widths[byteString] = 0 // it stands for undefined there
	}
	for at := s.at; s.count > 0 && at < s.end && left > 0; {
		tag := w.b[at]
		count, kind, size := int(tag&15), tag>>4&7, 1
		if tag&0x80 != 0 {
			if at+1 >= s.end {
				return left
			}
			count, size = count<<8|int(w.b[at+1]), 2
		}
		visit(at, size, group)
		at += size
		count = min(count, s.count, left)
		s.count -= count
		left -= count
		if count == 0 {
			return left
		}
		for range count {
			if at+widths[kind] > s.end {
				return left
			}
			visit(at, widths[kind], kind)
			at += widths[kind]
		}
	}
	return left
}

// place is an id among the literals.
type place struct {
	at    uint32
	width byte
}

// roles says what each byte of the buffers is for.
type roles struct {
	begin int
	use   []uint32 // 0: nothing yet, 1: not an id, or more than one thing; else the number of the id and 2
	ids   []place
}

func (r *roles) claim(at, size int, width byte) {
	i := at - r.begin
	if width > 0 && r.known(at, width) {
		return
	}
	mark := uint32(1)
	if width > 0 {
		r.ids = append(r.ids, place{uint32(at), width})
		mark = uint32(len(r.ids)) + 1
	}
	for k := i; k < i+size; k++ {
		if r.use[k] != 0 {
			r.use[k] = 1
		} else {
			r.use[k] = mark
		}
	}
}

// known says whether the same id was claimed by another run.
func (r *roles) known(at int, width byte) bool {
	n := r.use[at-r.begin]
	return n > 1 && r.ids[n-2] == place{uint32(at), width}
}

// alone says whether all bytes of an id are its own.
func (r *roles) alone(p place) bool {
	for k := range int(p.width) {
		n := r.use[int(p.at)-r.begin+k]
		if n < 2 || r.ids[n-2] != p {
			return false
		}
	}
	return true
}
