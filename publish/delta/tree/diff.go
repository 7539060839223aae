package tree

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta/patch"
)

// baseWanted is the size of the base, in bytes, above which the largest files that did not change are left out of it:
// they would cost time and memory, and hold little that others need.
const baseWanted = 512 << 20

// freeFrom is the size of the base, in bytes, from which memory is worth the time to give it back.
const freeFrom = 16 << 20

// Stats tells how a patch was made.
type Stats struct {
	patch.Stats
	Kept, Dropped, Changed, Added, Copied, Repeated int
	Rewritten                                       int // files of bytecode
	Operations                                      int // bytes of them, before the patch
	Size                                            int // bytes of the whole patch file
}

// Diff makes the patch file that turns old into new. The same trees and options give the same bytes. Memory is that of
// patch.Diff for the contents of the old tree and the carried ones.
func Diff(ctx context.Context, old, new Tree, o patch.Options) ([]byte, Stats, error) {
	if err := errors.Join(old.check("old"), new.check("new")); err != nil {
		return nil, Stats{}, err
	}
	if old.Single != new.Single {
		return nil, Stats{}, slipstream.Invalidf("one of the two is a file and the other a tree")
	}
	old, new = old.nameless(), new.nameless()
	p := plan(old.Files, new.Files, new.Single)
	chosen, size := inBase(old.Files, p.left)
	if size > patch.MaxInput || p.carriedSize+int64(len(p.ops)) > patch.MaxInput {
		return nil, Stats{}, slipstream.Hint(slipstream.Invalidf("%d old bytes and %d carried ones: a patch takes less than 2 GiB each", size, p.carriedSize),
			"patch the parts of the tree one by one")
	}
	base, err := old.gather(ctx, nil, chosen, size)
	if err != nil {
		return nil, Stats{}, fmt.Errorf("read old tree: %w", err)
	}
	target, err := new.gather(ctx, p.ops, p.carried, p.carriedSize)
	if err != nil {
		return nil, Stats{}, fmt.Errorf("read new tree: %w", err)
	}
	m, err := p.patch(ctx, old, new, chosen, base, target, o)
	if err != nil {
		return nil, Stats{}, err
	}
	oldHash, newHash := hashList(old.Files, old.Single), hashList(new.Files, new.Single)
	out := append([]byte(magic), version, 0)
	if new.Single {
		out[5] = 1
	}
	out = append(append(out, oldHash[:tagSize]...), newHash[:]...)
	out = binary.AppendUvarint(out, uint64(len(p.left)))
	last := 0
	for _, i := range p.left {
		out = binary.AppendUvarint(out, uint64(i-last))
		last = i
	}
	out = binary.AppendUvarint(out, uint64(len(m.pairs)))
	var before pair
	for _, r := range m.pairs {
		out = binary.AppendUvarint(binary.AppendUvarint(out, uint64(r.old-before.old)), uint64(r.carried-before.carried))
		before = r
	}
	out = binary.AppendUvarint(out, uint64(len(p.ops)))
	out = binary.AppendUvarint(out, uint64(len(target)))
	out = append(out, m.bytes...)
	p.stats.Stats, p.stats.Operations, p.stats.Size, p.stats.Rewritten = m.stats, len(p.ops), len(out), len(m.pairs)
	return out, p.stats, nil
}

// gather reads the chosen files behind head. A file that is not as long as its list says, or has other bytes, is told by
// the hash when the patch is applied, so only the size is compared here.
func (t Tree) gather(ctx context.Context, head []byte, chosen []int, size int64) ([]byte, error) {
	out := make([]byte, len(head), int64(len(head))+size)
	copy(out, head)
	for _, i := range chosen {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		f := t.Files[i]
		r, err := t.Open(i)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", f.Path, err)
		}
		at := len(out)
		out = out[:at+int(f.Size)]
		_, err = io.ReadFull(r, out[at:])
		if err := errors.Join(err, r.Close()); err != nil {
			return nil, fmt.Errorf("read %s: %w", f.Path, err)
		}
	}
	return out, nil
}

// planned is what becomes of each file.
type planned struct {
	ops         []byte
	carried     []int // of the new list
	carriedSize int64
	left        []int // of the old list: not in the base
	changed     []pair
	stats       Stats
}

// planner writes operations and joins neighbours that are alike.
type planner struct {
	planned
	old, new  []slipstream.File
	byContent map[slipstream.Digest]int // first old file
	carriedBy map[slipstream.Digest]int // place among the carried
	op        byte
	n         uint64
	pending   []byte
	path      string // written last
}

func plan(old, new []slipstream.File, single bool) planned {
	p := &planner{old: old, new: new, byContent: map[slipstream.Digest]int{}, carriedBy: map[slipstream.Digest]int{}}
	for i, f := range old {
		if _, ok := p.byContent[f.SHA256]; !ok {
			p.byContent[f.SHA256] = i
		}
	}
	kept := make([]bool, len(old))
	i, j := 0, 0
	for i < len(old) || j < len(new) {
		order := 0
		switch {
		case i == len(old):
			order = 1
		case j == len(new):
			order = -1
		case !single:
			order = cmp.Compare(old[i].Path, new[j].Path)
		}
		switch {
		case order < 0:
			p.write(opDrop, nil)
			p.stats.Dropped++
			i++
		case order > 0:
			p.arrive(j)
			j++
		default:
			kept[i] = p.stay(i, j)
			i++
			j++
		}
	}
	p.flush()
	p.left = leaveOut(old, kept)
	return p.planned
}

// stay writes what becomes of an old path that the new list has too.
func (p *planner) stay(i, j int) (kept bool) {
	o, n := p.old[i], p.new[j]
	switch {
	case o.SHA256 == n.SHA256 && o.Exec == n.Exec:
		p.write(opKeep, nil)
		p.stats.Kept++
		return true
	case o.SHA256 == n.SHA256:
		p.write(opMode, nil)
		p.stats.Kept++
		return true
	case o.Exec == n.Exec && p.known(n.SHA256) == "":
		p.write(opChange, binary.AppendVarint(nil, n.Size-o.Size))
		p.stats.Changed++
		p.changed = append(p.changed, pair{i, len(p.carried)})
		p.carry(j)
	default:
		p.write(opDrop, nil)
		p.arrive(j)
		p.path = n.Path
	}
	return false
}

// known says where a content is already: in the old tree, among the carried, or nowhere.
func (p *planner) known(d slipstream.Digest) string {
	if _, ok := p.byContent[d]; ok {
		return "old"
	}
	if _, ok := p.carriedBy[d]; ok {
		return "carried"
	}
	return ""
}

func (p *planner) arrive(j int) {
	f := p.new[j]
	arg := p.pathOf(f)
	switch p.known(f.SHA256) {
	case "old":
		p.write(opCopy, binary.AppendUvarint(arg, uint64(p.byContent[f.SHA256])))
		p.stats.Copied++
	case "carried":
		p.write(opRepeat, binary.AppendUvarint(arg, uint64(p.carriedBy[f.SHA256])))
		p.stats.Repeated++
	default:
		p.write(opAdd, binary.AppendUvarint(arg, uint64(f.Size)))
		p.stats.Added++
		p.carry(j)
	}
}

func (p *planner) pathOf(f slipstream.File) []byte {
	same := 0
	for same < min(len(p.path), len(f.Path)) && p.path[same] == f.Path[same] {
		same++
	}
	p.path = f.Path
	out := binary.AppendUvarint(nil, uint64(same))
	out = binary.AppendUvarint(out, uint64(len(f.Path)-same))
	out = append(out, f.Path[same:]...)
	if f.Exec {
		return append(out, 1)
	}
	return append(out, 0)
}

func (p *planner) carry(j int) {
	p.carriedBy[p.new[j].SHA256] = len(p.carried)
	p.carried = append(p.carried, j)
	p.carriedSize += p.new[j].Size
}

func (p *planner) write(op byte, arg []byte) {
	if p.n > 0 && op != p.op {
		p.flush()
	}
	p.op = op
	p.n++
	p.pending = append(p.pending, arg...)
}

func (p *planner) flush() {
	if p.n > 0 {
		p.ops = append(binary.AppendUvarint(p.ops, p.n<<3|uint64(p.op)), p.pending...)
	}
	p.n, p.pending = 0, p.pending[:0]
}

// leaveOut gives the largest kept files until the rest is as small as wanted.
func leaveOut(old []slipstream.File, kept []bool) []int {
	var total int64
	var candidates []int
	for i, f := range old {
		total += f.Size
		if kept[i] {
			candidates = append(candidates, i)
		}
	}
	slices.SortStableFunc(candidates, func(a, b int) int { return cmp.Compare(old[b].Size, old[a].Size) })
	var left []int
	for _, i := range candidates {
		if total <= baseWanted {
			break
		}
		total -= old[i].Size
		left = append(left, i)
	}
	slices.Sort(left)
	return left
}
