package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"sort"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta/hermes"
	"github.com/slipstream-ota/slipstream/publish/delta/patch"
)

// pair is an old file and the place among the carried of what it became.
type pair struct{ old, carried int }

// patched is a patch, and which files are rewritten for it.
type patched struct {
	bytes []byte
	stats patch.Stats
	pairs []pair
}

// fewIn: next to nothing changes when less than one byte of bytecode in so many is in no block of the old one.
const fewIn = 128

// patch makes the patch of base and target, over rewritten bytecode where that pays. base and target may have rewritten forms
// in them afterwards. Two patches are made only where a look at the files does not tell which is the better one.
func (p *planned) patch(ctx context.Context, old, new Tree, chosen []int, base, target []byte, o patch.Options) (patched, error) {
	b := p.bytecode(old, new, chosen, base, target)
	size, lost := sizeOf(b), unlikeIn(b)
	if len(b) == 0 || lost < size/fewIn {
		plain, err := diff(ctx, base, target, o)
		if err != nil || !hermes.Worth(int64(len(plain.bytes)), size) { // however little is left
			return plain, err
		}
		pairs, held, err := rewrite(ctx, b, o.Profile)
		if err != nil || len(pairs) == 0 {
			return plain, err
		}
		rewritten, err := overRewritten(ctx, pairs, held, base, target, o)
		return better(plain, rewritten, size), err
	}
	pairs, held, err := rewrite(ctx, b, o.Profile)
	if err != nil {
		return patched{}, err
	}
	if len(pairs) == 0 {
		return diff(ctx, base, target, o)
	}
	evident := 2*unlikeIn(b) < lost
	rewritten, err := overRewritten(ctx, pairs, held, base, target, o)
	if err != nil || evident {
		return rewritten, err
	}
	if err := p.putBack(ctx, old, new, b); err != nil {
		return patched{}, err
	}
	plain, err := diff(ctx, base, target, o)
	return better(plain, rewritten, size), err
}

func diff(ctx context.Context, base, target []byte, o patch.Options) (patched, error) {
	b, stats, err := patch.Diff(ctx, base, target, o)
	return patched{bytes: b, stats: stats}, err
}

func better(plain, rewritten patched, size int64) patched {
	if hermes.Worth(int64(len(plain.bytes)-len(rewritten.bytes)), size) {
		return rewritten
	}
	return plain
}

// overRewritten makes the patch of base and target that have the rewritten forms of pairs in them.
func overRewritten(ctx context.Context, pairs []pair, held int64, base, target []byte, o patch.Options) (patched, error) {
	if len(base) >= freeFrom {
		debug.FreeOSMemory() // of rewriting, before the search takes its own
	}
	o.Memory = memoryBeside(held, o.Memory)
	m, err := diff(ctx, base, target, o)
	m.pairs = pairs
	return m, err
}

// code is a pair of files of bytecode where they lie in base and target.
type code struct {
	pair
	old, new []byte
}

func sizeOf(of []*code) (n int64) {
	for _, c := range of {
		n += int64(len(c.old) + len(c.new))
	}
	return n
}

func unlikeIn(of []*code) (n int64) {
	for _, c := range of {
		n += unlike(c.old, c.new)
	}
	return n
}

// putBack reads all anew that may be rewritten. To keep it would take memory while the search has the most.
func (p *planned) putBack(ctx context.Context, old, new Tree, of []*code) error {
	for _, c := range of {
		a, err := old.gather(ctx, nil, []int{c.pair.old}, int64(len(c.old)))
		if err != nil {
			return fmt.Errorf("read old tree: %w", err)
		}
		copy(c.old, a)
		b, err := new.gather(ctx, nil, []int{p.carried[c.carried]}, int64(len(c.new)))
		if err != nil {
			return fmt.Errorf("read new tree: %w", err)
		}
		copy(c.new, b)
	}
	return nil
}

// bytecode finds the changed files that are bytecode on both sides.
func (p *planned) bytecode(old, new Tree, chosen []int, base, target []byte) []*code {
	starts := startsOf(old.Files, chosen)
	at := int64(len(p.ops))
	places := make([]int64, len(p.carried))
	for i, j := range p.carried {
		places[i] = at
		at += new.Files[j].Size
	}
	var out []*code
	for _, c := range p.changed {
		k, ok := slices.BinarySearch(chosen, c.old)
		if !ok {
			continue
		}
		a := base[starts[k] : starts[k]+old.Files[c.old].Size]
		b := target[places[c.carried] : places[c.carried]+new.Files[p.carried[c.carried]].Size]
		v, ok := hermes.Known(a)
		if w, ok2 := hermes.Known(b); ok && ok2 && v == w {
			out = append(out, &code{pair: c, old: a, new: b})
		}
	}
	return out
}

// rewrite puts the rewritten forms in the place of those files that have one, gives these, and the memory that they take when
// the patch is applied. In simple patches the footer of a new file stands as it is: to compute it takes a reader a tenth of
// the time to apply.
func rewrite(ctx context.Context, of []*code, profile string) (pairs []pair, held int64, err error) {
	for _, c := range of {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		o, ok := hermes.Open(c.old)
		if !ok {
			continue
		}
		if after, ok := o.Rewrite(c.new); ok {
			o.Base() // in place
			if profile == patch.ProfileSimple {
				after = after[:len(after)-footerSize]
			}
			copy(c.new, after)
			pairs = append(pairs, c.pair)
			held += 3*int64(len(c.old))/2 + 5*int64(len(c.new))/2
		}
	}
	return pairs, held, nil
}

// footerSize is how many bytes at the end of a file of bytecode are the SHA-1 of all before.
const footerSize = 20

// tablesAtLeast is what bytecode leaves of the memory for tables.
const tablesAtLeast = 8 << 20

// memoryBeside is what is left for tables where bytecode is held as well.
func memoryBeside(held int64, allowed int) int {
	if allowed == 0 {
		allowed = patch.DefaultMemory
	}
	return min(allowed, int(max(int64(allowed)-held, tablesAtLeast)))
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
	if l.Holds != nil && bases.InMemory() {
		l.Holds(size)
	}
	bases.Footers = true // the whole file is compared
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
