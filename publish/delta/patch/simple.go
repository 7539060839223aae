package patch

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
)

// applier makes new from a stream of steps.
type applier struct {
	ctx   context.Context
	old   *pages
	w     io.Writer
	left  int64 // bytes of new still to come
	pos   int64 // end of the last cover in old
	out   []byte
	buf   []byte // columns of the step
	tally tally
}

const outSize = 64 << 10

func (a *applier) simple(method byte, r *bufio.Reader) error {
	plain, end, err := newDecompressor(method, r)
	if err != nil {
		return fmt.Errorf("start decompressor: %w", err)
	}
	defer end()
	in := bufio.NewReaderSize(plain, 16<<10)
	a.out = make([]byte, 0, outSize)
	for a.left > 0 {
		if err := a.step(in); err != nil {
			return err
		}
	}
	if err := a.flush(); err != nil {
		return err
	}
	if _, err := in.ReadByte(); err == nil {
		return invalid("bytes follow the last step")
	} else if err != io.EOF {
		return damaged(err, "read the end")
	}
	if _, err := r.ReadByte(); err == nil {
		return invalid("bytes follow the end")
	} else if err != io.EOF {
		return damaged(err, "read the end")
	}
	return a.ctx.Err()
}

// fields of one step.
type fields struct {
	covers        int
	texts, lens   []int64
	jumps         []int64
	gaps, changes []byte
	text          []byte
	gap           int64 // until the next changed byte; -1 when there is none
}

// step reads and applies one step.
func (a *applier) step(in *bufio.Reader) error {
	if err := a.ctx.Err(); err != nil {
		return err
	}
	f, err := a.readStep(in)
	if err != nil {
		return err
	}
	if err := f.nextGap(); err != nil {
		return err
	}
	for i := range f.covers {
		if f.texts[i] > int64(len(f.text)) || f.texts[i] > a.left {
			return invalid("new text is longer than announced")
		}
		a.tally.text(f.texts[i])
		if err := a.put(f.text[:f.texts[i]]); err != nil {
			return err
		}
		f.text = f.text[f.texts[i]:]
		n := f.lens[i]
		if n == 0 && f.texts[i] == 0 {
			return invalid("a cover that makes nothing") // or the patch could go on for ever
		}
		if n > a.left {
			return invalid("it makes more bytes than signed")
		}
		from := a.pos + f.jumps[i]
		if from < 0 || from > a.old.size || n > a.old.size-from {
			return invalid("cover of %d bytes at %d of %d", n, from, a.old.size)
		}
		if n > 0 {
			a.tally.cover()
		}
		if err := a.cover(f, from, n); err != nil {
			return err
		}
		a.pos = from + n
	}
	if f.gap >= 0 || len(f.text) > 0 || len(f.gaps) > 0 || len(f.changes) > 0 {
		return invalid("a step has bytes left over")
	}
	return nil
}

func (a *applier) readStep(in *bufio.Reader) (*fields, error) {
	var h [4]uint64
	sum := uint64(0)
	for i := range h {
		v, err := binary.ReadUvarint(in)
		if err != nil {
			return nil, damaged(err, "read a step")
		}
		if v > maxStep {
			return nil, invalid("a step of more than %d bytes", maxStep)
		}
		h[i] = v
		sum += v
	}
	// A cover has three fields of a byte at least.
	if h[0] == 0 || sum+2*h[0] > maxStep {
		return nil, invalid("a step of %d covers and %d bytes", h[0], sum)
	}
	f := &fields{covers: int(h[0])}
	numbers := make([]int64, 3*f.covers)
	f.texts, f.jumps, f.lens = numbers[:f.covers], numbers[f.covers:2*f.covers], numbers[2*f.covers:]
	for i := range numbers {
		if i >= f.covers && i < 2*f.covers {
			v, err := binary.ReadVarint(in)
			if err != nil {
				return nil, damaged(err, "read a cover")
			}
			if v > MaxInput || v < -MaxInput {
				return nil, invalid("a cover out of range")
			}
			numbers[i] = v
			continue
		}
		v, err := binary.ReadUvarint(in)
		if err != nil {
			return nil, damaged(err, "read a cover")
		}
		if v > MaxInput {
			return nil, invalid("a cover out of range")
		}
		numbers[i] = int64(v)
	}
	n := int(h[1] + h[2] + h[3])
	if cap(a.buf) < n {
		a.buf = make([]byte, n)
	}
	a.buf = a.buf[:n]
	if _, err := io.ReadFull(in, a.buf); err != nil {
		return nil, damaged(err, "read a step")
	}
	f.gaps, f.changes, f.text = a.buf[:h[1]], a.buf[h[1]:h[1]+h[2]], a.buf[h[1]+h[2]:]
	return f, nil
}

func (f *fields) nextGap() error {
	if len(f.gaps) == 0 {
		f.gap = -1
		return nil
	}
	v, k := binary.Uvarint(f.gaps)
	if k <= 0 || v > MaxInput || len(f.changes) == 0 {
		return invalid("a malformed gap")
	}
	f.gaps = f.gaps[k:]
	f.gap = int64(v)
	return nil
}

// put writes new text.
func (a *applier) put(b []byte) error {
	a.left -= int64(len(b))
	for len(b) > 0 {
		n := copy(a.out[len(a.out):cap(a.out)], b)
		a.out = a.out[:len(a.out)+n]
		b = b[n:]
		if err := a.room(); err != nil {
			return err
		}
	}
	return nil
}

// cover writes n bytes of old with their changes.
func (a *applier) cover(f *fields, from, n int64) error {
	a.left -= n
	for n > 0 {
		b, err := a.old.at(from)
		if err != nil {
			return err
		}
		start := len(a.out)
		k := copy(a.out[start:cap(a.out)], b[:min(n, int64(len(b)))])
		a.out = a.out[:start+k]
		for f.gap >= 0 && f.gap < int64(k) {
			start += int(f.gap)
			a.out[start] += f.changes[0]
			a.tally.same(f.gap)
			a.tally.changed()
			start++
			k -= int(f.gap) + 1
			f.changes = f.changes[1:]
			from += f.gap + 1
			n -= f.gap + 1
			if err := f.nextGap(); err != nil {
				return err
			}
		}
		if f.gap >= 0 {
			f.gap -= int64(k)
		}
		a.tally.same(int64(k))
		from += int64(k)
		n -= int64(k)
		if err := a.room(); err != nil {
			return err
		}
	}
	return nil
}

// room sees to it that out has room for another byte.
func (a *applier) room() error {
	if len(a.out) < cap(a.out) {
		return nil
	}
	return a.flush()
}

func (a *applier) flush() error {
	if err := a.ctx.Err(); err != nil {
		return err
	}
	if len(a.out) == 0 {
		return nil
	}
	_, err := a.w.Write(a.out)
	a.out = a.out[:0]
	return err
}
