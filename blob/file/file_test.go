package file_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/blob/blobtest"
	"github.com/slipstream-ota/slipstream/blob/file"
)

func open(t *testing.T, dir string) *file.Store {
	t.Helper()
	s, err := file.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s *file.Store, seed uint64, n int) slipstream.Digest {
	t.Helper()
	data, d := blobtest.Random(seed, n)
	if err := s.Put(t.Context(), d, int64(n), bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestContract(t *testing.T) {
	t.Parallel()
	blobtest.Run(t, func(t *testing.T) blob.Store { return open(t, filepath.Join(t.TempDir(), "made", "on demand")) })
}

func TestABlobLiesReadOnlyTwoLevelsDeep(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := put(t, open(t, dir), 1, 10)
	info, err := os.Stat(filepath.Join(dir, string(d[:2]), string(d[2:4]), string(d)))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o444 {
		t.Errorf("mode is %v", info.Mode())
	}
}

func TestTwoStoresOnOneDirectorySeeEachOther(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b := open(t, dir), open(t, dir)
	d := put(t, a, 1, 10)
	put(t, b, 1, 10)
	if _, err := b.Stat(t.Context(), d); err != nil {
		t.Error(err)
	}
}

func TestListLeavesYoungTemporaryFilesAndRemovesThoseOlderThanADay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	young, old := filepath.Join(dir, "tmp", "put-young"), filepath.Join(dir, "tmp", "put-old")
	for path, age := range map[string]time.Duration{young: 23 * time.Hour, old: 25 * time.Hour} {
		if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		then := time.Now().Add(-age)
		if err := os.Chtimes(path, then, then); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.List(t.Context(), func(i blob.Info) error { t.Errorf("%+v is no blob", i); return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old one: %v", err)
	}
}

func TestListPassesOverWhatIsNoBlob(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	d := put(t, s, 1, 10)
	for _, stray := range []string{"README", "ab/cd/notes", "ab/cd/" + string(d)} {
		path := filepath.Join(dir, filepath.FromSlash(stray))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	if err := s.List(t.Context(), func(i blob.Info) error { n++; return nil }); err != nil || n != 1 {
		t.Errorf("%d blobs, %v", n, err)
	}
}

func TestAFailedPutLeavesNoTemporaryFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	data, d := blobtest.Random(1, 10)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = s.Put(t.Context(), d, 11, bytes.NewReader(data))
	_ = s.Put(ctx, d, 10, bytes.NewReader(data))
	entries, err := os.ReadDir(filepath.Join(dir, "tmp"))
	if err != nil || len(entries) != 0 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestAFullDiskIsARefusalWithAdvice(t *testing.T) {
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("MISSING: root on Linux, to mount a small tmpfs")
	}
	dir := t.TempDir()
	mountSmall(t, dir)
	s := open(t, dir)
	_, d := blobtest.Random(1, 0)
	err := s.Put(t.Context(), d, 8<<20, io.LimitReader(zeros{}, 8<<20))
	if slipstream.ReasonOf(err, "") != slipstream.ReasonDiskFull || slipstream.HintOf(err) == "" {
		t.Errorf("error %v, hint %q", err, slipstream.HintOf(err))
	}
	put(t, s, 2, 1000) // the unfinished file has made room again
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestCheckSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "blobs")
	s := open(t, dir)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(t.Context()); err == nil || slipstream.HintOf(err) == "" {
		t.Errorf("error %v, hint %q", err, slipstream.HintOf(err))
	}
}
