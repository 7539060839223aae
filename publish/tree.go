package publish

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/sign"
)

// Limits of a tree. The zero value of a field means its default.
type Limits struct {
	Files      int   // default slipstream.MaxFiles
	FileBytes  int64 // of one file; default 4 GiB
	TotalBytes int64 // of all files; default 16 GiB
	// ZipRatio is how many times larger than an archive its contents may be (beyond the first 64 MiB); default 100.
	ZipRatio int64
}

func (l Limits) withDefaults() Limits {
	if l.Files == 0 {
		l.Files = slipstream.MaxFiles
	}
	if l.FileBytes == 0 {
		l.FileBytes = 4 << 30
	}
	if l.TotalBytes == 0 {
		l.TotalBytes = 16 << 30
	}
	if l.ZipRatio == 0 {
		l.ZipRatio = 100
	}
	return l
}

// Offenders are all the reasons why a tree cannot be published, one per file and rule.
type Offenders []error

func (o Offenders) Error() string {
	var b strings.Builder
	if len(o) == 1 {
		b.WriteString("1 thing keeps this from being published:")
	} else {
		fmt.Fprintf(&b, "%d things keep this from being published:", len(o))
	}
	for _, err := range o {
		b.WriteString("\n  ")
		b.WriteString(err.Error())
		if hint := slipstream.HintOf(err); hint != "" {
			b.WriteString(": " + hint)
		}
	}
	return b.String()
}

// As makes Offenders a *slipstream.Refusal for those who ask for the reason.
func (o Offenders) As(target any) bool {
	r, ok := target.(**slipstream.Refusal)
	if ok {
		*r = &slipstream.Refusal{Reason: slipstream.ReasonMalformed, What: "tree", Err: errors.New(o.Error())}
	}
	return ok
}

// Unwrap gives the single errors.
func (o Offenders) Unwrap() []error { return o }

// Tree is a tree of files as it was read and hashed. Contents stay where they are; Content reads them again.
type Tree struct {
	Files   []slipstream.File // sorted by path
	Ignored int               // files and folders that ignore rules left out
	content map[string]content
	closer  io.Closer
}

// content is one file of a source before and after it was hashed.
type content interface {
	open() (io.ReadCloser, error)
	// unchanged says whether the file is still what it was when it was found. r is the open file.
	unchanged(r io.ReadCloser) error
}

// found is a file that a walk came upon.
type found struct {
	path string
	size int64
	exec bool
	content
}

// Progress is told how far a long step is. Both functions may be called from several goroutines.
type Progress interface {
	Phase(name string, total int64) // a step begins; total in bytes, 0 = not known
	Add(n int64)                    // n more bytes of it are done
}

type noProgress struct{}

func (noProgress) Phase(string, int64) {}
func (noProgress) Add(int64)           {}

// hashWorkers read files side by side. More than two make a disk slower, not faster.
const hashWorkers = 2

// Open walks the folder, single file or archive (zip, wgt, apk, aar, jar, tar, tgz by its name) at path and hashes every file. What would hurt on a device is an error that
// is Offenders, complete. Memory does not depend on the sizes of files. progress may be nil. Close the tree.
func Open(ctx context.Context, path string, l Limits, progress Progress) (*Tree, error) {
	l = l.withDefaults()
	if progress == nil {
		progress = noProgress{}
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, slipstream.Hint(fmt.Errorf("look at what to publish: %w", err), "give a folder, a file or an archive")
	}
	var w walk
	t := &Tree{content: map[string]content{}}
	switch {
	case info.IsDir():
		err = w.folder(ctx, path, l)
	case isZip(path):
		t.closer, err = w.zip(path, l)
	case isTar(path):
		t.closer, err = w.tarball(path, l)
	case info.Mode().IsRegular():
		w.files = []found{{filepath.Base(path), info.Size(), info.Mode()&0o111 != 0, &diskFile{path, info}}}
	default:
		err = fmt.Errorf("%s is neither a folder nor a regular file", path)
	}
	if err == nil {
		t.Ignored = w.ignored
		err = t.take(ctx, &w, l, progress)
	}
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// take checks and hashes what the walk found.
func (t *Tree) take(ctx context.Context, w *walk, l Limits, progress Progress) error {
	slices.SortFunc(w.files, func(a, b found) int { return strings.Compare(a.path, b.path) })
	var total int64
	t.Files = make([]slipstream.File, len(w.files))
	for i, f := range w.files {
		t.Files[i] = slipstream.File{Path: f.path, Size: f.size, Exec: f.exec}
		total += min(f.size, l.TotalBytes+1-min(total, l.TotalBytes)) // cannot overflow
		if f.size > l.FileBytes {
			w.offend(f.path, "has %d bytes, at most %d are allowed", f.size, l.FileBytes)
		}
		t.content[f.path] = f.content
	}
	if total > l.TotalBytes {
		w.offenders = append(w.offenders, fmt.Errorf("all files together have more than %d bytes", l.TotalBytes))
	}
	if n := len(t.Files); n > l.Files && n <= slipstream.MaxFiles { // beyond that CheckPaths says so
		w.offenders = append(w.offenders, fmt.Errorf("%d files, at most %d are allowed", n, l.Files))
	}
	w.offenders = append(w.offenders, sign.CheckPaths(t.Files)...)
	if len(t.Files) == 0 && len(w.offenders) == 0 {
		w.offenders = append(w.offenders, errors.New("there is no file in it"))
	}
	if len(w.offenders) > 0 {
		return w.offenders
	}
	progress.Phase("Reading", total)
	return t.hash(ctx, progress)
}

// hash reads every file once, in hashWorkers goroutines.
func (t *Tree) hash(ctx context.Context, progress Progress) error {
	offences := make([]error, len(t.Files))
	next := make(chan int)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(next)
		for i := range t.Files {
			select {
			case next <- i:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range hashWorkers {
		g.Go(func() error {
			buf := make([]byte, 128<<10)
			for i := range next {
				f := &t.Files[i]
				d, err := hashContent(ctx, t.content[f.Path], f.Size, buf)
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if err != nil {
					offences[i] = fmt.Errorf("%s: %w", f.Path, err)
				}
				f.SHA256 = d
				progress.Add(f.Size)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	offences = slices.DeleteFunc(offences, func(err error) bool { return err == nil })
	if len(offences) > 0 {
		return Offenders(offences)
	}
	return nil
}

var errChanged = errors.New("changed while it was read: publish again when nothing writes to it")

func hashContent(ctx context.Context, c content, size int64, buf []byte) (_ slipstream.Digest, err error) {
	r, err := c.open()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	h := sha256.New()
	var n int64
	// A file that grows for ever must not keep us: one byte beyond the size that the walk saw is enough to know.
	limited := io.LimitReader(r, size+1)
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		k, err := limited.Read(buf)
		h.Write(buf[:k])
		n += int64(k)
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", fmt.Errorf("read: %w", err)
		}
	}
	if n != size {
		return "", errChanged
	}
	if err := c.unchanged(r); err != nil {
		return "", err
	}
	return slipstream.DigestOf([32]byte(h.Sum(nil))), nil
}

// Content opens a file of the tree from offset on. It fails if the file is no longer what was hashed.
func (t *Tree) Content(path string, offset int64) (_ io.ReadCloser, err error) {
	c, ok := t.content[path]
	if !ok {
		return nil, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
	}
	r, err := c.open()
	if err != nil {
		return nil, err
	}
	if err := c.unchanged(r); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), r.Close())
	}
	if s, ok := r.(io.Seeker); ok {
		_, err = s.Seek(offset, io.SeekStart)
	} else {
		_, err = io.CopyN(io.Discard, r, offset)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("skip to offset %d of %s: %w", offset, path, err), r.Close())
	}
	return r, nil
}

// Close lets go of the archive, if it was one.
func (t *Tree) Close() error {
	if t.closer == nil {
		return nil
	}
	return t.closer.Close()
}
