package hermes

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
		w.runs.add(record{uint64(buffer.at) + uint64(place), uint64(count)})
	}
}

// runOf gives the run that was noted.
func (w *rewriter) runOf(r record) run {
	at := int(r.high)
	end := w.arrays.end()
	switch {
	case at >= w.values.at && w.values.size > 0:
		end = w.values.end()
	case at >= w.keys.at:
		end = w.keys.end()
	}
	return run{at, end, int(r.low)}
}

// literals renumbers the strings among the literals. A run is groups of a kind and a count in one byte or two, and the
// values. The compiler lets the end of one run be the begin of another where their bytes are alike: an id that shares a
// byte with anything else stays as it is, so kinds and counts always stay, and what stays is found again from them.
func (w *rewriter) literals() {
	w.noteShapes()
	runs := w.runs.sorted()
	defer runs.close()
	begin := w.arrays.at
	size := w.values.end() - begin
	r := roles{begin: begin, size: size}
	if w.room == nil {
		r.use = held(make([]byte, size))
	} else {
		r.use = w.room.zeros(size)
		defer r.use.leave()
	}
	left := w.size // literals that may be looked at: an honest file has far fewer
	claim := func(at, size int, kind byte) {
		switch {
		case kind >= longString && kind <= byteString:
			r.claim(at, size, byte(size))
		case size > 0:
			r.claim(at, size, 0)
		}
	}
	for {
		s, ok := runs.next()
		if !ok {
			break
		}
		left = w.walk(w.runOf(s), left, claim)
	}
	r.alone(w.renumber)
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
		tag := w.byteAt(at)
		count, kind, size := int(tag&15), tag>>4&7, 1
		if tag&0x80 != 0 {
			if at+1 >= s.end {
				return left
			}
			count, size = count<<8|int(w.byteAt(at+1)), 2
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

// roles says what each byte of the buffers is for: the roles below, or the k-th byte of an id of w bytes, as 1 + w + k.
type roles struct {
	begin, size int
	use         *image
}

const (
	unused = 0
	shared = 1 // not of an id, or of more than one thing
)

// claim says what bytes are for: an id of a width, or with 0 anything else.
func (r *roles) claim(at, size int, width byte) {
	i, mark := at-r.begin, byte(shared)
	if width > 0 {
		mark = 1 + width
		if r.use.byteAt(i) == mark { // by another run
			return
		}
	}
	for k := i; k < i+size; k++ {
		if r.use.byteAt(k) != unused {
			r.use.setByte(k, shared)
		} else {
			r.use.setByte(k, mark)
		}
		if width > 0 {
			mark++
		}
	}
}

// alone calls visit with the ids whose bytes are all their own.
func (r *roles) alone(visit func(at int, width byte)) {
	for i := 0; i < r.size; {
		width := r.use.byteAt(i) - 1
		if width != 1 && width != 2 && width != 4 || i+int(width) > r.size {
			i++
			continue
		}
		own := true
		for k := byte(1); k < width; k++ {
			own = own && r.use.byteAt(i+int(k)) == 1+width+k
		}
		if own {
			visit(r.begin+i, width)
			i += int(width)
		} else {
			i++
		}
	}
}
