package patch

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta/rich"
)

func invalid(format string, args ...any) error {
	return slipstream.Refuse(slipstream.ReasonContainerInvalid, "patch", format, args...)
}

// damaged makes a refusal of an error met while reading the patch.
func damaged(err error, doing string) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return slipstream.Refuse(slipstream.ReasonContainerInvalid, "patch", "%s: %w", doing, err)
}

// source reads the patch. It remembers an error that is not about the patch's bytes.
type source struct {
	ctx  context.Context
	r    io.Reader
	left int64 // bytes that a patch of this size may still have
	err  error
}

func (s *source) Read(p []byte) (int, error) {
	if s.err == nil {
		s.err = s.ctx.Err()
	}
	if s.err != nil {
		return 0, s.err
	}
	if s.left <= 0 {
		return 0, invalid("it is larger than what it makes")
	}
	n, err := s.r.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// largest is the size from which a patch is no use: the result alone would be smaller.
func largest(newSize int64) int64 { return newSize + newSize>>5 + 4096 }

// sink writes the result. Its errors are told from those of the patch.
type sink struct {
	w   io.Writer
	err error
}

func (s *sink) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		s.err = fmt.Errorf("write result: %w", err)
	}
	return n, err
}

func apply(ctx context.Context, old io.ReaderAt, oldSize int64, patch io.Reader, w io.Writer, l Limits, ends []int64) (Info, error) {
	src, out := &source{ctx: ctx, r: patch, left: largest(l.NewSize)}, &sink{w: w}
	base := &pages{r: old, size: oldSize}
	base.held, _ = old.(Held)
	in, err := applyTo(ctx, base, bufio.NewReaderSize(src, 16<<10), out, l, ends)
	switch {
	case err == nil:
		return in, nil
	case ctx.Err() != nil:
		return in, ctx.Err()
	case out.err != nil:
		return in, out.err
	case base.err != nil:
		return in, fmt.Errorf("read old: %w", base.err)
	case src.err != nil:
		return in, fmt.Errorf("read patch: %w", src.err)
	}
	return in, err
}

func applyTo(ctx context.Context, old *pages, r *bufio.Reader, w io.Writer, l Limits, ends []int64) (Info, error) {
	if old.size < 0 || old.size > MaxInput || l.NewSize < 0 || l.NewSize > MaxInput {
		return Info{OldSize: old.size, NewSize: l.NewSize}, invalid("sizes of 2 GiB and more are not supported")
	}
	b, in, err := readBeginning(r, l)
	if err != nil {
		return in, err
	}
	if in.OldSize != old.size {
		return in, invalid("it makes %d bytes of %d, signed are %d", old.size+b.grown, old.size, l.NewSize)
	}
	if in.Profile == ProfileRich {
		in.Parts, err = applyRich(ctx, old, r, w, b.class, l, ends)
		in.Part = sum(in.Parts)
		return in, err
	}
	old.few = old.size > pageCount*pageSize // its covers go through old mostly from front to end
	a := &applier{ctx: ctx, old: old, w: w, left: l.NewSize, tally: newTally(ends)}
	err = a.simple(b.method, r)
	in.Parts = a.tally.parts
	in.Part = sum(in.Parts)
	return in, err
}

// beginning is what stands in front of the body.
type beginning struct {
	method byte  // of simple
	class  int   // of memory, rich
	grown  int64 // bytes that new has more than old
}

// readBeginning reads it and says what it tells of the patch, with the size that old must have.
func readBeginning(r *bufio.Reader, l Limits) (b beginning, in Info, err error) {
	in = Info{NewSize: l.NewSize}
	first, err := r.ReadByte()
	if err != nil {
		return b, in, damaged(err, "read the beginning")
	}
	if first < mark || first > markSimple+methodBrotli {
		return b, in, invalid("it does not begin like one")
	}
	if first == markRich {
		in.Profile = ProfileRich
		class, err := r.ReadByte()
		if err != nil {
			return b, in, damaged(err, "read the class of memory")
		}
		if b.class = int(class); b.class < rich.MinClass || b.class > rich.MaxClass {
			return b, in, invalid("class of memory %d is not known", b.class)
		}
		allowed := l.Memory
		if allowed == 0 {
			allowed = DefaultMemory
		}
		if in.Memory = rich.TableBytes(b.class); in.Memory > allowed {
			return b, in, invalid("it needs tables of %d bytes, allowed are %d", in.Memory, allowed)
		}
	} else {
		b.method = first - markSimple
		in.Profile, in.Stream = ProfileSimple, streamOf(b.method)
	}
	if b.grown, err = binary.ReadVarint(r); err != nil {
		return b, in, damaged(err, "read the size")
	}
	in.OldSize = in.NewSize - b.grown
	return b, in, nil
}

func applyRich(ctx context.Context, old *pages, r *bufio.Reader, w io.Writer, class int, l Limits, ends []int64) ([]Part, error) {
	var bounds []int
	for _, e := range ends {
		bounds = append(bounds, int(e))
	}
	st, err := rich.Decode(ctx, richSource{old}, int(old.size), int(l.NewSize), r, w, class, l.Decisions, bounds)
	if errors.Is(err, rich.ErrTooMany) {
		err = invalid("it takes more than %d decisions", l.Decisions)
	} else if errors.Is(err, rich.ErrCorrupt) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = damaged(err, "decode")
	}
	parts := make([]Part, 0, len(st.Parts))
	for _, t := range st.Parts {
		parts = append(parts, Part{Covered: t.Same, Changed: t.Changed, NewText: t.Text, Covers: t.Covers,
			CoverBits: t.Cost[rich.CostCover] >> 16, PlaceBits: t.Cost[rich.CostPlace] >> 16,
			ByteBits: t.Cost[rich.CostByte] >> 16, TextBits: t.Cost[rich.CostText] >> 16})
	}
	return parts, err
}

func sum(parts []Part) Part {
	var s Part
	for _, p := range parts {
		s.Covered += p.Covered
		s.Changed += p.Changed
		s.NewText += p.NewText
		s.Covers += p.Covers
		s.CoverBits += p.CoverBits
		s.PlaceBits += p.PlaceBits
		s.ByteBits += p.ByteBits
		s.TextBits += p.TextBits
	}
	return s
}

type richSource struct{ p *pages }

func (r richSource) Page(pos int) ([]byte, error) { return r.p.at(int64(pos)) }
