package tree

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta/patch"
)

// Info says where the bytes of a patch file go.
type Info struct {
	Size       int64 // of the patch file
	Header     int64 // bytes in front of the patch inside
	Single     bool
	Patch      patch.Info // of the patch inside; its Parts are those of Operations and Files
	Operations patch.Part
	Files      []FileInfo // carried ones, in their order
	Kept       int        // files that are taken from the old tree or repeated
	Rewritten  int        // carried files of bytecode that are rewritten
}

// FileInfo says what a carried file takes.
type FileInfo struct {
	slipstream.File
	patch.Part
}

// Inspect applies a patch file without keeping anything and tells where its bytes go. Arguments are those of Apply.
func Inspect(ctx context.Context, old Tree, base func(files []int) (io.ReaderAt, error), file []byte, l Limits) (Info, error) {
	info := Info{Size: int64(len(file)), Single: old.Single}
	var carried []slipstream.File
	list, err := Apply(ctx, old, base, bytes.NewReader(file), l, &forgetful{&carried, &info.Kept})
	if err != nil {
		return info, err
	}
	raw := bytes.NewReader(file)
	in := bufio.NewReader(raw)
	old = old.nameless()
	h, err := readHeader(in, old)
	if err != nil {
		return info, err
	}
	info.Header = info.Size - int64(raw.Len()) - int64(in.Buffered())
	hashes := map[string]slipstream.Digest{}
	for _, f := range list {
		hashes[f.Path] = f.SHA256
	}
	ends := []int64{h.ops}
	for i, f := range carried {
		carried[i].SHA256 = hashes[f.Path]
		ends = append(ends, ends[i]+f.Size)
	}
	chosen, size := inBase(old.Files, h.left)
	from, err := base(chosen)
	if err != nil {
		return info, fmt.Errorf("open old tree: %w", err)
	}
	if from, _, err = old.rewrittenBase(ctx, from, chosen, h, l); err != nil {
		return info, err
	}
	info.Rewritten = len(h.pairs)
	info.Patch, err = patch.Inspect(ctx, from, size, in, ends, patch.Limits{NewSize: h.total, Memory: l.Memory})
	if err != nil {
		return info, err
	}
	for i, p := range info.Patch.Parts {
		if i == 0 {
			info.Operations = p
		} else {
			info.Files = append(info.Files, FileInfo{carried[i-1], p})
		}
	}
	return info, nil
}

// forgetful is a Sink that only remembers what is carried.
type forgetful struct {
	carried *[]slipstream.File
	kept    *int
}

func (f *forgetful) Create(file slipstream.File) (io.WriteCloser, error) {
	*f.carried = append(*f.carried, file)
	return nowhere{}, nil
}

func (f *forgetful) Keep(slipstream.File, slipstream.File) error {
	*f.kept++
	return nil
}

func (f *forgetful) Repeat(slipstream.File, slipstream.File) error {
	*f.kept++
	return nil
}

type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) Close() error                { return nil }
