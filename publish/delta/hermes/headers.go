package hermes

import "encoding/binary"

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

func (w *rewriter) function(i int) (f function) {
	size := w.version.headerSize()
	at := w.headers.at + size*i
	if b := w.whole(at, size); b != nil {
		f.words[0], f.words[1], f.words[2] = binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:])
		if size == 16 {
			f.words[3] = binary.LittleEndian.Uint32(b[12:])
		}
		return f
	}
	for k := range size / 4 {
		f.words[k] = w.number(at+4*k, 4)
	}
	return f
}

// setFunction writes the first three words of a header. What follows them stays.
func (w *rewriter) setFunction(i int, f *function) {
	at := w.headers.at + w.version.headerSize()*i
	if b := w.whole(at, 12); b != nil {
		binary.LittleEndian.PutUint32(b, f.words[0])
		binary.LittleEndian.PutUint32(b[4:], f.words[1])
		binary.LittleEndian.PutUint32(b[8:], f.words[2])
		w.touch()
		return
	}
	for k, v := range f.words[:3] {
		w.setNumber(at+4*k, 4, v)
	}
}

func (w *rewriter) large(f function) bool { return f.words[w.version.headerSize()/4-1]&flagLarge != 0 }

// codeSize is how many bytes of instructions a header that is not large tells.
func (w *rewriter) codeSize(f function) uint32 { return f.words[1] & (1<<w.version.sizeBits() - 1) }

// largeAt is where a large header is, or -1.
func (w *rewriter) largeAt(f function) int {
	at := int64(f.words[0] & offsetBits)
	if !w.version.recent {
		at |= int64(f.words[2]&offsetBits) << 16
	}
	if at < int64(w.code.at) || at > int64(w.code.end()-largeHeader) {
		return -1
	}
	return int(at)
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
		w.setFunction(i, &f)
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
			w.setFunction(i, &f)
			continue
		}
		last = move(&f, last)
		w.setFunction(i, &f)
		if at := w.largeAt(function{[4]uint32{last}}); at >= 0 {
			sizeAt, _ := w.version.inLarge()
			end = w.stepIn(w.far, at, 4, end) + w.far.number(at+sizeAt, 4)
		}
	}
}
