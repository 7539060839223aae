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

// whole reads an old file.
func (t Tree) whole(i int) (_ []byte, err error) {
	f := t.Files[i]
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

// part is a file of bytecode in its rewritten form.
type part struct {
	at, size int64
	form     io.ReaderAt
	held     []byte // nil: it is not in memory
}

// heldBytecode is how many bytes of bytecode, old files and the largest new one, are held in memory where a scratch file is to be had.
const heldBytecode = 4 << 20

// restorer knows how carried files that were rewritten come back, by old file: those in memory, or in a scratch file.
type restorer struct {
	olds    map[int]*hermes.Old
	spooled map[int]*hermes.Spooled
}

// rewrittenBase gives base with the old files of the pairs in their rewritten form, and what restores the new ones.
func (t Tree) rewrittenBase(ctx context.Context, base io.ReaderAt, chosen []int, h header, l Limits) (io.ReaderAt, *restorer, error) {
	if len(h.pairs) == 0 {
		return base, nil, nil
	}
	starts := startsOf(t.Files, chosen)
	o, r := &overlay{ReaderAt: base}, &restorer{map[int]*hermes.Old{}, map[int]*hermes.Spooled{}}
	room, err := t.room(ctx, h, l)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range h.pairs {
		k, ok := slices.BinarySearch(chosen, p.old)
		if !ok {
			return nil, nil, invalid("it rewrites a file that is not in the base")
		}
		f := t.Files[p.old]
		if f.Size > hermes.MaxFile {
			return nil, nil, invalid("%s is too large to be rewritten", f.Path)
		}
		form := part{at: starts[k], size: f.Size}
		if room != nil {
			r.spooled[p.old], ok, err = room.Open(io.NewSectionReader(base, starts[k], f.Size), f.Size)
			form.form = r.spooled[p.old]
		} else {
			var b []byte
			if b, err = t.whole(p.old); err == nil {
				r.olds[p.old], ok = hermes.Open(b)
			}
		}
		if err != nil {
			return nil, nil, fmt.Errorf("rewrite %s: %w", f.Path, err)
		}
		if !ok {
			return nil, nil, invalid("it rewrites %s, which is no bytecode that is known", f.Path)
		}
		if room == nil {
			form.held = r.olds[p.old].Base()
		}
		o.parts = append(o.parts, form)
	}
	return o, r, nil
}

// room gives where bytecode is restored that is too much for memory, or nil. How large the new files are is not known yet:
// none is larger than all that is carried.
func (t Tree) room(ctx context.Context, h header, l Limits) (*hermes.Room, error) {
	size := min(h.total-h.ops, hermes.MaxFile)
	for _, p := range h.pairs {
		size += t.Files[p.old].Size
	}
	if l.Scratch == nil || size <= heldBytecode {
		return nil, nil
	}
	file, err := l.Scratch()
	if err != nil {
		return nil, fmt.Errorf("make a scratch file: %w", err)
	}
	return hermes.NewRoom(ctx, file), nil
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

// restoring takes a carried file in and writes what it was before it was rewritten.
type restoring interface {
	io.Writer
	// Restore writes the file through write.
	Restore(write func([]byte) error) error
}

// begin gives what takes a carried file of some size whose old file is known.
func (r *restorer) begin(old int, size int64) restoring {
	if s := r.spooled[old]; s != nil {
		return s.Incoming(size)
	}
	return &collected{old: r.olds[old], bytes: make([]byte, 0, size)}
}

// collected is a carried file in memory.
type collected struct {
	old   *hermes.Old
	bytes []byte
}

func (c *collected) Write(b []byte) (int, error) {
	c.bytes = append(c.bytes, b...)
	return len(b), nil
}

func (c *collected) Restore(write func([]byte) error) error {
	b, err := c.old.Restore(c.bytes)
	if err != nil {
		return err
	}
	return write(b)
}
