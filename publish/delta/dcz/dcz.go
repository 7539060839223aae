// Package dcz reads and writes bodies of the content coding "dcz" (RFC 9842, Compression Dictionary Transport): a whole
// body, compressed by Zstandard with an older body as dictionary. Browsers read it without any code of ours.
//
// # Format
//
//	offset size
//	0      8     5e 2a 4d 18 20 00 00 00: the header of a skippable Zstandard frame of 32 bytes
//	8      32    SHA-256 of the dictionary
//	40     …     Zstandard frames (RFC 8878) that name no dictionary; here always one
//
// A reader takes windows up to 8 MiB, or 1.25 times the dictionary where that is more, and never above 128 MiB. The
// dictionary is out of reach as soon as the output is longer than the window, so the frame made here is a single segment:
// its window is exactly the body (see Fits).
package dcz

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/bits"

	"github.com/klauspost/compress/zstd"

	"github.com/slipstream-ota/slipstream"
)

// HeaderSize is the length of what stands before the compressed body.
const HeaderSize = 8 + sha256.Size

const (
	magic         = "\x5e\x2a\x4d\x18\x20\x00\x00\x00"
	smallWindow   = 8 << 20
	largestWindow = 128 << 20
)

// readerWindow is the largest window that every reader takes with a dictionary of so many bytes.
func readerWindow(dictionary int64) int64 {
	return min(max(smallWindow, dictionary+dictionary/4), largestWindow)
}

// Fits says whether a body of size bytes can be coded with a dictionary of so many bytes for all readers.
func Fits(dictionary, size int64) bool {
	return dictionary > 0 && dictionary <= largestWindow && size >= 0 && size <= readerWindow(dictionary)
}

// Encode gives body coded with dictionary. The same bytes give the same result. It takes about 0.1 s for a MB. Memory is
// about six times the dictionary and the body, and 60 MiB.
func Encode(dictionary, body []byte) ([]byte, error) {
	if !Fits(int64(len(dictionary)), int64(len(body))) {
		return nil, slipstream.Invalidf("%d bytes cannot be coded as dcz with a dictionary of %d: no window that readers take reaches it", len(body), len(dictionary))
	}
	// The encoder's own window reaches from the end of the body to the begin of the dictionary.
	reach := powerOfTwo(len(dictionary) + len(body))
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(reach), zstd.WithSingleSegment(true),
		zstd.WithEncoderDictRaw(0, dictionary), zstd.WithEncoderCRC(false), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true),
		zstd.WithZeroFrames(true))
	if err != nil {
		return nil, fmt.Errorf("start compressor: %w", err)
	}
	sum := sha256.Sum256(dictionary)
	out := enc.EncodeAll(body, append(append(make([]byte, 0, HeaderSize+len(body)/16), magic...), sum[:]...))
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return out, nil
}

func powerOfTwo(n int) int {
	return max(zstd.MinWindowSize, 1<<bits.Len64(uint64(max(n, 1)-1)))
}

// Size gives the size of the body that r of n bytes says it holds. Bodies made here always say it.
func Size(r io.ReaderAt, n int64) (int64, error) {
	b := make([]byte, min(n, HeaderSize+zstd.HeaderMaxSize))
	if _, err := r.ReadAt(b, 0); err != nil && err != io.EOF {
		return 0, fmt.Errorf("read coded body: %w", err)
	}
	var h zstd.Header
	if len(b) < HeaderSize || string(b[:len(magic)]) != magic || h.Decode(b[HeaderSize:]) != nil {
		return 0, invalid("it does not begin like one")
	}
	if !h.HasFCS || h.FrameContentSize > largestWindow {
		return 0, invalid("it does not say how long its body is, or it is too long")
	}
	return int64(h.FrameContentSize), nil
}

// Decode writes to w the body that r holds coded with dictionary. The body must have size bytes; its hash is for the
// caller to compare.
//
// Nothing in r is trusted: memory is a few times dictionary and size, and no more than size bytes are written. Damage, another dictionary and a body of another size are a *slipstream.Refusal with reason
// container_invalid. Errors of r and w are returned wrapped.
func Decode(ctx context.Context, w io.Writer, dictionary []byte, r io.Reader, size int64) error {
	if !Fits(int64(len(dictionary)), size) {
		return invalid("%d bytes are more than a dictionary of %d serves", size, len(dictionary))
	}
	src := &source{ctx: ctx, r: r}
	err := decode(w, dictionary, src, size)
	if err != nil && src.err != nil {
		return fmt.Errorf("read coded body: %w", src.err)
	}
	return err
}

func decode(w io.Writer, dictionary []byte, r io.Reader, size int64) error {
	var h [HeaderSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return invalid("read header: %w", err)
	}
	sum := sha256.Sum256(dictionary)
	switch {
	case string(h[:len(magic)]) != magic:
		return invalid("it does not begin like one")
	case !bytes.Equal(h[len(magic):], sum[:]):
		return invalid("it was made with another dictionary")
	}
	dec, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderDictRaw(0, dictionary),
		zstd.WithDecoderMaxWindow(uint64(readerWindow(int64(len(dictionary))))))
	if err != nil {
		return invalid("start decompressor: %w", err)
	}
	defer dec.Close()
	out := &sink{w: w, left: size}
	if _, err := io.Copy(out, struct{ io.Reader }{dec}); err != nil {
		if out.err != nil {
			return out.err
		}
		return invalid("decompress: %w", err)
	}
	if out.left > 0 {
		return invalid("its body is %d bytes short of %d", out.left, size)
	}
	return nil
}

// source remembers an error that is no fault of the bytes.
type source struct {
	ctx context.Context
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	if s.err = s.ctx.Err(); s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// sink takes no more bytes than are expected.
type sink struct {
	w    io.Writer
	left int64
	err  error
}

func (s *sink) Write(p []byte) (int, error) {
	if int64(len(p)) > s.left {
		s.err = invalid("its body is longer than expected")
		return 0, s.err
	}
	n, err := s.w.Write(p)
	s.left -= int64(n)
	if err != nil {
		s.err = fmt.Errorf("write body: %w", err)
	}
	return n, s.err
}

func invalid(format string, args ...any) error {
	return slipstream.Refuse(slipstream.ReasonContainerInvalid, "dcz body", format, args...)
}
