package hermes

import "encoding/binary"

// body is the instructions of a function.
type body struct{ at, size, function uint32 }

func (b body) end() uint32 { return b.at + b.size }

// bodyOf gives the instructions of a function, false when it has none in the file.
func (w *rewriter) bodyOf(i int) (body, bool) {
	f := w.function(i)
	s := span{int(f.words[0] & offsetBits), int(w.codeSize(f))}
	if w.large(f) {
		at := w.largeAt(f)
		if at < 0 {
			return body{}, false
		}
		size, _ := w.version.inLarge()
		s = span{int(w.far.number(at, 4)), int(w.far.number(at+size, 4))}
	}
	inside := s.size > 0 && s.at >= w.code.at && s.at <= w.code.end() && s.size <= w.code.end()-s.at
	return body{uint32(s.at), uint32(s.size), uint32(i)}, inside
}

// bodies calls visit with the instructions of all functions in the order of the file, those that several functions share
// once: for the first of them. All are known before the first visit, which may change what tells them.
func (w *rewriter) bodies(visit func(body)) {
	all := newSorter(w.room)
	defer all.close()
	if w.room == nil {
		all.held = make([]record, 0, w.functions)
	}
	for i := range w.functions {
		if s, ok := w.bodyOf(i); ok && !all.begun(uint64(s.at)) {
			all.add(record{uint64(s.at), uint64(i)<<32 | uint64(s.size)})
		}
	}
	sorted := all.sorted()
	defer sorted.close()
	for end := uint32(0); ; {
		r, ok := sorted.next()
		if !ok {
			return
		}
		if s := (body{uint32(r.high), uint32(r.low), uint32(r.low >> 32)}); s.at >= end {
			end = s.end()
			visit(s)
		}
	}
}

// coder is what the instructions before the one at hand leave for it.
type coder struct {
	last  [256]uint32 // by kind of operand
	count uint32      // of literals
	cases int         // of switches that may be looked at: an honest file has far fewer
}

// instructions renumbers strings, and makes ids of functions and places of literals distances to the one before.
func (w *rewriter) instructions() {
	c := &coder{cases: w.size}
	q := w.quick()
	if w.room == nil && !w.version.recent { // there no instruction changes what lies in another function
		all := make([]body, 0, w.functions)
		w.bodies(func(s body) { all = append(all, s) })
		w.inLanes(c, q, all)
		return
	}
	w.bodies(func(s body) {
		w.begin(c, s)
		w.body(c, q, s)
	})
}

// begin begins a function.
func (w *rewriter) begin(c *coder, s body) {
	if !w.version.recent { // there functions are numbered in the order in which they are made
		c.last[functionID] = s.function
	}
}

// quick is what passes most instructions without a look at their operands.
type quick struct {
	passes *[256]pass
	short  [shortIDs]byte // other ids of strings, for operands of one byte
	long   []uint32       // and of two; empty: those are not passed
}

func (w *rewriter) quick() *quick {
	q := &quick{passes: &w.version.passes}
	if w.renumbered() == 0 { // strings stay
		q.passes = &w.version.kept
		return q
	}
	for i := range q.short {
		q.short[i] = byte(w.id(uint32(i)))
	}
	if len(w.ids) <= 1<<16 {
		q.long = w.ids
	}
	return q
}

// body goes through the instructions of a function.
func (w *rewriter) body(c *coder, q *quick, s body) {
	for at, end := int(s.at), int(s.end()); at < end; {
		b := w.chunk(at, end-at)
		w.touch()
		i := w.pass(c, q, b)
		if at += i; i >= len(b) {
			continue
		}
		code := b[i]
		length := int(w.version.length[code])
		if length == 0 || at+length > end {
			return
		}
		end = w.instruction(c, code, at, end)
		at += length
	}
}

// pass goes through instructions until one that takes more care, or is not at hand as a whole, and gives where that is.
func (w *rewriter) pass(c *coder, q *quick, b []byte) int {
	i := 0
	for i < len(b) {
		p := q.passes[b[i]]
		next := i + p.length()
		if next > len(b) || p.kind() != passPlain && !w.quickly(c, q, b[i:next], p) {
			break
		}
		i = next
	}
	return i
}

// quickly rewrites an instruction that is not plain, or gives false when it takes more care.
func (w *rewriter) quickly(c *coder, q *quick, b []byte, p pass) bool {
	b = b[p.operand():]
	switch p.kind() {
	case passString1:
		b[0] = q.short[b[0]]
	case passString2:
		if v := int(binary.LittleEndian.Uint16(b)); v < len(q.long) {
			binary.LittleEndian.PutUint16(b, uint16(q.long[v]))
		} else if q.long == nil {
			return false
		}
	case passFunction:
		v, last := uint32(binary.LittleEndian.Uint16(b)), c.last[functionID]
		if w.undo {
			v = (v + last) & 0xffff
			c.last[functionID] = v
		} else {
			c.last[functionID] = v
			v -= last
		}
		binary.LittleEndian.PutUint16(b, uint16(v))
	default:
		return false
	}
	return true
}

// instruction rewrites the one at a place, and gives where the instructions of the function end.
func (w *rewriter) instruction(c *coder, code byte, at, end int) int {
	note := func(kind byte, place uint32) {
		if w.renumbered() > 0 { // else there is nothing to do about literals
			w.note(kind, place, c.count)
		}
	}
	for _, o := range w.version.numbered[code] {
		operandAt := at + o.at
		switch o.kind {
		case stringID:
			w.renumber(operandAt, o.width)
		case jumpTableAt:
			if table := (at + int(w.number(operandAt, o.width)) + 3) &^ 3; table > at && table < end {
				end = table
			}
		case shapeID:
			c.last[o.kind] = w.step(operandAt, o.width, c.last[o.kind])
			c.count = w.shapeSize(c.last[o.kind])
		case casesAt:
			c.cases = w.renumberCases(at, operandAt, c.cases)
		case literals:
			c.count = w.number(operandAt, o.width)
		case arrayAt:
			place := w.number(operandAt, o.width)
			if !w.version.recent { // there literals lie in another order than the instructions that name them
				place = w.step(operandAt, o.width, c.last[arrayAt])
				c.last[arrayAt] = place
			}
			note(arrayAt, place)
		default:
			c.last[o.kind] = w.step(operandAt, o.width, c.last[o.kind])
			note(o.kind, c.last[o.kind])
		}
	}
	return end
}
