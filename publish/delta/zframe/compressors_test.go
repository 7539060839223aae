package zframe_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/slipstream-ota/slipstream/publish/delta/zframe"
)

// contents of many kinds, whose parts come again in others: what a frame finds of an earlier one would show.
func contents(seed uint64) [][]byte {
	random := rand.New(rand.NewPCG(seed, 1))
	words := strings.Fields("state manifest root release device channel rollout withdrawn floor anchor trial confirm")
	var out [][]byte
	for range 60 {
		var b bytes.Buffer
		for range random.IntN(3000) {
			b.WriteString(words[random.IntN(len(words))])
			b.WriteByte(" \n,"[random.IntN(3)])
		}
		out = append(out, b.Bytes())
	}
	return append(out, nil, bytes.Repeat([]byte("the same "), 40_000))
}

func write(t *testing.T, c *zframe.Compressors, content []byte, log int, whole, flush bool) []byte {
	var b bytes.Buffer
	w, err := c.Start(&b, log, whole)
	if err == nil {
		_, err = w.Write(content[:len(content)/3])
	}
	if err == nil && flush {
		err = w.Flush()
	}
	if err == nil {
		_, err = w.Write(content[len(content)/3:])
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Error(err)
	}
	return b.Bytes()
}

func TestAFrameDoesNotDependOnThoseBeforeIt(t *testing.T) {
	t.Parallel()
	var kept zframe.Compressors
	var all sync.WaitGroup
	for worker := range 2 {
		all.Go(func() {
			for i, content := range contents(uint64(worker)) {
				log, whole, flush := 10+i%6, i%2 == 0, i%3 == 0
				fresh, again := write(t, nil, content, log, whole, flush), write(t, &kept, content, log, whole, flush)
				if !bytes.Equal(fresh, again) {
					t.Errorf("content %d gives %d bytes, and %d after others", i, len(fresh), len(again))
				}
				r, err := zstd.NewReader(bytes.NewReader(again))
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(r)
				r.Close()
				if err != nil || !bytes.Equal(got, content) {
					t.Errorf("content %d comes back with %d of %d bytes: %v", i, len(got), len(content), err)
				}
			}
		})
	}
	all.Wait()
}

func TestAFrameThatHasEndedTakesNothing(t *testing.T) {
	t.Parallel()
	var kept zframe.Compressors
	w, err := kept.Start(io.Discard, 10, true)
	if err != nil || w.Close() != nil || w.Close() != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("more")); err == nil || w.Flush() == nil {
		t.Error("a frame that has ended goes on")
	}
	if _, err := kept.Start(io.Discard, zframe.MaxWindowLog+1, true); err == nil {
		t.Error("a window that no device allows is taken")
	}
}
