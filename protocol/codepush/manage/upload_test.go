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
