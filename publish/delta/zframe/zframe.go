// Package zframe reads and writes exactly one Zstandard frame.
package zframe

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
)

// Reader passes exactly one Zstandard frame (RFC 8878 §3.1.1) from r and then ends, so that nothing can hide
// behind it: the decompressor alone would go on with any frames, and skip skippable ones, that follow.
type Reader struct {
	r       *bufio.Reader
	begun   bool
	last    bool // the block being passed is the last one
	sum     int  // bytes of checksum behind the last block
	pending []byte
	left    int // bytes of the present block still to pass
	done    bool
}

// New reads a frame from r.
func New(r *bufio.Reader) *Reader { return &Reader{r: r} }

// Done tells whether the frame was read to its end.
func (f *Reader) Done() bool { return f.done }

const zstdMagic = 0xFD2FB528

var errFrame = errors.New("malformed frame")

func (f *Reader) Read(p []byte) (int, error) {
	for len(f.pending) == 0 && f.left == 0 {
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	if len(f.pending) > 0 {
		n := copy(p, f.pending)
		f.pending = f.pending[n:]
		return n, nil
	}
	n, err := f.r.Read(p[:min(len(p), f.left)])
	f.left -= n
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// next reads the header of the frame or of its next block.
func (f *Reader) next() error {
	switch {
	case f.done:
		return io.EOF
	case !f.begun:
		f.begun = true
		return f.frameHeader()
	case f.last && f.sum > 0:
		f.left, f.sum = f.sum, 0
		return nil
	case f.last:
		f.done = true
		return io.EOF
	}
	b, err := f.take(3)
	if err != nil {
		return err
	}
	v := int(b[0]) | int(b[1])<<8 | int(b[2])<<16
	f.last = v&1 != 0
	switch v >> 1 & 3 {
	case 0, 2: // raw, compressed
		f.left = v >> 3
	case 1: // one byte, repeated
		f.left = 1
	default:
		return errFrame
	}
	return nil
}

// frameHeader reads magic, descriptor and what the descriptor announces. A dictionary is refused.
func (f *Reader) frameHeader() error {
	b, err := f.take(5)
	if err != nil {
		return err
	}
	descriptor := b[4]
	if binary.LittleEndian.Uint32(b) != zstdMagic || descriptor&3 != 0 {
		return errFrame
	}
	single := descriptor&0x20 != 0
	var size int
	switch descriptor >> 6 {
	case 0:
		if single {
			size = 1
		}
	case 1:
		size = 2
	case 2:
		size = 4
	case 3:
		size = 8
	}
	if !single {
		size++ // window descriptor
	}
	if descriptor&4 != 0 {
		f.sum = 4
	}
	_, err = f.take(size)
	return err
}

// take reads n bytes of headers, checks that they are there, and lines them up to be passed on.
func (f *Reader) take(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(f.r, b); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	f.pending = append(f.pending, b...)
	return b, nil
}
