package crashfs

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
)

// Kind is what an operation does.
type Kind string

// The kinds of operations.
const (
	Create   Kind = "create"
	Mkdir    Kind = "mkdir"
	Rename   Kind = "rename"
	Remove   Kind = "remove"
	Write    Kind = "write"
	Truncate Kind = "truncate" // to nothing
	Sync     Kind = "fsync"
	SyncDir  Kind = "fsync of a directory"
	Settle   Kind = "settle" // everything was written back
)

// Op is one operation. Node is the file or directory that is made, renamed, removed, written or synced; Dir and Name are
// where its name is, ToDir and ToName where it goes.
type Op struct {
	Kind         Kind
	Node         int
	Dir, ToDir   int
	Name, ToName string
	At           int
	Data         []byte
	Perm         fs.FileMode
	Stack        []uintptr // of who called a sync
}

func (o Op) String() string {
	switch o.Kind {
	case Rename:
		return fmt.Sprintf("rename %s to %s", o.Name, o.ToName)
	case Create, Mkdir, Remove:
		return fmt.Sprintf("%s %s", o.Kind, o.Name)
	case Write:
		return fmt.Sprintf("write %d bytes at %d of node %d", len(o.Data), o.At, o.Node)
	}
	return fmt.Sprintf("%s of node %d", o.Kind, o.Node)
}

func (o Op) names() bool {
	return o.Kind == Create || o.Kind == Mkdir || o.Kind == Rename || o.Kind == Remove
}

// touches reports whether the operations concern a name in common.
func (o Op) touches(p Op) bool {
	return o.on(p.Dir, p.Name) || p.Kind == Rename && o.on(p.ToDir, p.ToName)
}

func (o Op) on(dir int, name string) bool {
	return o.Dir == dir && o.Name == name || o.Kind == Rename && o.ToDir == dir && o.ToName == name
}

func (o Op) in(dir int) bool { return o.Dir == dir || o.Kind == Rename && o.ToDir == dir }

// Trace is what was done to a file system, from a durable beginning.
type Trace struct {
	base map[int]*stable
	Ops  []Op
}

// stable is the durable part of a node. It is never changed once another holds it.
type stable struct {
	perm    fs.FileMode
	data    *content
	entries map[string]int // nil for a file
}

// Model is what a file system promises about names.
type Model int

// The models.
const (
	Reordered Model = iota // only what was synced, and the order of operations on one name
	Journaled              // names are a prefix of what was done; every sync makes all names before it durable
)

// named is an operation on names and its place in the trace.
type named struct {
	Op
	place int
}

// Cursor stands at a prefix of a trace and knows what is durable there and what is not.
type Cursor struct {
	trace   *Trace
	model   Model
	at      int
	nodes   map[int]*stable
	names   []named           // not durable, in order
	pending map[int]*unsynced // contents that are not durable
}

// NewCursor stands before the first operation.
func NewCursor(t *Trace, m Model) *Cursor {
	c := &Cursor{trace: t, model: m, nodes: maps.Clone(t.base), pending: map[int]*unsynced{}}
	return c
}

// At is how many operations the cursor has passed.
func (c *Cursor) At() int { return c.at }

// Clone is a second cursor at the same place.
func (c *Cursor) Clone() *Cursor {
	d := *c
	d.nodes, d.names, d.pending = maps.Clone(c.nodes), slices.Clone(c.names), maps.Clone(c.pending)
	return &d
}

// Ahead is the operation that the cursor passes next.
func (c *Cursor) Ahead() (Op, bool) {
	if c.at >= len(c.trace.Ops) {
		return Op{}, false
	}
	return c.trace.Ops[c.at], true
}

// Skip passes the next operation as if it had been left out. Meant for syncs: a program does not see that one is
// missing.
func (c *Cursor) Skip() { c.at++ }

// Next passes the next operation. It reports false at the end.
func (c *Cursor) Next() bool {
	op, ok := c.Ahead()
	if !ok {
		return false
	}
	c.at++
	switch op.Kind {
	case Create:
		c.nodes[op.Node] = &stable{perm: op.Perm, data: &content{}}
		c.names = append(c.names, named{op, c.at - 1})
	case Mkdir:
		c.nodes[op.Node] = &stable{perm: op.Perm, entries: map[string]int{}}
		c.names = append(c.names, named{op, c.at - 1})
	case Rename, Remove:
		c.names = append(c.names, named{op, c.at - 1})
	case Write, Truncate:
		u := c.pending[op.Node]
		if u == nil {
			u = &unsynced{old: c.nodes[op.Node].data}
		}
		c.pending[op.Node] = u.with(op)
	case Sync:
		c.flushFile(op.Node)
		if c.model == Journaled {
			c.flushNames(func(Op) bool { return true })
		}
	case SyncDir:
		c.flushNames(func(o Op) bool { return c.model == Journaled || o.in(op.Node) })
	case Settle:
		for id := range c.pending {
			c.flushFile(id)
		}
		c.flushNames(func(Op) bool { return true })
	}
	return true
}

func (c *Cursor) flushFile(id int) {
	u := c.pending[id]
	if u == nil {
		return
	}
	delete(c.pending, id)
	n := *c.nodes[id]
	n.data = u.final()
	c.nodes[id] = &n
}

// flushNames makes the chosen operations durable, and those that they rest on.
func (c *Cursor) flushNames(chosen func(Op) bool) {
	take := make([]bool, len(c.names))
	for i, op := range c.names {
		take[i] = chosen(op.Op)
	}
	c.complete(take)
	var rest []named
	for i, op := range c.names {
		if take[i] {
			apply(c.nodes, op.Op)
		} else {
			rest = append(rest, op)
		}
	}
	c.names = rest
}

// complete adds to a choice of operations those that they rest on: earlier ones on the same names.
func (c *Cursor) complete(take []bool) {
	for i := len(take) - 1; i >= 0; i-- {
		if !take[i] {
			continue
		}
		for j := range i {
			if !take[j] && c.names[j].touches(c.names[i].Op) {
				take[j] = true
			}
		}
	}
}

// prune takes out of a choice what rests on an operation that was not chosen.
func (c *Cursor) prune(take []bool) {
	for i := range take {
		for j := 0; j < i && take[i]; j++ {
			if !take[j] && c.names[j].touches(c.names[i].Op) {
				take[i] = false
			}
		}
	}
}

// apply puts a name operation in force. Directories are copied first: others may hold them.
func apply(nodes map[int]*stable, op Op) {
	change := func(dir int, do func(map[string]int)) {
		n := *nodes[dir]
		n.entries = maps.Clone(n.entries)
		do(n.entries)
		nodes[dir] = &n
	}
	switch op.Kind {
	case Create, Mkdir:
		change(op.Dir, func(e map[string]int) { e[op.Name] = op.Node })
	case Remove:
		change(op.Dir, func(e map[string]int) { delete(e, op.Name) })
	case Rename:
		change(op.Dir, func(e map[string]int) { delete(e, op.Name) })
		change(op.ToDir, func(e map[string]int) { e[op.ToName] = op.Node })
	}
}

// Passed is the operation that the cursor passed last, of kind "" at the beginning.
func (c *Cursor) Passed() Op {
	if c.at == 0 {
		return Op{}
	}
	return c.trace.Ops[c.at-1]
}

// Syncs reports whether the operation only makes things durable.
func (o Op) Syncs() bool { return o.Kind == Sync || o.Kind == SyncDir || o.Kind == Settle }
