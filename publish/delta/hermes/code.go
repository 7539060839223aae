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
// once: for the first of them.
func (w *rewriter) bodies(visit func(body)) {
	all := newSorter(w.room)
	defer all.close()
	for i := range w.functions {
		if s, ok := w.bodyOf(i); ok {
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
	w.bodies(func(s body) {
		if !w.version.recent { // there functions are numbered in the order in which they are made
			c.last[functionID] = s.function
		}
		w.body(c, s)
	})
}

// body goes through the instructions of a function.
func (w *rewriter) body(c *coder, s body) {
	forms := &w.version.forms
	if w.ids == nil && w.wide == nil { // strings stay
		forms = &w.version.fixed
	}
	ids := w.ids
	if len(ids) > 1<<16 || w.room != nil {
		ids = nil // then not all fit, or the page must know
	}
	for at, end := int(s.at), int(s.end()); at < end; {
		// What has no number to care for is passed quickly, and so are most strings.
		b := w.chunk(at, end-at)
		i := 0
		for i < len(b) {
			code := b[i]
			if n := int(forms[code]); n > 0 {
				i += n
				continue
			}
			k := i + int(w.version.named[code])
			next := i + int(w.version.length[code])
			if k == i || next > len(b) || ids == nil {
				break
			}
			if v := int(binary.LittleEndian.Uint16(b[k:])); v < len(ids) {
				binary.LittleEndian.PutUint16(b[k:], uint16(ids[v]))
			}
			i = next
		}
		if at += i; i >= len(b) {
			if at >= end {
				return
			}
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

// instruction rewrites the one at a place, and gives where the instructions of the function end.
func (w *rewriter) instruction(c *coder, code byte, at, end int) int {
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
			w.note(arrayAt, place, c.count)
		default:
			c.last[o.kind] = w.step(operandAt, o.width, c.last[o.kind])
			w.note(o.kind, c.last[o.kind], c.count)
		}
	}
	return end
}
