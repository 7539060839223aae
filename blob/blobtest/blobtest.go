// Package blobtest is the contract of blob.Store as tests. Every implementation runs it:
//
//	func TestContract(t *testing.T) { blobtest.Run(t, func(t *testing.T) blob.Store { … }) }
package blobtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
)

// BoundedMemory is the one sentence that a store in memory cannot keep.
const BoundedMemory = "64 MiB go through in bounded memory"

// Run checks every sentence of blob.Store's contract but those named in except. open gives an empty store and cleans up
// by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) blob.Store, except ...string) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, s blob.Store)
	}{
		{"what was put is read back", putReadBack},
		{"an empty blob is a blob", emptyBlob},
		{"a short reader is refused and leaves nothing", shortReader},
		{"a long reader is refused, without being drained, and leaves nothing", longReader},
		{"a wrong hash is refused and leaves nothing", wrongHash},
		{"a name that is no digest is refused", badDigest},
		{"a failing reader's error is passed on and leaves nothing", failingReader},
		{"cancelling in the middle of a put leaves nothing", cancelledPut},
		{"a refused put of what is there keeps it", refusedPutKeeps},
		{"putting again is no error and renews Modified", putAgain},
		{"sixteen puts of the same bytes at once all succeed", concurrentPuts},
		{"what is missing is ErrNotFound", missing},
		{"seeking to any offset reads from there", seeking},
		{"a seek before the start fails", badSeek},
		{"an open object outlives Delete or says so", deleteWhileOpen},
		{"delete removes, and again is no error", deleting},
		{"List names every blob once with its size", listing},
		{"List stops at fn's first error", listStops},
		{"List while others put sees whole blobs only", listWhilePutting},
		{"an ended context ends every call", endedContext},
		{"Check of a usable store is nil", func(t *testing.T, s blob.Store) { must(t, s.Check(t.Context())) }},
		{BoundedMemory, large},
	} {
		if slices.Contains(except, c.name) {
			continue
		}
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

// Random gives n reproducible bytes and their name.
func Random(seed uint64, n int) ([]byte, slipstream.Digest) {
	data := make([]byte, n)
	stream(seed).Read(data)
	return data, slipstream.DigestOf(sha256.Sum256(data))
}

func stream(seed uint64) *rand.ChaCha8 {
	return rand.NewChaCha8(sha256.Sum256(fmt.Appendf(nil, "blobtest %d", seed)))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v (hint: %s)", err, slipstream.HintOf(err))
	}
}

func put(t *testing.T, s blob.Store, data []byte, d slipstream.Digest) {
	t.Helper()
	must(t, s.Put(t.Context(), d, int64(len(data)), onlyReader{bytes.NewReader(data)}))
}

// onlyReader hides that a reader could seek or tell its length.
type onlyReader struct{ io.Reader }

func read(t *testing.T, s blob.Store, d slipstream.Digest) []byte {
	t.Helper()
	o, err := s.Open(t.Context(), d)
	must(t, err)
	data, err := io.ReadAll(o)
	must(t, err)
	if o.Size() != int64(len(data)) {
		t.Errorf("Size() is %d, read %d bytes", o.Size(), len(data))
	}
	must(t, o.Close())
	return data
}

func absent(t *testing.T, s blob.Store, d slipstream.Digest) {
	t.Helper()
	if _, err := s.Stat(t.Context(), d); !errors.Is(err, slipstream.ErrNotFound) {
		t.Errorf("Stat of %s: %v, want ErrNotFound", d.Short(), err)
	}
	if o, err := s.Open(t.Context(), d); !errors.Is(err, slipstream.ErrNotFound) {
		if err == nil {
			_, err = io.ReadAll(o)
		}
		t.Errorf("Open of %s: %v, want ErrNotFound", d.Short(), err)
	}
	must(t, s.List(t.Context(), func(i blob.Info) error {
		if i.Digest == d {
			return fmt.Errorf("a listing names %s", d.Short())
		}
		return nil
	}))
}

func refused(t *testing.T, err error) {
	t.Helper()
	if r := slipstream.ReasonOf(err, ""); r != slipstream.ReasonFileMismatch {
		t.Errorf("error %v has reason %q, want %q", err, r, slipstream.ReasonFileMismatch)
	}
}

func putReadBack(t *testing.T, s blob.Store) {
	for i, n := range []int{1, 4095, 100_000} {
		data, d := Random(uint64(i), n)
		before := time.Now().Add(-2 * time.Second) // stores may cut times to the second
		put(t, s, data, d)
		if !bytes.Equal(read(t, s, d), data) {
			t.Fatalf("%d bytes come back differently", n)
		}
		info, err := s.Stat(t.Context(), d)
		must(t, err)
		if info.Digest != d || info.Size != int64(n) {
			t.Errorf("Stat: %+v", info)
		}
		if info.Modified.Before(before) || info.Modified.After(time.Now().Add(2*time.Second)) {
			t.Errorf("Modified is %v, put after %v", info.Modified, before)
		}
	}
}

func emptyBlob(t *testing.T, s blob.Store) {
	_, d := Random(0, 0)
	put(t, s, nil, d)
	if got := read(t, s, d); len(got) != 0 {
		t.Errorf("read %d bytes", len(got))
	}
	o, err := s.Open(t.Context(), d)
	must(t, err)
	if _, err := o.Seek(0, io.SeekEnd); err != nil {
		t.Errorf("seek to the end: %v", err)
	}
	must(t, o.Close())
}

func shortReader(t *testing.T, s blob.Store) {
	data, d := Random(1, 1000)
	refused(t, s.Put(t.Context(), d, 1001, bytes.NewReader(data)))
	absent(t, s, d)
}

func longReader(t *testing.T, s blob.Store) {
	data, _ := Random(2, 1000)
	_, d := Random(2, 900)
	r := &countingReader{r: io.MultiReader(bytes.NewReader(data), stream(3))}
	refused(t, s.Put(t.Context(), d, 900, r))
	absent(t, s, d)
	if r.n > 1<<20 {
		t.Errorf("%d bytes were read for 900", r.n)
	}
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func wrongHash(t *testing.T, s blob.Store) {
	for _, n := range []int{0, 1000, 300_000} {
		data, _ := Random(4, n)
		_, d := Random(5, n+1)
		refused(t, s.Put(t.Context(), d, int64(n), bytes.NewReader(data)))
		absent(t, s, d)
	}
}

func badDigest(t *testing.T, s blob.Store) {
	_, d := Random(6, 1)
	for _, bad := range []slipstream.Digest{"", "abc", "../../../../etc/passwd", d + "0", "A" + d[1:]} {
		if err := s.Put(t.Context(), bad, 0, bytes.NewReader(nil)); slipstream.ReasonOf(err, "") != slipstream.ReasonFileMismatch {
			t.Errorf("Put %q: %v", bad, err)
		}
		if _, err := s.Open(t.Context(), bad); !errors.Is(err, slipstream.ErrNotFound) {
			t.Errorf("Open %q: %v", bad, err)
		}
		if _, err := s.Stat(t.Context(), bad); !errors.Is(err, slipstream.ErrNotFound) {
			t.Errorf("Stat %q: %v", bad, err)
		}
		if err := s.Delete(t.Context(), bad); err != nil {
			t.Errorf("Delete %q: %v", bad, err)
		}
	}
}

func failingReader(t *testing.T, s blob.Store) {
	data, d := Random(7, 200_000)
	broken := errors.New("the wire broke")
	err := s.Put(t.Context(), d, int64(len(data)), io.MultiReader(bytes.NewReader(data[:150_000]), errorReader{broken}))
	if !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	}
	absent(t, s, d)
}

type errorReader struct{ err error }

func (e errorReader) Read([]byte) (int, error) { return 0, e.err }

func cancelledPut(t *testing.T, s blob.Store) {
	data, d := Random(8, 500_000)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	half := &hookReader{r: bytes.NewReader(data), at: 250_000, hook: cancel}
	if err := s.Put(ctx, d, int64(len(data)), half); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want context.Canceled", err)
	}
	absent(t, s, d)
}

// hookReader calls hook once when at bytes have been read.
type hookReader struct {
	r    io.Reader
	at   int
	hook func()
}

func (h *hookReader) Read(p []byte) (int, error) {
	n, err := h.r.Read(p[:min(len(p), 32<<10)])
	if h.at -= n; h.at <= 0 && h.hook != nil {
		h.hook()
		h.hook = nil
	}
	return n, err
}

func refusedPutKeeps(t *testing.T, s blob.Store) {
	data, d := Random(9, 1000)
	put(t, s, data, d)
	refused(t, s.Put(t.Context(), d, 1000, bytes.NewReader(make([]byte, 1000))))
	refused(t, s.Put(t.Context(), d, 999, bytes.NewReader(data)))
	if !bytes.Equal(read(t, s, d), data) {
		t.Error("the blob changed")
	}
}

func putAgain(t *testing.T, s blob.Store) {
	data, d := Random(10, 1000)
	put(t, s, data, d)
	first, err := s.Stat(t.Context(), d)
	must(t, err)
	deadline := time.Now().Add(5 * time.Second) // stores may cut times to the second
	for {
		put(t, s, data, d)
		again, err := s.Stat(t.Context(), d)
		must(t, err)
		if again.Modified.After(first.Modified) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("Modified stays %v", first.Modified)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if !bytes.Equal(read(t, s, d), data) {
		t.Error("the blob changed")
	}
}

func missing(t *testing.T, s blob.Store) {
	_, d := Random(11, 10)
	absent(t, s, d)
}

func badSeek(t *testing.T, s blob.Store) {
	data, d := Random(12, 10)
	put(t, s, data, d)
	o, err := s.Open(t.Context(), d)
	must(t, err)
	defer o.Close()
	if _, err := o.Seek(-1, io.SeekStart); err == nil {
		t.Error("a seek to -1 succeeds")
	}
}
