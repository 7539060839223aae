package publish

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/publish/delta"
)

// ContainerOptions says how containers are built. The zero value means the defaults.
type ContainerOptions struct {
	TempDir string // for spooling, "" = the system's; needs room for about the target's size
}

// BuildContainers makes the full container of target and, from each of bases, one that carries only what changed.
// Every one is spooled to a temporary file, applied again and compared with the signed hashes, stored in blobs, and
// only then told to put, the full one first. One that is not smaller than the full container is dropped; bases equal to
// target are skipped. put may be nil. It stops at the first error: of reading or storing a blob, of a re-application
// that does not match, of put.
func BuildContainers(ctx context.Context, blobs blob.Store, target *slipstream.Release, bases []*slipstream.Release,
	o ContainerOptions, put func(context.Context, slipstream.Container) error) ([]slipstream.Container, error) {
	b := &builder{blobs: blobs, target: target.Manifest, tempDir: o.TempDir}
	var done []slipstream.Container
	add := func(base *slipstream.Release, limit int64) error {
		c, err := b.build(ctx, base, limit)
		if err != nil || c == nil {
			return err
		}
		if put != nil {
			if err := put(ctx, *c); err != nil {
				return fmt.Errorf("record container: %w", err)
			}
		}
		done = append(done, *c)
		return nil
	}
	if err := add(nil, 0); err != nil {
		return done, fmt.Errorf("full container of %s: %w", target.Digest.Short(), err)
	}
	full := done[0].Size
	seen := map[slipstream.Digest]bool{target.Digest: true}
	for _, base := range bases {
		if seen[base.Digest] {
			continue
		}
		seen[base.Digest] = true
		if err := add(base, full); err != nil {
			return done, fmt.Errorf("container from %s to %s: %w", base.Digest.Short(), target.Digest.Short(), err)
		}
	}
	return done, nil
}

type builder struct {
	blobs   blob.Store
	target  *slipstream.Manifest
	tempDir string
}

// build makes, proves and stores one container. It gives nil for one that is not below limit (0 = no limit).
func (b *builder) build(ctx context.Context, base *slipstream.Release, limit int64) (_ *slipstream.Container, err error) {
	spool, err := os.CreateTemp(b.tempDir, "slipstream-container-*")
	if err != nil {
		return nil, fmt.Errorf("create spool file: %w", err)
	}
	defer func() { err = errors.Join(err, spool.Close(), os.Remove(spool.Name())) }()
	c := &slipstream.Container{Codec: delta.CodecFull}
	var old *slipstream.Manifest
	if base != nil {
		c.From, c.Codec, old = base.Digest, delta.CodecChanged, base.Manifest
	}
	h := sha256.New()
	w := &limitWriter{w: io.MultiWriter(spool, h), left: limit}
	if limit == 0 {
		w.left = 1 << 62
	}
	open := func(f slipstream.File) (io.ReadCloser, error) { return b.blobs.Open(ctx, f.SHA256) }
	if err := delta.Encode(ctx, w, old, b.target, open); err != nil {
		if w.left <= 0 {
			return nil, nil
		}
		return nil, err
	}
	if c.Size, err = spool.Seek(0, io.SeekCurrent); err != nil {
		return nil, fmt.Errorf("measure spool file: %w", err)
	}
	c.SHA256 = slipstream.DigestOf([32]byte(h.Sum(nil)))
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("rewind spool file: %w", err)
	}
	proof := newProof(b.target)
	if err := delta.Apply(ctx, spool, old, b.target, proof); err != nil {
		return nil, fmt.Errorf("prove container: %w", err)
	}
	if len(proof.due) > 0 {
		return nil, fmt.Errorf("prove container: %d files did not come", len(proof.due))
	}
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("rewind spool file: %w", err)
	}
	if err := b.blobs.Put(ctx, c.SHA256, c.Size, spool); err != nil {
		return nil, fmt.Errorf("store container: %w", err)
	}
	// What is offered must be there, whatever the blob store says of a Put.
	if info, err := b.blobs.Stat(ctx, c.SHA256); err != nil || info.Size != c.Size {
		return nil, errors.Join(fmt.Errorf("find container %s of %d bytes after it was stored: %d bytes", c.SHA256.Short(), c.Size, info.Size), err)
	}
	return c, nil
}

var errTooLarge = errors.New("not smaller than the full container")

// limitWriter fails once left bytes or more were written, so that a container that is not worth it ends early.
type limitWriter struct {
	w    io.Writer
	left int64
}

func (l *limitWriter) Write(p []byte) (int, error) {
	l.left -= int64(len(p))
	if l.left <= 0 {
		return 0, errTooLarge
	}
	return l.w.Write(p)
}

// proof is the sink that an unoffered container is applied to. Apply itself compares the size and hash of what is
// carried and the description of what is kept; proof sees to it that every file of the target comes exactly once.
type proof struct{ due map[string]bool }

func newProof(target *slipstream.Manifest) *proof {
	p := &proof{due: make(map[string]bool, len(target.Files))}
	for _, f := range target.Files {
		p.due[f.Path] = true
	}
	return p
}

func (p *proof) take(f slipstream.File) error {
	if !p.due[f.Path] {
		return fmt.Errorf("%s comes twice or is not of the release", f.Path)
	}
	delete(p.due, f.Path)
	return nil
}

func (p *proof) Create(f slipstream.File) (io.WriteCloser, error) { return discard{}, p.take(f) }
func (p *proof) Keep(f, _ slipstream.File) error                  { return p.take(f) }
func (p *proof) Duplicate(f, _ slipstream.File) error             { return p.take(f) }

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Close() error                { return nil }
