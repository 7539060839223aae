package delta

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta/hermes"
	"github.com/slipstream-ota/slipstream/publish/delta/patch"
)

// Names of the codecs that rebuild changed files from those of the base.
const (
	CodecRich          = "rich/1"           // any patch whose tables fit in 16 MiB
	CodecRichJS        = "rich/1+js"        // the same where the reader has little to do: DecisionsJS, and no stream
	CodecRich64        = "rich/1+64m"       // the same in 64 MiB
	CodecRich192       = "rich/1+192m"      // the same in 192 MiB
	CodecHermes        = "rich/1+hbc"       // the same as rich/1 with rewritten Hermes bytecode, 16 MiB in all
	CodecHermes64      = "rich/1+hbc+64m"   // 64 MiB in all, for bytecode of more than some 3 MB
	CodecSimpleDeflate = "simple/1+deflate" // patches of the simple profile, stored or in this stream
	CodecSimpleZstd    = "simple/1+zstd"
	CodecSimpleBrotli  = "simple/1+brotli"

	CodecSimpleHermes   = "simple/1+zstd+hbc"     // the same as simple/1+zstd with rewritten Hermes bytecode, which takes at most 16 MiB
	CodecSimpleHermes64 = "simple/1+zstd+hbc+64m" // at most 64 MiB, for bytecode of more than some 4 MB
)

// DecisionsJS is how many coded decisions a patch of rich/1+js takes at most: about a second of an interpreter.
const DecisionsJS = 1 << 20

// Second format: no operations.
const (
	patchVersion   = 2
	codecPatch     = 2
	codecRewritten = 3
)

// Base opens the content of a file of the base at random places.
type Base func(slipstream.File) (Content, error)

// Content is an open file.
type Content interface {
	io.ReaderAt
	io.Closer
}

// DeltaOptions bound what EncodeDeltas spends and does not change what a codec means. The zero value is the default.
type DeltaOptions struct {
	MaxDecisions int // as in patch.Options
	Workers      int
	Progress     func(done, total int64)
	Compressors  *Compressors // nil: kept for one call
}

// Delta is a container that was made.
type Delta struct {
	Codec     string
	Container []byte
	Stats     patch.Stats
}

// optionsOf gives what a reader of the codec can apply.
func optionsOf(codec string) (patch.Options, bool) {
	switch codec {
	case CodecRich, CodecRichJS, CodecHermes:
		return patch.Options{Memory: 16 << 20}, true
	case CodecRich64, CodecHermes64:
		return patch.Options{Memory: 64 << 20}, true
	case CodecRich192:
		return patch.Options{Memory: 192 << 20}, true
	case CodecSimpleDeflate, CodecSimpleZstd, CodecSimpleBrotli:
		_, stream, _ := strings.Cut(codec, "+")
		return patch.Options{Profile: patch.ProfileSimple, Streams: []string{stream}}, true
	case CodecSimpleHermes, CodecSimpleHermes64:
		o, _ := optionsOf(CodecSimpleZstd)
		o.Memory = 16 << 20
		if codec == CodecSimpleHermes64 {
			o.Memory = 64 << 20
		}
		return o, true
	}
	return patch.Options{}, false
}

// rewrites tells whether a codec may rewrite bytecode.
func rewrites(codec string) bool {
	switch codec {
	case CodecHermes, CodecHermes64, CodecSimpleHermes, CodecSimpleHermes64:
		return true
	}
	return false
}

// MemoryOf gives the bytes that a reader of the codec must allow for tables and rewritten bytecode, and whether it is a
// codec with a patch.
func MemoryOf(codec string) (int, bool) {
	o, ok := optionsOf(codec)
	return o.Memory, ok
}

// DecisionsOf gives the coded decisions that a reader of the codec must be ready for, 0 when they are not bounded more
// tightly than by the memory and the sizes.
func DecisionsOf(codec string) int64 {
	if codec == CodecRichJS {
		return DecisionsJS
	}
	return 0
}

// EncodeDeltas makes the containers that rebuild new from old, one for each of the codecs, from a single search. openOld
// and openNew give contents; a content whose size or hash is not the signed one is a *slipstream.Refusal with reason
// file_mismatch. The bytes depend on nothing but the file lists, the contents and the codec. The base and the changed
// files are held in memory, twice when there is bytecode to rewrite, and four more bytes for each of the base: a base or a
// change of 2 GiB and more is refused (slipstream.ErrInvalid) with a hint.
//
// A codec that rewrites bytecode is tried with and without, and the rewritten one kept where it saves enough for the time
// that it takes to apply (hermes.Worth). It is left out when it gives the
// same as another of the codecs, or rewrites no other files than one of them with less memory. rich/1+js is the container
// of rich/1, or left out when that asks too much.
func EncodeDeltas(ctx context.Context, codecs []string, old, new *slipstream.Manifest,
	openOld, openNew func(slipstream.File) (io.ReadCloser, error), o DeltaOptions) ([]Delta, error) {
	for _, c := range codecs {
		if _, ok := optionsOf(c); !ok {
			return nil, slipstream.Invalidf("codec %q has no patch", c)
		}
	}
	if o.Compressors == nil {
		o.Compressors = &Compressors{}
	}
	steps := plan(old.Files, new.Files)
	m := &maker{o: o, old: old, new: new, carried: pick(new.Files, streamOrder(new.Files, steps)), made: map[kind]Delta{}}
	if err := patch.CheckSizes(sizeOf(old.Files), sizeOf(m.carried)); err != nil {
		return nil, err
	}
	var err error
	if m.target, err = gather(ctx, m.carried, openNew); err != nil {
		return nil, err
	}
	if m.base, err = gather(ctx, old.Files, openOld); err != nil {
		return nil, err
	}
	var out []Delta
	for _, c := range codecs {
		po, _ := optionsOf(c)
		d, worth := Delta{}, true
		if rewrites(c) {
			d, worth, err = m.rewritten(ctx, c, po, codecs)
		} else {
			d, err = m.patched(ctx, c, po)
			worth = c != CodecRichJS || fitsJS(d.Stats)
		}
		if err != nil {
			return nil, err
		}
		same := func(other Delta) bool { return rewrites(c) && slices.Equal(other.Container, d.Container) }
		if worth && !slices.ContainsFunc(out, same) {
			out = append(out, d)
		}
	}
	return out, nil
}

// fitsJS tells whether a container of rich/1 is one of rich/1+js.
func fitsJS(s patch.Stats) bool {
	if s.Profile == patch.ProfileSimple {
		return s.Stream == patch.StreamStored
	}
	return s.Decisions <= DecisionsJS
}

func patchHeader(codec byte, old, new []slipstream.File) []byte {
	h := header(codecChanged, old, new)
	h[4], h[5] = patchVersion, codec
	return h
}

func pick(files []slipstream.File, order []int) []slipstream.File {
	out := make([]slipstream.File, len(order))
	for i, k := range order {
		out[i] = files[k]
	}
	return out
}

func sizeOf(files []slipstream.File) int64 {
	n := int64(0)
	for _, f := range files {
		n += f.Size
	}
	return n
}

// gather reads files one behind the other and compares each with its signature.
func gather(ctx context.Context, files []slipstream.File, open func(slipstream.File) (io.ReadCloser, error)) ([]byte, error) {
	out := make([]byte, 0, sizeOf(files))
	w := &appender{out}
	buf := make([]byte, 128<<10)
	for _, f := range files {
		if err := encodeFile(ctx, w, f, open, buf); err != nil {
			return nil, err
		}
	}
	return w.b, nil
}

type appender struct{ b []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.b = append(a.b, p...)
	return len(p), nil
}

// ApplyLimits bound ApplyDelta.
type ApplyLimits struct {
	Memory    int   // bytes of tables and of rewritten bytecode together: 16 MiB when 0
	Decisions int64 // coded decisions: any number when 0
	// Scratch makes an empty file for bytecode of more than 4 MiB, which is held in memory when it is nil. The caller removes
	// it. It takes the old files that were rewritten and a new one, and usually less than the same for lists.
	Scratch func() (Scratch, error)
}

// Scratch is a file for what is not held in memory.
type Scratch = hermes.Scratch

// ApplyDelta is Apply for all codecs, also those that need the contents of the base: base opens them, a few at a time,
// and its files must not change meanwhile. Memory above the process is 8 MiB for simple, 4 MiB and l.Memory for rich,
// whatever the size of a file; without scratch, for simple over rewritten bytecode, 4 MiB and l.Memory too. Its promises
// are those of Apply.
func ApplyDelta(ctx context.Context, r io.Reader, old, new *slipstream.Manifest, base Base, sink Sink, l ApplyLimits) error {
	src := &source{ctx: ctx, r: r, left: 1 << 62} // what reads the patch bounds it
	in := bufio.NewReaderSize(src, 4<<10)
	if h, err := in.Peek(headerSize); err != nil || h[4] != patchVersion {
		return Apply(ctx, in, old, new, sink)
	}
	var h [headerSize]byte
	if _, err := io.ReadFull(in, h[:]); err != nil {
		return damaged(err, "read header")
	}
	if old == nil {
		return invalid("it needs a base")
	}
	want := patchHeader(h[5], old.Files, new.Files)
	switch {
	case string(h[:4]) != magic || h[5] != codecPatch && h[5] != codecRewritten:
		return invalid("codec %d is not known", h[5])
	case string(h[6:14]) != string(want[6:14]):
		return invalid("it was made for another base")
	case string(h[14:]) != string(want[14:]):
		return invalid("it was made for another release")
	}
	steps := plan(old.Files, new.Files)
	if err := keep(ctx, steps, old.Files, new.Files, sink); err != nil {
		return err
	}
	contents := newShelf(old.Files, base)
	split := &splitter{sink: sink, files: pick(new.Files, streamOrder(new.Files, steps))}
	memory := l.Memory
	if memory == 0 {
		memory = patch.DefaultMemory
	}
	if h[5] == codecRewritten {
		u, left, err := openUndo(ctx, in, old.Files, split.files, base, memory, l.Scratch)
		if err != nil && src.err != nil {
			return fmt.Errorf("read container: %w", src.err)
		}
		if err != nil {
			return err
		}
		contents.undo, split.undo, memory = u, u, left
	}
	err := patch.Apply(ctx, contents, contents.size(), in, split, patch.Limits{NewSize: sizeOf(split.files), Memory: memory, Decisions: l.Decisions})
	if err == nil {
		err = split.finish()
	}
	if err := errors.Join(err, split.abandon(), contents.close()); err != nil {
		return err
	}
	for i, s := range steps {
		if s.op == opDuplicate {
			if err := sink.Duplicate(new.Files[i], new.Files[s.arg]); err != nil {
				return fmt.Errorf("duplicate %s: %w", new.Files[s.arg].Path, err)
			}
		}
	}
	return ctx.Err()
}

// splitter cuts what it is given into the files of the target and compares each with its signature.
type splitter struct {
	sink  Sink
	files []slipstream.File // still to come, the open one first
	w     io.WriteCloser    // nil: none is open
	h     hash.Hash
	n     int64            // bytes of it so far
	at    int              // index of the open file
	undo  *undo            // nil: nothing is rewritten
	code  hermes.Restoring // of the open file when it is rewritten
}

func (s *splitter) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		if err := s.open(); err != nil {
			return done, err
		}
		if s.w == nil {
			return done, invalid("content follows the last file")
		}
		part := p[done:]
		part = part[:min(int64(len(part)), s.files[0].Size-s.n)]
		if s.code != nil {
			if _, err := s.code.Write(part); err != nil {
				return done, err
			}
		} else if err := s.write(part); err != nil {
			return done, err
		}
		s.n += int64(len(part))
		done += len(part)
		if err := s.close(); err != nil {
			return done, err
		}
	}
	return done, nil
}

// open begins the next file that has content, and makes the empty ones before it.
func (s *splitter) open() error {
	for s.w == nil && len(s.files) > 0 {
		w, err := s.sink.Create(s.files[0])
		if err != nil {
			return fmt.Errorf("create %s: %w", s.files[0].Path, err)
		}
		s.w, s.h, s.n = w, sha256.New(), 0
		s.code = s.undo.of(s.at, s.files[0].Size)
		if err := s.close(); err != nil {
			return err
		}
	}
	return nil
}

func (s *splitter) write(b []byte) error {
	s.h.Write(b)
	if _, err := s.w.Write(b); err != nil {
		return fmt.Errorf("write %s: %w", s.files[0].Path, err)
	}
	return nil
}

// close ends the open file when it is complete.
func (s *splitter) close() error {
	f := s.files[0]
	if s.n < f.Size {
		return nil
	}
	if s.code != nil {
		err := s.code.Restore(s.write)
		s.code = nil
		if errors.Is(err, hermes.ErrUnknown) {
			return damaged(err, "restore "+f.Path)
		}
		if err != nil {
			return err
		}
	}
	if err := checkFile(f, s.n, s.h.Sum(nil)); err != nil {
		return err
	}
	w := s.w
	s.w, s.files = nil, s.files[1:]
	s.at++
	if err := w.Close(); err != nil {
		return fmt.Errorf("close %s: %w", f.Path, err)
	}
	return nil
}

// finish makes the empty files at the end.
func (s *splitter) finish() error {
	if err := s.open(); err != nil {
		return err
	}
	if len(s.files) > 0 {
		return invalid("%q is not complete", s.files[0].Path)
	}
	return nil
}

// abandon closes a file that was left open by an error.
func (s *splitter) abandon() error {
	if s.w == nil {
		return nil
	}
	w := s.w
	s.w = nil
	return w.Close()
}

// shelf makes the files of the base look like one, in the order of the manifest. Few are open at a time.
type shelf struct {
	files  []slipstream.File
	starts []int64 // where each begins, and the end
	base   Base
	open   map[int]Content
	recent []int // indexes of the open ones, the latest last
	undo   *undo // nil: all are as they are
}

const maxOpen = 16

func newShelf(files []slipstream.File, base Base) *shelf {
	s := &shelf{files: files, base: base, starts: make([]int64, len(files)+1), open: map[int]Content{}}
	for i, f := range files {
		s.starts[i+1] = s.starts[i] + f.Size
	}
	return s
}

func (s *shelf) size() int64 { return s.starts[len(s.files)] }

// Held gives what is left of a file in its rewritten form.
func (s *shelf) Held(off int64) []byte {
	if s.undo == nil {
		return nil
	}
	i, found := slices.BinarySearch(s.starts, off)
	if !found {
		i--
	}
	for s.starts[i+1] == off { // empty files
		i++
	}
	b := s.undo.bases.Held(i)
	return b[min(off-s.starts[i], int64(len(b))):]
}

func (s *shelf) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		at := off + int64(done)
		if at >= s.size() {
			return done, io.EOF
		}
		i, found := slices.BinarySearch(s.starts, at)
		if !found {
			i--
		}
		for s.starts[i+1] == at { // empty files
			i++
		}
		part := p[done:]
		part = part[:min(int64(len(part)), s.starts[i+1]-at)]
		c, err := s.content(i)
		if err != nil {
			return done, err
		}
		n, err := c.ReadAt(part, at-s.starts[i])
		done += n
		if n < len(part) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return done, fmt.Errorf("%s: %w", s.files[i].Path, err)
		}
	}
	return done, nil
}

func (s *shelf) content(i int) (io.ReaderAt, error) {
	if form := s.undo.base(i); form != nil {
		return form, nil
	}
	if c, ok := s.open[i]; ok {
		return c, nil
	}
	if len(s.recent) == maxOpen {
		first := s.recent[0]
		s.recent = s.recent[1:]
		c := s.open[first]
		delete(s.open, first)
		if err := c.Close(); err != nil {
			return nil, fmt.Errorf("close %s: %w", s.files[first].Path, err)
		}
	}
	c, err := s.base(s.files[i])
	if err != nil {
		return nil, fmt.Errorf("open %s of the base: %w", s.files[i].Path, err)
	}
	s.open[i] = c
	s.recent = append(s.recent, i)
	return c, nil
}

func (s *shelf) close() error {
	var errs []error
	for _, i := range s.recent {
		errs = append(errs, s.open[i].Close())
	}
	s.recent, s.open = nil, nil
	return errors.Join(errs...)
}
