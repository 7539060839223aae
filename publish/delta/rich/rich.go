package rich

import (
	"context"
	"errors"
	"io"
	"math/bits"
)

// ErrCorrupt is what the reader says of a stream that no writer made for this old.
var ErrCorrupt = errors.New("impossible value")

// ErrTooMany is what writer and reader say when there is more to code than allowed.
var ErrTooMany = errors.New("too many decisions")

// ErrTooLarge is what the writer says of 1 GiB and more.
var ErrTooLarge = errors.New("1 GiB and more")

// Source gives old at random places.
type Source interface {
	// Page gives bytes of old from pos on: at least one and no more than are left. pos lies inside. The bytes are valid
	// until a call for a place that is Near or more away.
	Page(pos int) ([]byte, error)
}

// Near is how far apart bytes of a Source may be that are looked at together.
const Near = 1 << 20

// Cover says that new[New:New+Len] is built on old[Old:Old+Len]. Covers come in the order of New and do not overlap.
type Cover struct{ Old, New, Len int }

// Kinds of cost.
const (
	CostCover = iota // where pieces of old go
	CostPlace        // where bytes change
	CostByte         // what they change to
	CostText         // new text
	costs
)

// Tally counts what a part of new is made of and what that took.
type Tally struct {
	Covers  int          // pieces of old begun
	Same    int64        // bytes of old
	Changed int64        // bytes at a place of old that are others
	Text    int64        // bytes of new text
	Cost    [costs]int64 // in 1/65536 bits
}

// Stats tells what was coded.
type Stats struct {
	Decisions int64
	Parts     []Tally
}

// Classes of memory.
const (
	MinClass = 18
	MaxClass = 28
)

// TableBytes is the memory that a class takes on both sides.
func TableBytes(class int) int {
	return 1<<(class-1) + 1<<(class-4) + tables*4<<indexLog(class, 1<<30) + fixedBytes
}

const fixedBytes = 2 << 20

// roomBytes is what of that is in one piece: lines, singles, index, and what follows two and three bytes.
func roomBytes(class, oldSize int) int {
	return 1<<(class-1) + 1<<(class-4) + tables*4<<indexLog(class, oldSize) + 4<<16 + 4<<after3Log
}

// ClassFor gives the largest class within some bytes, and 0 when there is none.
func ClassFor(memory int) int {
	for class := MaxClass; class >= MinClass; class-- {
		if TableBytes(class) <= memory {
			return class
		}
	}
	return 0
}

// Fitting gives the class that is enough for some changed and new bytes.
func Fitting(changed int64) int {
	return min(max(bits.Len64(uint64(changed)*1200), MinClass), MaxClass)
}

func indexLog(class, oldSize int) int {
	largest := 18
	if class > 24 {
		largest = 20
	}
	return max(min(bits.Len(uint(oldSize)), largest), 10)
}

type bytesSource []byte

func (b bytesSource) Page(pos int) ([]byte, error) { return b[pos:], nil }

func newModel(ctx context.Context, mode int, src Source, oldSize, newSize, class int) *model {
	m := &model{ctx: ctx, mode: mode, src: src, oldSize: oldSize, newSize: newSize}
	m.viewBuf = make([]byte, viewSize)
	m.vbase = -2 * viewSize
	m.out = make([]byte, keep, keep+outSize)
	m.track = newTracker()
	m.ends = []int{newSize}
	if mode != scanning {
		m.c = newCurves()
		r := newRoom(roomBytes(class, oldSize))
		m.flags = newFlags(r, m.c, class)
		m.guesser = newGuesser()
		m.lits = newLiterals(r, m.c, class-6)
		m.text = newHistory(r, indexLog(class, oldSize))
	}
	return m
}

// Encode codes new as a difference to old along the covers. It gives up with ErrTooMany when that takes more decisions
// than allowed, in most cases before it begins. progress is told how much of new is done.
func Encode(ctx context.Context, old, new []byte, covers []Cover, class int, maxDecisions int64, progress func(int)) ([]byte, Stats, error) {
	if len(old) >= maxSize || len(new) >= maxSize {
		return nil, Stats{}, ErrTooLarge
	}
	covers = joined(covers)
	if len(covers) == 0 || covers[0].New > 0 || covers[0].Old > 0 {
		covers = append([]Cover{{}}, covers...)
	}
	s := newModel(ctx, scanning, bytesSource(old), len(old), len(new), class)
	s.new, s.covers, s.most = new, covers, maxDecisions
	err := s.run()
	if err == nil && s.decisions > maxDecisions {
		err = ErrTooMany
	}
	if err != nil {
		return nil, Stats{Decisions: s.decisions}, err
	}
	m := newModel(ctx, encoding, bytesSource(old), len(old), len(new), class)
	m.new, m.covers, m.gaps, m.most, m.progress = new, s.covers, s.gaps, maxDecisions, progress
	m.tally = make([]Tally, 1)
	m.ar.startEncoding()
	if err := m.run(); err != nil {
		return nil, Stats{Decisions: m.decisions}, err
	}
	return m.ar.finish(), Stats{m.decisions, m.tally}, nil
}

// joined leaves out empty covers and joins those that go on where the one before ends.
func joined(covers []Cover) []Cover {
	var out []Cover
	for _, c := range covers {
		if c.Len == 0 {
			continue
		}
		if n := len(out); n > 0 && out[n-1].New+out[n-1].Len == c.New && out[n-1].Old+out[n-1].Len == c.Old {
			out[n-1].Len += c.Len
			continue
		}
		out = append(out, c)
	}
	return out
}

// Decode writes to w the newSize bytes that the coded stream r makes of old. r must end with it. When ends is not
// empty, it counts for every part of new that ends there. ErrCorrupt, io.ErrUnexpectedEOF and the errors of old, r, w
// and ctx come back as they are. maxDecisions, unless it is 0, ends it with ErrTooMany.
func Decode(ctx context.Context, old Source, oldSize, newSize int, r io.ByteReader, w io.Writer, class int, maxDecisions int64, ends []int) (Stats, error) {
	if class < MinClass || class > MaxClass || oldSize < 0 || newSize < 0 || oldSize >= maxSize || newSize >= maxSize {
		return Stats{}, ErrCorrupt
	}
	m := newModel(ctx, decoding, old, oldSize, newSize, class)
	m.w, m.most = w, maxDecisions
	if len(ends) > 0 {
		m.ends, m.tally = ends, make([]Tally, len(ends))
	}
	m.ar.startDecoding(r)
	m.run()
	switch {
	case m.err != nil:
		return Stats{}, m.err
	case m.ar.err != nil:
		return Stats{}, m.ar.err
	case !m.ar.finished():
		return Stats{}, ErrCorrupt
	}
	return Stats{m.decisions, m.tally}, nil
}
