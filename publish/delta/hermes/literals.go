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
	return run{at, end, int(min(r.low, MaxFile))}
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
	claim := func(at, count, width int, kind byte) {
		if kind >= longString && kind <= byteString {
			r.claimIDs(at, count, width)
		} else {
			r.claim(at, count*width)
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

// walk calls visit with every part of a run: what tells kind and count, and so many literals of a width, which may be 0. It
// ends when left literals are seen, and gives how many are left then.
func (w *rewriter) walk(s run, left int, visit func(at, count, width int, kind byte)) int {
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
		visit(at, 1, size, group)
		at += size
		count = min(count, s.count, left)
		s.count -= count
		left -= count
		if count == 0 {
			return left
		}
		width, fit := widths[kind], count
		if width > 0 {
			fit = min(count, (s.end-at)/width)
		}
		visit(at, fit, width, kind)
		at += fit * width
		if fit < count {
			return left
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

// claim says that bytes are for anything but ids.
func (r *roles) claim(at, size int) {
	for i, end := at-r.begin, at-r.begin+size; i < end; {
		b := r.use.chunk(i, end-i)
		for k := range b {
			b[k] = shared
		}
		r.use.touch()
		i += len(b)
	}
}

// claimIDs says that bytes are for so many ids of a width.
func (r *roles) claimIDs(at, count, width int) {
	for i, end := at-r.begin, at-r.begin+count*width; i < end; i += width {
		b := r.use.whole(i, width)
		if b == nil {
			r.claimID(i, width)
			continue
		}
		r.use.touch()
		if b[0] == byte(1+width) { // by another run
			continue
		}
		for k := range b {
			if b[k] != unused {
				b[k] = shared
			} else {
				b[k] = byte(1 + width + k)
			}
		}
	}
}

// claimID is claimIDs for an id whose bytes are not at hand together.
func (r *roles) claimID(i, width int) {
	if r.use.byteAt(i) == byte(1+width) {
		return
	}
	for k := range width {
		mark := byte(1 + width + k)
		if r.use.byteAt(i+k) != unused {
			mark = shared
		}
		r.use.setByte(i+k, mark)
	}
}

// alone calls visit with the ids whose bytes are all their own.
func (r *roles) alone(visit func(at int, width byte)) {
	for i := 0; i < r.size; {
		b := r.use.chunk(i, r.size-i)
		n := 0
		for n < len(b) && b[n] <= shared {
			n++
		}
		if i += n; n == len(b) {
			continue
		}
		width := b[n] - 1
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
