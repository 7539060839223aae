package tarball

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type entry struct {
	tar.Header
	content string
}

func file(name, content string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, content}
}

// write makes an archive, compressed when its name says so.
func write(t testing.TB, name string, entries ...entry) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		e.Size = int64(len(e.content))
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	all := b.Bytes()
	if strings.HasSuffix(name, "gz") {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		if _, err := z.Write(all); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		all = packed.Bytes()
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, all, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFilesAreReadWhereTheyLie(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	tool := file("./bin/tool", "#!/bin/sh\n")
	tool.Mode = 0o755
	folder := entry{Header: tar.Header{Name: "./bin/", Typeflag: tar.TypeDir, Mode: 0o755}}
	note := entry{Header: tar.Header{Name: "pax_global_header", Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "a commit, as git archive writes it"}}}
	long := strings.Repeat("folder/", 30) + "file"
	for _, name := range []string{"a.tar", "a.tar.gz"} {
		r, err := Open(write(t, name, note, folder, tool, file("empty", ""), file(long, "deep")), 1<<20)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := []struct {
			name, content string
			exec          bool
		}{{"bin/tool", "#!/bin/sh\n", true}, {"empty", "", false}, {long, "deep", false}}
		if len(r.Files) != len(want) {
			t.Fatalf("%s: files %+v", name, r.Files)
		}
		for i := len(want) - 1; i >= 0; i-- {
			got, err := io.ReadAll(r.Open(i))
			if f := r.Files[i]; err != nil || f.Name != want[i].name || f.Exec != want[i].exec || string(got) != want[i].content {
				t.Errorf("%s: %+v with %q, %v; want %+v", name, f, got, err, want[i])
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
			t.Errorf("%s left %v, %v", name, left, err)
		}
	}
}

func TestOnlyCompressedArchivesArePacked(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, []byte("no archive"), 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{plain: false, write(t, "a.tar", file("a", "x")): false, write(t, "a.tgz", file("a", "x")): true} {
		if got, err := Packed(path); err != nil || got != want {
			t.Errorf("%s: %v, %v", path, got, err)
		}
	}
}

func TestWhatIsNoPlainArchiveIsRefused(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	whole, err := os.ReadFile(write(t, "a.tar", file("a", strings.Repeat("text", 1000))))
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(t.TempDir(), "cut.tar")
	if err := os.WriteFile(cut, whole[:2000], 0o644); err != nil {
		t.Fatal(err)
	}
	for want, path := range map[string]string{
		`"link" is not a regular file`: write(t, "a.tgz", file("a", "x"), entry{Header: tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}}),
		`"a" is there twice`:           write(t, "a.tar", file("a", "x"), file("./a", "y")),
		"is cut off":                   cut,
	} {
		if _, err := Open(path, 1<<20); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := Open(write(t, "a.tgz", file("a", strings.Repeat("0", 1<<20))), 1<<20); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a bomb: %v", err)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func FuzzOpen(f *testing.F) {
	for _, name := range []string{"a.tar", "a.tgz"} {
		b, err := os.ReadFile(write(f, name, file("a", "x"), file("b/c", "y")))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "a")
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := Open(path, 1<<20)
		if err != nil {
			return
		}
		for i, e := range r.Files {
			if n, err := io.Copy(io.Discard, r.Open(i)); err != nil || n != e.Size {
				t.Errorf("%+v has %d bytes, %v", e, n, err)
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
}
