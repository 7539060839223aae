package tree

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/slipstream-ota/slipstream"
)

// Tree is a list of files with their contents: sorted by path, every path once. A single file is a list of one, and its
// path means nothing.
type Tree struct {
	Files  []slipstream.File
	Single bool
	// Open gives the content of Files[i].
	Open func(i int) (io.ReadCloser, error)
}

// MaxFiles bounds both lists.
const MaxFiles = 4 << 20

const (
	magic      = "SLPT"
	version    = 1
	tagSize    = 16
	headerSize = 6 + tagSize + sha256.Size
)

// hashList gives the hash of a list.
func hashList(files []slipstream.File, single bool) [sha256.Size]byte {
	h := sha256.New()
	w := bufio.NewWriter(h)
	for _, f := range files {
		mode := "-"
		if f.Exec {
			mode = "x"
		}
		if single {
			f.Path = ""
		}
		for _, s := range []string{f.Path, "\x00", mode, "\x00", strconv.FormatInt(f.Size, 10), "\x00", string(f.SHA256), "\n"} {
			_, _ = w.WriteString(s) // a hash takes everything
		}
	}
	_ = w.Flush()
	return [sha256.Size]byte(h.Sum(nil))
}

// unhashed says that the tree is a file whose hash is not known yet.
func (t Tree) unhashed() bool { return t.Single && t.Files[0].SHA256 == "" }

// fits compares the tree with the tag of a patch.
func (t Tree) fits(tag [tagSize]byte) bool {
	h := hashList(t.Files, t.Single)
	return [tagSize]byte(h[:]) == tag
}

func wrongBase() error { return invalid("it was made for another old file or tree") }

// hashNow makes up for the hash that a single file came without, and compares it with the tag of a patch.
func (t Tree) hashNow(tag [tagSize]byte) error {
	r, err := t.Open(0)
	if err != nil {
		return fmt.Errorf("open old file: %w", err)
	}
	h := sha256.New()
	_, err = io.Copy(h, r)
	if err := errors.Join(err, r.Close()); err != nil {
		return fmt.Errorf("read old file: %w", err)
	}
	t.Files[0].SHA256 = slipstream.DigestOf([32]byte(h.Sum(nil)))
	if !t.fits(tag) {
		return wrongBase()
	}
	return nil
}

// check says what keeps a list from being patched.
func (t Tree) check(what string) error {
	if t.Single && len(t.Files) != 1 {
		return slipstream.Invalidf("the %s file is %d files", what, len(t.Files))
	}
	if len(t.Files) > MaxFiles {
		return slipstream.Invalidf("the %s tree has %d files, at most %d are possible", what, len(t.Files), MaxFiles)
	}
	if t.Single {
		return nil
	}
	for i, f := range t.Files {
		if !validPath(f.Path) {
			return slipstream.Invalidf("the %s tree has a path that is none: %q", what, f.Path)
		}
		if i > 0 && t.Files[i-1].Path >= f.Path {
			return slipstream.Invalidf("the %s tree is not sorted by path at %q", what, f.Path)
		}
	}
	return nil
}

// nameless takes the path from a single file.
func (t Tree) nameless() Tree {
	if t.Single {
		f := t.Files[0]
		f.Path = ""
		t.Files = []slipstream.File{f}
	}
	return t
}

// validPath keeps out what would leave a tree, or mean something else on another system.
func validPath(p string) bool {
	return fs.ValidPath(p) && p != "." && len(p) <= 4096 && !strings.ContainsAny(p, "\\\x00:")
}

// inBase says which old files make up the base. left are those that do not.
func inBase(files []slipstream.File, left []int) (chosen []int, size int64) {
	chosen = make([]int, 0, len(files)-len(left))
	for i, f := range files {
		if _, out := slices.BinarySearch(left, i); !out {
			chosen = append(chosen, i)
			size += f.Size
		}
	}
	return chosen, size
}

func invalid(format string, args ...any) error {
	return slipstream.Refuse(slipstream.ReasonContainerInvalid, "patch", format, args...)
}
