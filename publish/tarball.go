package publish

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/tarball"
)

// isZip and isTar know archives by the end of their names. They are published as the files in them; one that is to stay as
// it is goes into a folder.
func isZip(path string) bool { return endsLike(path, ".zip", ".wgt", ".apk", ".aar", ".jar") }
func isTar(path string) bool { return endsLike(path, ".tar", ".tgz", ".tar.gz") }

func endsLike(path string, ends ...string) bool {
	path = strings.ToLower(path)
	for _, e := range ends {
		if strings.HasSuffix(path, e) {
			return true
		}
	}
	return false
}

// tarball lists the files of a tar archive, compressed with gzip or not. As with a zip, the archive is a stranger's.
func (w *walk) tarball(path string, l Limits) (io.Closer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("look at archive: %w", err)
	}
	t, err := tarball.Open(path, l.ZipRatio*info.Size()+zipFree)
	if err != nil {
		return nil, slipstream.Hint(fmt.Errorf("read archive %s: %w", path, err), "is the file complete? unpack it and publish the folder")
	}
	if len(t.Files) > maxSeen*l.Files {
		return t, fmt.Errorf("more than %d files in the archive", maxSeen*l.Files)
	}
	rules, err := tarIgnore(t)
	if err != nil {
		return t, err
	}
	for i, f := range t.Files {
		if rules.MatchTree(f.Name) {
			w.ignored++
			continue
		}
		w.files = append(w.files, found{f.Name, f.Size, f.Exec, &tarFile{t, i}})
	}
	return t, nil
}

func tarIgnore(t *tarball.Reader) (*Ignore, error) {
	for i, f := range t.Files {
		if f.Name == IgnoreFile {
			text, err := readIgnore(t.Open(i))
			if err != nil {
				return nil, err
			}
			return ParseIgnore(text)
		}
	}
	return ParseIgnore("")
}

type tarFile struct {
	archive *tarball.Reader
	n       int
}

func (f *tarFile) open() (io.ReadCloser, error) { return f.archive.Open(f.n), nil }

// unchanged cannot tell cheaply; the hash tells, on the server, before anything is visible.
func (f *tarFile) unchanged(io.ReadCloser) error { return nil }
