package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/slipstream-ota/slipstream"
)

// CheckDigest refuses a name that is not a digest, so that no implementation makes a path of it.
func CheckDigest(d slipstream.Digest) error {
	if !d.Valid() {
		return slipstream.Refuse(slipstream.ReasonFileMismatch, "blob", "%q is not 64 lower-case hex digits", d)
	}
	return nil
}

// CopyVerified copies exactly size bytes from r to w and refuses (reason file_mismatch) a size or hash that differs.
// It reads at most one byte more than size, in pieces of bounded memory, and stops when ctx ends.
func CopyVerified(ctx context.Context, w io.Writer, r io.Reader, digest slipstream.Digest, size int64) error {
	if size < 0 {
		return slipstream.Refuse(slipstream.ReasonFileMismatch, "blob", "negative size %d", size)
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), &contextReader{ctx: ctx, r: io.LimitReader(r, size)})
	if err != nil {
		return err
	}
	if n < size {
		return slipstream.Refuse(slipstream.ReasonFileMismatch, "blob", "%d bytes, announced were %d", n, size)
	}
	if err := expectEnd(ctx, r, size); err != nil {
		return err
	}
	if got := slipstream.DigestOf([32]byte(h.Sum(nil))); got != digest {
		return slipstream.Refuse(slipstream.ReasonFileMismatch, "blob", "sha256 is %s", got)
	}
	return nil
}

func expectEnd(ctx context.Context, r io.Reader, size int64) error {
	var one [1]byte
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.Read(one[:])
		switch {
		case n > 0:
			return slipstream.Refuse(slipstream.ReasonFileMismatch, "blob", "more bytes than the announced %d", size)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read blob: %w", err)
		}
	}
}

// contextReader ends a copy between two reads.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("read blob: %w", err)
	}
	return n, err
}
