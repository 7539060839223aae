package blobtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
)

func concurrentPuts(t *testing.T, s blob.Store) {
	data, d := Random(20, 200_000)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if err := s.Put(t.Context(), d, int64(len(data)), bytes.NewReader(data)); err != nil {
				t.Error(err)
			}
			if o, err := s.Open(t.Context(), d); err != nil {
				t.Error(err)
			} else if got, err := io.ReadAll(o); err != nil || !bytes.Equal(got, data) {
				t.Errorf("read %d bytes, %v", len(got), err)
			} else if err := o.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func seeking(t *testing.T, s blob.Store) {
	data, d := Random(21, 300_000)
	put(t, s, data, d)
	o, err := s.Open(t.Context(), d)
	must(t, err)
	defer o.Close()
	part := make([]byte, 1000)
	for _, off := range []int64{0, 299_000, 150_000, 1} {
		at, err := o.Seek(off, io.SeekStart)
		must(t, err)
		if _, err := io.ReadFull(o, part); err != nil || at != off || !bytes.Equal(part, data[off:off+1000]) {
			t.Errorf("after Seek(%d) = %d: wrong bytes, %v", off, at, err)
		}
	}
	if at, err := o.Seek(-5, io.SeekEnd); err != nil || at != 299_995 {
		t.Errorf("Seek(-5, end) = %d, %v", at, err)
	}
	if rest, err := io.ReadAll(o); err != nil || !bytes.Equal(rest, data[299_995:]) {
		t.Errorf("the last bytes: %v, %v", rest, err)
	}
	if at, err := o.Seek(0, io.SeekCurrent); err != nil || at != 300_000 {
		t.Errorf("Seek(0, current) = %d, %v", at, err)
	}
	if n, err := o.Read(part); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("read at the end: %d, %v", n, err)
	}
	_, err = o.Seek(0, io.SeekStart)
	must(t, err)
	if err := iotest.TestReader(o, data); err != nil {
		t.Error(err)
	}
	serveContent(t, s, d, data)
}

// serveContent asks for a range the way deliver does.
func serveContent(t *testing.T, s blob.Store, d slipstream.Digest, data []byte) {
	o, err := s.Open(t.Context(), d)
	must(t, err)
	defer o.Close()
	req := httptest.NewRequest(http.MethodGet, "/", nil)
	req.Header.Set("Range", "bytes=1000-1999")
	rec := httptest.NewRecorder()
	http.ServeContent(rec, req, "x.bin", time.Time{}, o)
	if rec.Code != http.StatusPartialContent || !bytes.Equal(rec.Body.Bytes(), data[1000:2000]) {
		t.Errorf("a range request gives %d with %d bytes", rec.Code, rec.Body.Len())
	}
}

func deleteWhileOpen(t *testing.T, s blob.Store) {
	data, d := Random(22, 100_000)
	put(t, s, data, d)
	o, err := s.Open(t.Context(), d)
	must(t, err)
	defer o.Close()
	must(t, s.Delete(t.Context(), d))
	if got, err := io.ReadAll(o); err == nil && !bytes.Equal(got, data) {
		t.Errorf("%d wrong bytes and no error", len(got))
	} else if err != nil && !errors.Is(err, slipstream.ErrNotFound) {
		t.Errorf("error is %v, want ErrNotFound", err)
	}
}

func deleting(t *testing.T, s blob.Store) {
	data, d := Random(23, 100)
	other, e := Random(24, 100)
	put(t, s, data, d)
	put(t, s, other, e)
	must(t, s.Delete(t.Context(), d))
	absent(t, s, d)
	must(t, s.Delete(t.Context(), d))
	if !bytes.Equal(read(t, s, e), other) {
		t.Error("another blob changed")
	}
	put(t, s, data, d)
	if !bytes.Equal(read(t, s, d), data) {
		t.Error("a blob put after its deletion differs")
	}
}

func listing(t *testing.T, s blob.Store) {
	want := map[slipstream.Digest]int64{}
	for i := range 40 {
		data, d := Random(uint64(100+i), i)
		put(t, s, data, d)
		want[d] = int64(i)
	}
	seen := map[slipstream.Digest]bool{}
	must(t, s.List(t.Context(), func(i blob.Info) error {
		if seen[i.Digest] {
			t.Errorf("%s comes twice", i.Digest.Short())
		}
		seen[i.Digest] = true
		if size, ok := want[i.Digest]; !ok || size != i.Size || i.Modified.IsZero() {
			t.Errorf("unexpected %+v", i)
		}
		return nil
	}))
	if len(seen) != len(want) {
		t.Errorf("%d of %d blobs", len(seen), len(want))
	}
}

func listStops(t *testing.T, s blob.Store) {
	for i := range 3 {
		data, d := Random(uint64(200+i), 10)
		put(t, s, data, d)
	}
	stop, calls := errors.New("enough"), 0
	err := s.List(t.Context(), func(blob.Info) error { calls++; return stop })
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("%d calls, error %v", calls, err)
	}
}

func listWhilePutting(t *testing.T, s blob.Store) {
	var done atomic.Bool
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			for i := 0; i < 200 && !done.Load(); i++ {
				data, d := Random(uint64(1000*w+i+300), 20_000)
				if err := s.Put(t.Context(), d, int64(len(data)), bytes.NewReader(data)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var all []slipstream.Digest
	for range 10 {
		must(t, s.List(t.Context(), func(i blob.Info) error {
			if i.Size != 20_000 {
				t.Errorf("a blob of %d bytes is listed", i.Size)
			}
			if !slices.Contains(all, i.Digest) {
				all = append(all, i.Digest)
			}
			return nil
		}))
	}
	done.Store(true)
	wg.Wait()
	for _, d := range all {
		if got := slipstream.DigestOf(sha256.Sum256(read(t, s, d))); got != d {
			t.Errorf("%s holds %s", d.Short(), got.Short())
		}
	}
}

func endedContext(t *testing.T, s blob.Store) {
	data, d := Random(25, 1000)
	put(t, s, data, d)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, openErr := s.Open(ctx, d)
	_, statErr := s.Stat(ctx, d)
	for call, err := range map[string]error{
		"Open": openErr, "Stat": statErr,
		"Put":    s.Put(ctx, d, 1000, bytes.NewReader(data)),
		"Delete": s.Delete(ctx, d),
		"List":   s.List(ctx, func(blob.Info) error { return nil }),
		"Check":  s.Check(ctx),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want context.Canceled", call, err)
		}
	}
	if !bytes.Equal(read(t, s, d), data) {
		t.Error("the blob changed")
	}
}

func large(t *testing.T, s blob.Store) {
	if testing.Short() {
		t.Skip("64 MiB in -short")
	}
	const size = 64 << 20
	h := sha256.New()
	_, err := io.CopyN(h, stream(30), size)
	must(t, err)
	d := slipstream.DigestOf([32]byte(h.Sum(nil)))
	var peak uint64
	watch := &hookEvery{r: io.LimitReader(stream(30), size), every: 8 << 20, hook: func() {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		peak = max(peak, m.HeapAlloc)
	}}
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	must(t, s.Put(t.Context(), d, size, watch))
	o, err := s.Open(t.Context(), d)
	must(t, err)
	defer o.Close()
	h.Reset()
	back := &hookEvery{r: o, every: 8 << 20, hook: watch.hook}
	if n, err := io.Copy(h, back); err != nil || n != size {
		t.Fatalf("read %d, %v", n, err)
	}
	if got := slipstream.DigestOf([32]byte(h.Sum(nil))); got != d {
		t.Error("other bytes came back")
	}
	if peak > before.HeapAlloc+48<<20 {
		t.Errorf("the heap grew by %d MiB", (peak-before.HeapAlloc)>>20)
	}
}

type hookEvery struct {
	r       io.Reader
	every   int
	pending int
	hook    func()
}

func (h *hookEvery) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	if h.pending += n; h.pending >= h.every {
		h.pending = 0
		h.hook()
	}
	return n, err
}
