package rich

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
)

func TestTheCurvesAreInverse(t *testing.T) {
	t.Parallel()
	c := newCurves()
	for x := -limit; x < limit; x++ {
		if c.squash[x+limit] > c.squash[x+limit+1] {
			t.Fatalf("the probability falls at %d", x)
		}
		if p := int(c.squash[limit+x]) + int(c.squash[limit-x]); p != 65536 {
			t.Fatalf("both sides of %d make %d", x, p)
		}
	}
	if p := c.squash[limit+256]; p != 47911 { // 65536/(1+1/e)
		t.Errorf("one is %d", p)
	}
	for x := -1500; x <= 1500; x += 50 {
		if y := int(c.stretch[c.probability(x)>>4]); y < x-60 || y > x+60 {
			t.Errorf("%d comes back as %d", x, y)
		}
	}
}

func TestDecisionsComeBack(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(2, 2))
	type decision struct {
		bit int
		p   uint32
	}
	var all []decision
	w := arith{}
	w.startEncoding()
	for range 20_000 {
		d := decision{p: 1 + r.Uint32N(65535)}
		if r.IntN(4) == 0 {
			d.p = []uint32{1, 65535, 2, 65000}[r.IntN(4)]
		}
		if r.Uint32N(65536) < d.p {
			d.bit = 1
		}
		all = append(all, d)
		w.bit(d.bit, d.p)
	}
	stream := w.finish()
	rd := arith{}
	rd.startDecoding(bytes.NewReader(stream))
	for i, d := range all {
		if got := rd.bit(0, d.p); got != d.bit {
			t.Fatalf("decision %d came back as %d", i, got)
		}
	}
	if rd.err != nil || !rd.finished() {
		t.Errorf("the stream does not end: %v", rd.err)
	}
}

// someCovers are covers that nobody would choose: the coder must take any.
func someCovers(r *rand.Rand, old, new int) []Cover {
	var out []Cover
	for at := 0; at < new && old > 0; {
		at += r.IntN(40)
		c := Cover{Old: r.IntN(old), New: at}
		c.Len = min(1+r.IntN(200), old-c.Old, new-at)
		if c.Len > 0 {
			out = append(out, c)
			at += c.Len
		}
	}
	return out
}

func TestAnyCoversComeBack(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 3))
		old, new := make([]byte, r.IntN(4000)), make([]byte, r.IntN(4000))
		for _, b := range [][]byte{old, new} {
			for i := range b {
				b[i] = byte(r.IntN(1 + int(seed)*20))
			}
		}
		covers := someCovers(r, len(old), len(new))
		stream, st, err := Encode(context.Background(), old, new, covers, MinClass, 1<<30, nil)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		got, err := Decode(context.Background(), bytesSource(old), len(old), len(new), bytes.NewReader(stream), &out, MinClass, 0, nil)
		if err != nil || !bytes.Equal(out.Bytes(), new) {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if got.Decisions != st.Decisions {
			t.Errorf("%d decisions are read, %d were written", got.Decisions, st.Decisions)
		}
	}
}

func TestWhatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ class, old, new int }{
		"no such class": {MaxClass + 1, 5, 5}, "too small a class": {MinClass - 1, 5, 5},
		"old too large": {MinClass, maxSize, 5}, "new too large": {MinClass, 5, maxSize},
	} {
		if _, err := Decode(context.Background(), bytesSource("hello"), c.old, c.new, bytes.NewReader(nil), io.Discard, c.class, 0, nil); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestClassesFitTheMemoryTheyAreFor(t *testing.T) {
	t.Parallel()
	for memory, class := range map[int]int{1 << 20: 0, 16 << 20: 24, 64 << 20: 26, 192 << 20: 28} {
		if got := ClassFor(memory); got != class {
			t.Errorf("%d bytes: class %d", memory, got)
		}
	}
}
