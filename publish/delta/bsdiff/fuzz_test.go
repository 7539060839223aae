package bsdiff

import (
	"bytes"
	"compress/bzip2"
	"io"
	"testing"
)

func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte(nil), []byte(nil))
	f.Add([]byte("the quick brown fox jumps over the lazy dog"), []byte("the quick red fox jumped over the lazy dogs"))
	f.Add(bytes.Repeat([]byte{0}, 600), bytes.Repeat([]byte{0, 1}, 300))
	f.Fuzz(func(t *testing.T, old, new []byte) {
		patch := make40(t, old, new)
		got, err := apply40(t.Context(), old, patch, int64(len(new)))
		if err != nil || !bytes.Equal(got, new) {
			t.Fatalf("%d of %d bytes come back, error %v", len(got), len(new), err)
		}
	})
}

func FuzzApply(f *testing.F) {
	old, new := edited(20, 400)
	patch := make40(f, old, new)
	f.Add(old, patch)
	f.Add([]byte(nil), patch[:headerSize])
	f.Fuzz(func(t *testing.T, old, patch []byte) {
		const most = 1 << 20
		info, err := Inspect(bytes.NewReader(patch), int64(len(patch)))
		if err != nil || info.NewSize > most {
			return
		}
		if got, err := apply40(t.Context(), old, patch, info.NewSize); int64(len(got)) > info.NewSize || err == nil && int64(len(got)) != info.NewSize {
			t.Fatalf("%d bytes were written, %d are allowed, error %v", len(got), info.NewSize, err)
		}
	})
}

func FuzzCompress(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(bytes.Repeat([]byte("abab"), 100))
	f.Fuzz(func(t *testing.T, data []byte) {
		z, err := compress(t.Context(), data)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(bzip2.NewReader(bytes.NewReader(z))); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d of %d bytes come back, error %v", len(got), len(data), err)
		}
	})
}
