// Package mem keeps blobs in memory, for tests and demonstrations.
package mem

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
)

// Store is a blob.Store in memory.
type Store struct {
	mu    sync.RWMutex
	blobs map[slipstream.Digest]entry
}

type entry struct {
	data     []byte
	modified time.Time
}

var _ blob.Store = (*Store)(nil)

// New gives an empty store.
func New() *Store { return &Store{blobs: map[slipstream.Digest]entry{}} }

// Put implements blob.Store.
func (s *Store) Put(ctx context.Context, digest slipstream.Digest, size int64, r io.Reader) error {
	if err := blob.CheckDigest(digest); err != nil {
		return err
	}
	var buf bytes.Buffer
	if err := blob.CopyVerified(ctx, &buf, r, digest, size); err != nil {
		return fmt.Errorf("put blob %s: %w", digest.Short(), err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[digest] = entry{data: buf.Bytes(), modified: time.Now()}
	return nil
}

// Open implements blob.Store.
func (s *Store) Open(ctx context.Context, digest slipstream.Digest) (blob.Object, error) {
	e, err := s.find(ctx, digest)
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", digest.Short(), err)
	}
	return &object{Reader: bytes.NewReader(e.data)}, nil
}

// Stat implements blob.Store.
func (s *Store) Stat(ctx context.Context, digest slipstream.Digest) (blob.Info, error) {
	e, err := s.find(ctx, digest)
	if err != nil {
		return blob.Info{}, fmt.Errorf("stat blob %s: %w", digest.Short(), err)
	}
	return blob.Info{Digest: digest, Size: int64(len(e.data)), Modified: e.modified}, nil
}

func (s *Store) find(ctx context.Context, digest slipstream.Digest) (entry, error) {
	if err := ctx.Err(); err != nil {
		return entry{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	e, ok := s.blobs[digest]
	if !ok {
		return entry{}, slipstream.ErrNotFound
	}
	return e, nil
}

// Delete implements blob.Store.
func (s *Store) Delete(ctx context.Context, digest slipstream.Digest) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.blobs, digest)
	return nil
}

// List implements blob.Store.
func (s *Store) List(ctx context.Context, fn func(blob.Info) error) error {
	s.mu.RLock()
	all := make([]blob.Info, 0, len(s.blobs))
	for d, e := range s.blobs {
		all = append(all, blob.Info{Digest: d, Size: int64(len(e.data)), Modified: e.modified})
	}
	s.mu.RUnlock()
	for _, info := range all {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fn(info); err != nil {
			return err
		}
	}
	return nil
}

// Check implements blob.Store.
func (s *Store) Check(ctx context.Context) error { return ctx.Err() }

type object struct{ *bytes.Reader }

func (o *object) Close() error { return nil }
