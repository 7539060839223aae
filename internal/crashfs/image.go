package crashfs

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

// Bounds say how many images are made of one prefix. When all legal ones are at most Exhaustive they are all made, else:
// all prefixes of the operations, each single omission and each single survivor, each content of each file, and Random
// ones drawn with Seed. Recent, when it is not 0, is how many of the last operations are omitted or survive singly. With
// Fresh only those are made that the last operation made possible.
type Bounds struct {
	Exhaustive int
	Random     int
	Recent     int
	Seed       uint64
	Fresh      bool
}

// Image is a disk as a power cut leaves it. Equal disks have equal sums.
type Image struct {
	Sum   [32]byte
	nodes map[int]*stable
	at    int
	lost  []fmt.Stringer // what is not on it although it was done
}

// Lost says for people what is not on the disk although it was done.
func (i *Image) Lost() string {
	words := make([]string, 0, len(i.lost))
	for _, l := range i.lost {
		words = append(words, l.String())
	}
	return fmt.Sprintf("after %d operations, lost: %s", i.at, strings.Join(words, "; "))
}

// damage is a file whose content is not the intended one.
type damage struct{ node, has, want int }

func (d damage) String() string {
	return fmt.Sprintf("content of node %d (%d of %d bytes)", d.node, d.has, d.want)
}

// FS opens the image as a file system of its own, which writes nothing down until Record.
func (i *Image) FS() *FS {
	f := &FS{nodes: map[int]*node{}, locks: map[int]bool{}}
	for id, n := range i.nodes {
		c := &node{perm: n.perm, entries: maps.Clone(n.entries)}
		if n.entries == nil {
			c.data, c.shared = n.data.bytes, true
		}
		f.nodes[id] = c
		f.next = max(f.next, id+1)
	}
	return f
}

// Whole is the disk without any loss: what a killed process leaves behind.
func (c *Cursor) Whole() *Image {
	m := c.maker(Bounds{})
	return m.image(m.all(true), nil)
}

// Images gives the disks that a power cut at this prefix can leave, each once.
func (c *Cursor) Images(b Bounds) iter.Seq[*Image] {
	return func(yield func(*Image) bool) {
		m := c.maker(b)
		m.yield = yield
		if n := m.count(b.Exhaustive); n <= b.Exhaustive {
			m.everything(0, make([]bool, len(c.names)))
			return
		}
		m.sample(b)
	}
}

// Lacking gives disks that lack something which the sync at place, that was skipped, would have made durable: all of it,
// each single name and what rests on it, all names from one on, and each other content of the file. Everything else is
// there.
func (c *Cursor) Lacking(place int) iter.Seq[*Image] {
	return func(yield func(*Image) bool) {
		m := c.maker(Bounds{})
		m.yield = yield
		sync := c.trace.Ops[place]
		if u := c.pending[sync.Node]; u != nil && sync.Kind == Sync {
			for v := 1; v < len(u.variants()); v++ {
				m.emit(m.all(true), map[int]int{sync.Node: v})
			}
			return
		}
		none := m.all(true)
		for i, op := range m.names {
			if op.place > place || sync.Kind != SyncDir || !op.in(sync.Node) {
				continue
			}
			none[i] = false
			without, prefix := m.all(true), m.all(true)
			without[i] = false
			for j := i; j < len(prefix); j++ {
				prefix[j] = false
			}
			m.emit(without, nil)
			m.emit(prefix, nil)
		}
		m.emit(none, nil)
	}
}

// maker makes the images of one prefix.
type maker struct {
	*Cursor
	files []int // with unsynced contents
	must  int   // index of the name operation that has to be in force, -1 for none
	seen  map[[32]byte]bool
	yield func(*Image) bool
	done  bool
}

func (c *Cursor) maker(b Bounds) *maker {
	m := &maker{Cursor: c, files: slices.Sorted(maps.Keys(c.pending)), must: -1, seen: map[[32]byte]bool{}}
	if b.Fresh && c.at > 0 && c.trace.Ops[c.at-1].names() {
		m.must = len(c.names) - 1
	}
	return m
}

func (m *maker) all(v bool) []bool {
	out := make([]bool, len(m.names))
	for i := range out {
		out[i] = v
	}
	return out
}

// count is how many images there are, or something above limit.
func (m *maker) count(limit int) int {
	n := 1
	for _, id := range m.files {
		if n *= len(m.pending[id].variants()); n > limit {
			return n
		}
	}
	if len(m.names) > 20 {
		return limit + 1
	}
	subsets := 0
	m.subsets(0, make([]bool, len(m.names)), func([]bool) bool {
		subsets++
		return subsets*n <= limit
	})
	return subsets * n
}

// subsets visits every legal choice of name operations until visit says no.
func (m *maker) subsets(i int, take []bool, visit func([]bool) bool) bool {
	if i == len(m.names) {
		return m.must >= 0 && !take[m.must] || visit(take)
	}
	if m.model == Reordered || i == 0 || take[i-1] {
		legal := true
		for j := range i {
			legal = legal && (take[j] || !m.names[j].touches(m.names[i].Op))
		}
		if take[i] = true; legal && !m.subsets(i+1, take, visit) {
			return false
		}
	}
	take[i] = false
	return m.subsets(i+1, take, visit)
}

func (m *maker) everything(from int, take []bool) {
	choice := map[int]int{}
	var fill func(i int) bool
	fill = func(i int) bool {
		if i == len(m.files) {
			return m.emit(take, choice)
		}
		for v := range m.pending[m.files[i]].variants() {
			if choice[m.files[i]] = v; !fill(i + 1) {
				return false
			}
		}
		return true
	}
	m.subsets(from, take, func([]bool) bool { return fill(0) })
}

// sample makes the images that are likely to show something first.
func (m *maker) sample(b Bounds) {
	old := map[int]int{}
	for _, id := range m.files {
		if len(m.pending[id].variants()) > 1 {
			old[id] = 1
		}
	}
	n := len(m.names)
	m.emit(m.all(true), nil)
	m.emit(m.all(true), old)
	m.emit(m.all(false), nil)
	files := m.files
	if b.Fresh && m.at > 0 {
		files = slices.DeleteFunc(slices.Clone(files), func(id int) bool { return id != m.trace.Ops[m.at-1].Node })
	}
	oldest := 0
	if b.Recent > 0 {
		oldest = max(0, n-b.Recent)
	}
	for i := n - 1; i >= oldest && !m.done && !(b.Fresh && m.must < 0); i-- {
		prefix, without, alone := m.all(false), m.all(true), m.all(false)
		for j := range i {
			prefix[j] = true
		}
		without[i], alone[i] = false, true
		m.emit(prefix, nil)
		if m.model == Reordered {
			m.emit(without, nil)
			m.emit(alone, nil)
			m.emit(alone, old)
		}
	}
	for _, id := range files {
		for v := range m.pending[id].variants() {
			m.emit(m.all(true), map[int]int{id: v})
		}
	}
	random := rand.New(rand.NewPCG(b.Seed, uint64(m.at)))
	for range b.Random {
		take, choice := m.all(false), map[int]int{}
		dense := 1 + random.IntN(7)
		for i := range take {
			take[i] = random.IntN(8) < dense
		}
		if m.model == Journaled && n > 0 {
			cut := random.IntN(n + 1)
			for i := range take {
				take[i] = i < cut
			}
		}
		for _, id := range m.files {
			choice[id] = random.IntN(len(m.pending[id].variants()))
		}
		m.emit(take, choice)
	}
}

// emit hands on one image unless it was there before. It reports whether to go on.
func (m *maker) emit(choose []bool, choice map[int]int) bool {
	if m.done {
		return false
	}
	take := slices.Clone(choose)
	if m.must >= 0 {
		take[m.must] = true
		m.complete(take)
		if m.model == Journaled {
			take = m.all(true)
		}
	}
	m.prune(take)
	img := m.image(take, choice)
	if m.seen[img.Sum] {
		return true
	}
	m.seen[img.Sum] = true
	m.done = !m.yield(img)
	return !m.done
}

// image makes the disk with the chosen names and contents; contents that are not chosen are as intended.
func (m *maker) image(take []bool, choice map[int]int) *Image {
	nodes := maps.Clone(m.nodes)
	img := &Image{nodes: map[int]*stable{}, at: m.at}
	for _, id := range m.files {
		n := *nodes[id]
		n.data = m.pending[id].variants()[choice[id]]
		nodes[id] = &n
		if choice[id] > 0 {
			img.lost = append(img.lost, damage{node: id, has: len(n.data.bytes), want: len(m.pending[id].final().bytes)})
		}
	}
	for i, op := range m.names {
		if take[i] {
			apply(nodes, op.Op)
		} else {
			img.lost = append(img.lost, op.Op)
		}
	}
	img.Sum = img.reach(nodes, rootNode)
	return img
}

// reach copies what can be reached from a node, and gives the sum of it.
func (i *Image) reach(nodes map[int]*stable, id int) [32]byte {
	n := nodes[id]
	i.nodes[id] = n
	if n.entries == nil {
		return n.data.hash()
	}
	var b []byte
	for _, name := range slices.Sorted(maps.Keys(n.entries)) {
		child := n.entries[name]
		sum := i.reach(nodes, child)
		kind := byte('f')
		if nodes[child].entries != nil {
			kind = 'd'
		}
		b = append(b, kind)
		b = binary.AppendUvarint(b, uint64(len(name)))
		b = append(append(b, name...), sum[:]...)
	}
	return sha256.Sum256(b)
}
