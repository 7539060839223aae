package delta

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta/zframe"
)

// Sink receives the files of the target, each exactly once and only those that the manifest names: first every Keep,
// then every Create, then every Duplicate. An error ends Apply; the tree so far is then worth nothing.
type Sink interface {
	// Create opens the file f for writing. It is written in order and closed; Close is the end of the file.
	Create(f slipstream.File) (io.WriteCloser, error)
	// Keep takes the content of f from old, a file of the base: same size and hash by both manifests, maybe another
	// path or mode. Whether the bytes on disk still match is for the Sink to verify.
	Keep(f, old slipstream.File) error
	// Duplicate takes the content of f from of, a file of the target that was created and verified before.
	Duplicate(f, of slipstream.File) error
}

// Apply reads a container from r and gives sink the files of new. old is the base (nil: none), which a full container
// does not need. Both manifests must be verified (package sign).
//
// Nothing in the container is trusted: memory is bounded by an 8 MiB window and the two file lists, no file is written
// beyond its signed size, and when Apply returns nil, every file was created with its signed size and hash or taken
// from a base file that has them. Damage, a wrong base, an unknown operation and trailing bytes are a
// *slipstream.Refusal with reason container_invalid, a content that is not the signed one file_mismatch. Errors of r and
// of sink are returned wrapped.
func Apply(ctx context.Context, r io.Reader, old, new *slipstream.Manifest, sink Sink) error {
	src := &source{ctx: ctx, r: r, left: new.Size() + slipstream.ContainerOverhead}
	err := apply(ctx, src, old, new, sink)
	if err != nil && src.err != nil {
		return fmt.Errorf("read container: %w", src.err)
	}
	return err
}

func apply(ctx context.Context, src *source, old, new *slipstream.Manifest, sink Sink) error {
	var base []slipstream.File
	if old != nil {
		base = old.Files
	}
	in := bufio.NewReaderSize(src, 64<<10)
	base, err := readHeader(in, old != nil, base, new.Files)
	if err != nil {
		return err
	}
	frame := zframe.New(in)
	dec, err := zstd.NewReader(frame, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return damaged(err, "start decompressor")
	}
	defer dec.Close()
	content := bufio.NewReaderSize(dec, 4<<10)
	steps, err := decodeSteps(content, base, new.Files)
	if err != nil {
		return err
	}
	if err := keep(ctx, steps, base, new.Files, sink); err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for _, i := range streamOrder(new.Files, steps) {
		if err := create(ctx, content, new.Files[i], sink, buf); err != nil {
			return err
		}
	}
	if err := finish(content, frame, in); err != nil {
		return err
	}
	for i, s := range steps {
		if s.op == opDuplicate {
			if err := sink.Duplicate(new.Files[i], new.Files[s.arg]); err != nil {
				return fmt.Errorf("duplicate %s: %w", new.Files[s.arg].Path, err)
			}
		}
	}
	return ctx.Err()
}

// readHeader checks the header and gives the base that the container builds on.
func readHeader(in io.Reader, haveBase bool, base, target []slipstream.File) ([]slipstream.File, error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(in, h[:]); err != nil {
		return nil, damaged(err, "read header")
	}
	codec := h[5]
	switch {
	case string(h[:4]) != magic:
		return nil, invalid("it does not begin with %q", magic)
	case h[4] != formatVersion:
		return nil, invalid("format version %d is not known", h[4])
	case codec != codecFull && codec != codecChanged:
		return nil, invalid("codec %d is not known", codec)
	case codec == codecFull:
		base = nil
	case !haveBase:
		return nil, invalid("it needs a base")
	}
	want := header(codec, base, target)
	if !bytes.Equal(h[6:14], want[6:14]) {
		return nil, invalid("it was made for another base")
	}
	if !bytes.Equal(h[14:], want[14:]) {
		return nil, invalid("it was made for another release")
	}
	return base, nil
}

func keep(ctx context.Context, steps []step, base, target []slipstream.File, sink Sink) error {
	for i, s := range steps {
		if s.op != opKeep && s.op != opCopy {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := sink.Keep(target[i], base[s.arg]); err != nil {
			return fmt.Errorf("keep %s: %w", base[s.arg].Path, err)
		}
	}
	return nil
}

// create writes one carried file and compares it with its signature.
func create(ctx context.Context, content io.Reader, f slipstream.File, sink Sink, buf []byte) (err error) {
	w, err := sink.Create(f)
	if err != nil {
		return fmt.Errorf("create %s: %w", f.Path, err)
	}
	open := true
	defer func() {
		if open {
			err = errors.Join(err, w.Close())
		}
	}()
	h := sha256.New()
	for left := f.Size; left > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := content.Read(buf[:min(left, int64(len(buf)))])
		h.Write(buf[:n])
		if _, err := w.Write(buf[:n]); err != nil {
			return fmt.Errorf("write %s: %w", f.Path, err)
		}
		left -= int64(n)
		if err != nil && left > 0 {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return damaged(err, "read "+f.Path)
		}
	}
	if err := checkFile(f, f.Size, h.Sum(nil)); err != nil {
		return err
	}
	open = false
	if err := w.Close(); err != nil {
		return fmt.Errorf("close %s: %w", f.Path, err)
	}
	return nil
}

// finish sees to it that nothing follows the last file, neither inside the frame nor behind it.
func finish(content *bufio.Reader, frame *zframe.Reader, in *bufio.Reader) error {
	if _, err := content.ReadByte(); err == nil {
		return invalid("content follows the last file")
	} else if err != io.EOF {
		return damaged(err, "read the end")
	}
	if !frame.Done() {
		return damaged(io.ErrUnexpectedEOF, "read the end")
	}
	if _, err := in.ReadByte(); err == nil {
		return invalid("bytes follow the end")
	} else if err != io.EOF {
		return damaged(err, "read the end")
	}
	return nil
}

// source reads the container itself. It remembers an error that is not about the container's bytes, and ends a
// container that is larger than its signed sizes allow.
type source struct {
	ctx  context.Context
	r    io.Reader
	left int64
	err  error
}

func (s *source) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	if s.err = s.ctx.Err(); s.err != nil {
		return 0, s.err
	}
	if s.left <= 0 {
		var one [1]byte
		_, err := io.ReadFull(s.r, one[:])
		if err == nil {
			err = invalid("it is larger than the signed sizes allow")
		}
		if err != io.EOF {
			s.err = err
		}
		return 0, err
	}
	n, err := s.r.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}
