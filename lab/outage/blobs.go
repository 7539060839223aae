// Package outage is a server in this process whose database and blob store can be made to fail in every way that they
// fail in: away, slow, short, lying.
package outage

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
)

// Fault is a way in which a blob store fails.
type Fault string

// The faults. A stalling call comes back when its context ends, a stalling read when its object is closed.
const (
	Errs   Fault = "errs"
	Stalls Fault = "stalls"
	Lies   Fault = "lies"  // other bytes of the same length, or a success that was none
	Short  Fault = "short" // fewer bytes than announced
	Gone   Fault = "gone"  // says that there is nothing
)

// Call is a place where a blob store fails.
type Call string

// The calls.
const (
	Put   Call = "put"
	Open  Call = "open"
	Read  Call = "read"
	Seek  Call = "seek"
	Stat  Call = "stat"
	List  Call = "list"
	Check Call = "check"
)

// ErrBroken is what a store that errs gives.
var ErrBroken = errors.New("input/output error")

// Blobs is a blob store that fails on demand.
type Blobs struct {
	blob.Store
	mu    sync.Mutex
	call  Call
	fault Fault
	hits  int
	stuck int // calls that stall now
}

// Fail makes one kind of call fail in one way; "" heals.
func (b *Blobs) Fail(call Call, fault Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.call, b.fault, b.hits = call, fault, 0
}

// Hits is how often the fault struck.
func (b *Blobs) Hits() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.hits
}

// Stuck is how many calls stall now.
func (b *Blobs) Stuck() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stuck
}

func (b *Blobs) stall(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stuck += n
}

func (b *Blobs) now(call Call) Fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.call != call {
		return ""
	}
	b.hits++
	return b.fault
}

// meet does what errs, stalls and gone do; fine says that the call goes on.
func (b *Blobs) meet(ctx context.Context, call Call) (fault Fault, err error) {
	switch fault = b.now(call); fault {
	case Errs:
		return fault, ErrBroken
	case Stalls:
		b.stall(1)
		defer b.stall(-1)
		<-ctx.Done()
		return fault, context.Cause(ctx)
	case Gone:
		return fault, slipstream.ErrNotFound
	}
	return fault, nil
}

// Put may say that it stored what it did not.
func (b *Blobs) Put(ctx context.Context, digest slipstream.Digest, size int64, r io.Reader) error {
	fault, err := b.meet(ctx, Put)
	if err != nil {
		return err
	}
	if fault == Lies || fault == Short {
		_, err := io.Copy(io.Discard, r)
		return err
	}
	return b.Store.Put(ctx, digest, size, r)
}

// Open may give other bytes.
func (b *Blobs) Open(ctx context.Context, digest slipstream.Digest) (blob.Object, error) {
	if _, err := b.meet(ctx, Open); err != nil {
		return nil, err
	}
	o, err := b.Store.Open(ctx, digest)
	if err != nil {
		return nil, err
	}
	closing, cancel := context.WithCancel(ctx)
	return &object{Object: o, blobs: b, ctx: closing, cancel: cancel}, nil
}

// Stat may give another size.
func (b *Blobs) Stat(ctx context.Context, digest slipstream.Digest) (blob.Info, error) {
	fault, err := b.meet(ctx, Stat)
	if err != nil {
		return blob.Info{}, err
	}
	info, err := b.Store.Stat(ctx, digest)
	if fault == Lies || fault == Short {
		info.Size /= 2
	}
	return info, err
}

// List may end early, with an error.
func (b *Blobs) List(ctx context.Context, fn func(blob.Info) error) error {
	if _, err := b.meet(ctx, List); err != nil {
		return err
	}
	return b.Store.List(ctx, fn)
}

// Check may fail.
func (b *Blobs) Check(ctx context.Context) error {
	if _, err := b.meet(ctx, Check); err != nil {
		return err
	}
	return b.Store.Check(ctx)
}

type object struct {
	blob.Object
	blobs  *Blobs
	ctx    context.Context // of this object: ends with Close
	cancel context.CancelFunc
	read   int64
}

func (o *object) Read(p []byte) (int, error) {
	fault, err := o.blobs.meet(o.ctx, Read)
	if err != nil {
		return 0, err
	}
	if fault == Short && o.read >= o.Size()/2 {
		return 0, io.EOF
	}
	if fault == Short {
		p = p[:min(int64(len(p)), max(o.Size()/2-o.read, 1))]
	}
	n, err := o.Object.Read(p)
	o.read += int64(n)
	if fault == Lies && n > 0 {
		p[n/2] ^= 1
	}
	return n, err
}

func (o *object) Seek(offset int64, whence int) (int64, error) {
	if _, err := o.blobs.meet(o.ctx, Seek); err != nil {
		return 0, err
	}
	return o.Object.Seek(offset, whence)
}

func (o *object) Close() error {
	o.cancel()
	return o.Object.Close()
}
