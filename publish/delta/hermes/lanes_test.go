package hermes

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

// Two runs of functions at a time give what one function after another gives, also of bytes that no compiler wrote.
func TestLanesGiveWhatOneAfterAnotherGives(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 1))
	for _, name := range []string{"one.hbc", "one-89.hbc", "one-90.hbc", "one-94.hbc", "debug.hbc"} {
		original := file(t, name)
		for round := range 60 {
			b := bytes.Clone(original)
			l, err := read(b)
			if err != nil {
				t.Fatal(err)
			}
			for range round * 3 { // the first is whole
				b[l.code.at+rng.IntN(l.code.size)] = byte(rng.IntN(256))
			}
			for range round % 3 { // large and small headers: functions elsewhere, and longer ones
				b[l.headers.at+rng.IntN(l.headers.size)] ^= 1 << rng.IntN(8)
			}
			ids := make([]uint32, l.strings)
			for i := range ids {
				ids[i] = uint32(i)
			}
			if len(ids) > shortIDs {
				rng.Shuffle(len(ids)-shortIDs, func(i, j int) {
					ids[shortIDs+i], ids[shortIDs+j] = ids[shortIDs+j], ids[shortIDs+i]
				})
			}
			rng.Shuffle(min(len(ids), shortIDs), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
			if round%4 == 3 {
				ids = nil
			}
			walk := func(lanes bool) ([]byte, []record) {
				w := newRewriter(l, held(bytes.Clone(b)), nil)
				w.undo, w.ids = round%2 == 1, ids
				c, q := &coder{cases: w.size}, w.quick()
				var all []body
				w.bodies(func(s body) { all = append(all, s) })
				if lanes {
					w.inLanes(c, q, all)
				} else {
					for _, s := range all {
						w.begin(c, s)
						w.body(c, q, s)
					}
				}
				return w.win, w.runs.held
			}
			got, gotRuns := walk(true)
			want, wantRuns := walk(false)
			if !bytes.Equal(got, want) || !slices.Equal(gotRuns, wantRuns) {
				t.Fatalf("%s, round %d: other bytes, or other literals", name, round)
			}
			if round == 0 && bytes.Equal(got, b) {
				t.Errorf("%s: nothing is rewritten", name)
			}
		}
	}
}
