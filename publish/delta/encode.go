package delta

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/klauspost/compress/zstd"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta/zframe"
)

// Carried bytes up to which the stronger, slower levels are used. Best needs about 80 MiB of memory and compresses
// some 15 MB/s on one core, better 30 MiB and 80 MB/s, default 20 MiB and 200 MB/s.
const (
	bestBelow   = 32 << 20
	betterBelow = 256 << 20
)

// Compressors keep what the making of containers takes, for the next one. The zero value is ready.
type Compressors = zframe.Compressors

// Encode writes the container that turns old (nil: nothing) into new. open gives the content of a file of new; it is
// called only for what must be carried, one file at a time. A content whose size or hash is not the signed one is a
// *slipstream.Refusal with reason file_mismatch. The bytes depend on nothing but the two file lists and the contents.
// Memory is bounded by the compressor's window, whatever the size of a file.
func Encode(ctx context.Context, w io.Writer, old, new *slipstream.Manifest, open func(slipstream.File) (io.ReadCloser, error)) error {
	return EncodeWith(ctx, nil, w, old, new, open)
}

// EncodeWith is Encode for whoever makes many containers.
func EncodeWith(ctx context.Context, kept *Compressors, w io.Writer, old, new *slipstream.Manifest, open func(slipstream.File) (io.ReadCloser, error)) error {
	var base []slipstream.File
	codec := byte(codecFull)
	if old != nil {
		base, codec = old.Files, codecChanged
	}
	if _, err := w.Write(header(codec, base, new.Files)); err != nil {
		return fmt.Errorf("write container header: %w", err)
	}
	steps := plan(base, new.Files)
	order := streamOrder(new.Files, steps)
	ops := encodeSteps(steps)
	total := int64(len(ops))
	for _, i := range order {
		total += new.Files[i].Size
	}
	enc, err := compressor(kept, w, total)
	if err != nil {
		return fmt.Errorf("start compressor: %w", err)
	}
	if err := encodeStream(ctx, enc, ops, new.Files, order, open); err != nil {
		return errors.Join(err, enc.Close())
	}
	if err := enc.Close(); err != nil {
		return fmt.Errorf("write container: %w", err)
	}
	return nil
}

// compressor depends on the carried bytes alone, so that the same input gives the same container. The window is no
// larger than the content needs: a device allocates that much.
func compressor(kept *Compressors, w io.Writer, total int64) (io.WriteCloser, error) {
	windowLog := min(maxWindowLog, max(10, bits.Len64(uint64(max(total, 1)-1))))
	level := zstd.SpeedDefault
	switch {
	case total <= bestBelow:
		return kept.Start(w, windowLog, true)
	case total <= betterBelow:
		level = zstd.SpeedBetterCompression
	}
	return zstd.NewWriter(w, zstd.WithEncoderLevel(level), zstd.WithWindowSize(1<<windowLog), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
}

func encodeStream(ctx context.Context, enc io.Writer, ops []byte, files []slipstream.File, order []int,
	open func(slipstream.File) (io.ReadCloser, error)) error {
	if _, err := enc.Write(ops); err != nil {
		return fmt.Errorf("write container: %w", err)
	}
	buf := make([]byte, 128<<10)
	for _, i := range order {
		if err := encodeFile(ctx, enc, files[i], open, buf); err != nil {
			return err
		}
	}
	return nil
}

func encodeFile(ctx context.Context, enc io.Writer, f slipstream.File, open func(slipstream.File) (io.ReadCloser, error), buf []byte) error {
	r, err := open(f)
	if err != nil {
		return fmt.Errorf("open %s: %w", f.Path, err)
	}
	h := sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(h, enc), &boundedReader{ctx: ctx, r: r, left: f.Size + 1}, buf)
	if err := errors.Join(err, r.Close()); err != nil {
		return fmt.Errorf("carry %s: %w", f.Path, err)
	}
	return checkFile(f, n, h.Sum(nil))
}

func checkFile(f slipstream.File, size int64, sum []byte) error {
	if size != f.Size {
		return slipstream.Refuse(slipstream.ReasonFileMismatch, "file "+f.Path, "size is %d, signed is %d", size, f.Size)
	}
	if d := slipstream.DigestOf([32]byte(sum)); d != f.SHA256 {
		return slipstream.Refuse(slipstream.ReasonFileMismatch, "file "+f.Path, "hash is %s, signed is %s", d.Short(), f.SHA256.Short())
	}
	return nil
}

// boundedReader ends after left bytes and at the end of ctx.
type boundedReader struct {
	ctx  context.Context
	r    io.Reader
	left int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	if b.left <= 0 {
		return 0, io.EOF
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
