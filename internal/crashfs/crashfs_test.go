package crashfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/slipstream-ota/slipstream/client"
)

var bounds = Bounds{Exhaustive: 500, Random: 20, Seed: 1}

func TestWhatAPowerCutCanDo(t *testing.T) {
	t.Parallel()
	old, next := bytes.Repeat([]byte("a"), 5000), bytes.Repeat([]byte("b"), 9000)
	for _, c := range []struct {
		name    string
		model   Model
		sync    bool // the new content
		syncDir bool // the rename
		want    []string
	}{
		{"nothing synced", Reordered, false, false, []string{"old", "new", "mixed"}},
		{"only the name synced", Reordered, false, true, []string{"new", "mixed"}},
		{"only the content synced", Reordered, true, false, []string{"old", "new"}},
		{"content and name synced", Reordered, true, true, []string{"new"}},
		{"journaled, only the content synced", Journaled, true, false, []string{"old", "new"}},
		{"journaled, only the name synced", Journaled, false, true, []string{"new", "mixed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := New()
			must(t, f.MkdirAll("/d"))
			write(t, f, "/d/state", old, true)
			f.Settle()
			write(t, f, "/d/state.tmp", next, c.sync)
			must(t, f.Rename("/d/state.tmp", "/d/state"))
			if c.syncDir {
				must(t, f.SyncDir("/d"))
			}
			found := map[string]bool{}
			for img := range end(f, c.model).Images(bounds) {
				switch got := read(t, img.FS(), "/d/state"); {
				case bytes.Equal(got, old):
					found["old"] = true
				case bytes.Equal(got, next):
					found["new"] = true
				default:
					found["mixed"] = true
				}
			}
			for _, kind := range []string{"old", "new", "mixed"} {
				if found[kind] != slices.Contains(c.want, kind) {
					t.Errorf("%s after a power cut: %t", kind, found[kind])
				}
			}
		})
	}
}

func TestOperationsOnDifferentNamesAreReorderedUnlessJournaled(t *testing.T) {
	t.Parallel()
	for model, want := range map[Model]bool{Reordered: true, Journaled: false} {
		f := New()
		write(t, f, "/first", []byte("1"), true)
		write(t, f, "/second", []byte("2"), true)
		found := false
		for img := range end(f, model).Images(bounds) {
			disk := img.FS()
			found = found || !exists(disk, "/first") && exists(disk, "/second")
		}
		if model == Journaled {
			want = false
		}
		if found != want {
			t.Errorf("model %d: the second without the first: %t", model, found)
		}
	}
}

func TestOperationsOnOneNameKeepTheirOrder(t *testing.T) {
	t.Parallel()
	f := New()
	write(t, f, "/a", []byte("1"), true)
	must(t, f.Rename("/a", "/b"))
	write(t, f, "/a", []byte("2"), true)
	must(t, f.Remove("/b"))
	for img := range end(f, Reordered).Images(bounds) {
		disk := img.FS()
		if exists(disk, "/a") && string(read(t, disk, "/a")) == "2" && exists(disk, "/b") && string(read(t, disk, "/b")) != "1" {
			t.Errorf("the second file came before the first one left: %s", img.Lost())
		}
	}
}

func TestAPageIsTornBetweenSectors(t *testing.T) {
	t.Parallel()
	f := New()
	write(t, f, "/f", bytes.Repeat([]byte("x"), pageSize), false)
	torn := append(bytes.Repeat([]byte("x"), sectorSize), make([]byte, pageSize-sectorSize)...)
	found := false
	for img := range end(f, Reordered).Images(bounds) {
		found = found || exists(img.FS(), "/f") && bytes.Equal(read(t, img.FS(), "/f"), torn)
	}
	if !found {
		t.Error("no image has the page torn after its first sector")
	}
}

func TestARenamedTreeIsWholeOnlyWhenAllOfItWasSynced(t *testing.T) {
	t.Parallel()
	for _, left := range []string{"", "file", "inner", "outer"} {
		f := New()
		must(t, f.MkdirAll("/r/.new/sub"))
		write(t, f, "/r/.new/sub/f", []byte("content"), left != "file")
		if left != "inner" {
			must(t, f.SyncDir("/r/.new/sub"))
		}
		if left != "outer" {
			must(t, f.SyncDir("/r/.new"))
		}
		must(t, f.SyncDir("/"))
		must(t, f.Rename("/r/.new", "/r/tree"))
		broken := false
		for img := range end(f, Reordered).Images(bounds) {
			disk := img.FS()
			if exists(disk, "/r/tree") {
				broken = broken || !exists(disk, "/r/tree/sub/f") || string(read(t, disk, "/r/tree/sub/f")) != "content"
			}
		}
		if broken != (left != "") {
			t.Errorf("without the fsync of %q: broken %t", left, broken)
		}
	}
}

func TestSkippingASyncIsTheSameAsAProgramWithoutIt(t *testing.T) {
	t.Parallel()
	program := func(syncs bool) *FS {
		f := New()
		write(t, f, "/a", []byte("1"), syncs)
		must(t, f.SyncDir("/"))
		return f
	}
	sums := func(c *Cursor) map[[32]byte]bool {
		out := map[[32]byte]bool{}
		for img := range c.Images(bounds) {
			out[img.Sum] = true
		}
		return out
	}
	c := NewCursor(program(true).Trace(), Reordered)
	for op, ok := c.Ahead(); ok; op, ok = c.Ahead() {
		if op.Kind == Sync {
			c.Skip()
			continue
		}
		c.Next()
	}
	got, want := sums(c), sums(end(program(false), Reordered))
	if len(got) != len(want) || len(got) < 2 {
		t.Fatalf("%d images with a skipped sync, %d without it", len(got), len(want))
	}
	for sum := range got {
		if !want[sum] {
			t.Error("an image of the skipping cursor is not one of the program without the sync")
		}
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	f := New()
	write(t, f, "/a", []byte("12345678"), true)
	f.Fail(Fault{At: 2, Err: syscall.ENOSPC})
	h, err := f.Create("/b", 0o600) // 1
	must(t, err)
	if n, err := h.Write([]byte("12345678")); n != 4 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a write on a full disk: %d bytes, %v", n, err)
	}
	if n, err := h.Write([]byte("12345678")); n != 8 || err != nil {
		t.Errorf("the write after it: %d bytes, %v", n, err)
	}
	f.Fail(Fault{At: 1, Err: syscall.EROFS, Sticky: true})
	for name, err := range map[string]error{
		"rename": f.Rename("/a", "/c"), "remove": f.Remove("/a"), "mkdir": f.MkdirAll("/new"), "fsync": h.Sync(),
	} {
		if !errors.Is(err, syscall.EROFS) {
			t.Errorf("%s on a read-only disk: %v", name, err)
		}
	}
	f.Fail(Fault{})
	must(t, f.Remove("/a"))
}

func TestNamesBehaveAsOnAnOperatingSystem(t *testing.T) {
	t.Parallel()
	for name, disk := range map[string]struct {
		client.FS
		dir string
	}{"memory": {New(), "/d"}, "operating system": {client.Disk{}, t.TempDir()}} {
		t.Run(name, func(t *testing.T) {
			at := func(parts ...string) string { return filepath.Join(append([]string{disk.dir}, parts...)...) }
			must(t, disk.MkdirAll(at("x", "y")))
			write(t, disk, at("f"), []byte("1"), false)
			write(t, disk, at("x", "g"), []byte("22"), false)
			h, err := disk.Append(at("x", "g"))
			must(t, err)
			_, err = h.Write([]byte("3"))
			must(t, errors.Join(err, h.Close()))
			if got := read(t, disk, at("x", "g")); string(got) != "223" {
				t.Errorf("appended: %q", got)
			}
			for what, err := range map[string]error{
				"a directory over a directory": disk.Rename(at("x"), at("full")),
				"a full directory":             disk.Remove(at("x")),
				"a missing file":               disk.Remove(at("nothing")),
				"a missing directory":          errOf(disk.ReadDir(at("nothing"))),
				"a file as a directory":        errOf(disk.ReadDir(at("f"))),
			} {
				if what == "a directory over a directory" {
					must(t, err)
					must(t, disk.MkdirAll(at("x")))
					write(t, disk, at("x", "h"), nil, false)
					err = disk.Rename(at("full"), at("x"))
				}
				if err == nil {
					t.Errorf("%s: no error", what)
				}
			}
			if _, err := disk.Open(at("nothing")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a missing file: %v", err)
			}
			must(t, disk.Rename(at("f"), at("full", "g")))
			if got := read(t, disk, at("full", "g")); string(got) != "1" {
				t.Errorf("replaced by a rename: %q", got)
			}
			entries, err := disk.ReadDir(at("full"))
			must(t, err)
			if len(entries) != 2 || entries[0].Name() != "g" || !entries[1].IsDir() {
				t.Errorf("entries %v", entries)
			}
		})
	}
}

func TestALockIsHeldOnceAndLostWithTheProcess(t *testing.T) {
	t.Parallel()
	f := New()
	l, err := f.TryLock("/lock")
	must(t, err)
	if _, err := f.TryLock("/lock"); !errors.Is(err, client.ErrLocked) {
		t.Errorf("the second lock: %v", err)
	}
	must(t, l.Close())
	_, err = f.TryLock("/lock")
	must(t, err)
	f.Kill()
	_, err = f.TryLock("/lock")
	must(t, err)
}

func end(f *FS, m Model) *Cursor {
	c := NewCursor(f.Trace(), m)
	for c.Next() {
	}
	return c
}

func write(t *testing.T, f client.FS, name string, data []byte, sync bool) {
	t.Helper()
	h, err := f.Create(name, 0o600)
	must(t, err)
	_, err = h.Write(data)
	must(t, err)
	if sync {
		must(t, h.Sync())
	}
	must(t, h.Close())
}

func read(t *testing.T, f client.FS, name string) []byte {
	t.Helper()
	h, err := f.Open(name)
	must(t, err)
	b, err := io.ReadAll(h)
	must(t, errors.Join(err, h.Close()))
	return b
}

func exists(f client.FS, name string) bool {
	h, err := f.Open(name)
	return err == nil && h.Close() == nil
}

func errOf(_ []fs.DirEntry, err error) error { return err }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
