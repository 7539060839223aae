// Package tarball reads tar archives, also those compressed with gzip, at random places.
package tarball

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// Reader gives the files of an archive. Close it: a compressed archive lies unpacked in a temporary file, which has no
// name where the system allows that.
type Reader struct {
	Files []File
	data  *os.File
	named bool
}

// File is a regular file of an archive.
type File struct {
	Name   string // as it stands there, without a leading "./"; a stranger's: it may lead anywhere
	Size   int64
	Exec   bool
	offset int64
}

// ErrFormat says that something is neither a tar archive nor one compressed with gzip.
var ErrFormat = errors.New("not a tar archive")

// ErrTooLarge says that an archive unpacks to more than the caller allows.
var ErrTooLarge = errors.New("the contents are out of proportion: it looks like a bomb")

// Packed says whether a file begins like a tar archive that is compressed with gzip.
func Packed(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	const blockSize = 512
	var head [blockSize]byte
	z, err := gzip.NewReader(bufio.NewReader(f))
	if err == nil {
		_, err = io.ReadFull(z, head[:])
	}
	return err == nil && bytes.Equal(head[257:262], []byte("ustar")), f.Close()
}

// Open lists the regular files of an archive that has at most limit bytes unpacked. Links, devices and names that are
// there twice are errors that name the entry.
func Open(path string, limit int64) (_ *Reader, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r := &Reader{data: f}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if z, zerr := gzip.NewReader(bufio.NewReader(f)); zerr == nil {
		err := r.unpack(z, limit)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
	}
	if _, err := r.data.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return r, r.list()
}

// unpack puts the archive into a temporary file.
func (r *Reader) unpack(z io.Reader, limit int64) error {
	tmp, err := os.CreateTemp("", "slipstream-tar-*")
	if err != nil {
		return fmt.Errorf("make a temporary file: %w", err)
	}
	r.data, r.named = tmp, os.Remove(tmp.Name()) != nil
	n, err := io.Copy(tmp, io.LimitReader(z, limit+1))
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	if n > limit {
		return ErrTooLarge
	}
	return nil
}

func (r *Reader) list() error {
	t, seen := tar.NewReader(r.data), map[string]bool{}
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			if len(r.Files) == 0 {
				return ErrFormat
			}
			return fmt.Errorf("read the entry behind %q: %w", r.Files[len(r.Files)-1].Name, err)
		}
		name := strings.TrimPrefix(h.Name, "./")
		switch {
		case h.Typeflag == tar.TypeDir, h.Typeflag == tar.TypeXGlobalHeader: // a note about the whole
			continue
		case h.Typeflag != tar.TypeReg || sparse(h):
			return fmt.Errorf("the entry %q is not a regular file", name)
		case seen[name]:
			return fmt.Errorf("the entry %q is there twice", name)
		}
		seen[name] = true
		at, err := r.data.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		if info, err := r.data.Stat(); err != nil || h.Size > info.Size()-at {
			return errors.Join(fmt.Errorf("the entry %q is cut off", name), err)
		}
		r.Files = append(r.Files, File{name, h.Size, fs.FileMode(h.Mode)&0o111 != 0, at})
	}
}

// sparse files do not lie there as they are.
func sparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// Open gives the content of file i. Several may be read at a time.
func (r *Reader) Open(i int) io.ReadCloser {
	return io.NopCloser(io.NewSectionReader(r.data, r.Files[i].offset, r.Files[i].Size))
}

// Close lets go of the archive.
func (r *Reader) Close() error {
	err := r.data.Close()
	if r.named {
		err = errors.Join(err, os.Remove(r.data.Name()))
	}
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
