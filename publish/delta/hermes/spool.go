package hermes

import (
	"crypto/sha1"
	"encoding/binary"
	"hash/maphash"
	"io"
)

// Spooled is Old in a Room.
type Spooled struct {
	room   *Room
	start  int64
	size   int
	layout *layout
	number uint32  // of the version
	texts  *sorter // hashes of the contents of strings, all in the room
}

// Open copies size bytes of content into the room and rewrites them. A file that is not one that is known is false.
func (r *Room) Open(content io.ReaderAt, size int64) (_ *Spooled, ok bool, err error) {
	if size < headerSize+footerSize || size > MaxFile {
		return nil, false, nil
	}
	o := &Spooled{room: r, start: r.allocate(size), size: int(size)}
	if err := r.copyIn(content, size, o.start); err != nil {
		return nil, false, err
	}
	file := r.stretch(o.start, o.size)
	if o.layout, o.number, err = r.layout(file); err != nil {
		return nil, false, r.err
	}
	w := newRewriter(o.layout, file, r)
	defer w.end()
	o.texts, err = w.hashTexts()
	o.texts.spill()
	o.texts.close()
	if err != nil {
		return nil, false, r.err
	}
	end := r.end
	w.forward()
	r.flush()
	r.release(end)
	return o, r.err == nil, r.err
}

// layout finds the tables of a file.
func (r *Room) layout(file *image) (*layout, uint32, error) {
	head := file.chunk(0, headerSize)
	l, err := readHead(head, file.size)
	return l, binary.LittleEndian.Uint32(head[8:]), err
}

// end lets go of what a rewriter over a room holds.
func (w *rewriter) end() {
	w.leave()
	w.far.leave()
	w.runs.close()
	if w.wide != nil {
		w.wide.leave()
	}
}

// ReadAt reads the rewritten form.
func (o *Spooled) ReadAt(p []byte, at int64) (int, error) {
	n := min(int64(len(p)), int64(o.size)-at)
	if at < 0 || n < 0 {
		return 0, io.EOF
	}
	o.room.read(p[:n], o.start+at)
	switch {
	case o.room.err != nil:
		return 0, o.room.err
	case n < int64(len(p)):
		return int(n), io.EOF
	}
	return int(n), nil
}

// Incoming is a rewritten file that is written into a Room. One is written at a time.
type Incoming struct {
	old   *Spooled
	whole bool // a footer that is not zero is taken as it is
	start int64
	size  int
	n     int64
}

// Incoming begins a file of so many bytes whose old file is o.
func (o *Spooled) Incoming(size int64) *Incoming {
	return &Incoming{old: o, start: o.room.allocate(size), size: int(size)}
}

// Write takes the next bytes.
func (n *Incoming) Write(p []byte) (int, error) {
	r := n.old.room
	if n.n += int64(len(p)); n.n > int64(n.size) {
		return 0, ErrUnknown
	}
	r.write(p, n.start+n.n-int64(len(p)))
	if r.err != nil {
		return 0, r.err
	}
	return len(p), nil
}

// Restore writes the file whose rewritten form was taken, as Old.Restore gives it, through write. Bytes that are no file
// are ErrUnknown. It is the end of Incoming.
func (n *Incoming) Restore(write func([]byte) error) error {
	r := n.old.room
	defer r.release(n.start)
	if n.n < int64(n.size) || n.size < headerSize+footerSize {
		return ErrUnknown
	}
	file := r.stretch(n.start, n.size)
	l, _, err := r.layout(file)
	if r.err != nil { // what was read then is nothing to judge
		return r.err
	}
	if err != nil {
		return err
	}
	w := newRewriter(l, file, r)
	defer w.end()
	w.undo = true
	w.offsets()
	w.entries()
	texts, err := w.hashTexts()
	if err == nil {
		w.findIDs(n.old, texts)
	}
	texts.close()
	if r.err != nil {
		return r.err
	}
	if err != nil {
		return err
	}
	w.contents()
	computed, end := !n.whole || !w.hasFooter(), n.size
	if computed {
		end = w.footer.at
	}
	sum := sha1.New()
	for at := 0; at < end && r.err == nil; {
		b := w.chunk(at, end-at)
		if computed {
			sum.Write(b)
		}
		if err := write(b); err != nil {
			return err
		}
		at += len(b)
	}
	if r.err != nil || !computed {
		return r.err
	}
	return write(sum.Sum(nil))
}

// seeds make hashes of contents that nobody can foresee. 96 bits of them stand for the content: among the at most 2^25
// strings of two files two contents have the same ones once in 2^46 times, and then the hash of the file tells.
type seeds [2]maphash.Seed

func newSeeds() seeds { return seeds{maphash.MakeSeed(), maphash.MakeSeed()} }

// hashTexts gives a record for every string: 96 bits of hash of its content, then its number.
func (w *rewriter) hashTexts() (*sorter, error) {
	out := newSorter(w.room)
	storage := w.view()
	defer storage.leave()
	var hashes [2]maphash.Hash
	for k := range hashes {
		hashes[k].SetSeed(w.room.seeds[k])
	}
	return out, w.eachText(w.image, w.far, func(i int, p textPlace) {
		at, end := w.storage.at+int(p.offset), w.storage.at+int(p.offset+p.size>>1)
		for at < end {
			b := storage.chunk(at, end-at)
			for k := range hashes {
				_, _ = hashes[k].Write(b) // it never fails
			}
			at += len(b)
		}
		high, low := hashes[0].Sum64(), hashes[1].Sum64()
		for k := range hashes {
			hashes[k].Reset()
		}
		if p.size&1 == 1 {
			high = ^high
		}
		out.add(record{high, low<<32 | uint64(i)})
	})
}

// heldIDs is how many numbers of strings are held rather than kept in the room.
const heldIDs = 64 << 10

// findIDs finds the numbers that the strings had before they were numbered like those of the old file: the inverse of
// what align gives.
func (w *rewriter) findIDs(old *Spooled, texts *sorter) {
	n := max(old.layout.strings, w.strings)
	set := w.setIDs(n)
	byOld, byNew := newSorter(w.room), newSorter(w.room)
	defer byOld.close()
	defer byNew.close()
	w.pair(old.texts, texts, byOld, byNew)
	pairs, taken := byOld.sorted(), byNew.sorted()
	defer pairs.close()
	defer taken.close()
	pair, more := pairs.next()
	skip, moreTaken := taken.next()
	free := 0 // the next number that is not taken
	for o := range n {
		if more && pair.high == uint64(o) {
			set(o, uint32(pair.low))
			pair, more = pairs.next()
			continue
		}
		for moreTaken && skip.high == uint64(free) {
			free++
			skip, moreTaken = taken.next()
		}
		set(o, uint32(free))
		free++
	}
}

// setIDs makes place for n numbers, and gives what sets one.
func (w *rewriter) setIDs(n int) func(int, uint32) {
	if n <= heldIDs {
		w.ids = make([]uint32, n)
		return func(i int, v uint32) { w.ids[i] = v }
	}
	w.wide = w.room.stretch(w.room.allocate(4*int64(n)), 4*n)
	return func(i int, v uint32) { w.wide.setNumber(4*i, 4, v) }
}

// pair finds which strings have the number of an old one, as align does: adds old number and new to byOld, and the new
// one to byNew.
func (w *rewriter) pair(old, new, byOld, byNew *sorter) {
	olds, news := old.sorted(), new.sorted()
	defer olds.close()
	defer news.close()
	o, more := olds.next()
	content := func(r record) record { return record{r.high, r.low >> 32} }
	var done record // the content that has its pair, with the number of the old string
	for {
		r, ok := news.next()
		if !ok {
			return
		}
		for more && compare(content(o), content(r)) < 0 {
			o, more = olds.next()
		}
		if !more || content(o) != content(r) || o == done {
			continue
		}
		i, k := uint64(uint32(r.low)), uint64(uint32(o.low))
		if (i < shortIDs) == (k < shortIDs) {
			done = o
			byOld.add(record{k, i})
			byNew.add(record{i, 0})
		}
	}
}
