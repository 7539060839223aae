package patch

import (
	"bufio"
	"bytes"
	"compress/flate"
	"context"
	"fmt"
	"io"
	"math/bits"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"github.com/slipstream-ota/slipstream/publish/delta/zframe"
)

// Methods: how a stream of simple is compressed. Their numbers are part of the format.
const (
	methodStored  = 0
	methodDeflate = 1
	methodZstd    = 2
	methodBrotli  = 3
)

// maxWindow bounds what a decompressor allocates.
const (
	maxWindow    = 2 << 20
	maxWindowLog = 21
)

func methodOf(stream string) (byte, bool) {
	for i, s := range []string{StreamStored, StreamDeflate, StreamZstd, StreamBrotli} {
		if s == stream {
			return byte(i), true
		}
	}
	return 0, false
}

func streamOf(method byte) string {
	return []string{StreamStored, StreamDeflate, StreamZstd, StreamBrotli}[method]
}

type flushWriter interface {
	io.WriteCloser
	Flush() error
}

type plainWriter struct{ io.Writer }

func (plainWriter) Close() error { return nil }
func (plainWriter) Flush() error { return nil }

// compress writes the parts as one stream. Large parts begin a block of their own, so that each has its own statistics.
func compress(ctx context.Context, kept *zframe.Compressors, method byte, parts [][]byte) ([]byte, error) {
	total := 0
	for _, p := range parts {
		total += len(p)
	}
	var out bytes.Buffer
	w, err := newCompressor(kept, method, &out, total)
	if err != nil {
		return nil, fmt.Errorf("start compressor: %w", err)
	}
	for i, p := range parts {
		if err := ctx.Err(); err != nil {
			w.Close()
			return nil, err
		}
		if i > 0 && len(p) >= ownBlock && method != methodStored {
			if err := w.Flush(); err != nil {
				return nil, fmt.Errorf("compress: %w", err)
			}
		}
		if _, err := w.Write(p); err != nil {
			return nil, fmt.Errorf("compress: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return out.Bytes(), nil
}

// ownBlock is the size from which a column is worth the start of a block.
const ownBlock = 512

func newCompressor(kept *zframe.Compressors, method byte, w io.Writer, total int) (flushWriter, error) {
	windowLog := min(maxWindowLog, max(10, bits.Len(uint(max(total, 1)-1))))
	switch method {
	case methodDeflate:
		return flate.NewWriter(w, flate.BestCompression)
	case methodZstd:
		return kept.Start(w, windowLog, false)
	case methodBrotli:
		return brotli.NewWriterOptions(w, brotli.WriterOptions{Quality: brotli.BestCompression, LGWin: windowLog}), nil
	}
	return plainWriter{w}, nil
}

// newDecompressor gives the stream and a function that ends it.
func newDecompressor(method byte, r *bufio.Reader) (io.Reader, func(), error) {
	switch method {
	case methodDeflate:
		f := flate.NewReader(r)
		return f, func() { f.Close() }, nil
	case methodZstd:
		d, err := zstd.NewReader(zframe.New(r), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, err
		}
		return d, d.Close, nil
	case methodBrotli:
		return brotli.NewReader(r), func() {}, nil
	}
	return r, func() {}, nil
}
