package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// walk collects the files of a source and everything that is wrong with them.
type walk struct {
	files     []found
	offenders Offenders
	ignored   int
}

func (w *walk) offend(path, format string, args ...any) {
	w.offenders = append(w.offenders, fmt.Errorf("%s: %w", printable(path), fmt.Errorf(format, args...)))
}

// printable quotes a path that would disturb the terminal.
func printable(path string) string {
	q := fmt.Sprintf("%q", path)
	if q == `"`+path+`"` {
		return path
	}
	return q
}

// maxIgnoreFile bounds the ignore file in bytes.
const maxIgnoreFile = 1 << 20

// maxSeen bounds how many entries a walk looks at, ignored ones too, in multiples of the file limit.
const maxSeen = 100

func (w *walk) folder(ctx context.Context, root string, l Limits) error {
	real, err := filepath.EvalSymlinks(root)
	if err != nil {
		return fmt.Errorf("resolve %s: %w", root, err)
	}
	if real, err = filepath.Abs(real); err != nil {
		return fmt.Errorf("resolve %s: %w", root, err)
	}
	rules, err := readIgnoreFile(filepath.Join(real, IgnoreFile))
	if err != nil {
		return err
	}
	return filepath.WalkDir(real, func(p string, d fs.DirEntry, err error) error {
		if cerr := ctx.Err(); cerr != nil {
			return cerr
		}
		rel, rerr := filepath.Rel(real, p)
		if rerr != nil {
			return rerr
		}
		rel = filepath.ToSlash(rel)
		if err != nil {
			if rel == "." {
				return fmt.Errorf("read folder: %w", err)
			}
			w.offend(rel, "cannot be read: %w", pathErrorCause(err))
			return nil
		}
		if rel == "." {
			return nil
		}
		if rules.Match(rel, d.IsDir()) {
			w.ignored++
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if len(w.files)+w.ignored > maxSeen*l.Files {
			return fmt.Errorf("more than %d files: this is hardly the folder that is meant", maxSeen*l.Files)
		}
		w.entry(real, p, rel, d)
		return nil
	})
}

// entry takes one file or symlink.
func (w *walk) entry(root, p, rel string, d fs.DirEntry) {
	if d.IsDir() {
		return
	}
	if d.Type()&fs.ModeSymlink != 0 {
		target, err := filepath.EvalSymlinks(p)
		if err != nil {
			w.offend(rel, "is a symlink that leads nowhere: %w", pathErrorCause(err))
			return
		}
		if target != root && !strings.HasPrefix(target, root+string(filepath.Separator)) {
			w.offend(rel, "is a symlink out of the tree, to %s", target)
			return
		}
		p = target
	}
	info, err := os.Lstat(p)
	switch {
	case err != nil:
		w.offend(rel, "cannot be read: %w", pathErrorCause(err))
	case info.IsDir():
		w.offend(rel, "is a symlink to a folder: publish the folder itself, or ignore the link")
	case !info.Mode().IsRegular():
		w.offend(rel, "is not a regular file (%s)", info.Mode().Type())
	default:
		w.files = append(w.files, found{rel, info.Size(), info.Mode()&0o111 != 0, &diskFile{p, info}})
	}
}

func readIgnoreFile(path string) (*Ignore, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ParseIgnore("")
	}
	if err != nil {
		return nil, fmt.Errorf("open ignore file: %w", err)
	}
	text, err := readIgnore(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return ParseIgnore(text)
}

func readIgnore(r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxIgnoreFile+1))
	if err != nil {
		return "", fmt.Errorf("read ignore file: %w", err)
	}
	if len(b) > maxIgnoreFile {
		return "", fmt.Errorf("%s is larger than %d bytes", IgnoreFile, maxIgnoreFile)
	}
	return string(b), nil
}

// pathErrorCause drops the absolute path that the file system's errors repeat.
func pathErrorCause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// diskFile is a file on disk with what was known of it when it was found.
type diskFile struct {
	path string
	info fs.FileInfo
}

func (d *diskFile) open() (io.ReadCloser, error) {
	f, err := os.Open(d.path)
	if err != nil {
		return nil, pathErrorCause(err)
	}
	return f, nil
}

func (d *diskFile) unchanged(r io.ReadCloser) error {
	f, ok := r.(*os.File)
	if !ok {
		return errors.New("not opened from disk")
	}
	now, err := f.Stat()
	if err != nil {
		return fmt.Errorf("look at open file: %w", err)
	}
	if !os.SameFile(now, d.info) || now.Size() != d.info.Size() || !now.ModTime().Equal(d.info.ModTime()) {
		return errChanged
	}
	return nil
}
