package rich

import (
	"math/rand/v2"
	"testing"
)

// coldOneByOne is what cold promises, place by place.
func coldOneByOne(t *tracker, v []byte, o, n int) int {
	for k := range n {
		t.place(v, o+k, o+k)
		if o+k < t.hotTo || t.warm[warmTriples].has(t.triple) || t.token != 0 && t.warm[warmWords].has(t.word) {
			return k
		}
	}
	return n
}

func TestQuietPlacesArePassedAsOneByOne(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 9))
		v := make([]byte, 4000)
		letters := 2 + r.IntN(60) // of which few make long words
		for i := range v {
			v[i] = " .;_aZ9\xff"[r.IntN(8)]
			if r.IntN(letters) > 0 {
				v[i] = "abcde"[r.IntN(5)]
			}
		}
		fast, slow := newTracker(), newTracker()
		for o := viewPad; o < len(v)-viewPad; {
			n := r.IntN(len(v) - viewPad - o + 1)
			got, want := fast.cold(v, o, o, n), coldOneByOne(&slow, v, o, n)
			if got != want {
				t.Fatalf("seed %d: %d quiet places from %d on, want %d", seed, got, o, want)
			}
			if o += got; o >= len(v)-viewPad {
				break
			}
			change, jump := r.IntN(20) == 0, r.IntN(20) == 0
			for _, k := range []*tracker{&fast, &slow} {
				k.placed = 0
				k.hot(v, o, o)
				switch {
				case change:
					k.changed(o, 'x')
				default:
					k.same(o)
				}
				if jump {
					k.jumped(o + 1)
				}
			}
			if fast.token != slow.token || fast.word != slow.word || fast.triple != slow.triple || fast.marked != slow.marked {
				t.Fatalf("seed %d: place %d looks different", seed, o)
			}
			o++
		}
		if fast.warm != slow.warm {
			t.Fatalf("seed %d: other places have a past", seed)
		}
	}
}
