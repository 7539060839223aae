//go:build !device

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/slipstream-ota/slipstream"
)

func TestManySmallFilesAreReadAsOneFromOnePlace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var want []byte
	s := &deltaSource{path: dir}
	var chosen []int
	for i := range manySmall + 300 {
		content := fmt.Appendf(nil, "file %d;", i)
		switch {
		case i%100 == 7:
			content = nil
		case i%300 == 8:
			content = bytes.Repeat(content, smallFile)
		}
		name := filepath.Join(dir, fmt.Sprintf("%05d", i))
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
		s.add(slipstream.File{Path: filepath.Base(name), Size: int64(len(content))}, name)
		if i%10 != 3 {
			chosen, want = append(chosen, i), append(want, content...)
		}
	}
	r, err := s.base(chosen)
	if err != nil {
		t.Fatal(err)
	}
	for i := range s.names { // small ones are no longer needed where they lie
		if s.Files[i].Size <= smallFile {
			if err := os.Remove(s.names[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	got, err := io.ReadAll(io.NewSectionReader(r, 0, int64(len(want))))
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes of %d, equal %v, error %v", len(got), len(want), slices.Equal(got, want), err)
	}
	for _, at := range []int64{0, 1, 77, 5000, 10_000, int64(len(want)) - 9} {
		p := make([]byte, 9)
		if n, err := r.ReadAt(p, at); err != nil || n != 9 || !bytes.Equal(p, want[at:at+9]) {
			t.Errorf("at %d: %q, error %v", at, p[:n], err)
		}
	}
	if n, err := r.ReadAt(make([]byte, 9), int64(len(want))-4); n != 4 || err != io.EOF {
		t.Errorf("beyond the end: %d bytes, error %v", n, err)
	}
	small := s.joins[0].small.Name()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(small); !os.IsNotExist(err) {
		t.Errorf("%s is left behind: %v", small, err)
	}
}

func TestAFileThatBecomesShorterIsTold(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &deltaSource{path: name}
	s.add(slipstream.File{Size: 10}, name)
	r, err := s.base([]int{0})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := r.ReadAt(make([]byte, 10), 0); err == nil || err == io.EOF {
		t.Errorf("got %v", err)
	}
}
