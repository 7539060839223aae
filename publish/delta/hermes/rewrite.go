package hermes

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
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
		newRewriter(o.layout, held(o.file), nil).forward()
		o.based = true
	}
	return o.file
}

// Rewrite gives the rewritten form of new, or false when that cannot be undone exactly.
func (o *Old) Rewrite(new []byte) ([]byte, bool) {
	l, err := read(new)
	if err != nil || o.version != binary.LittleEndian.Uint32(new[8:]) {
		return nil, false
	}
	texts, err := l.texts(new)
	if err != nil {
		return nil, false
	}
	rewritten := bytes.Clone(new)
	w := newRewriter(l, held(rewritten), nil)
	w.ids = align(o.texts, texts)
	w.forward()
	back, err := o.Restore(bytes.Clone(rewritten))
	return rewritten, err == nil && bytes.Equal(back, new)
}

// Restore gives the file whose rewritten form is rewritten; it takes that over and changes it in place. It takes any
// bytes: what comes of those that Rewrite did not make is for the caller's hash to tell. Memory is some 40
// bytes for a string, and for a function.
func (o *Old) Restore(rewritten []byte) ([]byte, error) { return o.restore(rewritten, false) }

// restore is Restore. With standing a footer that is not zero is taken as it is: to compute one takes a tenth of the time.
func (o *Old) restore(rewritten []byte, standing bool) ([]byte, error) {
	l, err := read(rewritten)
	if err != nil {
		return nil, err
	}
	w := newRewriter(l, held(rewritten), nil)
	w.undo = true
	w.offsets()
	w.entries()
	texts, err := l.texts(rewritten)
	if err != nil {
		return nil, err
	}
	w.ids = invert(align(o.texts, texts))
	w.contents()
	if !standing || !w.hasFooter() {
		sum := sha1.Sum(rewritten[:w.footer.at])
		copy(rewritten[w.footer.at:], sum[:])
	}
	return rewritten, nil
}

// Worth tells whether rewriting pays that makes a patch so many bytes smaller: the files of bytecode, old and new together, have
// size bytes. A reader rewrites some 400 MB in a second, and a tenth of that where it is slow: so that the update is there
// sooner over a link of 50 kB/s, or 5 kB/s.
func Worth(saved, size int64) bool { return saved > 0 && saved >= size/bytesForOne }

const bytesForOne = 8 << 10

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
		return nil, ErrUnknown
	}
	return o.Restore(rewritten)
}

// rewriter rewrites a file in place, or undoes that.
type rewriter struct {
	*layout
	*image
	far  *image // another view of the file, for tables that are elsewhere
	room *Room  // nil: everything is held
	undo bool
	ids  []uint32 // of strings; numbers beyond stay. Without ids all stay
	wide *image   // ids where they are not held, 4 bytes each
	runs *sorter  // of literals, as the instructions name them: where they begin in the file, and how many literals
}

func newRewriter(l *layout, file *image, room *Room) *rewriter {
	w := &rewriter{layout: l, image: file, far: file, room: room, runs: newSorter(room)}
	if room != nil {
		w.far = file.view()
	}
	return w
}

// forward rewrites: what needs offsets first, offsets last.
func (w *rewriter) forward() {
	w.instructions()
	if w.renumbered() > 0 {
		w.literals()
		w.names()
	}
	w.entries()
	w.offsets()
	w.clear(w.hashes)
	w.clear(w.footer)
}

// contents undoes the rewriting of all but offsets and the hash of the file, once the offsets are back.
func (w *rewriter) contents() {
	if w.renumbered() == 0 {
		w.instructions()
	} else {
		w.names()
		w.instructions()
		w.literals()
	}
	w.rehash()
}

// hasFooter tells whether the hash of the file is not left out.
func (w *rewriter) hasFooter() bool {
	for at := w.footer.at; at < w.footer.end(); at += 4 {
		if w.number(at, 4) != 0 {
			return true
		}
	}
	return false
}

// shortIDs are those that an instruction with one byte for a string can name. They stay among themselves.
const shortIDs = 256

// align numbers the new strings like the old ones where both have them, and the others with what is left, in order. The
// result is a permutation in which short ids stay short, nil when all stay as they are.
func align(old, new texts) []uint32 {
	if alike(old, new) {
		return nil
	}
	return renumbering(old, new)
}

// renumbering is align without the look at what is alike.
func renumbering(old, new texts) []uint32 {
	n := max(old.len(), new.len())
	const none = ^uint32(0)
	ids, taken := make([]uint32, n), make([]bool, n)
	for i := range ids {
		ids[i] = none
	}
	known := newFinder(old)
	guess := 0 // most often the one behind the last that was found
	for i := range new.places {
		o, ok := known.first(new.at(i), guess)
		if !ok {
			continue
		}
		guess = o + 1
		if (o < shortIDs) == (i < shortIDs) && !taken[o] {
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

// alike tells whether one list of strings is the begin of the other. Then every id stays: the first string of a content has
// the same number on both sides, and the numbers that are left over are the same too.
func alike(old, new texts) bool {
	for i := range min(old.len(), new.len()) {
		if !old.at(i).equal(new.at(i)) {
			return false
		}
	}
	return true
}

func invert(ids []uint32) []uint32 {
	out := make([]uint32, len(ids))
	for i, v := range ids {
		out[v] = uint32(i)
	}
	return out
}

// renumbered gives how many strings have another number.
func (w *rewriter) renumbered() int {
	if w.wide != nil {
		return w.wide.size / 4
	}
	return len(w.ids)
}

func (w *rewriter) id(v uint32) uint32 {
	switch {
	case int64(v) < int64(len(w.ids)):
		return w.ids[v]
	case w.wide != nil && int64(v) < int64(w.wide.size/4):
		return w.wide.number(4*int(v), 4)
	}
	return v
}

// renumber puts the other id for a string at a place. One that does not fit stays, and so does the one it would have
// become: numbers of a width are exchanged among themselves only.
func (w *rewriter) renumber(at int, width byte) { w.renumberIn(w.image, at, width) }

func (w *rewriter) renumberIn(m *image, at int, width byte) {
	if b := m.whole(at, 2); width == 2 && b != nil && len(w.ids) > 0 && len(w.ids) <= 1<<16 {
		if v := int(binary.LittleEndian.Uint16(b)); v < len(w.ids) {
			binary.LittleEndian.PutUint16(b, uint16(w.ids[v]))
			m.touch()
		}
		return
	}
	v := m.number(at, width)
	n := w.id(v)
	if n == v || width == 2 && (n > 1<<16-1 || w.renumbered() > 1<<16) || width == 1 && v >= shortIDs {
		return
	}
	m.setNumber(at, width, n)
}

// step replaces a number by its distance to last, or undoes that, and gives the number itself.
func (w *rewriter) step(at int, width byte, last uint32) uint32 {
	return w.stepIn(w.image, at, width, last)
}

func (w *rewriter) stepIn(m *image, at int, width byte, last uint32) uint32 {
	v := m.number(at, width)
	if w.undo {
		v += last
		m.setNumber(at, width, v)
		return m.number(at, width)
	}
	m.setNumber(at, width, v-last)
	return v
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
				w.renumberIn(w.far, at+inLarge, 4)
			}
			continue
		}
		name := w.id(f.words[1] & mask >> shift)
		if name < 1<<width && (w.renumbered() <= 1<<width || 1<<width == shortIDs) {
			f.words[1] = f.words[1]&^mask | name<<shift
			w.setFunction(i, &f)
		}
	}
	for at := w.sources.at; at < w.sources.end(); at += 8 {
		w.renumber(at+4, 4)
	}
}

// rehash puts the hashes of identifiers back.
func (w *rewriter) rehash() {
	storage, hashes := w.image, w.image
	kinds := &kindsReader{m: w.far, at: w.kinds.at, end: w.kinds.end()}
	if w.room != nil {
		storage, hashes = w.view(), w.view()
		defer storage.leave()
		defer hashes.leave()
	}
	at := w.hashes.at
	for i := range w.strings {
		identifier, ok := kinds.next()
		if !ok || identifier && at == w.hashes.end() {
			return
		}
		if identifier {
			p, _ := w.place(w.image, w.far, i)
			hashes.setNumber(at, 4, w.hashOf(storage, p))
			at += 4
		}
	}
}

// kindsReader says of one string after the other whether it is an identifier.
type kindsReader struct {
	m       *image
	at, end int
	v       uint32 // the run at hand, with what is left of it
}

func (k *kindsReader) next() (identifier, ok bool) {
	for k.v&^(1<<31) == 0 {
		if k.at == k.end {
			return false, false
		}
		k.v = k.m.number(k.at, 4)
		k.at += 4
	}
	k.v--
	return k.v>>31 == 1, true
}
