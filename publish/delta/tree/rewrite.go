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
		o, ok := hermes.Open(a)
		if !ok {
			continue
		}
		if after, ok := o.Rewrite(b); ok {
			o.Base() // in place
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

// overlay is a base in which some files have other bytes.
type overlay struct {
	io.ReaderAt
	parts []part // in order
}

// part is a file of bytecode in its rewritten form.
type part struct {
	at, size int64
	form     io.ReaderAt
	held     []byte // nil: it is not in memory
}

// rewrittenBase gives base with the old files of the pairs in their rewritten form, and these.
func (t Tree) rewrittenBase(ctx context.Context, base io.ReaderAt, chosen []int, h header, l Limits) (io.ReaderAt, *hermes.Bases, error) {
	if len(h.pairs) == 0 {
		return base, nil, nil
	}
	// How large the new files are is not known yet: none is larger than all that is carried.
	size := min(h.total-h.ops, hermes.MaxFile)
	for _, p := range h.pairs {
		size += t.Files[p.old].Size
	}
	bases, err := hermes.NewBases(ctx, size, l.Scratch)
	if err != nil {
		return nil, nil, err
	}
	starts := startsOf(t.Files, chosen)
	o := &overlay{ReaderAt: base}
	for _, p := range h.pairs {
		k, ok := slices.BinarySearch(chosen, p.old)
		if !ok {
			return nil, nil, invalid("it rewrites a file that is not in the base")
		}
		f := t.Files[p.old]
		err := bases.Open(p.old, io.NewSectionReader(base, starts[k], f.Size), f.Size)
		if errors.Is(err, hermes.ErrUnknown) {
			return nil, nil, invalid("it rewrites %s, which is no bytecode that is known", f.Path)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("rewrite %s: %w", f.Path, err)
		}
		o.parts = append(o.parts, part{starts[k], f.Size, bases.Form(p.old), bases.Held(p.old)})
	}
	return o, bases, nil
}

// Held gives what is left of the other bytes of a file.
func (o *overlay) Held(at int64) []byte {
	for _, p := range o.parts {
		if k := at - p.at; k >= 0 && k < int64(len(p.held)) {
			return p.held[k:]
		}
	}
	return nil
}

func (o *overlay) ReadAt(p []byte, at int64) (int, error) {
	n, err := o.ReaderAt.ReadAt(p, at)
	end := at + int64(n)
	for i := sort.Search(len(o.parts), func(i int) bool { return o.parts[i].at+o.parts[i].size > at }); i < len(o.parts) && o.parts[i].at < end; i++ {
		part := o.parts[i]
		from, to := max(at, part.at), min(end, part.at+part.size)
		if part.held != nil {
			copy(p[from-at:to-at], part.held[from-part.at:])
		} else if _, err := part.form.ReadAt(p[from-at:to-at], from-part.at); err != nil {
			return int(from - at), err
		}
	}
	return n, err
}
