package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta/hermes"
	"github.com/slipstream-ota/slipstream/publish/delta/patch"
)

// pair is an old file and the place among the carried of what it became.
type pair struct{ old, carried int }

// rewrite puts the rewritten forms of bytecode into base and target, and says of which pairs.
func (p *planned) rewrite(ctx context.Context, old, new Tree, chosen []int, base, target []byte) ([]pair, error) {
	starts := startsOf(old.Files, chosen)
	at := int64(len(p.ops))
	places := make([]int64, len(p.carried))
	for i, j := range p.carried {
		places[i] = at
		at += new.Files[j].Size
	}
	var out []pair
	for _, c := range p.changed {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		k, ok := slices.BinarySearch(chosen, c.old)
		if !ok {
			continue
		}
		a := base[starts[k] : starts[k]+old.Files[c.old].Size]
		b := target[places[c.carried] : places[c.carried]+new.Files[p.carried[c.carried]].Size]
		o, ok := hermes.Open(slices.Clone(a))
		if !ok {
			continue
		}
		if after, ok := o.Rewrite(b); ok {
			copy(a, o.Base())
			copy(b, after)
			out = append(out, c)
			p.held += 3*int64(len(a))/2 + 5*int64(len(b))/2
		}
	}
	return out, nil
}

// tablesAtLeast is what bytecode leaves of the memory for tables.
const tablesAtLeast = 8 << 20

// memory is what is left for tables where bytecode is held as well.
func (p *planned) memory(allowed int) int {
	if p.held == 0 {
		return allowed
	}
	if allowed == 0 {
		allowed = patch.DefaultMemory
	}
	return min(allowed, int(max(int64(allowed)-p.held, tablesAtLeast)))
}

func startsOf(files []slipstream.File, chosen []int) []int64 {
	starts := make([]int64, len(chosen))
	var at int64
	for k, i := range chosen {
		starts[k] = at
		at += files[i].Size
	}
	return starts
}

// whole reads an old file that is small enough to be rewritten.
func (t Tree) whole(i int) (_ []byte, err error) {
	f := t.Files[i]
	if f.Size > hermes.MaxFile {
		return nil, invalid("%s is too large to be rewritten", f.Path)
	}
	r, err := t.Open(i)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", f.Path, err)
	}
	b := make([]byte, f.Size)
	_, err = io.ReadFull(r, b)
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Path, err)
	}
	return b, nil
}

// overlay is a base in which some files have other bytes.
type overlay struct {
	io.ReaderAt
	parts []part // in order
}

type part struct {
	at    int64
	bytes []byte
}

// rewrittenBase gives base with the old files of the pairs in their rewritten form, and these files.
func (t Tree) rewrittenBase(base io.ReaderAt, chosen []int, pairs []pair) (io.ReaderAt, map[int]*hermes.Old, error) {
	if len(pairs) == 0 {
		return base, nil, nil
	}
	o, olds := &overlay{ReaderAt: base}, map[int]*hermes.Old{}
	starts := startsOf(t.Files, chosen)
	for _, p := range pairs {
		k, ok := slices.BinarySearch(chosen, p.old)
		if !ok {
			return nil, nil, invalid("it rewrites a file that is not in the base")
		}
		b, err := t.whole(p.old)
		if err != nil {
			return nil, nil, err
		}
		old, ok := hermes.Open(b)
		if !ok {
			return nil, nil, invalid("it rewrites %s, which is no bytecode that is known", t.Files[p.old].Path)
		}
		o.parts = append(o.parts, part{starts[k], old.Base()})
		olds[p.old] = old
	}
	return o, olds, nil
}

// Held gives what is left of the other bytes of a file.
func (o *overlay) Held(at int64) []byte {
	for _, p := range o.parts {
		if k := at - p.at; k >= 0 && k < int64(len(p.bytes)) {
			return p.bytes[k:]
		}
	}
	return nil
}

func (o *overlay) ReadAt(p []byte, at int64) (int, error) {
	n, err := o.ReaderAt.ReadAt(p, at)
	end := at + int64(n)
	for i := sort.Search(len(o.parts), func(i int) bool { return o.parts[i].at+int64(len(o.parts[i].bytes)) > at }); i < len(o.parts) && o.parts[i].at < end; i++ {
		from := max(at, o.parts[i].at)
		copy(p[from-at:n], o.parts[i].bytes[from-o.parts[i].at:])
	}
	return n, err
}

// restoring collects a carried file and writes what it was before it was rewritten.
type restoring struct {
	old   *hermes.Old
	bytes []byte
}

func (r *restoring) Write(b []byte) (int, error) {
	r.bytes = append(r.bytes, b...)
	return len(b), nil
}

// restore writes the file through write, and does not close it.
func (r *restoring) restore(write func([]byte) error) error {
	b, err := r.old.Restore(r.bytes)
	if err != nil {
		return invalid("a file that was rewritten does not come back: %w", err)
	}
	return write(b)
}
