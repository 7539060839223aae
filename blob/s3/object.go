package s3

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/minio/minio-go/v7"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
)

// Open implements blob.Store. Bytes are asked for when they are read, from where the reader stands, so seeking costs
// nothing until then. Reads end with ctx.
func (s *Store) Open(ctx context.Context, digest slipstream.Digest) (blob.Object, error) {
	info, err := s.stat(ctx, digest)
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", digest.Short(), s.explain(ctx, err))
	}
	return &object{ctx: ctx, store: s, digest: digest, size: info.Size}, nil
}

// maxReopen is how often in a row a broken download is taken up again without a new byte.
const maxReopen = 3

type object struct {
	ctx    context.Context
	store  *Store
	digest slipstream.Digest
	size   int64

	pos    int64
	body   io.ReadCloser // stands at pos; nil before the first read and after a seek
	broken int           // downloads in a row that broke without a byte
	closed bool
}

func (o *object) Size() int64 { return o.size }

func (o *object) Read(p []byte) (int, error) {
	switch {
	case o.closed:
		return 0, errors.New("read of a closed blob")
	case len(p) == 0:
		return 0, nil
	}
	for {
		if o.pos >= o.size {
			return 0, io.EOF
		}
		n, err := o.readOnce(p[:min(int64(len(p)), o.size-o.pos)])
		o.pos += int64(n)
		if n > 0 {
			o.broken = 0
			return n, nil // a break shows at the next read
		}
		if err == nil {
			continue
		}
		if o.broken++; o.broken > maxReopen || o.ctx.Err() != nil || notFound(err) {
			return 0, fmt.Errorf("read blob %s: %w", o.digest.Short(), o.store.explain(o.ctx, err))
		}
	}
}

// readOnce reads from the open download or begins one. When the download breaks, the next call begins another at pos.
func (o *object) readOnce(p []byte) (int, error) {
	if o.body == nil {
		var opts minio.GetObjectOptions
		if o.pos > 0 {
			if err := opts.SetRange(o.pos, 0); err != nil {
				return 0, err
			}
		}
		body, _, _, err := minio.Core{Client: o.store.client}.GetObject(o.ctx, o.store.bucket, o.store.key(o.digest), opts)
		if err != nil {
			return 0, err
		}
		o.body = body
	}
	n, err := o.body.Read(p)
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // before size, see Read
		}
		err = errors.Join(err, o.drop())
	}
	return n, err
}

func (o *object) drop() error {
	if o.body == nil {
		return nil
	}
	body := o.body
	o.body = nil
	return body.Close()
}

func (o *object) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += o.pos
	case io.SeekEnd:
		offset += o.size
	default:
		return 0, fmt.Errorf("seek: whence %d", whence)
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek to %d: before the start", offset)
	}
	if offset == o.pos {
		return offset, nil
	}
	o.pos = offset
	return offset, o.drop()
}

func (o *object) Close() error {
	o.closed = true
	return o.drop()
}
