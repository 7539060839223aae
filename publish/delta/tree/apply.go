package tree

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta/hermes"
	"github.com/slipstream-ota/slipstream/publish/delta/patch"
)

// Operations. Their numbers are part of the format.
const (
	opKeep = iota
	opDrop
	opChange
	opMode
	opAdd
	opCopy
	opRepeat
)

// maxOperations bounds the bytes of operations.
const maxOperations = 1 << 30

// Sink receives the files of the new tree: each carried one while the patch is read, then all others. An error ends
// Apply, and the tree so far is worth nothing; so it is when Apply fails at the end.
type Sink interface {
	// Create opens a carried file for writing. Its hash is not known yet. Close is the end of the file.
	Create(f slipstream.File) (io.WriteCloser, error)
	// Keep takes the content of old, a file of the old tree, for f.
	Keep(f, old slipstream.File) error
	// Repeat takes the content of of, a file that was created, for f.
	Repeat(f, of slipstream.File) error
}

// Limits bound what a patch can make Apply do. Zero means the default.
type Limits struct {
	Carried int64 // bytes of carried contents and operations: 2 GiB
	Total   int64 // bytes of the new tree: four times the old one and what is carried
	Memory  int   // of tables for rich, as for package patch
	// Scratch makes an empty file beside the result, for bytecode that is more than 4 MiB; nil: all is held in memory. The
	// caller removes it. It takes the old files that were rewritten and a new one, and usually less than the same for lists.
	Scratch func() (hermes.Scratch, error)
	// Holds is told how many bytes of bytecode, old files and a new one, are about to be held in memory; it may be nil.
	Holds func(size int64)
}

// Apply reads a patch file from r and gives sink the files that it makes of old. base gives random access to the content
// of the old files whose places it is called with, one after another. The old tree must have been read and hashed just
// now; that it is the right one is compared first, and the new tree with the hash in the patch last. A single file may come
// without its hash: a wrong one is found by what it makes, and hashed only then, which halves what is hashed.
//
// The patch is not signed, so nothing in it is trusted but nothing proves it either. Damage, a wrong base and hostile
// operations are a *slipstream.Refusal with reason container_invalid. Memory is bounded by the lists, the operations, what
// patch.Apply takes and, where there is scratch, 8 MiB for bytecode; without it that is held whole.
func Apply(ctx context.Context, old Tree, base func(files []int) (io.ReaderAt, error), r io.Reader, l Limits, sink Sink) ([]slipstream.File, error) {
	if err := old.check("old"); err != nil {
		return nil, err
	}
	old = old.nameless()
	in := bufio.NewReader(r)
	h, err := readHeader(in, old)
	if err == nil && old.unhashed() && h.total == h.ops { // nothing is carried: the file is kept, by its hash
		err = old.hashNow(h.tag)
	}
	if err != nil {
		return nil, err
	}
	files, err := apply(ctx, old, base, in, h, l, sink)
	var refused *slipstream.Refusal
	if errors.As(err, &refused) && old.unhashed() {
		if wrong := old.hashNow(h.tag); wrong != nil {
			return nil, wrong
		}
	}
	return files, err
}

// apply does what follows the header.
func apply(ctx context.Context, old Tree, base func(files []int) (io.ReaderAt, error), in *bufio.Reader, h header, l Limits, sink Sink) ([]slipstream.File, error) {
	if l.Carried == 0 {
		l.Carried = patch.MaxInput
	}
	if h.total > l.Carried {
		return nil, invalid("it carries %d bytes, at most %d are allowed", h.total, l.Carried)
	}
	if l.Total == 0 {
		_, all := inBase(old.Files, nil)
		l.Total = 4*all + h.total
	}
	chosen, size := inBase(old.Files, h.left)
	from, err := base(chosen)
	if err != nil {
		return nil, fmt.Errorf("open old tree: %w", err)
	}
	from, bases, err := old.rewrittenBase(ctx, from, chosen, h, l)
	if err != nil {
		return nil, err
	}
	s := &splitter{bases: bases, pairs: h.pairs, old: old.Files, single: old.Single, ops: h.ops, left: h.total - h.ops, room: l.Total, sink: sink}
	err = patch.Apply(ctx, from, size, in, s, patch.Limits{NewSize: h.total, Memory: l.Memory})
	if err == nil {
		err = s.finish(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.abort())
	}
	if hashList(s.files, old.Single) != h.hash {
		return nil, invalid("what it makes is not what it was made for")
	}
	return s.files, nil
}

type header struct {
	tag   [tagSize]byte // of the old list
	hash  [sha256.Size]byte
	left  []int
	pairs []pair
	ops   int64
	total int64
}

func readHeader(in *bufio.Reader, old Tree) (header, error) {
	h, single, err := readFixed(in)
	switch {
	case err != nil:
		return h, err
	case single != old.Single:
		return h, invalid("it is for a file and this is a tree, or the other way round")
	case !old.unhashed() && !old.fits(h.tag):
		return h, wrongBase()
	}
	err = h.readRest(in, len(old.Files))
	return h, err
}

// readFixed reads the part that is always as long.
func readFixed(in *bufio.Reader) (h header, single bool, err error) {
	var fixed [headerSize]byte
	if _, err := io.ReadFull(in, fixed[:]); err != nil {
		return h, false, damaged(err)
	}
	h.tag, h.hash = [tagSize]byte(fixed[6:]), [sha256.Size]byte(fixed[6+tagSize:])
	switch {
	case string(fixed[:4]) != magic:
		return h, false, invalid("it does not begin with %q", magic)
	case fixed[4] != version:
		return h, false, invalid("format version %d is not known", fixed[4])
	case fixed[5] > 1:
		return h, false, invalid("it is neither of a file nor of a tree")
	}
	return h, fixed[5] == 1, nil
}

// readRest reads the part that speaks of an old list of so many files.
func (h *header) readRest(in *bufio.Reader, files int) error {
	n, err := binary.ReadUvarint(in)
	if err != nil || n > uint64(files) {
		return invalid("it leaves more out of the base than there is")
	}
	at := uint64(0)
	for i := range n {
		d, err := binary.ReadUvarint(in)
		if at += d; err != nil || i > 0 && d == 0 || d > uint64(files) || at >= uint64(files) {
			return invalid("its list of files outside the base is none")
		}
		h.left = append(h.left, int(at))
	}
	if h.pairs, err = readPairs(in, files); err != nil {
		return err
	}
	ops, err := binary.ReadUvarint(in)
	if err != nil || ops > maxOperations {
		return invalid("its operations are not counted, or too many")
	}
	total, err := binary.ReadUvarint(in)
	if err != nil || total < ops || total > patch.MaxInput {
		return invalid("its contents are not counted, or too many")
	}
	h.ops, h.total = int64(ops), int64(total)
	return nil
}

// readPairs reads which files are rewritten. Both files of a pair stand behind those of the pair before.
func readPairs(in io.ByteReader, files int) ([]pair, error) {
	n, err := binary.ReadUvarint(in)
	if err != nil || n > uint64(files) {
		return nil, invalid("it rewrites more files than there are")
	}
	var out []pair
	var at pair
	for i := range n {
		a, err := binary.ReadUvarint(in)
		b, err2 := binary.ReadUvarint(in)
		if err != nil || err2 != nil || i > 0 && (a == 0 || b == 0) || a > uint64(files) || b > MaxFiles {
			return nil, invalid("its list of rewritten files is none")
		}
		if at = (pair{at.old + int(a), at.carried + int(b)}); at.old >= files {
			return nil, invalid("it rewrites a file that is not there")
		}
		out = append(out, at)
	}
	return out, nil
}

func damaged(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return invalid("it ends early")
	}
	return fmt.Errorf("read patch: %w", err)
}

// splitter takes the patched stream apart: operations, then contents.
type splitter struct {
	bases  *hermes.Bases // that others are rewritten against
	pairs  []pair        // that are still to come
	old    []slipstream.File
	single bool
	ops    int64 // bytes of operations
	left   int64 // bytes of contents that the header announces
	room   int64 // bytes that the new tree may still have
	sink   Sink

	head    []byte
	parsed  bool
	files   []slipstream.File
	steps   []step // of files
	carried []int  // of files
	next    int    // of carried
	open    io.WriteCloser
	rest    int64 // of the open file
	sum     hash.Hash

	restoring hermes.Restoring // of the open file, when it is rewritten
}

// step says where a file of the new list comes from.
type step struct {
	op  byte
	arg int // old file, or place among the carried
}

func (s *splitter) Write(p []byte) (int, error) {
	n := len(p)
	if !s.parsed {
		k := min(int64(len(p)), s.ops-int64(len(s.head)))
		s.head = append(s.head, p[:k]...)
		p = p[k:]
		if int64(len(s.head)) < s.ops {
			return n, nil
		}
		if err := s.parse(); err != nil {
			return 0, err
		}
		if err := s.advance(); err != nil {
			return 0, err
		}
	}
	for len(p) > 0 {
		if s.open == nil {
			return 0, invalid("it carries more than its files have")
		}
		k := min(int64(len(p)), s.rest)
		if err := s.take(p[:k]); err != nil {
			return 0, err
		}
		p = p[k:]
		if s.rest -= k; s.rest == 0 {
			if err := s.closeFile(); err != nil {
				return 0, err
			}
			if err := s.advance(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

// advance opens the next carried file that has bytes; empty ones are made on the way.
func (s *splitter) advance() error {
	for s.open == nil && s.next < len(s.carried) {
		f := s.files[s.carried[s.next]]
		w, err := s.sink.Create(f)
		if err != nil {
			return fmt.Errorf("create %s: %w", f.Path, err)
		}
		s.open, s.rest, s.sum = w, f.Size, sha256.New()
		if len(s.pairs) > 0 && s.pairs[0].carried == s.next {
			if f.Size > hermes.MaxFile {
				return invalid("%s is too large to be rewritten", f.Path)
			}
			s.restoring, s.pairs = s.bases.Begin(s.pairs[0].old, f.Size), s.pairs[1:]
		}
		if f.Size == 0 {
			if err := s.closeFile(); err != nil {
				return err
			}
		}
	}
	return nil
}

// take brings bytes to the open file, or to where it is restored from.
func (s *splitter) take(p []byte) error {
	if s.restoring != nil {
		_, err := s.restoring.Write(p)
		return err
	}
	return s.write(p)
}

func (s *splitter) write(p []byte) error {
	s.sum.Write(p)
	if _, err := s.open.Write(p); err != nil {
		return fmt.Errorf("write %s: %w", s.files[s.carried[s.next]].Path, err)
	}
	return nil
}

func (s *splitter) closeFile() error {
	f := &s.files[s.carried[s.next]]
	if r := s.restoring; r != nil {
		s.restoring = nil
		err := r.Restore(s.write)
		if errors.Is(err, hermes.ErrUnknown) {
			return invalid("a file that was rewritten does not come back: %w", err)
		}
		if err != nil {
			return err
		}
	}
	f.SHA256 = slipstream.DigestOf([32]byte(s.sum.Sum(nil)))
	w := s.open
	s.open = nil
	s.next++
	if err := w.Close(); err != nil {
		return fmt.Errorf("close %s: %w", f.Path, err)
	}
	return nil
}

func (s *splitter) abort() error {
	if s.open == nil {
		return nil
	}
	return s.open.Close()
}

// finish makes what is not carried.
func (s *splitter) finish(ctx context.Context) error {
	if !s.parsed { // no operations and no contents: nothing was written
		if err := s.parse(); err != nil {
			return err
		}
		if err := s.advance(); err != nil {
			return err
		}
	}
	if s.next < len(s.carried) {
		return invalid("it carries less than its files have")
	}
	if len(s.pairs) > 0 {
		return invalid("it rewrites a file that it does not carry")
	}
	for i, st := range s.steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		f := &s.files[i]
		var err error
		switch st.op {
		case opKeep:
			err = s.sink.Keep(*f, s.old[st.arg])
		case opRepeat:
			of := s.files[s.carried[st.arg]]
			f.SHA256 = of.SHA256
			err = s.sink.Repeat(*f, of)
		}
		if err != nil {
			return fmt.Errorf("make %s: %w", f.Path, err)
		}
	}
	return nil
}

// parse reads the operations into the new list.
func (s *splitter) parse() error {
	s.parsed = true
	p := &parser{in: s.head, splitter: s}
	for len(p.in) > 0 {
		v, err := p.uvarint()
		if err != nil {
			return err
		}
		n, op := v>>3, byte(v&7)
		if n == 0 || n > MaxFiles || len(s.files)+int(n) > MaxFiles+len(s.old) {
			return invalid("an operation is for %d files", n)
		}
		for range n {
			if err := p.step(op); err != nil {
				return err
			}
		}
	}
	s.head = nil
	switch {
	case p.at != len(s.old):
		return invalid("it says nothing of %d old files", len(s.old)-p.at)
	case s.single && len(s.files) != 1:
		return invalid("it makes %d files of one", len(s.files))
	case p.size != s.left:
		return invalid("its files have %d bytes and it carries %d", p.size, s.left)
	}
	return nil
}

type parser struct {
	*splitter
	in   []byte
	at   int // in the old list
	size int64
	path string // written last
}

func (p *parser) step(op byte) error {
	switch op {
	case opKeep, opDrop, opChange, opMode:
		if p.at == len(p.old) {
			return invalid("it speaks of more old files than there are")
		}
		f := p.old[p.at]
		p.at++
		switch op {
		case opDrop:
			return nil
		case opChange:
			d, n := binary.Varint(p.in)
			if n <= 0 || d < -f.Size || d > patch.MaxInput {
				return invalid("the size of a changed file is none")
			}
			p.in = p.in[n:]
			f.Size += d
			return p.carry(f)
		case opMode:
			f.Exec = !f.Exec
		}
		return p.put(f, step{opKeep, p.at - 1})
	case opAdd, opCopy, opRepeat:
		f, err := p.readPath()
		if err != nil {
			return err
		}
		n, err := p.uvarint()
		if err != nil {
			return err
		}
		switch {
		case op == opAdd && n <= patch.MaxInput:
			f.Size = int64(n)
			return p.carry(f)
		case op == opCopy && n < uint64(len(p.old)):
			f.Size, f.SHA256 = p.old[n].Size, p.old[n].SHA256
			return p.put(f, step{opKeep, int(n)})
		case op == opRepeat && n < uint64(len(p.carried)):
			f.Size = p.files[p.carried[n]].Size
			return p.put(f, step{opRepeat, int(n)})
		}
		return invalid("%s has a content that is not there", f.Path)
	}
	return invalid("operation %d is not known", op)
}

func (p *parser) carry(f slipstream.File) error {
	f.SHA256 = ""
	p.size += f.Size
	if p.size > p.left {
		return invalid("its files have more bytes than it carries")
	}
	p.carried = append(p.carried, len(p.files))
	return p.put(f, step{op: opAdd})
}

func (p *parser) put(f slipstream.File, s step) error {
	if n := len(p.files); n > 0 && !p.single && p.files[n-1].Path >= f.Path {
		return invalid("its list is not sorted at %q", f.Path)
	}
	if p.room -= f.Size; p.room < 0 {
		return invalid("the new tree is larger than is allowed")
	}
	p.files = append(p.files, f)
	p.steps = append(p.steps, s)
	return nil
}

func (p *parser) readPath() (f slipstream.File, err error) {
	same, err := p.uvarint()
	if err != nil {
		return f, err
	}
	n, err := p.uvarint()
	if err != nil {
		return f, err
	}
	if same > uint64(len(p.path)) || n >= uint64(len(p.in)) || p.in[n] > 1 {
		return f, invalid("a path is cut off")
	}
	f.Path, f.Exec = p.path[:same]+string(p.in[:n]), p.in[n] == 1
	p.in, p.path = p.in[n+1:], f.Path
	if !p.single && !validPath(f.Path) {
		return f, invalid("%q is no path inside a tree", f.Path)
	}
	return f, nil
}

func (p *parser) uvarint() (uint64, error) {
	v, n := binary.Uvarint(p.in)
	if n <= 0 {
		return 0, invalid("its operations are cut off")
	}
	p.in = p.in[n:]
	return v, nil
}
