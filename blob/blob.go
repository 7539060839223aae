// Package blob is the seam to content-addressed bytes: files of releases and containers, named by their SHA-256.
// Implementations are leaves (blob/file, blob/s3, blob/mem) and all pass blobtest.Run.
package blob

import (
	"context"
	"io"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// Info describes one stored blob. Modified is when it was last put, for the safety margin of garbage collection.
type Info struct {
	Digest   slipstream.Digest
	Size     int64
	Modified time.Time
}

// Object is an open blob. It is read from one goroutine. Seek works for any offset in [0, Size].
type Object interface {
	io.ReadSeekCloser
	Size() int64
}

// Store keeps immutable bytes by their SHA-256. Every method may be called from many goroutines and honours ctx.
type Store interface {
	// Put reads exactly size bytes from r and stores them under digest. On nil the bytes are durable and readable. A
	// size or hash that does not match is a *slipstream.Refusal with reason file_mismatch and leaves nothing visible.
	// Putting what is there already is no error and renews Modified.
	Put(ctx context.Context, digest slipstream.Digest, size int64, r io.Reader) error
	// Open gives the blob, or an error that is slipstream.ErrNotFound.
	Open(ctx context.Context, digest slipstream.Digest) (Object, error)
	// Stat describes the blob, or fails with slipstream.ErrNotFound.
	Stat(ctx context.Context, digest slipstream.Digest) (Info, error)
	// Delete removes the blob; deleting what is not there is no error.
	Delete(ctx context.Context, digest slipstream.Digest) error
	// List calls fn for every blob in no order and stops at fn's first error. Temporary files of unfinished puts are
	// not blobs; an implementation removes those that are older than a day.
	List(ctx context.Context, fn func(Info) error) error
	// Check says whether the store can be used now: exists, writable, credentials valid. The error says what to do.
	Check(ctx context.Context) error
}
