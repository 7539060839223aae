package tree

import (
	"bufio"
	"context"
	"encoding/hex"
	"io"

	"github.com/slipstream-ota/slipstream/publish/delta/patch"
)

// Outline is what a patch file says of itself.
type Outline struct {
	Single  bool       // between two files, else between trees
	Carried int64      // bytes of contents that it carries
	Hash    string     // hex of the hash of the new list
	Patch   patch.Info // of the patch inside
	// Whole says that all of it was read: a rich patch means nothing without the old files.
	Whole bool
}

// Check reads a patch file without the old files, as far as that goes: its header, and a simple patch to its end. What
// it makes, Apply alone can tell. Errors are those of Apply.
func Check(ctx context.Context, r io.Reader, memory int) (Outline, error) {
	in := bufio.NewReader(r)
	h, single, err := readFixed(in)
	if err != nil {
		return Outline{}, err
	}
	files := MaxFiles
	if single {
		files = 1
	}
	if err := h.readRest(in, files); err != nil {
		return Outline{}, err
	}
	o := Outline{Single: single, Carried: h.total - h.ops, Hash: hex.EncodeToString(h.hash[:])}
	o.Patch, o.Whole, err = patch.Check(ctx, in, patch.Limits{NewSize: h.total, Memory: memory})
	return o, err
}
