package patch

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
)

// longestBeginning is what may stand in front of a body: profile, class of memory, a varint.
const longestBeginning = 12

// Check reads a patch that makes l.NewSize bytes without the old that it is for. A simple one is read to its end, and
// whole is true: its places lie inside an old of Info.OldSize bytes, and it makes exactly what it says. The body of a rich
// one means nothing without old, so that only what stands in front of it is checked. Errors are those of Apply.
func Check(ctx context.Context, patch io.Reader, l Limits) (in Info, whole bool, err error) {
	if l.NewSize < 0 || l.NewSize > MaxInput {
		return in, false, invalid("sizes of 2 GiB and more are not supported")
	}
	r := bufio.NewReader(patch)
	head, err := r.Peek(longestBeginning)
	if err != nil && err != io.EOF {
		return in, false, fmt.Errorf("read patch: %w", err)
	}
	if _, in, err = readBeginning(bufio.NewReader(bytes.NewReader(head)), l); err != nil {
		return in, false, err
	}
	if in.OldSize < 0 || in.OldSize > MaxInput {
		return in, false, invalid("it makes %d bytes of %d", in.NewSize, in.OldSize)
	}
	if in.Profile == ProfileRich {
		return in, false, nil
	}
	in, err = apply(ctx, zeros{}, in.OldSize, r, io.Discard, l, nil)
	return in, true, err
}

// zeros stands in for an old whose bytes do not matter.
type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}
