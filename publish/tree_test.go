package publish

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
)

func paths(t *Tree) string {
	var out []string
	for _, f := range t.Files {
		out = append(out, f.Path)
	}
	return strings.Join(out, " ")
}

func TestFolder(t *testing.T) {
	dir := writeTree(t, map[string]string{
		"index.html": "<html>", "js/app.js": "app", "js/lib/x.js": "x", "empty": "", "run.sh": "#!/bin/sh",
		".git/config": "no", "js/.DS_Store": "no", "Thumbs.db": "no", "slipstream.json": "{}",
		".slipstreamignore": "*.map\n", "js/app.js.map": "no", ".hidden": "yes",
	})
	if err := os.Chmod(filepath.Join(dir, "run.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	tree := openTree(t, dir)
	if got := paths(tree); got != ".hidden empty index.html js/app.js js/lib/x.js run.sh" {
		t.Errorf("files %s", got)
	}
	if tree.Ignored != 6 {
		t.Errorf("%d ignored", tree.Ignored)
	}
	const hashOfEmpty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	if f := tree.Files[1]; f.Size != 0 || f.SHA256 != hashOfEmpty || f.Exec {
		t.Errorf("empty file is %+v", f)
	}
	if f := tree.Files[5]; !f.Exec || f.Size != 9 {
		t.Errorf("run.sh is %+v", f)
	}
	t.Run("contents can be read from any offset", func(t *testing.T) {
		r, err := tree.Content("run.sh", 2)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil || string(b) != "/bin/sh" {
			t.Errorf("got %q, %v", b, err)
		}
	})
	t.Run("and the tree may be reached through a symlink", func(t *testing.T) {
		link := filepath.Join(t.TempDir(), "link")
		if err := os.Symlink(dir, link); err != nil {
			t.Fatal(err)
		}
		if got := openTree(t, link); len(got.Files) != len(tree.Files) {
			t.Errorf("files %s", paths(got))
		}
	})
}

func TestSingleFile(t *testing.T) {
	dir := writeTree(t, map[string]string{"main.jsbundle": "code", "other": "no"})
	tree := openTree(t, filepath.Join(dir, "main.jsbundle"))
	if paths(tree) != "main.jsbundle" || tree.Files[0].Size != 4 {
		t.Errorf("got %+v", tree.Files)
	}
}

// wantOffenders opens path and compares the complaints, each by a part of its text.
func wantOffenders(t *testing.T, path string, l Limits, want ...string) {
	t.Helper()
	tree, err := Open(t.Context(), path, l, nil)
	if err == nil {
		tree.Close()
		t.Fatal("nothing was refused")
	}
	var got Offenders
	if !errors.As(err, &got) {
		t.Fatalf("not a list of offenders: %v", err)
	}
	for _, w := range want {
		if !slices.ContainsFunc(got, func(err error) bool { return strings.Contains(err.Error(), w) }) {
			t.Errorf("nothing says %q in: %v", w, err)
		}
	}
	if slipstream.ReasonOf(err, "") != slipstream.ReasonMalformed {
		t.Errorf("no refusal: %v", err)
	}
	if len(got) != len(want) {
		t.Errorf("%d offenders, want %d: %v", len(got), len(want), err)
	}
}

func TestEveryOffenderOfAFolderIsListed(t *testing.T) {
	outside := writeTree(t, map[string]string{"secret": "s"})
	dir := writeTree(t, map[string]string{
		"ok.js": "ok", "README": "a", "readme": "b", "con.js": "x", "a:b": "x", "back\\slash": "x", "dot.": "x",
		"cafe\u0301": "x", "tab\t": "x", "big": "0123456789", "sub/ok": "x",
	})
	link := func(target, name string) {
		t.Helper()
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	link(filepath.Join(outside, "secret"), "out-absolute")
	link("../../../../../../../../../../etc/hostname-or-nothing", "dangling")
	link(outside, "out-folder")
	link("sub", "in-folder")
	link(".", "self")
	link("loop2", "loop1")
	link("loop1", "loop2")
	link("ok.js", "fine.js") // a link to a file inside is followed
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bad\xff"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	wantOffenders(t, dir, Limits{FileBytes: 9},
		`"README" and "readme"`, `"con.js"`, `"a:b"`, `back\\slash`, `"dot."`, "normal form C", `"tab\t"`, "big: has 10 bytes",
		"out-absolute: is a symlink out of the tree", "dangling: is a symlink that leads nowhere", "out-folder: is a symlink out of the tree",
		"in-folder: is a symlink to a folder", "self: is a symlink to a folder", "loop1: is a symlink that leads nowhere",
		"loop2: is a symlink that leads nowhere", "pipe: is not a regular file", "is not UTF-8")
}

func TestFollowedSymlinkCarriesTheContent(t *testing.T) {
	dir := writeTree(t, map[string]string{"lib/real.js": "real"})
	if err := os.Symlink("lib/real.js", filepath.Join(dir, "link.js")); err != nil {
		t.Fatal(err)
	}
	tree := openTree(t, dir)
	if paths(tree) != "lib/real.js link.js" || tree.Files[0].SHA256 != tree.Files[1].SHA256 {
		t.Errorf("got %+v", tree.Files)
	}
}

func TestLimits(t *testing.T) {
	t.Run("too many files", func(t *testing.T) {
		dir := writeTree(t, map[string]string{"a": "", "b": "", "c": ""})
		wantOffenders(t, dir, Limits{Files: 2}, "3 files, at most 2")
	})
	t.Run("too many bytes", func(t *testing.T) {
		dir := writeTree(t, map[string]string{"a": "12345", "b": "12345"})
		wantOffenders(t, dir, Limits{TotalBytes: 9}, "more than 9 bytes")
	})
	t.Run("nothing", func(t *testing.T) {
		wantOffenders(t, writeTree(t, map[string]string{".git/x": ""}), Limits{}, "no file in it")
	})
	t.Run("more files than a manifest may name: say to split", func(t *testing.T) {
		var w walk
		for i := range slipstream.MaxFiles + 1 {
			w.files = append(w.files, found{path: fmt.Sprint("f", i)})
		}
		tree := &Tree{content: map[string]content{}}
		err := tree.take(t.Context(), &w, Limits{}.withDefaults(), noProgress{})
		if err == nil || !strings.Contains(err.Error(), "split") {
			t.Errorf("got %v", err)
		}
	})
}

func TestUnreadableFilesAreListed(t *testing.T) {
	if os.Getuid() == 0 {
		t.Log("as root everything can be read; checking the path through a vanished file")
	}
	dir := writeTree(t, map[string]string{"a": "1", "b": "2"})
	var w walk
	if err := w.folder(t.Context(), dir, Limits{}.withDefaults()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	tree := &Tree{content: map[string]content{}}
	err := tree.take(t.Context(), &w, Limits{}.withDefaults(), noProgress{})
	var got Offenders
	if !errors.As(err, &got) || len(got) != 2 {
		t.Errorf("got %v", err)
	}
}

func TestFilesThatChangeWhileTheyAreReadAreOffenders(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"grown":     func(p string) error { return os.WriteFile(p, []byte("longer"), 0o644) },
		"shrunk":    func(p string) error { return os.Truncate(p, 1) },
		"rewritten": func(p string) error { return os.WriteFile(p, []byte("two"), 0o644) },
		"replaced": func(p string) error {
			return errors.Join(os.WriteFile(p+"2", []byte("two"), 0o644), os.Rename(p+"2", p))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := writeTree(t, map[string]string{"a": "one"})
			p := filepath.Join(dir, "a")
			old := time.Now().Add(-time.Hour)
			if err := os.Chtimes(p, old, old); err != nil {
				t.Fatal(err)
			}
			var w walk
			if err := w.folder(t.Context(), dir, Limits{}.withDefaults()); err != nil {
				t.Fatal(err)
			}
			if err := change(p); err != nil {
				t.Fatal(err)
			}
			tree := &Tree{content: map[string]content{}}
			if err := tree.take(t.Context(), &w, Limits{}.withDefaults(), noProgress{}); !errors.Is(err, errChanged) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// zipEntry is one entry of a test zip; its header is used as it is.
type zipEntry struct {
	zip.FileHeader
	content string
	raw     bool // write the header's sizes, not the content's
}

func entry(name, content string) zipEntry {
	return zipEntry{FileHeader: zip.FileHeader{Name: name, Method: zip.Deflate}, content: content}
}

func writeZip(t testing.TB, entries ...zipEntry) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, e := range entries {
		create := z.CreateHeader
		if e.raw {
			create = z.CreateRaw
		}
		h := e.FileHeader
		w, err := create(&h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "dist.zip")
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestZip(t *testing.T) {
	tool := entry("bin/tool", "#!/bin/sh")
	tool.SetMode(0o755)
	stored := entry("stored", "as it is")
	stored.Method = zip.Store
	path := writeZip(t, entry("index.html", "<html>"), entry("js/", ""), entry("js/app.js", "app"), tool, stored,
		entry("__MACOSX/._index.html", "no"), entry(".git/config", "no"), entry("a.map", "no"), entry(IgnoreFile, "*.map\n"))
	tree := openTree(t, path)
	if got := paths(tree); got != "bin/tool index.html js/app.js stored" {
		t.Errorf("files %s", got)
	}
	if !tree.Files[0].Exec || tree.Files[1].Exec {
		t.Errorf("got %+v", tree.Files)
	}
	folder := openTree(t, writeTree(t, map[string]string{"js/app.js": "app"}))
	if tree.Files[2] != folder.Files[0] {
		t.Error("a file in a zip is another than the same in a folder")
	}
	r, err := tree.Content("stored", 3)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); err != nil || string(b) != "it is" {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestArchivesOfOtherNames(t *testing.T) {
	from := writeZip(t, entry("index.html", "<html>"), entry("js/app.js", "app"), entry("a.map", "no"), entry(IgnoreFile, "*.map\n"))
	zipped, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	var tarred bytes.Buffer
	w := tar.NewWriter(&tarred)
	for _, f := range [][2]string{{"./js/app.js", "app"}, {"./index.html", "<html>"}, {"./a.map", "no"}, {"./" + IgnoreFile, "*.map\n"}} {
		if err := w.WriteHeader(&tar.Header{Name: f[0], Mode: 0o644, Size: int64(len(f[1]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	want := openTree(t, from).Files
	for name, content := range map[string][]byte{"app.wgt": zipped, "app.APK": zipped, "app.aar": zipped, "app.jar": zipped, "dist.tar": tarred.Bytes()} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		tree := openTree(t, path)
		if !slices.Equal(tree.Files, want) {
			t.Errorf("%s holds %+v, want %+v", name, tree.Files, want)
		}
		r, err := tree.Content("js/app.js", 1)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(r); err != nil || string(b) != "pp" {
			t.Errorf("%s: got %q, %v", name, b, err)
		}
	}
	t.Run("hostile", func(t *testing.T) {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, name := range []string{"../out", "C:/x"} {
			if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "x.tar")
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		wantOffenders(t, path, Limits{}, `"../out"`, `"C:/x"`)
	})
}

func TestHostileZips(t *testing.T) {
	link := entry("link", "/etc/passwd")
	link.SetMode(fs.ModeSymlink | 0o777)
	device := entry("device", "")
	device.SetMode(fs.ModeDevice | 0o666)
	encrypted := entry("encrypted", "x")
	encrypted.Flags |= 1
	encrypted.raw = true
	odd := entry("odd", "")
	odd.Method, odd.raw = 99, true
	path := writeZip(t, entry("../evil", "x"), entry("a/../../evil", "x"), entry("/etc/evil", "x"), entry(`..\evil`, "x"), entry("C:evil", "x"),
		entry("../out/", ""), entry("twice", "1"), entry("twice", "2"), entry("Case", "1"), entry("case", "2"), entry("a//b", "x"),
		link, device, encrypted, odd, entry("file", "x"), entry("file/inside", "x"), entry("ok", "fine"))
	wantOffenders(t, path, Limits{}, `path "../evil"`, `"a/../../evil"`, `"/etc/evil"`, `"..\\evil"`, `"C:evil"`, "../out/: is a folder outside",
		"twice: is in the zip more than once", `"Case" and "case"`, `"a//b"`, "link: is a symlink", "device: is not a regular file", "encrypted: is encrypted",
		"odd: is compressed with method 99", `"file" is also the folder`)
}

func TestZipsThatLie(t *testing.T) {
	t.Run("bomb", func(t *testing.T) {
		path := writeZip(t, entry("zeros", strings.Repeat("\x00", 70<<20)))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		wantOffenders(t, path, Limits{ZipRatio: 10}, "zip bomb")
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 8<<20 {
			t.Errorf("refusing it took %d bytes", used)
		}
	})
	t.Run("one that says it is huge", func(t *testing.T) {
		e := entry("huge", "x")
		e.UncompressedSize64, e.CompressedSize64, e.raw = 1<<62, 1, true
		wantOffenders(t, writeZip(t, e), Limits{}, "says it has")
	})
	t.Run("many that say they are large", func(t *testing.T) {
		var es []zipEntry
		for i := range 100 {
			e := entry(fmt.Sprint("large", i), "x")
			e.UncompressedSize64, e.CompressedSize64, e.raw = 1<<52, 1, true
			es = append(es, e)
		}
		tree, err := Open(t.Context(), writeZip(t, es...), Limits{}, nil)
		if err == nil {
			tree.Close()
			t.Fatal("accepted")
		}
	})
	t.Run("one that holds more than it says", func(t *testing.T) {
		var whole bytes.Buffer
		w := zip.NewWriter(&whole)
		f, err := w.Create("f")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, strings.Repeat("y", 5000)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := zip.NewReader(bytes.NewReader(whole.Bytes()), int64(whole.Len()))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := r.File[0].OpenRaw()
		if err != nil {
			t.Fatal(err)
		}
		compressed, err := io.ReadAll(raw)
		if err != nil {
			t.Fatal(err)
		}
		e := entry("f", string(compressed))
		e.CRC32, e.UncompressedSize64, e.CompressedSize64, e.raw = r.File[0].CRC32, 10, uint64(len(compressed)), true
		wantOffenders(t, writeZip(t, e), Limits{}, "f: ")
	})
	t.Run("truncated", func(t *testing.T) {
		path := writeZip(t, entry("a", "one"))
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b[:len(b)-10], 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), path, Limits{}, nil); err == nil || slipstream.HintOf(err) == "" {
			t.Errorf("got %v", err)
		}
	})
}

func FuzzZip(f *testing.F) {
	for _, entries := range [][]zipEntry{{entry("a", "one")}, {entry("../a", "x"), entry("b/", "")}} {
		b, err := os.ReadFile(writeZip(f, entries...))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(dir, "x.zip")
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		tree, err := Open(t.Context(), path, Limits{TotalBytes: 1 << 20}, nil)
		if err != nil {
			return
		}
		defer tree.Close()
		for _, file := range tree.Files {
			r, err := tree.Content(file.Path, 0)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, r); err != nil || n != file.Size {
				t.Fatalf("%s: %d bytes, %v", file.Path, n, err)
			}
			r.Close()
		}
	})
}
