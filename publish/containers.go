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
	// Full is the size of the full container in bytes: one from a base that is not smaller is dropped. 0 = no limit.
	Full int64
	// Progress is told now and then how many bytes of the target are done with, of how many; nil tells nobody.
	Progress func(done, total int64)
	// Stage is told what is done now: one of the Stage constants. Progress begins anew with each; nil tells nobody.
	Stage func(string)
	// Codecs are the codecs with a patch to make from a base; nil means DefaultCodecs.
	Codecs []string
	// DeltaBytes is how large base and target may be together for a patch to be tried, in bytes: they are held in memory,
	// the base five times. Default 256 MiB.
	DeltaBytes int64
	// Put is told of every container once it is stored; nil tells nobody.
	Put func(context.Context, slipstream.Container) error
}

// Stages of the work on containers. That on the patches of several codecs is one patch after the other: StagePatch comes
// with a number, "patch 2".
const (
	StageFull    = "full"    // the full container is packed and proven
	StageChanged = "changed" // the container of the changed files is packed and proven
	StageSearch  = "search"  // what the changed files have of the base is searched for
	StagePatch   = "patch"   // a patch is coded
	StageProve   = "prove"   // patches are applied again and stored
)

// BuildContainers makes the containers that turn base into target, or the full one when base is nil. Every one is
// applied again and compared with the signed hashes, stored in blobs, and only then told to o.Put. It stops at the first
// error: of reading or storing a blob, of a re-application that does not match, of Put.
func BuildContainers(ctx context.Context, blobs blob.Store, target, base *slipstream.Release, o ContainerOptions) ([]slipstream.Container, error) {
	b := &builder{blobs: blobs, target: target.Manifest, options: o}
	what := "full container of " + target.Digest.Short()
	if base != nil {
		what = fmt.Sprintf("containers from %s to %s", base.Digest.Short(), target.Digest.Short())
	}
	if base == nil {
		b.stage(StageFull)
	} else {
		b.stage(StageChanged)
	}
	c, err := b.build(ctx, base, o.Full)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	var made []slipstream.Container
	if c != nil {
		made = append(made, *c)
	}
	if base != nil {
		deltas, err := b.deltas(ctx, base)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		made = append(made, deltas...)
	}
	if o.Put == nil {
		return made, nil
	}
	for _, c := range made {
		if err := o.Put(ctx, c); err != nil {
			return nil, fmt.Errorf("record %s: %w", what, err)
		}
	}
	return made, nil
}

type builder struct {
	blobs   blob.Store
	target  *slipstream.Manifest
	options ContainerOptions
	read    int64
}

func (b *builder) stage(name string) {
	if b.options.Stage != nil {
		b.options.Stage(name)
	}
}

// open gives the content of a file and tells how far the reading is.
func (b *builder) open(ctx context.Context, f slipstream.File) (io.ReadCloser, error) {
	o, err := b.blobs.Open(ctx, f.SHA256)
	if err != nil {
		return nil, err
	}
	if b.options.Progress != nil {
		b.options.Progress(b.read, b.target.Size())
		b.read += f.Size
	}
	return o, nil
}

// build makes, proves and stores one container. It gives nil for one that is not below limit (0 = no limit).
func (b *builder) build(ctx context.Context, base *slipstream.Release, limit int64) (_ *slipstream.Container, err error) {
	spool, err := os.CreateTemp(b.options.TempDir, "slipstream-container-*")
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
	open := func(f slipstream.File) (io.ReadCloser, error) { return b.open(ctx, f) }
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
