package zframe

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// MaxWindowLog is the largest window of a Compressors, as a power of two in bytes.
const MaxWindowLog = 23

// Compressors start Zstandard frames of the strongest level and keep what they took for it: tables of 34 MiB, which take
// longer to make than a small release takes to compress. What a frame holds does not depend on those before it. The zero
// value is ready; nil keeps nothing. Safe for many goroutines. The collector takes what nobody needs for a while.
type Compressors struct {
	kept [2][MaxWindowLog + 1]sync.Pool // of *zstd.Encoder, by form and window
}

// Compressor writes one frame. Close ends it; nothing may be written afterwards.
type Compressor struct {
	enc  *zstd.Encoder
	home *sync.Pool // nil: nowhere
}

var errClosed = errors.New("the frame has ended")

// Start begins a frame without a checksum. The window is 1<<windowLog bytes. whole allows a content that comes at once to
// be a single segment, whose header tells its size instead of the window.
func (c *Compressors) Start(w io.Writer, windowLog int, whole bool) (*Compressor, error) {
	if windowLog < 10 || windowLog > MaxWindowLog {
		return nil, fmt.Errorf("a window of 2^%d bytes is not between 2^10 and 2^%d", windowLog, MaxWindowLog)
	}
	var home *sync.Pool
	if c != nil {
		form := 0
		if whole {
			form = 1
		}
		home = &c.kept[form][windowLog]
		if enc, ok := home.Get().(*zstd.Encoder); ok {
			enc.Reset(w)
			return &Compressor{enc: enc, home: home}, nil
		}
	}
	options := []zstd.EOption{zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(1 << windowLog), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true)}
	if !whole {
		options = append(options, zstd.WithSingleSegment(false))
	}
	enc, err := zstd.NewWriter(w, options...)
	if err != nil {
		return nil, err
	}
	return &Compressor{enc: enc, home: home}, nil
}

// Write adds to the content.
func (c *Compressor) Write(p []byte) (int, error) {
	if c.enc == nil {
		return 0, errClosed
	}
	return c.enc.Write(p)
}

// Flush ends the block.
func (c *Compressor) Flush() error {
	if c.enc == nil {
		return errClosed
	}
	return c.enc.Flush()
}

// Close ends the frame. A second one does nothing.
func (c *Compressor) Close() error {
	enc := c.enc
	if c.enc = nil; enc == nil {
		return nil
	}
	if err := enc.Close(); err != nil {
		return err
	}
	if c.home != nil {
		enc.Reset(nil)
		c.home.Put(enc)
	}
	return nil
}
