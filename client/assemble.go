package client

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"slices"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta"
	"github.com/slipstream-ota/slipstream/sign"
)

// tree is a release that is on the device: where its verified manifest says what is in it.
type tree struct {
	digest   slipstream.Digest
	manifest *slipstream.Manifest
	open     func(path string) (io.ReadCloser, error)
	at       func(path string) (delta.Content, error) // the same at random places; nil or an error where that cannot be
}

var errNoRandomAccess = errors.New("this file system reads from the beginning only")

// content is a file as a codec wants its base: at random places.
func content(f any, closer io.Closer, err error) (delta.Content, error) {
	if err != nil {
		return nil, err
	}
	r, ok := f.(io.ReaderAt)
	if !ok {
		return nil, errors.Join(errNoRandomAccess, closer.Close())
	}
	return struct {
		io.ReaderAt
		io.Closer
	}{r, closer}, nil
}

// base is what runs of pkg, as the base of a container; nil when it has no manifest.
func (c *Client) base(pkg string) *tree {
	c.mu.Lock()
	running := c.body.Trial.Running(c.env(), pkg)
	c.mu.Unlock()
	if !running.Embedded {
		return c.holding(running.Digest)
	}
	e := c.cfg.Embedded[pkg]
	m, digest, err := c.root.Manifest(e.Manifest)
	if err != nil || digest != running.Digest || e.Files == nil {
		return nil
	}
	return &tree{digest: digest, manifest: m, open: func(p string) (io.ReadCloser, error) { return e.Files.Open(p) },
		at: func(p string) (delta.Content, error) {
			f, err := e.Files.Open(p)
			return content(f, f, err)
		}}
}

// holding is a tree under releases by its digest alone, nil when its manifest is gone. The digest comes from the state,
// which only verified manifests enter, so no signature is asked for again: the key may have been rotated since.
func (c *Client) holding(digest slipstream.Digest) *tree {
	raw, err := c.disk.read(c.disk.manifestFile(digest), slipstream.MaxManifestBytes)
	if err != nil {
		return nil
	}
	e, err := sign.ParseEnvelope(raw, sign.TypeManifest, slipstream.MaxManifestBytes)
	if err != nil || sign.DigestOf(e.Payload) != digest {
		return nil
	}
	var m slipstream.Manifest
	if sign.Decode(e.Payload, &m) != nil {
		return nil
	}
	return c.held(digest, &m)
}

// held is a tree under releases.
func (c *Client) held(digest slipstream.Digest, m *slipstream.Manifest) *tree {
	dir := c.disk.tree(digest)
	open := func(p string) (File, error) { return c.disk.Open(filepath.Join(dir, filepath.FromSlash(p))) }
	return &tree{digest: digest, manifest: m,
		open: func(p string) (io.ReadCloser, error) { return open(p) },
		at: func(p string) (delta.Content, error) {
			f, err := open(p)
			return content(f, f, err)
		}}
}

// random reports whether the contents of a tree can be read at random places.
func (t *tree) random() bool {
	if t == nil || t.at == nil {
		return false
	}
	for _, f := range t.manifest.Files {
		c, err := t.at(f.Path)
		return err == nil && c.Close() == nil
	}
	return false
}

// intact reports whether the tree of w is on disk exactly as it was signed, and its manifest beside it.
func (c *Client) intact(w *wanted) bool {
	if !c.disk.exists(c.disk.tree(w.digest())) {
		return false
	}
	t := c.holding(w.digest())
	if t == nil {
		return false
	}
	if err := c.inspect(t, nil); err != nil {
		c.log.Warn("a release on disk is damaged", "release", w.digest().Short(), "error", err)
		return false
	}
	return true
}

// inspect reads a whole tree on disk and says what is not as it was signed. What is there beside is given to stray; nil
// lets it be.
func (c *Client) inspect(t *tree, stray func(name string, e fs.DirEntry) error) error {
	kinds := map[string]fs.FileMode{".": fs.ModeDir}
	for _, f := range t.manifest.Files {
		kinds[f.Path] = 0
		for parent := path.Dir(f.Path); kinds[parent] == 0; parent = path.Dir(parent) {
			kinds[parent] = fs.ModeDir
		}
	}
	if err := c.compare(c.disk.tree(t.digest), ".", kinds, stray); err != nil {
		return err
	}
	for _, f := range t.manifest.Files {
		if err := copyFile(io.Discard, t, f); err != nil {
			return err
		}
	}
	return nil
}

// compare looks at one folder of a tree: what is signed must be of its kind, and no link.
func (c *Client) compare(dir, folder string, kinds map[string]fs.FileMode, stray func(string, fs.DirEntry) error) error {
	entries, err := c.disk.ReadDir(filepath.Join(dir, filepath.FromSlash(folder)))
	if err != nil {
		return fmt.Errorf("list %s: %w", folder, err)
	}
	for _, e := range entries {
		name := path.Join(folder, e.Name())
		kind, signed := kinds[name]
		switch {
		case !signed && stray != nil:
			err = stray(filepath.Join(dir, filepath.FromSlash(name)), e)
		case signed && e.Type() != kind:
			err = slipstream.Refuse(slipstream.ReasonFileMismatch, "file "+name, "it became something else")
		case signed && kind == fs.ModeDir:
			err = c.compare(dir, name, kinds, stray)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// copyFile writes the file f of t to w and verifies size and hash on the way.
func copyFile(w io.Writer, t *tree, f slipstream.File) error {
	r, err := t.open(f.Path)
	if err != nil {
		return fmt.Errorf("open %s: %w", f.Path, err)
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), io.LimitReader(r, f.Size+1))
	if err := errors.Join(err, r.Close()); err != nil {
		return fmt.Errorf("copy %s: %w", f.Path, err)
	}
	return checkSum(f, n, h)
}

func checkSum(f slipstream.File, n int64, h hash.Hash) error {
	if got := slipstream.DigestOf([32]byte(h.Sum(nil))); n != f.Size || got != f.SHA256 {
		return slipstream.Refuse(slipstream.ReasonFileMismatch, "file "+f.Path, "%d bytes of hash %s", n, got.Short())
	}
	return nil
}

// builder assembles a tree in a hidden directory. It is the sink of a container.
type builder struct {
	disk disk
	w    *wanted
	dir  string
	base *tree
	made map[string]bool // directories below dir
}

var _ delta.Sink = (*builder)(nil)

// build makes the tree of w: fill puts every file in, then everything is made durable and visible by one rename.
func (c *Client) build(w *wanted, base *tree, fill func(b *builder) error) error {
	b := &builder{disk: c.disk, w: w, base: base, dir: c.disk.path("releases", ".new-"+string(w.digest())), made: map[string]bool{}}
	err := c.disk.removeAll(b.dir)
	if err == nil {
		err = c.disk.MkdirAll(b.dir)
	}
	if err == nil {
		err = fill(b)
	}
	if err == nil {
		err = b.publish()
	}
	if err != nil {
		return errors.Join(storage("assemble "+w.offer.Package, err), c.disk.removeAll(b.dir))
	}
	return nil
}

// place makes the directories above a file and gives its name on disk.
func (b *builder) place(f slipstream.File) (string, error) {
	if parent := path.Dir(f.Path); !b.made[parent] {
		if err := b.disk.MkdirAll(filepath.Join(b.dir, filepath.FromSlash(parent))); err != nil {
			return "", err
		}
		for ; !b.made[parent]; parent = path.Dir(parent) {
			b.made[parent] = true
		}
	}
	return filepath.Join(b.dir, filepath.FromSlash(f.Path)), nil
}

func (b *builder) create(f slipstream.File) (*durableFile, error) {
	name, err := b.place(f)
	if err != nil {
		return nil, err
	}
	perm := fs.FileMode(0o644)
	if f.Exec {
		perm = 0o755
	}
	file, err := b.disk.Create(name, perm)
	if err != nil {
		return nil, err
	}
	return &durableFile{file: file, buf: bufio.NewWriterSize(file, 64<<10)}, nil
}

// durableFile is on disk when Close returns nil.
type durableFile struct {
	file File
	buf  *bufio.Writer
}

func (d *durableFile) Write(p []byte) (int, error) { return d.buf.Write(p) }

func (d *durableFile) Close() error {
	err := d.buf.Flush()
	if err == nil {
		err = d.file.Sync()
	}
	return errors.Join(err, d.file.Close())
}

// Create opens a file of the new tree; the container codec verifies what is written.
func (b *builder) Create(f slipstream.File) (io.WriteCloser, error) { return b.create(f) }

// Keep copies a file from what runs and verifies it, because the disk may have lied since it was written.
func (b *builder) Keep(f, old slipstream.File) error { return b.copy(f, old, b.base) }

// Duplicate copies a file that was written into the new tree before.
func (b *builder) Duplicate(f, of slipstream.File) error {
	return b.copy(f, of, &tree{open: func(p string) (io.ReadCloser, error) {
		return b.disk.Open(filepath.Join(b.dir, filepath.FromSlash(p)))
	}})
}

func (b *builder) copy(f, from slipstream.File, t *tree) error {
	if t == nil {
		return slipstream.Refuse(slipstream.ReasonContainerInvalid, "file "+f.Path, "there is no base to take it from")
	}
	out, err := b.create(f)
	if err != nil {
		return err
	}
	from.Size, from.SHA256 = f.Size, f.SHA256
	return errors.Join(copyFile(out, t, from), out.Close())
}

// publish makes the finished tree durable, then visible by one rename. Its manifest is there before it.
func (b *builder) publish() error {
	folders := []string{"."}
	for folder := range b.made {
		if folder != "." {
			folders = append(folders, folder)
		}
	}
	slices.Sort(folders)
	slices.Reverse(folders) // children before parents
	for _, folder := range folders {
		if err := b.disk.SyncDir(filepath.Join(b.dir, filepath.FromSlash(folder))); err != nil {
			return err
		}
	}
	digest := b.w.digest()
	if err := b.disk.write(b.disk.manifestFile(digest), b.w.envelope); err != nil {
		return err
	}
	final := b.disk.tree(digest)
	if b.disk.exists(final) {
		if err := b.disk.hide(digest); err != nil {
			return err
		}
	}
	if err := b.disk.Rename(b.dir, final); err != nil {
		return err
	}
	if err := b.disk.SyncDir(b.disk.path("releases")); err != nil {
		return err
	}
	return b.disk.removeAll(b.disk.hidden(digest))
}

// byContainer builds the tree from one container: while it comes, and when that did not work out, once it is there.
func (c *Client) byContainer(ctx context.Context, w *wanted, base *tree, k slipstream.Container) error {
	part := c.disk.path("fetch", string(k.SHA256)+".part")
	err := c.asItComes(ctx, w, base, k, part)
	if err != nil {
		if hopeless(err) || ctx.Err() != nil {
			return err
		}
		if part, err = c.download(ctx, w, containerPath(k), k.SHA256, k.Size); err != nil {
			return err
		}
		err = c.build(w, base, func(b *builder) error {
			f, err := c.disk.Open(part)
			if err != nil {
				return err
			}
			return errors.Join(c.apply(ctx, bufio.NewReaderSize(f, 64<<10), w, base, k, b), f.Close())
		})
	}
	if err == nil {
		w.codec = k.Codec
	}
	if err == nil || !hopeless(err) {
		return errors.Join(err, storage("drop a download", ignoreMissing(c.disk.Remove(part))))
	}
	return err
}

func containerPath(k slipstream.Container) string { return "/v1/containers/" + string(k.SHA256) }

// apply gives b the files that the container r makes.
func (c *Client) apply(ctx context.Context, r io.Reader, w *wanted, base *tree, k slipstream.Container, b *builder) error {
	var old *slipstream.Manifest
	if k.From != "" {
		old = base.manifest
	}
	from := func(f slipstream.File) (delta.Content, error) { return base.at(f.Path) }
	create, remove := c.scratch(w)
	err := delta.ApplyDelta(ctx, r, old, w.manifest, from, b, delta.ApplyLimits{Memory: c.cfg.Limits.Memory, Scratch: create})
	return errors.Join(err, remove())
}

// scratch gives what makes the scratch file of an update, nil where the file system has none, and what removes it. What a
// kill leaves of it goes with the other unfinished files.
func (c *Client) scratch(w *wanted) (create func() (delta.Scratch, error), remove func() error) {
	disk, ok := c.disk.FS.(Scratcher)
	if !ok {
		return nil, func() error { return nil }
	}
	name := c.disk.path("fetch", ".new-"+string(w.digest()))
	var file ScratchFile
	create = func() (_ delta.Scratch, err error) {
		file, err = disk.Scratch(name)
		return file, err
	}
	return create, func() error {
		if file == nil {
			return nil
		}
		return errors.Join(file.Close(), ignoreMissing(c.disk.Remove(name)))
	}
}

// byFiles builds the tree from what the device holds and single blobs.
func (c *Client) byFiles(ctx context.Context, w *wanted) error {
	have := map[slipstream.Digest]func() (*tree, slipstream.File){}
	for _, t := range c.allTrees(w.offer.Package) {
		for _, f := range t.manifest.Files {
			have[f.SHA256] = func() (*tree, slipstream.File) { return t, f }
		}
	}
	done := map[slipstream.Digest]slipstream.File{}
	return c.build(w, nil, func(b *builder) error {
		for _, f := range w.manifest.Files {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			if of, ok := done[f.SHA256]; ok {
				if err := b.Duplicate(f, of); err != nil {
					return err
				}
				continue
			}
			if from := have[f.SHA256]; from != nil {
				t, old := from()
				if b.copy(f, old, t) == nil {
					continue
				}
			}
			if err := c.blob(ctx, b, f); err != nil {
				return err
			}
			done[f.SHA256] = f
		}
		w.codec = "blobs"
		return nil
	})
}

// allTrees are what runs and what else of pkg is held.
func (c *Client) allTrees(pkg string) []*tree {
	c.mu.Lock()
	history := c.body.Trial.Packages[pkg].History
	c.mu.Unlock()
	var out []*tree
	for _, r := range history {
		if t := c.holding(r.Digest); t != nil {
			out = append(out, t)
		}
	}
	if base := c.base(pkg); base != nil {
		out = append(out, base)
	}
	return out
}

func (c *Client) blob(ctx context.Context, b *builder, f slipstream.File) error {
	if f.Size == 0 {
		out, err := b.create(f)
		if err != nil {
			return err
		}
		return out.Close()
	}
	part, err := c.download(ctx, b.w, "/v1/blobs/"+string(f.SHA256), f.SHA256, f.Size)
	if err != nil {
		return err
	}
	downloads := &tree{open: func(string) (io.ReadCloser, error) { return c.disk.Open(part) }}
	return errors.Join(b.copy(f, f, downloads), storage("drop a download", ignoreMissing(c.disk.Remove(part))))
}
