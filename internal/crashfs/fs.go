package crashfs

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/slipstream-ota/slipstream/client"
)

// FS is a file system in memory. Its names are absolute paths of the operating system; "/" is there from the start. It
// may be used by many goroutines.
type FS struct {
	mu      sync.Mutex
	nodes   map[int]*node
	next    int
	locks   map[int]bool // nodes that are locked
	trace   *Trace       // nil: nothing is written down
	fault   Fault
	counted int // operations that the fault could have hit
}

var (
	_ client.FS    = (*FS)(nil)
	_ client.Locks = (*FS)(nil)
)

const rootNode = 1

// node is a file or a directory. entries is nil for a file.
type node struct {
	perm    fs.FileMode
	data    []byte
	shared  bool // data belongs to somebody else as well
	entries map[string]int
}

// Fault makes operations fail: the one with number At, counted from 1, and with Sticky all that follow. A full disk
// (ENOSPC) hits only what needs room: creations, directories and writes, which then write half. Any other error hits
// every operation that changes anything.
type Fault struct {
	At     int
	Err    error
	Sticky bool
}

// New is an empty file system that writes down what is done to it.
func New() *FS {
	f := &FS{nodes: map[int]*node{rootNode: {entries: map[string]int{}}}, next: rootNode + 1, locks: map[int]bool{}}
	f.Record()
	return f
}

// Record begins a new trace from what is here now, which counts as durable.
func (f *FS) Record() {
	f.mu.Lock()
	defer f.mu.Unlock()
	base := map[int]*stable{}
	for id, n := range f.nodes {
		n.shared = true
		base[id] = &stable{perm: n.perm, data: &content{bytes: n.data}, entries: maps.Clone(n.entries)}
	}
	f.trace = &Trace{base: base}
}

// Trace gives what was done since Record, nil when nothing is written down.
func (f *FS) Trace() *Trace {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.trace == nil {
		return nil
	}
	return &Trace{base: f.trace.base, Ops: slices.Clip(f.trace.Ops)}
}

// Len is the number of operations written down so far.
func (f *FS) Len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.trace == nil {
		return 0
	}
	return len(f.trace.Ops)
}

// Settle says that so much time passes that the operating system has written everything back by itself.
func (f *FS) Settle() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log(Op{Kind: Settle})
}

// Fail arms a fault; the zero Fault disarms it. Counting begins anew.
func (f *FS) Fail(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.counted = fault, 0
}

// Counted is how many operations the armed fault could have hit so far.
func (f *FS) Counted() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counted
}

func (f *FS) log(op Op) {
	if f.trace == nil {
		return
	}
	if op.Kind == Sync || op.Kind == SyncDir {
		stack := make([]uintptr, 24)
		op.Stack = stack[:runtime.Callers(3, stack)]
	}
	f.trace.Ops = append(f.trace.Ops, op)
}

// broken says whether this operation meets the fault.
func (f *FS) broken(grows bool) error {
	if f.fault.Err == nil || errors.Is(f.fault.Err, syscall.ENOSPC) && !grows {
		return nil
	}
	f.counted++
	if f.counted == f.fault.At || f.fault.Sticky && f.counted > f.fault.At {
		return f.fault.Err
	}
	return nil
}

func split(name string) []string {
	name = filepath.ToSlash(filepath.Clean(name[len(filepath.VolumeName(name)):]))
	return strings.FieldsFunc(name, func(r rune) bool { return r == '/' })
}

// find walks to a node.
func (f *FS) find(name string) (int, *node, error) {
	id := rootNode
	for _, part := range split(name) {
		n := f.nodes[id]
		if n.entries == nil {
			return 0, nil, syscall.ENOTDIR
		}
		next, ok := n.entries[part]
		if !ok {
			return 0, nil, syscall.ENOENT
		}
		id = next
	}
	return id, f.nodes[id], nil
}

// parent walks to the directory that holds name, and gives the last part of it.
func (f *FS) parent(name string) (int, *node, string, error) {
	parts := split(name)
	if len(parts) == 0 {
		return 0, nil, "", syscall.EINVAL
	}
	id, n, err := f.find("/" + strings.Join(parts[:len(parts)-1], "/"))
	if err == nil && n.entries == nil {
		err = syscall.ENOTDIR
	}
	return id, n, parts[len(parts)-1], err
}

func failed(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// Open opens a file or a directory for reading.
func (f *FS) Open(name string) (client.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id, _, err := f.find(name)
	if err != nil {
		return nil, failed("open", name, err)
	}
	return &handle{fs: f, id: id, name: name}, nil
}

// Create opens a file for writing and empties it.
func (f *FS) Create(name string, perm fs.FileMode) (client.File, error) {
	return f.openForWriting(name, perm, true)
}

// Append opens a file for writing at its end.
func (f *FS) Append(name string) (client.File, error) { return f.openForWriting(name, 0o600, false) }

func (f *FS) openForWriting(name string, perm fs.FileMode, empty bool) (client.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.broken(true); err != nil {
		return nil, failed("open", name, err)
	}
	dir, parent, last, err := f.parent(name)
	if err != nil {
		return nil, failed("open", name, err)
	}
	id, there := parent.entries[last]
	switch {
	case !there:
		id = f.make(dir, parent, last, &node{perm: perm})
	case f.nodes[id].entries != nil:
		return nil, failed("open", name, syscall.EISDIR)
	case empty && len(f.nodes[id].data) > 0:
		f.nodes[id].data, f.nodes[id].shared = nil, false
		f.log(Op{Kind: Truncate, Node: id})
	}
	return &handle{fs: f, id: id, name: name, writes: true}, nil
}

func (f *FS) make(dir int, parent *node, last string, n *node) int {
	id := f.next
	f.next++
	f.nodes[id] = n
	parent.entries[last] = id
	kind := Create
	if n.entries != nil {
		kind = Mkdir
	}
	f.log(Op{Kind: kind, Node: id, Dir: dir, Name: last, Perm: n.perm})
	return id
}

// Rename replaces a file; a directory takes only a free name.
func (f *FS) Rename(oldName, newName string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	fail := func(err error) error { return failed("rename", newName, err) }
	if err := f.broken(false); err != nil {
		return fail(err)
	}
	fromDir, from, oldLast, err := f.parent(oldName)
	if err != nil {
		return fail(err)
	}
	id, there := from.entries[oldLast]
	if !there {
		return fail(syscall.ENOENT)
	}
	toDir, to, newLast, err := f.parent(newName)
	if err != nil {
		return fail(err)
	}
	if other, taken := to.entries[newLast]; taken {
		switch {
		case other == id:
			return nil
		case f.nodes[id].entries != nil:
			return fail(syscall.ENOTEMPTY)
		case f.nodes[other].entries != nil:
			return fail(syscall.EISDIR)
		}
	}
	delete(from.entries, oldLast)
	to.entries[newLast] = id
	f.log(Op{Kind: Rename, Node: id, Dir: fromDir, Name: oldLast, ToDir: toDir, ToName: newLast})
	return nil
}

// Remove removes a file or an empty directory.
func (f *FS) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.broken(false); err != nil {
		return failed("remove", name, err)
	}
	dir, parent, last, err := f.parent(name)
	if err != nil {
		return failed("remove", name, err)
	}
	id, there := parent.entries[last]
	if !there {
		return failed("remove", name, syscall.ENOENT)
	}
	if len(f.nodes[id].entries) > 0 {
		return failed("remove", name, syscall.ENOTEMPTY)
	}
	delete(parent.entries, last)
	f.log(Op{Kind: Remove, Node: id, Dir: dir, Name: last})
	return nil
}

// MkdirAll makes a directory and those above it.
func (f *FS) MkdirAll(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	id := rootNode
	for _, part := range split(name) {
		n := f.nodes[id]
		if n.entries == nil {
			return failed("mkdir", name, syscall.ENOTDIR)
		}
		next, there := n.entries[part]
		if !there {
			if err := f.broken(true); err != nil {
				return failed("mkdir", name, err)
			}
			next = f.make(id, n, part, &node{perm: 0o755, entries: map[string]int{}})
		}
		id = next
	}
	if f.nodes[id].entries == nil {
		return failed("mkdir", name, syscall.ENOTDIR)
	}
	return nil
}

// ReadDir lists a directory by name.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, n, err := f.find(name)
	if err == nil && n.entries == nil {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, failed("readdir", name, err)
	}
	var out []fs.DirEntry
	for _, last := range slices.Sorted(maps.Keys(n.entries)) {
		child := f.nodes[n.entries[last]]
		i := info{name: last, perm: child.perm, size: int64(len(child.data)), dir: child.entries != nil}
		out = append(out, fs.FileInfoToDirEntry(i))
	}
	return out, nil
}

// SyncDir makes the names in a directory durable.
func (f *FS) SyncDir(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.broken(false); err != nil {
		return failed("fsync", name, err)
	}
	id, n, err := f.find(name)
	if err == nil && n.entries == nil {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return failed("fsync", name, err)
	}
	f.log(Op{Kind: SyncDir, Node: id})
	return nil
}

// TryLock makes the file if needed and locks it. Nobody holds a lock after a power cut.
func (f *FS) TryLock(name string) (io.Closer, error) {
	h, err := f.Append(name)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	id := h.(*handle).id
	if f.locks[id] {
		return nil, failed("lock", name, client.ErrLocked)
	}
	f.locks[id] = true
	return &lock{fs: f, id: id}, nil
}

type lock struct {
	fs *FS
	id int
}

func (l *lock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	delete(l.fs.locks, l.id)
	return nil
}

// Kill ends the process that uses f: its locks are gone, everything else stays.
func (f *FS) Kill() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.locks)
}

type info struct {
	name string
	perm fs.FileMode
	size int64
	dir  bool
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.dir }
func (i info) Sys() any           { return nil }
func (i info) Mode() fs.FileMode {
	if i.dir {
		return i.perm | fs.ModeDir
	}
	return i.perm
}
