package zframe

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// MaxWindowLog is the largest window of a Compressors, as a power of two in bytes.
const MaxWindowLog = 23

// Compressors start Zstandard frames of the strongest level and keep what they took for it: tables of 34 MiB, which take
// longer to make than a small release takes to compress. What a frame holds does not depend on those before it. The zero
// value is ready and keeps at most four; nil keeps nothing. Safe for many goroutines.
type Compressors struct {
	mu   sync.Mutex
	kept []idle // the longest unused first
}

const mostKept = 4

type idle struct {
	form
	enc *zstd.Encoder
}

// form is what a compressor cannot change.
type form struct {
	windowLog int
	whole     bool
}

func (c *Compressors) take(f form) *zstd.Encoder {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, k := range c.kept {
		if k.form == f {
			c.kept = slices.Delete(c.kept, i, i+1)
			return k.enc
		}
	}
	return nil
}

func (c *Compressors) keep(k idle) {
	if c == nil {
		return
	}
	k.enc.Reset(nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept = append(c.kept, k); len(c.kept) > mostKept {
		c.kept = slices.Delete(c.kept, 0, 1)
	}
}

// Compressor writes one frame. Close ends it; nothing may be written afterwards.
type Compressor struct {
	idle
	home *Compressors
}

var errClosed = errors.New("the frame has ended")

// Start begins a frame without a checksum. The window is 1<<windowLog bytes. whole allows a content that comes at once to
// be a single segment, whose header tells its size instead of the window.
func (c *Compressors) Start(w io.Writer, windowLog int, whole bool) (*Compressor, error) {
	if windowLog < 10 || windowLog > MaxWindowLog {
		return nil, fmt.Errorf("a window of 2^%d bytes is not between 2^10 and 2^%d", windowLog, MaxWindowLog)
	}
	f := form{windowLog, whole}
	if enc := c.take(f); enc != nil {
		enc.Reset(w)
		return &Compressor{idle{f, enc}, c}, nil
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
	return &Compressor{idle{f, enc}, c}, nil
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
	ended := c.idle
	if c.enc = nil; ended.enc == nil {
		return nil
	}
	if err := ended.enc.Close(); err != nil {
		return err
	}
	c.home.keep(ended)
	return nil
}
