package publish

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta"
)

// DefaultCodecs are the codecs with a patch that are made for every base: the smallest one that a device of 16 MiB can
// take, with and without knowledge of bytecode, the same under the name of JavaScript where that can take it, one that needs nothing but Zstandard, the same with knowledge of
// bytecode, and, where there is more bytecode than 16 MiB have room for, those of 64 MiB.
func DefaultCodecs() []string {
	return []string{
		delta.CodecRich, delta.CodecRichJS, delta.CodecHermes, delta.CodecHermes64,
		delta.CodecSimpleZstd, delta.CodecSimpleHermes, delta.CodecSimpleHermes64,
	}
}

const defaultDeltaBytes = 256 << 20

// deltas makes, proves and stores the containers with a patch from base. One that is not smaller than the full container,
// or not smaller than one that asks less of a device, is dropped.
func (b *builder) deltas(ctx context.Context, base *slipstream.Release) ([]slipstream.Container, error) {
	codecs, most := b.options.Codecs, b.options.DeltaBytes
	if codecs == nil {
		codecs = DefaultCodecs()
	}
	if most <= 0 {
		most = defaultDeltaBytes
	}
	if len(codecs) == 0 || base.Manifest.Size()+b.target.Size() > most {
		return nil, nil
	}
	open := func(f slipstream.File) (io.ReadCloser, error) { return b.blobs.Open(ctx, f.SHA256) }
	b.stage(StageSearch)
	made, err := delta.EncodeDeltas(ctx, codecs, base.Manifest, b.target, open, open, delta.DeltaOptions{Workers: 1, Progress: b.perPatch()})
	if errors.Is(err, slipstream.ErrInvalid) {
		return nil, nil // too large for a patch: the other containers do
	}
	if err != nil {
		return nil, err
	}
	b.stage(StageProve)
	contents := &contents{builder: b, ctx: ctx, known: map[slipstream.Digest][]byte{}}
	var out []slipstream.Container
	for _, d := range made {
		size := int64(len(d.Container))
		if b.options.Full > 0 && size >= b.options.Full {
			continue
		}
		if err := b.proveDelta(ctx, d, base.Manifest, contents); err != nil {
			return nil, fmt.Errorf("prove %s: %w", d.Codec, err)
		}
		c := slipstream.Container{From: base.Digest, Codec: d.Codec, Size: size, SHA256: slipstream.DigestOf(sha256.Sum256(d.Container))}
		if err := b.blobs.Put(ctx, c.SHA256, c.Size, bytes.NewReader(d.Container)); err != nil {
			return nil, fmt.Errorf("store container: %w", err)
		}
		// What is offered must be there, whatever the blob store says of a Put.
		if info, err := b.blobs.Stat(ctx, c.SHA256); err != nil || info.Size != c.Size {
			return nil, errors.Join(fmt.Errorf("find container %s of %d bytes after it was stored: %d bytes", c.SHA256.Short(), c.Size, info.Size), err)
		}
		out = append(out, c)
	}
	return out, nil
}

// perPatch tells of progress, and of a stage of its own for every patch. A patch begins behind the search, which all
// share: its own part is from where it began.
func (b *builder) perPatch() func(done, total int64) {
	number, began, last := 0, int64(0), int64(0)
	return func(done, total int64) {
		if number == 0 || done < last {
			number++
			began = done
			b.stage(fmt.Sprintf("%s %d", StagePatch, number))
		}
		last = done
		if b.options.Progress != nil {
			b.options.Progress(done-began, total-began)
		}
	}
}

func (b *builder) proveDelta(ctx context.Context, d delta.Delta, old *slipstream.Manifest, contents *contents) error {
	proof := newProof(b.target)
	memory, _ := delta.MemoryOf(d.Codec)
	limits := delta.ApplyLimits{Memory: memory, Decisions: delta.DecisionsOf(d.Codec)}
	if err := delta.ApplyDelta(ctx, bytes.NewReader(d.Container), old, b.target, contents.open, proof, limits); err != nil {
		return err
	}
	if len(proof.due) > 0 {
		return fmt.Errorf("%d files did not come", len(proof.due))
	}
	return nil
}

// contents gives the files of a base at random places; what was read stays in memory for the next codec.
type contents struct {
	builder *builder
	ctx     context.Context
	known   map[slipstream.Digest][]byte
}

type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }

func (c *contents) open(f slipstream.File) (delta.Content, error) {
	if b, ok := c.known[f.SHA256]; ok {
		return inMemory{bytes.NewReader(b)}, nil
	}
	o, err := c.builder.blobs.Open(c.ctx, f.SHA256)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(o, f.Size+1))
	if err := errors.Join(err, o.Close()); err != nil {
		return nil, err
	}
	c.known[f.SHA256] = b
	return inMemory{bytes.NewReader(b)}, nil
}
