package simfleet

import (
	"cmp"
	"crypto/sha256"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
	"unique"

	"github.com/slipstream-ota/slipstream/client"
)

// pool holds what is the same on many devices once. It never forgets: a fleet meets few different documents and files.
type pool struct {
	mu    sync.Mutex
	bytes map[[sha256.Size]byte][]byte
}

func newPool() *pool { return &pool{bytes: map[[sha256.Size]byte][]byte{}} }

// keep gives the fleet's copy of b, which nobody may write to.
func (p *pool) keep(b []byte) []byte {
	sum := sha256.Sum256(b)
	p.mu.Lock()
	defer p.mu.Unlock()
	shared, known := p.bytes[sum]
	if !known {
		shared = slices.Clip(slices.Clone(b))
		p.bytes[sum] = shared
	}
	return shared
}

// disk is the file system of one device, without time, links or rights. Names are absolute.
type disk struct {
	pool *pool
	mu   sync.Mutex
	root node
}

var (
	_ client.FS    = (*disk)(nil)
	_ client.Locks = (*disk)(nil)
)

// node is a file or a folder; a folder's entries are in order of their names.
type node struct {
	name    unique.Handle[string]
	data    []byte
	entries []*node
	folder  bool
	shared  bool // data is the pool's
	locked  bool
}

func newDisk(p *pool) *disk { return &disk{pool: p, root: node{folder: true}} }

func (n *node) child(name string) (int, *node) {
	i, found := slices.BinarySearchFunc(n.entries, name, func(c *node, name string) int { return cmp.Compare(c.name.Value(), name) })
	if !found {
		return i, nil
	}
	return i, n.entries[i]
}

func (n *node) add(name string, c *node) *node {
	i, _ := n.child(name)
	c.name = unique.Make(name)
	n.entries = slices.Insert(n.entries, i, c)
	return c
}

func (n *node) drop(name string) {
	if i, c := n.child(name); c != nil {
		n.entries = slices.Delete(n.entries, i, i+1)
	}
}

// walk gives a node and the folder that it is in. The node is nil when only the folder is there.
func (d *disk) walk(name string) (folder, n *node, last string, err error) {
	rest := filepath.ToSlash(name[len(filepath.VolumeName(name)):])
	n = &d.root
	for rest = strings.TrimLeft(rest, "/"); rest != ""; rest = strings.TrimLeft(rest, "/") {
		switch {
		case n == nil:
			return nil, nil, "", syscall.ENOENT
		case !n.folder:
			return nil, nil, "", syscall.ENOTDIR
		}
		last, rest, _ = strings.Cut(rest, "/")
		folder = n
		_, n = folder.child(last)
	}
	return folder, n, last, nil
}

func failed(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// Open opens a file or a folder for reading.
func (d *disk) Open(name string) (client.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, n, _, err := d.walk(name)
	if err == nil && n == nil {
		err = syscall.ENOENT
	}
	if err != nil {
		return nil, failed("open", name, err)
	}
	return &file{disk: d, node: n, data: n.data}, nil
}

// Create opens a file for writing and empties it.
func (d *disk) Create(name string, _ fs.FileMode) (client.File, error) {
	return d.writer(name, func(n *node) { n.data, n.shared = nil, false })
}

// Append opens a file for writing at its end.
func (d *disk) Append(name string) (client.File, error) { return d.writer(name, func(*node) {}) }

func (d *disk) writer(name string, prepare func(*node)) (client.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	folder, n, last, err := d.walk(name)
	switch {
	case err == nil && folder == nil, n != nil && n.folder:
		err = syscall.EISDIR
	case err == nil && n == nil:
		n = folder.add(last, &node{})
	}
	if err != nil {
		return nil, failed("open", name, err)
	}
	prepare(n)
	return &file{disk: d, node: n, writes: true, same: sameEverywhere(last)}, nil
}

// sameEverywhere reports whether other devices are likely to have a file of this name with the same bytes: all but what
// a device knows of itself.
func sameEverywhere(name string) bool {
	return !strings.HasPrefix(name, "state.") && !strings.HasPrefix(name, "device.json")
}

// Rename replaces a file, or moves a folder to where nothing is.
func (d *disk) Rename(oldName, newName string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	from, n, last, err := d.walk(oldName)
	if err == nil && n == nil {
		err = syscall.ENOENT
	}
	if err != nil {
		return failed("rename", oldName, err)
	}
	to, there, name, err := d.walk(newName)
	switch {
	case err == nil && (to == nil || there != nil && (n.folder || there.folder)):
		err = syscall.EEXIST
	case err == nil && there == n:
		return nil
	}
	if err != nil {
		return failed("rename", newName, err)
	}
	from.drop(last)
	to.drop(name)
	to.add(name, n)
	return nil
}

// Remove removes a file or an empty folder.
func (d *disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	folder, n, last, err := d.walk(name)
	switch {
	case err == nil && (n == nil || folder == nil):
		err = syscall.ENOENT
	case err == nil && len(n.entries) > 0:
		err = syscall.ENOTEMPTY
	}
	if err != nil {
		return failed("remove", name, err)
	}
	folder.drop(last)
	return nil
}

// MkdirAll makes a folder and those above it.
func (d *disk) MkdirAll(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := &d.root
	for part := range strings.SplitSeq(filepath.ToSlash(name[len(filepath.VolumeName(name)):]), "/") {
		if part == "" {
			continue
		}
		_, next := n.child(part)
		if next == nil {
			next = n.add(part, &node{folder: true})
		}
		if n = next; !n.folder {
			return failed("mkdir", name, syscall.ENOTDIR)
		}
	}
	return nil
}

// ReadDir lists a folder by name.
func (d *disk) ReadDir(name string) ([]fs.DirEntry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, n, _, err := d.walk(name)
	switch {
	case err == nil && n == nil:
		err = syscall.ENOENT
	case err == nil && !n.folder:
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, failed("readdir", name, err)
	}
	out := make([]fs.DirEntry, len(n.entries))
	for i, c := range n.entries {
		out[i] = entry{name: c.name.Value(), size: int64(len(c.data)), folder: c.folder}
	}
	return out, nil
}

// SyncDir has nothing to do: the power does not fail here.
func (d *disk) SyncDir(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, n, _, err := d.walk(name)
	if err == nil && n == nil {
		err = syscall.ENOENT
	}
	return failed("sync", name, err)
}

// TryLock makes and locks a file.
func (d *disk) TryLock(name string) (io.Closer, error) {
	f, err := d.Append(name)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	n := f.(*file).node
	if n.locked {
		return nil, client.ErrLocked
	}
	n.locked = true
	return unlock(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		n.locked = false
	}), nil
}

type unlock func()

func (u unlock) Close() error {
	u()
	return nil
}

// file is one open file. What it reads is what was there when it was opened.
type file struct {
	disk         *disk
	node         *node
	data         []byte
	writes, same bool
}

func (f *file) Read(p []byte) (int, error) {
	if f.node.folder {
		return 0, syscall.EISDIR
	}
	if len(f.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, f.data)
	f.data = f.data[n:]
	return n, nil
}

func (f *file) Write(p []byte) (int, error) {
	if !f.writes {
		return 0, syscall.EBADF
	}
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.node.shared {
		f.node.data, f.node.shared = slices.Clone(f.node.data), false
	}
	f.node.data = append(f.node.data, p...)
	return len(p), nil
}

func (f *file) Size() (int64, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	return int64(len(f.node.data)), nil
}

func (*file) Sync() error { return nil }

// Close gives back the room that was not used, and whole files that others have too.
func (f *file) Close() error {
	if !f.writes {
		return nil
	}
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.same && len(f.node.data) > 0 {
		f.node.data, f.node.shared = f.disk.pool.keep(f.node.data), true
	} else if cap(f.node.data) > len(f.node.data) {
		f.node.data = append(make([]byte, 0, len(f.node.data)), f.node.data...)
	}
	return nil
}

// entry is one line of a listing.
type entry struct {
	name   string
	size   int64
	folder bool
}

func (e entry) Name() string               { return e.name }
func (e entry) IsDir() bool                { return e.folder }
func (e entry) Info() (fs.FileInfo, error) { return e, nil }
func (e entry) Type() fs.FileMode          { return e.Mode().Type() }
func (e entry) Size() int64                { return e.size }
func (e entry) ModTime() time.Time         { return time.Time{} }
func (e entry) Sys() any                   { return nil }

func (e entry) Mode() fs.FileMode {
	if e.folder {
		return fs.ModeDir | 0o755
	}
	return 0o600
}

// shipped are the files of a release that comes with the app; all devices share them.
type shipped map[string][]byte

// Open opens a file.
func (s shipped) Open(name string) (fs.File, error) {
	data, ok := s[name]
	if !ok {
		return nil, failed("open", name, fs.ErrNotExist)
	}
	return &shippedFile{entry: entry{name: path.Base(name), size: int64(len(data))}, data: data}, nil
}

type shippedFile struct {
	entry
	data []byte
}

func (f *shippedFile) Stat() (fs.FileInfo, error) { return f.entry, nil }

func (f *shippedFile) Read(p []byte) (int, error) {
	if len(f.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, f.data)
	f.data = f.data[n:]
	return n, nil
}

func (f *shippedFile) Close() error { return nil }
