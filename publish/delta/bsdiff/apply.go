package bsdiff

import (
	"bufio"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
)

// emptyTriples is how many steps that give no byte a patch may have beside one for each byte of the new file.
const emptyTriples = 64

// Info is what a patch says of itself.
type Info struct {
	NewSize                    int64
	Control, Difference, Extra int64 // compressed bytes of the three streams
}

// Inspect reads the header of a patch of size bytes.
func Inspect(patch io.ReaderAt, size int64) (Info, error) {
	var h [headerSize]byte
	if size < headerSize {
		return Info{}, invalid("it has %d bytes, a header alone has %d", size, headerSize)
	}
	if _, err := patch.ReadAt(h[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return Info{}, fmt.Errorf("read patch: %w", err)
	}
	if string(h[:8]) != magic {
		return Info{}, invalid("it does not begin with %q", magic)
	}
	i := Info{Control: readNumber(h[8:]), Difference: readNumber(h[16:]), NewSize: readNumber(h[24:])}
	room := size - headerSize
	if i.Control < 0 || i.Control > room || i.Difference < 0 || i.Difference > room-i.Control {
		return Info{}, invalid("its streams do not fit into its %d bytes", size)
	}
	if i.NewSize < 0 {
		return Info{}, invalid("it says the new file has %d bytes", i.NewSize)
	}
	i.Extra = room - i.Control - i.Difference
	return i, nil
}

// Apply writes to w the file that the patch of patchSize bytes makes of old. newSize is the size that the new file must
// have; the caller compares its hash, for which this format has no place.
//
// Nothing in the patch is trusted: memory is some 12 MiB (three decompressors), no more than newSize bytes are written,
// the old file is read inside oldSize only, and steps that give no byte are counted. Damage and bytes behind the end are
// a *slipstream.Refusal with reason container_invalid. Errors of the readers and of w are returned wrapped.
func Apply(ctx context.Context, w io.Writer, old io.ReaderAt, oldSize int64, patch io.ReaderAt, patchSize, newSize int64) error {
	info, err := Inspect(patch, patchSize)
	if err != nil {
		return err
	}
	if info.NewSize != newSize {
		return invalid("it makes a file of %d bytes, %d are expected", info.NewSize, newSize)
	}
	a := applier{ctx: ctx, w: w, old: old, oldSize: oldSize, left: newSize, buf: make([]byte, 64<<10)}
	at := int64(headerSize)
	for _, s := range []struct {
		to   *stream
		name string
		size int64
	}{{&a.control, "control", info.Control}, {&a.difference, "difference", info.Difference}, {&a.extra, "extra", info.Extra}} {
		s.to.name = s.name
		s.to.raw = &failing{r: io.NewSectionReader(patch, at, s.size)}
		s.to.r = bzip2.NewReader(bufio.NewReaderSize(s.to.raw, 16<<10))
		at += s.size
	}
	return a.run(newSize)
}

type applier struct {
	ctx                        context.Context
	w                          io.Writer
	old                        io.ReaderAt
	oldSize, at                int64
	left                       int64 // bytes of the new file still to write
	control, difference, extra stream
	buf, base                  []byte
}

func (a *applier) run(newSize int64) error {
	var triple [tripleSize]byte
	for steps := int64(0); a.left > 0; steps++ {
		if steps > newSize+emptyTriples {
			return invalid("it has more steps than the new file has bytes")
		}
		if err := a.ctx.Err(); err != nil {
			return err
		}
		if err := a.control.read(triple[:]); err != nil {
			return err
		}
		add, take, move := readNumber(triple[:]), readNumber(triple[8:]), readNumber(triple[16:])
		if add < 0 || add > a.left || take < 0 || take > a.left-add {
			return invalid("a step makes more bytes than the new file has")
		}
		if err := a.add(add); err != nil {
			return err
		}
		if err := a.copy(take); err != nil {
			return err
		}
		if move < -a.oldSize-a.at || move > 2*a.oldSize-a.at { // no patch needs to go further
			return invalid("a step leads far outside the old file")
		}
		a.at += move
	}
	for _, s := range []*stream{&a.control, &a.difference, &a.extra} {
		if err := s.end(); err != nil {
			return err
		}
	}
	return nil
}

// add writes n bytes of the old file plus as many of the difference stream.
func (a *applier) add(n int64) error {
	if n > 0 && (a.at < 0 || a.at > a.oldSize-n) {
		return invalid("it reads outside the old file: was it made for another one?")
	}
	if a.base == nil {
		a.base = make([]byte, len(a.buf))
	}
	for n > 0 {
		if err := a.ctx.Err(); err != nil {
			return err
		}
		k := int(min(n, int64(len(a.buf))))
		buf, base := a.buf[:k], a.base[:k]
		if err := a.difference.read(buf); err != nil {
			return err
		}
		if got, err := a.old.ReadAt(base, a.at); got < k {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read old file: %w", err)
		}
		for i, b := range base {
			buf[i] += b
		}
		if err := a.write(buf); err != nil {
			return err
		}
		a.at += int64(k)
		n -= int64(k)
	}
	return nil
}

// copy writes n bytes of the extra stream.
func (a *applier) copy(n int64) error {
	for n > 0 {
		if err := a.ctx.Err(); err != nil {
			return err
		}
		buf := a.buf[:min(n, int64(len(a.buf)))]
		if err := a.extra.read(buf); err != nil {
			return err
		}
		if err := a.write(buf); err != nil {
			return err
		}
		n -= int64(len(buf))
	}
	return nil
}

func (a *applier) write(b []byte) error {
	if _, err := a.w.Write(b); err != nil {
		return fmt.Errorf("write new file: %w", err)
	}
	a.left -= int64(len(b))
	return nil
}

// stream is one of the three, decompressed.
type stream struct {
	name string
	raw  *failing
	r    io.Reader
}

func (s *stream) read(b []byte) error {
	if _, err := io.ReadFull(s.r, b); err != nil {
		return s.failed(err)
	}
	return nil
}

// end sees to it that nothing is left, and that the checksum over the whole stream was right.
func (s *stream) end() error {
	var one [1]byte
	switch _, err := io.ReadFull(s.r, one[:]); err {
	case nil:
		return invalid("its %s stream is longer than its steps need", s.name)
	case io.EOF:
		return nil
	default:
		return s.failed(err)
	}
}

func (s *stream) failed(err error) error {
	if s.raw.err != nil {
		return fmt.Errorf("read patch: %w", s.raw.err)
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return invalid("read its %s stream: %w", s.name, err)
}

// failing remembers an error of the reader itself, which is no fault of the patch.
type failing struct {
	r   io.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}
