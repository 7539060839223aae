package publish

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/slipstream-ota/slipstream"
)

// zipFree is how much a zip may hold whatever its own size.
const zipFree = 64 << 20

// zip lists the files of a zip. They are read from it where it lies, without unpacking. The zip is a stranger's: names
// that lead out of it, doubles, symlinks, encrypted entries and contents out of proportion are offenders.
func (w *walk) zip(path string, l Limits) (io.Closer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("look at zip: %w", err)
	}
	z, err := zip.OpenReader(path)
	if err != nil && !(z != nil && errors.Is(err, zip.ErrInsecurePath)) {
		return nil, slipstream.Hint(fmt.Errorf("read zip %s: %w", path, err), "is the file complete? unpack it and publish the folder")
	}
	rules, err := zipIgnore(&z.Reader)
	if err != nil {
		return z, err
	}
	seen := make(map[string]bool, len(z.File))
	left := l.ZipRatio*info.Size() + zipFree
	bomb := false
	for _, e := range z.File {
		if len(w.files) > maxSeen*l.Files {
			return z, fmt.Errorf("more than %d files in the zip", maxSeen*l.Files)
		}
		name := strings.TrimSuffix(e.Name, "/")
		if rules.MatchTree(name) {
			w.ignored++
			continue
		}
		if strings.HasSuffix(e.Name, "/") {
			w.zipFolder(e, name)
			continue
		}
		if seen[name] {
			w.offend(name, "is in the zip more than once")
			continue
		}
		seen[name] = true
		if !w.zipEntry(e) {
			continue
		}
		size := e.UncompressedSize64
		if size > uint64(max(left, 0)) {
			bomb = true
		} else {
			left -= int64(size)
		}
		w.files = append(w.files, found{name, int64(size), e.Mode()&0o111 != 0, &zipFile{entry: e}})
	}
	if bomb {
		w.offenders = append(w.offenders, fmt.Errorf("the contents are more than %d times larger than the zip: it looks like a zip bomb", l.ZipRatio))
	}
	return z, nil
}

// zipFolder takes no folder, but one whose name leads out of the zip gives the whole zip away.
func (w *walk) zipFolder(e *zip.File, name string) {
	if e.UncompressedSize64 > 0 {
		w.offend(e.Name, "is a folder with content")
	}
	for _, part := range strings.Split(name, "/") {
		if part == ".." || strings.HasPrefix(name, "/") || strings.Contains(name, `\`) {
			w.offend(e.Name, "is a folder outside the zip")
			return
		}
	}
}

func (w *walk) zipEntry(e *zip.File) bool {
	const encrypted, strong = 1, 1 << 6
	switch mode := e.Mode(); {
	case mode&fs.ModeSymlink != 0:
		w.offend(e.Name, "is a symlink in a zip: publish the folder instead, or zip the file itself")
	case !mode.IsRegular():
		w.offend(e.Name, "is not a regular file (%s)", mode.Type())
	case e.Flags&(encrypted|strong) != 0:
		w.offend(e.Name, "is encrypted")
	case e.Method != zip.Store && e.Method != zip.Deflate:
		w.offend(e.Name, "is compressed with method %d, which is not supported", e.Method)
	case e.UncompressedSize64 > slipstream.MaxSafeInteger:
		w.offend(e.Name, "says it has %d bytes", e.UncompressedSize64)
	default:
		return true
	}
	return false
}

func zipIgnore(z *zip.Reader) (*Ignore, error) {
	for _, e := range z.File {
		if e.Name != IgnoreFile {
			continue
		}
		r, err := e.Open()
		if err != nil {
			return nil, fmt.Errorf("open ignore file: %w", err)
		}
		text, err := readIgnore(r)
		if err := errors.Join(err, r.Close()); err != nil {
			return nil, err
		}
		return ParseIgnore(text)
	}
	return ParseIgnore("")
}

// zipFile is an entry of a zip. archive/zip compares its size and CRC-32 when it is read to the end.
type zipFile struct{ entry *zip.File }

func (z *zipFile) open() (io.ReadCloser, error) { return z.entry.Open() }

// unchanged cannot tell cheaply; the hash tells, on the server, before anything is visible.
func (z *zipFile) unchanged(io.ReadCloser) error { return nil }
