package delta

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta/hermes"
	"github.com/slipstream-ota/slipstream/publish/delta/patch"
)

// rewrite is a carried file whose bytecode is rewritten against a file of the base.
type rewrite struct {
	carried int // index among the carried files
	old     int // index among the files of the base
}

// tablesAtLeast is what rewriting leaves of the memory of a codec for the tables of the profile rich.
const tablesAtLeast = 8 << 20

// mostMemory is the memory of the codec for bytecode that has the most. What takes more is not rewritten for any.
const mostMemory = 64 << 20

// footerSize is how many bytes at the end of a file of bytecode are the SHA-1 of all before.
const footerSize = 20

// space counts the memory that the reader needs to undo rewrites, in bytes: for every old file its rewritten form and its
// strings, and for one carried file at a time itself, its strings and its literals. It is part of the format: writer and
// reader add it to the tables and compare the sum with the memory of the codec.
type space struct {
	old, carried  []slipstream.File
	held, largest int64
	seen          map[int]bool
}

// with gives the memory with one more rewrite, which take counts in.
func (s *space) with(r rewrite) int64 {
	held := s.held
	if !s.seen[r.old] {
		held += s.old[r.old].Size * 3 / 2
	}
	return held + max(s.largest, s.carried[r.carried].Size*5/2)
}

func (s *space) take(r rewrite) {
	if !s.seen[r.old] {
		s.held += s.old[r.old].Size * 3 / 2
	}
	s.seen[r.old] = true
	s.largest = max(s.largest, s.carried[r.carried].Size*5/2)
}

func workspace(rewrites []rewrite, old, carried []slipstream.File) int64 {
	s := &space{old: old, carried: carried, seen: map[int]bool{}}
	for _, r := range rewrites {
		s.take(r)
	}
	return s.held + s.largest
}

// rewriter knows the bytecode of two releases: of every carried file that is bytecode, the file of the base that it is
// rewritten against, and what both become.
type rewriter struct {
	old, carried []slipstream.File
	pairs        []rewrite
	bases        map[int][]byte // rewritten forms, by index
	targets      map[int][]byte
}

// bytecode finds what can be rewritten. The file of the base is the one of the same path, else, among those of the same
// file name extension, the one whose size is nearest. base and target are the contents one behind the other.
func bytecode(ctx context.Context, old, carried []slipstream.File, base, target []byte) (*rewriter, error) {
	w := &rewriter{old: old, carried: carried, bases: map[int][]byte{}, targets: map[int][]byte{}}
	oldAt, newAt := starts(old), starts(carried)
	var known []int
	for i, f := range old {
		if _, ok := hermes.Known(base[oldAt[i]:oldAt[i+1]]); ok && f.Size <= hermes.MaxFile {
			known = append(known, i)
		}
	}
	opened := map[int]*hermes.Old{}
	for k, f := range carried {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		content := target[newAt[k]:newAt[k+1]]
		if _, ok := hermes.Known(content); !ok || len(known) == 0 {
			continue
		}
		i := nearest(f, old, known)
		if (&space{old: old, carried: carried}).with(rewrite{k, i}) > mostMemory {
			continue
		}
		o := opened[i]
		if o == nil {
			var ok bool
			if o, ok = hermes.Open(slices.Clone(base[oldAt[i]:oldAt[i+1]])); !ok {
				continue
			}
			opened[i] = o
		}
		if rewritten, ok := o.Rewrite(content); ok {
			w.pairs = append(w.pairs, rewrite{k, i})
			w.bases[i], w.targets[k] = o.Base(), rewritten
		}
	}
	return w, nil
}

// size is that of all bytecode, old and new, that a reader rewrites.
func (w *rewriter) size(rewrites []rewrite) (n int64) {
	seen := map[int]bool{}
	for _, r := range rewrites {
		n += w.carried[r.carried].Size
		if !seen[r.old] {
			n += w.old[r.old].Size
		}
		seen[r.old] = true
	}
	return n
}

func starts(files []slipstream.File) []int64 {
	out := make([]int64, len(files)+1)
	for i, f := range files {
		out[i+1] = out[i] + f.Size
	}
	return out
}

func nearest(f slipstream.File, old []slipstream.File, known []int) int {
	far := func(i int) int64 { return max(old[i].Size-f.Size, f.Size-old[i].Size) }
	extension := func(name string) string { return name[strings.LastIndexByte(name, '.')+1:] }
	return slices.MinFunc(known, func(a, b int) int {
		rank := func(i int) int {
			switch {
			case old[i].Path == f.Path:
				return 0
			case extension(old[i].Path) == extension(f.Path):
				return 1
			}
			return 2
		}
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(far(a), far(b)))
	})
}

// within gives the rewrites that a reader of patches of o can undo, in their order.
func (w *rewriter) within(o patch.Options) []rewrite {
	tables := int64(tablesAtLeast)
	if o.Profile == patch.ProfileSimple {
		tables = 1 // of its memory something must be left
	}
	var out []rewrite
	s := &space{old: w.old, carried: w.carried, seen: map[int]bool{}}
	for _, r := range w.pairs {
		if s.with(r)+tables <= int64(o.Memory) {
			s.take(r)
			out = append(out, r)
		}
	}
	return out
}

// apply gives base and target with the rewritten forms in them. In simple patches the footer of a carried file stands as it
// is: a reader that interprets its program would compute it for longer than the rest takes.
func (w *rewriter) apply(rewrites []rewrite, base, target []byte, profile string) ([]byte, []byte) {
	footers := target
	base, target = slices.Clone(base), slices.Clone(target)
	oldAt, newAt := starts(w.old), starts(w.carried)
	for _, r := range rewrites {
		copy(base[oldAt[r.old]:], w.bases[r.old])
		copy(target[newAt[r.carried]:], w.targets[r.carried])
		if end := newAt[r.carried+1]; profile == patch.ProfileSimple {
			copy(target[end-footerSize:end], footers[end-footerSize:])
		}
	}
	return base, target
}

// encodeRewrites writes the list that stands in front of the patch.
func encodeRewrites(rewrites []rewrite) []byte {
	out := binary.AppendUvarint(nil, uint64(len(rewrites)))
	next := 0
	for _, r := range rewrites {
		out = binary.AppendUvarint(out, uint64(r.carried-next))
		out = binary.AppendUvarint(out, uint64(r.old))
		next = r.carried + 1
	}
	return out
}

// decodeRewrites reads the list. Every number is checked against the two signed lists.
func decodeRewrites(in *bufio.Reader, old, carried []slipstream.File) ([]rewrite, error) {
	n, err := binary.ReadUvarint(in)
	if err != nil {
		return nil, damaged(err, "read rewritten files")
	}
	if n == 0 || n > uint64(len(carried)) {
		return nil, invalid("%d files are rewritten of %d", n, len(carried))
	}
	out := make([]rewrite, 0, n)
	next := 0
	for range n {
		skip, err := binary.ReadUvarint(in)
		if err != nil {
			return nil, damaged(err, "read rewritten files")
		}
		i, err := binary.ReadUvarint(in)
		if err != nil {
			return nil, damaged(err, "read rewritten files")
		}
		if next >= len(carried) || skip >= uint64(len(carried)-next) || i >= uint64(len(old)) {
			return nil, invalid("a file is rewritten that is not there")
		}
		r := rewrite{next + int(skip), int(i)}
		if old[r.old].Size > hermes.MaxFile || carried[r.carried].Size > hermes.MaxFile {
			return nil, invalid("%q is too large to be rewritten", carried[r.carried].Path)
		}
		out = append(out, r)
		next = r.carried + 1
	}
	return out, nil
}

// undo is what a reader holds of the rewrites.
type undo struct {
	rewrites []rewrite
	bases    *hermes.Bases
}

// openUndo reads the old files that others were rewritten against, and gives the memory that is left for tables.
func openUndo(ctx context.Context, in *bufio.Reader, old, carried []slipstream.File, base Base, memory int, scratch func() (hermes.Scratch, error)) (*undo, int, error) {
	rewrites, err := decodeRewrites(in, old, carried)
	if err != nil {
		return nil, 0, err
	}
	need := workspace(rewrites, old, carried)
	if need >= int64(memory) {
		return nil, 0, invalid("it needs %d bytes for bytecode, allowed are %d with the tables", need, memory)
	}
	size, largest, seen := int64(0), int64(0), map[int]bool{}
	for _, r := range rewrites {
		largest = max(largest, carried[r.carried].Size)
		if !seen[r.old] {
			seen[r.old] = true
			size += old[r.old].Size
		}
	}
	bases, err := hermes.NewBases(ctx, size+largest, scratch)
	if err != nil {
		return nil, 0, err
	}
	bases.Footers = true // every file is compared
	for _, r := range rewrites {
		if bases.Has(r.old) {
			continue
		}
		err := openBase(bases, r.old, base, old[r.old])
		if errors.Is(err, hermes.ErrUnknown) {
			err = invalid("%q is rewritten against %q, which is no bytecode that is known", carried[r.carried].Path, old[r.old].Path)
		}
		if err != nil {
			return nil, 0, err
		}
	}
	return &undo{rewrites: rewrites, bases: bases}, memory - int(need), nil
}

func openBase(bases *hermes.Bases, number int, base Base, f slipstream.File) error {
	c, err := base(f)
	if err != nil {
		return fmt.Errorf("open %s of the base: %w", f.Path, err)
	}
	if err := errors.Join(bases.Open(number, c, f.Size), c.Close()); err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	return nil
}

// of begins the carried file that is restored, and gives nil when it is as it is.
func (u *undo) of(carried int, size int64) hermes.Restoring {
	if u == nil || len(u.rewrites) == 0 || u.rewrites[0].carried != carried {
		return nil
	}
	old := u.rewrites[0].old
	u.rewrites = u.rewrites[1:]
	return u.bases.Begin(old, size)
}

// base gives the rewritten form of an old file, nil when it is as it is.
func (u *undo) base(old int) io.ReaderAt {
	if u == nil || !u.bases.Has(old) {
		return nil
	}
	return u.bases.Form(old)
}

// maker makes containers of one pair of releases. Searches and patches that several codecs share are done once.
type maker struct {
	o            DeltaOptions
	old, new     *slipstream.Manifest
	carried      []slipstream.File
	base, target []byte
	plain        *patch.Pair
	made         map[kind]Delta // patches without rewriting
	code         *rewriter
}

func (m *maker) diff(ctx context.Context, p *patch.Pair, po patch.Options, codec string, head []byte) (Delta, error) {
	po.MaxDecisions, po.Workers, po.Progress, po.Compressors = m.o.MaxDecisions, m.o.Workers, m.o.Progress, m.o.Compressors
	body, stats, err := p.Diff(ctx, po)
	if err != nil {
		return Delta{}, fmt.Errorf("make %s: %w", codec, err)
	}
	return Delta{Codec: codec, Container: append(head, body...), Stats: stats}, nil
}

// patched makes a container without rewritten files.
func (m *maker) patched(ctx context.Context, codec string, po patch.Options) (Delta, error) {
	kind := kindOf(po)
	if d, ok := m.made[kind]; ok {
		d.Codec = codec
		return d, nil
	}
	if m.plain == nil {
		var err error
		if m.plain, err = patch.Match(ctx, m.base, m.target); err != nil {
			return Delta{}, err
		}
	}
	d, err := m.diff(ctx, m.plain, po, codec, patchHeader(codecPatch, m.old.Files, m.new.Files))
	if err == nil {
		m.made[kind] = d
	}
	return d, err
}

// rewritten makes the container of a codec that rewrites bytecode, or gives false when there is none that is worth it.
func (m *maker) rewritten(ctx context.Context, codec string, po patch.Options, codecs []string) (Delta, bool, error) {
	if m.code == nil {
		var err error
		if m.code, err = bytecode(ctx, m.old.Files, m.carried, m.base, m.target); err != nil {
			return Delta{}, false, err
		}
	}
	pairs := m.code.within(po)
	plain := false // there is a codec without rewriting that asks for no more
	for _, c := range codecs {
		o, _ := optionsOf(c)
		if o.Profile != po.Profile || !slices.Equal(o.Streams, po.Streams) {
			continue
		}
		switch { // of two that rewrite the same files the one with less memory is enough
		case !rewrites(c):
			plain = plain || c != CodecRichJS && (o.Memory == po.Memory || o.Profile == patch.ProfileSimple)
		case o.Memory < po.Memory && slices.Equal(pairs, m.code.within(o)):
			return Delta{}, false, nil
		}
	}
	if len(pairs) == 0 && plain {
		return Delta{}, false, nil
	}
	d, err := m.patched(ctx, codec, po)
	if err != nil || len(pairs) == 0 {
		return d, err == nil, err
	}
	size := m.code.size(pairs)
	if !hermes.Worth(int64(len(d.Container)), size) { // however little is left
		return d, !plain, nil
	}
	base, target := m.code.apply(pairs, m.base, m.target, po.Profile)
	p, err := patch.Match(ctx, base, target)
	if err != nil {
		return Delta{}, false, err
	}
	if po.Profile != patch.ProfileSimple {
		po.Memory -= int(workspace(pairs, m.old.Files, m.carried))
	}
	head := append(patchHeader(codecRewritten, m.old.Files, m.new.Files), encodeRewrites(pairs)...)
	r, err := m.diff(ctx, p, po, codec, head)
	if err == nil && hermes.Worth(int64(len(d.Container)-len(r.Container)), size) {
		return r, true, nil
	}
	return d, !plain, err
}

// kind says which patches are the same whatever codec they are for.
type kind struct {
	memory int
	stream string
}

func kindOf(o patch.Options) kind {
	if o.Profile == patch.ProfileSimple {
		return kind{stream: o.Streams[0]}
	}
	return kind{memory: o.Memory}
}
