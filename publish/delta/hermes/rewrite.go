package hermes

import (
	"bytes"
	"cmp"
	"crypto/sha1"
	"encoding/binary"
	"slices"
)

// Old is a file that others are rewritten against.
type Old struct {
	file    []byte
	layout  *layout
	version uint32
	texts   texts
	based   bool // file has its rewritten form
}

// Open takes over a file, or gives false when it is not one that is known. Beside the file it keeps eight bytes for a string.
func Open(file []byte) (*Old, bool) {
	l, err := read(file)
	if err != nil {
		return nil, false
	}
	texts, err := l.texts(file)
	if err != nil {
		return nil, false
	}
	return &Old{file: file, layout: l, version: binary.LittleEndian.Uint32(file[8:]), texts: texts}, true
}

// Base turns the file that was taken over into its rewritten form, and gives that.
func (o *Old) Base() []byte {
	if !o.based {
		w := &rewriter{layout: o.layout, b: o.file, ids: identity(o.layout.strings)}
		w.forward()
		o.based = true
	}
	return o.file
}

// Rewrite gives the rewritten form of new, or false when that cannot be undone exactly.
func (o *Old) Rewrite(new []byte) ([]byte, bool) {
	w, err := newRewriter(new)
	if err != nil || o.version != binary.LittleEndian.Uint32(new[8:]) {
		return nil, false
	}
	texts, err := w.texts(w.b)
	if err != nil {
		return nil, false
	}
	w.ids = align(o.texts, texts)
	w.forward()
	back, err := o.Restore(bytes.Clone(w.b))
	return w.b, err == nil && bytes.Equal(back, new)
}

// Restore gives the file whose rewritten form is rewritten; it takes that over and changes it in place. It takes any
// bytes: what comes of those that Rewrite did not make is for the caller's hash to tell. Memory is some 40
// bytes for a string, and for a function.
func (o *Old) Restore(rewritten []byte) ([]byte, error) {
	l, err := read(rewritten)
	if err != nil {
		return nil, err
	}
	w := &rewriter{layout: l, b: rewritten, undo: true}
	w.offsets()
	w.entries()
	texts, err := w.texts(w.b)
	if err != nil {
		return nil, err
	}
	w.ids = invert(align(o.texts, texts))
	w.names()
	w.instructions()
	w.literals()
	w.rehash(texts)
	sum := sha1.Sum(w.b[:w.footer.at])
	copy(w.b[w.footer.at:], sum[:])
	return w.b, nil
}

// Base gives the rewritten form of the old file, or false when it is not one that is known.
func Base(old []byte) ([]byte, bool) {
	o, ok := Open(bytes.Clone(old))
	if !ok {
		return nil, false
	}
	return o.Base(), true
}

// Rewrite gives the rewritten form of new against old, or false when that cannot be undone exactly.
func Rewrite(old, new []byte) ([]byte, bool) {
	o, ok := Open(old)
	if !ok {
		return nil, false
	}
	return o.Rewrite(new)
}

// Restore gives the file whose rewritten form against old is rewritten, as Old does.
func Restore(old, rewritten []byte) ([]byte, error) {
	o, ok := Open(old)
	if !ok {
		return nil, errLayout
	}
	return o.Restore(rewritten)
}

// rewriter rewrites its copy of a file in place, or undoes that.
type rewriter struct {
	*layout
	b    []byte
	undo bool
	ids  []uint32 // of strings; numbers beyond stay
	runs []run    // of literals, as the instructions name them
}

func newRewriter(file []byte) (*rewriter, error) {
	l, err := read(file)
	if err != nil {
		return nil, err
	}
	return &rewriter{layout: l, b: bytes.Clone(file)}, nil
}

// forward rewrites: what needs offsets first, offsets last.
func (w *rewriter) forward() {
	w.instructions()
	w.literals()
	w.names()
	w.entries()
	w.offsets()
	clear(w.b[w.hashes.at:w.hashes.end()])
	clear(w.b[w.footer.at:])
}

func identity(n int) []uint32 {
	ids := make([]uint32, n)
	for i := range ids {
		ids[i] = uint32(i)
	}
	return ids
}

// shortIDs are those that an instruction with one byte for a string can name. They stay among themselves.
const shortIDs = 256

// align numbers the new strings like the old ones where both have them, and the others with what is left, in order. The
// result is a permutation in which short ids stay short.
func align(old, new texts) []uint32 {
	n := max(old.len(), new.len())
	const none = ^uint32(0)
	ids, taken := make([]uint32, n), make([]bool, n)
	for i := range ids {
		ids[i] = none
	}
	known := newFinder(old)
	for i := range new.places {
		if o, ok := known.first(new.at(i)); ok && (o < shortIDs) == (i < shortIDs) && !taken[o] {
			ids[i], taken[o] = uint32(o), true
		}
	}
	short, long := 0, shortIDs
	for i := range ids {
		if ids[i] != none {
			continue
		}
		free := &long
		if i < shortIDs {
			free = &short
		}
		for taken[*free] {
			*free++
		}
		ids[i], taken[*free] = uint32(*free), true
	}
	return ids
}

func invert(ids []uint32) []uint32 {
	out := make([]uint32, len(ids))
	for i, v := range ids {
		out[v] = uint32(i)
	}
	return out
}

func (w *rewriter) id(v uint32) uint32 {
	if int64(v) < int64(len(w.ids)) {
		return w.ids[v]
	}
	return v
}

// number reads a number of 1, 2 or 4 bytes.
func (w *rewriter) number(at int, width byte) uint32 {
	switch width {
	case 1:
		return uint32(w.b[at])
	case 2:
		return uint32(binary.LittleEndian.Uint16(w.b[at:]))
	}
	return binary.LittleEndian.Uint32(w.b[at:])
}

func (w *rewriter) setNumber(at int, width byte, v uint32) {
	switch width {
	case 1:
		w.b[at] = byte(v)
	case 2:
		binary.LittleEndian.PutUint16(w.b[at:], uint16(v))
	default:
		binary.LittleEndian.PutUint32(w.b[at:], v)
	}
}

// renumber puts the other id for a string at a place. One that does not fit stays, and so does the one it would have
// become: numbers of a width are exchanged among themselves only.
func (w *rewriter) renumber(at int, width byte) {
	v := w.number(at, width)
	n := w.id(v)
	if width == 2 && (n > 1<<16-1 || len(w.ids) > 1<<16) || width == 1 && v >= shortIDs {
		return
	}
	w.setNumber(at, width, n)
}

// step replaces a number by its distance to last, or undoes that, and gives the number itself.
func (w *rewriter) step(at int, width byte, last uint32) uint32 {
	v := w.number(at, width)
	if w.undo {
		v += last
		w.setNumber(at, width, v)
		return w.number(at, width)
	}
	w.setNumber(at, width, v-last)
	return v
}

// function is a function header. Up to version 96 it has 16 bytes: 25 bits offset, 7 parameters; 15 size, 17 name; 25
// offset of what else is known, 7 frame; 8 environment, 8 and 8 caches, 8 flags. From 98 on it has 12: 25 bits offset, 5
// parameters, 2 depth; 14 size, 8 name, 10 registers; 8 frame, 16 caches, 8 flags.
type function struct{ words [4]uint32 }

const (
	offsetBits  = 1<<25 - 1
	flagLarge   = 0x20 << 24 // the header is elsewhere, where the offsets say
	largeHeader = 32
)

func (v *version) headerSize() int {
	if v.recent {
		return 12
	}
	return 16
}

// sizeBits is how many bits of a header's second word say the size of the instructions; the name follows.
func (v *version) sizeBits() uint32 {
	if v.recent {
		return 14
	}
	return 15
}

// nameBits is how many bits the name has there.
func (v *version) nameBits() uint32 {
	if v.recent {
		return 8
	}
	return 17
}

// inLarge is where the size of the instructions and the name stand in a large header.
func (v *version) inLarge() (size, name int) {
	if v.recent {
		return 12, 16
	}
	return 8, 12
}

func (w *rewriter) function(i int) function {
	var f function
	size := w.version.headerSize()
	for k := range size / 4 {
		f.words[k] = binary.LittleEndian.Uint32(w.b[w.headers.at+size*i+4*k:])
	}
	return f
}

func (w *rewriter) setFunction(i int, f function) {
	size := w.version.headerSize()
	for k, v := range f.words[:size/4] {
		binary.LittleEndian.PutUint32(w.b[w.headers.at+size*i+4*k:], v)
	}
}

func (w *rewriter) large(f function) bool { return f.words[w.version.headerSize()/4-1]&flagLarge != 0 }

// codeSize is how many bytes of instructions a header that is not large tells.
func (w *rewriter) codeSize(f function) uint32 { return f.words[1] & (1<<w.version.sizeBits() - 1) }

// largeAt is where a large header is, or -1.
func (w *rewriter) largeAt(f function) int {
	at := int(f.words[2]&offsetBits)<<16 | int(f.words[0]&offsetBits)
	if w.version.recent {
		at = int(f.words[0] & offsetBits)
	}
	if at < w.code.at || at > w.code.end()-largeHeader {
		return -1
	}
	return at
}

// offsets makes those of functions distances to the end of the one before.
func (w *rewriter) offsets() {
	if w.version.recent {
		w.recentOffsets()
		return
	}
	var end, info uint32
	for i := range w.functions {
		f := w.function(i)
		if w.large(f) {
			continue
		}
		offset, other := f.words[0]&offsetBits, f.words[2]&offsetBits
		if w.undo {
			offset, other = (offset+end)&offsetBits, (other+info)&offsetBits
			f.words[0], f.words[2] = f.words[0]&^offsetBits|offset, f.words[2]&^offsetBits|other
		} else {
			f.words[0], f.words[2] = f.words[0]&^offsetBits|(offset-end)&offsetBits, f.words[2]&^offsetBits|(other-info)&offsetBits
		}
		end, info = offset+w.codeSize(f), other
		w.setFunction(i, f)
	}
}

// recentOffsets is offsets for files whose large headers are many: a function whose name has not one of the first 256
// numbers has one. Their places are distances to the one before too.
func (w *rewriter) recentOffsets() {
	var end, last uint32
	move := func(f *function, from uint32) uint32 {
		offset := f.words[0] & offsetBits
		other := (offset - from) & offsetBits
		if w.undo {
			other = (offset + from) & offsetBits
			offset = other
		}
		f.words[0] = f.words[0]&^offsetBits | other
		return offset
	}
	for i := range w.functions {
		f := w.function(i)
		if !w.large(f) {
			end = move(&f, end) + w.codeSize(f)
			w.setFunction(i, f)
			continue
		}
		last = move(&f, last)
		w.setFunction(i, f)
		if at := w.largeAt(function{[4]uint32{last}}); at >= 0 {
			sizeAt, _ := w.version.inLarge()
			end = w.step(at, 4, end) + w.number(at+sizeAt, 4)
		}
	}
}

// entries makes offsets of strings and shapes distances to the one before.
func (w *rewriter) entries() {
	const bits = 1<<23 - 1
	var last uint32
	for at := w.small.at; at < w.small.end(); at += 4 {
		v := w.number(at, 4)
		if v>>24 == 255 {
			continue
		}
		offset := v >> 1 & bits
		other := offset - last
		if w.undo {
			other = offset + last
			last = other & bits
		} else {
			last = offset
		}
		w.setNumber(at, 4, v&^(bits<<1)|other&bits<<1)
	}
	last = 0
	for at := w.overflow.at; at < w.overflow.end(); at += 8 {
		last = w.step(at, 4, last)
	}
	last = 0
	for at := w.shapes.at; at < w.shapes.end(); at += 8 {
		last = w.step(at, 4, last)
	}
}

// names renumbers the names of functions.
func (w *rewriter) names() {
	shift, width := w.version.sizeBits(), w.version.nameBits()
	mask := uint32(1<<width-1) << shift
	_, inLarge := w.version.inLarge()
	for i := range w.functions {
		f := w.function(i)
		if w.large(f) {
			if at := w.largeAt(f); at >= 0 {
				w.renumber(at+inLarge, 4)
			}
			continue
		}
		name := w.id(f.words[1] & mask >> shift)
		if name < 1<<width && (len(w.ids) <= 1<<width || 1<<width == shortIDs) {
			f.words[1] = f.words[1]&^mask | name<<shift
			w.setFunction(i, f)
		}
	}
	for at := w.sources.at; at < w.sources.end(); at += 8 {
		w.renumber(at+4, 4)
	}
}

// rehash puts the hashes of identifiers back.
func (w *rewriter) rehash(texts texts) {
	at, i := w.hashes.at, 0
	for k := w.kinds.at; k < w.kinds.end(); k += 4 {
		v := w.number(k, 4)
		for range v &^ (1 << 31) {
			if i == texts.len() {
				return
			}
			if v>>31 == 1 {
				if at == w.hashes.end() {
					return
				}
				w.setNumber(at, 4, hash(texts.at(i)))
				at += 4
			}
			i++
		}
	}
}

// body is the instructions of a function.
type body struct{ at, size, function uint32 }

func (b body) end() uint32 { return b.at + b.size }

// bodies gives the instructions of all functions in the order of the file, those that several functions share once.
func (w *rewriter) bodies() []body {
	out := make([]body, 0, w.functions)
	inLarge, _ := w.version.inLarge()
	for i := range w.functions {
		f := w.function(i)
		s := span{int(f.words[0] & offsetBits), int(w.codeSize(f))}
		if w.large(f) {
			at := w.largeAt(f)
			if at < 0 {
				continue
			}
			s = span{int(w.number(at, 4)), int(w.number(at+inLarge, 4))}
		}
		if s.at >= w.code.at && s.at <= w.code.end() && s.size <= w.code.end()-s.at {
			out = append(out, body{uint32(s.at), uint32(s.size), uint32(i)})
		}
	}
	slices.SortStableFunc(out, func(a, b body) int { return cmp.Compare(a.at, b.at) })
	kept := out[:0]
	end := uint32(0)
	for _, s := range out {
		if s.at >= end {
			kept = append(kept, s)
			end = s.end()
		}
	}
	return kept
}

// instructions renumbers strings, and makes ids of functions and places of literals distances to the one before.
func (w *rewriter) instructions() {
	var last [256]uint32 // by kind of operand
	var count uint32     // of literals
	cases := len(w.b)    // of switches that may be looked at: an honest file has far fewer
	lengths, numbered := &w.version.length, &w.version.numbered
	for _, s := range w.bodies() {
		if !w.version.recent { // there functions are numbered in the order in which they are made
			last[functionID] = s.function
		}
		end := int(s.end())
		for at := int(s.at); at < end; {
			code := w.b[at]
			length := int(lengths[code])
			if length == 0 || at+length > end {
				break
			}
			for _, o := range numbered[code] {
				operandAt := at + o.at
				switch o.kind {
				case stringID:
					w.renumber(operandAt, o.width)
				case jumpTableAt:
					if table := (at + int(w.number(operandAt, o.width)) + 3) &^ 3; table > at && table < end {
						end = table
					}
				case shapeID:
					last[o.kind] = w.step(operandAt, o.width, last[o.kind])
					count = w.shapeSize(last[o.kind])
				case casesAt:
					cases = w.renumberCases(at, operandAt, cases)
				case literals:
					count = w.number(operandAt, o.width)
				case arrayAt:
					place := w.number(operandAt, o.width)
					if !w.version.recent { // there literals lie in another order than the instructions that name them
						place = w.step(operandAt, o.width, last[arrayAt])
						last[arrayAt] = place
					}
					w.note(arrayAt, place, count)
				default:
					last[o.kind] = w.step(operandAt, o.width, last[o.kind])
					w.note(o.kind, last[o.kind], count)
				}
			}
			at += length
		}
	}
}
