package manage

import (
	"archive/zip"
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestASmallZipDoesNotFillTheDisk: what unpacks to very much more than it is, is refused by its directory.
func TestASmallZipDoesNotFillTheDisk(t *testing.T) {
	t.Parallel()
	s := &Server{cfg: Config{MaxUnpacked: 1 << 30}}
	of := func(size uint64) *zip.Reader {
		return &zip.Reader{File: []*zip.File{{FileHeader: zip.FileHeader{Name: "CodePush/a", UncompressedSize64: size}}}}
	}
	for _, c := range []struct {
		zip      int64
		unpacked uint64
		taken    bool
	}{
		{1000, 1_000_000, true}, {100_000, 100 << 20, false}, {2 << 20, 100 << 20, true}, {100 << 20, 1 << 30, true}, {100 << 20, 1<<30 + 1, false},
	} {
		if err := s.look(of(c.unpacked), c.zip); (err == nil) != c.taken {
			t.Errorf("%d bytes that hold %d: %v", c.zip, c.unpacked, err)
		}
	}
}

// TestADirectoryThatWouldFillTheMemory: a zip of nothing but names is refused before they are all held.
func TestADirectoryThatWouldFillTheMemory(t *testing.T) {
	t.Parallel()
	f, err := os.Create(filepath.Join(t.TempDir(), "names.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := bufio.NewWriter(f)
	z := zip.NewWriter(out)
	long := strings.Repeat("x", 200)
	for i := range maxDirectory/250 + 1000 {
		if _, err := z.CreateRaw(&zip.FileHeader{Name: fmt.Sprint(long, i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{cfg: Config{MaxUnpacked: 1 << 30}}
	_, _, err = s.unpack(t.Context(), &upload{file: f, size: info.Size()})
	if err == nil || !strings.Contains(err.Error(), "directory is larger") {
		t.Errorf("%v", err)
	}
}
